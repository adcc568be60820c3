/*
 * Where the parts of a model lie.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model_internal.h"

bool kl_is_dir(const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

bool kl_is_file(const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISREG(st.st_mode);
}

char *kl_path_join(KlDiag *d, const char *dir, const char *name)
{
    char *s = kl_asprintf("%s/%s", dir, name);

    if (!s)
        kl_fail_memory(d, "a file's name", strlen(dir) + strlen(name));
    return s;
}

char *kl_path_dir(KlDiag *d, const char *path)
{
    size_t n = strlen(path);
    char *s;

    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    s = n ? kl_asprintf("%.*s", (int)n, path) : kl_strdup(".");
    if (!s)
        kl_fail_memory(d, "a file's name", strlen(path));
    return s;
}

/* Folders relative to the model's, and patterns of names in them, best first. Case does not matter. The pickles
 * (.pth) stand here so that the error can say what they are. */
typedef struct Place {
    const char *dir, *pattern;
} Place;

static const Place text_places[] = {
    { ".",                "text_encoder" },
    { ".",                "*umt5*bf16*.safetensors" },
    { ".",                "*umt5*fp16*.safetensors" },
    { ".",                "*umt5*.safetensors" },
    { "../text_encoders", "*umt5*bf16*.safetensors" },
    { "../text_encoders", "*umt5*fp16*.safetensors" },
    { "../text_encoders", "*umt5*.safetensors" },
    { "../clip",          "*umt5*.safetensors" },
    { ".",                "*umt5*.gguf" },
    { "../text_encoders", "*umt5*.gguf" },
    { "../clip",          "*umt5*.gguf" },
    { ".",                "*umt5*.pth" },
};

static const Place vae_places[] = {
    { ".",      "vae" },
    { ".",      "*wan*2?1*vae*.safetensors" },
    { ".",      "*wan*vae*.safetensors" },
    { ".",      "*vae*.safetensors" },
    { "../vae", "*wan*2?1*vae*.safetensors" },
    { "../vae", "*wan*vae*.safetensors" },
    { ".",      "*wan*vae*.pth" },
};

static const Place vae22_places[] = {
    { ".",      "vae" },
    { ".",      "*wan*2?2*vae*.safetensors" },
    { "../vae", "*wan*2?2*vae*.safetensors" },
    { ".",      "*wan*vae*.safetensors" },
    { ".",      "*vae*.safetensors" },
    { "../vae", "*wan*vae*.safetensors" },
    { ".",      "*wan*vae*.pth" },
};

static const Place image_places[] = {
    { ".",              "image_encoder" },
    { ".",              "*clip*vision*.safetensors" },
    { ".",              "*clip*vit*huge*.safetensors" },
    { "../clip_vision", "*clip*vision*h*.safetensors" },
    { "../clip_vision", "*clip*.safetensors" },
    { ".",              "*clip*vit*huge*.pth" },
};

static const Place dit_places[] = {
    { ".", "transformer" },
    { ".", "diffusion_pytorch_model.safetensors.index.json" },
    { ".", "diffusion_pytorch_model.safetensors" },
    { "high_noise_model", "diffusion_pytorch_model.safetensors.index.json" },
    { "high_noise_model", "diffusion_pytorch_model.safetensors" },
};

static const Place tokenizer_places[] = {
    { ".",                       "tokenizer" },
    { ".",                       "spiece.model" },
    { ".",                       "tokenizer.json" },
    { "google/umt5-xxl",         "spiece.model" },
    { "google/umt5-xxl",         "tokenizer.json" },
    { "..",                      "tokenizer" },
};

/* The alphabetically first entry of dir that matches; *name is malloc'd, NULL when there is none. */
static int first_match(KlDiag *d, const char *dir, const char *pattern, char **name)
{
    DIR *h = opendir(dir);
    struct dirent *e;
    int ret = 0;

    *name = NULL;
    if (!h && errno == ENOMEM)
        return kl_fail_memory(d, "a folder's list", 0);
    if (!h)
        return 0;
    while (!ret && (e = readdir(h))) {
        if (e->d_name[0] == '.' || fnmatch(pattern, e->d_name, FNM_CASEFOLD) ||
            (*name && strcmp(e->d_name, *name) >= 0))
            continue;
        free(*name);
        if (!(*name = kl_strdup(e->d_name)))
            ret = kl_fail_memory(d, "a file's name", strlen(e->d_name));
    }
    closedir(h);
    return ret;
}

