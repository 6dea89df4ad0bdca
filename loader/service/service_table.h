/* SPDX-License-Identifier: GPL-2.0 */
/* Compiles services into the table that the XDP program reads, and reads them back. */
#ifndef WEIR_SERVICE_TABLE_H
#define WEIR_SERVICE_TABLE_H

#include "service.h"

struct service_table {
	void *bytes; /* starts with struct weir_service_head */
	size_t size; /* a power of two */
};

/* Addresses that replies to NAT flows come to, besides those that services name as their source. */
struct nat_sources {
	const struct address *address;
	size_t count;
};

/* `tick_ns`: length of a tick. 0, or < 0 with a fail() line. The caller frees bytes. */
int service_table_compile(const struct balance *balance, const struct nat_sources *sources,
			  __u64 tick_ns, struct service_table *table);

/* What the places of flows depend on: as long as flows shall be found, the same in each table. */
void service_table_seed(struct service_table *table, __u64 seed);

/* What a table was made of. `size` is that of the map's value. 0 or < 0 with a line. */
int service_table_source(const void *bytes, size_t size, struct balance *balance);

/* After how many ticks, rounded up, the program may forget a flow that is idle or has ended. */
struct idle_ticks {
	__u32 idle, closing;
};

struct idle_ticks service_idle_ticks(const struct service *service, __u64 tick_ns);

#endif
