/* SPDX-License-Identifier: GPL-2.0 */
/* What a drop costs the client: the time from its first packet that was dropped to the one that got in. */
#ifndef WEIR_TRACE_QUEUE_WAITING_H
#define WEIR_TRACE_QUEUE_WAITING_H

#include "listener.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEIR_QUEUE_WAITING);
	__type(key, struct weir_ends);
	__type(value, struct weir_queue_waiting);
} waiting SEC(".maps");

/* Whether any packet was dropped so far, and whether a last ACK was: then connections are worth a look
 * when they are established. */
static volatile __u8 any_dropped, acks_dropped;

/* A flood is told of as far as a reader can follow; the rest counts as lost. */
static __always_inline struct weir_queue_event *line(__u64 now)
{
	struct weir_queue_slot *s = slot();

	if (!config.lines || !s)
		return NULL;
	if (now - s->lines_ns > 1000000000) {
		s->lines_ns = now;
		s->lines = 0;
	}
	if (s->lines >= WEIR_QUEUE_LINES)
		return lost_event();
	s->lines++;
	return event_reserve(struct weir_queue_event);
}

static __always_inline void tell_drop(const struct weir_queue_slot *s, __u32 what)
{
	struct weir_queue_event *e = line(s->ns);
	struct weir_queue_waiting *w;

	if (!e)
		return;
	w = bpf_map_lookup_elem(&waiting, &s->ends);
	*e = (struct weir_queue_event){
		.ns = s->ns,
		.ends = s->ends,
		.listener = s->listener,
		.waited_ns = w ? s->ns - w->first_ns : 0,
		.drops = w ? w->drops : 1,
		.accept_queue = s->accept_queue,
		.syn_queue = s->syn_queue,
		.limit = s->limit,
		.what = what,
		.reset = s->reset,
	};
	event_submit(e);
}

/* It was another connection of the same ends, whose client has not come again since. */
static __always_inline bool gave_up(const struct weir_queue_waiting *w, __u64 now)
{
	__u64 silent = now - w->last_ns;

	return silent > WEIR_QUEUE_SILENT_NS && 2 * silent > 5 * w->gap_ns;
}

static __always_inline void begin_waiting(const struct weir_queue_slot *s)
{
	struct weir_queue_waiting fresh = {
		.first_ns = s->ns,
		.last_ns = s->ns,
		.listener = s->listener,
		.drops = 1,
	};
	struct weir_queue_waiting *w;

	any_dropped = 1;
	if (!bpf_map_update_elem(&waiting, &s->ends, &fresh, BPF_NOEXIST))
		return;
	w = bpf_map_lookup_elem(&waiting, &s->ends);
	if (!w)
		return;
	if (gave_up(w, s->ns)) {
		count(&w->listener, WEIR_Q_GAVE_UP);
		*w = fresh;
		return;
	}
	w->gap_ns = s->ns - w->last_ns;
	w->last_ns = s->ns;
	w->drops++;
}

/* It was not a queue that dropped the packet of the slot. */
static __always_inline void take_back(const struct weir_queue_slot *s)
{
	struct weir_queue_waiting *w;

	w = any_dropped ? bpf_map_lookup_elem(&waiting, &s->ends) : NULL;
	if (!w || w->last_ns != s->ns)
		return;
	if (w->drops > 1)
		w->drops--;
	else
		bpf_map_delete_elem(&waiting, &s->ends);
}

static __always_inline void count_wait(const struct weir_queue_listener *l, __u64 ns)
{
	struct weir_queue_counts *c = counts_of(l);

	if (!c)
		return;
	c->waited++;
	c->waited_ns += ns;
	c->slot[log2_slot(ns / 1000)]++;
	raise(&c->wait_most_ns, ns);
	raise(&c->wait_least_not_ns, ~ns);
}

static __always_inline void tell_wait(const struct weir_ends *ends,
				      const struct weir_queue_waiting *w, __u64 now)
{
	struct weir_queue_event *e = line(now);

	if (!e)
		return;
	*e = (struct weir_queue_event){
		.ns = now,
		.ends = *ends,
		.listener = w->listener,
		.waited_ns = now - w->first_ns,
		.drops = w->drops,
		.what = WEIR_Q_CAME_IN,
	};
	event_submit(e);
}

/* A packet of this client got in at last. One that was expected to be dropped and was not has left
 * its own mark here. */
static __always_inline void came_in(const struct weir_ends *ends, __u64 now)
{
	struct weir_queue_waiting *w;

	w = any_dropped ? bpf_map_lookup_elem(&waiting, ends) : NULL;
	if (!w)
		return;
	if (w->last_ns == now)
		w->drops--;
	if (gave_up(w, now)) {
		count(&w->listener, WEIR_Q_GAVE_UP);
	} else if (w->drops) {
		if (config.counted)
			count_wait(&w->listener, now - w->first_ns);
		if (config.lines)
			tell_wait(ends, w, now);
	}
	bpf_map_delete_elem(&waiting, ends);
}

#endif
