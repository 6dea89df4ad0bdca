// SPDX-License-Identifier: GPL-2.0
#include "rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "loader/host/netdev.h"
#include "redirects.h"
#include "tables.h"

int rules_get(const struct instance *in, struct rule_set *set)
{
	return tables_load(in, set);
}

static int open_counters(const struct instance *in)
{
	return pin_open(instance_path(in, "rule_counters"));
}

/* A new rule counts from 0, whoever had the slot before. */
static int reset_counter(const struct instance *in, __u32 slot)
{
	int cpus = libbpf_num_possible_cpus(), fd = open_counters(in), err;
	struct weir_counter *zero;

	if (fd < 0)
		return fd == -ENOENT
			       ? 0
			       : fail(fd, "cannot open the rules' counters: %s", strerror(-fd));
	zero = calloc(cpus, sizeof(*zero));
	err = !zero ? -ENOMEM : bpf_map_update_elem(fd, &slot, zero, BPF_ANY) ? -errno : 0;
	free(zero);
	close(fd);
	return err ? fail(err, "cannot reset a rule's counter: %s", strerror(-err)) : 0;
}

static long free_slot(const struct rule_set *set)
{
	bool used[WEIR_MAX_RULES] = {};

	for (size_t i = 0; i < set->count; i++)
		used[set->rules[i].slot] = true;
	for (long slot = 0; slot < WEIR_MAX_RULES; slot++)
		if (!used[slot])
			return slot;
	return -ENOSPC;
}

static size_t position_of(const struct rule_set *set, __u32 id)
{
	size_t i = 0;

	while (i < set->count && set->rules[i].id != id)
		i++;
	return i;
}

static size_t prefixes_before(const struct rule_set *set, size_t position)
{
	size_t at = 0;

	for (size_t i = 0; i < position; i++)
		at += set->rules[i].prefixes;
	return at;
}

static int no_such_rule(__u32 id)
{
	return fail(-ENOENT, "there is no rule %u; 'weir rule list' shows the ids", id);
}

static int insert(struct rule_set *set, size_t position, const struct rule *rule,
		  const struct prefix *list)
{
	size_t at = prefixes_before(set, position), n = rule->prefixes;
	struct prefix *prefixes;
	struct rule *rules;

	rules = realloc(set->rules, (set->count + 1) * sizeof(*rules));
	if (rules)
		set->rules = rules;
	prefixes = realloc(set->prefixes, (set->prefix_count + n + 1) * sizeof(*prefixes));
	if (prefixes)
		set->prefixes = prefixes;
	if (!rules || !prefixes)
		return fail(-ENOMEM, "out of memory");
	memmove(rules + position + 1, rules + position, (set->count - position) * sizeof(*rules));
	rules[position] = *rule;
	set->count++;
	memmove(prefixes + at + n, prefixes + at, (set->prefix_count - at) * sizeof(*prefixes));
	if (n)
		memcpy(prefixes + at, list, n * sizeof(*prefixes));
	set->prefix_count += n;
	return 0;
}

static void cut(struct rule_set *set, size_t position)
{
	size_t at = prefixes_before(set, position), n = set->rules[position].prefixes;

	memmove(set->prefixes + at, set->prefixes + at + n,
		(set->prefix_count - at - n) * sizeof(*set->prefixes));
	set->prefix_count -= n;
	memmove(set->rules + position, set->rules + position + 1,
		(set->count - position - 1) * sizeof(*set->rules));
	set->count--;
}

static bool same_rule(struct rule a, struct rule b)
{
	a.id = b.id;
	a.slot = b.slot;
	a.since_ns = b.since_ns;
	a.via_tc = b.via_tc;
	a.dev_ifindex = b.dev_ifindex;
	a.target_ifindex = b.target_ifindex;
	return !memcmp(&a, &b, sizeof(a));
}

static int refuse_twin(const struct rule_set *set, const struct rule *rule)
{
	for (size_t i = 0; i < set->count; i++)
		if (same_rule(set->rules[i], *rule))
			return fail(-EEXIST, "the same rule exists already: id %u",
				    set->rules[i].id);
	return 0;
}

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int add_new(const struct instance *in, struct rule_set *set, struct rule *rule,
		   const struct prefix *list, __u32 before)
{
	size_t position = before ? position_of(set, before) : set->count;
	long slot = free_slot(set);
	int err;

	if (before && position == set->count)
		return no_such_rule(before);
	if (slot < 0)
		return fail(-ENOSPC,
			    "there are %u rules already, which is the most; put addresses "
			    "of the same kind into one list: 'weir rule load FILE'",
			    WEIR_MAX_RULES);
	rule->id = set->next_id++;
	rule->slot = slot;
	rule->since_ns = now_ns();
	err = reset_counter(in, slot);
	return err ? err : insert(set, position, rule, list);
}

