/*
 * The objects behind the public handles, shared by context.c, public_model.c, model_int8.c and job.h only.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_INTERNAL_H
#define KL_INTERNAL_H

#include <pthread.h>

#include "model.h"

struct KlingContext {
    KlingLogFn log;
    void *log_opaque;
    char error[512];
};

/** A transformer in int8, made when a job first asks for it. Guarded by KlingModel.int8_lock. */
typedef struct KlInt8 {
    KlDit *dit;                         /* NULL: none yet */
    int users;                          /* jobs that have taken it */
    bool busy;                          /* a job is making it */
} KlInt8;

/** The parts of a model bound to one table of kernels. */
typedef struct KlParts {
    KlKernels kernels;                  /* KL_PARTS_FAST: open as long as the model */
    KlTextEncoder *text;
    KlDit *dit;
    KlDit *dit_low;                     /* the second expert, NULL without */
    KlImageEncoder *image;              /* NULL without */
    KlVae *vae;
    KlInt8 int8[2];                     /* of dit and dit_low; not through a const KlParts */
    bool ready;
} KlParts;

enum { KL_PARTS_FAST, KL_PARTS_BITEXACT, KL_PARTS_NB };

#define KL_EMBEDDINGS 16                /* prompts whose context rows a model remembers */

typedef struct KlEmbedding {
    char *prompt;                       /* NULL: unused */
    int parts;                          /* KL_PARTS_* that computed it */
    int n;
    float *rows;                        /* [n,text dim], host memory */
    uint64_t used;                      /* of KlingModel.clock, for replacing the oldest */
} KlEmbedding;

struct KlingModel {
    atomic_int refs;
    KlingLogFn log;
    void *log_opaque;
    KlModelFiles files;
    KlModelDesc desc;
    KlingModelInfo info;
    char device[64];                    /* the table's name */
    double vram;                        /* KlingModelParams.vram */

    pthread_mutex_t int8_lock;          /* of parts[].int8; never held while one is made */
    pthread_cond_t int8_done;           /* one has been made, or has failed */

    pthread_mutex_t lock;               /* of all below */
    KlParts parts[KL_PARTS_NB];
    KlEmbedding embeddings[KL_EMBEDDINGS];
    uint64_t clock;
    char error[512];
};

/** The parts for KL_PARTS_*, bound on first use. */
int  kl_model_parts(KlingModel *m, KlDiag *d, int which, const KlParts **parts);
/** A malloc'd copy of the remembered rows of a prompt, or NULL with *n 0 if there are none (or no memory for them). */
float *kl_model_embedding_get(KlingModel *m, int which, const char *prompt, int *n);
/** Remembers a copy of rows[n,dim]; silently does not when memory is short. */
void kl_model_embedding_put(KlingModel *m, int which, const char *prompt, const float *rows, int n);

/* -- model_int8.c -- */

/** Sets up and frees what the calls below need. After the jobs, before the parts' kernels. */
int  kl_model_int8_init(KlingModel *m);
void kl_model_int8_free(KlingModel *m);
void kl_model_int8_drop(KlParts *p);
/** The transformer of KL_PARTS_*, or the second expert (low), in int8: one that is there, or made now with ex while fn
 *  hears of it. Waits where another job is making it; both end when cancelled. Where memory is short and nobody uses
 *  the other expert's, that one goes. To be given back once no session of it is open. */
int  kl_model_int8_take(KlingModel *m, KlDiag *d, int which, bool low, KlExec *ex, KlDitBlockFn fn, void *opaque,
                        const KlDit **dit);
void kl_model_int8_give(KlingModel *m, int which, bool low);
/** Bytes that a job needs beside what is there already: of the larger one of two experts, which take turns. */
size_t kl_model_int8_missing(KlingModel *m, int which);

#endif /* KL_INTERNAL_H */
