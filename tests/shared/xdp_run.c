// SPDX-License-Identifier: GPL-2.0
#include "xdp_run.h"

#include <err.h>
#include <errno.h>
#include <linux/if_link.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/program/xdp_program.h"
#include "loader/cmd/command.h"
#include "loader/base/error.h"
#include "weir_xdp.skel.h"

#define LOOPBACK     1
#define CPUS_MOST    1024
#define WORDS_MOST   24
#define DEVICES_MOST 32

void xdp_run_prepare(void)
{
	libbpf_set_print(NULL);
	if (unshare(CLONE_NEWNET))
		err(1, "unshare(CLONE_NEWNET)");
}

static int table_map(const struct table *table)
{
	int inner, outer, zero = 0;

	inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_table", 4, table->size, 1, NULL);
	LIBBPF_OPTS(bpf_map_create_opts, opts, .inner_map_fd = inner);
	if (inner < 0 || bpf_map_update_elem(inner, &zero, table->bytes, 0))
		err(1, "a table of %zu bytes", table->size);
	outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "weir_rules", 4, 4, 1, &opts);
	if (outer < 0 || bpf_map_update_elem(outer, &zero, &inner, 0))
		err(1, "a map of tables");
	close(inner);
	return outer;
}

/* Sets what the table asks for, see needs_of() and choose_maps() in the loader. */
static void use_table(struct weir_xdp_bpf *skel, struct weir_xdp_config *config,
		      const struct table *table)
{
	const struct weir_table_head *head = table->bytes;
	int map = table_map(table);

	config->fields = head->fields;
	config->table_bytes = table->size;
	config->limits = !!(head->actions & 1u << WEIR_A_LIMIT);
	config->redirects = !!(head->actions & 1u << WEIR_A_REDIRECT);
	if (bpf_map__reuse_fd(skel->maps.rules, map))
		err(1, "cannot use the map of tables");
	close(map);
}

static bool busy[DEVICES_MOST];

static int make_device(const char *name)
{
	char command[64];

	snprintf(command, sizeof(command), "ip link add %s type veth", name);
	if (system(command))
		errx(1, "'%s' failed", command);
	return if_nametoindex(name);
}

/* A program that is attached somewhere costs the kernel no work at each test run. A device has
 * one, so each run has a device; they go with the namespace. */
static int attach(struct xdp_run *run)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_SKB_MODE);
	char name[IFNAMSIZ];
	int link, ifindex;

	for (run->device = 0; run->device < DEVICES_MOST && busy[run->device];)
		run->device++;
	if (run->device == DEVICES_MOST)
		errx(1, "more than %d programs at once", DEVICES_MOST);
	busy[run->device] = true;
	snprintf(name, sizeof(name), "run%d", run->device);
	ifindex = if_nametoindex(name);
	link = bpf_link_create(run->program, ifindex ? ifindex : make_device(name), BPF_XDP, &opts);
	if (link < 0)
		err(1, "cannot attach to %s", name);
	return link;
}

static void load(struct xdp_run *run, struct weir_xdp_bpf *skel)
{
	xdp_choose_program(skel);
	if (weir_xdp_bpf__load(skel))
		err(1, "the kernel refuses the XDP program");
	run->skel = skel;
	run->program = bpf_program__fd(xdp_program_of(skel));
	run->link = attach(run);
}

void xdp_run_open_balance(struct xdp_run *run, const struct weir_xdp_config *config,
			  const struct rule_set *set, const struct table_names *names,
			  const struct balance_maps *maps)
{
	struct weir_xdp_config wanted = *config;
	struct weir_xdp_bpf *skel = weir_xdp_bpf__open();
	struct table table;

	if (!skel)
		err(1, "cannot open the XDP program");
	wanted.fields = 0;
	if (set && set->count) {
		if (table_compile(set, names, &table))
			errx(1, "%s", failure());
		use_table(skel, &wanted, &table);
		free(table.bytes);
	}
	bpf_map__set_autocreate(skel->maps.rules, wanted.fields);
	bpf_map__set_autocreate(skel->maps.rule_counters, wanted.fields);
	bpf_map__set_autocreate(skel->maps.buckets, wanted.limits);
	bpf_map__set_autocreate(skel->maps.redirect_devs, wanted.redirects);
	wanted.common = wanted.common && xdp_has_common(&wanted);
	*(struct weir_xdp_config *)&skel->rodata->config = wanted;
	if (balance_maps_use(skel, maps))
		errx(1, "cannot use the balancer's maps");
	load(run, skel);
}

