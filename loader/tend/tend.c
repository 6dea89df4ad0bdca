// SPDX-License-Identifier: GPL-2.0
#include "tend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "census.h"
#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "lives.h"
#include "pairs.h"
#include "policy.h"
#include "release.h"
#include "visit.h"
#include "weir_tend.skel.h"

#define MS     1000000ull
#define SECOND (1000 * MS)

#define OBSERVE_AFTER (100 * MS)    /* what ends before costs nothing */
#define FORGET_AFTER  (60 * SECOND) /* a deferred accept may take long */
#define GIVE_UP_AFTER (3 * SECOND)  /* of observing what hardly moves */
#define NEWS_FOR      (SECOND / 2)  /* new connections are looked at often */
#define LIVES_EVERY   (SECOND / 4)
#define CENSUS_EVERY  (5 * SECOND)
#define CENSUS_SHARE  50 /* of the CPU time it takes */
#define LAST_ROUNDS   100
#define JOIN_ROUNDS   20
#define STREAM_ROUNDS 2 /* in a row, before a stream is given back to TCP */
#define STREAM_SENDS  128
#define RELEASE_TRIES 8 /* at every round */

enum pace { PACE_BUSY = 100, PACE_PAIRS = 250, PACE_IDLE = 1000 }; /* ms */

static void leave(struct tender *t, struct weir_pair *p)
{
	pairs_send_away(p);
	t->notes[p - t->maps.pairs].demoted = true;
}

/* Where one connection's reader splices, the next one may begin to when it is short-cut already. */
static void leave_port(struct tender *t, __u64 cgroup, __u16 port)
{
	for (__u32 i = 0; i < t->maps.pair_count; i++) {
		struct weir_pair *p = &t->maps.pairs[i];

		if (p->state != WEIR_PAIR_FREE && p->cgroup == cgroup && p->port == port)
			leave(t, p);
	}
}

/* ---- orders ---- */

static int order(struct tender *t, __u64 cookie, const struct weir_order *o)
{
	int fd = bpf_map__fd(t->walker.skel->maps.orders);
	int err = bpf_map_update_elem(fd, &cookie, o, BPF_ANY);

	return err ? fail(err, "cannot tell what to do with a socket: %s", strerror(-err)) : 0;
}

static void clear_orders(struct tender *t)
{
	int fd = bpf_map__fd(t->walker.skel->maps.orders);
	__u64 cookie;

	while (!bpf_map_get_next_key(fd, NULL, &cookie))
		bpf_map_delete_elem(fd, &cookie);
}

static int order_refusal(struct tender *t, const struct weir_sock_record *r,
			 enum weir_refusal reason)
{
	__u64 again = sock_judge_again(reason, r->sock.refusals);
	struct weir_order o = {.kind = WEIR_ORDER_REFUSE, .reason = reason};

	o.again_ns = again == WEIR_NEVER ? again : clock_now_ns() + again;
	return order(t, r->sock.cookie, &o);
}

static int refuse(struct tender *t, const struct weir_sock_record *const ends[WEIR_ENDS],
		  enum weir_refusal reason)
{
	const struct weir_sock *accepted = &ends[WEIR_ACCEPTED]->sock;
	int err = 0;

	if (reason == WEIR_R_OTHER_READS)
		leave_port(t, accepted->cgroup, accepted->port);
	if (!(accepted->refused & 1u << reason))
		err = pairs_refused(&t->maps, accepted->cgroup, accepted->port, reason);
	for (int end = 0; !err && end < WEIR_ENDS; end++)
		err = order_refusal(t, ends[end], reason);
	return err;
}

/* It has a place already, and waits for a moment at which nothing is unread. */
static bool is_joining(const struct tender *t, __u64 cookie)
{
	for (__u32 i = 0; t->joining && i < t->maps.pair_count; i++)
		if (t->maps.pairs[i].state == WEIR_PAIR_JOINING &&
		    t->maps.pairs[i].cookie[WEIR_CONNECTED] == cookie)
			return true;
	return false;
}

static int promote(struct tender *t, const struct weir_sock_record *const ends[WEIR_ENDS])
{
	long slot;

	if (is_joining(t, ends[WEIR_CONNECTED]->sock.cookie))
		return 0;
	slot = pairs_claim(&t->maps, ends);
	if (slot < 0)
		return refuse(t, ends, WEIR_R_FULL);
	t->notes[slot] = (struct pair_notes){.netns = {ends[0]->netns, ends[1]->netns}};
	return 0;
}

