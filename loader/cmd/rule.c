// SPDX-License-Identifier: GPL-2.0
/* weir rule list|add|load|del|flush */
#include "loader/rules/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "loader/attach/attach.h"
#include "loader/watch/counters.h"
#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/out/out.h"
#include "notice_idle.h"

#define RATE_SECONDS 1

static const struct column columns[] = {
	COLUMN("id", "Id", UNIT_COUNT),
	COLUMN("rule", "Rule", UNIT_TEXT),
	COLUMN("packets", "Packets", UNIT_COUNT),
	COLUMN("bytes", "Bytes", UNIT_BYTES),
	COLUMN("packets_per_second", "Rate", UNIT_PPS),
	COLUMN("bits_per_second", "Bit rate", UNIT_BITRATE),
};

static const struct table list_table = {
	.rows = "rules",
	.empty = "there are no rules; 'weir rule add drop src 192.0.2.0/24' makes one",
	COLUMNS(columns),
};

static void set_prefix(json_t *o, const char *key, const struct prefix *p)
{
	char text[PREFIX_TEXT];

	if (!p->family)
		return;
	prefix_format(p, text);
	json_object_set_new(o, key, json_string(text));
}

static void set_text(json_t *o, const char *key, const char *text)
{
	if (*text)
		json_object_set_new(o, key, out_string(text));
}

static void set_range(json_t *o, const char *key, const __u16 *range)
{
	if (range[0] != 0 || range[1] != 65535)
		json_object_set_new(o, key, json_pack("[i, i]", range[0], range[1]));
}

static json_t *describe(const struct rule *r)
{
	json_t *o = json_object();
	char text[RULE_TEXT];

	rule_format(r, text);
	json_object_set_new(o, "id", json_integer(r->id));
	json_object_set_new(o, "rule", out_string(text));
	json_object_set_new(o, "action", json_string(rule_action_name(r)));
	set_text(o, "list", r->list);
	if (*r->list) {
		json_object_set_new(o, "prefixes", json_integer(r->prefixes));
		json_object_set_new(o, "list_matches",
				    json_string(r->list_matches_dst ? "dst" : "src"));
	}
	set_prefix(o, "src", &r->src);
	set_prefix(o, "dst", &r->dst);
	if (r->proto != RULE_ANY_PROTO)
		json_object_set_new(o, "protocol", json_integer(r->proto));
	set_range(o, "source_ports", r->sport);
	set_range(o, "destination_ports", r->dport);
	set_text(o, "device", r->dev);
	set_text(o, "redirect_device", r->target);
	if (r->action == WEIR_A_LIMIT) {
		json_object_set_new(o, "limit_packets_per_second", json_real(r->rate_micro / 1e6));
		json_object_set_new(o, "burst", json_integer(r->burst));
	}
	return o;
}

static double seconds_between(const struct timespec *a, const struct timespec *b)
{
	return b->tv_sec - a->tv_sec + (b->tv_nsec - a->tv_nsec) / 1e9;
}

static json_t *document(const struct rule_set *set, const struct weir_counter *before,
			const struct weir_counter *now, double seconds)
{
	json_t *list = json_array();

	for (size_t i = 0; i < set->count; i++) {
		json_t *o = describe(&set->rules[i]);
		struct weir_counter delta = {
			.packets = now[i].packets - before[i].packets,
			.bytes = now[i].bytes - before[i].bytes,
		};
		json_t *counted = counter_json(now[i], &delta, seconds);

		json_object_update(o, counted);
		json_decref(counted);
		json_array_append_new(list, o);
	}
	return json_pack("{s:o}", "rules", list);
}

/* Reads the counters twice, a second apart, with the pins unlocked in between. */
static int list_rules(struct instance *in, const struct rule_set *set)
{
	struct weir_counter *before = calloc(set->count + 1, sizeof(*before));
	struct weir_counter *now = calloc(set->count + 1, sizeof(*now));
	struct timespec t0, t1, pause = {.tv_sec = RATE_SECONDS};
	int err = before && now ? 0 : fail(-ENOMEM, "out of memory");

	if (!err)
		err = rules_counters(in, set, before);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	instance_unlock(in);
	if (!err && set->count)
		nanosleep(&pause, NULL);
	if (!err)
		err = rules_counters(in, set, now);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	if (!err)
		err = out_show(document(set, before, now, seconds_between(&t0, &t1)), &list_table,
			       1);
	free(before);
	free(now);
	return err;
}

int cmd_rule_list(struct args *args)
{
	struct instance in;
	struct rule_set set;
	int err;

	err = no_more_words(args);
	if (!err)
		err = instance_open(&in, false);
	if (err)
		return err;
	err = rules_get(&in, &set);
	if (!err) {
		err = list_rules(&in, &set);
		rule_set_free(&set);
	}
	instance_close(&in);
	return err;
}

static int parse_before(struct args *args, __u32 *before)
{
	const char *text;
	long id = 0;

	*before = 0;
	if (accept_word(args, "before")) {
		text = value_of(args, "before");
		if (!text || parse_number("rule id", text, 1, 0xffffffff, &id))
			return -EINVAL;
	}
	*before = id;
	return no_more_words(args);
}

