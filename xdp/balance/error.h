/* SPDX-License-Identifier: GPL-2.0 */
/* ICMP errors made out of the packets they are about. */
#ifndef WEIR_ERROR_H
#define WEIR_ERROR_H

#include "../checksum.h"
#include "churn.h"

__noinline bool weir_make_error(struct xdp_md *ctx, const struct packet *p, __u32 reason, __u32 mtu)
{
	return false;
}

#endif
