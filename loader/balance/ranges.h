/* SPDX-License-Identifier: GPL-2.0 */
/* Where services and backends are in the maps: indexes and ranges, none of which is used twice. */
#ifndef WEIR_RANGES_H
#define WEIR_RANGES_H

#include "maps.h"
#include "loader/service/service.h"

/* Gives places to what has none in `after` yet: index 0 of new backends and services is none,
 * and `slots` or `buckets` 0 of a service asks for a range of `*slots_of` words. What `before`
 * uses stays untouched, as packets may still be looked up in it. -ENOSPC, -ENOMEM with a fail()
 * line. */
int ranges_assign(struct balance *after, const struct balance *before);

/* The room that the maps need for this configuration. service_bytes stays as it is. */
void ranges_sizes(const struct balance *balance, struct balance_sizes *sizes);

/* Buckets for the flows of a service with so many slots. */
__u32 ranges_buckets(const struct service *service, __u32 slots);

#endif
