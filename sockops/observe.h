/* SPDX-License-Identifier: GPL-2.0 */
/* How sockets are used: these run at the end of every send and receive of the host while there are
 * sockets to be judged, and are not attached else. */
#ifndef WEIR_SOCK_OBSERVE_H
#define WEIR_SOCK_OBSERVE_H

#include "kernel.h"
#include "maps.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EAGAIN 11

/* linux/socket.h, not among the headers for user space */
#define MSG_OOB	     0x1
#define MSG_PEEK     0x2
#define MSG_TRUNC    0x20
#define MSG_DONTWAIT 0x40
#define MSG_WAITALL  0x100
#define MSG_ZEROCOPY 0x4000000

static __always_inline struct weir_evidence *evidence_of(struct sock *sk)
{
	struct weir_sock *s = sk ? bpf_sk_storage_get(&sockets, sk, NULL, 0) : NULL;

	return s && s->state == WEIR_SOCK_OBSERVED ? &s->evidence : NULL;
}

/* Handlers take arguments by place, so some go unused. */
#pragma clang diagnostic ignored "-Wunused-parameter"

SEC("tp_btf/sock_send_length")
int BPF_PROG(weir_sent, struct sock *sk, int ret, int flags)
{
	struct weir_evidence *e = evidence_of(sk);

	if (!e || ret <= 0)
		return 0;
	if (flags & MSG_OOB)
		e->saw |= WEIR_SAW_OOB;
	if (flags & MSG_ZEROCOPY)
		e->saw |= WEIR_SAW_ZEROCOPY;
	e->sends++;
	e->sent += ret;
	return 0;
}

static __always_inline __u32 seen_in(int flags)
{
	__u32 saw = 0;

	if (!(flags & MSG_DONTWAIT))
		saw |= WEIR_SAW_BLOCKING;
	if (flags & MSG_WAITALL)
		saw |= WEIR_SAW_WAITALL;
	if (flags & MSG_OOB)
		saw |= WEIR_SAW_OOB;
	if (flags & MSG_TRUNC)
		saw |= WEIR_SAW_TRUNC;
	return saw;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(weir_read, struct sock *sk, int ret, int flags)
{
	struct weir_evidence *e = evidence_of(sk);
	struct tcp_sock *tp;

	if (!e)
		return 0;
	e->saw |= seen_in(flags);
	if (ret == -EAGAIN)
		e->empty++;
	if (ret <= 0 || flags & MSG_PEEK)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	/* What was read before the first call that we see, nobody can tell. */
	if (!e->recvs++)
		e->copied = tp->copied_seq - ret;
	e->received += ret;
	if (tp->copied_seq - e->copied != (__u32)e->received)
		e->odd++;
	if (e->answered != e->sends) {
		e->answered = e->sends;
		e->turns++;
	}
	return 0;
}

#endif
