// SPDX-License-Identifier: GPL-2.0
/*
 * What surrounds a measured program: nothing (the empty programs, whose cost is subtracted), or a
 * change to the packet before each run, because the kernel's test loop passes the same bytes every
 * time. The changing programs end in a tail call, so that the empty program behind the same change
 * tells what change and call cost.
 *
 * Addresses are set, checksums are not: no program under test verifies them.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "wrapper.h"

struct target {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

struct target subject SEC(".maps"); /* the program under test */
struct target reply SEC(".maps");   /* what sees the packets of the other direction */

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, BENCH_EXITS);
	__type(key, __u32);
	__type(value, __u32);
} exits SEC(".maps");

__u32 sources4[BENCH_SOURCES]; /* dense: what is read here is missing in the subject's cache */
__u32 sources6[BENCH_SOURCES][4];
__u32 exchange[BENCH_EXCHANGE][BENCH_WORDS4];
__u64 ether[2]; /* 14 bytes */
__u64 line[BENCH_LINE];
__u32 length;
__u32 clients; /* a power of two less 1; 0: the one of the original */
__u64 packets;
__u32 step;
__u64 awaited[BENCH_AWAITED]; /* what a live frame begins with when it has arrived */
__u64 awaited_length;
__u64 arrived;

/* The words of the IP header and what follows it, or NULL when there are fewer than `count`. */
static __always_inline __u32 *words(long data, long end, __u32 count)
{
	__u32 *ip = (void *)data + ETH_HLEN;

	return (void *)(ip + count) > (void *)end ? NULL : ip;
}

/* Distinct for all flows, and no two neighbours alike. */
static __always_inline __u32 client_address(__u32 flow)
{
	return bpf_htonl(10u << 24 | (flow * 0x9e3779b1u & (BENCH_FLOWS - 1)));
}

SEC("xdp")
int empty_xdp(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_DROP;
}

SEC("xdp")
int empty_pass(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}

SEC("xdp")
int empty_tx(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_TX;
}

SEC("xdp")
int empty_redirect(struct xdp_md *ctx __attribute__((unused)))
{
	return bpf_redirect_map(&exits, BENCH_ELSEWHERE, XDP_DROP);
}

SEC("xdp")
int empty_redirect_back(struct xdp_md *ctx __attribute__((unused)))
{
	return bpf_redirect_map(&exits, BENCH_BACK, XDP_DROP);
}

/* At the far end of live frames. It takes the same steps for all of them. */
SEC("xdp")
int empty_receive(struct xdp_md *ctx)
{
	const __u64 *word = (void *)(long)ctx->data;
	const void *end = (void *)(long)ctx->data_end;
	__u64 differs = (end - (void *)word) ^ awaited_length;

	if ((void *)(word + BENCH_AWAITED) > end)
		return XDP_DROP;
#pragma unroll
	for (int i = 0; i < BENCH_AWAITED; i++)
		differs |= word[i] ^ awaited[i];
	arrived += !differs;
	return XDP_DROP;
}

SEC("xdp")
int vary_source4(struct xdp_md *ctx)
{
	__u32 *ip = words(ctx->data, ctx->data_end, 5);

	if (!ip)
		return BENCH_NOT_REACHED;
	ip[3] = sources4[packets++ & (BENCH_SOURCES - 1)];
	bpf_tail_call(ctx, &subject, 0);
	return BENCH_NOT_REACHED;
}

SEC("xdp")
int vary_source6(struct xdp_md *ctx)
{
	__u32 *ip = words(ctx->data, ctx->data_end, 10);
	__u32 *source = sources6[packets++ & (BENCH_SOURCES - 1)];

	if (!ip)
		return BENCH_NOT_REACHED;
	ip[2] = source[0];
	ip[3] = source[1];
	ip[4] = source[2];
	ip[5] = source[3];
	bpf_tail_call(ctx, &subject, 0);
	return BENCH_NOT_REACHED;
}

