// SPDX-License-Identifier: GPL-2.0
/* Random rules and random packets: the program against a linear scan of the rules. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/shared/random_rules.h"
#include "tests/shared/xdp_run.h"

/* ---- what the packet is, without looking at its bytes ---- */

struct truth {
	unsigned int family; /* 0: ARP, or nothing that rules see */
	__u8 src[16], dst[16];
	__u16 proto;
	bool ports;
	__u16 sport, dport;
	enum weir_class class;
};

/* ---- what the names of the rules mean: dev6 is gone, dev7 has the greatest index ---- */

#define DEVICE_GONE	6
#define DEVICE_VIA_TC	5
#define DEVICE_NO_ENTRY 4 /* known, but its devmap entry is empty */

static __u32 index_of(unsigned int device)
{
	return device == DEVICE_GONE ? 0 : device == 7 ? 0x7fffffff : device + 1;
}

static __u32 ifindex(const char *name)
{
	return index_of(name[3] - '0');
}

static struct redirect_target targets[RANDOM_DEVICES];
static struct table_names names = {.ifindex = ifindex, .targets = targets, .count = RANDOM_DEVICES};

static void name_ports(void)
{
	for (int i = 0; i < RANDOM_DEVICES; i++) {
		sprintf(targets[i].name, "dev%d", i);
		targets[i].ifindex = index_of(i);
		targets[i].via_tc = i == DEVICE_VIA_TC;
	}
}

/* ---- the model ---- */

static bool in_prefix(const struct prefix *p, unsigned int family, const __u8 *address)
{
	if (p->family != family)
		return false;
	for (int bit = 0; bit < p->length; bit++)
		if ((p->address[bit / 8] ^ address[bit / 8]) & 0x80 >> bit % 8)
			return false;
	return true;
}

static bool in_list(const struct rule_set *set, size_t rule, unsigned int family,
		    const __u8 *address)
{
	const struct prefix *list = set->prefixes;

	for (size_t i = 0; i < rule; i++)
		list += set->rules[i].prefixes;
	for (__u32 i = 0; i < set->rules[rule].prefixes; i++)
		if (in_prefix(&list[i], family, address))
			return true;
	return false;
}

static bool address_fits(const struct rule_set *set, size_t rule, bool source,
			 const struct truth *t)
{
	const struct rule *r = &set->rules[rule];
	const struct prefix *own = source ? &r->src : &r->dst;
	const __u8 *address = source ? t->src : t->dst;

	if (own->family && !in_prefix(own, t->family, address))
		return false;
	if (*r->list && r->list_matches_dst != source)
		return in_list(set, rule, t->family, address);
	return true;
}

static bool port_fits(const __u16 *range, const struct truth *t, __u16 port)
{
	if (range[0] == 0 && range[1] == 65535)
		return true;
	return t->ports && port >= range[0] && port <= range[1];
}

static bool device_fits(const struct rule *r, __u32 device)
{
	if (*r->dev)
		return ifindex(r->dev) == device;
	return r->action != WEIR_A_REDIRECT || ifindex(r->target) != device;
}

static bool fits(const struct rule_set *set, size_t rule, const struct truth *t, __u32 device)
{
	const struct rule *r = &set->rules[rule];

	if (r->proto == RULE_ANY_PROTO ? t->proto == WEIR_PROTO_ARP : t->proto != r->proto)
		return false;
	return device_fits(r, device) && port_fits(r->sport, t, t->sport) &&
	       port_fits(r->dport, t, t->dport) && address_fits(set, rule, true, t) &&
	       address_fits(set, rule, false, t);
}

static long first_fit(const struct rule_set *set, const struct truth *t, __u32 device)
{
	for (size_t i = 0; i < set->count; i++)
		if (fits(set, i, t, device))
			return i;
	return -1;
}

/* How often each source met each limit; their rates are so low that no credit comes back. */
struct debt {
	size_t rule;
	unsigned int family;
	__u8 source[16];
	unsigned int packets;
};

#define DEBTS 4096

static struct debt debts[DEBTS];
static size_t debt_count;

static bool within_burst(const struct rule_set *set, size_t rule, const struct truth *t)
{
	struct debt *d = debts;

	while (d < debts + debt_count &&
	       (d->rule != rule || d->family != t->family || memcmp(d->source, t->src, 16)))
		d++;
	if (d == debts + debt_count) {
		assert_true(debt_count < DEBTS);
		*d = (struct debt){.rule = rule, .family = t->family};
		memcpy(d->source, t->src, 16);
		debt_count++;
	}
	return d->packets++ < set->rules[rule].burst;
}

