// SPDX-License-Identifier: GPL-2.0
/* weir stats: what passes through each device, once or every few seconds. */
#include <errno.h>

#include "command.h"
#include "loader/base/error.h"
#include "loader/out/out.h"
#include "loader/base/ticker.h"
#include "loader/watch/tracker.h"
#include "pace.h"

#define SAMPLE_SECONDS 1.0
#define NOTHING	       "nothing is attached; 'weir attach DEV' begins"

static const struct column total_columns[] = {
	COLUMN("device", "Device", UNIT_TEXT),
	COLUMN("mode", "Mode", UNIT_TEXT),
	COLUMN("attached_seconds", "Attached", UNIT_SECONDS),
	COLUMN("packets", "Packets", UNIT_COUNT),
	COLUMN("bytes", "Bytes", UNIT_BYTES),
	COLUMN("verdicts.pass.packets", "Pass", UNIT_COUNT),
	COLUMN("verdicts.drop.packets", "Drop", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("verdicts.tx.packets", "TX", UNIT_COUNT),
	COLUMN("verdicts.redirect.packets", "Redirect", UNIT_COUNT),
	COLUMN("verdicts.aborted.packets", "Aborted", UNIT_COUNT, .mark = MARK_ALARM),
};

/* The widths are those of the widest usual values, so that the columns of a stream stay. */
static const struct column rate_columns[] = {
	COLUMN("device", "Device", UNIT_TEXT, .width = 8),
	COLUMN("verdicts.pass.packets_per_second", "Pass/s", UNIT_COUNT, .width = 6),
	COLUMN("verdicts.drop.packets_per_second", "Drop/s", UNIT_COUNT, .mark = MARK_ALARM,
	       .width = 6),
	COLUMN("verdicts.tx.packets_per_second", "TX/s", UNIT_COUNT, .width = 5),
	COLUMN("verdicts.redirect.packets_per_second", "Redir/s", UNIT_COUNT),
	COLUMN("bits_per_second", "Bit rate", UNIT_BITRATE, .width = 11),
	COLUMN("share.tcp_percent", "TCP", UNIT_PERCENT, .width = 4),
	COLUMN("share.udp_percent", "UDP", UNIT_PERCENT, .width = 4),
	COLUMN("share.other_percent", "Other", UNIT_PERCENT),
	COLUMN("top_reason", "Drops by", UNIT_TEXT),
};

static const struct table once[] = {
	{.rows = "devices", .heading = "Since attached", .empty = NOTHING, COLUMNS(total_columns)},
	{.rows = "devices", .heading = "Rates over 1 s", COLUMNS(rate_columns)},
};

static const struct table line = {COLUMNS(rate_columns)};

static int show_once(struct tracker *tracker, struct ticker *ticker)
{
	json_t *devices;
	double seconds = 0;
	int err = pace_sample(tracker, ticker);

	if (err)
		return err < 0 ? err : 0;
	devices = json_array();
	for (size_t i = 0; i < tracker->count; i++) {
		if (tracker->items[i].gone)
			continue;
		json_array_append_new(devices, tracked_stats_json(&tracker->items[i]));
		seconds = tracker->items[i].delta.seconds;
	}
	return out_show(json_pack("{s:f,s:o}", "seconds", seconds, "devices", devices), once, 2);
}

static int show_line(struct out_stream *stream, const struct tracked *item)
{
	return out_row(stream, pace_stamp(tracked_stats_json(item), item->delta.seconds));
}

int cmd_stats(struct args *args)
{
	struct out_stream stream = {.table = &line};
	struct tracker tracker = {0};
	struct ticker ticker;
	struct pace pace;
	int err = pace_parse(&pace, args);

	if (err)
		return err;
	tracker.only = pace.device;
	ticker_start(&ticker, pace.interval ? pace.interval : SAMPLE_SECONDS);
	if (pace.interval)
		err = pace_run(&pace, &ticker, &tracker, &stream, show_line);
	else
		err = show_once(&tracker, &ticker);
	tracker_free(&tracker);
	return err;
}
