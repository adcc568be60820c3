/*
 * A file as read-only memory.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mapping.h"

static int status_of_errno(int e)
{
    return e == ENOENT || e == ENOTDIR ? KLING_ERROR_NOT_FOUND : e == ENOMEM ? KLING_ERROR_OUT_OF_MEMORY
                                                                             : KLING_ERROR_IO;
}

static int fail_errno(KlDiag *d, int e, const char *what, const char *path)
{
    char buf[128];

    return kl_fail(d, status_of_errno(e), "cannot %s '%s': %s", what, path, strerror_r(e, buf, sizeof(buf)));
}

static int map_fd(KlDiag *d, KlMapping *m, const char *path, int fd)
{
    struct stat st;
    void *p;

    if (fstat(fd, &st) < 0)
        return fail_errno(d, errno, "examine", path);
    if (S_ISDIR(st.st_mode))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "'%s' is a folder where a file is wanted", path);
    if (!S_ISREG(st.st_mode))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "'%s' is not a regular file", path);
    if ((uintmax_t)st.st_size > PTRDIFF_MAX)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is too long for this machine's address space", path);
    if (!st.st_size)
        return 0;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return fail_errno(d, errno, "map", path);
    m->data = p;
    m->bytes = (size_t)st.st_size;
    return 0;
}

int kl_map_file(KlDiag *d, KlMapping *m, const char *path)
{
    int fd, ret;

    *m = (KlMapping){ 0 };
    /* Without O_NONBLOCK a FIFO would hang here before it could be refused. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(d, errno, "open", path);
    ret = map_fd(d, m, path, fd);
    close(fd);
    return ret;
}

void kl_unmap_file(KlMapping *m)
{
    if (m->data)
        munmap((void *)(uintptr_t)m->data, m->bytes);
    *m = (KlMapping){ 0 };
}
