// SPDX-License-Identifier: GPL-2.0
#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "list.h"
#include "loader/cmd/command.h"
#include "loader/base/error.h"
#include "loader/program/xdp_program.h"
#include "loader/rules/table.h"
#include "weir_rules.h"

#define LOOPBACK   1
#define MOST_RULES 64
#define MOST_WORDS 32
#define EXIT	   "exit" /* the device of live_exit() */

static int parse_rule(const char *text, struct rule *rule)
{
	char *copy = strdup(text), *word[MOST_WORDS], *rest = copy;
	struct args args = {.word = word};
	int err;

	while (copy && args.count < MOST_WORDS && (word[args.count] = strsep(&rest, " ")))
		args.count++;
	err = copy ? rule_parse(&args, rule) : -ENOMEM;
	if (!err)
		err = no_more_words(&args);
	free(copy);
	return err;
}

static struct prefix to_prefix(const struct ip4_prefix *from, __u8 family)
{
	struct prefix prefix = {.family = family};
	__be32 address[4];
	__u32 bits;

	prefix_to_ip6(from, address, &bits);
	prefix.length = family == 6 ? bits : from->bits;
	memcpy(prefix.address, family == 6 ? address : &address[1], family == 6 ? 16 : 4);
	return prefix;
}

static int add_list(struct rule_set *set, const struct weir_setup *setup)
{
	struct rule *rule = &set->rules[set->count];
	int err = parse_rule("drop", rule);

	set->prefixes = calloc(setup->list->count, sizeof(*set->prefixes));
	if (err || !set->prefixes)
		return err ? err : -ENOMEM;
	for (size_t i = 0; i < setup->list->count; i++)
		set->prefixes[i] = to_prefix(&setup->list->prefix[i], setup->list_family);
	strcpy(rule->list, "bench");
	rule->prefixes = setup->list->count;
	set->prefix_count = setup->list->count;
	set->count++;
	return 0;
}

static int fill_set(struct rule_set *set, const struct weir_setup *setup)
{
	int err = 0;

	*set = (struct rule_set){.rules = calloc(MOST_RULES, sizeof(*set->rules)), .seed = 1};
	if (!set->rules)
		return -ENOMEM;
	if (setup->list)
		err = add_list(set, setup);
	for (int i = 0; !err && setup->rules && setup->rules[i]; i++)
		err = parse_rule(setup->rules[i], &set->rules[set->count++]);
	for (size_t i = 0; i < set->count; i++) {
		set->rules[i].id = i + 1;
		set->rules[i].slot = i;
	}
	set->next_id = set->count + 1;
	return err;
}

static int compile(const struct weir_setup *setup, struct table *table)
{
	struct redirect_target exit = {.name = EXIT, .ifindex = live_exit()};
	struct table_names names = {.ifindex = if_nametoindex, .targets = &exit, .count = 1};
	struct rule_set set;
	int err = fill_set(&set, setup);

	if (!err)
		err = table_compile(&set, &names, table);
	rule_set_free(&set);
	return err;
}

static int make_table_map(const struct table *table)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_table", sizeof(__u32), table->size, 1,
				NULL);
	__u32 key = 0;

	if (fd >= 0 && bpf_map_update_elem(fd, &key, table->bytes, BPF_ANY)) {
		close(fd);
		return -errno;
	}
	return fd;
}

static int load(struct weir_xdp_bpf *skel, const struct weir_setup *setup,
		const struct table *table)
{
	const struct weir_table_head *head = table->bytes;
	__u32 key = 0, target = live_exit();
	int map = make_table_map(table), err;

	if (map < 0)
		return map;
	skel->rodata->config = (struct weir_xdp_config){
		.ifindex = LOOPBACK,
		.ethernet = 1,
		.fields = head->fields,
		.table_bytes = table->size,
		.limits = !!(head->actions & 1u << WEIR_A_LIMIT),
		.redirects = !!(head->actions & 1u << WEIR_A_REDIRECT),
		.partial_sums = setup->veth,
	};
	err = bpf_map__set_inner_map_fd(skel->maps.rules, map);
	xdp_choose_program(skel);
	if (!err)
		err = weir_xdp_bpf__load(skel);
	if (!err)
		err = bpf_map_update_elem(bpf_map__fd(skel->maps.rules), &key, &map, BPF_ANY);
	if (!err)
		err = bpf_map_update_elem(bpf_map__fd(skel->maps.redirect_devs), &target, &target,
					  BPF_ANY);
	close(map);
	return err;
}

static int load_counting(struct weir_xdp_bpf *skel)
{
	skel->rodata->config.ifindex = LOOPBACK;
	skel->rodata->config.ethernet = 1;
	skel->rodata->config.table_bytes = TABLE_LEAST;
	xdp_choose_program(skel);
	return weir_xdp_bpf__load(skel);
}

int weir_load(struct weir_xdp_bpf **skel, const struct weir_setup *setup)
{
	struct table table = {};
	int err = 0;

	*skel = weir_xdp_bpf__open();
	if (!*skel)
		return fail(-errno, "weir: the XDP program does not open: %s", strerror(errno));
	if (setup->rules || setup->list) {
		err = compile(setup, &table);
		if (!err)
			err = load(*skel, setup, &table);
		free(table.bytes);
	} else {
		err = load_counting(*skel);
	}
	return err ? fail(err, "weir: the XDP program does not load: %s", strerror(-err)) : 0;
}
