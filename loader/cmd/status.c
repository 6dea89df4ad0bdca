// SPDX-License-Identifier: GPL-2.0
/* weir status: what is attached, where and how. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "loader/attach/device.h"
#include "loader/attach/offload.h"
#include "loader/attach/polling.h"
#include "loader/service/services.h"
#include "loader/base/error.h"
#include "loader/out/out.h"
#include "loader/rules/rules.h"
#include "loader/sockview/sock_view.h"
#include "loader/tcp/overview.h"

static const struct column columns[] = {
	COLUMN("device", "Device", UNIT_TEXT),
	COLUMN("ifindex", "Index", UNIT_COUNT),
	COLUMN("mode", "XDP", UNIT_TEXT),
	COLUMN("xdp", "by", UNIT_TEXT),
	COLUMN("tc", "TC", UNIT_TEXT),
	COLUMN("attached_seconds", "Attached", UNIT_SECONDS),
	COLUMN("version", "Version", UNIT_TEXT),
	COLUMN("state", "State", UNIT_TEXT, .mark = MARK_FAINT),
};

static const struct column instance_columns[] = {
	COLUMN("instance", "Instance", UNIT_TEXT),
	COLUMN("devices", "Devices", UNIT_COUNT),
	COLUMN("rules", "Rules", UNIT_COUNT),
	COLUMN("prefixes", "Prefixes in lists", UNIT_COUNT),
	COLUMN("services", "Services", UNIT_COUNT),
	COLUMN("backends", "Backends", UNIT_COUNT),
};

static const struct column socket_columns[] = {
	COLUMN("cgroups", "Cgroups for sockets", UNIT_COUNT),
	COLUMN("pairs", "Short-cut connections", UNIT_COUNT),
	COLUMN("state", "State", UNIT_TEXT),
};

static const struct column tracer_columns[] = {
	COLUMN("tracer", "Traces", UNIT_TEXT),
	COLUMN("collecting_seconds", "Collecting", UNIT_SECONDS),
	COLUMN("filter_text", "Only", UNIT_TEXT),
	COLUMN("state", "State", UNIT_TEXT),
};

static const struct column offload_columns[] = {
	COLUMN("device", "Switched for", UNIT_TEXT),
	COLUMN("at", "at", UNIT_TEXT),
	COLUMN("offload", "Offload", UNIT_TEXT),
	COLUMN("now", "Now", UNIT_TEXT),
};

static const struct table tables[] = {
	{.rows = "summary", COLUMNS(instance_columns)},
	{.rows = "devices",
	 .empty = "nothing is attached; 'weir attach DEV' begins",
	 COLUMNS(columns)},
	{.rows = "offloads", COLUMNS(offload_columns)},
	{.rows = "sockets", COLUMNS(socket_columns)},
	{.rows = "tracers", COLUMNS(tracer_columns)},
	{.rows = "other_instances", COLUMNS(instance_columns)},
};

static json_t *describe(const struct device *d)
{
	const struct attachment *a = &d->attachment;
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return json_pack(
		"{s:o, s:i, s:s, s:s, s:s, s:b, s:f, s:s, s:s}", "device", out_string(d->name),
		"ifindex", a->ifindex, "mode", a->xdp_way ? attach_mode_name(a->mode) : "off",
		"xdp", attach_way_name(a->xdp_way), "tc", attach_way_name(a->tc_way), "decap",
		a->decap, "attached_seconds", now.tv_sec + now.tv_nsec / 1e9 - a->since_ns / 1e9,
		"version", a->version, "state", d->present ? "attached" : "device is gone");
}

/* `now` is what is on, in bits, or < 0. */
static void add_offload(json_t *rows, const char *device, bool far, const char *offload, int now,
			unsigned int bit)
{
	const char *state = now < 0 ? "out of reach" : now & bit ? "on" : "off";

	json_array_append_new(rows, json_pack("{s:o, s:s, s:s, s:s}", "device", out_string(device),
					      "at", far ? "its far end" : "itself", "offload",
					      offload, "now", state));
}

