/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Lowers the MSS that a SYN announces, so that what the other end sends fits the way through a
 * tunnel: its too-big messages may not come back. It is never raised, and a SYN without one is left
 * alone.
 */
#ifndef WEIR_MSS_H
#define WEIR_MSS_H

#include "../checksum.h"

#define TCP_DATA_OFFSET_AT 12
#define TCP_OPTIONS_AT	   20
#define TCP_OPTIONS_MOST   40
#define TCPOPT_END	   0
#define TCPOPT_NOP	   1
#define TCPOPT_MSS	   2
#define TCPOLEN_MSS	   4

/* As sum of 16-bit words: at an odd offset the bytes belong to two of them. */
static __always_inline __u16 as_summed(const __u8 *bytes, bool odd)
{
	__u16 value = bytes[0] << 8 | bytes[1];

	return odd ? value : bpf_htons(value);
}

static __always_inline void store_mss(__u8 *at, __u16 *check, __u16 mss, bool odd)
{
	__u32 sum = (__u16) ~*check + (__u16)~as_summed(at, odd);

	at[0] = mss >> 8;
	at[1] = mss & 0xff;
	*check = ~fold(sum + as_summed(at, odd));
}

/* Offset of the MSS option in the frame; 0: none, or the options before it make no sense. */
static __always_inline __u32 find_mss(struct xdp_md *ctx, __u32 at, __u32 end)
{
	for (int i = 0; i < TCP_OPTIONS_MOST; i++) {
		const __u8 *option;

		if (at >= end)
			return 0;
		option = header_at(ctx, at, 1);
		if (!option || *option == TCPOPT_END)
			return 0;
		if (*option == TCPOPT_NOP) {
			at = forget(at + 1, end);
			continue;
		}
		option = header_at(ctx, at, 2);
		if (!option || option[1] < 2)
			return 0;
		if (option[0] == TCPOPT_MSS)
			return option[1] == TCPOLEN_MSS && at + TCPOLEN_MSS <= end ? at : 0;
		at = forget(at + option[1], end);
	}
	return 0;
}

/* With the MSS: the checksum may be unfinished, and TC will see to it. */
#define MSS_UNFINISHED 0x10000u

/* An unfinished checksum does not cover the MSS yet. One SYN in 65535 is taken for unfinished
 * and is not; its sender's next one has another timestamp. */
static __always_inline bool covers_mss(struct xdp_md *ctx, const struct packet *p, __u16 check,
				       __u32 mss)
{
	return !config.partial_sums || !(mss & MSS_UNFINISHED) || check != fold(pseudo_sum(ctx, p));
}

/* A global function: off the way of other packets. */
__noinline int weir_clamp_mss(struct xdp_md *ctx, const struct packet *p, __u32 mss)
{
	const __u8 *data_offset;
	__u32 end, at;
	__u16 *check, sum;
	__u8 *option;

	if (!config.modes || !p || p->proto != IPPROTO_TCP)
		return 0;
	data_offset = header_at(ctx, p->l4 + TCP_DATA_OFFSET_AT, 1);
	if (!data_offset)
		return 0;
	end = (*data_offset >> 4) * 4;
	end = p->l4 + (end < p->l4_len ? end : p->l4_len);
	at = find_mss(ctx, p->l4 + TCP_OPTIONS_AT, end);
	if (!at)
		return 0;
	reload_bounds();
	check = header_at(ctx, p->l4 + CHECKSUM_AT_TCP, sizeof(*check));
	option = header_at(ctx, at, TCPOLEN_MSS);
	if (!check || !option || (option[2] << 8 | option[3]) <= (__u16)mss)
		return 0;
	sum = *check;
	store_mss(option + 2, &sum, mss, (at - p->l4) & 1);
	if (covers_mss(ctx, p, *check, mss))
		*check = sum;
	return 1;
}

#endif
