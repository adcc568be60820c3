/*
 * CUDA on the CPU, for proofs: barriers in shared memory, bulk copies, products of warpgroups.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "emu_hopper.h"

#include "emu.h"
#include "emu_device.h"

#include <algorithm>
#include <deque>
#include <vector>

#define SHARED_BASE 512u                /* what shared addresses begin with */

/* -- barriers -- */

struct Bar {
    uint16_t count : 15, phase : 1;
    uint16_t left;
    int32_t bytes;
};
static_assert(sizeof(Bar) == 8, "a barrier has 64 bits");

static Bar *bar_of(uint64_t *p) { return (Bar *)p; }

static void settle(Bar *b)
{
    if (b->left || b->bytes)
        return;
    b->phase ^= 1;
    b->left = b->count;
}

static void arrive(Bar *b)
{
    if (!b->left)
        emu_fail("more arrivals at a barrier than it counts");
    b->left--;
    settle(b);
}

void kl_bar_init(uint64_t *bar, int arrivals)
{
    *bar_of(bar) = { (uint16_t)arrivals, 0, (uint16_t)arrivals, 0 };
}

void kl_bar_arrive(uint64_t *bar) { arrive(bar_of(bar)); }

void kl_bar_expect(uint64_t *bar, uint32_t bytes)
{
    if (bytes >= 1u << 20)
        emu_fail("a barrier that expects %u bytes", bytes);
    bar_of(bar)->bytes += (int32_t)bytes;
    arrive(bar_of(bar));
}

struct BarWait { Bar *bar; uint32_t parity; };

void kl_bar_wait(uint64_t *bar, uint32_t parity)
{
    const BarWait w = { bar_of(bar), parity };

    emu_wait([](const void *arg) {
        const BarWait *me = (const BarWait *)arg;

        return me->bar->phase != me->parity;
    }, &w);
}

struct Bulk { void *dst; const void *src; uint32_t bytes; Bar *bar; std::vector<EmuCopy> copies; };
static thread_local std::deque<Bulk> bulk;

/* Landings of cp.async so far; which one wrote each 16 bytes of shared memory last; how many each thread's last fence
 * of the proxies has brought to its products. */
static thread_local uint32_t landings;
static thread_local std::vector<uint32_t> landed, fenced;

void kl_bulk_copy(void *dst, const void *src, uint32_t bytes, uint64_t *bar)
{
    if (((uintptr_t)dst | (uintptr_t)src | bytes) & 15)
        emu_fail("a bulk copy that is not of multiples of 16");
    emu_check_open(src, bytes, "the source of a bulk copy");
    bulk.push_back({ dst, src, bytes, bar_of(bar), {} });
}

void kl_prefetch(const void *p) { emu_check_open(p, 1, "what is prefetched"); }

void kl_cp_arrive(uint64_t *bar)
{
    bulk.push_back({ NULL, NULL, 0, bar_of(bar), {} });
    bulk.back().copies.swap(emu_copies().open);
}

void kl_async_fence() { fenced[threadIdx.x] = landings; }

static void land(const std::vector<EmuCopy> &copies, Bar *bar)
{
    landings++;
    for (const EmuCopy &e : copies) {
        const size_t piece = (size_t)((const char *)e.dst - emu_shared()) / 16;

        if (e.ok)
            memcpy(e.dst, e.src, 16);
        else
            memset(e.dst, 0, 16);
        if (landed.size() <= piece)
            landed.resize(piece + 1);
        landed[piece] = landings;
    }
    arrive(bar);
}

bool emu_hopper_copy()
{
    if (bulk.empty())
        return false;
    const Bulk c = bulk.front();
    bulk.pop_front();
    if (!c.dst) {
        land(c.copies, c.bar);
        return true;
    }
    memcpy(c.dst, c.src, c.bytes);
    c.bar->bytes -= (int32_t)c.bytes;
    settle(c.bar);
    return true;
}

/* -- named barriers -- */

struct Named { int arrived; unsigned phase; };
static thread_local Named named[16];

static unsigned come(int id, int threads)
{
    Named *n = &named[id];
    const unsigned phase = n->phase;

    if (id < 1 || id > 15)
        emu_fail("named barrier %d", id);
    if (++n->arrived == threads) {
        n->arrived = 0;
        n->phase++;
    }
    return phase;
}

struct NamedWait { int id; unsigned phase; };

void kl_named_arrive(int id, int threads) { come(id, threads); }

void kl_named_wait(int id, int threads)
{
    const NamedWait w = { id, come(id, threads) };

    emu_wait([](const void *arg) {
        const NamedWait *me = (const NamedWait *)arg;

        return named[me->id].phase != me->phase;
    }, &w);
}

/* -- products, by warp -- */

struct Product {
    float *d[32];
    const uint32_t *a[32];
    uint64_t desc_a, desc_b;
    int tiles, add, row;                /* row: the first of the warp's in a */
    uint32_t fenced;
    std::vector<float> old;             /* [32][tiles][4] of the first product to d that is under way */
};
static thread_local std::vector<std::vector<std::vector<Product>>> groups;     /* by warp; the last group is open */

uint32_t kl_shared_address(const void *p) { return (uint32_t)((const char *)p - emu_shared()) + SHARED_BASE; }

