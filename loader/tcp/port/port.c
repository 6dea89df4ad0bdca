// SPDX-License-Identifier: GPL-2.0
#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/host/namespaces.h"
#include "loader/host/netdev.h"
#include "port_own.h"
#include "port_range.h"
#include "tcp_port.skel.h"
#include "trace/abi/port.h"

#define WALK_SECONDS 60

static const struct trace_hook hooks[] = {
	{"tp_btf/inet_sock_set_state", "change of state", true},
	{"iter/tcp", "what is older than the tracer", true},
	{"sockops", "the time that the search for a port takes", false},
};

/* ---- walks ---- */

int port_walk_read(struct trace_run *run, struct weir_port_walk *walk)
{
	int fd = trace_map(run, "walk"), err;
	__u32 zero = 0;

	if (fd < 0)
		return fd;
	err = bpf_map_lookup_elem(fd, &zero, walk);
	return err ? fail(err, "cannot read when sockets were looked at: %s", strerror(-err)) : 0;
}

static int write_walk(struct trace_run *run, const struct weir_port_walk *walk)
{
	int fd = trace_map(run, "walk"), err;
	__u32 zero = 0;

	if (fd < 0)
		return fd;
	err = bpf_map_update_elem(fd, &zero, walk, BPF_ANY);
	return err ? fail(err, "cannot write when sockets were looked at: %s", strerror(-err)) : 0;
}

struct tour {
	struct trace_run *run;
	struct weir_port_walk walk;
};

static int walk_here(void *data)
{
	struct tour *t = data;
	int err;

	t->walk.netns = netdev_namespace();
	port_range_here(&t->walk.least_port, &t->walk.most_port);
	err = write_walk(t->run, &t->walk);
	return err ? err : trace_walk(t->run, "weir_port_walk", "TCP sockets");
}

/* How often there was no room. */
static int read_lost(struct trace_run *run, __u64 *lost)
{
	struct trace_lost l;
	int err = trace_lost_read(run, &l);

	*lost = err ? 0 : l.records_full;
	return err;
}

/* One sweeps where its own number tells it to: records of what closed unseen go. */
static int tour(struct trace_run *run, bool sweep)
{
	struct tour t = {.run = run};
	int err = port_walk_read(run, &t.walk);

	if (err)
		return err;
	t.walk.number++;
	t.walk.began_ns = clock_now_ns();
	t.walk.sweep = sweep;
	err = netns_visit(run->about.config.filter.netns, walk_here, &t);
	if (!err)
		err = read_lost(run, &t.walk.lost);
	return err ? err : write_walk(run, &t.walk);
}

/* Two commands that read what is pinned would mistake each other's walk for their own. */
static int walk_alone(struct trace_run *run, bool sweep)
{
	int lock = run->pinned ? open(run->pins, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, err = 0;

	if (run->pinned && (lock < 0 || flock(lock, LOCK_EX)))
		err = fail(-errno, "cannot lock %s: %m", run->pins);
	if (!err)
		err = tour(run, sweep);
	if (lock >= 0)
		close(lock);
	return err;
}

int port_walk(struct trace_run *run)
{
	return walk_alone(run, true);
}

int port_walk_if_due(struct trace_run *run)
{
	struct weir_port_walk walk;
	__u64 lost;
	int err = port_walk_read(run, &walk);

	if (!err)
		err = read_lost(run, &lost);
	if (err || clock_now_ns() - walk.began_ns < WALK_SECONDS * 1000000000ull)
		return err;
	return run->pinned && lost == walk.lost ? 0 : walk_alone(run, lost != walk.lost);
}

static int begun_port(struct trace_run *run)
{
	return walk_alone(run, false);
}

static void forget_port(struct trace_run *run)
{
	struct port_own *own = run->own;

	counts_free(&own->services);
	counts_free(&own->destinations);
}

const struct tracer tracer_port = {
	.name = "port",
	.answers = "connections of each service, and local ports in use by destination",
	.hooks = hooks,
	.hook_count = sizeof(hooks) / sizeof(hooks[0]),
	.own_size = sizeof(struct port_own),
	.misses_none = true,
	.elf = tcp_port_bpf__elf_bytes,
	.begun = begun_port,
	.forget = forget_port,
};
