/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A socket is counted exactly as long as it has a record. Changes of state and the iterator, which finds
 * what is older than the tracer, both hold the socket when they come here, and whoever is first makes the
 * record: nothing is counted twice.
 */
#ifndef WEIR_TRACE_PORT_COUNTS_H
#define WEIR_TRACE_PORT_COUNTS_H

#include "../abi/port.h"
#include "../events.h"

#define SOCK_BINDADDR_LOCK 4
#define SOCK_BINDPORT_LOCK 8
#define PEAK_TRIES	   4

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_PORT_SOCKETS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct weir_port_socket);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_PORT_SERVICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_port_service);
	__type(value, struct weir_port_service_counts);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_PORT_DESTINATIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_port_destination);
	__type(value, struct weir_port_destination_counts);
} destinations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_port_walk);
} walk SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_port_room);
} room SEC(".maps");

static const struct weir_port_service_counts no_service;
static const struct weir_port_destination_counts no_destination;

static __always_inline struct weir_port_walk *last_walk(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&walk, &zero);
}

static __always_inline struct weir_port_room *entries(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&room, &zero);
}

/* ---- counters ---- */

static __always_inline void raise(__u64 *count, __u64 *peak)
{
	__u64 now = __sync_fetch_and_add(count, 1) + 1, old;

	for (int i = 0; i < PEAK_TRIES; i++) {
		old = *peak;
		if (now <= old || __sync_val_compare_and_swap(peak, old, now) == old)
			return;
	}
}

static __always_inline void lower(__u64 *count)
{
	__sync_fetch_and_add(count, -1);
}

static __always_inline struct weir_port_service service_key(const struct weir_port_socket *s)
{
	return (struct weir_port_service){
		.netns_cookie = s->to.netns_cookie, .netns = s->to.netns, .port = s->to.port};
}

static __always_inline struct weir_port_service_counts *service_of(const struct weir_port_socket *s)
{
	struct weir_port_service key = service_key(s);
	struct weir_port_service_counts *n = bpf_map_lookup_elem(&services, &key);
	struct weir_port_room *r;

	if (n)
		return n;
	r = entries();
	if (r && !bpf_map_update_elem(&services, &key, &no_service, BPF_NOEXIST))
		__sync_fetch_and_add(&r->services, 1);
	return bpf_map_lookup_elem(&services, &key);
}

static __always_inline struct weir_port_destination_counts *
destination_of(const struct weir_port_destination *key)
{
	struct weir_port_destination_counts *n = bpf_map_lookup_elem(&destinations, key);
	struct weir_port_room *r;

	if (n)
		return n;
	r = entries();
	if (r && !bpf_map_update_elem(&destinations, key, &no_destination, BPF_NOEXIST))
		__sync_fetch_and_add(&r->destinations, 1);
	return bpf_map_lookup_elem(&destinations, key);
}

/* Where many come and go, those with nothing to tell make room. A connection that is counted at this
 * very moment may lose its place: it is not counted then, until a walk sweeps. */
static __always_inline void drop_service(const struct weir_port_service *key,
					 const struct weir_port_service_counts *n)
{
	struct weir_port_room *r = entries();

	if (n->established || n->listeners || !r || r->services < WEIR_PORT_SERVICES / 4 * 3)
		return;
	if (!bpf_map_delete_elem(&services, key))
		__sync_fetch_and_add(&r->services, -1);
}

static __always_inline void drop_destination(const struct weir_port_destination *key,
					     const struct weir_port_destination_counts *n)
{
	struct weir_port_room *r = entries();

	if (n->in_use || n->bound || n->failed || !r ||
	    r->destinations < WEIR_PORT_DESTINATIONS / 4 * 3)
		return;
	if (!bpf_map_delete_elem(&destinations, key))
		__sync_fetch_and_add(&r->destinations, -1);
}

/* ---- sockets ---- */

