// SPDX-License-Identifier: GPL-2.0
#include "release.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "namespaces.h"
#include "weir_tend.skel.h"

static int compare(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

static bool is_leaving(const struct sock_maps *m, const struct weir_sock *s)
{
	if (s->state != WEIR_SOCK_JOINED || s->pair >= m->pair_count)
		return false;
	return !m->control->on || m->pairs[s->pair].state == WEIR_PAIR_LEAVING;
}

/* The namespaces of the sockets that leave, sorted, each once. The caller frees them. */
static size_t namespaces_of(const struct walker *w, const struct sock_maps *m, __u64 **inodes)
{
	size_t count = 0, kept = 0;

	*inodes = calloc(w->count ? w->count : 1, sizeof(**inodes));
	for (size_t i = 0; *inodes && i < w->count; i++)
		if (is_leaving(m, &w->record[i].sock))
			(*inodes)[count++] = w->record[i].netns;
	if (count)
		qsort(*inodes, count, sizeof(**inodes), compare);
	for (size_t i = 0; i < count; i++)
		if (!kept || (*inodes)[kept - 1] != (*inodes)[i])
			(*inodes)[kept++] = (*inodes)[i];
	return kept;
}

static int two_passes(struct bpf_link *link, const __u64 *inodes, size_t count)
{
	struct netns_list list;
	int err = netns_list_read(&list);

	for (int i = 0; !err && i < 2; i++)
		err = netns_for_each(&list, inodes, count, walker_read_iterator, link, NULL);
	netns_list_free(&list);
	return err;
}

int release_round(struct walker *w, const struct sock_maps *m, size_t *left)
{
	struct bpf_link *link;
	__u64 *inodes;
	size_t count;
	int err = 0;

	*left = 0;
	count = namespaces_of(w, m, &inodes);
	if (!inodes)
		return fail(-ENOMEM, "out of memory for %zu sockets", w->count);
	if (count) {
		link = bpf_program__attach_iter(w->skel->progs.weir_release, NULL);
		err = link ? two_passes(link, inodes, count)
			   : fail(-errno, "cannot walk over TCP sockets: %m");
		bpf_link__destroy(link);
	}
	free(inodes);
	if (!err && count)
		err = walker_walk(w, (struct weir_walk){});
	for (size_t i = 0; !err && i < w->count; i++)
		*left += is_leaving(m, &w->record[i].sock);
	return err;
}
