// SPDX-License-Identifier: GPL-2.0
/*
 * A bounded number of SYNs, each of another source: random low bits of SOURCE and a random port.
 * Nobody ever answers their SYN-ACKs.
 */
#include "churn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/ipv6.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pseudo4 {
	uint32_t source, dest;
	uint8_t zero, proto;
	uint16_t length;
};

struct pseudo6 {
	struct in6_addr source, dest;
	uint32_t length, proto;
};

static uint64_t add(const void *data, size_t size)
{
	const unsigned char *b = data;
	uint64_t sum = 0;

	for (size_t i = 0; i + 1 < size; i += 2)
		sum += b[i] << 8 | b[i + 1];
	return sum;
}

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static struct tcphdr syn(uint16_t dport)
{
	return (struct tcphdr){.source = htons(1024 + dice() % 64000),
			       .dest = dport,
			       .seq = dice(),
			       .doff = 5,
			       .syn = 1,
			       .window = htons(64240)};
}

static size_t packet4(void *data, const struct endpoint *from, const struct endpoint *to,
		      uint32_t vary)
{
	struct iphdr ip = {.version = 4,
			   .ihl = 5,
			   .tot_len = htons(sizeof(ip) + sizeof(struct tcphdr)),
			   .ttl = 64,
			   .protocol = IPPROTO_TCP,
			   .saddr = from->at.v4.sin_addr.s_addr ^ htonl(vary),
			   .daddr = to->at.v4.sin_addr.s_addr};
	struct tcphdr tcp = syn(to->at.v4.sin_port);
	struct pseudo4 pseudo = {ip.saddr, ip.daddr, 0, IPPROTO_TCP, htons(sizeof(tcp))};

	tcp.check = fold(add(&pseudo, sizeof(pseudo)) + add(&tcp, sizeof(tcp)));
	memcpy(data, &ip, sizeof(ip));
	memcpy(data + sizeof(ip), &tcp, sizeof(tcp));
	return sizeof(ip) + sizeof(tcp);
}

static size_t packet6(void *data, const struct endpoint *from, const struct endpoint *to,
		      uint32_t vary)
{
	struct ipv6hdr ip = {.version = 6,
			     .payload_len = htons(sizeof(struct tcphdr)),
			     .nexthdr = IPPROTO_TCP,
			     .hop_limit = 64,
			     .saddr = from->at.v6.sin6_addr,
			     .daddr = to->at.v6.sin6_addr};
	struct tcphdr tcp = syn(to->at.v6.sin6_port);
	struct pseudo6 pseudo = {
		.dest = ip.daddr, .length = htonl(sizeof(tcp)), .proto = htonl(IPPROTO_TCP)};

	ip.saddr.s6_addr32[3] ^= htonl(vary);
	pseudo.source = ip.saddr;
	tcp.check = fold(add(&pseudo, sizeof(pseudo)) + add(&tcp, sizeof(tcp)));
	memcpy(data, &ip, sizeof(ip));
	memcpy(data + sizeof(ip), &tcp, sizeof(tcp));
	return sizeof(ip) + sizeof(tcp);
}

int flood(int argc, char **argv)
{
	long count = 1000, rate = 1000, bits = 8, sent = 0;
	struct endpoint from, to, route;
	unsigned char packet[128];
	double start;
	bool v6;
	int fd, c;

	while ((c = getopt(argc, argv, "n:r:b:s:")) != -1) {
		switch (c) {
		case 'n': count = number(optarg, 1, 1000000); break;
		case 'r': rate = number(optarg, 1, 50000); break;
		case 'b': bits = number(optarg, 0, 24); break;
		case 's': seed_dice(number(optarg, 0, 1L << 40)); break;
		default: return 1;
		}
	}
	if (argc - optind != 2)
		die("flood SOURCE:0 ADDRESS:PORT");
	from = endpoint_of(argv[optind]);
	route = to = endpoint_of(argv[optind + 1]);
	v6 = to.at.any.sa_family == AF_INET6;
	if (v6)
		route.at.v6.sin6_port = 0;
	fd = socket(to.at.any.sa_family, SOCK_RAW, IPPROTO_RAW);
	if (fd < 0)
		die("raw socket");
	start = now();
	for (; sent < count && !stopped; sent++) {
		uint32_t vary = dice() & ((1ul << bits) - 1);
		size_t size = (v6 ? packet6 : packet4)(packet, &from, &to, vary);
		double early = start + (double)sent / rate - now();

		if (early > 0.002)
			usleep(early * 1e6);
		if (sendto(fd, packet, size, 0, &route.at.any, route.size) < 0 && errno != ENOBUFS)
			die("sendto");
	}
	printf("%ld\n", sent);
	return 0;
}
