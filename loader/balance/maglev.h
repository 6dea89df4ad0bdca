/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which backend each slot of a service belongs to: Maglev (Eisenbud et al., NSDI 2016) with
 * weighted turns, over a power of two of slots. A pure function of the set of backends and their
 * weights: not of their order, not of history; so every balancer with the same configuration has
 * the same table.
 */
#ifndef WEIR_MAGLEV_H
#define WEIR_MAGLEV_H

#include <linux/types.h>
#include <stddef.h>

struct maglev_backend {
	__u8 name[20]; /* what tells it from others: family, address, port */
	__u32 weight;  /* 1..WEIR_MAX_WEIGHT */
	__u32 owner;   /* what its slots are to hold */
};

/* The number of slots for these weights: 1024, 8192 or 65536, at least 128 for each step of
 * weight as long as that goes; a step is the greatest common divisor of the weights. */
__u32 maglev_slots(const struct maglev_backend *backends, size_t count);

/* Fills owner[slots]; without backends with 0. -ENOMEM or 0. `slots` is a power of two. */
int maglev_fill(const struct maglev_backend *backends, size_t count, __u32 *owner, __u32 slots);

#endif
