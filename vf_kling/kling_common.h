/*
 * What every kling filter needs of libkling: one copy of each model per process, log, errors, progress, the
 * interrupt handler, and text from options and files.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Functions returning int return 0 or an AVERROR, and have logged one line then.
 */
#ifndef AVFILTER_KLING_COMMON_H
#define AVFILTER_KLING_COMMON_H

#include <stdint.h>

#include <kling/kling.h>

/** The AVERROR of a KlingStatus; positive ones are passed through. */
int ff_kling_error(int status);

/** A KlingLogFn; opaque is the AVClass object to log for. */
void ff_kling_log(void *opaque, enum KlingLogLevel level, const char *line);

/* ---- models ------------------------------------------------------------------------------------------------ */

/** Opens a model, or takes the one that another filter of this process has open with the same params. A model
 *  of NULL is resolved: $KLING_MODEL, then the one that ships. The caller owns one reference. */
int ff_kling_model_open(void *log, KlingModel **model, const KlingModelParams *params);
void ff_kling_model_close(KlingModel **model);

/* ---- progress ---------------------------------------------------------------------------------------------- */

typedef struct KlingProgressLog {
    void *log;
    int64_t last_us;                    /* when the last line was logged, 0: none yet */
} KlingProgressLog;

/** A KlingProgressFn; opaque is a KlingProgressLog. One info line per denoising step, at most one a second; the
 *  last step always has one. */
void ff_kling_progress(void *opaque, const KlingProgress *progress);

/* ---- interrupt --------------------------------------------------------------------------------------------- */

enum KlingInterrupt {
    KLING_INTERRUPT_AUTO = -1,          /* take over signals that the program handles itself, as ffmpeg does */
    KLING_INTERRUPT_OFF,
    KLING_INTERRUPT_ON,
};

/** From here on SIGINT and SIGTERM are counted as well as reach the program's own handler; each call that returned 1
 *  is paired with one of ff_kling_interrupt_release(). 0 when the mode is off. */
int  ff_kling_interrupt_hold(int mode);
void ff_kling_interrupt_release(void);
/** From here on they also cancel the job. */
void ff_kling_interrupt_add(void *log, KlingJob *job, int mode);
/** Before the job is destroyed; a job that was not added is ignored. With the last user of the signals the program's
 *  handlers are restored. */
void ff_kling_interrupt_remove(KlingJob *job);
/** How many signals have been seen since the process started. */
unsigned ff_kling_interrupt_count(void);

/* ---- options ----------------------------------------------------------------------------------------------- */

/** Refuses what is not UTF-8. text may be NULL. */
int ff_kling_text_check(void *log, const char *option, const char *text);
/** The whole file without a byte order mark and trailing line ends, checked; *text is av_free()d by the caller. */
int ff_kling_text_read(void *log, const char *option, const char *filename, char **text);
/** "-1" draws one. */
int ff_kling_seed_parse(void *log, const char *text, uint64_t *seed);

#endif /* AVFILTER_KLING_COMMON_H */
