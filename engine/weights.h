/*
 * Named tensors of one part of a model, mapped from safetensors or GGUF.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Knows files, names, shapes and dtypes; never what a tensor means. Nothing
 * in a file is trusted: every offset, size, shape and name is checked before
 * a pointer into the mapping is given out.
 */
#ifndef KL_WEIGHTS_H
#define KL_WEIGHTS_H

#include "common.h"
#include "kernels/kernels.h"

#define KL_MAX_DIMS 8

typedef enum KlFileDType {              /* what safetensors and GGUF can hold; only some can be computed with */
    KL_FT_F32, KL_FT_F16, KL_FT_BF16, KL_FT_F64, KL_FT_I64, KL_FT_I32, KL_FT_I16, KL_FT_I8, KL_FT_U8, KL_FT_BOOL,
    KL_FT_F8_E4M3, KL_FT_F8_E5M2,
    KL_FT_Q4_0, KL_FT_Q4_1, KL_FT_Q5_0, KL_FT_Q5_1, KL_FT_Q8_0,     /* GGUF's blocks of 32 */
    KL_FT_Q2_K, KL_FT_Q3_K, KL_FT_Q4_K, KL_FT_Q5_K, KL_FT_Q6_K,     /* and of 256 */
    KL_FT_NB
} KlFileDType;

/** Name of a dtype as its format spells it. */
const char *kl_file_dtype_name(KlFileDType t);
/** Bytes of one block, and its elements: 1 but for GGUF's block formats. */
size_t kl_file_dtype_bytes(KlFileDType t);
int kl_file_dtype_block(KlFileDType t);
/** Whether safetensors has it: every element stands for itself. */
bool kl_file_dtype_is_plain(KlFileDType t);
/** What the kernels call it; false when they do not compute with it. */
bool kl_file_dtype_kernel(KlFileDType t, KlDType *out);

typedef struct KlTensor {
    const char *name;                   /* the part's canonical (diffusers/transformers) name */
    const char *file_name;              /* as the file spells it */
    KlFileDType dtype;
    int ndim;
    int64_t shape[KL_MAX_DIMS];
    const void *data;                   /* into the mapping, aligned for its dtype */
    size_t bytes;
    const float *scale;                 /* that the elements are multiplied by, or NULL; the set's own */
    int64_t scale_group;                /* elements that share one: those of a row, or 0 for all */
} KlTensor;

typedef struct KlWeights KlWeights;

/** One rule of a renaming: names matching `from` become `to`. '#' in both stands for a run of digits (kept in
 *  order), '*' at the end of both for any rest. The first rule that matches wins. */
typedef struct KlRename {
    const char *from, *to;
} KlRename;

/** Opens `path`: a .safetensors or .gguf file, told by its first bytes, an index (*.safetensors.index.json), or a
 *  folder that holds one of the usual names (model, diffusion_pytorch_model, with or without an index). Maps, checks
 *  all headers, reads no data but scales. */
int  kl_weights_open(KlDiag *d, KlWeights **w, const char *path);
/** Tensors that already lie in the caller's memory (benches, tests): t[n] and names are copied; data must outlive
 *  *w. */
int  kl_weights_borrow(KlDiag *d, KlWeights **w, const KlTensor *t, int n, const char *path);
void kl_weights_close(KlWeights **w);
const char *kl_weights_path(const KlWeights *w);
/** The metadata of a GGUF file; NULL for other files. */
const struct KlGguf *kl_weights_gguf(const KlWeights *w);
/** All tensors, in file order; n is their number. */
const KlTensor *kl_weights_all(const KlWeights *w, int *n);
/** By canonical name; NULL if there is none. O(log n). */
const KlTensor *kl_weights_find(const KlWeights *w, const char *name);
/** Renames every tensor that a rule matches; drops `prefix` first where a name begins with it. A clash of two
 *  names is an error. */
int  kl_weights_rename(KlDiag *d, KlWeights *w, const char *prefix, const KlRename *rules, int n_rules);
/** Gives a tensor another shape of as many elements; one of another number is left as it is. */
void kl_weights_reshape(KlWeights *w, const char *name, int ndim, const int64_t *shape);
/** Tells the system that the pages will not be needed soon (madvise); they stay readable. */
void kl_weights_drop_pages(KlWeights *w);

/** Finds `name`, checks its shape exactly (ndim dims; -1 matches any; of GGUF files without dims of 1 in front) and
 *  that it is of a dtype that can be computed with, and gives it as a weight, with its scale. The error names tensor,
 *  file, wanted and found shape. */
int  kl_weights_get(KlDiag *d, const KlWeights *w, const char *name, int ndim, const int64_t *shape, KlWeight *out);
/** The same, as a f32 copy in malloc'd memory that the caller frees (for biases, norms, tables). */
int  kl_weights_get_f32(KlDiag *d, const KlWeights *w, const char *name, int ndim, const int64_t *shape, float **out);
/** kl_weights_get for a 2-D tensor: n x k, or any tensor whose first dim is n and whose others multiply to k. */
int  kl_weights_get_matrix(KlDiag *d, const KlWeights *w, const char *name, int64_t n, int64_t k, KlWeight *out);

/** One change of a tensor by a LoRA (see lora.h): + strength * B A, or, where rank is 0, + strength * A. Vectors have
 *  it added by kl_weights_get_f32(); matrices are given without it. */
typedef struct KlDelta {
    const char *name;                   /* of the tensor */
    KlWeight a;                         /* [rank,k], or as the tensor */
    KlWeight b;                         /* [n,rank] */
    int64_t rank;
    float strength;
    int order;                          /* in which they were given */
} KlDelta;

/** Whether there are changes; *rank is the largest. */
bool kl_weights_max_rank(const KlWeights *w, int64_t *rank);
/** The n changes of a tensor, in the order of the files; NULL when there are none. */
const KlDelta *kl_weights_deltas(const KlWeights *w, const char *name, int *n);

#endif /* KL_WEIGHTS_H */
