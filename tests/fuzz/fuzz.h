/*
 * What the fuzz targets share: files in memory, and good inputs to start from.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_TESTS_FUZZ_H
#define KL_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

#define FUZZ_MUST(cond) do { \
        if (!(cond)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
            __builtin_trap(); \
        } \
    } while (0)

/* Inputs that the code took for good. Each target begins by showing that its own good inputs are: a target whose
 * inputs are all refused at the door tests nothing. */
static int fuzz_accepted;

/** The path of a file that holds these bytes; the same file each time. */
static inline const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[64];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("fuzz", 0);
        FUZZ_MUST(fd >= 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    FUZZ_MUST(!ftruncate(fd, 0) && pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

/** The mutator of all targets: one time in 64 (and always at first, when there is nothing yet) begins again from a
 *  good input, so that no corpus need be stored. */
static inline size_t fuzz_mutate(uint8_t *data, size_t size, size_t max_size, unsigned seed, const uint8_t *good,
                                 size_t good_size)
{
    if ((size < 8 || seed % 64 == 0) && good_size <= max_size) {
        memcpy(data, good, good_size);
        size = good_size;
        if (seed % 2)
            return size;
    }
    return LLVMFuzzerMutate(data, size, max_size);
}

#endif /* KL_TESTS_FUZZ_H */
