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
#define DONT_FRAGMENT	 0x4000
#define MORE_FRAGMENTS	 0x2000
#define NO_OPERATION	 1
#define USUAL_TTL	 64

static const __u8 timestamps[12] = {1, 1, 8, 10, 0, 0, 0x10, 0, 0, 0, 0x20, 0};
static const __u8 syn_options[20] = {2,	   4, 5, 0xb4, 4, 2, 8, 10, 0, 0,
				     0x10, 0, 0, 0,    0, 0, 1, 3,  3, 7};

static __u8 *append(struct packet *packet, const void *bytes, size_t length)
{
	__u8 *at = packet->bytes + packet->length;

	if (length)
		memcpy(at, bytes, length);
	packet->length += length;
	return at;
}

static __u8 *append_fill(struct packet *packet, __u8 value, size_t length)
{
	__u8 *at = packet->bytes + packet->length;

	memset(at, value, length);
	packet->length += length;
	return at;
}

/* ---- checksums ---- */

static __u32 sum_words(const __u8 *bytes, __u32 length, __u32 sum)
{
	for (__u32 i = 0; i < length; i++)
		sum += i % 2 ? bytes[i] : bytes[i] << 8;
	return sum;
}

static __u16 fold(__u32 sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	return sum + (sum >> 16);
}

static bool is_ip6(const struct packet *packet)
{
	return packet->bytes[packet->l3] >> 4 == 6;
}

static __u32 pseudo_sum(const struct packet *packet, __u8 proto)
{
	const __u8 *ip = packet->bytes + packet->l3;
	__u32 sum = proto + packet->end - packet->l4;

	if (is_ip6(packet))
		return sum_words(ip + offsetof(struct ipv6hdr, saddr), 32, sum);
	return sum_words(ip + offsetof(struct iphdr, saddr), 8, sum);
}

__be16 packet_partial_sum(const struct packet *packet, __u8 proto)
{
	return htons(fold(pseudo_sum(packet, proto)));
}

void *packet_checksum_field(struct packet *packet, __u8 proto)
{
	__u8 *l4 = packet->bytes + packet->l4;

	switch (proto) {
	case IPPROTO_TCP: return l4 + offsetof(struct tcphdr, check);
	case IPPROTO_UDP: return l4 + offsetof(struct udphdr, check);
	case IPPROTO_ICMPV6: return l4 + 2;
	default: return NULL;
	}
}

__be16 packet_checksum(const struct packet *packet, __u8 proto)
{
	struct packet zeroed = *packet;
	__u16 sum;

	memset(packet_checksum_field(&zeroed, proto), 0, sizeof(sum));
	sum = ~fold(sum_words(zeroed.bytes + zeroed.l4, zeroed.end - zeroed.l4,
			      pseudo_sum(&zeroed, proto)));
	return htons(sum || proto != IPPROTO_UDP ? sum : 0xffff);
}

static void set_checksums(struct packet *packet, __u8 proto)
{
	struct iphdr *ip = (struct iphdr *)(packet->bytes + packet->l3);
	void *field = packet_checksum_field(packet, proto);
	__be16 check;

	if (!is_ip6(packet)) {
		ip->check = 0;
		ip->check = htons(~fold(sum_words((__u8 *)ip, ip->ihl * 4, 0)));
	}
	if (!field || packet->end < packet->l4 + 8)
		return;
	check = packet_checksum(packet, proto);
	memcpy(field, &check, sizeof(check));
}

/* ---- headers ---- */

static void append_link(struct packet *packet, const struct packet_layout *layout)
{
	__be16 type = htons(layout->family == 6 ? ETH_P_IPV6 : ETH_P_IP);

	append_fill(packet, 0, 2 * ETH_ALEN);
	for (const char *tag = layout->tags; tag && *tag; tag++) {
		__be16 header[2] = {htons(*tag == 'a' ? ETH_P_8021AD : ETH_P_8021Q), htons(100)};

		append(packet, header, sizeof(header));
	}
	append(packet, &type, sizeof(type));
}

static void append_ip4(struct packet *packet, const struct packet_layout *layout)
{
	bool fragmented = layout->more || layout->fragment;
	struct iphdr ip = {
		.version = 4,
		.ihl = 5 + layout->ip_options / 4,
		.tos = layout->tos,
		.frag_off = htons(fragmented ? layout->fragment | layout->more * MORE_FRAGMENTS
					     : DONT_FRAGMENT),
		.ttl = layout->ttl ? layout->ttl : USUAL_TTL,
		.protocol = layout->proto,
	};

	inet_pton(AF_INET, layout->source ? layout->source : PACKET_CLIENT, &ip.saddr);
	inet_pton(AF_INET, layout->destination ? layout->destination : PACKET_SERVER, &ip.daddr);
	append(packet, &ip, sizeof(ip));
	append_fill(packet, NO_OPERATION, layout->ip_options);
}

