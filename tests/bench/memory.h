/* SPDX-License-Identifier: GPL-2.0 */
/* What the balancer's maps take of the kernel's memory. */
#ifndef WEIR_BENCH_MEMORY_H
#define WEIR_BENCH_MEMORY_H

#include <linux/types.h>
#include <stddef.h>

#define MEMORY_MAPS 10

struct memory {
	const char *services; /* what is configured */
	struct {
		const char *map;
		__u64 bytes;
	} part[MEMORY_MAPS];
	__u64 bytes; /* of all */
};

/* The maps of `which` configuration, sized as the loader sizes them: 0; 1: there are no more; < 0
 * with a fail() line. */
int memory_of(size_t which, struct memory *memory);

#endif
