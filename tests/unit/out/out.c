// SPDX-License-Identifier: GPL-2.0
/* Units, tables and the way to standard output. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/out/out.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static void test_units(void **state)
{
	static const struct {
		enum unit unit;
		double value;
		const char *text;
	} cases[] = {
		{UNIT_NUMBER, 4294967295.0, "4294967295"},
		{UNIT_COUNT, 0, "0"},
		{UNIT_COUNT, 99999, "99999"},
		{UNIT_COUNT, 100000, "100k"},
		{UNIT_COUNT, 999499, "999k"},
		{UNIT_COUNT, 999500, "1.00M"},
		{UNIT_COUNT, 12345678, "12.3M"},
		{UNIT_COUNT, 18446744073709551615.0, "18.4E"},
		{UNIT_BYTES, 812, "812 B"},
		{UNIT_BYTES, 999, "999 B"},
		{UNIT_BYTES, 1000, "1.00 kB"},
		{UNIT_BYTES, 1204000000, "1.20 GB"},
		{UNIT_PPS, 0, "0 pps"},
		{UNIT_PPS, 0.01, "<0.1 pps"},
		{UNIT_PPS, 0.5, "0.5 pps"},
		{UNIT_PPS, 2, "2 pps"},
		{UNIT_PPS, 9.97, "10 pps"},
		{UNIT_PPS, 999.4, "999 pps"},
		{UNIT_PPS, 999.5, "1.00 kpps"},
		{UNIT_PPS, 1238000, "1.24 Mpps"},
		{UNIT_PPS, 99960, "100 kpps"},
		{UNIT_BITRATE, 9.41e9, "9.41 Gbit/s"},
		{UNIT_BITRATE, 640, "640 bit/s"},
		{UNIT_US, 0, "0 µs"},
		{UNIT_US, 87, "87 µs"},
		{UNIT_US, 1240, "1.24 ms"},
		{UNIT_US, 999600, "1.00 s"},
		{UNIT_US, 63e6, "63.0 s"},
		{UNIT_US, 1000e6, "16 min 40 s"},
		{UNIT_SECONDS, 59.9, "59 s"},
		{UNIT_SECONDS, 303, "5 min 03 s"},
		{UNIT_SECONDS, 7505, "2 h 05 min"},
		{UNIT_SECONDS, 273600, "3 d 04 h"},
		{UNIT_PERCENT, 12.3, "12%"},
		{UNIT_PERCENT, 1.25, "1.2%"},
		{UNIT_PERCENT, 0.001, "<0.1%"},
		{UNIT_PERCENT, 100, "100%"},
		{UNIT_COUNT, -1, "-"},
		{UNIT_PPS, INFINITY, "-"},
		{UNIT_PPS, NAN, "-"},
	};
	char text[UNIT_ROOM];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(unit_format(text, cases[i].unit, cases[i].value),
				    cases[i].text);
}

/* The text of a larger value never stands for a smaller one: prefixes change at the right place. */
static void test_units_keep_order(void **state)
{
	static const char prefixes[] = " kMGTPE";
	char text[UNIT_ROOM], prefix;
	double before = 0, shown;

	(void)state;
	for (double value = 1; value < 1.8e19; value *= 1.0007) {
		unit_format(text, UNIT_BYTES, value);
		assert_int_equal(sscanf(text, "%lf %c", &shown, &prefix), 2);
		if (prefix != 'B')
			shown *= pow(1000, strchr(prefixes, prefix) - prefixes);
		assert_true(shown >= before);
		assert_true(fabs(shown - value) <= value * 0.06);
		assert_true(strcspn(text, " ") <= 4);
		before = shown;
	}
}

static char *render(const struct table *table, const char *json, struct style style)
{
	json_t *document = json_loads(json, 0, NULL);
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(document);
	table_print(f, table, document, style, NULL, true);
	fclose(f);
	json_decref(document);
	return text;
}

static void assert_renders(const struct table *table, const char *json, struct style style,
			   const char *expected)
{
	char *text = render(table, json, style);

	assert_string_equal(text, expected);
	free(text);
}

