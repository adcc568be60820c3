/*
 * The straight line: prompt and known pictures -> latents -> pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A clip is made window by window. What each stage of a window needs is
 * allocated when it starts and freed when it ends, and the pages of weights
 * that are done with are given back, so that a clip's peak is that of its
 * largest stage, however long it is. Between windows live the prompts'
 * embeddings and the last few pictures.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bind.h"
#include "job.h"
#include "rng.h"

#define CONTEXT_NOISE 0.02              /* level to which a drift guard of 1 noises a window's context */

static double now_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int default_threads(void)
{
    cpu_set_t set;
    int n = 1;

    if (!sched_getaffinity(0, sizeof(set), &set))
        n = CPU_COUNT(&set);
    return KL_MAX(n, 1);
}

static void report_of(const KlingJob *job, const char *stage, int step, int steps, double step_seconds, double left)
{
    KlingProgress p = { .step = step, .steps = steps, .step_seconds = step_seconds, .seconds_left = left,
                        .stage = stage, .window = job->win.index, .windows = job->plan.windows };

    if (job->params.progress)
        job->params.progress(job->params.progress_opaque, &p);
}

static void report(const KlingJob *job, const char *stage, int step, double step_seconds, double left)
{
    report_of(job, stage, step, job->params.steps, step_seconds, left);
}

static int which_parts(const KlingJob *job)
{
    return job->params.flags & KLING_FLAG_BITEXACT ? KL_PARTS_BITEXACT : KL_PARTS_FAST;
}

/* Each window has two streams of numbers: its noise, and that of the pictures it goes on from. Those of window i are
 * the streams 2i and 2i + 1 of the seed, so the first window's noise is the seed's own. */
enum { NOISE_LATENTS, NOISE_CONTEXT };

static uint64_t noise_seed(const KlingJob *job, int which)
{
    return kl_seed_stream(job->params.seed, 2 * (uint64_t)job->win.index + (uint64_t)which);
}

/* -- text -- */

/* rows[n,dim] in host memory, from what the model remembers or from the encoder; freed by the caller. */
static int encode_prompt(KlingJob *job, const char *prompt, float **rows, int *n)
{
    KlDiag *d = &job->diag;
    const KlKernels *k = &job->parts->kernels;
    const int max_tok = job->model->desc.dit.text_len;
    const int dim = job->model->desc.text.dim;
    int32_t *ids = NULL;
    float *out = NULL;
    size_t bytes;
    int ret;

    *rows = kl_model_embedding_get(job->model, which_parts(job), prompt, n);
    if (*rows) {
        kl_log(d, KLING_LOG_DEBUG, "the prompt's embedding is remembered: %d tokens", *n);
        return KLING_OK;
    }
    ids = malloc(sizeof(*ids) * (size_t)max_tok);
    if (!ids)
        return kl_fail_memory(d, "the prompt's tokens", sizeof(*ids) * (size_t)max_tok);
    ret = kl_tokenizer_encode(job->model->files.tokenizer, d, prompt, ids, max_tok, n);
    if (ret >= 0) {
        bytes = sizeof(float) * (size_t)*n * (size_t)dim;
        out = k->mem_alloc(job->ex, bytes);
        *rows = malloc(bytes);
        if (!out || !*rows)
            ret = kl_fail_memory(d, "the prompt's embedding", bytes);
        else if ((ret = kl_text_encoder_run(job->parts->text, job->ex, d, ids, *n, out)) >= 0 &&
                 k->mem_download(job->ex, *rows, out, bytes) < 0)
            ret = kl_fail_device(d, k, job->ex, "reading the prompt's embedding back");
    }
    k->mem_free(job->ex, out);
    free(ids);
    if (ret < 0) {
        free(*rows);
        *rows = NULL;
        return ret;
    }
    kl_model_embedding_put(job->model, which_parts(job), prompt, *rows, *n);
    return KLING_OK;
}

/* -- denoising -- */

double kl_job_guidance(const KlingJob *job, bool low)
{
    const KlingParams *p = &job->params;

    if (!low)
        return p->guidance;
    if (p->guidance_low >= 0)
        return p->guidance_low;
    return p->guidance == job->model->info.guidance ? job->model->info.guidance_low : p->guidance;
}

