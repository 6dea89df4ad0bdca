// SPDX-License-Identifier: GPL-2.0
#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "loader/tend/pairs.h"
#include "loader/tend/release.h"
#include "loader/tend/tend.h"

#define WAIT_S	    2 /* for readers to read what they have; a round may be long, too */
#define PAUSE_US    20000
#define PATIENCE_MS 8000 /* with our sockets' locks; the tender is given 5 s to end */

/* Pairs that must leave; NULL cgroup: all. Those of its clients are known by a walk only. */
struct leavers {
	const struct cgroup *cgroup;
	bool *clients; /* by slot */
};

static bool concerns(const struct leavers *l, const struct sock_maps *m, __u32 slot)
{
	const struct weir_pair *p = &m->pairs[slot];

	if (p->state == WEIR_PAIR_FREE)
		return false;
	return !l->cgroup || p->cgroup == l->cgroup->id || (l->clients && l->clients[slot]);
}

/* How many of a pair's are in the map. */
static size_t sockets_of(const struct sock_maps *m, __u32 slot)
{
	return (size_t)pairs_has(m, m->pairs[slot].cookie[0]) +
	       pairs_has(m, m->pairs[slot].cookie[1]);
}

/* From here on the sends of these pairs go by TCP. This much is done in our own memory: no socket's
 * lock, and nobody else's process, can hold it up. Returns how many sockets are in the map. */
static size_t send_away(struct sock_maps *m, const struct leavers *l)
{
	size_t count = 0;

	if (!l->cgroup)
		m->control->on = 0;
	for (__u32 i = 0; i < m->pair_count; i++) {
		if (!concerns(l, m, i))
			continue;
		pairs_send_away(&m->pairs[i]);
		count += sockets_of(m, i);
	}
	return count;
}

/* Those whose client is in the cgroup, and whose server is in another one. */
static int send_clients_away(struct tender *t, struct leavers *l, size_t *joined)
{
	int err = walker_walk(&t->walker, (struct weir_walk){});

	l->clients = calloc(t->maps.pair_count, sizeof(*l->clients));
	if (!l->clients)
		return fail(-ENOMEM, "out of memory for %u pairs", t->maps.pair_count);
	for (size_t i = 0; !err && l->cgroup && i < t->walker.count; i++) {
		const struct weir_sock *s = &t->walker.record[i].sock;

		if (s->state != WEIR_SOCK_JOINED || s->cgroup != l->cgroup->id ||
		    s->pair >= t->maps.pair_count || concerns(l, &t->maps, s->pair) ||
		    t->maps.pairs[s->pair].cookie[s->end & 1] != s->cookie)
			continue;
		l->clients[s->pair] = true;
		pairs_send_away(&t->maps.pairs[s->pair]);
		*joined += sockets_of(&t->maps, s->pair);
	}
	return err;
}

