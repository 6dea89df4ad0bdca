// SPDX-License-Identifier: GPL-2.0
#include "service_view.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/base/error.h"
#include "loader/out/out.h"
#include "loader/watch/counters.h"

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* ---- configuration ---- */

static void set_address(json_t *o, const char *key, const struct address *a)
{
	char text[ADDRESS_TEXT];

	address_format(a, text);
	json_object_set_new(o, key, json_string(text));
}

static void set_wanted(json_t *o, const char *key, __u32 number)
{
	if (number)
		json_object_set_new(o, key, json_integer(number));
}

json_t *service_json(const struct service *s)
{
	char name[SERVICE_NAME];
	json_t *o;

	service_format_name(s, name);
	o = json_pack("{s:s, s:s}", "service", name, "protocol",
		      s->proto == IPPROTO_TCP ? "tcp" : "udp");
	set_address(o, "address", &s->address);
	json_object_set_new(o, "port", s->port ? json_integer(s->port) : json_null());
	json_object_set_new(o, "mode", json_string(mode_name(s->mode)));
	json_object_set_new(o, "affinity", json_string(s->by_source ? "source" : "none"));
	if (s->proto == IPPROTO_UDP)
		json_object_set_new(o, "udp", json_string(s->free ? "free" : "sticky"));
	set_wanted(o, "mss", s->mss);
	if (s->source.family)
		set_address(o, "source", &s->source);
	json_object_set_new(o, "idle_seconds", json_integer(s->idle));
	set_wanted(o, "flows_wanted", s->flows_wanted);
	set_wanted(o, "slots_wanted", s->slots_wanted);
	return o;
}

json_t *backend_json(const struct backend *b)
{
	char name[BACKEND_NAME];
	json_t *o;

	backend_format_name(b, name);
	o = json_pack("{s:s}", "backend", name);
	set_address(o, "address", &b->address);
	set_wanted(o, "port", b->port);
	json_object_set_new(o, "weight", json_integer(b->weight));
	json_object_set_new(o, "state", json_string(backend_state_name(b->state)));
	return o;
}

/* ---- counters ---- */

/* Indexes are used again: counters that ran backwards are another's, and say nothing. */
static __u64 since(__u64 before, __u64 after)
{
	return after >= before ? after - before : 0;
}

static void set_counter(json_t *o, __u64 packets, __u64 bytes, const __u64 *before, double seconds)
{
	struct weir_counter total = {packets, bytes}, delta = {0};
	json_t *counted;

	if (before)
		delta = (struct weir_counter){since(before[0], packets), since(before[1], bytes)};
	counted = counter_json(total, before ? &delta : NULL, seconds);
	json_object_update(o, counted);
	json_decref(counted);
}

/* `flows`: those of NAT, where each is known, that have not ended. */
static void set_counters(json_t *o, const struct service *s, const struct weir_backend_counters *c,
			 const struct weir_backend_counters *before, __u32 flows, double seconds)
{
	json_t *live = json_null();

	set_counter(o, c->packets, c->bytes, before ? &before->packets : NULL, seconds);
	if (s->mode == WEIR_NAT) {
		json_t *reply = json_object();

		set_counter(reply, c->reply_packets, c->reply_bytes,
			    before ? &before->reply_packets : NULL, seconds);
		json_object_set_new(o, "reply", reply);
	}
	json_object_set_new(o, "connections", json_integer((json_int_t)c->connections));
	if (before)
		json_object_set_new(
			o, "connections_per_second",
			json_real(since(before->connections, c->connections) / seconds));
	if (s->mode == WEIR_NAT)
		live = json_integer(flows);
	else if (s->proto == IPPROTO_TCP)
		live = json_integer((json_int_t)since(c->ended, c->connections));
	json_object_set_new(o, "connections_live", live);
}

