// SPDX-License-Identifier: GPL-2.0
/* The service table, read as the XDP program reads it, against a look at every service. */
#include "loader/service/service_table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/base/error.h"
#include "tests/shared/random_rules.h"
#include "xdp/balance/abi.h"
#include "xdp/balance/hash.h"

#include <cmocka.h>

#define TICK_NS 1024000000ull

static struct dice dice;

/* ---- the program's way through the table ---- */

struct view {
	const char *bytes;
	size_t size;
	const struct weir_service_head *head;
};

static __u64 word(const struct view *v, __u64 at)
{
	assert_true(at * 8 + 8 <= v->size);
	return *(const __u64 *)(v->bytes + (at * 8 & (v->size - 8)));
}

static __u32 find4(const struct view *v, __u32 address)
{
	__u64 place = v->head->addresses4 + WEIR_PLACE(address, v->head->seed, v->head->mask4);

	for (__u32 i = 0; i < v->head->probes; i++)
		if (word(v, place + i) >> 32 == address)
			return word(v, place + i);
	return 0;
}

static __u32 find6(const struct view *v, __u64 high, __u64 low)
{
	__u64 at = WEIR_PLACE(WEIR_KEY6(high, low), v->head->seed, v->head->mask6);
	__u64 place = v->head->addresses6 + at * 3;

	for (__u32 i = 0; i < v->head->probes; i++, place += 3)
		if (word(v, place + 1) == high && word(v, place + 2) == low)
			return word(v, place);
	return 0;
}

static __u64 word_of(const __u8 *bytes)
{
	__u64 word = 0;

	for (int i = 0; i < 8; i++)
		word = word << 8 | bytes[i];
	return word;
}

static __u32 find_address(const struct view *v, const struct address *a)
{
	__u64 high = word_of(a->byte), low = word_of(a->byte + 8);

	return a->family == 4 ? find4(v, high >> 32) : find6(v, high, low);
}

static __u32 find_port(const struct view *v, __u32 address, bool udp, __u16 port)
{
	__u64 key = WEIR_PORT_KEY(address >> WEIR_ADDRESS_FLAGS, udp, port);
	__u64 place = v->head->ports + WEIR_PLACE(key, v->head->seed, v->head->ports_mask);

	for (__u32 i = 0; i < v->head->probes; i++)
		if (word(v, place + i) >> WEIR_PORT_SERVICE_BITS == key)
			return word(v, place + i) & ((1u << WEIR_PORT_SERVICE_BITS) - 1);
	return 0;
}

static __u32 find_service(const struct view *v, const struct address *a, bool udp, __u16 port)
{
	__u32 address = find_address(v, a), index = find_port(v, address, udp, port);

	return index ? index : find_port(v, address, udp, 0);
}

static __u32 find_only(const struct view *v, const struct address *a, bool udp)
{
	__u64 vip = word(v, v->head->vips + (find_address(v, a) >> WEIR_ADDRESS_FLAGS));

	return udp ? vip >> 32 : (__u32)vip;
}

