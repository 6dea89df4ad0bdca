// SPDX-License-Identifier: GPL-2.0
#include "plan.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/balance/ranges.h"
#include "services.h"
#include "loader/balance/slots.h"
#include "xdp/balance/hash.h"

/* ---- backends of before and after ---- */

static int compare(const void *a, const void *b)
{
	const struct backend *x = &((const struct plan_backend *)a)->backend;
	const struct backend *y = &((const struct plan_backend *)b)->backend;
	int order = (int)x->address.family - y->address.family;

	if (!order)
		order = memcmp(x->address.byte, y->address.byte, sizeof(x->address.byte));
	return order ? order : (int)x->port - y->port;
}

static struct plan_backend *add_backend(struct plan *plan, const struct backend *backend)
{
	struct plan_backend *to = &plan->backends[plan->count++];

	*to = (struct plan_backend){.backend = *backend};
	return to;
}

static int collect(struct plan *plan, const struct balance *before, const struct balance *after,
		   __u32 service)
{
	struct backend *was, *will;
	size_t n = balance_backends(before, service, &was);
	size_t m = balance_backends(after, service, &will);

	plan->backends = calloc(n + m + 1, sizeof(*plan->backends));
	if (!plan->backends)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < m; i++) {
		const struct backend *old = balance_find_backend(before, service, &will[i]);
		struct plan_backend *b = add_backend(plan, &will[i]);

		b->is_new = !old;
		b->cut_off = old && old->state != BACKEND_DEAD && will[i].state == BACKEND_DEAD;
	}
	for (size_t i = 0; i < n; i++) {
		struct plan_backend *b;

		if (balance_find_backend(after, service, &was[i]))
			continue;
		b = add_backend(plan, &was[i]);
		b->is_gone = true;
		b->cut_off = was[i].state != BACKEND_DEAD;
	}
	qsort(plan->backends, plan->count, sizeof(*plan->backends), compare);
	return 0;
}

/* ---- slots ---- */

/* Position plus 1 of each backend by index; the caller frees. */
static __u32 *index_backends(const struct plan *plan, __u32 *count)
{
	__u32 *position;

	*count = 1;
	for (size_t i = 0; i < plan->count; i++)
		if (plan->backends[i].backend.index >= *count)
			*count = plan->backends[i].backend.index + 1;
	position = calloc(*count, sizeof(*position));
	for (size_t i = 0; position && i < plan->count; i++)
		position[plan->backends[i].backend.index] = i + 1;
	return position;
}

/* Owners of all slots of the plan, by position. NULL: the service is not there. */
static int fill(const struct plan *plan, const struct balance *b, const struct service *service,
		const __u32 *position, __u32 **to)
{
	__u32 *owner, count;
	int err;

	*to = calloc(plan->slots, sizeof(**to));
	if (!*to)
		return fail(-ENOMEM, "out of memory");
	if (!service)
		return 0;
	err = slots_plan(b, service, &owner, &count);
	if (err)
		return err;
	for (__u32 i = 0; i < plan->slots; i++)
		(*to)[i] = position[owner[i & (count - 1)]];
	free(owner);
	return 0;
}

static void count_slots(struct plan *plan)
{
	for (__u32 i = 0; i < plan->slots; i++) {
		__u32 now = plan->now[i], then = plan->then[i];

		if (now)
			plan->backends[now - 1].slots_now++;
		if (then)
			plan->backends[then - 1].slots_then++;
		if (now == then)
			continue;
		plan->moved++;
		if (now)
			plan->backends[now - 1].lost++;
		if (then)
			plan->backends[then - 1].gained++;
	}
}

static __u32 larger(__u32 a, __u32 b)
{
	return a > b ? a : b;
}

static int make(const struct balance *before, const struct balance *after,
		const struct service *was, const struct service *will, struct plan *plan)
{
	__u32 *position, count;
	int err;

	plan->service = will ? *will : *was;
	plan->is_new = !was;
	plan->is_deleted = !will;
	plan->exact = plan->service.mode == WEIR_NAT;
	plan->by_source_now = was ? was->by_source : will->by_source;
	plan->rehashed = !plan->exact && plan->by_source_now != plan->service.by_source;
	plan->slots_now = was ? was->slots : 0;
	plan->slots = larger(plan->slots_now, plan->service.slots);
	err = collect(plan, before, after, plan->service.index);
	if (err)
		return err;
	position = index_backends(plan, &count);
	if (!position)
		return fail(-ENOMEM, "out of memory");
	err = fill(plan, before, was, position, &plan->now);
	if (!err)
		err = fill(plan, after, will, position, &plan->then);
	free(position);
	if (!err)
		count_slots(plan);
	return err;
}

static bool same_backends(const struct balance *before, const struct balance *after, __u32 service)
{
	struct backend *was, *will;
	size_t n = balance_backends(before, service, &was);

	return n == balance_backends(after, service, &will) &&
	       (!n || !memcmp(was, will, n * sizeof(*was)));
}

