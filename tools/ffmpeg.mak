# How FFmpeg is fetched, patched, configured and built.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# $(B)/ffmpeg-VERSION/src is the patched source, with the files of vf_kling/ linked into its libavfilter/;
# $(B)/ffmpeg-VERSION/full and .../reduced are out-of-tree builds of it. libkling is linked as a shared library found
# relative to the program, so that a change of the engine needs no new link here.

.PHONY: ffmpeg ffmpeg-all

FFMPEG_ALL := 5.1.9 7.1.5 8.1.2 9.0.2
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
# One job per core where the caller did not choose: expanded in recipes only, where MAKEFLAGS is complete.
auto_j = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

VF_SRC := $(call src_in,vf_kling/*.c vf_kling/*.h)
ABS_S  := $(abspath $(SRC_DIR))
ABS_B  := $(abspath $(B))

FF_COMMON := --disable-doc --disable-debug --disable-ffplay --enable-gpl --enable-libx264 --enable-libass \
	--enable-libfreetype --enable-libfontconfig --enable-libfribidi --enable-libharfbuzz --enable-libkling \
	--cc='$(CC)' --cxx='$(CXX)' --pkg-config='$(PKG_CONFIG)' $(if $(filter yes,$(FFMPEG_ZMQ)),--enable-libzmq)

FF_SAN := $(filter-out -fno-sanitize-recover=%,$(SAN_FLAGS))
ifneq ($(FF_SAN),)
FF_COMMON += --extra-cflags='$(FF_SAN)' --extra-ldflags='$(FF_SAN)' --disable-stripping
endif

# The default set of components. $ORIGIN passes through an eval in FFmpeg's configure, its make and a shell.
FF_CONF_full := $(FF_COMMON) --extra-ldexeflags='-Wl,-rpath,\\\$$\$$ORIGIN/../lib'

# What the filter tests use, and little else.
comma := ,
empty :=
list = $(subst $(empty) $(empty),$(comma),$(strip $(1)))
FF_CONF_reduced := $(FF_COMMON) --disable-everything --disable-autodetect --disable-network --enable-zlib \
	--optflags=-O1 --extra-ldexeflags='-Wl,-rpath,$(ABS_B)/lib' \
	--enable-indev=lavfi --enable-protocol=file,pipe,concat \
	--enable-filter=$(call list,kling kling_bridge kling_extend \
		scale fps setpts settb setsar setparams sendcmd metadata showinfo split concat testsrc \
		testsrc2 color nullsrc hwupload xfade overlay drawtext ass subtitles palettegen paletteuse format trim null \
		hstack vstack tpad loop select crop pad nullsink buffer buffersink realtime signalstats blend psnr streamselect \
		sine acrossfade adelay aresample $(if $(filter yes,$(FFMPEG_ZMQ)),zmq)) \
	--enable-encoder=$(call list,libx264 ffv1 rawvideo wrapped_avframe gif png aac) \
	--enable-decoder=$(call list,h264 ffv1 rawvideo wrapped_avframe gif png ass srt subrip aac) \
	--enable-parser=$(call list,h264 gif png aac) --enable-bsf=h264_mp4toannexb \
	--enable-muxer=$(call list,mp4 mov matroska framecrc framemd5 framehash rawvideo null gif image2 image2pipe md5 hash \
		yuv4mpegpipe nut) \
	--enable-demuxer=$(call list,mov matroska rawvideo gif image2 image2pipe png_pipe ass srt concat nut)

# ffmpeg_version VERSION
define ffmpeg_version
FF_PATCHES_$(1) := $(sort $(wildcard $(S)patches/ffmpeg-$(basename $(1))/*.patch))

$(B)/ffmpeg-$(1)/.prepared: $$(FF_PATCHES_$(1)) $(if $(filter $(1),$(FFMPEG_VERSION)),$(B)/.ffmpeg-src)
	@mkdir -p $$(@D)
	$$(Q)$(S)tools/get-ffmpeg $(if $(filter $(1),$(FFMPEG_VERSION)),$(FFMPEG_SRC:%=--src=%)) $(1) $$(@D)/src
	$$(Q)for p in $$(FF_PATCHES_$(1)); do \
		patch -d $$(@D)/src -p1 -R -s -f --dry-run < $$$$p > /dev/null && continue; \
		if grep -q ff_vsrc_kling $$(@D)/src/libavfilter/allfilters.c; then \
			echo "$(FFMPEG_SRC) has an older or newer version of $$$$p: give a tree without it"; exit 1; \
		fi; \
		echo "PATCH   $$$$p"; \
		patch -d $$(@D)/src -p1 -s --no-backup-if-mismatch < $$$$p || exit 1; \
	done
	@touch $$@

$(call ffmpeg_variant,$(1),full)
$(call ffmpeg_variant,$(1),reduced)
endef

# ffmpeg_variant VERSION VARIANT; libharfbuzz is an option since 6.1 only.
define ffmpeg_variant
$(B)/ffmpeg-$(1)/$(2)/.args: FORCE
	@$$(shell mkdir -p $$(@D))$$(file >$$@.new,$$(FF_CONF_$(2)))cmp -s $$@.new $$@ && rm $$@.new || mv $$@.new $$@

$(B)/ffmpeg-$(1)/$(2)/.configured: $(B)/ffmpeg-$(1)/.prepared $(B)/ffmpeg-$(1)/$(2)/.args | $(LIB_SO) $(LIB_PC)
	@echo "CONF    FFmpeg $(1) ($(2)); log in $$(@D)/configure.out"
	$$(Q)cd $$(@D) && args=$$$$(cat .args); grep -q -e --enable-libharfbuzz ../src/configure || \
		args=$$$$(printf '%s' "$$$$args" | sed 's/--enable-libharfbuzz//'); \
		export PKG_CONFIG_PATH="$(ABS_B)/lib/pkgconfig$$$${PKG_CONFIG_PATH:+:$$$$PKG_CONFIG_PATH}"; \
		eval "../src/configure $$$$args" > configure.out 2>&1 || \
		{ tail -n 20 configure.out; tail -n 20 ffbuild/config.log; false; }
	@touch $$@

$(B)/ffmpeg-$(1)/$(2)/.built: $(B)/ffmpeg-$(1)/$(2)/.configured $(addprefix $(S),$(VF_SRC)) $(S)include/kling/kling.h
	@echo "MAKE    FFmpeg $(1) ($(2)); log in $$(@D)/make.out"
	$$(Q)for f in $(addprefix $(ABS_S)/,$(VF_SRC)); do \
		l=$$(@D)/../src/libavfilter/$$$${f##*/}; \
		[ "$$$$(readlink $$$$l)" = $$$$f ] || ln -sf $$$$f $$$$l || exit 1; \
	done
	+$$(Q)$$(MAKE) $$(auto_j) -C $$(@D) ffmpeg ffprobe > $$(@D)/make.out 2>&1 || \
		{ grep -E -B2 -A12 'error|Error|undefined' $$(@D)/make.out | tail -n 60; false; }
	@grep -A6 -E '$(subst $(empty) $(empty),|,$(patsubst %,%.*warning,$(notdir $(VF_SRC))))' $$(@D)/make.out || :
	@touch $$@
endef

$(foreach v,$(sort $(FFMPEG_ALL) $(FFMPEG_VERSION)),$(eval $(call ffmpeg_version,$(v))))

# Another --ffmpeg-src means another tree.
$(B)/.ffmpeg-src: FORCE
	@mkdir -p $(@D)
	@echo '$(FFMPEG_SRC)' | cmp -s - $@ || echo '$(FFMPEG_SRC)' > $@

# A sanitizer build serves the tests: the reduced set is enough.
FF_VARIANT := $(if $(SAN_FLAGS),reduced,full)
FF_DIR := $(B)/ffmpeg-$(FFMPEG_VERSION)/$(FF_VARIANT)

$(B)/bin/ffmpeg $(B)/bin/ffprobe: $(B)/bin/%: $(FF_DIR)/.built
	@mkdir -p $(@D)
	$(call say,COPY,$@)cp $(FF_DIR)/$* $@.tmp && mv $@.tmp $@

ffmpeg: $(B)/bin/ffmpeg $(B)/bin/ffprobe

ffmpeg-all: $(foreach v,$(FFMPEG_ALL),$(B)/ffmpeg-$(v)/reduced/.built)