void xdp_run_open(struct xdp_run *run, const struct weir_xdp_config *config,
		  const struct rule_set *set, const struct table_names *names)
{
	xdp_run_open_balance(run, config, set, names, NULL);
}

static bool is_shared(const struct weir_xdp_bpf *skel, const struct bpf_map *map)
{
	return map != skel->maps.rodata && map != skel->maps.explanation;
}

void xdp_run_open_explain(struct xdp_run *run, const struct xdp_run *live)
{
	struct weir_xdp_bpf *skel = weir_xdp_bpf__open();
	struct weir_xdp_config *config;
	struct bpf_map *map, *other = NULL;

	if (!skel)
		err(1, "cannot open the XDP program");
	config = (struct weir_xdp_config *)&skel->rodata->config;
	*config = *(const struct weir_xdp_config *)&live->skel->rodata->config;
	config->explain = 1;
	/* In the same order in both: a map that was taken over may have another name. */
	bpf_object__for_each_map (map, skel->obj) {
		other = bpf_object__next_map(live->skel->obj, other);
		if (!is_shared(skel, map))
			continue;
		if (bpf_map__fd(other) < 0)
			bpf_map__set_autocreate(map, false);
		else if (bpf_map__reuse_fd(map, bpf_map__fd(other)))
			err(1, "cannot share the map %s", bpf_map__name(map));
	}
	load(run, skel);
}

void xdp_run_close(struct xdp_run *run)
{
	close(run->link);
	busy[run->device] = false;
	weir_xdp_bpf__destroy(run->skel);
}

static void clear_counters(struct xdp_run *run)
{
	static const struct weir_device_counters zero[CPUS_MOST];
	int key = 0;

	if (bpf_map_update_elem(bpf_map__fd(run->skel->maps.counters), &key, zero, 0))
		err(1, "cannot clear the counters");
}

static void read_counters(const struct xdp_run *run, struct weir_device_counters *sum)
{
	static struct weir_device_counters each[CPUS_MOST];
	int cpus = libbpf_num_possible_cpus(), key = 0;
	__u64 *total = (__u64 *)sum;

	if (cpus > CPUS_MOST ||
	    bpf_map_lookup_elem(bpf_map__fd(run->skel->maps.counters), &key, each))
		err(1, "cannot read the counters");
	memset(sum, 0, sizeof(*sum));
	for (int cpu = 0; cpu < cpus; cpu++)
		for (size_t i = 0; i < sizeof(*sum) / sizeof(*total); i++)
			total[i] += ((const __u64 *)&each[cpu])[i];
}

void xdp_run_only(struct xdp_run *run, const struct packet *packet, struct xdp_result *result)
{
	struct xdp_md in = {.data_end = packet->length}, out = {};
	__u8 room[PACKET_ROOM + sizeof(result->meta)];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->bytes,
		    .data_size_in = packet->length, .data_out = room, .data_size_out = sizeof(room),
		    .ctx_in = &in, .ctx_size_in = sizeof(in), .ctx_out = &out,
		    .ctx_size_out = sizeof(out));

	if (bpf_prog_test_run_opts(run->program, &opts))
		err(1, "cannot run a frame of %u bytes", packet->length);
	memset(result, 0, sizeof(*result));
	result->code = opts.retval;
	if (out.data == sizeof(result->meta))
		memcpy(&result->meta, room, sizeof(result->meta));
	else if (out.data)
		errx(1, "%u bytes of metadata", out.data);
	result->packet = *packet;
	result->packet.length = opts.data_size_out - out.data;
	memcpy(result->packet.bytes, room + out.data, result->packet.length);
}

