// SPDX-License-Identifier: GPL-2.0
/* Mode nat: both directions, against a twin that computes everything anew; ports, states, races. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loader/host/clock.h"
#include "tests/balance_run.h"
#include "tests/random_rules.h"

#define VIP4	"192.0.2.1"
#define VIP6	"2001:db8::1"
#define CLIENT4 "198.51.100.7"
#define CLIENT6 "2001:db8:7::7"

/* Services and their backends in the order of their indexes. */
enum {
	TCP4 = 1, /* backends 1 and 2, at port 8080 */
	UDP4,	  /* 3 and 4, at the port asked for */
	TCP6,	  /* 5 */
	UDP6,	  /* 6, at 5353 */
	ANY4,	  /* 7, any port */
};

struct bench {
	struct balance services;
	struct balance_run run;
};

struct shape {
	struct weir_xdp_config config;
	__u32 buckets;	 /* of flows, of every service */
	__u32 nat_ports; /* buckets */
	__u16 mss;
};

static struct service *add_service(struct bench *b, const struct shape *shape, __u8 proto,
				   const char *vip, __u16 port)
{
	struct service *s = test_service(&b->services, proto, vip, port, WEIR_NAT);

	s->buckets = shape->buckets;
	s->mss = shape->mss;
	return s;
}

static void open_bench(struct bench *b, const struct shape *wanted)
{
	static const struct shape plain;
	const struct shape *shape = wanted ? wanted : &plain;
	struct address sources[] = {test_address(TEST_OWN4), test_address(TEST_OWN6)};
	struct balance_setup setup = {
		.services = &b->services,
		.config = shape->config,
		.nat_ports = shape->nat_ports,
		.nat_sources = {sources, 2},
	};

	*b = (struct bench){};
	add_service(b, shape, IPPROTO_TCP, VIP4, 80);
	test_backend(&b->services, "10.0.0.1", 8080, 1);
	test_backend(&b->services, "10.0.0.2", 8080, 1);
	add_service(b, shape, IPPROTO_UDP, VIP4, 53);
	test_backend(&b->services, "10.0.0.1", 0, 1);
	test_backend(&b->services, "10.0.0.2", 0, 1);
	add_service(b, shape, IPPROTO_TCP, VIP6, 80);
	test_backend(&b->services, "2001:db8:b::1", 8080, 1);
	add_service(b, shape, IPPROTO_UDP, VIP6, 53);
	test_backend(&b->services, "2001:db8:b::1", 5353, 1);
	add_service(b, shape, IPPROTO_TCP, "192.0.2.2", 0);
	test_backend(&b->services, "10.0.0.3", 0, 1);
	balance_run_open(&b->run, &setup);
}

static void close_bench(struct bench *b)
{
	balance_run_close(&b->run);
	balance_free(&b->services);
}

/* ---- the twin ---- */

