// SPDX-License-Identifier: GPL-2.0
/* The balancer: which service and backend a packet is for, and how it gets there. */
#include <arpa/inet.h>
#include <err.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/shared/balance_run.h"
#include "tests/shared/random_services.h"

#define VIP4	"192.0.2.1"
#define VIP6	"2001:db8::1"
#define ELSE	9 /* ifindex of another device */
#define DSR	(1u << WEIR_DSR_L2 | 1u << WEIR_DSR_IPIP)
#define LOOKUPS 3000

struct bench {
	struct balance services;
	struct balance_run run;
};

static void open_bench(struct bench *b, const struct weir_xdp_config *config,
		       const char *const *rules, size_t count)
{
	struct table_names names = {};
	struct balance_setup setup = {.services = &b->services, .names = &names};
	struct rule_set set = {};

	if (config)
		setup.config = *config;
	if (count) {
		rules_from_text(&set, rules, count);
		setup.rules = &set;
	}
	balance_run_open(&b->run, &setup);
	rule_set_free(&set);
}

static void close_bench(struct bench *b)
{
	balance_run_close(&b->run);
	balance_free(&b->services);
}

/* One TCP service of one backend by dsr-l2. */
static void open_plain(struct bench *b, const struct weir_xdp_config *config,
		       const char *const *rules, size_t count)
{
	*b = (struct bench){};
	test_service(&b->services, IPPROTO_TCP, VIP4, 80, WEIR_DSR_L2);
	test_backend(&b->services, "10.0.0.1", 0, 1);
	open_bench(b, config, rules, count);
}

static struct tuple tuple_to(const char *destination, __u16 port, __u8 proto)
{
	struct address to = test_address(destination);

	return (struct tuple){
		.source = test_address(to.family == 6 ? PACKET_CLIENT6 : PACKET_CLIENT),
		.destination = to,
		.sport = 40000,
		.dport = port,
		.proto = proto,
	};
}

static void send_tuple(struct bench *b, const struct tuple *tuple,
		       const struct packet_layout *layout, struct packet *packet,
		       struct xdp_result *result)
{
	tuple_packet(tuple, layout, packet);
	balance_run_frame(&b->run, packet, result);
}

static void send_plain(struct bench *b, struct packet *packet, struct xdp_result *result)
{
	struct tuple tuple = tuple_to(VIP4, 80, IPPROTO_TCP);

	send_tuple(b, &tuple, &(struct packet_layout){.flags = PACKET_DATA}, packet, result);
}

/* Backend that a frame was sent to, by its Ethernet address; 0: none. */
static __u32 went_to(const struct packet *packet)
{
	const __u8 *mac = packet->bytes;

	return mac[0] == 2 && mac[1] == 0xbb ? mac[4] << 8 | mac[5] : 0;
}

static void assert_same_from(__u32 offset, const struct packet *a, const struct packet *b)
{
	assert_int_equal(a->length, b->length);
	assert_memory_equal(a->bytes + offset, b->bytes + offset, a->length - offset);
}

static void assert_passed(const struct packet *packet, const struct xdp_result *result,
			  enum weir_class class)
{
	assert_int_equal(result->code, XDP_PASS);
	assert_int_equal(result->meta.magic, 0);
	assert_same_from(0, packet, &result->packet);
	assert_true(xdp_run_counted_only(&result->counters, WEIR_PASS, class, WEIR_REASONS,
					 packet->length));
}

static enum weir_class class_of(const struct tuple *tuple)
{
	enum weir_class class = tuple->proto == IPPROTO_TCP ? WEIR_TCP4 : WEIR_UDP4;

	return tuple->source.family == 6 ? class + WEIR_TCP6 - WEIR_TCP4 : class;
}

static void assert_dropped(const struct packet *packet, const struct xdp_result *result,
			   enum weir_class class, enum weir_reason reason)
{
	assert_int_equal(result->code, XDP_DROP);
	assert_true(
		xdp_run_counted_only(&result->counters, WEIR_DROP, class, reason, packet->length));
}

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

/* ---- ways ---- */

static void can_send_to(struct bench *b, __u32 device)
{
	__u32 loopback = 1;

	balance_run_write(b->run.maps.egress_devs, device, &loopback);
}

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

static void command(const char *text)
{
	if (system(text))
		errx(1, "'%s' failed", text);
}

static void make_network(void)
{
	command("ip link add way index 7 type veth peer name way-far index 8");
	command("ip link set way up && ip link set way-far up && ip address add 10.0.0.254/24 dev way");
	command("ip neighbour add 10.0.0.1 lladdr 02:cc:00:00:00:01 dev way nud permanent");
	command("ip route add blackhole 10.0.9.0/24");
	command("sysctl -qw net.ipv4.conf.all.forwarding=1");
}

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

/* ---- explain ---- */

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
		cmocka_unit_test(services_are_found),
		cmocka_unit_test(random_tuples),
		cmocka_unit_test(shares_follow_weights),
		cmocka_unit_test(frames_stay_as_they_are),
		cmocka_unit_test(other_devices),
		cmocka_unit_test(no_tx),
		cmocka_unit_test(by_tc),
		cmocka_unit_test(unfinished_checksum),
		cmocka_unit_test(next_hops),
		cmocka_unit_test(no_way),
		cmocka_unit_test(local_backend),
		cmocka_unit_test(no_backend),
		cmocka_unit_test(backends_are_counted),
		cmocka_unit_test(rules_come_first),
		cmocka_unit_test(cut_frames),
		cmocka_unit_test(mutated_frames),
		cmocka_unit_test(explained_as_done),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	make_network();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
