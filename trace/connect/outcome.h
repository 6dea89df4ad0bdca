/* SPDX-License-Identifier: GPL-2.0 */
/* What came of a connection: a line of it, and counts by the server's port. */
#ifndef WEIR_TRACE_CONNECT_OUTCOME_H
#define WEIR_TRACE_CONNECT_OUTCOME_H

#include "../abi/connect.h"
#include "../events.h"

/* Where namespaces come and go, those that were silent longest make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEIR_CONNECT_ENDPOINTS);
	__type(key, struct weir_connect_endpoint);
	__type(value, struct weir_connect_counts);
} endpoints SEC(".maps");

/* One connection, at its end as far as this tracer goes. */
struct outcome {
	__u64 now, total;
	__u64 phase[WEIR_CONNECT_PHASES];
	struct weir_ends ends;
	struct weir_owner owner;
	__u16 error, retransmits;
	__u8 role, result, known, at_most;
};

static __always_inline void tell(const struct outcome *o)
{
	struct weir_connect_event *e = event_reserve(struct weir_connect_event);

	if (!e)
		return;
	e->ns = o->now;
	e->total_ns = o->total;
	for (int i = 0; i < WEIR_CONNECT_PHASES; i++)
		e->phase_ns[i] = o->phase[i];
	e->ends = o->ends;
	e->owner = o->owner;
	e->error = o->error;
	e->retransmits = o->retransmits;
	e->role = o->role;
	e->result = o->result;
	e->known = o->known;
	e->at_most = o->at_most;
	e->pad = 0;
	event_submit(e);
}

static __always_inline void count_time(struct weir_connect_times *t, __u64 ns)
{
	__sync_fetch_and_add(&t->total_us, ns / 1000);
	__sync_fetch_and_add(&t->slot[log2_slot(ns / 1000)], 1);
}

/* A connection is made once: CPUs meet here seldom, and copies for each CPU would be a hundred KB. */
static __always_inline struct weir_connect_counts *counts_of(const struct outcome *o)
{
	struct weir_connect_endpoint key = {
		.netns_cookie = o->ends.netns_cookie,
		.netns = o->ends.netns,
		.role = o->role,
	};
	static const struct weir_connect_counts none;
	struct weir_connect_counts *n;

	key.port = o->role == WEIR_CONNECT_ACTIVE ? o->ends.remote_port : o->ends.local_port;
	n = bpf_map_lookup_elem(&endpoints, &key);
	if (n)
		return n;
	bpf_map_update_elem(&endpoints, &key, &none, BPF_NOEXIST);
	n = bpf_map_lookup_elem(&endpoints, &key);
	if (!n)
		tally_add(records_full);
	return n;
}

static __always_inline void count(const struct outcome *o)
{
	struct weir_connect_counts *n = counts_of(o);

	if (!n || o->result >= WEIR_CONNECT_RESULTS)
		return;
	__sync_fetch_and_add(&n->results[o->result], 1);
	if (!o->result && o->retransmits)
		__sync_fetch_and_add(&n->retransmitted, 1);
	for (int i = 0; i < WEIR_CONNECT_PHASES; i++)
		if (o->known & 1 << i && !(i == WEIR_CONNECT_ACCEPT_WAIT && o->at_most))
			count_time(&n->phase[i], o->phase[i]);
}

/* Whatever port it has by now, it gets no other. */
static __always_inline void conclude(const struct outcome *o)
{
	if (!wanted_ends(&o->ends) || !wanted_port(&o->ends) || !wanted_pid(o->owner.pid))
		return;
	if (o->total < config.filter.min_ns)
		return;
	if (config.lines)
		tell(o);
	if (config.counted)
		count(o);
}

static __always_inline void know(struct outcome *o, enum weir_connect_phase phase, __u64 ns)
{
	o->phase[phase] = ns;
	o->known |= 1 << phase;
}

#endif
