// SPDX-License-Identifier: GPL-2.0
/* ICMP errors that come to a VIP find the backend of the flow they quote; other messages the
 * stack. */
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "icmp.h"

#define VIP4	"192.0.2.1"
#define VIP6	"2001:db8::1"
#define NAT4	"192.0.2.2"
#define TUNNEL4 "192.0.2.3"
#define OTHER4	"192.0.2.77" /* of no service */
#define WEB	80
#define DNS	53
#define ANY	4433 /* of a VIP with a service for any port */
#define ANY4	"192.0.2.5"
#define PORTS	48
#define CHANGES 20000
#define DONT	0 /* no TCP flag */

enum {
	TCP4 = 1,
	UDP4,
	TCP6,
	UDP6,
	NATTED,
	TUNNELED,
	ANY_PORT,
};

static struct balance services;
static struct balance_run run;

static void add_service(__u8 proto, const char *vip, __u16 port, enum weir_mode mode,
			const char *prefix)
{
	char text[ADDRESS_TEXT];

	test_service(&services, proto, vip, port, mode);
	for (int i = 1; i <= 3; i++) {
		snprintf(text, sizeof(text), "%s%zu", prefix, services.service_count * 10 + i);
		test_backend(&services, text, 0, 1);
	}
}

static int setup(void **state)
{
	struct balance_setup plain = {.services = &services};

	(void)state;
	add_service(IPPROTO_TCP, VIP4, WEB, WEIR_DSR_L2, "10.0.0.");
	add_service(IPPROTO_UDP, VIP4, DNS, WEIR_DSR_L2, "10.0.0.");
	add_service(IPPROTO_TCP, VIP6, WEB, WEIR_DSR_L2, "fd00::");
	add_service(IPPROTO_UDP, VIP6, DNS, WEIR_DSR_L2, "fd00::");
	add_service(IPPROTO_TCP, NAT4, WEB, WEIR_NAT, "10.0.0.");
	add_service(IPPROTO_TCP, TUNNEL4, WEB, WEIR_DSR_IPIP, "10.0.0.");
	add_service(IPPROTO_TCP, ANY4, 0, WEIR_DSR_L2, "10.0.0.");
	balance_run_open(&run, &plain);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	balance_run_close(&run);
	balance_free(&services);
	return 0;
}

static void run_frame(const struct packet *packet, struct xdp_result *r)
{
	balance_run_frame(&run, packet, r);
}

/* ---- errors about flows ---- */

struct flow_case {
	__u8 family, proto;
	const char *vip;
	__u16 vport, cport;
	__u32 service;
};

static struct flow_case flow_at(__u32 service, __u16 cport)
{
	static const struct flow_case cases[] = {
		[TCP4] = {4, IPPROTO_TCP, VIP4, WEB, 0, TCP4},
		[UDP4] = {4, IPPROTO_UDP, VIP4, DNS, 0, UDP4},
		[TCP6] = {6, IPPROTO_TCP, VIP6, WEB, 0, TCP6},
		[UDP6] = {6, IPPROTO_UDP, VIP6, DNS, 0, UDP6},
		[NATTED] = {4, IPPROTO_TCP, NAT4, WEB, 0, NATTED},
		[TUNNELED] = {4, IPPROTO_TCP, TUNNEL4, WEB, 0, TUNNELED},
		[ANY_PORT] = {4, IPPROTO_TCP, ANY4, ANY, 0, ANY_PORT},
	};
	struct flow_case c = cases[service];

	c.cport = cport;
	return c;
}

static void client_packet(struct packet *packet, const struct flow_case *c, __u8 flags)
{
	struct packet_layout layout = {.family = c->family,
				       .proto = c->proto,
				       .flags = flags,
				       .destination = c->vip,
				       .sport = c->cport,
				       .dport = c->vport};

	packet_build(packet, &layout);
	set_macs(packet);
}

/* Where the client's own packet goes. */
static __u32 backend_of_flow(const struct flow_case *c, __u8 flags)
{
	struct packet packet;
	struct xdp_result r;

	client_packet(&packet, c, flags);
	run_frame(&packet, &r);
	assert_int_equal(r.code, XDP_TX);
	return backend_of(&r);
}

