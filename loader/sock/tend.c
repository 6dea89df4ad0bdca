// SPDX-License-Identifier: GPL-2.0
#include "tend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "census.h"
#include "loader/base/error.h"
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
#define JOIN_ROUNDS   20
#define STREAM_ROUNDS 3 /* in a row, before a stream is given back to TCP */
#define STREAM_SENDS  128

enum pace { PACE_BUSY = 100, PACE_PAIRS = 250, PACE_IDLE = 1000 }; /* ms */

struct pair_notes {
	bool seen[WEIR_ENDS]; /* in `ends`, by the last walk */
	bool demoted;
	bool both;		/* are in, since an earlier round */
	__u64 netns[WEIR_ENDS]; /* inodes */
	unsigned int rounds;	/* of joining */
	unsigned int streaming; /* rounds */
	__u64 passed, messages;
};

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

static void set_state(struct weir_pair *p, __u32 state)
{
	__atomic_store_n(&p->state, state, __ATOMIC_RELEASE);
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

	o.again_ns = again == WEIR_NEVER ? again : now_ns() + again;
	return order(t, r->sock.cookie, &o);
}

static int refuse(struct tender *t, const struct weir_sock_record *const ends[WEIR_ENDS],
		  enum weir_refusal reason)
{
	const struct weir_sock *accepted = &ends[WEIR_ACCEPTED]->sock;
	int err = 0;

	if (!(accepted->refused & 1u << reason))
		err = pairs_refused(&t->maps, accepted->cgroup, accepted->port, reason);
	for (int end = 0; !err && end < WEIR_ENDS; end++)
		err = order_refusal(t, ends[end], reason);
	return err;
}

