// SPDX-License-Identifier: GPL-2.0
#include "carry.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"

static int entries_of(int map, __u32 *entries)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(map, &info, &size))
		return fail(-errno, "cannot look at a map of the balancer: %m");
	*entries = info.max_entries;
	return 0;
}

static int put_port(int to, __u32 buckets, __u64 entry)
{
	__u32 bucket = (__u32)entry & (buckets - 1);
	struct weir_nat_ports ports;
	int free_way = -1;

	if (bpf_map_lookup_elem(to, &bucket, &ports))
		return fail(-errno, "cannot read the NAT ports: %m");
	for (int i = 0; i < WEIR_NAT_PORT_WAYS; i++) {
		if (ports.way[i] == entry)
			return 0;
		if (!ports.way[i])
			free_way = i;
	}
	if (free_way < 0)
		return 0;
	ports.way[free_way] = entry;
	return bpf_map_update_elem(to, &bucket, &ports, BPF_ANY)
		       ? fail(-errno, "cannot write the NAT ports: %m")
		       : 0;
}

int carry_ports(int from, int to)
{
	struct weir_nat_ports ports;
	__u32 was, buckets;
	int err = entries_of(from, &was);

	if (!err)
		err = entries_of(to, &buckets);
	for (__u32 i = 0; i < was && !err; i++) {
		if (bpf_map_lookup_elem(from, &i, &ports))
			err = fail(-errno, "cannot read the NAT ports: %m");
		for (int way = 0; way < WEIR_NAT_PORT_WAYS && !err; way++)
			if (ports.way[way])
				err = put_port(to, buckets, ports.way[way]);
	}
	return err;
}

static bool claim(__u64 *word, __u64 seen, __u64 next)
{
	return __atomic_compare_exchange_n(word, &seen, next, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

/* What was seen of the flow since it was copied. */
static void carry_place(const struct weir_flow *from, struct weir_flow *to)
{
	__u64 seen = __atomic_load_n(&to->place, __ATOMIC_RELAXED);
	__u64 next = __atomic_load_n(&from->place, __ATOMIC_RELAXED);

	if ((__s32)(WEIR_PLACE_TICK(next) - WEIR_PLACE_TICK(seen)) >= 0 &&
	    WEIR_PLACE_KIND(next) >= WEIR_PLACE_KIND(seen))
		claim(&to->place, seen, next);
}

/* The same flow in the same bucket, or a free way of it. */
void carry_flow(const struct weir_flow *from, struct weir_flow_bucket *to)
{
	struct weir_flow *free_way = NULL;

	for (int i = 0; i < WEIR_FLOW_WAYS; i++) {
		if (to->way[i].tag == from->tag) {
			carry_place(from, &to->way[i]);
			return;
		}
		if (!to->way[i].tag)
			free_way = &to->way[i];
	}
	if (!free_way || !claim(&free_way->tag, WEIR_FLOW_FREE, WEIR_FLOW_CLAIMED))
		return;
	__atomic_store_n(&free_way->place, from->place, __ATOMIC_SEQ_CST);
	__atomic_store_n(&free_way->tag, from->tag, __ATOMIC_SEQ_CST);
}

static void carry_nat(const struct weir_nat_flow *from, struct weir_nat_flow *to)
{
	__u64 life = __atomic_load_n(&to->life, __ATOMIC_RELAXED);

	if (WEIR_LIFE_STATE(from->life) <= WEIR_NAT_CLAIMED || WEIR_LIFE_STATE(life) != WEIR_NAT_FREE)
		return;
	if (!claim(&to->life, life, WEIR_NAT_LIFE(WEIR_NAT_CLAIMED, 0, WEIR_LIFE_TICK(from->life))))
		return;
	memcpy((char *)to + sizeof(to->life), (const char *)from + sizeof(from->life),
	       sizeof(*to) - sizeof(to->life));
	__atomic_store_n(&to->life, from->life, __ATOMIC_SEQ_CST);
}

static void carry_dsr_bucket(const void *from, void *to)
{
	const struct weir_flow_bucket *flows = from;

	for (int i = 0; i < WEIR_FLOW_WAYS; i++)
		if (flows->way[i].tag > WEIR_FLOW_CLAIMED)
			carry_flow(&flows->way[i], to);
}

/* A flow's index is in the ports' table, so it keeps its way. */
static void carry_nat_bucket(const void *from, void *to)
{
	const struct weir_nat_bucket *flows = from;
	struct weir_nat_bucket *target = to;

	for (int i = 0; i < WEIR_NAT_WAYS; i++)
		carry_nat(&flows->way[i], &target->way[i]);
}

static int carry_buckets(int from, int to, size_t size, void (*carry)(const void *, void *))
{
	size_t from_bytes, to_bytes = 0;
	char *source = balance_map_memory(from, &from_bytes);
	char *target = source ? balance_map_memory(to, &to_bytes) : NULL;
	__u32 entries = 0;
	int err = target ? entries_of(from, &entries) : -ENOMEM;

	for (__u32 i = 0; i < entries && !err; i++)
		if (memcmp(source + i * size, target + i * size, size))
			carry(source + i * size, target + i * size);
	balance_unmap(source, from_bytes);
	balance_unmap(target, to_bytes);
	return err;
}

int carry_hold(const struct balance_maps *maps, bool hold)
{
	size_t bytes;
	__u64 *slots = balance_map_memory(maps->slots, &bytes);

	if (!slots)
		return -ENOMEM;
	__atomic_store_n(&slots[WEIR_HOLD_WORD], hold, __ATOMIC_SEQ_CST);
	balance_unmap(slots, bytes);
	return 0;
}

int carry_late(const struct balance_maps *from, const struct balance_maps *to)
{
	int err = carry_buckets(from->flows, to->flows, sizeof(struct weir_flow_bucket),
				carry_dsr_bucket);

	if (!err)
		err = carry_buckets(from->nat_flows, to->nat_flows,
				    sizeof(struct weir_nat_bucket), carry_nat_bucket);
	return err ? err : carry_ports(from->nat_ports, to->nat_ports);
}