static int search(KlDiag *d, const char *home, const Place *p, size_t n, char **path)
{
    *path = NULL;
    for (size_t i = 0; i < n && !*path; i++) {
        char *dir = strcmp(p[i].dir, ".") ? kl_path_join(d, home, p[i].dir) : kl_strdup(home);
        char *name = NULL;
        int ret = dir ? first_match(d, dir, p[i].pattern, &name) : kl_fail_memory(d, "a file's name", strlen(home));

        if (name && !(*path = kl_path_join(d, dir, name)))
            ret = KLING_ERROR_OUT_OF_MEMORY;
        free(name);
        free(dir);
        if (ret < 0)
            return ret;
    }
    return 0;
}

static const struct {
    const char *name, *key;
    const Place *places;
    size_t n;
} parts[KL_PART_NB] = {
    [KL_PART_TEXT] = { "text encoder", "text_encoder", text_places, KL_ARRAY_LEN(text_places) },
    [KL_PART_DIT]  = { "transformer",  "transformer",  dit_places,  KL_ARRAY_LEN(dit_places) },
    [KL_PART_VAE]  = { "VAE",          "vae",          vae_places,  KL_ARRAY_LEN(vae_places) },
    [KL_PART_IMAGE]   = { "image encoder",         "image_encoder", image_places, KL_ARRAY_LEN(image_places) },
    [KL_PART_DIT_LOW] = { "low-noise transformer", "transformer_2", NULL, 0 },     /* kl_find_expert */
};

const char *kl_part_name(KlPart part)
{
    return parts[part].name;
}

const char *kl_part_key(KlPart part)
{
    return parts[part].key;
}

int kl_find_part(KlDiag *d, KlPart part, const char *home, int latent_ch, char **path)
{
    const bool vae22 = part == KL_PART_VAE && latent_ch == 48;
    int ret = search(d, home, vae22 ? vae22_places : parts[part].places,
                     vae22 ? KL_ARRAY_LEN(vae22_places) : parts[part].n, path);

    if (ret < 0 || *path)
        return ret;
    if (part == KL_PART_DIT)
        return kl_fail(d, KLING_ERROR_NOT_FOUND, "no transformer in '%s': it is neither a model folder (with "
                       "transformer/, vae/, text_encoder/, tokenizer/) nor one that holds a safetensors file", home);
    return kl_fail(d, KLING_ERROR_NOT_FOUND, "no %s in '%s': give %s=... or put the folder '%s' or its file there",
                   parts[part].name, home, parts[part].key, parts[part].key);
}

int kl_find_tokenizer(KlDiag *d, const char *home, char **path)
{
    return search(d, home, tokenizer_places, KL_ARRAY_LEN(tokenizer_places), path);
}

/* The names of a pair of experts' files and folders, as releases spell them. */
static const char *const experts[][2] = {
    { "high_noise", "low_noise" }, { "High_Noise", "Low_Noise" }, { "HighNoise", "LowNoise" },
    { "high-noise", "low-noise" }, { "Highnoise", "Lownoise" }, { "highnoise", "lownoise" },
};

/* path with every `from` in its last two components replaced; *out NULL when there is none. */
static int replace_name(KlDiag *d, const char *path, const char *from, const char *to, char **out)
{
    const size_t nf = strlen(from), nt = strlen(to);
    const char *p = path + strlen(path);
    char *dst;
    int slashes = 0;
    size_t n = 0;

    *out = NULL;
    while (p > path && (p[-1] != '/' || ++slashes < 2))
        p--;
    for (const char *q = p; (q = strstr(q, from)); q += nf)
        n++;
    if (!n)
        return 0;
    if (!(dst = *out = malloc(strlen(path) + n * nt + 1)))
        return kl_fail_memory(d, "a file's name", strlen(path));
    memcpy(dst, path, (size_t)(p - path));
    dst += p - path;
    while (*p)
        if (!strncmp(p, from, nf)) {
            memcpy(dst, to, nt);
            dst += nt;
            p += nf;
        } else {
            *dst++ = *p++;
        }
    *dst = 0;
    return 0;
}

int kl_find_expert(KlDiag *d, const char *path, bool *is_low, char **other)
{
    int ret = 0;

    *other = NULL;
    *is_low = false;
    for (size_t i = 0; i < KL_ARRAY_LEN(experts) && !ret && !*other; i++) {
        ret = replace_name(d, path, experts[i][0], experts[i][1], other);
        if (!ret && !*other) {
            ret = replace_name(d, path, experts[i][1], experts[i][0], other);
            *is_low = *other != NULL;
        }
    }
    return ret;
}
