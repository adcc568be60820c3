/*
 * The table of kernels: everything that computes, behind one set of pointers.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * This room knows shapes, strides and dtypes. It does not know a model, a
 * layer, a prompt or a file. Each op's contract stands at its pointer; ref/
 * is the contract in C. kl_kernels_init() fills the table with ref and then
 * overwrites upward with what the machine can do.
 *
 * Dimension letters
 *   S   tokens of a sequence (Sq of queries, Sk of keys)
 *   D   model dimension, the contiguous one of an activation row
 *   H   heads;  E  elements of one head, D = H*E
 *   M,N,K  of y[M,N] = x[M,K] * w[N,K]^T
 *   R,W    rows and columns of one picture (a latent or a pixel frame)
 *   C   channels, IC in, OC out
 *
 * Layouts. Activations are row-major f32, x[S,D] dense unless a stride `ld`
 * (in elements) is named. Pictures are channels-last: p[R,W,C], dense, one
 * picture per pointer. Weights keep the dtype that their file has, and are
 * widened on the way into a product: never a whole matrix at once.
 *
 * Memory. Pointers to activations come from mem_alloc() of the same executor
 * (64-byte aligned); weights are KlWeight, at any alignment, bound with
 * weight_bind(); vectors that live as long as weights (a bias, a norm's) are
 * bound with vector_bind(). What an op takes from host memory says so. Unless
 * a contract says "in place", outputs do not overlap inputs.
 *
 * Operands. What is made only to be multiplied may be made as an operand: rows
 * in the form in which the table multiplies them, operand_bytes() in all. An
 * operand is dense and opaque; the ops that make one and those that take one
 * are told so, and give what they would have given without the detour. On a
 * host it is plain f32 and nothing differs.
 *
 * Errors. Ops validate nothing: the engine validates once at its wall. They
 * return void and cannot fail on a host; a device's failure stays with the
 * executor: exec_sync(), mem_download() and mem_read*() return it from then
 * on, and exec_error() names the call. Only exec_*, mem_*, *_bind and
 * conv_create return an error.
 *
 * Determinism. For one table and one build, results do not depend on the
 * number of threads: work is cut into tiles by shape alone, and no reduction
 * crosses a tile. The ref table gives the same bits on every machine: double
 * accumulation in index order, built without contraction or fast-math.
 */
#ifndef KL_KERNELS_H
#define KL_KERNELS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef enum KlDType {
    KL_F32,
    KL_F16,
    KL_BF16,
    KL_F8_E4M3,                         /* torch.float8_e4m3fn: no infinities, 0x7f and 0xff are NaN */
    KL_F8_E5M2,                         /* torch.float8_e5m2: the upper byte of a half */
    KL_I8,                              /* -128..127, two's complement; quantize_rows gives -127..127 */
    /* GGUF's blocks, byte by byte as ggml lays them out and equal in value to its dequantization; see quants.h */
    KL_Q8_0,
    KL_Q6_K,
    KL_Q5_K,
    KL_Q5_1,
    KL_Q5_0,
    KL_Q4_K,
    KL_Q4_1,
    KL_Q4_0,
    KL_Q3_K,
    KL_Q2_K,
    KL_DTYPE_NB
} KlDType;

typedef struct KlDTypeInfo {
    const char *name;                   /* "bf16", "q4_k", ... */
    int block;                          /* elements that are stored together; 1: each by itself */
    int bytes;                          /* of one block */
} KlDTypeInfo;

static inline const KlDTypeInfo *kl_dtype_info(KlDType t)
{
    static const KlDTypeInfo info[KL_DTYPE_NB] = {     /* in the order of the enum; C++ reads this, too */
        { "f32", 1, 4 }, { "f16", 1, 2 }, { "bf16", 1, 2 }, { "f8_e4m3", 1, 1 },
        { "f8_e5m2", 1, 1 }, { "i8", 1, 1 }, { "q8_0", 32, 34 }, { "q6_k", 256, 210 },
        { "q5_k", 256, 176 }, { "q5_1", 32, 24 }, { "q5_0", 32, 22 }, { "q4_k", 256, 144 },
        { "q4_1", 32, 20 }, { "q4_0", 32, 18 }, { "q3_k", 256, 110 }, { "q2_k", 256, 84 },
    };

    return &info[t];
}

