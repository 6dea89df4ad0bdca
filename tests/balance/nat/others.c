// SPDX-License-Identifier: GPL-2.0
/* Mode nat: what shows no ports of its own: fragments, and ICMP errors with what they quote. */
#include "nat.h"

#define ROUTER4 "203.0.113.99"
#define ROUTER6 "2001:db8:99::99"

/* ---- fragments ---- */

/* Only the IP header changes; the rest as the twin does it. */
static void twin_translate_ip(struct packet *p, const struct ends *e, const __u8 *dest_mac,
			      const __u8 *source_mac)
{
	__u8 *ip = p->bytes + p->l3;
	bool v4 = ip[0] >> 4 == 4;
	__u32 length = v4 ? 4 : 16, at = v4 ? 12 : 8;

	memcpy(p->bytes, dest_mac, 6);
	memcpy(p->bytes + 6, source_mac, 6);
	memcpy(ip + at, e->source.byte, length);
	memcpy(ip + at + length, e->dest.byte, length);
	ip[v4 ? 8 : 7]--;
	if (v4) {
		put16(ip + 10, 0);
		put16(ip + 10, ~sum_of(ip, (ip[0] & 15) * 4));
	}
}

static struct packet_layout fragment_to(__u32 service, __u16 offset)
{
	struct packet_layout layout = to_service(service, 0, 5000);

	layout.payload = 64;
	layout.fragment = offset;
	layout.more = offset < 16;
	if (layout.family == 6)
		layout.chain = "f";
	return layout;
}

static void later_fragments(struct bench *b, __u32 service)
{
	struct weir_nat_flow *f = flow_of(b, service, 5000);
	struct packet_layout layout = fragment_to(service, 8);
	struct packet p, expected, reply;
	struct ends behind = ends_behind(b, f), before;
	struct xdp_result r;
	__u8 mac[6];

	for (int i = 1; i <= 2; i++) {
		layout.fragment = 8 * i;
		layout.more = i < 2;
		build(&p, &layout, true);
		expected = p;
		backend_mac(f->backend, mac);
		twin_translate_ip(&expected, &behind, mac, TEST_OWN_MAC);
		balance_run_frame(&b->run, &p, &r);
		assert_int_equal(r.code, XDP_TX);
		assert_same(&r.packet, &expected);
		build_reply(&reply, b, f, &layout, 0);
		expected = reply;
		before = ends_before(&p);
		twin_translate_ip(&expected, &before, client_mac, own_mac);
		balance_run_frame(&b->run, &reply, &r);
		assert_int_equal(r.code, XDP_TX);
		assert_same(&r.packet, &expected);
	}
}

static void test_fragments_follow_the_first(void **state)
{
	static const __u32 of[] = {UDP4, UDP6};
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	for (int i = 0; i < 2; i++) {
		struct packet_layout layout = fragment_to(of[i], 0);
		struct packet p, reply;

		build(&p, &layout, true);
		build_reply(&reply, &b, send_in(&b, of[i], &p), &layout, 0);
		send_back(&b, &reply, &p, true);
		later_fragments(&b, of[i]);
	}
	assert_int_equal(balance_run_backend(&b.run, 6).connections, 1);
	close_bench(&b);
}

/* To the service they are dropped; to this host's own address they are the stack's. */
static void test_fragments_without_the_first(void **state)
{
	struct packet_layout layout = fragment_to(UDP4, 8);
	struct xdp_result r;
	struct packet p;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	build(&p, &layout, true);
	assert_int_equal(refused(&b, &p), WEIR_BY_FRAGMENT);
	layout.destination = TEST_OWN4;
	build(&p, &layout, true);
	balance_run_frame(&b.run, &p, &r);
	assert_int_equal(r.code, XDP_PASS);
	close_bench(&b);
}

/* ---- ICMP errors ---- */

/* An error with this much of a packet, from the IP header on. */
static void build_error(struct packet *p, const struct packet *about, __u32 quote,
			const struct address *from, const struct address *to)
{
	bool v4 = from->family == 4;
	char source[ADDRESS_TEXT], dest[ADDRESS_TEXT];
	struct packet_layout layout = {
		.family = from->family,
		.proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.source = source,
		.destination = dest,
		.payload = quote,
	};
	__u8 *icmp;

	address_format(from, source);
	address_format(to, dest);
	packet_build(p, &layout);
	icmp = p->bytes + p->l4;
	memset(icmp, 0, 8);
	icmp[0] = v4 ? 3 : 2;
	icmp[1] = v4 ? 4 : 0;
	put16(icmp + 6, 1400);
	memcpy(icmp + 8, about->bytes + about->l3, quote);
}

/* As RFC 792 and RFC 4443 say, over the bytes as they are. */
static void sum_error(struct packet *p)
{
	__u8 *icmp = p->bytes + p->l4, *ip = p->bytes + p->l3, pseudo[40] = {};
	__u32 length = p->end - p->l4, sum;

	put16(icmp + 2, 0);
	sum = sum_of(icmp, length);
	if (ip[0] >> 4 == 6) {
		memcpy(pseudo, ip + 8, 32);
		put16(pseudo + 34, length);
		pseudo[39] = IPPROTO_ICMPV6;
		sum += sum_of(pseudo, sizeof(pseudo));
		sum = (sum & 0xffff) + (sum >> 16);
	}
	put16(icmp + 2, ~sum);
}

