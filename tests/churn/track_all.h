/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What weir does not do, to compare it with: every flow is tracked, least recently used ones give
 * way. `make B=build/track-all BPF_DEFS=-DWEIR_TRACK_ALL weir` builds it. The flows stand in the
 * memory that churn tracking has for the moving ones, with the times of last use as an extra on
 * top; a flow may take any of WAYS places, which is close to a true LRU.
 */
#ifndef TRACK_ALL_H
#define TRACK_ALL_H

#define GROUP  4 /* buckets */
#define WAYS   (GROUP * WEIR_FLOW_WAYS)
#define PLACES (1u << 17)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, __u64);
} last_use SEC(".maps");

static __always_inline __u64 *time_of(__u32 bucket, __u32 way)
{
	__u32 index = (bucket * WEIR_FLOW_WAYS + way) & (PLACES - 1);

	return bpf_map_lookup_elem(&last_use, &index);
}

static __always_inline void replace(const struct moving_flow *flow, struct weir_flow *way,
				    __u64 *used, __u32 owner)
{
	__u32 kind = flow->phase == PHASE_BEGIN ? WEIR_FLOW_SYN : WEIR_FLOW_OPEN;
	__u64 seen = way->tag;

	if (seen != WEIR_FLOW_CLAIMED &&
	    claim(way, seen, tag_of(flow), WEIR_FLOW_PLACE(owner, kind, ticks())))
		*used = bpf_ktime_get_ns();
}

static __always_inline void use(const struct moving_flow *flow, struct weir_flow *way, __u64 *used)
{
	__u64 place = way->place;
	__u32 kind = WEIR_PLACE_KIND(place);

	if (flow->phase == PHASE_END)
		kind = WEIR_FLOW_CLOSING;
	else if (kind == WEIR_FLOW_SYN && flow->phase != PHASE_BEGIN)
		kind = WEIR_FLOW_OPEN;
	__sync_val_compare_and_swap(&way->place, place,
				    WEIR_FLOW_PLACE(WEIR_PLACE_BACKEND(place), kind, ticks()));
	*used = bpf_ktime_get_ns();
}

__noinline __u32 weir_track_all(const struct moving_flow *flow, __u32 owner)
{
	__u64 *oldest_used = NULL;
	struct weir_flow *oldest = NULL;
	__u32 first;

	if (!config.modes || !flow || config.explain)
		return owner;
	first = flow->flows + ((__u32)(flow->hash >> 2) & flow->flow_mask & ~(GROUP - 1u));
	for (__u32 i = 0; i < WAYS; i++) {
		__u32 index = first + i / WEIR_FLOW_WAYS, at = i % WEIR_FLOW_WAYS, backend;
		struct weir_flow_bucket *bucket = bpf_map_lookup_elem(&flows, &index);
		__u64 *used = time_of(index, at), place;
		struct weir_flow *way;

		if (!bucket || !used)
			return owner;
		way = &bucket->way[at];
		place = way->place;
		backend = WEIR_PLACE_BACKEND(place);
		if (way->tag != tag_of(flow)) {
			if (!oldest_used || *used < *oldest_used) {
				oldest_used = used;
				oldest = way;
			}
			continue;
		}
		if (!is_alive(backend) ||
		    (flow->phase == PHASE_BEGIN && WEIR_PLACE_KIND(place) == WEIR_FLOW_CLOSING)) {
			replace(flow, way, used, owner);
			return owner;
		}
		use(flow, way, used);
		return backend;
	}
	if (oldest && oldest_used)
		replace(flow, oldest, oldest_used, owner);
	return owner;
}

static __always_inline __u32 track_all(const struct weir_service *s, const struct flow *flow,
				       __u32 owner)
{
	struct moving_flow moving = moving_of(flow, s);

	return weir_track_all(&moving, owner);
}

#endif
