// SPDX-License-Identifier: GPL-2.0
#include "bring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "carry.h"
#include "flows.h"
#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "records.h"
#include "slots.h"

int percpu_clear(int map, __u32 index, size_t size)
{
	void *zero = calloc(libbpf_num_possible_cpus(), size);
	int err = !zero ? -ENOMEM : bpf_map_update_elem(map, &index, zero, BPF_ANY) ? -errno : 0;

	free(zero);
	return err ? fail(err, "cannot clear a counter: %s", strerror(-err)) : 0;
}

int percpu_read(int map, __u32 index, void *sum, size_t size)
{
	int cpus = libbpf_num_possible_cpus(), err = 0;
	__u64 *each = calloc(cpus, size), *total = sum;
	size_t numbers = size / sizeof(*each);

	memset(sum, 0, size);
	if (!each)
		err = -ENOMEM;
	else if (bpf_map_lookup_elem(map, &index, each))
		err = -errno;
	for (int cpu = 0; cpu < cpus && !err; cpu++)
		for (size_t i = 0; i < numbers; i++)
			total[i] += each[cpu * numbers + i];
	free(each);
	return err ? fail(err, "cannot read a counter: %s", strerror(-err)) : 0;
}

/* ---- ranges of new services, and larger ones of services that were there ---- */

static void repeat_slots(__u64 *to, __u32 count, const __u64 *from, __u32 was)
{
	for (__u32 i = 0; i < count; i++)
		to[i] = __atomic_load_n(&from[i & (was - 1)], __ATOMIC_RELAXED);
}

static int prepare_slots(const struct balance_maps *maps, const struct service *s,
			 const struct service *was)
{
	size_t bytes;
	__u64 *slots;

	if (was && was->first_slot == s->first_slot)
		return 0;
	slots = balance_map_memory(maps->slots, &bytes);
	if (!slots)
		return -ENOMEM;
	if (was)
		repeat_slots(slots + s->first_slot, s->slots, slots + was->first_slot, was->slots);
	else
		memset(slots + s->first_slot, 0, s->slots * sizeof(*slots));
	balance_unmap(slots, bytes);
	return 0;
}

/* What a flow's tag keeps of its hash says its bucket in a range of any size. */
static void put_flow(struct weir_flow_bucket *to, __u32 buckets, const struct weir_flow *flow)
{
	struct weir_flow_bucket *bucket = &to[flow->tag >> 2 & (buckets - 1)];

	for (int i = WEIR_FLOW_WAYS - 1; i >= 0; i--) {
		if (bucket->way[i].tag)
			continue;
		bucket->way[i] = *flow;
		return;
	}
}

static int prepare_flows(const struct balance_maps *maps, const struct service *s,
			 const struct service *was)
{
	struct weir_flow_bucket *flows, *to;
	size_t bytes;

	if (was && was->first_bucket == s->first_bucket && was->buckets == s->buckets)
		return 0;
	flows = balance_map_memory(maps->flows, &bytes);
	if (!flows)
		return -ENOMEM;
	to = flows + s->first_bucket;
	memset(to, 0, s->buckets * sizeof(*to));
	for (__u32 i = 0; was && i < was->buckets; i++)
		for (int way = 0; way < WEIR_FLOW_WAYS; way++)
			if (flows[was->first_bucket + i].way[way].tag > WEIR_FLOW_CLAIMED)
				put_flow(to, s->buckets, &flows[was->first_bucket + i].way[way]);
	balance_unmap(flows, bytes);
	return 0;
}

static int prepare_nat_flows(const struct balance_maps *maps, const struct service *s,
			     const struct service *was)
{
	struct weir_nat_bucket *flows;
	size_t bytes;

	if (was && was->first_bucket == s->first_bucket && was->buckets == s->buckets)
		return 0;
	flows = balance_map_memory(maps->nat_flows, &bytes);
	if (!flows)
		return -ENOMEM;
	memset(flows + s->first_bucket, 0, s->buckets * sizeof(*flows));
	balance_unmap(flows, bytes);
	return 0;
}

