// SPDX-License-Identifier: GPL-2.0
/*
 * The peer: xdp-filter's own objects as xdp-tools installs them, with 10,000 exact addresses, the
 * most its maps hold. Its user space is not involved: what that would write is written here.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"
#include "list.h"
#include "loader/base/error.h"

#define ADDRESSES    10000
#define MATCH_SOURCE 1 /* a value is flags in its low bits, then a counter */
#define LIST_SEED    0xf117e4

struct filter {
	struct bpf_object *object;
	struct bpf_program *program;
	int stats;
};

static struct filter ip, all;
static struct prefix_list list;

static __u64 dropped(const void *owner)
{
	return percpu_sum(((const struct filter *)owner)->stats, XDP_DROP, 0);
}

static __u64 passed(const void *owner)
{
	return percpu_sum(((const struct filter *)owner)->stats, XDP_PASS, 0);
}

static bool find_object(const char *file, char *path, size_t room)
{
	static const char *const places[] = {"/usr/lib/*/bpf", "/usr/lib/bpf", "/usr/lib64/bpf",
					     "/usr/local/lib/bpf", "/usr/local/lib64/bpf"};
	bool found = false;
	glob_t matches;

	for (size_t i = 0; !found && i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, room, "%s/%s", places[i], file);
		if (glob(path, 0, NULL, &matches))
			continue;
		found = snprintf(path, room, "%s", matches.gl_pathv[0]) < (int)room;
		globfree(&matches);
	}
	return found;
}

/* Its maps ask to be pinned by name: ours are not to meet those of a running xdp-filter. */
static void keep_private(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map (map, object)
		bpf_map__set_pin_path(map, NULL);
}

static int load(struct filter *filter, const char *path)
{
	int err;

	filter->object = bpf_object__open_file(path, NULL);
	if (!filter->object)
		return fail(-errno, "%s: does not open: %s", path, strerror(errno));
	keep_private(filter->object);
	err = bpf_object__load(filter->object);
	if (err)
		return fail(err, "%s: does not load: %s", path, strerror(-err));
	filter->program = bpf_object__next_program(filter->object, NULL);
	filter->stats = bpf_object__find_map_fd_by_name(filter->object, "xdp_stats_map");
	if (!filter->program || filter->stats < 0)
		return fail(-ENOENT, "%s: not the xdp-filter known to this bench", path);
	return 0;
}

static int list_address(int map, const void *key)
{
	__u64 *values = calloc(libbpf_num_possible_cpus(), sizeof(*values));
	int err;

	if (!values)
		return fail(-ENOMEM, "bench: out of memory");
	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++)
		values[cpu] = MATCH_SOURCE;
	err = bpf_map_update_elem(map, key, values, BPF_NOEXIST);
	free(values);
	return err ? fail(err, "xdp-filter: listing an address: %s", strerror(-err)) : 0;
}

static int fill(const struct filter *filter)
{
	int ip4 = bpf_object__find_map_fd_by_name(filter->object, "filter_ipv4");
	int ip6 = bpf_object__find_map_fd_by_name(filter->object, "filter_ipv6");
	int err = 0;

	for (size_t i = 0; !err && i < list.count; i++) {
		__be32 key[4];
		__u32 bits;

		prefix_to_ip6(&list.prefix[i], key, &bits);
		err = list_address(ip6, key);
		if (!err)
			err = list_address(ip4, &key[1]);
	}
	return err;
}

static int prepare(struct filter *filter, const char *file)
{
	char path[512];
	int err;

	if (!find_object(file, path, sizeof(path)))
		return -ENOENT;
	err = load(filter, path);
	return err ? err : fill(filter);
}

struct filter_case {
	const char *name;
	const struct filter *filter;
	__u8 family;
	bool hit, random, live;
};

static int add_case(struct bench *bench, const struct filter_case *c)
{
	return add_list_case(bench, &(struct list_case){
					    .name = c->name,
					    .program = c->filter->program,
					    .verdict = c->hit ? XDP_DROP : XDP_PASS,
					    .list = &list,
					    .draw = c->hit ? prefixes_inside : prefixes_outside,
					    .family = c->family,
					    .random = c->random,
					    .live = c->live,
					    .counted = c->hit ? dropped : passed,
					    .owner = c->filter,
				    });
}

static int add_cases(struct bench *bench)
{
	static const struct filter_case cases[] = {
		{FILTER_HIT_ONE, &ip, 4, .hit = true},
		{FILTER_HIT_MANY, &ip, 4, .hit = true, .random = true},
		{FILTER_MISS_ONE, &ip, 4, .hit = false},
		{FILTER_MISS_MANY, &ip, 4, .random = true},
		{FILTER_HIT6_MANY, &ip, 6, .hit = true, .random = true},
		{FILTER_MISS6_MANY, &ip, 6, .random = true},
		{FILTER_ALL_MISS, &all, 4, .hit = false},
		{FILTER_LIVE, &ip, 4, .hit = true, .live = true},
	};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(cases) / sizeof(cases[0]); i++)
		err = add_case(bench, &cases[i]);
	return err;
}

/* Without xdp-tools there is no peer to compare with, which is no failure. */
int add_xdp_filter(struct bench *bench)
{
	int err;

	list = prefixes_make(ADDRESSES, true, LIST_SEED);
	if (!list.prefix)
		return fail(-ENOMEM, "bench: out of memory");
	err = prepare(&ip, "xdpfilt_alw_ip.o");
	if (!err)
		err = prepare(&all, "xdpfilt_alw_all.o");
	if (err == -ENOENT && !failure()) {
		notice("bench: xdp-filter's objects are not installed (Debian: xdp-tools): "
		       "nothing to compare with");
		return 0;
	}
	return err ? err : add_cases(bench);
}
