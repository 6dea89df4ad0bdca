// SPDX-License-Identifier: GPL-2.0
#include "drop_xdp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "loader/attach/device.h"
#include "loader/base/error.h"
#include "loader/watch/counters.h"

_Static_assert(COUNTERS_DROPS == sizeof(((struct weir_drop_device *)0)->packets) / sizeof(__u64),
	       "a count for each kind of drop");

static int read_device(struct xdp_device *to, const struct device *from)
{
	struct counters_sample sample;
	int err = counters_read(from->counters, &sample);

	if (err)
		return err;
	strcpy(to->name, from->name);
	to->ifindex = from->attachment.ifindex;
	to->now.since_ns = from->attachment.since_ns;
	for (unsigned int i = 0; i < COUNTERS_DROPS; i++)
		to->now.packets[i] = counters_of_drop(&sample.total, i).packets;
	return 0;
}

static int read_all(struct xdp_drops *x, const struct instance *in)
{
	struct device *list = NULL;
	size_t count = 0;
	int err = in->exists ? devices_open(in, &list, &count) : 0;

	x->device = err || !count ? NULL : calloc(count, sizeof(*x->device));
	if (!err && count && !x->device)
		err = fail(-ENOMEM, "out of memory");
	for (size_t i = 0; !err && i < count; i++)
		if (list[i].present && list[i].counters >= 0)
			err = read_device(&x->device[x->count++], &list[i]);
	devices_free(list, count);
	return err;
}

int xdp_drops_read(struct xdp_drops *x, bool locked)
{
	struct instance in;
	int err = locked ? instance_peek(&in) : instance_open(&in, false);

	*x = (struct xdp_drops){};
	if (err)
		return err;
	err = read_all(x, &in);
	if (!locked)
		instance_close(&in);
	if (err)
		xdp_drops_free(x);
	return err;
}

void xdp_drops_free(struct xdp_drops *x)
{
	free(x->device);
	*x = (struct xdp_drops){};
}

int xdp_drops_keep(struct trace_run *run)
{
	int fd = trace_map(run, "devices"), err = fd < 0 ? fd : 0;
	struct xdp_drops x = {};

	if (!err)
		err = xdp_drops_read(&x, true);
	for (size_t i = 0; !err && i < x.count; i++) {
		err = bpf_map_update_elem(fd, &x.device[i].ifindex, &x.device[i].now, BPF_ANY);
		if (err)
			fail(err, "%s: cannot keep what was dropped so far: %s", x.device[i].name,
			     strerror(-err));
	}
	xdp_drops_free(&x);
	return err;
}

struct weir_drop_device xdp_drops_at_start(struct trace_run *run, __u32 ifindex)
{
	struct weir_drop_device at = {};
	int fd = trace_map(run, "devices");

	if (fd < 0 || bpf_map_lookup_elem(fd, &ifindex, &at))
		return (struct weir_drop_device){};
	return at;
}

__u64 xdp_dropped(const struct weir_drop_device *now, const struct weir_drop_device *before,
		  unsigned int drop)
{
	__u64 then = before && before->since_ns == now->since_ns ? before->packets[drop] : 0;

	return now->packets[drop] > then ? now->packets[drop] - then : 0;
}

const struct weir_drop_device *xdp_drops_of(const struct xdp_drops *x, __u32 ifindex)
{
	for (size_t i = 0; i < x->count; i++)
		if (x->device[i].ifindex == ifindex)
			return &x->device[i].now;
	return NULL;
}