/* The backend's packet that the error is about; `shape` gives options, chain, payload. */
static void quoted_packet(struct packet *quote, const struct flow_case *c,
			  const struct packet_layout *shape)
{
	struct packet_layout layout = *shape;

	layout.family = c->family;
	layout.proto = c->proto;
	layout.flags = PACKET_DATA;
	layout.source = c->vip;
	layout.destination = c->family == 6 ? PACKET_CLIENT6 : PACKET_CLIENT;
	layout.sport = c->vport;
	layout.dport = c->cport;
	layout.bare = true;
	packet_build(quote, &layout);
}

static struct message error_about(const struct flow_case *c, const struct packet *quote, __u32 size)
{
	return (struct message){
		.outer = {.family = c->family,
			  .source = c->family == 6 ? ROUTER6 : ROUTER4,
			  .destination = c->vip},
		.type = c->family == 6 ? 2 : 3,
		.code = c->family == 6 ? 0 : 4,
		.rest = 1400,
		.body = quote->bytes,
		.size = size,
	};
}

/* It comes out as it was, but for its Ethernet addresses. */
static void assert_relayed(const struct message *m, __u32 service, __u32 backend)
{
	__u64 before = balance_run_service(&run, service).icmp_relayed;
	struct packet packet;
	struct xdp_result r;
	__u32 outer;

	build_message(&packet, m);
	run_frame(&packet, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(backend_of(&r), backend);
	outer = service == TUNNELED ? sizeof(struct iphdr) : 0;
	assert_int_equal(r.packet.length, packet.length + outer);
	memmove(r.packet.bytes + packet.l3, r.packet.bytes + packet.l3 + outer,
		packet.length - packet.l3);
	r.packet.length -= outer;
	locate(&r.packet, packet.l3);
	if (outer) /* One hop less: what it was is tested with encapsulation. */
		assert_int_equal(hops_of(&r.packet), 63);
	else
		assert_memory_equal(r.packet.bytes + 12, packet.bytes + 12, packet.length - 12);
	assert_memory_equal(r.packet.bytes + packet.l4, packet.bytes + packet.l4,
			    packet.length - packet.l4);
	assert_int_equal(balance_run_service(&run, service).icmp_relayed, before + 1);
}

static void test_errors_follow_their_flow(void **state)
{
	static const __u32 which[] = {TCP4, UDP4, TCP6, UDP6, TUNNELED, ANY_PORT};
	struct packet_layout shape = {.payload = 333};
	struct packet quote;

	(void)state;
	for (size_t i = 0; i < sizeof(which) / sizeof(*which); i++) {
		bool used[32] = {}, all = true;

		for (__u16 port = 0; port < PORTS; port++) {
			struct flow_case c = flow_at(which[i], 30000 + port * 7);
			__u32 backend = backend_of_flow(&c, PACKET_DATA), first;
			struct message m;

			quoted_packet(&quote, &c, &shape);
			m = error_about(&c, &quote, quote.length);
			assert_relayed(&m, which[i], backend);
			used[backend] = true;
			first = (which[i] - 1) * 3 + 1;
			all = used[first] && used[first + 1] && used[first + 2];
		}
		assert_true(all);
	}
}

static void test_types(void **state)
{
	static const __u8 errors4[] = {3, 11, 12}, errors6[] = {1, 2, 3, 4};
	struct packet_layout shape = {};
	struct packet quote, packet;

	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		struct flow_case c = flow_at(family == 6 ? TCP6 : TCP4, 40000);
		__u32 backend = backend_of_flow(&c, PACKET_DATA);
		const __u8 *errors = family == 6 ? errors6 : errors4;
		size_t count = family == 6 ? sizeof(errors6) : sizeof(errors4);

		quoted_packet(&quote, &c, &shape);
		for (int type = 0; type < 256; type++) {
			struct message m = error_about(&c, &quote, quote.length);

			m.type = type;
			m.code = 0;
			build_message(&packet, &m);
			if (memchr(errors, type, count))
				assert_relayed(&m, c.service, backend);
			else if (type != (family == 6 ? 128 : 8)) /* echo */
				assert_passed(&run, &packet);
		}
	}
}

