// SPDX-License-Identifier: GPL-2.0
/* What the kernel says of real devices, in a network namespace of our own. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if_arp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/host/netdev.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static int home = -1;
static bool ready;

static void run(const char *command)
{
	if (system(command))
		fail_msg("failed: %s", command);
}

static int enter_namespace(void **state)
{
	(void)state;
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0 || unshare(CLONE_NEWNET))
		return 0;
	ready = !system("ip link add wa type veth peer name wb &&"
			"ip link property add dev wa altname a-name-of-more-than-sixteen");
	return 0;
}

#define REQUIRE_NAMESPACE()     \
	do {                    \
		if (!ready)     \
			skip(); \
	} while (0)

static void assert_failure(const char *expected)
{
	assert_non_null(failure());
	assert_string_equal(failure(), expected);
	forget_failure();
}

static void test_veth(void **state)
{
	struct netdev a, b, by_index, by_alias;

	(void)state;
	REQUIRE_NAMESPACE();
	assert_int_equal(netdev_by_name("wa", &a), 0);
	assert_int_equal(netdev_by_name("wb", &b), 0);
	assert_int_equal(netdev_by_name("a-name-of-more-than-sixteen", &by_alias), 0);
	assert_int_equal(netdev_by_index(a.ifindex, &by_index), 0);
	assert_memory_equal(&a, &by_index, sizeof(a));
	assert_memory_equal(&a, &by_alias, sizeof(a));
	assert_string_equal(a.name, "wa");
	assert_string_equal(a.kind, "veth");
	assert_string_equal(a.driver, "veth");
	assert_int_equal(a.peer, b.ifindex);
	assert_int_equal(b.peer, a.ifindex);
	assert_true(a.peer_here && b.peer_here);
	assert_true(a.ethernet);
	assert_false(a.up);
	assert_int_equal(a.mtu, 1500);
	assert_int_equal(a.type, ARPHRD_ETHER);
	assert_true(a.rx_queues >= 1 && a.tx_queues >= 1);
	assert_int_equal(a.xdp_prog, 0);
	assert_int_equal(a.xdp_mode, XDP_ATTACHED_NONE);
	run("ip link set wa up");
	assert_int_equal(netdev_by_name("wa", &a), 0);
	assert_true(a.up);
}

/* Frames can be redirected to a veth only while its far end polls with NAPI. */
static void test_veth_target(void **state)
{
	struct netdev a;

	(void)state;
	REQUIRE_NAMESPACE();
	run("ip link set wb up");
	assert_int_equal(netdev_by_name("wa", &a), 0);
	if (!a.xdp_known)
		skip();
	assert_true(a.xdp_native);
	assert_false(a.xdp_target);
	if (system("ethtool -K wb gro on 2>/dev/null"))
		skip();
	assert_int_equal(netdev_by_name("wa", &a), 0);
	assert_true(a.xdp_target);
	run("ethtool -K wb gro off");
	assert_int_equal(netdev_by_name("wa", &a), 0);
	assert_false(a.xdp_target);
}

static void test_loopback(void **state)
{
	struct netdev dev;

	(void)state;
	REQUIRE_NAMESPACE();
	assert_int_equal(netdev_by_name("lo", &dev), 0);
	assert_int_equal(dev.type, ARPHRD_LOOPBACK);
	assert_true(dev.ethernet);
	assert_string_equal(dev.kind, "");
}

static void test_dummy(void **state)
{
	struct netdev dev;

	(void)state;
	REQUIRE_NAMESPACE();
	if (system("ip link add wd mtu 9000 type dummy 2>/dev/null"))
		skip();
	assert_int_equal(netdev_by_name("wd", &dev), 0);
	assert_string_equal(dev.kind, "dummy");
	assert_int_equal(dev.mtu, 9000);
	assert_int_equal(dev.peer, 0);
	assert_false(dev.xdp_native);
}

static void test_bridge(void **state)
{
	struct netdev dev;

	(void)state;
	REQUIRE_NAMESPACE();
	if (system("ip link add wbr type bridge 2>/dev/null"))
		skip();
	assert_int_equal(netdev_by_name("wbr", &dev), 0);
	assert_string_equal(dev.kind, "bridge");
	assert_string_equal(dev.driver, "bridge");
	assert_false(dev.xdp_native);
}