typedef struct Denoise {
    KlingJob *job;
    KlDitSession *session;
    KlCondition *condition;
    float *uncond;                      /* velocity without the prompt; NULL when guidance is off */
    float *t_frame;                     /* [F] */
    int64_t n;
    double start;
    double boundary;                    /* timestep below which the second expert works; 0: there is one */
    bool low;                           /* the session is the second expert's */
    const KlDit *int8;                  /* taken from the model for the session, or NULL */
} Denoise;

static void step_done(void *opaque, int done, int steps)
{
    Denoise *dn = opaque;
    double mean = (now_seconds() - dn->start) / done;

    dn->job->step_ms = mean * 1000;
    report(dn->job, "denoise", done, mean, mean * (steps - done));
}

static int set_context(KlingJob *job, KlDitSession *s, int slot, const float *rows, int n)
{
    const KlKernels *k = &job->parts->kernels;
    const size_t bytes = sizeof(float) * (size_t)n * (size_t)job->model->desc.text.dim;
    float *ctx = k->mem_alloc(job->ex, bytes);
    int ret;

    if (!ctx)
        return kl_fail_memory(&job->diag, "the context", bytes);
    if (k->mem_upload(job->ex, ctx, rows, bytes) < 0)
        ret = kl_fail_device(&job->diag, k, job->ex, "sending the context");
    else
        ret = kl_dit_set_context(s, &job->diag, slot, ctx, n);
    k->mem_free(job->ex, ctx);
    return ret;
}

/* job->z from the window's seed, shaped [1,z_dim,F,R,W] as the reference pipeline draws it. */
static int draw_noise(KlingJob *job, int64_t n)
{
    const KlKernels *k = &job->parts->kernels;
    const size_t bytes = sizeof(float) * (size_t)n;
    float *host = malloc(bytes);
    int ret = KLING_OK;

    job->z = k->mem_alloc(job->ex, bytes);
    if (!host || !job->z) {
        free(host);
        return kl_fail_memory(&job->diag, "the noise", bytes);
    }
    kl_randn(job->params.rng, host, n, noise_seed(job, NOISE_LATENTS));
    if (k->mem_upload(job->ex, job->z, host, bytes) < 0)
        ret = kl_fail_device(&job->diag, k, job->ex, "sending the noise");
    free(host);
    return ret;
}

static void block_quantized(void *opaque, int done, int blocks)
{
    report_of(opaque, "quantize", done, blocks, 0, -1);
}

/* The expert at work. */
static int take_dit(Denoise *dn, const KlDit **dit)
{
    KlingJob *job = dn->job;
    int ret;

    *dit = dn->low ? job->parts->dit_low : job->parts->dit;
    if (job->params.precision != KLING_PRECISION_INT8)
        return 0;
    ret = kl_model_int8_take(job->model, &job->diag, which_parts(job), dn->low, job->ex, block_quantized, job,
                             &dn->int8);
    *dit = dn->int8;
    return ret;
}

static void close_session(Denoise *dn)
{
    kl_dit_session_destroy(&dn->session);
    if (dn->int8)
        kl_model_int8_give(dn->job->model, which_parts(dn->job), dn->low);
    dn->int8 = NULL;
}

/* The session of the expert at work, shown the prompts and pictures. */
static int open_session(Denoise *dn)
{
    KlingJob *job = dn->job;
    const KlDit *dit;
    const float *rows;
    int n, ret = take_dit(dn, &dit);

    if (ret >= 0)
        ret = kl_dit_session_create(dit, job->ex, &job->diag, job->win.F, job->geo.R, job->geo.W, &dn->session);
    rows = kl_condition_rows(dn->condition, &n);
    if (ret >= 0 && rows)
        ret = kl_dit_set_image(dn->session, &job->diag, rows, n);
    for (int i = 0; i < KL_DIT_CONTEXTS && ret >= 0; i++)
        if (job->rows[i] && (!i || kl_job_guidance(job, dn->low) > 1))
            ret = set_context(job, dn->session, i, job->rows[i], job->n_rows[i]);
    return ret;
}

