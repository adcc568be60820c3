/*
 * How much memory the machine, the container and the limits still allow.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * malloc() promises more than there is and the kernel kills whoever believes
 * it; a clip that cannot fit is refused before it starts instead.
 */
#include "kernels/host_exec.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* The number after `key` in a file of "key value" lines, or the file's only number for key ""; -1 if none. */
static int64_t read_number(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    char line[256];
    long long value = -1;

    if (!f)
        return -1;
    while (fgets(line, sizeof(line), f))
        if (!strncmp(line, key, strlen(key))) {
            if (sscanf(line + strlen(key), "%lld", &value) != 1)    /* cgroup's "max" is no limit */
                value = -1;
            break;
        }
    fclose(f);
    return value;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Bytes left, of memory alone or with what may be swapped out for it. */
static int64_t mem_left(bool swap)
{
    int64_t left = INT64_MAX, limit, used, cached;

    if ((limit = read_number("/proc/meminfo", "MemAvailable:")) >= 0)
        left = limit * 1024;
    if (swap && (limit = read_number("/proc/meminfo", "SwapFree:")) > 0 && left != INT64_MAX)
        left += limit * 1024;

    if ((limit = read_number("/sys/fs/cgroup/memory.max", "")) >= 0 &&
        (used = read_number("/sys/fs/cgroup/memory.current", "")) >= 0) {
        cached = read_number("/sys/fs/cgroup/memory.stat", "file ");    /* given back under pressure */
        left = smaller(left, limit - used + (cached > 0 ? cached : 0));
    }
    return left < 0 ? 0 : left;
}

int64_t kl_host_mem_pinnable(void)
{
    return mem_left(false) / 2;
}

int64_t kl_host_mem_available(const KlKernels *k)
{
    int64_t left = mem_left(true), used;
    struct rlimit rl;

    (void)k;
    if (!getrlimit(RLIMIT_AS, &rl) && rl.rlim_cur != RLIM_INFINITY &&
        (used = read_number("/proc/self/status", "VmSize:")) >= 0)
        left = smaller(left, (int64_t)rl.rlim_cur - used * 1024);
    return left < 0 ? 0 : left;
}
