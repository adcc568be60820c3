/*
 * The header of one safetensors file, checked.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * As strict as the format's own library: a header of at most 100 MB, JSON with
 * unique names, tensors that follow one another without overlap or hole and
 * end where the file ends, and sizes that equal shape x dtype.
 */
#ifndef KL_SAFETENSORS_H
#define KL_SAFETENSORS_H

#include "weights.h"

#define KL_SAFETENSORS_MAX_HEADER 100000000u

/** Reads the header of the file that lies at data. On success *t has *n tensors in file order; their data points
 *  into `data`, their name and file_name are one malloc'd string each, to be freed with
 *  kl_tensors_free(). where names the file in messages. */
int  kl_safetensors_parse(KlDiag *d, const char *where, const uint8_t *data, size_t bytes, KlTensor **t, int *n);
/** A copy of one text of the header's __metadata__, from malloc; *text is NULL when there is none. */
int  kl_safetensors_metadata(KlDiag *d, const char *where, const uint8_t *data, size_t bytes, const char *key,
                             char **text);
/** Frees the names and t. */
void kl_tensors_free(KlTensor *t, int n);

#endif /* KL_SAFETENSORS_H */