/* One expert is resident at a time: the second takes the first's place when the noise has come down to the boundary. */
static int choose_expert(Denoise *dn, float t)
{
    const bool low = t < dn->boundary;

    if (dn->session && low == dn->low)
        return 0;
    if (dn->session) {
        close_session(dn);
        kl_weights_drop_pages(dn->low ? dn->job->model->files.dit_low : dn->job->model->files.dit);
        kl_log(&dn->job->diag, KLING_LOG_VERBOSE, "the %s-noise expert goes on at timestep %g", low ? "low" : "high",
               (double)t);
    }
    dn->low = low;
    return open_session(dn);
}

static int velocity(void *opaque, int step, float t, const float *z, float *v)
{
    Denoise *dn = opaque;
    KlingJob *job = dn->job;
    const KlKernels *k = &job->parts->kernels;
    double g;
    int ret;

    (void)step;
    if ((ret = choose_expert(dn, t)) < 0)
        return ret;
    g = kl_job_guidance(job, dn->low);
    z = kl_condition_input(dn->condition, z, t, dn->t_frame);
    if ((ret = kl_dit_forward(dn->session, &job->diag, 0, z, dn->t_frame, v)) < 0)
        return ret;
    if (dn->uncond && g > 1) {
        const float *const x[2] = { v, dn->uncond };
        const double a[2] = { g, 1 - g };

        if ((ret = kl_dit_forward(dn->session, &job->diag, 1, z, dn->t_frame, dn->uncond)) < 0)
            return ret;
        k->lincomb(job->ex, v, x, a, 2, dn->n);     /* uncond + g (cond - uncond) */
    }
    return KLING_OK;
}

/* What it costs that not all weights fit the device. */
static void report_streaming(KlingJob *job, const KlWeightStats *before, int steps)
{
    const KlKernels *k = &job->parts->kernels;
    KlWeightStats now;

    k->weight_stats(k, &now);
    if (now.streamed > before->streamed)
        kl_log(&job->diag, KLING_LOG_INFO, "%.2f of %.2f GiB of weights stay on %s; %.2f GiB were sent to it for every "
               "step%s", now.resident / 0x1p30, now.bound / 0x1p30, k->name,
               (now.streamed - before->streamed) / 0x1p30 / steps, job->model->vram > 0 ? ": more vram is faster" : "");
}

static int denoise(KlingJob *job, KlCondition *condition)
{
    const KlKernels *k = &job->parts->kernels;
    KlSamplerConfig cfg = job->model->desc.sampler;
    Denoise dn = { .job = job, .condition = condition,
                   .n = (int64_t)job->model->desc.vae.z_dim * job->win.F * job->geo.R * job->geo.W };
    const size_t bytes = sizeof(float) * (size_t)dn.n;
    KlWeightStats before;
    int ret;

    cfg.steps = job->params.steps;
    cfg.shift = job->params.shift;
    if (job->params.sampler != KLING_SAMPLER_DEFAULT)
        cfg.kind = job->params.sampler;
    dn.boundary = job->model->desc.boundary * cfg.train_steps;
    dn.t_frame = malloc(sizeof(float) * (size_t)job->win.F);
    if (job->rows[1])
        dn.uncond = k->mem_alloc(job->ex, bytes);
    ret = dn.t_frame && (dn.uncond || !job->rows[1]) ? 0 : kl_fail_memory(&job->diag, "the unguided velocity", bytes);
    if (ret >= 0 && (ret = draw_noise(job, dn.n)) >= 0 && (ret = choose_expert(&dn, (float)cfg.train_steps)) >= 0) {
        report(job, "denoise", 0, 0, -1);
        dn.start = now_seconds();
        k->weight_stats(k, &before);
        ret = kl_sampler_run(&job->diag, k, job->ex, &cfg, job->z, dn.n, velocity, step_done, &dn);
        if (ret >= 0)
            report_streaming(job, &before, cfg.steps);
    }
    if (ret >= 0)
        kl_condition_finish(condition, job->z);
    k->mem_free(job->ex, dn.uncond);
    close_session(&dn);
    free(dn.t_frame);
    return ret;
}

/* -- a window -- */