static const struct {
	const char *name;
	size_t at;
	const char *trouble; /* what the user should know; NULL: all is well */
} events[] = {
#define EVENT(name, trouble)                                                 \
	{                                                                    \
#name, offsetof(struct weir_service_counters, name), trouble \
	}
	EVENT(tracked, NULL),
	EVENT(untracked, "new flows without room, left to the backend that their moving slot had"),
	EVENT(no_backend, "packets dropped as no backend was alive"),
	EVENT(nat_full, "new flows refused for want of room or a port"),
	EVENT(nat_unknown, "packets of no known flow"),
	EVENT(port_changed, NULL),
	EVENT(fragments, "fragments whose first one was not seen"),
	EVENT(too_big, "packets too big for the way to the backend"),
	EVENT(icmp_relayed, NULL),
#undef EVENT
};

#define EVENTS (sizeof(events) / sizeof(events[0]))

static void set_events(json_t *o, const struct weir_service_counters *c)
{
	char note[512] = "";
	size_t length = 0;

	for (size_t i = 0; i < EVENTS; i++) {
		__u64 count = *(const __u64 *)((const char *)c + events[i].at);

		json_object_set_new(o, events[i].name, json_integer((json_int_t)count));
		if (count && events[i].trouble)
			length += snprintf(note + length, sizeof(note) - length, "%s%s: %llu",
					   length ? "; " : "", events[i].trouble, count);
	}
	if (length)
		json_object_set_new(o, "note", json_string(note));
}

/* ---- the way to a backend ---- */

static void set_mac(json_t *o, const char *key, const __u8 *mac)
{
	char text[18];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	json_object_set_new(o, key, json_string(text));
}

static void set_way(json_t *o, const struct backend_stats *stats)
{
	const struct weir_backend *r = &stats->record;
	bool reachable = r->flags & (WEIR_B_REACHABLE | WEIR_B_LOCAL);
	char way[64];

	if (r->flags & WEIR_B_LOCAL)
		strcpy(way, "this host");
	else if (!r->ifindex)
		strcpy(way, "no route");
	else if (!reachable)
		snprintf(way, sizeof(way), "no neighbour at %s", stats->device);
	else
		snprintf(way, sizeof(way), "%s%s", stats->device,
			 r->flags & WEIR_B_VIA_TC ? " by TC" : "");
	json_object_set_new(o, "reachable", json_boolean(reachable));
	json_object_set_new(o, "way", out_string(way));
	if (!r->ifindex)
		return;
	json_object_set_new(o, "device", out_string(stats->device));
	json_object_set_new(o, "ifindex", json_integer(r->ifindex));
	json_object_set_new(o, "mtu_bytes", json_integer(r->mtu));
	if (reachable && !(r->flags & WEIR_B_LOCAL)) {
		set_mac(o, "mac", r->dest_mac);
		set_mac(o, "source_mac", r->source_mac);
	}
}

/* ---- the document ---- */

/* What is read now, beside the reading before. */
struct reading {
	struct balance balance;
	struct service_stats *services;
	struct backend_stats *backends;
	const struct service_view *before;
	double seconds, length;
};

static const struct backend_stats *backend_before(const struct service_view *view,
						  const struct backend *b)
{
	const struct backend *old = NULL;

	if (view->seconds)
		old = balance_find_backend(&view->balance, b->service, b);
	return old && old->index == b->index && old->since_ns == b->since_ns
		       ? &view->backend_stats[old - view->balance.backends]
		       : NULL;
}

static const struct service_stats *service_before(const struct service_view *view,
						  const struct service *s)
{
	const struct service *old = NULL;

	if (view->seconds)
		old = balance_service(&view->balance, s->index);
	return old && old->since_ns == s->since_ns
		       ? &view->service_stats[old - view->balance.services]
		       : NULL;
}

static json_t *backend_row(const struct reading *r, const struct service *s,
			   const struct backend *b)
{
	const struct backend_stats *stats = &r->backends[b - r->balance.backends];
	const struct backend_stats *before = backend_before(r->before, b);
	json_t *o = backend_json(b);

	set_way(o, stats);
	json_object_set_new(o, "slots", json_integer(stats->slots));
	json_object_set_new(o, "slots_previous", json_integer(stats->previous));
	json_object_set_new(o, "flows", json_integer(stats->flows.kept));
	set_counters(o, s, &stats->counters, before ? &before->counters : NULL, stats->flows.open,
		     r->length);
	return o;
}

