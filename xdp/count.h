/* SPDX-License-Identifier: GPL-2.0 */
/* Counters of this device: one cell a packet, per CPU, no atomics. */
#ifndef WEIR_COUNT_H
#define WEIR_COUNT_H

#include "balance/explain.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_device_counters);
} counters SEC(".maps");

static __always_inline void add(struct weir_counter *counter, __u32 bytes)
{
	counter->packets++;
	counter->bytes += bytes;
}

static __always_inline struct weir_device_counters *device_counters(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&counters, &key);
}

static __always_inline int count_decided(__u32 class, __u32 bytes, struct decision d)
{
	struct weir_device_counters *c = device_counters();
	__u32 reason = d.reason;

	if (!c || class >= WEIR_CLASSES || d.verdict >= WEIR_VERDICTS)
		return XDP_ABORTED;
	add(&c->cell[d.verdict][class], bytes);
	/* In one register from here on: 6.1 forgets the bound of a copy in memory. */
	asm volatile("" : "+r"(reason));
	if (reason < WEIR_REASONS)
		add(&c->reason[reason], bytes);
	return d.code;
}

static __always_inline int count(__u32 class, __u32 bytes, struct decision d)
{
	explain(class, class);
	explain(verdict, d.verdict);
	explain(reason, d.reason);
	return config.explain ? (int)d.code : count_decided(class, bytes, d);
}

#endif
