// SPDX-License-Identifier: GPL-2.0
/* Connections when they end: whose they were, what they moved, how long they lasted, who ended them. */
#include <linux/bpf.h>
#include <stdbool.h>

#include "abi/life.h"
#include "bytes.h"
#include "events.h"

#define EPIPE	     32
#define ECONNABORTED 103
#define ECONNRESET   104
#define ETIMEDOUT    110

#define RCV_SHUTDOWN 1
#define SETTLED	     4096

char _license[] SEC("license") = "GPL";

/* Preallocated: each connection comes and goes, and to allocate and free doubles what that costs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_LIFE_SOCKETS);
	__type(key, __u64);
	__type(value, struct weir_life);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, WEIR_LIFE_KEYS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_life_key);
	__type(value, struct weir_life_counts);
} ended SEC(".maps");

/* Sockets of which a read tells nothing new, the last of each slot: reads are many, and a lookup in a hash
 * is dear. When two CPUs meet in a slot, one more read is looked up. */
__u64 settled[SETTLED];

static const struct weir_life_counts none;

struct change {
	__u64 socket;
	__u64 now;
	__u8 from, to;
};

/* By the hash of its two ends: verifiers do not let programs reckon with addresses. */
static __always_inline __u64 *settled_slot(const struct sock *sk)
{
	return &settled[sk->__sk_common.skc_hash % SETTLED];
}

/* The address is that of another socket now, or of none. */
static __always_inline void unsettle(const struct sock *sk)
{
	__u64 *slot = settled_slot(sk);

	if (*slot == (__u64)sk)
		*slot = 0;
}

/* ---- birth ---- */

static __always_inline void remember(__u64 socket, const struct weir_life *life)
{
	if (bpf_map_update_elem(&sockets, &socket, life, BPF_ANY))
		tally_add(records_full);
}

/* connect() has begun: the process is known, and the record of whoever had the address is no more. */
static __always_inline void called(struct sock *sk, const struct change *c)
{
	struct weir_life life = {.role = WEIR_ACTIVE};

	if (held_by_process(sk))
		owner_here(&life.owner);
	remember(c->socket, &life);
}

/* When both ends call connect(), it goes by SYN_RECV as well; only then is a SYN acknowledged there. */
static __always_inline void established(const struct tcp_sock *tp, const struct change *c)
{
	struct weir_life *known = NULL, life = {.since_ns = c->now, .role = WEIR_PASSIVE};

	if (c->from == TCP_SYN_SENT || tp->bytes_acked == 1)
		known = bpf_map_lookup_elem(&sockets, &c->socket);
	if (known) {
		known->since_ns = c->now;
		return;
	}
	if (c->from == TCP_SYN_SENT)
		life.role = WEIR_ACTIVE;
	remember(c->socket, &life);
}

/* ---- end ---- */

static __always_inline __u8 closer_of(__u8 from, __u8 end)
{
	if (from == TCP_FIN_WAIT1 || from == TCP_FIN_WAIT2 || from == TCP_CLOSING)
		return WEIR_CLOSER_LOCAL;
	if (from == TCP_CLOSE_WAIT || from == TCP_LAST_ACK || end == WEIR_END_RST_RECEIVED)
		return WEIR_CLOSER_PEER;
	return end == WEIR_END_RST_SENT ? WEIR_CLOSER_LOCAL : WEIR_CLOSER_UNKNOWN;
}

/* Data for a socket that nobody can read any more are treated like an RST by the kernel. */
static __always_inline bool is_reset(const struct sock *sk)
{
	return sk->sk_err == ECONNRESET || sk->sk_err == EPIPE;
}

static __always_inline bool is_shut(const struct sock *sk)
{
	return sk->sk_shutdown & RCV_SHUTDOWN;
}

static __always_inline __u8 end_of(const struct sock *sk, const struct tcp_sock *tp, __u8 from)
{
	if (from == TCP_LAST_ACK && fin_acked(tp, from))
		return WEIR_END_FIN;
	if (is_reset(sk))
		return (from == TCP_FIN_WAIT1 || from == TCP_FIN_WAIT2) && is_shut(sk)
			       ? WEIR_END_RST
			       : WEIR_END_RST_RECEIVED;
	if (sk->sk_err)
		return sk->sk_err == ETIMEDOUT ? WEIR_END_TIMEOUT : WEIR_END_ERROR;
	return fin_acked(tp, from) ? WEIR_END_FIN : WEIR_END_RST_SENT;
}

static __always_inline void whose(struct weir_life_event *e, struct sock *sk)
{
	const struct weir_life *life = bpf_map_lookup_elem(&sockets, &e->socket);

	if (life) {
		e->since_ns = life->since_ns;
		e->owner = life->owner;
		e->role = life->role;
		bpf_map_delete_elem(&sockets, &e->socket);
	}
	/* tcp_abort(), for `ss -K`, notes its error before it closes. */
	if (!e->owner.pid && held_by_process(sk) && sk->sk_err != ECONNABORTED)
		owner_here(&e->owner);
	if (!e->since_ns)
		tally_add(unknown);
}

