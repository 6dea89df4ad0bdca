// SPDX-License-Identifier: GPL-2.0
/* weir sock show: how much of what local connections send is short-cut, and what is not and why. */
#include <errno.h>

#include "loader/cmd/command.h"
#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/base/ticker.h"
#include "loader/out/out.h"
#include "loader/sockview/sock_view.h"
#include "loader/cmd/pace.h"

#define SAMPLE_SECONDS 1.0
#define NOTHING	       "no cgroup is attached; 'weir sock attach CGROUP' begins"

/* Of a row by itself, and of one in a group. */
#define RATES(of)                                                                  \
	COLUMN(of "port", "Port", UNIT_NUMBER, .width = 5),                        \
		COLUMN(of "pairs", "Pairs", UNIT_COUNT),                           \
		COLUMN(of "messages_per_second", "Msg/s", UNIT_COUNT, .width = 6), \
		COLUMN(of "bytes_per_second", "Bytes/s", UNIT_BYTES, .width = 8),  \
		COLUMN(of "shortcut_percent", "Short-cut", UNIT_PERCENT),          \
		COLUMN(of "gated_per_second", "Gated/s", UNIT_COUNT),              \
		COLUMN(of "spilled_per_second", "Spilled/s", UNIT_COUNT),          \
		COLUMN(of "streamed_per_second", "Streamed/s", UNIT_COUNT),        \
		COLUMN(of "refused", "Refused", UNIT_COUNT),                       \
		COLUMN(of "top_reason", "Mostly", UNIT_TEXT)

static const struct column group_columns[] = {
	COLUMN("cgroup", "Cgroup", UNIT_TEXT),
	RATES("by_port."),
};

static const struct column line_columns[] = {
	COLUMN("cgroup", "Cgroup", UNIT_TEXT, .width = 12),
	RATES(""),
};

static const struct table table = {
	.rows = "cgroups",
	.group = "by_port",
	.note = "note",
	.heading = "Rates over 1 s, refused connections since attached",
	.empty = NOTHING,
	COLUMNS(group_columns),
};

static const struct table line = {COLUMNS(line_columns)};

/* The id of the cgroup that the user named; 0: all. */
static int choose(const char *name, const struct sock_view *view, __u64 *only)
{
	struct cgroup cgroup;
	int err;

	*only = 0;
	if (!name)
		return 0;
	err = sock_scope_find(name, view->scopes, view->scope_count, &cgroup);
	if (err)
		return err;
	*only = cgroup.id;
	return 0;
}

static int show_tender(const struct sock_view *view)
{
	char text[PATH_MAX + 200];

	if (!view->scope_count || options.json)
		return 0;
	sock_view_tender(view, text, sizeof(text));
	return out_text(
		"%s%s", text,
		view->on ? "" : "; switched off: every send goes by TCP until 'weir sock attach'");
}

static int show_once(struct sock_view *view, struct ticker *ticker, __u64 only)
{
	int err = 0;

	if (view->scope_count) {
		if (!ticker_wait(ticker))
			return 0;
		err = sock_view_read(view);
	}
	if (!err)
		err = out_show(sock_view_json(view, only), &table, 1);
	return err ? err : show_tender(view);
}

static int show_rows(struct sock_view *view, struct out_stream *stream, __u64 only)
{
	json_t *rows = sock_view_rows(view, only), *row;
	double seconds = view->now.seconds - view->before.seconds;
	size_t i;
	int err = 0;

	json_array_foreach (rows, i, row)
		if (!err)
			err = out_row(stream, pace_stamp(json_incref(row), seconds));
	if (!err && !json_array_size(rows))
		err = fail(-ENODEV, "no cgroup is attached any more");
	json_decref(rows);
	return err;
}

static int stream_rows(const struct pace *pace, struct sock_view *view, struct ticker *ticker,
		       __u64 only)
{
	struct out_stream stream = {.table = &line};
	char text[PATH_MAX + 200];
	int err = 0;

	if (!view->scope_count)
		return fail(-ENODEV, NOTHING);
	if (!view->tender) {
		sock_view_tender(view, text, sizeof(text));
		notice("%s", text);
	}
	for (long done = 0; !err && (!pace->count || done < pace->count); done++) {
		if (!ticker_wait(ticker))
			return 0;
		err = sock_view_read(view);
		if (!err)
			err = show_rows(view, &stream, only);
	}
	return err == OUT_CLOSED ? 0 : err;
}

int cmd_sock_show(struct args *args)
{
	struct sock_view view = {};
	struct ticker ticker;
	struct pace pace;
	__u64 only;
	int err = pace_parse(&pace, args);

	if (err)
		return err;
	ticker_start(&ticker, pace.interval ? pace.interval : SAMPLE_SECONDS);
	err = sock_view_read(&view);
	if (!err)
		err = choose(pace.device, &view, &only);
	if (!err && pace.interval)
		err = stream_rows(&pace, &view, &ticker, only);
	else if (!err)
		err = show_once(&view, &ticker, only);
	sock_view_free(&view);
	return err;
}
