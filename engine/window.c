/*
 * A long clip as a row of windows.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "window.h"

#include <limits.h>

int kl_window_lead(int unit, int longest, int n)
{
    const int latents = KL_MIN(longest / 2, n < 1 ? 0 : 1 + (n - 1) / unit);

    return latents < 1 ? 0 : 1 + (latents - 1) * unit;
}

/* Latent frames that `lead` pictures are. */
static int lead_latents(int unit, int lead)
{
    return lead ? 1 + (lead - 1) / unit : 0;
}

int kl_window_trail(int unit, int longest, int lead, int n)
{
    const int room = KL_MIN(longest / 2, longest - lead_latents(unit, lead) - 1);

    return KL_MAX(KL_MIN(n, room), 0);
}

/* New pictures of the longest window with so many known ones. */
static int64_t capacity(const KlWindowPlan *p, int lead, int trail_cover)
{
    return 1 + (int64_t)(p->longest - 1) * p->unit - lead - trail_cover;
}

bool kl_window_plan(KlWindowPlan *p)
{
    const int64_t first = capacity(p, p->lead, 0), middle = capacity(p, p->context, 0);
    const int64_t last = capacity(p, p->context, p->trail_cover);
    int64_t n = 1;

    if (p->frames > capacity(p, p->lead, p->trail_cover)) {
        if (first < 1 || middle < 1 || last < 1)
            return false;
        n = 2 + KL_CEIL_DIV(KL_MAX(p->frames - first - last, 0), middle);
    }
    p->windows = (int)KL_MIN(n, INT_MAX);
    return n <= INT_MAX;
}

KlWindow kl_window_at(const KlWindowPlan *p, int index, int done)
{
    const int64_t rest = p->frames - done, left = p->windows - index;
    KlWindow w = { .index = index, .lead = index ? p->context : p->lead };
    int64_t later = 0, share, known;

    if (left == 1) {
        w.trail = p->trail;
        w.trail_cover = p->trail_cover;
    } else {                            /* what the windows after this one can take at most */
        later = (left - 2) * capacity(p, p->context, 0) + capacity(p, p->context, p->trail_cover);
    }
    share = KL_MIN(KL_CEIL_DIV(rest, left), capacity(p, w.lead, w.trail_cover));
    share = KL_MAX(share, rest - later);
    known = w.lead + w.trail_cover;
    w.F = (int)(1 + KL_CEIL_DIV(known + share - 1, p->unit));
    w.fresh = (int)(1 + (int64_t)(w.F - 1) * p->unit - known);
    w.give = (int)KL_MIN(w.fresh, rest);
    return w;
}

bool kl_window_gives(const KlWindow *w, int i)
{
    const int64_t half = w->fresh / 2;

    if (!w->trail)
        return i < w->give;
    return ((i + 1) * (int64_t)w->give + half) / w->fresh > (i * (int64_t)w->give + half) / w->fresh;
}
