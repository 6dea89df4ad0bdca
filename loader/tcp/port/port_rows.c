// SPDX-License-Identifier: GPL-2.0
#include "port.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/out/endpoint.h"
#include "loader/out/out.h"
#include "loader/trace/log2.h"
#include "port_own.h"
#include "port_range.h"

#define FRESH_NS	  1000000000ull
#define TIME_WAIT_SECONDS 60
#define TICKS_THAT_COUNT  ((TIME_WAIT_SECONDS * 1000000000ull >> WEIR_PORT_TICK_SHIFT) + 1)
#define ALERT_PERCENT	  50

struct reading {
	struct trace_run *run;
	bool interval;
	__u64 now;
	struct weir_port_walk walk;
	struct counts services, destinations;
	struct port_range *ranges;
	size_t range_count;
};

/* ---- services ---- */

/* One that was forgotten and came again has counted less since. */
static __u64 since(__u64 now, const __u64 *before, size_t index)
{
	__u64 was = before ? before[index] : 0;

	return now - (was <= now ? was : 0);
}

#define SINCE(now, before, type, field) \
	since((now)->field, before, offsetof(struct type, field) / sizeof(__u64))

static json_t *service_row(const struct reading *r, size_t i)
{
	const struct port_own *own = r->run->own;
	const struct weir_port_service *key = counts_key(&r->services, i);
	const struct weir_port_service_counts *n = (void *)counts_value(&r->services, i);
	const __u64 *before = r->interval ? counts_find(&own->services, key) : NULL;
	__u64 connections = SINCE(n, before, weir_port_service_counts, connections);

	if (!n->listeners && !n->established && !connections)
		return NULL;
	return json_pack("{s:I,s:i,s:I,s:I,s:I,s:I}", "netns_inode", (json_int_t)key->netns, "port",
			 key->port, "listeners", (json_int_t)n->listeners, "established",
			 (json_int_t)n->established, "established_peak", (json_int_t)n->peak,
			 "connections", (json_int_t)connections);
}

/* ---- destinations ---- */

static __u64 time_waits_of_last_minute(const struct reading *r,
				       const struct weir_port_destination_counts *n)
{
	__u64 now = r->now >> WEIR_PORT_TICK_SHIFT, sum = 0;

	for (int i = 0; i < WEIR_PORT_TICKS; i++)
		if ((n->time_wait_tick[i] >> 32) + TICKS_THAT_COUNT >= now)
			sum += (__u32)n->time_wait_tick[i];
	return sum;
}

/* What a walk has found and what has come since; later, what came in the minute that TIME_WAIT lasts,
 * where that is less. */
static __u64 time_waits(const struct reading *r, const struct weir_port_destination_counts *n)
{
	__u64 found = n->time_wait_walk == r->walk.number ? n->time_wait : 0;
	__u64 later = n->time_wait_new_walk == r->walk.number ? n->time_wait_new : 0;
	__u64 minute, began = r->run->about.started_ns;

	if (r->now - r->walk.began_ns < FRESH_NS ||
	    r->now - began < (TICKS_THAT_COUNT + 1) << WEIR_PORT_TICK_SHIFT)
		return found + later;
	minute = time_waits_of_last_minute(r, n);
	return minute < found + later ? minute : found + later;
}

static void add_searches(json_t *row, const struct weir_port_destination_counts *n,
			 const __u64 *before)
{
	__u64 searches = SINCE(n, before, weir_port_destination_counts, searches);
	__u64 ns = SINCE(n, before, weir_port_destination_counts, search_ns);
	__u64 slot[WEIR_LOG2_SLOTS];
	size_t first = offsetof(struct weir_port_destination_counts, search_slot) / sizeof(__u64);
	double most = n->search_max_ns / 1e3, p99;

	for (int i = 0; i < WEIR_LOG2_SLOTS; i++)
		slot[i] = since(n->search_slot[i], before, first + i);
	p99 = log2_quantile(slot, 0.99);
	json_object_set_new(row, "searches", json_integer(searches));
	json_object_set_new(row, "search_us_mean", out_real(searches ? ns / 1e3 / searches : NAN));
	json_object_set_new(row, "search_us_p99", out_real(p99 > most ? most : p99));
	json_object_set_new(row, "search_us_max", out_real(n->searches ? most : NAN));
}

static const char *advice(bool full, double percent)
{
	if (full)
		return "connect() finds no free port: take more addresses, widen "
		       "ip_local_port_range, or use connections again";
	if (percent >= 100)
		return "no port is left but those in TIME_WAIT: connect() fails unless "
		       "net.ipv4.tcp_tw_reuse lets it take these over; let the other side close "
		       "first, or use connections again";
	return "half of the ports are taken: from here on each search for a free one takes longer";
}

static void add_use(json_t *row, const struct weir_port_destination_counts *n, __u64 waiting,
		    __u32 ports, __u64 failed)
{
	double percent = ports ? 100.0 * (n->in_use + waiting) / ports : NAN;
	/* What waits may be taken again, see tcp_tw_reuse: the ports are used up when connect() says so. */
	bool half = percent >= ALERT_PERCENT;
	bool full = half && (failed || n->in_use >= ports);

	json_object_set_new(row, "ports", ports ? json_integer(ports) : json_null());
	json_object_set_new(row, "used_percent", out_real(percent));
	json_object_set_new(row, "alert",
			    isnan(percent) ? json_null()
					   : json_string(full	? "fail"
							 : half ? "warn"
								: "ok"));
	if (half)
		json_object_set_new(row, "advice", json_string(advice(full, percent)));
}