static __always_inline void tell_of(struct weir_life_event *e, struct sock *sk,
				    const struct tcp_sock *tp, __u8 from)
{
	struct moved moved;

	moved_by(&moved, sk, tp, from, e->role);
	e->sent = moved.sent;
	e->received = moved.received;
	e->role = moved.role;
	e->segs_out = tp->segs_out;
	e->data_segs_out = tp->data_segs_out;
	e->retransmits = tp->total_retrans;
	e->srtt_us = tp->srtt_us >> 3;
	e->rtt_min_us = rtt_min_of(tp);
	e->end = end_of(sk, tp, from);
	e->closer = closer_of(from, e->end);
	e->error = sk->sk_err;
}

/* One that is older than the tracer has lasted at least as long as that. */
static __always_inline bool lasted_long_enough(const struct weir_life_event *e)
{
	const struct weir_trace_about *a;
	__u64 since = e->since_ns;
	__u32 zero = 0;

	if (!config.filter.min_ns)
		return true;
	a = since ? NULL : bpf_map_lookup_elem(&about, &zero);
	if (a)
		since = a->started_ns;
	return e->ns - since >= config.filter.min_ns;
}

static __always_inline struct weir_life_counts *counts_of(struct weir_life_key *key)
{
	struct weir_life_counts *n = bpf_map_lookup_elem(&ended, key);

	if (n)
		return n;
	bpf_map_update_elem(&ended, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&ended, key);
}

static __always_inline struct weir_life_counts *counts_for(const struct weir_life_event *e)
{
	struct weir_life_key key = {.role = e->role};
	struct weir_life_counts *n;

	key.port = e->role == WEIR_PASSIVE  ? e->ends.local_port
		   : e->role == WEIR_ACTIVE ? e->ends.remote_port
					    : 0;
	n = counts_of(&key);
	if (n)
		return n;
	tally_add(records_full);
	key.port = 0;
	return counts_of(&key);
}

static __always_inline void count(const struct weir_life_event *e)
{
	struct weir_life_counts *n = counts_for(e);
	__u64 lasted = e->ns - e->since_ns;

	if (!n)
		return;
	n->ended++;
	n->sent += e->sent;
	n->received += e->received;
	n->segs_out += e->segs_out;
	n->data_segs_out += e->data_segs_out;
	n->retransmits += e->retransmits;
	if (e->end < WEIR_ENDS)
		n->end[e->end]++;
	if (e->closer < WEIR_CLOSERS)
		n->closer[e->closer]++;
	if (!e->since_ns)
		return;
	n->timed++;
	n->total_ns += lasted;
	n->slot[log2_slot(lasted / 1000)]++;
}

static __always_inline void tell(const struct weir_life_event *event)
{
	struct weir_life_event *e = event_reserve(struct weir_life_event);

	if (!e)
		return;
	*e = *event;
	event_submit(e);
}

static __always_inline void over(struct sock *sk, const struct tcp_sock *tp,
				 const struct weir_ends *ends, const struct change *c)
{
	struct weir_life_event e = {.ns = c->now, .socket = c->socket, .ends = *ends};

	/* It never was one: see `tcp connect`. */
	if (c->from == TCP_SYN_SENT || c->from == TCP_SYN_RECV) {
		bpf_map_delete_elem(&sockets, &c->socket);
		return;
	}
	whose(&e, sk);
	if (!wanted_pid(e.owner.pid) || !lasted_long_enough(&e))
		return;
	tell_of(&e, sk, tp, c->from);
	if (config.lines)
		tell(&e);
	if (config.counted)
		count(&e);
}

/* ---- what happens ---- */

/* Who reads or closes is who uses it: the process that accepted may have handed it over. */
static __always_inline void learn_owner(struct sock *sk)
{
	__u64 socket = (__u64)sk, *slot = settled_slot(sk);
	struct weir_life *life;

	if (*slot == (__u64)sk || !held_by_process(sk))
		return;
	life = bpf_map_lookup_elem(&sockets, &socket);
	if (life && !life->owner.pid)
		owner_here(&life->owner);
	*slot = (__u64)sk;
}

/* The local port is chosen after SYN_SENT, when the record was made. */
static __always_inline void not_wanted(const struct change *c)
{
	if (config.filter.port_ranges && c->from == TCP_SYN_SENT)
		bpf_map_delete_elem(&sockets, &c->socket);
}

static __always_inline bool is_connection(const struct change *c)
{
	return c->from != TCP_LISTEN && c->from != TCP_CLOSE;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(weir_life_state, struct sock *sk, int from, int to)
{
	struct change c = {.socket = (__u64)sk, .from = from, .to = to};
	struct weir_ends ends = {};
	struct tcp_sock *tp;

	if (!is_tcp(sk))
		return 0;
	if (to == TCP_FIN_WAIT1 || to == TCP_LAST_ACK) {
		learn_owner(sk);
		return 0;
	}
	if (to != TCP_SYN_SENT && to != TCP_ESTABLISHED && !(to == TCP_CLOSE && is_connection(&c)))
		return 0;
	tp = tcp_of(sk);
	if (!tp)
		return 0;
	ends_of(&ends, sk, tp);
	if (!wanted(sk, &ends)) {
		not_wanted(&c);
		return 0;
	}
	if (to == TCP_SYN_SENT) {
		called(sk, &c);
		return 0;
	}
	c.now = bpf_ktime_get_ns();
	unsettle(sk);
	if (to == TCP_ESTABLISHED)
		established(tp, &c);
	else
		over(sk, tp, &ends, &c);
	return 0;
}

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(weir_life_read, struct sock *sk)
{
	learn_owner(sk);
	return 0;
}
