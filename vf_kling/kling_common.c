/*
 * What every kling filter needs of libkling.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The process-wide state of libavfilter's side lives here, and only here: the list of open models and the signal
 * handler. Both are counted and guarded by a mutex each; what the signal handler reads is atomic.
 */
#define _GNU_SOURCE                     /* dladdr */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libavutil/avstring.h"
#include "libavutil/bprint.h"
#include "libavutil/common.h"
#include "libavutil/error.h"
#include "libavutil/log.h"
#include "libavutil/macros.h"
#include "libavutil/mem.h"
#include "libavutil/random_seed.h"
#include "libavutil/thread.h"
#include "libavutil/time.h"
#include "libavutil/version.h"

#include "kling_common.h"

#define MAX_TEXT_BYTES (1 << 20)

int ff_kling_error(int status)
{
    switch (status) {
    case KLING_ERROR_INVALID_ARG:   return AVERROR(EINVAL);
    case KLING_ERROR_NOT_FOUND:     return AVERROR(ENOENT);
    case KLING_ERROR_INVALID_DATA:  return AVERROR_INVALIDDATA;
    case KLING_ERROR_UNSUPPORTED:   return AVERROR(ENOSYS);
    case KLING_ERROR_OUT_OF_MEMORY: return AVERROR(ENOMEM);
    case KLING_ERROR_IO:            return AVERROR(EIO);
    case KLING_ERROR_CANCELLED:     return AVERROR_EXIT;
    case KLING_ERROR_DEVICE:        return AVERROR_EXTERNAL;
    case KLING_ERROR_INTERNAL:      return AVERROR_BUG;
    }
    return status < 0 ? AVERROR_UNKNOWN : status;
}

void ff_kling_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    static const int av_level[] = {
        [KLING_LOG_ERROR]   = AV_LOG_ERROR,
        [KLING_LOG_WARNING] = AV_LOG_WARNING,
        [KLING_LOG_INFO]    = AV_LOG_INFO,
        [KLING_LOG_VERBOSE] = AV_LOG_VERBOSE,
        [KLING_LOG_DEBUG]   = AV_LOG_DEBUG,
    };

    av_log(opaque, (unsigned)level < FF_ARRAY_ELEMS(av_level) ? av_level[level] : AV_LOG_DEBUG, "%s\n", line);
}

/* ---- models ------------------------------------------------------------------------------------------------ */

typedef struct SharedModel {
    const AVClass *class;               /* first: it stands in for a filter in the log */
    void *opener;                       /* the filter that is opening it, NULL afterwards */
    char *key;                          /* its params, resolved */
    KlingContext *ctx;
    KlingModel *model;
    int users;
    struct SharedModel *next;
} SharedModel;

static const AVClass shared_model_class = {
    .class_name = "kling",
    .item_name  = av_default_item_name,
    .version    = LIBAVUTIL_VERSION_INT,
};

static AVMutex models_mutex = AV_MUTEX_INITIALIZER;
static SharedModel *models;

static void shared_model_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    SharedModel *m = opaque;

    ff_kling_log(m->opener ? m->opener : m, level, line);
}

/* The model that ships lies in share/kling/model of the tree that libkling (or the program that it is linked into)
 * was loaded from: the build's or the installation's, wherever that was moved to. lib may have the machine's name
 * below it. The caller frees the path; NULL when there is none. */
static char *shipped_model(void)
{
    static const char *const below[] = { "..", "../.." };
    void *symbol = dlsym(RTLD_DEFAULT, "kling_version");
    Dl_info info;
    char *lib, *slash;

    lib = realpath(symbol && dladdr(symbol, &info) ? info.dli_fname : "/proc/self/exe", NULL);
    if (lib && (slash = strrchr(lib, '/'))) {
        *slash = 0;
        for (int i = 0; i < FF_ARRAY_ELEMS(below); i++) {
            char *dir = av_asprintf("%s/%s/share/kling/model", lib, below[i]);

            if (dir && !access(dir, R_OK)) {
                free(lib);
                return dir;
            }
            av_free(dir);
        }
    }
    free(lib);
    return NULL;
}

/* The model's folder when the user names none, freed by the caller; NULL when there is none either. */
static char *default_model(void)
{
    const char *name = getenv("KLING_MODEL");

    return name && *name ? av_strdup(name) : shipped_model();
}

