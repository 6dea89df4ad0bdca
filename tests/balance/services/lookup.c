// SPDX-License-Identifier: GPL-2.0
/* Which service and backend a packet is for; what is counted; rules, which come first; frames that
 * are cut or damaged. */
#include <math.h>
#include <stdio.h>

#include "services.h"

#define LOOKUPS 3000

/* ---- lookup ---- */

static void services_are_found(void **state)
{
	static const struct {
		const char *to;
		__u16 port;
		__u8 proto;
		__u32 backend;
	} cases[] = {
		{VIP4, 80, IPPROTO_TCP, 1},	   {VIP4, 80, IPPROTO_UDP, 2},
		{VIP4, 81, IPPROTO_TCP, 3},	   {VIP4, 0, IPPROTO_TCP, 3},
		{VIP4, 65535, IPPROTO_TCP, 3},	   {VIP4, 81, IPPROTO_UDP, 0},
		{VIP6, 443, IPPROTO_TCP, 4},	   {VIP6, 442, IPPROTO_TCP, 0},
		{VIP6, 53, IPPROTO_UDP, 5},	   {VIP6, 0, IPPROTO_UDP, 5},
		{VIP6, 53, IPPROTO_TCP, 0},	   {"192.0.2.2", 80, IPPROTO_TCP, 0},
		{"192.0.2.0", 80, IPPROTO_TCP, 0}, {"2001:db8::2", 443, IPPROTO_TCP, 0},
		{"0.0.0.0", 80, IPPROTO_TCP, 0},   {"::", 443, IPPROTO_TCP, 0},
		{VIP4, 80, IPPROTO_SCTP, 0},	   {VIP4, 80, IPPROTO_UDPLITE, 0},
	};
	struct bench b = {};
	struct packet packet;
	struct xdp_result result;

	(void)state;
	test_service(&b.services, IPPROTO_TCP, VIP4, 80, WEIR_DSR_L2);
	test_backend(&b.services, "10.0.0.1", 0, 1);
	test_service(&b.services, IPPROTO_UDP, VIP4, 80, WEIR_DSR_L2);
	test_backend(&b.services, "10.0.0.1", 0, 1);
	test_service(&b.services, IPPROTO_TCP, VIP4, 0, WEIR_DSR_L2);
	test_backend(&b.services, "10.0.0.1", 0, 1);
	test_service(&b.services, IPPROTO_TCP, VIP6, 443, WEIR_DSR_L2);
	test_backend(&b.services, "fd00::1", 0, 1);
	test_service(&b.services, IPPROTO_UDP, VIP6, 0, WEIR_DSR_L2);
	test_backend(&b.services, "fd00::1", 0, 1);
	open_bench(&b, NULL, NULL, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct tuple tuple = tuple_to(cases[i].to, cases[i].port, cases[i].proto);

		send_tuple(&b, &tuple, &(struct packet_layout){.flags = PACKET_DATA}, &packet,
			   &result);
		assert_int_equal(result.code, cases[i].backend ? XDP_TX : XDP_PASS);
		assert_int_equal(went_to(&result.packet), cases[i].backend);
		if (cases[i].proto == IPPROTO_TCP || cases[i].proto == IPPROTO_UDP)
			assert_true(xdp_run_counted_only(
				&result.counters, cases[i].backend ? WEIR_TX : WEIR_PASS,
				class_of(&tuple), WEIR_REASONS, packet.length));
	}
	close_bench(&b);
}

static const struct backend *backend_of(const struct bench *b, __u32 index)
{
	return index ? &b->services.backends[index - 1] : NULL;
}

static void assert_delivered(const struct bench *b, const struct service *service, __u32 index,
			     const struct packet *packet, const struct xdp_result *result)
{
	const struct backend *backend = backend_of(b, index);
	bool six = backend->address.family == 6;

	assert_int_equal(result->code, XDP_TX);
	assert_int_equal(went_to(&result->packet), index);
	if (service->mode == WEIR_DSR_L2)
		assert_same_from(12, packet, &result->packet);
	else
		assert_memory_equal(result->packet.bytes + packet->l3 + (six ? 24 : 16),
				    backend->address.byte, six ? 16 : 4);
}

/* What the naive twin says of a tuple, against what was done with it. */
static void check_tuple(struct bench *b, const struct tuple *tuple)
{
	const struct service *service = twin_service(&b->run.services, tuple);
	struct packet packet;
	struct xdp_result result;
	__u32 owner;

	send_tuple(b, tuple, &(struct packet_layout){.flags = PACKET_DATA, .payload = 10}, &packet,
		   &result);
	if (!service) {
		assert_passed(&packet, &result, class_of(tuple));
		return;
	}
	owner = WEIR_SLOT_OWNER(
		*balance_run_slot(&b->run, service->index, twin_slot(service, tuple)));
	if (owner)
		assert_delivered(b, service, owner, &packet, &result);
	else
		assert_dropped(&packet, &result, class_of(tuple), WEIR_BY_NO_BACKEND);
}

