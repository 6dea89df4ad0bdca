/* SPDX-License-Identifier: GPL-2.0 */
/* What a socket says of itself: its two ends, and whose it is. */
#ifndef WEIR_TRACE_SOCKET_H
#define WEIR_TRACE_SOCKET_H

#include "abi/trace.h"
#include "kernel.h"

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Lets memory be read without a call of a helper: 6.2 and newer. */
extern void *bpf_rdonly_cast(const void *memory, __u32 type) __ksym __weak;

/* Of a socket that is TCP's for sure, for reading: without a call, where the kernel can (6.2). */
static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	if (bpf_rdonly_cast)
		return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
	return bpf_skc_to_tcp_sock(sk);
}

/* Tracepoints of sockets fire for other protocols as well: SCTP, MPTCP. */
static __always_inline bool is_tcp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP &&
	       (sk->__sk_common.skc_family == AF_INET || sk->__sk_common.skc_family == AF_INET6);
}

static __always_inline bool is_mapped(const struct in6_addr *a)
{
	return !a->in6_u.u6_addr32[0] && !a->in6_u.u6_addr32[1] &&
	       a->in6_u.u6_addr32[2] == bpf_htonl(0xffff);
}

static __always_inline void map_address(__be32 to[4], __be32 ip4)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = ip4;
}

static __always_inline void copy_address(__be32 to[4], const struct in6_addr *from)
{
	to[0] = from->in6_u.u6_addr32[0];
	to[1] = from->in6_u.u6_addr32[1];
	to[2] = from->in6_u.u6_addr32[2];
	to[3] = from->in6_u.u6_addr32[3];
}

/* Of any socket that looks like one, mini-sockets too. The local port is 0 before the kernel has chosen
 * one, and that of a socket which is closing, see ends_of(). */
static __always_inline void common_ends(struct weir_ends *e, const struct sock_common *c)
{
	e->local_port = c->skc_num;
	e->remote_port = bpf_ntohs(c->skc_dport);
	e->netns = c->skc_net.net->ns.inum;
	e->netns_cookie = c->skc_net.net->net_cookie;
	if (c->skc_family == AF_INET) {
		map_address(e->local, c->skc_rcv_saddr);
		map_address(e->remote, c->skc_daddr);
		e->family = 4;
		return;
	}
	copy_address(e->local, &c->skc_v6_rcv_saddr);
	copy_address(e->remote, &c->skc_v6_daddr);
	e->family = is_mapped(&c->skc_v6_daddr) ? 4 : 6;
	if (e->family == 4 && !e->local[2])
		map_address(e->local, c->skc_rcv_saddr);
}

/* Of a whole TCP socket. skc_num is given back before the last change of state; inet_sport stays. */
static __always_inline void ends_of(struct weir_ends *e, struct sock *sk, const struct tcp_sock *tp)
{
	common_ends(e, &sk->__sk_common);
	if (!e->local_port)
		e->local_port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
}

/* The process that runs: right only where the hook is in process context. */
static __always_inline void owner_here(struct weir_owner *o)
{
	o->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(o->comm, sizeof(o->comm));
}

/* Whether the process that runs is one that uses the socket: softirqs leave one alone that a process
 * holds, and do not hold it so themselves. */
static __always_inline bool held_by_process(const struct sock *sk)
{
	return sk->sk_lock.owned;
}

/* floor(log2(v)), 0 for 0. */
static __always_inline __u32 log2_slot(__u64 v)
{
	__u32 slot = 0;

	if (v >> 32) {
		v >>= 32;
		slot = 32;
	}
	if (v >> 16) {
		v >>= 16;
		slot += 16;
	}
	if (v >> 8) {
		v >>= 8;
		slot += 8;
	}
	if (v >> 4) {
		v >>= 4;
		slot += 4;
	}
	if (v >> 2) {
		v >>= 2;
		slot += 2;
	}
	slot += v >> 1 & 1;
	return slot < WEIR_LOG2_SLOTS ? slot : WEIR_LOG2_SLOTS - 1;
}

#endif
