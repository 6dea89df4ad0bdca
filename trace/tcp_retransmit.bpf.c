// SPDX-License-Identifier: GPL-2.0
/* Segments that TCP sends again. */
#include <linux/bpf.h>
#include <stdbool.h>

#include "abi/retransmit.h"
#include "events.h"
#include "by.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sk_buff {
	char cb[48];
};

#pragma clang attribute pop

#define FIN 0x01
#define SYN 0x02
#define ACK 0x10

#define LOST_MARK	0x04 /* TCPCB_LOST in tcp_skb_cb.sacked */
#define TIME_LOSS_PROBE 5    /* icsk_pending */
#define CONGESTION_LOSS 4    /* TCP_CA_Loss */

char _license[] SEC("license") = "GPL";

/* All, also of rows that had to make room. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_retransmit_counts);
} total SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEIR_RETRANSMIT_ROWS);
	__type(key, struct weir_by_key);
	__type(value, struct weir_retransmit_counts);
} rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_RETRANSMIT_SOCKETS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct weir_retransmit_socket);
} sockets SEC(".maps");

struct segment {
	__u32 sequence, bytes, segments, flags, sacked;
};

static __always_inline void read_segment(struct segment *s, const struct sk_buff *skb)
{
	struct tcp_skb_cb *cb = (void *)__builtin_preserve_access_index(&skb->cb);

	s->sequence = BPF_CORE_READ(cb, seq);
	s->bytes = BPF_CORE_READ(cb, end_seq) - s->sequence;
	s->segments = BPF_CORE_READ(cb, tcp_gso_segs) ?: 1;
	s->flags = BPF_CORE_READ_BITFIELD_PROBED(cb, tcp_flags);
	s->sacked = BPF_CORE_READ(cb, sacked);
	/* SYN and FIN take a number each. */
	s->bytes -= !!(s->flags & SYN) + !!(s->flags & FIN);
}

static __always_inline __u8 congestion_of(const struct tcp_sock *tp)
{
	const struct inet_connection_sock *icsk = &tp->inet_conn;

	return BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state);
}

/*
 * A timer that runs out has its kind in icsk_pending, except that of retransmits, which is 0 then; while
 * segments are out and no timer runs out, some timer is always pending. A probe may be pending when
 * ACKs begin a recovery, but that sends only what is marked as lost, and a probe what is not.
 */
static __always_inline __u8 kind_of(const struct tcp_sock *tp, const struct segment *s)
{
	__u8 pending = tp->inet_conn.icsk_pending;

	if (s->flags & SYN)
		return s->flags & ACK ? WEIR_RETRANSMIT_SYNACK : WEIR_RETRANSMIT_SYN;
	if (pending == TIME_LOSS_PROBE && !(s->sacked & LOST_MARK))
		return WEIR_RETRANSMIT_TLP;
	if (congestion_of(tp) == CONGESTION_LOSS)
		return pending ? WEIR_RETRANSMIT_SLOW_START : WEIR_RETRANSMIT_RTO;
	return pending ? WEIR_RETRANSMIT_FAST : WEIR_RETRANSMIT_OTHER;
}

/* ---- lines ---- */

static __always_inline void begin_event(struct weir_retransmit_event *e, struct sock *sk,
					const struct weir_ends *ends)
{
	__builtin_memset(e, 0, sizeof(*e));
	e->ns = bpf_ktime_get_ns();
	e->socket = (__u64)sk;
	e->ends = *ends;
	e->inode = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
}

static __always_inline void tell(struct sock *sk, const struct tcp_sock *tp,
				 const struct weir_ends *ends, const struct segment *s, __u8 kind,
				 int error)
{
	struct weir_retransmit_event *e = event_reserve(struct weir_retransmit_event);

	if (!e)
		return;
	begin_event(e, sk, ends);
	e->bytes_sent = tp->bytes_sent;
	e->bytes_retrans = tp->bytes_retrans;
	e->sequence = s->sequence;
	e->bytes = s->bytes;
	e->segments = s->segments;
	e->rto = tp->inet_conn.icsk_rto;
	e->srtt_us = tp->srtt_us >> 3;
	e->error = error;
	e->kind = kind;
	e->state = sk->__sk_common.skc_state;
	e->congestion = congestion_of(tp);
	e->row = tp->inet_conn.icsk_retransmits;
	event_submit(e);
}

static __always_inline void tell_synack(struct sock *sk, struct request_sock *req,
					const struct weir_ends *ends)
{
	struct weir_retransmit_event *e = event_reserve(struct weir_retransmit_event);

	if (!e)
		return;
	begin_event(e, sk, ends);
	e->sequence = BPF_CORE_READ((struct tcp_request_sock *)req, snt_isn);
	e->segments = 1;
	e->kind = WEIR_RETRANSMIT_SYNACK;
	e->state = TCP_NEW_SYN_RECV;
	e->row = req->num_retrans + 1;
	event_submit(e);
}

/* ---- counts ---- */

/* Where something is counted: the total first, as readers take it that it has all that rows have. */
struct sums {
	struct weir_retransmit_counts *total, *row; /* NULL: there is none */
};

static __always_inline struct weir_retransmit_counts *total_counts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&total, &zero);
}

static __always_inline struct weir_retransmit_counts *row_of(const struct weir_by_key *key)
{
	struct weir_retransmit_counts fresh = {}, *n;

	if (!by.what)
		return NULL;
	n = bpf_map_lookup_elem(&rows, key);
	if (n)
		return n;
	fresh.born_ns = bpf_ktime_get_ns();
	bpf_map_update_elem(&rows, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&rows, key);
}