static const struct weir_service *record(const struct view *v, __u32 index)
{
	__u64 at = (v->head->records + index * 8ull) * 8;

	assert_int_equal(at % 64, 0);
	assert_true(at + 64 <= v->head->records_end * 8ull && at + 64 <= v->size);
	return (const void *)(v->bytes + (at & (v->size - 64)));
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

/* ---- configurations ---- */

static struct address address4(__u32 value)
{
	struct address a = {.family = 4, .bits = 32};

	value = htonl(value);
	memcpy(a.byte, &value, 4);
	return a;
}

static struct address address6(__u64 high, __u64 low)
{
	struct address a = {.family = 6, .bits = 128};

	for (int i = 0; i < 8; i++) {
		a.byte[i] = high >> (56 - 8 * i);
		a.byte[8 + i] = low >> (56 - 8 * i);
	}
	return a;
}

static void make_balance(struct balance *b, size_t services, size_t backends)
{
	*b = (struct balance){
		.services = calloc(services + 1, sizeof(*b->services)),
		.backends = calloc(backends + 1, sizeof(*b->backends)),
	};
}

/* Indexes leave holes now and then. */
static struct service *add_service(struct balance *b, struct address address, __u8 proto,
				   __u16 port)
{
	struct service *s = &b->services[b->service_count];
	__u32 last = b->service_count ? s[-1].index : 0;

	*s = (struct service){
		.index = last + 1 + (dice_below(&dice, 8) == 0),
		.proto = proto,
		.mode = WEIR_DSR_L2,
		.address = address,
		.port = port,
		.idle = 60,
		.slots = 1024,
		.buckets = 256,
	};
	b->service_count++;
	return s;
}

static void add_backend(struct balance *b, __u32 service, __u32 number)
{
	b->backends[b->backend_count++] = (struct backend){
		.index = number + 1,
		.service = service,
		.address = address4(0x0a000000 + number),
		.weight = 1 + dice_below(&dice, 1000),
		.state = dice_below(&dice, BACKEND_STATES),
		.since_ns = dice_word(&dice),
	};
}

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

static struct service_table compile(const struct balance *b, const struct nat_sources *sources)
{
	struct service_table t;

	forget_failure();
	assert_int_equal(service_table_compile(b, sources, TICK_NS, &t), 0);
	assert_true(t.size >= 4096 && (t.size & (t.size - 1)) == 0);
	return t;
}

static struct view view_of(const struct service_table *t)
{
	struct view v = {.bytes = t->bytes, .size = t->size, .head = t->bytes};

	assert_in_range(v.head->probes, 1, WEIR_PROBES);
	assert_true(v.head->seed & 1);
	assert_int_equal((v.head->mask4 + 1) & v.head->mask4, 0);
	assert_int_equal((v.head->mask6 + 1) & v.head->mask6, 0);
	assert_int_equal((v.head->ports_mask + 1) & v.head->ports_mask, 0);
	return v;
}

/* ---- checks ---- */

static void check_lookup(const struct view *v, const struct balance *b,
			 const struct nat_sources *sources, const struct address *a)
{
	bool udp = dice_below(&dice, 2);
	__u16 port = random_near_port();

	assert_int_equal(find_address(v, a) & 0xff, naive_flags(b, sources, a));
	assert_int_equal(find_service(v, a, udp, port), naive_service(b, a, udp, port));
	assert_int_equal(find_only(v, a, udp), naive_only(b, a, udp));
}

static void check_record(const struct view *v, const struct service *s)
{
	const struct weir_service *r = record(v, s->index);
	__u32 idle = (s->idle * 1000 + 1023) / 1024;

	assert_int_equal(r->slots, s->first_slot);
	assert_int_equal(r->slot_mask, s->slots - 1);
	assert_int_equal(r->flows, s->first_bucket);
	assert_int_equal(r->flow_mask, s->buckets - 1);
	assert_int_equal(r->mode, s->mode);
	assert_int_equal(r->flags, s->by_source * WEIR_S_BY_SOURCE + s->free * WEIR_S_FREE);
	assert_int_equal(r->family, s->address.family);
	assert_int_equal(r->proto, s->proto);
	assert_int_equal(r->mss, s->mss);
	assert_int_equal(ntohs(r->port), s->port);
	assert_int_equal(r->idle, idle);
	assert_int_equal(r->idle_closing, idle < 30 ? idle : 30);
	assert_memory_equal(r->address, s->address.byte, s->address.family == 4 ? 4 : 16);
	assert_int_equal(r->vip, find_address(v, &s->address) >> WEIR_ADDRESS_FLAGS);
}

static void check_holes(const struct view *v, const struct balance *b)
{
	static const struct weir_service none;
	size_t at = 0;

	for (__u32 i = 0; i < (v->head->records_end - v->head->records) / 8; i++) {
		if (at < b->service_count && b->services[at].index == i)
			at++;
		else
			assert_memory_equal(record(v, i), &none, sizeof(none));
	}
	assert_int_equal(at, b->service_count);
}

static void check_source(const struct service_table *t, const struct balance *b)
{
	struct balance back;

	assert_int_equal(service_table_source(t->bytes, t->size, &back), 0);
	assert_int_equal(back.service_count, b->service_count);
	assert_int_equal(back.backend_count, b->backend_count);
	assert_memory_equal(back.services, b->services, b->service_count * sizeof(*b->services));
	assert_memory_equal(back.backends, b->backends, b->backend_count * sizeof(*b->backends));
	balance_free(&back);
}

static __u32 modes_of(const struct balance *b)
{
	__u32 modes = 0;

	for (size_t i = 0; i < b->service_count; i++)
		modes |= 1u << b->services[i].mode;
	return modes;
}

static bool has_key(const struct view *v, __u64 key)
{
	for (__u32 i = 0; i < v->head->nat_backend_count; i++)
		if (word(v, v->head->nat_backends + i) == key)
			return true;
	return false;
}

/* All of NAT's backends of TCP and no others, in order. */
static void check_nat_backends(const struct view *v, const struct balance *b)
{
	__u32 count = 0;

	for (size_t i = 0; i < b->backend_count; i++) {
		const struct backend *to = &b->backends[i];
		const struct service *s = balance_service(b, to->service);
		__be32 at[4];

		if (s->mode != WEIR_NAT || s->proto != IPPROTO_TCP)
			continue;
		memcpy(at, to->address.byte, sizeof(at));
		if (to->address.family == 4)
			at[1] = at[2] = at[3] = 0;
		assert_true(has_key(v, nat_backend_key((__u64)ntohl(at[0]) << 32 | ntohl(at[1]),
						       (__u64)ntohl(at[2]) << 32 | ntohl(at[3]),
						       to->address.family, to->port)));
		count++;
	}
	assert_int_equal(v->head->nat_backend_count, count);
	for (__u32 i = 1; i < count; i++)
		assert_true(word(v, v->head->nat_backends + i - 1) <=
			    word(v, v->head->nat_backends + i));
}

static void check(const struct balance *b, const struct nat_sources *sources, int lookups)
{
	struct service_table t = compile(b, sources);
	struct view v = view_of(&t);

	assert_int_equal(v.head->services, b->service_count);
	assert_int_equal(v.head->modes, modes_of(b));
	for (size_t i = 0; i < b->service_count; i++) {
		const struct service *s = &b->services[i];

		assert_int_equal(find_service(&v, &s->address, s->proto == IPPROTO_UDP, s->port),
				 s->index);
		check_record(&v, s);
	}
	check_holes(&v, b);
	check_nat_backends(&v, b);
	check_source(&t, b);
	for (int i = 0; i < lookups; i++) {
		struct address a = random_near(b->service_count + 80);

		check_lookup(&v, b, sources, &a);
	}
	for (size_t i = 0; i < b->service_count && lookups; i++)
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

/* What most users have must be found at the first place, in a small table. */
static void test_small(void **state)
{
	(void)state;
	for (int services = 1; services <= 16; services++) {
		struct service_table t;
		struct balance b;

		make_balance(&b, services, services * 2);
		for (int i = 0; i < services; i++) {
			add_service(&b, address4(0xc0000201 + i), IPPROTO_TCP, 443);
			add_backend(&b, b.services[i].index, i);
		}
		t = compile(&b, NULL);
		assert_int_equal(view_of(&t).head->probes, 1);
		assert_true(t.size <= 16384);
		assert_true(services > 2 || t.size == 4096);
		check_source(&t, &b);
		free(t.bytes);
		balance_free(&b);
	}
}

/* ---- many, and addresses that are much alike ---- */

enum pattern {
	V4_SEQUENCE,
	V4_NETWORKS, /* differ in the upper half */
	V4_RANDOM,
	V6_SEQUENCE,
	V6_HIGH, /* differ above bit 96 */
	V6_SUBNETS,
	V6_MIDDLE, /* bits 40..63 of the lower half */
	V6_RANDOM,
	ONE_ADDRESS, /* all ports of one VIP */
	PATTERNS,
};

static struct address pattern_address(enum pattern p, __u32 n)
{
	switch (p) {
	case V4_SEQUENCE: return address4(0x0a000001 + n);
	case V4_NETWORKS: return address4((n + 1) << 16 | 1);
	case V4_RANDOM: return address4(n * 0x9e3779b1u + 1);
	case V6_SEQUENCE: return address6(0x20010db8ull << 32, 1 + n);
	case V6_HIGH: return address6((__u64)(0x2001 + n) << 48, 1);
	case V6_SUBNETS: return address6(0x20010db8ull << 32 | n, 1);
	case V6_MIDDLE: return address6(0x20010db8ull << 32, (__u64)n << 40 | 1);
	case V6_RANDOM: return address6(dice_word(&dice), dice_word(&dice));
	default: return address4(0xc0000201);
	}
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void test_many(void **state)
{
	static const size_t counts[] = {30, 1000, 10000};
	const struct nat_sources none = {};

	(void)state;
	for (int p = 0; p < PATTERNS; p++) {
		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
			struct service_table t;
			struct balance b;
			double start;

			make_balance(&b, counts[i], 0);
			for (size_t n = 0; n < counts[i]; n++)
				add_service(&b, pattern_address(p, n), IPPROTO_TCP, n + 1);
			start = seconds();
			t = compile(&b, &none);
			printf("# pattern %d, %zu services: %.1f ms, %zu kB, %u probes\n", p,
			       counts[i], (seconds() - start) * 1e3, t.size / 1024,
			       view_of(&t).head->probes);
			free(t.bytes);
			check(&b, &none, 0);
			balance_free(&b);
		}
	}
}

static void test_both_families(void **state)
{
	const struct nat_sources none = {};
	struct balance b;

	(void)state;
	make_balance(&b, 10000, 10000);
	for (int n = 0; n < 10000; n++) {
		add_service(&b, n % 2 ? address4(0x0a000000 + n) : address6(n, n), IPPROTO_UDP, 53);
		add_backend(&b, b.services[n].index, n);
	}
	check(&b, &none, 0);
	balance_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),	cmocka_unit_test(test_none),
		cmocka_unit_test(test_sources), cmocka_unit_test(test_small),
		cmocka_unit_test(test_many),	cmocka_unit_test(test_both_families),
	};

	dice = dice_from_environment();
	return cmocka_run_group_tests_name("service_table", tests, NULL, NULL);
}
