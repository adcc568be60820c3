/*
 * The last few pictures of a video, in host memory.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int kl_pictures_create(KlDiag *d, KlPictures *p, int width_px, int height_px, int cap)
{
    *p = (KlPictures){ .width_px = width_px, .height_px = height_px, .cap = cap };
    if (cap && !(p->pic = calloc((size_t)cap, sizeof(*p->pic))))
        return kl_fail_memory(d, "a list of pictures", (size_t)cap * sizeof(*p->pic));
    return 0;
}

void kl_pictures_free(KlPictures *p)
{
    for (int i = 0; p->pic && i < p->cap; i++)
        free(p->pic[i]);
    free(p->pic);
    *p = (KlPictures){ 0 };
}

float *kl_pictures_next(KlDiag *d, KlPictures *p)
{
    const size_t bytes = 3 * sizeof(float) * (size_t)p->width_px * (size_t)p->height_px;
    float *x;

    if (p->n == p->cap) {
        x = p->pic[0];
        memmove(p->pic, p->pic + 1, sizeof(*p->pic) * (size_t)(p->cap - 1));
        p->pic[p->cap - 1] = x;
        return x;
    }
    if (!p->pic[p->n] && !(p->pic[p->n] = malloc(bytes))) {
        kl_fail_memory(d, "a picture", bytes);
        return NULL;
    }
    return p->pic[p->n++];
}

void kl_pictures_pad(const KlPictures *p, float *dst, const KlingFrame *f, int x0, int y0)
{
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < p->height_px; y++) {
            const int from = KL_MIN(KL_MAX(y - y0, 0), f->height_px - 1);
            const float *src = f->data[c] + from * f->stride;

            for (int x = 0; x < p->width_px; x++)
                *dst++ = fminf(fmaxf(src[KL_MIN(KL_MAX(x - x0, 0), f->width_px - 1)], 0), 1);
        }
}
