// SPDX-License-Identifier: GPL-2.0
/* What the doctor makes of the tracing commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "loader/doctor/doctor.h"
#include "loader/base/error.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

#define NO_TRACEPOINT "the kernel has no such tracepoint"
#define NO_CGROUP     "no cgroup2 file system is mounted"

static const struct trace_hook hooks[] = {
	{"tp_btf/inet_sock_set_state", "change of state", true},
	{"tp_btf/sk_data_ready", "depth of queues", false},
	{"sockops", "SYN that was admitted", false},
};

static const struct tracer near = {.name = "near", .hooks = hooks, .hook_count = 1};
static const struct tracer far = {.name = "far", .hooks = hooks, .hook_count = 3};

static struct tracing_view view;
static struct doctor doctor;

static void healthy(void)
{
	json_decref(doctor.findings);
	memset(&view, 0, sizeof(view));
	view.count = 2;
	view.tracer[0].tracer = &near;
	view.tracer[1].tracer = &far;
	doctor = (struct doctor){.findings = json_array(), .subject = "host"};
}

static const char *field(size_t i, const char *name)
{
	return json_string_value(json_object_get(json_array_get(doctor.findings, i), name));
}

static void assert_finding(size_t i, const char *level, const char *check, const char *says,
			   const char *remedy)
{
	assert_non_null(field(i, "level"));
	assert_string_equal(field(i, "level"), level);
	assert_string_equal(field(i, "check"), check);
	if (!strstr(field(i, "found"), says))
		fail_msg("'%s' does not say '%s'", field(i, "found"), says);
	if (remedy) {
		assert_non_null(field(i, "remedy"));
		assert_non_null(strstr(field(i, "remedy"), remedy));
	} else {
		assert_null(field(i, "remedy"));
	}
}

static void everything_runs(void **state)
{
	(void)state;
	healthy();
	doctor_tracers(&doctor, &view);
	assert_int_equal(json_array_size(doctor.findings), 1);
	assert_finding(0, "ok", "tracing", "all 2 commands", NULL);
}

static void one_does_not_run(void **state)
{
	(void)state;
	healthy();
	view.tracer[0].lacks[0] = NO_TRACEPOINT;
	doctor_tracers(&doctor, &view);
	assert_int_equal(json_array_size(doctor.findings), 2);
	assert_finding(0, "ok", "tracing", "1 of the 2", NULL);
	assert_finding(
		1, "warn", "tcp near",
		"does not run: no change of state (tp_btf/inet_sock_set_state: " NO_TRACEPOINT,
		"upgrade the kernel");
	assert_int_equal(doctor.warned, 1);
}

/* Nobody can do anything about it: it is no warning. */
static void an_older_kernel(void **state)
{
	(void)state;
	healthy();
	view.tracer[1].lacks[1] = NO_TRACEPOINT;
	doctor_tracers(&doctor, &view);
	assert_finding(1, "ok", "tcp far", "runs partly: no depth of queues", NULL);
	assert_int_equal(doctor.warned, 0);
}

static void no_cgroup(void **state)
{
	(void)state;
	healthy();
	view.tracer[1].lacks[1] = NO_TRACEPOINT;
	view.tracer[1].lacks[2] = NO_CGROUP;
	doctor_tracers(&doctor, &view);
	assert_finding(1, "warn", "tcp far", "no SYN that was admitted (sockops: no cgroup2",
		       "mount -t cgroup2");
}

static void pinned_half(void **state)
{
	(void)state;
	healthy();
	view.tracer[0].half = true;
	doctor_pinned(&doctor, &view);
	assert_finding(0, "warn", "near", "half pinned", "tcp near --pin");
}

static void pinned_well(void **state)
{
	(void)state;
	healthy();
	view.tracer[1].pinned = true;
	doctor_pinned(&doctor, &view);
	assert_int_equal(json_array_size(doctor.findings), 1);
	assert_finding(0, "ok", "far", "has lost nothing", NULL);
	healthy();
	doctor_pinned(&doctor, &view);
	assert_int_equal(json_array_size(doctor.findings), 0);
}

static void pinned_and_full(void **state)
{
	(void)state;
	healthy();
	doctor.netns = "blue";
	view.tracer[0].pinned = true;
	view.tracer[0].lost.records_full = 77;
	doctor_pinned(&doctor, &view);
	assert_finding(0, "warn", "near", "77 times a map had no room",
		       "weir -n blue tcp near --unpin; weir -n blue tcp near --pin with a filter");
}

static void pinned_and_missing(void **state)
{
	(void)state;
	healthy();
	view.tracer[0].pinned = true;
	view.tracer[0].lost.missed = 5;
	doctor_pinned(&doctor, &view);
	assert_finding(0, "warn", "near", "5 events were missed", NULL);
}

static void pinned_by_another(void **state)
{
	(void)state;
	healthy();
	view.tracer[0].pinned = true;
	strcpy(view.tracer[0].broken, "it has schema 9");
	doctor_pinned(&doctor, &view);
	assert_int_equal(json_array_size(doctor.findings), 1);
	assert_finding(0, "warn", "near", "schema 9", "weir tcp near --unpin; weir tcp near --pin");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_runs),   cmocka_unit_test(one_does_not_run),
		cmocka_unit_test(an_older_kernel),   cmocka_unit_test(no_cgroup),
		cmocka_unit_test(pinned_half),	     cmocka_unit_test(pinned_well),
		cmocka_unit_test(pinned_and_full),   cmocka_unit_test(pinned_and_missing),
		cmocka_unit_test(pinned_by_another),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
