// SPDX-License-Identifier: GPL-2.0
#include "serving.h"

#include <errno.h>
#include <string.h>

#include "device.h"
#include "loader/base/error.h"
#include "loader/program/xdp_link.h"
#include "veth/polling.h"

int serving_check_device(const struct netdev *dev, enum attach_mode mode, bool has_tc)
{
	struct netdev then = *dev;
	const char *why;

	if (!dev->ethernet) {
		notice("%s has no Ethernet headers: what comes in by it is not balanced",
		       dev->name);
		return 0;
	}
	if (has_tc)
		return 0;
	then.xdp_target |= polling_would_do(dev);
	why = xdp_serves_by_tc(&then, mode);
	if (!why)
		return 0;
	return fail(
		-EOPNOTSUPP,
		"%s cannot serve: %s, and TC, which would transmit then, is not attached; attach "
		"it without --xdp-only",
		dev->name, why);
}

static bool serves(const struct device *d)
{
	return d->present && d->attachment.xdp_way != WAY_NONE;
}

int serving_check(const struct instance *in)
{
	struct device *list;
	size_t count;
	int err = devices_open(in, &list, &count);

	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++) {
		const struct attachment *a = &list[i].attachment;
		struct netdev dev;

		if (!serves(&list[i]))
			continue;
		err = netdev_by_index(a->ifindex, &dev);
		if (!err)
			err = serving_check_device(&dev, a->mode, a->tc_way != WAY_NONE);
	}
	devices_free(list, count);
	return err;
}

int serving_check_egress(const struct instance *in, const char *egress)
{
	struct device *list;
	size_t count;
	int err = devices_open(in, &list, &count);

	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++)
		if (serves(&list[i]) && list[i].attachment.ethernet &&
		    list[i].attachment.tc_way == WAY_NONE)
			err = fail(-EOPNOTSUPP,
				   "%s takes no XDP frames, and TC, which would transmit there, is "
				   "not attached to %s; attach that without --xdp-only",
				   egress, list[i].name);
	devices_free(list, count);
	return err;
}

int serving_note_replies(const struct instance *in, const char *egress)
{
	struct device *list;
	size_t count, attached = 0;
	bool there = false;
	int err = devices_open(in, &list, &count);

	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		attached += serves(&list[i]);
		there |= serves(&list[i]) && !strcmp(list[i].name, egress);
	}
	devices_free(list, count);
	if (attached && !there)
		notice("replies of nat backends come in by %s, where they are not translated: 'weir "
		       "attach %s' as well",
		       egress, egress);
	return 0;
}
