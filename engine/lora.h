/*
 * LoRA files: changes of a transformer's weights, kept beside them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A low-rank change W + strength * B A stays what it is in its mapped file and
 * runs as a side branch, y += strength * (x A^T) B^T: weights are not copied,
 * whatever their dtype, and small changes are not rounded away by bf16.
 * Changes of vectors (biases, norms, modulation) are added to their f32 copies.
 */
#ifndef KL_LORA_H
#define KL_LORA_H

#include "weights.h"

/** Which of a model's transformers the weights belong to. */
typedef enum KlExpert { KL_EXPERT_ONLY, KL_EXPERT_HIGH, KL_EXPERT_LOW } KlExpert;

/** Opens the files of spec, "PATH[:STRENGTH][:high|low]" separated by '|', and attaches their changes to w, a
 *  transformer with canonical names; NULL and "" attach nothing. To be called once, before w is bound. Strengths are
 *  finite and may be negative; the default is 1. Entries for the other expert are skipped; :high or :low on a model
 *  with one transformer is an error. Of every file the number of tensors that matched is logged, the others are listed
 *  in one warning; none at all, or a shape that is not the weight's, is an error. */
int kl_lora_attach(KlDiag *d, KlWeights *w, const char *spec, KlExpert expert);

#endif /* KL_LORA_H */
