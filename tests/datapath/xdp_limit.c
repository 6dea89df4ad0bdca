// SPDX-License-Identifier: GPL-2.0
/* Limits per source, on the real clock: nothing here depends on how fast the machine is. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/shared/xdp_run.h"

#define SECOND 1000000000ull

static __u32 no_device(const char *name)
{
	(void)name;
	return 0;
}

static __u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static void wait_ns(__u64 ns)
{
	struct timespec t = {.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};

	while (nanosleep(&t, &t))
		;
}

static void open_rules(struct xdp_run *run, const char *const *text, size_t count)
{
	struct weir_xdp_config config = {.ifindex = 7, .ethernet = 1};
	struct table_names names = {.ifindex = no_device};
	struct rule_set set;

	rules_from_text(&set, text, count);
	xdp_run_open(run, &config, &set, &names);
	rule_set_free(&set);
}

static void from(struct packet *packet, const char *source, __u8 proto)
{
	struct packet_layout layout = {
		.family = strchr(source, ':') ? 6 : 4,
		.proto = proto,
		.source = source,
		.sport = 1000,
		.dport = 53,
	};

	packet_build(packet, &layout);
}

static bool passes(struct xdp_run *run, const struct packet *packet)
{
	struct xdp_result result;

	xdp_run_frame(run, packet, &result);
	if (result.code == XDP_PASS)
		assert_int_equal(result.counters.cell[WEIR_PASS][WEIR_UDP4].packets +
					 result.counters.cell[WEIR_PASS][WEIR_UDP6].packets +
					 result.counters.cell[WEIR_PASS][WEIR_TCP4].packets,
				 1);
	else
		assert_int_equal(result.counters.reason[WEIR_BY_LIMIT].packets, 1);
	return result.code == XDP_PASS;
}

static bool source_passes(struct xdp_run *run, const char *source)
{
	struct packet packet;

	from(&packet, source, IPPROTO_UDP);
	return passes(run, &packet);
}

/* ---- the rate ---- */

struct flood {
	__u64 passed, begun, ended;
	__u64 longest_gap; /* between one packet's beginning and the next one's end */
};

static struct flood send_for(struct xdp_run *run, const char *source, __u64 ns)
{
	struct flood f = {.begun = now()};
	struct packet packet;
	__u64 last = f.begun;

	from(&packet, source, IPPROTO_UDP);
	do {
		__u64 begins = now();

		f.passed += passes(run, &packet);
		f.ended = now();
		if (f.ended - last > f.longest_gap)
			f.longest_gap = f.ended - last;
		last = begins;
	} while (f.ended - f.begun < ns);
	return f;
}

static void check_rate(const char *rule, const char *source, __u64 interval, __u64 burst)
{
	struct flood f;
	struct xdp_run run;
	__u64 elapsed;

	open_rules(&run, &rule, 1);
	f = send_for(&run, source, 300 * 1000000ull);
	elapsed = f.ended - f.begun;
	assert_true(f.passed <= burst + elapsed / interval + 1);
	assert_true(f.passed >= burst);
	/* No credit is lost while no gap lets the bucket run over. */
	if (f.longest_gap < (burst - 1) * interval)
		assert_true(f.passed + 2 >= burst + (elapsed - f.longest_gap) / interval);
	xdp_run_close(&run);
}

static void test_rate_and_burst(void **state)
{
	(void)state;
	check_rate("limit 100/s burst 10", "192.0.2.9", SECOND / 100, 10);
	check_rate("limit 1k/s burst 20", "2001:db8::9", SECOND / 1000, 20);
	check_rate("limit 60/m burst 3", "192.0.2.9", SECOND, 3);
}

static void test_burst_exactly(void **state)
{
	const char *rule = "limit 1/h burst 5";
	struct xdp_run run;

	(void)state;
	open_rules(&run, &rule, 1);
	for (int i = 0; i < 5; i++)
		assert_true(source_passes(&run, "192.0.2.9"));
	for (int i = 0; i < 50; i++)
		assert_false(source_passes(&run, "192.0.2.9"));
	xdp_run_close(&run);
}

static void test_slow_sender_always_passes(void **state)
{
	const char *rule = "limit 500/s burst 1";
	struct xdp_run run;

	(void)state;
	open_rules(&run, &rule, 1);
	for (int i = 0; i < 40; i++) {
		assert_true(source_passes(&run, "192.0.2.9"));
		wait_ns(SECOND / 500);
	}
	xdp_run_close(&run);
}

/* Many packets within one call: what the kernel repeats is counted like the rest. */
static void test_flood_in_the_kernel(void **state)
{
	const char *rule = "limit 1k/s burst 50";
	struct weir_device_counters counters;
	struct packet packet;
	struct xdp_run run;
	__u64 begun, elapsed, passed;

	(void)state;
	open_rules(&run, &rule, 1);
	from(&packet, "192.0.2.9", IPPROTO_UDP);
	begun = now();
	xdp_run_repeat(&run, &packet, 200000, &counters);
	elapsed = now() - begun;
	passed = counters.cell[WEIR_PASS][WEIR_UDP4].packets;
	assert_int_equal(passed + counters.cell[WEIR_DROP][WEIR_UDP4].packets, 200000);
	assert_int_equal(counters.reason[WEIR_BY_LIMIT].packets, 200000 - passed);
	assert_int_equal(xdp_run_rule(&run, 0).packets, 200000);
	assert_true(passed >= 50 && passed <= 50 + elapsed / (SECOND / 1000) + 1);
	xdp_run_close(&run);
}

/* ---- who shares with whom ---- */

