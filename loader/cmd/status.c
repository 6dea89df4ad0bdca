// SPDX-License-Identifier: GPL-2.0
/* weir status: what is attached, where and how. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "loader/attach/device.h"
#include "loader/attach/veth/offload.h"
#include "loader/attach/veth/polling.h"
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

static const struct column other_columns[] = {
	COLUMN("instance", "Other instances", UNIT_TEXT),
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
	{.rows = "other_instances", COLUMNS(other_columns)},
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

/* ---- the document ---- */

/* What there is to be seen. Of what cannot be read there is nothing but a line in `unreadable`. */
struct overview {
	struct device *devices;
	size_t device_count;
	json_t *broken_devices; /* rows of those that cannot be read */
	struct rule_set rules;
	struct balance balance;
	struct sock_view sockets;
	struct tracing_view tracing;
	bool has_rules, has_services, has_sockets;
	json_t *unreadable;
};

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

static json_t *number(bool is_known, size_t number)
{
	return is_known ? json_integer((json_int_t)number) : json_null();
}

static json_t *summary(const struct instance *in, const struct overview *o)
{
	size_t devices = o->device_count + json_array_size(o->broken_devices);

	return json_pack("[{s:o, s:o, s:o, s:o, s:o, s:o}]", "instance", out_string(in->name),
			 "devices", number(true, devices), "rules",
			 number(o->has_rules, o->rules.count), "prefixes",
			 number(o->has_rules, o->rules.prefix_count), "services",
			 number(o->has_services, o->balance.service_count), "backends",
			 number(o->has_services, o->balance.backend_count));
}

static json_t *document(const struct instance *in, const struct overview *o)
{
	json_t *devices = json_array();

	for (size_t i = 0; i < o->device_count; i++)
		json_array_append_new(devices, describe(&o->devices[i]));
	json_array_extend(devices, o->broken_devices);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:O}", "summary", summary(in, o),
			 "devices", devices, "offloads", offloads(in, o->devices, o->device_count),
			 "sockets", o->has_sockets ? sockets(&o->sockets) : json_null(), "tracers",
			 tracing_pinned_json(&o->tracing), "other_instances", other_instances(in),
			 "unreadable", o->unreadable);
}

/* ---- looking ---- */

static bool is_readable(struct overview *o, int err)
{
	if (!err)
		return true;
	json_array_append_new(o->unreadable, out_string(failure() ?: strerror(-err)));
	forget_failure();
	return false;
}

static void add_broken_device(const char *pinned, void *data)
{
	struct overview *o = data;

	json_array_append_new(
		o->broken_devices,
		json_pack("{s:o, s:s}", "device", out_string(pinned), "state", "cannot be read"));
	json_array_append_new(o->unreadable, out_string(failure()));
}

static int look(const struct instance *in, struct overview *o)
{
	int err;

	*o = (struct overview){.broken_devices = json_array(), .unreadable = json_array()};
	err = devices_look(in, &o->devices, &o->device_count, add_broken_device, o);
	if (err)
		return err;
	o->has_rules = is_readable(o, rules_get(in, &o->rules));
	o->has_services = is_readable(o, in->exists ? services_get(in, &o->balance) : 0);
	o->has_sockets = is_readable(o, sock_view_take(&o->sockets, in));
	tracing_look(&o->tracing, in);
	for (int i = 0; i < o->tracing.count; i++)
		if (*o->tracing.tracer[i].broken)
			json_array_append_new(o->unreadable,
					      out_string(o->tracing.tracer[i].broken));
	return 0;
}

static void forget(struct overview *o)
{
	tracing_forget(&o->tracing);
	sock_view_free(&o->sockets);
	rule_set_free(&o->rules);
	balance_free(&o->balance);
	devices_free(o->devices, o->device_count);
	json_decref(o->broken_devices);
	json_decref(o->unreadable);
}

/* A line for each; the last is main()'s to print. */
static int tell_unreadable(const struct overview *o)
{
	json_t *line;
	int err = 0;
	size_t i;

	json_array_foreach (o->unreadable, i, line) {
		if (err)
			tell_failure();
		err = fail(-EPROTO, "%s", json_string_value(line));
	}
	return err;
}

int cmd_status(struct args *args)
{
	struct overview overview;
	struct instance in;
	int err;

	err = no_more_words(args);
	if (!err)
		err = instance_open(&in, false);
	if (err)
		return err;
	err = look(&in, &overview);
	instance_unlock(&in);
	if (!err)
		err = out_show(document(&in, &overview), tables,
			       sizeof(tables) / sizeof(tables[0]));
	if (!err)
		err = tell_unreadable(&overview);
	forget(&overview);
	instance_close(&in);
	return err;
}
