// SPDX-License-Identifier: GPL-2.0
/*
 * A message of a socket in `ends` goes straight into its peer's receive queue, or by TCP. Nothing
 * may get ahead of what was sent before, no reader may be given more than it has room for, and what
 * cannot be proven is sent by TCP: every way out but the last is SK_PASS.
 */
#include "maps.h"
#include "ends.h"
#include "kernel.h"

#include <stdbool.h>

#include <bpf/bpf_core_read.h>

#define O_NONBLOCK 04000

extern void *bpf_rdonly_cast(void *obj, __u32 btf_id) __ksym;

/* What may come for a socket while a call holds its lock, besides twice what its buffers hold: bytes;
 * tcp_add_backlog(). Half of it is left for what comes: a RST, the last window updates. */
#define BACKLOG (64 * 1024)

/* The other end, as far as its state decides. */
struct reader {
	__u32 copied_seq;
	__u32 queued; /* bytes */
	__u32 most;   /* of them: what its own buffers are made for */
	bool reads;   /* its connection is not over */
	bool sleeps;  /* it may, in tcp_recvmsg(): its socket was made blocking since it joined */
	bool busy; /* a call holds its lock, or its memory is short: waiting for it may take long */
};

/* Looks at the reader's lock: about as often as a call takes to copy what it reads. */
#define PATIENCE 2048

static long wait_a_little(__u32 i, void *data)
{
	const struct sock *sk =
		bpf_rdonly_cast(*(void **)data, bpf_core_type_id_kernel(struct sock));

	(void)i;
	return !*(volatile int *)&sk->sk_lock.owned;
}

/* The kernel takes the reader's lock in the sender's name, and sleeps for it without end: whoever
 * has it may be waiting for a page that does not come. */
static __always_inline bool is_locked(const struct sock *sk, void *address)
{
	if (!*(volatile int *)&sk->sk_lock.owned)
		return false;
	bpf_loop(PATIENCE, wait_a_little, &address, 0);
	return *(volatile int *)&sk->sk_lock.owned;
}

/* Its control group has no memory to spare: TCP waits then, the short cut fails. The lower bits of
 * the pointer are flags, and pointers cannot be masked. */
static __always_inline bool is_pressed(const struct sock *sk)
{
	const struct mem_cgroup *memcg;
	__u64 address = 0;

	if (!bpf_core_field_exists(sk->sk_memcg))
		return false;
	if (bpf_core_read(&address, sizeof(address), &sk->sk_memcg) || !(address & ~7ull))
		return false;
	memcg = bpf_rdonly_cast((void *)(address & ~7ull),
				bpf_core_type_id_kernel(struct mem_cgroup));
	if (bpf_core_field_exists(memcg->tcpmem_pressure) && memcg->tcpmem_pressure)
		return true;
	return memcg->socket_pressure > bpf_jiffies64();
}

static __always_inline bool is_open(__u8 state)
{
	return state == TCP_ESTABLISHED || state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2;
}

/* tcp_sock memory is type-safe and cookies are never used again: if the cookie is the peer's after
 * all else was read, what was read is the peer's. Reads of what is not mapped any more give 0. */
static __always_inline bool look_at(const struct weir_pair *p, __u32 end, struct reader *r)
{
	__u64 address = end ? p->sock[1] : p->sock[0], cookie = end ? p->cookie[1] : p->cookie[0];
	const struct tcp_sock *tp;
	const struct sock *sk;

	tp = bpf_rdonly_cast((void *)address, bpf_core_type_id_kernel(struct tcp_sock));
	sk = &tp->inet_conn.icsk_inet.sk;
	r->busy = is_locked(sk, (void *)address) || is_pressed(sk);
	r->reads = is_open(sk->__sk_common.skc_state);
	r->copied_seq = *(volatile __u32 *)&tp->copied_seq;
	r->sleeps = !(*(volatile unsigned int *)&sk->sk_socket->file->f_flags & O_NONBLOCK);
	r->queued = *(volatile int *)&sk->sk_backlog.rmem_alloc.counter;
	r->most = 2 * *(volatile __u32 *)&sk->sk_rcvbuf + *(volatile __u32 *)&sk->sk_sndbuf / 2 +
		  BACKLOG / 2;
	return *(volatile __s64 *)&sk->__sk_common.skc_cookie.counter == (__s64)cookie;
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

/*
 * Every byte that TCP was given was read. They are also all acknowledged: where a NAT helper adds to
 * what it carries, the two ends' numbers lie apart, and could be equal while bytes are under way.
 */
static __always_inline bool is_drained(const struct tcp_sock *tp, const struct reader *r)
{
	return tp->write_seq == r->copied_seq && tp->snd_una == tp->write_seq;
}

/*
 * Whether the reader has room; messages are counted as well as bytes, because each costs memory. While
 * a reader with more unread than its buffers and BACKLOG is in a call, the kernel drops packets for
 * it, and a RST is sent once only: the other end would never hear of it.
 */
static __always_inline bool has_room(struct weir_way *own, const struct weir_pair *p,
				     const struct reader *r, __u32 size)
{
	if (!r->queued)
		own->queued = 0;
	return !r->busy && r->queued + size <= p->limit && r->queued + size <= r->most &&
	       own->queued < WEIR_QUEUED_MAX;
}

static __always_inline int by_tcp(struct weir_way *own, __u64 *reason, __u32 size)
{
	++*reason;
	own->tcp_bytes += size;
	return SK_PASS;
}

/* After a FIN of its own it gets EPIPE, from TCP. */
static __always_inline bool may_send(const struct bpf_sock *sk)
{
	return sk->state == TCP_ESTABLISHED || sk->state == TCP_CLOSE_WAIT;
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

	if (!sk || !c || !c->on || !may_send(sk))
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
	if (!look_at(p, !end, &r) || !r.reads) {
		own->missed++;
		return SK_PASS;
	}
	/* Without the stream verdict, one that sleeps there for MSG_WAITALL would not wake, and then be
	 * given first what comes by TCP later. */
	if (r.sleeps || !is_drained(tp, &r))
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
