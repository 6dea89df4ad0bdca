// SPDX-License-Identifier: GPL-2.0
/* Connections of a cgroup at their birth, and what is asked of their sockets later. */
#include "births.h"
#include "ends.h"
#include "kernel.h"
#include "maps.h"
#include "scope.h"

#include <asm/socket.h>
#include <linux/tcp.h>
#include <stdbool.h>

#define SOL_TCP	   6
#define EPERM	   1
#define EOPNOTSUPP 95
#define ENOENT	   2
#define PAGE	   4096

const volatile struct weir_sock_config config;

/* What is read of the context is read here, once: compilers merge reads of it across branches in a
 * way that the verifier refuses. */
struct newborn {
	struct bpf_sock *sk;
	__u32 end;
	struct weir_key key;
	__be32 remote[4];
	__u16 port; /* the service's, as this end knows it */
};

#define read_context(ctx, field)                                                               \
	({                                                                                     \
		__u32 value_;                                                                  \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                          \
			     : "=r"(value_)                                                    \
			     : "r"(ctx), "i"(__builtin_offsetof(struct bpf_sock_ops, field))); \
		value_;                                                                        \
	})

/* A connecting end that sent data with its SYN has more behind it than its SYN. */
static __always_inline __u32 first_sent(struct bpf_sock_ops *ops, __u32 end)
{
	if (end == WEIR_ACCEPTED)
		return read_context(ops, snd_nxt);
	return read_context(ops, snd_una) - (__u32)ops->bytes_acked + 1;
}

static __always_inline void read_remote(struct bpf_sock_ops *ops, __be32 remote[4])
{
	if (read_context(ops, family) == AF_INET) {
		map_address(remote, read_context(ops, remote_ip4));
		return;
	}
	remote[0] = read_context(ops, remote_ip6[0]);
	remote[1] = read_context(ops, remote_ip6[1]);
	remote[2] = read_context(ops, remote_ip6[2]);
	remote[3] = read_context(ops, remote_ip6[3]);
}

/* NULL too when the program of another cgroup, further in, has done it. A socket that was
 * disconnected and connects again is a new one. */
static __always_inline struct weir_sock *remember(struct bpf_sock_ops *ops, const struct newborn *n)
{
	struct weir_sock *s;

	s = bpf_sk_storage_get(&sockets, n->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!s || (s->cookie && s->end == n->end && s->key.connected == n->key.connected &&
		   s->key.accepted == n->key.accepted))
		return NULL;
	*s = (struct weir_sock){};
	s->cookie = bpf_get_socket_cookie(ops);
	s->cgroup = config.cgroup;
	s->born_ns = bpf_ktime_get_ns();
	s->key = n->key;
	s->limit = config.limit;
	s->port = n->port;
	s->end = n->end;
	return s;
}

/* The settings of the innermost cgroup decide: it is remembered that it is left out, so that the
 * programs of those around it let it be. */
static __always_inline void leave_out(struct weir_sock *s)
{
	s->state = WEIR_SOCK_REFUSED;
	s->reason = WEIR_R_SETTINGS;
	s->refused = 1u << WEIR_R_SETTINGS;
	s->refusals = 1;
	s->again_ns = WEIR_NEVER;
}

static __always_inline bool is_passed_over(__u16 port)
{
	struct weir_lives *l = lives_of(port);

	if (!l)
		return false;
	/* Signed: what two CPUs count at once may fall behind. */
	if ((__s32)(l->born - l->good) >= WEIR_BURST && l->skipped++ % WEIR_SAMPLE)
		return true;
	l->born++;
	return false;
}

static __always_inline void connected(struct bpf_sock_ops *ops, const struct newborn *n)
{
	struct weir_birth birth = {};
	struct weir_sock *s;

	if (is_passed_over(n->port) || !is_trusted(bpf_skc_to_tcp_sock(n->sk)))
		return;
	s = remember(ops, n);
	if (!s)
		return;
	if (!is_local(&config, n->remote)) {
		leave_out(s);
		return;
	}
	birth.ns = s->born_ns;
	if (bpf_map_update_elem(&births, &n->key, &birth, BPF_NOEXIST)) {
		struct weir_birth *other = bpf_map_lookup_elem(&births, &n->key);

		if (other)
			other->twice = 1;
	}
}

static __always_inline void accepted(struct bpf_sock_ops *ops, const struct newborn *n)
{
	struct weir_sock_control *c = control_here();
	struct weir_birth *birth;
	struct weir_sock *s;

	birth = bpf_map_lookup_elem(&births, &n->key);
	if (!birth || !is_trusted(bpf_skc_to_tcp_sock(n->sk)))
		return;
	s = remember(ops, n);
	if (!s)
		return;
	if (!is_wanted_port(&config, n->port)) {
		leave_out(s);
		return;
	}
	s->confirmed = 1;
	if (__sync_val_compare_and_swap(&birth->accepted, 0, s->cookie))
		birth->twice = 1;
	if (c)
		__sync_fetch_and_add(&c->births, 1);
}

/* A socket that was disconnected is about to be used again: what the last connection left in its
 * queue of messages is not for the next one. */
static __always_inline void begin_anew(struct bpf_sock *sk)
{
	struct weir_sock *s = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	__u64 cookie;

	if (!s)
		return;
	cookie = s->cookie;
	bpf_map_delete_elem(&ends, &cookie);
	bpf_sk_storage_delete(&sockets, sk);
}

static __always_inline void established(struct bpf_sock_ops *ops, struct newborn *n)
{
	if (n->end == WEIR_CONNECTED) {
		n->key.connected = first_sent(ops, n->end);
		n->key.accepted = read_context(ops, rcv_nxt);
		n->port = bpf_ntohl(read_context(ops, remote_port));
		read_remote(ops, n->remote);
		connected(ops, n);
	} else {
		n->key.connected = read_context(ops, rcv_nxt);
		n->key.accepted = first_sent(ops, n->end);
		n->port = read_context(ops, local_port);
		accepted(ops, n);
	}
}

SEC("sockops")
int weir_established(struct bpf_sock_ops *ops)
{
	__u32 op = read_context(ops, op);
	struct newborn n = {.sk = ops->sk};

	if (!n.sk)
		return 1;
	switch (op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
	case BPF_SOCK_OPS_TCP_LISTEN_CB: begin_anew(n.sk); break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		n.end = WEIR_CONNECTED;
		established(ops, &n);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		n.end = WEIR_ACCEPTED;
		established(ops, &n);
		break;
	}
	return 1;
}

/* What a short-cut socket cannot do is refused with what a kernel without it would say, so that
 * programs fall back to what works everywhere. */
static __always_inline int refusal(int level, int name)
{
	if (level == SOL_SOCKET && name == SO_ZEROCOPY)
		return -EOPNOTSUPP;
	if (level == SOL_TCP && name == TCP_ULP)
		return -ENOENT;
	if (level == SOL_TCP && name == TCP_REPAIR)
		return -EPERM;
	return 0;
}

SEC("cgroup/setsockopt")
int weir_option(struct bpf_sockopt *ctx)
{
	int err = refusal(ctx->level, ctx->optname);
	struct bpf_sock *sk = ctx->sk;
	struct weir_sock *s;

	/* What is longer was cut to a page: the kernel goes on with the caller's own memory. What is not
	 * may have been changed by another program. */
	if (ctx->optlen > PAGE)
		ctx->optlen = 0;
	if (!err || !sk)
		return 1;
	s = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!s || s->state != WEIR_SOCK_JOINED)
		return 1;
	bpf_set_retval(err);
	return 0;
}

char _license[] SEC("license") = "GPL";
