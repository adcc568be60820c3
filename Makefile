# kling for FFmpeg. `make help` lists the targets.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is built lies under $(BUILD): obj/, lib/, bin/, tests/, and the FFmpeg trees. The rules for FFmpeg are in
# tools/ffmpeg.mak, those for the tests in tests/tests.mak.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

# An out-of-tree Makefile, written by configure, sets SRC_DIR and includes this one.
SRC_DIR ?= .
S := $(if $(filter .,$(SRC_DIR)),,$(SRC_DIR)/)

.PHONY: FORCE help all lib cuda tools model demo check clean distclean install uninstall setup bench tests-build
.DEFAULT_GOAL := all

# Targets that do not need a configured tree; those that set the machine up first.
NO_CONFIG := help clean distclean
SETUP_GOALS := demo check check-all check-ffmpeg-all check-asan check-tsan

ifneq ($(filter-out $(NO_CONFIG),$(or $(MAKECMDGOALS),all)),)
include config.mak
endif
BUILD ?= build
B := $(BUILD)

# The stored arguments are used again when configure itself has changed.
config.mak: $(SRC_DIR)/configure
	$(if $(filter $(SETUP_GOALS),$(MAKECMDGOALS)),@$(S)tools/setup-debian)
	@echo "configure $(KLING_CONFIGURE_ARGS)"
	@$(SRC_DIR)/configure $(KLING_CONFIGURE_ARGS)

V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '%-8s%s\n' "$(1)" "$(2)";)

# ---- versions, from the public header -------------------------------------------------------------------
version_part = $(shell sed -n 's/^.define KLING_VERSION_$(1) *//p' $(S)include/kling/kling.h)
MAJOR := $(call version_part,MAJOR)
VERSION := $(MAJOR).$(call version_part,MINOR).$(call version_part,PATCH)

# ---- flags ------------------------------------------------------------------------------------------------
OPT     := $(if $(filter yes,$(DEBUG)),-O0,$(if $(SAN_FLAGS),-O1,-O3))
OPT_REF := $(if $(filter yes,$(DEBUG)),-O0,$(if $(SAN_FLAGS),-O1,-O2))
WARN    := -Wall -Wextra -Wshadow -Wvla
# The CUDA table's library and libkling must be of one build: both carry the text of their contract as a number.
KL_CUDA_ABI := $(shell cat $(S)kernels/kernels.h $(S)kernels/cuda.h | cksum | cut -d ' ' -f 1)
FLAGS_PLUGIN := -DKL_CUDA_ABI=$(KL_CUDA_ABI)ull
CPPFLAGS_ALL := $(FLAGS_PLUGIN) -D_GNU_SOURCE -I. $(if $(S),-I$(SRC_DIR)) -I$(S)include \
	$(JANSSON_CFLAGS) $(UTF8PROC_CFLAGS)
COMMON  := -g -fPIC -fvisibility=hidden -ffp-contract=off -pthread $(SAN_FLAGS)
CFLAGS_ALL   = -std=c11 $(COMMON) $(WARN) -Wmissing-prototypes $(CPPFLAGS_ALL) $(FILE_CFLAGS) $(EXTRA_CFLAGS)
CXXFLAGS_ALL = -std=c++17 $(COMMON) $(WARN) $(CPPFLAGS_ALL) $(FILE_CFLAGS) $(EXTRA_CFLAGS)
LDFLAGS_ALL  = -pthread $(SAN_FLAGS) $(EXTRA_LDFLAGS)
LIBS    := $(DNNL_LIBS) $(JANSSON_LIBS) $(UTF8PROC_LIBS) -lpthread -ldl -lm

FLAGS_AVX2   := -mavx2 -mfma -mf16c
FLAGS_AVX512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl $(FLAGS_AVX2)

FILE_CFLAGS = $(OPT) -fno-math-errno
$(B)/obj/kernels/ref/%: FILE_CFLAGS = $(OPT_REF)
$(B)/obj/%_avx2.o:   FILE_CFLAGS = $(OPT) -fno-math-errno $(FLAGS_AVX2)
$(B)/obj/%_avx512.o: FILE_CFLAGS = $(OPT) -fno-math-errno $(FLAGS_AVX512)

