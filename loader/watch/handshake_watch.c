// SPDX-License-Identifier: GPL-2.0
/*
 * Events flow while a lease runs that the watcher renews, so a killed watcher costs the datapath
 * nothing. A ring has one reader: the lease names its holder, and a second watcher is refused.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "handshakes.h"

#define LEASE_NS 2000000000ull

struct handshake_watch {
	struct handshake_maps *maps;
	size_t devices;
	size_t held; /* leases we hold: the first so many */
	struct ring_buffer *ring;
	handshake_event_fn *fn;
	void *arg;
	__u64 begun_ns;
	__u64 lost_before;
	int stopped; /* what fn returned */
};

static __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* Two watchers that begin in the same instant both get here: the first to renew finds the other's
 * name and gives way. */
static int take_lease(int fd, __u64 now)
{
	struct weir_watch lease;
	__u32 zero = 0, me = getpid();
	int err = bpf_map_lookup_elem(fd, &zero, &lease);

	if (err)
		return fail(err, "lease of handshake events: %s", strerror(-err));
	if (lease.until_ns > now && lease.holder != me)
		return fail(-EBUSY, "handshake events are read by process %u: only one can watch",
			    lease.holder);
	lease = (struct weir_watch){.until_ns = now + LEASE_NS, .holder = me};
	err = bpf_map_update_elem(fd, &zero, &lease, BPF_ANY);
	return err ? fail(err, "lease of handshake events: %s", strerror(-err)) : 0;
}

static int renew_leases(struct handshake_watch *w)
{
	__u64 now = now_ns();
	int err;

	for (size_t i = 0; i < w->devices; i++) {
		err = take_lease(w->maps[i].watchers, now);
		if (err)
			return err;
		if (w->held <= i)
			w->held = i + 1;
	}
	return 0;
}

static void end_lease(int fd)
{
	struct weir_watch lease;
	__u32 zero = 0;

	if (bpf_map_lookup_elem(fd, &zero, &lease) || lease.holder != (__u32)getpid())
		return;
	lease = (struct weir_watch){};
	bpf_map_update_elem(fd, &zero, &lease, BPF_ANY);
}

/* Records of an earlier watcher that was killed may still be in the ring. */
static int on_record(void *ctx, void *data, size_t size)
{
	const struct weir_handshake_event *event = data;
	struct handshake_watch *w = ctx;

	if (size < sizeof(*event) || event->ns < w->begun_ns)
		return 0;
	w->stopped = w->fn(w->arg, event);
	return w->stopped ? -ECANCELED : 0; /* libbpf goes on unless it is negative */
}

static __u64 lost_so_far(const struct handshake_watch *w)
{
	int cpus = libbpf_num_possible_cpus();
	struct weir_tc_counters *per_cpu;
	__u32 zero = 0;
	__u64 lost = 0;

	per_cpu = cpus > 0 ? calloc(cpus, sizeof(*per_cpu)) : NULL;
	for (size_t i = 0; per_cpu && i < w->devices; i++)
		if (!bpf_map_lookup_elem(w->maps[i].tc_counters, &zero, per_cpu))
			for (int cpu = 0; cpu < cpus; cpu++)
				lost += per_cpu[cpu].events_lost;
	free(per_cpu);
	return lost;
}

static int open_rings(struct handshake_watch *w)
{
	int err = 0;

	w->ring = ring_buffer__new(w->maps[0].events, on_record, w, NULL);
	if (!w->ring)
		return fail(-errno, "handshake events: %s", strerror(errno));
	for (size_t i = 1; !err && i < w->devices; i++)
		err = ring_buffer__add(w->ring, w->maps[i].events, on_record, w);
	return err ? fail(err, "handshake events: %s", strerror(-err)) : 0;
}

int handshake_watch_open(const struct handshake_maps *maps, size_t devices, handshake_event_fn *fn,
			 void *arg, struct handshake_watch **watch)
{
	struct handshake_watch *w;
	int err;

	if (!devices)
		return fail(-ENODEV, "no device is observed: attach one with 'weir attach DEV'");
	w = calloc(1, sizeof(*w));
	if (!w)
		return fail(-ENOMEM, "handshake events: out of memory");
	w->devices = devices;
	w->fn = fn;
	w->arg = arg;
	w->begun_ns = now_ns();
	w->maps = calloc(devices, sizeof(*maps));
	if (!w->maps) {
		err = fail(-ENOMEM, "handshake events: out of memory");
		goto out_close;
	}
	memcpy(w->maps, maps, devices * sizeof(*maps));
	err = renew_leases(w);
	if (!err)
		err = open_rings(w);
	if (err)
		goto out_close;
	w->lost_before = lost_so_far(w);
	*watch = w;
	return 0;
out_close:
	handshake_watch_close(w);
	return err;
}

int handshake_watch_poll(struct handshake_watch *w)
{
	int err = renew_leases(w);

	if (err)
		return err;
	w->stopped = 0;
	err = ring_buffer__consume(w->ring);
	if (w->stopped)
		return w->stopped;
	return err < 0 ? fail(err, "handshake events: %s", strerror(-err)) : 0;
}

__u64 handshake_watch_lost(const struct handshake_watch *w)
{
	return lost_so_far(w) - w->lost_before;
}

void handshake_watch_close(struct handshake_watch *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->held; i++)
		end_lease(w->maps[i].watchers);
	ring_buffer__free(w->ring);
	free(w->maps);
	free(w);
}
