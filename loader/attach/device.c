// SPDX-License-Identifier: GPL-2.0
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "presence.h"

static int open_map(const struct instance *in, const char *device, const char *pin)
{
	int fd = pin_open(attachment_pin(in, device, pin));

	return fd < 0 ? -1 : fd;
}

static void open_maps(const struct instance *in, const char *pinned, struct device *d)
{
	struct handshake_maps *h = &d->handshakes;

	d->counters = open_map(in, pinned, "counters");
	h->handshakes = open_map(in, pinned, "handshakes");
	h->endpoints = open_map(in, pinned, "endpoints");
	h->endpoint_stats = open_map(in, pinned, "endpoint_stats");
	h->tc_counters = open_map(in, pinned, "tc_counters");
	h->watchers = open_map(in, pinned, "watchers");
	h->events = open_map(in, pinned, "events");
}

static void close_maps(struct device *d)
{
	const struct handshake_maps *h = &d->handshakes;
	int fds[] = {d->counters,    h->handshakes, h->endpoints, h->endpoint_stats,
		     h->tc_counters, h->watchers,   h->events};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* d->attachment is read. It is shown by the name it has now, its last one if it is gone. On failure
 * there is nothing to be closed. */
static int fill(const struct instance *in, const char *pinned, struct device *d)
{
	struct netdev dev;
	int err;

	d->present = presence_of_any(in, pinned, &d->attachment, &dev);
	snprintf(d->name, sizeof(d->name), "%s", d->present ? dev.name : pinned);
	err = attachment_check_schema(d->name, &d->attachment);
	if (!err)
		open_maps(in, pinned, d);
	return err;
}

/* 1; 0: only begun, or gone meanwhile. */
static int open_pinned(const struct instance *in, const char *pinned, struct device *d)
{
	int err = attachment_read(in, pinned, &d->attachment);

	if (err == -ENOENT || (!err && !d->attachment.whole))
		return 0;
	if (!err)
		err = fill(in, pinned, d);
	return err ? err : 1;
}

int devices_look(const struct instance *in, struct device **list, size_t *count,
		 void (*tell)(const char *pinned, void *data), void *data)
{
	char **names;
	int n = attachment_names(in, &names), err = 0;

	*list = NULL;
	*count = 0;
	if (n <= 0)
		return n;
	*list = calloc(n, sizeof(**list));
	if (!*list)
		err = fail(-ENOMEM, "out of memory");
	for (int i = 0; i < n && err >= 0; i++) {
		err = open_pinned(in, names[i], &(*list)[*count]);
		*count += err > 0;
		if (err < 0 && tell) {
			tell(names[i], data);
			forget_failure();
			err = 0;
		}
	}
	attachment_names_free(names, n);
	if (err < 0) {
		devices_free(*list, *count);
		*list = NULL;
		*count = 0;
		return err;
	}
	return 0;
}

int devices_open(const struct instance *in, struct device **list, size_t *count)
{
	return devices_look(in, list, count, NULL, NULL);
}

int device_open(const struct instance *in, const char *name, struct device **list)
{
	struct device *d = calloc(1, sizeof(*d));
	char pinned[IFNAMSIZ];
	int err;

	if (!d)
		return fail(-ENOMEM, "out of memory");
	err = in->exists && attachment_find(in, name, pinned)
		      ? attachment_read(in, pinned, &d->attachment)
		      : -ENOENT;
	if (err || !d->attachment.whole) {
		free(d);
		return fail(-ENODEV,
			    "%s is not attached in instance '%s'; 'weir status' shows what "
			    "is, 'weir attach %s' attaches it",
			    name, in->name, name);
	}
	err = fill(in, pinned, d);
	if (err)
		free(d);
	else
		*list = d;
	return err;
}

void devices_free(struct device *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close_maps(&list[i]);
	free(list);
}

void devices_transmitting(const struct instance *in, struct ifindexes *list)
{
	char **names;
	int n = attachment_names(in, &names);

	*list = (struct ifindexes){};
	for (int i = 0; i < n; i++) {
		struct attachment a;

		if (!attachment_read(in, names[i], &a) && a.whole && a.xdp_way != WAY_NONE &&
		    a.mode != MODE_GENERIC)
			ifindexes_add(list, a.ifindex);
	}
	if (n < 0)
		forget_failure();
	else
		attachment_names_free(names, n);
}