/** Elements that are stored together. A row of a weight holds whole blocks: K, or D, is a multiple of it. */
static inline int kl_dtype_block(KlDType t) { return kl_dtype_info(t)->block; }

/** Bytes of n >= 0 elements, a multiple of kl_dtype_block(t). */
static inline size_t kl_dtype_bytes(KlDType t, int64_t n)
{
    return (size_t)(n / kl_dtype_info(t)->block) * (size_t)kl_dtype_info(t)->bytes;
}

/** A dense weight in its file's dtype, at any alignment, rows following each other without a gap; data and scale stay
 *  the owner's. Once bound to a table (weight_bind), both are that table's own: on a device not addresses to read from
 *  or count with. Where a scale is given (with fp8 and int8 only), element i is (float)stored[i] *
 *  scale[i / scale_group], rounded to f32. */
typedef struct KlWeight {
    const void *data;                   /* NULL: absent */
    KlDType dtype;
    const float *scale;                 /* NULL: 1 */
    int64_t scale_group;                /* elements that share a scale: 0, all; or those of a row (linear's K) */
} KlWeight;

/** The rest of a weight from element `from` on, a multiple of its block and of scale_group. */
static inline KlWeight kl_weight_from(KlWeight w, int64_t from)
{
    w.data = (const char *)w.data + kl_dtype_bytes(w.dtype, from);
    if (w.scale && w.scale_group)
        w.scale += from / w.scale_group;
    return w;
}

typedef enum KlActivation {
    KL_ACT_NONE,
    KL_ACT_SILU,                        /* x / (1 + exp(-x)) */
    KL_ACT_GELU_TANH,                   /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    KL_ACT_GELU,                        /* 0.5 x (1 + erf(x / sqrt(2))) */
} KlActivation;

/* Execution resources of one job: threads (or a device's stream) and memory. Opaque to the engine. */
typedef struct KlExec KlExec;

/** y[M,N] = residual + gate * act(x[M,K] * w[N,K]^T + bias[N])
 *
 *  With KL_I8 weights (K <= 131072) the product runs in integers. Each row of x is quantized as by quantize_rows, to
 *  qx and sx, and x w^T is  sx[m] * sw[n] * sum_k qx[m,k] * w[n,k]  with sw the weight's scale (or 1), the sum exact.
 *  A row with a NaN or an infinity gives NaN in all of its N outputs (before gate and residual). */
typedef struct KlLinear {
    const float *x;   int64_t ldx;      /* ldx >= K; K of an operand */
    KlWeight     w;                     /* [N,K]; not int8 when x is an operand */
    const float *bias;                  /* [N] or NULL */
    float       *y;   int64_t ldy;      /* ldy >= N */
    int64_t M, N, K;
    KlActivation act;
    const float *residual;              /* [M,N] with stride ldy or NULL (0); may be y itself */
    const float *gate;                  /* [groups,N] or NULL (1); row m uses group m / group_rows;
                                           only with residual */
    int64_t ldgate;                     /* between groups, in elements */
    int64_t group_rows;                 /* >= 1 when gate is given */
    int x_operand, y_operand;           /* of width K, of width N (ldy is N, and no residual) */
    int precise;                        /* 1: for what is small and steers the rest. With KL_PREC_AUTO, too, x and w
                                           keep f32: whole floats where M is at most KL_PRECISE_ROWS, and all but
                                           int8 where N*K is at most KL_PRECISE_WEIGHTS. No operands */
} KlLinear;

#define KL_PRECISE_ROWS 64
#define KL_PRECISE_WEIGHTS ((int64_t)1 << 21)

/** out[Sq,H,E] = softmax(scale * q k^T + key_bias + rel_bias) v, softmax in f32 or better,
 *  the Sq x Sk scores never in memory as a whole. */
