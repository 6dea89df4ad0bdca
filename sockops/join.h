/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The way into `ends`, under the socket's lock, so that nobody is inside of recvmsg() and what is
 * seen stays as it is:
 *   - nothing unread: the verdict program takes whole segments out of the receive queue, so that the
 *     bytes of one that is half read would be read twice, and FIONREAD would not see it until then;
 *   - O_NONBLOCK: a reader asleep in tcp_recvmsg() does not wake for what comes by the other queue.
 */
#ifndef WEIR_SOCK_JOIN_H
#define WEIR_SOCK_JOIN_H

#include "ends.h"
#include "kernel.h"
#include "maps.h"
#include "walk.h"

/* An order may be older than the pair that has this place now. */
static __always_inline bool is_meant(const struct weir_pair *p, const struct weir_order *o,
				     __u64 cookie)
{
	return p->state == WEIR_PAIR_JOINING && (o->end ? p->cookie[1] : p->cookie[0]) == cookie;
}

static __always_inline void join(struct tcp_sock *tp, struct weir_sock *s,
				 const struct weir_order *o)
{
	struct weir_pair *p = bpf_map_lookup_elem(&pairs, &o->pair);
	__u64 cookie = s->cookie;
	int err;

	if (!p || !is_meant(p, o, cookie))
		return;
	err = bpf_map_update_elem(&ends, &cookie, tp, BPF_NOEXIST);
	s->error = err < 0 ? -err : 0;
	if (err)
		return;
	if (o->end)
		p->sock[1] = (__u64)tp;
	else
		p->sock[0] = (__u64)tp;
	s->pair = o->pair;
	s->joined_ns = bpf_ktime_get_ns();
	s->state = WEIR_SOCK_JOINED;
}

/* The iterator holds the socket's lock. */
SEC("iter/tcp")
int weir_join(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp = skc ? bpf_skc_to_tcp_sock(skc) : NULL;
	const struct weir_order *o;
	struct weir_sock *s;

	s = tp ? bpf_sk_storage_get(&sockets, tp, NULL, 0) : NULL;
	if (!s || s->state == WEIR_SOCK_JOINED || skc->skc_state != TCP_ESTABLISHED)
		return 0;
	o = bpf_map_lookup_elem(&orders, &s->cookie);
	if (!o || o->kind != WEIR_ORDER_JOIN)
		return 0;
	if ((flags_of((struct sock *)tp, tp) | look_for_other(s)) == WEIR_SOCK_NONBLOCK)
		join(tp, s, o);
	return 0;
}

#endif
