// SPDX-License-Identifier: GPL-2.0
/* What has to be done after a change, over and over: see balance_settle(). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bring.h"
#include "carry.h"
#include "flows.h"
#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "publish.h"
#include "loader/nexthop/records.h"
#include "loader/service/service_table.h"
#include "loader/service/services.h"
#include "loader/nexthop/ways.h"

#define LOOK_MS 100 /* for so long ways are looked at in one go; the next one continues */

struct settling {
	const struct instance *in;
	struct balance_maps maps;
	struct balance balance;
	struct flow_tables flows;
	struct records records;
	__u64 *words;
	bool *in_use; /* by index of the backend: something refers to it */
	__u32 count;
	bool renamed; /* this host has an address towards a backend that it had none to */
	struct tended *what;
};

static int finish_change(const struct settling *s, __u64 generation)
{
	__u64 brought;
	int err = brought_to(&s->maps, &brought);

	if (err || brought == generation)
		return err;
	return bring_all(&s->maps, &s->balance, NULL, generation);
}

static int settle_moving(struct settling *s, const struct service *service,
			 const struct slot_range *range)
{
	struct idle_ticks ticks = service_idle_ticks(service, clock_tick_ns());
	bool *needed = calloc(service->slots, sizeof(*needed));
	int err = needed ? flows_mark(&s->flows, service, range->slot, needed)
			 : fail(-ENOMEM, "out of memory");

	if (!err)
		s->what->settled_slots += slots_settle(range, needed, ticks.idle);
	if (!err && !slots_moving(range))
		slots_say_moving(s->words, service->index, false);
	free(needed);
	return err;
}

static void mark_owners(struct settling *s, const struct slot_range *range)
{
	for (__u32 i = 0; i < range->count; i++) {
		__u64 slot = range->slot[i];

		if (WEIR_SLOT_OWNER(slot) < s->count)
			s->in_use[WEIR_SLOT_OWNER(slot)] = true;
		if (WEIR_SLOT_PREVIOUS(slot) < s->count)
			s->in_use[WEIR_SLOT_PREVIOUS(slot)] = true;
	}
}

static int mark_flows(struct settling *s, const struct service *service)
{
	struct live_flows *live = calloc(s->count, sizeof(*live)), all;
	int err = live ? flows_count(&s->flows, service, &all, live, s->count)
		       : fail(-ENOMEM, "out of memory");

	for (__u32 i = 0; i < s->count && !err; i++)
		s->in_use[i] |= live[i].kept != 0;
	free(live);
	return err;
}

static bool has_leaving(const struct balance *b, __u32 service)
{
	struct backend *first;
	size_t n = balance_backends(b, service, &first);

	for (size_t i = 0; i < n; i++)
		if (first[i].state == BACKEND_LEAVING)
			return true;
	return false;
}

static int settle_service(struct settling *s, const struct service *service)
{
	bool moving = slots_may_move(s->words, service->index);
	bool leaving = has_leaving(&s->balance, service->index);
	struct slot_memory memory;
	int err;

	if (!moving && !leaving)
		return 0;
	err = slot_range_open(&s->maps, service, s->flows.tick, &memory);
	if (err)
		return err;
	if (moving)
		err = settle_moving(s, service, &memory.range);
	if (!err && leaving)
		mark_owners(s, &memory.range);
	slot_range_close(&memory);
	return err || !leaving ? err : mark_flows(s, service);
}

static void add_numbers(void *to, const void *from, size_t size)
{
	__u64 *sum = to;
	const __u64 *more = from;

	for (size_t i = 0; i < size / sizeof(*sum); i++)
		sum[i] += more[i];
}

int balance_retire(const struct balance_maps *maps, struct service *service, __u32 index)
{
	struct weir_backend_counters counted;
	int err = percpu_read(maps->backend_counters, index, &counted, sizeof(counted));

	if (!err)
		add_numbers(&service->retired, &counted, sizeof(counted));
	return err;
}

