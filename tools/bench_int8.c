/*
 * kling-bench: a step of the transformer with int8 weights beside the same in f32.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The int8 weights are made of the f32 ones as precision=int8 does it. Steps of
 * both take turns, so that a busy machine is as busy for the one as for the
 * other.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "synth_model.h"

typedef struct Form {                   /* one of the two */
    KlDit *dit;
    KlDitSession *s;
    float *v;                           /* what it predicts */
    Timer best;
} Form;

/* The forms take turns; form[0] is f32. */
static int take_turns(Bench *b, const KlWeights *w, Form form[2], const int size[3], const float *z, const float *ctx)
{
    const int F = (size[2] - 1) / 4 + 1, R = size[1] / b->space, W = size[0] / b->space;
    float t[64];
    int ret = 0;

    for (int i = 0; i < 64; i++)
        t[i] = 500;
    for (int i = 0; i < 2 && ret >= 0; i++) {
        ret = kl_dit_create(&b->diag, &form[i].dit, &b->k, w, &b->dit);
        if (ret >= 0 && i)
            ret = kl_dit_make_int8(form[i].dit, b->ex, &b->diag, NULL, NULL);
        if (ret >= 0)
            ret = kl_dit_session_create(form[i].dit, b->ex, &b->diag, F, R, W, &form[i].s);
        if (ret >= 0)
            ret = kl_dit_set_context(form[i].s, &b->diag, 0, ctx, b->text_tokens);
    }
    for (int i = 0; i < 2 * b->reps && ret >= 0; i++) {
        Form *f = &form[i & 1];
        Timer at = bench_start();

        ret = kl_dit_forward(f->s, &b->diag, 0, z, t, f->v);
        bench_keep_best(&f->best, bench_stop(at));
    }
    return ret;
}

static void print(const Bench *b, const Form form[2], const int size[3], size_t n)
{
    const int tokens = ((size[2] - 1) / 4 + 1) * (size[1] / b->space / b->dit.patch_h) *
                       (size[0] / b->space / b->dit.patch_w);
    double error = 0, power = 0, worst = 0, top = 0;
    char what[64];

    for (size_t i = 0; i < n; i++) {
        const double d = (double)form[1].v[i] - form[0].v[i];

        error += d * d;
        power += (double)form[0].v[i] * form[0].v[i];
        worst = fmax(worst, fabs(d));
        top = fmax(top, fabs((double)form[0].v[i]));
    }
    for (int i = 0; i < 2; i++) {
        snprintf(what, sizeof(what), "step of %d tokens, %s", tokens, i ? "int8" : "f32");
        bench_print_rate(b, what, form[i].best, kl_dit_flops(form[i].s, 0));
    }
    printf("  int8 is %.2f times as fast as f32, a core %.2f times; its error, of what the step predicts: %.4f in the "
           "root mean square, %.4f at most of %.2f\n", form[0].best.wall / form[1].best.wall,
           form[0].best.cpu / form[1].best.cpu, sqrt(error / power), worst, top);
}

int bench_int8(Bench *b, const int size[3])
{
    const size_t n = (size_t)b->dit.in_ch * (size_t)((size[2] - 1) / 4 + 1) * (size_t)(size[1] / b->space) *
                     (size_t)(size[0] / b->space);
    Form form[2] = { 0 };
    KlWeights *w;
    void *mem = NULL;
    double gib;
    float *z = bench_random(b, n), *ctx = bench_random(b, (size_t)b->text_tokens * b->dit.text_dim);
    int ret = 0;

    printf("transformer %s, %d layers, f32 weights and the same in int8\n", b->model, b->dit.layers);
    bench_peak_reset();
    w = bench_weights(SYNTH_DIT, &b->dit, KL_F32, false, 0.3, &mem, &gib);
    if (!w)
        goto end;
    for (int i = 0; i < 2; i++)
        form[i].v = bench_alloc_f32(n);
    ret = take_turns(b, w, form, size, z, ctx);
    if (ret >= 0) {
        print(b, form, size, n);
        bench_print_memory(b, gib + (double)kl_dit_int8_bytes(form[0].dit) / GIB);
    }
end:
    for (int i = 0; i < 2; i++) {
        kl_dit_session_destroy(&form[i].s);
        kl_dit_destroy(&form[i].dit);
        free(form[i].v);
    }
    kl_weights_close(&w);
    free(mem);
    bench_free(b, z);
    bench_free(b, ctx);
    return ret;
}
