// SPDX-License-Identifier: GPL-2.0
/* What the doctor makes of devices; the host itself is whatever it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "loader/doctor/doctor.h"
#include "loader/base/error.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

/* A device that does not exist, so that nothing is read of it but what is written here. */
static struct netdev healthy(void)
{
	return (struct netdev){
		.ifindex = 0x7ffffff0,
		.name = "weir-none0",
		.driver = "good_drv",
		.mtu = 1500,
		.up = true,
		.ethernet = true,
		.xdp_known = true,
		.xdp_native = true,
		.xdp_target = true,
	};
}

static struct doctor begin(void)
{
	return (struct doctor){.findings = json_array()};
}

static const json_t *finding(const struct doctor *doctor, const char *check)
{
	json_t *found;
	size_t i;

	json_array_foreach (doctor->findings, i, found)
		if (!strcmp(json_string_value(json_object_get(found, "check")), check))
			return found;
	return NULL;
}

static const char *field(const json_t *object, const char *name)
{
	assert_non_null(object);
	return json_string_value(json_object_get(object, name));
}

static void assert_finding(const struct netdev *dev, const struct device *attached,
			   const char *netns, const char *check, const char *level,
			   const char *remedy)
{
	struct doctor doctor = begin();
	const char *advice;

	doctor.netns = netns;
	doctor_device(&doctor, dev, attached);
	assert_string_equal(field(finding(&doctor, check), "level"), level);
	assert_string_equal(field(finding(&doctor, check), "subject"), dev->name);
	advice = field(finding(&doctor, check), "remedy");
	if (remedy) {
		assert_non_null(advice);
		assert_string_equal(advice, remedy);
	} else {
		assert_null(advice);
	}
	assert_int_equal(doctor.warned, !strcmp(level, "warn"));
	assert_int_equal(doctor.failed, 0);
	json_decref(doctor.findings);
}

static void test_healthy(void **state)
{
	struct netdev dev = healthy();
	struct doctor doctor = begin();

	(void)state;
	doctor.problems_only = true;
	doctor_device(&doctor, &dev, NULL);
	assert_int_equal(json_array_size(doctor.findings), 1);
	assert_string_equal(field(finding(&doctor, "device"), "level"), "ok");
	assert_int_equal(doctor.warned, 0);
	json_decref(doctor.findings);
}

static void test_down(void **state)
{
	struct netdev dev = healthy();

	(void)state;
	dev.up = false;
	assert_finding(&dev, NULL, NULL, "up", "warn", "ip link set dev weir-none0 up");
	assert_finding(&dev, NULL, "blue", "up", "warn",
		       "ip netns exec blue ip link set dev weir-none0 up");
	assert_finding(&dev, NULL, "/proc/1/ns/net", "up", "warn",
		       "nsenter --net=/proc/1/ns/net ip link set dev weir-none0 up");
}

static void test_mtu(void **state)
{
	struct netdev dev = healthy();

	(void)state;
	dev.mtu = 3498;
	assert_finding(&dev, NULL, NULL, "mtu", "ok", NULL);
	dev.mtu = 9000;
	assert_finding(&dev, NULL, NULL, "mtu", "warn", "ip link set dev weir-none0 mtu 3498");
	dev.xdp_frags = true;
	assert_finding(&dev, NULL, NULL, "mtu", "ok", NULL);
}

static void test_native(void **state)
{
	struct netdev dev = healthy();

	(void)state;
	assert_finding(&dev, NULL, NULL, "native-xdp", "ok", NULL);
	dev.xdp_native = false;
	assert_finding(&dev, NULL, NULL, "native-xdp", "warn", NULL);
	strcpy(dev.kind, "veth");
	dev.peer = 0x7ffffff1;
	assert_finding(
		&dev, NULL, NULL, "native-xdp", "warn",
		"in the far end's namespace: ethtool -L <device with index 2147483633> tx 1");
	dev.xdp_known = false;
	assert_finding(&dev, NULL, NULL, "native-xdp", "ok", NULL);
}

static void test_target(void **state)
{
	struct netdev dev = healthy();

	(void)state;
	dev.xdp_target = false;
	assert_finding(&dev, NULL, NULL, "redirect-target", "ok", NULL);
	strcpy(dev.kind, "veth");
	dev.peer = 0x7ffffff1;
	dev.peer_namespace = 12345;
	assert_finding(&dev, NULL, NULL, "redirect-target", "warn",
		       "run weir where the processes of that namespace are seen; in a container: "
		       "docker run --pid host --cap-add SYS_PTRACE");
}

