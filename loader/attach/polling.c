// SPDX-License-Identifier: GPL-2.0
#include "polling.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "offload.h"

#define FAR_ENDS 1024

/* The pin is a hash from the ifindex of the near end to that of the far end: both stay together as
 * long as they live, wherever they are moved. */
static const char *pin_of(const struct instance *in)
{
	return instance_path(in, "polling");
}

static int open_map(const struct instance *in)
{
	return in->exists ? pin_open(pin_of(in)) : -ENOENT;
}

bool polling_any(const struct instance *in)
{
	return in->exists && !access(pin_of(in), F_OK);
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

/* The device whose far end this is; false: it is gone. */
static bool find(int map, __u32 ifindex, struct netdev *dev)
{
	__u32 far;

	if (bpf_map_lookup_elem(map, &ifindex, &far))
		return false;
	if (netdev_by_index(ifindex, dev)) {
		forget_failure();
		return false;
	}
	return far == dev->peer;
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

static void look_again(struct netdev *dev)
{
	struct netdev now;

	if (netdev_by_index(dev->ifindex, &now))
		forget_failure();
	else
		dev->xdp_target = now.xdp_target;
}

/* Returns whether it had to be switched on and is, or < 0. */
static int switch_on(struct netdev *dev)
{
	int on = !dev->peer || !dev->xdp_known || dev->xdp_target ? 1 : offload_polls(dev);

	if (on)
		return on < 0 ? on : 0;
	on = offload_switch_polls(dev, true);
	look_again(dev);
	return on ? on : 1;
}

void polling_begin(const struct instance *in, struct netdev *dev)
{
	int err;

	if (!dev->peer || !dev->xdp_known || dev->xdp_target || offload_polls(dev))
		return;
	err = remember(in, dev);
	if (!err)
		err = switch_on(dev);
	if (err < 0)
		notice("%s: its far end cannot be made to poll: %s; TC transmits", dev->name,
		       strerror(-err));
	else if (verbosity)
		notice("%s: GRO is on at its far end now, so that it takes XDP frames", dev->name);
}

void polling_mend(const struct instance *in)
{
	struct netdev *list;
	size_t count = polling_list(in, &list);

	for (size_t i = 0; i < count; i++)
		if (switch_on(&list[i]) > 0 && verbosity)
			notice("%s: GRO was switched off at its far end, where weir needs it: it is "
			       "on again",
			       list[i].name);
	free(list);
}

static void end(struct netdev *dev)
{
	int on = offload_polls(dev);

	if (on > 0)
		on = offload_switch_polls(dev, false);
	if (on < 0)
		notice("%s: GRO, which weir switched on at its far end, stays on: that is out of "
		       "reach now",
		       dev->name);
	else if (verbosity)
		notice("%s: GRO is off at its far end again", dev->name);
}

static bool is_among(__u32 one, const __u32 *ifindex, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (ifindex[i] == one)
			return true;
	return false;
}

void polling_keep(const struct instance *in, const __u32 *ifindex, size_t count)
{
	int map = open_map(in);
	__u32 key, next;
	bool more, left = false;

	if (map < 0)
		return;
	more = !bpf_map_get_next_key(map, NULL, &next);
	while (more) {
		struct netdev dev;
		bool there;

		key = next;
		more = !bpf_map_get_next_key(map, &key, &next);
		there = find(map, key, &dev);
		if (there && is_among(key, ifindex, count)) {
			left = true;
			continue;
		}
		if (there)
			end(&dev);
		bpf_map_delete_elem(map, &key);
	}
	close(map);
	if (!left)
		unlink(pin_of(in));
}
