/*
 * Weights in f32, eight lanes: AVX2, FMA, F16C.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#if defined(__AVX2__)
#include "kernels/cpu/widen_tmpl.h"
#else
typedef int kl_widen_not_here;     /* another architecture: the file is empty, which C forbids */
#endif
