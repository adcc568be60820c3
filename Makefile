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

.PHONY: FORCE help all lib tools demo check clean distclean install uninstall setup bench tests-build
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
OPT     := $(if $(filter yes,$(DEBUG)),-O0,-O3)
OPT_REF := $(if $(filter yes,$(DEBUG)),-O0,-O2)
WARN    := -Wall -Wextra -Wshadow -Wvla
CPPFLAGS_ALL := -D_GNU_SOURCE -I. $(if $(S),-I$(SRC_DIR)) -I$(S)include
COMMON  := -g -fPIC -fvisibility=hidden -ffp-contract=off -pthread $(SAN_FLAGS)
CFLAGS_ALL   = -std=c11 $(COMMON) $(WARN) -Wmissing-prototypes $(CPPFLAGS_ALL) $(FILE_CFLAGS) $(EXTRA_CFLAGS)
CXXFLAGS_ALL = -std=c++17 $(COMMON) $(WARN) $(CPPFLAGS_ALL) $(FILE_CFLAGS) $(EXTRA_CFLAGS)
LDFLAGS_ALL  = -pthread $(SAN_FLAGS) $(EXTRA_LDFLAGS)
LIBS    := $(DNNL_LIBS) $(SP_LIBS) $(JANSSON_LIBS) -lstdc++ -lpthread -lm

FLAGS_AVX2   := -mavx2 -mfma -mf16c
FLAGS_AVX512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl $(FLAGS_AVX2)

FILE_CFLAGS = $(OPT) -fno-math-errno
$(B)/obj/kernels/ref/%: FILE_CFLAGS = $(OPT_REF)
$(B)/obj/%_avx2.o:   FILE_CFLAGS = $(OPT) -fno-math-errno $(FLAGS_AVX2)
$(B)/obj/%_avx512.o: FILE_CFLAGS = $(OPT) -fno-math-errno $(FLAGS_AVX512)
$(B)/obj/engine/tokenizer_sp.o: FILE_CFLAGS = $(OPT) $(SP_CFLAGS)
$(B)/obj/engine/json.o: FILE_CFLAGS = $(OPT) -fno-math-errno $(JANSSON_CFLAGS)

# ---- sources ----------------------------------------------------------------------------------------------
src_in = $(patsubst $(S)%,%,$(wildcard $(addprefix $(S),$(1))))
LIB_SRC   := $(sort $(call src_in,engine/*.c engine/*.cc kernels/*.c kernels/ref/*.c kernels/cpu/*.c))
LIB_OBJ   := $(addprefix $(B)/obj/,$(addsuffix .o,$(basename $(LIB_SRC))))
# tools/kling-*.c are programs, other tools/*.c are linked into every program and test.
TOOL_SRC  := $(sort $(call src_in,tools/kling-*.c))
TOOL_COMMON_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(sort $(filter-out $(TOOL_SRC),$(call src_in,tools/*.c))))
TOOL_BIN  := $(patsubst tools/%.c,$(B)/bin/%,$(TOOL_SRC))

# ---- the library ------------------------------------------------------------------------------------------
LIB_A  := $(B)/lib/libkling.a
LIB_SO := $(B)/lib/libkling.so
LIB_PC := $(B)/lib/pkgconfig/kling.pc

all: lib tools

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

$(TOOL_BIN): $(B)/bin/%: $(B)/obj/tools/%.o $(TOOL_COMMON_OBJ) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(LDFLAGS_ALL) -o $@ $< $(TOOL_COMMON_OBJ) $(LIB_A) $(LIBS)

# ---- tests ------------------------------------------------------------------------------------------------
-include $(S)tests/tests.mak

# ---- FFmpeg -----------------------------------------------------------------------------------------------
-include $(S)tools/ffmpeg.mak

# ---- housekeeping -----------------------------------------------------------------------------------------
clean:
	rm -rf $(B)/obj $(B)/obj-* $(B)/lib $(B)/bin $(B)/tests $(B)/share

distclean: clean
	rm -rf $(filter-out .,$(B)) build-asan build-tsan config.mak config.h config.log

help:
	@sed -n 's/^#: //p' $(S)Makefile $(wildcard $(S)tests/tests.mak $(S)tools/ffmpeg.mak)

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
