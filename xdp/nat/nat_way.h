/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the replies of a NAT flow go: back to where the client's packets come from, with the VLAN
 * tags they have.
 */
#ifndef WEIR_NAT_WAY_H
#define WEIR_NAT_WAY_H

#include "nat_flow.h"

#define VLAN_ID 0x0fff

static __always_inline __u32 tags_of(const struct packet *p)
{
	return (p->l3 - ETH_HLEN) / sizeof(struct vlan_tag);
}

/* As they lie in struct weir_nat_flow, from own_mac on. */
struct way_back {
	__u8 own_mac[6];
	__u8 client_mac[6];
	__u32 ifindex;
	__be16 tci[2];
};

#define WAY_BACK_WORDS (sizeof(struct way_back) / 4)

static __always_inline __be16 tci_at(struct xdp_md *ctx, const struct packet *p, __u32 number)
{
	const struct vlan_tag *tag = header_at(ctx, ETH_HLEN + number * sizeof(*tag), sizeof(*tag));

	return tag && number < tags_of(p) ? tag->tci & bpf_htons(VLAN_ID) : 0;
}

static __always_inline bool read_way(struct xdp_md *ctx, const struct packet *p,
				     struct way_back *way)
{
	const struct link_header *link = header_at(ctx, 0, sizeof(*link));

	if (!link)
		return false;
	__builtin_memcpy(way->own_mac, link->dest, 6);
	__builtin_memcpy(way->client_mac, link->source, 6);
	way->ifindex = config.ifindex;
	way->tci[0] = tci_at(ctx, p, 0);
	way->tci[1] = tci_at(ctx, p, 1);
	return true;
}

/* Who reads while another writes may mix two ways of which both lead to the client. */
static __always_inline void store_way_back(struct weir_nat_flow *flow, const struct packet *p,
					   const struct way_back *way)
{
	__builtin_memcpy(flow->own_mac, way, sizeof(*way));
	flow->via_tc = config.via_tc;
	flow->tags = tags_of(p);
	flow->other_way = 0;
}

static __always_inline void learn_way(struct xdp_md *ctx, struct weir_nat_flow *flow,
				      const struct packet *p)
{
	struct way_back way;

	if (!config.explain && read_way(ctx, p, &way))
		store_way_back(flow, p, &way);
}

/* Never 0. */
static __always_inline __u32 number_of_way(const struct way_back *way, __u32 tags)
{
	const __u32 *words = (const __u32 *)way;
	__u64 sum = tags;

	for (__u32 i = 0; i < WAY_BACK_WORDS; i++)
		sum = mix_flow(sum ^ words[i]);
	return (__u32)sum | 1;
}

static __always_inline bool is_way_back(const struct weir_nat_flow *flow,
					const struct way_back *way, __u32 tags)
{
	const __u32 *is = (const __u32 *)way, *was = (const __u32 *)flow->own_mac;

	for (__u32 i = 0; i < WAY_BACK_WORDS; i++)
		if (is[i] != was[i])
			return false;
	return flow->tags == tags;
}

/* Looks at one of the client's packets, once a tick. As anybody may send one in the client's
 * name, another way has to be seen twice, and not the old one in between; where the packet ends
 * a handshake, or is `sure` for another reason, once. */
__noinline int weir_follow_way(struct xdp_md *ctx, const struct packet *p, __u32 index, bool sure)
{
	struct weir_nat_flow *flow;
	struct way_back way;
	__u32 number;

	if (!MODES_NAT || !p || config.explain)
		return 0;
	flow = nat_flow_at(index);
	if (!flow || !read_way(ctx, p, &way))
		return 0;
	if (is_way_back(flow, &way, tags_of(p))) {
		flow->other_way = 0;
		return 0;
	}
	number = number_of_way(&way, tags_of(p));
	if (sure || flow->other_way == number)
		store_way_back(flow, p, &way);
	else
		flow->other_way = number;
	return 0;
}

/* The client's tags for those the backend sent; only their identifiers differ between networks.
 * False: there are not as many. */
static __always_inline bool change_tags(struct xdp_md *ctx, const struct packet *p,
					const struct weir_nat_flow *flow)
{
	if (flow->tags != tags_of(p))
		return false;
	if (p->l3 == ETH_HLEN)
		return true;
	for (__u32 i = 0; i < WEIR_VLAN_TAGS; i++) {
		struct vlan_tag *tag = header_at(ctx, ETH_HLEN + i * sizeof(*tag), sizeof(*tag));

		if (!tag)
			return false;
		if (i < flow->tags)
			tag->tci = (tag->tci & ~bpf_htons(VLAN_ID)) | flow->tci[i];
	}
	return true;
}

#endif
