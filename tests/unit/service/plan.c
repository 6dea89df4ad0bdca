// SPDX-License-Identifier: GPL-2.0
/* What a plan says against what the functions that make the change do to slots in memory. */
#include "loader/service/plan.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/balance/ranges.h"
#include "loader/service/services.h"
#include "loader/balance/slots.h"
#include "loader/base/error.h"
#include "tests/shared/random_rules.h"
#include "xdp/balance/hash.h"

#include <cmocka.h>

static struct dice dice;

/* ---- configurations ---- */

static struct address address4(__u32 last)
{
	return (struct address){4, 32, {10, 0, last >> 8, last}, {}};
}

static struct service service_number(__u32 n)
{
	return (struct service){
		.proto = IPPROTO_TCP,
		.mode = WEIR_DSR_L2,
		.address = {4, 32, {192, 0, 2, n}, {}},
		.port = 80,
		.idle = 300,
	};
}

static struct backend backend_number(__u32 n)
{
	return (struct backend){.address = address4(n), .weight = 1 + dice_below(&dice, 20)};
}

static void add_backends(struct balance *b, const struct service *s, __u32 first, __u32 count)
{
	for (__u32 i = 0; i < count; i++) {
		struct backend backend = backend_number(first + i);

		assert_int_equal(balance_add_backends(b, s, &backend, 1), 0);
	}
}

static struct balance copy_of(const struct balance *b)
{
	struct balance copy = *b;

	copy.services = calloc(b->service_count + 1, sizeof(*copy.services));
	copy.backends = calloc(b->backend_count + 1, sizeof(*copy.backends));
	memcpy(copy.services, b->services, b->service_count * sizeof(*copy.services));
	memcpy(copy.backends, b->backends, b->backend_count * sizeof(*copy.backends));
	return copy;
}

/* The first of three services is the one that tests change. All have their places. */
static void make_before(struct balance *b, __u32 backends)
{
	const struct balance none = {};

	*b = (struct balance){};
	for (__u32 n = 1; n <= 3; n++) {
		struct service s = service_number(n);

		assert_int_equal(balance_add_service(b, &s), 0);
		add_backends(b, &s, n * 1000, n == 1 ? backends : 3);
	}
	assert_int_equal(ranges_assign(b, &none), 0);
}

/* ---- slots in memory ---- */

static __u64 *slots_of(const struct balance *b, const struct service *s)
{
	__u64 *slot = calloc(s->slots, sizeof(*slot));
	struct slot_range range = {.slot = slot, .count = s->slots};
	__u32 *owner, count;

	assert_int_equal(slots_plan(b, s, &owner, &count), 0);
	slots_move(&range, owner, count);
	free(owner);
	return slot;
}

/* Those that there are, repeated in the range as large as it will be, and then changed. */
static __u64 *change_slots(const struct balance *after, const __u64 *now, __u32 count,
			   __u32 *changed)
{
	const struct service *s = balance_service(after, 1);
	__u64 *slot = calloc(s->slots, sizeof(*slot));
	struct slot_range range = {.slot = slot, .count = s->slots, .tracked = true, .used = true};
	__u32 *owner, owners;

	for (__u32 i = 0; i < s->slots; i++)
		slot[i] = now[i & (count - 1)];
	assert_int_equal(slots_plan(after, s, &owner, &owners), 0);
	*changed = slots_move(&range, owner, owners);
	assert_int_equal(slots_moving(&range), *changed);
	free(owner);
	return slot;
}

static __u32 index_of(const struct plan_backend *b)
{
	return b ? b->backend.index : 0;
}

static void check_places(const struct plan *plan, const __u64 *now, const __u64 *then)
{
	for (int i = 0; i < 500; i++) {
		struct plan_flow flow = {
			.source = address4(dice_below(&dice, 65536)),
			.sport = dice_below(&dice, 65536),
			.dport = 80,
		};
		struct plan_place p = plan_place(plan, &flow);

		assert_true(p.slot_now < plan->slots_now);
		assert_int_equal(index_of(p.now), WEIR_SLOT_OWNER(now[p.slot_now]));
		assert_int_equal(index_of(p.then), WEIR_SLOT_OWNER(then[p.slot_then]));
	}
}

/* Each backend's slots, seen in the words. */
static void check_backends(const struct plan *plan, const __u64 *now, const __u64 *then)
{
	__u32 gained = 0, lost = 0;

	for (size_t i = 0; i < plan->count; i++) {
		const struct plan_backend *b = &plan->backends[i];
		__u32 had = 0, has = 0, gets = 0;

		for (__u32 n = 0; n < plan->slots; n++) {
			__u32 was = WEIR_SLOT_OWNER(now[n & (plan->slots_now - 1)]);
			__u32 will = WEIR_SLOT_OWNER(then[n]);

			had += was == b->backend.index;
			has += will == b->backend.index;
			gets += will == b->backend.index && was != will;
		}
		assert_int_equal(b->slots_now, had);
		assert_int_equal(b->slots_then, has);
		assert_int_equal(b->gained, gets);
		assert_int_equal(b->slots_now + b->gained - b->lost, b->slots_then);
		assert_true(!b->is_new || !b->slots_now);
		assert_true(!b->is_gone || !b->slots_then);
		gained += b->gained;
		lost += b->lost;
	}
	assert_true(gained <= plan->moved && lost <= plan->moved);
}