static int promote(struct tender *t, const struct weir_sock_record *const ends[WEIR_ENDS])
{
	long slot = pairs_claim(&t->maps, ends);

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

static void leave(struct tender *t, struct weir_pair *p)
{
	if (p->state != WEIR_PAIR_LEAVING) {
		memset(p->quiet, 0, sizeof(p->quiet));
		set_state(p, WEIR_PAIR_LEAVING);
	}
	t->notes[p - t->maps.pairs].demoted = true;
}

static void see_joined(struct tender *t, const struct weir_sock_record *r)
{
	struct weir_pair *p = pair_of(t, &r->sock);

	if (!p)
		return;
	t->notes[r->sock.pair].seen[r->sock.end & 1] = true;
	if (sock_must_leave(r) != WEIR_REFUSALS ||
	    (r->flags & WEIR_SOCK_DETACHED && r->sock.end == WEIR_ACCEPTED))
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

static enum weir_refusal why_not_joined(const struct tender *t, const struct weir_pair *p)
{
	for (size_t i = 0; i < t->walker.count; i++) {
		const struct weir_sock *s = &t->walker.record[i].sock;

		if (s->cookie != p->cookie[s->end & 1] || !s->error)
			continue;
		return s->error == E2BIG || s->error == ENOMEM ? WEIR_R_FULL : WEIR_R_OTHER_MAP;
	}
	return WEIR_REFUSALS;
}

/*
 * Both are in, and were a round ago: the short cut begins. Until then whoever had entered the
 * recvmsg() of plain TCP without having its lock yet is through, who would not look at the other
 * queue and take a FIN for the end. One that cannot be is tried a few times: something was unread
 * just then.
 */
static int join(struct tender *t, struct weir_pair *p, struct pair_notes *n)
{
	enum weir_refusal reason;

	if (n->seen[0] && n->seen[1]) {
		if (n->both)
			set_state(p, WEIR_PAIR_ON);
		n->both = true;
		return 0;
	}
	reason = why_not_joined(t, p);
	if (reason != WEIR_REFUSALS || ++n->rounds > JOIN_ROUNDS)
		leave(t, p);
	return reason != WEIR_REFUSALS ? pairs_refused(&t->maps, p->cgroup, p->port, reason) : 0;
}

/* Most of what is sent goes by TCP all the same: a stream of small messages, or a sender that is
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
	      passed - n->passed > 2 * (messages - n->messages);
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
	if (p->state == WEIR_PAIR_ON && (first != second || is_stream(p, n)))
		leave(t, p);
	if (first != second && p->state == WEIR_PAIR_LEAVING)
		p->quiet[first ? 1 : 0] = 1;
	return 0;
}

static int tend_pairs(struct tender *t, size_t counts[4])
{
	int err = 0;

	memset(counts, 0, 4 * sizeof(*counts));
	for (__u32 i = 0; !err && i < t->maps.pair_count; i++) {
		if (t->maps.pairs[i].state == WEIR_PAIR_FREE)
			continue;
		err = tend_pair(t, i);
		counts[t->maps.pairs[i].state & 3]++;
	}
	return err;
}

/* ---- observers ---- */

static int observe(struct tender *t, bool on)
{
	struct weir_tend_bpf *skel = t->walker.skel;

	if (on && !t->read) {
		t->sent = bpf_program__attach(skel->progs.weir_sent);
		t->read = t->sent ? bpf_program__attach(skel->progs.weir_read) : NULL;
		if (!t->read)
			return fail(-errno, "cannot observe sends and receives: %m");
	}
	if (!on && t->read) {
		bpf_link__destroy(t->read);
		bpf_link__destroy(t->sent);
		t->read = t->sent = NULL;
	}
	return 0;
}

/* They stay a while: attaching costs more than their being there. */
static int observe_as_needed(struct tender *t)
{
	bool needed = any_observed(t);
	__u64 now = now_ns();

	if (needed)
		t->observed_ns = now;
	return observe(t, needed || (t->read && now < t->observed_ns + 2 * SECOND));
}

/* ---- rounds ---- */

static int walk_and_judge(struct tender *t)
{
	struct weir_walk what = {.observe_ns = OBSERVE_AFTER, .forget_ns = FORGET_AFTER};
	bool orders = false;
	int err;

	clear_orders(t);
	err = walker_walk(&t->walker, what);
	if (!err)
		err = look(t, &orders);
	for (__u32 i = 0; i < t->maps.pair_count; i++)
		orders |= t->maps.pairs[i].state == WEIR_PAIR_JOINING;
	if (err || !orders)
		return err;
	err = join_all(t);
	what.obey = 1;
	if (!err)
		err = walker_walk(&t->walker, what);
	return err ? err : look(t, NULL);
}

/* Those that stay stuck are tried less often. */
static int release_some(struct tender *t)
{
	size_t left;
	int err;

	if (now_ns() < t->released_ns)
		return 0;
	err = release_round(&t->walker, &t->maps, &left);
	t->released_ns = now_ns() + (left ? SECOND / 2 : 0);
	return err;
}

static int look_for_older(struct tender *t)
{
	__u64 attached = t->maps.control->attached;
	int err;

	if (attached == t->attached)
		return 0;
	err = census(&t->walker, t->in);
	if (!err)
		t->attached = attached;
	return err;
}

static bool is_over(const struct tender *t)
{
	struct stat held, there;

	return t->maps.control->generation != t->generation || fstat(t->lock, &held) ||
	       stat(instance_path(t->in, "sock"), &there) || held.st_ino != there.st_ino;
}

int tender_round(struct tender *t)
{
	__u64 births = t->births;
	size_t counts[4];
	int err;

	if (is_over(t))
		return -ESTALE;
	t->births = t->maps.control->births;
	err = look_for_older(t);
	if (!err)
		err = walk_and_judge(t);
	if (!err)
		err = tend_pairs(t, counts);
	if (!err && counts[WEIR_PAIR_LEAVING])
		err = release_some(t);
	if (!err)
		err = observe_as_needed(t);
	if (err)
		return err;
	if (t->births != births)
		t->news_ns = now_ns();
	if (t->read || now_ns() < t->news_ns + NEWS_FOR || counts[WEIR_PAIR_JOINING] ||
	    counts[WEIR_PAIR_LEAVING])
		return PACE_BUSY;
	return counts[WEIR_PAIR_ON] ? PACE_PAIRS : PACE_IDLE;
}

bool tender_has_news(const struct tender *t)
{
	return t->maps.control->births != t->births || t->maps.control->generation != t->generation;
}

/* ---- who tends ---- */

static int lock_of(const struct instance *in)
{
	int fd = open(instance_path(in, "sock"), O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	err = errno == EWOULDBLOCK ? -EBUSY : -errno;
	close(fd);
	return err;
}

/* Pairs that one who was killed was about to join are nobody's. */
static void begin(struct tender *t)
{
	t->maps.control->tender = getpid();
	t->generation = t->maps.control->generation;
	for (__u32 i = 0; i < t->maps.pair_count; i++) {
		struct weir_pair *p = &t->maps.pairs[i];

		if (p->state == WEIR_PAIR_JOINING)
			leave(t, p);
	}
}

int tender_open(struct tender *t, const struct instance *in)
{
	int err;

	*t = (struct tender){.in = in, .lock = lock_of(in)};
	if (t->lock < 0)
		return t->lock == -EBUSY || t->lock == -ENOENT
			       ? t->lock
			       : fail(t->lock, "cannot lock %s: %s", instance_path(in, "sock"),
				      strerror(-t->lock));
	err = sock_maps_open(&t->maps, in);
	if (!err) {
		t->notes = calloc(t->maps.pair_count, sizeof(*t->notes));
		err = t->notes ? walker_open(&t->walker, &t->maps, true)
			       : fail(-ENOMEM, "out of memory for %u pairs", t->maps.pair_count);
	}
	if (!err)
		begin(t);
	else
		tender_close(t);
	return err;
}

int tender_take_over(struct tender *t, const struct instance *in)
{
	struct sock_maps m;
	int err = sock_maps_open(&m, in);

	if (err)
		return err;
	__atomic_fetch_add(&m.control->generation, 1, __ATOMIC_SEQ_CST);
	sock_maps_close(&m);
	for (int i = 0; i < 500; i++) {
		err = tender_open(t, in);
		if (err != -EBUSY)
			return err;
		usleep(10000);
	}
	return fail(err, "the process that tends the sockets does not end; end it, then try again");
}

void tender_close(struct tender *t)
{
	if (t->walker.skel)
		observe(t, false);
	walker_close(&t->walker);
	if (t->maps.control && t->maps.control->tender == (__u32)getpid())
		t->maps.control->tender = 0;
	sock_maps_close(&t->maps);
	free(t->notes);
	if (t->lock >= 0)
		close(t->lock);
	*t = (struct tender){.lock = -1};
}

int tender_process(const struct instance *in)
{
	struct sock_maps m;
	int fd = lock_of(in), process = 0;

	if (fd >= 0)
		close(fd);
	if (fd != -EBUSY || sock_maps_open(&m, in))
		return 0;
	process = m.control->tender;
	sock_maps_close(&m);
	return process;
}
