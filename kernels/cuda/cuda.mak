# The CUDA plugin, by nvcc, where configure found it; and its emulated twin for tests, by the C++ compiler.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Machine code for the architectures that have paths of their own, and PTX that the driver compiles for newer ones.

.PHONY: cuda

CUDA_SRC := $(sort $(call src_in,kernels/cuda/*.cu))
CUDA_OBJ := $(addprefix $(B)/obj/,$(CUDA_SRC:.cu=.cu.o))
CUDA_SO  := $(if $(filter yes,$(HAVE_NVCC)),$(B)/lib/libkling_cuda.so)

CUDA_ARCH := -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
	-gencode arch=compute_90,code=compute_90
NVCCFLAGS_ALL = -std=c++17 -O3 -lineinfo -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra \
	-I. $(if $(S),-I$(SRC_DIR)) $(CUDA_ARCH) $(FLAGS_PLUGIN)

#: make cuda              the CUDA plugin, where nvcc is
cuda: $(CUDA_SO)

# Decoders whose every operation is rounded by itself; they carry pragmas of GCC.
$(B)/obj/kernels/cuda/quants.cu.o: CUDA_FILE_FLAGS = -fmad=false -diag-suppress 1675

$(B)/obj/.nvcc-flags: FORCE
	@mkdir -p $(@D)
	@echo '$(NVCC) $(NVCCFLAGS_ALL)' | cmp -s - $@ || echo '$(NVCC) $(NVCCFLAGS_ALL)' > $@

$(B)/obj/%.cu.o: $(S)%.cu $(B)/obj/.nvcc-flags
	@mkdir -p $(@D)
	$(call say,NVCC,$<)$(NVCC) $(NVCCFLAGS_ALL) $(CUDA_FILE_FLAGS) -MMD -MP -MF $(@:.o=.d) -MT $@ -c -o $@ $<

$(B)/lib/libkling_cuda.so: $(CUDA_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(NVCC) -shared -cudart static -o $@ $(CUDA_OBJ) -lcublasLt

# ---- emulated ---------------------------------------------------------------------------------------------
EMU_SRC := $(filter-out kernels/cuda/gemm.cu,$(CUDA_SRC)) $(sort $(call src_in,tests/cuda/emu/*.cc))
EMU_OBJ := $(addprefix $(B)/obj-emu/,$(addsuffix .o,$(EMU_SRC)))
EMU_SO  := $(B)/tests/cuda/libkling_cuda_emulated.so
EMU_FLAGS = -std=c++17 -g -O2 -fPIC -fvisibility=hidden -ffp-contract=off -pthread $(WARN) \
	-Wno-unknown-pragmas -DKL_CUDA_EMU $(FLAGS_PLUGIN) -I. $(if $(S),-I$(SRC_DIR)) -I$(S)tests/cuda/emu $(EXTRA_CFLAGS)

$(B)/obj-emu/.flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CXX) $(EMU_FLAGS)' | cmp -s - $@ || echo '$(CXX) $(EMU_FLAGS)' > $@

$(B)/obj-emu/%.o: $(S)% $(B)/obj-emu/.flags
	@mkdir -p $(@D)
	$(call say,EMUCXX,$<)$(CXX) -x c++ $(EMU_FLAGS) -MMD -MP -c -o $@ $<

$(EMU_SO): $(EMU_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CXX) -shared -pthread -Wl,-Bsymbolic-functions -o $@ $(EMU_OBJ)

-include $(shell find $(B)/obj-emu -name '*.d' 2>/dev/null)
