/*
 * Renaming tensors by rules.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdlib.h>
#include <string.h>

#include "model_internal.h"
#include "weights_internal.h"

#define MAX_RUNS 4

typedef struct Match {
    const char *run[MAX_RUNS];          /* the digits that each '#' stands for */
    size_t len[MAX_RUNS];
    int n;
    const char *rest;                   /* what '*' stands for */
} Match;

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool match(const char *rule, const char *name, Match *m)
{
    *m = (Match){ .rest = "" };
    for (; *rule; rule++) {
        if (*rule == '*' && !rule[1]) {
            m->rest = name;
            return true;
        }
        if (*rule != '#') {
            if (*rule != *name++)
                return false;
            continue;
        }
        if (!is_digit(*name) || m->n == MAX_RUNS)
            return false;
        m->run[m->n] = name;
        while (is_digit(*name))
            name++;
        m->len[m->n] = (size_t)(name - m->run[m->n]);
        m->n++;
    }
    return !*name;
}

/* The new name, malloc'd; NULL when out of memory. */
static char *expand(const char *to, const Match *m)
{
    size_t size = strlen(to) + strlen(m->rest) + 1, n = 0;
    int run = 0;
    char *s;

    for (int i = 0; i < m->n; i++)
        size += m->len[i];
    if (!(s = malloc(size)))
        return NULL;
    for (; *to; to++) {
        if (*to == '#' && run < m->n) {
            memcpy(s + n, m->run[run], m->len[run]);
            n += m->len[run++];
        } else if (*to == '*' && !to[1]) {
            strcpy(s + n, m->rest);
            n += strlen(m->rest);
        } else {
            s[n++] = *to;
        }
    }
    s[n] = 0;
    return s;
}

/* *out is malloc'd, or NULL when the name stays. */
static int new_name(KlDiag *d, const char *name, const char *prefix, const KlRename *rules, int n_rules, char **out)
{
    size_t skip = prefix && !strncmp(name, prefix, strlen(prefix)) ? strlen(prefix) : 0;
    Match m;

    *out = NULL;
    for (int i = 0; i < n_rules; i++)
        if (match(rules[i].from, name + skip, &m)) {
            *out = expand(rules[i].to, &m);
            return *out ? 0 : kl_fail_memory(d, "a tensor's name", strlen(name));
        }
    if (skip && !(*out = kl_strdup(name + skip)))
        return kl_fail_memory(d, "a tensor's name", strlen(name));
    return 0;
}

int kl_weights_rename(KlDiag *d, KlWeights *w, const char *prefix, const KlRename *rules, int n_rules)
{
    for (int i = 0; i < w->n; i++) {
        KlTensor *t = &w->t[i];
        char *name;
        int ret = new_name(d, t->name, prefix, rules, n_rules, &name);

        if (ret < 0)
            return ret;
        if (!name)
            continue;
        if (t->name != t->file_name)
            free((char *)(uintptr_t)t->name);
        t->name = name;
    }
    return kl_weights_index(d, w);
}

char *kl_rename_backwards(const char *name, const KlRename *rules, int n_rules)
{
    Match m;

    for (int i = 0; i < n_rules; i++)
        if (match(rules[i].to, name, &m))
            return expand(rules[i].from, &m);
    return NULL;
}
