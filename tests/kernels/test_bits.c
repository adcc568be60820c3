/*
 * The ref table gives the same bits everywhere: its results on synthetic
 * inputs, as checksums that every machine, compiler and optimisation level
 * must reproduce.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Contraction would not show: a product of two f32 is exact in double. What
 * shows is a sum or a function in f32 where double is meant.
 *
 * A change here that is meant (a formula of ref) changes what flags=bitexact
 * gives, and so the references of the command-line tests as well.
 */
#include "kt.h"

#define COUNT 4200

static uint64_t fnv(const float *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++) {
        uint32_t u;

        memcpy(&u, p + i, sizeof(u));
        for (int b = 0; b < 4; b++)
            h = (h ^ (u >> 8 * b & 255)) * 0x100000001b3u;
    }
    return h;
}

typedef struct Bits {
    Kt t;
    float *x, *y, *z, *out;             /* COUNT floats each; x and y random, z and out written */
    float *host;
} Bits;

static void expect(Bits *b, const char *name, const float *p, size_t n, uint64_t want)
{
    uint64_t got;

    b->t.k.exec_sync(b->t.ex);
    b->t.k.mem_download(b->t.ex, b->host, p, n * sizeof(*p));
    got = fnv(b->host, n);
    CHECK(got == want, "%s: 0x%016llxu, not 0x%016llxu", name, (unsigned long long)got, (unsigned long long)want);
}

static void linear_bits(Bits *b, KlDType dtype, KlActivation act, uint64_t want)
{
    void *mem;
    float *values;
    KlWeight w = kt_weight(31 * 70, 9, KT_EVEN, dtype, &mem, &values);
    KlLinear p = { .x = b->x, .ldx = 70, .w = w, .bias = b->y, .y = b->out, .ldy = 31, .M = 40, .N = 31, .K = 70,
                   .act = act };

    b->t.k.linear(b->t.ex, &p);
    expect(b, "linear", b->out, 40 * 31, want);
    free(mem), free(values);
}

static void conv_bits(Bits *b, uint64_t want)
{
    KlConvDesc d = { 6, 10, 3, 3, 3, 1, 1, 1, 1, 1, 1, 5, 7, 0 };
    const float *src[3] = { b->x, b->y, b->x + 300 };
    float *values;
    void *mem;
    KlWeight w = kt_weight(10 * 6 * 27, 9, KT_EVEN, KL_BF16, &mem, &values);
    KlConvWeights *cw = NULL;
    KlConv *c = NULL;

    if (b->t.k.conv_weights_create(&b->t.k, &cw, w, values, 6, 10, 3, 3, 3) < 0 ||
        b->t.k.conv_create(b->t.ex, &c, &d, cw) < 0)
        CHECK(0, "no convolution");
    else
        b->t.k.conv(b->t.ex, c, b->out, src, NULL);
    expect(b, "conv", b->out, 10 * 14 * 10, want);
    b->t.k.conv_destroy(&c);
    b->t.k.conv_weights_destroy(&cw);
    free(mem), free(values);
}

static void run_all(Bits *b)
{
    const KlKernels *k = &b->t.k;
    KlExec *ex = b->t.ex;
    KlAttention att = { b->x, 60, b->y, 60, b->x, 60, b->out, 60, 70, 69, 5, 12, 0.7f, b->y, b->x, 0 };
    KlNorm norm = { b->x, 60, b->out, 60, 70, 60, 1e-6f, b->y, b->y + 60, b->y + 120, b->y + 180, 120, 3, 0 };
    const float *in[3] = { b->x, b->y, b->x + 100 };
    const double a[3] = { 0.1, -1.7, 1e-5 };

    linear_bits(b, KL_F32, KL_ACT_NONE, 0x0cfdc4f3135470e2u);
    linear_bits(b, KL_BF16, KL_ACT_GELU_TANH, 0x311aba7619f29b08u);
    linear_bits(b, KL_F16, KL_ACT_SILU, 0xa7e08efa9ea9005bu);
    conv_bits(b, 0x2c888cd1553483ccu);
    k->attention(ex, &att);
    expect(b, "attention", b->out, 4200, 0x5f61b5c8854a159eu);
    k->layer_norm(ex, &norm);
    expect(b, "layer_norm", b->out, 4200, 0x43ea51c70954cf91u);
    k->rms_norm(ex, &norm);
    expect(b, "rms_norm", b->out, 4200, 0x98263b6501aa51ddu);
    k->mem_copy(ex, b->z, b->x, COUNT * sizeof(float));
    k->qk_norm_rope(ex, b->z, 60, 70, 5, 12, b->y, 1e-6f, b->x, b->y);
    expect(b, "qk_norm_rope", b->z, COUNT, 0x45fb4d34b7579058u);
    k->pixel_norm(ex, b->out, b->x, 60, 70, b->y, KL_ACT_SILU, 0);
    expect(b, "pixel_norm", b->out, COUNT, 0x1e117d86233de513u);
    k->activate(ex, b->out, b->x, b->y, COUNT, KL_ACT_GELU_TANH);
    expect(b, "activate", b->out, COUNT, 0x7f3e963288e0a8ffu);
    k->lincomb(ex, b->out, in, a, 3, COUNT - 100);
    expect(b, "lincomb", b->out, COUNT - 100, 0x00d5d18873afe14cu);
    k->gated_add(ex, b->z, b->x, 70, 60, b->y, 60, 2);
    expect(b, "gated_add", b->z, COUNT, 0x049459d349024becu);
}

static void test_ref_bits(void)
{
    Bits b = { 0 };
    float *x = kt_random(COUNT, 1, KT_EVEN), *y = kt_random(COUNT, 2, KT_EVEN);

    for (int i = 0; i < COUNT; i++)         /* from denormals to a hundred */
        x[i] *= ldexpf(1, i % 29 == 0 ? -130 : i % 8);
    REQUIRE(!kt_open(&b.t, &kt_tables[0], 2), "no executor");
    b.host = malloc(COUNT * sizeof(float));
    b.x = kt_input(&b.t, x, COUNT, 0);
    b.y = kt_input(&b.t, y, COUNT, 0);
    b.z = kt_buf(&b.t, COUNT, 0);
    b.out = kt_buf(&b.t, COUNT, 0);
    run_all(&b);
    kt_close(&b.t);
    free(b.host), free(x), free(y);
}

int main(void)
{
    RUN(test_ref_bits);
    return check_exit();
}