static void test_tun(void **state)
{
	struct netdev dev;

	(void)state;
	REQUIRE_NAMESPACE();
	if (system("ip tuntap add wt mode tun 2>/dev/null"))
		skip();
	assert_int_equal(netdev_by_name("wt", &dev), 0);
	assert_string_equal(dev.kind, "tun");
	assert_false(dev.ethernet);
}

static void test_list(void **state)
{
	struct netdev *devs = NULL, dev;
	int count;

	(void)state;
	REQUIRE_NAMESPACE();
	count = netdev_list(&devs);
	assert_true(count >= 3);
	for (int i = 0; i < count; i++) {
		assert_true(!i || devs[i].ifindex > devs[i - 1].ifindex);
		assert_int_equal(netdev_by_index(devs[i].ifindex, &dev), 0);
		assert_memory_equal(&devs[i], &dev, sizeof(dev));
	}
	free(devs);
}

/* The far end may be in another namespace, even under the same index as this end. */
static void test_peer_elsewhere(void **state)
{
	char command[128];
	struct netdev dev;
	pid_t stays;
	int here;

	(void)state;
	REQUIRE_NAMESPACE();
	stays = fork();
	if (!stays)
		_exit(pause());
	here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	snprintf(command, sizeof(command),
		 "ip link add wx index 77 type veth peer name wy index 77 netns %d", stays);
	run(command);
	kill(stays, SIGKILL);
	waitpid(stays, NULL, 0);
	assert_int_equal(netdev_by_name("wx", &dev), 0);
	assert_int_equal(dev.ifindex, 77);
	assert_int_equal(dev.peer, 77);
	assert_false(dev.peer_here);
	run("ip link del wx");
	assert_int_equal(setns(here, CLONE_NEWNET), 0);
	close(here);
}

static void test_unknown(void **state)
{
	char name[200];
	struct netdev dev;

	(void)state;
	REQUIRE_NAMESPACE();
	assert_int_equal(netdev_by_name("wnone", &dev), -ENODEV);
	assert_failure("device 'wnone' does not exist; 'ip link' shows the names");
	assert_int_equal(netdev_by_name("", &dev), -ENODEV);
	assert_failure("device '' does not exist; 'ip link' shows the names");
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(netdev_by_name(name, &dev), -ENODEV);
	forget_failure();
	assert_int_equal(netdev_by_index(0, &dev), -ENODEV);
	assert_failure("device with index 0 does not exist; 'ip link' shows the indexes");
	assert_int_equal(netdev_by_index(0x7fffffff, &dev), -ENODEV);
	forget_failure();
}

static void test_many(void **state)
{
	struct netdev *devs = NULL;
	int count;

	(void)state;
	REQUIRE_NAMESPACE();
	run("for i in $(seq 80); do echo link add wm$i type veth peer wn$i; done | ip -batch -");
	count = netdev_list(&devs);
	free(devs);
	run("for i in $(seq 80); do echo link del wm$i; done | ip -batch -");
	assert_true(count >= 163);
}

static void test_enter(void **state)
{
	struct stat before, after;
	char path[64];
	int here;

	(void)state;
	assert_int_equal(netdev_enter("no-such-namespace"), -ENOENT);
	assert_failure("namespace 'no-such-namespace' does not exist; 'ip netns list' shows the "
		       "names");
	assert_true(netdev_enter("") < 0);
	forget_failure();
	REQUIRE_NAMESPACE();
	assert_int_equal(netdev_enter("/dev/null"), -EINVAL);
	assert_failure("namespace '/dev/null': /dev/null is not a network namespace");
	here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(here, &before), 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", here);
	assert_int_equal(netdev_enter(path), 0);
	assert_int_equal(stat("/proc/self/ns/net", &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	close(here);
}

static int leave_namespace(void **state)
{
	(void)state;
	return home < 0 ? 0 : (setns(home, CLONE_NEWNET), close(home));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_veth),	 cmocka_unit_test(test_veth_target),
		cmocka_unit_test(test_loopback), cmocka_unit_test(test_dummy),
		cmocka_unit_test(test_bridge),	 cmocka_unit_test(test_tun),
		cmocka_unit_test(test_list),	 cmocka_unit_test(test_peer_elsewhere),
		cmocka_unit_test(test_unknown),	 cmocka_unit_test(test_many),
		cmocka_unit_test(test_enter),
	};

	return cmocka_run_group_tests(tests, enter_namespace, leave_namespace);
}
