/*
 * JSON files and typed, range-checked reads from them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A thin layer over jansson: every failure becomes one sentence that names the
 * file and the key.
 */
#ifndef KL_JSON_H
#define KL_JSON_H

#include <jansson.h>

#include "common.h"

#define KL_JSON_MAX_BYTES (64u << 20)   /* of a file; tokenizer.json is the longest, about 20 MB */

/** Parses bytes; where names the source in messages. The caller json_decref()s. */
int kl_json_parse(KlDiag *d, json_t **root, const char *where, const void *data, size_t bytes);
/** Reads and parses a regular file whose top level is an object. */
int kl_json_load(KlDiag *d, json_t **root, const char *path);

/* Members of the object obj, read from the file where. An absent or null member gives `def`, or, when it is one of
 * the KL_JSON_REQUIRED, an error. Values outside min..max and wrong types are errors. */
#define KL_JSON_REQUIRED INT64_MIN
int kl_json_int(KlDiag *d, const json_t *obj, const char *where, const char *key, int64_t def, int64_t min,
                int64_t max, int *out);
/** def is used as it is. */
int kl_json_real(KlDiag *d, const json_t *obj, const char *where, const char *key, double def, double min,
                 double max, double *out);
int kl_json_bool(KlDiag *d, const json_t *obj, const char *where, const char *key, bool def, bool *out);
/** *out is NULL when absent, else lives as long as obj. */
int kl_json_string(KlDiag *d, const json_t *obj, const char *where, const char *key, const char **out);
/** An array of min_n..max_n members; *out is NULL when absent or null. */
int kl_json_array(KlDiag *d, const json_t *obj, const char *where, const char *key, size_t min_n, size_t max_n,
                  const json_t **out);
/** True when the key is absent, null, false, 0 or an empty array or string. */
bool kl_json_is_off(const json_t *obj, const char *key);

#endif /* KL_JSON_H */
