/*
 * What the files of the LoRA reader share.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_LORA_INTERNAL_H
#define KL_LORA_INTERNAL_H

#include "weights_internal.h"

typedef enum KlLoraRole {               /* what a tensor of a LoRA file is to a layer, in the order of one layer */
    KL_LORA_A, KL_LORA_B, KL_LORA_ALPHA,
    KL_LORA_DIFF, KL_LORA_DIFF_BIAS, KL_LORA_DIFF_TABLE,
    KL_LORA_OTHER,                      /* of an adapter that is not a LoRA */
    KL_LORA_NONE,
} KlLoraRole;

/* Names that files have for the layers of one transformer. */
typedef struct KlLoraAlias {
    char *name;
    const KlTensor *weight;             /* X.weight, or a scale_shift_table */
} KlLoraAlias;

typedef struct KlLoraNames {
    KlLoraAlias *a;                     /* n, sorted by name */
    int n;
} KlLoraNames;

int  kl_lora_names_create(KlDiag *d, KlLoraNames *names, const KlWeights *w);
void kl_lora_names_free(KlLoraNames *names);
/** The role of a tensor by its name's end; *stem is the length before it. */
KlLoraRole kl_lora_role(const char *name, size_t *stem);
/** The layer that name[stem] is about; NULL when there is none. */
const KlTensor *kl_lora_layer(const KlLoraNames *names, const char *name, size_t stem);
/** Whether the name is about the low-noise expert ("transformer_2."). */
bool kl_lora_is_low(const char *name);

/** What a file written by peft says of the strengths of its layers. */
typedef struct KlLoraAlphas {
    double alpha;                       /* 0: not said */
    bool rslora;                        /* alpha / sqrt(rank) instead of alpha / rank */
} KlLoraAlphas;

/** From the metadata of a safetensors file. */
int kl_lora_read_alphas(KlDiag *d, const KlWeights *lora, KlLoraAlphas *out);

#endif /* KL_LORA_INTERNAL_H */
