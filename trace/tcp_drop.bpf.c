// SPDX-License-Identifier: GPL-2.0
/* Where the kernel drops packets of TCP, and why. */
#include <linux/bpf.h>
#include <stdbool.h>

#include "abi/drop.h"
#include "events.h"
#include "packet.h"

char _license[] SEC("license") = "GPL";

const volatile struct weir_drop_settings settings = {};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_drop_table);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, WEIR_DROP_STACKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_drop_kind);
	__type(value, struct weir_drop_stack);
} stacks SEC(".maps");

/* For the loader, which alone looks at it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_DROP_DEVICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct weir_drop_device);
} devices SEC(".maps");

struct drop {
	const struct sk_buff *skb;
	struct weir_drop_kind kind;
	struct packet packet;
};

/* The socket of a packet, which may be a mini-socket. */
struct end {
	struct sock *sk; /* NULL: none is known */
	struct net *net;
	__u16 port; /* local */
	__u8 state;
	bool receives;
};

static __always_inline bool read_end(struct end *end, struct sock *sk)
{
	struct sock_common *c = &sk->__sk_common;

	if (!sk)
		return false;
	end->sk = sk;
	end->net = BPF_CORE_READ(c, skc_net.net);
	end->port = BPF_CORE_READ(c, skc_num);
	end->state = BPF_CORE_READ(c, skc_state);
	return true;
}

/* It may be NULL although some kernels' verifiers hold that it is not, and leave checks out: cast to what
 * may be anything it is read as 0. */
static __always_inline struct sock *receiver_told(const __u64 *ctx)
{
	return settings.socket
		       ? bpf_rdonly_cast((void *)ctx[3], bpf_core_type_id_kernel(struct sock))
		       : 0;
}

static __always_inline bool is_full(const struct sock *listener)
{
	return listener->sk_ack_backlog > listener->sk_max_ack_backlog;
}

/* Once the peer has closed the kernel drops ACKs that it has used, as if they were data. */
static __always_inline bool is_used_ack(const struct sk_buff *skb, __u8 state)
{
	const struct tcp_skb_cb *cb = (void *)__builtin_preserve_access_index(&skb->cb);

	if (state != TCP_CLOSE_WAIT && state != TCP_CLOSING && state != TCP_LAST_ACK)
		return false;
	return BPF_CORE_READ(cb, seq) == BPF_CORE_READ(cb, end_seq);
}

/* Where the reason alone is not the truth, see enum weir_drop_cause. */
static __always_inline __u16 cause_of(const __u64 *ctx, __u32 reason)
{
	struct sock *sk;
	__u8 state;

	if (reason == settings.listen_overflow)
		return WEIR_DROP_ACCEPT_QUEUE_FULL;
	if (reason != settings.no_socket && reason != settings.not_specified)
		return WEIR_DROP_NO_CAUSE;
	if (!settings.socket)
		return WEIR_DROP_NO_CAUSE;
	sk = receiver_told(ctx);
	state = sk->__sk_common.skc_state; /* 0: there is none */
	if (state == TCP_LISTEN && is_full(sk))
		return WEIR_DROP_ACCEPT_QUEUE_FULL;
	if (reason != settings.not_specified)
		return WEIR_DROP_NO_CAUSE;
	if (state == TCP_TIME_WAIT)
		return WEIR_DROP_TIME_WAIT;
	return is_used_ack((const struct sk_buff *)ctx[0], state) ? WEIR_DROP_ACK_USED
								  : WEIR_DROP_NO_CAUSE;
}

static __always_inline bool is_benign(const struct weir_drop_kind *kind)
{
	return kind->cause == WEIR_DROP_TIME_WAIT || kind->cause == WEIR_DROP_ACK_USED ||
	       (kind->reason < 256 && settings.benign[kind->reason / 64] >> kind->reason % 64 & 1);
}

/* ---- who and where ---- */

struct place {
	struct end end;
	struct net_device *dev;
	__u32 netns; /* inode; 0: not known */
	__u8 direction;
};

static __always_inline __u32 netns_of(struct net *net)
{
	return net ? BPF_CORE_READ(net, ns.inum) : 0;
}

/* The packet's own socket is the one that sent it until IP takes it in, also in the namespace at the far
 * end of a veth, and after that the one that it is for. */
static __always_inline void find_end(const __u64 *ctx, const struct drop *d, struct end *end)
{
	const struct sk_buff *skb = d->skb;

	end->receives = read_end(end, receiver_told(ctx));
	if (!end->receives && read_end(end, BPF_CORE_READ(skb, sk)))
		end->receives = end->port != d->packet.source_port &&
				end->port == d->packet.destination_port;
}

/* The field holds other things while a packet is in a queue of its socket: TCP's has a receiver then, and
 * what UDP keeps there is no address. */
