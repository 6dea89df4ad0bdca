/* SPDX-License-Identifier: GPL-2.0 */
/* What the stages of the pipeline hand on: the frame as parsed, and what was decided about it. */
#ifndef WEIR_FRAME_H
#define WEIR_FRAME_H

#define PACKET_CONTEXT xdp_md
#include "packet.h"

const volatile struct weir_xdp_config config;

struct frame {
	__u32 bytes;
	__u32 class; /* enum weir_class */
	struct packet packet;
};

/* One register, as it is handed on and on. */
struct decision {
	__u32 code : 8;	   /* XDP_* */
	__u32 verdict : 8; /* enum weir_verdict: what the user is told */
	__u32 reason : 16; /* enum weir_reason; WEIR_REASONS: none */
};

static __always_inline struct decision passed(void)
{
	return (struct decision){XDP_PASS, WEIR_PASS, WEIR_REASONS};
}

static __always_inline struct decision dropped(enum weir_reason reason)
{
	return (struct decision){XDP_DROP, WEIR_DROP, reason};
}

static __always_inline struct cursor whole_frame(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return (struct cursor){
		.at = data,
		.end = end,
		.length = config.frags ? bpf_xdp_get_buff_len(ctx) : end - data,
	};
}

/* `details` as in parse_packet(): for those who look into the packet. */
static __always_inline void parse(struct frame *f, struct xdp_md *ctx, enum details details)
{
	struct cursor c = whole_frame(ctx);

	f->bytes = c.length;
	f->class = parse_packet(&f->packet, &c, ctx, config.ethernet, details);
}

#endif