static __u16 sum_of(const __u8 *at, __u32 bytes)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < bytes; i++)
		sum += i & 1 ? at[i] : at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void put16(__u8 *at, __u16 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static __u16 get16(const __u8 *at)
{
	return at[0] << 8 | at[1];
}

struct ends {
	struct address source, dest;
	__u16 sport, dport;
};

static __u8 proto_of(const struct packet *p, bool udp)
{
	(void)p;
	return udp ? IPPROTO_UDP : IPPROTO_TCP;
}

/* The packet with other ends, one hop further, all checksums computed anew. A checksum that is not there
 * or was wrong is left to the caller. */
static void twin_translate(struct packet *p, const struct ends *e, bool udp, const __u8 *dest_mac,
			   const __u8 *source_mac)
{
	__u8 *ip = p->bytes + p->l3, *l4 = p->bytes + p->l4;
	bool v4 = ip[0] >> 4 == 4;
	__u32 length = v4 ? 4 : 16, at = v4 ? 12 : 8;
	void *check = packet_checksum_field(p, proto_of(p, udp));
	bool unsummed = udp && !get16(check);
	__be16 value;

	memcpy(p->bytes, dest_mac, 6);
	memcpy(p->bytes + 6, source_mac, 6);
	memcpy(ip + at, e->source.byte, length);
	memcpy(ip + at + length, e->dest.byte, length);
	put16(l4, e->sport);
	put16(l4 + 2, e->dport);
	ip[v4 ? 8 : 7]--;
	if (v4) {
		put16(ip + 10, 0);
		put16(ip + 10, ~sum_of(ip, (ip[0] & 15) * 4));
	}
	value = packet_checksum(p, proto_of(p, udp));
	if (!unsummed)
		memcpy(check, &value, 2);
}

/* ---- packets ---- */

static const __u8 client_mac[6] = {2, 0xcc, 0, 0, 0, 9};
static const __u8 own_mac[6] = {2, 0xaa, 0, 0, 0, 7};

static struct packet_layout to_service(__u32 service, __u8 flags, __u16 sport)
{
	bool v6 = service == TCP6 || service == UDP6, udp = service == UDP4 || service == UDP6;

	return (struct packet_layout){
		.family = v6 ? 6 : 4,
		.proto = udp ? IPPROTO_UDP : IPPROTO_TCP,
		.flags = flags,
		.source = v6 ? CLIENT6 : CLIENT4,
		.destination = v6		 ? VIP6
			       : service == ANY4 ? "192.0.2.2"
						 : VIP4,
		.sport = sport,
		.dport = udp ? 53 : 80,
		.payload = 10,
		.fill = 0x5a,
	};
}

static void build(struct packet *p, const struct packet_layout *layout, bool from_client)
{
	packet_build(p, layout);
	if (from_client) {
		memcpy(p->bytes, own_mac, 6);
		memcpy(p->bytes + 6, client_mac, 6);
	}
}

static __u32 age_of(const struct weir_nat_flow *flow)
{
	return balance_run_now() - WEIR_LIFE_TICK(flow->life);
}

static bool is_flow(const struct weir_nat_flow *f)
{
	return WEIR_LIFE_STATE(f->life) >= WEIR_NAT_NEW;
}

/* The only live flow of this client port at the service. */
static struct weir_nat_flow *flow_of(struct bench *b, __u32 service, __u16 sport)
{
	struct weir_nat_flow *found = NULL;

	for (__u32 i = 0; i < b->run.sizes.nat_flows; i++)
		for (int w = 0; w < WEIR_NAT_WAYS; w++) {
			struct weir_nat_flow *f = &b->run.nat_flows[i].way[w];

			if (!is_flow(f) || WEIR_WHO_SERVICE(f->who) != service ||
			    WEIR_WHO_PORT(f->who) != sport)
				continue;
			assert_null(found);
			found = f;
		}
	return found;
}

static const struct backend *backend_of(const struct bench *b, __u32 index)
{
	return &b->run.services.backends[index - 1];
}

/* What the flow's packets carry behind the balancer. */
static struct ends ends_behind(const struct bench *b, const struct weir_nat_flow *f)
{
	const struct backend *to = backend_of(b, f->backend);

	return (struct ends){
		.source = test_address(to->address.family == 6 ? TEST_OWN6 : TEST_OWN4),
		.dest = to->address,
		.sport = f->nat_port,
		.dport = to->port ? to->port : WEIR_WHO_ASKED(f->who),
	};
}

static struct ends ends_before(const struct packet *to_vip)
{
	const __u8 *ip = to_vip->bytes + to_vip->l3, *l4 = to_vip->bytes + to_vip->l4;
	bool v4 = ip[0] >> 4 == 4;
	struct ends e = {.sport = get16(l4 + 2), .dport = get16(l4)};

	memcpy(e.dest.byte, ip + (v4 ? 12 : 8), v4 ? 4 : 16);
	memcpy(e.source.byte, ip + (v4 ? 16 : 24), v4 ? 4 : 16);
	return e;
}

static void assert_same(const struct packet *a, const struct packet *b)
{
	assert_int_equal(a->length, b->length);
	assert_memory_equal(a->bytes, b->bytes, a->length);
}

static void backend_mac(__u32 index, __u8 mac[6])
{
	memcpy(mac, (__u8[6]){0x02, 0xbb, 0, 0, index >> 8, index}, 6);
}

static struct weir_nat_flow *send_in(struct bench *b, __u32 service, const struct packet *p)
{
	bool udp = service == UDP4 || service == UDP6;
	struct packet expected = *p;
	struct weir_nat_flow *f;
	struct xdp_result r;
	struct ends e;
	__u8 mac[6];

	balance_run_frame(&b->run, p, &r);
	f = flow_of(b, service, get16(p->bytes + p->l4));
	assert_int_equal(r.code, XDP_TX);
	assert_non_null(f);
	e = ends_behind(b, f);
	backend_mac(f->backend, mac);
	twin_translate(&expected, &e, udp, mac, TEST_OWN_MAC);
	assert_same(&r.packet, &expected);
	return f;
}

/* A packet the other way; like `to_vip` in everything but its ends and flags. */
static void build_reply(struct packet *p, const struct bench *b, const struct weir_nat_flow *f,
			const struct packet_layout *like, __u8 flags)
{
	struct ends e = ends_behind(b, f);
	char source[ADDRESS_TEXT], dest[ADDRESS_TEXT];
	struct packet_layout layout = *like;

	address_format(&e.dest, source);
	address_format(&e.source, dest);
	layout.source = source;
	layout.destination = dest;
	layout.sport = e.dport;
	layout.dport = e.sport;
	layout.flags = flags;
	build(p, &layout, false);
}

static void send_back(struct bench *b, const struct packet *reply, const struct packet *to_vip,
		      bool udp)
{
	struct ends e = ends_before(to_vip);
	struct packet expected = *reply;
	struct xdp_result r;

	balance_run_frame(&b->run, reply, &r);
	assert_int_equal(r.code, XDP_TX);
	twin_translate(&expected, &e, udp, client_mac, own_mac);
	assert_same(&r.packet, &expected);
}

static enum weir_reason refused(struct bench *b, const struct packet *p)
{
	struct xdp_result r;

	balance_run_frame(&b->run, p, &r);
	assert_int_equal(r.code, XDP_DROP);
	for (int i = 0; i < WEIR_REASONS; i++)
		if (r.counters.reason[i].packets)
			return i;
	return WEIR_REASONS;
}

static void send_one(struct bench *b, __u32 service, __u8 flags, __u16 sport)
{
	struct packet_layout layout = to_service(service, flags, sport);
	struct packet p;

	build(&p, &layout, true);
	send_in(b, service, &p);
}

static void reply_one(struct bench *b, __u32 service, __u8 flags, __u16 sport)
{
	struct packet_layout layout = to_service(service, flags, sport);
	struct packet p, reply;

	build(&p, &layout, true);
	build_reply(&reply, b, flow_of(b, service, sport), &layout, flags);
	send_back(b, &reply, &p, service == UDP4 || service == UDP6);
}

static __u32 state_of(struct bench *b, __u32 service, __u16 sport)
{
	const struct weir_nat_flow *f = flow_of(b, service, sport);

	return f ? WEIR_LIFE_STATE(f->life) : WEIR_NAT_FREE;
}

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

static void handshake(struct bench *b, __u32 service, __u16 sport)
{
	send_one(b, service, PACKET_SYN, sport);
	reply_one(b, service, PACKET_SYNACK, sport);
	send_one(b, service, PACKET_ACK, sport);
	assert_int_equal(state_of(b, service, sport), WEIR_NAT_OPEN);
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

/* ---- states ---- */

static void test_tcp_ends_with_two_fins(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	handshake(&b, TCP4, 5000);
	send_one(&b, TCP4, PACKET_FIN | PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_OPEN);
	reply_one(&b, TCP4, PACKET_DATA, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_OPEN);
	reply_one(&b, TCP4, PACKET_FIN | PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_CLOSING);
	send_one(&b, TCP4, PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_CLOSING);
	/* And begins anew from the same port. */
	send_one(&b, TCP4, PACKET_SYN, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_NEW);
	assert_int_equal(flow_of(&b, TCP4, 5000)->nat_port, 5000);
	close_bench(&b);
}

static void test_tcp_ends_with_a_reset(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	handshake(&b, TCP6, 5000);
	reply_one(&b, TCP6, PACKET_RST | PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP6, 5000), WEIR_NAT_CLOSING);
	/* A new flow that is refused keeps its short life. */
	send_one(&b, TCP6, PACKET_SYN, 5001);
	reply_one(&b, TCP6, PACKET_RST | PACKET_ACK, 5001);
	assert_int_equal(state_of(&b, TCP6, 5001), WEIR_NAT_NEW);
	/* The client's, of an open one. */
	handshake(&b, TCP6, 5002);
	send_one(&b, TCP6, PACKET_RST, 5002);
	assert_int_equal(state_of(&b, TCP6, 5002), WEIR_NAT_CLOSING);
	close_bench(&b);
}

static void test_udp_opens_with_a_reply(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	send_one(&b, UDP6, 0, 5000);
	send_one(&b, UDP6, 0, 5000);
	assert_int_equal(state_of(&b, UDP6, 5000), WEIR_NAT_NEW);
	reply_one(&b, UDP6, 0, 5000);
	assert_int_equal(state_of(&b, UDP6, 5000), WEIR_NAT_OPEN);
	assert_int_equal(balance_run_backend(&b.run, 6).connections, 1);
	assert_int_equal(balance_run_backend(&b.run, 6).packets, 2);
	assert_int_equal(balance_run_backend(&b.run, 6).reply_packets, 1);
	close_bench(&b);
}

/* Another balancer's flow is taken up with the port it had there. A RST is not. */
static void test_middle_of_a_flow(void **state)
{
	struct packet_layout layout = to_service(TCP4, PACKET_RST, 5000);
	struct packet p;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	build(&p, &layout, true);
	assert_int_equal(refused(&b, &p), WEIR_BY_NAT_UNKNOWN);
	assert_int_equal(balance_run_service(&b.run, TCP4).nat_unknown, 1);
	send_one(&b, TCP4, PACKET_DATA, 5000);
	assert_int_equal(flow_of(&b, TCP4, 5000)->nat_port, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_NEW);
	reply_one(&b, TCP4, PACKET_DATA, 5000);
	send_one(&b, TCP4, PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_OPEN);
	send_one(&b, TCP4, PACKET_FIN | PACKET_ACK, 5001);
	assert_int_equal(state_of(&b, TCP4, 5001), WEIR_NAT_NEW);
	close_bench(&b);
}

static void check_idle(struct bench *b, __u32 service, __u16 sport, __u32 ticks)
{
	struct packet_layout layout = to_service(service, PACKET_DATA, sport);
	struct packet p, reply;
	struct xdp_result r;

	build(&p, &layout, true);
	balance_run_age(&b->run, ticks);
	reply_one(b, service, PACKET_DATA, sport);
	assert_int_equal(age_of(flow_of(b, service, sport)), 0);
	build_reply(&reply, b, flow_of(b, service, sport), &layout, 0);
	balance_run_age(&b->run, ticks + 1);
	balance_run_frame(&b->run, &reply, &r);
	assert_int_equal(r.code, layout.proto == IPPROTO_UDP ? XDP_PASS : XDP_DROP);
	assert_same(&r.packet, &reply);
}

static void test_idle_flows_are_over(void **state)
{
	struct idle_ticks idle;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	idle = service_idle_ticks(&b.run.services.services[UDP4 - 1], clock_tick_ns());
	send_one(&b, UDP4, 0, 5000);
	reply_one(&b, UDP4, 0, 5000);
	check_idle(&b, UDP4, 5000, idle.idle);
	send_one(&b, TCP4, PACKET_SYN, 5000);
	check_idle(&b, TCP4, 5000, WEIR_NAT_NEW_TICKS);
	handshake(&b, TCP4, 5001);
	check_idle(&b, TCP4, 5001, idle.idle);
	handshake(&b, TCP4, 5002);
	reply_one(&b, TCP4, PACKET_RST, 5002);
	check_idle(&b, TCP4, 5002, idle.closing);
	close_bench(&b);
}

static void test_dead_backend(void **state)
{
	struct bench b;
	__u32 dead;

	(void)state;
	open_bench(&b, NULL);
	send_one(&b, UDP4, 0, 5000);
	dead = flow_of(&b, UDP4, 5000)->backend;
	for (__u32 i = 0; i < 65536; i++)
		balance_run_move_slot(&b.run, UDP4, i, dead == 3 ? 4 : 3);
	send_one(&b, UDP4, 0, 5000);
	assert_int_equal(flow_of(&b, UDP4, 5000)->backend, dead);
	b.run.backends[dead].flags &= ~WEIR_B_ALIVE;
	send_one(&b, UDP4, 0, 5000);
	assert_int_equal(flow_of(&b, UDP4, 5000)->backend, dead == 3 ? 4 : 3);
	close_bench(&b);
}

/* While a slot moves, only TCP in mid-stream goes to the owner before. */
static void test_moving_slot(void **state)
{
	struct bench b;
	__u32 before;

	(void)state;
	open_bench(&b, NULL);
	send_one(&b, TCP4, PACKET_SYN, 5000);
	before = flow_of(&b, TCP4, 5000)->backend;
	flow_of(&b, TCP4, 5000)->life = 0;
	for (__u32 i = 0; i < 65536; i++)
		balance_run_move_slot(&b.run, TCP4, i, 3 - before);
	send_one(&b, TCP4, PACKET_DATA, 5000);
	assert_int_equal(flow_of(&b, TCP4, 5000)->backend, before);
	flow_of(&b, TCP4, 5000)->life = 0;
	send_one(&b, TCP4, PACKET_SYN, 5000);
	assert_int_equal(flow_of(&b, TCP4, 5000)->backend, 3 - before);
	close_bench(&b);
}

/* ---- refused ---- */

static void check_answered(struct bench *b, const struct packet *p, enum weir_reason reason)
{
	struct xdp_result r;

	balance_run_frame(&b->run, p, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(r.counters.reason[reason].packets, 1);
	assert_int_equal(r.counters.cell[WEIR_TX][WEIR_TCP4].packets, 1);
}

static void test_hops_and_size(void **state)
{
	struct packet_layout layout = to_service(TCP4, PACKET_DATA, 5000);
	struct packet p, reply;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	send_one(&b, TCP4, PACKET_DATA, 5000);
	layout.ttl = 1;
	build(&p, &layout, true);
	check_answered(&b, &p, WEIR_BY_TTL);
	build_reply(&reply, &b, flow_of(&b, TCP4, 5000), &layout, PACKET_DATA);
	check_answered(&b, &reply, WEIR_BY_TTL);
	layout.ttl = 0;
	layout.payload = 1500;
	build(&p, &layout, true);
	check_answered(&b, &p, WEIR_BY_TOO_BIG);
	assert_int_equal(balance_run_service(&b.run, TCP4).too_big, 1);
	close_bench(&b);
}

/* What belongs to no flow is the host's own, but for TCP that only another balancer can know. */
static void test_own_address(void **state)
{
	struct packet_layout layout = to_service(TCP4, PACKET_SYN, 5000);
	struct packet p;
	struct xdp_result r;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	layout.destination = TEST_OWN4;
	build(&p, &layout, true);
	balance_run_frame(&b.run, &p, &r);
	assert_int_equal(r.code, XDP_PASS);
	assert_same(&r.packet, &p);
	layout.flags = PACKET_DATA;
	build(&p, &layout, true);
	assert_int_equal(refused(&b, &p), WEIR_BY_NAT_UNKNOWN);
	close_bench(&b);
}

/* ---- unfinished checksums, clamped SYNs, ways back ---- */

static void set_partial(struct packet *p, __u8 proto)
{
	__be16 partial = packet_partial_sum(p, proto);

	memcpy(packet_checksum_field(p, proto), &partial, 2);
}

static void test_unfinished_checksums(void **state)
{
	struct shape shape = {.config = {.partial_sums = 1}};
	struct packet_layout layout;
	struct packet p, summed, reply;
	struct xdp_result r, right;
	struct bench b;

	(void)state;
	open_bench(&b, &shape);
	for (__u32 service = TCP4; service <= ANY4; service++) {
		layout = to_service(service, PACKET_DATA, 5000);
		build(&summed, &layout, true);
		p = summed;
		set_partial(&p, layout.proto);
		balance_run_frame(&b.run, &summed, &right);
		balance_run_frame(&b.run, &p, &r);
		assert_same(&r.packet, &right.packet);
		build_reply(&reply, &b, flow_of(&b, service, 5000), &layout, PACKET_DATA);
		balance_run_frame(&b.run, &reply, &right);
		set_partial(&reply, layout.proto);
		balance_run_frame(&b.run, &reply, &r);
		assert_same(&r.packet, &right.packet);
	}
	close_bench(&b);
}

/* TC sends it: the kernel still finishes the checksum, so it must stay unfinished. */
static void test_unfinished_checksums_by_tc(void **state)
{
	struct shape shape = {.config = {.partial_sums = 1, .via_tc = 1}};
	struct packet_layout layout;
	struct packet p;
	struct xdp_result r;
	struct bench b;
	__be16 partial;

	(void)state;
	open_bench(&b, &shape);
	for (__u32 service = TCP4; service <= ANY4; service++) {
		layout = to_service(service, PACKET_DATA, 5000);
		build(&p, &layout, true);
		set_partial(&p, layout.proto);
		balance_run_frame(&b.run, &p, &r);
		assert_int_equal(r.meta.magic, WEIR_META_MAGIC);
		partial = packet_partial_sum(&r.packet, layout.proto);
		assert_memory_equal(packet_checksum_field(&r.packet, layout.proto), &partial, 2);
	}
	close_bench(&b);
}

static __u16 mss_of(const struct packet *p)
{
	return get16(p->bytes + p->l4 + 22);
}

static void test_clamped_both_ways(void **state)
{
	struct shape shape = {.mss = 1000};
	struct packet_layout layout = to_service(TCP4, PACKET_SYN, 5000);
	struct packet p, reply;
	struct xdp_result r;
	struct bench b;
	__be16 check;

	(void)state;
	open_bench(&b, &shape);
	build(&p, &layout, true);
	balance_run_frame(&b.run, &p, &r);
	assert_int_equal(mss_of(&r.packet), 1000);
	check = packet_checksum(&r.packet, IPPROTO_TCP);
	assert_memory_equal(packet_checksum_field(&r.packet, IPPROTO_TCP), &check, 2);
	build_reply(&reply, &b, flow_of(&b, TCP4, 5000), &layout, PACKET_SYNACK);
	balance_run_frame(&b.run, &reply, &r);
	assert_int_equal(mss_of(&r.packet), 1000);
	check = packet_checksum(&r.packet, IPPROTO_TCP);
	assert_memory_equal(packet_checksum_field(&r.packet, IPPROTO_TCP), &check, 2);
	close_bench(&b);
}

/* Replies follow the client's packets, looked at once a tick. */
static void test_way_back_is_learnt(void **state)
{
	static const __u8 other[6] = {2, 0xcc, 0, 0, 0, 77};
	struct packet_layout layout = to_service(TCP4, PACKET_DATA, 5000);
	struct packet p, reply;
	struct xdp_result r;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	build(&p, &layout, true);
	send_in(&b, TCP4, &p);
	balance_run_age(&b.run, 1);
	memcpy(p.bytes + 6, other, 6);
	send_in(&b, TCP4, &p);
	build_reply(&reply, &b, flow_of(&b, TCP4, 5000), &layout, PACKET_DATA);
	balance_run_frame(&b.run, &reply, &r);
	assert_memory_equal(r.packet.bytes, other, 6);
	close_bench(&b);
}

/* ---- explain ---- */

static void check_explained(struct bench *b, const struct packet *p, __u32 backend, __u16 port,
			    bool reply)
{
	struct weir_explanation e;
	struct xdp_result told, done;
	__u64 before = balance_run_fingerprint(&b->run);

	balance_run_explain(&b->run, p, &told, &e);
	assert_true(before == balance_run_fingerprint(&b->run));
	balance_run_frame(&b->run, p, &done);
	assert_int_equal(told.code, done.code);
	assert_same(&told.packet, &done.packet);
	assert_int_equal(e.reply, reply);
	assert_int_equal(e.service, TCP4);
	if (backend) {
		assert_int_equal(e.backend, backend);
		assert_int_equal(ntohs(e.nat_port), port);
		assert_int_equal(e.placed, WEIR_PLACED_NAT);
	}
}

static void test_explained(void **state)
{
	struct packet_layout layout = to_service(TCP4, PACKET_SYN, 5000);
	struct packet p, reply;
	struct weir_nat_flow *f;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	build(&p, &layout, true);
	check_explained(&b, &p, 0, 0, false);
	f = flow_of(&b, TCP4, 5000);
	check_explained(&b, &p, f->backend, 5000, false);
	build_reply(&reply, &b, f, &layout, PACKET_SYNACK);
	check_explained(&b, &reply, f->backend, 5000, true);
	close_bench(&b);
}

/* ---- races ---- */

#define RACERS 4
#define LAPS   4000
#define PORTS  24

struct racer {
	struct bench *bench;
	__u32 number;
};

/* All send the same few flows, from two clients with the same ports, so that both records and ports
 * are fought for; now and then a flow is forgotten. */
static void *race(void *arg)
{
	static const char *const clients[] = {CLIENT6, "2001:db8:7::8"};
	struct racer *racer = arg;
	struct dice d = {racer->number + 1};
	struct balance_run *run = &racer->bench->run;

	for (int i = 0; i < LAPS; i++) {
		struct packet_layout layout =
			to_service(TCP6, PACKET_SYN, 5000 + dice_below(&d, PORTS));
		struct xdp_result r;
		struct packet p;

		layout.source = clients[dice_below(&d, 2)];
		build(&p, &layout, true);
		xdp_run_only(&run->xdp, &p, &r);
		if (dice_percent(&d, 30)) {
			struct weir_nat_flow *f =
				&run->nat_flows[dice_below(&d, run->sizes.nat_flows)]
					 .way[dice_below(&d, WEIR_NAT_WAYS)];
			__u64 life = f->life;

			if (WEIR_LIFE_STATE(life) == WEIR_NAT_NEW)
				__sync_val_compare_and_swap(&f->life, life, 0);
		}
	}
	return NULL;
}

static void check_no_doubles(struct bench *b)
{
	__u32 count = b->run.sizes.nat_flows * WEIR_NAT_WAYS;
	const struct weir_nat_flow *all = &b->run.nat_flows[0].way[0];

	for (__u32 i = 0; i < count; i++) {
		assert_int_not_equal(WEIR_LIFE_STATE(all[i].life), WEIR_NAT_CLAIMED);
		for (__u32 j = i + 1; j < count; j++) {
			if (!is_flow(&all[i]) || !is_flow(&all[j]))
				continue;
			assert_false(all[i].who == all[j].who &&
				     !memcmp(all[i].client, all[j].client, 16));
			assert_false(all[i].backend == all[j].backend &&
				     all[i].nat_port == all[j].nat_port);
		}
	}
}

/* Every flow is found by its replies. */
static void check_all_replies(struct bench *b)
{
	struct packet_layout layout = to_service(TCP6, 0, 0);
	struct xdp_result r;
	struct packet reply;

	for (__u32 i = 0; i < b->run.sizes.nat_flows * WEIR_NAT_WAYS; i++) {
		struct weir_nat_flow *f = &b->run.nat_flows[0].way[i];

		if (!is_flow(f))
			continue;
		build_reply(&reply, b, f, &layout, PACKET_SYNACK);
		balance_run_frame(&b->run, &reply, &r);
		assert_int_equal(r.code, XDP_TX);
		assert_int_equal(get16(r.packet.bytes + reply.l4 + 2), WEIR_WHO_PORT(f->who));
	}
}

static void test_races(void **state)
{
	struct shape shape = {.buckets = 8, .nat_ports = 16};
	struct racer racers[RACERS];
	pthread_t threads[RACERS];
	struct bench b;

	(void)state;
	open_bench(&b, &shape);
	for (__u32 i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){&b, i};
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < RACERS; i++)
		pthread_join(threads[i], NULL);
	check_no_doubles(&b);
	check_all_replies(&b);
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
		cmocka_unit_test(test_tcp_ends_with_two_fins),
		cmocka_unit_test(test_tcp_ends_with_a_reset),
		cmocka_unit_test(test_udp_opens_with_a_reply),
		cmocka_unit_test(test_middle_of_a_flow),
		cmocka_unit_test(test_idle_flows_are_over),
		cmocka_unit_test(test_dead_backend),
		cmocka_unit_test(test_moving_slot),
		cmocka_unit_test(test_hops_and_size),
		cmocka_unit_test(test_own_address),
		cmocka_unit_test(test_unfinished_checksums),
		cmocka_unit_test(test_unfinished_checksums_by_tc),
		cmocka_unit_test(test_clamped_both_ways),
		cmocka_unit_test(test_way_back_is_learnt),
		cmocka_unit_test(test_explained),
		cmocka_unit_test(test_races),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
