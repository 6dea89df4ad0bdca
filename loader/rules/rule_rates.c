// SPDX-License-Identifier: GPL-2.0
#include "rule_rates.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/watch/counters.h"
#include "loader/base/error.h"
#include "loader/out/out.h"
#include "rules.h"

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static const struct rule_reading *find(const struct rule_rates *r, __u32 id)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->before[i].id == id)
			return &r->before[i];
	return NULL;
}

struct row {
	json_t *json;
	__u64 recent; /* packets since the last reading */
	__u64 total;
};

/* The fastest first, then those with the most packets. */
static int by_rate(const void *a, const void *b)
{
	const struct row *left = a, *right = b;

	if (left->recent != right->recent)
		return left->recent < right->recent ? 1 : -1;
	return (left->total < right->total) - (left->total > right->total);
}

static struct row make_row(const struct rule_rates *r, const struct rule *rule,
			   const struct weir_counter *counter, double seconds)
{
	const struct rule_reading *before = find(r, rule->id);
	struct weir_counter delta = {0};
	struct row row = {.total = counter->packets};
	char text[RULE_TEXT];

	if (before && counter->packets >= before->counter.packets) {
		delta.packets = counter->packets - before->counter.packets;
		delta.bytes = counter->bytes - before->counter.bytes;
		row.recent = delta.packets;
	}
	rule_format(rule, text);
	row.json = counter_json(*counter, before ? &delta : NULL, seconds);
	json_object_set_new(row.json, "rule", json_integer(rule->id));
	json_object_set_new(row.json, "text", out_string(text));
	return row;
}

static int evaluate(struct rule_rates *r, const struct rule_set *set,
		    const struct weir_counter *counters)
{
	struct rule_reading *readings = calloc(set->count + 1, sizeof(*readings));
	struct row *rows = calloc(set->count + 1, sizeof(*rows));
	double at = now();

	if (!readings || !rows) {
		free(readings);
		free(rows);
		return fail(-ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < set->count; i++) {
		rows[i] = make_row(r, &set->rules[i], &counters[i], at - r->seconds);
		readings[i] = (struct rule_reading){set->rules[i].id, counters[i]};
	}
	qsort(rows, set->count, sizeof(*rows), by_rate);
	json_decref(r->rows);
	r->rows = json_array();
	for (size_t i = 0; i < set->count; i++)
		json_array_append_new(r->rows, rows[i].json);
	free(rows);
	free(r->before);
	r->before = readings;
	r->count = set->count;
	r->seconds = at;
	return 0;
}

int rule_rates_read(struct rule_rates *r)
{
	struct rule_set set = {0};
	struct weir_counter *counters = NULL;
	struct instance in;
	int err = instance_open(&in, false);

	if (err)
		return err;
	if (in.exists)
		err = rules_get(&in, &set);
	if (!err && set.count) {
		counters = calloc(set.count, sizeof(*counters));
		err = counters ? rules_counters(&in, &set, counters)
			       : fail(-ENOMEM, "out of memory");
	}
	instance_close(&in);
	if (!err)
		err = evaluate(r, &set, counters);
	free(counters);
	rule_set_free(&set);
	return err;
}

void rule_rates_free(struct rule_rates *r)
{
	json_decref(r->rows);
	free(r->before);
	memset(r, 0, sizeof(*r));
}
