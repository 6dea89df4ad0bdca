/* SPDX-License-Identifier: GPL-2.0 */
/* The services of an instance: what `weir service` and `weir backend` do. All or nothing. */
#ifndef WEIR_SERVICES_H
#define WEIR_SERVICES_H

#include "loader/balance/flows.h"
#include "loader/host/instance.h"
#include "loader/balance/publish.h"
#include "service.h"

/* The configuration; free with balance_free(). */
int services_get(const struct instance *in, struct balance *balance);

/* Changes to a configuration in memory: what the commands below do, and `service plan` only
 * shows. -EEXIST, -ENOENT and such with a fail() line; `b` is then as it was or to be thrown
 * away. */
int balance_add_service(struct balance *b, const struct service *service);
int balance_change_service(struct balance *b, const struct service *changed);
int balance_delete_service(struct balance *b, const struct service *name);
int balance_add_backends(struct balance *b, const struct service *name, const struct backend *list,
			 size_t count);
/* The backend of this address and port: `weight` 0 and `state` BACKEND_STATES leave it as it is. */
int balance_change_backend(struct balance *b, const struct service *name,
			   const struct backend *backend, __u16 weight, enum backend_state state);
/* It leaves: forgotten when nothing needs it any more; with `now` at once. */
int balance_delete_backend(struct balance *b, const struct service *name,
			   const struct backend *backend, bool now);

/* Makes the changed configuration current; the caller holds the instance for a change. */
int services_publish(struct instance *in, struct balance *after);

/* Every changing command first settles what others left. */
int services_settle(struct instance *in);
/* What the agent does every second. */
int services_tend(struct instance *in, struct tended *what);

/* What a service or backend has done and is doing. */
struct backend_stats {
	struct weir_backend_counters counters;
	__u32 slots;		 /* of the plan that it owns */
	__u32 previous;		 /* slots that move away from it */
	struct live_flows flows; /* tracked (DSR) or translated (NAT) ones */
	struct weir_backend record;
	char device[16]; /* egress, by name; "" when there is none */
};

struct service_stats {
	struct weir_backend_counters counters; /* sum of the backends', those gone included */
	struct weir_service_counters events;
	__u32 moving;		 /* slots */
	struct live_flows flows; /* in its table */
	__u32 flows_room;	 /* of the table */
};

/* In order of the balance's services and backends; arrays are the caller's. */
int services_stats(const struct instance *in, const struct balance *b,
		   struct service_stats *services, struct backend_stats *backends);

#endif
