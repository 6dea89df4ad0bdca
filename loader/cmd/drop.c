// SPDX-License-Identifier: GPL-2.0
/* weir drop: which packets did not get where they were going, and why. Rules' own counters are
 * shown by `weir rule list`. */
#include "command.h"
#include "loader/out/out.h"
#include "pace.h"

#define SAMPLE_SECONDS 1.0

static const struct column columns[] = {
	COLUMN("device", "Device", UNIT_TEXT),
	COLUMN("reasons.reason", "Reason", UNIT_TEXT),
	COLUMN("reasons.packets", "Packets", UNIT_COUNT),
	COLUMN("reasons.bytes", "Bytes", UNIT_BYTES),
	COLUMN("reasons.packets_per_second", "Rate", UNIT_PPS, .mark = MARK_ALARM),
	COLUMN("reasons.bits_per_second", "Bit rate", UNIT_BITRATE),
	COLUMN("reasons.meaning", "Meaning", UNIT_TEXT, .mark = MARK_FAINT),
};

static const struct column watch_columns[] = {
	COLUMN("device", "Device", UNIT_TEXT, .width = 8),
	COLUMN("packets_per_second", "Drops/s", UNIT_COUNT, .mark = MARK_ALARM, .width = 7),
	COLUMN("bits_per_second", "Bit rate", UNIT_BITRATE, .width = 11),
	COLUMN("reasons.reason", "Reason", UNIT_TEXT, .width = 9),
	COLUMN("reasons.packets_per_second", "Rate", UNIT_PPS, .width = 9),
	COLUMN("reasons.packets", "In all", UNIT_COUNT, .width = 7),
};

static const struct table table = {
	.rows = "devices",
	.group = "reasons",
	.heading = "Since attached; rates over 1 s",
	.empty = "nothing is attached; 'weir attach DEV' begins",
	COLUMNS(columns),
};

static const struct table watch_table = {.group = "reasons", COLUMNS(watch_columns)};

static json_t *reason_json(const struct tracked *item, int reason)
{
	struct weir_counter delta = counters_of_drop(&item->delta.total, reason);
	json_t *json = counter_json(counters_of_drop(&item->now.total, reason),
				    item->rated ? &delta : NULL, item->delta.seconds);

	json_object_set_new(json, "reason", json_string(drop_name(reason)));
	json_object_set_new(json, "meaning", json_string(drop_meanings[reason]));
	return json;
}

/* The balancer's reasons are shown once there was one: they are many. */
static bool worth_showing(int reason, __u64 packets)
{
	return packets || reason < WEIR_BY_NO_BACKEND || reason == WEIR_REASONS;
}

/* With `recent`, only reasons that have dropped packets since the last reading. */
static json_t *device_json(const struct tracked *item, bool recent)
{
	json_t *json = tracked_json(item), *reasons = json_array(), *sums;
	struct weir_counter total = {0}, delta = {0};

	for (int i = 0; i < COUNTERS_DROPS && item->device->counters >= 0; i++) {
		struct weir_counter now = counters_of_drop(&item->now.total, i);
		struct weir_counter part = counters_of_drop(&item->delta.total, i);

		total.packets += now.packets;
		total.bytes += now.bytes;
		delta.packets += part.packets;
		delta.bytes += part.bytes;
		if (recent ? part.packets : worth_showing(i, now.packets))
			json_array_append_new(reasons, reason_json(item, i));
	}
	sums = counter_json(total, item->rated ? &delta : NULL, item->delta.seconds);
	json_object_update(json, sums);
	json_decref(sums);
	json_object_set_new(json, "reasons", reasons);
	return json;
}

static int show(struct tracker *tracker, struct ticker *ticker)
{
	json_t *devices;
	int err = pace_sample(tracker, ticker);

	if (err)
		return err < 0 ? err : 0;
	devices = json_array();
	for (size_t i = 0; i < tracker->count; i++)
		if (!tracker->items[i].gone)
			json_array_append_new(devices, device_json(&tracker->items[i], false));
	return out_show(json_pack("{s:o}", "devices", devices), &table, 1);
}

int cmd_drop_show(struct args *args)
{
	struct tracker tracker = {.only = next_word(args)};
	struct ticker ticker;
	int err = no_more_words(args);

	if (err)
		return err;
	ticker_start(&ticker, SAMPLE_SECONDS);
	err = show(&tracker, &ticker);
	tracker_free(&tracker);
	return err;
}

static int show_line(struct out_stream *stream, const struct tracked *item)
{
	return out_row(stream, pace_stamp(device_json(item, true), item->delta.seconds));
}

int cmd_drop_watch(struct args *args)
{
	struct out_stream stream = {.table = &watch_table};
	struct tracker tracker = {0};
	struct ticker ticker;
	struct pace pace;
	int err = pace_parse(&pace, args);

	if (err)
		return err;
	tracker.only = pace.device;
	ticker_start(&ticker, pace.interval ? pace.interval : SAMPLE_SECONDS);
	err = pace_run(&pace, &ticker, &tracker, &stream, show_line);
	tracker_free(&tracker);
	return err;
}