static char *make_key(const KlingModelParams *p)
{
    const char *const part[] = { p->model, p->text_encoder, p->vae, p->tokenizer, p->image_encoder, p->transformer_2,
                                 p->lora, p->device };
    AVBPrint bp;
    char *key;

    av_bprint_init(&bp, 0, AV_BPRINT_SIZE_UNLIMITED);
    for (int i = 0; i < FF_ARRAY_ELEMS(part); i++) {
        /* another way of writing the same path is the same model; LoRAs are a list, the device is no path */
        char *real = part[i] && i < FF_ARRAY_ELEMS(part) - 2 ? realpath(part[i], NULL) : NULL;

        av_bprintf(&bp, "%s\n", real ? real : part[i] ? part[i] : "");
        free(real);
    }
    av_bprintf(&bp, "%.17g\n", p->vram);
    return av_bprint_finalize(&bp, &key) < 0 ? NULL : key;
}

static void shared_model_free(SharedModel **m)
{
    kling_model_destroy(&(*m)->model);
    kling_context_destroy(&(*m)->ctx);
    av_freep(&(*m)->key);
    av_freep(m);
}

/* Takes over key. Under models_mutex. */
static int shared_model_open(void *log, SharedModel **pm, const KlingModelParams *params, char *key)
{
    SharedModel *m = av_mallocz(sizeof(*m));
    int ret;

    if (!m) {
        av_free(key);
        return AVERROR(ENOMEM);
    }
    m->class  = &shared_model_class;
    m->opener = log;
    m->key    = key;
    ret = kling_context_create(&m->ctx, &(KlingContextParams){ .log = shared_model_log, .log_opaque = m });
    if (ret >= 0)
        ret = kling_model_open(m->ctx, &m->model, params);
    m->opener = NULL;
    if (ret < 0) {
        shared_model_free(&m);
        return ff_kling_error(ret);
    }
    m->next = models;
    *pm = models = m;
    return 0;
}

int ff_kling_model_open(void *log, KlingModel **model, const KlingModelParams *params)
{
    KlingModelParams p = *params;
    SharedModel *m;
    char *key, *own = NULL;
    int ret = 0;

    if ((!p.model || !*p.model) && !(p.model = own = default_model())) {
        av_log(log, AV_LOG_ERROR, "no model: name one with model= or in the environment variable KLING_MODEL\n");
        return AVERROR(ENOENT);
    }
    if (!(key = make_key(&p))) {
        av_free(own);
        return AVERROR(ENOMEM);
    }

    ff_mutex_lock(&models_mutex);
    for (m = models; m && strcmp(m->key, key); m = m->next)
        ;
    if (m) {
        av_free(key);
        av_log(log, AV_LOG_VERBOSE, "sharing the weights of %s\n", p.model);
    } else {
        av_log(log, AV_LOG_VERBOSE, "opening %s\n", p.model);
        ret = shared_model_open(log, &m, &p, key);
    }
    if (ret >= 0) {
        m->users++;
        *model = kling_model_ref(m->model);
    }
    ff_mutex_unlock(&models_mutex);
    av_free(own);
    return ret;
}

void ff_kling_model_close(KlingModel **model)
{
    if (!*model)
        return;
    ff_mutex_lock(&models_mutex);
    for (SharedModel **next = &models; *next; next = &(*next)->next) {
        SharedModel *m = *next;

        if (m->model != *model)
            continue;
        if (!--m->users) {
            *next = m->next;
            shared_model_free(&m);
        }
        break;
    }
    ff_mutex_unlock(&models_mutex);
    kling_model_destroy(model);
}

/* ---- progress ---------------------------------------------------------------------------------------------- */