static const struct column device_columns[] = {
	COLUMN("name", "Device", UNIT_TEXT),
	COLUMN("rate.packets_per_second", "Rate", UNIT_PPS, .mark = MARK_ALARM),
	COLUMN("flags", "Flags", UNIT_TEXT),
};

static const struct table devices = {
	.rows = "devices", COLUMNS(device_columns), .empty = "no devices"};

static void test_table(void **state)
{
	(void)state;
	assert_renders(&devices,
		       "{\"devices\":[{\"name\":\"eth0\",\"rate\":{\"packets_per_second\":1.5e6},"
		       "\"flags\":[\"up\",\"lower\"]},{\"name\":\"veth-long-µ\",\"flags\":[]},"
		       "{\"name\":\"lo\",\"rate\":{\"packets_per_second\":0},\"flags\":true}]}",
		       (struct style){0},
		       "Device            Rate  Flags\n"
		       "eth0         1.50 Mpps  up,lower\n"
		       "veth-long-µ          -  -\n"
		       "lo               0 pps  yes\n");
	assert_renders(&devices, "{\"devices\":[]}", (struct style){0}, "no devices\n");
	assert_renders(&devices, "{}", (struct style){0}, "no devices\n");
}

static void test_table_most(void **state)
{
	static const struct table two = {.rows = "devices", .most = 2, COLUMNS(device_columns)};

	(void)state;
	assert_renders(&two,
		       "{\"devices\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"long\"}]}",
		       (struct style){0},
		       "Device  Rate  Flags\n"
		       "a          -  -\n"
		       "b          -  -\n"
		       "and 1 more: -j has them all\n");
	assert_renders(&two, "{\"devices\":[{\"name\":\"a\"},{\"name\":\"b\"}]}", (struct style){0},
		       "Device  Rate  Flags\n"
		       "a          -  -\n"
		       "b          -  -\n");
}

static void test_table_colour(void **state)
{
	(void)state;
	assert_renders(&devices,
		       "{\"devices\":[{\"name\":\"a\",\"rate\":{\"packets_per_second\":1}},"
		       "{\"name\":\"b\",\"rate\":{\"packets_per_second\":0}}]}",
		       (struct style){.colour = true},
		       "\033[1mDevice\033[0m   \033[1mRate\033[0m  \033[1mFlags\033[0m\n"
		       "a       \033[31m1 pps\033[0m  -\n"
		       "b       0 pps  -\n");
}

static void test_table_cut(void **state)
{
	const char *json = "{\"devices\":[{\"name\":\"µµµµµµ\",\"flags\":\"abcdefgh\"}]}";

	(void)state;
	assert_renders(&devices, json, (struct style){.width = 18},
		       "Device  Rate  Fla…\nµµµµµµ     -  abc…\n");
	assert_renders(&devices, json, (struct style){.width = 4}, "Dev…\nµµµ…\n");
	assert_renders(&devices, json, (struct style){.width = 1}, "…\n…\n");
}

static void test_table_fold(void **state)
{
	const char *json = "{\"devices\":[{\"name\":\"a\",\"rate\":{\"packets_per_second\":1},"
			   "\"flags\":\"up\"},{\"name\":\"b\"}]}";

	(void)state;
	assert_renders(&devices, json, (struct style){.width = 20, .fold = true},
		       "Device   Rate  Flags\na       1 pps  up\nb           -  -\n");
	assert_renders(&devices, json, (struct style){.width = 19, .fold = true},
		       "Device   Rate\n    Flags\na       1 pps\n    up\nb           -\n");
	assert_renders(&devices, json, (struct style){.width = 8, .fold = true},
		       "Device\n     Ra…\n    Fla…\na\n    1 p…\n    up\nb\n");
}

/* The same text in every time zone but for the hours. */
static void test_table_clock(void **state)
{
	static const struct column columns[] = {COLUMN("time", "Time", UNIT_CLOCK)};
	static const struct table table = {COLUMNS(columns)};

	(void)state;
	setenv("TZ", "UTC-5:30", 1);
	assert_renders(&table,
		       "[{\"time\":\"2026-03-01T20:15:59.000042Z\"},{\"time\":\"soon\"},{}]",
		       (struct style){0}, "Time\n01:45:59.000042\nsoon\n-\n");
	unsetenv("TZ");
}

