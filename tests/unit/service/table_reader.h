/* SPDX-License-Identifier: GPL-2.0 */
/* Service tables read as the XDP program reads them, and what must be right in each. */
#ifndef WEIR_TESTS_TABLE_READER_H
#define WEIR_TESTS_TABLE_READER_H

#include "loader/service/service_table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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

static inline __u64 word(const struct view *v, __u64 at)
{
	assert_true(at * 8 + 8 <= v->size);
	return *(const __u64 *)(v->bytes + (at * 8 & (v->size - 8)));
}

static inline __u32 find4(const struct view *v, __u32 address)
{
	__u64 place = v->head->addresses4 + WEIR_PLACE(address, v->head->seed, v->head->mask4);

	for (__u32 i = 0; i < v->head->probes; i++)
		if (word(v, place + i) >> 32 == address)
			return word(v, place + i);
	return 0;
}

static inline __u32 find6(const struct view *v, __u64 high, __u64 low)
{
	__u64 at = WEIR_PLACE(WEIR_KEY6(high, low), v->head->seed, v->head->mask6);
	__u64 place = v->head->addresses6 + at * 3;

	for (__u32 i = 0; i < v->head->probes; i++, place += 3)
		if (word(v, place + 1) == high && word(v, place + 2) == low)
			return word(v, place);
	return 0;
}

static inline __u64 word_of(const __u8 *bytes)
{
	__u64 word = 0;

	for (int i = 0; i < 8; i++)
		word = word << 8 | bytes[i];
	return word;
}

static inline __u32 find_address(const struct view *v, const struct address *a)
{
	__u64 high = word_of(a->byte), low = word_of(a->byte + 8);

	return a->family == 4 ? find4(v, high >> 32) : find6(v, high, low);
}

static inline __u32 find_port(const struct view *v, __u32 address, bool udp, __u16 port)
{
	__u64 key = WEIR_PORT_KEY(address >> WEIR_ADDRESS_FLAGS, udp, port);
	__u64 place = v->head->ports + WEIR_PLACE(key, v->head->seed, v->head->ports_mask);

	for (__u32 i = 0; i < v->head->probes; i++)
		if (word(v, place + i) >> WEIR_PORT_SERVICE_BITS == key)
			return word(v, place + i) & ((1u << WEIR_PORT_SERVICE_BITS) - 1);
	return 0;
}

static inline __u32 find_service(const struct view *v, const struct address *a, bool udp,
				 __u16 port)
{
	__u32 address = find_address(v, a), index = find_port(v, address, udp, port);

	return index ? index : find_port(v, address, udp, 0);
}

static inline const struct weir_service *record(const struct view *v, __u32 index)
{
	__u64 at = (v->head->records + index * 8ull) * 8;

	assert_int_equal(at % 64, 0);
	assert_true(at + 64 <= v->head->records_end * 8ull && at + 64 <= v->size);
	return (const void *)(v->bytes + (at & (v->size - 64)));
}

/* ---- configurations ---- */

static inline struct address address4(__u32 value)
{
	struct address a = {.family = 4, .bits = 32};

	value = htonl(value);
	memcpy(a.byte, &value, 4);
	return a;
}

static inline struct address address6(__u64 high, __u64 low)
{
	struct address a = {.family = 6, .bits = 128};

	for (int i = 0; i < 8; i++) {
		a.byte[i] = high >> (56 - 8 * i);
		a.byte[8 + i] = low >> (56 - 8 * i);
	}
	return a;
}

static inline void make_balance(struct balance *b, size_t services, size_t backends)
{
	*b = (struct balance){
		.services = calloc(services + 1, sizeof(*b->services)),
		.backends = calloc(backends + 1, sizeof(*b->backends)),
	};
}

/* Indexes leave holes now and then. */
static inline struct service *add_service(struct balance *b, struct address address, __u8 proto,
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

static inline void add_backend(struct balance *b, __u32 service, __u32 number)
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

static inline struct service_table compile(const struct balance *b,
					   const struct nat_sources *sources)
{
	struct service_table t;

	forget_failure();
	assert_int_equal(service_table_compile(b, sources, TICK_NS, &t), 0);
	assert_true(t.size >= 4096 && (t.size & (t.size - 1)) == 0);
	return t;
}

static inline struct view view_of(const struct service_table *t)
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

static inline void check_record(const struct view *v, const struct service *s)
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

static inline void check_holes(const struct view *v, const struct balance *b)
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

static inline void check_source(const struct service_table *t, const struct balance *b)
{
	struct balance back;

	assert_int_equal(service_table_source(t->bytes, t->size, &back), 0);
	assert_int_equal(back.service_count, b->service_count);
	assert_int_equal(back.backend_count, b->backend_count);
	assert_memory_equal(back.services, b->services, b->service_count * sizeof(*b->services));
	assert_memory_equal(back.backends, b->backends, b->backend_count * sizeof(*b->backends));
	balance_free(&back);
}

static inline __u32 modes_of(const struct balance *b)
{
	__u32 modes = 0;

	for (size_t i = 0; i < b->service_count; i++)
		modes |= 1u << b->services[i].mode;
	return modes;
}

static inline bool has_key(const struct view *v, __u64 key)
{
	for (__u32 i = 0; i < v->head->nat_backend_count; i++)
		if (word(v, v->head->nat_backends + i) == key)
			return true;
	return false;
}

/* All of NAT's backends of TCP and no others, in order. */
static inline void check_nat_backends(const struct view *v, const struct balance *b)
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

/* Every service is found, its record is right, and so is what else the table holds. */
static inline void check_whole(const struct service_table *t, const struct balance *b)
{
	struct view v = view_of(t);

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
	check_source(t, b);
}

#endif
