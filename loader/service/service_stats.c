// SPDX-License-Identifier: GPL-2.0
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "loader/balance/bring.h"
#include "loader/balance/flows.h"
#include "loader/base/error.h"
#include "loader/nexthop/records.h"
#include "services.h"

/* What all of one reading share. */
struct reading {
	struct balance_maps maps;
	struct records records;
	struct flow_tables flows;
	__u32 *owned, *left;	 /* by index of the backend */
	struct live_flows *live; /* the same */
	__u32 count;
	/* The device that was asked for last. */
	__u32 ifindex;
	char device[16];
};

static void count_slots(const struct reading *r, const struct slot_range *range)
{
	for (__u32 i = 0; i < range->count; i++) {
		__u64 slot = range->slot[i];

		if (WEIR_SLOT_OWNER(slot) < r->count)
			r->owned[WEIR_SLOT_OWNER(slot)]++;
		if (WEIR_SLOT_PREVIOUS(slot) < r->count &&
		    WEIR_SLOT_PREVIOUS(slot) != WEIR_SLOT_OWNER(slot))
			r->left[WEIR_SLOT_PREVIOUS(slot)]++;
	}
}

static const char *device_name(struct reading *r, __u32 ifindex)
{
	if (ifindex != r->ifindex && !if_indextoname(ifindex, r->device))
		r->device[0] = 0;
	r->ifindex = ifindex;
	return r->device;
}

static int read_backend(struct reading *r, const struct backend *b, struct backend_stats *to)
{
	*to = (struct backend_stats){
		.slots = r->owned[b->index],
		.previous = r->left[b->index],
		.flows = r->live[b->index],
		.record = r->records.record[b->index],
	};
	if (to->record.ifindex)
		strcpy(to->device, device_name(r, to->record.ifindex));
	return percpu_read(r->maps.backend_counters, b->index, &to->counters, sizeof(to->counters));
}

static void add_counters(struct weir_backend_counters *sum,
			 const struct weir_backend_counters *more)
{
	sum->packets += more->packets;
	sum->bytes += more->bytes;
	sum->reply_packets += more->reply_packets;
	sum->reply_bytes += more->reply_bytes;
	sum->connections += more->connections;
	sum->ended += more->ended;
}

static int read_service(struct reading *r, const struct balance *b, const struct service *s,
			struct service_stats *to, struct backend_stats *backends)
{
	__u32 ways = s->mode == WEIR_NAT ? WEIR_NAT_WAYS : WEIR_FLOW_WAYS;
	struct slot_memory memory;
	struct backend *first;
	size_t n = balance_backends(b, s->index, &first);
	int err = slot_range_open(&r->maps, s, r->flows.tick, &memory);

	if (err)
		return err;
	*to = (struct service_stats){
		.counters = s->retired,
		.moving = slots_moving(&memory.range),
		.flows_room = s->buckets * ways,
	};
	count_slots(r, &memory.range);
	slot_range_close(&memory);
	err = flows_count(&r->flows, s, &to->flows, r->live, r->count);
	if (!err)
		err = percpu_read(r->maps.service_counters, s->index, &to->events,
				  sizeof(to->events));
	for (size_t i = 0; i < n && !err; i++) {
		struct backend_stats *of = &backends[first - b->backends + i];

		err = read_backend(r, &first[i], of);
		add_counters(&to->counters, &of->counters);
	}
	return err;
}

static int open_reading(const struct instance *in, struct reading *r)
{
	int err = balance_maps_open(in, &r->maps);

	if (err)
		return err;
	err = records_open(&r->maps, &r->records);
	if (err)
		return err;
	r->count = r->records.bytes / sizeof(*r->records.record);
	r->owned = calloc(2 * (size_t)r->count, sizeof(*r->owned));
	r->live = calloc(r->count, sizeof(*r->live));
	if (!r->owned || !r->live)
		return fail(-ENOMEM, "out of memory");
	r->left = r->owned + r->count;
	return flows_open(&r->maps, &r->flows);
}

static void close_reading(struct reading *r)
{
	free(r->owned);
	free(r->live);
	records_close(&r->records);
	balance_maps_close(&r->maps);
}

int services_stats(const struct instance *in, const struct balance *b,
		   struct service_stats *services, struct backend_stats *backends)
{
	struct reading r = {.maps = NO_BALANCE_MAPS_INIT};
	int err = open_reading(in, &r);

	if (err == -ENOENT && !b->service_count)
		err = 0;
	for (size_t i = 0; i < b->service_count && !err; i++)
		err = read_service(&r, b, &b->services[i], &services[i], backends);
	close_reading(&r);
	return err;
}
