// SPDX-License-Identifier: GPL-2.0
/* Mode nat: where replies go, by which VLAN, and whether they fit there; what the explainer
 * says. */
#include <err.h>

#include "nat.h"

#define SMALL	  9
#define SMALL_MTU 1300

static const __u8 other_mac[6] = {2, 0xcc, 0, 0, 0, 77};

static void send_from(struct bench *b, __u8 flags, const __u8 *mac)
{
	struct packet_layout layout = to_service(TCP4, flags, 5000);
	struct packet p;

	build(&p, &layout, true);
	memcpy(p.bytes + 6, mac, 6);
	send_in(b, TCP4, &p);
}

static void check_way_back(struct bench *b, const __u8 *mac)
{
	struct packet_layout layout = to_service(TCP4, PACKET_DATA, 5000);
	struct packet reply;
	struct xdp_result r;

	build_reply(&reply, b, flow_of(b, TCP4, 5000), &layout, PACKET_DATA);
	balance_run_frame(&b->run, &reply, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_memory_equal(r.packet.bytes, mac, 6);
}

/* Another way is taken if packets in two ticks come by it, and none by the old one in between. */
static void test_way_back(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	send_from(&b, PACKET_DATA, client_mac);
	for (int i = 0; i < 3; i++) {
		balance_run_age(&b.run, 1);
		send_from(&b, PACKET_DATA, other_mac);
		send_from(&b, PACKET_DATA, other_mac);
		check_way_back(&b, client_mac);
		balance_run_age(&b.run, 1);
		send_from(&b, PACKET_DATA, client_mac);
	}
	for (int i = 0; i < 2; i++) {
		check_way_back(&b, client_mac);
		balance_run_age(&b.run, 1);
		send_from(&b, PACKET_DATA, other_mac);
	}
	check_way_back(&b, other_mac);
	close_bench(&b);
}

static void test_way_back_by_handshake(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	send_from(&b, PACKET_SYN, client_mac);
	reply_one(&b, TCP4, PACKET_SYNACK, 5000);
	send_from(&b, PACKET_ACK, other_mac);
	check_way_back(&b, other_mac);
	close_bench(&b);
}

/* ---- VLANs ---- */

static void set_vlans(struct packet *p, __u16 outer, __u16 inner)
{
	put16(p->bytes + 14, outer);
	if (p->l3 > 18)
		put16(p->bytes + 18, inner);
}

static void check_vlan(struct bench *b, const char *tags)
{
	struct packet_layout layout = to_service(UDP4, 0, 5000);
	struct packet p, reply;
	struct xdp_result r;

	layout.tags = tags;
	build(&p, &layout, true);
	set_vlans(&p, 0x2064, 0x0065);
	balance_run_frame(&b->run, &p, &r);
	assert_int_equal(r.code, XDP_TX);
	build_reply(&reply, b, flow_of(b, UDP4, 5000), &layout, 0);
	set_vlans(&reply, 0xa0c8, 0x00c9);
	balance_run_frame(&b->run, &reply, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(get16(r.packet.bytes + 14), 0xa064);
	if (tags[1])
		assert_int_equal(get16(r.packet.bytes + 18), 0x0065);
	assert_int_equal(get16(r.packet.bytes + reply.l4 + 2), 5000);
	layout.tags = tags + 1;
	build_reply(&reply, b, flow_of(b, UDP4, 5000), &layout, 0);
	assert_int_equal(refused(b, &reply), WEIR_BY_NO_ROUTE);
	layout.tags = tags[1] ? NULL : "qq";
	build_reply(&reply, b, flow_of(b, UDP4, 5000), &layout, 0);
	assert_int_equal(refused(b, &reply), WEIR_BY_NO_ROUTE);
}

/* A reply has the client's VLANs, or is not sent. */
static void test_vlans(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	check_vlan(&b, "q");
	close_bench(&b);
	open_bench(&b, NULL);
	check_vlan(&b, "aq");
	close_bench(&b);
}

/* ---- devices ---- */

static void command(const char *text)
{
	if (system(text))
		errx(1, "'%s' failed", text);
}

static void make_network(void)
{
	command("ip link add way index 7 type veth peer name way-far index 8");
	command("ip link add small index 9 mtu 1300 type veth peer name small-far index 10");
	command("for d in way way-far small small-far; do ip link set $d up || exit; done");
	command("ip address add 10.0.0.254/24 dev small");
	command("for i in 1 2; do ip neighbour add 10.0.0.$i lladdr 02:cc:00:00:00:01 dev small "
		"nud permanent || exit; done");
	command("sysctl -qw net.ipv4.conf.all.forwarding=1");
}

static void test_replies_fit(void **state)
{
	struct packet_layout layout = to_service(TCP4, PACKET_DATA, 5000);
	struct packet reply;
	struct xdp_result r;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	send_from(&b, PACKET_DATA, client_mac);
	flow_of(&b, TCP4, 5000)->ifindex = SMALL;
	layout.payload = SMALL_MTU - 40 - 20 + 1;
	layout.tcp_options = 20;
	build_reply(&reply, &b, flow_of(&b, TCP4, 5000), &layout, PACKET_DATA);
	balance_run_frame(&b.run, &reply, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(r.counters.reason[WEIR_BY_TOO_BIG].packets, 1);
	assert_int_equal(balance_run_service(&b.run, TCP4).too_big, 1);
	assert_int_equal(get16(r.packet.bytes + r.packet.l3 + 20 + 6), SMALL_MTU);
	layout.payload--;
	build_reply(&reply, &b, flow_of(&b, TCP4, 5000), &layout, PACKET_DATA);
	/* No device takes it in a test. */
	assert_int_equal(refused(&b, &reply), WEIR_BY_REDIRECT);
	close_bench(&b);
}

/* The way that was just looked up, which is not written down. */
static void test_explained_egress(void **state)
{
	struct packet_layout layout = to_service(TCP4, PACKET_SYN, 5000);
	struct weir_explanation e;
	struct xdp_result r;
	struct packet p;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	balance_run_stale(&b.run, 1);
	balance_run_stale(&b.run, 2);
	build(&p, &layout, true);
	balance_run_explain(&b.run, &p, &r, &e);
	assert_int_equal(e.egress, SMALL);
	assert_int_equal(b.run.backends[e.backend].ifindex, TEST_DEVICE);
	close_bench(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_way_back),
		cmocka_unit_test(test_way_back_by_handshake),
		cmocka_unit_test(test_vlans),
		cmocka_unit_test(test_replies_fit),
		cmocka_unit_test(test_explained_egress),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	make_network();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
