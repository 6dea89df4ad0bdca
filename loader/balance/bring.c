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
#include "loader/nexthop/records.h"
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

static __u64 *map_slots(const struct balance_maps *maps, const struct service *s)
{
	return balance_map_part(maps->slots, s->first_slot * sizeof(__u64),
				s->slots * sizeof(__u64));
}

static void unmap_slots(__u64 *slots, const struct service *s)
{
	balance_unmap_part(slots, s->slots * sizeof(*slots));
}

static int prepare_slots(const struct balance_maps *maps, const struct service *s,
			 const struct service *was)
{
	__u64 *to, *from = NULL;

	if (was && was->first_slot == s->first_slot)
		return 0;
	to = map_slots(maps, s);
	if (to && was)
		from = map_slots(maps, was);
	if (from)
		repeat_slots(to, s->slots, from, was->slots);
	else if (to && !was)
		memset(to, 0, s->slots * sizeof(*to));
	if (from)
		unmap_slots(from, was);
	unmap_slots(to, s);
	return to && (from || !was) ? 0 : -ENOMEM;
}

static struct weir_flow_bucket *map_flows(const struct balance_maps *maps, const struct service *s)
{
	return balance_map_part(maps->flows, s->first_bucket * sizeof(struct weir_flow_bucket),
				s->buckets * sizeof(struct weir_flow_bucket));
}

static void unmap_flows(struct weir_flow_bucket *flows, const struct service *s)
{
	balance_unmap_part(flows, s->buckets * sizeof(*flows));
}

/* What a flow's tag keeps of its hash says its bucket in a range of any size. */
static bool put_flow(struct weir_flow_bucket *to, __u32 buckets, const struct weir_flow *flow)
{
	struct weir_flow_bucket *bucket = &to[flow->tag >> 2 & (buckets - 1)];

	for (int i = WEIR_FLOW_WAYS - 1; i >= 0; i--) {
		if (bucket->way[i].tag)
			continue;
		bucket->way[i] = *flow;
		return true;
	}
	return false;
}

/* Returns how many found no room. */
static __u32 put_flows(struct weir_flow_bucket *to, __u32 buckets,
		       const struct weir_flow_bucket *from, __u32 count)
{
	__u32 left = 0;

	for (__u32 i = 0; i < count; i++)
		for (int way = 0; way < WEIR_FLOW_WAYS; way++)
			if (from[i].way[way].tag > WEIR_FLOW_CLAIMED)
				left += !put_flow(to, buckets, &from[i].way[way]);
	return left;
}

static int no_room_for(const struct service *s, __u32 flows)
{
	char name[SERVICE_NAME];

	service_format_name(s, name);
	return fail(-ENOSPC,
		    "service %s: %u of the flows that it remembers find no room among so few; try "
		    "again when no slots are moving, or give it room for more",
		    name, flows);
}

static int prepare_flows(const struct balance_maps *maps, const struct service *s,
			 const struct service *was)
{
	struct weir_flow_bucket *to, *from = NULL;
	__u32 left = 0;

	if (was && was->first_bucket == s->first_bucket && was->buckets == s->buckets)
		return 0;
	to = map_flows(maps, s);
	if (!to)
		return -ENOMEM;
	memset(to, 0, s->buckets * sizeof(*to));
	if (was)
		from = map_flows(maps, was);
	if (from)
		left = put_flows(to, s->buckets, from, was->buckets);
	if (from)
		unmap_flows(from, was);
	unmap_flows(to, s);
	if (was && !from)
		return -ENOMEM;
	return left ? no_room_for(s, left) : 0;
}

static int prepare_nat_flows(const struct balance_maps *maps, const struct service *s,
			     const struct service *was)
{
	size_t bytes = s->buckets * sizeof(struct weir_nat_bucket);
	void *flows;

	if (was && was->first_bucket == s->first_bucket && was->buckets == s->buckets)
		return 0;
	flows = balance_map_part(maps->nat_flows, s->first_bucket * sizeof(struct weir_nat_bucket),
				 bytes);
	if (!flows)
		return -ENOMEM;
	memset(flows, 0, bytes);
	balance_unmap_part(flows, bytes);
	return 0;
}

static int late_flows(const struct balance_maps *maps, const struct service *s,
		      const struct service *was)
{
	struct weir_flow_bucket *from = map_flows(maps, was),
				*to = from ? map_flows(maps, s) : NULL;

	for (__u32 i = 0; to && i < was->buckets; i++)
		for (int way = 0; way < WEIR_FLOW_WAYS; way++) {
			const struct weir_flow *flow = &from[i].way[way];

			if (flow->tag > WEIR_FLOW_CLAIMED)
				carry_flow(flow, &to[flow->tag >> 2 & (s->buckets - 1)]);
		}
	if (from)
		unmap_flows(from, was);
	unmap_flows(to, s);
	return to ? 0 : -ENOMEM;
}

int slot_range_open(const struct balance_maps *maps, const struct service *s, __u32 tick,
		    struct slot_memory *memory)
{
	*memory = (struct slot_memory){
		.range = {.count = s->slots,
			  .tracked = s->mode != WEIR_NAT && !s->free,
			  .tick = tick},
	};
	memory->range.slot = map_slots(maps, s);
	return memory->range.slot ? 0 : -ENOMEM;
}