void xdp_run_frame(struct xdp_run *run, const struct packet *packet, struct xdp_result *result)
{
	clear_counters(run);
	xdp_run_only(run, packet, result);
	read_counters(run, &result->counters);
}

void xdp_run_repeat(struct xdp_run *run, const struct packet *packet, unsigned int times,
		    struct weir_device_counters *counters)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->bytes,
		    .data_size_in = packet->length, .repeat = times);

	if (bpf_prog_test_run_opts(run->program, &opts))
		err(1, "cannot run a frame of %u bytes", packet->length);
	read_counters(run, counters);
}

struct weir_counter xdp_run_rule(const struct xdp_run *run, __u32 slot)
{
	static struct weir_counter each[CPUS_MOST];
	struct weir_counter sum = {};

	if (bpf_map_lookup_elem(bpf_map__fd(run->skel->maps.rule_counters), &slot, each))
		err(1, "cannot read the counter of rule slot %u", slot);
	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++) {
		sum.packets += each[cpu].packets;
		sum.bytes += each[cpu].bytes;
	}
	return sum;
}

static void read_set(const struct xdp_run *run, __u32 key, struct weir_bucket_set *set)
{
	if (bpf_map_lookup_elem(bpf_map__fd(run->skel->maps.buckets), &key, set))
		err(1, "cannot read bucket set %u", key);
}

size_t xdp_run_buckets(const struct xdp_run *run)
{
	struct weir_bucket_set set;
	size_t live = 0;

	for (__u32 key = 0; key < WEIR_BUCKET_SETS; key++) {
		read_set(run, key, &set);
		for (int i = 0; i < WEIR_BUCKET_WAYS; i++)
			live += set.way[i].who != 0;
	}
	return live;
}

void xdp_run_copy_buckets(struct xdp_run *to, const struct xdp_run *from)
{
	int fd = bpf_map__fd(to->skel->maps.buckets);
	struct weir_bucket_set set;

	for (__u32 key = 0; key < WEIR_BUCKET_SETS; key++) {
		read_set(from, key, &set);
		if (bpf_map_update_elem(fd, &key, &set, 0))
			err(1, "cannot write bucket set %u", key);
	}
}

bool xdp_run_redirects(const struct xdp_run *run)
{
	return ((const struct weir_xdp_config *)&run->skel->rodata->config)->redirects;
}

void xdp_run_redirect_target(struct xdp_run *run, __u32 target)
{
	__u32 ifindex = LOOPBACK;

	if (bpf_map_update_elem(bpf_map__fd(run->skel->maps.redirect_devs), &target, &ifindex, 0))
		err(1, "cannot set redirect target %u", target);
}

bool xdp_run_counted_only(const struct weir_device_counters *counters, enum weir_verdict verdict,
			  enum weir_class class, enum weir_reason reason, __u32 bytes)
{
	struct weir_device_counters expected = {};

	expected.cell[verdict][class] = (struct weir_counter){1, bytes};
	if (reason < WEIR_REASONS)
		expected.reason[reason] = (struct weir_counter){1, bytes};
	return !memcmp(&expected, counters, sizeof(expected));
}

static void parse_text(const char *text, struct rule *rule)
{
	char *copy = strdup(text), *word[WORDS_MOST], *rest = copy;
	struct args args = {.word = word};

	while (args.count < WORDS_MOST && (word[args.count] = strtok_r(rest, " ", &rest)))
		args.count++;
	if (rule_parse(&args, rule) || no_more_words(&args))
		errx(1, "'%s': %s", text, failure());
	free(copy);
}

void rules_from_text(struct rule_set *set, const char *const *text, size_t count)
{
	*set = (struct rule_set){.rules = calloc(count, sizeof(*set->rules)), .seed = 0x5eed};
	if (!set->rules)
		err(1, "out of memory");
	for (set->count = 0; set->count < count; set->count++) {
		struct rule *rule = &set->rules[set->count];

		parse_text(text[set->count], rule);
		rule->id = set->count + 1;
		rule->slot = set->count;
	}
	set->next_id = count + 1;
}
