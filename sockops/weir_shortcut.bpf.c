// SPDX-License-Identifier: GPL-2.0
/*
 * A message of a socket in `ends` goes straight into its peer's receive queue, or by TCP. Nothing
 * may get ahead of what was sent before, no reader may be given more than it has room for, and what
 * cannot be proven is sent by TCP: every way out but the last is SK_PASS.
 */
#include "maps.h"
#include "ends.h"
#include "kernel.h"

#include <bpf/bpf_core_read.h>

/* The other end, as far as its state decides. */
struct reader {
	__u32 copied_seq;
	__u32 queued; /* bytes */
};

extern void *bpf_rdonly_cast(void *obj, __u32 btf_id) __ksym;

/* tcp_sock memory is type-safe and cookies are never used again: if the cookie is the peer's after
 * all else was read, what was read is the peer's. Reads of what is not mapped any more give 0. */
static __always_inline bool look_at(const struct weir_pair *p, __u32 end, struct reader *r)
{
	__u64 address = end ? p->sock[1] : p->sock[0], cookie = end ? p->cookie[1] : p->cookie[0];
	const struct tcp_sock *tp;

	tp = bpf_rdonly_cast((void *)address, bpf_core_type_id_kernel(struct tcp_sock));
	r->copied_seq = *(volatile __u32 *)&tp->copied_seq;
	r->queued = *(volatile int *)&tp->inet_conn.icsk_inet.sk.sk_backlog.rmem_alloc.counter;
	return *(volatile __s64 *)&tp->inet_conn.icsk_inet.sk.__sk_common.skc_cookie.counter ==
	       (__s64)cookie;
}

static __always_inline struct weir_pair *pair_of(const struct weir_sock *s)
{
	struct weir_pair *p = bpf_map_lookup_elem(&pairs, &s->pair);

	if (s->state != WEIR_SOCK_JOINED || !p || p->state != WEIR_PAIR_ON)
		return NULL;
	return p->cookie[s->end & 1] == s->cookie ? p : NULL;
}

/* One-way streams of small messages: TCP makes large segments of them, the short cut cannot. */
static __always_inline bool is_stream(struct weir_way *own, const struct weir_way *other,
				      __u32 size)
{
	__u32 heard = other->messages + other->gated + other->spilled + other->streamed;

	if (own->heard != heard) {
		own->heard = heard;
		own->run = 0;
	}
	if (size >= WEIR_LARGE)
		return false;
	return ++own->run > WEIR_RUN_MAX;
}

/* Whether the reader has room; messages are counted as well as bytes, because each costs memory. */
static __always_inline bool has_room(struct weir_way *own, const struct weir_pair *p,
				     const struct reader *r, __u32 size)
{
	if (!r->queued)
		own->queued = 0;
	return r->queued + size <= p->limit && own->queued < WEIR_QUEUED_MAX;
}

static __always_inline int by_tcp(struct weir_way *own, __u64 *reason, __u32 size)
{
	++*reason;
	own->tcp_bytes += size;
	return SK_PASS;
}

SEC("sk_msg")
int weir_message(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	const struct weir_sock_control *c = control_here();
	struct weir_way *own, *other;
	struct tcp_sock *tp;
	struct weir_sock *s;
	struct weir_pair *p;
	struct reader r;
	__u64 peer;
	__u32 size, end;

	if (!sk || !c || !c->on)
		return SK_PASS;
	s = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	p = s ? pair_of(s) : NULL;
	tp = p ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (!tp)
		return SK_PASS;
	size = msg->size;
	end = s->end & 1;
	own = end ? &p->way[1] : &p->way[0];
	other = end ? &p->way[0] : &p->way[1];
	if (is_stream(own, other, size))
		return by_tcp(own, &own->streamed, size);
	if (!look_at(p, !end, &r)) {
		own->missed++;
		return SK_PASS;
	}
	if (tp->write_seq != r.copied_seq)
		return by_tcp(own, &own->gated, size);
	if (!has_room(own, p, &r, size))
		return by_tcp(own, &own->spilled, size);
	peer = end ? p->cookie[0] : p->cookie[1];
	if (bpf_msg_redirect_hash(msg, &ends, &peer, BPF_F_INGRESS) != SK_PASS) {
		own->missed++;
		return SK_PASS;
	}
	own->messages++;
	own->bytes += size;
	own->queued++;
	return SK_PASS;
}

/*
 * Only so that kernels which count nothing but the short-cut bytes in FIONREAD (since 6.6.128,
 * 6.12.75, 6.18.14) count those of TCP as well.
 */
SEC("sk_skb/stream_verdict")
int weir_received(struct __sk_buff *skb)
{
	(void)skb;
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
