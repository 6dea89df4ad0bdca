// SPDX-License-Identifier: GPL-2.0
#include "sock_stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "loader/tend/pairs.h"
#include "loader/sock/sock_maps.h"

/* A pair that ends goes over to the totals within microseconds; if nobody is there any more to end
 * what he began, what is seen after this long is all there will be. */
#define TRIES	    20
#define PAUSE_NS    1000000
#define TOTALS_ROOM (2 * WEIR_SOCK_PORTS)

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* ---- one reading ---- */

static struct sock_port_stats *find(struct sock_port_stats *list, size_t count, __u64 cgroup,
				    __u32 port)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].port == port && list[i].cgroup == cgroup)
			return &list[i];
	return NULL;
}

/* Where the tender will count this pair once it is gone. */
static struct sock_port_stats *port_of(struct sock_stats *s, const struct weir_pair *p, bool full)
{
	struct sock_port_stats *found = find(s->port, s->count, p->cgroup, p->port);
	__u32 port = p->port;

	if (!found && full) {
		port = 0;
		found = find(s->port, s->count, p->cgroup, port);
	}
	if (found)
		return found;
	s->port[s->count] = (struct sock_port_stats){.cgroup = p->cgroup, .port = port};
	return &s->port[s->count++];
}

static void add_pair(struct sock_stats *s, const struct weir_pair *p, bool full)
{
	struct sock_port_stats *port = port_of(s, p, full);

	port->live += p->state == WEIR_PAIR_ON;
	port->total.pairs += pairs_began(p);
	for (int end = 0; end < WEIR_ENDS; end++)
		pairs_add_way(&port->total.way[end], &p->way[end]);
}

static int by_port(const void *a, const void *b)
{
	const struct sock_port_stats *x = a, *y = b;

	if (x->cgroup != y->cgroup)
		return x->cgroup < y->cgroup ? -1 : 1;
	return x->port < y->port ? -1 : x->port > y->port;
}

/* A walk over a map in which something is deleted may begin anew. */
static void add_totals(struct sock_stats *s, const struct sock_port_totals *t)
{
	if (!find(s->port, s->count, t->of.cgroup, t->of.port))
		s->port[s->count++] = (struct sock_port_stats){
			.cgroup = t->of.cgroup, .port = t->of.port, .total = t->totals};
}

int sock_stats_sum(struct sock_stats *s, const struct weir_pair *pairs, size_t pair_count,
		   const struct sock_port_totals *totals, size_t total_count)
{
	size_t live = 0;

	for (size_t i = 0; i < pair_count; i++)
		live += pairs[i].state != WEIR_PAIR_FREE;
	s->count = 0;
	s->port = calloc(live + total_count + 1, sizeof(*s->port));
	if (!s->port)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < total_count; i++)
		add_totals(s, &totals[i]);
	for (size_t i = 0; i < pair_count; i++)
		if (pairs[i].state != WEIR_PAIR_FREE)
			add_pair(s, &pairs[i], total_count >= WEIR_SOCK_PORTS);
	qsort(s->port, s->count, sizeof(*s->port), by_port);
	return 0;
}

void sock_stats_free(struct sock_stats *s)
{
	free(s->port);
	*s = (struct sock_stats){};
}

/* ---- the maps ---- */

/* A reading, as it was at one time if nothing went over meanwhile. */
struct snapshot {
	struct weir_pair *pairs;
	struct sock_port_totals *totals;
	size_t total_count;
};

/* Keys come in no order, and one that goes while it is walked leads back to the beginning. */
static int read_totals(struct snapshot *snap, const struct sock_maps *m)
{
	struct weir_sock_port key, *last = NULL;

	snap->total_count = 0;
	while (snap->total_count < TOTALS_ROOM && !bpf_map_get_next_key(m->totals, last, &key)) {
		struct sock_port_totals *to = &snap->totals[snap->total_count];

		to->of = key;
		last = &to->of;
		if (!bpf_map_lookup_elem(m->totals, &key, &to->totals))
			snap->total_count++;
		else if (errno != ENOENT)
			return fail(-errno, "cannot read the counters of sockets: %m");
		else
			return -EAGAIN;
	}
	return 0;
}

static __u32 page_of(const struct sock_maps *m)
{
	return __atomic_load_n(&m->control->books, __ATOMIC_ACQUIRE);
}

