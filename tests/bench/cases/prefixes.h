/* SPDX-License-Identifier: GPL-2.0 */
/* Block lists of the shape that published ones have, and addresses inside and outside of them. */
#ifndef WEIR_BENCH_PREFIXES_H
#define WEIR_BENCH_PREFIXES_H

#include <linux/types.h>
#include <stddef.h>

struct ip4_prefix {
	__u32 address; /* host byte order, host part zero */
	__u32 bits;
};

struct prefix_list {
	struct ip4_prefix *prefix; /* ordered by address */
	size_t count;
};

/* `count` different prefixes: mostly hosts, a quarter /24, the rest of /12 to /31; with
 * `hosts_only` all are /32. The same seed gives the same list. NULL prefix: no memory. */
struct prefix_list prefixes_make(size_t count, int hosts_only, __u64 seed);
void prefixes_free(struct prefix_list *list);

/* Random addresses, host byte order: inside (any prefix alike); outside of all; or outside but
 * close to a listed host, where a search has to look at all bits. */
__u32 prefixes_inside(const struct prefix_list *list, __u64 *seed);
__u32 prefixes_outside(const struct prefix_list *list, __u64 *seed);
__u32 prefixes_close(const struct prefix_list *list, __u64 *seed);

#endif