typedef struct KlAttention {
    const float *q;   int64_t ldq;      /* [Sq,H,E]: token stride ldq, head h at h*E */
    const float *k;   int64_t ldk;      /* [Sk,H,E] */
    const float *v;   int64_t ldv;      /* [Sk,H,E] */
    float       *out; int64_t ldo;      /* [Sq,H,E]; may be q itself */
    int64_t Sq, Sk;                     /* >= 1 */
    int H, E;                           /* E any multiple of 2 up to 1024 */
    float scale;
    const float *key_bias;              /* [Sk] added to every score of that key, or NULL; -INFINITY masks */
    const float *rel_bias;              /* [H, Sq+Sk-1]: score (i,j) gets rel_bias[h][j - i + Sq - 1]; or NULL */
    int operand;                        /* out is one, of width H*E (ldo is that); where operand_bytes() are fewer
                                           than those of floats it may lie anywhere in q, k and v, else apart */
} KlAttention;

/** y = norm(x) [* weight + bias] [* (1 + scale) + shift], in that order, statistics in double or
 *  compensated f32. In place allowed. */
typedef struct KlNorm {
    const float *x;   int64_t ldx;      /* [S,D] */
    float       *y;   int64_t ldy;
    int64_t S, D;
    float eps;
    const float *weight, *bias;         /* [D] or NULL */
    const float *scale, *shift;         /* [groups,D] with stride ldmod, or NULL; token s uses group s / group_rows */
    int64_t ldmod, group_rows;          /* group_rows >= 1 when scale is given */
    int operand;                        /* y is one: ldy is D; not x, but as operand_bytes says */
} KlNorm;

/* Convolution of causal video: one output picture from kt input pictures. */
typedef struct KlConvDesc {
    int ic, oc;
    int kt;                             /* pictures in time, 1..3 */
    int kh, kw;                         /* 1 or 3 */
    int stride;                         /* in space, 1 or 2 */
    int pad_top, pad_left, pad_bottom, pad_right;  /* zeros */
    int up2;                            /* 1: the input is first doubled by nearest neighbour in both directions
                                           (R and W of the input are those before doubling) */
    int R, W;                           /* input picture */
    int operand;                        /* 1: input pictures are operands of R*W rows of ic */
} KlConvDesc;

/** Blocks of f x f pixels, in T pictures, against channels (pixel shuffle). Of fine[R*f,W*f,C] and coarse[R,W,D], D
 *  dividing C*T*f*f, the sample (c, t, i, j) of a block, number v = ((c*T + t)*f + i)*f + j, belongs to coarse channel
 *  v / g, g = C*T*f*f / D. */
typedef struct KlShuffle {
    const float *x;                     /* one of the two */
    float *y;                           /* the other */
    int R, W;                           /* the coarse picture */
    int C, D;                           /* channels of the fine, of the coarse picture */
    int f;                              /* >= 1 */
    int T, t;                           /* the fine picture of this call is number t of T, 0 <= t < T */
    int by_columns;                     /* 1: i and j change places in v */
    int add;                            /* shuffle_down: 1 adds to y */
} KlShuffle;

/** A part of a picture as samples: rows row0.. and columns col0.. of x[R,W,C], whose first three channels are R, G, B.
 *  With v = clamp(x*0.5 + 0.5, 0, 1) a sample is v (a NaN stays), or kl_sample(v, bits). */
typedef struct KlPixels {
    const float *x;
    int W, C;                           /* of x; C >= 3 */
    int row0, col0, rows, cols;         /* inside of x */
    int bits;                           /* 32: float; 1..8: uint8_t; 9..16: uint16_t */
    int packed;                         /* 0: out[3,rows,cols]; 1: out[rows,cols,3] */
    void *out;                          /* kl_pixels_bytes() */
} KlPixels;

static inline size_t kl_sample_bytes(int bits) { return bits > 16 ? 4 : bits > 8 ? 2 : 1; }

static inline size_t kl_pixels_bytes(int rows, int cols, int bits)
{
    return 3 * (size_t)rows * (size_t)cols * kl_sample_bytes(bits);
}

/** v in [0,1], what is beyond clipped, as an integer of 1..16 bits: to the nearest, ties to even, a NaN to 0. */
static inline unsigned kl_sample(float v, int bits)
{
    v = v > 0 ? v : 0;
    return (unsigned)lrintf((v < 1 ? v : 1) * (float)((1u << bits) - 1));
}

static inline int kl_conv_out(int in, int up2, int k, int stride, int pad)
{
    return ((in << up2) + pad - k) / stride + 1;
}

/* A convolution bound to a description and packed weights. */
typedef struct KlConv KlConv;
/* Weights of a convolution in the backend's own layout, independent of R and W: shared between jobs. */
typedef struct KlConvWeights KlConvWeights;