void ff_kling_progress(void *opaque, const KlingProgress *p)
{
    KlingProgressLog *l = opaque;
    const int64_t now_us = av_gettime_relative();
    char window[48] = "";

    if (!strcmp(p->stage, "quantize")) {
        if (p->step == 1)
            l->last_us = now_us;        /* the first second goes without a line */
        if (now_us - l->last_us >= 1000000) {
            l->last_us = now_us;
            av_log(l->log, AV_LOG_INFO, "weights to int8: block %d/%d\n", p->step, p->steps);
        }
        return;
    }
    if (strcmp(p->stage, "denoise")) {
        if (p->windows > 1)
            av_log(l->log, AV_LOG_VERBOSE, "window %d/%d, stage: %s\n", p->window + 1, p->windows, p->stage);
        else
            av_log(l->log, AV_LOG_VERBOSE, "stage: %s\n", p->stage);
        return;
    }
    if (p->step < 1 || (p->step < p->steps && l->last_us && now_us - l->last_us < 1000000))
        return;
    l->last_us = now_us;
    if (p->windows > 1)
        snprintf(window, sizeof(window), "window %d/%d, ", p->window + 1, p->windows);
    if (p->seconds_left < 0)
        av_log(l->log, AV_LOG_INFO, "%sstep %d/%d, %.3g s per step\n", window, p->step, p->steps, p->step_seconds);
    else
        av_log(l->log, AV_LOG_INFO, "%sstep %d/%d, %.3g s per step, %.*f s left\n", window, p->step, p->steps,
               p->step_seconds, p->seconds_left < 10, p->seconds_left);
}

/* ---- interrupt --------------------------------------------------------------------------------------------- */

#define MAX_JOBS 64

typedef struct TakenSignal {
    int signal;
    int taken;
    struct sigaction saved;             /* written only while no handler of ours is installed for it */
} TakenSignal;

static AVMutex signals_mutex = AV_MUTEX_INITIALIZER;
static TakenSignal signals[] = { { .signal = SIGINT }, { .signal = SIGTERM } };
static int nb_signal_users;
static _Atomic(KlingJob *) running_jobs[MAX_JOBS];
static atomic_int handlers_running;     /* in how many threads on_signal() is reading running_jobs */
static atomic_uint signal_count;

static void call_saved(const struct sigaction *saved, int sig, siginfo_t *info, void *context)
{
    if (saved->sa_flags & SA_SIGINFO)
        saved->sa_sigaction(sig, info, context);
    else if (saved->sa_handler != SIG_DFL && saved->sa_handler != SIG_IGN)
        saved->sa_handler(sig);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    const int saved_errno = errno;

    atomic_fetch_add(&handlers_running, 1);
    atomic_fetch_add(&signal_count, 1);
    for (int i = 0; i < MAX_JOBS; i++)
        kling_job_cancel(atomic_load(&running_jobs[i]));
    atomic_fetch_sub(&handlers_running, 1);
    for (int i = 0; i < FF_ARRAY_ELEMS(signals); i++)
        if (signals[i].signal == sig)
            call_saved(&signals[i].saved, sig, info, context);
    errno = saved_errno;
}

static int is_ours(const struct sigaction *sa)
{
    return (sa->sa_flags & SA_SIGINFO) && sa->sa_sigaction == on_signal;
}

/* Under signals_mutex. */
static void take_signal(TakenSignal *s, int mode)
{
    struct sigaction now, ours;

    if (s->taken || sigaction(s->signal, NULL, &now) < 0 || is_ours(&now))
        return;
    if (mode == KLING_INTERRUPT_AUTO && !(now.sa_flags & SA_SIGINFO) &&
        (now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN))
        return;
    s->saved = ours = now;
    ours.sa_sigaction = on_signal;
    ours.sa_flags |= SA_SIGINFO;
    s->taken = !sigaction(s->signal, &ours, NULL);
}

/* Both under signals_mutex. */
static void hold_signals(int mode)
{
    nb_signal_users++;
    for (int i = 0; i < FF_ARRAY_ELEMS(signals); i++)
        take_signal(&signals[i], mode);
}

static void release_signals(void)
{
    if (--nb_signal_users)
        return;
    for (int i = 0; i < FF_ARRAY_ELEMS(signals); i++) {
        TakenSignal *s = &signals[i];
        struct sigaction now;

        /* a handler that the program has put on top meanwhile stays */
        if (s->taken && !sigaction(s->signal, NULL, &now) && is_ours(&now)) {
            sigaction(s->signal, &s->saved, NULL);
            s->taken = 0;
        }
    }
}

int ff_kling_interrupt_hold(int mode)
{
    if (mode == KLING_INTERRUPT_OFF)
        return 0;
    ff_mutex_lock(&signals_mutex);
    hold_signals(mode);
    ff_mutex_unlock(&signals_mutex);
    return 1;
}

void ff_kling_interrupt_release(void)
{
    ff_mutex_lock(&signals_mutex);
    release_signals();
    ff_mutex_unlock(&signals_mutex);
}