static json_t *destination_row(const struct reading *r, size_t i)
{
	const struct port_own *own = r->run->own;
	const struct weir_port_destination *key = counts_key(&r->destinations, i);
	const struct weir_port_destination_counts *n = (void *)counts_value(&r->destinations, i);
	const __u64 *before = r->interval ? counts_find(&own->destinations, key) : NULL;
	__u64 waiting = time_waits(r, n);
	__u64 attempts = SINCE(n, before, weir_port_destination_counts, attempts);
	__u64 failed = SINCE(n, before, weir_port_destination_counts, failed);
	__u64 connections = SINCE(n, before, weir_port_destination_counts, connections);
	json_t *row;

	if (!n->in_use && !n->bound && !waiting && !attempts && !failed)
		return NULL;
	row = json_pack("{s:I,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "netns_inode",
			(json_int_t)key->netns, "local", out_address(key->local, key->family),
			"remote", out_end(key->remote, key->port, key->family), "in_use",
			(json_int_t)n->in_use, "in_use_peak", (json_int_t)n->peak, "established",
			(json_int_t)n->established, "time_wait", (json_int_t)waiting, "bound",
			(json_int_t)n->bound, "attempts", (json_int_t)attempts, "connections",
			(json_int_t)connections, "failed_no_port", (json_int_t)failed);
	if (!row)
		return NULL;
	add_use(row, n, waiting, port_range_find(r->ranges, r->range_count, key->netns), failed);
	add_searches(row, n, before);
	return row;
}

/* ---- all ---- */

static int by_netns(const void *a, const void *b)
{
	const struct port_range *x = a, *y = b;

	return (x->netns > y->netns) - (x->netns < y->netns);
}

static int read_ranges(struct reading *r)
{
	size_t kept = 0;

	r->ranges = calloc(r->destinations.count + 1, sizeof(*r->ranges));
	if (!r->ranges)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < r->destinations.count; i++) {
		const struct weir_port_destination *key = counts_key(&r->destinations, i);

		r->ranges[i].netns = key->netns;
	}
	qsort(r->ranges, r->destinations.count, sizeof(*r->ranges), by_netns);
	for (size_t i = 0; i < r->destinations.count; i++)
		if (!kept || r->ranges[kept - 1].netns != r->ranges[i].netns)
			r->ranges[kept++] = r->ranges[i];
	r->range_count = kept;
	return port_ranges_read(r->ranges, kept);
}

static int read_all(struct reading *r)
{
	int err = counts_of(&r->services, r->run, "services");

	if (!err)
		err = counts_of(&r->destinations, r->run, "destinations");
	if (!err)
		err = port_walk_read(r->run, &r->walk);
	return err ? err : read_ranges(r);
}

static double sort_value(const json_t *row, const char *field)
{
	return json_number_value(json_object_get(row, field));
}

/* The fullest first. */
static int by_use(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	double first = sort_value(x, "used_percent"), second = sort_value(y, "used_percent");

	if (first == second) {
		first = sort_value(x, "in_use") + sort_value(x, "time_wait");
		second = sort_value(y, "in_use") + sort_value(y, "time_wait");
	}
	return (first < second) - (first > second);
}

/* The largest first. */
static int by_connections(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	double first = sort_value(x, "established"), second = sort_value(y, "established");

	if (first == second) {
		first = sort_value(y, "port");
		second = sort_value(x, "port");
	}
	return (first < second) - (first > second);
}

static json_t *sorted(json_t *rows, int (*compare)(const void *a, const void *b))
{
	size_t count = json_array_size(rows);
	json_t **row = calloc(count + 1, sizeof(*row));

	if (!row)
		return rows;
	for (size_t i = 0; i < count; i++)
		row[i] = json_incref(json_array_get(rows, i));
	qsort(row, count, sizeof(*row), compare);
	json_array_clear(rows);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(rows, row[i]);
	free(row);
	return rows;
}

static json_t *rows_of(const struct reading *r, size_t count,
		       json_t *(*row_of)(const struct reading *r, size_t i))
{
	json_t *rows = json_array(), *row;

	for (size_t i = 0; i < count; i++) {
		row = row_of(r, i);
		if (row)
			json_array_append_new(rows, row);
	}
	return rows;
}

static json_t *document(const struct reading *r)
{
	return json_pack("{s:o,s:o,s:f}", "services",
			 sorted(rows_of(r, r->services.count, service_row), by_connections),
			 "destinations",
			 sorted(rows_of(r, r->destinations.count, destination_row), by_use),
			 "walked_seconds_ago", (r->now - r->walk.began_ns) / 1e9);
}

json_t *port_summary(struct trace_run *run, double seconds)
{
	struct reading r = {.run = run, .interval = seconds > 0};
	struct port_own *own = run->own;
	json_t *all = NULL;

	if (port_walk_if_due(run))
		return NULL;
	r.now = clock_now_ns();
	if (!read_all(&r))
		all = document(&r);
	free(r.ranges);
	counts_free(&own->services);
	counts_free(&own->destinations);
	own->services = r.services;
	own->destinations = r.destinations;
	return all;
}
