/*
 * What tests ask of the emulated device and it tells them; for C, too.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Not thread-safe: to be touched while no executor is at work.
 */
#ifndef KL_EMU_CONTROL_H
#define KL_EMU_CONTROL_H

#include <stddef.h>

/* EmuControl.order, and KLING_EMU_ORDER when the plugin is loaded: whose work runs while somebody waits. */
enum {
    EMU_LATE,                           /* what is waited for alone, and what that waits for itself */
    EMU_EARLY,                          /* everything else first, as far as it can go */
    EMU_SEEDS                           /* any other number: drawn from it, now and then before anybody waits */
};

typedef struct EmuControl {
    int devices;                        /* 1 */
    int cc_major;                       /* 9 */
    int driver_version;                 /* 13000 */
    size_t memory;                      /* of the device, 2 GiB */
    const char *fail_call;              /* the runtime call, or the kernel, that fails next time; NULL: none */
    int fail_with;                      /* a cudaError */
    long launches, copies_to_device;    /* counted; of graphs as they are captured */
    size_t used, most;                  /* bytes of memory that are taken, and most that were at once */

    unsigned order;
    const char *fail_later;             /* the kernel that is launched and fails when it runs; NULL: none */
    int broken;                         /* what every call returns since then, until a test resets it */
    long graph_launches;                /* counted */
    long handles;                       /* streams, events, pools, graphs and page-locked buffers that there are */
    float elapsed_ms;                   /* what any two events are apart, 1 */
    int plain_products;                 /* 1: products have no epilogues; set by KLING_EMU_PLAIN */
} EmuControl;

typedef EmuControl *EmuControlFn(void);
#define EMU_CONTROL_SYMBOL "kl_emu_control"

/* The emulator's tests of itself (cases.cc), each for a process of its own. */
typedef struct EmuCase {
    const char *name;
    const char *(*run)(void);           /* what was wrong, or NULL */
    const char *dies;                   /* what the emulator says when it ends the program, as it must; or NULL */
} EmuCase;

typedef const EmuCase *EmuCasesFn(size_t *n);
#define EMU_CASES_SYMBOL "kl_emu_cases"

#endif /* KL_EMU_CONTROL_H */
