/*
 * Operands: what is made as one and then multiplied is what it would have been by way of floats.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each case is a pair of ops, of which the first makes an operand that the
 * second takes; the reference is the same table's own pair in floats. Both
 * round the same values at the same place, but products of other layouts may
 * sum in another order: the bound is twice that of a sum of K products. A
 * linear that makes an operand may also round its bias, and be coarse about
 * GELU (2^-11), see below.
 */
#include "kt.h"

enum { NORM, RMS, ATTENTION, LINEAR, GELU, PIXELS };
static const char *const names[] = { "layer_norm", "rms_norm", "attention", "linear", "linear+gelu", "pixel_norm" };

typedef struct Case {
    int kind, S, D, N;                  /* S rows of D, then linear or conv to N */
} Case;

static const Case cases[] = {
    { NORM, 1, 1, 1 },       { NORM, 7, 33, 5 },    { NORM, 40, 64, 48 },     { NORM, 19, 200, 13 },
    { RMS, 5, 36, 8 },       { RMS, 3, 50, 9 },
    { ATTENTION, 9, 24, 6 }, { ATTENTION, 70, 64, 24 }, { ATTENTION, 5, 20, 7 }, { ATTENTION, 33, 128, 8 },
    { LINEAR, 3, 40, 7 },    { LINEAR, 35, 72, 20 }, { LINEAR, 2, 13, 3 },
    { GELU, 6, 30, 10 },     { GELU, 50, 96, 32 },
    { PIXELS, 12, 3, 5 },    { PIXELS, 30, 40, 33 }, { PIXELS, 20, 96, 12 },  { PIXELS, 12, 70, 130 },
};

typedef struct Data {
    const Case *c;
    float *x, *w1, *b1, *w2, *b2;       /* [S,D], [D,D], [D], [N,D] (conv: of one tap), [N] */
    int operand;
    float *between;                     /* [S,D], where it is floats; or NULL */
} Data;

static void bound_linear(Kt *t, KlLinear *p)
{
    if (t->k.weight_bind(&t->k, &p->w, p->N, p->K) < 0 ||
        t->k.exec_reserve(t->ex, t->k.linear_scratch(t->ex, p->M, p->N, p->K, p->w.dtype)) < 0)
        snprintf(t->why, sizeof(t->why), "out of memory");
    t->k.linear(t->ex, p);
    kt_sync(t);
    t->k.weight_release(&t->k, &p->w);
}

static void first(Kt *t, const Data *d, float *x, float *y)
{
    const Case *c = d->c;
    const int64_t D = c->D;
    KlNorm norm = { .x = x, .ldx = D, .y = y, .ldy = D, .S = c->S, .D = D, .eps = 1e-6f, .operand = d->operand };
    KlLinear lin = { .x = x, .ldx = D, .w = { .data = d->w1 }, .y = y, .ldy = D, .M = c->S, .N = D, .K = D,
                     .act = c->kind == GELU ? KL_ACT_GELU_TANH : KL_ACT_NONE, .y_operand = d->operand };
    KlAttention att = { .q = x, .ldq = D, .k = x, .ldk = D, .v = x, .ldv = D, .out = y, .ldo = D, .Sq = c->S,
                        .Sk = c->S, .H = 2, .E = c->D / 2, .scale = 0.2f, .operand = d->operand };

    switch (c->kind) {
    case NORM:
        t->k.layer_norm(t->ex, &norm);
        break;
    case RMS:
        norm.weight = kt_input(t, d->b1, (size_t)D, 0);
        t->k.rms_norm(t->ex, &norm);
        break;
    case ATTENTION:
        t->k.exec_reserve(t->ex, t->k.attention_scratch(t->ex, att.Sq, att.Sk, att.H, att.E));
        t->k.attention(t->ex, &att);
        break;
    case PIXELS:
        t->k.pixel_norm(t->ex, y, x, c->S, c->D, kt_input(t, d->b1, (size_t)D, 0), KL_ACT_SILU, d->operand);
        break;
    default:
        lin.bias = kt_input(t, d->b1, (size_t)D, 0);
        bound_linear(t, &lin);
    }
}

/* A 1x1 convolution of a picture of S/2 x 2. */
static void convolve(Kt *t, const Data *d, const float *x, float *y)
{
    const Case *c = d->c;
    const KlConvDesc desc = { .ic = c->D, .oc = c->N, .kt = 1, .kh = 1, .kw = 1, .stride = 1, .R = c->S / 2, .W = 2,
                              .operand = d->operand };
    const float *src[1] = { x };
    KlConvWeights *cw = NULL;
    KlConv *conv = NULL;

    if (t->k.conv_weights_create(&t->k, &cw, (KlWeight){ .data = d->w2 }, d->b2, c->D, c->N, 1, 1, 1) < 0 ||
        t->k.conv_create(t->ex, &conv, &desc, cw) < 0 || t->k.exec_reserve(t->ex, t->k.conv_scratch(conv)) < 0)
        snprintf(t->why, sizeof(t->why), "out of memory");
    else
        t->k.conv(t->ex, conv, y, src, NULL);
    kt_sync(t);
    t->k.conv_destroy(&conv);
    t->k.conv_weights_destroy(&cw);
}

