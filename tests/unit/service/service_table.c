// SPDX-License-Identifier: GPL-2.0
/* The service table, read as the XDP program reads it, against a look at every service. */
#include "table_reader.h"

static __u32 find_only(const struct view *v, const struct address *a, bool udp)
{
	__u64 vip = word(v, v->head->vips + (find_address(v, a) >> WEIR_ADDRESS_FLAGS));

	return udp ? vip >> 32 : (__u32)vip;
}

/* ---- a look at every service ---- */

static bool same_address(const struct address *a, const struct address *b)
{
	return a->family == b->family && !memcmp(a->byte, b->byte, a->family == 4 ? 4 : 16);
}

static __u32 naive_service(const struct balance *b, const struct address *a, bool udp, __u16 port)
{
	__u32 any = 0;

	for (size_t i = 0; i < b->service_count; i++) {
		const struct service *s = &b->services[i];

		if (!same_address(&s->address, a) || (s->proto == IPPROTO_UDP) != udp)
			continue;
		if (s->port == port)
			return s->index;
		if (!s->port)
			any = s->index;
	}
	return any;
}

static __u32 naive_only(const struct balance *b, const struct address *a, bool udp)
{
	__u32 only = 0;

	for (size_t i = 0; i < b->service_count; i++) {
		const struct service *s = &b->services[i];

		if (same_address(&s->address, a) && (s->proto == IPPROTO_UDP) == udp)
			only = only ? WEIR_SEVERAL : s->index;
	}
	return only;
}

static __u32 naive_flags(const struct balance *b, const struct nat_sources *sources,
			 const struct address *a)
{
	__u32 flags = 0;

	for (size_t i = 0; i < b->service_count; i++) {
		const struct service *s = &b->services[i];

		if (same_address(&s->address, a))
			flags |= WEIR_IS_VIP;
		if (s->mode == WEIR_NAT && s->source.family && same_address(&s->source, a))
			flags |= WEIR_IS_NAT_SOURCE;
	}
	for (size_t i = 0; i < sources->count; i++)
		if (same_address(&sources->address[i], a))
			flags |= WEIR_IS_NAT_SOURCE;
	return flags;
}

/* ---- random configurations ---- */

static struct address random_near(size_t pool)
{
	__u32 n = dice_below(&dice, pool);

	return dice_below(&dice, 2) ? address4(0xc0000200 + n)
				    : address6(0x20010db8ull << 32, (__u64)n << (n & 1) * 40);
}

static __u16 random_near_port(void)
{
	return dice_below(&dice, 3) ? dice_below(&dice, 6) : 65530 + dice_below(&dice, 6);
}

static void decorate(struct service *s)
{
	s->mode = dice_below(&dice, WEIR_MODES);
	s->by_source = dice_below(&dice, 2);
	s->free = s->proto == IPPROTO_UDP && dice_below(&dice, 2);
	s->mss = dice_below(&dice, 2) * 1400;
	s->idle = 1 + dice_below(&dice, 300);
	s->first_slot = dice_below(&dice, 1000) * 1024;
	s->first_bucket = dice_below(&dice, 100000);
	s->slots = 1024u << dice_below(&dice, 7);
	s->buckets = 1u << dice_below(&dice, 12);
	s->since_ns = dice_word(&dice);
	if (dice_below(&dice, 3) == 0)
		s->source = random_near(64);
}

static void make_random(struct balance *b, size_t most)
{
	__u32 backends = 0;

	make_balance(b, most, most * 4);
	for (size_t i = 0; i < most; i++) {
		struct address address = random_near(most + 4);
		bool udp = dice_below(&dice, 2);
		__u16 port = random_near_port();
		bool there = false;

		for (size_t n = 0; n < b->service_count && !there; n++)
			there = same_address(&b->services[n].address, &address) &&
				b->services[n].port == port &&
				(b->services[n].proto == IPPROTO_UDP) == udp;
		if (there)
			continue;
		decorate(add_service(b, address, udp ? IPPROTO_UDP : IPPROTO_TCP, port));
		for (__u32 n = dice_below(&dice, 5); n > 0; n--)
			add_backend(b, b->services[b->service_count - 1].index, backends++);
	}
}

static void check_lookup(const struct view *v, const struct balance *b,
			 const struct nat_sources *sources, const struct address *a)
{
	bool udp = dice_below(&dice, 2);
	__u16 port = random_near_port();

	assert_int_equal(find_address(v, a) & 0xff, naive_flags(b, sources, a));
	assert_int_equal(find_service(v, a, udp, port), naive_service(b, a, udp, port));
	assert_int_equal(find_only(v, a, udp), naive_only(b, a, udp));
}

static void check(const struct balance *b, const struct nat_sources *sources, int lookups)
{
	struct service_table t = compile(b, sources);
	struct view v = view_of(&t);

	check_whole(&t, b);
	for (int i = 0; i < lookups; i++) {
		struct address a = random_near(b->service_count + 80);

		check_lookup(&v, b, sources, &a);
	}
	for (size_t i = 0; i < b->service_count; i++)
		check_lookup(&v, b, sources, &b->services[i].address);
	free(t.bytes);
}

static void test_random(void **state)
{
	(void)state;
	for (int i = 0; i < 300; i++) {
		struct address list[20];
		struct nat_sources sources = {.address = list};
		struct balance b;

		for (sources.count = 0; sources.count < dice_below(&dice, 20); sources.count++)
			list[sources.count] = random_near(64);
		make_random(&b, i % 10 ? 1 + dice_below(&dice, 40) : 600);
		check(&b, &sources, 300);
		balance_free(&b);
	}
}

static void test_none(void **state)
{
	struct balance b;
	const struct nat_sources none = {};

	(void)state;
	make_balance(&b, 0, 0);
	check(&b, &none, 100);
	balance_free(&b);
}

/* A source is not a VIP, whatever port is asked for; one address may be both. */
static void test_sources(void **state)
{
	struct address list[] = {address4(0xc0000201), address4(0xc0000202)};
	struct nat_sources sources = {list, 2};
	struct service_table t;
	struct balance b;
	struct view v;

	(void)state;
	make_balance(&b, 2, 0);
	add_service(&b, list[0], IPPROTO_TCP, 0)->mode = WEIR_NAT;
	add_service(&b, address6(1, 2), IPPROTO_UDP, 53)->mode = WEIR_NAT;
	b.services[1].source = address6(3, 4);
	t = compile(&b, &sources);
	v = view_of(&t);
	assert_int_equal(find_address(&v, &list[0]) & 0xff, WEIR_IS_VIP | WEIR_IS_NAT_SOURCE);
	assert_int_equal(find_address(&v, &list[1]), WEIR_IS_NAT_SOURCE);
	assert_int_equal(find_address(&v, &b.services[1].source), WEIR_IS_NAT_SOURCE);
	assert_int_equal(find_service(&v, &list[1], false, 80), 0);
	assert_int_equal(find_service(&v, &list[1], false, 0), 0);
	assert_int_equal(find_only(&v, &list[1], false), 0);
	assert_int_equal(find_service(&v, &list[0], false, 80), b.services[0].index);
	assert_int_equal(find_service(&v, &list[0], true, 80), 0);
	free(t.bytes);

	/* The outer source of a tunnel is none. */
	b.services[1].mode = WEIR_DSR_IPIP;
	t = compile(&b, NULL);
	v = view_of(&t);
	assert_int_equal(find_address(&v, &b.services[1].source), 0);
	free(t.bytes);
	balance_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_sources),
	};

	dice = dice_from_environment();
	return cmocka_run_group_tests_name("service_table", tests, NULL, NULL);
}
