// SPDX-License-Identifier: GPL-2.0
#include "tunnels.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "balance_run.h"
#include "weir_xdp.skel.h"

/* ---- addresses ---- */

void tunnel_put_address(struct weir_local_address *to, const char *text)
{
	struct address a = test_address(text);
	__be32 word[4];

	memcpy(word, a.byte, sizeof(word));
	*to = (struct weir_local_address){
		.family = a.family,
		.high = (__u64)ntohl(word[0]) << 32 | (a.family == 6 ? ntohl(word[1]) : 0),
		.low = a.family == 6 ? (__u64)ntohl(word[2]) << 32 | ntohl(word[3]) : 0,
	};
}

void tunnel_set_ends(struct xdp_run *to, const char *const *ends, size_t count)
{
	int fd = bpf_map__fd(to->skel->maps.local_addresses);
	struct weir_local_address a;
	__u32 is_here = 1;

	while (!bpf_map_get_next_key(fd, NULL, &a))
		bpf_map_delete_elem(fd, &a);
	for (size_t i = 0; i < count; i++) {
		tunnel_put_address(&a, ends[i]);
		bpf_map_update_elem(fd, &a, &is_here, BPF_ANY);
	}
}

void tunnel_set_usual_ends(struct xdp_run *to)
{
	static const char *const ends[] = {"127.0.0.1", TUNNEL_HERE4, TUNNEL_HERE6, PACKET_SERVER,
					   PACKET_SERVER6};

	tunnel_set_ends(to, ends, sizeof(ends) / sizeof(*ends));
}

void tunnel_open(struct xdp_run *to, const struct weir_xdp_config *more, const struct rule_set *set,
		 const struct table_names *names)
{
	struct weir_xdp_config config = *more;

	config.ifindex = TEST_DEVICE;
	config.decap = 1;
	xdp_run_open_balance(to, &config, set, names, NULL);
	tunnel_set_usual_ends(to);
}

/* ---- packets ---- */

static void set_addresses(struct packet *packet)
{
	for (int i = 0; i < 12; i++)
		packet->bytes[i] = 0x10 + i;
}

void tunnel_pack(struct packed *p, const struct tunnel *t)
{
	struct packet_layout outer = t->outer, inner = t->inner;

	inner.bare = true;
	packet_build(&p->inner, &inner);
	outer.payload = p->inner.length;
	if (!outer.proto)
		outer.proto = inner.family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	if (!outer.destination)
		outer.destination = outer.family == 4 ? TUNNEL_HERE4 : TUNNEL_HERE6;
	packet_build(&p->frame, &outer);
	memcpy(p->frame.bytes + p->frame.l4, p->inner.bytes, p->inner.length);
	if (!outer.bare)
		set_addresses(&p->frame);
}

struct tunnel tunnel_of(__u8 outer, __u8 inner)
{
	return (struct tunnel){
		.outer = {.family = outer},
		.inner = {.family = inner,
			  .proto = IPPROTO_TCP,
			  .flags = PACKET_DATA,
			  .sport = 1000,
			  .dport = 80,
			  .payload = 33,
			  .fill = 0x5a},
	};
}

void tunnel_set_ecn(struct packet *packet, __u32 l3, __u8 ecn)
{
	__u8 *ip = packet->bytes + l3;

	if (ip[0] >> 4 == 4)
		ip[1] = (ip[1] & ~3) | ecn;
	else
		ip[1] = (ip[1] & ~0x30) | ecn << 4;
}

__u8 tunnel_ecn(const __u8 *ip)
{
	return ip[0] >> 4 == 4 ? ip[1] & 3 : ip[1] >> 4 & 3;
}

void tunnel_sum_ip4(__u8 *ip)
{
	__u32 sum = 0;

	memset(ip + 10, 0, 2);
	for (int i = 0; i < (ip[0] & 0xf) * 4; i += 2)
		sum += ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	ip[10] = sum >> 8;
	ip[11] = sum;
}

void tunnel_cut_out(struct packet *want, const struct packet *frame, __u32 l3, __u32 l4)
{
	__be16 type = htons(frame->bytes[l4] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP);

	memset(want, 0, sizeof(*want));
	memcpy(want->bytes, frame->bytes, l3);
	if (l3)
		memcpy(want->bytes + l3 - 2, &type, sizeof(type));
	memcpy(want->bytes + l3, frame->bytes + l4, frame->length - l4);
	want->length = frame->length - (l4 - l3);
}

/* RFC 6040, figure 4: rows inner, columns outer, of Not-ECT, ECT(1), ECT(0), TUNNEL_CE. */
const __u8 tunnel_merged_ecn[4][4] = {
	{0, 0, 0, TUNNEL_DROP},
	{1, 1, 1, TUNNEL_CE},
	{2, 1, 2, TUNNEL_CE},
	{TUNNEL_CE, TUNNEL_CE, TUNNEL_CE, TUNNEL_CE},
};
