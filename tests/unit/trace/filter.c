// SPDX-License-Identifier: GPL-2.0
/* Filters of tracers, from words to what programs read, and back. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/trace/filter.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

/* The words of a filter as JSON. */
static void assert_json(const struct weir_trace_filter *f, const char *text)
{
	json_t *wanted = json_loads(text, 0, NULL), *found = filter_json(f);

	assert_non_null(wanted);
	if (!json_equal(wanted, found)) {
		char *said = json_dumps(found, JSON_COMPACT);

		fail_msg("wanted %s, found %s", text, said);
	}
	json_decref(wanted);
	json_decref(found);
}

typedef int parse_fn(struct weir_trace_filter *f, const char *text);

/* A misuse() that says this; the filter is as it was. */
static void refuses_by(parse_fn *parse, const char *text, const char *says, int status)
{
	struct weir_trace_filter f = {.family = 4, .min_ns = 7}, before = f;

	forget_failure();
	assert_true(parse(&f, text) < 0);
	assert_non_null(failure());
	assert_int_equal(failure_status(), status);
	if (!strstr(failure(), says))
		fail_msg("'%s' does not say '%s'", failure(), says);
	assert_memory_equal(&f, &before, sizeof(f));
	forget_failure();
}

static void refuses(parse_fn *parse, const char *text, const char *says)
{
	refuses_by(parse, text, says, 1);
}

/* It is well written, but what is named does not exist. */
static void misses(parse_fn *parse, const char *text, const char *says)
{
	refuses_by(parse, text, says, 2);
}

static void ports(void **state)
{
	struct weir_trace_filter f = {};

	(void)state;
	assert_int_equal(filter_port(&f, "80"), 0);
	assert_int_equal(f.port_ranges, 1);
	assert_int_equal(f.port[0].from, 80);
	assert_int_equal(f.port[0].to, 80);
	assert_int_equal(filter_port(&f, "1-2,65535,8000-8999"), 0);
	assert_int_equal(f.port_ranges, 3);
	assert_int_equal(f.port[1].from, 65535);
	assert_int_equal(f.port[2].to, 8999);
	assert_int_equal(filter_peer_port(&f, "443-443"), 0);
	assert_int_equal(f.peer_ranges, 1);
	assert_json(&f, "{\"port\": \"1-2,65535,8000-8999\", \"peer_port\": \"443\"}");
	assert_int_equal(filter_port(&f, "5"), 0); /* nothing of what was before it */
	assert_int_equal(f.port[1].from, 0);
	assert_json(&f, "{\"port\": \"5\", \"peer_port\": \"443\"}");
}

static void most_ports(void **state)
{
	struct weir_trace_filter f = {};
	char text[WEIR_TRACE_RANGES * 12 + 16] = "";

	(void)state;
	for (int i = 0; i < WEIR_TRACE_RANGES; i++)
		sprintf(text + strlen(text), "%s%d-%d", i ? "," : "", 60000 + 10 * i,
			60001 + 10 * i);
	assert_int_equal(filter_port(&f, text), 0);
	assert_int_equal(f.port_ranges, WEIR_TRACE_RANGES);
	sprintf(text + strlen(text), ",1");
	refuses(filter_port, text, "more than 16");
}

