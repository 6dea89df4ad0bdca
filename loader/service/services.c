// SPDX-License-Identifier: GPL-2.0
#include "services.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/balance/bring.h"
#include "loader/attach/serving.h"
#include "loader/base/error.h"
#include "loader/nexthop/nexthop.h"
#include "loader/balance/ranges.h"
#include "loader/balance/slots.h"

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static __u32 free_index(const struct balance *b)
{
	__u32 index = 1;

	/* In order of index. */
	for (size_t i = 0; i < b->service_count && b->services[i].index == index; i++)
		index++;
	return index;
}

static int find(const struct balance *b, const struct service *name, struct service **service)
{
	*service = balance_find(b, name);
	return *service ? 0 : no_such_service(name);
}

/* Slots for the backends as they are now. What a service has it keeps: flows are in it. */
static int size_slots(struct balance *b, __u32 index)
{
	struct service *s = balance_service(b, index);
	__u32 *owner, count;
	int err = slots_plan(b, s, &owner, &count);

	if (err)
		return err;
	free(owner);
	if (count <= s->slots)
		return 0;
	s->slots = count;
	s->first_slot = 0;
	/* Flows are tracked by slot: more slots, more room. */
	if (!s->flows_wanted && s->mode != WEIR_NAT && s->buckets < ranges_buckets(s, count))
		s->buckets = 0;
	return 0;
}

int balance_add_service(struct balance *b, const struct service *service)
{
	struct service added = *service;
	char text[SERVICE_NAME];

	service_format_name(service, text);
	if (balance_find(b, service))
		return fail(-EEXIST,
			    "there is a service %s already; 'weir service set %s ...' changes it",
			    text, text);
	added.index = free_index(b);
	if (added.index >= WEIR_MAX_SERVICES)
		return fail(-ENOSPC, "there are %u services already, which is the most",
			    WEIR_MAX_SERVICES - 1);
	added.since_ns = now_ns();
	if (balance_insert_service(b, &added))
		return -ENOMEM;
	return size_slots(b, added.index);
}

/* A flow of NAT is known by the address that it leaves from, and its backend knows it by that. */
static int check_source(const struct balance *b, const struct service *s,
			const struct address *source)
{
	struct backend *first;

	if (s->mode != WEIR_NAT || !memcmp(&s->source, source, sizeof(*source)) ||
	    !balance_backends(b, s->index, &first))
		return 0;
	return fail(-EBUSY,
		    "the flows of a nat service leave from its source: delete its backends, "
		    "or the service, and add them again with the other source");
}

int balance_change_service(struct balance *b, const struct service *changed)
{
	struct service *s;
	int err = find(b, changed, &s);

	if (err)
		return err;
	if (s->mode == WEIR_NAT && s->flows_wanted != changed->flows_wanted)
		return fail(-EBUSY,
			    "the flows of a nat service are translated where they are: delete the "
			    "service and add it with another number of flows");
	if (s->by_source != changed->by_source)
		return fail(
			-EBUSY,
			"another affinity would send flows that are there elsewhere: delete the "
			"service and add it with the other affinity");
	err = check_source(b, s, &changed->source);
	if (err)
		return err;
	s->free = changed->free;
	s->mss = changed->mss;
	s->source = changed->source;
	s->idle = changed->idle;
	s->slots_wanted = changed->slots_wanted;
	if (s->flows_wanted != changed->flows_wanted) {
		s->flows_wanted = changed->flows_wanted;
		s->buckets = 0;
	}
	return size_slots(b, s->index);
}

int balance_delete_service(struct balance *b, const struct service *name)
{
	struct service *s;
	int err = find(b, name, &s);

	if (!err)
		balance_remove_service(b, s->index);
	return err;
}

static int check_backend(const struct service *s, const struct backend *backend)
{
	__u8 inner = s->address.family, outer = backend->address.family;
	char text[BACKEND_NAME];

	backend_format_name(backend, text);
	if (inner == outer || (s->mode == WEIR_DSR_IPIP && outer == 6))
		return 0;
	return fail(-EAFNOSUPPORT, "backend %s: mode %s cannot carry IPv%u to an IPv%u address%s",
		    text, mode_name(s->mode), inner, outer, inner == 4 ? "; dsr-ipip can" : "");
}

/* One that is leaving may be called back. */
static int add_backend(struct balance *b, const struct service *s, const struct backend *backend)
{
	struct backend added = *backend, *there = balance_find_backend(b, s->index, backend);
	char text[BACKEND_NAME];
	struct backend *first;
	int err = check_backend(s, backend);

	if (err)
		return err;
	if (there && there->state == BACKEND_LEAVING) {
		there->state = backend->state;
		there->weight = backend->weight;
		return 0;
	}
	backend_format_name(backend, text);
	if (there)
		return fail(-EEXIST,
			    "the service has the backend %s already; 'weir backend set' changes it",
			    text);
	if (balance_backends(b, s->index, &first) >= WEIR_MAX_BACKENDS)
		return fail(-ENOSPC, "the service has %u backends already, which is the most",
			    WEIR_MAX_BACKENDS);
	added.index = 0;
	added.service = s->index;
	added.since_ns = now_ns();
	return balance_insert_backend(b, &added);
}