static void test_table_disarms_names(void **state)
{
	(void)state;
	assert_renders(&devices, "{\"devices\":[{\"name\":\"a\\u001b[2J\\n\\u007f\"}]}",
		       (struct style){0}, "Device   Rate  Flags\na?[2J??     -  -\n");
}

static void test_table_group(void **state)
{
	static const struct column columns[] = {
		COLUMN("device", "Device", UNIT_TEXT),
		COLUMN("reasons.reason", "Reason", UNIT_TEXT),
		COLUMN("reasons.packets", "Packets", UNIT_COUNT),
		COLUMN("mode", "Mode", UNIT_TEXT),
	};
	static const struct table table = {
		.group = "reasons", .heading = "Drops", COLUMNS(columns)};

	(void)state;
	assert_renders(
		&table,
		"[{\"device\":\"a\",\"mode\":\"native\",\"reasons\":["
		"{\"reason\":\"rule\",\"packets\":3},{\"reason\":\"limit\",\"packets\":10}]},"
		"{\"device\":\"b\",\"mode\":\"generic\",\"reasons\":[]}]",
		(struct style){0},
		"Drops\n"
		"Device  Reason  Packets  Mode\n"
		"a       rule          3  native\n"
		"        limit        10\n"
		"b                        generic\n");
	assert_renders(&table, "[]", (struct style){0}, "");
}

static void test_table_note(void **state)
{
	struct table table = devices;

	(void)state;
	table.note = "remedy";
	assert_renders(&table,
		       "{\"devices\":[{\"name\":\"a\",\"remedy\":\"run this long command\"},"
		       "{\"name\":\"b\",\"remedy\":null}]}",
		       (struct style){.width = 12},
		       "Device  Rate\na          -\n      → run this long command\nb          -\n");
}

static void test_table_list(void **state)
{
	struct table table = devices;

	(void)state;
	table.note = "remedy";
	table.list = "stack";
	assert_renders(
		&table,
		"{\"devices\":[{\"name\":\"a\",\"remedy\":\"run it\","
		"\"stack\":[\"a_function_of_some_length+0x1\",\"main\"]},"
		"{\"name\":\"b\",\"stack\":[]},{\"name\":\"c\",\"stack\":null}]}",
		(struct style){.width = 12},
		"Device  Rate\na          -\n      a_function_of_some_length+0x1\n      main\n"
		"      → run it\nb          -\nc          -\n");
}

/* Runs with standard output in a file or device; returns what went to the file. */
static char captured[65536];

static int saved_stdout;

static void redirect_stdout(const char *path, int flags)
{
	int fd = open(path, flags, 0600);

	assert_true(fd >= 0);
	fflush(stdout);
	saved_stdout = dup(STDOUT_FILENO);
	dup2(fd, STDOUT_FILENO);
	close(fd);
}

static void restore_stdout(void)
{
	clearerr(stdout);
	dup2(saved_stdout, STDOUT_FILENO);
	close(saved_stdout);
}