static void check(const struct balance *before, struct balance *after)
{
	__u64 *now = slots_of(before, balance_service(before, 1)), *then;
	struct plan plan;
	__u32 changed;

	assert_int_equal(plan_make(before, after, NULL, &plan), 0);
	then = change_slots(after, now, balance_service(before, 1)->slots, &changed);
	assert_int_equal(plan.service.index, 1);
	assert_int_equal(plan.slots, balance_service(after, 1)->slots);
	assert_int_equal(plan.moved, changed);
	check_backends(&plan, now, then);
	check_places(&plan, now, then);
	free(now);
	free(then);
	plan_free(&plan);
}

/* ---- changes ---- */

static void change_backend(struct balance *b, const struct service *s, __u32 backends)
{
	struct backend name = backend_number(1000 + dice_below(&dice, backends));
	const struct backend *is = balance_find_backend(b, 1, &name);
	__u16 weight = is->weight % 20 + 1;

	switch (dice_below(&dice, 6)) {
	case 0: add_backends(b, s, 1000 + backends, 1 + dice_below(&dice, 40)); break;
	case 1: assert_int_equal(balance_delete_backend(b, s, &name, true), 0); break;
	case 2: assert_int_equal(balance_delete_backend(b, s, &name, false), 0); break;
	case 3:
		assert_int_equal(balance_change_backend(b, s, &name, weight, BACKEND_STATES), 0);
		break;
	case 4: assert_int_equal(balance_change_backend(b, s, &name, 0, BACKEND_DEAD), 0); break;
	default: assert_int_equal(balance_change_backend(b, s, &name, 0, BACKEND_DRAIN), 0); break;
	}
}

static void test_random_changes(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		struct service s = service_number(1);
		__u32 backends = 1 + dice_below(&dice, 30);
		struct balance before, after;

		make_before(&before, backends);
		after = copy_of(&before);
		change_backend(&after, &s, backends);
		check(&before, &after);
		balance_free(&before);
		balance_free(&after);
	}
}

static struct plan plan_of(const struct balance *before, struct balance *after)
{
	struct plan plan;

	assert_int_equal(plan_make(before, after, NULL, &plan), 0);
	for (size_t i = 0; i < plan.count; i++)
		plan.backends[i].flows = plan.backends[i].is_new ? 0 : 1000;
	plan_sum_flows(&plan);
	return plan;
}

static const struct plan_backend *changed_backend(const struct plan *plan, __u32 number)
{
	const struct address address = address4(number);

	for (size_t i = 0; i < plan->count; i++)
		if (address_equal(&plan->backends[i].backend.address, &address))
			return &plan->backends[i];
	return NULL;
}

static void make_equal(struct balance *b)
{
	for (size_t i = 0; i < b->backend_count; i++)
		b->backends[i].weight = 1;
}

/* Only what is cut off breaks: dead, or deleted at once. */
static void test_flows_at_risk(void **state)
{
	static const struct {
		enum backend_state state;
		bool removed, cut_off;
	} changes[] = {
		{BACKEND_DRAIN, false, false},
		{BACKEND_LEAVING, false, false},
		{BACKEND_DEAD, false, true},
		{BACKEND_STATES, true, true},
	};
	struct service s = service_number(1);
	struct backend name = backend_number(1002);

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct balance before, after;
		struct plan plan;

		make_before(&before, 4);
		make_equal(&before);
		after = copy_of(&before);
		if (changes[i].removed)
			assert_int_equal(balance_delete_backend(&after, &s, &name, true), 0);
		else
			assert_int_equal(
				balance_change_backend(&after, &s, &name, 0, changes[i].state), 0);
		plan = plan_of(&before, &after);
		assert_int_equal(plan.count, 4);
		assert_int_equal(changed_backend(&plan, 1002)->cut_off, changes[i].cut_off);
		assert_int_equal(changed_backend(&plan, 1002)->is_gone, changes[i].removed);
		assert_int_equal(plan.flows, 4000);
		assert_int_equal(plan.broken, changes[i].cut_off ? 1000 : 0);
		assert_true(plan.in_moved >= 1000 && plan.in_moved < 2000);
		assert_int_equal(plan.switched, 0);
		plan_free(&plan);
		balance_free(&before);
		balance_free(&after);
	}
}

/* What was dead has no flows to lose. */
static void test_dead_before(void **state)
{
	struct service s = service_number(1);
	struct backend name = backend_number(1000);
	struct balance before, after;
	struct plan plan;

	(void)state;
	make_before(&before, 2);
	assert_int_equal(balance_change_backend(&before, &s, &name, 0, BACKEND_DEAD), 0);
	after = copy_of(&before);
	assert_int_equal(balance_delete_backend(&after, &s, &name, true), 0);
	plan = plan_of(&before, &after);
	assert_false(changed_backend(&plan, 1000)->cut_off);
	assert_int_equal(plan.moved, 0);
	assert_int_equal(plan.broken, 0);
	plan_free(&plan);
	balance_free(&before);
	balance_free(&after);
}

