// SPDX-License-Identifier: GPL-2.0
/* weir handshake watch: a line for each handshake that ends, repeats itself or meets a full
 * queue. */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "loader/attach/device.h"
#include "loader/base/error.h"
#include "loader/watch/handshakes.h"
#include "loader/host/netdev.h"
#include "loader/out/endpoint.h"
#include "loader/out/out.h"
#include "loader/base/ticker.h"

#define POLL_SECONDS 0.1
#define DONE	     2 /* as many lines as the user wanted; OUT_CLOSED is 1 */

static const struct column columns[] = {
	COLUMN("time", "Time", UNIT_CLOCK, .width = 15),
	COLUMN("device", "Device", UNIT_TEXT, .width = 8),
	COLUMN("role", "Role", UNIT_TEXT, .width = 6),
	COLUMN("client", "Client", UNIT_TEXT, .width = 21),
	COLUMN("server", "Server", UNIT_TEXT, .width = 21),
	COLUMN("outcome", "Outcome", UNIT_TEXT, .width = 17),
	COLUMN("syn_to_synack_us", "SYN-ACK", UNIT_US, .width = 8),
	COLUMN("synack_to_ack_us", "ACK", UNIT_US, .width = 8),
	COLUMN("retransmits", "Retr.", UNIT_COUNT, .mark = MARK_ALARM, .width = 5),
	COLUMN("queue", "Queue", UNIT_TEXT, .width = 14),
};

static const struct table table = {COLUMNS(columns)};

static const char *const outcomes[WEIR_EVENTS] = {
	[WEIR_EVENT_ESTABLISHED] = "established",
	[WEIR_EVENT_REFUSED] = "refused",
	[WEIR_EVENT_RESET] = "reset",
	[WEIR_EVENT_SYN_REPEATED] = "syn_repeated",
	[WEIR_EVENT_SYNACK_REPEATED] = "synack_repeated",
	[WEIR_EVENT_ACCEPT_QUEUE_FULL] = "accept_queue_full",
	[WEIR_EVENT_SYN_QUEUE_FULL] = "syn_queue_full",
	[WEIR_EVENT_SYN_COOKIE] = "syn_cookie",
};

struct watching {
	const char *device; /* NULL: all */
	long port;	    /* 0: all */
	int role;	    /* -1: both */
	double interval;
	long count; /* 0: for ever */
	long shown;
	const struct device *devices;
	size_t device_count;
	struct out_stream stream;
};

static int parse_role(struct watching *w, const char *text)
{
	if (!text)
		return -EINVAL;
	if (strcmp(text, "server") && strcmp(text, "client"))
		return misuse("role '%s': wanted server or client", text);
	w->role = strcmp(text, "client") ? WEIR_SERVER : WEIR_CLIENT;
	return 0;
}

static int parse(struct watching *w, struct args *args)
{
	const char *text;
	int err = 0;

	*w = (struct watching){.role = -1, .interval = POLL_SECONDS, .stream.table = &table};
	while (args->count && !err) {
		if (accept_word(args, "--port")) {
			text = value_of(args, "--port");
			err = text ? parse_number("port", text, 1, 65535, &w->port) : -EINVAL;
		} else if (accept_word(args, "--role")) {
			err = parse_role(w, value_of(args, "--role"));
		} else if (accept_word(args, "-i")) {
			text = value_of(args, "-i");
			err = text ? parse_seconds("interval", text, &w->interval) : -EINVAL;
		} else if (accept_word(args, "-c")) {
			text = value_of(args, "-c");
			err = text ? parse_number("count", text, 1, LONG_MAX, &w->count) : -EINVAL;
		} else if (args->word[0][0] == '-' || w->device) {
			err = no_more_words(args);
		} else {
			w->device = next_word(args);
		}
	}
	if (!err && w->interval > 1)
		return misuse("interval: at most 1 second, or the events' buffer may run over");
	return err;
}

/* ---- one line ---- */

static const char *device_name(const struct watching *w, __u32 ifindex)
{
	for (size_t i = 0; i < w->device_count; i++)
		if (w->devices[i].attachment.ifindex == ifindex)
			return w->devices[i].name;
	return "?";
}

