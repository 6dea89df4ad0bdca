// SPDX-License-Identifier: GPL-2.0
/* How a packet gets to its backend: by which device, to which neighbour, and if there is no way. */
#include "services.h"

static void other_devices(void **state)
{
	struct bench b;
	struct packet packet;
	struct xdp_result result;

	(void)state;
	open_plain(&b, NULL, NULL, 0);
	b.run.backends[1].ifindex = ELSE;
	send_plain(&b, &packet, &result);
	assert_dropped(&packet, &result, WEIR_TCP4, WEIR_BY_REDIRECT);
	can_send_to(&b, ELSE);
	send_plain(&b, &packet, &result);
	assert_int_equal(result.code, XDP_REDIRECT);
	assert_int_equal(went_to(&result.packet), 1);
	assert_true(xdp_run_counted_only(&result.counters, WEIR_REDIRECT, WEIR_TCP4, WEIR_REASONS,
					 packet.length));
	close_bench(&b);
}

/* A driver whose XDP_TX is not to be used sends by redirect to itself. */
static void no_tx(void **state)
{
	struct weir_xdp_config config = {.no_tx = 1};
	struct bench b;
	struct packet packet;
	struct xdp_result result;

	(void)state;
	open_plain(&b, &config, NULL, 0);
	can_send_to(&b, TEST_DEVICE);
	send_plain(&b, &packet, &result);
	assert_int_equal(result.code, XDP_REDIRECT);
	assert_true(xdp_run_counted_only(&result.counters, WEIR_TX, WEIR_TCP4, WEIR_REASONS,
					 packet.length));
	close_bench(&b);
}

static void assert_marked(const struct packet *packet, const struct xdp_result *result)
{
	assert_int_equal(result->code, XDP_PASS);
	assert_int_equal(result->meta.magic, WEIR_META_MAGIC);
	assert_int_equal(result->meta.ifindex, TEST_DEVICE);
	assert_int_equal(result->meta.target, ELSE);
	assert_int_equal(went_to(&result->packet), 1);
	assert_same_from(12, packet, &result->packet);
	assert_true(xdp_run_counted_only(&result->counters, WEIR_REDIRECT, WEIR_TCP4, WEIR_REASONS,
					 packet->length));
}

/* Either the device takes no XDP frames, or this one sends none. TC leaves checksums as they
 * are. */
static void by_tc(void **state)
{
	struct weir_xdp_config config = {.via_tc = 1, .partial_sums = 1};
	struct tuple tuple = tuple_to(VIP4, 80, IPPROTO_TCP);
	struct bench b;
	struct packet packet;
	struct xdp_result result;
	__be16 sum;

	(void)state;
	open_plain(&b, &(struct weir_xdp_config){}, NULL, 0);
	b.run.backends[1].ifindex = ELSE;
	b.run.backends[1].flags |= WEIR_B_VIA_TC;
	send_plain(&b, &packet, &result);
	assert_marked(&packet, &result);
	close_bench(&b);
	open_plain(&b, &config, NULL, 0);
	b.run.backends[1].ifindex = ELSE;
	tuple_packet(&tuple, &(struct packet_layout){.flags = PACKET_DATA}, &packet);
	sum = packet_partial_sum(&packet, IPPROTO_TCP);
	memcpy(packet_checksum_field(&packet, IPPROTO_TCP), &sum, 2);
	balance_run_frame(&b.run, &packet, &result);
	assert_marked(&packet, &result);
	close_bench(&b);
}

/* Longer than can be summed here. */
static void unfinished_checksum(void **state)
{
	struct weir_xdp_config config = {.partial_sums = 1, .frags = 1};
	struct tuple tuple = tuple_to(VIP4, 80, IPPROTO_TCP);
	struct bench b;
	struct packet packet;
	struct xdp_result result;
	__be16 sum;

	(void)state;
	open_plain(&b, &config, NULL, 0);
	tuple_packet(&tuple, &(struct packet_layout){.flags = PACKET_DATA, .payload = 8000},
		     &packet);
	balance_run_frame(&b.run, &packet, &result);
	assert_int_equal(result.code, XDP_TX);
	sum = packet_partial_sum(&packet, IPPROTO_TCP);
	memcpy(packet_checksum_field(&packet, IPPROTO_TCP), &sum, 2);
	balance_run_frame(&b.run, &packet, &result);
	assert_dropped(&packet, &result, WEIR_TCP4, WEIR_BY_CHECKSUM);
	close_bench(&b);
}

/* ---- next hops ---- */

static const __u8 neighbour[6] = {0x02, 0xcc, 0, 0, 0, 1};