static __always_inline struct net_device *device_of(const struct drop *d, const struct place *at)
{
	const struct sk_buff *skb = d->skb;
	__u64 dev = at->end.receives ? 0 : (__u64)BPF_CORE_READ(skb, dev);
	struct dst_entry *dst;

	if ((__s64)dev < 0)
		return (struct net_device *)dev;
	dst = (struct dst_entry *)(BPF_CORE_READ(skb, _skb_refdst) & SKB_DST_PTRMASK);
	return dst ? BPF_CORE_READ(dst, dev) : 0;
}

static __always_inline void find_place(const __u64 *ctx, const struct drop *d, struct place *at)
{
	struct net_device *dev;
	__u32 own;

	find_end(ctx, d, &at->end);
	own = netns_of(at->end.net);
	dev = at->dev = device_of(d, at);
	at->netns = dev && !at->end.receives ? netns_of(BPF_CORE_READ(dev, nd_net.net)) : own;
	if (!at->netns)
		at->netns = own;
	if (at->end.receives || d->skb->skb_iif || (own && own != at->netns))
		at->direction = WEIR_DROP_IN;
	else
		at->direction = at->end.sk ? WEIR_DROP_OUT : WEIR_DROP_UNKNOWN;
}

/* One that sent a packet which comes in is not of this place. */
static __always_inline bool is_of_place(const struct place *at)
{
	return at->end.receives || (at->end.sk && at->direction == WEIR_DROP_OUT);
}

static __always_inline void fill_ends(struct weir_ends *e, const struct packet *p,
				      const struct place *at)
{
	bool out = at->direction == WEIR_DROP_OUT;

	__builtin_memcpy(e->local, out ? p->source : p->destination, sizeof(e->local));
	__builtin_memcpy(e->remote, out ? p->destination : p->source, sizeof(e->remote));
	e->local_port = out ? p->source_port : p->destination_port;
	e->remote_port = out ? p->destination_port : p->source_port;
	e->netns = at->netns;
	e->family = p->family;
}

/* ---- filters ---- */

static __always_inline bool has_filter(void)
{
	return config.filter.netns || config.filter.pid || config.filter.cgroup ||
	       config.filter.family || config.filter.port_ranges || config.filter.peer_ranges ||
	       config.filter.peer_bits;
}

/* A mini-socket has no cgroup. */
static __always_inline struct cgroup *cgroup_of(const struct place *at)
{
	struct sock *sk = at->end.sk;

	if (!is_of_place(at) || at->end.state == TCP_TIME_WAIT || at->end.state == TCP_NEW_SYN_RECV)
		return 0;
	return BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
}

static __always_inline bool wanted_known(const struct place *at)
{
	struct cgroup *cgroup;

	if (!config.filter.cgroup)
		return true;
	cgroup = cgroup_of(at);
	if (!cgroup) {
		tally_add(unknown);
		return false;
	}
	return below_wanted(cgroup);
}

/* What cannot be told from others is left out, and counted. */
static __always_inline bool wanted_drop(const struct weir_ends *e, const struct place *at)
{
	bool ports = config.filter.port_ranges || config.filter.peer_ranges;

	if (config.filter.family && e->family != config.filter.family)
		return false;
	if (!wanted_peer_address(e))
		return false;
	if (e->local_port || e->remote_port) {
		if (!wanted_port(e) || !wanted_peer(e))
			return false;
		ports = false;
	}
	if (config.filter.netns && e->netns && e->netns != config.filter.netns)
		return false;
	if (ports || config.filter.pid || (config.filter.netns && !e->netns)) {
		tally_add(unknown);
		return false;
	}
	return wanted_known(at);
}

/* ---- stacks ---- */

static __always_inline struct weir_drop_stack *stack_of(const struct weir_drop_kind *kind)
{
	struct weir_drop_stack *s = bpf_map_lookup_elem(&stacks, kind);
	static const struct weir_drop_stack none;

	if (s)
		return s;
	bpf_map_update_elem(&stacks, kind, &none, BPF_NOEXIST);
	s = bpf_map_lookup_elem(&stacks, kind);
	if (!s)
		tally_add(records_full);
	return s;
}

/* A stack costs 5 us: NULL where there was one of this kind just now. */
static __always_inline struct weir_drop_stack *stack_due(const struct weir_drop_kind *kind)
{
	struct weir_drop_stack *s = settings.stack ? stack_of(kind) : 0;
	__u64 now;

	if (!s)
		return 0;
	now = bpf_ktime_get_ns();
	if (now - s->last_ns < WEIR_DROP_STACK_NS) {
		s->skipped++;
		return 0;
	}
	s->last_ns = now;
	return s;
}

static __always_inline void keep_stack(void *ctx, struct weir_drop_stack *s)
{
	__u32 next = s->taken & 1;
	long bytes = bpf_get_stack(ctx, s->frame[next], sizeof(s->frame[next]), 0);

	s->bytes[next] = bytes > 0 ? bytes : 0;
	barrier();
	s->taken++;
}

