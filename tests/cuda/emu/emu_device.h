/*
 * The emulator's twins of the instructions in kernels/cuda/device.cuh, after
 * the fragment layouts of the PTX manual.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_EMU_DEVICE_H
#define KL_EMU_DEVICE_H

#define KL_LAUNCH(ex, kernel, grid, block, shared, ...) do { \
        emu_launch(#kernel, (grid), (block), (shared), (ex)->stream, emu_bind(kernel, __VA_ARGS__)); \
        kl_cuda_ok((ex), cudaGetLastError(), #kernel); \
    } while (0)

#define KL_SHARED(type, name) type *name = (type *)emu_shared()

/* Copies stay out of sight until they are waited for. One entry per thread of the block. */
struct EmuCopy { void *dst; const void *src; int ok; };
struct EmuCopies { std::vector<std::vector<EmuCopy>> groups; std::vector<EmuCopy> open; };
EmuCopies &emu_copies();

static inline void kl_cp_async16(void *dst, const void *src, int ok)
{
    if (((uintptr_t)dst | (ok ? (uintptr_t)src : 0)) & 15)
        emu_fail("cp.async of an address that is not a multiple of 16");
    emu_copies().open.push_back({ dst, src, ok });
}

static inline void kl_cp_commit()
{
    EmuCopies &c = emu_copies();

    c.groups.push_back(c.open);
    c.open.clear();
}

template<int N> static inline void kl_cp_wait()
{
    EmuCopies &c = emu_copies();

    while (c.groups.size() > (size_t)N) {
        for (const EmuCopy &e : c.groups[0]) {
            if (e.ok)
                memcpy(e.dst, e.src, 16);
            else
                memset(e.dst, 0, 16);
        }
        c.groups.erase(c.groups.begin());
    }
}

struct EmuLdmatrix { const uint16_t *row; uint32_t *r; int trans; };

static inline void emu_ldmatrix(uint32_t r[4], const void *row, int trans)
{
    EmuLdmatrix a = { (const uint16_t *)row, r, trans };

    if ((uintptr_t)row & 15)
        emu_fail("ldmatrix of an address that is not a multiple of 16");
    emu_warp(&a, [](void *const *args) {
        for (int l = 0; l < 32; l++)
            for (int i = 0; i < 4; i++) {
                const EmuLdmatrix *me = (const EmuLdmatrix *)args[l];
                uint32_t half[2];

                for (int e = 0; e < 2; e++) {
                    int at_row = me->trans ? 2 * (l % 4) + e : l / 4;
                    int at_col = me->trans ? l / 4 : 2 * (l % 4) + e;

                    half[e] = ((const EmuLdmatrix *)args[8 * i + at_row])->row[at_col];
                }
                me->r[i] = half[0] | half[1] << 16;
            }
    });
}

static inline void kl_ldmatrix4(uint32_t r[4], const void *row) { emu_ldmatrix(r, row, 0); }
static inline void kl_ldmatrix4_trans(uint32_t r[4], const void *row) { emu_ldmatrix(r, row, 1); }

static inline float kl_f32_of_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, 4);
    return f;
}

struct EmuMma { float *d; const uint32_t *a; uint32_t b[2]; };

static inline float emu_half_of(uint32_t u, int hi) { return kl_f32_of_bits(hi ? u & 0xffff0000u : u << 16); }

static inline void kl_mma_bf16(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    EmuMma m = { d, a, { b0, b1 } };

    emu_warp(&m, [](void *const *args) {
        float A[16][16], B[16][8];

        for (int l = 0; l < 32; l++) {
            const EmuMma *p = (const EmuMma *)args[l];
            int g = l / 4, t = l % 4;

            for (int e = 0; e < 2; e++) {
                A[g][2 * t + e] = emu_half_of(p->a[0], e);
                A[g + 8][2 * t + e] = emu_half_of(p->a[1], e);
                A[g][2 * t + 8 + e] = emu_half_of(p->a[2], e);
                A[g + 8][2 * t + 8 + e] = emu_half_of(p->a[3], e);
                B[2 * t + e][g] = emu_half_of(p->b[0], e);
                B[2 * t + 8 + e][g] = emu_half_of(p->b[1], e);
            }
        }
        for (int l = 0; l < 32; l++) {
            const EmuMma *p = (const EmuMma *)args[l];

            for (int i = 0; i < 4; i++) {
                int row = l / 4 + (i / 2) * 8, col = 2 * (l % 4) + i % 2;
                double sum = p->d[i];

                for (int k = 0; k < 16; k++)
                    sum += (double)A[row][k] * B[k][col];
                p->d[i] = (float)sum;
            }
        }
    });
}

struct EmuMmaS8 { int32_t *d; const uint32_t *a; uint32_t b[2]; };

static inline void kl_mma_s8(int32_t d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    EmuMmaS8 m = { d, a, { b0, b1 } };

    emu_warp(&m, [](void *const *args) {
        int32_t A[16][32], B[32][8];

        for (int l = 0; l < 32; l++) {
            const EmuMmaS8 *p = (const EmuMmaS8 *)args[l];
            int g = l / 4, t = l % 4;

            for (int e = 0; e < 4; e++) {
                A[g][4 * t + e] = (int8_t)(p->a[0] >> 8 * e);
                A[g + 8][4 * t + e] = (int8_t)(p->a[1] >> 8 * e);
                A[g][4 * t + 16 + e] = (int8_t)(p->a[2] >> 8 * e);
                A[g + 8][4 * t + 16 + e] = (int8_t)(p->a[3] >> 8 * e);
                B[4 * t + e][g] = (int8_t)(p->b[0] >> 8 * e);
                B[4 * t + 16 + e][g] = (int8_t)(p->b[1] >> 8 * e);
            }
        }
        for (int l = 0; l < 32; l++) {
            const EmuMmaS8 *p = (const EmuMmaS8 *)args[l];

            for (int i = 0; i < 4; i++)
                for (int k = 0; k < 32; k++)
                    p->d[i] += A[l / 4 + i / 2 * 8][k] * B[k][2 * (l % 4) + i % 2];
        }
    });
}

static inline uint32_t emu_bf16(float f)
{
    uint32_t u;

    memcpy(&u, &f, 4);
    if (f != f)
        return 0x7fff;                  /* what cvt gives for any NaN */
    return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

static inline uint32_t kl_bf16x2(float lo, float hi) { return emu_bf16(lo) | emu_bf16(hi) << 16; }

static inline float kl_f32_of_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;

    if (e == 31)
        return kl_f32_of_bits(sign | 0x7f800000u | m << 13 | (m ? 1u << 22 : 0));
    if (e)
        return kl_f32_of_bits(sign | (e + 112) << 23 | m << 13);
    return sign ? -(float)m * 0x1p-24f : (float)m * 0x1p-24f;
}

static inline float kl_exp2(float x) { return x < -126 ? 0 : exp2f(x); }

#endif /* KL_EMU_DEVICE_H */
