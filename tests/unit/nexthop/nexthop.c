// SPDX-License-Identifier: GPL-2.0
/*
 * Routes and neighbours as the kernel has them, in two network namespaces of our own:
 *
 *   here  wa 10.9.0.1/24 2001:db8:9::1/64 ──── far  wb 10.9.0.2 2001:db8:9::2 fe80::2
 */
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

#include "loader/nexthop/nexthop.h"
#include "loader/base/error.h"
#include "tests/shared/far_namespace.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

#define WAIT_MS 10000 /* a question that is lost is repeated after a second, twice */
#define FAR_MAC "02:00:00:00:00:02"

static pid_t far = -1;
static bool ready;

/* Whether the neighbour table's line of this address has the word. */
static bool neighbour_has(const char *address, const char *word)
{
	char command[256];

	snprintf(command, sizeof(command), "ip neigh show %s dev wa | grep -qw '%s'", address,
		 word);
	return !system(command);
}

static int enter_namespace(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET))
		return 0;
	far = start_far_end();
	if (far < 0)
		return 0;
	ready = true;
	/* While a link-local address is tried, for two seconds or more, the kernel asks no neighbour. */
	run("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
	run("ip link add wa type veth peer name wb address " FAR_MAC " netns %d", far);
	run("ip link set lo up && ip link set wa address 02:00:00:00:00:01 up");
	run("ip addr add 10.9.0.1/24 dev wa && ip addr add 2001:db8:9::1/64 dev wa nodad");
	run("nsenter --net=/proc/%d/ns/net sh -c 'ip link set lo up; ip link set wb up;"
	    "ip addr add 10.9.0.2/24 dev wb; ip addr add 2001:db8:9::2/64 dev wb nodad;"
	    "ip addr add fe80::2/64 dev wb nodad'",
	    far);
	run("for i in $(seq 200); do ip -6 address show dev wa scope link | grep -q fe80 && exit;"
	    "sleep 0.1; done; exit 1"); /* the link has come up */
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

static struct address address(const char *text)
{
	struct address a;

	assert_int_equal(address_parse("address", text, &a), 0);
	return a;
}

static void assert_address(const struct address *a, const char *expected)
{
	char text[ADDRESS_TEXT];

	address_format(a, text);
	assert_string_equal(text, expected);
}

static int find(const char *to, unsigned int wait_ms, struct next_hop *hop)
{
	struct address a = address(to);

	return next_hop_find(&a, wait_ms, hop);
}

static void assert_failure(const char *expected)
{
	assert_non_null(failure());
	assert_string_equal(failure(), expected);
	forget_failure();
}

static void assert_far(const struct next_hop *hop, const char *gateway, const char *source)
{
	static const __u8 dest[6] = {2, 0, 0, 0, 0, 2}, own[6] = {2, 0, 0, 0, 0, 1};

	assert_true(hop->reachable);
	assert_false(hop->local);
	assert_string_equal(hop->device, "wa");
	assert_memory_equal(hop->dest_mac, dest, 6);
	assert_memory_equal(hop->source_mac, own, 6);
	assert_address(&hop->gateway, gateway);
	assert_address(&hop->source, source);
}

static void test_on_link(void **state)
{
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	assert_int_equal(find("10.9.0.2", WAIT_MS, &hop), 0);
	assert_far(&hop, "10.9.0.2", "10.9.0.1");
	assert_int_equal(hop.mtu, 1500);
	assert_int_equal(find("2001:db8:9::2", WAIT_MS, &hop), 0);
	assert_far(&hop, "2001:db8:9::2", "2001:db8:9::1");
}

static void test_gateways(void **state)
{
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	run("ip route add 10.10.0.0/16 via 10.9.0.2 mtu 1400 src 10.9.0.1");
	run("ip route add 10.11.0.0/16 via inet6 fe80::2 dev wa");
	run("ip route add 2001:db8:a::/48 via fe80::2 dev wa mtu 1380");
	assert_int_equal(find("10.10.1.1", WAIT_MS, &hop), 0);
	assert_far(&hop, "10.9.0.2", "10.9.0.1");
	assert_int_equal(hop.mtu, 1400);
	assert_int_equal(find("10.11.1.1", WAIT_MS, &hop), 0);
	assert_far(&hop, "fe80::2", "10.9.0.1");
	assert_int_equal(find("2001:db8:a::1", WAIT_MS, &hop), 0);
	assert_far(&hop, "fe80::2", "2001:db8:9::1");
	assert_int_equal(hop.mtu, 1380);
	run("ip route add 10.12.0.0/16 nexthop via 10.9.0.2 nexthop via 10.9.0.3");
	assert_int_equal(find("10.12.1.1", 0, &hop), 0);
	assert_string_equal(hop.device, "wa");
	run("ip route add 10.13.0.0/16 via 10.9.0.2 mtu 9000");
	assert_int_equal(find("10.13.1.1", WAIT_MS, &hop), 0);
	assert_int_equal(hop.mtu, 1500);
}

static void test_no_way(void **state)
{
	static const char *const targets[] = {"10.20.0.1",	"10.21.0.1",	  "10.22.0.1",
					      "10.23.0.1",	"2001:db8:20::1", "2001:db8:21::1",
					      "2001:db8:22::1", "2001:db8:23::1"};
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	run("ip route add unreachable 10.21.0.0/16 && ip route add blackhole 10.22.0.0/16");
	run("ip route add prohibit 10.23.0.0/16 && ip route add unreachable 2001:db8:21::/48");
	run("ip route add blackhole 2001:db8:22::/48 && ip route add prohibit 2001:db8:23::/48");
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		assert_int_equal(find(targets[i], 0, &hop), 0);
		assert_false(hop.reachable || hop.local);
		assert_int_equal(hop.ifindex, 0);
		assert_int_equal(next_hop_keep(&hop), 0);
	}
	assert_null(failure());
}

