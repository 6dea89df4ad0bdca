/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The user's rules: the first that matches decides, none passes. Rules see IPv4, IPv6 and, where
 * one names it, ARP. What cannot be decided because its headers are broken or too deep is refused:
 * it would otherwise evade every rule.
 */
#ifndef WEIR_RULES_H
#define WEIR_RULES_H

#include "limit.h"
#include "redirect.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_MAX_RULES);
	__type(key, __u32);
	__type(value, struct weir_counter);
} rule_counters SEC(".maps");

static __always_inline __u64 be64_at(const void *at)
{
	const __be32 *half = at;

	return (__u64)bpf_ntohl(half[0]) << 32 | bpf_ntohl(half[1]);
}

static __always_inline void make_key(struct weir_key *k, const struct xdp_md *ctx,
				     const struct packet *p)
{
	k->proto = p->proto;
	k->sport = bpf_ntohs(p->sport);
	k->dport = bpf_ntohs(p->dport);
	k->has_ports = p->flags & WEIR_P_PORTS;
	if (p->family == 4) {
		struct iphdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return;
		k->source = (__u64)bpf_ntohl(ip->saddr) << 32;
		k->dest = (__u64)bpf_ntohl(ip->daddr) << 32;
	} else if (p->family == 6) {
		struct ipv6hdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return;
		k->source = be64_at(&ip->saddr);
		k->source_low = be64_at((void *)&ip->saddr + 8);
		k->dest = be64_at(&ip->daddr);
		k->dest_low = be64_at((void *)&ip->daddr + 8);
	}
	k->family = p->family;
}

static __always_inline struct decision obey(struct xdp_md *ctx, const struct frame *f,
					    const struct weir_key *k, const struct weir_match *m)
{
	__u32 slot = m->rule.slot;
	struct weir_counter *counter = bpf_map_lookup_elem(&rule_counters, &slot);

	if (counter)
		add(counter, f->bytes);
	if (m->rule.action == WEIR_A_DROP)
		return dropped(WEIR_BY_RULE);
	if (config.limits && m->rule.action == WEIR_A_LIMIT)
		return within_limit(k, m) ? passed() : dropped(WEIR_BY_LIMIT);
	if (config.redirects && m->rule.action == WEIR_A_REDIRECT)
		return redirect(ctx, &f->packet, &m->rule);
	return passed();
}

static __always_inline struct decision apply_rules(struct xdp_md *ctx, const struct frame *f)
{
	struct weir_match match = {};
	struct weir_key key = {};

	switch (f->class) {
	case WEIR_MALFORMED: return dropped(WEIR_BY_MALFORMED);
	case WEIR_UNDECIDED: return dropped(WEIR_BY_UNDECIDED);
	case WEIR_NON_IP: return passed();
	case WEIR_ARP:
		if (!looks_at(WEIR_F_PROTO))
			return passed();
	}
	make_key(&key, ctx, &f->packet);
	return weir_match(&key, &match) ? obey(ctx, f, &key, &match) : passed();
}

#endif
