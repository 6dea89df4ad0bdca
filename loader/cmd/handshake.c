// SPDX-License-Identifier: GPL-2.0
/* weir handshake show: TCP handshakes by device, role and service port since attached. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "loader/attach/device.h"
#include "loader/base/error.h"
#include "loader/watch/handshakes.h"
#include "loader/base/options.h"
#include "loader/out/out.h"

static const struct column columns[] = {
	COLUMN("device", "Device", UNIT_TEXT),
	COLUMN("endpoints.endpoint", "Endpoint", UNIT_TEXT),
	COLUMN("endpoints.verdict", "", UNIT_TEXT, .mark = MARK_LEVEL),
	COLUMN("endpoints.syn", "SYNs", UNIT_COUNT),
	COLUMN("endpoints.established", "Establ.", UNIT_COUNT),
	COLUMN("endpoints.refused", "Refused", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("endpoints.unanswered", "Unansw.", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("endpoints.retransmits", "Retrans.", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("endpoints.half_open", "Half-open", UNIT_COUNT),
	COLUMN("endpoints.half_open_peak", "peak", UNIT_COUNT),
	COLUMN("endpoints.syn_to_synack_us_p50", "SYN-ACK p50", UNIT_US),
	COLUMN("endpoints.syn_to_synack_us_p99", "p99", UNIT_US),
	COLUMN("endpoints.synack_to_ack_us_p50", "ACK p50", UNIT_US),
	COLUMN("endpoints.synack_to_ack_us_p99", "p99", UNIT_US),
	COLUMN("endpoints.queues", "Queues", UNIT_TEXT),
};

static const struct table table = {
	.rows = "devices",
	.group = "endpoints",
	.empty = "no device is observed; 'weir attach DEV' begins, without --xdp-only",
	COLUMNS(columns),
};

static const char *level_of(enum handshake_verdict verdict)
{
	if (verdict == HANDSHAKE_OK)
		return "ok";
	return handshake_verdict_is_loss(verdict) ? "fail" : "warn";
}

static void add_latency(json_t *json, const char *name, const struct handshake_latency *l)
{
	const struct {
		const char *suffix;
		double us;
	} fields[] = {
		{"mean", l->mean_us}, {"p50", l->p50_us}, {"p90", l->p90_us},
		{"p99", l->p99_us},   {"max", l->max_us},
	};
	char field[64];

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		snprintf(field, sizeof(field), "%s_us_%s", name, fields[i].suffix);
		json_object_set_new(json, field,
				    l->samples ? json_real(fields[i].us) : json_null());
	}
}

static void add_count(json_t *json, const char *name, __u64 value)
{
	json_object_set_new(json, name, json_integer(value));
}

static void add_queues(json_t *json, const struct weir_endpoint *queues)
{
	bool accept_full = queues->accept_queue > queues->queue_max;
	bool syn_full = queues->syn_queue > queues->queue_max;
	char text[96];

	if (!queues->queue_max) {
		json_object_set_new(json, "queues", json_null());
		return;
	}
	add_count(json, "accept_queue", queues->accept_queue);
	add_count(json, "accept_queue_peak", queues->accept_queue_peak);
	add_count(json, "syn_queue", queues->syn_queue);
	add_count(json, "syn_queue_peak", queues->syn_queue_peak);
	add_count(json, "queue_max", queues->queue_max);
	snprintf(text, sizeof(text), "accept %u/%u%s, SYN %u/%u%s", queues->accept_queue,
		 queues->queue_max, accept_full ? " FULL" : "", queues->syn_queue,
		 queues->queue_max, syn_full ? " FULL" : "");
	json_object_set_new(json, "queues", json_string(text));
}

static void add_counts(json_t *json, const struct weir_endpoint_stats *s)
{
	add_count(json, "syn", s->syn);
	add_count(json, "synack", s->synack);
	add_count(json, "established", s->established);
	add_count(json, "refused", s->refused);
	add_count(json, "reset", s->reset);
	add_count(json, "unanswered", s->unanswered);
	add_count(json, "unfinished", s->unfinished);
	add_count(json, "untracked", s->untracked);
	add_count(json, "syn_retransmits", s->syn_retransmits);
	add_count(json, "synack_retransmits", s->synack_retransmits);
	add_count(json, "retransmits", s->syn_retransmits + s->synack_retransmits);
	add_count(json, "accept_queue_full", s->accept_queue_full);
	add_count(json, "syn_queue_full", s->syn_queue_full);
	add_count(json, "syn_cookies", s->syn_cookies);
}

static json_t *endpoint_json(const struct handshake_endpoint *e)
{
	const char *role = e->role == WEIR_CLIENT ? "client" : "server";
	json_t *json = json_object();
	char name[32];

	snprintf(name, sizeof(name), "%s %u", role, e->port);
	json_object_set_new(json, "endpoint", json_string(e->others ? "other ports" : name));
	json_object_set_new(json, "role", e->others ? json_null() : json_string(role));
	json_object_set_new(json, "port", e->others ? json_null() : json_integer(e->port));
	json_object_set_new(json, "verdict", json_string(level_of(e->verdict)));
	json_object_set_new(json, "reason", json_string(handshake_verdict_name(e->verdict)));
	add_counts(json, &e->stats);
	add_count(json, "half_open", e->half_open);
	add_count(json, "half_open_peak", e->half_open_peak);
	add_latency(json, "syn_to_synack", &e->synack);
	add_latency(json, "synack_to_ack", &e->ack);
	add_queues(json, &e->queues);
	return json;
}

static void add_advice(json_t *advice, const char *device, const struct handshake_endpoint *e)
{
	char text[400];

	handshake_advice(e, text, sizeof(text));
	if (text[0])
		json_array_append_new(
			advice, json_pack("{s:o, s:s, s:s}", "device", out_string(device), "reason",
					  handshake_verdict_name(e->verdict), "advice", text));
}

static int add_device(json_t *devices, json_t *advice, const struct device *d)
{
	struct handshake_endpoint *list;
	struct weir_tc_counters counters;
	json_t *endpoints;
	size_t count;
	int err;

	if (d->handshakes.handshakes < 0)
		return 0;
	err = handshakes_read(&d->handshakes, &list, &count, &counters);
	if (err)
		return err;
	endpoints = json_array();
	for (size_t i = 0; i < count; i++) {
		json_array_append_new(endpoints, endpoint_json(&list[i]));
		add_advice(advice, d->name, &list[i]);
	}
	free(list);
	json_array_append_new(devices,
			      json_pack("{s:o, s:i, s:o, s:I, s:I}", "device", out_string(d->name),
					"ifindex", d->attachment.ifindex, "endpoints", endpoints,
					"syn_without_endpoint", (json_int_t)counters.no_endpoint,
					"events_lost", (json_int_t)counters.events_lost));
	return 0;
}

/* Advice is for people to read whole: it is not cut to the width of the terminal like a table. */
static int show_advice(const json_t *advice)
{
	const json_t *item;
	size_t i;
	int err = 0;

	json_array_foreach (advice, i, item) {
		if (!err && !i)
			err = out_text("%s", "");
		if (!err)
			err = out_text("%s: %s", json_string_value(json_object_get(item, "device")),
				       json_string_value(json_object_get(item, "advice")));
	}
	return err;
}

static int show(const struct device *list, size_t count)
{
	json_t *devices = json_array(), *advice = json_array();
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = add_device(devices, advice, &list[i]);
	if (err) {
		json_decref(devices);
		json_decref(advice);
		return err;
	}
	err = out_show(json_pack("{s:o, s:O}", "devices", devices, "advice", advice), &table, 1);
	if (!err && !options.json)
		err = show_advice(advice);
	json_decref(advice);
	return err;
}

int cmd_handshake_show(struct args *args)
{
	const char *name = next_word(args);
	struct device *list = NULL;
	struct instance in;
	size_t count = 1;
	int err = no_more_words(args);

	if (!err)
		err = instance_open(&in, false);
	if (err)
		return err;
	err = name ? device_open(&in, name, &list) : devices_open(&in, &list, &count);
	instance_unlock(&in);
	if (!err) {
		err = show(list, count);
		devices_free(list, count);
	}
	instance_close(&in);
	return err;
}
