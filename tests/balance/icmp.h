/* SPDX-License-Identifier: GPL-2.0 */
/* ICMP messages as tests build them, and what must hold of every one that comes out. Behind
 * cmocka.h. */
#ifndef WEIR_TESTS_BALANCE_ICMP_H
#define WEIR_TESTS_BALANCE_ICMP_H

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "tests/shared/balance_run.h"
#include "weir_xdp.skel.h"

#define ICMP_HEADER 8
#define ROUTER4	    "203.0.113.77"
#define ROUTER6	    "2001:db8:99::77"

static const __u8 client_mac[6] = {0x02, 0xcc, 0, 0, 0, 9};
static const __u8 own_mac[6] = {0x02, 0xaa, 0, 0, 0, 1};

struct message {
	struct packet_layout outer; /* family, addresses, tags...; proto and payload are set here */
	__u8 type, code;
	__u32 rest;
	const void *body;
	__u32 size;
};

static inline __u8 icmp_proto(int family)
{
	return family == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
}

static inline __u32 sum_bytes(const __u8 *bytes, __u32 length, __u32 sum)
{
	for (__u32 i = 0; i < length; i++)
		sum += i % 2 ? bytes[i] : bytes[i] << 8;
	return sum;
}

static inline __u16 fold_sum(__u32 sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	return sum + (sum >> 16);
}

/* What the ICMP message in the packet sums up to with its checksum: 0xffff if that is right. A
 * sum of 0 is wrong: no number adds up to it. */
static inline __u16 icmp_sum(const struct packet *packet)
{
	const __u8 *ip = packet->bytes + packet->l3;
	__u32 size = packet->end - packet->l4, sum = 0;

	if (*ip >> 4 == 6)
		sum = sum_bytes(ip + offsetof(struct ipv6hdr, saddr), 32, IPPROTO_ICMPV6 + size);
	return fold_sum(sum_bytes(packet->bytes + packet->l4, size, sum));
}

static inline void set_macs(struct packet *packet)
{
	memcpy(packet->bytes, own_mac, 6);
	memcpy(packet->bytes + 6, client_mac, 6);
}

static inline void set_icmp_sum(struct packet *packet)
{
	__u8 *field = packet->bytes + packet->l4 + 2;
	__be16 check;

	memset(field, 0, 2);
	check = htons(~icmp_sum(packet));
	memcpy(field, &check, 2);
}

static inline void build_message(struct packet *packet, const struct message *m)
{
	struct packet_layout layout = m->outer;
	__be32 rest = htonl(m->rest);

	layout.proto = icmp_proto(layout.family);
	layout.payload = m->size;
	packet_build(packet, &layout);
	set_macs(packet);
	packet->bytes[packet->l4] = m->type;
	packet->bytes[packet->l4 + 1] = m->code;
	memcpy(packet->bytes + packet->l4 + 4, &rest, sizeof(rest));
	if (m->body)
		memcpy(packet->bytes + packet->l4 + ICMP_HEADER, m->body, m->size);
	set_icmp_sum(packet);
}

/* Finds the offsets in a frame that came out: its IP header is at `l3`. */
static inline void locate(struct packet *packet, __u32 l3)
{
	const __u8 *ip = packet->bytes + l3;
	__be16 size;

	packet->l3 = l3;
	if (*ip >> 4 == 6) {
		memcpy(&size, ip + offsetof(struct ipv6hdr, payload_len), 2);
		packet->l4 = l3 + sizeof(struct ipv6hdr);
		packet->end = packet->l4 + ntohs(size);
	} else {
		memcpy(&size, ip + offsetof(struct iphdr, tot_len), 2);
		packet->l4 = l3 + (*ip & 0xf) * 4;
		packet->end = l3 + ntohs(size);
	}
}

/* The IP header's own checksum; IPv6 has none. */
static inline bool is_header_right(const struct packet *packet)
{
	const __u8 *ip = packet->bytes + packet->l3;

	return *ip >> 4 == 6 || fold_sum(sum_bytes(ip, (*ip & 0xf) * 4, 0)) == 0xffff;
}

static inline bool are_sums_right(const struct packet *packet)
{
	return packet->end <= packet->length && is_header_right(packet) &&
	       icmp_sum(packet) == 0xffff;
}

static inline __u32 address_size(const struct packet *packet)
{
	return packet->bytes[packet->l3] >> 4 == 6 ? 16 : 4;
}

static inline const __u8 *source_of(const struct packet *packet)
{
	return packet->bytes + packet->l3 +
	       (address_size(packet) == 16 ? offsetof(struct ipv6hdr, saddr)
					   : offsetof(struct iphdr, saddr));
}

static inline const __u8 *destination_of(const struct packet *packet)
{
	return source_of(packet) + address_size(packet);
}

static inline __u8 hops_of(const struct packet *packet)
{
	return packet->bytes[packet->l3 + (address_size(packet) == 16
						   ? offsetof(struct ipv6hdr, hop_limit)
						   : offsetof(struct iphdr, ttl))];
}

/* Which backend the frame went to, by the Ethernet address it got. */
static inline __u32 backend_of(const struct xdp_result *result)
{
	return result->packet.bytes[4] << 8 | result->packet.bytes[5];
}

/* Back to where the frame came from, tags kept. */
static inline bool is_sent_back(const struct packet *in, const struct packet *out)
{
	return !memcmp(out->bytes, in->bytes + 6, 6) && !memcmp(out->bytes + 6, in->bytes, 6) &&
	       !memcmp(out->bytes + 12, in->bytes + 12, in->l3 - 12) &&
	       !memcmp(source_of(out), destination_of(in), address_size(in)) &&
	       !memcmp(destination_of(out), source_of(in), address_size(in));
}

/* Lets errors be made again, however many have been. */
static inline void forget_errors(const struct balance_run *run)
{
	static const __u8 zero[1024 * 16];

	balance_run_write(bpf_map__fd(run->xdp.skel->maps.error_bucket), 0, zero);
}

static inline void assert_passed(struct balance_run *by, const struct packet *packet)
{
	struct xdp_result r;

	balance_run_frame(by, packet, &r);
	assert_int_equal(r.code, XDP_PASS);
	assert_int_equal(r.packet.length, packet->length);
	assert_memory_equal(r.packet.bytes, packet->bytes, packet->length);
}

static inline void assert_dropped(struct balance_run *by, const struct packet *packet,
				  enum weir_reason reason)
{
	struct xdp_result r;

	balance_run_frame(by, packet, &r);
	assert_int_equal(r.code, XDP_DROP);
	assert_int_equal(r.counters.reason[reason].packets, 1);
}

/* Some bytes behind the Ethernet addresses become others; some frames end too soon. */
static inline void damage(struct packet *packet)
{
	for (long i = random() % 4; i >= 0; i--)
		packet->bytes[12 + random() % (packet->length - 12)] = random();
	if (random() % 4 == 0)
		packet->length = 14 + random() % (packet->length - 14);
}

#endif