static void test_nobody_answers(void **state)
{
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	assert_int_equal(find("10.9.0.77", 0, &hop), 0);
	assert_false(hop.reachable);
	assert_string_equal(hop.device, "wa");
	assert_address(&hop.gateway, "10.9.0.77");
	/* The kernel asks, or has asked for three seconds. */
	assert_true(neighbour_has("10.9.0.77", "INCOMPLETE\\|FAILED"));
	assert_int_equal(find("10.9.0.77", 50, &hop), 0);
	assert_false(hop.reachable);
	/* He appears. A question that began before may still fail. */
	run("nsenter --net=/proc/%d/ns/net ip addr add 10.9.0.77/24 dev wb", far);
	for (int tries = 0; tries < 3 && !hop.reachable; tries++)
		assert_int_equal(find("10.9.0.77", WAIT_MS, &hop), 0);
	assert_far(&hop, "10.9.0.77", "10.9.0.1");
}

static void test_local(void **state)
{
	static const char *const own[] = {"10.9.0.1", "127.0.0.1", "10.30.0.1", "2001:db8:9::1",
					  "::1"};
	static const char *const foreign[] = {"10.9.0.2", "10.20.0.1", "10.22.0.1", "10.9.0.255",
					      "2001:db8:9::2"};
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	run("ip addr add 10.30.0.1/32 dev lo");
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		struct address a = address(own[i]);

		assert_true(address_is_local(&a));
		assert_int_equal(next_hop_find(&a, 0, &hop), 0);
		assert_true(hop.local);
		assert_false(hop.reachable);
		assert_address(&hop.source, own[i]);
	}
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		struct address a = address(foreign[i]);

		assert_false(address_is_local(&a));
	}
}

static void test_unusable(void **state)
{
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	assert_int_equal(find("10.9.0.255", 0, &hop), -EINVAL);
	assert_failure("10.9.0.255 is a broadcast address; a backend is a single host");
	run("ip route add 10.40.0.0/16 dev lo");
	assert_int_equal(find("10.40.0.1", 0, &hop), -EINVAL);
	assert_failure("10.40.0.1: its route leads to lo, where frames come back to this host; "
		       "'ip route get 10.40.0.1' shows it");
	run("ip tuntap add wt mode tun && ip link set wt up && ip route add 10.41.0.0/16 dev wt");
	assert_int_equal(find("10.41.0.1", 0, &hop), -EOPNOTSUPP);
	assert_failure("10.41.0.1: its route leads to wt, which has no Ethernet header; weir sends "
		       "by Ethernet devices only");
}

