/*
 * The straight line: prompt -> context -> latents -> pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What each stage needs is allocated when it starts and freed when it ends,
 * and the pages of weights that are done with are given back, so that a clip's
 * peak is that of its largest stage.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bind.h"
#include "job.h"
#include "rng.h"

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

static void report(const KlingJob *job, const char *stage, int step, double step_seconds, double left)
{
    KlingProgress p = { .step = step, .steps = job->params.steps, .step_seconds = step_seconds, .seconds_left = left,
                        .stage = stage, .windows = 1 };

    if (job->params.progress)
        job->params.progress(job->params.progress_opaque, &p);
}

static int which_parts(const KlingJob *job)
{
    return job->params.flags & KLING_FLAG_BITEXACT ? KL_PARTS_BITEXACT : KL_PARTS_FAST;
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

typedef struct Denoise {
    KlingJob *job;
    KlDitSession *session;
    float *uncond;                      /* velocity without the prompt; NULL when guidance is off */
    float *t_frame;                     /* [F] */
    int64_t n;
    double start;
} Denoise;

static int velocity(void *opaque, int step, float t, const float *z, float *v)
{
    Denoise *dn = opaque;
    KlingJob *job = dn->job;
    const KlKernels *k = &job->parts->kernels;
    const double g = job->params.guidance;
    int ret;

    (void)step;
    for (int f = 0; f < job->geo.F; f++)
        dn->t_frame[f] = t;
    if ((ret = kl_dit_forward(dn->session, &job->diag, 0, z, dn->t_frame, v)) < 0)
        return ret;
    if (dn->uncond) {
        const float *const x[2] = { v, dn->uncond };
        const double a[2] = { g, 1 - g };

        if ((ret = kl_dit_forward(dn->session, &job->diag, 1, z, dn->t_frame, dn->uncond)) < 0)
            return ret;
        k->lincomb(job->ex, v, x, a, 2, dn->n);     /* uncond + g (cond - uncond) */
    }
    return KLING_OK;
}

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

/* job->z from the seed, shaped [1,z_dim,F,R,W] as the reference pipeline draws it. */
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
    if (job->params.rng == KLING_RNG_CUDA)
        kl_randn_cuda(host, n, job->params.seed, KL_CUDA_MAX_THREADS);
    else
        kl_randn_cpu(host, n, job->params.seed);
    if (k->mem_upload(job->ex, job->z, host, bytes) < 0)
        ret = kl_fail_device(&job->diag, k, job->ex, "sending the noise");
    free(host);
    return ret;
}

static int denoise(KlingJob *job, float *const rows[KL_DIT_CONTEXTS], const int n_rows[KL_DIT_CONTEXTS])
{
    const KlKernels *k = &job->parts->kernels;
    KlSamplerConfig cfg = job->model->desc.sampler;
    const KlGeometry *g = &job->geo;
    Denoise dn = { .job = job, .n = (int64_t)job->model->desc.vae.z_dim * g->F * g->R * g->W };
    const size_t bytes = sizeof(float) * (size_t)dn.n;
    int ret;

    cfg.steps = job->params.steps;
    cfg.shift = job->params.shift;
    if (job->params.sampler != KLING_SAMPLER_DEFAULT)
        cfg.kind = job->params.sampler;
    dn.t_frame = malloc(sizeof(float) * (size_t)g->F);
    if (!dn.t_frame)
        return kl_fail_memory(&job->diag, "the timesteps", sizeof(float) * (size_t)g->F);
    if ((ret = draw_noise(job, dn.n)) >= 0 &&
        (ret = kl_dit_session_create(job->parts->dit, job->ex, &job->diag, g->F, g->R, g->W, &dn.session)) >= 0)
        ret = set_context(job, dn.session, 0, rows[0], n_rows[0]);
    if (ret >= 0 && rows[1]) {
        dn.uncond = k->mem_alloc(job->ex, bytes);
        ret = dn.uncond ? set_context(job, dn.session, 1, rows[1], n_rows[1])
                        : kl_fail_memory(&job->diag, "the unguided velocity", bytes);
    }
    if (ret >= 0) {
        report(job, "denoise", 0, 0, -1);
        dn.start = now_seconds();
        ret = kl_sampler_run(&job->diag, k, job->ex, &cfg, job->z, dn.n, velocity, step_done, &dn);
    }
    k->mem_free(job->ex, dn.uncond);
    kl_dit_session_destroy(&dn.session);
    free(dn.t_frame);
    return ret;
}

