/*
 * CLIP's vision tower: a picture to the rows that a transformer is shown of it.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Formulas: transformers' CLIPVisionModel, hidden_states[-2] (the last layer
 * and the norm behind it are not computed), of pictures as CLIPImageProcessor
 * prepares them. Never knows video, prompts or files.
 */
#ifndef KL_IMAGE_ENCODER_H
#define KL_IMAGE_ENCODER_H

#include "weights.h"

typedef struct KlImageEncoderConfig {   /* config.json names in comments */
    int dim;                            /* hidden_size */
    int heads;                          /* num_attention_heads */
    int ffn;                            /* intermediate_size */
    int layers;                         /* num_hidden_layers, >= 1; the last is not computed */
    int image_px, patch_px;             /* image_size, patch_size: of squares, the first a multiple of the second */
    float eps;                          /* layer_norm_eps */
    /* preprocessor_config.json */
    int short_px;                       /* size.shortest_edge, >= image_px: scaled to this, then cropped */
    float mean[3], std[3];              /* image_mean, image_std */
} KlImageEncoderConfig;

typedef struct KlImageEncoder KlImageEncoder;

/** What CLIPImageProcessor does by default, for pictures of image_px. */
void kl_image_encoder_defaults(KlImageEncoderConfig *c);
/** Binds and checks every tensor that is computed with. w must outlive *ie. */
int  kl_image_encoder_create(KlDiag *d, KlImageEncoder **ie, const KlKernels *k, const KlWeights *w,
                             const KlImageEncoderConfig *cfg);
void kl_image_encoder_destroy(KlImageEncoder **ie);
const KlImageEncoderConfig *kl_image_encoder_config(const KlImageEncoder *ie);
/** Rows that a picture becomes: one for the class, one for each patch. */
int  kl_image_encoder_tokens(const KlImageEncoderConfig *c);
/** About what one run holds at most, its output counted. */
size_t kl_image_encoder_bytes(const KlImageEncoderConfig *c);

/** out[3,image_px,image_px] (host) = the picture rgb[3] (host planes in [0,1] of `stride` floats, each side
 *  1..16384), rounded to 8 bits, its shorter side scaled to short_px, cropped to the middle, normalised. */
int  kl_image_encoder_prepare(const KlImageEncoderConfig *c, KlDiag *d, const float *const rgb[3], ptrdiff_t stride,
                              int width_px, int height_px, float *out);
/** out[tokens,dim] (executor memory) = the rows of pixels[3,image_px,image_px] (host). Checks cancel between
 *  layers. */
int  kl_image_encoder_run(const KlImageEncoder *ie, KlExec *ex, KlDiag *d, const float *pixels, float *out);

#endif /* KL_IMAGE_ENCODER_H */