static void test_program(void **state)
{
	struct netdev dev = healthy();
	struct device attached = {.name = "weir-none0", .present = true};

	(void)state;
	dev.xdp_prog = 17;
	assert_finding(&dev, NULL, NULL, "xdp-program", "warn", "bpftool prog show id 17");
	attached.attachment.mode = MODE_NATIVE;
	assert_finding(&dev, &attached, NULL, "mode", "ok", NULL);
	attached.attachment.mode = MODE_GENERIC;
	assert_finding(&dev, &attached, "blue", "mode", "warn",
		       "weir -n blue detach weir-none0 && "
		       "weir -n blue attach weir-none0 --mode native");
	dev.xdp_native = false;
	dev.xdp_known = false;
	assert_finding(&dev, &attached, NULL, "mode", "ok", NULL);
}

/* On veth generic mode is the better one, unless the user has named native. */
static void test_veth(void **state)
{
	struct netdev dev = healthy();
	struct device attached = {
		.name = "weir-none0",
		.present = true,
		.attachment = {.xdp_way = WAY_LINK, .mode = MODE_NATIVE},
	};

	(void)state;
	strcpy(dev.kind, "veth");
	assert_finding(&dev, &attached, "blue", "mode", "warn",
		       "weir -n blue detach weir-none0 && "
		       "weir -n blue attach weir-none0 --mode generic");
	attached.attachment.asked = MODE_NATIVE;
	assert_finding(&dev, &attached, NULL, "mode", "ok", NULL);
	attached.attachment.asked = MODE_AUTO;
	attached.attachment.mode = MODE_GENERIC;
	assert_finding(&dev, &attached, NULL, "mode", "ok", NULL);
	attached.attachment.mode = MODE_AUTO;
	attached.attachment.xdp_way = WAY_NONE;
	assert_finding(&dev, &attached, NULL, "mode", "ok", NULL);
}

/* A remedy never lands on the finding before, when its own was left out. */
static void test_remedy_of_left_out(void **state)
{
	struct netdev dev = healthy();
	struct doctor doctor = begin();

	(void)state;
	doctor.problems_only = true;
	dev.xdp_target = false;
	dev.peer = 0x7ffffff1;
	dev.mtu = 9000;
	doctor_device(&doctor, &dev, NULL);
	assert_int_equal(json_array_size(doctor.findings), 1);
	assert_string_equal(field(finding(&doctor, "mtu"), "remedy"),
			    "ip link set dev weir-none0 mtu 3498");
	json_decref(doctor.findings);
}

static void test_rules(void **state)
{
	struct rule rules[] = {
		{.id = 4, .dev = "weir-none1"},
		{.id = 7, .target = "weir-none2"},
		{.id = 9},
		{.id = 11, .dev = "lo"},
	};
	struct rule_set set = {.rules = rules, .count = sizeof(rules) / sizeof(rules[0])};
	struct doctor doctor = begin();

	(void)state;
	doctor_rules(&doctor, &set);
	assert_int_equal(json_array_size(doctor.findings), 2);
	assert_string_equal(field(json_array_get(doctor.findings, 0), "remedy"), "weir rule del 4");
	assert_string_equal(field(json_array_get(doctor.findings, 1), "found"),
			    "rule 7 names device weir-none2, which does not exist");
	assert_null(failure());
	json_decref(doctor.findings);
}

static void test_host(void **state)
{
	struct doctor doctor = begin();

	(void)state;
	doctor_host(&doctor);
	assert_non_null(finding(&doctor, "kernel"));
	assert_non_null(finding(&doctor, "bpf"));
	assert_non_null(finding(&doctor, "bpffs"));
	assert_string_equal(field(finding(&doctor, "bpf"), "subject"), "host");
	json_decref(doctor.findings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_healthy),
		cmocka_unit_test(test_down),
		cmocka_unit_test(test_mtu),
		cmocka_unit_test(test_native),
		cmocka_unit_test(test_target),
		cmocka_unit_test(test_program),
		cmocka_unit_test(test_veth),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_remedy_of_left_out),
		cmocka_unit_test(test_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
