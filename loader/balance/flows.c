// SPDX-License-Identifier: GPL-2.0
#include "flows.h"

#include <errno.h>
#include <netinet/in.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/service/service_table.h"

int flows_open(const struct balance_maps *maps, struct flow_tables *tables)
{
	__u64 jiffies;
	int err = clock_jiffies(&jiffies);

	*tables = (struct flow_tables){.dsr = maps->flows, .nat = maps->nat_flows};
	if (!err)
		tables->tick = jiffies >> clock_tick_shift();
	return err;
}

/* The flows of one service in memory. */
struct flow_range {
	struct weir_flow *dsr;
	struct weir_nat_flow *nat; /* NULL: they are of DSR */
	__u32 count;
};

static int open_range(const struct flow_tables *tables, const struct service *s,
		      struct flow_range *range)
{
	*range = (struct flow_range){};
	if (s->mode == WEIR_NAT) {
		range->count = s->buckets * WEIR_NAT_WAYS;
		range->nat = balance_map_part(tables->nat,
					      s->first_bucket * sizeof(struct weir_nat_bucket),
					      s->buckets * sizeof(struct weir_nat_bucket));
		return range->nat ? 0 : -ENOMEM;
	}
	range->count = s->buckets * WEIR_FLOW_WAYS;
	range->dsr =
		balance_map_part(tables->dsr, s->first_bucket * sizeof(struct weir_flow_bucket),
				 s->buckets * sizeof(struct weir_flow_bucket));
	return range->dsr ? 0 : -ENOMEM;
}

static void close_range(struct flow_range *range)
{
	balance_unmap_part(range->nat, range->count * sizeof(*range->nat));
	balance_unmap_part(range->dsr, range->count * sizeof(*range->dsr));
}

/* The program may be a tick ahead of when `now` was read. */
static __u32 age_of(__u32 tick, __u32 now)
{
	__s32 age = now - tick;

	return age < 0 ? 0 : age;
}

static bool dsr_lives(const struct weir_flow *flow, __u32 tick, struct idle_ticks t)
{
	__u64 place = __atomic_load_n(&flow->place, __ATOMIC_RELAXED);
	__u32 since = age_of(WEIR_PLACE_TICK(place), tick);

	if (__atomic_load_n(&flow->tag, __ATOMIC_RELAXED) <= WEIR_FLOW_CLAIMED)
		return false;
	switch (WEIR_PLACE_KIND(place)) {
	case WEIR_FLOW_SYN: return since <= WEIR_SYN_TICKS;
	case WEIR_FLOW_NEW:
	case WEIR_FLOW_OPEN: return since <= t.idle;
	case WEIR_FLOW_DOUBTED:
	case WEIR_FLOW_CLOSING: return since <= t.closing;
	default: return false;
	}
}

static bool nat_lives(const struct weir_nat_flow *flow, __u32 tick, struct idle_ticks t)
{
	__u64 life = __atomic_load_n(&flow->life, __ATOMIC_RELAXED);
	__u32 since = age_of(WEIR_LIFE_TICK(life), tick);

	switch (WEIR_LIFE_STATE(life)) {
	case WEIR_NAT_NEW: return since <= WEIR_NAT_NEW_TICKS;
	case WEIR_NAT_OPEN: return since <= t.idle;
	case WEIR_NAT_CLOSING: return since <= t.closing;
	default: return false;
	}
}

/* Backend of the flow if it lives; 0: it does not. */
static __u32 live_backend(const struct flow_range *range, __u32 i, __u32 tick, struct idle_ticks t)
{
	if (range->nat)
		return nat_lives(&range->nat[i], tick, t) ? range->nat[i].backend : 0;
	return dsr_lives(&range->dsr[i], tick, t) ? WEIR_PLACE_BACKEND(range->dsr[i].place) : 0;
}

/* One that was refused stays new: its place is free the sooner. */
static bool nat_has_ended(const struct weir_nat_flow *flow)
{
	__u64 life = __atomic_load_n(&flow->life, __ATOMIC_RELAXED);

	return WEIR_LIFE_STATE(life) == WEIR_NAT_CLOSING ||
	       (flow->proto == IPPROTO_TCP && WEIR_LIFE_SEEN(life) & WEIR_NAT_RESET);
}

