// SPDX-License-Identifier: GPL-2.0
/* What an iterator tells of each TCP socket of a namespace, mini-sockets too. */
#include <linux/bpf.h>
#include <stdbool.h>

#include "abi/sockets.h"
#include "bytes.h"
#include "filter.h"

const volatile __u32 wanted_states; /* WEIR_STATE_BIT()s */

static __always_inline void tell_listener(struct weir_socket *s, const struct sock *sk,
					  const struct tcp_sock *tp)
{
	s->accept_queue = sk->sk_ack_backlog;
	s->accept_max = sk->sk_max_ack_backlog;
	s->syn_queue = tp->inet_conn.icsk_accept_queue.qlen.counter;
	s->syn_young = tp->inet_conn.icsk_accept_queue.young.counter;
	s->drops = sk->sk_drops.counter;
}

static __always_inline void tell_connection(struct weir_socket *s, const struct sock *sk,
					    const struct tcp_sock *tp)
{
	struct moved moved;

	moved_by(&moved, sk, tp, s->state, WEIR_ROLE_UNKNOWN);
	s->bytes_acked = moved.sent;
	s->bytes_received = moved.received;
	s->role = moved.role;
	s->bytes_sent = tp->bytes_sent;
	s->bytes_retrans = tp->bytes_retrans;
	s->segs_out = tp->segs_out;
	s->data_segs_out = tp->data_segs_out;
	s->retransmits = tp->total_retrans;
	s->srtt_us = tp->srtt_us >> 3;
	s->rtt_min_us = rtt_min_of(tp);
}

static __always_inline void tell_whole(struct weir_socket *s, struct tcp_sock *tp)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;

	ends_of(&s->ends, sk, tp);
	s->cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	s->owned = sk->sk_socket != NULL;
	if (s->state == TCP_LISTEN)
		tell_listener(s, sk, tp);
	else
		tell_connection(s, sk, tp);
}

static __always_inline bool wanted_whole(struct tcp_sock *tp, const struct weir_ends *ends)
{
	return wanted(&tp->inet_conn.icsk_inet.sk, ends);
}

SEC("iter/tcp")
int weir_sockets(struct bpf_iter__tcp *ctx)
{
	struct sock_common *c = ctx->sk_common;
	struct weir_socket s = {};
	struct tcp_timewait_sock *tw;
	struct tcp_sock *tp;

	if (!c)
		return 0;
	s.state = c->skc_state;
	tw = s.state == TCP_TIME_WAIT ? bpf_skc_to_tcp_timewait_sock(c) : NULL;
	if (tw)
		s.state = tw->tw_sk.tw_substate;
	if (!(wanted_states & WEIR_STATE_BIT(s.state)))
		return 0;
	s.address = (__u64)c;
	s.uid = ctx->uid;
	tp = bpf_skc_to_tcp_sock(c);
	if (tp) {
		tell_whole(&s, tp);
	} else {
		s.mini = 1;
		common_ends(&s.ends, c);
	}
	/* The cgroup of a mini-socket is not known. */
	if (tp ? wanted_whole(tp, &s.ends) : !config.filter.cgroup && wanted_ends(&s.ends))
		bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

char _license[] SEC("license") = "GPL";
