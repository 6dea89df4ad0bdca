// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of SYNs and of handshakes' last ACKs at a listener. A SYN that is dropped leaves no trace of
 * its own: the kernel frees it as it does an admitted one. So each is looked at on its way into the
 * listener, with the depths of both queues, and put into the slot of the CPU. A request that makes it into the
 * SYN queue asks sockops for its window, still on that CPU and before the next packet. What does
 * not was dropped or answered by a cookie, and the depths tell which.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include "queue/segment.h"
#include "queue/waiting.h"

char _license[] SEC("license") = "GPL";

/* Nothing admitted it. */
static __always_inline void settle(struct weir_queue_slot *s)
{
	__u32 what = s->otherwise;

	s->open = 0;
	if (is_ack(s->expected))
		return;
	count_packet(s, what);
	if (what == WEIR_Q_COOKIE)
		return;
	if (s->expected == WEIR_Q_ADMITTED)
		begin_waiting(s);
	tell_drop(s, what);
}

/* A SYN for a request that waits in the SYN queue never gets to the queues. */
static __always_inline bool is_half_open(struct __sk_buff *skb, const struct weir_ends *e)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv6);
	struct bpf_sock *sk;
	bool found;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		size = sizeof(tuple.ipv4);
		tuple.ipv4.saddr = e->remote[3];
		tuple.ipv4.daddr = e->local[3];
		tuple.ipv4.sport = bpf_htons(e->remote_port);
		tuple.ipv4.dport = bpf_htons(e->local_port);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, e->remote, sizeof(e->remote));
		__builtin_memcpy(tuple.ipv6.daddr, e->local, sizeof(e->local));
		tuple.ipv6.sport = bpf_htons(e->remote_port);
		tuple.ipv6.dport = bpf_htons(e->local_port);
	}
	sk = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	found = sk->state == TCP_NEW_SYN_RECV;
	bpf_sk_release(sk);
	return found;
}

static __always_inline void fill(struct weir_queue_slot *s, struct tcp_sock *tp, __u64 skb)
{
	const struct sock *sk = &tp->inet_conn.icsk_inet.sk;

	s->ns = bpf_ktime_get_ns();
	s->skb = skb;
	s->socket = (__u64)tp;
	s->accept_queue = sk->sk_ack_backlog;
	s->limit = sk->sk_max_ack_backlog;
	s->syn_queue = tp->inet_conn.icsk_accept_queue.qlen.counter;
	s->drops = sk->sk_drops.counter;
	s->reset = 0;
	s->both_full = 0;
}

static __always_inline void look_at(struct weir_queue_slot *s, struct __sk_buff *skb,
				    struct tcp_sock *tp)
{
	const struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	struct weir_ends ends = {};
	bool half_open = false;
	__u8 flags;

	if (!read_segment(skb, &ends, &flags))
		return;
	if (!is_syn(flags) && !(is_last_ack(flags) && accept_full(sk)))
		return;
	ends.netns = sk->__sk_common.skc_net.net->ns.inum;
	ends.netns_cookie = sk->__sk_common.skc_net.net->net_cookie;
	if (!wanted_ends(&ends))
		return;
	listener_of(&s->listener, sk);
	if (tp->inet_conn.icsk_accept_queue.qlen.counter > 0)
		half_open = is_half_open(skb, &ends);
	if (is_syn(flags) && half_open) {
		count(&s->listener, WEIR_Q_AGAIN);
		return;
	}
	s->ends = ends;
	fill(s, tp, (__u64)skb);
	if (is_syn(flags))
		judge(s, sk->__sk_common.skc_net.net);
	else
		s->expected = half_open ? WEIR_Q_ACK : WEIR_Q_COOKIE_ACK;
	s->open = 1;
	if (s->expected == WEIR_Q_COOKIE)
		came_in(&s->ends, s->ns);
	else if (s->expected != WEIR_Q_ADMITTED && !is_ack(s->expected))
		begin_waiting(s);
}

SEC("cgroup_skb/ingress")
int weir_queue_in(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct weir_queue_slot *s;
	struct tcp_sock *tp;

	if (!sk || sk->state != TCP_LISTEN)
		return 1;
	tp = bpf_skc_to_tcp_sock(sk);
	s = tp ? slot() : NULL;
	if (!s)
		return 1;
	if (s->open)
		settle(s);
	look_at(s, skb, tp);
	return 1;
}

/* On PREEMPT_RT something else may have come between. */
static __always_inline bool is_of_slot(const struct weir_queue_slot *s, struct bpf_sock_ops *ctx)
{
	return s->open && !is_ack(s->expected) && s->ends.local_port == ctx->local_port &&
	       s->ends.remote_port == bpf_ntohl(ctx->remote_port);
}

static __always_inline void admitted(struct bpf_sock_ops *ctx)
{
	struct weir_queue_slot *s = slot();

	if (!s || !is_of_slot(s, ctx))
		return;
	s->open = 0;
	count_packet(s, WEIR_Q_ADMITTED);
	came_in(&s->ends, s->ns);
}

static __always_inline void established(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct weir_ends ends = {};
	struct tcp_sock *tp;

	tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (!tp)
		return;
	ends_of(&ends, &tp->inet_conn.icsk_inet.sk, tp);
	if (wanted_ends(&ends))
		came_in(&ends, bpf_ktime_get_ns());
}