static void wrong_ports(void **state)
{
	static const char *const texts[] = {"",	   "0",	  "65536", "-1",    "http", "80x", "80,",
					    ",80", "80-", "-80",   "1-2-3", " 80",  "0x50"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		refuses(filter_port, texts[i], "--port");
	refuses(filter_port, "90-80", "80-90");
	refuses(filter_peer_port, "x", "--peer-port");
}

static void peers(void **state)
{
	struct weir_trace_filter f = {};

	(void)state;
	assert_int_equal(filter_peer(&f, "10.0.0.0/8"), 0);
	assert_int_equal(f.peer_bits, 104);
	assert_int_equal(f.peer[0], 0);
	assert_int_equal(f.peer[2], htonl(0xffff));
	assert_int_equal(f.peer[3], htonl(0x0a000000));
	assert_json(&f, "{\"peer\": \"10.0.0.0/8\", \"family\": 4}");
	f = (struct weir_trace_filter){};
	assert_int_equal(filter_peer(&f, "192.0.2.1"), 0);
	assert_json(&f, "{\"peer\": \"192.0.2.1/32\", \"family\": 4}");
	f = (struct weir_trace_filter){};
	assert_int_equal(filter_peer(&f, "2001:db8::/32"), 0);
	assert_int_equal(f.peer_bits, 32);
	assert_json(&f, "{\"peer\": \"2001:db8::/32\", \"family\": 6}");
	f = (struct weir_trace_filter){};
	assert_int_equal(filter_peer(&f, "::1"), 0);
	assert_json(&f, "{\"peer\": \"::1/128\", \"family\": 6}");
}

/* ::/0 has no bits to compare, and is not everything all the same. */
static void whole_families(void **state)
{
	struct weir_trace_filter f = {};

	(void)state;
	assert_int_equal(filter_peer(&f, "::/0"), 0);
	assert_json(&f, "{\"family\": 6}");
	f = (struct weir_trace_filter){};
	assert_int_equal(filter_peer(&f, "0.0.0.0/0"), 0);
	assert_json(&f, "{\"peer\": \"0.0.0.0/0\", \"family\": 4}");
}

static void wrong_peers(void **state)
{
	(void)state;
	refuses(filter_peer, "2001:db8::1", "IPv4 and of IPv6");
	refuses(filter_peer, "example.org", "example.org");
	refuses(filter_peer, "10.0.0.0/33", "33");
	refuses(filter_peer, "10.0.0.1/8", "10.0.0.0/8");
	refuses(filter_peer, "", "");
}

static int to_six(struct weir_trace_filter *f, const char *text)
{
	(void)text;
	return filter_family(f, 6);
}

static void families(void **state)
{
	struct weir_trace_filter f = {};

	(void)state;
	assert_int_equal(filter_family(&f, 4), 0);
	assert_int_equal(filter_family(&f, 4), 0);
	assert_int_equal(filter_peer(&f, "10.0.0.1"), 0);
	assert_int_equal(f.family, 4);
	refuses(to_six, "", "IPv4 and of IPv6");
}

static void processes(void **state)
{
	static const char *const texts[] = {
		"", "0", "-1", "nginx", "1 2", "4194305", "99999999999999999999"};
	struct weir_trace_filter f = {};

	(void)state;
	assert_int_equal(filter_pid(&f, "4194304"), 0);
	assert_json(&f, "{\"pid\": 4194304}");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		refuses(filter_pid, texts[i], "--pid");
}

static void times(void **state)
{
	static const struct {
		const char *text;
		__u64 ns;
	} good[] = {{"5", 5000000},	  {"5ms", 5000000}, {"200us", 200000},
		    {"1.5s", 1500000000}, {".5ms", 500000}, {"1e3us", 1000000}};
	static const char *const wrong[] = {"",	   "0",	  "0us", "-1",	   "ms",   "5m",
					    "inf", "nan", "1h",	 "5 ms x", "1e30", "5msx"};
	struct weir_trace_filter f = {};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(filter_min(&f, good[i].text), 0);
		assert_int_equal(f.min_ns, good[i].ns);
	}
	assert_json(&f, "{\"min_us\": 1000.0}");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refuses(filter_min, wrong[i], "--min");
}

static void namespaces(void **state)
{
	struct weir_trace_filter f = {};
	struct stat st;
	char pid[16];

	(void)state;
	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	assert_int_equal(filter_netns(&f, "/proc/self/ns/net"), 0);
	assert_int_equal(f.netns, st.st_ino);
	f.netns = 0;
	snprintf(pid, sizeof(pid), "%d", getpid());
	assert_int_equal(filter_netns(&f, pid), 0);
	assert_int_equal(f.netns, st.st_ino);
	misses(filter_netns, "/proc/self/ns/mnt", "not a network namespace");
	misses(filter_netns, "/proc/self/stat", "not a network namespace");
	misses(filter_netns, "no-such-namespace", "no such namespace");
	misses(filter_netns, "4194304", "no such process");
	refuses(filter_netns, "", "--netns");
}

static void nothing(void **state)
{
	(void)state;
	assert_json(&(struct weir_trace_filter){}, "{}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports),	  cmocka_unit_test(most_ports),
		cmocka_unit_test(wrong_ports),	  cmocka_unit_test(peers),
		cmocka_unit_test(whole_families), cmocka_unit_test(wrong_peers),
		cmocka_unit_test(families),	  cmocka_unit_test(processes),
		cmocka_unit_test(times),	  cmocka_unit_test(namespaces),
		cmocka_unit_test(nothing),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
