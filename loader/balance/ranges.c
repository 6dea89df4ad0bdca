// SPDX-License-Identifier: GPL-2.0
#include "ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"

#define FLOWS_TO_SLOT 2
#define NAT_FLOWS     65536u
#define BACKENDS_ROOM 64u /* the least that maps have room for */
#define SERVICES_ROOM 16u

/* Of an array in one map; the largest is some 8 GB of slots, or more of flows. */
#define MOST (1u << 30)

struct range {
	__u32 first, count;
};

/* The ranges of one map that are taken. */
struct taken {
	struct range *range;
	size_t count;
};

static bool is_nat(const struct service *s)
{
	return s->mode == WEIR_NAT;
}

__u32 ranges_buckets(const struct service *service, __u32 slots)
{
	__u32 ways = is_nat(service) ? WEIR_NAT_WAYS : WEIR_FLOW_WAYS, buckets = 1;
	__u32 wanted = service->flows_wanted;

	if (!wanted)
		wanted = is_nat(service) ? NAT_FLOWS : slots * FLOWS_TO_SLOT;
	while (buckets * ways < wanted)
		buckets *= 2;
	return buckets;
}

static int compare_range(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static void sort(struct taken *taken)
{
	qsort(taken->range, taken->count, sizeof(*taken->range), compare_range);
}

/* Takes the first place that is free, aligned to the count; all are powers of two. The ranges
 * are and stay sorted. */
static int take_room(struct taken *taken, __u32 count, __u32 *first)
{
	__u64 at = 0;
	size_t i;

	for (i = 0; i < taken->count; i++) {
		const struct range *r = &taken->range[i];

		if (r->first >= at + count)
			break;
		if (r->first + r->count > at)
			at = ((__u64)r->first + r->count + count - 1) & ~(count - 1ull);
	}
	if (at + count > MOST)
		return fail(-ENOSPC, "there is no room for so many slots or flows in all: fewer of "
				     "them for each service, or fewer services");
	*first = at;
	memmove(&taken->range[i + 1], &taken->range[i], (taken->count - i) * sizeof(*taken->range));
	taken->range[i] = (struct range){at, count};
	taken->count++;
	return 0;
}

static void take(struct taken *taken, __u32 first, __u32 count)
{
	if (count)
		taken->range[taken->count++] = (struct range){first, count};
}

static void take_slots(struct taken *taken, const struct balance *b)
{
	for (size_t i = 0; i < b->service_count; i++)
		take(taken, b->services[i].first_slot,
		     b->services[i].first_slot ? b->services[i].slots : 0);
}

static void take_buckets(struct taken *taken, const struct balance *b, bool nat)
{
	for (size_t i = 0; i < b->service_count; i++)
		if (is_nat(&b->services[i]) == nat)
			take(taken, b->services[i].first_bucket, b->services[i].buckets);
}

static int make_room(struct taken *taken, const struct balance *after, const struct balance *before)
{
	taken->count = 0;
	taken->range =
		calloc(2 * after->service_count + before->service_count + 1, sizeof(*taken->range));
	return taken->range ? 0 : fail(-ENOMEM, "out of memory");
}

/* A service whose first_slot is 0 wants `slots` of them. */
static int assign_slots(struct balance *after, const struct balance *before)
{
	struct taken taken;
	int err = make_room(&taken, after, before);

	if (err)
		return err;
	take(&taken, 0, WEIR_MIN_SLOTS);
	take_slots(&taken, before);
	take_slots(&taken, after);
	sort(&taken);
	for (size_t i = 0; i < after->service_count && !err; i++) {
		struct service *s = &after->services[i];

		if (!s->first_slot)
			err = take_room(&taken, s->slots, &s->first_slot);
	}
	free(taken.range);
	return err;
}

/* A service whose buckets are 0 wants as many as ranges_buckets() says. */
static int assign_buckets(struct balance *after, const struct balance *before, bool nat)
{
	struct taken taken;
	int err = make_room(&taken, after, before);

	if (err)
		return err;
	take_buckets(&taken, before, nat);
	take_buckets(&taken, after, nat);
	sort(&taken);
	for (size_t i = 0; i < after->service_count && !err; i++) {
		struct service *s = &after->services[i];

		if (is_nat(s) != nat || s->buckets)
			continue;
		s->buckets = ranges_buckets(s, s->slots);
		err = take_room(&taken, s->buckets, &s->first_bucket);
	}
	free(taken.range);
	return err;
}

static int assign_backends(struct balance *after, const struct balance *before)
{
	size_t most = after->backend_count + before->backend_count + 2;
	bool *used = calloc(most, sizeof(*used));
	__u32 next = 1;

	if (!used)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < before->backend_count; i++)
		if (before->backends[i].index < most)
			used[before->backends[i].index] = true;
	for (size_t i = 0; i < after->backend_count; i++)
		if (after->backends[i].index < most)
			used[after->backends[i].index] = true;
	for (size_t i = 0; i < after->backend_count; i++) {
		if (after->backends[i].index)
			continue;
		while (used[next])
			next++;
		used[next] = true;
		after->backends[i].index = next;
	}
	free(used);
	return 0;
}

int ranges_assign(struct balance *after, const struct balance *before)
{
	int err = assign_slots(after, before);

	if (!err)
		err = assign_buckets(after, before, false);
	if (!err)
		err = assign_buckets(after, before, true);
	return err ? err : assign_backends(after, before);
}

static __u32 power_above(__u64 needed, __u32 least)
{
	__u32 size = least;

	while (size < needed)
		size *= 2;
	return size;
}

void ranges_sizes(const struct balance *balance, struct balance_sizes *sizes)
{
	__u64 slots = WEIR_MIN_SLOTS, backends = 0, services = 0, flows = 0, nat = 0;

	for (size_t i = 0; i < balance->service_count; i++) {
		const struct service *s = &balance->services[i];
		__u64 buckets = (__u64)s->first_bucket + s->buckets;
		__u64 end = (__u64)s->first_slot + s->slots;
		__u64 *most = is_nat(s) ? &nat : &flows;

		slots = end > slots ? end : slots;
		*most = buckets > *most ? buckets : *most;
		services = s->index > services ? s->index : services;
	}
	for (size_t i = 0; i < balance->backend_count; i++)
		if (balance->backends[i].index > backends)
			backends = balance->backends[i].index;
	/* Powers of two: maps that have to grow do so seldom, as programs are loaded anew for
	 * it. */
	sizes->slots = power_above(slots, 2 * WEIR_MIN_SLOTS);
	sizes->backends = power_above(backends + 1, BACKENDS_ROOM);
	sizes->services = power_above(services + 1, SERVICES_ROOM);
	sizes->flows = flows ? power_above(flows, 1) : 0;
	sizes->nat_flows = nat ? power_above(nat, 1) : 0;
	/* Twice as many places as flows, so that few ports are refused for want of a place. */
	sizes->nat_ports =
		nat ? power_above(sizes->nat_flows * WEIR_NAT_WAYS * 2ull / WEIR_NAT_PORT_WAYS, 1)
		    : 0;
}
