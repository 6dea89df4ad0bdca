/* SPDX-License-Identifier: GPL-2.0 */
/* Services in mode nat, and a twin that translates a packet by computing everything anew. */
#ifndef WEIR_TESTS_NAT_H
#define WEIR_TESTS_NAT_H

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loader/host/clock.h"
#include "tests/shared/balance_run.h"
#include "tests/shared/random_rules.h"

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

static inline struct service *add_service(struct bench *b, const struct shape *shape, __u8 proto,
					  const char *vip, __u16 port)
{
	struct service *s = test_service(&b->services, proto, vip, port, WEIR_NAT);

	s->buckets = shape->buckets;
	s->mss = shape->mss;
	return s;
}

static inline void open_bench(struct bench *b, const struct shape *wanted)
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

static inline void close_bench(struct bench *b)
{
	balance_run_close(&b->run);
	balance_free(&b->services);
}

/* ---- the twin ---- */

static inline __u16 sum_of(const __u8 *at, __u32 bytes)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < bytes; i++)
		sum += i & 1 ? at[i] : at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static inline void put16(__u8 *at, __u16 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static inline __u16 get16(const __u8 *at)
{
	return at[0] << 8 | at[1];
}

struct ends {
	struct address source, dest;
	__u16 sport, dport;
};

static inline __u8 proto_of(const struct packet *p, bool udp)
{
	(void)p;
	return udp ? IPPROTO_UDP : IPPROTO_TCP;
}

/* The packet with other ends, one hop further, all checksums computed anew. A checksum that is
 * not there or was wrong is left to the caller. */
static inline void twin_translate(struct packet *p, const struct ends *e, bool udp,
				  const __u8 *dest_mac, const __u8 *source_mac)
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

static inline struct packet_layout to_service(__u32 service, __u8 flags, __u16 sport)
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

static inline void build(struct packet *p, const struct packet_layout *layout, bool from_client)
{
	packet_build(p, layout);
	if (from_client) {
		memcpy(p->bytes, own_mac, 6);
		memcpy(p->bytes + 6, client_mac, 6);
	}
}

static inline __u32 age_of(const struct weir_nat_flow *flow)
{
	return balance_run_now() - WEIR_LIFE_TICK(flow->life);
}

static inline bool is_flow(const struct weir_nat_flow *f)
{
	return WEIR_LIFE_STATE(f->life) >= WEIR_NAT_NEW;
}

/* The only live flow of this client port at the service. */
static inline struct weir_nat_flow *flow_of(struct bench *b, __u32 service, __u16 sport)
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
static inline struct ends ends_behind(const struct bench *b, const struct weir_nat_flow *f)
{
	const struct backend *to = backend_of(b, f->backend);

	return (struct ends){
		.source = test_address(to->address.family == 6 ? TEST_OWN6 : TEST_OWN4),
		.dest = to->address,
		.sport = f->nat_port,
		.dport = to->port ? to->port : WEIR_WHO_ASKED(f->who),
	};
}

static inline struct ends ends_before(const struct packet *to_vip)
{
	const __u8 *ip = to_vip->bytes + to_vip->l3, *l4 = to_vip->bytes + to_vip->l4;
	bool v4 = ip[0] >> 4 == 4;
	struct ends e = {.sport = get16(l4 + 2), .dport = get16(l4)};

	e.source.family = e.dest.family = v4 ? 4 : 6;
	e.source.bits = e.dest.bits = v4 ? 32 : 128;
	memcpy(e.dest.byte, ip + (v4 ? 12 : 8), v4 ? 4 : 16);
	memcpy(e.source.byte, ip + (v4 ? 16 : 24), v4 ? 4 : 16);
	return e;
}

static inline void assert_same(const struct packet *a, const struct packet *b)
{
	assert_int_equal(a->length, b->length);
	assert_memory_equal(a->bytes, b->bytes, a->length);
}

static inline void backend_mac(__u32 index, __u8 mac[6])
{
	memcpy(mac, (__u8[6]){0x02, 0xbb, 0, 0, index >> 8, index}, 6);
}

static inline struct weir_nat_flow *send_in(struct bench *b, __u32 service, const struct packet *p)
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
static inline void build_reply(struct packet *p, const struct bench *b,
			       const struct weir_nat_flow *f, const struct packet_layout *like,
			       __u8 flags)
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

static inline void send_back(struct bench *b, const struct packet *reply,
			     const struct packet *to_vip, bool udp)
{
	struct ends e = ends_before(to_vip);
	struct packet expected = *reply;
	struct xdp_result r;

	balance_run_frame(&b->run, reply, &r);
	assert_int_equal(r.code, XDP_TX);
	twin_translate(&expected, &e, udp, client_mac, own_mac);
	assert_same(&r.packet, &expected);
}

static inline enum weir_reason refused(struct bench *b, const struct packet *p)
{
	struct xdp_result r;

	balance_run_frame(&b->run, p, &r);
	assert_int_equal(r.code, XDP_DROP);
	for (int i = 0; i < WEIR_REASONS; i++)
		if (r.counters.reason[i].packets)
			return i;
	return WEIR_REASONS;
}

static inline void send_one(struct bench *b, __u32 service, __u8 flags, __u16 sport)
{
	struct packet_layout layout = to_service(service, flags, sport);
	struct packet p;

	build(&p, &layout, true);
	send_in(b, service, &p);
}

static inline void reply_one(struct bench *b, __u32 service, __u8 flags, __u16 sport)
{
	struct packet_layout layout = to_service(service, flags, sport);
	struct packet p, reply;

	build(&p, &layout, true);
	build_reply(&reply, b, flow_of(b, service, sport), &layout, flags);
	send_back(b, &reply, &p, service == UDP4 || service == UDP6);
}

static inline __u32 state_of(struct bench *b, __u32 service, __u16 sport)
{
	const struct weir_nat_flow *f = flow_of(b, service, sport);

	return f ? WEIR_LIFE_STATE(f->life) : WEIR_NAT_FREE;
}

static inline void handshake(struct bench *b, __u32 service, __u16 sport)
{
	send_one(b, service, PACKET_SYN, sport);
	reply_one(b, service, PACKET_SYNACK, sport);
	send_one(b, service, PACKET_ACK, sport);
	assert_int_equal(state_of(b, service, sport), WEIR_NAT_OPEN);
}

#endif