static int check_devices(const struct instance *in, const struct rule *rule)
{
	struct netdev dev;
	int err = 0;

	if (*rule->dev)
		err = netdev_by_name(rule->dev, &dev);
	if (!err && rule->action == WEIR_A_REDIRECT)
		err = redirects_check(in, rule);
	return err;
}

static size_t list_position(const struct rule_set *set, const char *name)
{
	size_t i = 0;

	while (i < set->count && strcmp(set->rules[i].list, name))
		i++;
	return i;
}

static int put_list(const struct instance *in, struct rule_set *set, struct rule *rule,
		    const struct prefix *list, __u32 before, bool keep)
{
	size_t position = list_position(set, rule->list);
	struct rule old;

	if (position == set->count)
		return add_new(in, set, rule, list, before);
	old = set->rules[position];
	if (before)
		return fail(-EEXIST,
			    "list '%s' exists already, as rule %u; it is replaced where it "
			    "stands, without 'before'",
			    rule->list, old.id);
	if (keep) {
		old.prefixes = rule->prefixes;
		*rule = old;
	}
	rule->id = old.id;
	rule->slot = old.slot;
	rule->since_ns = old.since_ns;
	cut(set, position);
	return insert(set, position, rule, list);
}

int rules_add(struct instance *in, struct rule *rule, __u32 before)
{
	struct rule_set set;
	int err;

	err = check_devices(in, rule);
	if (!err)
		err = tables_load(in, &set);
	if (err)
		return err;
	err = refuse_twin(&set, rule);
	if (!err)
		err = add_new(in, &set, rule, NULL, before);
	if (!err)
		err = tables_publish(in, &set);
	rule_set_free(&set);
	return err;
}

int rules_add_list(struct instance *in, struct rule *rule, const struct prefix *list, size_t count,
		   __u32 before, bool keep, bool *replaced)
{
	struct rule_set set;
	int err;

	err = tables_load(in, &set);
	if (err)
		return err;
	*replaced = list_position(&set, rule->list) < set.count;
	rule->prefixes = count;
	err = put_list(in, &set, rule, list, before, keep);
	if (!err)
		err = check_devices(in, rule);
	if (!err)
		err = tables_publish(in, &set);
	rule_set_free(&set);
	return err;
}

int rules_delete(struct instance *in, const __u32 *ids, size_t count)
{
	struct rule_set set;
	int err = tables_load(in, &set);

	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++) {
		size_t position = position_of(&set, ids[i]);

		if (position == set.count)
			err = no_such_rule(ids[i]);
		else
			cut(&set, position);
	}
	if (!err)
		err = tables_publish(in, &set);
	rule_set_free(&set);
	return err;
}

int rules_flush(struct instance *in, size_t *count)
{
	struct rule_set set, none = {};
	int err;

	/* A damaged table or one of another schema can be flushed all the same. */
	*count = 0;
	if (!tables_load(in, &set)) {
		*count = set.count;
		rule_set_free(&set);
	}
	forget_failure();
	err = tables_publish(in, &none);
	return err;
}

static int sum(int fd, __u32 slot, struct weir_counter *each, int cpus, struct weir_counter *total)
{
	*total = (struct weir_counter){};
	if (bpf_map_lookup_elem(fd, &slot, each))
		return -errno;
	for (int i = 0; i < cpus; i++) {
		total->packets += each[i].packets;
		total->bytes += each[i].bytes;
	}
	return 0;
}

int rules_counters(const struct instance *in, const struct rule_set *set,
		   struct weir_counter *counters)
{
	int cpus = libbpf_num_possible_cpus(), fd = open_counters(in), err = 0;
	struct weir_counter *each;

	memset(counters, 0, set->count * sizeof(*counters));
	if (fd < 0)
		return fd == -ENOENT
			       ? 0
			       : fail(fd, "cannot open the rules' counters: %s", strerror(-fd));
	each = calloc(cpus, sizeof(*each));
	if (!each)
		err = -ENOMEM;
	for (size_t i = 0; i < set->count && !err; i++)
		err = sum(fd, set->rules[i].slot, each, cpus, &counters[i]);
	free(each);
	close(fd);
	return err ? fail(err, "cannot read the rules' counters: %s", strerror(-err)) : 0;
}
