// SPDX-License-Identifier: GPL-2.0
#include "pace.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>

#include "loader/base/error.h"

int pace_parse(struct pace *pace, struct args *args)
{
	int err = 0;

	*pace = (struct pace){0};
	while (args->count && !err) {
		if (accept_word(args, "-i")) {
			const char *text = value_of(args, "-i");

			err = text ? parse_seconds("interval", text, &pace->interval) : -EINVAL;
		} else if (accept_word(args, "-c")) {
			const char *text = value_of(args, "-c");

			err = text ? parse_number("count", text, 1, LONG_MAX, &pace->count)
				   : -EINVAL;
		} else if (args->word[0][0] == '-' || pace->device) {
			err = no_more_words(args);
		} else {
			pace->device = next_word(args);
		}
	}
	if (!err && pace->count && !pace->interval)
		pace->interval = 1;
	return err;
}

int pace_sample(struct tracker *tracker, struct ticker *ticker)
{
	int err = tracker_read(tracker);

	if (err || !tracker->alive)
		return err;
	return ticker_wait(ticker) ? tracker_read(tracker) : PACE_ENDED;
}

json_t *pace_stamp(json_t *row, double seconds)
{
	struct timespec now;
	struct tm utc;
	char day[32], text[48];
	json_t *stamped;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text, sizeof(text), "%s.%03ldZ", day, now.tv_nsec / 1000000);
	stamped = json_pack("{s:s,s:f}", "time", text, "seconds", seconds);
	if (stamped && row)
		json_object_update(stamped, row);
	json_decref(row);
	return stamped;
}

static int show_all(const struct tracker *tracker, struct out_stream *stream,
		    int (*show)(struct out_stream *stream, const struct tracked *item))
{
	int err = 0;

	for (size_t i = 0; i < tracker->count && !err; i++) {
		const struct tracked *item = &tracker->items[i];

		if (item->gone)
			notice("%s is no longer attached", item->name);
		else if (item->rated)
			err = show(stream, item);
	}
	return err;
}

static bool counts_anything(const struct tracker *tracker)
{
	for (size_t i = 0; i < tracker->count; i++)
		if (tracker->items[i].device && tracker->items[i].device->counters >= 0)
			return true;
	return false;
}

int pace_run(const struct pace *pace, struct ticker *ticker, struct tracker *tracker,
	     struct out_stream *stream,
	     int (*show)(struct out_stream *stream, const struct tracked *item))
{
	int err = tracker_read(tracker);

	if (!err && !tracker->alive)
		return fail(-ENODEV, "nothing is attached; 'weir attach DEV' begins");
	if (!err && !counts_anything(tracker))
		return fail(-ENODEV,
			    "only TC programs are attached, and packets are counted by XDP; "
			    "'weir attach DEV' adds it");
	for (long done = 0; !err && (!pace->count || done < pace->count); done++) {
		if (!ticker_wait(ticker))
			return 0;
		err = tracker_read(tracker);
		if (!err)
			err = show_all(tracker, stream, show);
		if (!err && !tracker->alive)
			return fail(-ENODEV, "no device is left to show");
	}
	return err == OUT_CLOSED ? 0 : err;
}