/* An end that has closed is in no call. */
static void see_closed(struct sock_maps *m, const struct leavers *l)
{
	for (__u32 i = 0; i < m->pair_count; i++)
		for (int end = 0; concerns(l, m, i) && end < WEIR_ENDS; end++)
			if (!pairs_has(m, m->pairs[i].cookie[end]))
				m->pairs[i].quiet[end] = 1;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int wait_for_release(struct tender *t, size_t *left)
{
	int err = walker_walk(&t->walker, (struct weir_walk){});
	double end = now() + WAIT_S;

	if (!err)
		err = release_round(&t->walker, &t->maps, left);
	while (!err && *left && now() < end) {
		usleep(PAUSE_US);
		err = release_round(&t->walker, &t->maps, left);
	}
	return err;
}

/* What is unread of these is lost, and readers asleep in recv() see EAGAIN. */
static unsigned long throw_out(struct sock_maps *m, const struct leavers *l)
{
	unsigned long count = 0;

	for (__u32 i = 0; i < m->pair_count; i++)
		for (int end = 0; concerns(l, m, i) && end < WEIR_ENDS; end++)
			count += !bpf_map_delete_elem(m->ends, &m->pairs[i].cookie[end]);
	return count;
}

static int fold_all(struct sock_maps *m)
{
	int err = 0;

	for (__u32 i = 0; !err && i < m->pair_count; i++) {
		const struct weir_pair *p = &m->pairs[i];

		if (p->state == WEIR_PAIR_LEAVING && !pairs_has(m, p->cookie[0]) &&
		    !pairs_has(m, p->cookie[1]))
			err = pairs_fold(m, i, true);
	}
	return err;
}

/* What the maps, which others go on with, have of this cgroup. */
static void forget(struct sock_maps *m, const struct cgroup *cgroup)
{
	sock_forget_prefixes(m, cgroup);
	pairs_forget(m, cgroup->id);
}

static int give_back(struct tender *t, struct leavers *l, bool force, size_t joined,
		     struct sock_detached *result)
{
	size_t left = 0;
	int err = send_clients_away(t, l, &joined);

	if (err)
		return err;
	see_closed(&t->maps, l);
	err = wait_for_release(t, &left);
	if (err)
		return err;
	left = 0;
	for (__u32 i = 0; i < t->maps.pair_count; i++)
		left += concerns(l, &t->maps, i) ? sockets_of(&t->maps, i) : 0;
	if (force)
		result->lost = throw_out(&t->maps, l);
	result->kept = left > result->lost ? left - result->lost : 0;
	result->released = joined > left ? joined - left : 0;
	err = fold_all(&t->maps);
	if (!err && l->cgroup)
		forget(&t->maps, l->cgroup);
	return err;
}

/* What the child that does it says. */
struct outcome {
	int err;
	struct sock_detached result;
	char line[512];
};

static void give_back_and_tell(const struct instance *in, const struct cgroup *cgroup, bool force,
			       size_t joined, int to)
{
	struct leavers l = {.cgroup = cgroup};
	struct outcome o = {};
	struct tender t;

	close(in->lock);
	signal(SIGPIPE, SIG_IGN);
	o.err = tender_take_over(&t, in);
	if (!o.err) {
		o.err = give_back(&t, &l, force, joined, &o.result);
		free(l.clients);
		tender_close(&t);
	}
	snprintf(o.line, sizeof(o.line), "%s", failure() ? failure() : "");
	_exit(write(to, &o, sizeof(o)) != sizeof(o));
}

/*
 * Sockets are taken out under their locks, and each of the namespace is waited for on the way. Who
 * holds one of them, in a read that waits for a page from a slow disk or worse, holds us up as well:
 * therefore a child does it, and after a while we go without.
 */
static int give_back_in_time(const struct instance *in, const struct cgroup *cgroup, bool force,
			     size_t joined, struct sock_detached *result)
{
	struct outcome o = {.result = {.kept = joined}};
	struct pollfd answer;
	int pipes[2];
	pid_t child;

	if (pipe2(pipes, O_CLOEXEC))
		return fail(-errno, "cannot make a pipe: %m");
	fflush(NULL);
	child = fork();
	if (!child)
		give_back_and_tell(in, cgroup, force, joined, pipes[1]);
	close(pipes[1]);
	answer = (struct pollfd){.fd = pipes[0], .events = POLLIN};
	if (child < 0)
		o.err = fail(-errno, "cannot start a process: %m");
	else if (poll(&answer, 1, PATIENCE_MS) != 1)
		kill(child, SIGKILL);
	else if (read(pipes[0], &o, sizeof(o)) != sizeof(o))
		o.err = fail(-ECHILD, "the process that gives sockets back to TCP ended early");
	else
		waitpid(child, NULL, 0);
	close(pipes[0]);
	*result = o.result;
	return o.err && *o.line ? fail(o.err, "%s", o.line) : o.err;
}

/* Without the maps nothing can be given back. */
static int remove_damaged(const struct instance *in, const struct cgroup *cgroup)
{
	bool attached = sock_scopes(in, NULL) > 0;
	int err = 0;

	sock_scope_remove(in, cgroup);
	if (!cgroup)
		err = pin_remove_tree(instance_path(in, "sock"));
	if (err || !attached)
		return err;
	return fail(-ENOENT, "detached, but the socket programs' maps were not there: connections "
			     "that are short-cut stay so until they close");
}

/* 0; -ENOENT when the maps are not there. */
static int switch_off(const struct instance *in, const struct cgroup *cgroup, size_t *joined)
{
	struct sock_maps m;
	int err = sock_maps_open(&m, in);

	if (err)
		return err;
	*joined = send_away(&m, &(struct leavers){.cgroup = cgroup});
	sock_maps_close(&m);
	return 0;
}

int sock_detach(struct instance *in, const struct cgroup *cgroup, bool force,
		struct sock_detached *result)
{
	bool last, tended = tender_process(in);
	size_t joined = 0;
	int err, started;

	*result = (struct sock_detached){};
	if (cgroup && access(instance_path(in, "sock/cgroups/%llx", cgroup->id), F_OK))
		return fail(-ENOENT, "%s is not attached; 'weir sock show' lists what is",
			    cgroup->path);
	last = !cgroup || sock_scopes(in, NULL) == 1;
	if (last)
		cgroup = NULL;
	err = switch_off(in, cgroup, &joined);
	if (err)
		return err == -ENOENT ? remove_damaged(in, cgroup) : err;
	sock_scope_remove(in, cgroup);
	err = give_back_in_time(in, cgroup, force, joined, result);
	if (last)
		return err ? err : pin_remove_tree(instance_path(in, "sock"));
	/* For the other cgroups, whatever became of this one. */
	started = tended ? tender_start(in) : 0;
	return err ? err : started;
}
