// SPDX-License-Identifier: GPL-2.0
/*
 * How many connections each local service has, and how many local ports each destination takes.
 *
 * A socket is counted exactly as long as it has a record. Changes of state and the iterator, which finds
 * what is older than the tracer, both hold the socket when they come here, and whoever is first makes the
 * record: nothing is counted twice.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include "abi/port.h"
#include "events.h"

#define SOCK_BINDADDR_LOCK 4
#define SOCK_BINDPORT_LOCK 8
#define PEAK_TRIES	   4
#define NOTES		   16
#define SEARCHING_NS	   1000000000ull

char _license[] SEC("license") = "GPL";

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

struct notes {
	struct note {
		__u64 socket;
		__u64 change;
	} note[NOTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct notes);
} notes SEC(".maps");

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
	return (struct weir_port_service){.netns = s->to.netns, .port = s->to.port};
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

/* ---- changes of state ---- */

/* With a choice of local ports the user asks for services. */
static __always_inline bool wants_destinations(void)
{
	return !config.filter.port_ranges;
}

static __always_inline void connecting(struct sock *sk, const struct weir_ends *ends)
{
	struct weir_port_socket s = {.kind = WEIR_PORT_WENT};

	if (!wants_destinations())
		return;
	describe(&s, ends);
	s.old_port = ends->local_port;
	s.bound = sk->__sk_common.skc_num && is_bound(sk);
	s.since_ns = bpf_ktime_get_ns();
	enter((__u64)sk, &s);
}

static __always_inline void serving(struct sock *sk, const struct weir_ends *ends, int to)
{
	struct weir_port_socket s = {
		.kind = to == TCP_LISTEN ? WEIR_PORT_LISTENS : WEIR_PORT_CAME,
		.established = to == TCP_ESTABLISHED,
		.chosen = 1,
	};

	if (!ends->local_port) { /* listen() without bind() */
		tally_add(unknown);
		return;
	}
	describe(&s, ends);
	enter((__u64)sk, &s);
}

static __always_inline void begins(struct sock *sk, int from, int to)
{
	__u64 socket = (__u64)sk;
	struct weir_port_socket *s = bpf_map_lookup_elem(&sockets, &socket);
	struct weir_ends ends = {};
	struct tcp_sock *tp;

	if (s && to == TCP_ESTABLISHED && s->kind == WEIR_PORT_WENT) {
		set_established(s, true);
		s->chosen = 1;
		return;
	}
	if (s) /* its end was missed */
		leave(&socket, s);
	if (to == TCP_ESTABLISHED && from != TCP_SYN_RECV)
		return;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	ends_of(&ends, sk, tp);
	if (!wanted_here(sk, &ends, to == TCP_LISTEN))
		return;
	if (to == TCP_SYN_SENT)
		connecting(sk, &ends);
	else
		serving(sk, &ends, to);
}

/* Nothing else closes a socket in these states without an error. */
static __always_inline bool left_in_time_wait(const struct sock *sk, int from)
{
	return !sk->sk_err && (from == TCP_FIN_WAIT2 || from == TCP_CLOSING);
}

/* It keeps the port, though no socket is left. */
static __always_inline void count_time_wait(struct weir_port_destination_counts *n)
{
	__u64 tick = bpf_ktime_get_ns() >> WEIR_PORT_TICK_SHIFT;
	__u64 *slot = &n->time_wait_tick[tick % WEIR_PORT_TICKS];
	struct weir_port_walk *w = last_walk();

	if (*slot >> 32 == tick)
		__sync_fetch_and_add(slot, 1);
	else
		*slot = tick << 32 | 1;
	if (!w)
		return;
	if (n->time_wait_new_walk != w->number) {
		n->time_wait_new = 0;
		n->time_wait_new_walk = w->number;
	}
	__sync_fetch_and_add(&n->time_wait_new, 1);
}

/* connect() that found no port leaves the socket as it was, without an error that could be read. */
static __always_inline bool found_no_port(struct sock *sk, int from,
					  const struct weir_port_socket *s)
{
	struct tcp_sock *tp;
	__u16 port;

	if (from != TCP_SYN_SENT || s->chosen || s->bound || sk->sk_err)
		return false;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return false;
	port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	return !port || port == s->old_port;
}

