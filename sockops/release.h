/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The way out of `ends`. Taking a socket out destroys what it has not read of short-cut bytes, what
 * a sender is just about to put there, and makes a reader that sleeps in recvmsg() return EAGAIN. So
 * it is done under the socket's lock, where nothing arrives, and only when
 *   - nothing is unread,
 *   - nobody is in a call on this socket: each holds a reference of the psock,
 *   - nobody is in a send of the other end: it was seen without such a call since its sends go by TCP.
 */
#ifndef WEIR_SOCK_RELEASE_H
#define WEIR_SOCK_RELEASE_H

#include "ends.h"
#include "kernel.h"
#include "maps.h"

#include <stdbool.h>

#include <bpf/bpf_core_read.h>

#define PSOCK_POINTER (~7ul) /* SK_USER_DATA_PTRMASK: the lower bits are flags */

/* In calls: 0 is nobody. -1: it cannot be seen. */
static __always_inline int callers(const struct sk_psock *psock)
{
	int refs = 0;

	if (!psock || bpf_core_read(&refs, sizeof(refs), &psock->refcnt.refs.counter))
		return -1;
	return refs - 1;
}

static __always_inline bool has_unread(struct sk_psock *psock)
{
	struct list_head *first = NULL;
	__u32 length = 1;

	if (bpf_core_read(&first, sizeof(first), &psock->ingress_msg.next) ||
	    bpf_core_read(&length, sizeof(length), &psock->ingress_skb.qlen))
		return true;
	return length || first != __builtin_preserve_access_index(&psock->ingress_msg);
}

static __always_inline bool is_quiet(const struct weir_pair *p, __u32 end)
{
	return end ? p->quiet[1] : p->quiet[0];
}

static __always_inline void set_quiet(struct weir_pair *p, __u32 end)
{
	if (end)
		p->quiet[1] = 1;
	else
		p->quiet[0] = 1;
}

static __always_inline bool is_leaving(const struct weir_pair *p)
{
	const struct weir_sock_control *c = control_here();

	return !c || !c->on || p->state == WEIR_PAIR_LEAVING;
}

/* Each time for longer, unless it went well for long. */
static __always_inline void rest(struct weir_sock *s, const struct tcp_sock *tp)
{
	__u64 now = bpf_ktime_get_ns();

	if (now - s->joined_ns > WEIR_WENT_WELL)
		s->refusals = 0;
	s->refusals += s->refusals < 255;
	s->again_ns = now + s->refusals * WEIR_REST;
	s->segs = tp->data_segs_in + tp->data_segs_out;
	s->state = WEIR_SOCK_REFUSED;
}

/* The iterator holds the socket's lock. */
SEC("iter/tcp")
int weir_release(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp = skc ? bpf_skc_to_tcp_sock(skc) : NULL;
	struct sk_psock *psock;
	struct weir_sock *s;
	struct weir_pair *p;
	__u64 cookie;
	__u32 end;

	s = tp ? bpf_sk_storage_get(&sockets, tp, NULL, 0) : NULL;
	if (!s || s->state != WEIR_SOCK_JOINED)
		return 0;
	p = bpf_map_lookup_elem(&pairs, &s->pair);
	if (!p || !is_leaving(p) || p->cookie[s->end & 1] != s->cookie)
		return 0;
	psock = (void *)((unsigned long)tp->inet_conn.icsk_inet.sk.sk_user_data & PSOCK_POINTER);
	if (callers(psock))
		return 0;
	end = s->end & 1;
	set_quiet(p, end);
	if (!is_quiet(p, !end) || has_unread(psock))
		return 0;
	cookie = s->cookie;
	bpf_map_delete_elem(&ends, &cookie);
	rest(s, tp);
	return 0;
}

#endif