struct answer {
	int code;
	enum weir_verdict verdict;
	enum weir_reason reason;
	__u32 meta; /* ifindex in the metadata */
};

static const struct answer pass = {XDP_PASS, WEIR_PASS, WEIR_REASONS, 0};

static struct answer drop_for(enum weir_reason reason)
{
	return (struct answer){XDP_DROP, WEIR_DROP, reason, 0};
}

static struct answer obey(const struct rule_set *set, size_t rule, const struct truth *t)
{
	const struct rule *r = &set->rules[rule];
	unsigned int target = *r->target ? r->target[3] - '0' : 0;

	switch (r->action) {
	case WEIR_A_DROP: return drop_for(WEIR_BY_RULE);
	case WEIR_A_PASS: return pass;
	case WEIR_A_LIMIT: return within_burst(set, rule, t) ? pass : drop_for(WEIR_BY_LIMIT);
	}
	if (target == DEVICE_VIA_TC)
		return (struct answer){XDP_PASS, WEIR_REDIRECT, WEIR_REASONS, index_of(target)};
	if (target == DEVICE_NO_ENTRY)
		return drop_for(WEIR_BY_REDIRECT);
	return (struct answer){XDP_REDIRECT, WEIR_REDIRECT, WEIR_REASONS, 0};
}

/* ---- random packets ---- */

static const __u16 any_port[2] = {0, 65535};

struct draft {
	const struct rule_set *set;
	__u32 device;
	struct truth truth;
	struct packet packet;
};

static const struct prefix *prefix_near(struct dice *d, const struct rule_set *set,
					const struct rule *r, bool source, unsigned int family)
{
	static struct prefix anywhere;
	const struct prefix *own = source ? &r->src : &r->dst;

	anywhere = (struct prefix){.family = family};
	if (own->family == family)
		return own;
	if (set->prefix_count && dice_percent(d, 80)) {
		const struct prefix *p = &set->prefixes[dice_below(d, set->prefix_count)];

		if (p->family == family)
			return p;
	}
	return &anywhere;
}

static unsigned int random_family(struct dice *d, const struct rule *r)
{
	if (r && r->src.family && dice_percent(d, 90))
		return r->src.family;
	if (r && r->dst.family && dice_percent(d, 90))
		return r->dst.family;
	return dice_percent(d, 50) ? 4 : 6;
}

static bool has_ports(__u16 proto)
{
	return proto == 6 || proto == 17 || proto == 33 || proto == 132 || proto == 136;
}

static __u16 random_proto(struct dice *d, const struct rule *r, unsigned int family)
{
	static const __u16 usual[] = {6, 17, 1, 58, 132, 33, 136, 47, 50, 255};
	__u16 proto = usual[dice_below(d, sizeof(usual) / sizeof(usual[0]))];

	if (r && r->proto < 256 && dice_percent(d, 90))
		proto = r->proto;
	else if (dice_percent(d, 60))
		proto = dice_percent(d, 50) ? 6 : 17;
	/* As an IPv6 next header these are extensions; ICMP is of one family only. */
	if (family == 6 && (proto == 0 || proto == 43 || proto == 44 || proto == 51 ||
			    proto == 60 || proto == 135))
		proto = 6;
	return proto == 1 || proto == 58 ? (family == 4 ? 1 : 58) : proto;
}

static enum weir_class class_of(const struct truth *t, bool fragment)
{
	enum weir_class base = t->family == 4 ? WEIR_TCP4 : WEIR_TCP6;

	if (fragment)
		return base + (WEIR_FRAGMENT4 - WEIR_TCP4);
	switch (t->proto) {
	case 6: return base;
	case 17: return base + (WEIR_UDP4 - WEIR_TCP4);
	case 1:
	case 58: return base + (WEIR_ICMP4 - WEIR_TCP4);
	default: return base + (WEIR_OTHER4 - WEIR_TCP4);
	}
}

static void make_other(struct dice *d, struct draft *draft)
{
	struct packet *p = &draft->packet;
	bool arp = dice_percent(d, 60);

	p->bytes[p->l3 - 2] = 0x08;
	p->bytes[p->l3 - 1] = arp ? 0x06 : 0x42;
	draft->truth = (struct truth){
		.proto = arp ? WEIR_PROTO_ARP : 0,
		.class = arp ? WEIR_ARP : WEIR_NON_IP,
	};
}

