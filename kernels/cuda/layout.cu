/*
 * Latents to tokens and back, pictures to planes: pure moves.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A thread per element of the output, so that writes are coalesced; the reads
 * of a patch's rows share cache lines.
 */
#include "cuda.h"

#define THREADS 256

struct Patches {
    float *out;
    const float *in;
    int C, F, R, W, ph, pw;
    int64_t n;
};

static __device__ __forceinline__ int64_t z_index(const Patches &p, int c, int64_t f, int64_t r, int64_t w)
{
    return ((c * (int64_t)p.F + f) * p.R + r) * p.W + w;
}

static __global__ void __launch_bounds__(THREADS) patchify_kernel(Patches p)
{
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x, tok;
    int gr = p.R / p.ph, gw = p.W / p.pw, width = p.C * p.ph * p.pw, e, c, i, j;

    if (at >= p.n)
        return;
    tok = at / width;
    e = (int)(at - tok * width);
    c = e / (p.ph * p.pw);
    i = e / p.pw % p.ph;
    j = e % p.pw;
    p.out[at] = p.in[z_index(p, c, tok / ((int64_t)gr * gw), tok / gw % gr * p.ph + i, tok % gw * p.pw + j)];
}

static __global__ void __launch_bounds__(THREADS) unpatchify_kernel(Patches p)
{
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x, rest, f, tok;
    int gr = p.R / p.ph, gw = p.W / p.pw, c, r, w;

    if (at >= p.n)
        return;
    w = (int)(at % p.W);
    rest = at / p.W;
    r = (int)(rest % p.R);
    rest /= p.R;
    f = rest % p.F;
    c = (int)(rest / p.F);
    tok = (f * gr + r / p.ph) * gw + w / p.pw;
    p.out[at] = p.in[(tok * (p.ph * p.pw) + r % p.ph * p.pw + w % p.pw) * p.C + c];
}

static Patches patches(float *out, const float *in, int C, int F, int R, int W, int ph, int pw)
{
    Patches p = { out, in, C, F, R, W, ph, pw, (int64_t)C * F * R * W };

    return p;
}

static void patchify(KlExec *ex, float *tok, const float *z, int C, int F, int R, int W, int ph, int pw)
{
    Patches p = patches(tok, z, C, F, R, W, ph, pw);

    if (!kl_cuda_enter(ex))
        return;
    KL_ON_DEVICE(tok), KL_ON_DEVICE(z);
    KL_LAUNCH(ex, patchify_kernel, dim3(kl_blocks(p.n, THREADS)), dim3(THREADS), 0, p);
}

static void unpatchify(KlExec *ex, float *z, const float *tok, int C, int F, int R, int W, int ph, int pw)
{
    Patches p = patches(z, tok, C, F, R, W, ph, pw);

    if (!kl_cuda_enter(ex))
        return;
    KL_ON_DEVICE(tok), KL_ON_DEVICE(z);
    KL_LAUNCH(ex, unpatchify_kernel, dim3(kl_blocks(p.n, THREADS)), dim3(THREADS), 0, p);
}

/* Sample i of the output: neighbouring threads write neighbouring samples. */
template<typename T> static __global__ void __launch_bounds__(THREADS) to_pixels_kernel(T *out, KlPixels p)
{
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x, plane = (int64_t)p.rows * p.cols;
    int64_t c = p.packed ? at % 3 : at / plane, i = p.packed ? at / 3 : at % plane, r = i / p.cols, w = i % p.cols;
    float v;

    if (at >= 3 * plane)
        return;
    v = p.x[((r + p.row0) * p.W + w + p.col0) * p.C + c] * 0.5f + 0.5f;
    v = v < 0 ? 0 : v > 1 ? 1 : v;      /* a NaN stays */
    out[at] = sizeof(T) > 2 ? (T)v : (T)rintf((v == v ? v : 0) * (float)((1u << p.bits) - 1));
}

template<typename T> static void pixels(KlExec *ex, const KlPixels *p)
{
    KL_LAUNCH(ex, to_pixels_kernel<T>, dim3(kl_blocks(3 * (int64_t)p->rows * p->cols, THREADS)), dim3(THREADS), 0,
              (T *)p->out, *p);
}

static void to_pixels(KlExec *ex, const KlPixels *p)
{
    if (!kl_cuda_enter(ex) || p->rows < 1 || p->cols < 1)
        return;
    KL_ON_DEVICE(p->out), KL_ON_DEVICE(p->x);
    (p->bits > 16 ? pixels<float> : p->bits > 8 ? pixels<uint16_t> : pixels<uint8_t>)(ex, p);
}

/* -- blocks of pixels against channels, see KlShuffle -- */

/* Where the fine picture holds sample v of the block at (r, w); -1 when another picture in time does. */
static __device__ __forceinline__ int64_t sample_place(const KlShuffle &p, int64_t r, int64_t w, int64_t v)
{
    int64_t f = p.f, j = v % f, i = v / f % f, t = v / (f * f) % p.T, c = v / (f * f) / p.T;
    int64_t row = r * f + (p.by_columns ? j : i), col = w * f + (p.by_columns ? i : j);

    return t == p.t ? (row * p.W * f + col) * p.C + c : -1;
}

/* A thread per element of the coarse picture. */
template<bool DOWN> static __global__ void __launch_bounds__(THREADS) shuffle_kernel(KlShuffle p)
{
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x, d = at % p.D, w = at / p.D % p.W, r = at / p.D / p.W;
    int64_t g = (int64_t)p.C * p.T * p.f * p.f / p.D;
    double sum = 0;

    if (r >= p.R)
        return;
    for (int64_t v = d * g; v < (d + 1) * g; v++) {
        int64_t fine = sample_place(p, r, w, v);

        if (DOWN)
            sum += fine < 0 ? 0 : p.x[fine];
        else if (fine >= 0)
            p.y[fine] = p.x[at];
    }
    if (DOWN)
        p.y[at] = (float)(p.add ? p.y[at] + sum / (double)g : sum / (double)g);
}

template<bool DOWN> static void shuffle(KlExec *ex, const KlShuffle *p)
{
    int64_t n = (int64_t)p->R * p->W * p->D;

    if (!kl_cuda_enter(ex))
        return;
    KL_ON_DEVICE(p->x), KL_ON_DEVICE(p->y);
    KL_LAUNCH(ex, shuffle_kernel<DOWN>, dim3(kl_blocks(n, THREADS)), dim3(THREADS), 0, *p);
}

static void shuffle_down(KlExec *ex, const KlShuffle *p)
{
    shuffle<true>(ex, p);
}

static void shuffle_up(KlExec *ex, const KlShuffle *p)
{
    shuffle<false>(ex, p);
}

void kl_cuda_init_layout(KlKernels *k)
{
    k->shuffle_down = shuffle_down;
    k->shuffle_up   = shuffle_up;
    k->patchify   = patchify;
    k->unpatchify = unpatchify;
    k->to_pixels  = to_pixels;
}