static __always_inline void closes(struct sock *sk, int from, const struct weir_port_socket *s)
{
	struct weir_port_destination_counts *n;

	if (s->kind != WEIR_PORT_WENT)
		return;
	n = bpf_map_lookup_elem(&destinations, &s->to);
	if (!n)
		return;
	if (found_no_port(sk, from, s))
		__sync_fetch_and_add(&n->failed, 1);
	else if (left_in_time_wait(sk, from) && !s->bound)
		count_time_wait(n);
}

static __always_inline void ends(struct sock *sk, int from, int to)
{
	__u64 socket = (__u64)sk;
	struct weir_port_socket *s = bpf_map_lookup_elem(&sockets, &socket);

	if (!s)
		return;
	if (to == TCP_CLOSE)
		closes(sk, from, s);
	if (to == TCP_CLOSE || s->kind == WEIR_PORT_CAME)
		leave(&socket, s);
	else if (s->kind == WEIR_PORT_WENT)
		set_established(s, false);
}

/* The kernel leaves a program out that is interrupted by its own event: connect() by a packet. So two
 * programs see each change, of which one is running at most. Who comes first leaves a note, and the other
 * takes it away. Where that goes wrong, as a third change comes between the two, a change is seen twice:
 * that counts one connection more, and leaves all else as it is. */
static __always_inline bool is_done(struct sock *sk, int from, int to)
{
	__u32 zero = 0, place = (sk->__sk_common.skc_num ^ bpf_ntohs(sk->__sk_common.skc_dport));
	struct notes *n = bpf_map_lookup_elem(&notes, &zero);
	__u32 change = from << 16 | to;
	struct note *note;

	if (!n)
		return false;
	note = &n->note[place % NOTES];
	if (note->socket == (__u64)sk && note->change == change) {
		note->socket = 0;
		return true;
	}
	note->socket = (__u64)sk;
	note->change = change;
	return false;
}

static __always_inline int changes(struct sock *sk, int from, int to)
{
	bool begin = to == TCP_ESTABLISHED || to == TCP_SYN_SENT || to == TCP_LISTEN;
	bool end = from == TCP_ESTABLISHED || to == TCP_CLOSE;

	if (!(begin || end) || !is_tcp(sk) || is_done(sk, from, to))
		return 0;
	if (begin)
		begins(sk, from, to);
	else
		ends(sk, from, to);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(weir_port, struct sock *sk, int from, int to)
{
	return changes(sk, from, to);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(weir_port_again, struct sock *sk, int from, int to)
{
	return changes(sk, from, to);
}

/* ---- the search for a port ---- */

static __always_inline void count_search(struct weir_port_destination_counts *n, __u64 ns)
{
	__u64 old;

	__sync_fetch_and_add(&n->searches, 1);
	__sync_fetch_and_add(&n->search_ns, ns);
	__sync_fetch_and_add(&n->search_slot[log2_slot(ns / 1000)], 1);
	for (int i = 0; i < PEAK_TRIES; i++) {
		old = n->search_max_ns;
		if (ns <= old || __sync_val_compare_and_swap(&n->search_max_ns, old, ns) == old)
			return;
	}
}

SEC("sockops")
int weir_port_found(struct bpf_sock_ops *ctx)
{
	struct weir_port_destination_counts *n;
	struct weir_port_socket *s;
	__u64 socket;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB)
		return 1;
	socket = (__u64)ctx->sk;
	s = bpf_map_lookup_elem(&sockets, &socket);
	if (!s || s->kind != WEIR_PORT_WENT || s->chosen)
		return 1;
	s->chosen = 1;
	n = s->bound ? NULL : bpf_map_lookup_elem(&destinations, &s->to);
	if (n)
		count_search(n, bpf_ktime_get_ns() - s->since_ns);
	return 1;
}

/* ---- what there is ---- */

/* What came from a listener has its backlog. Where that was 0: connect() makes the port's bucket with -1
 * here and bind() does not. */
static __always_inline __u8 kind_of(const struct tcp_sock *tp, __u8 locks)
{
	const struct sock *sk = &tp->inet_conn.icsk_inet.sk;

	if (sk->__sk_common.skc_state == TCP_LISTEN)
		return WEIR_PORT_LISTENS;
	if (sk->sk_max_ack_backlog)
		return WEIR_PORT_CAME;
	if (locks & (SOCK_BINDPORT_LOCK | SOCK_BINDADDR_LOCK))
		return WEIR_PORT_WENT;
	return BPF_CORE_READ(tp, inet_conn.icsk_bind_hash, fastreuse) < 0 ? WEIR_PORT_WENT
									  : WEIR_PORT_CAME;
}

static __always_inline void find(struct tcp_sock *tp, __u8 now)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	__u8 locks = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks);
	struct weir_port_socket s = {.kind = kind_of(tp, locks)};
	struct weir_ends e = {};

	s.established = now == TCP_ESTABLISHED;
	if (s.kind == WEIR_PORT_CAME && !s.established)
		return;
	if (s.kind == WEIR_PORT_WENT && !wants_destinations())
		return;
	ends_of(&e, sk, tp);
	if (!wanted_here(sk, &e, s.kind == WEIR_PORT_LISTENS))
		return;
	s.bound = s.kind == WEIR_PORT_WENT && (locks & SOCK_BINDPORT_LOCK);
	describe(&s, &e);
	enter((__u64)tp, &s);
}

