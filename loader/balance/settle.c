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
#include "records.h"
#include "service_table.h"
#include "services.h"

struct settling {
	struct balance_maps maps;
	struct balance balance;
	struct flow_tables flows;
	struct records records;
	bool *in_use; /* by index of the backend: something refers to it */
	__u32 count;
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

static int settle_slots(struct settling *s, const struct service *service)
{
	struct idle_ticks ticks = service_idle_ticks(service, clock_tick_ns());
	bool *needed = calloc(service->slots, sizeof(*needed));
	struct slot_memory memory;
	int err = needed ? 0 : fail(-ENOMEM, "out of memory");

	if (!err)
		err = slot_range_open(&s->maps, service, s->flows.tick, &memory);
	if (!err) {
		if (slots_moving(&memory.range)) {
			flows_mark(&s->flows, service, memory.range.slot, needed);
			s->what->settled_slots +=
				slots_settle(&memory.range, needed, ticks.idle);
		}
		for (__u32 i = 0; i < service->slots; i++) {
			__u64 slot = memory.range.slot[i];

			if (WEIR_SLOT_OWNER(slot) < s->count)
				s->in_use[WEIR_SLOT_OWNER(slot)] = true;
			if (WEIR_SLOT_PREVIOUS(slot) < s->count)
				s->in_use[WEIR_SLOT_PREVIOUS(slot)] = true;
		}
		slot_range_close(&memory);
	}
	free(needed);
	return err;
}

static int mark_flows(struct settling *s, const struct service *service)
{
	__u32 *live = calloc(s->count, sizeof(*live));

	if (!live)
		return fail(-ENOMEM, "out of memory");
	flows_count(&s->flows, service, live, s->count);
	for (__u32 i = 0; i < s->count; i++)
		s->in_use[i] |= live[i] != 0;
	free(live);
	return 0;
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
	int err = settle_slots(s, service);

	if (!err && has_leaving(&s->balance, service->index))
		err = mark_flows(s, service);
	return err;
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

static void refresh_hops(struct settling *s, bool thorough)
{
	for (size_t i = 0; i < s->balance.backend_count; i++) {
		const struct backend *b = &s->balance.backends[i];
		__u8 flags = s->records.record[b->index].flags;

		if (thorough || !(flags & (WEIR_B_REACHABLE | WEIR_B_LOCAL)))
			s->what->refreshed_hops += records_refresh(&s->records, b);
	}
}

static int open_all(struct settling *s)
{
	int err = records_open(&s->maps, &s->records);

	if (err)
		return err;
	s->count = s->records.bytes / sizeof(*s->records.record);
	s->in_use = calloc(s->count, sizeof(*s->in_use));
	err = s->in_use ? flows_open(&s->maps, &s->flows) : fail(-ENOMEM, "out of memory");
	if (err) {
		free(s->in_use);
		records_close(&s->records);
	}
	return err;
}

static int settle(struct settling *s, __u64 generation, bool thorough)
{
	int err = finish_change(s, generation), gone;

	if (!err)
		err = open_all(s);
	if (err)
		return err;
	for (size_t i = 0; i < s->balance.service_count && !err; i++)
		err = settle_service(s, &s->balance.services[i]);
	if (!err)
		refresh_hops(s, thorough);
	gone = err ? err : forget_leaving(s);
	flows_close(&s->flows);
	records_close(&s->records);
	free(s->in_use);
	return gone;
}

int balance_settle(struct instance *in, bool thorough, struct tended *what)
{
	struct settling s = {.what = what};
	__u64 generation;
	int err = balance_maps_open(in, &s.maps);

	*what = (struct tended){};
	if (err)
		return err == -ENOENT ? 0 : err;
	/* A command that was killed may have left it so. */
	err = carry_hold(&s.maps, false);
	if (!err)
		err = balance_read(&s.maps, &s.balance, &generation);
	if (!err)
		err = settle(&s, generation, thorough);
	balance_maps_close(&s.maps);
	if (err > 0) {
		what->forgotten_backends = err;
		err = balance_publish(in, &s.balance);
	}
	balance_free(&s.balance);
	return err;
}
