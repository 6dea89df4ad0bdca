// SPDX-License-Identifier: GPL-2.0
#include "clock.h"

#include <string.h>
#include <time.h>

#include <bpf/bpf.h>

#include "clock.skel.h"
#include "loader/base/error.h"

#define SECOND 1000000000ull

/* The coarse clocks advance once a jiffy. */
__u64 clock_jiffy_ns(void)
{
	struct timespec t;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &t) || !t.tv_nsec)
		return SECOND / 250;
	return t.tv_nsec;
}

static __u64 read_clock(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

__u64 clock_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

__u64 clock_cpu_ns(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

__u8 clock_tick_shift(void)
{
	__u8 shift = 0;

	while ((clock_jiffy_ns() << (shift + 1)) * 2 <= SECOND * 3)
		shift++;
	return shift;
}

__u64 clock_tick_ns(void)
{
	return clock_jiffy_ns() << clock_tick_shift();
}

/* Loaded once: whoever runs on asks every second. */
static struct clock_bpf *clock_program(void)
{
	static struct clock_bpf *skel;

	if (!skel)
		skel = clock_bpf__open_and_load();
	return skel;
}

int clock_jiffies(__u64 *jiffies)
{
	struct clock_bpf *skel = clock_program();
	char frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = 1);
	int err;

	if (!skel)
		return fail(-errno, "the kernel refuses the clock program: %m");
	err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.weir_clock), &opts);
	*jiffies = skel->bss->jiffies_now;
	return err ? fail(err, "cannot read the kernel's clock: %s", strerror(-err)) : 0;
}
