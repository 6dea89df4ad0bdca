/* SPDX-License-Identifier: GPL-2.0 */
/* The network namespaces that somebody is in or that have a name: where sockets can be reached. */
#ifndef WEIR_NAMESPACES_H
#define WEIR_NAMESPACES_H

#include <linux/types.h>
#include <stddef.h>

struct netns_list {
	struct {
		__u64 inode;
		int fd;
	} *item;
	size_t count;
};

/* Of all processes, and what `ip netns` and Docker have named. Own first. 0 or < 0 with fail(). */
int netns_list_read(struct netns_list *list);
void netns_list_free(struct netns_list *list);

/* Calls `act` in each namespace whose inode is in `wanted` (sorted; NULL: in all), then returns to
 * the own one. Stops at the first < 0 and returns it. `missing`, if not NULL, receives how many of
 * `wanted` nobody is in. */
int netns_for_each(const struct netns_list *list, const __u64 *wanted, size_t count,
		   int (*act)(void *data), void *data, size_t *missing);

#endif