static int late_flows(const struct balance_maps *maps, const struct service *s,
		      const struct service *was)
{
	size_t bytes;
	struct weir_flow_bucket *flows = balance_map_memory(maps->flows, &bytes);

	if (!flows)
		return -ENOMEM;
	for (__u32 i = 0; i < was->buckets; i++) {
		const struct weir_flow_bucket *from = &flows[was->first_bucket + i];

		for (int way = 0; way < WEIR_FLOW_WAYS; way++)
			if (from->way[way].tag > WEIR_FLOW_CLAIMED)
				carry_flow(&from->way[way],
					   &flows[s->first_bucket +
						  (from->way[way].tag >> 2 & (s->buckets - 1))]);
	}
	balance_unmap(flows, bytes);
	return 0;
}

int slot_range_open(const struct balance_maps *maps, const struct service *s, __u32 tick,
		    struct slot_memory *memory)
{
	*memory = (struct slot_memory){
		.range = {.count = s->slots, .tracked = s->mode != WEIR_NAT && !s->free, .tick = tick},
	};
	memory->map = balance_map_memory(maps->slots, &memory->bytes);
	if (!memory->map)
		return -ENOMEM;
	memory->range.slot = memory->map + s->first_slot;
	return 0;
}

void slot_range_close(struct slot_memory *memory)
{
	balance_unmap(memory->map, memory->bytes);
}

/* Slots that were copied on the way here may have been needed since. */
static int renew_slots(const struct balance_maps *maps, const struct service *s, __u32 tick)
{
	struct slot_memory memory;
	int err = slot_range_open(maps, s, tick, &memory);

	if (err)
		return err;
	if (memory.range.tracked)
		slots_renew(&memory.range);
	slot_range_close(&memory);
	return 0;
}

int bring_late(const struct balance_maps *maps, const struct balance *after,
	       const struct balance *before, bool copied)
{
	__u64 jiffies;
	int err = clock_jiffies(&jiffies);

	for (size_t i = 0; i < after->service_count && !err; i++) {
		const struct service *s = &after->services[i];
		const struct service *was = balance_service(before, s->index);

		if (!was || s->mode == WEIR_NAT)
			continue;
		if (was->first_bucket != s->first_bucket || was->buckets != s->buckets)
			err = late_flows(maps, s, was);
		if (!err && (copied || was->first_slot != s->first_slot))
			err = renew_slots(maps, s, jiffies >> clock_tick_shift());
	}
	return err;
}

static int move_slots(const struct balance_maps *maps, const struct balance *b,
		      const struct service *s, bool used, __u32 tick)
{
	struct slot_memory memory;
	__u32 *owner, count;
	int err = slots_plan(b, s, &owner, &count);

	if (err)
		return err;
	err = slot_range_open(maps, s, tick, &memory);
	if (!err) {
		memory.range.used = used;
		slots_move(&memory.range, owner, count);
		slot_range_close(&memory);
	}
	free(owner);
	return err;
}

/* Backends that were deleted at once leave slots and flows that name them, which must be gone before
 * another backend gets their index. */
static int purge(const struct balance_maps *maps, const struct balance *b, const struct service *s,
		 const struct flow_tables *flows, struct records *records)
{
	__u32 count = records->bytes / sizeof(*records->record);
	bool *known = calloc(count, sizeof(*known));
	struct slot_memory memory;
	struct backend *first;
	size_t n = balance_backends(b, s->index, &first);
	int err = known ? 0 : fail(-ENOMEM, "out of memory");

	if (!err)
		err = slot_range_open(maps, s, flows->tick, &memory);
	if (!err) {
		known[0] = true;
		for (size_t i = 0; i < n; i++)
			known[first[i].index] = true;
		slots_purge(&memory.range, known, count);
		flows_purge(flows, s, known, count);
		slot_range_close(&memory);
	}
	free(known);
	return err;
}

