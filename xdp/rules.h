/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The user's rules: the first that matches decides, none passes. Rules see IPv4, IPv6 and, where
 * one names it, ARP. What cannot be decided because its headers are broken or too deep is refused:
 * it would otherwise evade every rule.
 */
#ifndef WEIR_RULES_H
#define WEIR_RULES_H

#include "balance/explain.h"
#include "limit.h"
#include "redirect.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_MAX_RULES);
	__type(key, __u32);
	__type(value, struct weir_counter);
} rule_counters SEC(".maps");

static __always_inline struct decision obey(struct xdp_md *ctx, const struct frame *f, __u64 rule,
					    const struct weir_match *m, bool redirects)
{
	__u32 slot = RULE_SLOT(rule), action = RULE_ACTION(rule);
	struct weir_counter *counter = bpf_map_lookup_elem(&rule_counters, &slot);

	explain(rule, slot + 1);
	if (counter && !config.explain)
		add(counter, f->bytes);
	if (action == WEIR_A_DROP)
		return dropped(WEIR_BY_RULE);
	if (config.limits && action == WEIR_A_LIMIT)
		return within_limit(&f->packet, slot, m) ? passed() : dropped(WEIR_BY_LIMIT);
	if (redirects && action == WEIR_A_REDIRECT)
		return redirect(ctx, &f->packet, RULE_FLAGS(rule), m);
	return passed();
}

static __always_inline struct decision apply_rules(struct xdp_md *ctx, const struct frame *f,
						   bool redirects)
{
	struct weir_match match = {};
	__u64 rule;

	switch (f->class) {
	case WEIR_MALFORMED: return dropped(WEIR_BY_MALFORMED);
	case WEIR_UNDECIDED: return dropped(WEIR_BY_UNDECIDED);
	case WEIR_NON_IP: return passed();
	case WEIR_ARP:
		if (!looks_at(WEIR_F_PROTO))
			return passed();
	}
	rule = weir_match(&f->packet, &match);
	return rule ? obey(ctx, f, rule, &match, redirects) : passed();
}

#endif