/* What linear, attention and conv may do to the operands of their products. Sums are in f32 or better always. */
typedef enum KlPrecision {
    KL_PREC_AUTO,                       /* round them to what the backend multiplies fastest without visible loss */
    KL_PREC_F32,                        /* keep f32; a host does so in either case */
} KlPrecision;

typedef struct KlExecParams {
    int threads;                        /* >= 1 */
    KlPrecision precision;
    void (*log)(void *opaque, const char *line);   /* or NULL */
    void *opaque;
} KlExecParams;

/* Ops that come again and again with the same arguments. */
typedef struct KlReplay KlReplay;

/* Bytes of bound weights. All 0 on a host, which uses them where they lie. */
typedef struct KlWeightStats {
    int64_t bound;                      /* in all */
    int64_t resident;                   /* lie on the device now */
    int64_t streamed;                   /* sent to it again and again since the table was opened, as they could not
                                           stay */
} KlWeightStats;

typedef struct KlKernels KlKernels;
struct KlKernels {
    char name[64];                      /* "ref", "cpu (avx2)", "cuda:0 (NVIDIA H200)", ... */
    void *state;                        /* the table's own; NULL on a host */
    int ahead;                          /* pieces of work that are worth enqueueing before the first one's result is
                                           waited for; 0 on a host, where an op is done when it returns */

    /** Frees what the table itself holds; everything made with it must be gone. Copies of a table share one state:
     *  close one of them. */
    void (*close)(KlKernels *k);

    /* -- execution and memory: may fail -- */
    /** 0, or negative and *ex NULL when threads or memory are short. */
    int  (*exec_create)(const KlKernels *k, KlExec **ex, const KlExecParams *p);
    void (*exec_destroy)(KlExec **ex);                  /* waits for work, frees; NULL-safe; memory that came
                                                           from mem_alloc must have been freed */
    int  (*exec_sync)(KlExec *ex);                      /* waits; negative when the device failed */
    const char *(*exec_error)(const KlExec *ex);        /* the first failure's sentence, "" if none */
    /** Between pieces of work such as a transformer's block: waits while the device is far behind (some tenths of a
     *  second), so that a job that is cancelled ends soon and progress tells the truth. Nothing on a host. */
    void (*exec_pace)(KlExec *ex);
    /** Scratch for the ops of this executor; grows only. Call before ops with the largest of their
     *  *_scratch figures. Negative when out of memory, the old scratch then stays. */
    int  (*exec_reserve)(KlExec *ex, size_t bytes);
    /** Bytes that mem_alloc could still give without the system running out, an estimate; INT64_MAX if unknown. */
    int64_t (*mem_available)(const KlKernels *k);
    void *(*mem_alloc)(KlExec *ex, size_t bytes);       /* 64-byte aligned, uninitialised; NULL when out of memory */
    void (*mem_free)(KlExec *ex, void *p);              /* NULL-safe */
    int  (*mem_upload)(KlExec *ex, void *dst, const void *host, size_t bytes);   /* host may be reused on return */
    int  (*mem_download)(KlExec *ex, void *host, const void *src, size_t bytes); /* done on return */
    /** Host memory for mem_read: page-locked where there is a device. NULL when out of memory. Free it after the reads
     *  into it, before the executor. */
    void *(*mem_host_alloc)(KlExec *ex, size_t bytes);
    void (*mem_host_free)(KlExec *ex, void *host);      /* NULL-safe */
    /** Begins to read what the ops until now have made, beside those that follow. host, from mem_host_alloc, and src
     *  stay as they are until mem_read_wait() or exec_sync(). Returns a ticket, above 0, or negative. */
    int64_t (*mem_read)(KlExec *ex, void *host, const void *src, size_t bytes);
    /** Waits until the read of that ticket, and every one before it, is done. Negative when the device failed. */
    int  (*mem_read_wait)(KlExec *ex, int64_t ticket);
    void (*mem_copy)(KlExec *ex, void *dst, const void *src, size_t bytes);      /* in order with the ops */
    void (*mem_zero)(KlExec *ex, void *dst, size_t bytes);