/* Known and fresh, known and stale, not known: the kernel's tables are asked where they must be. */
static void next_hops(void **state)
{
	struct weir_backend *backend;
	struct bench b;
	struct packet packet;
	struct xdp_result result;

	(void)state;
	open_plain(&b, NULL, NULL, 0);
	backend = &b.run.backends[1];
	send_plain(&b, &packet, &result);
	assert_int_equal(went_to(&result.packet), 1);
	balance_run_stale(&b.run, 1);
	send_plain(&b, &packet, &result);
	assert_int_equal(result.code, XDP_TX);
	assert_memory_equal(result.packet.bytes, neighbour, 6);
	assert_memory_equal(backend->dest_mac, neighbour, 6);
	assert_int_equal(backend->ifindex, TEST_DEVICE);
	assert_true((__s32)(backend->fresh_until - balance_run_jiffies()) > 0);
	memset(backend->dest_mac, 0, 12);
	backend->ifindex = 0;
	backend->flags &= ~WEIR_B_REACHABLE;
	send_plain(&b, &packet, &result);
	assert_memory_equal(result.packet.bytes, neighbour, 6);
	assert_true(backend->flags & WEIR_B_REACHABLE);
	assert_true(backend->flags & WEIR_B_ALIVE);
	close_bench(&b);
}

static void no_way(void **state)
{
	struct address nobody = test_address("10.0.0.77"), nowhere = test_address("10.0.9.1"),
		       unknown = test_address("203.0.113.200");
	struct weir_backend *backend;
	struct bench b;
	struct packet packet;
	struct xdp_result result;

	(void)state;
	open_plain(&b, NULL, NULL, 0);
	backend = &b.run.backends[1];
	/* The kernel has lost sight of it: what was known is used on. */
	memcpy(backend->address, nobody.byte, 4);
	balance_run_stale(&b.run, 1);
	send_plain(&b, &packet, &result);
	assert_int_equal(result.code, XDP_TX);
	assert_int_equal(went_to(&result.packet), 1);
	assert_true((__s32)(backend->fresh_until - balance_run_jiffies()) > 0);
	backend->flags &= ~WEIR_B_REACHABLE;
	send_plain(&b, &packet, &result);
	assert_dropped(&packet, &result, WEIR_TCP4, WEIR_BY_NO_ROUTE);
	memcpy(backend->address, unknown.byte, 4);
	send_plain(&b, &packet, &result);
	assert_dropped(&packet, &result, WEIR_TCP4, WEIR_BY_NO_ROUTE);
	/* A route that says no counts even if the way was known. */
	backend->flags |= WEIR_B_REACHABLE;
	memcpy(backend->address, nowhere.byte, 4);
	balance_run_stale(&b.run, 1);
	send_plain(&b, &packet, &result);
	assert_dropped(&packet, &result, WEIR_TCP4, WEIR_BY_NO_ROUTE);
	assert_int_equal(balance_run_backend(&b.run, 1).packets, 1);
	close_bench(&b);
}

static void local_backend(void **state)
{
	struct bench b;
	struct packet packet;
	struct xdp_result result;

	(void)state;
	open_plain(&b, NULL, NULL, 0);
	b.run.backends[1].flags = WEIR_B_ALIVE | WEIR_B_LOCAL;
	send_plain(&b, &packet, &result);
	assert_passed(&packet, &result, WEIR_TCP4);
	assert_int_equal(balance_run_backend(&b.run, 1).packets, 1);
	close_bench(&b);
}

static void no_backend(void **state)
{
	struct bench b;
	struct packet packet;
	struct xdp_result result;

	(void)state;
	open_plain(&b, NULL, NULL, 0);
	b.run.backends[1].flags &= ~WEIR_B_ALIVE;
	send_plain(&b, &packet, &result);
	assert_dropped(&packet, &result, WEIR_TCP4, WEIR_BY_NO_BACKEND);
	b.run.backends[1].flags |= WEIR_B_ALIVE;
	for (__u32 i = 0; i < WEIR_MIN_SLOTS; i++)
		*balance_run_slot(&b.run, 1, i) = 0;
	send_plain(&b, &packet, &result);
	assert_dropped(&packet, &result, WEIR_TCP4, WEIR_BY_NO_BACKEND);
	assert_int_equal(balance_run_service(&b.run, 1).no_backend, 2);
	/* Owners that there are no records of. */
	for (__u32 i = 0; i < WEIR_MIN_SLOTS; i++)
		*balance_run_slot(&b.run, 1, i) = WEIR_SLOT(WEIR_MAX_INDEX, 0, 0);
	send_plain(&b, &packet, &result);
	assert_dropped(&packet, &result, WEIR_TCP4, WEIR_BY_NO_BACKEND);
	assert_int_equal(balance_run_backend(&b.run, 1).packets, 0);
	close_bench(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_devices), cmocka_unit_test(no_tx),
		cmocka_unit_test(by_tc),	 cmocka_unit_test(unfinished_checksum),
		cmocka_unit_test(next_hops),	 cmocka_unit_test(no_way),
		cmocka_unit_test(local_backend), cmocka_unit_test(no_backend),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	make_network();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