static int say_rule(const struct instance *in, const struct rule *rule, const char *verb)
{
	char text[RULE_TEXT];

	notice_idle(in, "no rule is applied");
	if (options.json)
		return out_show(describe(rule), NULL, 0);
	rule_format(rule, text);
	return out_text("rule %u %s: %s", rule->id, verb, text);
}

int cmd_rule_add(struct args *args)
{
	struct instance in;
	struct rule rule;
	__u32 before;
	int err;

	err = rule_parse(args, &rule);
	if (!err)
		err = parse_before(args, &before);
	if (!err)
		err = attach_open(&in);
	if (err)
		return err;
	err = rules_add(&in, &rule, before);
	if (!err)
		err = say_rule(&in, &rule, "added");
	attach_close(&in);
	return err;
}

/* The list's name: as given, or the file's. */
static int name_list(struct args *args, const char *file, char *list)
{
	const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;

	if (!strcmp(file, "-"))
		name = "stdin";
	if (accept_word(args, "name")) {
		name = value_of(args, "name");
		if (!name)
			return -EINVAL;
	}
	if (!*name || strlen(name) >= RULE_LIST_NAME || strpbrk(name, " \t\n"))
		return misuse("list name '%s': wanted 1 to %d characters without blanks; give one "
			      "with 'name NAME'",
			      name, RULE_LIST_NAME - 1);
	strcpy(list, name);
	return 0;
}

/* `*keep`: nothing is said of what the rule does. */
static int parse_load(struct args *args, const char **file, struct rule *rule, __u32 *before,
		      bool *keep)
{
	static char *drop[] = {"drop"};
	struct args by_default = {.count = 1, .word = drop};
	char list[RULE_LIST_NAME];
	const char *match = "src";
	bool named = false;
	int err;

	*file = next_word(args);
	if (!*file)
		return misuse("rule load: a file is missing; '-' is standard input");
	err = name_list(args, *file, list);
	if (!err && accept_word(args, "match")) {
		match = value_of(args, "match");
		named = true;
		if (!match)
			return -EINVAL;
		if (strcmp(match, "src") && strcmp(match, "dst"))
			return misuse("match '%s': wanted src or dst", match);
	}
	*keep = !named && (!args->count || !strcmp(args->word[0], "before"));
	if (!err)
		err = args->count && strcmp(args->word[0], "before")
			      ? rule_parse(args, rule)
			      : rule_parse(&by_default, rule);
	if (!err)
		err = parse_before(args, before);
	if (err)
		return err;
	if (rule->proto == WEIR_PROTO_ARP)
		return misuse("proto arp cannot be combined with a list of addresses");
	strcpy(rule->list, list);
	rule->list_matches_dst = !strcmp(match, "dst");
	if (rule->list_matches_dst ? rule->dst.family : rule->src.family)
		return misuse("the list is matched against %s, which the rule also names", match);
	return 0;
}

int cmd_rule_load(struct args *args)
{
	struct prefix *list;
	struct instance in;
	struct rule rule;
	bool keep, replaced;
	const char *file;
	__u32 before;
	size_t count;
	int err;

	err = parse_load(args, &file, &rule, &before, &keep);
	if (!err)
		err = prefix_list_read(file, &list, &count);
	if (err)
		return err;
	err = attach_open(&in);
	if (!err) {
		err = rules_add_list(&in, &rule, list, count, before, keep, &replaced);
		if (!err)
			err = say_rule(&in, &rule, replaced ? "replaced" : "loaded");
		attach_close(&in);
	}
	free(list);
	return err;
}

static int parse_ids(struct args *args, __u32 **ids, size_t *count)
{
	long id;

	if (!args->count)
		return misuse("rule del: an id is missing; 'weir rule list' shows them");
	*count = 0;
	*ids = calloc(args->count, sizeof(**ids));
	if (!*ids)
		return fail(-ENOMEM, "out of memory");
	while (args->count) {
		if (parse_number("rule id", next_word(args), 1, 0xffffffff, &id)) {
			free(*ids);
			return -EINVAL;
		}
		(*ids)[(*count)++] = id;
	}
	return 0;
}

int cmd_rule_del(struct args *args)
{
	struct instance in;
	size_t count;
	__u32 *ids;
	int err;

	err = parse_ids(args, &ids, &count);
	if (err)
		return err;
	err = attach_open(&in);
	if (!err) {
		err = rules_delete(&in, ids, count);
		if (!err)
			err = options.json
				      ? out_show(json_pack("{s:i}", "deleted", (int)count), NULL, 0)
				      : out_text("%zu rule%s deleted", count,
						 count == 1 ? "" : "s");
		attach_close(&in);
	}
	free(ids);
	return err;
}

int cmd_rule_flush(struct args *args)
{
	struct instance in;
	size_t count;
	int err;

	err = no_more_words(args);
	if (!err)
		err = attach_open(&in);
	if (err)
		return err;
	err = rules_flush(&in, &count);
	if (!err)
		err = options.json ? out_show(json_pack("{s:i}", "deleted", (int)count), NULL, 0)
				   : out_text("%zu rule%s deleted", count, count == 1 ? "" : "s");
	attach_close(&in);
	return err;
}
