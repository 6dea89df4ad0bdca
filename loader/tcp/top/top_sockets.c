// SPDX-License-Identifier: GPL-2.0
#include "top_sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "loader/tcp/life.h"
#include "loader/base/error.h"
#include "loader/trace/lines.h"
#include "loader/kernel/snapshot.h"

/* A socket that was not found although nothing told of its end is kept for so many looks: a walk may miss
 * one while the kernel's table changes, and an event may be lost. */
#define LOOKS_MISSED 3

/* All that was counted of a socket up to a look. */
struct known {
	struct weir_ends ends;
	struct weir_owner owner;
	__u64 socket;
	__u64 sent, received;
	__u32 segs_out, retransmits;
	__u32 srtt_us;
	__u8 role;
	__u8 missed; /* looks */
	bool over;   /* its end was told of, or it was taken over into the next look */
};

struct list {
	struct known *at;
	size_t count, room;
};

struct top_sockets {
	struct trace_lines *lines;
	struct snapshot *snapshot;
	int owners; /* map */
	struct list before, now;
	struct list ended; /* in the order of their ends */
	struct top_use *use;
	size_t use_count, use_room;
};

static int append(struct list *list, const struct known *k)
{
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 256;
		struct known *more = realloc(list->at, room * sizeof(*more));

		if (!more)
			return fail(-ENOMEM, "out of memory");
		list->at = more;
		list->room = room;
	}
	list->at[list->count++] = *k;
	return 0;
}

/* ---- looking ---- */

static int on_socket(void *arg, const struct weir_socket *s)
{
	struct top_sockets *t = arg;
	struct known k = {
		.ends = s->ends,
		.socket = s->address,
		.sent = s->bytes_acked,
		.received = s->bytes_received,
		.segs_out = s->segs_out,
		.retransmits = s->retransmits,
		.srtt_us = s->srtt_us,
		.role = s->role,
	};

	return s->mini ? 0 : append(&t->now, &k);
}

static int on_end(void *arg, const void *event, size_t size)
{
	struct top_sockets *t = arg;
	const struct weir_life_event *e = event;

	if (size < sizeof(*e))
		return 0;
	return append(&t->ended, &(struct known){
					 .ends = e->ends,
					 .owner = e->owner,
					 .socket = e->socket,
					 .sent = e->sent,
					 .received = e->received,
					 .segs_out = e->segs_out,
					 .retransmits = e->retransmits,
					 .srtt_us = e->srtt_us,
					 .role = e->role,
				 });
}

static int by_socket(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	return (x->socket > y->socket) - (x->socket < y->socket);
}

static int by_socket_and_age(const void *a, const void *b)
{
	const struct known *x = a, *y = b;
	int order = by_socket(a, b);

	return order ? order : x->missed - y->missed;
}

/* A walk may come by the same socket twice, and what was missed may have given its address to another. */
static void sort(struct list *list)
{
	size_t kept = 0;

	if (!list->count)
		return;
	qsort(list->at, list->count, sizeof(*list->at), by_socket_and_age);
	for (size_t i = 1; i < list->count; i++)
		if (list->at[i].socket != list->at[kept].socket)
			list->at[++kept] = list->at[i];
	list->count = kept + 1;
}

/* Addresses are used again: it is the same socket if its ends are the same. */
static struct known *find(const struct list *list, const struct known *k)
{
	struct known *found =
		list->count ? bsearch(k, list->at, list->count, sizeof(*k), by_socket) : NULL;

	return found && !found->over && !memcmp(&found->ends, &k->ends, sizeof(k->ends)) ? found
											 : NULL;
}

/* ---- the difference ---- */

