/* SPDX-License-Identifier: GPL-2.0 */
/* Events for the reader of lines, and the tally of what was lost. */
#ifndef WEIR_TRACE_EVENTS_H
#define WEIR_TRACE_EVENTS_H

#include "filter.h"

/* Handlers take arguments by place, so some go unused. */
#pragma clang diagnostic ignored "-Wunused-parameter"

/* The loader makes it a page where no lines are wanted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_trace_tally);
} tally SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_trace_about);
} about SEC(".maps");

#define tally_add(field)                                                           \
	do {                                                                       \
		__u32 zero_ = 0;                                                   \
		struct weir_trace_tally *t_ = bpf_map_lookup_elem(&tally, &zero_); \
                                                                                   \
		if (t_)                                                            \
			t_->field++;                                               \
	} while (0)

static __always_inline void *lost_event(void)
{
	tally_add(events_lost);
	return 0;
}

/* Room for an event of this type, which must be filled whole and submitted; NULL: lost, and counted. */
#define event_reserve(type) (bpf_ringbuf_reserve(&events, sizeof(type), 0) ?: lost_event())

/* The reader looks ten times a second: a wakeup for each would cost 5 us. */
static __always_inline void event_submit(void *event)
{
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

#endif
