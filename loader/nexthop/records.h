/* SPDX-License-Identifier: GPL-2.0 */
/* The backends' records: how the program gets to each. */
#ifndef WEIR_RECORDS_H
#define WEIR_RECORDS_H

#include "loader/balance/maps.h"
#include "nexthop.h"
#include "loader/service/service.h"

/* Records in memory, and what is needed to fill them. */
struct records {
	struct weir_backend *record;
	size_t bytes;
	__u64 jiffies;
	int egress_devs;
};

int records_open(const struct balance_maps *maps, struct records *records);
void records_close(struct records *records);

/* Writes the record of a backend that no slot refers to yet. Says what the user should know by
 * notice(). < 0 with a fail() line for a backend that this mode cannot serve. */
int records_fill(struct records *records, const struct service *service,
		 const struct backend *backend, const struct next_hop *hop);

/* Brings a record in use up to date. Whether the way changed. */
bool records_refresh(struct records *records, const struct backend *backend,
		     const struct next_hop *hop);

/* What this host is to be towards the backend, where its service says so or else the route.
 * Whether it changed. */
bool records_set_source(struct records *records, const struct service *service,
			const struct backend *backend, const struct next_hop *hop);

/* Whether the record knows what this host is towards the backend. */
bool records_has_source(const struct records *records, const struct backend *backend);

/* The state's part: whether anything may go there. */
void records_set_alive(struct records *records, const struct backend *backend);

/* The neighbour is not needed any more. */
void records_release(const struct backend *backend);

#endif
