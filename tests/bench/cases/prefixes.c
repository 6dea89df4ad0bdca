// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>

#include "prefixes.h"

#define FIRST_UNICAST (1u << 24)
#define LAST_UNICAST  (224u << 24)
#define WIDEST	      12

/* xorshift64*; see Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
static __u32 draw(__u64 *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dull >> 32;
}

static __u32 draw_unicast(__u64 *seed)
{
	return FIRST_UNICAST + draw(seed) % (LAST_UNICAST - FIRST_UNICAST);
}

static __u32 host_mask(__u32 bits)
{
	return bits ? (1ull << (32 - bits)) - 1 : ~0u;
}

static __u32 draw_bits(__u64 *seed)
{
	__u32 percent = draw(seed) % 100;

	if (percent < 60)
		return 32;
	if (percent < 85)
		return 24;
	return WIDEST + draw(seed) % (32 - WIDEST);
}

static int by_address(const void *a, const void *b)
{
	const struct ip4_prefix *p = a, *q = b;

	if (p->address != q->address)
		return p->address < q->address ? -1 : 1;
	return p->bits < q->bits ? -1 : p->bits > q->bits;
}

static size_t drop_duplicates(struct ip4_prefix *prefix, size_t count)
{
	size_t kept = 1;

	qsort(prefix, count, sizeof(*prefix), by_address);
	for (size_t i = 1; i < count; i++)
		if (by_address(&prefix[i], &prefix[kept - 1]))
			prefix[kept++] = prefix[i];
	return kept;
}

struct prefix_list prefixes_make(size_t count, int hosts_only, __u64 seed)
{
	struct prefix_list list = {calloc(count, sizeof(struct ip4_prefix)), 0};

	while (list.prefix && list.count < count) {
		for (size_t i = list.count; i < count; i++) {
			__u32 bits = hosts_only ? 32 : draw_bits(&seed);

			list.prefix[i].bits = bits;
			list.prefix[i].address = draw_unicast(&seed) & ~host_mask(bits);
		}
		list.count = drop_duplicates(list.prefix, count);
	}
	return list;
}

void prefixes_free(struct prefix_list *list)
{
	free(list->prefix);
	list->prefix = NULL;
	list->count = 0;
}

/* A prefix that covers the address has one of these lengths. */
static int covers(const struct prefix_list *list, __u32 address)
{
	for (__u32 bits = WIDEST; bits <= 32; bits++) {
		struct ip4_prefix key = {address & ~host_mask(bits), bits};

		if (bsearch(&key, list->prefix, list->count, sizeof(key), by_address))
			return 1;
	}
	return 0;
}

__u32 prefixes_inside(const struct prefix_list *list, __u64 *seed)
{
	const struct ip4_prefix *prefix = &list->prefix[draw(seed) % list->count];

	return prefix->address | (draw(seed) & host_mask(prefix->bits));
}

__u32 prefixes_outside(const struct prefix_list *list, __u64 *seed)
{
	__u32 address;

	do
		address = draw_unicast(seed);
	while (covers(list, address));
	return address;
}

__u32 prefixes_close(const struct prefix_list *list, __u64 *seed)
{
	const struct ip4_prefix *prefix;

	do
		prefix = &list->prefix[draw(seed) % list->count];
	while (prefix->bits != 32 || covers(list, prefix->address ^ 1));
	return prefix->address ^ 1;
}