static bool has_ended(const struct flow_range *range, __u32 i)
{
	if (range->nat)
		return nat_has_ended(&range->nat[i]);
	return WEIR_PLACE_KIND(range->dsr[i].place) == WEIR_FLOW_CLOSING;
}

static void add_flow(struct live_flows *sum, bool ended)
{
	sum->kept++;
	sum->open += !ended;
}

int flows_count(const struct flow_tables *tables, const struct service *service,
		struct live_flows *live, struct live_flows *by_backend, size_t count)
{
	struct idle_ticks t = service_idle_ticks(service, clock_tick_ns());
	struct flow_range range;
	int err = open_range(tables, service, &range);

	*live = (struct live_flows){};
	if (err)
		return err;
	for (__u32 i = 0; i < range.count; i++) {
		__u32 backend = live_backend(&range, i, tables->tick, t);

		if (!backend)
			continue;
		add_flow(live, has_ended(&range, i));
		if (backend < count)
			add_flow(&by_backend[backend], has_ended(&range, i));
	}
	close_range(&range);
	return 0;
}

int flows_mark(const struct flow_tables *tables, const struct service *service, const __u64 *slots,
	       bool *needed)
{
	struct idle_ticks t = service_idle_ticks(service, clock_tick_ns());
	struct flow_range range;
	int err = service->mode == WEIR_NAT ? 0 : open_range(tables, service, &range);

	if (err || service->mode == WEIR_NAT)
		return err;
	for (__u32 i = 0; i < range.count; i++) {
		const struct weir_flow *flow = &range.dsr[i];
		__u32 slot = flow->tag >> 40 & (service->slots - 1);

		if (dsr_lives(flow, tables->tick, t) &&
		    WEIR_PLACE_BACKEND(flow->place) != WEIR_SLOT_OWNER(slots[slot]))
			needed[slot] = true;
	}
	close_range(&range);
	return 0;
}

static void forget_dsr(struct weir_flow *flow, const bool *known, size_t count)
{
	__u64 tag = __atomic_load_n(&flow->tag, __ATOMIC_RELAXED);
	__u32 backend = WEIR_PLACE_BACKEND(flow->place);

	if (tag > WEIR_FLOW_CLAIMED && (backend >= count || !known[backend]))
		__atomic_compare_exchange_n(&flow->tag, &tag, WEIR_FLOW_FREE, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* A packet of the flow may write its tick meanwhile. */
static void forget_nat(struct weir_nat_flow *flow, const bool *known, size_t count)
{
	__u64 life = __atomic_load_n(&flow->life, __ATOMIC_RELAXED);

	while (WEIR_LIFE_STATE(life) > WEIR_NAT_CLAIMED &&
	       (flow->backend >= count || !known[flow->backend]))
		if (__atomic_compare_exchange_n(&flow->life, &life,
						WEIR_NAT_LIFE(WEIR_NAT_FREE, 0, 0), false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return;
}

int flows_purge(const struct flow_tables *tables, const struct service *service, const bool *known,
		size_t count)
{
	struct flow_range range;
	int err = open_range(tables, service, &range);

	if (err)
		return err;
	for (__u32 i = 0; i < range.count; i++) {
		if (range.nat)
			forget_nat(&range.nat[i], known, count);
		else
			forget_dsr(&range.dsr[i], known, count);
	}
	close_range(&range);
	return 0;
}

int flows_clear_nat(const struct flow_tables *tables, __u32 first_bucket, __u32 buckets)
{
	const struct service nobodys = {
		.mode = WEIR_NAT,
		.first_bucket = first_bucket,
		.buckets = buckets,
	};
	struct flow_range range;
	int err = buckets ? open_range(tables, &nobodys, &range) : 0;

	if (err || !buckets)
		return err;
	for (__u32 i = 0; i < range.count; i++)
		if (__atomic_load_n(&range.nat[i].life, __ATOMIC_RELAXED))
			__atomic_store_n(&range.nat[i].life, 0, __ATOMIC_SEQ_CST);
	close_range(&range);
	return 0;
}
