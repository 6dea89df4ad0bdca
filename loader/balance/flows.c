// SPDX-License-Identifier: GPL-2.0
#include "flows.h"

#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "service_table.h"

int flows_open(const struct balance_maps *maps, struct flow_tables *tables)
{
	__u64 jiffies;
	int err = clock_jiffies(&jiffies);

	*tables = (struct flow_tables){};
	if (err)
		return err;
	tables->tick = jiffies >> clock_tick_shift();
	tables->dsr = balance_map_memory(maps->flows, &tables->dsr_bytes);
	if (tables->dsr)
		tables->nat = balance_map_memory(maps->nat_flows, &tables->nat_bytes);
	if (tables->nat)
		return 0;
	flows_close(tables);
	return -ENOMEM;
}

void flows_close(struct flow_tables *tables)
{
	balance_unmap(tables->dsr, tables->dsr_bytes);
	balance_unmap(tables->nat, tables->nat_bytes);
	*tables = (struct flow_tables){};
}

static bool dsr_lives(const struct weir_flow *flow, __u32 tick, struct idle_ticks t)
{
	__u64 place = __atomic_load_n(&flow->place, __ATOMIC_RELAXED);
	__u32 since = tick - WEIR_PLACE_TICK(place);

	if (__atomic_load_n(&flow->tag, __ATOMIC_RELAXED) <= WEIR_FLOW_CLAIMED)
		return false;
	switch (WEIR_PLACE_KIND(place)) {
	case WEIR_FLOW_SYN: return since <= WEIR_SYN_TICKS;
	case WEIR_FLOW_OPEN: return since <= t.idle;
	case WEIR_FLOW_CLOSING: return since <= t.closing;
	default: return false;
	}
}

static bool nat_lives(const struct weir_nat_flow *flow, __u32 tick, struct idle_ticks t)
{
	__u64 life = __atomic_load_n(&flow->life, __ATOMIC_RELAXED);
	__u32 since = tick - WEIR_LIFE_TICK(life);

	switch (WEIR_LIFE_STATE(life)) {
	case WEIR_NAT_NEW: return since <= WEIR_NAT_NEW_TICKS;
	case WEIR_NAT_OPEN: return since <= t.idle;
	case WEIR_NAT_CLOSING: return since <= t.closing;
	default: return false;
	}
}

/* The flow of this number in the service's range. */
static struct weir_flow *dsr_flow(const struct flow_tables *tables, const struct service *s, __u32 i)
{
	return &tables->dsr[s->first_bucket + i / WEIR_FLOW_WAYS].way[i % WEIR_FLOW_WAYS];
}

static struct weir_nat_flow *nat_flow(const struct flow_tables *tables, const struct service *s,
				      __u32 i)
{
	return &tables->nat[s->first_bucket + i / WEIR_NAT_WAYS].way[i % WEIR_NAT_WAYS];
}

/* Backend of the flow if it lives; 0: it does not. */
static __u32 live_backend(const struct flow_tables *tables, const struct service *s, __u32 i,
			  struct idle_ticks t)
{
	if (s->mode == WEIR_NAT) {
		const struct weir_nat_flow *flow = nat_flow(tables, s, i);

		return nat_lives(flow, tables->tick, t) ? flow->backend : 0;
	}
	return dsr_lives(dsr_flow(tables, s, i), tables->tick, t)
		       ? WEIR_PLACE_BACKEND(dsr_flow(tables, s, i)->place)
		       : 0;
}

static __u32 room_of(const struct service *s)
{
	return s->buckets * (s->mode == WEIR_NAT ? WEIR_NAT_WAYS : WEIR_FLOW_WAYS);
}

__u32 flows_count(const struct flow_tables *tables, const struct service *service,
		  __u32 *by_backend, size_t count)
{
	struct idle_ticks t = service_idle_ticks(service, clock_tick_ns());
	__u32 live = 0;

	for (__u32 i = 0; i < room_of(service); i++) {
		__u32 backend = live_backend(tables, service, i, t);

		live += backend != 0;
		if (backend && backend < count)
			by_backend[backend]++;
	}
	return live;
}

void flows_mark(const struct flow_tables *tables, const struct service *service,
		const __u64 *slots, bool *needed)
{
	struct idle_ticks t = service_idle_ticks(service, clock_tick_ns());

	for (__u32 i = 0; service->mode != WEIR_NAT && i < room_of(service); i++) {
		const struct weir_flow *flow = dsr_flow(tables, service, i);
		__u32 slot = flow->tag >> 40 & (service->slots - 1);

		if (dsr_lives(flow, tables->tick, t) &&
		    WEIR_PLACE_BACKEND(flow->place) != WEIR_SLOT_OWNER(slots[slot]))
			needed[slot] = true;
	}
}

static void forget_dsr(struct weir_flow *flow, const bool *known, size_t count)
{
	__u64 tag = __atomic_load_n(&flow->tag, __ATOMIC_RELAXED);
	__u32 backend = WEIR_PLACE_BACKEND(flow->place);

	if (tag > WEIR_FLOW_CLAIMED && (backend >= count || !known[backend]))
		__atomic_compare_exchange_n(&flow->tag, &tag, WEIR_FLOW_FREE, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static void forget_nat(struct weir_nat_flow *flow, const bool *known, size_t count)
{
	__u64 life = __atomic_load_n(&flow->life, __ATOMIC_RELAXED);

	if (WEIR_LIFE_STATE(life) > WEIR_NAT_CLAIMED &&
	    (flow->backend >= count || !known[flow->backend]))
		__atomic_compare_exchange_n(&flow->life, &life, WEIR_NAT_LIFE(WEIR_NAT_FREE, 0, 0),
					    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

void flows_purge(const struct flow_tables *tables, const struct service *service, const bool *known,
		 size_t count)
{
	for (__u32 i = 0; i < room_of(service); i++) {
		if (service->mode == WEIR_NAT)
			forget_nat(nat_flow(tables, service, i), known, count);
		else
			forget_dsr(dsr_flow(tables, service, i), known, count);
	}
}
