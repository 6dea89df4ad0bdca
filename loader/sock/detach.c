// SPDX-License-Identifier: GPL-2.0
#include "attach.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "pairs.h"
#include "release.h"
#include "tend.h"

#define WAIT_S	 2 /* for readers to read what they have; a round may be long, too */
#define PAUSE_US 20000

static bool concerns(const struct weir_pair *p, const struct cgroup *cgroup)
{
	return p->state != WEIR_PAIR_FREE && (!cgroup || p->cgroup == cgroup->id);
}

/* From here on the sends of these pairs go by TCP. */
static size_t send_away(struct sock_maps *m, const struct cgroup *cgroup)
{
	size_t count = 0;

	if (!cgroup)
		m->control->on = 0;
	for (__u32 i = 0; i < m->pair_count; i++) {
		struct weir_pair *p = &m->pairs[i];

		if (!concerns(p, cgroup))
			continue;
		memset(p->quiet, 0, sizeof(p->quiet));
		__atomic_store_n(&p->state, WEIR_PAIR_LEAVING, __ATOMIC_RELEASE);
		for (int end = 0; end < WEIR_ENDS; end++) {
			bool in = pairs_has(m, p->cookie[end]);

			p->quiet[end] = !in;
			count += in;
		}
	}
	return count;
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
static unsigned long throw_out(struct sock_maps *m, const struct cgroup *cgroup)
{
	unsigned long count = 0;

	for (__u32 i = 0; i < m->pair_count; i++)
		for (int end = 0; concerns(&m->pairs[i], cgroup) && end < WEIR_ENDS; end++)
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

static int give_back(struct tender *t, const struct cgroup *cgroup, bool force,
		     struct sock_detached *result)
{
	size_t joined = send_away(&t->maps, cgroup), left = 0;
	int err = wait_for_release(t, &left);

	if (err)
		return err;
	if (force)
		result->lost = throw_out(&t->maps, cgroup);
	result->kept = left > result->lost ? left - result->lost : 0;
	result->released = joined > left ? joined - left : 0;
	return fold_all(&t->maps);
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

int sock_detach(struct instance *in, const struct cgroup *cgroup, bool force,
		struct sock_detached *result)
{
	bool last, tended = tender_process(in);
	struct tender t;
	int err;

	*result = (struct sock_detached){};
	if (cgroup && access(instance_path(in, "sock/cgroups/%llx", cgroup->id), F_OK))
		return fail(-ENOENT, "%s is not attached; 'weir sock show' lists what is",
			    cgroup->path);
	last = !cgroup || sock_scopes(in, NULL) == 1;
	if (last)
		cgroup = NULL;
	err = tender_take_over(&t, in);
	if (err)
		return err == -ENOENT ? remove_damaged(in, cgroup) : err;
	sock_scope_remove(in, cgroup);
	err = give_back(&t, cgroup, force, result);
	tender_close(&t);
	if (!err && last)
		err = pin_remove_tree(instance_path(in, "sock"));
	else if (!err && tended)
		err = tender_start(in);
	return err;
}
