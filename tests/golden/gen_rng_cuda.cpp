// The CUDA toolkit's own Philox generator and normal transform, compiled for the host, in the launch order of torch's
// distribution_elementwise_grid_stride_kernel: the oracle of kl_randn_cuda().
// Copyright (c) 2026 the kling for FFmpeg developers
// SPDX-License-Identifier: LGPL-2.1-or-later
//
// gen_rng.py compiles and runs it: c++ -O1 -I$CUDA/include gen_rng_cuda.cpp; needs the toolkit's headers, no GPU.
// Usage: gen_rng_cuda N SEED MAX_THREADS > raw f32
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define QUALIFIERS static inline
#include <cuda_runtime.h>
#include <curand_kernel.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    const int64_t n = std::atoll(argv[1]), max_threads = std::atoll(argv[3]);
    const unsigned long long seed = std::strtoull(argv[2], nullptr, 10);
    int64_t grid = (n + 255) / 256;
    if (grid > max_threads / 256)
        grid = max_threads / 256;
    const int64_t stride = 256 * grid, rounded = ((n - 1) / (stride * 4) + 1) * stride * 4;
    std::vector<float> out(n);
    for (int64_t idx = 0; idx < stride; idx++) {
        curandStatePhilox4_32_10_t state;
        curand_init(seed, idx, 0, &state);
        for (int64_t i = idx; i < rounded; i += stride * 4) {
            const float4 r = curand_normal4(&state);
            const float v[4] = { r.x, r.y, r.z, r.w };
            for (int j = 0; j < 4; j++)
                if (i + stride * j < n)
                    out[i + stride * j] = v[j];
        }
    }
    return std::fwrite(out.data(), 4, n, stdout) == size_t(n) ? 0 : 1;
}