void slot_range_close(struct slot_memory *memory)
{
	balance_unmap_part(memory->range.slot, memory->range.count * sizeof(*memory->range.slot));
}

const struct service *service_before(const struct balance *before, const struct service *s)
{
	const struct service *was = before ? balance_service(before, s->index) : NULL;

	return was && was->since_ns == s->since_ns ? was : NULL;
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
		const struct service *was = service_before(before, s);

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

/* Where a change is brought to. */
struct bringing {
	const struct balance_maps *maps;
	const struct balance *after, *before; /* before NULL: what was is not known */
	struct flow_tables flows;
	struct records records;
	__u64 *words;
	bool *known;  /* by index of the backend: it is there */
	bool *unused; /* by number of the service: it moves, and seems to have carried nothing */
	__u32 count;  /* of backends' indexes */
	bool gone;    /* backends or services are */
	bool some_unused;
};

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

/* Slots that were made for a new service are right. */
static bool is_moved(const struct bringing *b, const struct service *s)
{
	const struct service *was = service_before(b->before, s);

	if (!b->before)
		return true;
	return was && (was->slots_wanted != s->slots_wanted ||
		       !same_members(b->before, b->after, s->index));
}

/* A service that has never carried a packet has no flows that could be broken. */
static int is_used(const struct bringing *b, const struct service *s, bool *used)
{
	struct weir_backend_counters counted;
	struct backend *first;
	size_t n = balance_backends(b->after, s->index, &first);
	int err = 0;

	*used = s->retired.packets;
	for (size_t i = 0; i < n && !err && !*used; i++) {
		err = percpu_read(b->maps->backend_counters, first[i].index, &counted,
				  sizeof(counted));
		*used = counted.packets;
	}
	return err;
}

static int bring_slots(struct bringing *b, size_t number)
{
	const struct service *s = &b->after->services[number];
	struct slot_memory memory;
	bool used = true;
	int err;

	slots_say_moving(b->words, s->index, true);
	err = move_slots(b->maps, b->after, s, true, b->flows.tick);
	if (!err)
		err = slot_range_open(b->maps, s, b->flows.tick, &memory);
	if (err)
		return err;
	slots_purge(&memory.range, b->known, b->count);
	slot_range_close(&memory);
	err = is_used(b, s, &used);
	b->unused[number] = !used;
	b->some_unused |= !used;
	return err;
}

/* Packets that found the slots as they were are through by now, and counted. */
static int rest_unused(const struct bringing *b, size_t number)
{
	const struct service *s = &b->after->services[number];
	bool used, *needed = calloc(s->slots, sizeof(*needed));
	struct slot_memory memory;
	int err = needed ? is_used(b, s, &used) : fail(-ENOMEM, "out of memory");

	if (!err && !used) {
		err = slot_range_open(b->maps, s, b->flows.tick, &memory);
		if (!err) {
			memory.range.tracked = false;
			slots_settle(&memory.range, needed, 0);
			slot_range_close(&memory);
			slots_say_moving(b->words, s->index, false);
		}
	}
	free(needed);
	return err;
}

static bool is_gone(const struct bringing *b, const struct backend *was)
{
	return was->index >= b->count || !b->known[was->index];
}

/* Notes who is there, and whether somebody is not any more. */
static void note_known(struct bringing *b)
{
	b->known[0] = true;
	for (size_t i = 0; i < b->after->backend_count; i++)
		if (b->after->backends[i].index < b->count)
			b->known[b->after->backends[i].index] = true;
	b->gone = !b->before;
	for (size_t i = 0; b->before && i < b->before->backend_count && !b->gone; i++)
		b->gone = is_gone(b, &b->before->backends[i]);
	for (size_t i = 0; b->before && i < b->before->service_count && !b->gone; i++)
		b->gone = !service_before(b->after, &b->before->services[i]);
}

/* ---- what refers to those that are gone ---- */

static bool lost_backends(const struct bringing *b, const struct service *s)
{
	struct backend *first;
	size_t n;

	if (!b->before)
		return true;
	n = balance_backends(b->before, s->index, &first);
	for (size_t i = 0; i < n; i++)
		if (is_gone(b, &first[i]))
			return true;
	return false;
}

static int compare_buckets(const void *a, const void *b)
{
	const struct service *const *x = a, *const *y = b;

	return (*x)->first_bucket < (*y)->first_bucket ? -1
						       : (*x)->first_bucket > (*y)->first_bucket;
}

static int clear_gaps(const struct bringing *b, const struct service **nat, size_t count)
{
	struct balance_sizes sizes;
	__u32 at = 0;
	int err = balance_maps_sizes(b->maps, &sizes);

	qsort(nat, count, sizeof(*nat), compare_buckets);
	for (size_t i = 0; i < count && !err; i++) {
		err = flows_clear_nat(&b->flows, at, nat[i]->first_bucket - at);
		at = nat[i]->first_bucket + nat[i]->buckets;
	}
	return err ? err : flows_clear_nat(&b->flows, at, sizes.nat_flows - at);
}

/* NAT flows of services that are gone: of all that may have been, where that is not known. */
static int clear_nat(const struct bringing *b)
{
	const struct balance *all = b->before ? b->before : b->after;
	const struct service **nat = calloc(all->service_count + 1, sizeof(*nat));
	size_t count = 0;
	int err = 0;

	if (!nat)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < all->service_count; i++)
		if (all->services[i].mode == WEIR_NAT)
			nat[count++] = &all->services[i];
	if (!b->before)
		err = clear_gaps(b, nat, count);
	for (size_t i = 0; b->before && i < count && !err; i++)
		if (!service_before(b->after, nat[i]))
			err = flows_clear_nat(&b->flows, nat[i]->first_bucket, nat[i]->buckets);
	free(nat);
	return err;
}