static void test_shapes_of_quotes(void **state)
{
	static const struct packet_layout shapes[] = {
		{.payload = 1},	    {.ip_options = 4},
		{.ip_options = 40}, {.more = true},
		{.chain = "h"},	    {.chain = "hrd"},
		{.chain = "f"},	    {.chain = "hdf", .more = true},
		{.chain = "Da"},
	};
	struct packet quote;

	(void)state;
	for (__u32 service = TCP4; service <= UDP6; service++) {
		for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
			struct flow_case c = flow_at(service, 41000 + i);
			__u32 backend = backend_of_flow(&c, PACKET_DATA);
			struct message m;

			if (c.family == 6 ? shapes[i].ip_options : !!shapes[i].chain)
				continue;
			quoted_packet(&quote, &c, &shapes[i]);
			for (__u32 size = quote.l4 + 4; size <= quote.length; size++) {
				m = error_about(&c, &quote, size);
				m.outer.tags = size % 3 ? "q" : "aq";
				assert_relayed(&m, service, backend);
			}
			m = error_about(&c, &quote, quote.l4 + 8);
			m.outer.ip_options = 12;
			m.outer.chain = c.family == 6 ? "hd" : NULL;
			assert_relayed(&m, service, backend);
		}
	}
}

/* Too short for the ports by the IP length, whatever pads the frame. */
static void test_short_quotes(void **state)
{
	struct packet_layout shape = {};
	struct packet quote, packet;

	(void)state;
	for (__u32 service = TCP4; service <= UDP6; service++) {
		struct flow_case c = flow_at(service, 42000);

		quoted_packet(&quote, &c, &shape);
		for (__u32 size = 0; size < quote.l4 + 4; size++) {
			struct message m = error_about(&c, &quote, size);

			build_message(&packet, &m);
			assert_passed(&run, &packet);
			memcpy(packet.bytes + packet.length, quote.bytes + size,
			       quote.length - size);
			packet.length += quote.length - size;
			assert_passed(&run, &packet);
		}
	}
}

static void test_errors_about_something_else(void **state)
{
	static const struct packet_layout later = {.fragment = 100}, plain = {};
	struct packet quote, packet;
	struct message m;

	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		struct flow_case c = flow_at(family == 6 ? TCP6 : TCP4, 43000), other = c;

		quoted_packet(&quote, &c, &later);
		m = error_about(&c, &quote, quote.length);
		build_message(&packet, &m);
		assert_passed(&run, &packet);
		other.vip = family == 6 ? "2001:db8::77" : TUNNEL4;
		quoted_packet(&quote, &other, &plain);
		build_message(&packet, &m);
		assert_passed(&run, &packet);
		other = c;
		other.vport = 81;
		quoted_packet(&quote, &other, &plain);
		build_message(&packet, &m);
		assert_passed(&run, &packet);
		other = c;
		other.proto = IPPROTO_SCTP;
		quoted_packet(&quote, &other, &plain);
		build_message(&packet, &m);
		assert_passed(&run, &packet);
		quoted_packet(&quote, &c, &plain);
		quote.bytes[0] ^= 0x20; /* IPv4 in ICMPv6 and the other way round */
		build_message(&packet, &m);
		assert_passed(&run, &packet);
		quoted_packet(&quote, &c, &plain);
		m.size = quote.length;
		m.outer.more = true;
		build_message(&packet, &m);
		assert_passed(&run, &packet);
	}
	quoted_packet(&quote, &(struct flow_case){4, IPPROTO_TCP, VIP4, WEB, 43000, TCP4}, &plain);
	quote.bytes[0] = 0x44;
	m.outer = (struct packet_layout){.family = 4, .destination = VIP4};
	m.type = 3;
	build_message(&packet, &m);
	assert_passed(&run, &packet);
}

static void move_all(__u32 service, __u32 owner)
{
	for (__u32 slot = 0; slot < run.services.services[service - 1].slots; slot++)
		balance_run_move_slot(&run, service, slot, owner);
}

static void settle_all(__u32 service)
{
	for (__u32 slot = 0; slot < run.services.services[service - 1].slots; slot++)
		balance_run_settle_slot(&run, service, slot);
}

