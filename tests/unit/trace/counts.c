// SPDX-License-Identifier: GPL-2.0
/* Readings of counters and their differences; what programs cost; where hooks are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "loader/trace/counts.h"
#include "loader/kernel/hooks.h"
#include "loader/trace/overhead.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

/* ---- readings ---- */

/* Keys of three bytes, which no word is long. */
struct entry {
	unsigned char key[3];
	__u64 value[2];
};

static void fill(struct counts *c, const struct entry *entry, size_t count)
{
	*c = (struct counts){.key_size = 3, .values = 2, .marks = SIZE_MAX, .count = count};
	c->keys = malloc(3 * count + 1);
	c->value = malloc(count * sizeof(entry->value) + 1);
	for (size_t i = 0; i < count; i++) {
		memcpy((char *)c->keys + 3 * i, entry[i].key, 3);
		memcpy(counts_value(c, i), entry[i].value, sizeof(entry->value));
	}
}

static void assert_value(const struct counts *c, const char *key, __u64 first, __u64 second)
{
	const __u64 *value = counts_find(c, key);

	assert_non_null(value);
	assert_int_equal(value[0], first);
	assert_int_equal(value[1], second);
}

static void finding(void **state)
{
	static const struct entry entry[] = {
		{"aaa", {1, 2}}, {"bbb", {3, 4}}, {"bbc", {5, 6}}, {"zzz", {7, 8}}};
	struct counts c;

	(void)state;
	for (size_t count = 0; count <= 4; count++) {
		fill(&c, entry, count);
		for (size_t i = 0; i < 4; i++) {
			if (i >= count)
				assert_null(counts_find(&c, entry[i].key));
			else
				assert_value(&c, (const char *)entry[i].key, entry[i].value[0],
					     entry[i].value[1]);
		}
		assert_null(counts_find(&c, "bba"));
		assert_null(counts_find(&c, "\xff\xff\xff"));
		assert_null(counts_find(&c, "\0\0\0"));
		counts_free(&c);
	}
}

static void differences(void **state)
{
	static const struct entry before[] = {{"bbb", {10, 20}}, {"ccc", {7, 7}}, {"ggg", {9, 9}}};
	static const struct entry now[] = {
		{"aaa", {1, 2}}, {"bbb", {15, 20}}, {"ccc", {3, 8}}, {"ddd", {0, 1}}};
	struct counts c, was, none = {};

	(void)state;
	fill(&c, now, 4);
	fill(&was, before, 3);
	counts_subtract(&c, &none);
	assert_value(&c, "bbb", 15, 20);
	counts_subtract(&c, &was);
	assert_int_equal(c.count, 4);
	assert_value(&c, "aaa", 1, 2);
	assert_value(&c, "bbb", 5, 0);
	assert_value(&c, "ccc", 3, 1); /* it was forgotten, and counts anew */
	assert_value(&c, "ddd", 0, 1);
	counts_subtract(&none, &was);
	assert_int_equal(none.count, 0);
	counts_free(&c);
	counts_free(&was);
}

/* The last values are not sums: they are of the later reading. */
static void marks(void **state)
{
	struct counts c, was;

	(void)state;
	fill(&c, &(struct entry){"aaa", {5, 50}}, 1);
	fill(&was, &(struct entry){"aaa", {2, 70}}, 1);
	c.marks = 1;
	counts_subtract(&c, &was);
	assert_value(&c, "aaa", 3, 50);
	counts_free(&c);
	counts_free(&was);
}

/* ---- maps ---- */

#define ENTRIES 1000

static int map_of(enum bpf_map_type type, size_t values)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts,
		    .map_flags = type == BPF_MAP_TYPE_PERCPU_ARRAY ? 0 : BPF_F_NO_PREALLOC);

	return bpf_map_create(type, "weir_test", type == BPF_MAP_TYPE_PERCPU_ARRAY ? 4 : 6,
			      values * sizeof(__u64), ENTRIES, &opts);
}