static void wrap(struct dice *d, struct packet_layout *layout)
{
	static const char *const tags[] = {"", "", "", "q", "a", "aq"};
	static const char *const chains[] = {"", "", "", "h", "d", "hr", "f", "ad", "hDraf"};

	layout->tags = tags[dice_below(d, 6)];
	layout->ip_options = dice_percent(d, 30) ? 4 * dice_below(d, 11) : 0;
	layout->chain = chains[dice_below(d, 9)];
	layout->padding = dice_percent(d, 30) ? dice_below(d, 40) : 0;
	layout->payload = dice_below(d, 100);
	layout->fill = dice_word(d);
	if (dice_percent(d, 12)) {
		layout->more = dice_percent(d, 60);
		layout->fragment =
			layout->more && dice_percent(d, 50) ? 0 : 1 + dice_below(d, 8000);
		layout->chain = "f";
	}
}

static void draw_packet(struct dice *d, struct draft *draft)
{
	const struct rule_set *set = draft->set;
	static const struct rule nothing = {.proto = RULE_ANY_PROTO};
	const struct rule *r = set->count ? &set->rules[dice_below(d, set->count)] : &nothing;
	char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
	struct packet_layout layout = {.source = source, .destination = destination};
	struct truth *t = &draft->truth;
	int af;

	*t = (struct truth){.family = random_family(d, r)};
	random_address(d, prefix_near(d, set, r, true, t->family), t->src);
	random_address(d, prefix_near(d, set, r, false, t->family), t->dst);
	t->proto = random_proto(d, r, t->family);
	t->sport = random_port(d, r == &nothing ? any_port : r->sport);
	t->dport = random_port(d, r == &nothing ? any_port : r->dport);
	wrap(d, &layout);
	t->ports = has_ports(t->proto) && !layout.fragment;
	t->class = class_of(t, layout.fragment);
	af = t->family == 4 ? AF_INET : AF_INET6;
	inet_ntop(af, t->src, source, sizeof(source));
	inet_ntop(af, t->dst, destination, sizeof(destination));
	layout.family = t->family;
	layout.proto = t->proto;
	layout.sport = t->sport;
	layout.dport = t->dport;
	packet_build(&draft->packet, &layout);
	if (dice_percent(d, r->proto == WEIR_PROTO_ARP ? 50 : 4))
		make_other(d, draft);
	memset(t->src + (t->family == 6 ? 16 : t->family), 0,
	       16 - (t->family == 6 ? 16 : t->family));
	memset(t->dst + (t->family == 6 ? 16 : t->family), 0,
	       16 - (t->family == 6 ? 16 : t->family));
}

/* ---- the comparison ---- */

struct tally {
	unsigned long packets, none, early, late, verdicts[WEIR_VERDICTS];
};

static struct tally tally;

static void describe(const struct rule_set *set, long rule, char *text)
{
	if (rule < 0)
		strcpy(text, "no rule");
	else
		rule_format(&set->rules[rule], text + sprintf(text, "rule %ld, ", rule));
}

/* The rule whose counter is ahead of what was expected before this packet. */
static long rule_met(struct xdp_run *run, const struct rule_set *set,
		     const struct weir_counter *before)
{
	for (size_t i = 0; i < set->count; i++)
		if (xdp_run_rule(run, set->rules[i].slot).packets !=
		    before[set->rules[i].slot].packets)
			return i;
	return -1;
}

static void complain(const struct draft *draft, long wanted, long met, const struct answer *a,
		     const struct xdp_result *r)
{
	char wanted_text[RULE_TEXT + 32], met_text[RULE_TEXT + 32];
	const struct truth *t = &draft->truth;
	int reason = 0;

	describe(draft->set, wanted, wanted_text);
	describe(draft->set, met, met_text);
	while (reason < WEIR_REASONS && !r->counters.reason[reason].packets)
		reason++;
	fail_msg("%zu rules on device %u, packet of class %d, proto %u, ports %u->%u: wanted (%s) "
		 "code %d reason %d, got (%s) code %d reason %d",
		 draft->set->count, draft->device, t->class, t->proto, t->sport, t->dport,
		 wanted_text, a->code, a->reason, met_text, r->code, reason);
}

/* Its counters say which rule was met: that of the one expected, and in the end no other's. */
static void check_packet(struct xdp_run *run, struct draft *draft, struct weir_counter *expected)
{
	const struct rule_set *set = draft->set;
	long rule = draft->truth.class == WEIR_NON_IP
			    ? -1
			    : first_fit(set, &draft->truth, draft->device);
	struct answer a = rule < 0 ? pass : obey(set, rule, &draft->truth);
	struct xdp_result result;

	xdp_run_frame(run, &draft->packet, &result);
	if (result.code != a.code || result.meta.target != a.meta ||
	    !xdp_run_counted_only(&result.counters, a.verdict, draft->truth.class, a.reason,
				  draft->packet.length) ||
	    (rule >= 0 && xdp_run_rule(run, set->rules[rule].slot).packets !=
				  expected[set->rules[rule].slot].packets + 1))
		complain(draft, rule, rule_met(run, set, expected), &a, &result);
	if (rule >= 0) {
		expected[set->rules[rule].slot].packets++;
		expected[set->rules[rule].slot].bytes += draft->packet.length;
	}
	tally.packets++;
	tally.none += rule < 0;
	tally.early += rule >= 0 && rule < 64;
	tally.late += rule >= 64;
	tally.verdicts[a.verdict]++;
}