static __always_inline struct sums sums_of(const struct weir_by_key *key)
{
	return (struct sums){.total = total_counts(), .row = row_of(key)};
}

static __always_inline void count_segments(struct weir_retransmit_counts *n, __u64 kind,
					   __u32 segments, int error)
{
	if (!n)
		return;
	/* In the register that is compared. */
	asm volatile("" : "+r"(kind));
	if (error)
		__sync_fetch_and_add(&n->failed, 1);
	else if (kind < WEIR_RETRANSMIT_KINDS)
		__sync_fetch_and_add(&n->segments[kind], segments);
}

static __always_inline void count_sent(struct weir_retransmit_counts *n, __u64 sent, __u64 again)
{
	if (!n)
		return;
	__sync_fetch_and_add(&n->bytes_sent, sent);
	__sync_fetch_and_add(&n->bytes_retrans, again);
}

static __always_inline void add_bytes(const struct sums *sums, struct weir_retransmit_socket *known,
				      const struct tcp_sock *tp)
{
	__u64 sent = tp->bytes_sent - known->bytes_sent;
	__u64 again = tp->bytes_retrans - known->bytes_retrans;

	count_sent(sums->total, sent, again);
	count_sent(sums->row, sent, again);
	known->bytes_sent = tp->bytes_sent;
	known->bytes_retrans = tp->bytes_retrans;
}

/* Where its bytes begin, as long as it lives: both go on together. */
static __always_inline __u32 first_sequence(const struct tcp_sock *tp)
{
	return tp->snd_una - (__u32)tp->bytes_acked;
}

/* The record of this connection: not of one whose end was missed, and that had the same address. */
static __always_inline struct weir_retransmit_socket *find_socket(__u64 socket,
								  const struct tcp_sock *tp)
{
	struct weir_retransmit_socket *known = bpf_map_lookup_elem(&sockets, &socket);

	return known && known->first_sequence == first_sequence(tp) ? known : NULL;
}

/* The socket is locked: nobody else counts for it. */
static __always_inline void count_bytes(const struct sums *sums, const struct weir_by_key *key,
					struct sock *sk, const struct tcp_sock *tp)
{
	struct weir_retransmit_socket fresh = {.key = *key, .first_sequence = first_sequence(tp)};
	struct weir_retransmit_socket *known;
	__u64 socket = (__u64)sk;

	known = find_socket(socket, tp);
	if (known) {
		add_bytes(sums, known, tp);
		return;
	}
	add_bytes(sums, &fresh, tp);
	if (bpf_map_update_elem(&sockets, &socket, &fresh, BPF_ANY))
		tally_add(records_full);
}

static __always_inline void count(struct sock *sk, const struct tcp_sock *tp,
				  const struct segment *s, __u8 kind, int error)
{
	struct weir_by_key key = {};
	struct sums sums;

	key_of(&key, &sk->__sk_common);
	sums = sums_of(&key);
	count_segments(sums.total, kind, s->segments, error);
	count_segments(sums.row, kind, s->segments, error);
	count_bytes(&sums, &key, sk, tp);
}

static __always_inline void count_synack(struct request_sock *req)
{
	struct weir_by_key key = {};
	struct sums sums;

	key_of(&key, &req->__req_common);
	sums = sums_of(&key);
	count_segments(sums.total, WEIR_RETRANSMIT_SYNACK, 1, 0);
	count_segments(sums.row, WEIR_RETRANSMIT_SYNACK, 1, 0);
}

/* ---- hooks ---- */

static __always_inline int on_retransmit(struct sock *sk, struct sk_buff *skb, int error)
{
	struct weir_ends ends = {};
	struct segment s;
	struct tcp_sock *tp;
	__u8 kind;

	tp = tcp_of(sk);
	if (!tp)
		return 0;
	ends_of(&ends, sk, tp);
	if (!wanted(sk, &ends))
		return 0;
	read_segment(&s, skb);
	kind = kind_of(tp, &s);
	if (config.lines)
		tell(sk, tp, &ends, &s, kind, error);
	if (config.counted)
		count(sk, tp, &s, kind, error);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(weir_retransmit, struct sock *sk, struct sk_buff *skb, int error)
{
	return on_retransmit(sk, skb, error);
}

/* Of kernels before 6.16, which do not tell of attempts that fail. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(weir_retransmit2, struct sock *sk, struct sk_buff *skb)
{
	return on_retransmit(sk, skb, 0);
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(weir_synack, struct sock *sk, struct request_sock *req)
{
	struct weir_ends ends = {};

	common_ends(&ends, &req->__req_common);
	if (!wanted(sk, &ends))
		return 0;
	if (config.lines)
		tell_synack(sk, req, &ends);
	if (config.counted)
		count_synack(req);
	return 0;
}

/* What a connection sent until its end. Behind that it is met by no walk, though a process may have it open
 * for long, and connect() to nowhere begins its counters anew. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(weir_closed, struct sock *sk, int from, int to)
{
	struct weir_retransmit_socket *known;
	__u64 socket = (__u64)sk;
	struct tcp_sock *tp;
	struct sums sums;

	if (to != TCP_CLOSE || !bpf_map_lookup_elem(&sockets, &socket))
		return 0;
	tp = tcp_of(sk);
	known = tp ? find_socket(socket, tp) : NULL;
	if (known) {
		sums.total = total_counts();
		sums.row = by.what ? bpf_map_lookup_elem(&rows, &known->key) : NULL;
		add_bytes(&sums, known, tp);
	}
	bpf_map_delete_elem(&sockets, &socket);
	return 0;
}