/* Which queue is meant, as in "accept 129/128". */
static void add_queue(json_t *row, const struct weir_handshake_event *e)
{
	bool accept = e->kind == WEIR_EVENT_ACCEPT_QUEUE_FULL;
	char text[64];

	if (!e->queue_max) {
		json_object_set_new(row, "queue", json_null());
		return;
	}
	snprintf(text, sizeof(text), "%s %u/%u", accept ? "accept" : "SYN",
		 accept ? e->accept_queue : e->syn_queue, e->queue_max);
	json_object_set_new(row, "queue", json_string(text));
	json_object_set_new(row, "accept_queue", json_integer(e->accept_queue));
	json_object_set_new(row, "syn_queue", json_integer(e->syn_queue));
	json_object_set_new(row, "queue_max", json_integer(e->queue_max));
}

static json_t *event_json(const struct watching *w, const struct weir_handshake_event *e)
{
	bool established = e->kind == WEIR_EVENT_ESTABLISHED;
	json_t *row = json_object();

	json_object_set_new(row, "time", out_time(e->ns));
	json_object_set_new(row, "device", out_string(device_name(w, e->ifindex)));
	json_object_set_new(row, "role", json_string(e->role == WEIR_CLIENT ? "client" : "server"));
	json_object_set_new(row, "client", out_end(e->client, ntohs(e->client_port), e->family));
	json_object_set_new(row, "server", out_end(e->server, ntohs(e->server_port), e->family));
	json_object_set_new(row, "outcome",
			    json_string(e->kind < WEIR_EVENTS ? outcomes[e->kind] : "?"));
	json_object_set_new(row, "syn_to_synack_us",
			    e->synack_us ? json_integer(e->synack_us) : json_null());
	json_object_set_new(row, "synack_to_ack_us",
			    established && e->synack_us ? json_integer(e->ack_us) : json_null());
	json_object_set_new(row, "retransmits", json_integer(e->retransmits));
	add_queue(row, e);
	return row;
}

static int on_event(void *arg, const struct weir_handshake_event *e)
{
	struct watching *w = arg;
	int err;

	if ((w->port && ntohs(e->server_port) != w->port) || (w->role >= 0 && e->role != w->role))
		return 0;
	err = out_row(&w->stream, event_json(w, e));
	if (err)
		return err;
	return w->count && ++w->shown == w->count ? DONE : 0;
}

/* ---- the loop ---- */

static int observed(const struct device *list, size_t count, struct handshake_maps *maps)
{
	int n = 0;

	for (size_t i = 0; i < count; i++)
		if (list[i].present && list[i].handshakes.events >= 0)
			maps[n++] = list[i].handshakes;
	return n;
}

static bool any_left(const struct watching *w)
{
	struct netdev dev;

	for (size_t i = 0; i < w->device_count; i++) {
		if (!netdev_by_index(w->devices[i].attachment.ifindex, &dev))
			return true;
		forget_failure();
	}
	return false;
}

static int poll_events(struct watching *w, struct handshake_watch *watch)
{
	struct ticker ticker;
	int err = 0;

	ticker_start(&ticker, w->interval);
	for (double since = 0; !err && ticker_wait(&ticker); since += w->interval) {
		err = handshake_watch_poll(watch);
		if (!err && since >= 1) {
			since = 0;
			if (!any_left(w))
				err = fail(-ENODEV, "no device is left to watch");
		}
	}
	if (handshake_watch_lost(watch))
		notice("%llu events came faster than they could be shown and are missing",
		       handshake_watch_lost(watch));
	return err == DONE || err == OUT_CLOSED ? 0 : err;
}

static int run(struct watching *w, struct device *list, size_t count)
{
	struct handshake_maps *maps = calloc(count ? count : 1, sizeof(*maps));
	struct handshake_watch *watch;
	int err;

	if (!maps)
		return fail(-ENOMEM, "out of memory");
	w->devices = list;
	w->device_count = count;
	err = handshake_watch_open(maps, observed(list, count, maps), on_event, w, &watch);
	free(maps);
	if (err)
		return err;
	err = out_titles(&w->stream) ?: poll_events(w, watch);
	handshake_watch_close(watch);
	return err;
}

int cmd_handshake_watch(struct args *args)
{
	struct device *list = NULL;
	struct watching w;
	struct instance in;
	size_t count = 1;
	int err = parse(&w, args);

	if (!err)
		err = instance_open(&in, false);
	if (err)
		return err;
	err = w.device ? device_open(&in, w.device, &list) : devices_open(&in, &list, &count);
	instance_unlock(&in);
	if (!err) {
		err = run(&w, list, count);
		devices_free(list, count);
	}
	instance_close(&in);
	return err;
}
