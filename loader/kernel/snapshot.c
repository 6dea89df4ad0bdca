// SPDX-License-Identifier: GPL-2.0
#include "snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "iterator.h"
#include "loader/base/error.h"
#include "loader/host/namespaces.h"
#include "loader/host/netdev.h"
#include "sockets.skel.h"

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

static int tell(void *arg, const void *record)
{
	const struct visit *v = arg;

	return v->fn(v->arg, record);
}

static int read_namespace(void *data)
{
	struct visit *v = data;
	int err = v->enter ? v->enter(v->arg, netdev_namespace()) : 0;

	return err < 0 ? err
		       : iterator_read(bpf_link__fd(v->snapshot->link), "TCP sockets",
				       sizeof(struct weir_socket), tell, v);
}

int snapshot_visit(struct snapshot *snapshot, int (*enter)(void *arg, __u64 netns), snapshot_fn *fn,
		   void *arg)
{
	struct visit v = {.snapshot = snapshot, .enter = enter, .fn = fn, .arg = arg};

	return netns_visit(snapshot->netns, read_namespace, &v);
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