/* On this address again: its row is no longer for others. */
static __always_inline void listens(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct weir_queue_listener l;
	struct tcp_sock *tp;

	tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (!tp)
		return;
	listener_of(&l, &tp->inet_conn.icsk_inet.sk);
	bpf_map_delete_elem(&gone, &l);
}

/* The answer stays what other programs made it: the kernel takes 0 for 'nobody minds'. */
SEC("sockops")
int weir_queue_admit(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_RWND_INIT && !ctx->is_fullsock)
		admitted(ctx);
	else if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB && acks_dropped)
		established(ctx);
	else if (ctx->op == BPF_SOCK_OPS_TCP_LISTEN_CB && config.counted)
		listens(ctx);
	return 1;
}

/* Kernels before 6.15 give no reason for the last ACK; but they have counted it at the listener, once where
 * the connection was to be born, and once more for a request. */
static __always_inline bool overflowed(const struct weir_queue_slot *s)
{
	struct sock *sk = (struct sock *)s->socket;

	if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_TCP_LISTEN_OVERFLOW))
		return true;
	return BPF_CORE_READ(sk, sk_drops.counter) - s->drops >=
	       (s->expected == WEIR_Q_ACK ? 2 : 1);
}

static __always_inline bool may_be_overflow(enum skb_drop_reason reason)
{
	if (reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NO_SOCKET))
		return true;
	if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_TCP_LISTEN_OVERFLOW))
		return reason == bpf_core_enum_value(enum skb_drop_reason,
						     SKB_DROP_REASON_TCP_LISTEN_OVERFLOW);
	return reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NOT_SPECIFIED);
}

static __always_inline bool is_refusal(enum skb_drop_reason reason)
{
	if (reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_SOCKET_FILTER))
		return true;
	return bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_SECURITY_HOOK) &&
	       reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_SECURITY_HOOK);
}

/* Most kernels do not tell of a SYN that a queue drops; of one that never gets to the queues they do. */
static __always_inline void syn_freed(struct weir_queue_slot *s, enum skb_drop_reason reason)
{
	if (may_be_overflow(reason)) {
		settle(s);
		return;
	}
	s->open = 0;
	take_back(s);
	if (is_refusal(reason))
		count_packet(s, WEIR_Q_REFUSED);
}

static __always_inline void ack_freed(struct weir_queue_slot *s, enum skb_drop_reason reason)
{
	s->open = 0;
	if (!may_be_overflow(reason) || !overflowed(s))
		return;
	count_packet(s, s->expected);
	if (!s->reset)
		begin_waiting(s);
	acks_dropped = 1;
	tell_drop(s, s->expected);
}

/* The memory of a packet that is gone is soon that of another one. */
static __always_inline bool is_packet_of(const struct weir_queue_slot *s, const struct sk_buff *skb)
{
	struct tcp_header tcp;

	return !bpf_probe_read_kernel(&tcp, sizeof(tcp), skb->head + skb->transport_header) &&
	       bpf_ntohs(tcp.source) == s->ends.remote_port &&
	       bpf_ntohs(tcp.destination) == s->ends.local_port;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(weir_queue_drop, struct sk_buff *skb, void *location, enum skb_drop_reason reason)
{
	struct weir_queue_slot *s = slot();

	if (!s || !s->open || s->skb != (__u64)skb)
		return 0;
	if (!is_packet_of(s, skb))
		settle(s);
	else if (is_ack(s->expected))
		ack_freed(s, reason);
	else
		syn_freed(s, reason);
	return 0;
}

/* For lines, which come at once: all else waits for the next packet of a listener on this CPU. */
SEC("tp_btf/consume_skb")
int BPF_PROG(weir_queue_done, struct sk_buff *skb)
{
	struct weir_queue_slot *s = slot();

	if (s && s->open && s->skb == (__u64)skb)
		settle(s);
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(weir_queue_rst, const struct sock *sk, const struct sk_buff *skb)
{
	struct weir_queue_slot *s = slot();

	if (s && s->open && s->skb == (__u64)skb && is_ack(s->expected))
		s->reset = 1;
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(weir_queue_synack, struct sock *sk, struct request_sock *req)
{
	struct weir_queue_listener listener = {};
	struct weir_ends ends = {};

	if (sk->__sk_common.skc_state != TCP_LISTEN)
		return 0;
	common_ends(&ends, &req->__req_common);
	if (!wanted(sk, &ends))
		return 0;
	listener_of(&listener, sk);
	count(&listener, WEIR_Q_SYNACKS);
	return 0;
}

/* Only so that the kernel's counter, which has both, can be explained. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(weir_queue_syn, struct sock *sk)
{
	const struct net *net = sk->__sk_common.skc_net.net;
	struct weir_queue_listener nobody = {};

	if (sk->__sk_common.skc_state != TCP_SYN_SENT)
		return 0;
	nobody.cookie = net->net_cookie;
	nobody.netns = net->ns.inum;
	if (!config.filter.netns || config.filter.netns == nobody.netns)
		count(&nobody, WEIR_Q_OWN_SYNS);
	return 0;
}

/* Its row stays for readers until another listener needs the room. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(weir_queue_gone, struct sock *sk)
{
	struct weir_queue_listener l;
	struct tcp_sock *tp;

	if (sk->__sk_common.skc_dport || !sk->sk_max_ack_backlog)
		return 0;
	tp = tcp_of(sk);
	if (!tp)
		return 0;
	listener_of(&l, sk);
	l.port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	if (l.port && bpf_map_lookup_elem(&counts, &l))
		mark_gone(&l);
	return 0;
}
