// SPDX-License-Identifier: GPL-2.0
/*
 * One sample. Three things would falsify it and are kept out: the patching of the kernel's XDP
 * dispatcher at the begin and end of every test run (so the program is attached meanwhile), the
 * run-time statistics of BPF that anybody may switch on (a sample in which the program's run
 * count moves is taken again), and other load on the CPU (CPU time, not wall time).
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "loader/base/error.h"

#define LOOPBACK     1 /* its ifindex in every namespace */
#define ATTEMPTS     5
#define WARM_UP_PART 10

static int up(const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_flags = IFF_UP};
	int err;

	if (fd < 0)
		return -errno;
	strncpy(ifr.ifr_name, name, sizeof(ifr.ifr_name) - 1);
	err = ioctl(fd, SIOCSIFFLAGS, &ifr) ? -errno : 0;
	close(fd);
	return err;
}

int sample_prepare(void)
{
	int err;

	if (unshare(CLONE_NEWNET))
		return fail(-errno, "bench: no network namespace of its own: %s; run it as root",
			    strerror(errno));
	err = up("lo");
	return err ? fail(err, "bench: lo does not come up: %s", strerror(-err)) : 0;
}

__u64 percpu_sum(int map_fd, __u32 key, size_t offset)
{
	struct bpf_map_info info = {};
	__u32 length = sizeof(info);
	int cpus = libbpf_num_possible_cpus();
	__u64 sum = 0;
	__u8 *values;
	size_t stride;

	if (cpus < 0 || bpf_obj_get_info_by_fd(map_fd, &info, &length))
		return 0;
	stride = (info.value_size + 7) / 8 * 8;
	values = calloc(cpus, stride);
	if (values && !bpf_map_lookup_elem(map_fd, &key, values)) {
		for (int cpu = 0; cpu < cpus; cpu++) {
			__u64 part;

			memcpy(&part, values + cpu * stride + offset, sizeof(part));
			sum += part;
		}
	}
	free(values);
	return sum;
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int run_count(int fd, __u64 *count)
{
	struct bpf_prog_info info = {};
	__u32 length = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		return fail(-errno, "bench: program information: %s", strerror(errno));
	*count = info.run_cnt;
	return 0;
}

int check_counted(const struct bench_case *c, __u64 before, __u32 repeat)
{
	__u64 counted = c->counted ? c->counted(c->owner) - before : 0;

	if (c->counted && counted != (c->uncounted ? 0 : repeat))
		return fail(-EPROTO, "%s: of %u packets %llu were counted", c->name, repeat,
			    counted);
	return 0;
}

/* A run that did not take every packet the expected way measured something else. */
static int test_run(const struct bench_case *c, const struct entry *entry, __u32 repeat, double *ns)
{
	bool counts = entry == &c->subject && c->counted;
	__u64 counted = counts ? c->counted(c->owner) : 0;
	__u64 varied = entry->varied ? *entry->varied : 0;
	double begin;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = c->packet.bytes,
		    .data_size_in = c->packet.length, .repeat = repeat);

	begin = cpu_ns();
	if (bpf_prog_test_run_opts(entry->fd, &opts))
		return fail(-errno, "%s: BPF_PROG_TEST_RUN: %s", c->name, strerror(errno));
	*ns = (cpu_ns() - begin) / repeat;
	if (opts.retval != entry->verdict)
		return fail(-EPROTO, "%s: verdict %d instead of %d", c->name, (int)opts.retval,
			    (int)entry->verdict);
	if (entry->varied && *entry->varied - varied != repeat)
		return fail(-EPROTO, "%s: %llu of %u packets were varied", c->name,
			    *entry->varied - varied, repeat);
	return counts ? check_counted(c, counted, repeat) : 0;
}

/* Returns 1 when somebody had BPF statistics switched on in the meantime. */
static int attempt(const struct bench_case *c, const struct entry *entry, __u32 repeat, double *ns)
{
	__u64 before, after;
	int err;

	err = run_count(entry->fd, &before);
	if (!err)
		err = test_run(c, entry, repeat, ns);
	if (!err)
		err = run_count(entry->fd, &after);
	return err ? err : before != after;
}

int sample(const struct bench_case *c, const struct entry *entry, __u32 repeat, double *ns)
{
	int err = 0;

	if (entry->xdp)
		err = bpf_xdp_attach(LOOPBACK, entry->fd, XDP_FLAGS_SKB_MODE, NULL);
	if (err)
		return fail(err, "%s: attaching to lo: %s", c->name, strerror(-err));
	err = test_run(c, entry, repeat / WARM_UP_PART, ns);
	if (err)
		return err;
	for (int i = 0; i < ATTEMPTS; i++) {
		err = attempt(c, entry, repeat, ns);
		if (err <= 0)
			return err;
	}
	return fail(-EBUSY, "bench: BPF run-time statistics add their own cost to every run; "
			    "switch them off: sysctl kernel.bpf_stats_enabled=0");
}
