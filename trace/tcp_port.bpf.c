// SPDX-License-Identifier: GPL-2.0
/* How many connections each local service has, and how many local ports each destination takes. */
#include <linux/bpf.h>
#include <stdbool.h>

#include "port/counts.h"
#include "timewait.h"

#define NOTES	     16
#define SEARCHING_NS 1000000000ull

char _license[] SEC("license") = "GPL";

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
	s.early = sk->__sk_common.skc_num != 0;
	s.bound = s.early && is_bound(sk);
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

/* Else the record is of an earlier socket at this address, whose end was missed. */
static __always_inline bool goes_there(const struct sock *sk, const struct weir_port_socket *s)
{
	return bpf_ntohs(sk->__sk_common.skc_dport) == s->to.port;
}

static __always_inline void begins(struct sock *sk, int from, int to)
{
	__u64 socket = (__u64)sk;
	struct weir_port_socket *s = bpf_map_lookup_elem(&sockets, &socket);
	struct weir_ends ends = {};
	struct tcp_sock *tp;

	if (s && to == TCP_ESTABLISHED && s->kind == WEIR_PORT_WENT && goes_there(sk, s)) {
		set_established(s, true);
		s->chosen = 1;
		return;
	}
	if (s) /* its end was missed */
		leave(&socket, s);
	if (to == TCP_ESTABLISHED && from != TCP_SYN_RECV)
		return;
	tp = tcp_of(sk);
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

/* Whether a mini-socket holds the port from now on: by the states alone it cannot be told. */
static __always_inline bool left_in_time_wait(struct sock *sk, int from)
{
	struct weir_ends ends = {};
	struct mini mini = {};
	struct tcp_sock *tp;

	if (from != TCP_FIN_WAIT2 && from != TCP_CLOSING)
		return false;
	tp = tcp_of(sk);
	if (!tp)
		return false;
	ends_of(&ends, sk, tp);
	if (!find_mini(&mini, sk, &ends))
		tally_add(unknown);
	return mini.address;
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
	tp = tcp_of(sk);
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
	n = s->early ? NULL : bpf_map_lookup_elem(&destinations, &s->to);
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
	struct weir_port_service service = {
		.netns_cookie = e->netns_cookie, .netns = e->netns, .port = e->local_port};

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
	if (s->kind == WEIR_PORT_WENT && !goes_there(&tp->inet_conn.icsk_inet.sk, s)) {
		leave(&socket, s);
		find(tp, now);
		return 0;
	}
	s->walk = w->number;
	if (s->kind == WEIR_PORT_WENT)
		set_established(s, now == TCP_ESTABLISHED);
	return 0;
}
