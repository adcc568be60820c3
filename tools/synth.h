/*
 * Synthetic weights and inputs from a seed and a name: the same numbers in C
 * and in Python (tests/golden/synth.py), so that goldens store outputs only.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_SYNTH_H
#define KL_SYNTH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t synth_key(uint64_t seed, const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;               /* FNV-1a */

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h ^ seed * 0x9e3779b97f4a7c15u;
}

/** The i-th number of a key's stream, a multiple of 2^-23 in [-1, 1): splitmix64. */
static inline double synth_uniform(uint64_t key, uint64_t i)
{
    uint64_t z = key + (i + 1) * 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 40) / 8388608.0 - 1.0;
}

static inline int synth_ends(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && !memcmp(s + n - m, end, m);
}

/** offset + amp * uniform is the weight; so chosen that signals neither die nor explode with depth.
 *  shape[1..ndim) multiply to the fan-in. */
static inline void synth_rule(const char *name, int ndim, const int64_t *shape, double *offset, double *amp)
{
    double fan_in = 1;

    for (int i = 1; i < ndim; i++)
        fan_in *= (double)shape[i];
    *offset = 0;
    if (synth_ends(name, "bias"))
        *amp = 0.1;
    else if (synth_ends(name, "gamma") || (strstr(name, "norm") && ndim == 1)) {
        *offset = 1;
        *amp = 0.25;
    } else if (synth_ends(name, "scale_shift_table"))
        *amp = 0.3;
    else if (synth_ends(name, "pos_embed"))
        *amp = 0.5;
    else if (strstr(name, "relative_attention_bias") || !strcmp(name, "shared.weight"))
        *amp = 1;
    else
        *amp = sqrt(3.0 / fan_in);
}

static inline float synth_value(uint64_t key, uint64_t i, double offset, double amp)
{
    return (float)(offset + amp * synth_uniform(key, i));
}

#endif /* KL_SYNTH_H */
