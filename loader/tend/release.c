// SPDX-License-Identifier: GPL-2.0
#include "release.h"

#include <errno.h>
#include <stdlib.h>

#include "loader/base/error.h"
#include "visit.h"
#include "weir_tend.skel.h"

static bool is_leaving(const struct sock_maps *m, const struct weir_sock *s)
{
	if (s->state != WEIR_SOCK_JOINED || s->pair >= m->pair_count)
		return false;
	return !m->control->on || m->pairs[s->pair].state == WEIR_PAIR_LEAVING;
}

/* The namespaces of the sockets that leave. The caller frees them. */
static size_t namespaces_of(const struct walker *w, const struct sock_maps *m, __u64 **inodes)
{
	size_t count = 0;

	*inodes = calloc(w->count ? w->count : 1, sizeof(**inodes));
	for (size_t i = 0; *inodes && i < w->count; i++)
		if (is_leaving(m, &w->record[i].sock))
			(*inodes)[count++] = w->record[i].netns;
	return count;
}

int release_round(struct walker *w, const struct sock_maps *m, size_t *left)
{
	__u64 *inodes;
	size_t count;
	int err;

	*left = 0;
	count = namespaces_of(w, m, &inodes);
	if (!inodes)
		return fail(-ENOMEM, "out of memory for %zu sockets", w->count);
	/* The second time each end knows of the other one. */
	err = visit_sockets(w->skel->progs.weir_release, inodes, count, 2);
	free(inodes);
	if (!err && count)
		err = walker_walk(w, (struct weir_walk){});
	for (size_t i = 0; !err && i < w->count; i++)
		*left += is_leaving(m, &w->record[i].sock);
	return err;
}
