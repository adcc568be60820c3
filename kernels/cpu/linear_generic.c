/*
 * The leaves of linear in plain C.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/linear_tmpl.h"

const KlLinearLeaf kl_linear_leaf_generic = { .widen = kl_widen_generic, .epilogue = epilogue };