int kl_job_check_memory(KlingJob *job)
{
    const KlGeometry *g = &job->geo;
    const KlModelDesc *desc = &job->model->desc;
    const KlParts *parts = &job->model->parts[KL_PARTS_FAST];   /* both tables need the same */
    const int F = job->plan.windows > 1 ? job->plan.longest : job->win.F;
    const bool known = job->known.cap || job->trail.cap;
    const double picture = 3.0 * sizeof(float) * g->width_px * g->height_px;
    const double latents = 1.0 * job->model->desc.vae.z_dim * F * g->R * g->W * sizeof(float);
    const double kept = (job->known.cap + job->trail.cap) * picture;
    const double encoding = known ? (double)kl_condition_bytes(desc, parts->vae, g->width_px, g->height_px) : 0;
    const double held = known ? (double)kl_condition_held_bytes(desc, F, g->R, g->W) : 0;
    const double denoising = (double)kl_dit_session_bytes(parts->dit, F, g->R, g->W) + 7 * latents + held;
    const double decoding = (double)kl_vae_decoder_bytes(parts->vae, g->R, g->W) + latents +
                            (job->model->info.frame_multiple + 1 + parts->kernels.ahead) * picture;
    const bool int8 = job->params.precision == KLING_PRECISION_INT8;
    const double copies = int8 ? (double)kl_model_int8_missing(job->model, which_parts(job)) : 0;
    const double need = KL_MAX(KL_MAX(denoising, decoding), encoding + held) + kept + copies;
    const double left = (double)parts->kernels.mem_available(&parts->kernels);

    kl_log(&job->diag, KLING_LOG_VERBOSE,
           "memory beside the weights: %.1f MiB to encode, %.1f MiB to denoise, %.1f MiB to decode, %.1f MiB for "
           "pictures that are kept, %.1f MiB for weights in int8; %.1f MiB are free", encoding / (1 << 20),
           denoising / (1 << 20), decoding / (1 << 20), kept / (1 << 20), copies / (1 << 20), left / (1 << 20));
    if (need <= left)
        return KLING_OK;
    if (need - copies <= left)
        return kl_fail(&job->diag, KLING_ERROR_OUT_OF_MEMORY, "not enough memory: precision=int8 makes %.1f MiB of "
                       "weights, %.1f MiB are free and the clip takes %.1f of them; use a file that kling-quantize has "
                       "made int8, which need not lie in memory, or another precision", copies / (1 << 20),
                       left / (1 << 20), (need - copies) / (1 << 20));
    return kl_fail(&job->diag, KLING_ERROR_OUT_OF_MEMORY, "not enough memory: %d frames of %dx%d take about %.1f MiB "
                   "beside the weights, %.1f MiB are free; ask for a smaller size or fewer frames%s",
                   1 + (F - 1) * job->plan.unit, g->width_px, g->height_px, need / (1 << 20), left / (1 << 20),
                   job->model->vram > 0 ? ", or allow more by vram" : "");
}

/* Parts, threads and memory, once. */
static int start(KlingJob *job)
{
    const KlExecParams ep = {
        .threads = job->params.threads ? job->params.threads : default_threads(),
        .precision = job->params.precision == KLING_PRECISION_F32 ? KL_PREC_F32 : KL_PREC_AUTO,
    };
    int ret;

    if ((ret = kl_model_parts(job->model, &job->diag, which_parts(job), &job->parts)) < 0)
        return ret;
    if (job->parts->kernels.exec_create(&job->parts->kernels, &job->ex, &ep) < 0)
        return kl_fail(&job->diag, KLING_ERROR_OUT_OF_MEMORY, "could not start %d threads: use fewer (threads=N)",
                       ep.threads);
    return kl_job_check_memory(job);
}

/* What is not there of job->rows. */
static int encode_prompts(KlingJob *job)
{
    const char *const text[KL_DIT_CONTEXTS] = { job->params.prompt, job->params.negative_prompt };
    const bool two = job->parts->dit_low != NULL;
    const int wanted = kl_job_guidance(job, false) > 1 || (two && kl_job_guidance(job, true) > 1) ? 2 : 1;
    bool encoded = false;
    int ret = 0;

    for (int i = 0; ret >= 0 && i < wanted; i++)
        if (!job->rows[i]) {
            if (!encoded)
                report(job, "text", 0, 0, -1);
            encoded = true;
            ret = encode_prompt(job, text[i], &job->rows[i], &job->n_rows[i]);
        }
    if (encoded)
        kl_weights_drop_pages(job->model->files.text);
    return ret;
}

