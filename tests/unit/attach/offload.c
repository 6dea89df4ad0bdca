// SPDX-License-Identifier: GPL-2.0
/* VLAN offloads of veth far ends, here and in another namespace. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/attach/veth/offload.h"
#include "loader/base/error.h"
#include "loader/host/far_end.h"
#include "tests/shared/far_namespace.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static pid_t far = -1;
static bool ready;

static int enter_namespace(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET))
		return 0;
	far = start_far_end();
	if (far < 0)
		return 0;
	ready = !system("ip link add wa type veth peer name wb");
	run("ip link add wc type veth peer name far-end netns %d", far);
	return 0;
}

static int leave_namespace(void **state)
{
	(void)state;
	end_far_end(far);
	return 0;
}

#define REQUIRE_NAMESPACE()     \
	do {                    \
		if (!ready)     \
			skip(); \
	} while (0)

static int name_length(const char *name, unsigned int add)
{
	return strlen(name) + add;
}

static int refuse(const char *name, unsigned int error)
{
	(void)name;
	return -(int)error;
}

static void test_call(void **state)
{
	struct netdev here, elsewhere, lo;

	(void)state;
	REQUIRE_NAMESPACE();
	assert_int_equal(netdev_by_name("wa", &here), 0);
	assert_int_equal(netdev_by_name("wc", &elsewhere), 0);
	assert_int_equal(netdev_by_name("lo", &lo), 0);
	assert_true(here.peer_here);
	assert_false(elsewhere.peer_here);
	assert_int_equal(far_end_call(&here, name_length, 5), 7);
	assert_int_equal(far_end_call(&elsewhere, name_length, 5), 12);
	assert_int_equal(far_end_call(&elsewhere, name_length, 120), 127);
	assert_int_equal(far_end_call(&here, refuse, EOPNOTSUPP), -EOPNOTSUPP);
	assert_int_equal(far_end_call(&elsewhere, refuse, EOPNOTSUPP), -EOPNOTSUPP);
	assert_int_equal(far_end_call(&elsewhere, refuse, EPERM), -EPERM);
	assert_int_equal(far_end_call(&lo, name_length, 0), -ENOENT);
	/* We are still where we were. */
	assert_int_equal(netdev_by_name("wa", &here), 0);
}

static void check_tags(const char *name, const char *ethtool, const char *other)
{
	struct netdev dev;

	assert_int_equal(netdev_by_name(name, &dev), 0);
	assert_int_equal(offload_tags(&dev), 3);
	/* What the near end is told changes nothing. */
	run("ethtool -K %s rxvlan off", name);
	assert_int_equal(offload_tags(&dev), 3);
	run("ethtool -K %s rxvlan on", name);
	run("%s -K %s tx-vlan-stag-hw-insert off", ethtool, other);
	assert_int_equal(offload_tags(&dev), 1);
	assert_int_equal(offload_switch_tags(&dev, 1, false), 0);
	assert_int_equal(offload_tags(&dev), 0);
	run("%s -k %s | grep -q 'tx-vlan-offload: off'", ethtool, other);
	assert_int_equal(offload_switch_tags(&dev, 1, false), 0);
	assert_int_equal(offload_switch_tags(&dev, 1, true), 0);
	assert_int_equal(offload_tags(&dev), 1);
	run("%s -k %s | grep -q 'tx-vlan-offload: on'", ethtool, other);
}

static void check_segmentation(const char *name, const char *ethtool, const char *other)
{
	struct netdev dev;

	assert_int_equal(netdev_by_name(name, &dev), 0);
	assert_true(offload_is_taken_from_far_end(&dev));
	run("%s -K %s tso off tx-udp-segmentation off", ethtool, other);
	assert_false(offload_is_taken_from_far_end(&dev));
	run("%s -K %s tso on", ethtool, other);
	assert_true(offload_is_taken_from_far_end(&dev));
}

static void test_here(void **state)
{
	(void)state;
	REQUIRE_NAMESPACE();
	check_tags("wa", "ethtool", "wb");
	check_segmentation("wa", "ethtool", "wb");
}

static void test_elsewhere(void **state)
{
	char ethtool[64];

	(void)state;
	REQUIRE_NAMESPACE();
	snprintf(ethtool, sizeof(ethtool), "nsenter --net=/proc/%d/ns/net ethtool", far);
	check_tags("wc", ethtool, "far-end");
	check_segmentation("wc", ethtool, "far-end");
}

static void test_not_found(void **state)
{
	struct netdev dev;

	(void)state;
	REQUIRE_NAMESPACE();
	assert_int_equal(netdev_by_name("wc", &dev), 0);
	dev.peer_namespace = 12345;
	assert_int_equal(offload_tags(&dev), -ENOENT);
	assert_int_equal(offload_switch_tags(&dev, 3, false), -ENOENT);
	assert_true(offload_is_taken_from_far_end(&dev));
	assert_null(failure());
}

/* Other devices than veth have no such offload here, or one that is fixed. */
static void test_without(void **state)
{
	struct netdev dev;

	(void)state;
	REQUIRE_NAMESPACE();
	run("ip tuntap add wt mode tap");
	assert_int_equal(netdev_by_name("wt", &dev), 0);
	assert_int_equal(offload_tags(&dev), 0);
	assert_true(offload_switch_tags(&dev, 1, true) < 0);
	assert_false(offload_is_taken_from_far_end(&dev));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_call),	  cmocka_unit_test(test_here),
		cmocka_unit_test(test_elsewhere), cmocka_unit_test(test_not_found),
		cmocka_unit_test(test_without),
	};

	return cmocka_run_group_tests_name("offload", tests, enter_namespace, leave_namespace);
}
