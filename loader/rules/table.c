// SPDX-License-Identifier: GPL-2.0
#include "table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "classes.h"
#include "loader/base/error.h"
#include "trie.h"

struct compiler {
	const struct rule_set *set;
	const struct table_names *names;
	struct words words;
	struct classes classes;
	struct trie_item *items;
	size_t count, room;
	struct weir_table_head head;
};

static int add_item(struct compiler *c, __u32 rule, __u64 key, __u64 low, unsigned int length)
{
	if (c->count == c->room) {
		size_t room = c->room ? c->room * 2 : 1024;
		struct trie_item *more = realloc(c->items, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		c->items = more;
		c->room = room;
	}
	c->items[c->count++] = (struct trie_item){
		.key = {key, low},
		.length = length,
		.rule = rule,
	};
	return 0;
}

static __u64 word_of(const __u8 *bytes)
{
	__u32 half[2];

	memcpy(half, bytes, sizeof(half));
	return (__u64)ntohl(half[0]) << 32 | ntohl(half[1]);
}

static int add_prefix(struct compiler *c, __u32 rule, const struct prefix *p)
{
	return add_item(c, rule, word_of(p->address), word_of(p->address + 8), p->length);
}

/* [first, last] of `bits`-bit numbers as prefixes: at most 2 * bits - 2. */
static int add_range(struct compiler *c, __u32 rule, __u64 first, __u64 last, unsigned int bits)
{
	while (first <= last) {
		unsigned int size = 0;
		int err;

		while (size < bits && !(first >> size & 1) && first + (2ull << size) - 1 <= last)
			size++;
		err = add_item(c, rule, first << (64 - bits), 0, bits - size);
		if (err)
			return err;
		first += 1ull << size;
	}
	return 0;
}

static const struct prefix *list_of(const struct compiler *c, size_t rule)
{
	size_t at = 0;

	for (size_t i = 0; i < rule; i++)
		at += c->set->rules[i].prefixes;
	return c->set->prefixes + at;
}

static int add_addresses(struct compiler *c, size_t i, bool source, unsigned int family)
{
	const struct rule *r = &c->set->rules[i];
	const struct prefix *own = source ? &r->src : &r->dst;
	int err = 0;

	if (own->family == family)
		err = add_prefix(c, i, own);
	if (*r->list && r->list_matches_dst != source) {
		const struct prefix *list = list_of(c, i);

		for (__u32 n = 0; n < r->prefixes && !err; n++)
			if (list[n].family == family)
				err = add_prefix(c, i, &list[n]);
	}
	return err;
}

static int add_device(struct compiler *c, size_t i)
{
	const struct rule *r = &c->set->rules[i];
	const char *name = *r->dev ? r->dev : r->target;
	__u32 index = c->names->ifindex(name);
	int err;

	if (*r->dev)
		return index ? add_range(c, i, index, index, 32) : 0;
	/* What a rule sends out of a device must not come back from there to be sent again. */
	if (!index)
		return add_range(c, i, 0, 0xffffffff, 32);
	err = add_range(c, i, 0, index - 1, 32);
	return err ? err : add_range(c, i, index + 1ull, 0xffffffff, 32);
}

static int add_proto(struct compiler *c, size_t i)
{
	__u16 proto = c->set->rules[i].proto;

	if (proto == RULE_ANY_PROTO)
		return add_range(c, i, 0, 255, 16);
	return add_range(c, i, proto, proto, 16);
}

static bool any_ports(const __u16 *range)
{
	return range[0] == 0 && range[1] == 65535;
}

static bool constrains(const struct rule *r, enum weir_field field)
{
	switch (field) {
	case WEIR_F_SRC: return r->src.family || (*r->list && !r->list_matches_dst);
	case WEIR_F_DST: return r->dst.family || (*r->list && r->list_matches_dst);
	case WEIR_F_PROTO: return true; /* at least: is IP */
	case WEIR_F_SPORT: return !any_ports(r->sport);
	case WEIR_F_DPORT: return !any_ports(r->dport);
	default: return *r->dev || r->action == WEIR_A_REDIRECT;
	}
}

static const struct {
	enum weir_field field;
	unsigned int bits;
} tries[WEIR_TRIES] = {
	[WEIR_T_SRC4] = {WEIR_F_SRC, 32},    [WEIR_T_DST4] = {WEIR_F_DST, 32},
	[WEIR_T_SRC6] = {WEIR_F_SRC, 128},   [WEIR_T_DST6] = {WEIR_F_DST, 128},
	[WEIR_T_PROTO] = {WEIR_F_PROTO, 16}, [WEIR_T_SPORT] = {WEIR_F_SPORT, 16},
	[WEIR_T_DPORT] = {WEIR_F_DPORT, 16}, [WEIR_T_DEV] = {WEIR_F_DEV, 32},
};

static int add_rule(struct compiler *c, enum weir_trie trie, size_t i)
{
	const struct rule *r = &c->set->rules[i];

	switch (trie) {
	case WEIR_T_SRC4: return add_addresses(c, i, true, 4);
	case WEIR_T_SRC6: return add_addresses(c, i, true, 6);
	case WEIR_T_DST4: return add_addresses(c, i, false, 4);
	case WEIR_T_DST6: return add_addresses(c, i, false, 6);
	case WEIR_T_PROTO: return add_proto(c, i);
	case WEIR_T_SPORT: return add_range(c, i, r->sport[0], r->sport[1], 16);
	case WEIR_T_DPORT: return add_range(c, i, r->dport[0], r->dport[1], 16);
	default: return add_device(c, i);
	}
}

/* The class of the rules that do not constrain the field: it holds whatever the field's value. */
static long base_class(struct compiler *c, enum weir_field field)
{
	__u64 set[WEIR_BITMAP_WORDS] = {};

	for (size_t i = 0; i < c->set->count; i++)
		if (!constrains(&c->set->rules[i], field))
			set[i / 64] |= 1ull << i % 64;
	return classes_of(&c->classes, set);
}

static int build_trie(struct compiler *c, enum weir_trie trie)
{
	enum weir_field field = tries[trie].field;
	long base = base_class(c, field);
	int err = base < 0 ? base : 0;

	c->count = 0;
	for (size_t i = 0; i < c->set->count && !err; i++)
		if (constrains(&c->set->rules[i], field))
			err = add_rule(c, trie, i);
	if (err)
		return err;
	c->head.absent[field] = classes_row(&c->classes, base);
	return trie_build(&c->words, &c->classes, c->items, c->count, tries[trie].bits, base,
			  &c->head.root[trie]);
}

/* Protocols matter when a rule names one, and when nothing else would tell that there are rules;
 * a rule that names none still does not match ARP, which the program sorts out by itself. */
static void decide_fields(struct compiler *c)
{
	bool named = false;

	for (size_t i = 0; i < c->set->count; i++) {
		const struct rule *r = &c->set->rules[i];

		named |= r->proto != RULE_ANY_PROTO;
		c->head.actions |= 1u << r->action;
		for (int f = 0; f < WEIR_FIELDS; f++)
			if (f != WEIR_F_PROTO && constrains(r, f))
				c->head.fields |= 1u << f;
	}
	if (named || (c->set->count && !c->head.fields))
		c->head.fields |= 1u << WEIR_F_PROTO;
}

static int add_rows(struct compiler *c)
{
	size_t words = c->classes.words;
	long at = words_add(&c->words, classes_rows(&c->classes));

	if (at < 0)
		return at;
	if (classes_rows(&c->classes) > WEIR_SKIP_MISS_MASK)
		return -E2BIG;
	c->head.rows = at;
	c->head.bitmap_words = words;
	for (size_t i = 0; i < c->classes.count; i++) {
		__u64 *row = c->words.word + at + classes_row(&c->classes, i);
		const __u64 *bits = classes_bits(&c->classes, i);

		if (words == 1) {
			*row = *bits;
			continue;
		}
		for (size_t w = 0; w < words; w++) {
			row[w + 1] = bits[w];
			if (bits[w])
				row[0] |= 1ull << w;
		}
	}
	return 0;
}

static const struct redirect_target *target_of(const struct compiler *c, const char *name)
{
	for (size_t i = 0; i < c->names->count; i++)
		if (!strcmp(c->names->targets[i].name, name))
			return &c->names->targets[i];
	return NULL;
}

static struct weir_table_rule table_rule(const struct compiler *c, const struct rule *r)
{
	struct weir_table_rule t = {.slot = r->slot, .action = r->action, .exists = 1};
	const struct redirect_target *target;

	if (r->action == WEIR_A_LIMIT) {
		t.interval = 1000000000000000ull / r->rate_micro;
		t.burst = (r->burst - 1) * t.interval;
	}
	target = r->action == WEIR_A_REDIRECT ? target_of(c, r->target) : NULL;
	if (target) {
		t.target = target->ifindex;
		t.flags = target->via_tc ? WEIR_R_VIA_TC : 0;
	}
	return t;
}

static int add_rules(struct compiler *c)
{
	long at = words_add(&c->words, c->set->count * sizeof(struct weir_table_rule) / 8);

	if (at < 0)
		return at;
	c->head.table_rules = at;
	for (size_t i = 0; i < c->set->count; i++) {
		struct weir_table_rule t = table_rule(c, &c->set->rules[i]);

		memcpy(c->words.word + at + i * sizeof(t) / 8, &t, sizeof(t));
	}
	return 0;
}

static int add_source(struct compiler *c)
{
	size_t rules = c->set->count * sizeof(struct rule);
	size_t prefixes = c->set->prefix_count * sizeof(struct prefix);
	long at = words_add(&c->words, (rules + prefixes + 7) / 8);
	char *to;

	if (at < 0)
		return at;
	to = (char *)(c->words.word + at);
	if (rules)
		memcpy(to, c->set->rules, rules);
	if (prefixes)
		memcpy(to + rules, c->set->prefixes, prefixes);
	c->head.source = at;
	c->head.source_bytes = rules + prefixes;
	return 0;
}

static int finish(struct compiler *c, struct table *table)
{
	size_t used = c->words.count * 8, size = TABLE_LEAST;

	while (size < used)
		size *= 2;
	if (size > TABLE_MOST)
		return -E2BIG;
	table->bytes = calloc(1, size);
	if (!table->bytes)
		return -ENOMEM;
	memcpy(c->words.word, &c->head, sizeof(c->head));
	memcpy(table->bytes, c->words.word, used);
	table->size = size;
	return 0;
}

int table_compile(const struct rule_set *set, const struct table_names *names, struct table *table)
{
	struct compiler c = {.set = set, .names = names};
	int err;

	c.head = (struct weir_table_head){
		.schema = WEIR_XDP_SCHEMA,
		.rules = set->count,
		.next_id = set->next_id,
		.seed = set->seed,
	};
	err = classes_init(&c.classes, set->count);
	if (!err && words_add(&c.words, sizeof(c.head) / 8) < 0)
		err = -ENOMEM;
	for (int t = 0; t < WEIR_TRIES && !err; t++)
		err = build_trie(&c, t);
	if (!err)
		decide_fields(&c);
	if (!err)
		err = add_rows(&c);
	if (!err)
		err = add_rules(&c);
	if (!err)
		err = add_source(&c);
	if (!err)
		err = finish(&c, table);
	classes_free(&c.classes);
	free(c.words.word);
	free(c.items);
	if (err)
		return fail(err, err == -E2BIG ? "the rules need a table of more than 512 MiB; use "
						 "fewer prefixes or fewer different conditions"
					       : "out of memory for the rule table");
	return 0;
}

int table_source(const void *bytes, size_t size, struct rule_set *set)
{
	const struct weir_table_head *head = bytes;
	const char *source;
	size_t rules, prefixes;

	*set = (struct rule_set){};
	if (size < sizeof(*head) || head->schema != WEIR_XDP_SCHEMA)
		return fail(-EPROTO,
			    "the rule table has schema %u, this weir (" WEIR_VERSION
			    ") speaks %u; 'weir detach --all' and set up anew",
			    head->schema, WEIR_XDP_SCHEMA);
	rules = head->rules * sizeof(struct rule);
	if (head->rules > WEIR_MAX_RULES || head->source_bytes < rules ||
	    head->source * 8ull + head->source_bytes > size)
		return fail(-EPROTO,
			    "the rule table is damaged; 'weir rule flush' makes a new one");
	prefixes = head->source_bytes - rules;
	source = (const char *)bytes + head->source * 8ull;
	set->count = head->rules;
	set->prefix_count = prefixes / sizeof(struct prefix);
	set->next_id = head->next_id;
	set->seed = head->seed;
	set->rules = malloc(rules + 1);
	set->prefixes = malloc(prefixes + 1);
	if (!set->rules || !set->prefixes) {
		rule_set_free(set);
		return fail(-ENOMEM, "out of memory");
	}
	memcpy(set->rules, source, rules);
	memcpy(set->prefixes, source + rules, prefixes);
	return 0;
}
