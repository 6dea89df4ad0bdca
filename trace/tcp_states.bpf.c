// SPDX-License-Identifier: GPL-2.0
/* Every change of a TCP socket's state, with the time it spent in the old one. */
#include <linux/bpf.h>
#include <stdbool.h>

#include "abi/states.h"
#include "events.h"
#include "timewait.h"

char _license[] SEC("license") = "GPL";

/* A socket has a slot near to where its address points, so that neighbours in memory share lines of the
 * cache, or, where these are taken, near to one of two hashes of it. The kernel's hash map costs several
 * times as much, as records come and go with each connection. Slabs that lie at random in much memory fall
 * on each other: of 60000 sockets some 5 find no slot, of 100000 some 100. */
#define NEAR	     8
#define ADDRESS_STEP 11 /* sockets are larger than 2 KiB */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_STATE_SLOTS);
	__type(key, __u32);
	__type(value, struct weir_state);
} sockets SEC(".maps");

/* Those that were there before the tracer, until their first change. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_STATE_SOCKETS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct weir_owner);
} older SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_STATE_CHANGES);
	__type(key, __u32);
	__type(value, struct weir_state_counts);
} changes SEC(".maps");

struct change {
	__u64 socket;
	__u64 now, lasted;
	struct mini mini;
	struct weir_owner owner;
	__u8 from, to;
	__u8 error;
};

/* ---- telling ---- */

static __always_inline void tell(const struct change *c, const struct weir_ends *ends)
{
	struct weir_state_event *e = event_reserve(struct weir_state_event);

	if (!e)
		return;
	e->ns = c->now;
	e->socket = c->socket;
	e->lasted_ns = c->lasted;
	e->mini = c->mini.address;
	e->ends = *ends;
	e->owner = c->owner;
	e->from = c->from;
	e->to = c->to;
	e->error = c->error;
	e->pad = 0;
	event_submit(e);
}

static __always_inline void count(const struct change *c, bool is_ipv6)
{
	__u8 to = !c->mini.address	   ? c->to
		  : c->to == TCP_TIME_WAIT ? WEIR_STATE_MINI_TIME_WAIT
					   : WEIR_STATE_MINI_FIN_WAIT2;
	__u32 key = WEIR_STATE_CHANGE(c->from, to, is_ipv6);
	struct weir_state_counts *n = bpf_map_lookup_elem(&changes, &key);

	if (!n)
		return;
	n->changes++;
	if (!c->lasted)
		return;
	n->timed++;
	n->total_ns += c->lasted;
	n->slot[log2_slot(c->lasted / 1000)]++;
}

/* With what decides late: the owner, the port and the time. The reader of lines follows mini-sockets, which
 * may last as long as the user asks for. */
static __always_inline void show(const struct change *c, const struct weir_ends *ends)
{
	bool lasted = c->lasted >= config.filter.min_ns;

	if (!wanted_pid(c->owner.pid) || (!ends->local_port && config.filter.port_ranges))
		return;
	if (config.lines && (lasted || c->mini.address))
		tell(c, ends);
	if (config.counted && lasted)
		count(c, ends->family == 6);
}

/* ---- the records ---- */

static __always_inline __u32 near_address(__u64 socket)
{
	__u32 half;

	/* Half of a pointer is a number to the verifier, and may be calculated with. */
	asm("%0 = %1" : "=w"(half) : "w"((__u32)socket));
	return half >> ADDRESS_STEP;
}

static __always_inline __u32 near_hash(__u64 socket, __u32 factor)
{
	return near_address(socket) * factor >> (32 - WEIR_STATE_SLOTS_SHIFT);
}

/* All changes of a socket are made under its lock, so only others compete for a free slot. One that closed
 * unseen leaves its record to the next socket at its address. */
static __always_inline struct weir_state *search(__u64 socket, __u32 from, bool claim)
{
	for (__u32 i = 0; i < NEAR; i++) {
		__u32 key = (from + i) % WEIR_STATE_SLOTS;
		struct weir_state *s = bpf_map_lookup_elem(&sockets, &key);

		if (!s)
			break;
		if (s->socket == socket)
			return s;
		if (claim && !__sync_val_compare_and_swap(&s->socket, 0, socket))
			return s;
	}
	return NULL;
}

static __always_inline struct weir_state *search_all(__u64 socket, bool claim)
{
	return search(socket, near_address(socket), claim)
		       ?: search(socket, near_hash(socket, 0x9e3779b1), claim)
		       ?: search(socket, near_hash(socket, 0x85ebca6b), claim);
}

static __noinline struct weir_state *find(__u64 socket)
{
	return search_all(socket, false);
}

