/* SPDX-License-Identifier: GPL-2.0 */
/* The walk over all sockets that have a struct weir_sock, in whatever namespace they are. */
#ifndef WEIR_SOCK_WALK_H
#define WEIR_SOCK_WALK_H

#include "attached.h"
#include "births.h"
#include "ends.h"
#include "kernel.h"
#include "maps.h"
#include "scope.h"

#include <stdbool.h>

#include <bpf/bpf_core_read.h>

#define O_NONBLOCK 04000

volatile struct weir_walk walk;

/* By cookie: written before a walk that obeys, and before sockets join. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * WEIR_PAIRS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct weir_order);
} orders SEC(".maps");

#define has_flag(sk, flag) \
	((sk)->__sk_common.skc_flags >> bpf_core_enum_value(enum sock_flags, flag) & 1)

/* What is asked of packets, or told with them, and what the short cut has none of. */
static __always_inline bool has_options(struct sock *sk, struct tcp_sock *tp)
{
	return has_flag(sk, SOCK_RCVTSTAMP) || sk->sk_tsflags || sk->sk_peek_off >= 0 ||
	       sk->sk_max_pacing_rate != ~0ul || sk->sk_filter ||
	       BPF_CORE_READ_BITFIELD_PROBED(tp, recvmsg_inq);
}

static __always_inline __u32 flags_of(struct sock *sk, struct tcp_sock *tp)
{
	struct socket *socket = sk->sk_socket;
	struct file *file = socket ? socket->file : NULL;
	__u32 flags = 0;

	if (file && file->f_flags & O_NONBLOCK)
		flags |= WEIR_SOCK_NONBLOCK;
	if (has_flag(sk, SOCK_ZEROCOPY))
		flags |= WEIR_SOCK_ZEROCOPY;
	if (tp->inet_conn.icsk_ulp_ops)
		flags |= WEIR_SOCK_ULP;
	if (sk->sk_rcvlowat > 1)
		flags |= WEIR_SOCK_LOWAT;
	if (sk->sk_ll_usec)
		flags |= WEIR_SOCK_BUSY;
	if (tp->urg_data)
		flags |= WEIR_SOCK_URGENT;
	if (has_options(sk, tp))
		flags |= WEIR_SOCK_OPTIONS;
	if (sk->sk_receive_queue.qlen || tp->rcv_nxt != tp->copied_seq)
		flags |= WEIR_SOCK_UNREAD;
	return flags;
}

static __always_inline void tell_addresses(struct weir_sock_record *r, const struct sock_common *c)
{
	r->family = c->skc_family;
	r->local_port = c->skc_num;
	r->remote_port = bpf_ntohs(c->skc_dport);
	if (r->family == AF_INET) {
		map_address(r->local, c->skc_rcv_saddr);
		map_address(r->remote, c->skc_daddr);
		return;
	}
	for (int i = 0; i < 4; i++) {
		r->local[i] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[i];
		r->remote[i] = c->skc_v6_daddr.in6_u.u6_addr32[i];
	}
}

static __always_inline void tell(struct seq_file *seq, struct sock *sk, struct tcp_sock *tp,
				 const struct weir_sock *s, __u32 flags, __u64 now)
{
	struct weir_sock_record r = {.sock = *s, .ns = now, .flags = flags};

	r.netns = sk->__sk_common.skc_net.net->ns.inum;
	r.tcp_state = sk->__sk_common.skc_state;
	tell_addresses(&r, &sk->__sk_common);
	r.copied_seq = tp->copied_seq;
	r.write_seq = tp->write_seq;
	r.rcv_nxt = tp->rcv_nxt;
	r.snd_una = tp->snd_una;
	r.queued = sk->sk_backlog.rmem_alloc.counter;
	r.bytes_sent = tp->bytes_sent;
	r.bytes_received = tp->bytes_received;
	r.data_segs_in = tp->data_segs_in;
	r.data_segs_out = tp->data_segs_out;
	bpf_seq_write(seq, &r, sizeof(r));
}