static void check_set(struct dice *d, const struct random_style *style, size_t rules, int packets)
{
	static struct weir_counter expected[WEIR_MAX_RULES];
	struct weir_xdp_config config = {.ethernet = 1};
	struct rule_set set;
	struct draft draft = {.set = &set};
	struct xdp_run run;

	memset(expected, 0, sizeof(expected));
	debt_count = 0;
	random_rules(d, style, rules, &set);
	config.ifindex = draft.device = index_of(dice_below(d, RANDOM_DEVICES - 2) + 1);
	if (!draft.device)
		config.ifindex = draft.device = 0x7fffffff;
	xdp_run_open(&run, &config, &set, &names);
	for (int i = 0; i < RANDOM_DEVICES && xdp_run_redirects(&run); i++)
		if (i != DEVICE_NO_ENTRY)
			xdp_run_redirect_target(&run, targets[i].ifindex);
	for (int i = 0; i < packets; i++) {
		draw_packet(d, &draft);
		check_packet(&run, &draft, expected);
	}
	for (size_t i = 0; i < set.count; i++) {
		struct weir_counter c = xdp_run_rule(&run, set.rules[i].slot);

		assert_memory_equal(&c, &expected[set.rules[i].slot], sizeof(c));
	}
	xdp_run_close(&run);
	rule_set_free(&set);
}

/* Few and wide rules, many and narrow ones, lists, and every action. */
static const struct random_style styles[] = {
	{60, 0, 1, 0, {0, 30, 10, 10}},	    {50, 20, 20, 8, {0, 30, 10, 20}},
	{30, 30, 60, 24, {0, 20, 20, 20}},  {15, 20, 200, 60, {0, 20, 0, 0}},
	{70, 60, 2000, 40, {0, 50, 0, 20}}, {40, 0, 1, 90, {0, 20, 30, 0}},
};

static void check_some_set(struct dice *d, int n)
{
	static const __u16 counts[] = {0, 1, 2, 3, 8, 63, 64, 65, 127, 128, 129, 300};
	size_t rules = n % 2 ? counts[dice_below(d, 12)] : dice_below(d, 301);

	check_set(d, &styles[n % 6], rules, 430);
}

static void test_random_rules(void **state)
{
	for (int n = 0; n < 24; n++)
		check_some_set(*state, n);
}

static void test_most_rules(void **state)
{
	static const struct random_style narrow = {10, 2, 20, 90, {0, 30, 10, 10}};

	check_set(*state, &narrow, WEIR_MAX_RULES, 1500);
	check_set(*state, &styles[3], WEIR_MAX_RULES - 1, 500);
}

static bool is_varied(void)
{
	return tally.none > tally.packets / 50 && tally.early > tally.packets / 10 &&
	       tally.late > tally.packets / 50 && tally.verdicts[WEIR_DROP] > tally.packets / 10 &&
	       tally.verdicts[WEIR_REDIRECT] > tally.packets / 100;
}

/* A random test that only ever met the first rule would show little. Where the dice were one-sided
 * so far there are more of them. */
static void test_variety(void **state)
{
	for (int n = 0; n < 96 && !is_varied(); n++)
		check_some_set(*state, n);
	printf("# %lu packets: %lu met no rule, %lu one of the first 64, %lu a later one; %lu passed, "
	       "%lu dropped, %lu redirected\n",
	       tally.packets, tally.none, tally.early, tally.late, tally.verdicts[WEIR_PASS],
	       tally.verdicts[WEIR_DROP], tally.verdicts[WEIR_REDIRECT]);
	assert_true(is_varied());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_rules),
		cmocka_unit_test(test_most_rules),
		cmocka_unit_test(test_variety),
	};
	struct dice dice = dice_from_environment();
	struct CMUnitTest with_dice[3];

	memcpy(with_dice, tests, sizeof(tests));
	for (int i = 0; i < 3; i++)
		with_dice[i].initial_state = &dice;
	xdp_run_prepare();
	name_ports();
	return cmocka_run_group_tests_name("XDP rules", with_dice, NULL, NULL);
}