static void random_tuples(void **state)
{
	struct dice d = dice_from_environment();

	(void)state;
	for (int round = 0; round < 4; round++) {
		struct bench b = {};
		struct tuple tuple;

		random_services(&d, 1 + dice_below(&d, 200), DSR, &b.services);
		open_bench(&b, NULL, NULL, 0);
		for (int i = 0; i < LOOKUPS; i++) {
			random_tuple(&d, &b.services, &tuple);
			check_tuple(&b, &tuple);
		}
		close_bench(&b);
	}
}

static void shares_follow_weights(void **state)
{
	static const __u16 weights[] = {1, 2, 5, 8};
	struct dice d = dice_from_environment();
	struct bench b = {};
	struct packet packet;
	struct xdp_result result;
	__u32 total = 16, flows = 16000;

	(void)state;
	test_service(&b.services, IPPROTO_TCP, VIP4, 80, WEIR_DSR_L2);
	for (int i = 0; i < 4; i++) {
		char address[16];

		snprintf(address, sizeof(address), "10.0.0.%d", i + 1);
		test_backend(&b.services, address, 0, weights[i]);
	}
	open_bench(&b, NULL, NULL, 0);
	for (__u32 i = 0; i < flows; i++) {
		struct tuple tuple = tuple_to(VIP4, 80, IPPROTO_TCP);

		tuple.source = random_client(&d, 4);
		tuple.sport = dice_below(&d, 65536);
		send_tuple(&b, &tuple, &(struct packet_layout){.flags = PACKET_SYN}, &packet,
			   &result);
		assert_int_equal(result.code, XDP_TX);
	}
	for (int i = 0; i < 4; i++) {
		double share = (double)weights[i] / total, expected = flows * share;
		double got = balance_run_backend(&b.run, i + 1).connections;

		/* Five standard deviations, and one percent for slots that do not divide evenly. */
		assert_true(fabs(got - expected) <
			    5 * sqrt(expected * (1 - share)) + expected / 100);
	}
	close_bench(&b);
}

/* ---- dsr-l2 ---- */

static void frames_stay_as_they_are(void **state)
{
	static const char *const tags[] = {"", "q", "aq"};
	struct packet packet;
	struct xdp_result result;

	(void)state;
	for (int six = 0; six < 2; six++) {
		struct bench b = {};

		test_service(&b.services, IPPROTO_TCP, six ? VIP6 : VIP4, 80, WEIR_DSR_L2);
		test_backend(&b.services, six ? "fd00::1" : "10.0.0.1", 0, 1);
		open_bench(&b, NULL, NULL, 0);
		for (int i = 0; i < 3 * 8; i++) {
			struct tuple tuple = tuple_to(six ? VIP6 : VIP4, 80, IPPROTO_TCP);
			struct packet_layout layout = {
				.flags = PACKET_DATA,
				.tags = tags[i % 3],
				.ttl = i & 1 ? 1 : 255,
				.tos = i,
				.payload = i & 2 ? 1000 : 0,
				.padding = i & 4 ? 20 : 0,
				.ip_options = i & 1 ? 12 : 0,
				.chain = i & 1 ? "hd" : NULL,
			};

			send_tuple(&b, &tuple, &layout, &packet, &result);
			assert_int_equal(result.code, XDP_TX);
			assert_same_from(12, &packet, &result.packet);
			assert_memory_equal(result.packet.bytes, b.run.backends[1].dest_mac, 6);
			assert_memory_equal(result.packet.bytes + 6, TEST_OWN_MAC, 6);
		}
		close_bench(&b);
	}
}

/* ---- counters ---- */

static void backends_are_counted(void **state)
{
	static const __u8 flags[] = {PACKET_SYN,  PACKET_ACK,
				     PACKET_DATA, PACKET_FIN | PACKET_ACK,
				     PACKET_RST,  PACKET_SYN | PACKET_FIN};
	struct weir_backend_counters c;
	struct bench b;
	struct packet packet;
	struct xdp_result result;
	__u64 bytes = 0;

	(void)state;
	open_plain(&b, NULL, NULL, 0);
	for (int i = 0; i < 6; i++) {
		struct tuple tuple = tuple_to(VIP4, 80, IPPROTO_TCP);
		struct packet_layout layout = {.flags = flags[i], .payload = i * 100, .padding = i};

		send_tuple(&b, &tuple, &layout, &packet, &result);
		bytes += packet.length;
	}
	c = balance_run_backend(&b.run, 1);
	assert_int_equal(c.packets, 6);
	assert_int_equal(c.bytes, bytes);
	assert_int_equal(c.connections, 1);
	assert_int_equal(c.ended, 3);
	assert_int_equal(c.reply_packets, 0);
	close_bench(&b);
}

/* ---- rules come first ---- */

