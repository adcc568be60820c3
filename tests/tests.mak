# How the tests are built and which targets run them.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tests/unit, kernels and golden hold C programs (test_*.c, linked with libkling.a) and scripts; tests/fate holds
# scripts that drive build/bin/ffmpeg, and C programs on libavfilter; tests/fuzz holds libFuzzer targets. A script is
# a test when it may be executed. All run from the top of the source tree with $BUILD, $FFMPEG, $FFPROBE, $CC and
# $MAKE in their environment.

.PHONY: check-build check-run check-unit check-kernels check-golden check-cuda check-fate check-ffmpeg-all check-asan \
	check-tsan check-valgrind check-fuzz check-style check-all setup

TEST_SRC := $(sort $(call src_in,$(foreach d,unit kernels golden cuda,tests/$(d)/test_*.c)))
TEST_BIN := $(patsubst %.c,$(B)/%,$(TEST_SRC))
# Other C files in a test folder belong to all of its programs.
TEST_HELP_OBJ = $(patsubst %.c,$(B)/obj/%.o,$(filter-out $(TEST_SRC),$(call src_in,tests/$(1)/*.c)))

define test_rule
$(filter $(B)/tests/$(1)/%,$(TEST_BIN)): $(B)/%: $(B)/obj/%.o $(call TEST_HELP_OBJ,$(1)) $(TOOL_COMMON_OBJ) $(LIB_A)
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)$(CC) $(LDFLAGS_ALL) $$(TEST_LDFLAGS) -o $$@ $$< $(call TEST_HELP_OBJ,$(1)) \
		$(TOOL_COMMON_OBJ) $(LIB_A) $(LIBS)
endef
$(foreach d,unit kernels golden cuda,$(if $(filter $(B)/tests/$(d)/%,$(TEST_BIN)),$(eval $(call test_rule,$(d)))))

$(B)/tests/cuda/test_clip: TEST_LDFLAGS = -Wl,--wrap=kl_kernels_init_cuda

# The samples are built as a user would: with pkg-config, against the shared library.
SAMPLE_SRC := $(sort $(call src_in,samples/*.c))
SAMPLE_BIN := $(patsubst %.c,$(B)/%,$(SAMPLE_SRC))
KLING_PC = PKG_CONFIG_PATH=$(ABS_B)/lib/pkgconfig $(PKG_CONFIG)

$(SAMPLE_BIN): $(B)/%: $(S)%.c $(S)include/kling/kling.h | $(LIB_SO) $(LIB_PC)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 $(SAN_FLAGS) $(EXTRA_CFLAGS) -o $@ $< \
		$$($(KLING_PC) --cflags --libs kling) -lm -Wl,-rpath,$(ABS_B)/lib $(LDFLAGS_ALL)

# Programs on libavfilter, linked with the static libraries and what they need of the FFmpeg that build/bin/ffmpeg
# comes from. Its uninstalled pkg-config files have include paths that only hold inside its own build.
FATE_SRC := $(sort $(call src_in,tests/fate/*.c))
FATE_BIN := $(patsubst %.c,$(B)/%,$(FATE_SRC))

$(FATE_BIN): $(B)/%: $(S)%.c $(FF_DIR)/.built
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 $(SAN_FLAGS) $(EXTRA_CFLAGS) \
		-I$(FF_DIR) -I$(FF_DIR)/../src -I$(S)include -o $@ $< \
		-Wl,--start-group $$(ls $(FF_DIR)/lib*/lib*.a) -Wl,--end-group \
		$$(sed -n 's/^EXTRALIBS-[a-z0-9]*=//p' $(FF_DIR)/ffbuild/config.mak) \
		-Wl,-rpath,$(ABS_B)/lib $(LDFLAGS_ALL)

# ---- fuzz targets: the library once more, with clang ----------------------------------------------------
FUZZ_SRC := $(sort $(call src_in,tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(if $(FUZZ_CC),$(patsubst %.c,$(B)/%,$(FUZZ_SRC)))
FUZZ_OBJ := $(patsubst $(B)/obj/%,$(B)/obj-fuzz/%,$(LIB_OBJ) $(TOOL_COMMON_OBJ) $(call TEST_HELP_OBJ,fuzz))
FUZZ_OBJ := $(filter-out $(patsubst %.c,$(B)/obj-fuzz/%.o,$(FUZZ_SRC)),$(FUZZ_OBJ))
FUZZ_FLAGS := -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -pthread \
	-ffp-contract=off $(CPPFLAGS_ALL) -DKL_FUZZING
$(B)/obj-fuzz/%_avx2.o:   FUZZ_ISA = $(FLAGS_AVX2)
$(B)/obj-fuzz/%_avx512.o: FUZZ_ISA = $(FLAGS_AVX512)

$(B)/obj-fuzz/%.o: $(S)%.c $(B)/obj/.flags
	@mkdir -p $(@D)
	$(call say,FUZZCC,$<)clang -std=c11 $(FUZZ_FLAGS) $(FUZZ_ISA) -MMD -MP -c -o $@ $<

$(B)/obj-fuzz/%.o: $(S)%.cc $(B)/obj/.flags
	@mkdir -p $(@D)
	$(call say,FUZZCC,$<)clang++ -std=c++17 $(FUZZ_FLAGS) -MMD -MP -c -o $@ $<

$(FUZZ_BIN): $(B)/%: $(B)/obj-fuzz/%.o $(FUZZ_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK,$@)clang++ -fsanitize=fuzzer,address,undefined -pthread -o $@ $< $(FUZZ_OBJ) $(LIBS)

-include $(shell find $(B)/obj-fuzz -name '*.d' 2>/dev/null)

# ---- what runs ------------------------------------------------------------------------------------------
scripts = $(shell cd $(SRC_DIR) && find tests/$(1) -name '*.sh' -perm -u+x 2>/dev/null | sort)
bins = $(filter $(ABS_B)/tests/$(1)/%,$(abspath $(TEST_BIN)))

RUN_UNIT    = $(call bins,unit) $(call scripts,unit)
RUN_KERNELS = $(call bins,kernels) $(call scripts,kernels)
RUN_GOLDEN  = $(call bins,golden) $(call scripts,golden)
RUN_FATE    = $(call scripts,fate)
RUN_BUILD   = $(call scripts,build)
RUN_CUDA    = $(call bins,cuda) $(call scripts,cuda)

TEST_ENV = BUILD=$(ABS_B) FFMPEG=$(ABS_B)/bin/ffmpeg FFPROBE=$(ABS_B)/bin/ffprobe CC='$(CC)' CXX='$(CXX)' \
	MAKE='$(MAKE)' PKG_CONFIG='$(PKG_CONFIG)' KLING_BUILD_ROOT=$(CURDIR)
# run PROGRAMS...
run = cd $(SRC_DIR) && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u KLING_MODEL $(TEST_ENV) \
	tests/run -l $(ABS_B)/tests/log $(RUN_FLAGS) $(1)

# A plugin of another build, for the tests of loading.
ALIEN_SO := $(B)/tests/cuda/alien_plugin.so
$(ALIEN_SO): $(S)tests/cuda/emu/alien_plugin.c $(S)kernels/cuda.h
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) -std=c11 $(WARN) $(CPPFLAGS_ALL) -fPIC -shared -o $@ $<

tests-build: $(TEST_BIN) $(SAMPLE_BIN) tools $(EMU_SO) $(ALIEN_SO)

check-build: all tests-build $(FATE_BIN) $(FUZZ_BIN)

setup:
	@$(S)tools/setup-debian

#: make check             set up, build and run every test; the last line counts them
check: setup
	+@$(MAKE) $(auto_j) --no-print-directory check-build
	+@$(MAKE) --no-print-directory check-run

check-run:
	@$(call run,-t 1200 tests/style.sh $(RUN_UNIT) $(RUN_KERNELS) $(RUN_GOLDEN) $(RUN_CUDA) $(RUN_FATE) \
		$(RUN_BUILD) tests/valgrind.sh tests/fuzz.sh)

#: make check-unit        the tests that need no FFmpeg, nor much time
check-unit: tests-build
	@$(call run,tests/style.sh $(RUN_UNIT))

#: make check-kernels, check-golden, check-cuda, check-fate, check-valgrind, check-fuzz, check-style: parts of check
check-kernels: tests-build
	@$(call run,$(RUN_KERNELS))
check-golden: tests-build
	@$(call run,$(RUN_GOLDEN))
check-cuda: tests-build
	@$(call run,$(RUN_CUDA))
check-fate: all tests-build $(FATE_BIN)
	@$(call run,$(RUN_FATE))
check-valgrind: tests-build
	@$(call run,tests/valgrind.sh)
check-fuzz: $(FUZZ_BIN)
	@$(call run,tests/fuzz.sh)
check-style:
	@$(call run,tests/style.sh)

#: make check-ffmpeg-all  the filter tests in FFmpeg 5.1.9, 7.1.5, 8.1.2 and 9.0.2
check-ffmpeg-all: setup
	+@$(MAKE) $(auto_j) --no-print-directory all tests-build
	+@for v in $(FFMPEG_ALL); do $(S)tests/ffmpeg-version.sh build $(abspath $(SRC_DIR)) $(ABS_B) $$v '$(MAKE)' \
		$(RUN_FATE); done
	@$(call run,$$(find $(ABS_B)/tests/ffmpeg-* -type f -name '*.sh' | sort))

# Sanitizer builds are out-of-tree builds of their own, with a reduced FFmpeg.
# sub DIR CONFIGURE-OPTIONS
sub = mkdir -p $(1) && cd $(1) && { [ -f config.mak ] || $(abspath $(SRC_DIR))/configure $(2); } && \
	$(MAKE) $(auto_j) --no-print-directory

#: make check-asan        the whole suite under AddressSanitizer and UBSan, in build-asan/
check-asan: setup
	+@$(call sub,build-asan,--enable-asan --enable-ubsan --cc='$(CC)' --cxx='$(CXX)') all tests-build asan-build && \
		$(MAKE) --no-print-directory asan-run

asan-build: $(FATE_BIN)

asan-run:
	@export KLING_SANITIZED=1 KLING_TEST_QUICK=1 ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1 \
		LSAN_OPTIONS=suppressions=$(ABS_S)/tests/lsan.supp:print_suppressions=0 UBSAN_OPTIONS=print_stacktrace=1; \
	$(call run,-t 1800 $(RUN_UNIT) $(RUN_KERNELS) $(RUN_GOLDEN) $(RUN_FATE))

#: make check-tsan        two sources in one graph under ThreadSanitizer, in build-tsan/
check-tsan: setup
	+@$(call sub,build-tsan,--enable-tsan --cc='$(CC)' --cxx='$(CXX)') all tests-build && \
		$(MAKE) --no-print-directory tsan-run

tsan-run:
	@export KLING_SANITIZED=1 TSAN_OPTIONS=suppressions=$(ABS_S)/tests/tsan.supp:halt_on_error=0:exitcode=66; \
	$(call run,-t 1800 tests/tsan.sh)

#: make check-all         check, check-ffmpeg-all, check-asan and check-tsan, one after another
check-all:
	+@for t in check check-ffmpeg-all check-asan check-tsan; do \
		echo "== $$t"; $(MAKE) --no-print-directory $$t || exit 1; done
