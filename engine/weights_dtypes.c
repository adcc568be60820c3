/*
 * What the elements of a file's tensors can be.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "weights.h"

static const struct {
    const char *name;
    size_t bytes;                       /* of a block */
    int block;                          /* elements that are stored together, along the fastest dim */
    int kernel;                         /* KlDType + 1, or 0 */
} dtypes[KL_FT_NB] = {
    [KL_FT_F32]     = { "F32",     4,   1, KL_F32 + 1 },
    [KL_FT_F16]     = { "F16",     2,   1, KL_F16 + 1 },
    [KL_FT_BF16]    = { "BF16",    2,   1, KL_BF16 + 1 },
    [KL_FT_F64]     = { "F64",     8,   1, 0 },
    [KL_FT_I64]     = { "I64",     8,   1, 0 },
    [KL_FT_I32]     = { "I32",     4,   1, 0 },
    [KL_FT_I16]     = { "I16",     2,   1, 0 },
    [KL_FT_I8]      = { "I8",      1,   1, KL_I8 + 1 },
    [KL_FT_U8]      = { "U8",      1,   1, 0 },
    [KL_FT_BOOL]    = { "BOOL",    1,   1, 0 },
    [KL_FT_F8_E4M3] = { "F8_E4M3", 1,   1, KL_F8_E4M3 + 1 },
    [KL_FT_F8_E5M2] = { "F8_E5M2", 1,   1, KL_F8_E5M2 + 1 },
    [KL_FT_Q4_0]    = { "Q4_0",    18,  32, KL_Q4_0 + 1 },
    [KL_FT_Q4_1]    = { "Q4_1",    20,  32, KL_Q4_1 + 1 },
    [KL_FT_Q5_0]    = { "Q5_0",    22,  32, KL_Q5_0 + 1 },
    [KL_FT_Q5_1]    = { "Q5_1",    24,  32, KL_Q5_1 + 1 },
    [KL_FT_Q8_0]    = { "Q8_0",    34,  32, KL_Q8_0 + 1 },
    [KL_FT_Q2_K]    = { "Q2_K",    84,  256, KL_Q2_K + 1 },
    [KL_FT_Q3_K]    = { "Q3_K",    110, 256, KL_Q3_K + 1 },
    [KL_FT_Q4_K]    = { "Q4_K",    144, 256, KL_Q4_K + 1 },
    [KL_FT_Q5_K]    = { "Q5_K",    176, 256, KL_Q5_K + 1 },
    [KL_FT_Q6_K]    = { "Q6_K",    210, 256, KL_Q6_K + 1 },
};

const char *kl_file_dtype_name(KlFileDType t)
{
    return dtypes[t].name;
}

size_t kl_file_dtype_bytes(KlFileDType t)
{
    return dtypes[t].bytes;
}

int kl_file_dtype_block(KlFileDType t)
{
    return dtypes[t].block;
}

bool kl_file_dtype_is_plain(KlFileDType t)
{
    return dtypes[t].block == 1;
}

bool kl_file_dtype_kernel(KlFileDType t, KlDType *out)
{
    *out = dtypes[t].kernel ? (KlDType)(dtypes[t].kernel - 1) : KL_F32;
    return dtypes[t].kernel != 0;
}
