// SPDX-License-Identifier: GPL-2.0
#include "ways.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/attach/device.h"
#include "loader/attach/veth/polling.h"
#include "loader/base/error.h"
#include "loader/host/ifindexes.h"

#define FIRST_WAIT_MS 2

static int compare(const void *a, const void *b)
{
	const struct way *x = a, *y = b;

	if (x->to.family != y->to.family)
		return x->to.family < y->to.family ? -1 : 1;
	return memcmp(x->to.byte, y->to.byte, sizeof(x->to.byte));
}

int ways_collect(struct ways *ways, const struct address *to, size_t count)
{
	size_t kept = 0;

	*ways = (struct ways){.way = calloc(count + 1, sizeof(*ways->way))};
	if (!ways->way)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++)
		ways->way[i].to = to[i];
	qsort(ways->way, count, sizeof(*ways->way), compare);
	for (size_t i = 0; i < count; i++)
		if (!kept || compare(&ways->way[kept - 1], &ways->way[i]))
			ways->way[kept++] = ways->way[i];
	ways->count = kept;
	return 0;
}

void ways_free(struct ways *ways)
{
	free(ways->way);
	*ways = (struct ways){};
}

static bool is_open(const struct way *way)
{
	return !way->known || (way->hop.ifindex && !way->hop.local && !way->hop.reachable);
}

/* Returns how many are still open, or < 0. */
static int look(struct ways *ways)
{
	int open = 0, err = 0;

	next_hops_in_one_go(true);
	for (size_t i = 0; i < ways->count && !err; i++) {
		struct way *way = &ways->way[i];

		if (is_open(way))
			err = next_hop_find(&way->to, 0, &way->hop);
		way->known = !err;
		open += is_open(way);
	}
	next_hops_in_one_go(false);
	return err ? err : open;
}

int ways_find(struct ways *ways, unsigned int wait_ms)
{
	unsigned int waited = 0, wait = FIRST_WAIT_MS;
	int open = look(ways);

	while (open > 0 && waited < wait_ms) {
		struct timespec t = {.tv_nsec = wait * 1000000l};

		nanosleep(&t, NULL);
		waited += wait;
		wait *= 2;
		open = look(ways);
	}
	return open < 0 ? open : 0;
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

void ways_look(struct ways *ways, unsigned int ms)
{
	static struct address last;
	const struct way from = {.to = last};
	double end = now_ms() + ms;
	size_t first = 0;

	next_hops_in_one_go(true);
	while (first < ways->count && compare(&ways->way[first], &from) <= 0)
		first++;
	for (size_t i = 0; i < ways->count && now_ms() < end; i++) {
		struct way *way = &ways->way[(first + i) % ways->count];

		last = way->to;
		way->known = !next_hop_find(&way->to, 0, &way->hop);
		if (way->known)
			next_hop_keep(&way->hop);
		else
			forget_failure();
	}
	next_hops_in_one_go(false);
}

static bool wants_frames(const struct way *way)
{
	return way->known && way->hop.reachable && way->hop.via_tc;
}

/* Many are by few devices: each of these is made to once. */
static void prepare(struct ways *ways, const struct instance *in, unsigned int ms)
{
	struct ifindexes seen = {}, taking = {};
	double end = now_ms() + ms;

	for (size_t i = 0; i < ways->count && now_ms() < end; i++) {
		struct next_hop *hop = &ways->way[i].hop;

		if (!wants_frames(&ways->way[i]))
			continue;
		if (ifindexes_add(&seen, hop->ifindex) && polling_begin_at(in, hop->ifindex))
			ifindexes_add(&taking, hop->ifindex);
		hop->via_tc = !ifindexes_have(&taking, hop->ifindex);
	}
	ifindexes_free(&seen);
	ifindexes_free(&taking);
}

void ways_prepare(struct ways *ways, const struct instance *in, unsigned int ms)
{
	struct ifindexes transmitting;
	bool wanted = false;

	for (size_t i = 0; i < ways->count && !wanted; i++)
		wanted = wants_frames(&ways->way[i]);
	if (!wanted)
		return;
	devices_transmitting(in, &transmitting);
	if (transmitting.count)
		prepare(ways, in, ms);
	ifindexes_free(&transmitting);
}

const struct next_hop *ways_hop(const struct ways *ways, const struct address *to)
{
	const struct way key = {.to = *to};
	const struct way *way = bsearch(&key, ways->way, ways->count, sizeof(key), compare);

	return way && way->known ? &way->hop : NULL;
}