/* Tells the ends of all pairs that are joining, and where they are: two for each pair. */
static int order_joins(struct tender *t, __u64 *inodes, size_t *count)
{
	int err = 0;

	*count = 0;
	for (__u32 i = 0; !err && i < t->maps.pair_count; i++) {
		const struct weir_pair *p = &t->maps.pairs[i];

		for (__u32 end = 0; !err && end < WEIR_ENDS; end++) {
			struct weir_order o = {.kind = WEIR_ORDER_JOIN, .pair = i, .end = end};

			if (p->state != WEIR_PAIR_JOINING || t->notes[i].seen[end])
				continue;
			err = order(t, p->cookie[end], &o);
			inodes[(*count)++] = t->notes[i].netns[end];
		}
	}
	return err;
}

static int join_all(struct tender *t)
{
	__u64 *inodes = calloc(WEIR_ENDS * t->maps.pair_count, sizeof(*inodes));
	size_t count;
	int err;

	if (!inodes)
		return fail(-ENOMEM, "out of memory for %u pairs", t->maps.pair_count);
	err = order_joins(t, inodes, &count);
	if (!err)
		err = visit_sockets(t->walker.skel->progs.weir_join, inodes, count, 1);
	free(inodes);
	return err;
}

/* ---- what a walk has found ---- */

static struct weir_pair *pair_of(struct tender *t, const struct weir_sock *s)
{
	struct weir_pair *p;

	if (s->state != WEIR_SOCK_JOINED || s->pair >= t->maps.pair_count)
		return NULL;
	p = &t->maps.pairs[s->pair];
	return p->cookie[s->end & 1] == s->cookie ? p : NULL;
}

static void see_joined(struct tender *t, const struct weir_sock_record *r)
{
	struct weir_pair *p = pair_of(t, &r->sock);

	if (!p)
		return;
	t->notes[r->sock.pair].seen[r->sock.end & 1] = true;
	if (sock_must_leave(r) != WEIR_REFUSALS || r->flags & WEIR_SOCK_DETACHED)
		leave(t, p);
}

/* `index` is an end that is observed; the two are judged when the first of them comes up. */
static int judge(struct tender *t, size_t index, bool *orders)
{
	const struct weir_sock_record *r = &t->walker.record[index];
	bool late = r->ns > r->sock.evidence.began_ns + GIVE_UP_AFTER;
	long other = walker_other(&t->walker, index);
	const struct weir_sock_record *ends[WEIR_ENDS] = {r, r};
	struct sock_judgement j;

	if (other < 0 || t->walker.record[other].sock.state != WEIR_SOCK_OBSERVED) {
		*orders |= late;
		return late ? order_refusal(t, r, WEIR_R_IDLE) : 0;
	}
	if ((size_t)other < index)
		return 0;
	ends[WEIR_ACCEPTED] = &t->walker.record[other];
	j = sock_judge(ends);
	if (j.verdict == SOCK_WAIT && late)
		j = sock_judge_late(ends);
	if (j.verdict == SOCK_WAIT)
		return 0;
	*orders = true;
	if (j.verdict == SOCK_PROMOTE && pairs_splices(&t->maps, ends[WEIR_ACCEPTED]->sock.cgroup,
						       ends[WEIR_ACCEPTED]->sock.port))
		j = (struct sock_judgement){.verdict = SOCK_REFUSE, .reason = WEIR_R_OTHER_READS};
	return j.verdict == SOCK_PROMOTE ? promote(t, ends) : refuse(t, ends, j.reason);
}

static int look(struct tender *t, bool *orders)
{
	int err = 0;

	for (__u32 i = 0; i < t->maps.pair_count; i++)
		if (t->maps.pairs[i].state != WEIR_PAIR_FREE)
			memset(t->notes[i].seen, 0, sizeof(t->notes[i].seen));
	for (size_t i = 0; !err && i < t->walker.count; i++) {
		const struct weir_sock_record *r = &t->walker.record[i];

		if (r->sock.state == WEIR_SOCK_JOINED)
			see_joined(t, r);
		else if (r->sock.state == WEIR_SOCK_OBSERVED && r->tcp_state == 1 && orders)
			err = judge(t, i, orders);
	}
	return err;
}

static bool any_observed(const struct tender *t)
{
	for (size_t i = 0; i < t->walker.count; i++)
		if (t->walker.record[i].sock.state == WEIR_SOCK_OBSERVED &&
		    t->walker.record[i].tcp_state == 1)
			return true;
	return false;
}

/* ---- pairs ---- */

/* The records of its ends, in the last walk. */
static bool find_ends(const struct tender *t, const struct weir_pair *p,
		      const struct weir_sock_record *ends[WEIR_ENDS])
{
	for (size_t i = 0; i < t->walker.count; i++) {
		const struct weir_sock_record *r = &t->walker.record[i];

		if (r->sock.cookie == p->cookie[r->sock.end & 1])
			ends[r->sock.end & 1] = r;
	}
	return ends[WEIR_CONNECTED] && ends[WEIR_ACCEPTED];
}

