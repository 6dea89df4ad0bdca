// SPDX-License-Identifier: GPL-2.0
#include "held_offloads.h"

#include <errno.h>

#include "loader/base/error.h"
#include "loader/program/xdp_link.h"
#include "offload.h"

/* Services transmit by XDP, so VLAN tags must be in the frames. Where they cannot be put there, TC
 * transmits. */
int offloads_hold(const struct instance *in, const struct netdev *dev, struct attachment *a,
		  enum attach_mode mode, const struct needs *needs)
{
	int tags, err;

	if (a->xdp_way == WAY_NONE || !xdp_transmits_tags(dev, mode, needs))
		return 0;
	tags = offload_tags(dev);
	if (tags <= 0)
		return 0;
	a->tags |= tags;
	err = attachment_write(in, a);
	if (!err)
		offload_switch_tags(dev, tags, false);
	return err;
}

static int release_tags(const struct instance *in, const struct netdev *dev, struct attachment *a,
			enum attach_mode mode, const struct needs *needs)
{
	if (!a->tags || xdp_transmits_tags(dev, mode, needs))
		return 0;
	if (offload_switch_tags(dev, a->tags, true) == -ENOENT)
		return 0; /* out of reach: the next time */
	a->tags = 0;
	return attachment_write(in, a);
}

static int hold_large(const struct instance *in, const struct netdev *dev, struct attachment *a)
{
	int large = offload_large(dev), err = 0;

	if (large > 0) {
		a->large |= large;
		err = attachment_write(in, a);
		if (!err)
			large = offload_switch_large(dev, large, false);
	}
	if (!err && (large < 0 || offload_large_elsewhere(dev)))
		notice("%s: XDP is in generic mode, and packets may come in larger than its MTU, "
		       "which no tunnel of dsr-ipip takes: switch GRO and TSO off where they come "
		       "from (ethtool -K)",
		       dev->name);
	return err;
}

/* Tunnels take what fits the MTU only: generic XDP sees packets that are merged or not yet
 * segmented. */
static int settle_large(const struct instance *in, const struct netdev *dev, struct attachment *a,
			enum attach_mode mode, const struct needs *needs)
{
	if (a->xdp_way != WAY_NONE && xdp_takes_large(dev, mode, needs))
		return hold_large(in, dev, a);
	if (!a->large)
		return 0;
	offload_switch_large(dev, a->large, true);
	a->large = 0;
	return attachment_write(in, a);
}

int offloads_settle(const struct instance *in, const struct netdev *dev, struct attachment *a,
		    enum attach_mode mode, const struct needs *needs)
{
	int err = release_tags(in, dev, a, mode, needs);

	return err ? err : settle_large(in, dev, a, mode, needs);
}

bool offloads_are_taken(const struct netdev *dev, const struct attachment *a)
{
	return a->xdp_way != WAY_NONE && a->mode == MODE_NATIVE && a->asked == MODE_AUTO &&
	       offload_is_taken_from_far_end(dev);
}

void offloads_restore(const struct attachment *a)
{
	struct netdev dev;

	if (!a->tags && !a->large)
		return;
	if (netdev_by_index(a->ifindex, &dev)) {
		forget_failure();
		return;
	}
	if (a->tags)
		offload_switch_tags(&dev, a->tags, true);
	if (a->large)
		offload_switch_large(&dev, a->large, true);
}