/* Some flows are old and stay, some began after the change, and some are both at first sight. */
static void test_moving_slots(void **state)
{
	struct packet_layout shape = {};
	struct packet quote;

	(void)state;
	for (__u32 service = TCP4; service <= UDP6; service++) {
		__u32 owner = service * 3, old[PORTS], moved = 0;

		for (__u16 i = 0; i < PORTS; i++) {
			struct flow_case c = flow_at(service, 44000 + i);

			old[i] = backend_of_flow(&c, PACKET_DATA);
		}
		move_all(service, owner);
		for (__u16 i = 0; i < PORTS; i++) {
			struct flow_case c = flow_at(service, 44000 + i);
			bool begins = c.proto == IPPROTO_TCP && i % 2;
			__u32 expected = begins ? owner : old[i];
			struct message m;

			if (begins)
				assert_int_equal(backend_of_flow(&c, PACKET_SYN), owner);
			quoted_packet(&quote, &c, &shape);
			m = error_about(&c, &quote, quote.l4 + 8);
			assert_relayed(&m, service, expected);
			assert_int_equal(backend_of_flow(&c, PACKET_DATA), expected);
			assert_relayed(&m, service, expected);
			moved += expected == owner;
		}
		assert_in_range(moved, 1, PORTS - 1);
		settle_all(service);
	}
}

static void test_dead_backend(void **state)
{
	struct flow_case c = flow_at(TCP4, 45000);
	struct packet_layout shape = {};
	struct packet quote, packet;
	struct message m;
	__u32 backend;

	(void)state;
	settle_all(TCP4);
	backend = backend_of_flow(&c, PACKET_DATA);
	quoted_packet(&quote, &c, &shape);
	m = error_about(&c, &quote, quote.length);
	build_message(&packet, &m);
	run.backends[backend].flags &= ~WEIR_B_ALIVE;
	assert_dropped(&run, &packet, WEIR_BY_NO_BACKEND);
	run.backends[backend].flags |= WEIR_B_ALIVE;
	assert_relayed(&m, TCP4, backend);
}

static void test_explained(void **state)
{
	struct flow_case c = flow_at(UDP6, 46000);
	struct weir_explanation told;
	struct packet_layout shape = {};
	struct packet quote, packet;
	struct xdp_result r;
	struct message m;
	__u64 before;

	(void)state;
	move_all(UDP6, UDP6 * 3);
	before = balance_run_fingerprint(&run);
	quoted_packet(&quote, &c, &shape);
	m = error_about(&c, &quote, quote.length);
	build_message(&packet, &m);
	balance_run_explain(&run, &packet, &r, &told);
	assert_int_equal(told.service, UDP6);
	assert_true(before == balance_run_fingerprint(&run));
	run_frame(&packet, &r);
	assert_int_equal(backend_of(&r), told.backend);
	settle_all(UDP6);
}

/* ---- damaged messages ---- */

/* It is handed on as it is, or dropped with its flow. */
static void check_damaged(const struct packet *in, const struct xdp_result *r)
{
	assert_true(r->code == XDP_PASS || r->code == XDP_TX || r->code == XDP_DROP);
	if (r->code == XDP_TX) {
		assert_int_equal(r->packet.bytes[0] << 8 | r->packet.bytes[1], 0x02bb);
		assert_memory_equal(r->packet.bytes + 12, in->bytes + 12, in->length - 12);
	} else if (r->code == XDP_PASS) {
		assert_memory_equal(r->packet.bytes, in->bytes, in->length);
	}
}

static void test_damaged_errors(void **state)
{
	static const struct packet_layout shapes[] = {{}, {.ip_options = 8}, {.chain = "hf"}};
	struct packet quote, packet;
	struct xdp_result r;
	int relayed = 0;

	(void)state;
	for (int i = 0; i < CHANGES; i++) {
		struct flow_case c = flow_at(TCP4 + random() % 4, 47000);
		struct message m;

		quoted_packet(&quote, &c, &shapes[c.family == 6 ? i % 2 * 2 : i % 2]);
		m = error_about(&c, &quote, quote.length);
		m.outer.tags = i % 5 ? "" : "q";
		build_message(&packet, &m);
		damage(&packet);
		if (packet.bytes[packet.l4] == 8 || packet.bytes[packet.l4] == 128)
			continue; /* became an echo request */
		run_frame(&packet, &r);
		check_damaged(&packet, &r);
		relayed += r.code == XDP_TX;
	}
	assert_in_range(relayed, CHANGES / 10, CHANGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_follow_their_flow),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_shapes_of_quotes),
		cmocka_unit_test(test_short_quotes),
		cmocka_unit_test(test_errors_about_something_else),
		cmocka_unit_test(test_moving_slots),
		cmocka_unit_test(test_dead_backend),
		cmocka_unit_test(test_explained),
		cmocka_unit_test(test_damaged_errors),
	};

	xdp_run_prepare();
	srandom(1);
	return cmocka_run_group_tests_name("balancer: ICMP errors relayed", tests, setup, teardown);
}
