// SPDX-License-Identifier: GPL-2.0
/* What a packet is explained to become is what becomes of it. */
#include "services.h"

static void upset_slots(struct dice *d, struct bench *b, const struct service *service)
{
	for (__u32 i = 0; i < service->slots; i++) {
		__u32 to = WEIR_SLOT_OWNER(
			*balance_run_slot(&b->run, service->index, dice_below(d, service->slots)));

		if (to && dice_percent(d, 60))
			balance_run_move_slot(&b->run, service->index, i, to);
	}
}

static void upset_backends(struct dice *d, struct bench *b)
{
	for (__u32 i = 1; i <= b->services.backend_count; i++) {
		struct weir_backend *backend = &b->run.backends[i];

		if (dice_percent(d, 10))
			backend->flags &= ~WEIR_B_ALIVE;
		if (dice_percent(d, 10))
			balance_run_stale(&b->run, i);
		if (dice_percent(d, 10)) {
			backend->flags &= ~WEIR_B_REACHABLE;
			backend->ifindex = 0;
		}
		if (dice_percent(d, 20))
			backend->ifindex = ELSE;
		if (dice_percent(d, 10))
			backend->flags |= WEIR_B_VIA_TC;
		if (dice_percent(d, 5))
			backend->flags = WEIR_B_ALIVE | WEIR_B_LOCAL;
	}
}

static void assert_told(struct bench *b, const struct tuple *tuple,
			const struct weir_explanation *e, const struct xdp_result *result)
{
	const struct service *service = twin_service(&b->run.services, tuple);

	assert_true(e->verdict < WEIR_VERDICTS && e->class < WEIR_CLASSES);
	assert_int_equal(result->counters.cell[e->verdict][e->class].packets, 1);
	if (e->reason < WEIR_REASONS)
		assert_int_equal(result->counters.reason[e->reason].packets, 1);
	if (e->rule && e->verdict == WEIR_DROP && e->reason == WEIR_BY_RULE)
		return;
	assert_int_equal(e->service, service ? service->index : 0);
	if (!service)
		return;
	assert_int_equal(e->slot, twin_slot(service, tuple) + 1);
	assert_true(e->hash == twin_hash(tuple, service->by_source));
	if (result->code == XDP_REDIRECT)
		assert_int_equal(e->egress, ELSE);
	if (went_to(&result->packet))
		assert_int_equal(e->backend, went_to(&result->packet));
}

static void explain_one(struct dice *d, struct bench *b)
{
	static const __u8 flags[] = {PACKET_SYN, PACKET_DATA, PACKET_FIN | PACKET_ACK};
	struct packet_layout layout = {.flags = flags[dice_below(d, 3)]};
	struct weir_explanation e;
	struct xdp_result told, done;
	struct packet packet;
	struct tuple tuple;
	__u64 before;

	random_tuple(d, &b->services, &tuple);
	tuple_packet(&tuple, &layout, &packet);
	before = balance_run_fingerprint(&b->run);
	balance_run_explain(&b->run, &packet, &told, &e);
	assert_true(balance_run_fingerprint(&b->run) == before);
	balance_run_frame(&b->run, &packet, &done);
	assert_int_equal(told.code, done.code);
	assert_told(b, &tuple, &e, &done);
	if (told.code == XDP_TX)
		assert_int_equal(told.packet.length, done.packet.length);
}

static void explained_as_done(void **state)
{
	static const char *const rules[] = {"drop src 198.51.0.0/18", "pass dport 80",
					    "drop proto udp sport 1-9999"};
	struct dice d = dice_from_environment();

	(void)state;
	for (int round = 0; round < 3; round++) {
		struct bench b = {};

		random_services(&d, 1 + dice_below(&d, 5), DSR, &b.services);
		for (size_t i = 0; i < b.services.service_count; i++) {
			b.services.services[i].slots = 64;
			b.services.services[i].buckets = 4;
		}
		open_bench(&b, NULL, rules, round ? 3 : 0);
		can_send_to(&b, ELSE);
		for (size_t i = 0; i < b.services.service_count; i++)
			upset_slots(&d, &b, &b.run.services.services[i]);
		upset_backends(&d, &b);
		for (int i = 0; i < 300; i++)
			explain_one(&d, &b);
		close_bench(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(explained_as_done),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	make_network();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