int balance_add_backends(struct balance *b, const struct service *name, const struct backend *list,
			 size_t count)
{
	struct service *s;
	int err = find(b, name, &s);

	for (size_t i = 0; i < count && !err; i++)
		err = add_backend(b, s, &list[i]);
	return err ? err : size_slots(b, s->index);
}

static int find_backend(const struct balance *b, const struct service *name,
			const struct backend *backend, struct service **service,
			struct backend **found)
{
	int err = find(b, name, service);

	if (err)
		return err;
	*found = balance_find_backend(b, (*service)->index, backend);
	return *found ? 0 : no_such_backend(*service, backend);
}

int balance_change_backend(struct balance *b, const struct service *name,
			   const struct backend *backend, __u16 weight, enum backend_state state)
{
	struct service *s;
	struct backend *found;
	int err = find_backend(b, name, backend, &s, &found);

	if (err)
		return err;
	if (weight)
		found->weight = weight;
	if (state != BACKEND_STATES)
		found->state = state;
	return size_slots(b, s->index);
}

int balance_delete_backend(struct balance *b, const struct service *name,
			   const struct backend *backend, bool now)
{
	struct service *s;
	struct backend *found;
	int err = find_backend(b, name, backend, &s, &found);

	if (err)
		return err;
	/* Nothing goes to a dead one that could end in peace. */
	if (!now && found->state != BACKEND_DEAD) {
		found->state = BACKEND_LEAVING;
		return 0;
	}
	balance_remove_backend(b, found->index);
	return 0;
}

int services_get(const struct instance *in, struct balance *balance)
{
	return balance_load(in, balance);
}

static bool stays(const struct balance *after, const struct backend *b)
{
	const struct backend *there = balance_find_backend(after, b->service, b);

	return there && there->index == b->index;
}

/* What backends that are deleted at once had counted stays with their services. */
static int keep_counts(struct instance *in, struct balance *after)
{
	struct balance_maps maps;
	struct balance before = {};
	int err = balance_maps_open(in, &maps);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = balance_read(&maps, &before, NULL);
	for (size_t i = 0; i < before.backend_count && !err; i++) {
		const struct backend *b = &before.backends[i];
		struct service *s = balance_service(after, b->service);
		const struct service *was = balance_service(&before, b->service);

		if (!s || s->since_ns != was->since_ns || stays(after, b))
			continue;
		err = balance_retire(&maps, s, b->index);
	}
	balance_free(&before);
	balance_maps_close(&maps);
	return err;
}

/* Clients on this host reach what listens here, others the backends. */
static void note_local(const struct service *s)
{
	char name[SERVICE_NAME];

	if (!address_is_local(&s->address))
		return;
	service_format_name(s, name);
	notice("service %s: this address is also this host's own: what comes in for the service goes "
	       "to its backends, and everything else stays here",
	       name);
}

/* What the user is told before services or backends are added. */
static int check_added(const struct instance *in, const struct balance *before,
		       const struct balance *after)
{
	int err;

	if (after->service_count <= before->service_count &&
	    after->backend_count <= before->backend_count)
		return 0;
	err = serving_check(in);
	for (size_t i = 0; i < after->service_count && !err; i++)
		if (!balance_service(before, after->services[i].index))
			note_local(&after->services[i]);
	return err;
}

static bool takes_flows(const struct balance *b, __u32 service)
{
	struct backend *first;
	size_t n = balance_backends(b, service, &first);

	for (size_t i = 0; i < n; i++)
		if (first[i].state == BACKEND_UP)
			return true;
	return false;
}

/* The change takes the last backend that was up from a service. */
static void note_emptied(const struct balance *before, const struct balance *after)
{
	char name[SERVICE_NAME];

	for (size_t i = 0; i < after->service_count; i++) {
		const struct service *s = &after->services[i];

		if (!takes_flows(before, s->index) || takes_flows(after, s->index))
			continue;
		service_format_name(s, name);
		notice("service %s: no backend is up any more, new connections are dropped", name);
	}
}

int services_publish(struct instance *in, struct balance *after)
{
	struct balance before;
	struct tended what;
	int err = balance_load(in, &before);

	if (!err)
		err = check_added(in, &before, after);
	if (!err)
		note_emptied(&before, after);
	balance_free(&before);
	if (!err)
		err = keep_counts(in, after);
	if (!err)
		err = balance_publish(in, after);
	return err ? err : balance_settle(in, false, &what);
}

int services_settle(struct instance *in)
{
	struct tended what;

	/* A table that cannot be read is for the command itself to tell of: it may be a detach. */
	if (balance_settle(in, false, &what) == -EPROTO)
		forget_failure();
	else if (failure())
		return -EINVAL;
	return 0;
}

int services_tend(struct instance *in, struct tended *what)
{
	return balance_settle(in, true, what);
}