    /* -- work that comes again: fewer launches on a device; on a host it is just done -- */
    /** Around ops, exec_pace(), and nothing else, that are the same each time: pointers (to memory of this executor and
     *  bound weights, which stays), shapes and scalars, until replay_forget(). *r is NULL the first time.
     *
     *      do {
     *          if (k->replay_begin(ex, &r))
     *              break;                          // true: they have been enqueued
     *          whole = ...;                        // the ops; false when they were cut short
     *      } while (k->replay_end(ex, r, whole));  // true: they must be issued once more
     */
    int  (*replay_begin)(KlExec *ex, KlReplay **r);
    int  (*replay_end)(KlExec *ex, KlReplay *r, int whole);
    void (*replay_forget)(KlExec *ex, KlReplay **r);    /* before any of it changes, and before the executor goes;
                                                           *r becomes NULL; NULL is allowed */

    /* -- what lives as long as a model: any thread, no executor; may fail -- */
    /** Makes w[N,K] usable by the ops of this table; w->data and w->scale become the table's own. The host's must stay
     *  as they are until weight_release(): a device may read them at first use, or again and again. Negative when out
     *  of memory, w is then as it was. Not for gather, whose table stays the host's, nor for conv_weights_create. */
    int  (*weight_bind)(const KlKernels *k, KlWeight *w, int64_t N, int64_t K);
    void (*weight_release)(const KlKernels *k, KlWeight *w);    /* data and scale become NULL; absent: allowed */
    void (*weight_stats)(const KlKernels *k, KlWeightStats *stats);
    /** Gives v[n], from malloc, to the table: *v becomes an address for its ops and is no longer the host's to read.
     *  Negative when out of memory, *v is then as it was. */
    int  (*vector_bind)(const KlKernels *k, float **v, int64_t n);
    void (*vector_release)(const KlKernels *k, float **v);      /* *v becomes NULL; NULL is allowed */

    /** Bytes of an operand of S rows of D. An op may make one in place where they are those of S*D floats. */
    size_t (*operand_bytes)(const KlExec *ex, int64_t S, int64_t D);

    /* -- scratch needs, in bytes, for one call -- */
    size_t (*linear_scratch)(const KlExec *ex, int64_t M, int64_t N, int64_t K, KlDType w);
    size_t (*attention_scratch)(const KlExec *ex, int64_t Sq, int64_t Sk, int H, int E);

    /* -- dense -- */
    void (*linear)(KlExec *ex, const KlLinear *p);
    void (*attention)(KlExec *ex, const KlAttention *p);

    /* -- rows -- */
    void (*layer_norm)(KlExec *ex, const KlNorm *p);    /* (x - mean) / sqrt(var + eps), var biased */
    void (*rms_norm)(KlExec *ex, const KlNorm *p);      /* x / sqrt(mean(x^2) + eps); bias, scale, shift unused */
    /** x[S,D] with stride ldx, in place: RMS-norm over all D with weight[D] (or NULL), then rotation of
     *  pairs (2i, 2i+1) in each head by cos/sin [S,E/2]: (a,b) -> (a c - b s, a s + b c). cos NULL: no rotation. */
    void (*qk_norm_rope)(KlExec *ex, float *x, int64_t ldx, int64_t S, int H, int E, const float *weight, float eps,
                         const float *cos, const float *sin);
    /** x[S,D] += gate[groups,D] * y[S,D]; gate NULL: 1. Token s uses group s / group_rows. */
    void (*gated_add)(KlExec *ex, float *x, const float *y, int64_t S, int64_t D, const float *gate, int64_t ldgate,
                      int64_t group_rows);
    /** y[n] = act(x[n]) [* mul[n]], in place allowed; mul NULL: 1. */
    void (*activate)(KlExec *ex, float *y, const float *x, const float *mul, int64_t n, KlActivation act);
    /** out[S,D] = table[ids[s],D] as convert gives it; 0 <= ids < rows of table. ids and table are host memory, table
     *  not bound. */
    void (*gather)(KlExec *ex, float *out, KlWeight table, const int32_t *ids, int64_t S, int64_t D);
    /** out[n] = sum_i a[i] * x[i][n], n_in 1..8, in double, in the order of i, rounded once; out may be one of x.
     *  a and the array x are host memory. */
    void (*lincomb)(KlExec *ex, float *out, const float *const *x, const double *a, int n_in, int64_t n);
    /** f32 copy of a weight's first n elements, n a multiple of its block: exact, or rounded once by its scale. */
    void (*convert)(KlExec *ex, float *out, KlWeight w, int64_t n);
    /** Symmetric int8, one scale per row of w[N,K]: with a = max_k |w[n,k]|, scale[n] = a / 127 and
     *  q[n,k] = w[n,k] * (127 / a) to the nearest whole number, ties to even; every operation in f32, rounded by
     *  itself. A row with a < 2^-100 becomes zeros with scale 0, one with a NaN or an infinity zeros with scale NaN.
     *  q and scale, in the executor's memory, make a bound KlWeight { q, KL_I8, scale, K }. */
    void (*quantize_rows)(KlExec *ex, int8_t *q, float *scale, KlWeight w, int64_t N, int64_t K);

