/*
 * Opening the CUDA table's library.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The library stays loaded: CUDA's runtime does not survive being unloaded.
 */
#include "config.h"
#include "kernels/cuda.h"
#include "kernels/host_exec.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN "libkling_cuda.so"
#define PATH_MAX_LEN 4096

/* The file beside this code (libkling.so, or a program in bin/ with libkling inside), or where it is installed. */
static int find_plugin(char path[PATH_MAX_LEN])
{
    static const char *const from_here[] = { "%.*s" PLUGIN, "%.*s../lib/" PLUGIN };
    Dl_info info;
    const char *slash;

    if (dladdr((void *)find_plugin, &info) && info.dli_fname && (slash = strrchr(info.dli_fname, '/')))
        for (size_t i = 0; i < sizeof(from_here) / sizeof(from_here[0]); i++) {
            int n = snprintf(path, PATH_MAX_LEN, from_here[i], (int)(slash + 1 - info.dli_fname), info.dli_fname);

            if (n < PATH_MAX_LEN && !access(path, R_OK))
                return 0;
        }
    return snprintf(path, PATH_MAX_LEN, "%s", KLING_LIBDIR "/" PLUGIN) < PATH_MAX_LEN && !access(path, R_OK) ? 0 : -1;
}

int kl_kernels_init_cuda(KlKernels *k, const KlCudaParams *p, char *why, size_t size)
{
    char path[PATH_MAX_LEN];
    KlCudaParams params = *p;
    KlCudaPluginFn *plugin;
    void *lib, *symbol;

    if (p->plugin ? snprintf(path, sizeof(path), "%s", p->plugin) >= (int)sizeof(path) || access(path, R_OK)
                  : find_plugin(path) < 0) {
        snprintf(why, size, "%s is not there: this libkling was built without the CUDA compiler, or installed without "
                 "its plugin", p->plugin ? p->plugin : PLUGIN);
        return -1;
    }
    lib = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!lib) {
        const char *error = dlerror();

        snprintf(why, size, "%s", error ? error : "the plugin could not be loaded");
        return -1;
    }
    symbol = dlsym(lib, KL_CUDA_PLUGIN_SYMBOL);
    memcpy(&plugin, &symbol, sizeof(plugin));
    if (!plugin || plugin()->abi != KL_CUDA_ABI) {
        snprintf(why, size, "%s belongs to another build of libkling: install both from one", path);
        dlclose(lib);
        return -1;
    }
    if (params.pinned_bytes <= 0)
        params.pinned_bytes = kl_host_mem_pinnable();
    return plugin()->open(k, &params, why, size);
}
