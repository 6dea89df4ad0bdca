/* SPDX-License-Identifier: GPL-2.0 */
/* What the applications of a connection have moved. The kernel's sums count SYN and FIN as a byte each. */
#ifndef WEIR_TRACE_BYTES_H
#define WEIR_TRACE_BYTES_H

#include "socket.h"

struct moved {
	__u64 sent; /* and acknowledged by the peer */
	__u64 received;
	__u8 role;
};

/* In these states the application has closed its direction, and write_seq counts its FIN. */
static __always_inline bool is_closing(__u8 state)
{
	return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING ||
	       state == TCP_LAST_ACK;
}

static __always_inline bool fin_acked(const struct tcp_sock *tp, __u8 state)
{
	return is_closing(state) && tp->snd_una == tp->write_seq;
}

static __always_inline bool fin_received(const struct sock *sk)
{
	return sk->__sk_common.skc_flags >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;
}

/* bytes_acked has the SYN of who called connect(), as it went by when the socket was there; that of who
 * was called went by before. So what was acknowledged or is on its way exceeds what was sent by it. */
static __always_inline __u8 role_of(const struct tcp_sock *tp, __u8 state)
{
	__u32 on_its_way = tp->snd_nxt - tp->snd_una;
	__u32 fin_sent = is_closing(state) && tp->snd_nxt == tp->write_seq;
	__u64 data = tp->bytes_sent - tp->bytes_retrans;
	__u64 syn = tp->bytes_acked + on_its_way - fin_sent - data;

	return syn == 1 ? WEIR_ACTIVE : syn == 0 ? WEIR_PASSIVE : WEIR_ROLE_UNKNOWN;
}

/* `state`: the one that the socket is in, or is about to leave. `role`: when it is known already. */
static __always_inline void moved_by(struct moved *m, const struct sock *sk,
				     const struct tcp_sock *tp, __u8 state, __u8 role)
{
	__u64 other;

	m->role = role ?: role_of(tp, state);
	other = fin_acked(tp, state) + (m->role == WEIR_ACTIVE);
	m->sent = tp->bytes_acked > other ? tp->bytes_acked - other : 0;
	other = fin_received(sk);
	m->received = tp->bytes_received > other ? tp->bytes_received - other : 0;
}

/* 0: never measured. */
static __always_inline __u32 rtt_min_of(const struct tcp_sock *tp)
{
	__u32 least = tp->rtt_min.s[0].v;

	return least == ~0u ? 0 : least;
}

#endif
