// SPDX-License-Identifier: GPL-2.0
/* Service tables that cannot be made, and tables that cannot be right. */
#include "loader/service/service_table.h"

#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "tests/shared/balance_run.h"
#include "tests/shared/random_services.h"
#include "xdp/balance/abi.h"

#include <cmocka.h>

#define TICK_NS 1024000000ull

static void give_slots(struct balance *b)
{
	for (size_t i = 0; i < b->service_count; i++) {
		b->services[i].slots = 1024;
		b->services[i].buckets = 256;
	}
}

static struct service_table compile(const struct balance *b)
{
	struct service_table t;

	forget_failure();
	assert_int_equal(service_table_compile(b, NULL, TICK_NS, &t), 0);
	return t;
}

static void check_refused(const struct service_table *t, size_t size, int err)
{
	struct balance b;

	forget_failure();
	assert_int_equal(service_table_source(t->bytes, size, &b), err);
	assert_non_null(failure());
	assert_null(b.services);
	assert_null(b.backends);
	forget_failure();
}

#define WITH(lvalue, wrong)                         \
	do {                                        \
		__typeof__(lvalue) kept = lvalue;   \
		lvalue = wrong;                     \
		check_refused(&t, t.size, -EPROTO); \
		lvalue = kept;                      \
	} while (0)

static void test_damaged(void **state)
{
	struct service_table t;
	struct weir_service_head *head;
	struct service *s;
	struct backend *backend;
	struct balance b = {}, back;

	(void)state;
	test_service(&b, IPPROTO_TCP, "192.0.2.1", 80, WEIR_DSR_L2);
	test_backend(&b, "10.0.0.1", 0, 1);
	test_service(&b, IPPROTO_TCP, "192.0.2.2", 80, WEIR_DSR_L2);
	test_backend(&b, "10.0.0.2", 0, 1);
	give_slots(&b);
	t = compile(&b);
	head = t.bytes;
	s = (void *)((__u64 *)t.bytes + head->source);
	backend = (void *)(s + 2);

	check_refused(&t, sizeof(*head) - 1, -EPROTO);
	check_refused(&t, head->source * 8ul, -EPROTO);
	WITH(head->schema, WEIR_BALANCE_SCHEMA + 1);
	WITH(head->schema, 0);
	WITH(head->services, 3);
	WITH(head->services, 0);
	WITH(head->services, WEIR_MAX_SERVICES);
	WITH(head->services, 0xffffffff);
	WITH(head->source, 0xffffffff);
	WITH(head->source, t.size / 8);
	WITH(head->source, head->records);
	WITH(head->source_bytes, head->source_bytes - 1);
	WITH(head->source_bytes, 0xffffffff);
	WITH(s[0].index, 0);
	WITH(s[0].index, s[1].index);
	WITH(s[1].index, WEIR_MAX_SERVICES);
	WITH(s[0].mode, WEIR_MODES);
	WITH(s[0].proto, IPPROTO_ICMP);
	WITH(s[0].address.family, 0);
	WITH(backend[0].index, 0);
	WITH(backend[0].index, WEIR_MAX_INDEX + 1);
	WITH(backend[0].service, s[1].index + 1);
	WITH(backend[1].service, s[0].index - 1);
	WITH(backend[0].weight, 0);
	WITH(backend[0].weight, WEIR_MAX_WEIGHT + 1);
	WITH(backend[0].state, BACKEND_STATES);
	WITH(backend[0].address.family, 5);
	assert_int_equal(service_table_source(t.bytes, t.size, &back), 0);
	balance_free(&back);
	free(t.bytes);
	balance_free(&b);
}

/* Whatever it says, reading it stays within its bounds (under ASan). */
static void test_noise(void **state)
{
	struct service_table t;
	struct dice dice = dice_from_environment();
	struct balance b = {}, back;
	char *copy;

	(void)state;
	random_services(&dice, 20, 1u << WEIR_DSR_L2 | 1u << WEIR_DSR_IPIP, &b);
	give_slots(&b);
	t = compile(&b);
	copy = malloc(t.size);
	for (int i = 0; i < 20000; i++) {
		size_t at = dice_below(&dice, i % 2 ? sizeof(struct weir_service_head) : t.size);

		memcpy(copy, t.bytes, t.size);
		copy[at] ^= 1u << dice_below(&dice, 8);
		service_table_source(copy, t.size, &back);
		balance_free(&back);
		forget_failure();
	}
	free(copy);
	free(t.bytes);
	balance_free(&b);
}

/* More addresses in one place than there are steps: no size or seed can help. */
static void test_hopeless(void **state)
{
	struct service_table t;
	struct balance b = {};

	(void)state;
	for (__u64 n = 0; n < 8; n++) {
		struct service *s = test_service(&b, IPPROTO_TCP, "::", 80, WEIR_DSR_L2);
		__be64 half[2] = {htobe64(n * 0x9e3779b97f4a7c15ull ^ 0xabcdull), htobe64(n)};

		memcpy(s->address.byte, half, sizeof(half));
	}
	give_slots(&b);
	forget_failure();
	assert_int_equal(service_table_compile(&b, NULL, TICK_NS, &t), -E2BIG);
	assert_non_null(failure());
	assert_null(t.bytes);
	forget_failure();
	balance_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_hopeless),
	};

	return cmocka_run_group_tests_name("damaged service tables", tests, NULL, NULL);
}