/* What the window goes on from and arrives at. Noise, like the colours' correction, is only for what this clip itself
 * has made: a user's pictures stay what they are. */
static int encode_pictures(KlingJob *job, KlCondition **condition)
{
    const KlWindow *w = &job->win;
    const KlConditionParams p = {
        .kind        = job->model->desc.condition.kind,
        .vae         = job->parts->vae,
        .image       = job->parts->image,
        .k           = &job->parts->kernels,
        .ex          = job->ex,
        .width_px    = job->geo.width_px,
        .height_px   = job->geo.height_px,
        .crop_x_px   = job->geo.crop_x_px,
        .crop_y_px   = job->geo.crop_y_px,
        .crop_width_px  = job->params.width_px,
        .crop_height_px = job->params.height_px,
        .win         = w,
        .lead        = w->lead ? job->known.pic + (job->known.n - w->lead) : NULL,
        .trail       = job->trail.pic,
        .noise       = w->index ? CONTEXT_NOISE * job->params.drift_guard : 0,
        .rng         = job->params.rng,
        .noise_seed  = noise_seed(job, NOISE_CONTEXT),
        .train_steps = job->model->desc.sampler.train_steps,
    };
    int ret;

    if (w->lead || w->trail)
        report(job, "encode", 0, 0, -1);
    ret = kl_condition_create(&job->diag, condition, &p);
    if (job->model->files.image)
        kl_weights_drop_pages(job->model->files.image);
    return ret;
}

/* How many of the window's pictures must be decoded. */
static int wanted_pictures(const KlingJob *job)
{
    const KlWindow *w = &job->win;

    if (w->trail && job->params.flags & KLING_FLAG_KEEP_CONTEXT)
        return w->lead + w->fresh + w->trail;
    return w->lead + (w->trail ? w->fresh : w->give);   /* before a trail the surplus lies anywhere */
}

int kl_job_sample(KlingJob *job)
{
    KlCondition *condition = NULL;
    int ret = 0;

    if (!job->ex && (ret = start(job)) < 0)
        return ret;
    kl_drift_window(&job->drift, job->new_prompt);
    job->new_prompt = false;
    if ((ret = encode_prompts(job)) >= 0 && (ret = encode_pictures(job, &condition)) >= 0)
        ret = denoise(job, condition);
    kl_condition_destroy(&condition);
    kl_weights_drop_pages(job->model->files.dit);
    if (job->model->files.dit_low)
        kl_weights_drop_pages(job->model->files.dit_low);
    if (ret < 0)
        return ret;
    job->running = true;
    job->next_latent = job->seen = 0;
    job->end = wanted_pictures(job);
    return kl_vae_decoder_create(job->parts->vae, job->ex, &job->diag, job->geo.R, job->geo.W, &job->decoder);
}

static void release_window(KlingJob *job)
{
    kl_vae_decoder_destroy(&job->decoder);
    job->parts->kernels.mem_free(job->ex, job->z);
    job->z = NULL;
    job->running = false;
}

/* -- decoding -- */

int kl_job_decode(KlingJob *job)
{
    const int64_t frame = (int64_t)job->geo.R * job->geo.W;
    int ret;

    report(job, "decode", job->params.steps, job->step_ms / 1000, 0);
    ret = kl_vae_decode(job->decoder, &job->diag, job->z + job->next_latent * frame, job->win.F * frame, kl_job_send,
                        job);
    job->next_latent++;
    if (ret < 0 || job->seen < job->end)
        return ret < 0 ? ret : KLING_OK;
    release_window(job);
    if (job->win.index + 1 < job->plan.windows)
        job->win = kl_window_at(&job->plan, job->win.index + 1, job->made);
    else
        job->finished = true;
    return KLING_OK;
}

void kl_job_release(KlingJob *job)
{
    for (int i = 0; i < KL_DIT_CONTEXTS; i++) {
        free(job->rows[i]);
        job->rows[i] = NULL;
    }
    kl_pictures_free(&job->known);
    kl_pictures_free(&job->trail);
    if (!job->ex)
        return;
    release_window(job);
    kl_job_drain(job);
    job->parts->kernels.exec_destroy(&job->ex);
}