static json_t *service_row(const struct reading *r, const struct service *s)
{
	const struct service_stats *stats = &r->services[s - r->balance.services];
	const struct service_stats *before = service_before(r->before, s);
	json_t *o = service_json(s), *list = json_array();
	struct backend *first;
	size_t count = balance_backends(&r->balance, s->index, &first);
	int up = 0;

	for (size_t i = 0; i < count; i++) {
		up += first[i].state == BACKEND_UP;
		json_array_append_new(list, backend_row(r, s, &first[i]));
	}
	json_object_set_new(o, "backends_up", json_integer(up));
	json_object_set_new(o, "backends_total", json_integer((json_int_t)count));
	json_object_set_new(o, "slots", json_integer(s->slots));
	json_object_set_new(o, "slots_moving", json_integer(stats->moving));
	json_object_set_new(o, "flows", json_integer(stats->flows.kept));
	json_object_set_new(o, "flows_room", json_integer(stats->flows_room));
	set_counters(o, s, &stats->counters, before ? &before->counters : NULL, stats->flows.open,
		     r->length);
	set_events(o, &stats->events);
	json_object_set_new(o, "backends", list);
	return o;
}

static json_t *rows(const struct reading *r, const struct service *only)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->balance.service_count; i++)
		if (!only || only == &r->balance.services[i])
			json_array_append_new(list, service_row(r, &r->balance.services[i]));
	return list;
}

/* Leaves one service with its backends, if it is there: to read all counters takes time. */
static void keep_only(struct balance *b, const struct service *name)
{
	const struct service *s = balance_find(b, name);
	struct backend *first;

	if (!s)
		return;
	b->backend_count = balance_backends(b, s->index, &first);
	if (b->backend_count)
		memmove(b->backends, first, b->backend_count * sizeof(*first));
	b->services[0] = *s;
	b->service_count = 1;
}

static int take_reading(struct reading *r)
{
	struct instance in;
	int err = instance_open(&in, false);

	if (err)
		return err;
	if (in.exists)
		err = services_get(&in, &r->balance);
	if (!err && r->before->only)
		keep_only(&r->balance, r->before->only);
	if (!err) {
		r->services = calloc(r->balance.service_count + 1, sizeof(*r->services));
		r->backends = calloc(r->balance.backend_count + 1, sizeof(*r->backends));
		if (!r->services || !r->backends)
			err = fail(-ENOMEM, "out of memory");
	}
	if (!err && r->balance.service_count)
		err = services_stats(&in, &r->balance, r->services, r->backends);
	r->seconds = now();
	instance_close(&in);
	return err;
}

int service_view_read(struct service_view *view)
{
	struct reading r = {.before = view};
	const struct service *only = NULL;
	json_t *services = NULL;
	int err = take_reading(&r);

	if (!err && view->only) {
		only = balance_find(&r.balance, view->only);
		if (!only)
			err = no_such_service(view->only);
	}
	if (!err) {
		r.length = r.seconds - view->seconds;
		services = rows(&r, only);
		if (!services)
			err = fail(-ENOMEM, "out of memory");
	}
	if (err) {
		free(r.services);
		free(r.backends);
		balance_free(&r.balance);
		return err;
	}
	only = view->only;
	service_view_free(view);
	*view = (struct service_view){.only = only,
				      .services = services,
				      .balance = r.balance,
				      .service_stats = r.services,
				      .backend_stats = r.backends,
				      .seconds = r.seconds};
	return 0;
}

void service_view_free(struct service_view *view)
{
	json_decref(view->services);
	free(view->service_stats);
	free(view->backend_stats);
	balance_free(&view->balance);
	*view = (struct service_view){};
}