/* The first service that differs; structs of services and backends have no holes. */
static const struct service *find_changed(const struct balance *before, const struct balance *after)
{
	for (size_t i = 0; i < after->service_count; i++) {
		const struct service *s = &after->services[i], *was = balance_find(before, s);

		if (!was || memcmp(was, s, sizeof(*s)) || !same_backends(before, after, s->index))
			return s;
	}
	for (size_t i = 0; i < before->service_count; i++)
		if (!balance_find(after, &before->services[i]))
			return &before->services[i];
	return NULL;
}

int plan_make(const struct balance *before, struct balance *after, const struct service *name,
	      struct plan *plan)
{
	const struct service *was, *will;
	char text[SERVICE_NAME];
	int err;

	*plan = (struct plan){};
	err = ranges_assign(after, before);
	if (err)
		return err;
	name = name ? name : find_changed(before, after);
	plan->changes_nothing = !name;
	if (!name)
		return 0;
	was = balance_find(before, name);
	will = balance_find(after, name);
	if (!was && !will) {
		service_format_name(name, text);
		return fail(-ENOENT, "there is no service %s", text);
	}
	err = make(before, after, was, will, plan);
	if (err)
		plan_free(plan);
	return err;
}

void plan_free(struct plan *plan)
{
	free(plan->backends);
	free(plan->now);
	free(plan->then);
	*plan = (struct plan){};
}

/* ---- flows that live ---- */

/* A table of tracked flows does not know those whose slots rest; the counters tell of TCP. */
static __u64 live_flows(const struct plan *plan, const struct backend_stats *stats)
{
	const struct weir_backend_counters *c = &stats->counters;
	__u64 open = c->connections > c->ended ? c->connections - c->ended : 0;

	if (plan->exact || plan->service.proto != IPPROTO_TCP || open < stats->flows.open)
		return stats->flows.open;
	return open;
}

static void take_flows(struct plan *plan, const struct backend *backend,
		       const struct backend_stats *stats)
{
	for (size_t i = 0; i < plan->count; i++)
		if (plan->backends[i].backend.index == backend->index)
			plan->backends[i].flows = live_flows(plan, stats);
}

static int find_flows(const struct instance *in, const struct balance *one, struct plan *plan)
{
	struct backend_stats *backends = calloc(one->backend_count + 1, sizeof(*backends));
	struct service_stats service = {};
	int err = -ENOMEM;

	if (!backends)
		return fail(err, "out of memory");
	err = services_stats(in, one, &service, backends);
	for (size_t i = 0; i < one->backend_count && !err; i++)
		take_flows(plan, &one->backends[i], &backends[i]);
	free(backends);
	plan->moving = service.moving;
	return err;
}

int plan_find_flows(const struct instance *in, const struct balance *before, struct plan *plan)
{
	struct balance one = {.service_count = 1};
	int err;

	if (plan->changes_nothing || plan->is_new)
		return 0;
	one.services = balance_service(before, plan->service.index);
	one.backend_count = balance_backends(before, plan->service.index, &one.backends);
	err = find_flows(in, &one, plan);
	if (!err)
		plan_sum_flows(plan);
	return err;
}

/* The part of a backend's flows that is in so many of its slots. */
static __u64 share(__u64 flows, __u64 slots, __u64 of)
{
	return of ? flows * slots / of : 0;
}

void plan_sum_flows(struct plan *plan)
{
	plan->flows = plan->in_moved = plan->broken = plan->switched = 0;
	for (size_t i = 0; i < plan->count; i++) {
		const struct plan_backend *b = &plan->backends[i];
		__u64 moved = share(b->flows, b->lost, b->slots_now);

		plan->flows += b->flows;
		plan->in_moved += moved;
		if (b->cut_off)
			plan->broken += b->flows;
		else if (plan->rehashed)
			plan->broken += share(b->flows, plan->slots - b->slots_then, plan->slots);
		else if (plan->service.free && plan->service.mode != WEIR_NAT)
			plan->switched += moved;
	}
}

/* ---- one flow ---- */

static __u64 word_of(const __u8 *bytes)
{
	__u32 half[2];

	memcpy(half, bytes, sizeof(half));
	return (__u64)ntohl(half[0]) << 32 | ntohl(half[1]);
}

static __u32 slot_of(const struct plan *plan, const struct plan_flow *flow, bool by_source)
{
	__u64 high = word_of(flow->source.byte), low = word_of(flow->source.byte + 8);
	__u64 ports = ports_of(flow->sport, flow->dport);
	__u64 hash = flow->source.family == 4 ? hash_flow(high >> 32 << 32, 0, 4, ports, by_source)
					      : hash_flow(high, low, 6, ports, by_source);

	return slot_of_hash(hash, plan->slots - 1);
}

struct plan_place plan_place(const struct plan *plan, const struct plan_flow *flow)
{
	__u32 now = slot_of(plan, flow, plan->by_source_now);
	__u32 then = slot_of(plan, flow, plan->service.by_source);
	__u32 was = plan->now[now], will = plan->then[then];

	return (struct plan_place){
		.slot_now = plan->slots_now ? now & (plan->slots_now - 1) : 0,
		.slot_then = plan->is_deleted ? 0 : then & (plan->service.slots - 1),
		.now = was ? &plan->backends[was - 1] : NULL,
		.then = will ? &plan->backends[will - 1] : NULL,
	};
}