static enum weir_refusal why_not_joined(const struct weir_sock_record *const ends[WEIR_ENDS],
					const struct pair_notes *n)
{
	for (int end = 0; end < WEIR_ENDS; end++) {
		int error = ends[end]->sock.error;

		if (error)
			return error == E2BIG || error == ENOMEM ? WEIR_R_FULL : WEIR_R_OTHER_MAP;
	}
	return n->rounds < JOIN_ROUNDS ? WEIR_REFUSALS : WEIR_R_UNREADY;
}

/*
 * Both are in, and were a round ago: the short cut begins. Until then whoever had entered the
 * recvmsg() of plain TCP without having its lock yet is through, who would not look at the other
 * queue and take a FIN for the end. One that cannot be is tried a few times: something was unread
 * just then.
 */
static int join(struct tender *t, struct weir_pair *p, struct pair_notes *n)
{
	const struct weir_sock_record *ends[WEIR_ENDS] = {};
	enum weir_refusal reason = WEIR_REFUSALS;

	if (n->seen[0] && n->seen[1]) {
		if (n->both)
			pairs_switch_on(p);
		n->both = true;
		return 0;
	}
	n->rounds++;
	if (find_ends(t, p, ends))
		reason = why_not_joined(ends, n);
	if (reason == WEIR_REFUSALS && n->rounds < JOIN_ROUNDS)
		return 0;
	leave(t, p);
	return reason != WEIR_REFUSALS ? refuse(t, ends, reason) : 0;
}

/* Much of what is sent goes by TCP all the same: a stream of small messages, or a sender that is
 * faster than its reader. */
static bool is_stream(const struct weir_pair *p, struct pair_notes *n)
{
	__u64 passed = 0, messages = 0;
	bool now;

	for (int end = 0; end < WEIR_ENDS; end++) {
		passed += p->way[end].streamed + p->way[end].gated + p->way[end].spilled;
		messages += p->way[end].messages;
	}
	now = passed - n->passed > STREAM_SENDS &&
	      passed - n->passed > (messages - n->messages) / 2;
	n->passed = passed;
	n->messages = messages;
	n->streaming = now ? n->streaming + 1 : 0;
	return n->streaming >= STREAM_ROUNDS;
}

/* An end that the walk did not show may only have been passed over: the map itself knows. */
static bool is_in(const struct tender *t, const struct weir_pair *p, const struct pair_notes *n,
		  int end)
{
	return n->seen[end] || pairs_has(&t->maps, p->cookie[end]);
}

static int tend_pair(struct tender *t, __u32 index)
{
	struct weir_pair *p = &t->maps.pairs[index];
	struct pair_notes *n = &t->notes[index];
	bool first, second;

	if (p->state == WEIR_PAIR_JOINING)
		return join(t, p, n);
	first = is_in(t, p, n, 0);
	second = is_in(t, p, n, 1);
	if (!first && !second)
		return pairs_fold(&t->maps, index, n->demoted);
	if (p->state == WEIR_PAIR_ON && first && second && is_stream(p, n))
		leave(t, p);
	t->streaming |= p->state == WEIR_PAIR_ON && n->streaming;
	if (first == second)
		return 0;
	/* One end has closed: the other is not to stay in the map for it. */
	if (p->state == WEIR_PAIR_ON)
		pairs_send_away(p);
	p->quiet[first ? 1 : 0] = 1;
	return 0;
}

static int tend_pairs(struct tender *t, size_t counts[4])
{
	int err = 0;

	memset(counts, 0, 4 * sizeof(*counts));
	t->streaming = false;
	for (__u32 i = 0; !err && i < t->maps.pair_count; i++) {
		if (t->maps.pairs[i].state == WEIR_PAIR_FREE)
			continue;
		err = tend_pair(t, i);
		counts[t->maps.pairs[i].state & 3]++;
	}
	t->joining = counts[WEIR_PAIR_JOINING];
	return err;
}

/* The observers stay a little while: every send and receive of the host pays for their being there,
 * and attaching them costs as much as thousands of these. */
static int observe_as_needed(struct tender *t)
{
	bool needed = any_observed(t);
	__u64 now = clock_now_ns();

	if (needed)
		t->observed_ns = now;
	return walker_observe(&t->walker,
			      needed || (t->walker.read && now < t->observed_ns + SECOND / 4));
}

/* ---- rounds ---- */