/* Returns how many went, or < 0. */
static int forget_leaving(struct settling *s)
{
	struct balance *all = &s->balance;
	int gone = 0, err = 0;

	for (size_t i = all->backend_count; i-- > 0 && !err;) {
		struct backend b = all->backends[i];

		if (b.state != BACKEND_LEAVING || (b.index < s->count && s->in_use[b.index]))
			continue;
		err = balance_retire(&s->maps, balance_service(all, b.service), b.index);
		balance_remove_backend(all, b.index);
		gone++;
	}
	return err ? err : gone;
}

/* ---- ways ---- */

static bool wants_look(const struct settling *s, const struct backend *b, bool thorough)
{
	return thorough ||
	       !(s->records.record[b->index].flags & (WEIR_B_REACHABLE | WEIR_B_LOCAL)) ||
	       !records_has_source(&s->records, b);
}

static int collect_ways(const struct settling *s, bool thorough, struct ways *ways)
{
	struct address *to = calloc(s->balance.backend_count + 1, sizeof(*to));
	size_t count = 0;
	int err;

	if (!to)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < s->balance.backend_count; i++)
		if (wants_look(s, &s->balance.backends[i], thorough))
			to[count++] = s->balance.backends[i].address;
	err = ways_collect(ways, to, count);
	free(to);
	return err;
}

static void refresh_backend(struct settling *s, const struct backend *b, const struct next_hop *hop)
{
	const struct service *service = balance_service(&s->balance, b->service);
	bool nameless = !records_has_source(&s->records, b);

	s->what->refreshed_hops += records_refresh(&s->records, b, hop);
	if (nameless && records_set_source(&s->records, service, b, hop)) {
		s->renamed |= service->mode == WEIR_NAT;
		records_set_alive(&s->records, b);
	}
}

static int refresh_hops(struct settling *s, bool thorough)
{
	struct ways ways;
	int err = collect_ways(s, thorough, &ways);

	if (err)
		return err;
	ways_look(&ways, LOOK_MS);
	ways_prepare(&ways, s->in, LOOK_MS);
	for (size_t i = 0; i < s->balance.backend_count; i++) {
		const struct backend *b = &s->balance.backends[i];
		const struct next_hop *hop = ways_hop(&ways, &b->address);

		if (hop)
			refresh_backend(s, b, hop);
	}
	ways_free(&ways);
	return 0;
}

static int open_all(struct settling *s)
{
	int err = records_open(&s->maps, &s->records);

	if (err)
		return err;
	s->count = s->records.bytes / sizeof(*s->records.record);
	s->in_use = calloc(s->count, sizeof(*s->in_use));
	s->words = slot_words(&s->maps);
	err = !s->in_use ? fail(-ENOMEM, "out of memory") : s->words ? 0 : -ENOMEM;
	return err ? err : flows_open(&s->maps, &s->flows);
}

static void close_all(struct settling *s)
{
	slot_words_close(s->words);
	free(s->in_use);
	records_close(&s->records);
}

/* Returns whether the table has to be made anew, or < 0. */
static int settle(struct settling *s, __u64 generation, bool thorough)
{
	int err = finish_change(s, generation);

	if (!err)
		err = open_all(s);
	for (size_t i = 0; i < s->balance.service_count && !err; i++)
		err = settle_service(s, &s->balance.services[i]);
	if (!err)
		err = refresh_hops(s, thorough);
	if (!err)
		err = forget_leaving(s);
	if (err >= 0)
		s->what->forgotten_backends = err;
	close_all(s);
	return err < 0 ? err : err || s->renamed;
}

int balance_settle(struct instance *in, bool thorough, struct tended *what)
{
	struct settling s = {.in = in, .what = what};
	__u64 generation;
	int err;

	*what = (struct tended){};
	/* Commands that were killed may have left it so. */
	err = balance_complete_move(in);
	if (!err)
		err = balance_maps_open(in, &s.maps);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = carry_hold(&s.maps, false);
	if (!err)
		err = balance_read(&s.maps, &s.balance, &generation);
	if (!err)
		err = settle(&s, generation, thorough);
	balance_maps_close(&s.maps);
	if (err > 0)
		err = balance_publish(in, &s.balance);
	balance_free(&s.balance);
	return err;
}
