/*
 * Weights in f32, plain C.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/widen_tmpl.h"
