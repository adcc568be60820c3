/*
 * Holds the colours of a long clip's later windows to those of its first.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each window goes on from generated pictures, so a small bias of brightness
 * or contrast adds up from window to window. Per channel, mean and standard
 * deviation of a window's new pictures are compared with those of the first;
 * while the next window's pictures are handed out, the difference is taken
 * back bit by bit: nothing at the window's first picture, `strength` of it at
 * its last. Since the window after goes on from corrected pictures, there is no
 * jump anywhere. A drift of d a window settles at d / strength.
 *
 * Statistics of pictures and not of latents: an affine change per colour can
 * only change colour, and is what a viewer would do by hand; latent channels
 * also carry structure.
 */
#ifndef KL_DRIFT_H
#define KL_DRIFT_H

#include "common.h"

typedef struct KlColours {              /* of many pictures, per channel */
    double sum[3], squares[3];
    int64_t n;                          /* pixels */
} KlColours;

typedef struct KlDrift {
    double strength;                    /* 0..1 */
    bool started;                       /* first is set */
    KlColours first, now;               /* of the first window; of the running one */
    double centre[3], offset[3], log_gain[3];   /* x -> centre + (x - centre) exp(log_gain) + offset, at full */
} KlDrift;

/** Before a window's first picture. afresh: what was before is no measure any more (a new prompt). */
void kl_drift_window(KlDrift *k, bool afresh);
/** One new picture of it, n pixels in planes R, G, B one after the other, in [0,1]: corrected in place, then measured.
 *  at: its place in the window, above 0, 1 for the last. strength 0 does nothing at all. */
void kl_drift_picture(KlDrift *k, float *rgb, int64_t n, double at);

#endif /* KL_DRIFT_H */
