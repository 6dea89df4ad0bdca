// SPDX-License-Identifier: GPL-2.0
/* Mode dsr-ipip: every byte of what goes out, against one put together here by hand. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include <cmocka.h>

#include "tests/shared/balance_run.h"
#include "tests/shared/random_services.h"

#define VIP4	  "192.0.2.1"
#define VIP6	  "2001:db8::1"
#define BACKEND4  "10.1.2.3"
#define BACKEND6  "fd00::a:3"
#define MTU	  1500
#define OUTER_TTL 64
#define ETHERNET  14

/* An inner and an outer family, as a service with one backend. */
struct tunnel {
	struct balance services;
	struct balance_run run;
	unsigned int inner, outer; /* families */
	__u8 proto;
};

static void open_tunnel(struct tunnel *tunnel, unsigned int inner, unsigned int outer, __u8 proto,
			const char *source, const struct weir_xdp_config *config)
{
	struct balance_setup setup = {.services = &tunnel->services};
	struct service *service;

	*tunnel = (struct tunnel){.inner = inner, .outer = outer, .proto = proto};
	service =
		test_service(&tunnel->services, proto, inner == 6 ? VIP6 : VIP4, 80, WEIR_DSR_IPIP);
	if (source)
		service->source = test_address(source);
	test_backend(&tunnel->services, outer == 6 ? BACKEND6 : BACKEND4, 0, 1);
	if (config)
		setup.config = *config;
	balance_run_open(&tunnel->run, &setup);
}

static void close_tunnel(struct tunnel *tunnel)
{
	balance_run_close(&tunnel->run);
	balance_free(&tunnel->services);
}

static struct tuple tuple_of(const struct tunnel *tunnel)
{
	return (struct tuple){
		.source = test_address(tunnel->inner == 6 ? PACKET_CLIENT6 : PACKET_CLIENT),
		.destination = test_address(tunnel->inner == 6 ? VIP6 : VIP4),
		.sport = 40000,
		.dport = 80,
		.proto = tunnel->proto,
	};
}

/* ---- the model ---- */

