// SPDX-License-Identifier: GPL-2.0
#include "visit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "loader/host/namespaces.h"
#include "walk.h"

static int compare(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

/* Sorted, each once. */
static size_t sort(__u64 *inodes, size_t count)
{
	size_t kept = 0;

	qsort(inodes, count, sizeof(*inodes), compare);
	for (size_t i = 0; i < count; i++)
		if (!kept || inodes[kept - 1] != inodes[i])
			inodes[kept++] = inodes[i];
	return kept;
}

static bool is_own(__u64 inode)
{
	struct stat own;

	return !stat("/proc/self/ns/net", &own) && own.st_ino == inode;
}

/* To find all namespaces takes a look at every process, which most hosts can do without. */
static int visit(struct bpf_link *link, const __u64 *inodes, size_t count, int times)
{
	bool only_here = count == 1 && is_own(inodes[0]);
	struct netns_list list = {};
	int err = only_here ? 0 : netns_list_read(&list);

	for (int i = 0; !err && i < times; i++)
		err = only_here ? walker_read_iterator(link)
				: netns_for_each(&list, inodes, count, walker_read_iterator, link,
						 NULL);
	netns_list_free(&list);
	return err;
}

int visit_sockets(struct bpf_program *program, __u64 *inodes, size_t count, int times)
{
	struct bpf_link *link;
	int err;

	if (!count)
		return 0;
	link = bpf_program__attach_iter(program, NULL);
	if (!link)
		return fail(-errno, "cannot walk over TCP sockets: %m");
	err = visit(link, inodes, sort(inodes, count), times);
	bpf_link__destroy(link);
	return err;
}
