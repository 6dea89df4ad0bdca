// SPDX-License-Identifier: GPL-2.0
/* Tracers take a bounded amount of memory, whatever the number of CPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "loader/trace/run.h"
#include "trace/abi/drop.h"
#include "trace/abi/life.h"
#include "trace/abi/queue.h"
#include "trace/abi/rtt.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static const struct {
	__u32 entries, bytes;
} maps[] = {
	{WEIR_RTT_ROWS, sizeof(struct weir_rtt_counts)},
	{WEIR_QUEUE_LISTENERS, sizeof(struct weir_queue_counts)},
	{WEIR_LIFE_KEYS, sizeof(struct weir_life_counts)},
	{WEIR_DROP_STACKS, sizeof(struct weir_drop_stack)},
};

#define MAPS (sizeof(maps) / sizeof(maps[0]))

static void few_cpus_take_nothing_away(void **state)
{
	(void)state;
	for (size_t i = 0; i < MAPS; i++)
		for (int cpus = 1; cpus <= 8; cpus++)
			assert_int_equal(trace_room(maps[i].entries, maps[i].bytes, cpus),
					 maps[i].entries);
}

static void many_are_bounded(void **state)
{
	(void)state;
	for (size_t i = 0; i < MAPS; i++)
		for (int cpus = 1; cpus <= 4096; cpus++) {
			__u64 room = trace_room(maps[i].entries, maps[i].bytes, cpus);
			__u64 one = (__u64)maps[i].bytes * cpus;

			assert_in_range(room, 1, maps[i].entries);
			assert_in_range(room * one, one, TRACE_ROOM);
			/* No more is taken away than has to be. */
			assert_true(room == maps[i].entries || (room + 1) * one > TRACE_ROOM);
		}
}

static void one_is_always_there(void **state)
{
	(void)state;
	assert_int_equal(trace_room(1000, TRACE_ROOM, 2), 1);
	assert_int_equal(trace_room(1000, 0xffffffff, 4096), 1);
	assert_int_equal(trace_room(1, 8, 1), 1);
}

/* Each CPU's part begins at a multiple of 8. */
static void values_are_padded(void **state)
{
	(void)state;
	assert_int_equal(trace_room(1u << 31, 1, 1), TRACE_ROOM / 8);
	assert_int_equal(trace_room(1u << 31, 9, 2), TRACE_ROOM / 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_cpus_take_nothing_away),
		cmocka_unit_test(many_are_bounded),
		cmocka_unit_test(one_is_always_there),
		cmocka_unit_test(values_are_padded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