/* -EAGAIN: a pair went over meanwhile and may be seen twice. */
static int take(struct snapshot *snap, const struct sock_maps *m)
{
	__u32 page = page_of(m);
	int err;

	memcpy(snap->pairs, m->pairs, m->pair_count * sizeof(*snap->pairs));
	err = read_totals(snap, m);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return err ? err : page % 2 || page != page_of(m) ? -EAGAIN : 0;
}

static int take_whole(struct snapshot *snap, const struct sock_maps *m)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	int err = take(snap, m);

	for (int i = 1; err == -EAGAIN && i < TRIES; i++) {
		nanosleep(&pause, NULL);
		err = take(snap, m);
	}
	return err == -EAGAIN ? 0 : err;
}

int sock_stats_read(struct sock_stats *s, const struct sock_maps *m)
{
	struct snapshot snap = {
		.pairs = calloc(m->pair_count, sizeof(*snap.pairs)),
		.totals = calloc(TOTALS_ROOM, sizeof(*snap.totals)),
	};
	int err;

	sock_stats_free(s);
	err = snap.pairs && snap.totals ? take_whole(&snap, m) : fail(-ENOMEM, "out of memory");
	if (!err)
		err = sock_stats_sum(s, snap.pairs, m->pair_count, snap.totals, snap.total_count);
	s->seconds = now();
	s->started_ns = m->control->started_ns;
	free(snap.pairs);
	free(snap.totals);
	return err;
}

/* ---- from reading to reading ---- */

const struct sock_port_stats *sock_stats_of(const struct sock_stats *s, __u64 cgroup, __u32 port)
{
	const struct sock_port_stats key = {.cgroup = cgroup, .port = port};

	return s->count ? bsearch(&key, s->port, s->count, sizeof(*s->port), by_port) : NULL;
}

static __u64 since(__u64 before, __u64 after)
{
	return after > before ? after - before : 0;
}

static void way_between(const struct weir_way *a, const struct weir_way *b, struct weir_way *delta)
{
	*delta = (struct weir_way){
		.messages = since(a->messages, b->messages),
		.bytes = since(a->bytes, b->bytes),
		.tcp_bytes = since(a->tcp_bytes, b->tcp_bytes),
		.gated = since(a->gated, b->gated),
		.spilled = since(a->spilled, b->spilled),
		.streamed = since(a->streamed, b->streamed),
		.missed = since(a->missed, b->missed),
	};
}

void sock_stats_between(const struct sock_stats *before, const struct sock_stats *after,
			const struct sock_port_stats *port, struct weir_sock_totals *delta)
{
	static const struct sock_port_stats nothing;
	const struct sock_port_stats *old = NULL;
	const struct weir_sock_totals *a, *b = &port->total;

	if (before->started_ns == after->started_ns)
		old = sock_stats_of(before, port->cgroup, port->port);
	a = old ? &old->total : &nothing.total;
	*delta = (struct weir_sock_totals){
		.pairs = since(a->pairs, b->pairs),
		.released = since(a->released, b->released),
	};
	for (int end = 0; end < WEIR_ENDS; end++)
		way_between(&a->way[end], &b->way[end], &delta->way[end]);
	for (int i = 0; i < WEIR_REFUSALS; i++)
		delta->refused[i] = since(a->refused[i], b->refused[i]);
}

/* ---- what it comes to ---- */

struct weir_way sock_both_ways(const struct weir_sock_totals *totals)
{
	struct weir_way sum = {};

	for (int end = 0; end < WEIR_ENDS; end++)
		pairs_add_way(&sum, &totals->way[end]);
	return sum;
}

double sock_shortcut_share(const struct weir_way *way)
{
	__u64 all = way->bytes + way->tcp_bytes;

	return all ? 100.0 * way->bytes / all : -1;
}

enum weir_refusal sock_top_refusal(const struct weir_sock_totals *totals)
{
	int top = 0;

	for (int i = 1; i < WEIR_REFUSALS; i++)
		if (totals->refused[i] > totals->refused[top])
			top = i;
	return totals->refused[top] ? (enum weir_refusal)top : WEIR_REFUSALS;
}

__u64 sock_refused(const struct weir_sock_totals *totals)
{
	__u64 sum = 0;

	for (int i = 0; i < WEIR_REFUSALS; i++)
		sum += totals->refused[i];
	return sum;
}