static int walk_and_judge(struct tender *t)
{
	struct weir_walk what = {.observe_ns = OBSERVE_AFTER, .forget_ns = FORGET_AFTER, .obey = 1};
	bool orders = false;
	int err;

	what.anew = !t->begun;
	t->begun = true;
	err = walker_walk(&t->walker, what);
	clear_orders(t);
	what.anew = 0;
	if (!err)
		err = look(t, &orders);
	for (__u32 i = 0; i < t->maps.pair_count; i++)
		orders |= t->maps.pairs[i].state == WEIR_PAIR_JOINING;
	if (err || !orders)
		return err;
	err = join_all(t);
	if (!err)
		err = walker_walk(&t->walker, what);
	clear_orders(t);
	return err ? err : look(t, NULL);
}

/* Who sends all the time is seldom seen outside of a call, and soon tried again. Those that stay stuck
 * are tried less often. */
static int release_some(struct tender *t)
{
	__u64 pause;
	size_t left;
	int err;

	if (clock_now_ns() < t->released_ns)
		return 0;
	err = release_round(&t->walker, &t->maps, &left);
	t->stuck = left ? t->stuck + 1 : 0;
	pause = t->stuck > RELEASE_TRIES ? SECOND / 2 : 0;
	t->released_ns = clock_now_ns() + pause;
	return err;
}

/* Those that were passed over may last after all; to find them takes a look at every TCP socket. */
static bool is_census_due(struct tender *t, __u64 now)
{
	__u64 skipped = lives_skipped(&t->maps);

	if (t->maps.control->attached != t->attached)
		return true;
	if (skipped == t->skipped || now < t->census_ns)
		return false;
	t->skipped = skipped;
	return true;
}

static int look_for_older(struct tender *t)
{
	__u64 attached = t->maps.control->attached, begin = clock_now_ns(), used = clock_cpu_ns();
	int err;

	if (!is_census_due(t, begin))
		return 0;
	err = census(&t->walker, t->in);
	if (err)
		return err;
	used = clock_cpu_ns() - used;
	t->news_ns = clock_now_ns();
	t->attached = attached;
	t->census_ns =
		begin + (used * CENSUS_SHARE > CENSUS_EVERY ? used * CENSUS_SHARE : CENSUS_EVERY);
	return 0;
}

static void look_at_lives(struct tender *t)
{
	if (clock_now_ns() < t->lives_ns)
		return;
	lives_look(&t->maps, t->lives);
	t->lives_ns = clock_now_ns() + LIVES_EVERY;
}

/* The pins are not all of it: what they held goes on, and nobody else can switch it off now. */
static int switch_off(struct tender *t)
{
	size_t left = 1;

	t->maps.control->on = 0;
	for (__u32 i = 0; i < t->maps.pair_count; i++)
		if (t->maps.pairs[i].state != WEIR_PAIR_FREE)
			pairs_send_away(&t->maps.pairs[i]);
	for (int i = 0; left && i < LAST_ROUNDS; i++) {
		if (walker_walk(&t->walker, (struct weir_walk){}) ||
		    release_round(&t->walker, &t->maps, &left))
			break;
		usleep(20000);
	}
	return -ESTALE;
}

static bool is_gone(const struct tender *t)
{
	struct stat held, there;

	return fstat(t->lock, &held) || stat(instance_path(t->in, "sock"), &there) ||
	       held.st_ino != there.st_ino || held.st_dev != there.st_dev;
}

static int do_round(struct tender *t, size_t counts[4])
{
	int err = look_for_older(t);

	if (!err)
		err = walk_and_judge(t);
	if (!err)
		err = tend_pairs(t, counts);
	if (!err && counts[WEIR_PAIR_LEAVING])
		err = release_some(t);
	look_at_lives(t);
	return err ? err : observe_as_needed(t);
}

int tender_round(struct tender *t)
{
	__u64 births = t->births;
	size_t counts[4];
	int err;

	if (t->maps.control->generation != t->generation)
		return -ESTALE;
	if (is_gone(t))
		return switch_off(t);
	t->births = t->maps.control->births;
	err = do_round(t, counts);
	if (err)
		return err;
	if (t->births != births)
		t->news_ns = clock_now_ns();
	if (t->walker.read || t->streaming || clock_now_ns() < t->news_ns + NEWS_FOR ||
	    counts[WEIR_PAIR_JOINING] || counts[WEIR_PAIR_LEAVING])
		return PACE_BUSY;
	return counts[WEIR_PAIR_ON] ? PACE_PAIRS : PACE_IDLE;
}

bool tender_has_news(const struct tender *t)
{
	return t->maps.control->births != t->births || t->maps.control->generation != t->generation;
}
