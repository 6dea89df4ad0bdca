/* SPDX-License-Identifier: GPL-2.0 */
/* Records for `weir handshake watch`. Without a watcher they cost one load per handshake's end. */
#ifndef WEIR_EVENT_H
#define WEIR_EVENT_H

#include "endpoint.h"
#include "listener.h"
#include "segment.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_watch);
} watchers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WEIR_EVENT_RING_BYTES);
} events SEC(".maps");

static __always_inline bool is_watched(__u64 now)
{
	__u32 zero = 0;
	struct weir_watch *w = bpf_map_lookup_elem(&watchers, &zero);

	return w && w->until_ns > now;
}

static __always_inline void fill_ends(struct weir_handshake_event *e, const struct segment *s,
				      bool local_is_client)
{
	if (local_is_client) {
		__builtin_memcpy(e->client, s->local, sizeof(e->client));
		__builtin_memcpy(e->server, s->remote, sizeof(e->server));
		e->client_port = s->local_port;
		e->server_port = s->remote_port;
	} else {
		__builtin_memcpy(e->client, s->remote, sizeof(e->client));
		__builtin_memcpy(e->server, s->local, sizeof(e->server));
		e->client_port = s->remote_port;
		e->server_port = s->local_port;
	}
}

/* `l` may be NULL. The watcher polls: waking it for each record would cost microseconds. */
static __always_inline void report(const struct segment *s, const struct weir_handshake *way,
				   enum weir_event kind, __u64 now, __u32 ack_us,
				   const struct listener *l)
{
	bool client = way->flags & WEIR_H_CLIENT;
	struct weir_handshake_event *e;
	struct weir_tc_counters *lost;

	if (!is_watched(now))
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		lost = program_counters();
		if (lost)
			lost->events_lost++;
		return;
	}
	fill_ends(e, s, client);
	e->ns = now;
	e->ifindex = config.ifindex;
	e->synack_us = way->state == WEIR_SYNACK_SEEN ? way->synack_us : 0;
	e->ack_us = ack_us;
	e->accept_queue = l ? l->accept_queue : 0;
	e->syn_queue = l ? l->syn_queue : 0;
	e->queue_max = l ? l->queue_max : 0;
	e->role = client ? WEIR_CLIENT : WEIR_SERVER;
	e->kind = kind;
	e->retransmits = way->retransmits;
	e->family = s->family;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

#endif
