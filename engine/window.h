/*
 * A long clip as a row of windows: how many, how long, what lies where.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Arithmetic only. A window is what is generated at once: `lead` pictures that
 * are known, then new ones, then pictures that are known again (the trail, in
 * the last window only). Latent frame 0 is one picture, every later one `unit`
 * of them, so a window of F latent frames has 1 + (F - 1) unit pictures. Each
 * window but the first leads with the end of the one before.
 */
#ifndef KL_WINDOW_H
#define KL_WINDOW_H

#include "common.h"

typedef struct KlWindowPlan {
    int unit;                           /* pictures per latent frame after the first, >= 1 */
    int longest;                        /* latent frames of the longest window, >= 1 */
    int frames;                         /* new pictures asked for, >= 1 */
    int lead;                           /* known pictures before the first window, as kl_window_lead() gives them */
    int context;                        /* the same of every later window; unused when one window is enough */
    int trail;                          /* known pictures after the last new one */
    int trail_cover;                    /* pictures of a window that they take, >= trail */
    int windows;                        /* set by kl_window_plan() */
} KlWindowPlan;

typedef struct KlWindow {
    int index;
    int F;                              /* latent frames */
    int lead;                           /* known pictures at the start */
    int fresh;                          /* new pictures, right after them */
    int give;                           /* how many of those were asked for */
    int trail, trail_cover;             /* known pictures after the new ones, and the room that they take */
} KlWindow;

/** The largest number of pictures up to n that a window can lead with: 1 + a multiple of unit, at most half of its
 *  latent frames; 0 when there is none. */
int  kl_window_lead(int unit, int longest, int n);
/** The largest number of latent frames up to n that a window which leads with `lead` pictures can keep for a trail:
 *  at most half of them, and one at least is left for new pictures. */
int  kl_window_trail(int unit, int longest, int lead, int n);
/** Counts p->windows. False when a later window has no room for new pictures, or the count is beyond INT_MAX. */
bool kl_window_plan(KlWindowPlan *p);
/** Window `index` when `done` new pictures were given by those before. The new pictures are spread evenly: no window
 *  is much shorter than another, and only the last one makes more than it gives. */
KlWindow kl_window_at(const KlWindowPlan *p, int index, int done);
/** Is new picture i of w one that was asked for? Without a trail the last ones are too many; before a trail they are
 *  left out here and there, so that neither seam jumps by more than one. */
bool kl_window_gives(const KlWindow *w, int i);

#endif /* KL_WINDOW_H */
