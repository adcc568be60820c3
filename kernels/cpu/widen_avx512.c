/*
 * Weights in f32, sixteen lanes: AVX-512.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#if defined(__AVX512F__)
#include "kernels/cpu/widen_tmpl.h"
#else
typedef int kl_widen_not_here;     /* another architecture: the file is empty, which C forbids */
#endif