/* ---- lines ---- */

static __always_inline void tell_listener(struct weir_drop_event *e, struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	e->accept_queue = BPF_CORE_READ(sk, sk_ack_backlog);
	e->accept_max = BPF_CORE_READ(sk, sk_max_ack_backlog);
	e->syn_queue = BPF_CORE_READ(icsk, icsk_accept_queue.qlen.counter);
}

static __always_inline __u32 ifindex_of(const struct drop *d, const struct place *at)
{
	struct net_device *dev = at->dev;

	if (at->direction == WEIR_DROP_IN && d->skb->skb_iif)
		return d->skb->skb_iif;
	return dev ? BPF_CORE_READ(dev, ifindex) : 0;
}

/* A raw socket, or the kernel's own that sends RSTs, says nothing of the connection. */
static __always_inline bool tells_state(const struct drop *d, const struct place *at)
{
	return !d->kind.other && is_of_place(at) &&
	       (at->end.receives || at->end.port == d->packet.source_port);
}

static __always_inline void fill(struct weir_drop_event *e, const struct drop *d,
				 const struct place *at, const struct weir_ends *ends)
{
	__builtin_memset(e, 0, sizeof(*e));
	e->ns = bpf_ktime_get_ns();
	e->kind = d->kind;
	e->ends = *ends;
	e->ifindex = ifindex_of(d, at);
	e->protocol = d->packet.protocol;
	e->direction = at->direction;
	e->flags = d->packet.flags;
	if (!tells_state(d, at))
		return;
	e->state = at->end.state;
	if (e->state == TCP_LISTEN)
		tell_listener(e, at->end.sk);
}

static __always_inline void tell_with_stack(void *ctx, const struct drop *d, const struct place *at,
					    const struct weir_ends *ends)
{
	struct weir_drop_stack_event *e = event_reserve(struct weir_drop_stack_event);
	long bytes;

	if (!e)
		return;
	fill(&e->event, d, at, ends);
	bytes = bpf_get_stack(ctx, e->frame, sizeof(e->frame), 0);
	e->event.stack_bytes = bytes > 0 ? bytes : 0;
	event_submit(e);
}

static __always_inline void tell(const struct drop *d, const struct place *at,
				 const struct weir_ends *ends)
{
	struct weir_drop_event *e = event_reserve(struct weir_drop_event);

	if (!e)
		return;
	fill(e, d, at, ends);
	event_submit(e);
}

/* ---- the summary ---- */

static __always_inline void count(const struct weir_drop_kind *kind)
{
	__u32 zero = 0, at = kind->location ^ kind->location >> 10 ^ kind->reason * 31;
	struct weir_drop_table *table = bpf_map_lookup_elem(&drops, &zero);

	if (!table)
		return;
	for (int i = 0; i < WEIR_DROP_TRIES; i++) {
		struct weir_drop_slot *slot = &table->slot[(at + i) & (WEIR_DROP_KINDS - 1)];

		if (!slot->kind.location)
			slot->kind = *kind;
		else if (slot->kind.location != kind->location || slot->kind.why != kind->why)
			continue;
		barrier();
		slot->packets++;
		return;
	}
	tally_add(records_full);
}

/* The dear part: whose the packet is, and whether it is wanted. Not inlined, so that counting alone does not
 * fill its variables. */
static __noinline bool follow(__u64 *ctx, const struct weir_drop_kind *kind)
{
	struct drop d = {.skb = (const struct sk_buff *)ctx[0], .kind = *kind};
	struct weir_ends ends = {};
	struct place at = {};

	read_packet(d.skb, &d.packet);
	find_place(ctx, &d, &at);
	fill_ends(&ends, &d.packet, &at);
	if (!wanted_drop(&ends, &at))
		return false;
	if (config.lines && stack_due(kind))
		tell_with_stack(ctx, &d, &at, &ends);
	else if (config.lines)
		tell(&d, &at, &ends);
	return true;
}

SEC("tp_btf/kfree_skb")
int weir_drops(__u64 *ctx)
{
	struct weir_drop_kind kind = {.location = ctx[1], .reason = ctx[2]};
	struct weir_drop_stack *stack;

	kind.other = protocol_of((const struct sk_buff *)ctx[0]) != IPPROTO_TCP;
	if (kind.other && !settings.all)
		return 0;
	if (!kind.other)
		kind.cause = cause_of(ctx, kind.reason);
	if (!config.counted && !settings.all && is_benign(&kind))
		return 0;
	if ((config.lines || has_filter()) && !follow(ctx, &kind))
		return 0;
	if (!config.counted)
		return 0;
	count(&kind);
	stack = stack_due(&kind);
	if (stack)
		keep_stack(ctx, stack);
	return 0;
}
