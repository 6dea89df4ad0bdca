// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <string.h>

#include "list.h"

#define DOCUMENTATION 0x20010db8u
#define SEED	      0x5eed

struct source {
	const struct list_case *list_case;
	__u64 seed;
};

static void fill_ip6(__u32 address, __u32 host, __be32 words[4])
{
	words[0] = htonl(DOCUMENTATION);
	words[1] = htonl(address);
	words[2] = 0;
	words[3] = htonl(host);
}

void prefix_to_ip6(const struct ip4_prefix *prefix, __be32 address[4], __u32 *bits)
{
	bool host = prefix->bits == 32;

	fill_ip6(prefix->address, host, address);
	*bits = host ? 128 : 32 + prefix->bits;
}

static void draw_address(void *from, __be32 address[4])
{
	struct source *source = from;
	const struct list_case *c = source->list_case;
	__u32 drawn = c->draw(c->list, &source->seed);

	if (c->family == 6)
		fill_ip6(drawn, 1, address);
	else
		address[0] = htonl(drawn);
}

int add_list_case(struct bench *bench, const struct list_case *listed)
{
	struct bench_case *c = bench_add(bench, "XDP", listed->name);
	struct source source = {listed, SEED};
	__be32 address[4];

	c->peer = listed->peer;
	c->counted = listed->counted;
	c->owner = listed->owner;
	packet_build(&c->packet, &(struct packet_layout){
					 .family = listed->family,
					 .proto = IPPROTO_TCP,
					 .flags = PACKET_DATA,
					 .sport = 40000,
					 .dport = 443,
					 .payload = 34,
				 });
	if (listed->random)
		return vary_sources(c, listed->program, listed->verdict, draw_address, &source);
	draw_address(&source, address);
	packet_set_source(&c->packet, address);
	if (listed->live)
		return live_case(c, listed->program, "empty_xdp", LIVE_AT_PROGRAM);
	return plain(c, listed->program, listed->verdict);
}
