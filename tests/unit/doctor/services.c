// SPDX-License-Identifier: GPL-2.0
/*
 * What the doctor makes of services, in two network namespaces of our own:
 *
 *   here  wa 10.9.0.1/24 2001:db8:9::1/64 ──── far  wb 10.9.0.2 2001:db8:9::2, polls or not
 */
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/doctor/doctor.h"
#include "tests/shared/far_namespace.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static pid_t far = -1;
static bool ready;
static struct doctor doctor;

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
	run("ip link add wa type veth peer name wb netns %d", far);
	run("ip link set lo up && ip link set wa up");
	run("ip addr add 10.9.0.1/24 dev wa && ip addr add 2001:db8:9::1/64 dev wa nodad");
	run("nsenter --net=/proc/%d/ns/net sh -c 'ip link set wb up; ethtool -K wb gro on;"
	    "ip addr add 10.9.0.2/24 dev wb; ip addr add 2001:db8:9::2/64 dev wb nodad'",
	    far);
	run("ip route add 10.10.0.0/16 via 10.9.0.2 && ip route add unreachable 10.11.0.0/16");
	run("for i in $(seq 200); do ip -6 address show dev wa scope link | grep -q fe80 && exit;"
	    "sleep 0.1; done; exit 1"); /* the link has come up */
	run("ping -q -c 1 -w 20 10.9.0.2 >/dev/null");
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

/* ---- one service, at most one backend, and what is said of them ---- */

static struct service service;
static struct backend backend;
static struct device device;

static void set_up(const char *vip, enum weir_mode mode, const char *to)
{
	service = (struct service){.index = 1, .proto = IPPROTO_TCP, .mode = mode, .port = 80};
	assert_int_equal(address_parse("address", vip, &service.address), 0);
	backend = (struct backend){.index = 1, .service = 1, .weight = 1};
	if (to)
		assert_int_equal(address_parse("address", to, &backend.address), 0);
	device = (struct device){.name = "wa", .present = true};
	device.attachment.ifindex = if_nametoindex("wa");
	device.attachment.mode = MODE_NATIVE;
	device.attachment.xdp_way = WAY_LINK;
	device.attachment.tc_way = WAY_LINK;
	device.attachment.ethernet = 1;
}

static void examine(size_t devices)
{
	struct balance b = {
		.services = &service,
		.service_count = 1,
		.backends = &backend,
		.backend_count = backend.address.family != 0,
	};

	json_decref(doctor.findings);
	doctor = (struct doctor){.findings = json_array()};
	doctor_services(&doctor, &b, &device, devices);
	assert_null(failure());
}

static const char *field(const char *check, const char *name)
{
	json_t *found;
	size_t i;

	json_array_foreach (doctor.findings, i, found)
		if (!strcmp(json_string_value(json_object_get(found, "check")), check))
			return json_string_value(json_object_get(found, name));
	return NULL;
}

static void assert_found(const char *check, const char *level, const char *what)
{
	if (!field(check, "level"))
		fail_msg("%s: nothing found", check);
	assert_string_equal(field(check, "level"), level);
	if (!strstr(field(check, "found"), what))
		fail_msg("%s: found '%s'", check, field(check, "found"));
}

static void assert_remedy(const char *check, const char *remedy)
{
	assert_non_null(field(check, "remedy"));
	assert_string_equal(field(check, "remedy"), remedy);
}

static void test_well(void **state)
{
	(void)state;
	REQUIRE_NAMESPACE();
	run("sysctl -qw net.ipv4.conf.wa.forwarding=1");
	run("nsenter --net=/proc/%d/ns/net ethtool -K wb txvlan off tx-vlan-stag-hw-insert off",
	    far);
	set_up("10.99.0.1", WEIR_DSR_L2, "10.9.0.2");
	examine(1);
	assert_int_equal(doctor.warned + doctor.failed, 0);
	assert_found("transmit", "ok", "driver");
	assert_found("next-hops", "ok", "on");
	assert_found("address", "ok", "routers");
	assert_found("backends", "ok", "1 up");
	assert_found("neighbour", "ok", "10.9.0.2 on wa");
	assert_found("egress", "ok", "wa");
	assert_string_equal(field("egress", "subject"), "10.9.0.2 of tcp 10.99.0.1:80");
}

static void test_nothing_to_say(void **state)
{
	struct balance none = {0};

	(void)state;
	doctor = (struct doctor){.findings = json_array()};
	doctor_services(&doctor, &none, NULL, 0);
	assert_int_equal(json_array_size(doctor.findings), 0);
}

static void test_devices(void **state)
{
	(void)state;
	REQUIRE_NAMESPACE();
	set_up("10.99.0.1", WEIR_DSR_L2, "10.9.0.2");
	examine(0);
	assert_found("devices", "fail", "no device");
	assert_remedy("devices", "weir attach DEV");
	device.attachment.mode = MODE_GENERIC;
	examine(1);
	assert_found("transmit", "warn", "generic mode: TC transmits");
	device.attachment.tc_way = WAY_NONE;
	examine(1);
	assert_found("transmit", "fail", "not attached");
	assert_remedy("transmit", "weir detach wa && weir attach wa");
	device.attachment.mode = MODE_NATIVE;
	run("nsenter --net=/proc/%d/ns/net ethtool -K wb txvlan on", far);
	examine(1);
	assert_found("transmit", "fail", "VLAN tags");
	run("nsenter --net=/proc/%d/ns/net ethtool -K wb txvlan off", far);
}

