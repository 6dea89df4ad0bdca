// SPDX-License-Identifier: GPL-2.0
/* Mode nat: headers and checksums both ways, against a twin; ports and places, and when there
 * are none. */
#include "nat.h"

/* ---- headers ---- */

static void both_ways(struct bench *b, __u32 service, struct packet_layout *layout, bool unsummed)
{
	bool udp = service == UDP4 || service == UDP6;
	struct packet p, reply;

	build(&p, layout, true);
	if (unsummed)
		memset(packet_checksum_field(&p, IPPROTO_UDP), 0, 2);
	build_reply(&reply, b, send_in(b, service, &p), layout, PACKET_DATA);
	if (unsummed)
		memset(packet_checksum_field(&reply, IPPROTO_UDP), 0, 2);
	send_back(b, &reply, &p, udp);
}

static void test_headers(void **state)
{
	static const char *const tags[] = {NULL, "q", "aq"};
	struct bench b;
	__u16 sport = 10000;

	(void)state;
	open_bench(&b, NULL);
	for (__u32 service = TCP4; service <= ANY4; service++)
		for (__u32 payload = 0; payload < 40; payload++) {
			struct packet_layout layout = to_service(service, PACKET_DATA, sport++);

			layout.payload = payload;
			layout.fill = payload * 7;
			layout.tags = tags[payload % 3];
			layout.padding = payload & 4 ? 9 : 0;
			layout.tos = payload * 4;
			layout.ttl = 2 + payload;
			if (layout.family == 4)
				layout.ip_options = payload % 3 * 4;
			else
				layout.chain = payload & 1 ? "hd" : payload & 2 ? "d" : NULL;
			both_ways(&b, service, &layout, service == UDP4 && payload & 1);
		}
	close_bench(&b);
}

/* A computed checksum of 0 is sent as 0xffff: of 65536 payloads one has it. */
static void test_udp_sum_is_never_zero(void **state)
{
	struct packet_layout layout = to_service(UDP4, 0, 4000);
	unsigned int seen = 0;
	struct packet p;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	layout.payload = 2;
	for (__u32 i = 0; i < 65536; i++) {
		struct xdp_result r;
		__be16 check;

		build(&p, &layout, true);
		put16(p.bytes + p.l4 + 8, i);
		check = packet_checksum(&p, IPPROTO_UDP);
		memcpy(packet_checksum_field(&p, IPPROTO_UDP), &check, 2);
		if (!seen)
			send_in(&b, UDP4, &p);
		xdp_run_only(&b.run.xdp, &p, &r);
		check = packet_checksum(&r.packet, IPPROTO_UDP);
		assert_memory_equal(packet_checksum_field(&r.packet, IPPROTO_UDP), &check, 2);
		seen += check == 0xffff;
	}
	assert_true(seen >= 1);
	close_bench(&b);
}

/* ---- random tuples ---- */

static void random_payload(struct dice *d, struct packet *p, __u8 proto)
{
	__be16 check;

	for (__u32 i = p->l4 + (proto == IPPROTO_UDP ? 8 : 20); i < p->end; i++)
		if (proto == IPPROTO_UDP || i >= p->l4 + (p->bytes[p->l4 + 12] >> 4) * 4u)
			p->bytes[i] = dice_word(d);
	check = packet_checksum(p, proto);
	memcpy(packet_checksum_field(p, proto), &check, 2);
}

static void random_exchange(struct bench *b, struct dice *d, __u16 sport)
{
	__u32 service = 1 + dice_below(d, ANY4);
	struct packet_layout layout = to_service(service, PACKET_SYN, sport);
	struct packet p, reply;
	char client[ADDRESS_TEXT];
	__u64 high = dice_word(d), low = dice_word(d);
	struct address address = {.family = layout.family, .bits = layout.family == 6 ? 128 : 32};

	memcpy(address.byte, &high, 8);
	memcpy(address.byte + 8, &low, 8);
	if (layout.family == 4)
		memset(address.byte + 4, 0, 12);
	address.byte[0] = layout.family == 4 ? 100 : 0x20;
	address_format(&address, client);
	layout.source = client;
	if (service == ANY4)
		layout.dport = dice_word(d);
	for (int i = 0; i < 3; i++) {
		layout.payload = dice_below(d, 1200);
		layout.flags = i ? PACKET_DATA : PACKET_SYN;
		build(&p, &layout, true);
		random_payload(d, &p, layout.proto);
		build_reply(&reply, b, send_in(b, service, &p), &layout,
			    i ? PACKET_DATA : PACKET_SYNACK);
		random_payload(d, &reply, layout.proto);
		send_back(b, &reply, &p, layout.proto == IPPROTO_UDP);
	}
}

static void test_random_tuples(void **state)
{
	struct dice d = dice_from_environment();
	struct shape shape = {.buckets = 4096, .nat_ports = 8192};
	struct bench b;

	(void)state;
	open_bench(&b, &shape);
	for (__u32 i = 0; i < 3000; i++)
		random_exchange(&b, &d, 1 + i);
	close_bench(&b);
}

/* ---- ports ---- */