static void begin_capture(char path[32])
{
	int fd;

	strcpy(path, "/tmp/weir-out-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	redirect_stdout(path, O_WRONLY | O_TRUNC);
}

static void end_capture(const char *path)
{
	FILE *f;

	restore_stdout();
	f = fopen(path, "r");
	assert_non_null(f);
	captured[fread(captured, 1, sizeof(captured) - 1, f)] = '\0';
	fclose(f);
	unlink(path);
}

static json_t *sample(void)
{
	return json_pack("{s:[{s:s,s:{s:f}}]}", "devices", "name", "eth0", "rate",
			 "packets_per_second", 0.1);
}

static void test_show(void **state)
{
	struct table twice[] = {devices, devices};
	char path[32];

	(void)state;
	begin_capture(path);
	assert_int_equal(out_show(sample(), &devices, 1), 0);
	options.json = true;
	assert_int_equal(out_show(sample(), &devices, 1), 0);
	options.pretty = true;
	assert_int_equal(out_show(sample(), &devices, 1), 0);
	options.json = options.pretty = false;
	assert_int_equal(out_show(sample(), twice, 2), 0);
	end_capture(path);
	assert_string_equal(captured, "Device     Rate  Flags\neth0    0.1 pps  -\n"
				      "{\"devices\":[{\"name\":\"eth0\",\"rate\":{"
				      "\"packets_per_second\":0.1}}]}\n"
				      "{\n  \"devices\": [\n    {\n      \"name\": \"eth0\",\n"
				      "      \"rate\": {\n        \"packets_per_second\": 0.1\n"
				      "      }\n    }\n  ]\n}\n"
				      "Device     Rate  Flags\neth0    0.1 pps  -\n\n"
				      "Device     Rate  Flags\neth0    0.1 pps  -\n");
}

static void test_stream(void **state)
{
	struct out_stream stream = {.table = &devices};
	char path[32];

	(void)state;
	begin_capture(path);
	assert_int_equal(out_row(&stream, json_pack("{s:s}", "name", "a")), 0);
	assert_int_equal(out_row(&stream, json_pack("{s:s}", "name", "longer-name")), 0);
	assert_int_equal(out_row(&stream, json_pack("{s:s}", "name", "b")), 0);
	options.json = true;
	assert_int_equal(out_row(&stream, json_pack("{s:s}", "name", "a")), 0);
	options.json = false;
	end_capture(path);
	assert_string_equal(captured, "Device  Rate  Flags\n"
				      "a          -  -\n"
				      "longer-name     -  -\n"
				      "b               -  -\n"
				      "{\"name\":\"a\"}\n");
}

static void test_full_disk(void **state)
{
	struct out_stream stream = {.table = &devices};
	int shown, row, text;

	(void)state;
	redirect_stdout("/dev/full", O_WRONLY);
	shown = out_show(sample(), &devices, 1);
	row = out_row(&stream, sample());
	text = out_text("%s", "x");
	restore_stdout();
	assert_int_equal(shown, -ENOSPC);
	assert_int_equal(row, -ENOSPC);
	assert_int_equal(text, -ENOSPC);
	assert_string_equal(failure(), "standard output: No space left on device; the output is "
				       "incomplete");
	assert_int_equal(failure_status(), 2);
	forget_failure();
}

static void test_reader_left(void **state)
{
	struct out_stream stream = {.table = &devices};
	int pipes[2], shown, row;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	close(pipes[0]);
	fflush(stdout);
	saved_stdout = dup(STDOUT_FILENO);
	dup2(pipes[1], STDOUT_FILENO);
	close(pipes[1]);
	row = out_row(&stream, sample());
	assert_null(failure());
	shown = out_show(sample(), &devices, 1);
	restore_stdout();
	assert_int_equal(row, OUT_CLOSED);
	assert_int_equal(shown, -EPIPE);
	assert_non_null(failure());
	forget_failure();
}

static void test_no_document(void **state)
{
	struct out_stream stream = {.table = &devices};

	(void)state;
	assert_int_equal(out_show(NULL, &devices, 1), -ENOMEM);
	assert_int_equal(out_row(&stream, NULL), -ENOMEM);
	forget_failure();
}

static void test_string(void **state)
{
	json_t *good = out_string("veth-µ"), *bad = out_string("a\xff"
							       "b");

	(void)state;
	assert_string_equal(json_string_value(good), "veth-µ");
	assert_string_equal(json_string_value(bad), "a?b");
	json_decref(good);
	json_decref(bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_units),	    cmocka_unit_test(test_units_keep_order),
		cmocka_unit_test(test_table),	    cmocka_unit_test(test_table_colour),
		cmocka_unit_test(test_table_cut),   cmocka_unit_test(test_table_disarms_names),
		cmocka_unit_test(test_table_fold),  cmocka_unit_test(test_table_clock),
		cmocka_unit_test(test_table_group), cmocka_unit_test(test_table_note),
		cmocka_unit_test(test_table_list),  cmocka_unit_test(test_table_most),
		cmocka_unit_test(test_show),	    cmocka_unit_test(test_stream),
		cmocka_unit_test(test_full_disk),   cmocka_unit_test(test_reader_left),
		cmocka_unit_test(test_no_document), cmocka_unit_test(test_string),
	};

	setenv("LC_ALL", "C.UTF-8", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
