// SPDX-License-Identifier: GPL-2.0
/* Sums over CPUs, differences and rates of a device's counters. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/watch/counters.h"
#include "loader/base/error.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static void test_names(void **state)
{
	(void)state;
	for (int i = 0; i < WEIR_VERDICTS; i++)
		assert_non_null(verdict_names[i]);
	for (int i = 0; i < WEIR_CLASSES; i++)
		assert_non_null(class_names[i]);
	for (int i = 0; i < WEIR_REASONS; i++)
		assert_non_null(reason_names[i]);
}

static void test_read(void **state)
{
	int cpus = libbpf_num_possible_cpus(), fd;
	struct weir_device_counters *values;
	struct counters_sample sample;
	__u32 key = 0;

	(void)state;
	fd = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "counters", sizeof(key), sizeof(*values), 1,
			    NULL);
	if (fd < 0)
		skip();
	values = calloc(cpus, sizeof(*values));
	for (int i = 0; i < cpus; i++) {
		values[i].cell[WEIR_DROP][WEIR_UDP6] = (struct weir_counter){i + 1, 1ull << 40};
		values[i].reason[WEIR_BY_LIMIT].packets = 5;
		values[i].limit_evictions = 7;
	}
	assert_int_equal(bpf_map_update_elem(fd, &key, values, BPF_ANY), 0);
	memset(&sample, 0xff, sizeof(sample));
	assert_int_equal(counters_read(fd, &sample), 0);
	assert_true(sample.seconds > 0);
	assert_int_equal(sample.total.cell[WEIR_DROP][WEIR_UDP6].packets, cpus * (cpus + 1) / 2);
	assert_true(sample.total.cell[WEIR_DROP][WEIR_UDP6].bytes == (__u64)cpus << 40);
	assert_int_equal(sample.total.reason[WEIR_BY_LIMIT].packets, 5 * cpus);
	assert_int_equal(sample.total.limit_evictions, 7 * cpus);
	assert_int_equal(counters_of_all(&sample.total).packets, cpus * (cpus + 1) / 2);
	free(values);
	close(fd);
	assert_true(counters_read(fd, &sample) < 0);
	assert_int_equal(failure_status(), 2);
	forget_failure();
}

static void test_between(void **state)
{
	struct counters_sample before = {.seconds = 10}, after = {.seconds = 12.5}, delta;

	(void)state;
	before.total.cell[WEIR_PASS][WEIR_TCP4] = (struct weir_counter){100, 10000};
	before.total.reason[WEIR_BY_RULE] = (struct weir_counter){3, 300};
	after = before;
	after.seconds = 12.5;
	after.total.cell[WEIR_PASS][WEIR_TCP4] = (struct weir_counter){150, 60000};
	counters_between(&before, &after, &delta);
	assert_true(delta.seconds == 2.5);
	assert_int_equal(delta.total.cell[WEIR_PASS][WEIR_TCP4].packets, 50);
	assert_int_equal(delta.total.cell[WEIR_PASS][WEIR_TCP4].bytes, 50000);
	assert_int_equal(delta.total.reason[WEIR_BY_RULE].packets, 0);

	/* Attached anew: one counter has fallen, so all began again. */
	after.total.reason[WEIR_BY_RULE] = (struct weir_counter){2, 200};
	counters_between(&before, &after, &delta);
	assert_int_equal(delta.total.cell[WEIR_PASS][WEIR_TCP4].packets, 150);
	assert_int_equal(delta.total.reason[WEIR_BY_RULE].packets, 2);
}

static void fill_randomly(struct weir_device_counters *c)
{
	__u64 *word = (__u64 *)c;

	for (size_t i = 0; i < sizeof(*c) / sizeof(*word); i++)
		word[i] = random() % 1000;
}

/* However the cells are summed, every packet is counted once. */
static void test_sums_agree(void **state)
{
	struct weir_device_counters c;

	(void)state;
	srandom(1);
	for (int round = 0; round < 100; round++) {
		__u64 by_verdict = 0, by_class = 0, bytes = 0;

		fill_randomly(&c);
		for (int i = 0; i < WEIR_VERDICTS; i++)
			by_verdict += counters_of_verdict(&c, i).packets;
		for (int i = 0; i < WEIR_CLASSES; i++) {
			by_class += counters_of_class(&c, i).packets;
			bytes += counters_of_class(&c, i).bytes;
		}
		assert_int_equal(by_verdict, counters_of_all(&c).packets);
		assert_int_equal(by_class, counters_of_all(&c).packets);
		assert_int_equal(bytes, counters_of_all(&c).bytes);
	}
}

static void test_top_reason(void **state)
{
	struct weir_device_counters c = {0};

	(void)state;
	assert_int_equal(counters_top_reason(&c), -1);
	c.reason[WEIR_BY_MALFORMED].packets = 1;
	assert_int_equal(counters_top_reason(&c), WEIR_BY_MALFORMED);
	c.reason[WEIR_BY_RULE].packets = 9;
	assert_int_equal(counters_top_reason(&c), WEIR_BY_RULE);
}

static double number_at(const json_t *json, const char *a, const char *b, const char *c)
{
	const json_t *at = json_object_get(json_object_get(json, a), b);

	at = c ? json_object_get(at, c) : at;
	assert_true(json_is_number(at));
	return json_number_value(at);
}

static void test_json(void **state)
{
	struct weir_device_counters total = {0};
	struct counters_sample delta = {.seconds = 2};
	json_t *json;

	(void)state;
	total.cell[WEIR_PASS][WEIR_TCP4] = (struct weir_counter){1000, 64000};
	total.cell[WEIR_DROP][WEIR_UDP6] = (struct weir_counter){500, 30000};
	total.reason[WEIR_BY_RULE] = (struct weir_counter){400, 25600};
	total.reason[WEIR_BY_LIMIT] = (struct weir_counter){100, 4400};
	delta.total.cell[WEIR_PASS][WEIR_TCP6] = (struct weir_counter){30, 3000};
	delta.total.cell[WEIR_DROP][WEIR_UDP6] = (struct weir_counter){10, 1000};
	delta.total.reason[WEIR_BY_LIMIT] = (struct weir_counter){10, 1000};

	json = counters_json(&total, &delta);
	assert_int_equal(json_integer_value(json_object_get(json, "packets")), 1500);
	assert_true(json_real_value(json_object_get(json, "packets_per_second")) == 20);
	assert_true(json_real_value(json_object_get(json, "bits_per_second")) == 16000);
	assert_true(number_at(json, "verdicts", "drop", "packets") == 500);
	assert_true(number_at(json, "verdicts", "drop", "packets_per_second") == 5);
	assert_true(number_at(json, "classes", "tcp6", "bits_per_second") == 12000);
	assert_true(number_at(json, "reasons", "rule", "packets_per_second") == 0);
	assert_true(number_at(json, "share", "tcp_percent", NULL) == 75);
	assert_true(number_at(json, "share", "udp_percent", NULL) == 25);
	assert_string_equal(json_string_value(json_object_get(json, "top_reason")), "limit");
	json_decref(json);

	json = counters_json(&total, NULL);
	assert_null(json_object_get(json, "packets_per_second"));
	assert_string_equal(json_string_value(json_object_get(json, "top_reason")), "rule");
	json_decref(json);

	memset(&total, 0, sizeof(total));
	json = counters_json(&total, NULL);
	assert_true(json_is_null(json_object_get(json, "top_reason")));
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),	   cmocka_unit_test(test_read),
		cmocka_unit_test(test_between),	   cmocka_unit_test(test_sums_agree),
		cmocka_unit_test(test_top_reason), cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
