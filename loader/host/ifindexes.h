/* SPDX-License-Identifier: GPL-2.0 */
/* A few devices, each once. */
#ifndef WEIR_IFINDEXES_H
#define WEIR_IFINDEXES_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

struct ifindexes {
	__u32 *item;
	size_t count, room;
};

/* 1: it is new; 0: it was there, or is 0; -ENOMEM. */
int ifindexes_add(struct ifindexes *list, __u32 ifindex);
bool ifindexes_have(const struct ifindexes *list, __u32 ifindex);
void ifindexes_free(struct ifindexes *list);

#endif
