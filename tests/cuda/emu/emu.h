/*
 * What the files of the emulator share: its one lock, its memory, its streams.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Work runs in whichever thread waits, under the lock, which every call of the
 * runtime holds: so one piece of work at a time. It calls nothing of the
 * runtime, and nothing of the plugin that could take another lock.
 */
#ifndef KL_EMU_EMU_H
#define KL_EMU_EMU_H

#include <cuda_runtime.h>
#include <mutex>
#include <vector>

typedef std::lock_guard<std::recursive_mutex> EmuHold;

extern std::recursive_mutex emu_lock;
extern EmuControl emu_control;

/** At the start of a call: the error that a test asks it for, or that of a device that is broken. */
cudaError_t emu_enter(const char *call);
/** An error on its way to the caller; cudaGetLastError() has it from then on. */
cudaError_t emu_error(cudaError_t e);
static inline cudaError_t emu_state() { return (cudaError_t)emu_control.broken; }
/** The running kernel, or NULL. */
const char *emu_running();

/* -- memory.cc; under the lock -- */

/** Device memory can be touched from emu_arena_open() on, what is taken and not freed where the streams are; between
 *  the other two. */
void emu_arena_enter();
void emu_arena_open();
void emu_arena_leave();
/** Which allocation p lies in, as the host sees it: a number that no other has had; 0: none. */
uint64_t emu_allocation(const void *p);
/** The same, where the streams are. */
void emu_check_open(const void *p, size_t bytes, const char *what);

/* -- streams.cc; under the lock -- */

/** The calling thread's. */
extern thread_local int emu_device;
/** Ends the program when `name` cannot be launched into s, which is another device's. */
void emu_check_current(EmuStream *s, const char *name);
/** Puts work behind what s has, or into the graph that it is captured in. */
cudaError_t emu_push(EmuStream *s, const std::function<void()> &run);
/** Runs all that s has. */
void emu_finish(EmuStream *s);
/** Runs all that there is. */
void emu_finish_all();
bool emu_captures(EmuStream *s);
/** The capture of s is spoilt. */
cudaError_t emu_spoil(EmuStream *s);
/** A call that may wait by itself: an error, and spoilt captures, where one of them does not allow that. */
cudaError_t emu_may_wait();
/** The graph that s is captured in needs these allocations to be there when it is launched. */
void emu_graph_needs(EmuStream *s, const std::vector<const void *> &pointers);

#endif /* KL_EMU_EMU_H */
