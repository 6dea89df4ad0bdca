// SPDX-License-Identifier: GPL-2.0
/*
 * The short cut at its smallest, for a few connections of the loader's own: shows what this
 * kernel's sockmap does right. It works with what the programs proper work with, in the same way.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "sock_probe.h"

volatile __u32 shortcut; /* 0: sends go by TCP */

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct probe_sock);
} probe_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, PROBE_SOCKETS);
	__type(key, __u64);
	__type(value, __u64);
} probe_ends SEC(".maps");

SEC("sk_msg")
int probe_message(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	struct probe_sock *s;
	__u64 peer;

	if (!sk || !shortcut)
		return SK_PASS;
	s = bpf_sk_storage_get(&probe_sockets, sk, NULL, 0);
	if (!s)
		return SK_PASS;
	peer = s->peer;
	bpf_msg_redirect_hash(msg, &probe_ends, &peer, BPF_F_INGRESS);
	return SK_PASS;
}

SEC("sk_skb/stream_verdict")
int probe_received(struct __sk_buff *skb)
{
	(void)skb;
	return SK_PASS;
}

SEC("iter/bpf_sk_storage_map")
int probe_adopt(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct probe_sock *s = ctx->value;
	struct sock *sk = ctx->sk;
	__u64 cookie;

	if (!s || !sk || !s->adopt)
		return 0;
	cookie = s->cookie;
	bpf_map_update_elem(&probe_ends, &cookie, sk, BPF_NOEXIST);
	return 0;
}

SEC("iter/tcp")
int probe_release(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp = skc ? bpf_skc_to_tcp_sock(skc) : NULL;
	struct probe_sock *s = tp ? bpf_sk_storage_get(&probe_sockets, tp, NULL, 0) : NULL;
	__u64 cookie;

	if (!s || !s->adopt)
		return 0;
	cookie = s->cookie;
	bpf_map_delete_elem(&probe_ends, &cookie);
	return 0;
}

char _license[] SEC("license") = "GPL";
