// SPDX-License-Identifier: GPL-2.0
#include "polling.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "offload.h"

#define FAR_ENDS 1024
#define AGAIN_NS 10000000000ull

/* ---- what is remembered ---- */

/* The pin is a hash from the ifindex of the near end to that of the far end. An end that is moved
 * to another namespace may get another ifindex there: then this is as if it were gone, and the far
 * end stays as it is. */
static const char *pin_of(const struct instance *in)
{
	return instance_path(in, "polling");
}

static int open_map(const struct instance *in)
{
	return in->exists ? pin_open(pin_of(in)) : -ENOENT;
}

static int make_map(const struct instance *in)
{
	int fd = open_map(in), err;

	if (fd != -ENOENT)
		return fd;
	fd = bpf_map_create(BPF_MAP_TYPE_HASH, "weir_polling", sizeof(__u32), sizeof(__u32),
			    FAR_ENDS, NULL);
	if (fd >= 0 && bpf_obj_pin(fd, pin_of(in))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int remember(const struct instance *in, const struct netdev *dev)
{
	int fd = make_map(in), err;

	if (fd < 0)
		return fd;
	err = bpf_map_update_elem(fd, &dev->ifindex, &dev->peer, BPF_ANY) ? -errno : 0;
	close(fd);
	return err;
}

static void forget(const struct instance *in, const struct netdev *dev)
{
	int fd = open_map(in);

	if (fd < 0)
		return;
	bpf_map_delete_elem(fd, &dev->ifindex);
	close(fd);
}

static bool has(int map, const struct netdev *dev)
{
	__u32 far;

	return !bpf_map_lookup_elem(map, &dev->ifindex, &far) && far == dev->peer;
}

/* The device whose far end this is; false: it is gone. */
static bool find(int map, __u32 ifindex, struct netdev *dev)
{
	if (!netdev_by_index(ifindex, dev))
		return has(map, dev);
	forget_failure();
	return false;
}

size_t polling_list(const struct instance *in, struct netdev **list)
{
	int map = open_map(in);
	__u32 key, *last = NULL;
	size_t count = 0;

	*list = map >= 0 ? calloc(FAR_ENDS, sizeof(**list)) : NULL;
	while (*list && count < FAR_ENDS && !bpf_map_get_next_key(map, last, &key)) {
		last = &key;
		count += find(map, key, &(*list)[count]);
	}
	if (map >= 0)
		close(map);
	return count;
}

/* ---- other instances ---- */

/* Calls act() with what each other instance of the namespace remembers, until that returns true. */
static bool any_beside(const struct instance *in, bool (*act)(int map, void *data), void *data)
{
	char **names;
	int n = instance_names(&names);
	bool done = false;

	for (int i = 0; i < n; i++) {
		struct instance other;
		int map =
			!done && instance_beside(in, names[i], &other) ? open_map(&other) : -ENOENT;

		if (map >= 0) {
			done = act(map, data);
			close(map);
		}
		free(names[i]);
	}
	free(names);
	return done;
}

static bool is_there(int map, void *data)
{
	(void)map;
	(void)data;
	return true;
}

bool polling_any(const struct instance *in)
{
	return in->exists && (!access(pin_of(in), F_OK) || any_beside(in, is_there, NULL));
}

static bool has_device(int map, void *data)
{
	return has(map, data);
}

struct sharing {
	const struct instance *in;
	const struct ifindexes *devices;
};

static bool share(int map, void *data)
{
	const struct sharing *s = data;
	struct netdev dev;

	for (size_t i = 0; i < s->devices->count; i++) {
		__u32 far, ifindex = s->devices->item[i];

		if (!bpf_map_lookup_elem(map, &ifindex, &far) && find(map, ifindex, &dev))
			remember(s->in, &dev);
	}
	return false;
}

void polling_share(const struct instance *in, const struct ifindexes *devices)
{
	struct sharing s = {in, devices};

	any_beside(in, share, &s);
}

/* ---- beginning ---- */

/* Devices that were looked at to no use, since then. */
static struct {
	struct ifindexes devices;
	__u64 since_ns;
} useless;

static bool is_useless(__u32 ifindex)
{
	__u64 now = clock_now_ns();

	if (now - useless.since_ns > AGAIN_NS) {
		useless.devices.count = 0;
		useless.since_ns = now;
	}
	return ifindexes_have(&useless.devices, ifindex);
}

static void look_again(struct netdev *dev)
{
	struct netdev now;

	if (netdev_by_index(dev->ifindex, &now))
		forget_failure();
	else
		dev->xdp_target = now.xdp_target;
}

/* Once: `weir run` comes by every second. */
static void complain(const struct netdev *dev, int err)
{
	static struct ifindexes told;
	static bool told_full;

	if (err == -E2BIG && told_full)
		return;
	told_full |= err == -E2BIG;
	if (err == -E2BIG)
		notice("%s: weir makes %d far ends poll, which is the most; there and at others TC "
		       "transmits",
		       dev->name, FAR_ENDS);
	else if (ifindexes_add(&told, dev->ifindex))
		notice("%s: its far end cannot be made to poll: %s; TC transmits", dev->name,
		       strerror(-err));
}

/* The kernel takes notice of GRO when it is switched on while the far end is up: if it is on without
 * having been noticed, it goes off first. */
static void switch_on(const struct instance *in, struct netdev *dev, bool is_on)
{
	int err = remember(in, dev);

	if (!err && is_on)
		err = offload_switch_polls(dev, false);
	if (!err)
		err = offload_switch_polls(dev, true);
	look_again(dev);
	if (err) {
		complain(dev, err);
	} else if (!dev->xdp_target) {
		offload_switch_polls(dev, false);
		forget(in, dev);
	} else if (verbosity) {
		notice("%s: GRO is on at its far end now, so that it takes XDP frames", dev->name);
	}
}

static bool is_ours(const struct instance *in, const struct netdev *dev)
{
	int map = open_map(in);
	bool ours = map >= 0 && has(map, dev);

	if (map >= 0)
		close(map);
	return ours;
}

static bool may_begin(const struct netdev *dev)
{
	return dev->peer && dev->xdp_known && !dev->xdp_target;
}

void polling_begin(const struct instance *in, struct netdev *dev)
{
	int far;

	if (!may_begin(dev) || is_useless(dev->ifindex))
		return;
	far = offload_far_end(dev);
	if (far == FAR_END_UP || (far == (FAR_END_UP | FAR_END_MERGES) && is_ours(in, dev)))
		switch_on(in, dev, far & FAR_END_MERGES);
	if (!dev->xdp_target)
		ifindexes_add(&useless.devices, dev->ifindex);
}

bool polling_begin_at(const struct instance *in, __u32 ifindex)
{
	struct netdev dev;

	if (is_useless(ifindex))
		return false;
	if (netdev_by_index(ifindex, &dev)) {
		forget_failure();
		return false;
	}
	polling_begin(in, &dev);
	return dev.xdp_known && dev.xdp_target;
}

bool polling_would_do(const struct netdev *dev)
{
	return may_begin(dev) && offload_far_end(dev) == FAR_END_UP;
}

void polling_mend(const struct instance *in)
{
	struct netdev *list;
	size_t count = polling_list(in, &list);

	for (size_t i = 0; i < count; i++)
		polling_begin(in, &list[i]);
	free(list);
}

/* ---- ending ---- */

/* Whether there is nothing left to do. */
static bool end(struct netdev *dev, bool at_last)
{
	int on = offload_far_end(dev);

	if (on > 0)
		on = on & FAR_END_MERGES ? offload_switch_polls(dev, false) : 0;
	if (on >= 0) {
		if (verbosity)
			notice("%s: GRO is off at its far end again", dev->name);
		return true;
	}
	if (at_last || verbosity)
		notice("%s: GRO, which weir switched on at its far end, stays on: that is out of "
		       "reach now",
		       dev->name);
	return at_last;
}

/* Keeps it for these devices; NULL: for none, once and for all. */
static void keep(const struct instance *in, const struct ifindexes *devices)
{
	int map = open_map(in);
	__u32 key, next;
	bool more, left = false;

	if (map < 0)
		return;
	more = !bpf_map_get_next_key(map, NULL, &next);
	while (more) {
		struct netdev dev;

		key = next;
		more = !bpf_map_get_next_key(map, &key, &next);
		if (find(map, key, &dev) &&
		    ((devices && ifindexes_have(devices, key)) ||
		     (!any_beside(in, has_device, &dev) && !end(&dev, !devices))))
			left = true;
		else
			bpf_map_delete_elem(map, &key);
	}
	close(map);
	if (!left)
		unlink(pin_of(in));
}

void polling_keep(const struct instance *in, const struct ifindexes *devices)
{
	keep(in, devices);
}

void polling_end(const struct instance *in)
{
	keep(in, NULL);
}