static int add_use(struct top_sockets *t, const struct known *now, const struct known *was,
		   bool ended)
{
	static const struct known nothing;

	if (t->use_count == t->use_room) {
		size_t room = t->use_room ? 2 * t->use_room : 256;
		struct top_use *more = realloc(t->use, room * sizeof(*more));

		if (!more)
			return fail(-ENOMEM, "out of memory");
		t->use = more;
		t->use_room = room;
	}
	was = was ?: &nothing;
	t->use[t->use_count++] = (struct top_use){
		.ends = now->ends,
		.owner = now->owner,
		.socket = now->socket,
		.srtt_us = now->srtt_us,
		.sent = now->sent - was->sent,
		.received = now->received - was->received,
		.segs_out = now->segs_out - was->segs_out,
		.retransmits = now->retransmits - was->retransmits,
		.role = now->role,
		.ended = ended,
	};
	return 0;
}

/* One that the walk met may have ended before it was over. */
static int settle_ended(struct top_sockets *t)
{
	int err = 0;

	for (size_t i = 0; !err && i < t->ended.count; i++) {
		struct known *k = &t->ended.at[i], *was = find(&t->before, k),
			     *met = find(&t->now, k);

		if (!k->owner.pid && was)
			k->owner = was->owner;
		err = add_use(t, k, was, true);
		if (was)
			was->over = true;
		if (met)
			met->over = true;
	}
	return err;
}

/* Whose it is the programs learn by and by. */
static void learn(const struct top_sockets *t, struct known *k, const struct known *was)
{
	struct weir_life life;

	if (was) {
		k->owner = was->owner;
		k->role = was->role ?: k->role;
	}
	if (k->owner.pid || bpf_map_lookup_elem(t->owners, &k->socket, &life))
		return;
	k->owner = life.owner;
	k->role = life.role ?: k->role;
}

static int settle_living(struct top_sockets *t)
{
	int err = 0;

	for (size_t i = 0; !err && i < t->now.count; i++) {
		struct known *k = &t->now.at[i], *was = k->over ? NULL : find(&t->before, k);

		if (k->over)
			continue;
		learn(t, k, was);
		err = add_use(t, k, was, false);
		if (was)
			was->over = true;
	}
	return err;
}

/* What is known from now on: what lives, and what was missed a few times only. */
static int carry_over(struct top_sockets *t)
{
	struct list *next = &t->before;
	size_t kept = 0;
	int err = 0;

	for (size_t i = 0; i < next->count; i++)
		if (!next->at[i].over && ++next->at[i].missed < LOOKS_MISSED)
			next->at[kept++] = next->at[i];
	next->count = kept;
	for (size_t i = 0; !err && i < t->now.count; i++)
		if (!t->now.at[i].over)
			err = append(next, &t->now.at[i]);
	sort(next);
	return err;
}

int top_sockets_take_ended(struct top_sockets *t)
{
	return trace_lines_poll(t->lines);
}

long top_sockets_look(struct top_sockets *t, struct top_use **uses)
{
	int err;

	t->now.count = t->use_count = 0;
	err = snapshot_read(t->snapshot, on_socket, t);
	if (!err)
		err = top_sockets_take_ended(t);
	sort(&t->now);
	if (!err)
		err = settle_ended(t);
	if (!err)
		err = settle_living(t);
	if (!err)
		err = carry_over(t);
	t->ended.count = 0;
	*uses = t->use;
	return err ? err : (long)t->use_count;
}

/* ---- life ---- */

int top_sockets_open(struct top_sockets **sockets, struct trace_run *run)
{
	struct top_sockets *t = calloc(1, sizeof(*t));
	struct top_use *uses;
	long n;
	int err;

	if (!t)
		return fail(-ENOMEM, "out of memory");
	*sockets = t;
	t->owners = trace_map(run, "sockets");
	err = t->owners < 0 ? t->owners : trace_lines_open(run, on_end, t, &t->lines);
	if (!err)
		err = snapshot_open(&t->snapshot, &run->about.config.filter, LIFE_STATES);
	if (err)
		return err;
	n = top_sockets_look(t, &uses);
	return n < 0 ? n : 0;
}

void top_sockets_close(struct top_sockets *t)
{
	if (!t)
		return;
	trace_lines_close(t->lines);
	snapshot_close(t->snapshot);
	free(t->before.at);
	free(t->now.at);
	free(t->ended.at);
	free(t->use);
	free(t);
}