    /* -- latent video <-> tokens.  z[C,F,R,W];  patch (1,ph,pw);  R = gr*ph, W = gw*pw. -- */
    /** tok[F*gr*gw, C*ph*pw], element order (c, i, j) within a token, as a Conv3d weight's. */
    void (*patchify)(KlExec *ex, float *tok, const float *z, int C, int F, int R, int W, int ph, int pw);
    /** The transformer's output order: element (i, j, c) within a token. z[C,F,R,W]. */
    void (*unpatchify)(KlExec *ex, float *z, const float *tok, int C, int F, int R, int W, int ph, int pw);

    /* -- pictures, channels-last -- */
    /** w is [OC,IC,kt,kh,kw] dense in its dtype, bias [OC] f32 host memory or NULL: both copied. Negative when
     *  out of memory. */
    int  (*conv_weights_create)(const KlKernels *k, KlConvWeights **cw, KlWeight w, const float *bias,
                                int ic, int oc, int kt, int kh, int kw);
    void (*conv_weights_destroy)(KlConvWeights **cw);
    /** cw must outlive *c. Negative when out of memory or refused by the backend. Of a 3x3 with up2 a backend may keep
     *  sums of the weights, 16 taps for their 9. */
    int  (*conv_create)(KlExec *ex, KlConv **c, const KlConvDesc *d, const KlConvWeights *cw);
    void (*conv_destroy)(KlConv **c);
    size_t (*conv_scratch)(const KlConv *c);
    /** out[R',W',OC] = sum over time of conv(src[t]) + bias [+ residual[R',W',OC]]. src[kt], oldest first, each
     *  [R,W,IC]; a NULL src is a picture of zeros. residual NULL or may be out. */
    void (*conv)(KlExec *ex, const KlConv *c, float *out, const float *const *src, const float *residual);
    /** y[R*W,C] = act(x / max(||x||_2, 1e-12) * sqrt(C) * gamma[C]) over the channels of each pixel
     *  (torch's F.normalize), in place allowed; operand: y is one. */
    void (*pixel_norm)(KlExec *ex, float *y, const float *x, int64_t pixels, int C, const float *gamma,
                       KlActivation act, int operand);
    /** y (coarse) = [y +] 1/g times the sum of x's (fine) samples of each channel; called for every t, the mean. */
    void (*shuffle_down)(KlExec *ex, const KlShuffle *p);
    /** y (fine), each sample = its channel of x (coarse). Moves only: exact. */
    void (*shuffle_up)(KlExec *ex, const KlShuffle *p);
    void (*to_pixels)(KlExec *ex, const KlPixels *p);
};

/* CPU instruction sets that a table may use. */
#define KL_CPU_AVX2    (1u << 0)        /* with FMA and F16C */
#define KL_CPU_AVX512  (1u << 1)        /* F, BW, DQ, VL */
#define KL_CPU_VNNI    (1u << 2)        /* AVX512_VNNI: sums of byte products that do not saturate */
#define KL_CPU_ALL     (~0u)

/** What this machine has. */
unsigned kl_cpu_flags(void);

/** The plain C table: the meaning of every op. */
void kl_kernels_init_ref(KlKernels *k);
/** The tuned CPU table for mask & kl_cpu_flags(): mask 0 still uses the GEMM library. */
void kl_kernels_init_cpu(KlKernels *k, unsigned mask);

#endif /* KL_KERNELS_H */