static void test_port_is_kept_or_changed(void **state)
{
	struct packet_layout layout = to_service(TCP6, PACKET_SYN, 5000);
	struct packet p, first, second, reply;
	struct weir_nat_flow *flows[2] = {};
	struct xdp_result r;
	struct bench b;
	int n = 0;

	(void)state;
	open_bench(&b, NULL);
	build(&first, &layout, true);
	assert_int_equal(send_in(&b, TCP6, &first)->nat_port, 5000);
	assert_int_equal(balance_run_service(&b.run, TCP6).port_changed, 0);
	layout.source = "2001:db8:7::8";
	build(&second, &layout, true);
	balance_run_frame(&b.run, &second, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(balance_run_service(&b.run, TCP6).port_changed, 1);
	for (__u32 i = 0; i < b.run.sizes.nat_flows; i++)
		for (int w = 0; w < WEIR_NAT_WAYS; w++)
			if (is_flow(&b.run.nat_flows[i].way[w]) && n < 2)
				flows[n++] = &b.run.nat_flows[i].way[w];
	assert_int_equal(n, 2);
	if (flows[0]->nat_port != 5000)
		flows[1] = flows[0];
	assert_in_range(flows[1]->nat_port, WEIR_NAT_FIRST_PORT, WEIR_NAT_LAST_PORT);
	assert_int_equal(get16(r.packet.bytes + r.packet.l4), flows[1]->nat_port);
	/* Each reply goes to its own client. */
	p = second;
	build_reply(&reply, &b, flows[1], &layout, PACKET_SYNACK);
	send_back(&b, &reply, &p, false);
	close_bench(&b);
}

/* One bucket of ports is one flow for each of its ways. */
static void test_ports_run_out(void **state)
{
	struct shape shape = {.nat_ports = 1};
	struct packet_layout layout = to_service(TCP6, PACKET_SYN, 0);
	struct packet p;
	struct bench b;

	(void)state;
	open_bench(&b, &shape);
	for (int i = 0; i < WEIR_NAT_PORT_WAYS; i++)
		send_one(&b, TCP6, PACKET_SYN, 6000 + i);
	layout.sport = 7000;
	build(&p, &layout, true);
	assert_int_equal(refused(&b, &p), WEIR_BY_NAT_FULL);
	assert_int_equal(balance_run_service(&b.run, TCP6).nat_full, 1);
	assert_null(flow_of(&b, TCP6, 7000));
	balance_run_age(&b.run, WEIR_NAT_NEW_TICKS + 1);
	send_one(&b, TCP6, PACKET_SYN, 7000);
	close_bench(&b);
}

/* A full bucket: what is open stays, what is half open is given away after its time. */
static void test_places_run_out(void **state)
{
	struct shape shape = {.buckets = 1};
	struct packet_layout layout = to_service(TCP4, PACKET_SYN, 7000);
	struct packet p;
	struct bench b;

	(void)state;
	open_bench(&b, &shape);
	handshake(&b, TCP4, 6000);
	for (int i = 1; i < WEIR_NAT_WAYS; i++)
		send_one(&b, TCP4, PACKET_SYN, 6000 + i);
	build(&p, &layout, true);
	assert_int_equal(refused(&b, &p), WEIR_BY_NAT_FULL);
	balance_run_age(&b.run, WEIR_SYN_TICKS);
	assert_int_equal(refused(&b, &p), WEIR_BY_NAT_FULL);
	balance_run_age(&b.run, 1);
	for (int i = 0; i < 60; i++) {
		build(&p, &layout, true);
		send_in(&b, TCP4, &p);
		balance_run_age(&b.run, i % 3 ? WEIR_SYN_TICKS + 1 : 0);
		if (i % 3)
			layout.sport++;
	}
	assert_int_equal(state_of(&b, TCP4, 6000), WEIR_NAT_OPEN);
	close_bench(&b);
}

/* Each flow has two buckets to be in. */
static void test_table_can_be_filled(void **state)
{
	struct shape shape = {.buckets = 1024, .nat_ports = 4096};
	__u32 room = 1024 * WEIR_NAT_WAYS, refused_in_half = 0, refused_in_all = 0;
	struct dice d = {12345};
	struct bench b;

	(void)state;
	open_bench(&b, &shape);
	for (__u32 i = 0; i < room * 9 / 10; i++) {
		struct packet_layout layout = to_service(TCP4, PACKET_SYN, 1024 + i);
		struct address client = test_address(CLIENT4);
		char source[ADDRESS_TEXT];
		struct xdp_result r;
		struct packet p;

		client.byte[0] = 100;
		client.byte[1] = dice_word(&d);
		client.byte[2] = dice_word(&d);
		address_format(&client, source);
		layout.source = source;
		build(&p, &layout, true);
		xdp_run_only(&b.run.xdp, &p, &r);
		refused_in_all += r.code == XDP_DROP;
		refused_in_half += r.code == XDP_DROP && i < room / 2;
	}
	assert_int_equal(refused_in_half, 0);
	assert_in_range(refused_in_all, 0, room / 20);
	close_bench(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_udp_sum_is_never_zero),
		cmocka_unit_test(test_random_tuples),
		cmocka_unit_test(test_port_is_kept_or_changed),
		cmocka_unit_test(test_ports_run_out),
		cmocka_unit_test(test_places_run_out),
		cmocka_unit_test(test_table_can_be_filled),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
