/* SPDX-License-Identifier: GPL-2.0 */
/* The local ports that connect() may choose from, which each network namespace sets for itself. */
#ifndef WEIR_TCP_PORT_RANGE_H
#define WEIR_TCP_PORT_RANGE_H

#include <linux/types.h>
#include <stddef.h>

struct port_range {
	__u64 netns; /* inode */
	__u32 ports; /* without those that are reserved; 0: not known, nobody can go there */
};

/* Fills in `ports` of each, sorted by netns. 0 or < 0 with a fail() line. */
int port_ranges_read(struct port_range *range, size_t count);
/* 0: not known. */
__u32 port_range_find(const struct port_range *range, size_t count, __u64 netns);

/* Of the namespace that the thread is in, with those that are reserved; 0 and 0: not known. */
void port_range_here(__u16 *least, __u16 *most);

/* From the texts of ip_local_port_range and ip_local_reserved_ports. */
__u32 port_range_count(const char *range, const char *reserved);

#endif