static __noinline struct weir_state *claim(__u64 socket)
{
	struct weir_state *s = search_all(socket, true);

	if (s)
		return s;
	bpf_map_delete_elem(&older, &socket);
	tally_add(records_full);
	return NULL;
}

/* ---- following ---- */

/* A child begins as a copy of its listener that does not have its own ends yet. That it was born is told
 * with its next change. */
static __always_inline void born(const struct sock *sk)
{
	struct weir_state *child = claim((__u64)sk);

	if (!child)
		return;
	child->since_ns = bpf_ktime_get_ns();
	child->owner.pid = 0;
	child->state = TCP_SYN_RECV;
	child->untold = 1;
}

static __always_inline void show_birth(const struct weir_state *known, const struct change *now,
				       const struct weir_ends *ends)
{
	struct change birth = {
		.socket = now->socket,
		.now = known->since_ns,
		.from = TCP_LISTEN,
		.to = TCP_SYN_RECV,
	};

	show(&birth, ends);
}

/* What the process that runs has asked for, and not a packet or a timer. tcp_abort(), for `ss -K`, notes
 * the error before it closes. */
static __always_inline bool by_owner(const struct sock *sk, const struct change *c)
{
	if (!sk->sk_lock.owned)
		return false;
	return c->to == TCP_SYN_SENT || c->to == TCP_LISTEN || c->to == TCP_FIN_WAIT1 ||
	       c->to == TCP_LAST_ACK || (c->to == TCP_CLOSE && !sk->sk_err);
}

static __always_inline void close(struct change *c, const struct sock *sk,
				  const struct weir_ends *ends)
{
	c->error = sk->sk_err;
	if (c->from != TCP_FIN_WAIT2 && c->from != TCP_CLOSING)
		return;
	if (!find_mini(&c->mini, sk, ends))
		tally_add(unknown);
	if (c->mini.address)
		c->to = c->mini.state;
}

/* What was known, or NULL. */
static __always_inline struct weir_state *recall(struct change *c, const struct weir_ends *ends)
{
	struct weir_state *known = c->from == TCP_CLOSE ? NULL : find(c->socket);
	struct weir_owner *owner;

	if (known) {
		if (known->untold)
			show_birth(known, c, ends);
		c->owner = known->owner;
		/* Where a change was missed the time is not known. */
		if (known->state == c->from)
			c->lasted = c->now - known->since_ns;
	} else if (c->from != TCP_CLOSE) {
		owner = bpf_map_lookup_elem(&older, &c->socket);
		if (owner) {
			c->owner = *owner;
			bpf_map_delete_elem(&older, &c->socket);
		}
	}
	if (!c->lasted && c->from != TCP_CLOSE)
		tally_add(unknown);
	return known;
}

static __always_inline void follow(struct change *c, const struct sock *sk,
				   const struct weir_ends *ends)
{
	struct weir_state *s = recall(c, ends);

	if (!c->owner.pid && by_owner(sk, c))
		owner_here(&c->owner);
	if (c->to == TCP_CLOSE) {
		if (s)
			s->socket = 0;
		close(c, sk, ends);
		return;
	}
	if (!s)
		s = claim(c->socket);
	if (!s)
		return;
	s->since_ns = c->now;
	s->owner = c->owner;
	s->state = c->to;
	s->untold = 0;
}

/* Until then a filter may have lacked the port or the peer. */
static __always_inline void forget(const struct change *c)
{
	struct weir_state *s;

	if (c->from != TCP_SYN_SENT && c->from != TCP_SYN_RECV)
		return;
	s = find(c->socket);
	if (s)
		s->socket = 0;
}

static __always_inline bool wanted_birth(struct sock *sk)
{
	const struct sock_common *c = &sk->__sk_common;
	struct weir_ends ends = {.local_port = c->skc_num};

	return (!config.filter.netns || c->skc_net.net->ns.inum == config.filter.netns) &&
	       wanted_port(&ends) && wanted_cgroup(sk);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(weir_states, struct sock *sk, int from, int to)
{
	struct change c = {.socket = (__u64)sk, .from = from, .to = to};
	struct weir_ends ends = {};
	struct tcp_sock *tp;

	/* close() sets FIN_WAIT2 where it is FIN_WAIT2 already. */
	if (from == to || !is_tcp(sk))
		return 0;
	if (from == TCP_LISTEN && to == TCP_SYN_RECV) {
		if (wanted_birth(sk))
			born(sk);
		return 0;
	}
	tp = tcp_of(sk);
	if (!tp)
		return 0;
	ends_of(&ends, sk, tp);
	if (!wanted(sk, &ends)) {
		forget(&c);
		return 0;
	}
	c.now = bpf_ktime_get_ns();
	follow(&c, sk, &ends);
	show(&c, &ends);
	return 0;
}