static void run(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const Case *c = d->c;
    const size_t n = (size_t)c->S * c->D, all = (size_t)c->S * c->N;
    const size_t bytes = d->operand ? t->k.operand_bytes(t->ex, c->S, c->D) : n * sizeof(float);
    float *x = kt_input(t, d->x, n, 0), *y = kt_buf(t, (bytes + 3) / 4, 0), *z = kt_buf(t, all, 0);
    KlLinear lin = { .x = y, .ldx = c->D, .w = { .data = d->w2 }, .y = z, .ldy = c->N, .M = c->S, .N = c->N,
                     .K = c->D, .x_operand = d->operand };

    first(t, d, x, y);
    if (d->between)
        t->k.mem_download(t->ex, d->between, y, n * sizeof(float));
    if (c->kind == PIXELS) {
        convolve(t, d, y, z);
    } else {
        lin.bias = kt_input(t, d->b2, (size_t)c->N, 0);
        bound_linear(t, &lin);
    }
    kt_output_2d(t, out, z, (size_t)c->S, (size_t)c->N, (size_t)c->N);
}

/* want by way of floats, and how far an operand may be off. */
static void by_floats(const KtTable *table, Data *d, double *want, double *tol)
{
    const Case *c = d->c;
    const double rounded = kt_half() && (c->kind == LINEAR || c->kind == GELU) ? 1 : 0;
    float *out = malloc(sizeof(*out) * (size_t)(c->S * c->N));
    Kt t;

    d->operand = 0;
    d->between = malloc(sizeof(*d->between) * (size_t)(c->S * c->D));
    REQUIRE(!kt_open(&t, table, 1), "%s", t.why);
    run(&t, d, out);
    CHECK(!t.why[0], "%s", t.why);
    kt_close(&t);
    for (int s = 0; s < c->S; s++)
        for (int n = 0; n < c->N; n++) {
            double mag = fabs(d->b2[n]), off = 0;

            for (int k = 0; k < c->D; k++) {
                const double h = fabs(d->between[s * c->D + k]), w = fabs(d->w2[n * c->D + k]);

                mag += h * w;
                /* its bias in bf16, GELU's slope of at most 1.13, its tanh; the value may then round the other way */
                off += rounded * w * (1.13 * 0x1p-8 * fabs(d->b1[k]) + h * (0x1p-7 + 0x1p-10) + 0x1p-10);
            }
            want[s * c->N + n] = out[s * c->N + n];
            tol[s * c->N + n] = 2 * kt_sum_u(c->D + 1) * mag + off + 1e-42;
        }
    free(out);
    free(d->between);
    d->between = NULL;
    d->operand = 1;
}

static void test_operands(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++) {
        const Case *c = &cases[i];
        const size_t n = (size_t)c->S * c->N;
        Data d = { .c = c, .x = kt_random((size_t)c->S * c->D, 1, KT_EVEN), .w1 = kt_random(c->D * c->D, 2, KT_EVEN),
                   .b1 = kt_random(c->D, 3, KT_EVEN), .w2 = kt_random((size_t)c->N * c->D, 4, KT_EVEN),
                   .b2 = kt_random(c->N, 5, KT_EVEN) };
        double *want = calloc(n, sizeof(*want)), *tol = calloc(n, sizeof(*tol));
        char label[64];

        snprintf(label, sizeof(label), "%s %dx%d to %d", names[c->kind], c->S, c->D, c->N);
        by_floats(table, &d, want, tol);
        kt_case(table, label, run, &d, n, want, tol);
        free(d.x), free(d.w1), free(d.b1), free(d.w2), free(d.b2), free(want), free(tol);
    }
}

/* An attention's result in the place of its own queries, keys and values. */
static void test_in_place(const KtTable *table)
{
    enum { S = 70, H = 2, E = 48, D = H * E };
    float *x = kt_random((size_t)S * 3 * D, 1, KT_EVEN), *apart = malloc(sizeof(*apart) * S * D);
    float *inside = malloc(sizeof(*inside) * S * D), *w = calloc(D * D, sizeof(*w));

    for (int i = 0; i < D; i++)
        w[i * D + i] = 1;
    for (int in = 0; in < 2; in++) {
        Kt t;
        float *qkv, *out, *y;
        KlLinear lin = { .ldx = D, .w = { .data = w }, .ldy = D, .M = S, .N = D, .K = D, .x_operand = 1 };
        KlAttention p = { .ldq = 3 * D, .ldk = 3 * D, .ldv = 3 * D, .ldo = D, .Sq = S, .Sk = S, .H = H, .E = E,
                          .scale = 0.2f, .operand = 1 };

        REQUIRE(!kt_open(&t, table, 1), "%s", t.why);
        qkv = kt_input(&t, x, (size_t)S * 3 * D, 0);
        y = kt_buf(&t, S * D, 0);
        out = in && t.k.operand_bytes(t.ex, S, D) < sizeof(float) * S * D ? qkv : kt_buf(&t, S * D, 0);
        p.q = qkv, p.k = qkv + D, p.v = qkv + 2 * D, p.out = out;
        t.k.exec_reserve(t.ex, t.k.attention_scratch(t.ex, S, S, H, E));
        t.k.attention(t.ex, &p);
        lin.x = out;
        lin.y = y;
        bound_linear(&t, &lin);
        kt_output_2d(&t, in ? inside : apart, y, S, D, D);
        CHECK(!t.why[0], "%s", t.why);
        kt_close(&t);
    }
    CHECK(!memcmp(apart, inside, sizeof(*apart) * S * D), "in place of its queries the result is another");
    free(x), free(apart), free(inside), free(w);
}

int main(void)
{
    kt_each("operands", test_operands);
    kt_each("in_place", test_in_place);
    return check_exit();
}
