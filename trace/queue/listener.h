/* SPDX-License-Identifier: GPL-2.0 */
/* What is kept of each listener, and what it is about to do with a SYN. */
#ifndef WEIR_TRACE_QUEUE_LISTENER_H
#define WEIR_TRACE_QUEUE_LISTENER_H

#include "../abi/queue.h"
#include "../events.h"

#define SYNCOOKIES_ALWAYS 2

/* Before 6.14 a SYN queue at its limit is full, now one above it. */
const volatile __u8 full_at_limit;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_queue_slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, WEIR_QUEUE_LISTENERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_queue_listener);
	__type(value, struct weir_queue_counts);
} counts SEC(".maps");

/* Rows that make room for new ones when there is none: of listeners that are closed, of nobody's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_QUEUE_LISTENERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_queue_listener);
	__type(value, __u8);
} gone SEC(".maps");

/* Filled by the loader, which finds it again when the tracer is pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_QUEUE_SPACES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct weir_queue_space);
} spaces SEC(".maps");

static __always_inline struct weir_queue_slot *slot(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&slots, &zero);
}

static __always_inline void listener_of(struct weir_queue_listener *l, const struct sock *sk)
{
	struct weir_ends ends = {};

	common_ends(&ends, &sk->__sk_common);
	__builtin_memcpy(l->address, ends.local, sizeof(l->address));
	l->cookie = sk->__sk_common.skc_net.net->net_cookie;
	l->netns = ends.netns;
	l->port = ends.local_port;
	l->family = ends.family;
	l->pad = 0;
}

static __always_inline void mark_gone(const struct weir_queue_listener *l)
{
	__u8 yes = 1;

	bpf_map_update_elem(&gone, l, &yes, BPF_ANY);
}

static long take_first(void *map, const void *key, void *value, void *first)
{
	__builtin_memcpy(first, key, sizeof(struct weir_queue_listener));
	return 1;
}

static __noinline int make_room(void)
{
	struct weir_queue_listener first = {};

	if (bpf_for_each_map_elem(&gone, take_first, &first, 0) <= 0)
		return -1;
	bpf_map_delete_elem(&gone, &first);
	return bpf_map_delete_elem(&counts, &first);
}

static __always_inline struct weir_queue_counts *counts_of(const struct weir_queue_listener *l)
{
	static const struct weir_queue_counts none;
	struct weir_queue_counts *c = bpf_map_lookup_elem(&counts, l);

	if (c)
		return c;
	if (bpf_map_update_elem(&counts, l, &none, BPF_NOEXIST) && !make_room())
		bpf_map_update_elem(&counts, l, &none, BPF_NOEXIST);
	c = bpf_map_lookup_elem(&counts, l);
	if (!c)
		tally_add(records_full);
	else if (!l->port)
		mark_gone(l);
	return c;
}

/* Compared in the register that is used: the verifier of 6.1 forgets the bounds of what it spills. */
static __always_inline void add(struct weir_queue_counts *c, __u64 what)
{
	asm volatile("" : "+r"(what));
	if (what < WEIR_Q_COUNTS)
		c->count[what]++;
}

static __always_inline void count(const struct weir_queue_listener *l, __u32 what)
{
	struct weir_queue_counts *c = config.counted ? counts_of(l) : NULL;

	if (c)
		add(c, what);
}

static __always_inline void raise(__u64 *mark, __u64 value)
{
	if (*mark < value)
		*mark = value;
}

/* The packet of the slot, and what it says of the queues. */
static __always_inline void count_packet(const struct weir_queue_slot *s, __u32 what)
{
	struct weir_queue_counts *c = config.counted ? counts_of(&s->listener) : NULL;

	if (!c)
		return;
	add(c, what);
	if (s->both_full && what == WEIR_Q_SYN_ACCEPT)
		c->count[WEIR_Q_BOTH_FULL]++;
	if (s->reset)
		c->count[WEIR_Q_RESET]++;
	raise(&c->accept_most, s->accept_queue);
	raise(&c->syn_most, s->syn_queue);
	raise(&c->limit_most, s->limit);
}

static __always_inline bool accept_full(const struct sock *sk)
{
	return sk->sk_ack_backlog > sk->sk_max_ack_backlog;
}

static __always_inline bool is_ack(__u8 what)
{
	return what == WEIR_Q_ACK || what == WEIR_Q_COOKIE_ACK;
}

/* As tcp_conn_request() decides, with so many more in both queues. */
static __always_inline __u8 verdict(struct weir_queue_slot *s, __u32 cookies, __s32 max_backlog,
				    __u32 more)
{
	__u32 waiting = s->syn_queue + more;
	bool full = full_at_limit ? waiting >= s->limit : waiting > s->limit;

	if (full && !cookies)
		return WEIR_Q_SYN_SYN;
	full |= cookies == SYNCOOKIES_ALWAYS;
	if (s->accept_queue + more > s->limit) {
		s->both_full = full;
		return WEIR_Q_SYN_ACCEPT;
	}
	if (full)
		return WEIR_Q_COOKIE;
	if (!cookies && max_backlog - (__s32)waiting < max_backlog >> 2)
		return WEIR_Q_SYN_RESERVE;
	return WEIR_Q_ADMITTED;
}

/* When there was room for one more and the SYN is not admitted all the same, another CPU took it. */
static __always_inline void judge(struct weir_queue_slot *s, const struct net *net)
{
	__u32 cookies = net->ipv4.sysctl_tcp_syncookies;
	__s32 max_backlog = net->ipv4.sysctl_max_syn_backlog;

	s->expected = verdict(s, cookies, max_backlog, 0);
	s->otherwise = s->expected;
	if (s->expected == WEIR_Q_ADMITTED)
		s->otherwise = verdict(s, cookies, max_backlog, 1);
	if (s->otherwise == WEIR_Q_ADMITTED)
		s->otherwise = WEIR_Q_SYN_OTHER;
}

#endif