static void test_udp_free(void **state)
{
	struct service s = service_number(1);
	struct backend name = backend_number(1001);
	struct balance before, after;
	struct plan plan;

	(void)state;
	make_before(&before, 4);
	make_equal(&before);
	before.services[0].free = 1;
	after = copy_of(&before);
	assert_int_equal(balance_change_backend(&after, &s, &name, 0, BACKEND_DRAIN), 0);
	plan = plan_of(&before, &after);
	assert_int_equal(plan.broken, 0);
	assert_int_equal(plan.switched, plan.in_moved);
	assert_true(plan.switched >= 1000);
	plan_free(&plan);
	balance_free(&before);
	balance_free(&after);
}

/* Another affinity is another hash: no slot changes, but flows fall into others. */
static void test_affinity(void **state)
{
	struct balance before, after;
	struct plan plan;

	(void)state;
	make_before(&before, 4);
	make_equal(&before);
	after = copy_of(&before);
	after.services[0].by_source = 1;
	plan = plan_of(&before, &after);
	assert_true(plan.rehashed);
	assert_int_equal(plan.moved, 0);
	assert_int_equal(plan.broken, 3000);
	for (__u16 port = 0; port < 200; port++) {
		struct plan_flow flow = {.source = address4(7), .sport = port, .dport = 80};
		struct plan_flow other = {.source = address4(7), .sport = 1, .dport = 80};

		assert_int_equal(plan_place(&plan, &flow).slot_then,
				 plan_place(&plan, &other).slot_then);
		assert_int_equal(plan_place(&plan, &flow).slot_now,
				 slot_of_hash(hash_flow(0x0a00000700000000ull, 0, 4,
							ports_of(port, 80), false),
					      plan.slots_now - 1));
	}
	plan_free(&plan);
	/* A nat flow stays where its record says. */
	before.services[0].mode = after.services[0].mode = WEIR_NAT;
	plan = plan_of(&before, &after);
	assert_false(plan.rehashed);
	assert_int_equal(plan.broken, 0);
	plan_free(&plan);
	balance_free(&before);
	balance_free(&after);
}

static void test_service_comes_and_goes(void **state)
{
	struct service s = service_number(7);
	struct balance before, after;
	struct plan plan;

	(void)state;
	make_before(&before, 4);
	after = copy_of(&before);
	assert_int_equal(balance_add_service(&after, &s), 0);
	plan = plan_of(&before, &after);
	assert_true(plan.is_new && !plan.is_deleted);
	assert_int_equal(plan.service.index, 4);
	assert_int_equal(plan.count, 0);
	plan_free(&plan);
	balance_free(&after);

	after = copy_of(&before);
	s = service_number(1);
	assert_int_equal(balance_delete_service(&after, &s), 0);
	plan = plan_of(&before, &after);
	assert_true(plan.is_deleted && !plan.is_new);
	assert_int_equal(plan.moved, plan.slots);
	assert_int_equal(plan.broken, 4000);
	assert_null(plan_place(&plan, &(struct plan_flow){.source = address4(1)}).then);
	assert_non_null(plan_place(&plan, &(struct plan_flow){.source = address4(1)}).now);
	plan_free(&plan);
	balance_free(&before);
	balance_free(&after);
}

static void test_nothing_changes(void **state)
{
	struct service s = service_number(2), absent = service_number(9);
	struct balance before, after;
	struct plan plan;

	(void)state;
	make_before(&before, 4);
	after = copy_of(&before);
	plan = plan_of(&before, &after);
	assert_true(plan.changes_nothing);
	plan_free(&plan);
	assert_int_equal(plan_make(&before, &after, &s, &plan), 0);
	assert_false(plan.changes_nothing);
	assert_int_equal(plan.service.index, 2);
	assert_int_equal(plan.moved, 0);
	plan_free(&plan);
	forget_failure();
	assert_int_equal(plan_make(&before, &after, &absent, &plan), -ENOENT);
	assert_non_null(failure());
	balance_free(&before);
	balance_free(&after);
}

/* As with Maglev tables: balancers of different versions must agree. */
static void test_hash_is_what_it_always_was(void **state)
{
	const __u64 ports = ports_of(1234, 80), high = 0x20010db800070000ull;

	(void)state;
	assert_int_equal(hash_flow(0xc633640700000000ull, 0, 4, ports, false),
			 0x8f4fbbb08ec461ebull);
	assert_int_equal(hash_flow(high, 7, 6, ports, false), 0xdb56fb62354fe907ull);
	assert_int_equal(hash_flow(high, 7, 6, ports, true), 0x11d36162354fe907ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_changes),
		cmocka_unit_test(test_flows_at_risk),
		cmocka_unit_test(test_dead_before),
		cmocka_unit_test(test_udp_free),
		cmocka_unit_test(test_affinity),
		cmocka_unit_test(test_service_comes_and_goes),
		cmocka_unit_test(test_nothing_changes),
		cmocka_unit_test(test_hash_is_what_it_always_was),
	};

	dice = dice_from_environment();
	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
