/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Will this host's listener take the SYN? Reads the listener's queues and decides as the kernel's
 * tcp_conn_request() is about to: a SYN dropped there leaves no trace that names the queue.
 *
 * Where it can differ from what the kernel then does: a driver that hands over SYNs in batches
 * (net.core.gro_normal_batch, 8) has all of them judged before the first is queued; after
 * TIME_WAIT a listener of a SO_REUSEPORT group other than the kernel's may be looked at.
 */
#ifndef WEIR_LISTENER_H
#define WEIR_LISTENER_H

#include <bpf/bpf_core_read.h>

#include "segment.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct netns_ipv4 {
	__u8 sysctl_tcp_syncookies;
	int sysctl_max_syn_backlog;
};

struct net {
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
};

struct inet_sock {
	struct sock sk;
};

typedef struct {
	int counter;
} atomic_t;

struct request_sock_queue {
	atomic_t qlen;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct request_sock_queue icsk_accept_queue;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
};

#pragma clang attribute pop

#define SYNCOOKIES_ALWAYS 2

struct listener {
	__u32 accept_queue;
	__u32 syn_queue;
	__u32 queue_max;
	__u8 verdict; /* WEIR_EVENT_*_FULL, WEIR_EVENT_SYN_COOKIE, or WEIR_EVENTS: admitted */
};

/* With a remote end of zeros only a listener can be found. */
static __always_inline struct bpf_sock *socket_lookup(struct __sk_buff *skb,
						      const struct segment *s, bool any_remote)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv6);

	if (s->family == 4) {
		size = sizeof(tuple.ipv4);
		tuple.ipv4.daddr = s->local[3];
		tuple.ipv4.dport = s->local_port;
		if (!any_remote) {
			tuple.ipv4.saddr = s->remote[3];
			tuple.ipv4.sport = s->remote_port;
		}
	} else {
		__builtin_memcpy(tuple.ipv6.daddr, s->local, sizeof(s->local));
		tuple.ipv6.dport = s->local_port;
		if (!any_remote) {
			__builtin_memcpy(tuple.ipv6.saddr, s->remote, sizeof(s->remote));
			tuple.ipv6.sport = s->remote_port;
		}
	}
	return bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
}

/*
 * The socket that gets the SYN, if it listens. One that is established or half-open answers a
 * SYN by itself, without a queue. TIME_WAIT hands an acceptable SYN over to the listener.
 */
static __always_inline struct bpf_sock *listener_lookup(struct __sk_buff *skb,
							const struct segment *s)
{
	struct bpf_sock *sk = socket_lookup(skb, s, false);

	if (sk && sk->state == BPF_TCP_TIME_WAIT) {
		bpf_sk_release(sk);
		sk = socket_lookup(skb, s, true);
	}
	if (sk && sk->state != BPF_TCP_LISTEN) {
		bpf_sk_release(sk);
		sk = NULL;
	}
	return sk;
}

static __always_inline bool bound_to_any(const struct bpf_sock *sk, __u8 family)
{
	if (family == 4)
		return !sk->src_ip4;
	return !(sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] | sk->src_ip6[3]);
}

/* Where the device does not forward, bpf_fib_lookup() says so at once. */
static __always_inline bool is_forwarded(struct __sk_buff *skb, const struct segment *s)
{
	struct bpf_fib_lookup route = {.ifindex = skb->ifindex, .l4_protocol = IPPROTO_TCP};
	long result;

	if (s->family == 4) {
		route.family = 2; /* AF_INET */
		route.ipv4_src = s->remote[3];
		route.ipv4_dst = s->local[3];
	} else {
		route.family = 10; /* AF_INET6 */
		__builtin_memcpy(route.ipv6_src, s->remote, sizeof(s->remote));
		__builtin_memcpy(route.ipv6_dst, s->local, sizeof(s->local));
	}
	result = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	return result != BPF_FIB_LKUP_RET_NOT_FWDED && result != BPF_FIB_LKUP_RET_FWD_DISABLED;
}

/* The last rule also spares peers whose round trip time the kernel remembers (ip tcp_metrics),
 * which cannot be seen from here. */
static __always_inline __u8 listener_verdict(const struct listener *l, __u32 syncookies,
					     __s32 max_syn_backlog)
{
	bool full = config.synq_full_at_max ? l->syn_queue >= l->queue_max
					    : l->syn_queue > l->queue_max;

	if (full && !syncookies)
		return WEIR_EVENT_SYN_QUEUE_FULL;
	if (l->accept_queue > l->queue_max)
		return WEIR_EVENT_ACCEPT_QUEUE_FULL;
	if (full || syncookies == SYNCOOKIES_ALWAYS)
		return WEIR_EVENT_SYN_COOKIE;
	if (!syncookies && max_syn_backlog - (__s32)l->syn_queue < max_syn_backlog >> 2)
		return WEIR_EVENT_SYN_QUEUE_FULL;
	return WEIR_EVENTS;
}

/*
 * Returns false when the SYN is not for a listener of this host. A listener on any address is
 * found for forwarded SYNs too. The routing table is asked when it matters: when the SYN would be
 * dropped, and when the endpoint is not yet known to have a listener.
 */
static __always_inline bool listener_read(struct __sk_buff *skb, const struct segment *s,
					  struct listener *l, bool known)
{
	struct bpf_sock *sk = listener_lookup(skb, s);
	struct tcp_sock *tp;
	struct sock *k;
	struct net *net;
	bool any;

	if (!sk)
		return false;
	any = bound_to_any(sk, s->family);
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp) {
		bpf_sk_release(sk);
		return false;
	}
	k = &tp->inet_conn.icsk_inet.sk;
	net = k->__sk_common.skc_net.net;
	l->accept_queue = k->sk_ack_backlog;
	l->queue_max = k->sk_max_ack_backlog;
	l->syn_queue = tp->inet_conn.icsk_accept_queue.qlen.counter;
	l->verdict = listener_verdict(l, net->ipv4.sysctl_tcp_syncookies,
				      net->ipv4.sysctl_max_syn_backlog);
	bpf_sk_release(sk);
	return (known && l->verdict == WEIR_EVENTS) || !any || !is_forwarded(skb, s);
}

#endif