/* What a packet was when it left for the other side, had its ends not been changed. */
static struct packet one_hop_on(const struct packet *p)
{
	struct packet on = *p;
	__u8 *ip = on.bytes + on.l3;
	bool v4 = ip[0] >> 4 == 4;

	ip[v4 ? 8 : 7]--;
	if (v4) {
		put16(ip + 10, 0);
		put16(ip + 10, ~sum_of(ip, (ip[0] & 15) * 4));
	}
	return on;
}

/* Sends the error about `sent`, and compares with the one about `original`. */
static void check_error(struct bench *b, const struct packet *sent, const struct packet *original,
			__u32 quote, const struct address *to, const struct ends *e,
			const __u8 *dest_mac, const __u8 *source_mac)
{
	struct address router = test_address(to->family == 4 ? ROUTER4 : ROUTER6);
	struct packet error, expected, on = one_hop_on(original);
	struct xdp_result r;

	build_error(&error, sent, quote, &router, to);
	expected = error;
	sum_error(&error);
	memcpy(expected.bytes + expected.l4 + 8, on.bytes + on.l3, quote);
	twin_translate_ip(&expected, e, dest_mac, source_mac);
	sum_error(&expected);
	balance_run_frame(&b->run, &error, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_same(&r.packet, &expected);
}

static void errors_both_ways(struct bench *b, __u32 service, struct packet_layout *layout)
{
	struct packet p, reply;
	struct xdp_result there, back;
	struct weir_nat_flow *f;
	struct ends behind, before;
	__u32 least, most;
	__u8 mac[6];

	build(&p, layout, true);
	balance_run_frame(&b->run, &p, &there);
	f = flow_of(b, service, layout->sport);
	assert_non_null(f);
	build_reply(&reply, b, f, layout, PACKET_DATA);
	balance_run_frame(&b->run, &reply, &back);
	assert_int_equal(back.code, XDP_TX);
	behind = ends_behind(b, f);
	before = ends_before(&p);
	backend_mac(f->backend, mac);
	least = p.l4 - p.l3 + 8;
	most = p.end - p.l3;
	for (__u32 quote = least; quote <= most; quote++) {
		/* Half a checksum of TCP is left as it is. */
		if (layout->proto == IPPROTO_TCP && quote == least + 9)
			continue;
		check_error(b, &there.packet, &p, quote, &behind.source, &before, client_mac,
			    own_mac);
		check_error(b, &back.packet, &reply, quote, &before.source, &behind, mac,
			    TEST_OWN_MAC);
	}
}

static void test_errors_are_translated(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	for (__u32 service = TCP4; service <= ANY4; service++)
		for (int i = 0; i < 4; i++) {
			struct packet_layout layout = to_service(service, PACKET_DATA, 6000 + i);

			layout.payload = 21 + i;
			layout.fill = 0x11 * i;
			if (layout.family == 4)
				layout.ip_options = i & 1 ? 8 : 0;
			else
				layout.chain = i & 1 ? "d" : NULL;
			errors_both_ways(&b, service, &layout);
		}
	assert_true(balance_run_service(&b.run, TCP4).icmp_relayed > 0);
	close_bench(&b);
}

/* UDP without a checksum stays so in the quote. */
static void test_quoted_zero_checksum(void **state)
{
	struct packet_layout layout = to_service(UDP4, 0, 6000);
	struct address own = test_address(TEST_OWN4);
	struct xdp_result there;
	struct ends before;
	struct packet p;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	build(&p, &layout, true);
	memset(packet_checksum_field(&p, IPPROTO_UDP), 0, 2);
	balance_run_frame(&b.run, &p, &there);
	before = ends_before(&p);
	check_error(&b, &there.packet, &p, p.end - p.l3, &own, &before, client_mac, own_mac);
	close_bench(&b);
}

/* Errors about what is no flow are the stack's, and so is what is no error. */
static void test_other_icmp(void **state)
{
	struct packet_layout layout = to_service(TCP4, PACKET_DATA, 6000);
	struct address own = test_address(TEST_OWN4), router = test_address(ROUTER4);
	struct xdp_result there, r;
	struct packet p, error;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	build(&p, &layout, true);
	balance_run_frame(&b.run, &p, &there);
	build_error(&error, &there.packet, 28, &router, &own);
	put16(error.bytes + error.l4 + 8 + 20, 6001);
	sum_error(&error);
	balance_run_frame(&b.run, &error, &r);
	assert_int_equal(r.code, XDP_PASS);
	assert_same(&r.packet, &error);
	build_error(&error, &there.packet, 28, &router, &own);
	error.bytes[error.l4] = 8;
	sum_error(&error);
	balance_run_frame(&b.run, &error, &r);
	assert_int_equal(r.code, XDP_PASS);
	assert_same(&r.packet, &error);
	close_bench(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fragments_follow_the_first),
		cmocka_unit_test(test_fragments_without_the_first),
		cmocka_unit_test(test_errors_are_translated),
		cmocka_unit_test(test_quoted_zero_checksum),
		cmocka_unit_test(test_other_icmp),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