int service_prepare(const struct balance_maps *maps, const struct balance *after,
		    const struct service *service, const struct service *was)
{
	int err = prepare_slots(maps, service, was);

	if (!err)
		err = service->mode == WEIR_NAT ? prepare_nat_flows(maps, service, was)
						: prepare_flows(maps, service, was);
	return err || was ? err : move_slots(maps, after, service, false, 0);
}

/* ---- once the table is current ---- */

static bool same_members(const struct balance *a, const struct balance *b, __u32 service)
{
	struct backend *x, *y;
	size_t n = balance_backends(a, service, &x), m = balance_backends(b, service, &y);

	if (n != m)
		return false;
	for (size_t i = 0; i < n; i++)
		if (x[i].index != y[i].index || x[i].weight != y[i].weight ||
		    x[i].state != y[i].state)
			return false;
	return true;
}

static bool is_moved(const struct balance *after, const struct balance *before,
		     const struct service *s)
{
	const struct service *was = before ? balance_service(before, s->index) : NULL;

	return !before || !was || was->slots_wanted != s->slots_wanted ||
	       !same_members(before, after, s->index);
}

/* A service that has never carried a packet has no flows that could be broken. */
static int is_used(const struct balance_maps *maps, const struct balance *b,
		   const struct service *s, bool *used)
{
	struct weir_backend_counters counted;
	struct backend *first;
	size_t n = balance_backends(b, s->index, &first);
	int err = 0;

	*used = s->retired.packets;
	for (size_t i = 0; i < n && !err && !*used; i++) {
		err = percpu_read(maps->backend_counters, first[i].index, &counted,
				    sizeof(counted));
		*used = counted.packets;
	}
	return err;
}

static int bring_slots(const struct balance_maps *maps, const struct balance *after,
		       const struct balance *before, const struct flow_tables *flows,
		       struct records *records)
{
	int err = 0;

	for (size_t i = 0; i < after->service_count && !err; i++) {
		const struct service *s = &after->services[i];
		bool used = false;

		if (!before)
			err = renew_slots(maps, s, flows->tick);
		if (err || !is_moved(after, before, s))
			continue;
		err = is_used(maps, after, s, &used);
		if (!err)
			err = move_slots(maps, after, s, used, flows->tick);
		if (!err)
			err = purge(maps, after, s, flows, records);
	}
	return err;
}

static int set_generation(const struct balance_maps *maps, __u64 generation)
{
	size_t bytes;
	__u64 *slots = balance_map_memory(maps->slots, &bytes);

	if (!slots)
		return -ENOMEM;
	__atomic_store_n(&slots[0], generation, __ATOMIC_RELEASE);
	balance_unmap(slots, bytes);
	return 0;
}

int brought_to(const struct balance_maps *maps, __u64 *generation)
{
	size_t bytes;
	__u64 *slots = balance_map_memory(maps->slots, &bytes);

	if (!slots)
		return -ENOMEM;
	*generation = __atomic_load_n(&slots[0], __ATOMIC_ACQUIRE);
	balance_unmap(slots, bytes);
	return 0;
}

int bring_all(const struct balance_maps *maps, const struct balance *after,
	      const struct balance *before, __u64 generation)
{
	struct flow_tables flows;
	struct records records;
	int err = records_open(maps, &records);

	if (err)
		return err;
	err = flows_open(maps, &flows);
	if (!err) {
		err = bring_slots(maps, after, before, &flows, &records);
		flows_close(&flows);
	}
	/* Slots first: so no packet finds a dead owner in between. */
	for (size_t i = 0; i < after->backend_count && !err; i++)
		records_set_alive(&records, &after->backends[i]);
	records_close(&records);
	return err ? err : set_generation(maps, generation);
}
