// SPDX-License-Identifier: GPL-2.0
#include "pairs.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"

/* The state is what makes the rest valid, for the programs that look at it meanwhile. */
static void set_state(struct weir_pair *p, __u32 state)
{
	__atomic_store_n(&p->state, state, __ATOMIC_RELEASE);
}

long pairs_claim(struct sock_maps *m, const struct weir_sock_record *const ends[WEIR_ENDS])
{
	for (__u32 i = 0; i < m->pair_count; i++) {
		struct weir_pair *p = &m->pairs[i];

		if (p->state != WEIR_PAIR_FREE)
			continue;
		*p = (struct weir_pair){
			.cookie = {ends[0]->sock.cookie, ends[1]->sock.cookie},
			.cgroup = ends[WEIR_ACCEPTED]->sock.cgroup,
			.limit = ends[WEIR_ACCEPTED]->sock.limit,
			.port = ends[WEIR_ACCEPTED]->sock.port,
		};
		set_state(p, WEIR_PAIR_JOINING);
		return i;
	}
	return -ENOSPC;
}

void pairs_switch_on(struct weir_pair *p)
{
	p->since_ns = clock_now_ns();
	set_state(p, WEIR_PAIR_ON);
}

bool pairs_began(const struct weir_pair *p)
{
	return p->since_ns;
}

void pairs_send_away(struct weir_pair *p)
{
	if (p->state == WEIR_PAIR_LEAVING)
		return;
	memset(p->quiet, 0, sizeof(p->quiet));
	set_state(p, WEIR_PAIR_LEAVING);
}

bool pairs_splices(const struct sock_maps *m, __u64 cgroup, __u16 port)
{
	struct weir_sock_port key = {.cgroup = cgroup, .port = port};
	struct weir_sock_totals totals = {};

	return !bpf_map_lookup_elem(m->totals, &key, &totals) && totals.refused[WEIR_R_OTHER_READS];
}

/* Ports beyond the room there is are counted together. */
static int update(struct sock_maps *m, __u64 cgroup, __u16 port,
		  void (*change)(struct weir_sock_totals *totals, const void *data),
		  const void *data)
{
	struct weir_sock_port key = {.cgroup = cgroup, .port = port};
	struct weir_sock_totals totals = {};
	int err;

	bpf_map_lookup_elem(m->totals, &key, &totals);
	change(&totals, data);
	err = bpf_map_update_elem(m->totals, &key, &totals, BPF_ANY);
	if (err && key.port) {
		key.port = 0;
		memset(&totals, 0, sizeof(totals));
		bpf_map_lookup_elem(m->totals, &key, &totals);
		change(&totals, data);
		err = bpf_map_update_elem(m->totals, &key, &totals, BPF_ANY);
	}
	return err ? fail(err, "cannot count what connections did: %s", strerror(-err)) : 0;
}

struct ended {
	const struct weir_pair *pair;
	bool released;
};

void pairs_add_way(struct weir_way *to, const struct weir_way *way)
{
	to->messages += way->messages;
	to->bytes += way->bytes;
	to->tcp_bytes += way->tcp_bytes;
	to->gated += way->gated;
	to->spilled += way->spilled;
	to->streamed += way->streamed;
	to->missed += way->missed;
}

static void add_pair(struct weir_sock_totals *totals, const void *data)
{
	const struct ended *e = data;

	totals->pairs += pairs_began(e->pair);
	totals->released += e->released && pairs_began(e->pair);
	for (int end = 0; end < WEIR_ENDS; end++)
		pairs_add_way(&totals->way[end], &e->pair->way[end]);
}

/* Readers find a pair either among the live ones or in the totals: while this is odd they wait. One
 * that was killed here leaves it odd. */
static void open_books(struct sock_maps *m)
{
	__atomic_store_n(&m->control->books, m->control->books | 1, __ATOMIC_SEQ_CST);
}

static void close_books(struct sock_maps *m)
{
	__atomic_add_fetch(&m->control->books, 1, __ATOMIC_SEQ_CST);
}

int pairs_fold(struct sock_maps *m, __u32 index, bool released)
{
	struct weir_pair *p = &m->pairs[index];
	struct ended e = {p, released};
	int err;

	open_books(m);
	err = update(m, p->cgroup, p->port, add_pair, &e);
	if (!err)
		set_state(p, WEIR_PAIR_FREE);
	close_books(m);
	return err;
}

static void add_refusal(struct weir_sock_totals *totals, const void *data)
{
	totals->refused[*(const enum weir_refusal *)data]++;
}

int pairs_refused(struct sock_maps *m, __u64 cgroup, __u16 port, enum weir_refusal reason)
{
	return update(m, cgroup, port, add_refusal, &reason);
}

void pairs_forget(struct sock_maps *m, __u64 cgroup)
{
	struct weir_sock_port key, next;
	int err = bpf_map_get_next_key(m->totals, NULL, &next);

	open_books(m);
	while (!err) {
		key = next;
		err = bpf_map_get_next_key(m->totals, &key, &next);
		if (key.cgroup == cgroup)
			bpf_map_delete_elem(m->totals, &key);
	}
	close_books(m);
}

bool pairs_has(const struct sock_maps *m, __u64 cookie)
{
	__u64 found;

	return !bpf_map_lookup_elem(m->ends, &cookie, &found);
}