static void add_switched_off(json_t *rows, const struct device *d)
{
	const struct attachment *a = &d->attachment;
	struct netdev dev;
	int tags, large;
	bool far;

	if (!d->present || !(a->tags | a->large))
		return;
	if (netdev_by_index(a->ifindex, &dev)) {
		forget_failure();
		return;
	}
	tags = a->tags ? offload_tags(&dev) : 0;
	large = a->large ? offload_large(&dev) : 0;
	for (int i = 0; i < 8; i++) {
		if (a->tags & 1u << i && offload_tags_name(&dev, i, &far))
			add_offload(rows, d->name, far, offload_tags_name(&dev, i, &far), tags,
				    1u << i);
		if (a->large & 1u << i && offload_large_name(i, &far))
			add_offload(rows, d->name, far, offload_large_name(i, &far), large,
				    1u << i);
	}
}

/* What weir has switched at devices and their far ends, and will switch back. */
static json_t *offloads(const struct instance *in, const struct device *list, size_t count)
{
	json_t *rows = json_array();
	struct netdev *polling;
	size_t n = polling_list(in, &polling);

	for (size_t i = 0; i < count; i++)
		add_switched_off(rows, &list[i]);
	for (size_t i = 0; i < n; i++)
		add_offload(rows, polling[i].name, true, OFFLOAD_POLLS,
			    offload_far_end(&polling[i]), FAR_END_MERGES);
	free(polling);
	return rows;
}

static json_t *other_instances(const struct instance *in)
{
	json_t *others = json_array();
	char **names;
	int n = instance_names(&names);

	for (int i = 0; i < n; i++) {
		if (strcmp(names[i], in->name))
			json_array_append_new(others,
					      json_pack("{s:o}", "instance", out_string(names[i])));
		free(names[i]);
	}
	free(names);
	return others;
}

/* One row, or none where no cgroup is attached. */
static json_t *sockets(const struct sock_view *view)
{
	json_t *rows = json_array();
	char text[PATH_MAX + 200];

	if (!view->scope_count)
		return rows;
	sock_view_tender(view, text, sizeof(text));
	json_array_append_new(
		rows, json_pack("{s:i, s:I, s:o, s:o}", "cgroups", view->scope_count, "pairs",
				(json_int_t)sock_view_pairs(view), "tender_process",
				view->tender ? json_integer(view->tender) : json_null(), "state",
				out_string(text)));
	return rows;
}

static json_t *document(const struct instance *in, const struct device *list, size_t count,
			const struct rule_set *set, const struct balance *b,
			const struct sock_view *view, const struct tracing_view *tracing)
{
	json_t *devices = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(devices, describe(&list[i]));
	return json_pack("{s:[{s:o, s:i, s:i, s:i, s:i, s:i}], s:o, s:o, s:o, s:o, s:o}", "summary",
			 "instance", out_string(in->name), "devices", (int)count, "rules",
			 (int)set->count, "prefixes", (int)set->prefix_count, "services",
			 (int)b->service_count, "backends", (int)b->backend_count, "devices",
			 devices, "offloads", offloads(in, list, count), "sockets", sockets(view),
			 "tracers", tracing_pinned_json(tracing), "other_instances",
			 other_instances(in));
}

int cmd_status(struct args *args)
{
	struct rule_set set = {};
	struct balance balance = {};
	struct sock_view view = {};
	struct tracing_view tracing = {};
	struct device *list;
	struct instance in;
	size_t count;
	int err;

	err = no_more_words(args);
	if (!err)
		err = instance_open(&in, false);
	if (err)
		return err;
	err = devices_open(&in, &list, &count);
	if (!err) {
		err = rules_get(&in, &set);
		if (!err && in.exists)
			err = services_get(&in, &balance);
		if (!err)
			err = sock_view_take(&view, &in);
		if (!err)
			tracing_look(&tracing, &in);
		instance_unlock(&in);
		if (!err)
			err = out_show(document(&in, list, count, &set, &balance, &view, &tracing),
				       tables, sizeof(tables) / sizeof(tables[0]));
		tracing_forget(&tracing);
		sock_view_free(&view);
		rule_set_free(&set);
		balance_free(&balance);
		devices_free(list, count);
	}
	instance_close(&in);
	return err;
}
