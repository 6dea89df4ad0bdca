# SPDX-License-Identifier: GPL-2.0
# Tests: tests/unit, tests/datapath and tests/balance are one program a file, tests/netns one script a file. All
# speak TAP; tests/run.sh runs and counts them. tests/shared is linked with the C ones and with the bench.

UNIT_TESTS     := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/*/*.c))
DATAPATH_TESTS := $(patsubst %.c,$(B)/%,$(wildcard tests/datapath/*.c tests/balance/*.c tests/balance/*/*.c))
TEST_SHARED    := $(patsubst %.c,$(B)/%.o,$(wildcard tests/shared/*.c))
BENCH_OBJECTS  := $(patsubst %.c,$(B)/%.o,$(filter-out %.bpf.c,$(wildcard tests/bench/*.c tests/bench/*/*.c)))
TEST_OBJECTS   := $(addsuffix .o,$(UNIT_TESTS) $(DATAPATH_TESTS)) $(BENCH_OBJECTS) $(TEST_SHARED)
BENCH          := $(B)/tests/bench/bench
VM_LOAD        := $(B)/tests/vm/load
CHURN_OBJECTS  := $(patsubst %.c,$(B)/%.o,$(wildcard tests/churn/*.c))
CHURN          := $(B)/tests/churn/churn
SOCK_OBJECTS   := $(patsubst %.c,$(B)/%.o,$(wildcard tests/sock/*.c tests/sock/*/*.c))
SOCK_LOAD      := $(B)/tests/sock/sock
SCALE          := $(B)/tests/scale/fill

EMPTY          := $(B)/tests/tracecost/empty

vpath %.bpf.c tests/bench tests/tracecost

$(TEST_OBJECTS) $(B)/tests/vm/load.o: | $(B)/wrapper.skel.h

$(UNIT_TESTS) $(DATAPATH_TESTS): %: %.o $(TEST_SHARED) $(LIBRARY)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

$(BENCH): $(BENCH_OBJECTS) $(TEST_SHARED) $(LIBRARY)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(VM_LOAD): $(B)/tests/vm/load.o $(LIBRARY)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(EMPTY).o: | $(B)/trace_empty.skel.h

$(EMPTY): $(EMPTY).o $(LIBRARY)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(SCALE): $(SCALE).o $(LIBRARY)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(CHURN): $(CHURN_OBJECTS)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^

$(SOCK_LOAD): $(SOCK_OBJECTS)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -pthread -o $@ $^

.PHONY: test-programs test-vm unit
test-programs: weir $(UNIT_TESTS) $(DATAPATH_TESTS) $(BENCH) $(VM_LOAD) $(CHURN) $(SOCK_LOAD) $(SCALE) $(EMPTY)

test: deps
	$(MAKE) test-programs
	tests/run.sh $(B)

# Only what needs neither root nor the kernel's help.
unit: $(UNIT_TESTS)
	tests/run.sh $(B) unit

# The same on Debian's other kernels, emulated: what this kernel lacks is tested there.
test-vm: deps
	$(MAKE) test-programs
	tests/run.sh $(B) vm

bench: deps
	$(MAKE) $(BENCH)
	$(BENCH) $(BENCH_ARGS)

# Local sockets: BENCH_ARGS=--quick takes two minutes, all of it hours.
.PHONY: bench-sock
bench-sock: deps
	$(MAKE) weir $(B)/tests/sock/sock
	WEIR=$(B)/weir tests/bench/sock.sh $(BENCH_ARGS)

# Tracers of TCP, and what they cost: three minutes.
.PHONY: bench-trace
bench-trace: deps
	$(MAKE) weir $(B)/tests/sock/sock $(EMPTY)
	WEIR=$(B)/weir tests/bench/trace.sh $(BENCH_ARGS)

# Own build directories: the compilers' flags differ.
sanitize: deps
	$(MAKE) B=build/sanitize CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
		-fno-sanitize-recover=all" unit

lint:
	clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h')
	clang-tidy --quiet $$(git ls-files 'loader/*.c') -- -std=gnu11 $(CPPFLAGS)
	shellcheck $$(git ls-files '*.sh') .ci/run
	pyflakes3 $$(git ls-files '*.py')

-include $(TEST_OBJECTS:.o=.d) $(CHURN_OBJECTS:.o=.d) $(SOCK_OBJECTS:.o=.d) $(VM_LOAD).d $(SCALE).d $(EMPTY).d