static void test_sources_are_independent(void **state)
{
	static const char *const sources[] = {
		"192.0.2.1",   "192.0.2.2",  "0.0.0.0", "32.1.13.184", "2001:db8::1",
		"2001:db8::2", "2001:db8::", "::",	"::1",	       "2001:db8:0:1::1",
	};
	const char *rule = "limit 1/h burst 2";
	struct xdp_run run;

	(void)state;
	open_rules(&run, &rule, 1);
	for (int round = 0; round < 4; round++)
		for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
			assert_int_equal(source_passes(&run, sources[i]), round < 2);
	xdp_run_close(&run);
}

/* A source has one bucket under each rule; that neighbouring rules and neighbouring networks
 * differ by the same bits makes no two of them one. */
static void test_rules_are_independent(void **state)
{
	static const char *const rules[] = {
		"limit 1/h burst 1 proto tcp",
		"limit 1/h burst 1 proto udp sport 1000",
		"limit 1/h burst 1 proto udp",
	};
	static const char *const networks[] = {
		"2001:db8:0:0::1", "2001:db8:0:1::1",  "2001:db8:0:2::1",
		"2001:db8:0:3::1", "2001:db8:0:10::1",
	};
	struct xdp_run run;
	struct packet packet;

	(void)state;
	open_rules(&run, rules, 3);
	from(&packet, "192.0.2.1", IPPROTO_TCP);
	assert_true(passes(&run, &packet));
	assert_false(passes(&run, &packet));
	assert_true(source_passes(&run, "192.0.2.1"));
	assert_false(source_passes(&run, "192.0.2.1"));
	for (int port = 1000; port < 1002; port++)
		for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++) {
			struct packet_layout layout = {.family = 6,
						       .proto = IPPROTO_UDP,
						       .source = networks[i],
						       .sport = port};

			packet_build(&packet, &layout);
			assert_true(passes(&run, &packet));
			assert_false(passes(&run, &packet));
		}
	xdp_run_close(&run);
}

/* Destination and ports are nobody's business. */
static void test_one_bucket_for_all_flows_of_a_source(void **state)
{
	const char *rule = "limit 1/h burst 3";
	struct xdp_run run;
	struct packet packet;

	(void)state;
	open_rules(&run, &rule, 1);
	for (int i = 0; i < 6; i++) {
		struct packet_layout layout = {
			.family = 4,
			.proto = i % 2 ? IPPROTO_UDP : IPPROTO_TCP,
			.destination = i % 3 ? "203.0.113.1" : "203.0.113.2",
			.sport = 1000 + i,
			.dport = 2000 - i,
		};

		packet_build(&packet, &layout);
		assert_int_equal(passes(&run, &packet), i < 3);
	}
	xdp_run_close(&run);
}

/* The rule in a slot, or the rate of a list, changes while the buckets stay: a debt of hours must
 * not fall on a rule of many packets a second. */
static void test_debts_of_another_rate(void **state)
{
	static const char *const rates[] = {"limit 1/h burst 4", "limit 100/s burst 4",
					    "limit 1/h burst 40"};
	struct xdp_run run, next;

	(void)state;
	open_rules(&run, &rates[0], 1);
	for (int i = 0; i < 9; i++)
		assert_int_equal(source_passes(&run, "192.0.2.9"), i < 4);
	for (int i = 1; i < 3; i++) {
		open_rules(&next, &rates[i], 1);
		xdp_run_copy_buckets(&next, &run);
		for (int n = 0; n < 4; n++)
			assert_true(source_passes(&next, "192.0.2.9"));
		xdp_run_close(&next);
	}
	open_rules(&next, &rates[0], 1);
	xdp_run_copy_buckets(&next, &run);
	assert_false(source_passes(&next, "192.0.2.9"));
	xdp_run_close(&next);
	xdp_run_close(&run);
}

/* ---- more sources than places ---- */

#define SOURCES (WEIR_BUCKET_SETS * WEIR_BUCKET_WAYS + 4000)

static void test_evictions_are_counted(void **state)
{
	const char *rule = "limit 1/h burst 1";
	struct weir_device_counters counters;
	size_t evicted = 0, first_half = 0, live;
	struct packet packet;
	struct xdp_run run;

	(void)state;
	open_rules(&run, &rule, 1);
	from(&packet, "10.0.0.0", IPPROTO_UDP);
	for (__u32 i = 0; i < SOURCES; i++) {
		__be32 address = htonl(0x0a000000 + i);

		packet_set_source(&packet, &address);
		xdp_run_repeat(&run, &packet, 1, &counters);
		if (i == WEIR_BUCKET_SETS / 2)
			first_half = counters.limit_evictions;
	}
	evicted = counters.limit_evictions;
	live = xdp_run_buckets(&run);
	assert_int_equal(counters.cell[WEIR_PASS][WEIR_UDP4].packets, SOURCES);
	assert_int_equal(live + evicted, SOURCES);
	assert_true(evicted >= 4000);
	/* As evenly spread as by chance: of 8192 sources in 16384 sets of 4, 3 are one too many. */
	assert_true(first_half < 30);
	printf("# %u sources: %zu live, %zu evicted, %zu of them among the first 8192\n", SOURCES,
	       live, evicted, first_half);
	xdp_run_close(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate_and_burst),
		cmocka_unit_test(test_burst_exactly),
		cmocka_unit_test(test_slow_sender_always_passes),
		cmocka_unit_test(test_flood_in_the_kernel),
		cmocka_unit_test(test_sources_are_independent),
		cmocka_unit_test(test_rules_are_independent),
		cmocka_unit_test(test_one_bucket_for_all_flows_of_a_source),
		cmocka_unit_test(test_debts_of_another_rate),
		cmocka_unit_test(test_evictions_are_counted),
	};

	xdp_run_prepare();
	return cmocka_run_group_tests_name("XDP limits", tests, NULL, NULL);
}
