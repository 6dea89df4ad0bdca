// SPDX-License-Identifier: GPL-2.0
#include "top_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/out/out.h"
#include "top_screen.h"

#define SIDE_BY_SIDE 100 /* columns from which protocols and drops share their lines */
#define LEAST_HEIGHT 4
#define DEVICE_WIDTH 8	/* of the first column, unless a name is longer */
#define BARS_COLUMN  81 /* where the history begins */
#define LEAST_BARS   5

static const struct column device_columns[] = {
	COLUMN("device", "Device", UNIT_TEXT, .width = 8),
	COLUMN("mode", "Mode", UNIT_TEXT, .width = 7),
	COLUMN("attached_seconds", "Attached", UNIT_SECONDS, .width = 11),
	COLUMN("verdicts.pass.packets_per_second", "Pass/s", UNIT_COUNT, .width = 6),
	COLUMN("verdicts.drop.packets_per_second", "Drop/s", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("verdicts.tx.packets_per_second", "TX/s", UNIT_COUNT, .width = 5),
	COLUMN("verdicts.redirect.packets_per_second", "Redir/s", UNIT_COUNT),
	COLUMN("bits_per_second", "Bit rate", UNIT_BITRATE, .width = 11),
	COLUMN("history", "History", UNIT_TEXT),
};

static const struct column class_columns[] = {
	COLUMN("class", "Protocol", UNIT_TEXT, .width = 10),
	COLUMN("packets_per_second", "Rate", UNIT_PPS, .width = 9),
	COLUMN("bits_per_second", "Bit rate", UNIT_BITRATE, .width = 11),
	COLUMN("packets", "In all", UNIT_COUNT, .width = 6),
};

static const struct column reason_columns[] = {
	COLUMN("reason", "Drops by", UNIT_TEXT, .width = 10),
	COLUMN("packets_per_second", "Rate", UNIT_PPS, .width = 9, .mark = MARK_ALARM),
	COLUMN("packets", "In all", UNIT_COUNT, .width = 6),
};

static const struct column handshake_columns[] = {
	COLUMN("role", "Handshakes", UNIT_TEXT, .width = 10),
	COLUMN("port", "Port", UNIT_NUMBER, .width = 5),
	COLUMN("syn", "SYN", UNIT_COUNT, .width = 6),
	COLUMN("established", "Done", UNIT_COUNT, .width = 6),
	COLUMN("half_open", "Half-open", UNIT_COUNT),
	COLUMN("synack_p50_us", "SYN-ACK p50", UNIT_US),
	COLUMN("synack_p99_us", "p99", UNIT_US, .width = 7),
	COLUMN("ack_p50_us", "ACK p50", UNIT_US),
	COLUMN("finding", "", UNIT_TEXT),
};

static const struct column rule_columns[] = {
	COLUMN("rule", "Rule", UNIT_NUMBER, .width = 5),
	COLUMN("packets_per_second", "Rate", UNIT_PPS, .width = 9),
	COLUMN("bits_per_second", "Bit rate", UNIT_BITRATE, .width = 11),
	COLUMN("packets", "In all", UNIT_COUNT, .width = 6),
	COLUMN("text", "", UNIT_TEXT),
};

static const struct column service_columns[] = {
	COLUMN("service", "Service", UNIT_TEXT, .width = 18),
	COLUMN("backends.backend", "Backend", UNIT_TEXT, .width = 15),
	COLUMN("backends.state", "State", UNIT_TEXT, .width = 7),
	COLUMN("backends.packets_per_second", "Rate", UNIT_PPS, .width = 9),
	COLUMN("backends.bits_per_second", "Bit rate", UNIT_BITRATE, .width = 11),
	COLUMN("backends.connections_per_second", "Conns/s", UNIT_COUNT),
	COLUMN("backends.connections_live", "Live", UNIT_COUNT, .width = 6),
	COLUMN("backends.slots", "Slots", UNIT_COUNT, .width = 6),
	COLUMN("backends.slots_previous", "Leaving", UNIT_COUNT),
};

static const struct table device_table = {.empty = "nothing is attached; 'weir attach DEV' begins",
					  COLUMNS(device_columns)};
static const struct table class_table = {COLUMNS(class_columns)};
static const struct table reason_table = {.empty = "nothing has been dropped",
					  COLUMNS(reason_columns)};
static const struct table service_table = {.group = "backends", COLUMNS(service_columns)};
static const struct table rule_table = {COLUMNS(rule_columns)};
static const struct table handshake_table = {COLUMNS(handshake_columns)};

/* ---- documents ---- */

/* The latest part of the history that fits. */
static json_t *bars_json(const struct history *history, int room)
{
	int bars = room < HISTORY ? room : HISTORY;

	return screen_bars(history->rate + HISTORY - bars, bars);
}

static int bars_room(const struct tracker *tracker)
{
	size_t longest = DEVICE_WIDTH;

	for (size_t i = 0; i < tracker->count; i++)
		if (strlen(tracker->items[i].name) > longest)
			longest = strlen(tracker->items[i].name);
	return screen_width() - BARS_COLUMN - (int)(longest - DEVICE_WIDTH);
}

static json_t *devices_json(const struct tracker *tracker, const struct history *history,
			    size_t histories)
{
	int room = bars_room(tracker);
	json_t *devices = json_array();

	for (size_t i = 0; i < tracker->count; i++) {
		const struct tracked *item = &tracker->items[i];
		json_t *json;

		if (item->gone)
			continue;
		json = tracked_stats_json(item);
		for (size_t h = 0; h < histories; h++)
			if (room >= LEAST_BARS && !strcmp(history[h].name, item->name))
				json_object_set_new(json, "history", bars_json(&history[h], room));
		json_array_append_new(devices, json);
	}
	return devices;
}

static int by_rate(const void *a, const void *b)
{
	json_t *const *left = a, *const *right = b;
	double x = json_number_value(json_object_get(*left, "packets_per_second"));
	double y = json_number_value(json_object_get(*right, "packets_per_second"));

	if (x != y)
		return x < y ? 1 : -1;
	x = json_number_value(json_object_get(*left, "packets"));
	y = json_number_value(json_object_get(*right, "packets"));
	return (x < y) - (x > y);
}

/* {"tcp4": {...}, ...} as rows with `name` in a field, those that ever counted, fastest first. */
static json_t *rows_by_rate(const json_t *object, const char *field)
{
	json_t *rows = json_array(), *sorted[WEIR_CLASSES], *part;
	const char *name;
	size_t count = 0;

	json_object_foreach ((json_t *)object, name, part) {
		if (!json_integer_value(json_object_get(part, "packets")) || count == WEIR_CLASSES)
			continue;
		sorted[count] = json_copy(part);
		json_object_set_new(sorted[count++], field, json_string(name));
	}
	qsort(sorted, count, sizeof(sorted[0]), by_rate);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(rows, sorted[i]);
	return rows;
}

/* The busiest first. */
static json_t *services_by_rate(const json_t *services)
{
	size_t count = json_array_size(services);
	json_t **sorted = calloc(count + 1, sizeof(json_t *)), *rows = json_array();

	for (size_t i = 0; i < count && sorted; i++)
		sorted[i] = json_array_get(services, i);
	if (sorted)
		qsort(sorted, count, sizeof(json_t *), by_rate);
	for (size_t i = 0; i < count && sorted; i++)
		json_array_append(rows, sorted[i]);
	free(sorted);
	return rows;
}

static json_t *handshake_json(const struct handshake_endpoint *e)
{
	json_t *json = json_pack(
		"{s:s,s:I,s:I,s:I,s:s}", "role", e->role == WEIR_SERVER ? "server" : "client",
		"syn", (json_int_t)e->stats.syn, "established", (json_int_t)e->stats.established,
		"half_open", (json_int_t)e->half_open, "finding",
		handshake_verdict_name(e->verdict));

	if (!e->others)
		json_object_set_new(json, "port", json_integer(e->port));
	if (e->synack.samples) {
		json_object_set_new(json, "synack_p50_us", json_real(e->synack.p50_us));
		json_object_set_new(json, "synack_p99_us", json_real(e->synack.p99_us));
	}
	if (e->ack.samples)
		json_object_set_new(json, "ack_p50_us", json_real(e->ack.p50_us));
	return json;
}

static int by_syns(const void *a, const void *b)
{
	const struct handshake_endpoint *left = a, *right = b;

	return (left->stats.syn < right->stats.syn) - (left->stats.syn > right->stats.syn);
}

static json_t *handshakes_json(const struct device *device)
{
	struct handshake_endpoint *list = NULL;
	json_t *rows = json_array();
	size_t count = 0;

	if (device->handshakes.endpoints < 0)
		return rows;
	if (handshakes_read(&device->handshakes, &list, &count, NULL)) {
		forget_failure();
		return rows;
	}
	if (count)
		qsort(list, count, sizeof(*list), by_syns);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(rows, handshake_json(&list[i]));
	free(list);
	return rows;
}

/* ---- picture ---- */

/* Where the next section begins and how many lines are left for it. */
struct page {
	int y;
	int end;
};

static void section(struct page *page, const struct table *table, json_t *document, int selected)
{
	int lines = screen_table(page->y, 0, screen_width(), page->end - page->y, table, document,
				 selected);

	page->y += lines ? lines + 1 : 0;
	json_decref(document);
}

static void draw_header(const char *instance, double interval, bool paused)
{
	char host[64] = "", line[256], clock[16];
	time_t now = time(NULL);
	struct tm local;

	gethostname(host, sizeof(host) - 1);
	localtime_r(&now, &local);
	strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	snprintf(line, sizeof(line), "weir top   host %s   instance %s   every %g s   %s%s", host,
		 instance, interval, clock, paused ? "   PAUSED" : "");
	screen_text(0, 0, line, paused);
}

/* As many devices as fit, so that the selected one is among them. */
static void draw_devices(struct page *page, json_t *devices, size_t selected, bool has_bars)
{
	struct table table = device_table;
	size_t count = json_array_size(devices), room = (page->end - page->y) / 2, first = 0;
	json_t *shown = json_array();

	if (room < 2)
		room = 2;
	room--; /* the titles */
	if (selected >= room)
		first = selected - room + 1;
	for (size_t i = first; i < count && i < first + room; i++)
		json_array_append(shown, json_array_get(devices, i));
	if (!has_bars)
		table.count--;
	section(page, &table, shown, count ? (int)(selected - first) : -1);
}

static void draw_rates(struct page *page, const json_t *device)
{
	json_t *classes = rows_by_rate(json_object_get(device, "classes"), "class");
	json_t *reasons = rows_by_rate(json_object_get(device, "reasons"), "reason");
	int room = page->end - page->y, left, right;

	if (screen_width() < SIDE_BY_SIDE) {
		section(page, &class_table, classes, -1);
		section(page, &reason_table, reasons, -1);
		return;
	}
	left = screen_table(page->y, 0, SIDE_BY_SIDE / 2, room, &class_table, classes, -1);
	right = screen_table(page->y, SIDE_BY_SIDE / 2, screen_width() - SIDE_BY_SIDE / 2, room,
			     &reason_table, reasons, -1);
	page->y += (left > right ? left : right) + 1;
	json_decref(classes);
	json_decref(reasons);
}

static const struct tracked *nth(const struct tracker *tracker, size_t n)
{
	for (size_t i = 0; i < tracker->count; i++)
		if (!tracker->items[i].gone && !n--)
			return &tracker->items[i];
	return NULL;
}

static void draw_gone(struct page *page, const struct tracker *tracker)
{
	char line[64];

	for (size_t i = 0; i < tracker->count && page->y < page->end; i++) {
		if (!tracker->items[i].gone)
			continue;
		snprintf(line, sizeof(line), "%s is no longer attached", tracker->items[i].name);
		screen_text(page->y++, 0, line, true);
	}
}

void top_draw(const struct tracker *tracker, const struct history *history, size_t histories,
	      struct top_rows rows, size_t selected, double interval, bool paused)
{
	const struct tracked *item = nth(tracker, selected);
	struct page page = {.y = 2, .end = screen_height() - 1};
	json_t *devices = devices_json(tracker, history, histories);

	screen_begin();
	if (screen_height() < LEAST_HEIGHT) {
		screen_text(0, 0, "too small", false);
	} else {
		draw_header(tracker->instance, interval, paused);
		draw_devices(&page, devices, selected, bars_room(tracker) >= LEAST_BARS);
		draw_gone(&page, tracker);
		if (item) {
			draw_rates(&page, json_array_get(devices, selected));
			section(&page, &service_table, services_by_rate(rows.services), -1);
			section(&page, &handshake_table, handshakes_json(item->device), -1);
			section(&page, &rule_table, json_incref(rows.rules), -1);
		}
		screen_text(screen_height() - 1, 0,
			    "q quit   p pause   - + interval   up down device", false);
	}
	screen_end();
	json_decref(devices);
}
