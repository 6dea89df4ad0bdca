// SPDX-License-Identifier: GPL-2.0
/* What the doctor makes of sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "loader/doctor/doctor.h"
#include "loader/base/error.h"
#include "loader/tend/policy.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

#define BLUE 0x1234
#define RED  0x1235

/* Two cgroups with a port each, and somebody who tends: nothing to complain of. */
struct host {
	struct sock_scope scopes[2];
	struct sock_port_stats ports[2];
	struct sockets_seen seen;
	struct doctor doctor;
};

static struct host *healthy(void)
{
	static struct host h;

	h = (struct host){
		.scopes = {{.cgroup = BLUE, .name = "/blue"}, {.cgroup = RED, .name = "/red"}},
		.ports = {{BLUE, 80, 5, {.pairs = 100}}, {RED, 0, 2, {.pairs = 30}}},
		.seen.view = {.scopes = h.scopes,
			      .scope_count = 2,
			      .tender = 77,
			      .on = true,
			      .used = 7,
			      .room = 4096,
			      .now = {.port = h.ports, .count = 2}},
		.seen.left = true,
		.doctor = {.findings = json_array()},
	};
	return &h;
}

static const char *field(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static const json_t *finding(const struct host *h, const char *check)
{
	json_t *found;
	size_t i;

	json_array_foreach (h->doctor.findings, i, found)
		if (!strcmp(field(found, "check"), check) && strcmp(field(found, "level"), "ok"))
			return found;
	return NULL;
}

/* That there is this one complaint, and no other. */
static void assert_finding(struct host *h, const char *level, const char *subject,
			   const char *check, const char *says, const char *remedy)
{
	const json_t *found;

	doctor_sockets(&h->doctor, &h->seen);
	found = finding(h, check);
	assert_non_null(found);
	assert_string_equal(field(found, "level"), level);
	assert_string_equal(field(found, "subject"), subject);
	assert_non_null(strstr(field(found, "found"), says));
	if (remedy) {
		assert_non_null(field(found, "remedy"));
		assert_non_null(strstr(field(found, "remedy"), remedy));
	} else {
		assert_null(field(found, "remedy"));
	}
	assert_int_equal(h->doctor.warned + h->doctor.failed, 1);
	json_decref(h->doctor.findings);
}

static void assert_nothing(struct host *h)
{
	doctor_sockets(&h->doctor, &h->seen);
	assert_int_equal(h->doctor.warned + h->doctor.failed, 0);
	json_decref(h->doctor.findings);
}

static void test_healthy(void **state)
{
	struct host *h = healthy();

	(void)state;
	assert_nothing(h);

	h = healthy();
	h->doctor.problems_only = true;
	doctor_sockets(&h->doctor, &h->seen);
	assert_int_equal(json_array_size(h->doctor.findings), 0);
	json_decref(h->doctor.findings);

	h = healthy();
	h->seen = (struct sockets_seen){};
	doctor_sockets(&h->doctor, &h->seen);
	assert_int_equal(json_array_size(h->doctor.findings), 0);
	json_decref(h->doctor.findings);
}

static void test_nobody_tends(void **state)
{
	struct host *h = healthy();

	(void)state;
	h->seen.view.tender = 0;
	assert_finding(h, "warn", "sockets", "tender", "the 7 connections",
		       "weir sock attach /blue");

	h = healthy();
	h->seen.view.tender = 0;
	h->doctor.netns = "green";
	assert_finding(h, "warn", "sockets", "tender", "nobody tends",
		       "weir -n green sock attach /blue");
}

static void test_switched_off(void **state)
{
	struct host *h = healthy();

	(void)state;
	h->seen.view.on = false;
	assert_finding(h, "warn", "sockets", "switch", "every send goes by TCP",
		       "weir sock attach /blue");
}

static void test_gone(void **state)
{
	struct host *h = healthy();

	(void)state;
	h->scopes[1].name[0] = '\0';
	assert_finding(h, "warn", "#4661", "cgroup", "gone", "weir sock detach '#4661'");
}

static void test_room(void **state)
{
	struct host *h = healthy();

	(void)state;
	h->seen.view.used = 3276;
	assert_nothing(h);
	h = healthy();
	h->seen.view.used = 3277;
	assert_finding(h, "warn", "sockets", "room", "3277 of 4096",
		       "weir sock detach --all; then attach");
	h = healthy();
	h->ports[0].total.refused[WEIR_R_FULL] = 3;
	assert_finding(h, "warn", "sockets", "room", "3 connections stay on TCP for lack of it",
		       "--pairs 8192");
	h = healthy();
	h->seen.view.used = h->seen.view.room = WEIR_PAIRS_MAX;
	assert_finding(h, "warn", "sockets", "room", "65536 of 65536", "--port");
}

static void test_firewall(void **state)
{
	struct host *h = healthy();

	(void)state;
	h->seen.firewall = (struct firewall){.here = true, .namespaces = 1};
	assert_finding(h, "warn", "sockets", "netfilter", "here", "--port");
	h = healthy();
	h->seen.firewall = (struct firewall){.namespaces = 2};
	assert_finding(h, "warn", "sockets", "netfilter", "in other network namespaces", "--port");
	h = healthy();
	h->seen.firewall = (struct firewall){.here = true, .namespaces = 1};
	h->ports[0].live = h->ports[1].live = 0;
	assert_nothing(h);
}

static void test_refused(void **state)
{
	struct host *h = healthy();
	__u64 *refused;

	(void)state;
	refused = h->ports[0].total.refused;
	refused[WEIR_R_BLOCKING] = 100;
	assert_nothing(h);
	h = healthy();
	refused[WEIR_R_BLOCKING] = 101;
	refused[WEIR_R_SPINNING] = 20;
	assert_finding(h, "warn", "port 80 of /blue", "refused", "101 connections stay on TCP",
		       "O_NONBLOCK");

	h = healthy();
	h->ports[1].total.refused[WEIR_R_OTHER_READS] = 31;
	assert_finding(h, "warn", "other ports of /red", "refused", "other means than recvmsg",
		       "splice");

	/* Few, and those for which nothing is to be done, are nobody's concern. */
	h = healthy();
	h->ports[1].total.pairs = 0;
	h->ports[1].total.refused[WEIR_R_BLOCKING] = 9;
	h->ports[1].total.refused[WEIR_R_IDLE] = 100000;
	h->ports[1].total.refused[WEIR_R_ONE_WAY] = 100000;
	assert_nothing(h);
}

/* Who adds a reason says in all three ways what it is. */
static void test_reasons(void **state)
{
	(void)state;
	for (int reason = 0; reason < WEIR_REFUSALS; reason++) {
		assert_non_null(sock_refusal_names[reason]);
		assert_non_null(sock_refusal_texts[reason]);
		assert_non_null(sock_refusal_remedies[reason]);
	}
}

static void test_broken(void **state)
{
	struct host *h = healthy();

	(void)state;
	strcpy(h->seen.broken, "the maps are not there");
	assert_finding(h, "fail", "sockets", "maps", "the maps are not there", NULL);
	h = healthy();
	h->seen.view = (struct sock_view){};
	assert_finding(h, "warn", "sockets", "maps", "no cgroup is attached",
		       "weir sock detach --all");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_healthy),	     cmocka_unit_test(test_nobody_tends),
		cmocka_unit_test(test_switched_off), cmocka_unit_test(test_gone),
		cmocka_unit_test(test_room),	     cmocka_unit_test(test_firewall),
		cmocka_unit_test(test_refused),	     cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_broken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
