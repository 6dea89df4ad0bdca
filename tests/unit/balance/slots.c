// SPDX-License-Identifier: GPL-2.0
/* Slots that change hands, against the rules said one by one; and how long the largest service
 * takes. */
#include "loader/balance/slots.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/service/services.h"
#include "loader/base/error.h"
#include "tests/shared/random_rules.h"

#include <cmocka.h>

#define OWNERS	 6 /* and 0: none */
#define COUNT	 64
#define ROUNDS	 3000
#define BACKENDS 1000

static struct dice dice;

/* None is of a time to come. */
static __u64 random_word(__u32 now)
{
	__u32 previous = dice_below(&dice, 2) ? dice_below(&dice, OWNERS + 1) : 0;

	return WEIR_SLOT(dice_below(&dice, OWNERS + 1), previous,
			 previous ? now - dice_below(&dice, 65000) : 0);
}

static struct slot_range random_range(__u64 *slots)
{
	struct slot_range range = {
		.slot = slots,
		.count = COUNT,
		.tracked = dice_below(&dice, 4),
		.used = dice_below(&dice, 4),
		.tick = dice_below(&dice, 65536),
	};

	for (int i = 0; i < COUNT; i++)
		slots[i] = random_word(range.tick);
	return range;
}

/* The first change of a slot says whom it was from; later ones do not. */
static __u64 moved(const struct slot_range *r, __u64 word, __u32 owner)
{
	__u32 was = word & 0xffffff, previous = word >> 24 & 0xffffff;
	__u64 tick = word >> 48;

	if (was == owner)
		return word;
	if (!r->tracked || !r->used)
		return owner;
	if (!previous) {
		previous = was;
		tick = r->tick & 0xffff;
	}
	return owner | (__u64)previous << 24 | tick << 48;
}

static void slots_move_as_said(void **state)
{
	__u64 slots[COUNT], before[COUNT];
	__u32 owner[COUNT];

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct slot_range range = random_range(slots);
		__u32 count = COUNT >> dice_below(&dice, 3), changed = 0;

		memcpy(before, slots, sizeof(slots));
		for (__u32 i = 0; i < count; i++)
			owner[i] = dice_below(&dice, OWNERS + 1);
		for (__u32 i = 0; i < COUNT; i++)
			changed += (before[i] & 0xffffff) != owner[i % count];
		assert_int_equal(slots_move(&range, owner, count), changed);
		for (__u32 i = 0; i < COUNT; i++)
			assert_true(slots[i] == moved(&range, before[i], owner[i % count]));
		assert_int_equal(slots_move(&range, owner, count), 0);
	}
}

static bool rests(const struct slot_range *r, __u64 word, bool needed, __u32 idle)
{
	__u16 since = (__u16)r->tick - (__u16)(word >> 48);

	return (word >> 24 & 0xffffff) && !needed && (!r->tracked || since > idle + 1);
}

static void slots_settle_as_said(void **state)
{
	__u64 slots[COUNT], before[COUNT];
	bool needed[COUNT];

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct slot_range range = random_range(slots);
		__u32 idle = dice_below(&dice, 40000), settled = 0, moving = 0;

		memcpy(before, slots, sizeof(slots));
		for (int i = 0; i < COUNT; i++) {
			needed[i] = !dice_below(&dice, 4);
			settled += rests(&range, before[i], needed[i], idle);
			moving += (before[i] >> 24 & 0xffffff) != 0;
		}
		assert_int_equal(slots_moving(&range), moving);
		assert_int_equal(slots_settle(&range, needed, idle), settled);
		for (int i = 0; i < COUNT; i++)
			assert_true(slots[i] == (rests(&range, before[i], needed[i], idle)
							 ? (before[i] & 0xffffff)
							 : before[i]));
		assert_int_equal(slots_moving(&range), moving - settled);
	}
}

/* Nobody who is gone is the owner before, and what was moving still asks for remembered flows. */
static void gone_owners_are_forgotten(void **state)
{
	__u64 slots[COUNT], before[COUNT];
	bool known[OWNERS];

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct slot_range range = random_range(slots);

		memcpy(before, slots, sizeof(slots));
		known[0] = true;
		for (int i = 1; i < OWNERS; i++)
			known[i] = dice_below(&dice, 2);
		slots_purge(&range, known, OWNERS);
		for (int i = 0; i < COUNT; i++) {
			__u32 owner = before[i] & 0xffffff, was = before[i] >> 24 & 0xffffff;
			__u32 previous = slots[i] >> 24 & 0xffffff;
			bool stays = was < OWNERS && known[was];

			assert_int_equal(slots[i] & 0xffffff, owner);
			assert_int_equal(previous, stays ? was : owner);
			assert_int_equal(slots[i] >> 48, before[i] >> 48);
		}
	}
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static struct service make_largest(struct balance *b)
{
	struct service s = {
		.proto = IPPROTO_TCP,
		.mode = WEIR_DSR_L2,
		.address = {4, 32, {192, 0, 2, 1}, {}},
		.port = 80,
		.idle = 300,
	};
	struct backend *list = calloc(BACKENDS, sizeof(*list));

	assert_int_equal(balance_add_service(b, &s), 0);
	for (__u32 i = 0; i < BACKENDS; i++)
		list[i] = (struct backend){
			.address = {4, 32, {10, 0, i >> 8, i}, {}},
			.weight = 1,
		};
	assert_int_equal(balance_add_backends(b, &s, list, BACKENDS), 0);
	for (__u32 i = 0; i < BACKENDS; i++)
		b->backends[i].index = i + 1;
	free(list);
	return b->services[0];
}

/* Who owns what is made up, and the slots are brought to it; the least of some runs, as others run
 * here as well. */
static void one_of_a_thousand_goes(void **state)
{
	double plan = 1e9, move = 1e9;
	struct balance b = {};
	struct service s = make_largest(&b);
	__u64 *slots = calloc(s.slots, sizeof(*slots));
	struct slot_range range = {.slot = slots, .count = s.slots, .tracked = true, .used = true};
	__u32 changed = 0;

	(void)state;
	assert_int_equal(s.slots, 65536);
	for (int round = 0; round < 9; round++) {
		double start = now_ms(), middle, end;
		__u32 *owner, count;

		b.backends[500].state = round & 1 ? BACKEND_DRAIN : BACKEND_UP;
		assert_int_equal(slots_plan(&b, &s, &owner, &count), 0);
		middle = now_ms();
		changed = slots_move(&range, owner, count);
		end = now_ms();
		free(owner);
		plan = middle - start < plan ? middle - start : plan;
		move = end - middle < move ? end - middle : move;
	}
	print_message("# %u slots: %.2f ms to plan, %.3f ms to move %u\n", s.slots, plan, move,
		      changed);
	assert_in_range(changed, 50, 5000);
	free(slots);
	balance_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_move_as_said),
		cmocka_unit_test(slots_settle_as_said),
		cmocka_unit_test(gone_owners_are_forgotten),
		cmocka_unit_test(one_of_a_thousand_goes),
	};

	dice = dice_from_environment();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