/* Words of the line, counted from the IP header, which hold a client's address and port. */
struct client_words {
	__u32 address, port;
	__u32 port_shift; /* the address is in the upper half */
};

/* Each store covers what a program loads at once, or the load would have to wait for two of
 * them, which frames from a device do not make it do. */
static __always_inline void put_line(void *data, const struct client_words *w)
{
	__u32 client = packets++ & clients;
	__u64 address = (__u64)client_address(client) << 32;
	__u64 port = (__u64)bpf_htons(1024 + (client & 0x7fff)) << w->port_shift;
	__u64 *to = data + ETH_HLEN;

	*(__u64 *)data = ether[0];
	*(__u32 *)(data + 8) = ether[1];
	*(__u16 *)(data + 12) = ether[1] >> 32;
#pragma unroll
	for (__u32 i = 0; i < BENCH_LINE; i++) {
		__u64 word = line[i];

		if (clients && i == w->address)
			word = (__u32)word | address;
		if (clients && i == w->port)
			word = (word & ~(0xffffull << w->port_shift)) | port;
		to[i] = word;
	}
}

/* The frame as it was before the program encapsulated or rewrote it, from another client. The
 * head is moved also where it need not be, so that the empty program behind this pays for it as
 * well. */
static __always_inline int restore(struct xdp_md *ctx, const struct client_words *w)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 size = end - data;

	/* The compiler would subtract halves of pointers, which verifiers do not like. */
	asm volatile("" : "+r"(size));
	if (bpf_xdp_adjust_head(ctx, (int)size - (int)length))
		return BENCH_NOT_REACHED;
	data = (void *)(long)ctx->data;
	if (data + ETH_HLEN + sizeof(line) > (void *)(long)ctx->data_end)
		return BENCH_NOT_REACHED;
	put_line(data, w);
	bpf_tail_call(ctx, &subject, 0);
	return BENCH_NOT_REACHED;
}

SEC("xdp")
int restore_client4(struct xdp_md *ctx)
{
	return restore(ctx, &(struct client_words){1, 2, 32});
}

SEC("xdp")
int restore_client6(struct xdp_md *ctx)
{
	return restore(ctx, &(struct client_words){2, 5, 0});
}

/* Live frames are used again with the bytes that the last program left in them. */
SEC("xdp")
int live_generate4(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;

	if (data + ETH_HLEN + sizeof(line) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	put_line(data, &(struct client_words){1, 2, 32});
	return XDP_TX;
}

SEC("tc")
int empty_tc(struct __sk_buff *skb __attribute__((unused)))
{
	return TC_ACT_UNSPEC;
}

/* The same segment, each time from another client. */
SEC("tc")
int vary_flow(struct __sk_buff *skb)
{
	__u32 *ip = words(skb->data, skb->data_end, 5);
	__u32 flow = packets++ & (BENCH_FLOWS - 1);

	if (!ip)
		return BENCH_NOT_REACHED;
	ip[3] = client_address(flow);
	bpf_tail_call(skb, &subject, 0);
	return BENCH_NOT_REACHED;
}

/* SYN, SYN-ACK and ACK of one fresh connection after the other. */
SEC("tc")
int vary_connection(struct __sk_buff *skb)
{
	__u32 *ip = words(skb->data, skb->data_end, BENCH_WORDS4);
	__u32 connection = packets++ / BENCH_EXCHANGE & (BENCH_FLOWS - 1);
	__u32 now = step;

	if (!ip || now >= BENCH_EXCHANGE)
		return BENCH_NOT_REACHED;
	step = now + 1 == BENCH_EXCHANGE ? 0 : now + 1;
#pragma unroll
	for (int i = 0; i < BENCH_WORDS4; i++)
		ip[i] = exchange[now][i];
	if (now == BENCH_SYNACK) {
		ip[4] = client_address(connection);
		bpf_tail_call(skb, &reply, 0);
	} else {
		ip[3] = client_address(connection);
		bpf_tail_call(skb, &subject, 0);
	}
	return BENCH_NOT_REACHED;
}

char _license[] SEC("license") = "GPL";
