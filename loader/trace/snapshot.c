// SPDX-License-Identifier: GPL-2.0
#include "snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "loader/host/namespaces.h"
#include "loader/host/netdev.h"
#include "sockets.skel.h"

#define RECORDS 256 /* read at a time */

struct snapshot {
	struct sockets_bpf *skel;
	struct bpf_link *link;
	__u64 netns; /* 0: all */
};

/* One reading. */
struct visit {
	struct snapshot *snapshot;
	int (*enter)(void *arg, __u64 netns);
	snapshot_fn *fn;
	void *arg;
};

int snapshot_open(struct snapshot **snapshot, const struct weir_trace_filter *filter, __u32 states)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return fail(-ENOMEM, "out of memory");
	s->skel = sockets_bpf__open();
	if (!s->skel) {
		free(s);
		return fail(-errno, "cannot open the iterator over TCP sockets: %m");
	}
	s->skel->rodata->config.filter = *filter;
	s->skel->rodata->wanted_states = states;
	s->netns = filter->netns;
	err = sockets_bpf__load(s->skel);
	if (!err)
		s->link = bpf_program__attach(s->skel->progs.weir_sockets);
	if (!err && !s->link)
		err = -errno;
	if (err) {
		snapshot_close(s);
		return fail(err,
			    "the kernel refuses the iterator over TCP sockets: %s; -vv shows why",
			    strerror(-err));
	}
	*snapshot = s;
	return 0;
}

/* A read may end within a record, whose rest comes with the next. */
static int read_records(const struct visit *v, int fd)
{
	struct weir_socket record[RECORDS];
	size_t held = 0, whole;
	ssize_t n = 0;
	int err = 0;

	while (!err) {
		n = read(fd, (char *)record + held, sizeof(record) - held);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			break;
		held += n;
		whole = held / sizeof(*record);
		for (size_t i = 0; !err && i < whole; i++) {
			err = v->fn(v->arg, &record[i]);
			err = err < 0 ? err : 0;
		}
		held -= whole * sizeof(*record);
		memmove(record, &record[whole], held);
	}
	return n < 0 ? fail(-errno, "cannot walk over TCP sockets: %m") : err;
}

static int read_namespace(void *data)
{
	const struct visit *v = data;
	int err = v->enter ? v->enter(v->arg, netdev_namespace()) : 0, fd;

	if (err < 0)
		return err;
	fd = bpf_iter_create(bpf_link__fd(v->snapshot->link));
	if (fd < 0)
		return fail(fd, "cannot walk over TCP sockets: %s", strerror(-fd));
	err = read_records(v, fd);
	close(fd);
	return err;
}

/* To find all namespaces takes a look at every process: most of those who ask mean their own. */
int snapshot_visit(struct snapshot *snapshot, int (*enter)(void *arg, __u64 netns), snapshot_fn *fn,
		   void *arg)
{
	struct visit v = {.snapshot = snapshot, .enter = enter, .fn = fn, .arg = arg};
	const __u64 *wanted = snapshot->netns ? &snapshot->netns : NULL;
	struct netns_list list;
	int err;

	if (snapshot->netns && snapshot->netns == netdev_namespace())
		return read_namespace(&v);
	err = netns_list_read(&list);
	if (!err)
		err = netns_for_each(&list, wanted, wanted ? 1 : 0, read_namespace, &v, NULL);
	netns_list_free(&list);
	return err;
}

int snapshot_read(struct snapshot *snapshot, snapshot_fn *fn, void *arg)
{
	return snapshot_visit(snapshot, NULL, fn, arg);
}

void snapshot_close(struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	bpf_link__destroy(snapshot->link);
	sockets_bpf__destroy(snapshot->skel);
	free(snapshot);
}
