// SPDX-License-Identifier: GPL-2.0
/* Services and their backends as a set, beside a twin without any order. */
#include "loader/service/service.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "tests/shared/any_service.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

#define SERVICES_MOST 24
#define BACKENDS_MOST 400

/* The same, kept without any order. */
struct twin {
	struct service services[SERVICES_MOST];
	struct backend backends[BACKENDS_MOST];
	size_t service_count, backend_count;
	__u32 next_index;
};

static bool same_service(const struct service *a, const struct service *b)
{
	return a->proto == b->proto && a->port == b->port &&
	       address_equal(&a->address, &b->address);
}

static bool same_backend(const struct backend *a, const struct backend *b)
{
	return a->service == b->service && a->port == b->port &&
	       address_equal(&a->address, &b->address);
}

/* Family, address, port: "stands before". */
static bool before(const struct backend *a, const struct backend *b)
{
	int order = a->address.family - b->address.family;

	if (!order)
		order = memcmp(a->address.byte, b->address.byte, 16);
	return order ? order < 0 : a->port < b->port;
}

static void assert_same_set(const struct balance *b, const struct twin *t)
{
	size_t seen = 0;

	assert_int_equal(b->service_count, t->service_count);
	assert_int_equal(b->backend_count, t->backend_count);
	for (size_t i = 0; i < t->service_count; i++) {
		const struct service *s = &t->services[i];
		struct backend *first;
		size_t count;

		assert_memory_equal(balance_service(b, s->index), s, sizeof(*s));
		assert_ptr_equal(balance_find(b, s), balance_service(b, s->index));
		if (i)
			assert_true(b->services[i - 1].index < b->services[i].index);
		count = balance_backends(b, s->index, &first);
		seen += count;
		for (size_t n = 0; n < count; n++) {
			assert_int_equal(first[n].service, s->index);
			assert_true(!n || before(&first[n - 1], &first[n]));
		}
	}
	assert_int_equal(seen, b->backend_count);
	for (size_t i = 0; i < t->backend_count; i++) {
		const struct backend *wanted = &t->backends[i], *found;

		found = balance_find_backend(b, wanted->service, wanted);
		assert_non_null(found);
		assert_memory_equal(found, wanted, sizeof(*found));
	}
}

static void assert_exists_already(int err)
{
	assert_int_equal(err, -EEXIST);
	assert_int_equal(failure_status(), 2);
	assert_non_null(strstr(failure(), " already; 'weir "));
	forget_failure();
}

static void add_service(struct dice *d, struct balance *b, struct twin *t)
{
	struct service s = any_service(d);
	bool known = false;

	if (t->service_count && dice_percent(d, 30)) {
		s = t->services[dice_below(d, t->service_count)];
		s.mode = WEIR_DSR_L2;
	}
	/* Indexes are given out in any order. */
	s.index = t->next_index * 7 % 10007 + 1;
	for (size_t i = 0; i < t->service_count; i++)
		known |= same_service(&t->services[i], &s);
	if (known) {
		assert_exists_already(balance_insert_service(b, &s));
	} else if (t->service_count < SERVICES_MOST) {
		assert_int_equal(balance_insert_service(b, &s), 0);
		t->services[t->service_count++] = s;
		t->next_index++;
	}
}

static void add_backend(struct dice *d, struct balance *b, struct twin *t)
{
	struct backend new;
	bool known = false;

	if (!t->service_count)
		return;
	new = any_backend(d, &t->services[dice_below(d, t->service_count)]);
	if (t->backend_count && dice_percent(d, 40)) {
		/* The same address, at the same service or another. */
		new.address = t->backends[dice_below(d, t->backend_count)].address;
		new.port = dice_below(d, 3);
	}
	new.index = ++t->next_index;
	for (size_t i = 0; i < t->backend_count; i++)
		known |= same_backend(&t->backends[i], &new);
	if (known) {
		assert_exists_already(balance_insert_backend(b, &new));
	} else if (t->backend_count < BACKENDS_MOST) {
		assert_int_equal(balance_insert_backend(b, &new), 0);
		t->backends[t->backend_count++] = new;
	}
}

static void remove_service(struct dice *d, struct balance *b, struct twin *t)
{
	size_t at;
	__u32 index;

	if (!t->service_count)
		return;
	at = dice_below(d, t->service_count);
	index = t->services[at].index;
	balance_remove_service(b, index);
	t->services[at] = t->services[--t->service_count];
	for (size_t i = t->backend_count; i-- > 0;)
		if (t->backends[i].service == index)
			t->backends[i] = t->backends[--t->backend_count];
	assert_null(balance_service(b, index));
}

static void remove_backend(struct dice *d, struct balance *b, struct twin *t)
{
	size_t at;

	if (!t->backend_count)
		return;
	at = dice_below(d, t->backend_count);
	balance_remove_backend(b, t->backends[at].index);
	assert_null(balance_find_backend(b, t->backends[at].service, &t->backends[at]));
	t->backends[at] = t->backends[--t->backend_count];
}

static void test_random_set(void **state)
{
	struct dice dice = dice_from_environment();
	struct balance b = {};
	struct twin *t = calloc(1, sizeof(*t));

	(void)state;
	assert_non_null(t);
	for (int i = 0; i < 4000; i++) {
		__u32 chance = dice_below(&dice, 100);

		if (chance < 8)
			add_service(&dice, &b, t);
		else if (chance < 80)
			add_backend(&dice, &b, t);
		else if (chance < 83)
			remove_service(&dice, &b, t);
		else
			remove_backend(&dice, &b, t);
		assert_same_set(&b, t);
	}
	balance_remove_service(&b, 99999);
	balance_remove_backend(&b, 999999);
	assert_same_set(&b, t);
	balance_free(&b);
	assert_null(b.services);
	assert_int_equal(b.backend_count, 0);
	free(t);
}

static void test_duplicates(void **state)
{
	struct balance b = {};
	struct service s = {
		.index = 5,
		.proto = IPPROTO_TCP,
		.mode = WEIR_NAT,
		.address = {.family = 4, .bits = 32, .byte = {192, 0, 2, 1}},
		.port = 80,
	};
	struct backend k = {.service = 5, .weight = 1};

	(void)state;
	k.address = s.address;
	assert_int_equal(balance_insert_service(&b, &s), 0);
	s.index = 6;
	assert_int_equal(balance_insert_service(&b, &s), -EEXIST);
	assert_string_equal(failure(),
			    "tcp 192.0.2.1:80 is a service already; 'weir service set' changes it");
	forget_failure();
	/* Another protocol, port or any port are others. */
	s.proto = IPPROTO_UDP;
	assert_int_equal(balance_insert_service(&b, &s), 0);
	s.index = 7;
	s.port = 0;
	assert_int_equal(balance_insert_service(&b, &s), 0);

	assert_int_equal(balance_insert_backend(&b, &k), 0);
	k.index = 1;
	assert_int_equal(balance_insert_backend(&b, &k), -EEXIST);
	assert_string_equal(failure(), "192.0.2.1 is a backend of tcp 192.0.2.1:80 already; "
				       "'weir backend set' changes it");
	forget_failure();
	k.port = 81;
	assert_int_equal(balance_insert_backend(&b, &k), 0);
	k.service = 6;
	assert_int_equal(balance_insert_backend(&b, &k), 0);
	balance_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_set),
		cmocka_unit_test(test_duplicates),
	};

	return cmocka_run_group_tests_name("set of services", tests, NULL, NULL);
}
