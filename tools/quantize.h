/*
 * From f32 to the stored forms that kling-quantize writes.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * How they are read is kernels/quants.h. Values are finite.
 */
#ifndef KL_QUANTIZE_H
#define KL_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/** To nearest even; what is larger than the largest becomes that (fp8) or infinite (f16). */
uint16_t quantize_f16(float x);
uint16_t quantize_bf16(float x);
uint8_t  quantize_e4m3(float x);

/** out = n elements of x in `to`: f32, f16, bf16; fp8 as x / scale; int8, for which x is a whole row and scale its, as
 *  the kernels' quantize_rows; or a GGUF type from q8_0 to q4_0, for which n is a multiple of the block. */
void quantize_row(uint8_t *out, const float *x, int64_t n, KlDType to, float scale);

/** The scale of values up to max: max / 448 for fp8, max / 127 for int8 (a row's); 1 when max is 0 or the dtype has
 *  none. */
float quantize_scale(float max, KlDType to);

/** Whether a tensor, by its canonical name, is a matrix of a transformer's blocks, or of a text encoder's: these are
 *  quantized. Embeddings, modulation, norms, biases, the first and the last layer are not. */
bool quantize_takes(const char *name, int ndim, bool transformer);

#endif /* KL_QUANTIZE_H */