__u8 packet_extension(char letter)
{
	switch (letter) {
	case 'h': return IPPROTO_HOPOPTS;
	case 'r': return IPPROTO_ROUTING;
	case 'a': return IPPROTO_AH;
	case 'm': return IPPROTO_MH;
	case 'f': return IPPROTO_FRAGMENT;
	default: return IPPROTO_DSTOPTS;
	}
}

/* Each is 8 bytes but 'a', which has 16, and 'D'. */
static void append_extension(struct packet *packet, const struct packet_layout *layout, char letter,
			     __u8 next)
{
	size_t size = letter == 'a' ? 16 : letter == 'D' ? 24 : 8;
	__be16 fragment = htons(layout->fragment << 3 | layout->more);
	__u8 *header = append_fill(packet, 0, size);

	header[0] = next;
	if (letter == 'f')
		memcpy(header + 2, &fragment, sizeof(fragment));
	else
		header[1] = letter == 'a' ? size / 4 - 2 : size / 8 - 1;
	if (letter == 'h' || letter == 'd' || letter == 'D') {
		header[2] = 1; /* PadN */
		header[3] = size - 4;
	}
}

static void append_ip6(struct packet *packet, const struct packet_layout *layout)
{
	const char *chain = layout->chain		       ? layout->chain
			    : layout->more || layout->fragment ? "f"
							       : "";
	struct ipv6hdr ip = {
		.nexthdr = *chain ? packet_extension(*chain) : layout->proto,
		.hop_limit = layout->ttl ? layout->ttl : USUAL_TTL,
	};

	*(__be32 *)&ip = htonl(6u << 28 | layout->tos << 20 | layout->label);
	inet_pton(AF_INET6, layout->source ? layout->source : PACKET_CLIENT6, &ip.saddr);
	inet_pton(AF_INET6, layout->destination ? layout->destination : PACKET_SERVER6, &ip.daddr);
	append(packet, &ip, sizeof(ip));
	for (; *chain; chain++)
		append_extension(packet, layout, *chain,
				 chain[1] ? packet_extension(chain[1]) : layout->proto);
}

static void append_tcp(struct packet *packet, const struct packet_layout *layout)
{
	bool syn = layout->flags & PACKET_SYN;
	__u32 usual = syn ? sizeof(syn_options) : sizeof(timestamps);
	__u32 options = layout->tcp_options > 0 ? layout->tcp_options : 0;
	struct tcphdr tcp = {
		.source = htons(layout->sport),
		.dest = htons(layout->dport),
		.seq = htonl(layout->seq),
		.ack_seq = htonl(layout->ack),
		.window = htons(502),
	};

	if (!layout->tcp_options)
		options = usual;
	tcp.doff = (sizeof(tcp) + options) / 4;
	append(packet, &tcp, sizeof(tcp))[TCP_FLAGS_OFFSET] = layout->flags;
	if (layout->tcp_options)
		append_fill(packet, NO_OPERATION, options);
	else
		append(packet, syn ? syn_options : timestamps, options);
}

/* SCTP's and DCCP's headers are 12 bytes and begin with the ports, like UDP's. */
static void append_transport(struct packet *packet, const struct packet_layout *layout)
{
	struct udphdr udp = {
		.source = htons(layout->sport),
		.dest = htons(layout->dport),
		.len = htons(sizeof(udp) + layout->payload),
	};

	switch (layout->proto) {
	case IPPROTO_TCP: append_tcp(packet, layout); break;
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		append(packet, &udp, 4);
		append_fill(packet, 0, 8);
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE: append(packet, &udp, sizeof(udp)); break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: append_fill(packet, 0, 8)[0] = 128; break;
	}
	append_fill(packet, layout->fill, layout->payload);
}

static void set_length(struct packet *packet)
{
	__u8 *ip = packet->bytes + packet->l3;
	__be16 length =
		htons(packet->end - packet->l3 - (is_ip6(packet) ? sizeof(struct ipv6hdr) : 0));

	memcpy(ip + (is_ip6(packet) ? offsetof(struct ipv6hdr, payload_len)
				    : offsetof(struct iphdr, tot_len)),
	       &length, sizeof(length));
}

void packet_build(struct packet *packet, const struct packet_layout *layout)
{
	memset(packet, 0, sizeof(*packet));
	if (!layout->bare)
		append_link(packet, layout);
	packet->l3 = packet->length;
	if (layout->family == 6)
		append_ip6(packet, layout);
	else
		append_ip4(packet, layout);
	packet->l4 = packet->length;
	append_transport(packet, layout);
	packet->end = packet->length;
	set_length(packet);
	set_checksums(packet, layout->proto);
	append_fill(packet, 0xee, layout->padding);
}

void packet_set_source(struct packet *packet, const __be32 *address)
{
	__u8 *ip = packet->bytes + packet->l3;
	__u8 proto = ip[is_ip6(packet) ? offsetof(struct ipv6hdr, nexthdr)
				       : offsetof(struct iphdr, protocol)];

	if (is_ip6(packet))
		memcpy(ip + offsetof(struct ipv6hdr, saddr), address, 16);
	else
		memcpy(ip + offsetof(struct iphdr, saddr), address, 4);
	set_checksums(packet, proto);
}
