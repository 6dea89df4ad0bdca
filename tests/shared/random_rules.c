// SPDX-License-Identifier: GPL-2.0
#include "random_rules.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POOL 64 /* prefixes that new ones are made near to */

struct dice dice_from_environment(void)
{
	const char *text = getenv("WEIR_TEST_SEED");
	struct timespec t;
	__u64 seed;

	clock_gettime(CLOCK_REALTIME, &t);
	seed = text ? strtoull(text, NULL, 0) : (__u64)t.tv_sec * 1000003 + t.tv_nsec;
	printf("# WEIR_TEST_SEED=%llu\n", seed);
	fflush(stdout);
	return (struct dice){seed};
}

/* splitmix64; see Steele, Lea and Flood, "Fast splittable pseudorandom number generators". */
__u64 dice_word(struct dice *d)
{
	__u64 z = d->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

__u32 dice_below(struct dice *d, __u32 limit)
{
	return (dice_word(d) >> 32) * limit >> 32;
}

bool dice_percent(struct dice *d, unsigned int percent)
{
	return dice_below(d, 100) < percent;
}

static unsigned int bits_of(unsigned int family)
{
	return family == 4 ? 32 : 128;
}

static void flip(__u8 *address, unsigned int bit)
{
	address[bit / 8] ^= 0x80 >> bit % 8;
}

static void fill_behind(struct dice *d, __u8 *address, unsigned int length, unsigned int bits,
			int with)
{
	for (unsigned int bit = length; bit < bits; bit++) {
		__u8 mask = 0x80 >> bit % 8;
		bool set = with < 0 ? dice_percent(d, 50) : with;

		address[bit / 8] = set ? address[bit / 8] | mask : address[bit / 8] & ~mask;
	}
}

static unsigned int random_length(struct dice *d, unsigned int bits, unsigned int least)
{
	static const __u8 edges[] = {32, 64, 63, 65, 48, 24, 8, 16, 60, 68, 1, 127};

	least = least * bits / 128;
	if (dice_percent(d, 25))
		return bits;
	if (dice_percent(d, 25)) {
		unsigned int edge = edges[dice_below(d, sizeof(edges))];

		if (edge >= least && edge <= bits)
			return edge;
	}
	return least + dice_below(d, bits - least + 1);
}

struct prefix random_prefix(struct dice *d, unsigned int family, unsigned int least_length,
			    const struct prefix *others, size_t count)
{
	const struct prefix *near = count ? &others[dice_below(d, count)] : NULL;
	unsigned int bits = bits_of(family);
	struct prefix p = {.family = family};

	if (near && near->family == family && dice_percent(d, 75)) {
		p = *near;
		if (dice_percent(d, 40) && p.length)
			flip(p.address, p.length - 1);
		if (dice_percent(d, 70)) {
			p.length = random_length(d, bits, least_length);
			fill_behind(d, p.address, near->length, bits, -1);
		}
	} else {
		p.length = random_length(d, bits, least_length);
		fill_behind(d, p.address, 0, bits, -1);
	}
	fill_behind(d, p.address, p.length, bits, 0);
	return p;
}

void random_address(struct dice *d, const struct prefix *near, __u8 *address)
{
	unsigned int bits = bits_of(near->family), kind = dice_below(d, 8);

	memcpy(address, near->address, sizeof(near->address));
	fill_behind(d, address, near->length, bits, kind == 0 ? 0 : kind == 1 ? 1 : -1);
	if (kind == 2 && near->length)
		flip(address, near->length - 1);
	if (kind == 3)
		flip(address, dice_below(d, bits));
}

__u16 random_port(struct dice *d, const __u16 *near)
{
	switch (dice_below(d, 6)) {
	case 0: return near[0];
	case 1: return near[1];
	case 2: return near[0] - 1;
	case 3: return near[1] + 1;
	case 4: return near[0] + dice_below(d, near[1] - near[0] + 1);
	default: return dice_word(d);
	}
}

static void random_range(struct dice *d, __u16 *range)
{
	__u16 a = dice_word(d), b = dice_percent(d, 50) ? a : (__u16)dice_word(d);

	if (dice_percent(d, 20))
		b = a + dice_below(d, 40) < 65536 ? a + dice_below(d, 40) : 65535;
	if (dice_percent(d, 15))
		a = 0;
	if (dice_percent(d, 15))
		b = 65535;
	range[0] = a < b ? a : b;
	range[1] = a < b ? b : a;
}

static void random_device(struct dice *d, char *name)
{
	sprintf(name, "dev%u", dice_below(d, RANDOM_DEVICES));
}

static bool constrained(struct dice *d, const struct random_style *style)
{
	return !dice_percent(d, style->free_percent);
}

struct maker {
	struct dice *d;
	const struct random_style *style;
	struct prefix pool[2][POOL];
	size_t pooled[2];
	struct rule_set *set;
	size_t room;
};

static struct prefix new_prefix(struct maker *m, unsigned int family)
{
	bool six = family == 6;
	struct prefix p =
		random_prefix(m->d, family, m->style->least_length, m->pool[six], m->pooled[six]);
	size_t at = m->pooled[six] < POOL ? m->pooled[six]++ : dice_below(m->d, POOL);

	m->pool[six][at] = p;
	return p;
}

static void add_list(struct maker *m, struct rule *r)
{
	size_t count = 1 + dice_below(m->d, m->style->list_most);
	struct rule_set *set = m->set;

	while (set->prefix_count + count > m->room) {
		m->room = m->room ? m->room * 2 : 1024;
		set->prefixes = realloc(set->prefixes, m->room * sizeof(*set->prefixes));
		if (!set->prefixes)
			err(1, "out of memory");
	}
	for (size_t i = 0; i < count; i++)
		set->prefixes[set->prefix_count++] = new_prefix(m, dice_percent(m->d, 50) ? 4 : 6);
	strcpy(r->list, "list");
	r->list_matches_dst = dice_percent(m->d, 50);
	r->prefixes = count;
}

static void random_action(struct maker *m, struct rule *r)
{
	unsigned int roll = dice_below(m->d, 100), upto = 0;

	for (unsigned int a = WEIR_A_PASS; a <= WEIR_A_REDIRECT; a++) {
		upto += m->style->action_percent[a];
		if (roll < upto) {
			r->action = a;
			break;
		}
	}
	if (r->action == WEIR_A_LIMIT) {
		r->rate_micro = 278;
		r->burst = 1 + dice_below(m->d, 4);
	} else if (r->action == WEIR_A_REDIRECT) {
		random_device(m->d, r->target);
	}
}

static struct rule random_rule(struct maker *m)
{
	static const __u16 protos[] = {6, 17, 6, 17, 1, 58, 132, 33, 136, 47, WEIR_PROTO_ARP};
	struct rule r = {.proto = RULE_ANY_PROTO, .sport = {0, 65535}, .dport = {0, 65535}};
	unsigned int family = dice_percent(m->d, 50) ? 4 : 6;

	random_action(m, &r);
	if (constrained(m->d, m->style))
		r.proto = dice_percent(m->d, 90) ? protos[dice_below(m->d, sizeof(protos) / 2)]
						 : dice_below(m->d, 256);
	if (dice_percent(m->d, 15) && r.proto != WEIR_PROTO_ARP)
		random_device(m->d, r.dev);
	if (r.proto == WEIR_PROTO_ARP)
		return r;
	if (dice_percent(m->d, m->style->list_percent))
		add_list(m, &r);
	if (constrained(m->d, m->style) && !(*r.list && !r.list_matches_dst))
		r.src = new_prefix(m, family);
	if (constrained(m->d, m->style) && !(*r.list && r.list_matches_dst))
		r.dst = new_prefix(m, family);
	if (r.proto == 6 || r.proto == 17 || r.proto == 33 || r.proto == 132 || r.proto == 136 ||
	    r.proto == RULE_ANY_PROTO) {
		if (constrained(m->d, m->style))
			random_range(m->d, r.dport);
		if (dice_percent(m->d, 50) && constrained(m->d, m->style))
			random_range(m->d, r.sport);
	}
	return r;
}

void random_rules(struct dice *d, const struct random_style *style, size_t count,
		  struct rule_set *set)
{
	struct maker m = {.d = d, .style = style, .set = set};

	*set = (struct rule_set){.rules = calloc(count + 1, sizeof(*set->rules)),
				 .next_id = count + 1,
				 .seed = dice_word(d)};
	if (!set->rules)
		err(1, "out of memory");
	for (; set->count < count; set->count++) {
		set->rules[set->count] = random_rule(&m);
		set->rules[set->count].id = set->count + 1;
		set->rules[set->count].slot = count - 1 - set->count;
	}
}
