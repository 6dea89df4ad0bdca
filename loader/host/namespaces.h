/* SPDX-License-Identifier: GPL-2.0 */
/* The network namespaces that somebody is in or that have a name: where sockets can be reached. */
#ifndef WEIR_NAMESPACES_H
#define WEIR_NAMESPACES_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

struct netns {
	__u64 inode;
	int fd;
};

struct netns_list {
	struct netns *item; /* the caller's own first, the others by inode */
	size_t count;
	size_t room;
};

/* Of all processes, and what is mounted anywhere, as `ip netns`, Docker and others do. One that
 * only a thread, a file descriptor or a socket keeps is not found. 0 or < 0 with a fail() line;
 * to be freed either way. */
int netns_list_read(struct netns_list *list);
void netns_list_free(struct netns_list *list);

/* Calls `act` in each namespace whose inode is in `wanted` (sorted; NULL: in all), in a thread of its
 * own, whose place is /proc/thread-self. Stops at the first < 0 of `act` and returns it. `missing`,
 * if not NULL, receives how many of `wanted` are not in the list. */
int netns_for_each(const struct netns_list *list, const __u64 *wanted, size_t count,
		   int (*act)(void *data), void *data, size_t *missing);

/* The same in the one of this inode, or in all for 0, without a list. */
int netns_visit(__u64 inode, int (*act)(void *data), void *data);

/* Of the namespace that the calling thread is in, which no other has after it. 0 or < 0 with a fail() line. */
int netns_cookie(__u64 *cookie);

/* Whether somebody is in it, or it is mounted. Its inode may be another's by now, its cookie not. */
bool netns_is_alive(__u64 inode, __u64 cookie);

#endif
