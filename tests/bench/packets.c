// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stddef.h>
#include <string.h>

#include "packets.h"

#define TCP_FLAGS_OFFSET 13

static const __u8 timestamps[12] = {1, 1, 8, 10, 0, 0, 0x10, 0, 0, 0, 0x20, 0};
static const __u8 syn_options[20] = {2,	   4, 5, 0xb4, 4, 2, 8, 10, 0, 0,
				     0x10, 0, 0, 0,    0, 0, 1, 3,  3, 7};

static void append(struct packet *packet, const void *bytes, size_t length)
{
	memcpy(packet->bytes + packet->length, bytes, length);
	packet->length += length;
}

static __u32 sum_words(const __u8 *bytes, __u32 length, __u32 sum)
{
	for (__u32 i = 0; i < length; i++)
		sum += i % 2 ? bytes[i] : bytes[i] << 8;
	return sum;
}

static __be16 finish_sum(__u32 sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	sum += sum >> 16;
	return htons(~sum);
}

static int is_ip6(const struct packet *packet)
{
	return packet->bytes[ETH_HLEN] >> 4 == 6;
}

static void set_ip_checksum(struct packet *packet)
{
	__u8 *ip = packet->bytes + ETH_HLEN;
	__be16 check = 0;

	memcpy(ip + offsetof(struct iphdr, check), &check, sizeof(check));
	check = finish_sum(sum_words(ip, sizeof(struct iphdr), 0));
	memcpy(ip + offsetof(struct iphdr, check), &check, sizeof(check));
}

static void set_checksums(struct packet *packet)
{
	__u8 *ip = packet->bytes + ETH_HLEN;
	__u32 header = is_ip6(packet) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u32 addresses = is_ip6(packet) ? 32 : 8;
	__u32 length = packet->length - ETH_HLEN - header;
	__u8 proto = is_ip6(packet) ? ip[offsetof(struct ipv6hdr, nexthdr)]
				    : ip[offsetof(struct iphdr, protocol)];
	__u8 *l4 = ip + header;
	__be16 check = 0;
	void *at = l4 + (proto == IPPROTO_TCP ? offsetof(struct tcphdr, check)
					      : offsetof(struct udphdr, check));

	if (!is_ip6(packet))
		set_ip_checksum(packet);
	memcpy(at, &check, sizeof(check));
	check = finish_sum(
		sum_words(l4, length, sum_words(l4 - addresses, addresses, proto + length)));
	memcpy(at, &check, sizeof(check));
}

static void append_ip4(struct packet *packet, const struct packet_layout *layout, __u32 length)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tot_len = htons(sizeof(ip) + length),
		.frag_off = htons(0x4000),
		.ttl = 64,
		.protocol = layout->proto,
	};

	inet_pton(AF_INET, layout->source ? layout->source : PACKET_CLIENT, &ip.saddr);
	inet_pton(AF_INET, layout->destination ? layout->destination : PACKET_SERVER, &ip.daddr);
	append(packet, &ip, sizeof(ip));
}

static void append_ip6(struct packet *packet, const struct packet_layout *layout, __u32 length)
{
	struct ipv6hdr ip = {
		.version = 6,
		.payload_len = htons(length),
		.nexthdr = layout->proto,
		.hop_limit = 64,
	};

	inet_pton(AF_INET6, layout->source ? layout->source : PACKET_CLIENT6, &ip.saddr);
	inet_pton(AF_INET6, layout->destination ? layout->destination : PACKET_SERVER6, &ip.daddr);
	append(packet, &ip, sizeof(ip));
}

static __u32 tcp_options(const struct packet_layout *layout)
{
	return layout->flags & PACKET_SYN ? sizeof(syn_options) : sizeof(timestamps);
}

static void append_tcp(struct packet *packet, const struct packet_layout *layout)
{
	__u32 options = tcp_options(layout);
	struct tcphdr tcp = {
		.source = htons(layout->sport),
		.dest = htons(layout->dport),
		.seq = htonl(layout->seq),
		.ack_seq = htonl(layout->ack),
		.doff = (sizeof(tcp) + options) / 4,
		.window = htons(502),
	};
	__u8 *flags = packet->bytes + packet->length + TCP_FLAGS_OFFSET;

	append(packet, &tcp, sizeof(tcp));
	*flags = layout->flags;
	append(packet, layout->flags & PACKET_SYN ? syn_options : timestamps, options);
}

static void append_udp(struct packet *packet, const struct packet_layout *layout)
{
	struct udphdr udp = {
		.source = htons(layout->sport),
		.dest = htons(layout->dport),
		.len = htons(sizeof(udp) + layout->payload),
	};

	append(packet, &udp, sizeof(udp));
}

void packet_build(struct packet *packet, const struct packet_layout *layout)
{
	struct ethhdr eth = {.h_proto = htons(layout->family == 6 ? ETH_P_IPV6 : ETH_P_IP)};
	__u32 length = layout->payload;

	length += layout->proto == IPPROTO_TCP ? sizeof(struct tcphdr) + tcp_options(layout)
					       : sizeof(struct udphdr);
	memset(packet, 0, sizeof(*packet));
	append(packet, &eth, sizeof(eth));
	if (layout->family == 6)
		append_ip6(packet, layout, length);
	else
		append_ip4(packet, layout, length);
	if (layout->proto == IPPROTO_TCP)
		append_tcp(packet, layout);
	else
		append_udp(packet, layout);
	packet->length += layout->payload;
	set_checksums(packet);
}

void packet_set_source(struct packet *packet, const __be32 *address)
{
	__u8 *ip = packet->bytes + ETH_HLEN;

	if (is_ip6(packet))
		memcpy(ip + offsetof(struct ipv6hdr, saddr), address, 16);
	else
		memcpy(ip + offsetof(struct iphdr, saddr), address, 4);
	set_checksums(packet);
}