static void rules_come_first(void **state)
{
	static const char *const rules[] = {"drop src 198.51.100.7", "pass src 198.51.100.0/24",
					    "limit 1/s burst 2 src 198.51.101.0/24"};
	struct tuple tuple = tuple_to(VIP4, 80, IPPROTO_TCP);
	struct packet_layout layout = {.flags = PACKET_DATA};
	struct bench b;
	struct packet packet;
	struct xdp_result result;

	(void)state;
	open_plain(&b, NULL, rules, 3);
	send_tuple(&b, &tuple, &layout, &packet, &result);
	assert_dropped(&packet, &result, WEIR_TCP4, WEIR_BY_RULE);
	assert_int_equal(balance_run_backend(&b.run, 1).packets, 0);
	tuple.source = test_address("198.51.100.8");
	send_tuple(&b, &tuple, &layout, &packet, &result);
	assert_int_equal(result.code, XDP_TX);
	assert_int_equal(went_to(&result.packet), 1);
	assert_int_equal(xdp_run_rule(&b.run.xdp, 1).packets, 1);
	tuple.source = test_address("203.0.113.9");
	send_tuple(&b, &tuple, &layout, &packet, &result);
	assert_int_equal(result.code, XDP_TX);
	tuple.source = test_address("198.51.101.1");
	send_tuple(&b, &tuple, &layout, &packet, &result);
	assert_int_equal(result.code, XDP_TX);
	for (int i = 0; i < 3; i++)
		send_tuple(&b, &tuple, &layout, &packet, &result);
	assert_dropped(&packet, &result, WEIR_TCP4, WEIR_BY_LIMIT);
	close_bench(&b);
}

/* ---- bad packets ---- */

static void cut_frames(void **state)
{
	struct tuple tuples[] = {tuple_to(VIP4, 80, IPPROTO_TCP), tuple_to(VIP6, 80, IPPROTO_TCP)};
	struct packet_layout layout = {.flags = PACKET_SYN, .payload = 20, .tags = "q"};
	struct packet packet, cut;
	struct xdp_result result;

	(void)state;
	for (int mode = WEIR_DSR_L2; mode <= WEIR_DSR_IPIP; mode++) {
		struct bench b = {};

		test_service(&b.services, IPPROTO_TCP, VIP4, 80, mode)->mss = 1000;
		test_backend(&b.services, "10.0.0.1", 0, 1);
		test_service(&b.services, IPPROTO_TCP, VIP6, 80, mode)->mss = 1000;
		test_backend(&b.services, "fd00::1", 0, 1);
		open_bench(&b, NULL, NULL, 0);
		for (int six = 0; six < 2; six++) {
			tuple_packet(&tuples[six], &layout, &packet);
			for (cut = packet; cut.length > 14; cut.length--) {
				balance_run_frame(&b.run, &cut, &result);
				if (cut.length == packet.length)
					assert_int_equal(result.code, XDP_TX);
				else
					assert_passed(&cut, &result, WEIR_MALFORMED);
			}
		}
		close_bench(&b);
	}
}

/* Whatever comes: it goes on untouched, is dropped, or goes to a backend with nothing but the
 * Ethernet addresses changed. */
static void mutated_frames(void **state)
{
	struct dice d = dice_from_environment();
	struct bench b = {};
	struct xdp_result result;
	struct packet packet;

	(void)state;
	test_service(&b.services, IPPROTO_TCP, VIP4, 80, WEIR_DSR_L2);
	test_backend(&b.services, "10.0.0.1", 0, 1);
	test_service(&b.services, IPPROTO_UDP, VIP6, 0, WEIR_DSR_L2);
	test_backend(&b.services, "fd00::1", 0, 1);
	open_bench(&b, NULL, NULL, 0);
	for (int i = 0; i < 5000; i++) {
		bool six = dice_percent(&d, 50);
		struct tuple tuple =
			tuple_to(six ? VIP6 : VIP4, 80, six ? IPPROTO_UDP : IPPROTO_TCP);
		struct packet_layout layout = {.flags = PACKET_DATA,
					       .payload = 20,
					       .tags = dice_percent(&d, 30) ? "q" : "",
					       .chain = dice_percent(&d, 30) ? "hd" : ""};

		tuple_packet(&tuple, &layout, &packet);
		for (__u32 n = dice_below(&d, 4); n; n--)
			packet.bytes[12 + dice_below(&d, packet.length - 12)] ^=
				1 << dice_below(&d, 8);
		if (dice_percent(&d, 20))
			packet.length = 14 + dice_below(&d, packet.length - 13);
		balance_run_frame(&b.run, &packet, &result);
		if (result.code == XDP_TX && went_to(&result.packet))
			assert_same_from(12, &packet, &result.packet);
		else if (result.code == XDP_PASS)
			assert_same_from(0, &packet, &result.packet);
		else
			assert_true(result.code == XDP_DROP || result.code == XDP_TX);
	}
	close_bench(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(services_are_found),
		cmocka_unit_test(random_tuples),
		cmocka_unit_test(shares_follow_weights),
		cmocka_unit_test(frames_stay_as_they_are),
		cmocka_unit_test(backends_are_counted),
		cmocka_unit_test(rules_come_first),
		cmocka_unit_test(cut_frames),
		cmocka_unit_test(mutated_frames),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	make_network();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
