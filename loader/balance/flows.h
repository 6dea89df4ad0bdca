/* SPDX-License-Identifier: GPL-2.0 */
/* The flows of services, as the program keeps them: tracked ones of DSR services, all of NAT
 * ones. */
#ifndef WEIR_FLOWS_H
#define WEIR_FLOWS_H

#include "maps.h"
#include "loader/service/service.h"

struct flow_tables {
	int dsr, nat; /* fds */
	__u32 tick;   /* now */
};

int flows_open(const struct balance_maps *maps, struct flow_tables *tables);

/* Those that are kept, and those of them that have not ended. */
struct live_flows {
	__u32 kept, open;
};

/* Live flows of a service: their numbers, and added to by_backend[index], of which there are
 * `count`. This and the next ones: 0 or < 0 with a fail() line. */
int flows_count(const struct flow_tables *tables, const struct service *service,
		struct live_flows *live, struct live_flows *by_backend, size_t count);

/* DSR: marks the slots in which a live flow belongs to another backend than the slot's owner. */
int flows_mark(const struct flow_tables *tables, const struct service *service, const __u64 *slots,
	       bool *needed);

/* Forgets the flows of backends that are not known[index]. */
int flows_purge(const struct flow_tables *tables, const struct service *service, const bool *known,
		size_t count);

/* Forgets NAT flows in buckets that are no service's any more: replies would still find them. */
int flows_clear_nat(const struct flow_tables *tables, __u32 first_bucket, __u32 buckets);

#endif
