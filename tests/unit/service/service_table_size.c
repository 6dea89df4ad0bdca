// SPDX-License-Identifier: GPL-2.0
/* Service tables of few services, of very many, and of addresses that are much alike. */
#include <stdio.h>
#include <time.h>

#include "table_reader.h"

/* What most users have must be found at the first place, in a small table. */
static void test_small(void **state)
{
	(void)state;
	for (int services = 1; services <= 16; services++) {
		struct service_table t;
		struct balance b;

		make_balance(&b, services, services * 2);
		for (int i = 0; i < services; i++) {
			add_service(&b, address4(0xc0000201 + i), IPPROTO_TCP, 443);
			add_backend(&b, b.services[i].index, i);
		}
		t = compile(&b, NULL);
		assert_int_equal(view_of(&t).head->probes, 1);
		assert_true(t.size <= 16384);
		assert_true(services > 2 || t.size == 4096);
		check_source(&t, &b);
		free(t.bytes);
		balance_free(&b);
	}
}

/* ---- many, and addresses that are much alike ---- */

enum pattern {
	V4_SEQUENCE,
	V4_NETWORKS, /* differ in the upper half */
	V4_RANDOM,
	V6_SEQUENCE,
	V6_HIGH, /* differ above bit 96 */
	V6_SUBNETS,
	V6_MIDDLE, /* bits 40..63 of the lower half */
	V6_RANDOM,
	ONE_ADDRESS, /* all ports of one VIP */
	PATTERNS,
};

static struct address pattern_address(enum pattern p, __u32 n)
{
	switch (p) {
	case V4_SEQUENCE: return address4(0x0a000001 + n);
	case V4_NETWORKS: return address4((n + 1) << 16 | 1);
	case V4_RANDOM: return address4(n * 0x9e3779b1u + 1);
	case V6_SEQUENCE: return address6(0x20010db8ull << 32, 1 + n);
	case V6_HIGH: return address6((__u64)(0x2001 + n) << 48, 1);
	case V6_SUBNETS: return address6(0x20010db8ull << 32 | n, 1);
	case V6_MIDDLE: return address6(0x20010db8ull << 32, (__u64)n << 40 | 1);
	case V6_RANDOM: return address6(dice_word(&dice), dice_word(&dice));
	default: return address4(0xc0000201);
	}
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void test_many(void **state)
{
	static const size_t counts[] = {30, 1000, 10000};
	const struct nat_sources none = {};

	(void)state;
	for (int p = 0; p < PATTERNS; p++) {
		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
			struct service_table t;
			struct balance b;
			double start;

			make_balance(&b, counts[i], 0);
			for (size_t n = 0; n < counts[i]; n++)
				add_service(&b, pattern_address(p, n), IPPROTO_TCP, n + 1);
			start = seconds();
			t = compile(&b, &none);
			printf("# pattern %d, %zu services: %.1f ms, %zu kB, %u probes\n", p,
			       counts[i], (seconds() - start) * 1e3, t.size / 1024,
			       view_of(&t).head->probes);
			check_whole(&t, &b);
			free(t.bytes);
			balance_free(&b);
		}
	}
}

static void test_both_families(void **state)
{
	const struct nat_sources none = {};
	struct service_table t;
	struct balance b;

	(void)state;
	make_balance(&b, 10000, 10000);
	for (int n = 0; n < 10000; n++) {
		add_service(&b, n % 2 ? address4(0x0a000000 + n) : address6(n, n), IPPROTO_UDP, 53);
		add_backend(&b, b.services[n].index, n);
	}
	t = compile(&b, &none);
	check_whole(&t, &b);
	free(t.bytes);
	balance_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_both_families),
	};

	dice = dice_from_environment();
	return cmocka_run_group_tests_name("service_table_size", tests, NULL, NULL);
}
