/* SPDX-License-Identifier: GPL-2.0 */
/* The backends' records: how the program gets to each. */
#ifndef WEIR_RECORDS_H
#define WEIR_RECORDS_H

#include "maps.h"
#include "nexthop.h"
#include "service.h"

/* Records in memory, and what is needed to fill them. */
struct records {
	struct weir_backend *record;
	size_t bytes;
	__u64 jiffies;
	int egress_devs;
};

int records_open(const struct balance_maps *maps, struct records *records);
void records_close(struct records *records);

/* Finds the way to a backend that no slot refers to yet and writes its record. Says what the user should know by
 * notice(). < 0 with a fail() line for a backend that this mode cannot serve. */
int records_fill(struct records *records, const struct service *service,
		 const struct backend *backend, unsigned int wait_ms);

/* Looks at the way again and brings a record in use up to date. Whether it changed. */
bool records_refresh(struct records *records, const struct backend *backend);

/* The state's part: whether anything may go there. */
void records_set_alive(struct records *records, const struct backend *backend);

/* The neighbour is not needed any more. */
void records_release(const struct backend *backend);

#endif
