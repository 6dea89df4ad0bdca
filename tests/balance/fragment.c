// SPDX-License-Identifier: GPL-2.0
/* Fragments to a VIP: all of a datagram at one backend in any order, or dropped with a reason. */
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

#include <cmocka.h>

#include "tests/shared/balance_run.h"

#define BACKENDS  8
#define FRAGMENTS 4
#define PAYLOAD	  64 /* of a fragment */
#define STACK	  -1
#define DROPPED	  -2

/* In each of them services of both families at the same port. */
enum place {
	ONE_EACH,   /* TCP 80, UDP 53 */
	TWO_OF_UDP, /* UDP 53 and 54 */
	ANY_PORT,   /* UDP */
	TUNNEL,	    /* UDP 53, dsr-ipip */
	PLACES,
};

static const char *const vips4[PLACES] = {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"};
static const char *const vips6[PLACES] = {"2001:db8::1", "2001:db8::2", "2001:db8::3",
					  "2001:db8::4"};

static struct balance_run run;

/* A datagram in pieces. */
struct pieces {
	__u8 family;
	__u8 proto;
	enum place to;
	__u16 sport, dport;
	__u32 id;
	const char *source;
	const char *tags;
};

static void add_service(struct balance *services, __u8 proto, const char *vip, __u16 port,
			enum weir_mode mode)
{
	char address[32];

	test_service(services, proto, vip, port, mode);
	for (int i = 1; i <= BACKENDS; i++) {
		snprintf(address, sizeof(address), strchr(vip, ':') ? "fd00::%d" : "10.0.0.%d", i);
		test_backend(services, address, 0, 1);
	}
}

static void add_services(struct balance *services, const char *const *vips)
{
	add_service(services, IPPROTO_TCP, vips[ONE_EACH], 80, WEIR_DSR_L2);
	add_service(services, IPPROTO_UDP, vips[ONE_EACH], 53, WEIR_DSR_L2);
	add_service(services, IPPROTO_UDP, vips[TWO_OF_UDP], 53, WEIR_DSR_L2);
	add_service(services, IPPROTO_UDP, vips[TWO_OF_UDP], 54, WEIR_DSR_L2);
	add_service(services, IPPROTO_UDP, vips[ANY_PORT], 0, WEIR_DSR_L2);
	add_service(services, IPPROTO_UDP, vips[TUNNEL], 53, WEIR_DSR_IPIP);
}

static void forget_datagrams(void)
{
	static const struct weir_fragment_bucket empty;

	for (__u32 i = 0; i < WEIR_FRAGMENT_BUCKETS; i++)
		balance_run_write(run.maps.fragments, i, &empty);
}

static int setup(void **state)
{
	struct balance services = {};
	struct balance_setup how = {.services = &services};

	(void)state;
	add_services(&services, vips4);
	add_services(&services, vips6);
	balance_run_open(&run, &how);
	balance_free(&services);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	balance_run_close(&run);
	return 0;
}

static int each(void **state)
{
	(void)state;
	forget_datagrams();
	return 0;
}

/* ---- packets ---- */

static void set_id(struct packet *packet, const struct pieces *d)
{
	__be32 id6 = htonl(d->id);
	__be16 id4 = htons(d->id);

	if (d->family == 4)
		memcpy(packet->bytes + packet->l3 + 4, &id4, sizeof(id4));
	else
		memcpy(packet->bytes + packet->l4 - 4, &id6, sizeof(id6));
}

/* Piece 0 has the ports; all but the last of `count` say that there is more. */
static void build(struct packet *packet, const struct pieces *d, int piece, int count)
{
	__u8 other = d->family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	struct packet_layout layout = {
		.family = d->family,
		.proto = d->proto,
		.flags = PACKET_DATA,
		.tcp_options = -1,
		.source = d->source,
		.destination = (d->family == 4 ? vips4 : vips6)[d->to],
		.sport = d->sport,
		.dport = d->dport,
		.payload = PAYLOAD,
		.fragment = piece * PAYLOAD / 8,
		.more = piece + 1 < count,
		.tags = d->tags,
	};

	if (!piece) {
		packet_build(packet, &layout);
		if (count > 1)
			set_id(packet, d);
		return;
	}
	/* A later one begins with data: with the protocol's header it would show ports. */
	layout.proto = other;
	layout.fill = 0x55;
	packet_build(packet, &layout);
	packet->bytes[d->family == 4 ? packet->l3 + 9 : packet->l3 + 40] = d->proto;
	set_id(packet, d);
}

/* Number of the backend among its service's, 0.., or STACK, DROPPED. */
static int outcome_of(const struct xdp_result *r)
{
	switch (r->code) {
	case XDP_TX: return (r->packet.bytes[4] << 8 | r->packet.bytes[5]) - 1;
	case XDP_PASS: return STACK;
	default:
		assert_int_equal(r->code, XDP_DROP);
		assert_int_equal(r->counters.reason[WEIR_BY_FRAGMENT].packets, 1);
		return DROPPED;
	}
}

static int send_piece(const struct pieces *d, int piece, int count)
{
	struct xdp_result r;
	struct packet packet;

	build(&packet, d, piece, count);
	balance_run_frame(&run, &packet, &r);
	return outcome_of(&r);
}

static int send_whole(const struct pieces *d)
{
	return send_piece(d, 0, 1);
}

static struct pieces datagram(__u8 family, __u8 proto, enum place to, __u16 sport, __u32 id)
{
	return (struct pieces){.family = family,
			       .proto = proto,
			       .to = to,
			       .sport = sport,
			       .dport = proto == IPPROTO_TCP ? 80 : 53,
			       .id = id};
}

/* ---- orders ---- */

/* Pieces in this order; `ports` are needed to place one. */
static void check_order(const struct pieces *d, const int *order, int count, bool ports)
{
	int whole = send_whole(d), all = DROPPED;

	assert_true(whole >= 0);
	for (int i = 0; i < count; i++) {
		int got = send_piece(d, order[i], count);

		if (all == DROPPED && order[i] && ports) {
			assert_int_equal(got, DROPPED);
			continue;
		}
		if (all == DROPPED && !order[i])
			assert_int_equal(got, whole);
		else if (all != DROPPED)
			assert_int_equal(got, all);
		assert_true(got >= 0);
		all = got;
	}
}

static void swap(int *a, int *b)
{
	int was = *a;

	*a = *b;
	*b = was;
}

static void permute(struct pieces *d, int *order, int from, int count, bool ports)
{
	if (from == count) {
		d->id++;
		d->sport++;
		check_order(d, order, count, ports);
		return;
	}
	for (int i = from; i < count; i++) {
		swap(&order[from], &order[i]);
		permute(d, order, from + 1, count, ports);
		swap(&order[from], &order[i]);
	}
}

static void check_orders(__u8 family, __u8 proto, enum place to, bool ports)
{
	static const char *const tags[] = {"", "q", "aq"};

	/* IPv6's identifications are those of a pair of addresses, whatever the protocol. */
	forget_datagrams();
	for (int count = 2; count <= FRAGMENTS; count++) {
		for (int i = 0; i < 3; i++) {
			struct pieces d = datagram(family, proto, to, 1000, count * 1000 + i * 100);
			int order[FRAGMENTS] = {0, 1, 2, 3};

			d.tags = tags[i];
			permute(&d, order, 0, count, ports);
		}
	}
}

static void test_all_orders(void **state)
{
	(void)state;
	for (__u8 family = 4; family <= 6; family += 2) {
		check_orders(family, IPPROTO_TCP, ONE_EACH, true);
		check_orders(family, IPPROTO_UDP, ONE_EACH, false);
		check_orders(family, IPPROTO_UDP, TWO_OF_UDP, true);
		check_orders(family, IPPROTO_UDP, ANY_PORT, false);
	}
}

/* What comes before the first is placed by addresses: all datagrams of a source alike. */
static void test_guesses_agree(void **state)
{
	(void)state;
	for (__u8 family = 4; family <= 6; family += 2) {
		struct pieces d = datagram(family, IPPROTO_UDP, ONE_EACH, 1, 1);
		int all = send_piece(&d, 1, 2);

		for (d.id = 2; d.id < 20; d.id++)
			assert_int_equal(send_piece(&d, 1, 2), all);
	}
}

/* ---- whose fragment ---- */

static void count_dropped(const struct pieces *d, __u32 service, __u32 counted)
{
	__u64 before = balance_run_service(&run, service).fragments;

	assert_int_equal(send_piece(d, 1, 2), DROPPED);
	assert_int_equal(balance_run_service(&run, service).fragments - before, counted);
}

static void test_unknown_ones_are_counted(void **state)
{
	struct pieces tcp = datagram(4, IPPROTO_TCP, ONE_EACH, 1, 1);
	struct pieces several = datagram(4, IPPROTO_UDP, TWO_OF_UDP, 1, 1);

	(void)state;
	count_dropped(&tcp, 1, 1);
	count_dropped(&several, 3, 0);
}

/* An identification that is used again: the newest first fragment decides. */
static void test_id_is_used_again(void **state)
{
	(void)state;
	for (__u8 family = 4; family <= 6; family += 2)
		for (__u16 sport = 1; sport < 50; sport++) {
			struct pieces tcp = datagram(family, IPPROTO_TCP, ONE_EACH, sport, 77);
			struct pieces udp = datagram(family, IPPROTO_UDP, TWO_OF_UDP, sport, 77);

			assert_int_equal(send_piece(&tcp, 0, 2), send_whole(&tcp));
			assert_int_equal(send_piece(&tcp, 1, 2), send_whole(&tcp));
			assert_int_equal(send_piece(&udp, 0, 2), send_whole(&udp));
			assert_int_equal(send_piece(&udp, 1, 2), send_whole(&udp));
		}
}

/* Source, destination, identification and, in IPv4, protocol: any other is another datagram. */
static void test_what_makes_a_datagram(void **state)
{
	(void)state;
	for (__u8 family = 4; family <= 6; family += 2) {
		struct pieces tcp = datagram(family, IPPROTO_TCP, ONE_EACH, 1, 5), other;

		assert_true(send_piece(&tcp, 0, 2) >= 0);
		assert_true(send_piece(&tcp, 1, 2) >= 0);
		other = tcp;
		other.id = 6;
		assert_int_equal(send_piece(&other, 1, 2), DROPPED);
		other = tcp;
		other.source = family == 4 ? "198.51.100.8" : "2001:db8:7::8";
		assert_int_equal(send_piece(&other, 1, 2), DROPPED);
		other = datagram(family, IPPROTO_UDP, TWO_OF_UDP, 1, 5);
		assert_int_equal(send_piece(&other, 1, 2), DROPPED);
		if (family == 6)
			continue;
		other = datagram(4, IPPROTO_UDP, ONE_EACH, 1, 5);
		assert_int_equal(send_piece(&other, 0, 2), send_whole(&other));
		assert_int_equal(send_piece(&tcp, 1, 2), send_whole(&tcp));
	}
}

/* Every remembered datagram gets the target of another. */
static void confuse_targets(__u32 target)
{
	for (__u32 key = 0; key < WEIR_FRAGMENT_BUCKETS; key++) {
		struct weir_fragment_bucket bucket;

		balance_run_read(run.maps.fragments, key, &bucket);
		for (int i = 0; i < WEIR_FRAGMENT_WAYS; i++)
			if (bucket.way[i])
				bucket.way[i] = (bucket.way[i] & ~(__u64)WEIR_MAX_INDEX) | target;
		balance_run_write(run.maps.fragments, key, &bucket);
	}
}

/* What looks like the same datagram may be another address's. */
static void test_target_of_another_address(void **state)
{
	struct pieces tcp = datagram(4, IPPROTO_TCP, ONE_EACH, 1, 5);

	(void)state;
	assert_true(send_piece(&tcp, 0, 2) >= 0);
	confuse_targets(BACKENDS + 1); /* of UDP here */
	assert_int_equal(send_piece(&tcp, 1, 2), BACKENDS);
	confuse_targets(2 * BACKENDS + 1);
	assert_int_equal(send_piece(&tcp, 1, 2), DROPPED);
}

static void test_not_for_a_service(void **state)
{
	(void)state;
	for (__u8 family = 4; family <= 6; family += 2) {
		__u8 icmp = family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
		struct pieces d = datagram(family, IPPROTO_UDP, ONE_EACH, 1, 9);

		/* The port of no service, known by the first. */
		d.dport = 999;
		assert_int_equal(send_whole(&d), STACK);
		assert_int_equal(send_piece(&d, 0, 3), STACK);
		assert_int_equal(send_piece(&d, 1, 3), STACK);
		assert_int_equal(send_piece(&d, 2, 3), STACK);
		/* Another protocol than the VIP's services, or one without ports. */
		d = datagram(family, IPPROTO_TCP, ANY_PORT, 1, 9);
		assert_int_equal(send_piece(&d, 1, 2), STACK);
		assert_int_equal(send_piece(&d, 0, 2), STACK);
		d = datagram(family, icmp, ONE_EACH, 0, 9);
		assert_int_equal(send_piece(&d, 1, 2), STACK);
		d = datagram(family, IPPROTO_SCTP, ONE_EACH, 0, 9);
		assert_int_equal(send_piece(&d, 0, 2), STACK);
		assert_int_equal(send_piece(&d, 1, 2), STACK);
	}
}

/* IPv6: offset 0 and no more to come; and extension headers before and behind. */
static void test_atomic_and_chains(void **state)
{
	struct packet_layout layout = {.family = 6,
				       .proto = IPPROTO_UDP,
				       .destination = vips6[TWO_OF_UDP],
				       .sport = 4,
				       .dport = 53,
				       .chain = "f",
				       .payload = PAYLOAD};
	struct pieces d = datagram(6, IPPROTO_UDP, TWO_OF_UDP, 4, 0);
	static const char *const chains[] = {"hf", "hrf", "hrdf"};
	int whole = send_whole(&d);
	struct packet packet;
	struct xdp_result r;

	(void)state;
	packet_build(&packet, &layout);
	balance_run_frame(&run, &packet, &r);
	assert_int_equal(outcome_of(&r), whole);
	assert_int_equal(send_piece(&d, 1, 2), DROPPED);
	for (int i = 0; i < 3; i++) {
		forget_datagrams();
		layout.chain = chains[i];
		layout.more = true;
		packet_build(&packet, &layout);
		balance_run_frame(&run, &packet, &r);
		assert_int_equal(outcome_of(&r), whole);
		assert_int_equal(send_piece(&d, 1, 2), whole);
	}
	/* Behind the fragment header of the later one stands the number of what only the first
	 * has. */
	forget_datagrams();
	layout.chain = "fd";
	packet_build(&packet, &layout);
	balance_run_frame(&run, &packet, &r);
	assert_int_equal(outcome_of(&r), whole);
	d.proto = IPPROTO_DSTOPTS;
	assert_int_equal(send_piece(&d, 1, 2), whole);
	d.id = 1;
	assert_int_equal(send_piece(&d, 1, 2), DROPPED);
}

/* ---- memory ---- */

static void test_expiry(void **state)
{
	struct pieces d = datagram(4, IPPROTO_TCP, ONE_EACH, 1, 1);
	int whole = send_whole(&d);

	(void)state;
	assert_int_equal(send_piece(&d, 0, 3), whole);
	balance_run_age(&run, WEIR_FRAGMENT_TICKS);
	assert_int_equal(send_piece(&d, 1, 3), whole);
	balance_run_age(&run, 1);
	assert_int_equal(send_piece(&d, 1, 3), DROPPED);
	assert_int_equal(send_piece(&d, 0, 3), whole);
	assert_int_equal(send_piece(&d, 1, 3), whole);
}

/* Many more than there is room for, in rounds of a tick each: the newest rounds are known. */
static void test_full(void **state)
{
	const int in_round = WEIR_FRAGMENT_BUCKETS / 4, rounds = 2 * WEIR_FRAGMENT_TICKS;
	struct pieces d = datagram(4, IPPROTO_TCP, ONE_EACH, 1, 0);
	int whole = send_whole(&d), old = 0, new = 0;

	(void)state;
	for (int r = 0; r < rounds / 2; r++) {
		balance_run_age(&run, 1);
		for (int i = 0; i < in_round; i++, d.id++)
			assert_int_equal(send_piece(&d, 0, 2), whole);
	}
	/* Sixteen hundred of one tick in a table of a thousand: each bucket holds some of its
	 * last. */
	balance_run_age(&run, 1);
	for (int i = 0; i < 1600; i++, d.id++)
		assert_int_equal(send_piece(&d, 0, 2), whole);
	for (int i = 0; i < 100; i++) {
		d.id--;
		new += send_piece(&d, 1, 2) == whole;
	}
	d.id = 0;
	for (int i = 0; i < in_round * 8; i++, d.id++)
		old += send_piece(&d, 1, 2) == whole;
	assert_true(new > 90);
	assert_true(old < 20);
}

static void test_moving_slot(void **state)
{
	(void)state;
	for (__u16 sport = 1; sport < 20; sport++) {
		struct pieces d = datagram(4, IPPROTO_UDP, ONE_EACH, sport, sport);
		int first = send_piece(&d, 0, 3);
		struct weir_explanation e;
		struct packet packet;
		struct xdp_result r;

		build(&packet, &d, 0, 1);
		balance_run_explain(&run, &packet, &r, &e);
		balance_run_move_slot(&run, e.service, e.slot - 1, e.owner == 9 ? 10 : e.owner - 1);
		assert_int_equal(send_piece(&d, 1, 3), first);
		assert_int_equal(send_piece(&d, 2, 3), first);
		balance_run_settle_slot(&run, e.service, e.slot - 1);
		assert_int_equal(send_piece(&d, 1, 3), first);
	}
}

/* ---- ways ---- */

static void test_tunnel(void **state)
{
	(void)state;
	for (__u8 family = 4; family <= 6; family += 2) {
		struct pieces d = datagram(family, IPPROTO_UDP, TUNNEL, 7, 8);
		__u32 outer = family == 4 ? 20 : 40;
		struct packet packet;
		struct xdp_result r;
		int first = send_piece(&d, 0, 2);
		__u64 too_big;

		assert_int_equal(first, send_whole(&d));
		build(&packet, &d, 1, 2);
		balance_run_frame(&run, &packet, &r);
		assert_int_equal(outcome_of(&r), first);
		assert_int_equal(r.packet.length, packet.length + outer);
		/* As it is, but for its hop limit and IPv4's checksum. */
		assert_memory_equal(r.packet.bytes + packet.l4 + outer, packet.bytes + packet.l4,
				    packet.length - packet.l4);
		run.backends[first + 1].mtu = PAYLOAD;
		balance_run_frame(&run, &packet, &r);
		too_big = r.counters.reason[WEIR_BY_TOO_BIG].packets;
		run.backends[first + 1].mtu = 1500;
		assert_int_equal(too_big, 1);
	}
}

static void test_explained(void **state)
{
	(void)state;
	for (int count = 0; count < 40; count++) {
		struct pieces d = datagram(count % 2 ? 4 : 6, count % 3 ? IPPROTO_UDP : IPPROTO_TCP,
					   count % 4 / 2 && count % 3 ? TWO_OF_UDP : ONE_EACH,
					   count, 500 + count / 2);
		__u64 before = balance_run_fingerprint(&run);
		int piece = count / 2 % 3, told;
		struct weir_explanation e;
		struct packet packet;
		struct xdp_result r;

		build(&packet, &d, piece, 3);
		balance_run_explain(&run, &packet, &r, &e);
		assert_true(before == balance_run_fingerprint(&run));
		told = r.code == XDP_DROP ? DROPPED : (int)e.backend - 1;
		assert_int_equal(send_piece(&d, piece, 3), told);
		if (told == DROPPED)
			continue;
		balance_run_explain(&run, &packet, &r, &e);
		assert_int_equal(e.backend - 1, told);
		if (piece)
			assert_int_equal(e.placed, WEIR_PLACED_FRAGMENT);
	}
}

#define TEST(function) cmocka_unit_test_setup(function, each)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_orders),
		TEST(test_guesses_agree),
		TEST(test_unknown_ones_are_counted),
		TEST(test_id_is_used_again),
		TEST(test_what_makes_a_datagram),
		TEST(test_target_of_another_address),
		TEST(test_not_for_a_service),
		TEST(test_atomic_and_chains),
		TEST(test_expiry),
		TEST(test_full),
		TEST(test_moving_slot),
		TEST(test_tunnel),
		TEST(test_explained),
	};

	xdp_run_prepare();
	return cmocka_run_group_tests_name("balancer: fragments", tests, setup, teardown);
}