/* connect() makes a port's bucket with -1 here. Where bind() made it, the port is a service's, one that was
 * named, or one that the kernel chose in bind(). */
static __always_inline bool went_out(const struct tcp_timewait_sock *tw, const struct weir_ends *e,
				     const struct weir_port_walk *w)
{
	struct weir_port_service service = {.netns = e->netns, .port = e->local_port};

	if (BPF_CORE_READ(tw, tw_sk.tw_tb, fastreuse) < 0)
		return true;
	return e->local_port >= w->least_port && e->local_port <= w->most_port &&
	       !bpf_map_lookup_elem(&services, &service);
}

static __always_inline void find_time_wait(struct sock_common *c, const struct weir_port_walk *w)
{
	struct tcp_timewait_sock *tw = bpf_skc_to_tcp_timewait_sock(c);
	struct weir_port_socket s = {.kind = WEIR_PORT_WENT};
	struct weir_port_destination_counts *n;
	struct weir_ends e = {};

	if (!tw || !wants_destinations() || config.filter.cgroup)
		return;
	common_ends(&e, c);
	if (!wanted_ends(&e) || !went_out(tw, &e, w))
		return;
	describe(&s, &e);
	n = destination_of(&s.to);
	if (!n) {
		tally_add(records_full);
		return;
	}
	if (n->time_wait_walk != w->number) {
		n->time_wait = 0;
		n->time_wait_walk = w->number;
	}
	n->time_wait++;
}

/* What was born just now may not be where walks find it. */
struct bpf_map;

static long sweep(struct bpf_map *map, __u64 *socket, struct weir_port_socket *s,
		  struct weir_port_walk *w)
{
	if (s->to.netns == w->netns && s->walk != w->number &&
	    s->since_ns + SEARCHING_NS < w->began_ns)
		leave(socket, s);
	return 0;
}

SEC("iter/tcp")
int weir_port_walk(struct bpf_iter__tcp *ctx)
{
	struct sock_common *c = ctx->sk_common;
	struct weir_port_walk *w = last_walk(), copy;
	struct weir_port_socket *s;
	struct tcp_sock *tp;
	__u64 socket;
	__u8 now;

	if (!w)
		return 0;
	if (!c) {
		copy = *w;
		if (w->sweep)
			bpf_for_each_map_elem(&sockets, sweep, &copy, 0);
		return 0;
	}
	now = c->skc_state;
	if (now == TCP_TIME_WAIT)
		find_time_wait(c, w);
	tp = bpf_skc_to_tcp_sock(c);
	if (!tp)
		return 0;
	socket = (__u64)tp;
	s = bpf_map_lookup_elem(&sockets, &socket);
	if (!s) {
		find(tp, now);
		return 0;
	}
	s->walk = w->number;
	if (s->kind == WEIR_PORT_WENT)
		set_established(s, now == TCP_ESTABLISHED);
	return 0;
}
