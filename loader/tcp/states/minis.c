// SPDX-License-Identifier: GPL-2.0
#include "minis.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"

/* All of them wait for a minute in TIME_WAIT, where nothing happens to them: room stays for others. */
#define TIME_WAITS_MAX (MINIS_MAX / 4 * 3)

int minis_follow(struct minis *minis, const struct weir_state_event *event)
{
	size_t room = event->to == TCP_TIME_WAIT ? TIME_WAITS_MAX : MINIS_MAX;

	if (!minis->followed) {
		minis->followed = calloc(MINIS_MAX, sizeof(*minis->followed));
		if (!minis->followed)
			return fail(-ENOMEM, "out of memory");
	}
	if (minis->count < room)
		minis->followed[minis->count++] = (struct mini_followed){
			.last = *event,
			.earliest_ns = event->ns,
			.looked_ns = event->ns,
		};
	else
		minis->not_followed++;
	return 0;
}

/* ---- looking ---- */

#define ORDER(a, b) (((a) > (b)) - ((a) < (b)))

/* Of several at one address the last is the one that may be there still: the kernel soon gives the address of
 * one that is no more to another, which nobody has looked at before. */
static int by_address(const void *a, const void *b)
{
	const struct mini_followed *x = a, *y = b;
	int order = ORDER(x->last.mini, y->last.mini);

	return order ? order : ORDER(x->looked_ns, y->looked_ns);
}

static struct mini_followed *last_at(const struct minis *minis, __u64 address)
{
	size_t from = 0, to = minis->count;

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (minis->followed[middle].last.mini <= address)
			from = middle + 1;
		else
			to = middle;
	}
	return from && minis->followed[from - 1].last.mini == address ? &minis->followed[from - 1]
								      : NULL;
}

static int enter(void *arg, __u64 netns)
{
	struct minis *minis = arg;

	for (size_t i = 0; i < minis->count; i++)
		minis->followed[i].looked_for |= minis->followed[i].last.ends.netns == netns;
	return 0;
}

static bool same_ends(const struct weir_ends *a, const struct weir_ends *b)
{
	return !memcmp(a->local, b->local, sizeof(a->local)) &&
	       !memcmp(a->remote, b->remote, sizeof(a->remote)) && a->local_port == b->local_port &&
	       a->remote_port == b->remote_port && a->netns == b->netns;
}

/* It may be one that is not followed. */
static int note(void *arg, const struct weir_socket *socket)
{
	struct mini_followed *found;

	if (!socket->mini)
		return 0;
	found = last_at(arg, socket->address);
	if (found && same_ends(&found->last.ends, &socket->ends))
		found->seen = socket->state;
	return 0;
}

static int look(struct minis *minis, const struct weir_trace_filter *filter)
{
	struct weir_trace_filter only = {.netns = filter->netns};
	int err = minis->snapshot ? 0
				  : snapshot_open(&minis->snapshot, &only,
						  WEIR_STATE_BIT(TCP_FIN_WAIT2) |
							  WEIR_STATE_BIT(TCP_TIME_WAIT));

	for (size_t i = 0; i < minis->count; i++) {
		minis->followed[i].seen = 0;
		minis->followed[i].looked_for = false;
	}
	qsort(minis->followed, minis->count, sizeof(*minis->followed), by_address);
	return err ? err : snapshot_visit(minis->snapshot, enter, note, minis);
}

/* ---- telling ---- */

/* It changed between two looks. Returns the least that the old state lasted. */
static __u64 advance(struct mini_followed *f, __u64 now)
{
	struct weir_state_event *e = &f->last;
	__u64 least = f->looked_ns > e->ns ? f->looked_ns - e->ns : 0;

	e->lasted_ns = now - f->earliest_ns;
	e->ns = now;
	e->from = e->to;
	e->to = f->seen ?: TCP_CLOSE;
	if (!f->seen)
		e->mini = 0;
	f->earliest_ns = f->looked_ns;
	return least;
}

int minis_look(struct minis *minis, const struct weir_trace_filter *filter, mini_changed_fn *fn,
	       void *arg)
{
	size_t kept = 0;
	__u64 before = clock_now_ns(), now;
	int err = minis->count ? look(minis, filter) : 0;

	if (err < 0)
		return err;
	now = clock_now_ns();
	for (size_t i = 0; i < minis->count; i++) {
		struct mini_followed *f = &minis->followed[i];
		__u64 least;

		if (!f->looked_for) {
			minis->not_followed++;
			continue;
		}
		if (f->seen != f->last.to) {
			least = advance(f, now);
			fn(arg, &f->last, least);
		}
		f->looked_ns = before;
		if (f->seen)
			minis->followed[kept++] = *f;
	}
	minis->count = kept;
	return 0;
}

void minis_forget(struct minis *minis)
{
	snapshot_close(minis->snapshot);
	free(minis->followed);
	*minis = (struct minis){};
}
