# How the tests are built and which make targets run them.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

TEST_SRC := $(sort $(call src_in,tests/unit/test_*.c tests/kernels/test_*.c tests/golden/test_*.c))
TEST_BIN := $(patsubst %.c,$(B)/%,$(TEST_SRC))
# Other C files in a test folder belong to all of its programs.
TEST_HELP_OBJ = $(patsubst %.c,$(B)/obj/%.o,$(filter-out $(TEST_SRC),$(call src_in,tests/$(1)/*.c)))

tests-build: $(TEST_BIN)

define test_rule
$(filter $(B)/tests/$(1)/%,$(TEST_BIN)): $(B)/%: $(B)/obj/%.o $(call TEST_HELP_OBJ,$(1)) $(TOOL_COMMON_OBJ) $(LIB_A)
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)$(CC) $(LDFLAGS_ALL) -o $$@ $$< $(call TEST_HELP_OBJ,$(1)) $(TOOL_COMMON_OBJ) $(LIB_A) $(LIBS)
endef
$(foreach d,unit kernels golden,$(if $(filter $(B)/tests/$(d)/%,$(TEST_BIN)),$(eval $(call test_rule,$(d)))))
