/*
 * Holds the colours of a long clip's later windows to those of its first.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each window goes on from generated pictures, decoded and encoded again, so
 * a small bias of brightness or contrast adds up from window to window. Two
 * corrections of each channel's mean and standard deviation, both times
 * `strength` and both bounded:
 *
 * - the seam: a window's first new picture is brought to the colours of the
 *   picture before it, and all of the window by the same;
 * - the ramp: what the last window was off the first is taken back bit by bit,
 *   nothing of it at the window's first picture, all at its last.
 *
 * Neither makes a jump. A drift of d a window settles at d / strength.
 *
 * Statistics of pictures and not of latents: an affine change per colour can
 * only change colour, and is what a viewer would do by hand; latent channels
 * also carry structure. In plain C on host memory, where pictures lie by then:
 * it is a few passes over what took teraflops to make.
 */
#ifndef KL_DRIFT_H
#define KL_DRIFT_H

#include "common.h"

typedef struct KlColours {              /* of many pictures, per channel */
    double sum[3], squares[3];
    int64_t n;                          /* pixels */
} KlColours;

/* x -> centre + (x - centre) exp(log_gain) + offset */
typedef struct KlColourChange {
    double offset[3], log_gain[3];
} KlColourChange;

typedef struct KlDrift {
    double strength;                    /* 0..1 */
    bool started;                       /* first is set */
    KlColours first, now, edge;         /* of the first window; of the running one; of the last picture */
    bool at_seam;                       /* the next picture is the first of a window that goes on */
    double centre[3];
    KlColourChange seam, ramp;
} KlDrift;

/** Before a window's first picture. afresh: what was before is no measure any more (a new prompt). */
void kl_drift_window(KlDrift *k, bool afresh);
/** One new picture of it, n pixels in planes R, G, B one after the other, in [0,1]: corrected in place, then measured.
 *  at: its place in the window, above 0, 1 for the last. strength 0 does nothing at all. */
void kl_drift_picture(KlDrift *k, float *rgb, int64_t n, double at);

#endif /* KL_DRIFT_H */
