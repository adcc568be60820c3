/*
 * The public model: its parts bound to kernels, shared by jobs and references.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "condition.h"
#include "device.h"
#include "internal.h"

static void parts_close(KlParts *p)
{
    kl_model_int8_drop(p);
    kl_text_encoder_destroy(&p->text);
    kl_dit_destroy(&p->dit);
    kl_dit_destroy(&p->dit_low);
    kl_image_encoder_destroy(&p->image);
    kl_vae_destroy(&p->vae);
    if (p->kernels.close)
        p->kernels.close(&p->kernels);
    p->ready = false;
}

static int parts_open(KlingModel *m, KlDiag *d, int which)
{
    KlParts *p = &m->parts[which];
    int ret;

    if (which == KL_PARTS_BITEXACT)
        kl_kernels_init_ref(&p->kernels);
    if ((ret = kl_text_encoder_create(d, &p->text, &p->kernels, m->files.text, &m->desc.text)) < 0 ||
        (ret = kl_dit_create(d, &p->dit, &p->kernels, m->files.dit, &m->desc.dit)) < 0 ||
        (m->files.dit_low &&
         (ret = kl_dit_create(d, &p->dit_low, &p->kernels, m->files.dit_low, &m->desc.dit)) < 0) ||
        (m->files.image &&
         (ret = kl_image_encoder_create(d, &p->image, &p->kernels, m->files.image, &m->desc.image)) < 0) ||
        (ret = kl_vae_create(d, &p->vae, &p->kernels, m->files.vae, &m->desc.vae)) < 0) {
        parts_close(p);
        return ret;
    }
    p->ready = true;
    return KLING_OK;
}

int kl_model_parts(KlingModel *m, KlDiag *d, int which, const KlParts **parts)
{
    int ret = KLING_OK;

    pthread_mutex_lock(&m->lock);
    if (!m->parts[which].ready)
        ret = parts_open(m, d, which);
    pthread_mutex_unlock(&m->lock);
    *parts = ret < 0 ? NULL : &m->parts[which];
    return ret;
}

static KlEmbedding *embedding_find(KlingModel *m, int which, const char *prompt)
{
    for (int i = 0; i < KL_EMBEDDINGS; i++) {
        KlEmbedding *e = &m->embeddings[i];

        if (e->prompt && e->parts == which && !strcmp(e->prompt, prompt))
            return e;
    }
    return NULL;
}

float *kl_model_embedding_get(KlingModel *m, int which, const char *prompt, int *n)
{
    float *rows = NULL;
    KlEmbedding *e;

    *n = 0;
    pthread_mutex_lock(&m->lock);
    e = embedding_find(m, which, prompt);
    if (e) {
        size_t bytes = sizeof(float) * (size_t)e->n * (size_t)m->desc.text.dim;

        rows = malloc(bytes);
        if (rows) {
            memcpy(rows, e->rows, bytes);
            *n = e->n;
            e->used = ++m->clock;
        }
    }
    pthread_mutex_unlock(&m->lock);
    return rows;
}

void kl_model_embedding_put(KlingModel *m, int which, const char *prompt, const float *rows, int n)
{
    size_t bytes = sizeof(float) * (size_t)n * (size_t)m->desc.text.dim;
    float *copy = malloc(bytes);
    char *name = kl_strdup(prompt);
    KlEmbedding *e;

    if (!copy || !name) {
        free(copy);
        free(name);
        return;
    }
    memcpy(copy, rows, bytes);
    pthread_mutex_lock(&m->lock);
    e = embedding_find(m, which, prompt);
    if (!e) {
        e = &m->embeddings[0];
        for (int i = 1; i < KL_EMBEDDINGS; i++)
            if (m->embeddings[i].used < e->used)
                e = &m->embeddings[i];
    }
    free(e->prompt);
    free(e->rows);
    *e = (KlEmbedding){ name, which, n, copy, ++m->clock };
    pthread_mutex_unlock(&m->lock);
}

static void fill_info(KlingModel *m)
{
    const KlModelDesc *desc = &m->desc;
    const KlWeights *files[] = { m->files.text, m->files.dit, m->files.vae, m->files.dit_low, m->files.image };
    const KlVae *vae = m->parts[KL_PARTS_FAST].vae;
    const int patch = KL_MAX(desc->dit.patch_h, desc->dit.patch_w);

    snprintf(m->device, sizeof(m->device), "%s", m->parts[KL_PARTS_FAST].kernels.name);
    m->info = (KlingModelInfo){
        .name             = desc->name,
        .kind             = desc->kind,
        .device           = m->device,
        .width_px         = desc->width_px,
        .height_px        = desc->height_px,
        .frames           = desc->frames,
        .fps_num          = desc->fps_num,
        .fps_den          = desc->fps_den,
        .steps            = desc->steps,
        .guidance         = desc->guidance,
        .guidance_low     = desc->boundary ? desc->guidance_low : desc->guidance,
        .shift            = (float)desc->sampler.shift,
        .sampler          = desc->sampler.kind,
        .size_multiple_px = kl_vae_space_factor(vae) * patch,
        .frame_multiple   = kl_vae_time_factor(vae),
        .max_prompt_tok   = desc->dit.text_len,
    };
    kl_condition_info(&desc->condition, kl_vae_has_encoder(vae), &m->info);
    for (size_t f = 0; f < KL_ARRAY_LEN(files); f++) {
        int n = 0;
        const KlTensor *t = files[f] ? kl_weights_all(files[f], &n) : NULL;

        for (int i = 0; i < n; i++) {
            int64_t elements = 1;

            for (int k = 0; k < t[i].ndim; k++)
                elements *= t[i].shape[k];
            m->info.parameters += elements;
        }
    }
}

void kling_model_params_default(KlingModelParams *params)
{
    *params = (KlingModelParams){ .device = "auto" };
}

static void model_free(KlingModel *m)
{
    for (int i = 0; i < KL_PARTS_NB; i++)
        parts_close(&m->parts[i]);
    for (int i = 0; i < KL_EMBEDDINGS; i++) {
        free(m->embeddings[i].prompt);
        free(m->embeddings[i].rows);
    }
    kl_model_files_close(&m->files);
    kl_model_int8_free(m);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* NULL when out of memory. */