/* offset: of row and column without their swizzle. */
static float panel_at(uint64_t desc, uint32_t offset, uint32_t seen)
{
    uint32_t at = (uint32_t)(desc & 0x3fff) * 16 + offset, bits;
    uint16_t h;

    if ((desc >> 62 != 1 && desc >> 62 != 2) || (desc >> 49 & 7))
        emu_fail("an operand that is not in panels of 128 or 64 bytes");
    at ^= (at >> 7 & (desc >> 62 == 1 ? 7 : 3)) << 4;
    at -= SHARED_BASE;
    if (at / 16 < landed.size() && landed[at / 16] > seen)
        emu_fail("a product reads what cp.async wrote, without a fence of the proxies");
    memcpy(&h, emu_shared() + at, 2);
    bits = (uint32_t)h << 16;
    return kl_f32_of_bits(bits);
}

/* Element k of row r along the panels' 64 elements; row k, column c across them. */
static float along(uint64_t desc, int r, int k, uint32_t seen)
{
    const int bytes = desc >> 62 == 1 ? 128 : 64;

    return panel_at(desc, (uint32_t)(r / 8) * ((uint32_t)(desc >> 32 & 0x3fff) * 16) +
                    (uint32_t)(r % 8 * bytes + k * 2), seen);
}

static float across(uint64_t desc, int k, int c, uint32_t seen)
{
    if (desc >> 62 != 1)
        emu_fail("half panels across their rows");
    return panel_at(desc, (uint32_t)(c / 64) * ((uint32_t)(desc >> 16 & 0x3fff) * 16) +
                    (uint32_t)(k / 8) * ((uint32_t)(desc >> 32 & 0x3fff) * 16) +
                    (uint32_t)(k % 8 * 128 + c % 64 * 2), seen);
}

static void multiply(const Product &p)
{
    float A[16][16], B[16][256];

    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4 && p.a[l]; i++)
            for (int e = 0; e < 2; e++)
                A[l / 4 + i % 2 * 8][l % 4 * 2 + i / 2 * 8 + e] = emu_half_of(p.a[l][i], e);
    for (int k = 0; k < 16; k++) {
        for (int r = 0; r < 16 && !p.a[0]; r++)
            A[r][k] = along(p.desc_a, p.row + r, k, p.fenced);
        for (int c = 0; c < p.tiles * 8; c++)
            B[k][c] = p.a[0] ? across(p.desc_b, k, c, p.fenced) : along(p.desc_b, c, k, p.fenced);
    }
    for (int l = 0; l < 32; l++)
        for (int n = 0; n < p.tiles * 4; n++) {
            const int row = l / 4 + n % 4 / 2 * 8, col = n / 4 * 8 + l % 4 * 2 + n % 2;
            double sum = !p.add ? 0 : p.old.empty() ? p.d[l][n] : p.old[(size_t)(l * p.tiles * 4 + n)];

            for (int k = 0; k < 16; k++)
                sum += (double)A[row][k] * B[k][col];
            p.d[l][n] = (float)sum;
        }
}

struct Issue { float *d; const uint32_t *a; uint64_t desc_a, desc_b; int tiles, add; int warp; };

static bool under_way(const std::vector<std::vector<Product>> &of, const float *d)
{
    for (const auto &g : of)
        for (const Product &p : g)
            if (p.d[0] == d)
                return true;
    return false;
}

void emu_wgmma(float *d, int tiles, const uint32_t *a, uint64_t desc_a, uint64_t desc_b, int add)
{
    Issue me = { d, a, desc_a, desc_b, tiles, add, (int)threadIdx.x / 32 };

    emu_warp(&me, [](void *const *args) {
        const Issue *first = (const Issue *)args[0];
        auto &of = groups[(size_t)first->warp];
        const bool chained = under_way(of, first->d);
        Product p = {};

        p.desc_a = first->desc_a;
        p.desc_b = first->desc_b;
        p.tiles = first->tiles;
        p.add = first->add;
        p.row = first->warp % 4 * 16;
        p.fenced = *std::min_element(&fenced[(size_t)first->warp * 32], &fenced[(size_t)first->warp * 32] + 32);
        for (int l = 0; l < 32; l++) {
            const Issue *i = (const Issue *)args[l];

            if (i->desc_a != p.desc_a || i->desc_b != p.desc_b || i->add != p.add)
                emu_fail("lanes of a warp give a product different operands");
            p.d[l] = i->d;
            p.a[l] = i->a;
            for (int n = 0; n < p.tiles * 4 && !chained; n++) {
                p.old.push_back(i->d[n]);
                i->d[n] = NAN;
            }
        }
        of.back().push_back(p);
    });
}

void kl_wgmma_commit()
{
    int warp = (int)threadIdx.x / 32;

    emu_warp(&warp, [](void *const *args) { groups[(size_t)*(int *)args[0]].emplace_back(); });
}

struct Wait { int warp, groups; };

void emu_wgmma_wait(int left)
{
    Wait me = { (int)threadIdx.x / 32, left };

    emu_warp(&me, [](void *const *args) {
        const Wait *w = (const Wait *)args[0];
        auto &of = groups[(size_t)w->warp];

        while (of.size() > (size_t)w->groups + 1) {
            for (const Product &p : of.front())
                multiply(p);
            of.erase(of.begin());
        }
    });
}

/* -- for the scheduler -- */

void emu_hopper_begin(int warps)
{
    bulk.clear();
    landings = 0;
    landed.clear();
    fenced.assign((size_t)warps * 32, 0);
    groups.assign((size_t)warps, std::vector<std::vector<Product>>(1));
    for (Named &n : named)
        n = { 0, 0 };
}

void emu_hopper_end(const char *kernel)
{
    if (!bulk.empty())
        emu_fail("%s ends with bulk copies that nobody waited for", kernel);
    for (const auto &of : groups)
        if (of.size() > 1 || !of[0].empty())
            emu_fail("%s ends with products that nobody waited for", kernel);
    for (const Named &n : named)
        if (n.arrived)
            emu_fail("%s ends with a named barrier half full", kernel);
}