int kl_job_check_memory(KlingJob *job)
{
    const KlGeometry *g = &job->geo;
    const KlParts *parts = &job->model->parts[KL_PARTS_FAST];   /* both tables need the same */
    const double latents = 4.0 * job->model->desc.vae.z_dim * g->F * g->R * g->W * sizeof(float);
    const double frames = (job->model->info.frame_multiple + 1) * 3.0 * sizeof(float) * g->width_px * g->height_px;
    const double denoising = (double)kl_dit_session_bytes(parts->dit, g->F, g->R, g->W) + latents;
    const double decoding = (double)kl_vae_decoder_bytes(parts->vae, g->R, g->W) + latents / 4 + frames;
    const double need = KL_MAX(denoising, decoding);
    const double left = (double)parts->kernels.mem_available(&parts->kernels);

    kl_log(&job->diag, KLING_LOG_VERBOSE,
           "memory beside the weights: %.1f MiB to denoise, %.1f MiB to decode; %.1f MiB "
           "are free", denoising / (1 << 20), decoding / (1 << 20), left / (1 << 20));
    if (need <= left)
        return KLING_OK;
    return kl_fail(&job->diag, KLING_ERROR_OUT_OF_MEMORY, "not enough memory: %d frames of %dx%d take about %.1f MiB "
                   "beside the weights, %.1f MiB are free; ask for a smaller size or fewer frames", g->frames,
                   g->width_px, g->height_px, need / (1 << 20), left / (1 << 20));
}

int kl_job_sample(KlingJob *job)
{
    KlDiag *d = &job->diag;
    KlExecParams ep = {
        .threads = job->params.threads ? job->params.threads : default_threads(),
        .precision = job->params.precision == KLING_PRECISION_F32 ? KL_PREC_F32 : KL_PREC_AUTO,
    };
    const bool guided = job->params.guidance > 1;
    float *rows[KL_DIT_CONTEXTS] = { NULL };
    int n[KL_DIT_CONTEXTS] = { 0 };
    int ret;

    if ((ret = kl_model_parts(job->model, d, which_parts(job), &job->parts)) < 0)
        return ret;
    if (job->parts->kernels.exec_create(&job->parts->kernels, &job->ex, &ep) < 0)
        return kl_fail(d, KLING_ERROR_OUT_OF_MEMORY, "could not start %d threads: use fewer (threads=N)", ep.threads);
    if ((ret = kl_job_check_memory(job)) < 0)
        return ret;
    report(job, "text", 0, 0, -1);
    if ((ret = encode_prompt(job, job->params.prompt, &rows[0], &n[0])) >= 0 && guided)
        ret = encode_prompt(job, job->params.negative_prompt, &rows[1], &n[1]);
    kl_weights_drop_pages(job->model->files.text);
    if (ret >= 0)
        ret = denoise(job, rows, n);
    kl_weights_drop_pages(job->model->files.dit);
    free(rows[0]);
    free(rows[1]);
    if (ret < 0)
        return ret;
    job->sampled = true;
    return kl_vae_decoder_create(job->parts->vae, job->ex, d, job->geo.R, job->geo.W, &job->decoder);
}

/* -- decoding -- */

#define KL_STOP_DECODING 1              /* the rest of this latent frame is not wanted */

static int picture_out(void *opaque, const float *x)
{
    KlingJob *job = opaque;
    const KlKernels *k = &job->parts->kernels;
    const KlGeometry *g = &job->geo;
    const size_t plane = (size_t)g->width_px * (size_t)g->height_px;
    const size_t bytes = sizeof(float) * 3 * plane;
    const int slot = job->push ? 0 : job->queued;
    float *planes[3];

    if (!job->rgb && !(job->rgb = k->mem_alloc(job->ex, bytes)))
        return kl_fail_memory(&job->diag, "a decoded frame", bytes);
    if (!job->host[slot] && !(job->host[slot] = malloc(bytes)))
        return kl_fail_memory(&job->diag, "a decoded frame", bytes);
    for (int i = 0; i < 3; i++)
        planes[i] = job->rgb + (size_t)i * plane;
    k->to_rgb(job->ex, planes, g->width_px, x, g->height_px, g->width_px, 3);
    if (k->mem_download(job->ex, job->host[slot], job->rgb, bytes) < 0)
        return kl_fail_device(&job->diag, k, job->ex, "reading a decoded frame back");
    job->queued = slot + 1;
    job->decoded++;
    if (job->push) {
        kl_job_expose(job, slot);
        job->queued = 0;
        if (job->push(job->push_opaque, &job->frame))
            return kl_fail(&job->diag, KLING_ERROR_CANCELLED, "stopped by the frame callback");
    }
    return job->decoded == job->params.frames ? KL_STOP_DECODING : 0;
}

int kl_job_decode(KlingJob *job)
{
    const KlGeometry *g = &job->geo;
    const int64_t frame = (int64_t)g->R * g->W;
    int ret;

    report(job, "decode", job->params.steps, job->step_ms / 1000, 0);
    ret = kl_vae_decode(job->decoder, &job->diag, job->z + job->next_latent * frame, g->F * frame, picture_out, job);
    job->next_latent++;
    return ret < 0 ? ret : KLING_OK;
}

void kl_job_release(KlingJob *job)
{
    if (!job->ex)
        return;
    kl_vae_decoder_destroy(&job->decoder);
    job->parts->kernels.mem_free(job->ex, job->z);
    job->parts->kernels.mem_free(job->ex, job->rgb);
    job->z = job->rgb = NULL;
    job->parts->kernels.exec_destroy(&job->ex);
}