/* Whether the other end of this connection is a socket here; sets WEIR_SOCK_TWICE too. */
static __always_inline __u32 look_for_other(struct weir_sock *s)
{
	struct weir_birth *birth = bpf_map_lookup_elem(&births, &s->key);

	if (!birth)
		return 0;
	if (birth->accepted)
		s->confirmed = 1;
	return birth->twice ? WEIR_SOCK_TWICE : 0;
}

static __always_inline __u32 data_segs(const struct tcp_sock *tp)
{
	return tp->data_segs_in + tp->data_segs_out;
}

static __always_inline bool is_due(const struct weir_sock *s, const struct tcp_sock *tp, __u64 now)
{
	if (!walk.observe_ns || !s->confirmed)
		return false;
	/* Who observed it before is gone: what was seen has a hole. */
	if (s->state == WEIR_SOCK_OBSERVED)
		return walk.anew;
	if (s->state == WEIR_SOCK_BORN)
		return now - s->born_ns >= walk.observe_ns && data_segs(tp) >= WEIR_OBSERVE_SEGS;
	return s->state == WEIR_SOCK_REFUSED && now >= s->again_ns &&
	       data_segs(tp) - s->segs >= WEIR_AGAIN_SEGS;
}

static __always_inline void begin_observation(struct weir_sock *s, const struct tcp_sock *tp,
					      __u64 now)
{
	struct weir_lives *l = lives_of(s->port);

	if (l && s->state == WEIR_SOCK_BORN && s->end == WEIR_CONNECTED)
		l->lasted++;
	s->evidence = (struct weir_evidence){.copied = tp->copied_seq, .began_ns = now};
	s->state = WEIR_SOCK_OBSERVED;
}

/* One that has joined rests from its release on. */
static __always_inline void refuse(struct weir_sock *s, const struct tcp_sock *tp,
				   const struct weir_order *o)
{
	s->reason = o->reason;
	s->refused |= 1u << (o->reason & 31);
	s->refusals += s->refusals < 255;
	s->error = 0;
	if (s->state == WEIR_SOCK_JOINED)
		return;
	s->segs = data_segs(tp);
	s->again_ns = o->again_ns;
	s->state = WEIR_SOCK_REFUSED;
}

static __always_inline void obey(struct tcp_sock *tp, struct weir_sock *s)
{
	const struct weir_order *o = bpf_map_lookup_elem(&orders, &s->cookie);

	if (o && o->kind == WEIR_ORDER_REFUSE)
		refuse(s, tp, o);
}

static __always_inline bool is_forgotten(const struct weir_sock *s, __u32 flags, __u64 now)
{
	if (flags & WEIR_SOCK_DETACHED)
		return s->state != WEIR_SOCK_JOINED;
	return !s->confirmed && walk.forget_ns && now - s->born_ns >= walk.forget_ns;
}

/* Its pair was given to others after it was thrown out of `ends`. */
static __always_inline bool is_stranded(const struct weir_sock *s)
{
	const struct weir_pair *p = bpf_map_lookup_elem(&pairs, &s->pair);

	return s->state == WEIR_SOCK_JOINED &&
	       (!p || p->state == WEIR_PAIR_FREE || p->cookie[s->end & 1] != s->cookie);
}

SEC("iter/bpf_sk_storage_map")
int weir_walk(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	__u64 now = bpf_ktime_get_ns();
	struct weir_sock *s = ctx->value;
	struct sock *sk = ctx->sk;
	struct tcp_sock *tp;
	__u32 flags;

	if (!s || !sk || !s->cookie)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	flags = flags_of(sk, tp) | look_for_other(s);
	if (walk.forget_ns && !bpf_map_lookup_elem(&scopes, &s->cgroup))
		flags |= WEIR_SOCK_DETACHED;
	if (is_forgotten(s, flags, now)) {
		bpf_sk_storage_delete(&sockets, sk);
		return 0;
	}
	if (is_stranded(s) && walk.observe_ns) {
		s->state = WEIR_SOCK_REFUSED;
		s->again_ns = now + WEIR_REST;
		s->segs = data_segs(tp);
	}
	if (walk.obey)
		obey(tp, s);
	if (is_due(s, tp, now))
		begin_observation(s, tp, now);
	if (s->state != WEIR_SOCK_BORN || walk.all)
		tell(seq, sk, tp, s, flags, now);
	return 0;
}

#endif
