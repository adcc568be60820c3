/*
 * The ref table.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "ref.h"

void kl_kernels_init_ref(KlKernels *k)
{
    memset(k, 0, sizeof(*k));
    memcpy(k->name, "ref", 4);
    kl_kernels_init_host(k);
    kl_ref_init_linear(k);
    kl_ref_init_attention(k);
    kl_ref_init_norm(k);
    kl_ref_init_eltwise(k);
    kl_ref_init_layout(k);
    kl_ref_init_conv(k);
    kl_ref_init_picture(k);
}
