// SPDX-License-Identifier: GPL-2.0
/* Random services come, grow and go: what they are given was nobody's, and everything has room. */
#include "loader/balance/ranges.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/service/services.h"
#include "loader/base/error.h"
#include "tests/shared/random_rules.h"

#include <cmocka.h>

#define ROUNDS	 400
#define SERVICES 20
#define PLACES	 (1u << 20)
#define INDEXES	 4096

static struct dice dice;

static struct balance copy_of(const struct balance *b)
{
	struct balance copy = *b;

	copy.services = calloc(b->service_count + 1, sizeof(*copy.services));
	copy.backends = calloc(b->backend_count + 1, sizeof(*copy.backends));
	memcpy(copy.services, b->services, b->service_count * sizeof(*copy.services));
	memcpy(copy.backends, b->backends, b->backend_count * sizeof(*copy.backends));
	return copy;
}

static void add_service(struct balance *b, __u32 number)
{
	struct service s = {
		.proto = IPPROTO_TCP,
		.mode = dice_below(&dice, WEIR_MODES),
		.address = {4, 32, {192, 0, 2, number}, {}},
		.port = 80,
		.idle = 300,
		.flows_wanted = dice_below(&dice, 2) ? 1 + dice_below(&dice, 5000) : 1024,
	};

	balance_add_service(b, &s);
	forget_failure();
}

static void change(struct balance *b, __u32 number)
{
	struct backend backend = {.weight = 1};
	struct service *s;

	add_service(b, number);
	s = &b->services[dice_below(&dice, b->service_count)];
	backend.address = (struct address){4, 32, {10, 0, 0, dice_below(&dice, 40)}, {}};
	switch (dice_below(&dice, 5)) {
	case 0: balance_remove_service(b, s->index); break;
	case 1:
		s->slots *= s->slots < 8192 ? 8 : 1;
		s->first_slot = 0;
		break;
	case 2: s->buckets = 0; break;
	default: balance_add_backends(b, s, &backend, 1);
	}
	forget_failure();
	if (b->backend_count && !dice_below(&dice, 3))
		balance_remove_backend(b, b->backends[dice_below(&dice, b->backend_count)].index);
}

/* Marks a range; whose it is must not have been marked by another. */
static void mark(__u32 *owner, __u32 first, __u32 count, __u32 whose)
{
	assert_true(first + count <= PLACES && !(first & (count - 1)));
	for (__u32 i = first; i < first + count; i++) {
		assert_true(!owner[i] || owner[i] == whose);
		owner[i] = whose;
	}
}

static void mark_service(const struct service *s, __u32 *slots, __u32 *flows[2], __u32 whose)
{
	mark(slots, s->first_slot, s->slots, whose);
	mark(flows[s->mode == WEIR_NAT], s->first_bucket, s->buckets, whose);
}

/* What a service had before it may have again, or another range beside it: so every range is
 * marked by itself, but those that stayed. */
static void check_ranges(const struct balance *after, const struct balance *before)
{
	__u32 *slots = calloc(PLACES, sizeof(*slots)), whose = 1;
	__u32 *flows[2] = {calloc(PLACES, sizeof(*slots)), calloc(PLACES, sizeof(*slots))};

	mark(slots, 0, WEIR_MIN_SLOTS, whose++);
	for (size_t i = 0; i < before->service_count; i++)
		mark_service(&before->services[i], slots, flows, whose++);
	for (size_t i = 0; i < after->service_count; i++) {
		const struct service *s = &after->services[i];
		const struct service *was = balance_service(before, s->index);
		__u32 old = was && was->since_ns == s->since_ns ? was - before->services + 2 : 0;
		bool nat = s->mode == WEIR_NAT;

		mark(slots, s->first_slot, s->slots,
		     old && was->first_slot == s->first_slot ? old : whose);
		mark(flows[nat], s->first_bucket, s->buckets,
		     old && was->first_bucket == s->first_bucket && was->buckets == s->buckets
			     ? old
			     : whose);
		whose++;
	}
	free(slots);
	free(flows[0]);
	free(flows[1]);
}

static void check_indexes(const struct balance *after, const struct balance *before)
{
	__u64 since[INDEXES] = {};
	bool used[INDEXES] = {};

	for (size_t i = 0; i < before->backend_count; i++)
		since[before->backends[i].index] = before->backends[i].since_ns;
	for (size_t i = 0; i < after->backend_count; i++) {
		const struct backend *b = &after->backends[i];

		assert_in_range(b->index, 1, INDEXES - 1);
		assert_false(used[b->index]);
		used[b->index] = true;
		assert_true(!since[b->index] || since[b->index] == b->since_ns);
	}
}

static void check_sizes(const struct balance *b)
{
	struct balance_sizes sizes = {};

	ranges_sizes(b, &sizes);
	for (size_t i = 0; i < b->service_count; i++) {
		const struct service *s = &b->services[i];

		assert_true(s->first_slot + s->slots <= sizes.slots && s->index < sizes.services);
		assert_true(s->first_bucket + s->buckets <=
			    (s->mode == WEIR_NAT ? sizes.nat_flows : sizes.flows));
	}
	for (size_t i = 0; i < b->backend_count; i++)
		assert_true(b->backends[i].index < sizes.backends);
}

static void nothing_is_given_twice(void **state)
{
	struct balance before = {};

	(void)state;
	for (__u32 round = 0; round < ROUNDS; round++) {
		struct balance after = copy_of(&before);

		for (__u32 n = 0; n <= dice_below(&dice, 4); n++)
			change(&after, (round + 7 * n) % SERVICES);
		assert_int_equal(ranges_assign(&after, &before), 0);
		check_ranges(&after, &before);
		check_indexes(&after, &before);
		check_sizes(&after);
		balance_free(&before);
		before = after;
	}
	balance_free(&before);
}

static void too_much_is_refused(void **state)
{
	struct balance b = {}, none = {};
	int err = 0;

	(void)state;
	for (__u32 n = 0; n < 1100 && !err; n++) {
		struct service s = {
			.proto = IPPROTO_TCP,
			.mode = WEIR_DSR_L2,
			.address = {4, 32, {10, 1, n >> 8, n}, {}},
			.port = 80,
			.idle = 300,
			.slots_wanted = WEIR_MAX_SLOTS,
			.flows_wanted = 4,
		};

		assert_int_equal(balance_add_service(&b, &s), 0);
	}
	assert_int_equal(ranges_assign(&b, &none), -ENOSPC);
	assert_non_null(strstr(failure(), "no room"));
	forget_failure();
	balance_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_given_twice),
		cmocka_unit_test(too_much_is_refused),
	};

	dice = dice_from_environment();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