static void test_forwarding(void **state)
{
	(void)state;
	REQUIRE_NAMESPACE();
	run("sysctl -qw net.ipv4.conf.wa.forwarding=0");
	set_up("10.99.0.1", WEIR_DSR_L2, "10.9.0.2");
	examine(1);
	assert_found("next-hops", "warn", "ipv4 forwarding is off");
	assert_remedy("next-hops", "sysctl -w net/ipv4/conf/wa/forwarding=1");
	run("sysctl -qw net.ipv4.conf.wa.forwarding=1");
}

static void test_addresses(void **state)
{
	(void)state;
	REQUIRE_NAMESPACE();
	set_up("10.9.0.1", WEIR_DSR_L2, "10.9.0.2");
	examine(1);
	assert_found("address", "ok", "this host's too");
	set_up("10.9.0.2", WEIR_DSR_L2, "10.9.0.2");
	examine(1);
	assert_found("address", "warn", "another host");
	set_up("10.9.0.50", WEIR_DSR_L2, "10.9.0.2");
	examine(1);
	assert_found("address", "warn", "no host answers");
	assert_remedy("address", "ip address add 10.9.0.50/32 dev wa");
	set_up("2001:db8:9::50", WEIR_DSR_L2, "2001:db8:9::2");
	examine(1);
	assert_remedy("address", "ip address add 2001:db8:9::50/128 dev wa nodad");
}

static void test_backends(void **state)
{
	(void)state;
	REQUIRE_NAMESPACE();
	set_up("10.99.0.1", WEIR_NAT, NULL);
	examine(1);
	assert_found("backends", "fail", "there are none");
	set_up("10.99.0.1", WEIR_NAT, "10.9.0.2");
	backend.state = BACKEND_DRAIN;
	examine(1);
	assert_found("backends", "fail", "none is up");
	backend.state = BACKEND_DEAD;
	examine(1);
	assert_null(field("neighbour", "level"));
	set_up("10.99.0.1", WEIR_NAT, "10.9.0.60");
	examine(1);
	assert_found("neighbour", "fail", "10.9.0.60 does not answer on wa");
	assert_remedy("neighbour", "ip neigh show 10.9.0.60 dev wa");
	set_up("10.99.0.1", WEIR_NAT, "10.11.0.1");
	examine(1);
	assert_found("route", "fail", "no route");
	set_up("10.99.0.1", WEIR_NAT, "10.9.0.255");
	examine(1);
	assert_found("route", "fail", "broadcast");
	set_up("10.99.0.1", WEIR_DSR_IPIP, "10.10.0.1");
	examine(1);
	assert_null(field("link", "level"));
	set_up("10.99.0.1", WEIR_DSR_L2, "10.10.0.1");
	examine(1);
	assert_found("link", "fail", "behind the router 10.9.0.2");
}

static void test_room(void **state)
{
	(void)state;
	REQUIRE_NAMESPACE();
	set_up("10.99.0.1", WEIR_DSR_IPIP, "10.9.0.2");
	examine(1);
	assert_found("mtu", "warn", "20 bytes of outer header only packets up to 1480 fit");
	assert_remedy("mtu",
		      "an MTU of 1520 all the way, or on the backend: ip route change ... advmss "
		      "1440");
	assert_found("mtu", "warn", "fragments and other packets without DF");
	/* It clamps the clients' SYNs, which say what backends may send, past the tunnel. */
	service.mss = 1440;
	examine(1);
	assert_found("mtu", "warn", "1480");
	service.proto = IPPROTO_UDP;
	examine(1);
	assert_remedy("mtu", "an MTU of 1520 all the way; ip link set dev wa mtu 1520");
	set_up("10.99.0.1", WEIR_DSR_IPIP, "2001:db8:9::2");
	examine(1);
	assert_remedy("mtu",
		      "an MTU of 1540 all the way, or on the backend: ip route change ... advmss "
		      "1420");
	set_up("10.99.0.1", WEIR_NAT, "10.9.0.2");
	examine(1);
	assert_null(field("mtu", "level"));
}

static void test_egress(void **state)
{
	(void)state;
	REQUIRE_NAMESPACE();
	run("nsenter --net=/proc/%d/ns/net ethtool -K wb gro off", far);
	set_up("10.99.0.1", WEIR_NAT, "10.9.0.2");
	examine(1);
	assert_found("egress", "warn", "wa takes no XDP frames, for its far end does not poll");
	assert_remedy(
		"egress",
		"'weir attach DEV' of an attached device, or any other change, sees to its far "
		"end");
	run("nsenter --net=/proc/%d/ns/net ethtool -K wb gro on", far);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_to_say), cmocka_unit_test(test_well),
		cmocka_unit_test(test_devices),	       cmocka_unit_test(test_forwarding),
		cmocka_unit_test(test_addresses),      cmocka_unit_test(test_backends),
		cmocka_unit_test(test_room),	       cmocka_unit_test(test_egress),
	};

	return cmocka_run_group_tests_name("doctor_services", tests, enter_namespace,
					   leave_namespace);
}