static KlingModel *model_alloc(void)
{
    KlingModel *m = calloc(1, sizeof(*m));

    if (!m || pthread_mutex_init(&m->lock, NULL)) {
        free(m);
        return NULL;
    }
    if (kl_model_int8_init(m) < 0) {
        pthread_mutex_destroy(&m->lock);
        free(m);
        return NULL;
    }
    atomic_init(&m->refs, 1);
    return m;
}

int kling_model_open(KlingContext *ctx, KlingModel **model, const KlingModelParams *params)
{
    KlingModel *m;
    KlDiag d;
    int ret;

    if (!model)
        return KLING_ERROR_INVALID_ARG;
    *model = NULL;
    if (!ctx || !params)
        return KLING_ERROR_INVALID_ARG;
    d = (KlDiag){ .log = ctx->log, .log_opaque = ctx->log_opaque };
    if (!params->model || !*params->model) {
        ret = kl_fail(&d, KLING_ERROR_INVALID_ARG, "no model given: name a model folder or a transformer file");
    } else {
        if (!(m = model_alloc())) {
            ret = kl_fail_memory(&d, "the model", sizeof(*m));
        } else {
            m->log = ctx->log;
            m->log_opaque = ctx->log_opaque;
            m->vram = params->vram;
            if ((ret = kl_device_open(&d, &m->parts[KL_PARTS_FAST].kernels, params->device,
                                      &(KlDeviceParams){ .vram = params->vram })) < 0 ||
                (ret = kl_model_files_open(&d, &m->files, &m->desc, params)) < 0 ||
                (ret = parts_open(m, &d, KL_PARTS_FAST)) < 0) {
                model_free(m);
            } else {
                fill_info(m);
                *model = m;
            }
        }
    }
    memcpy(ctx->error, d.error, sizeof(ctx->error));
    if (ret < 0)
        kl_log(&d, KLING_LOG_ERROR, "%s", d.error);
    return ret;
}

KlingModel *kling_model_ref(KlingModel *model)
{
    atomic_fetch_add_explicit(&model->refs, 1, memory_order_relaxed);
    return model;
}

void kling_model_destroy(KlingModel **model)
{
    KlingModel *m;

    if (!model || !*model)
        return;
    m = *model;
    *model = NULL;
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
        model_free(m);
}

const KlingModelInfo *kling_model_info(const KlingModel *model)
{
    return &model->info;
}

void kling_model_error(const KlingModel *model, char *buf, size_t size)
{
    KlingModel *m = (KlingModel *)model;    /* only for the lock */

    if (!size)
        return;
    pthread_mutex_lock(&m->lock);
    snprintf(buf, size, "%s", m->error);
    pthread_mutex_unlock(&m->lock);
}
