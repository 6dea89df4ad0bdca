// SPDX-License-Identifier: GPL-2.0
#include "carry.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "slot_words.h"

static bool claim(__u64 *word, __u64 seen, __u64 next)
{
	return __atomic_compare_exchange_n(word, &seen, next, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

static int entries_of(int map, __u32 *entries)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(map, &info, &size))
		return fail(-errno, "cannot look at a map of the balancer: %m");
	*entries = info.max_entries;
	return 0;
}

static void put_port(struct weir_nat_ports *bucket, __u64 entry)
{
	for (int i = 0; i < WEIR_NAT_PORT_WAYS; i++)
		if (__atomic_load_n(&bucket->way[i], __ATOMIC_RELAXED) == entry)
			return;
	for (int i = 0; i < WEIR_NAT_PORT_WAYS; i++)
		if (claim(&bucket->way[i], 0, entry))
			return;
}

int carry_ports(int from, int to)
{
	size_t from_bytes, to_bytes = 0;
	struct weir_nat_ports *source = balance_map_memory(from, &from_bytes);
	struct weir_nat_ports *target = source ? balance_map_memory(to, &to_bytes) : NULL;
	__u32 was = 0, buckets = 0;
	int err = target ? entries_of(from, &was) : -ENOMEM;

	if (!err)
		err = entries_of(to, &buckets);
	for (__u32 i = 0; i < was && !err; i++)
		for (int way = 0; way < WEIR_NAT_PORT_WAYS; way++) {
			__u64 entry = __atomic_load_n(&source[i].way[way], __ATOMIC_RELAXED);

			if (entry)
				put_port(&target[(__u32)entry & (buckets - 1)], entry);
		}
	balance_unmap(source, from_bytes);
	balance_unmap(target, to_bytes);
	return err;
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

static bool is_same_flow(const struct weir_nat_flow *a, const struct weir_nat_flow *b)
{
	return a->who == b->who && a->client[0] == b->client[0] && a->client[1] == b->client[1] &&
	       a->nat_port == b->nat_port;
}

/* Whoever was there last, or has it now. */
static void carry_nat(const struct weir_nat_flow *from, struct weir_nat_flow *to)
{
	__u64 life = __atomic_load_n(&to->life, __ATOMIC_RELAXED);
	__u64 next = __atomic_load_n(&from->life, __ATOMIC_RELAXED);

	if (WEIR_LIFE_STATE(next) <= WEIR_NAT_CLAIMED || life == next)
		return;
	if (WEIR_LIFE_STATE(life) != WEIR_NAT_FREE) {
		if ((__s32)(WEIR_LIFE_TICK(next) - WEIR_LIFE_TICK(life)) < 0)
			return;
		if (is_same_flow(from, to)) {
			claim(&to->life, life, next);
			return;
		}
	}
	if (!claim(&to->life, life, WEIR_NAT_LIFE(WEIR_NAT_CLAIMED, 0, WEIR_LIFE_TICK(next))))
		return;
	memcpy((char *)to + sizeof(to->life), (const char *)from + sizeof(from->life),
	       sizeof(*to) - sizeof(to->life));
	__atomic_store_n(&to->life, next, __ATOMIC_SEQ_CST);
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
	size_t bytes = from_bytes < to_bytes ? from_bytes : to_bytes;

	for (size_t i = 0; target && i < bytes / size; i++)
		if (memcmp(source + i * size, target + i * size, size))
			carry(source + i * size, target + i * size);
	balance_unmap(source, from_bytes);
	balance_unmap(target, to_bytes);
	return target ? 0 : -ENOMEM;
}

int carry_hold(const struct balance_maps *maps, bool hold)
{
	__u64 *words = slot_words(maps);

	if (!words)
		return -ENOMEM;
	__atomic_store_n(&words[WEIR_HOLD_WORD], hold, __ATOMIC_SEQ_CST);
	slot_words_close(words);
	return 0;
}

static __u32 id_of(int map)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(map, &info, &size) ? 0 : info.id;
}

static bool is_same(int map, int other)
{
	__u32 id = id_of(map);

	return id && id == id_of(other);
}

int carry_late(const struct balance_maps *from, const struct balance_maps *to)
{
	int err = 0;

	if (!is_same(from->flows, to->flows))
		err = carry_buckets(from->flows, to->flows, sizeof(struct weir_flow_bucket),
				    carry_dsr_bucket);
	if (!err && !is_same(from->nat_flows, to->nat_flows))
		err = carry_buckets(from->nat_flows, to->nat_flows, sizeof(struct weir_nat_bucket),
				    carry_nat_bucket);
	return err || is_same(from->nat_ports, to->nat_ports)
		       ? err
		       : carry_ports(from->nat_ports, to->nat_ports);
}