/* Datagrams of which a part may still come. A number may mean a NAT flow as well: such a
 * datagram is sent again. */
static int forget_datagrams(const struct bringing *b)
{
	struct weir_fragment_bucket bucket;

	for (__u32 key = 0; key < WEIR_FRAGMENT_BUCKETS; key++) {
		bool changed = false;

		if (bpf_map_lookup_elem(b->maps->fragments, &key, &bucket))
			return fail(-errno, "cannot read the balancer's fragments: %m");
		for (int i = 0; i < WEIR_FRAGMENT_WAYS; i++) {
			__u32 target = WEIR_FRAGMENT_TARGET(bucket.way[i]) & WEIR_MAX_INDEX;

			if (target < b->count && b->known[target])
				continue;
			bucket.way[i] = 0;
			changed = true;
		}
		if (changed && bpf_map_update_elem(b->maps->fragments, &key, &bucket, BPF_ANY))
			return fail(-errno, "cannot write the balancer's fragments: %m");
	}
	return 0;
}

/* No packet works with them when this is done, so their indexes and ranges may be given to
 * others. */
static int forget_gone(const struct bringing *b)
{
	int err = 0;

	for (size_t i = 0; i < b->after->service_count && !err; i++)
		if (lost_backends(b, &b->after->services[i]))
			err = flows_purge(&b->flows, &b->after->services[i], b->known, b->count);
	if (!err)
		err = clear_nat(b);
	if (!err)
		err = forget_datagrams(b);
	return err ? err : balance_maps_wait(b->maps);
}

/* ---- records ---- */

static bool has_new_source(const struct bringing *b, const struct service *s)
{
	const struct service *was = service_before(b->before, s);

	return s->mode == WEIR_DSR_IPIP &&
	       (!b->before || (was && memcmp(&was->source, &s->source, sizeof(s->source))));
}

static int bring_sources(struct bringing *b)
{
	for (size_t i = 0; i < b->after->backend_count; i++) {
		const struct backend *backend = &b->after->backends[i];
		const struct service *s = balance_service(b->after, backend->service);
		struct next_hop hop = {};

		if (!has_new_source(b, s))
			continue;
		if (s->source.family != backend->address.family &&
		    next_hop_find(&backend->address, 0, &hop))
			forget_failure();
		if (hop.source.family || s->source.family == backend->address.family)
			records_set_source(&b->records, s, backend, &hop);
	}
	return 0;
}

static int bring(struct bringing *b)
{
	size_t services = b->after->service_count;
	int err = 0;

	note_known(b);
	for (size_t i = 0; i < services && !err; i++) {
		if (!b->before)
			err = renew_slots(b->maps, &b->after->services[i], b->flows.tick);
		if (!err && is_moved(b, &b->after->services[i]))
			err = bring_slots(b, i);
	}
	if (!err && (b->gone || b->some_unused))
		err = balance_maps_wait(b->maps);
	for (size_t i = 0; i < services && !err && b->some_unused; i++)
		if (b->unused[i])
			err = rest_unused(b, i);
	if (!err && b->gone)
		err = forget_gone(b);
	if (!err)
		err = bring_sources(b);
	/* Slots first: so no packet finds a dead owner in between. */
	for (size_t i = 0; i < b->after->backend_count && !err; i++)
		records_set_alive(&b->records, &b->after->backends[i]);
	return err;
}

int bring_all(const struct balance_maps *maps, const struct balance *after,
	      const struct balance *before, __u64 generation)
{
	struct bringing b = {.maps = maps, .after = after, .before = before};
	int err = records_open(maps, &b.records);

	if (err)
		return err;
	b.count = b.records.bytes / sizeof(*b.records.record);
	b.known = calloc(b.count, sizeof(*b.known));
	b.unused = calloc(after->service_count + 1, sizeof(*b.unused));
	if (!b.known || !b.unused)
		err = fail(-ENOMEM, "out of memory");
	if (!err)
		err = flows_open(maps, &b.flows);
	if (!err) {
		b.words = slot_words(maps);
		err = b.words ? bring(&b) : -ENOMEM;
		slot_words_close(b.words);
	}
	free(b.known);
	free(b.unused);
	records_close(&b.records);
	return err ? err : set_brought_to(maps, generation);
}
