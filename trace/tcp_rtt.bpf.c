// SPDX-License-Identifier: GPL-2.0
/* Histograms of the smoothed round trip time, a sample for each segment that an ESTABLISHED socket
 * receives: the hot path of all tracers. */
#include <linux/bpf.h>
#include <stdbool.h>

#include "abi/rtt.h"
#include "events.h"
#include "by.h"

char _license[] SEC("license") = "GPL";

/* All samples, or those that found no room in `rows`. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_rtt_counts);
} others SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, WEIR_RTT_ROWS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_by_key);
	__type(value, struct weir_rtt_counts);
} rows SEC(".maps");

static __always_inline bool is_filtered(void)
{
	return config.filter.netns || config.filter.cgroup || config.filter.family ||
	       config.filter.port_ranges || config.filter.peer_ranges || config.filter.peer_bits;
}

static __always_inline bool is_wanted(struct sock *sk)
{
	struct weir_ends ends = {};

	common_ends(&ends, &sk->__sk_common);
	return wanted(sk, &ends);
}

static __always_inline struct weir_rtt_counts *row_of(const struct sock *sk)
{
	static const struct weir_rtt_counts none;
	struct weir_by_key key = {};
	struct weir_rtt_counts *n;

	key_of(&key, &sk->__sk_common);
	n = bpf_map_lookup_elem(&rows, &key);
	if (n)
		return n;
	bpf_map_update_elem(&rows, &key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&rows, &key);
}

static __always_inline struct weir_rtt_counts *counts_of(const struct sock *sk)
{
	struct weir_rtt_counts *n = by.what ? row_of(sk) : NULL;
	__u32 zero = 0;

	return n ?: bpf_map_lookup_elem(&others, &zero);
}

SEC("tp_btf/tcp_probe")
int BPF_PROG(weir_rtt, struct sock *sk)
{
	struct weir_rtt_counts *n;
	struct tcp_sock *tp;
	__u32 us, least;

	if (is_filtered() && !is_wanted(sk))
		return 0;
	tp = tcp_of(sk);
	if (!tp || !tp->srtt_us) /* nothing measured yet */
		return 0;
	us = tp->srtt_us >> 3;
	least = ~tp->rtt_min.s[0].v;
	n = counts_of(sk);
	if (!n)
		return 0;
	n->slot[log2_slot(us) % WEIR_LOG2_SLOTS]++;
	n->total_us += us;
	if (n->least < least)
		n->least = least;
	return 0;
}