static __u16 ip_sum(const __u8 *header, unsigned int bytes)
{
	__u32 sum = 0;

	for (unsigned int i = 0; i < bytes; i += 2)
		sum += header[i] << 8 | header[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static void put16(__u8 *at, __u16 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

/* Fewer hops; for IPv4 the sum is made anew. */
static void age_inner(__u8 *ip, unsigned int family)
{
	if (family == 6) {
		ip[7]--;
		return;
	}
	ip[8]--;
	put16(ip + 10, 0);
	put16(ip + 10, ip_sum(ip, (ip[0] & 15) * 4));
}

static __u8 class_of(const __u8 *ip, unsigned int family)
{
	return family == 6 ? ip[0] << 4 | ip[1] >> 4 : ip[1];
}

/* The host bits of the outer source that are free hold the hash's low bits. */
static void vary_source(__u8 *last_word, unsigned int bits, __u64 hash)
{
	for (unsigned int bit = 0; bit < bits; bit++)
		if (hash >> bit & 1)
			last_word[3 - bit / 8] |= 1 << bit % 8;
}

static unsigned int outer4(__u8 *at, const struct tunnel *tunnel, const struct packet *in,
			   const struct weir_backend *b, __u64 hash)
{
	memset(at, 0, 20);
	at[0] = 0x45;
	at[1] = class_of(in->bytes + in->l3, tunnel->inner);
	put16(at + 2, 20 + in->end - in->l3);
	put16(at + 6, 0x4000);
	at[8] = OUTER_TTL;
	at[9] = IPPROTO_IPIP;
	memcpy(at + 12, b->source, 4);
	memcpy(at + 16, b->address, 4);
	vary_source(at + 12, b->source_bits, hash);
	put16(at + 10, ip_sum(at, 20));
	return 20;
}

static unsigned int outer6(__u8 *at, const struct tunnel *tunnel, const struct packet *in,
			   const struct weir_backend *b, __u64 hash)
{
	__u8 class = class_of(in->bytes + in->l3, tunnel->inner);
	__u32 label = hash >> 20 & 0xfffff;

	memset(at, 0, 40);
	at[0] = 0x60 | class >> 4;
	at[1] = class << 4 | label >> 16;
	put16(at + 2, label);
	put16(at + 4, in->end - in->l3);
	at[6] = tunnel->inner == 6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	at[7] = OUTER_TTL;
	memcpy(at + 8, b->source, 16);
	memcpy(at + 24, b->address, 16);
	vary_source(at + 20, b->source_bits, hash);
	return 40;
}

static void model(const struct tunnel *tunnel, const struct packet *in, const struct tuple *tuple,
		  struct packet *out)
{
	const struct weir_backend *b = &tunnel->run.backends[1];
	__u64 hash = twin_hash(tuple, false);
	unsigned int size;

	memcpy(out->bytes, in->bytes, in->l3);
	memcpy(out->bytes, b->dest_mac, 6);
	memcpy(out->bytes + 6, b->source_mac, 6);
	put16(out->bytes + in->l3 - 2, tunnel->outer == 6 ? 0x86dd : 0x0800);
	size = tunnel->outer == 6 ? outer6(out->bytes + in->l3, tunnel, in, b, hash)
				  : outer4(out->bytes + in->l3, tunnel, in, b, hash);
	memcpy(out->bytes + in->l3 + size, in->bytes + in->l3, in->length - in->l3);
	age_inner(out->bytes + in->l3 + size, tunnel->inner);
	out->length = in->length + size;
}

static void assert_frame(const struct packet *expected, const struct packet *got)
{
	assert_int_equal(got->length, expected->length);
	for (__u32 i = 0; i < got->length; i++)
		if (got->bytes[i] != expected->bytes[i])
			fail_msg("byte %u is %02x, expected %02x", i, got->bytes[i],
				 expected->bytes[i]);
}

static void assert_tunnelled(struct tunnel *tunnel, const struct packet_layout *layout)
{
	struct tuple tuple = tuple_of(tunnel);
	struct packet packet, expected;
	struct xdp_result result;

	tuple_packet(&tuple, layout, &packet);
	model(tunnel, &packet, &tuple, &expected);
	balance_run_frame(&tunnel->run, &packet, &result);
	assert_int_equal(result.code, XDP_TX);
	assert_frame(&expected, &result.packet);
}

/* ---- shapes ---- */

static void try_shapes(struct tunnel *tunnel, const char *tags)
{
	static const __u32 payloads[] = {0, 1, 37, 1000};
	static const __u32 paddings[] = {0, 6, 46};
	static const __u8 options[] = {0, 8, 40};
	static const char *const chains[] = {NULL, "d", "hdr"};

	for (int shape = 0; shape < 4 * 3 * 3; shape++)
		assert_tunnelled(tunnel, &(struct packet_layout){
						 .flags = PACKET_DATA,
						 .tags = tags,
						 .payload = payloads[shape % 4],
						 .fill = shape,
						 .padding = paddings[shape / 4 % 3],
						 .ip_options = options[shape / 12],
						 .chain = chains[shape / 12],
					 });
}

static void try_tags(unsigned int inner, unsigned int outer, __u8 proto)
{
	struct tunnel tunnel;

	open_tunnel(&tunnel, inner, outer, proto, NULL, NULL);
	try_shapes(&tunnel, "");
	try_shapes(&tunnel, "q");
	try_shapes(&tunnel, "aq");
	close_tunnel(&tunnel);
}

static void every_byte_4in4(void **state)
{
	(void)state;
	try_tags(4, 4, IPPROTO_TCP);
	try_tags(4, 4, IPPROTO_UDP);
}

static void every_byte_6in6(void **state)
{
	(void)state;
	try_tags(6, 6, IPPROTO_TCP);
	try_tags(6, 6, IPPROTO_UDP);
}

static void every_byte_4in6(void **state)
{
	(void)state;
	try_tags(4, 6, IPPROTO_TCP);
	try_tags(4, 6, IPPROTO_UDP);
}

static const unsigned int families[][2] = {{4, 4}, {6, 6}, {4, 6}};

static void class_and_hops(void **state)
{
	struct tunnel tunnel;

	(void)state;
	for (int f = 0; f < 3; f++) {
		open_tunnel(&tunnel, families[f][0], families[f][1], IPPROTO_TCP, NULL, NULL);
		for (int value = 0; value < 256; value++) {
			assert_tunnelled(&tunnel, &(struct packet_layout){.flags = PACKET_SYN,
									  .tos = value});
			if (value > 1)
				assert_tunnelled(&tunnel,
						 &(struct packet_layout){.flags = PACKET_ACK,
									 .ttl = value,
									 .label = value << 12});
		}
		close_tunnel(&tunnel);
	}
}

/* ---- source and flow label ---- */

static void try_flows(unsigned int inner, unsigned int outer, const char *source,
		      unsigned int least)
{
	struct packet_layout layout = {.flags = PACKET_DATA};
	struct dice d = {1};
	struct tunnel tunnel;
	struct xdp_result result;
	struct packet packet, expected;
	static __u8 seen[65536];
	unsigned int distinct = 0;

	memset(seen, 0, sizeof(seen));
	open_tunnel(&tunnel, inner, outer, IPPROTO_TCP, source, NULL);
	for (int i = 0; i < 1000; i++) {
		struct tuple tuple = tuple_of(&tunnel);
		const __u8 *last;

		tuple.source = random_client(&d, inner);
		tuple.sport = dice_below(&d, 65536);
		tuple_packet(&tuple, &layout, &packet);
		model(&tunnel, &packet, &tuple, &expected);
		balance_run_frame(&tunnel.run, &packet, &result);
		assert_frame(&expected, &result.packet);
		last = result.packet.bytes + ETHERNET + (outer == 6 ? 22 : 14);
		distinct += !seen[last[0] << 8 | last[1]]++;
	}
	assert_true(distinct >= least);
	close_tunnel(&tunnel);
}

/* Prefixes are given with their host bits at 0. */
static void source_varies(void **state)
{
	(void)state;
	try_flows(4, 4, "172.31.0.0/16", 950);
	try_flows(4, 4, "172.31.4.0/24", 240);
	try_flows(4, 4, "172.31.4.7/32", 1);
	try_flows(4, 4, "172.31.4.6/31", 2);
	try_flows(4, 6, "fd00:1::/64", 950);
	try_flows(6, 6, "fd00:1::/97", 950);
	try_flows(6, 6, "fd00:1::a00/120", 240);
	try_flows(6, 6, "fd00:1::1/128", 1);
}

/* ---- what does not go ---- */

static void mtu_edges(void **state)
{
	struct tunnel tunnel;
	struct packet packet;
	struct xdp_result result;

	(void)state;
	for (int f = 0; f < 3; f++) {
		__u32 headers =
			(families[f][0] == 6 ? 40 : 20) + 8 + (families[f][1] == 6 ? 40 : 20);
		struct tuple tuple;

		open_tunnel(&tunnel, families[f][0], families[f][1], IPPROTO_UDP, NULL, NULL);
		tuple = tuple_of(&tunnel);
		for (__u32 mtu = MTU; mtu > MTU - 3; mtu--) {
			struct packet_layout layout = {.payload = mtu - headers, .padding = 60};

			tunnel.run.backends[1].mtu = mtu;
			assert_tunnelled(&tunnel, &layout);
			layout.payload++;
			tuple_packet(&tuple, &layout, &packet);
			balance_run_frame(&tunnel.run, &packet, &result);
			assert_int_equal(result.counters.reason[WEIR_BY_TOO_BIG].packets, 1);
			assert_int_equal(result.counters.reason[WEIR_BY_TOO_BIG].bytes,
					 packet.length);
		}
		assert_int_equal(balance_run_service(&tunnel.run, 1).too_big, 3);
		close_tunnel(&tunnel);
	}
}

static void no_hops_left(void **state)
{
	struct tunnel tunnel;
	struct packet packet;
	struct xdp_result result;

	(void)state;
	for (int f = 0; f < 3; f++) {
		struct packet_layout layout = {.flags = PACKET_DATA, .ttl = 1};
		struct tuple tuple;

		open_tunnel(&tunnel, families[f][0], families[f][1], IPPROTO_TCP, NULL, NULL);
		tuple = tuple_of(&tunnel);
		tuple_packet(&tuple, &layout, &packet);
		for (int ttl = 1; ttl >= 0; ttl--) {
			packet.bytes[packet.l3 + (families[f][0] == 6 ? 7 : 8)] = ttl;
			balance_run_frame(&tunnel.run, &packet, &result);
			assert_int_equal(result.counters.reason[WEIR_BY_TTL].packets, 1);
		}
		close_tunnel(&tunnel);
	}
}

/* Metadata in front of the frame takes all of the headroom away. */
static void no_headroom(void **state)
{
	struct packet_layout layout = {.flags = PACKET_DATA};
	struct tunnel tunnel;
	struct tuple tuple;
	struct packet packet;
	__u8 in[PACKET_ROOM] = {}, out[PACKET_ROOM];
	struct xdp_md ctx = {.data = 212};
	struct weir_device_counters counters;

	(void)state;
	open_tunnel(&tunnel, 6, 6, IPPROTO_TCP, NULL, NULL);
	tuple = tuple_of(&tunnel);
	tuple_packet(&tuple, &layout, &packet);
	memcpy(in + ctx.data, packet.bytes, packet.length);
	ctx.data_end = ctx.data + packet.length;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .data_size_in = ctx.data_end,
		    .data_out = out, .data_size_out = sizeof(out), .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx));
	if (bpf_prog_test_run_opts(tunnel.run.xdp.program, &opts)) {
		assert_int_equal(errno, EINVAL); /* kernels that allow 32 bytes of it */
		close_tunnel(&tunnel);
		skip();
	}
	assert_int_equal(opts.retval, XDP_DROP);
	xdp_run_repeat(&tunnel.run.xdp, &packet, 1, &counters);
	assert_int_equal(counters.reason[WEIR_BY_HEADROOM].packets, 1);
	assert_int_equal(counters.reason[WEIR_BY_HEADROOM].bytes, packet.length);
	close_tunnel(&tunnel);
}

/* ---- unfinished checksums ---- */

static void try_sums(unsigned int inner, unsigned int outer, __u8 proto)
{
	struct weir_xdp_config config = {.partial_sums = 1};
	struct packet_layout layout = {
		.flags = PACKET_DATA, .payload = 333, .fill = 7, .padding = 3};
	struct tunnel tunnel;
	struct tuple tuple;
	struct packet packet, whole, expected;
	struct xdp_result result;
	__be16 sum;

	open_tunnel(&tunnel, inner, outer, proto, NULL, &config);
	tuple = tuple_of(&tunnel);
	tuple_packet(&tuple, &layout, &whole);
	model(&tunnel, &whole, &tuple, &expected);
	packet = whole;
	sum = packet_partial_sum(&packet, proto);
	memcpy(packet_checksum_field(&packet, proto), &sum, 2);
	balance_run_frame(&tunnel.run, &packet, &result);
	assert_frame(&expected, &result.packet);
	balance_run_frame(&tunnel.run, &whole, &result);
	assert_frame(&expected, &result.packet);
	close_tunnel(&tunnel);
}

static void checksums_are_finished(void **state)
{
	(void)state;
	for (int f = 0; f < 3; f++) {
		try_sums(families[f][0], families[f][1], IPPROTO_TCP);
		try_sums(families[f][0], families[f][1], IPPROTO_UDP);
	}
}

/* UDP over IPv4 without a checksum, and a wrong one, stay as they are. */
static void other_checksums_stay(void **state)
{
	struct weir_xdp_config config = {.partial_sums = 1};
	struct packet_layout layout = {.payload = 10};
	static const __be16 sums[] = {0, 0x1234};
	struct tunnel tunnel;
	struct tuple tuple;
	struct packet packet, expected;
	struct xdp_result result;

	(void)state;
	open_tunnel(&tunnel, 4, 4, IPPROTO_UDP, NULL, &config);
	tuple = tuple_of(&tunnel);
	tuple_packet(&tuple, &layout, &packet);
	for (int i = 0; i < 2; i++) {
		memcpy(packet_checksum_field(&packet, IPPROTO_UDP), &sums[i], 2);
		model(&tunnel, &packet, &tuple, &expected);
		balance_run_frame(&tunnel.run, &packet, &result);
		assert_int_equal(result.code, XDP_TX);
		assert_frame(&expected, &result.packet);
	}
	close_tunnel(&tunnel);
}

/* A frame that goes on behind its first page. */
static void large_frames(void **state)
{
	struct weir_xdp_config config = {.frags = 1};
	struct packet_layout layout = {.flags = PACKET_DATA, .payload = 8000, .fill = 3};
	struct tunnel tunnel;

	(void)state;
	for (int f = 0; f < 3; f++) {
		open_tunnel(&tunnel, families[f][0], families[f][1], IPPROTO_TCP, NULL, &config);
		tunnel.run.backends[1].mtu = 9000;
		assert_tunnelled(&tunnel, &layout);
		close_tunnel(&tunnel);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_4in4),	  cmocka_unit_test(every_byte_6in6),
		cmocka_unit_test(every_byte_4in6),	  cmocka_unit_test(class_and_hops),
		cmocka_unit_test(source_varies),	  cmocka_unit_test(mtu_edges),
		cmocka_unit_test(no_hops_left),		  cmocka_unit_test(no_headroom),
		cmocka_unit_test(checksums_are_finished), cmocka_unit_test(other_checksums_stay),
		cmocka_unit_test(large_frames),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