static __always_inline bool count_service(const struct weir_port_socket *s)
{
	struct weir_port_service_counts *n = service_of(s);

	if (!n)
		return false;
	if (s->kind == WEIR_PORT_LISTENS) {
		__sync_fetch_and_add(&n->listeners, 1);
		return true;
	}
	raise(&n->established, &n->peak);
	if (s->chosen) /* by an event, not by the walk */
		__sync_fetch_and_add(&n->connections, 1);
	return true;
}

static __always_inline bool count_destination(const struct weir_port_socket *s)
{
	struct weir_port_destination_counts *n = destination_of(&s->to);

	if (!n)
		return false;
	if (s->bound)
		__sync_fetch_and_add(&n->bound, 1);
	else
		raise(&n->in_use, &n->peak);
	if (s->established)
		__sync_fetch_and_add(&n->established, 1);
	else if (s->since_ns && !s->bound)
		__sync_fetch_and_add(&n->attempts, 1);
	return true;
}

/* What is known already stays as it is. */
static __always_inline void enter(__u64 socket, struct weir_port_socket *s)
{
	struct weir_port_walk *w = last_walk();
	long err;

	s->walk = w ? w->number : 0;
	err = bpf_map_update_elem(&sockets, &socket, s, BPF_NOEXIST);
	if (err) {
		if (!bpf_map_lookup_elem(&sockets, &socket))
			tally_add(records_full);
		return;
	}
	if (s->kind == WEIR_PORT_WENT ? count_destination(s) : count_service(s))
		return;
	bpf_map_delete_elem(&sockets, &socket);
	tally_add(records_full);
}

static __always_inline void leave_service(const struct weir_port_socket *s)
{
	struct weir_port_service key = service_key(s);
	struct weir_port_service_counts *n = bpf_map_lookup_elem(&services, &key);

	if (!n)
		return;
	lower(s->kind == WEIR_PORT_LISTENS ? &n->listeners : &n->established);
	drop_service(&key, n);
}

static __always_inline void leave_destination(const struct weir_port_socket *s)
{
	struct weir_port_destination_counts *n = bpf_map_lookup_elem(&destinations, &s->to);

	if (!n)
		return;
	lower(s->bound ? &n->bound : &n->in_use);
	if (s->established)
		lower(&n->established);
	drop_destination(&s->to, n);
}

/* The record goes last: its memory may be another's at once. */
static __always_inline void leave(const __u64 *socket, const struct weir_port_socket *s)
{
	if (s->kind == WEIR_PORT_WENT)
		leave_destination(s);
	else
		leave_service(s);
	bpf_map_delete_elem(&sockets, socket);
}

static __always_inline void set_established(struct weir_port_socket *s, bool established)
{
	struct weir_port_destination_counts *n;

	if (s->established == established)
		return;
	s->established = established;
	n = bpf_map_lookup_elem(&destinations, &s->to);
	if (!n)
		return;
	__sync_fetch_and_add(&n->established, established ? 1 : -1);
	if (established)
		__sync_fetch_and_add(&n->connections, 1);
}

static __always_inline void describe(struct weir_port_socket *s, const struct weir_ends *ends)
{
	s->to.netns = ends->netns;
	s->to.netns_cookie = ends->netns_cookie;
	if (s->kind != WEIR_PORT_WENT) {
		s->to.port = ends->local_port;
		return;
	}
	__builtin_memcpy(s->to.local, ends->local, sizeof(s->to.local));
	__builtin_memcpy(s->to.remote, ends->remote, sizeof(s->to.remote));
	s->to.port = ends->remote_port;
	s->to.family = ends->family;
}

static __always_inline bool is_bound(struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) & SOCK_BINDPORT_LOCK;
}

/* A listener has no peer, and on IPv6 it may serve IPv4. */
static __always_inline bool wanted_here(struct sock *sk, const struct weir_ends *ends, bool listens)
{
	if (!listens)
		return wanted(sk, ends);
	return (!config.filter.netns || ends->netns == config.filter.netns) && wanted_port(ends) &&
	       wanted_cgroup(sk);
}

#endif