static void test_keep_and_release(void **state)
{
	static const char *const targets[] = {"10.9.0.2", "10.9.0.88", "2001:db8:9::2"};
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		assert_int_equal(find(targets[i], 10, &hop), 0);
		assert_int_equal(next_hop_keep(&hop), 0);
		assert_int_equal(next_hop_keep(&hop), 0);
		assert_true(neighbour_has(targets[i], "managed"));
		assert_true(neighbour_has(targets[i], "proto 119"));
		/* Asking for it again must not take it off the kernel's list. */
		assert_int_equal(find(targets[i], 10, &hop), 0);
		assert_true(neighbour_has(targets[i], "managed"));
		assert_int_equal(next_hop_release(&hop), 0);
		assert_int_equal(next_hop_release(&hop), 0);
		assert_false(neighbour_has(targets[i], "managed"));
		assert_false(neighbour_has(targets[i], "proto 119"));
	}
}

static void test_gateway_is_kept(void **state)
{
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	assert_int_equal(find("2001:db8:a::1", WAIT_MS, &hop), 0);
	assert_int_equal(next_hop_keep(&hop), 0);
	assert_true(neighbour_has("fe80::2", "managed"));
	assert_int_equal(next_hop_release(&hop), 0);
	assert_false(neighbour_has("fe80::2", "managed"));
}

/* What the kernel itself makes of an entry with time. */
#define AGED "s/REACHABLE/STALE/; s/INCOMPLETE/FAILED/"

/* What others put into the table is used and stays as it is. */
static void test_entries_of_others(void **state)
{
	static const char *const kinds[] = {"nud permanent", "nud permanent proto static",
					    "nud stale extern_learn", "nud reachable proto zebra",
					    "managed"};
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		bool has_mac = strcmp(kinds[i], "managed");

		run("ip neigh replace 10.9.0.%zu %s %s dev wa", 100 + i,
		    has_mac ? "lladdr " FAR_MAC : "", kinds[i]);
		run("ip neigh show 10.9.0.%zu dev wa | sed '" AGED "' > /tmp/nexthop.%d", 100 + i,
		    getpid());
		for (int times = 0; times < 2; times++) {
			char to[32];

			snprintf(to, sizeof(to), "10.9.0.%zu", 100 + i);
			assert_int_equal(find(to, 10, &hop), 0);
			assert_int_equal(hop.reachable, has_mac);
			assert_int_equal(next_hop_keep(&hop), 0);
			assert_int_equal(next_hop_release(&hop), 0);
		}
		run("ip neigh show 10.9.0.%zu dev wa | sed '" AGED "' | cmp - /tmp/nexthop.%d",
		    100 + i, getpid());
	}
	run("rm -f /tmp/nexthop.%d", getpid());
}

static void test_device_down(void **state)
{
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	run("ip link set wa down");
	assert_int_equal(find("10.9.0.2", 10, &hop), 0);
	assert_false(hop.reachable);
	run("ip link set wa up && ip addr add 2001:db8:9::1/64 dev wa nodad");
	assert_int_equal(find("10.9.0.2", WAIT_MS, &hop), 0);
	assert_true(hop.reachable);
}

/* Through TC unless the driver sends XDP frames there: on veth, while the far end polls. */
static void test_via_tc(void **state)
{
	struct next_hop hop;

	(void)state;
	REQUIRE_NAMESPACE();
	assert_int_equal(find("10.9.0.2", WAIT_MS, &hop), 0);
	assert_true(hop.via_tc);
	run("nsenter --net=/proc/%d/ns/net ethtool -K wb gro on", far);
	assert_int_equal(find("10.9.0.2", WAIT_MS, &hop), 0);
	assert_false(hop.via_tc);
	run("nsenter --net=/proc/%d/ns/net ethtool -K wb gro off", far);
	assert_int_equal(find("10.9.0.2", WAIT_MS, &hop), 0);
	assert_true(hop.via_tc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_on_link),
		cmocka_unit_test(test_gateways),
		cmocka_unit_test(test_no_way),
		cmocka_unit_test(test_nobody_answers),
		cmocka_unit_test(test_local),
		cmocka_unit_test(test_unusable),
		cmocka_unit_test(test_keep_and_release),
		cmocka_unit_test(test_gateway_is_kept),
		cmocka_unit_test(test_entries_of_others),
		cmocka_unit_test(test_device_down),
		cmocka_unit_test(test_via_tc),
	};

	return cmocka_run_group_tests_name("nexthop", tests, enter_namespace, leave_namespace);
}
