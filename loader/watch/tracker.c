// SPDX-License-Identifier: GPL-2.0
#include "tracker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/base/error.h"
#include "loader/out/out.h"

static int open_devices(struct tracker *t, const struct instance *in)
{
	struct device *list = NULL;
	size_t count = 1;
	int err = 0;

	if (t->only && !t->begun)
		err = device_open(in, t->only, &list);
	else if (in->exists)
		err = devices_open(in, &list, &count);
	if (err || !list)
		return err;
	t->devices = list;
	t->device_count = count;
	return 0;
}

static bool is_followed(const struct tracker *t, const struct device *device)
{
	return device->present && (!t->only || !strcmp(t->only, device->name));
}

static const struct tracked *find(const struct tracked *items, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!items[i].gone && !strcmp(items[i].name, name))
			return &items[i];
	return NULL;
}

static int read_one(struct tracked *item, struct device *device, const struct tracked *earlier)
{
	struct counters_sample before;
	int err;

	strcpy(item->name, device->name);
	item->device = device;
	item->since_ns = device->attachment.since_ns;
	if (device->counters < 0)
		return 0;
	err = counters_read(device->counters, &item->now);
	if (err || !earlier || earlier->now.seconds <= 0)
		return err;
	before = earlier->now;
	if (earlier->since_ns != item->since_ns) /* attached anew: counts from 0 */
		memset(&before.total, 0, sizeof(before.total));
	counters_between(&before, &item->now, &item->delta);
	item->rated = true;
	return 0;
}

static int read_all(struct tracker *t)
{
	size_t room = t->device_count + t->count, count = 0;
	struct tracked *items = calloc(room ? room : 1, sizeof(*items));
	int err = 0;

	if (!items)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < t->device_count && !err; i++) {
		struct device *device = &t->devices[i];

		if (is_followed(t, device))
			err = read_one(&items[count++], device,
				       find(t->items, t->count, device->name));
	}
	t->alive = count;
	for (size_t i = 0; i < t->count && !err; i++) {
		if (t->items[i].gone || find(items, count, t->items[i].name))
			continue;
		strcpy(items[count].name, t->items[i].name);
		items[count++].gone = true;
	}
	free(t->items);
	t->items = items;
	t->count = count;
	return err;
}

int tracker_read(struct tracker *t)
{
	struct instance in;
	int err = instance_open(&in, false);

	if (err)
		return err;
	snprintf(t->instance, sizeof(t->instance), "%s", in.name);
	devices_free(t->devices, t->device_count);
	t->devices = NULL;
	t->device_count = 0;
	err = open_devices(t, &in);
	if (!err)
		err = read_all(t);
	instance_close(&in);
	if (!err && t->only && !t->begun && !t->alive)
		err = fail(-ENODEV,
			   "device '%s' of instance '%s' is gone; detach it to remove what is left",
			   t->only, t->instance);
	t->begun = true;
	return err;
}

void tracker_free(struct tracker *t)
{
	devices_free(t->devices, t->device_count);
	free(t->items);
	memset(t, 0, sizeof(*t));
}

json_t *tracked_json(const struct tracked *item)
{
	const struct attachment *attachment = &item->device->attachment;
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return json_pack("{s:o,s:I,s:s,s:f}", "device", out_string(item->name), "ifindex",
			 (json_int_t)attachment->ifindex, "mode",
			 attachment->xdp_way ? attach_mode_name(attachment->mode) : "off",
			 "attached_seconds",
			 now.tv_sec + now.tv_nsec / 1e9 - attachment->since_ns / 1e9);
}

json_t *tracked_stats_json(const struct tracked *item)
{
	json_t *json = tracked_json(item), *counters;

	if (!json || item->device->counters < 0)
		return json;
	counters = counters_json(&item->now.total, item->rated ? &item->delta : NULL);
	if (counters)
		json_object_update(json, counters);
	json_decref(counters);
	return json;
}