# ---- sources ----------------------------------------------------------------------------------------------
src_in = $(patsubst $(S)%,%,$(wildcard $(addprefix $(S),$(1))))
LIB_SRC   := $(sort $(call src_in,engine/*.c engine/*.cc kernels/*.c kernels/ref/*.c kernels/cpu/*.c))
LIB_OBJ   := $(addprefix $(B)/obj/,$(addsuffix .o,$(basename $(LIB_SRC))))
# tools/kling-*.c are programs, bench_*.c belong to kling-bench, other tools/*.c to every program and test.
TOOL_SRC  := $(sort $(call src_in,tools/kling-*.c))
BENCH_SRC := $(sort $(call src_in,tools/bench_*.c))
TOOL_COMMON_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(sort $(filter-out $(TOOL_SRC) $(BENCH_SRC),$(call src_in,tools/*.c))))
TOOL_BIN  := $(patsubst tools/%.c,$(B)/bin/%,$(TOOL_SRC))

# ---- the library ------------------------------------------------------------------------------------------
LIB_A  := $(B)/lib/libkling.a
LIB_SO := $(B)/lib/libkling.so
LIB_PC := $(B)/lib/pkgconfig/kling.pc

#: make                   the library, its CUDA plugin where nvcc is, the tools, ffmpeg and ffprobe, the model
all: lib cuda tools $(if $(filter no,$(FFMPEG)),,ffmpeg) model

#: make lib               libkling alone
lib: $(LIB_A) $(LIB_SO) $(LIB_PC)

tools: $(TOOL_BIN)

# Objects depend on the flags they were compiled with: a change of flags rebuilds, a repeated configure does not.
$(B)/obj/.flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CXX) $(CFLAGS_ALL)' | cmp -s - $@ || echo '$(CC) $(CXX) $(CFLAGS_ALL)' > $@

# A list of objects that lost a file must link again.
$(B)/obj/.objects: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_OBJ)' | cmp -s - $@ || echo '$(LIB_OBJ)' > $@

$(B)/obj/%.o: $(S)%.c $(B)/obj/.flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(B)/obj/%.o: $(S)%.cc $(B)/obj/.flags
	@mkdir -p $(@D)
	$(call say,CXX,$<)$(CXX) $(CXXFLAGS_ALL) -MMD -MP -c -o $@ $<

$(LIB_A): $(LIB_OBJ) $(B)/obj/.objects
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR,$@)$(AR) rcs $@ $(LIB_OBJ)

$(LIB_SO).$(VERSION): $(LIB_OBJ) $(B)/obj/.objects
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) -shared -Wl,-soname,libkling.so.$(MAJOR) $(LDFLAGS_ALL) -o $@ $(LIB_OBJ) $(LIBS)

$(LIB_SO): $(LIB_SO).$(VERSION)
	@ln -sf libkling.so.$(VERSION) $@.$(MAJOR)
	@ln -sf libkling.so.$(MAJOR) $@

# pc PREFIX LIBDIR INCDIR DATADIR
pc = printf '%s\n' 'prefix=$(1)' 'libdir=$(2)' 'includedir=$(3)' 'datadir=$(4)' '' 'Name: kling' \
	'Description: text-to-video diffusion as a library' 'Version: $(VERSION)' \
	'Libs: -L$${libdir} -lkling' 'Libs.private: $(LIBS)' 'Cflags: -I$${includedir}'

# Works where it stands: other builds use the library from the build tree through it.
$(LIB_PC): $(S)include/kling/kling.h $(SRC_DIR)/Makefile config.mak
	@mkdir -p $(@D)
	@$(call pc,$(abspath $(B)),$(abspath $(B))/lib,$(abspath $(SRC_DIR))/include,$(abspath $(B))/share/kling) > $@

$(B)/bin/kling-bench: $(patsubst %.c,$(B)/obj/%.o,$(BENCH_SRC))

$(TOOL_BIN): $(B)/bin/%: $(B)/obj/tools/%.o $(TOOL_COMMON_OBJ) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(LIB_A) $(LIBS)

include $(S)kernels/cuda/cuda.mak
include $(S)tools/ffmpeg.mak
include $(S)tests/tests.mak

# ---- the model --------------------------------------------------------------------------------------------
# The one that ships, or, where the tree has none, a synthetic one: the same architecture with random weights.
MODEL_DIR := $(B)/share/kling/model
MODEL_SRC := $(patsubst %/,%,$(wildcard $(S)samples/model/))
SYNTH_SRC := $(S)tests/models/demo

ifneq ($(MODEL_SRC),)
$(MODEL_DIR)/.made: $(shell find $(MODEL_SRC) -type f 2>/dev/null)
	@rm -rf $(@D) && mkdir -p $(@D)
	$(call say,COPY,$(@D))cp -R $(MODEL_SRC)/. $(@D)/
	@touch $@
else
$(MODEL_DIR)/.made: $(shell find $(SYNTH_SRC) -type f 2>/dev/null) | $(B)/bin/kling-synth
	@rm -rf $(@D) && mkdir -p $(dir $(@D))
	$(call say,SYNTH,$(@D))cd $(SRC_DIR) && $(abspath $(B))/bin/kling-synth $(patsubst $(S)%,%,$(SYNTH_SRC)) \
		$(abspath $(@D)) 1 > /dev/null
	@echo synthetic > $(@D)/.synthetic && touch $@
endif

model: $(MODEL_DIR)/.made

#: make demo              set up, build and generate build/demo.mp4 from a prompt
demo: setup
	+@$(MAKE) $(auto_j) --no-print-directory all
	@$(S)tools/demo $(B)

#: make bench             measure: the machine's GEMM peak, the transformer, the VAE and the text encoder
bench: $(B)/bin/kling-bench
	@$(B)/bin/kling-bench $(BENCH_ARGS)

# ---- install ----------------------------------------------------------------------------------------------
#: make install           install libkling, kling.h, kling.pc, the model and ffmpeg (PREFIX=, DESTDIR=)
# A PREFIX given here moves the folders below it that configure was not told about.
ifeq ($(origin PREFIX),command line)
I_BINDIR := $(PREFIX)/bin
I_LIBDIR := $(PREFIX)/lib
I_INCDIR := $(PREFIX)/include
I_DATADIR := $(PREFIX)/share/kling
else
I_BINDIR := $(BINDIR)
I_LIBDIR := $(LIBDIR)
I_INCDIR := $(INCDIR)
I_DATADIR := $(DATADIR)
endif
D := $(DESTDIR)
I_PROGRAMS := $(if $(filter no,$(FFMPEG)),,ffmpeg ffprobe)

install: all
	install -d $(D)$(I_BINDIR) $(D)$(I_LIBDIR)/pkgconfig $(D)$(I_INCDIR)/kling $(D)$(I_DATADIR)/model
	install -m 644 $(S)include/kling/kling.h $(D)$(I_INCDIR)/kling/kling.h
	install -m 644 $(LIB_A) $(D)$(I_LIBDIR)/libkling.a
	install -m 755 $(LIB_SO).$(VERSION) $(D)$(I_LIBDIR)/libkling.so.$(VERSION)
	ln -sf libkling.so.$(VERSION) $(D)$(I_LIBDIR)/libkling.so.$(MAJOR)
	ln -sf libkling.so.$(MAJOR) $(D)$(I_LIBDIR)/libkling.so
	$(if $(CUDA_SO),install -m 755 $(CUDA_SO) $(D)$(I_LIBDIR)/libkling_cuda.so)
	$(call pc,$(PREFIX),$(I_LIBDIR),$(I_INCDIR),$(I_DATADIR)) > $(D)$(I_LIBDIR)/pkgconfig/kling.pc
	cp -R $(MODEL_DIR)/. $(D)$(I_DATADIR)/model/
	rm -f $(D)$(I_DATADIR)/model/.made
	$(foreach p,$(I_PROGRAMS),install -m 755 $(B)/bin/$(p) $(D)$(I_BINDIR)/$(p) &&) :

#: make uninstall         remove what install put there
uninstall:
	rm -f $(D)$(I_INCDIR)/kling/kling.h $(D)$(I_LIBDIR)/libkling.a $(D)$(I_LIBDIR)/libkling.so.$(VERSION) \
		$(D)$(I_LIBDIR)/libkling.so.$(MAJOR) $(D)$(I_LIBDIR)/libkling.so $(D)$(I_LIBDIR)/pkgconfig/kling.pc \
		$(D)$(I_LIBDIR)/libkling_cuda.so \
		$(addprefix $(D)$(I_BINDIR)/,$(I_PROGRAMS))
	rm -rf $(D)$(I_DATADIR)
	-rmdir $(D)$(I_INCDIR)/kling 2>/dev/null

# ---- housekeeping -----------------------------------------------------------------------------------------
#: make clean             remove what was built, FFmpeg's trees excepted
clean:
	rm -rf $(addprefix $(B)/,obj obj-fuzz obj-emu lib bin tests samples share demo.mp4)

#: make distclean         remove everything that configure and make have written
distclean: clean
	rm -rf $(if $(filter .,$(B)),ffmpeg-[0-9]*,$(B)) build-asan build-tsan config.mak config.h config.log

#: make help              this list
help:
	@cat $(S)Makefile $(wildcard $(S)tests/tests.mak) | sed -n 's/^#: //p'
	@echo
	@echo 'Variables: V=1 shows the commands; RUN_FLAGS="-t SECONDS" changes the limit of each test program.'
	@echo 'make runs ./configure with its defaults when it has not been run; ./configure --help lists the options.'

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