static bool may_make_maps(void)
{
	int fd = geteuid() ? -1 : map_of(BPF_MAP_TYPE_HASH, 1);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Key n has n and 2n on each CPU, and the CPU's number is the mark. */
static void per_cpu(void **state)
{
	int cpus = libbpf_num_possible_cpus(), fd;
	__u64 value[256][3];
	unsigned char key[6] = "";
	struct counts c;

	(void)state;
	if (!may_make_maps() || cpus > 256)
		skip();
	fd = map_of(BPF_MAP_TYPE_PERCPU_HASH, 3);
	assert_true(fd >= 0);
	for (unsigned int n = 0; n < ENTRIES; n++) {
		key[0] = n % 256;
		key[5] = n / 256;
		for (int cpu = 0; cpu < cpus; cpu++) {
			value[cpu][0] = n;
			value[cpu][1] = 2 * n;
			value[cpu][2] = 100 + cpu;
		}
		assert_int_equal(bpf_map_update_elem(fd, key, value, BPF_ANY), 0);
	}
	assert_int_equal(counts_read_marks(&c, fd, 2), 0);
	assert_int_equal(c.count, ENTRIES);
	for (unsigned int n = 0; n < ENTRIES; n++) {
		const __u64 *found;

		key[0] = n % 256;
		key[5] = n / 256;
		found = counts_find(&c, key);
		assert_non_null(found);
		assert_int_equal(found[0], n * cpus);
		assert_int_equal(found[1], 2 * n * cpus);
		assert_int_equal(found[2], 99 + cpus);
	}
	for (size_t i = 1; i < c.count; i++)
		assert_true(memcmp(counts_key(&c, i - 1), counts_key(&c, i), 6) < 0);
	counts_free(&c);
	close(fd);
}

static void empty_map(void **state)
{
	struct counts c;
	int fd;

	(void)state;
	if (!may_make_maps())
		skip();
	fd = map_of(BPF_MAP_TYPE_HASH, 1);
	assert_int_equal(counts_read(&c, fd), 0);
	assert_int_equal(c.count, 0);
	assert_null(counts_find(&c, "abcdef"));
	counts_free(&c);
	close(fd);
	assert_true(counts_read(&c, fd) < 0);
	assert_non_null(failure());
	forget_failure();
}

/* ---- cost ---- */

static void cost(void **state)
{
	(void)state;
	assert_true(overhead_ns_per_run(0, 0, 60) == 0);
	assert_true(overhead_ns_per_run(0, 77, 60) == 0);
	assert_true(overhead_ns_per_run(100, 16000, 60) == 100);
	assert_true(overhead_ns_per_run(100, 5000, 60) == 0); /* faster than nothing is nothing */
	assert_true(overhead_ns_per_run(4, 10, 0) == 2.5);
	assert_true(overhead_ns_per_run(1ull << 40, 1ull << 47, 28) == 100);
}

/* A program that is gone has not run a negative number of times. */
static void cost_of_what_is_gone(void **state)
{
	struct trace_run run = {.program_count = 1, .program_ids = {~0u}, .programs = {"gone"}};
	struct overhead o = {.stats = -1, .floor_ns = 60, .before[0] = {1000, 99999}};
	json_t *json = overhead_json(&o, &run, 2), *program;

	(void)state;
	program = json_array_get(json_object_get(json, "programs"), 0);
	assert_int_equal(json_integer_value(json_object_get(program, "runs")), 0);
	assert_true(json_real_value(json_object_get(program, "ns_per_run")) == 0);
	assert_true(json_real_value(json_object_get(program, "cpu_percent")) == 0);
	assert_true(json_real_value(json_object_get(json, "seconds")) == 2);
	json_decref(json);
}

/* ---- hooks ---- */

static void hooks(void **state)
{
	(void)state;
	if (hook_arguments("inet_sock_set_state") < 0)
		skip(); /* a kernel without types */
	assert_int_equal(hook_arguments("inet_sock_set_state"), 3);
	assert_int_equal(hook_arguments("tcp_destroy_sock"), 1);
	assert_true(hook_arguments("kfree_skb") >= 3);
	assert_true(hook_arguments("no_such_tracepoint") < 0);
	assert_null(hook_lacks("tp_btf/inet_sock_set_state"));
	assert_null(hook_lacks("iter/tcp"));
	assert_non_null(hook_lacks("tp_btf/no_such_tracepoint"));
	assert_non_null(hook_lacks("iter/no_such_iterator"));
}

static void what_hooks_are(void **state)
{
	(void)state;
	assert_true(hook_wants_cgroup("sockops"));
	assert_true(hook_wants_cgroup("cgroup_skb/ingress"));
	assert_false(hook_wants_cgroup("tp_btf/cgroup_mkdir"));
}

static void remedies(void **state)
{
	(void)state;
	assert_null(hook_remedy("tp_btf/sk_data_ready", "the kernel has no such tracepoint"));
	assert_null(hook_remedy("iter/tcp", "the kernel has no such iterator"));
	assert_non_null(strstr(hook_remedy("sockops", "no cgroup2"), "mount -t cgroup2"));
	assert_non_null(strstr(hook_remedy("tp_btf/kfree_skb", "no BTF (CONFIG_DEBUG_INFO_BTF)"),
			       "CONFIG_DEBUG_INFO_BTF"));
	assert_non_null(strstr(hook_remedy("tp/syscalls/sys_exit_accept4",
					   "no such tracepoint (CONFIG_FTRACE_SYSCALLS)"),
			       "CONFIG_FTRACE_SYSCALLS"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finding),
		cmocka_unit_test(differences),
		cmocka_unit_test(marks),
		cmocka_unit_test(per_cpu),
		cmocka_unit_test(empty_map),
		cmocka_unit_test(cost),
		cmocka_unit_test(cost_of_what_is_gone),
		cmocka_unit_test(hooks),
		cmocka_unit_test(what_hooks_are),
		cmocka_unit_test(remedies),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