void ff_kling_interrupt_add(void *log, KlingJob *job, int mode)
{
    int i = 0;

    if (mode == KLING_INTERRUPT_OFF)
        return;
    ff_mutex_lock(&signals_mutex);
    while (i < MAX_JOBS && atomic_load(&running_jobs[i]))
        i++;
    if (i < MAX_JOBS) {
        atomic_store(&running_jobs[i], job);
        hold_signals(mode);
    } else {
        av_log(log, AV_LOG_WARNING, "more than %d clips at once: this one cannot be interrupted\n", MAX_JOBS);
    }
    ff_mutex_unlock(&signals_mutex);
}

void ff_kling_interrupt_remove(KlingJob *job)
{
    int i = 0;

    if (!job)
        return;
    ff_mutex_lock(&signals_mutex);
    while (i < MAX_JOBS && atomic_load(&running_jobs[i]) != job)
        i++;
    if (i < MAX_JOBS) {
        atomic_store(&running_jobs[i], NULL);
        release_signals();
        /* a handler in another thread may still hold the job; it never waits for a lock */
        while (atomic_load(&handlers_running))
            av_usleep(100);
    }
    ff_mutex_unlock(&signals_mutex);
}

unsigned ff_kling_interrupt_count(void)
{
    return atomic_load(&signal_count);
}

/* ---- options ----------------------------------------------------------------------------------------------- */

int ff_kling_text_check(void *log, const char *option, const char *text)
{
    const uint8_t *p = (const uint8_t *)text;
    const uint8_t *end = p ? p + strlen(text) : NULL;
    int32_t code;

    while (p < end) {
        const uint8_t *at = p;

        if (av_utf8_decode(&code, &p, end, AV_UTF8_FLAG_ACCEPT_NON_CHARACTERS) < 0) {
            av_log(log, AV_LOG_ERROR, "%s: not UTF-8 at byte %td (0x%02x)\n", option,
                   at - (const uint8_t *)text, *at);
            return AVERROR(EINVAL);
        }
    }
    return 0;
}

/* *text is av_free()d by the caller also on an error. */
static int read_file(void *log, const char *option, const char *filename, char **text, size_t *size)
{
    FILE *f = fopen(filename, "rb");
    int ret = 0;

    if (!f) {
        ret = AVERROR(errno);
        av_log(log, AV_LOG_ERROR, "%s: cannot open %s: %s\n", option, filename, av_err2str(ret));
        return ret;
    }
    if (!(*text = av_malloc(MAX_TEXT_BYTES + 2))) {
        ret = AVERROR(ENOMEM);
    } else {
        *size = fread(*text, 1, MAX_TEXT_BYTES + 1, f);
        (*text)[*size] = 0;
        if (ferror(f)) {
            av_log(log, AV_LOG_ERROR, "%s: cannot read %s\n", option, filename);
            ret = AVERROR(EIO);
        } else if (*size > MAX_TEXT_BYTES || strlen(*text) < *size) {
            av_log(log, AV_LOG_ERROR, "%s: %s %s: a text file is needed\n", option, filename,
                   *size > MAX_TEXT_BYTES ? "is longer than 1 MiB" : "holds a zero byte");
            ret = AVERROR(EINVAL);
        }
    }
    fclose(f);
    return ret;
}

int ff_kling_text_read(void *log, const char *option, const char *filename, char **text)
{
    char *buf = NULL;
    size_t size = 0, bom;
    int ret = read_file(log, option, filename, &buf, &size);

    if (ret >= 0) {
        while (size && (buf[size - 1] == '\n' || buf[size - 1] == '\r'))
            buf[--size] = 0;
        bom = strncmp(buf, "\xef\xbb\xbf", 3) ? 0 : 3;
        ret = ff_kling_text_check(log, filename, buf + bom);
        if (ret >= 0 && !(*text = av_strdup(buf + bom)))
            ret = AVERROR(ENOMEM);
    }
    av_free(buf);
    return ret;
}

int ff_kling_seed_parse(void *log, const char *text, uint64_t *seed)
{
    char *end;

    if (!strcmp(text, "-1")) {
        *seed = av_get_random_seed();
        return 0;
    }
    errno = 0;
    *seed = strtoull(text, &end, 10);
    if (!av_isdigit(*text) || *end || errno) {
        av_log(log, AV_LOG_ERROR, "seed %s: must be a whole number, 0 to 18446744073709551615, or -1 to draw one\n",
               text);
        return AVERROR(EINVAL);
    }
    return 0;
}
