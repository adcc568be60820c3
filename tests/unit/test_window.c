/*
 * How a clip is cut into windows: every count from 1 on, for all that can lead and trail.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <limits.h>

#include "engine/window.h"
#include "tests/check.h"

static void test_lead_and_trail(void)
{
    /* 33 pictures, 9 latent frames: at most 4 of them lead */
    static const int lead[] = { 0, 1, 1, 1, 1, 5, 5, 5, 5, 9, 9, 9, 9, 13, 13, 13, 13, 13 };

    for (int n = 0; n < (int)KL_ARRAY_LEN(lead); n++)
        CHECK(kl_window_lead(4, 9, n) == lead[n], "%d of %d", kl_window_lead(4, 9, n), n);
    CHECK(kl_window_lead(4, 9, INT_MAX) == 13);
    CHECK(kl_window_lead(4, 9, -5) == 0);
    CHECK(kl_window_lead(4, 1, 9) == 0 && kl_window_lead(4, 2, 9) == 1 && kl_window_lead(4, 3, 9) == 1);
    CHECK(kl_window_trail(4, 9, 0, 2) == 2 && kl_window_trail(4, 9, 0, 99) == 4);
    CHECK(kl_window_trail(4, 9, 13, 99) == 4 && kl_window_trail(4, 8, 13, 99) == 3);
    CHECK(kl_window_trail(4, 1, 0, 9) == 0 && kl_window_trail(4, 2, 1, 9) == 0 && kl_window_trail(4, 2, 0, 9) == 1);
}

static int64_t room(const KlWindowPlan *p, int lead, int cover)
{
    return 1 + (int64_t)(p->longest - 1) * p->unit - lead - cover;
}

/* Walks through a plan; everything that the job relies on holds. */
static void walk(const KlWindowPlan *p)
{
    int done = 0, before = p->lead, shortest = INT_MAX, longest = 0;

    for (int i = 0; i < p->windows; i++) {
        const KlWindow w = kl_window_at(p, i, done);
        const bool last = i == p->windows - 1;
        int given = 0;

        REQUIRE(w.index == i && w.lead == (i ? p->context : p->lead) && w.lead <= before,
                "window %d leads with %d of %d", i, w.lead, before);
        REQUIRE(w.F >= 1 && w.F <= p->longest, "window %d of %d latent frames", i, w.F);
        REQUIRE(w.trail == (last ? p->trail : 0) && w.trail_cover == (last ? p->trail_cover : 0), "window %d", i);
        REQUIRE(w.lead + w.fresh + w.trail_cover == 1 + (w.F - 1) * p->unit, "window %d: %d+%d+%d", i, w.lead, w.fresh,
                w.trail_cover);
        REQUIRE(w.give >= 1 && w.give <= w.fresh && w.fresh - w.give < p->unit && (last || w.give == w.fresh),
                "window %d gives %d of %d", i, w.give, w.fresh);
        for (int j = 0; j < w.fresh; j++)
            given += kl_window_gives(&w, j);
        REQUIRE(given == w.give, "window %d: %d instead of %d", i, given, w.give);
        REQUIRE(!w.trail || kl_window_gives(&w, w.fresh - 1) || w.give < w.fresh);
        done += w.give;
        before += w.fresh;
        shortest = KL_MIN(shortest, w.fresh);
        longest = KL_MAX(longest, w.fresh);
    }
    REQUIRE(done == p->frames, "%d of %d frames", done, p->frames);
    /* evenly, as far as the given pictures leave room for it */
    if (p->lead == p->context && !p->trail)
        REQUIRE(longest - shortest <= p->unit, "%d to %d new pictures", shortest, longest);
}

static void try_plan(int unit, int longest, int lead, int context, int trail, int frames)
{
    KlWindowPlan p = { .unit = unit, .longest = longest, .frames = frames };
    int latents;

    p.lead = kl_window_lead(unit, longest, lead);
    p.context = kl_window_lead(unit, longest, context);
    latents = kl_window_trail(unit, longest, KL_MAX(p.lead, p.context), KL_CEIL_DIV(trail, unit));
    p.trail = KL_MIN(trail, latents * unit);
    p.trail_cover = latents * unit;
    REQUIRE(kl_window_plan(&p), "no room: unit %d, longest %d", unit, longest);
    if (p.windows > 1 && !p.context)
        return;                         /* the job refuses it */
    if (p.windows > 2)                  /* one fewer would not do */
        REQUIRE(frames > room(&p, p.lead, 0) + (p.windows - 3) * room(&p, p.context, 0) +
                room(&p, p.context, p.trail_cover));
    else if (p.windows == 2)
        REQUIRE(frames > room(&p, p.lead, p.trail_cover));
    walk(&p);
}

static void test_every_count(void)
{
    static const int units[] = { 1, 4, 8 };
    static const int leads[] = { 0, 1, 2, 5, 9, 17 }, trails[] = { 0, 1, 3, 9, 16 };

    for (int u = 0; u < 3; u++)
        for (int longest = 1; longest <= 10; longest++)
            for (int l = 0; l < 36; l++)        /* every pair of lead and context */
                for (int t = 0; t < 5; t++)
                    for (int frames = 1; frames <= 170; frames += 1 + frames / 24) {
                        try_plan(units[u], longest, leads[l / 6], leads[l % 6], trails[t], frames);
                        if (check_state)
                            printf("# unit %d, longest %d, lead %d, context %d, trail %d, frames %d\n", units[u],
                                   longest, leads[l / 6], leads[l % 6], trails[t], frames);
                        if (check_state)
                            return;
                    }
}

static void test_without_end(void)
{
    KlWindowPlan p = { .unit = 4, .longest = 9, .frames = INT_MAX, .context = 9 };
    KlWindow w;

    CHECK(kl_window_plan(&p) && p.windows == 2 + (int)KL_CEIL_DIV((int64_t)INT_MAX - 33 - 24, 24), "%d", p.windows);
    w = kl_window_at(&p, p.windows - 1, INT_MAX - 3);
    CHECK(w.give == 3 && w.fresh == 4 && w.F == 4, "%d of %d", w.give, w.fresh);
    p.unit = p.longest = p.context = 1;     /* nothing new fits beside the context */
    CHECK(!kl_window_plan(&p));
}

/* The surplus before a trail is not left out at a seam. */
static void test_surplus_in_the_middle(void)
{
    const KlWindow w = { .F = 9, .lead = 9, .fresh = 20, .give = 18, .trail = 3, .trail_cover = 4 };
    int first = -1, second = -1;

    for (int i = 0; i < w.fresh; i++)
        if (!kl_window_gives(&w, i))
            *(first < 0 ? &first : &second) = i;
    CHECK(first > 2 && second - first > 5 && second < 17, "%d and %d are left out", first, second);
}

int main(void)
{
    RUN(test_lead_and_trail);
    RUN(test_every_count);
    RUN(test_without_end);
    RUN(test_surplus_in_the_middle);
    return check_exit();
}
