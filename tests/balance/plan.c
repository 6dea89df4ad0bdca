// SPDX-License-Identifier: GPL-2.0
/* Plans: random flows go where a plan says, in the program before the change and in the one
 * after it. */
#include "loader/service/plan.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
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
#include "tests/shared/balance_run.h"
#include "tests/shared/packets.h"
#include "tests/shared/random_rules.h"

#include <cmocka.h>

#define FLOWS 300
#define SPARE 64

static struct dice dice;

static struct balance make(__u32 family, __u8 proto, bool by_source, __u32 backends)
{
	struct balance b = {};
	struct service s = {
		.proto = proto,
		.mode = WEIR_DSR_L2,
		.by_source = by_source,
		.address = test_address(family == 4 ? PACKET_SERVER : PACKET_SERVER6),
		.idle = 300,
	};

	assert_int_equal(balance_add_service(&b, &s), 0);
	for (__u32 i = 0; i < backends; i++) {
		struct backend backend = {.weight = 1 + dice_below(&dice, 9)};
		char text[64];

		snprintf(text, sizeof(text), family == 4 ? "10.0.0.%u" : "2001:db8:1::%x", i + 1);
		backend.address = test_address(text);
		assert_int_equal(balance_add_backends(&b, &s, &backend, 1), 0);
	}
	return b;
}

/* The same backends have the same indexes, as in one instance that goes from one to the other. */
static struct balance remake(const struct balance *b, size_t without)
{
	struct balance copy = {};

	assert_int_equal(balance_insert_service(&copy, &b->services[0]), 0);
	for (size_t i = 0; i < b->backend_count; i++)
		if (i != without)
			assert_int_equal(balance_insert_backend(&copy, &b->backends[i]), 0);
	return copy;
}

/* The program on these services, with the slots that the loader would write. */
static void open_run(struct balance_run *run, const struct balance *b)
{
	struct balance_setup setup = {.services = b, .spare = SPARE};
	const struct service *s;
	__u32 *owner, count;

	balance_run_open(run, &setup);
	s = &run->services.services[0];
	assert_int_equal(slots_plan(b, s, &owner, &count), 0);
	for (__u32 i = 0; i < s->slots; i++)
		*balance_run_slot(run, s->index, i) = WEIR_SLOT(owner[i & (count - 1)], 0, 0);
	free(owner);
}

static struct packet_layout random_flow(const struct service *s, struct plan_flow *flow, char *text)
{
	bool six = s->address.family == 6;

	if (six)
		snprintf(text, 64, "2001:db8:%x::%x:%x", dice_below(&dice, 65536),
			 dice_below(&dice, 65536), dice_below(&dice, 65536));
	else
		snprintf(text, 64, "198.51.%u.%u", dice_below(&dice, 256), dice_below(&dice, 256));
	*flow = (struct plan_flow){
		.source = test_address(text),
		.sport = 1 + dice_below(&dice, 65535),
		.dport = 1 + dice_below(&dice, 65535),
	};
	return (struct packet_layout){
		.family = s->address.family,
		.proto = s->proto,
		.flags = PACKET_DATA,
		.source = text,
		.sport = flow->sport,
		.dport = flow->dport,
	};
}

static void check_flow(struct balance_run *run, const struct packet_layout *layout, __u32 slot,
		       const struct plan_backend *to)
{
	struct weir_explanation explanation;
	struct xdp_result result;
	struct packet packet;
	__u16 index;

	packet_build(&packet, layout);
	balance_run_explain(run, &packet, &result, &explanation);
	assert_int_equal(explanation.slot, slot + 1);
	assert_int_equal(explanation.backend, to ? to->backend.index : 0);
	balance_run_frame(run, &packet, &result);
	if (!to) {
		assert_int_equal(result.code, XDP_DROP);
		return;
	}
	assert_int_equal(result.code, XDP_TX);
	memcpy(&index, result.packet.bytes + 4, sizeof(index));
	assert_int_equal(ntohs(index), to->backend.index);
}

static void check(const struct balance *before, struct balance *after)
{
	struct balance_run now, then;
	struct plan plan;
	__u32 moved = 0;

	assert_int_equal(plan_make(before, after, NULL, &plan), 0);
	open_run(&now, before);
	open_run(&then, after);
	for (int i = 0; i < FLOWS; i++) {
		struct plan_flow flow;
		char source[64];
		struct packet_layout layout = random_flow(&plan.service, &flow, source);
		struct plan_place place = plan_place(&plan, &flow);

		check_flow(&now, &layout, place.slot_now, place.now);
		check_flow(&then, &layout, place.slot_then, place.then);
		moved += place.now != place.then;
	}
	printf("# %u of %u slots move; of %d flows %u\n", plan.moved, plan.slots, FLOWS, moved);
	balance_run_close(&now);
	balance_run_close(&then);
	plan_free(&plan);
}

static void test_changes(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		__u32 count = 1 + dice_below(&dice, 6);
		struct balance before =
			make(i & 1 ? 4 : 6, i & 2 ? IPPROTO_TCP : IPPROTO_UDP, i & 4, count);
		const struct balance none = {};
		struct balance after;

		assert_int_equal(ranges_assign(&before, &none), 0);
		after = remake(&before, i & 1 ? dice_below(&dice, count) : count);
		if (i & 1)
			assert_int_equal(after.backend_count, count - 1);
		else
			after.backends[0].weight += 5;
		check(&before, &after);
		balance_free(&before);
		balance_free(&after);
	}
}

/* More slots than before: the service's range grows. */
static void test_growth(void **state)
{
	const struct balance none = {};
	struct balance before = make(4, IPPROTO_TCP, false, 2), after;
	struct service s = before.services[0];

	(void)state;
	before.backends[0].weight = before.backends[1].weight = 1;
	before.services[0].slots = 1024;
	before.services[0].first_slot = 0;
	assert_int_equal(ranges_assign(&before, &none), 0);
	after = remake(&before, 2);
	for (int i = 0; i < 30; i++) {
		struct backend backend = {.weight = 1};
		char text[64];

		snprintf(text, sizeof(text), "10.0.1.%d", i);
		backend.address = test_address(text);
		assert_int_equal(balance_add_backends(&after, &s, &backend, 1), 0);
	}
	assert_int_equal(after.services[0].slots, 8192);
	check(&before, &after);
	balance_free(&before);
	balance_free(&after);
}

/* Another affinity: the hash of before and after differ. */
static void test_affinity(void **state)
{
	const struct balance none = {};
	struct balance before = make(4, IPPROTO_TCP, false, 5), after;

	(void)state;
	assert_int_equal(ranges_assign(&before, &none), 0);
	after = remake(&before, 5);
	after.services[0].by_source = 1;
	check(&before, &after);
	balance_free(&before);
	balance_free(&after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_affinity),
	};

	dice = dice_from_environment();
	xdp_run_prepare();
	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
