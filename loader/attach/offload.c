// SPDX-License-Identifier: GPL-2.0
#include "offload.h"

#include <errno.h>
#include <string.h>

#include "loader/host/ethtool.h"
#include "loader/host/far_end.h"

#define FEATURES     2 /* 802.1Q, 802.1ad */
#define FEATURE_BITS ((1u << FEATURES) - 1)

static const char *const on_receipt[] = {"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"};
static const char *const on_sending[] = {"tx-vlan-hw-insert", "tx-vlan-stag-hw-insert"};

/* What an action is told, above the bits of features. */
#define SENDS	   0x10u
#define SWITCH_OFF 0x20u
#define SWITCH_ON  0x40u

static bool is_veth(const struct netdev *dev)
{
	return !strcmp(dev->kind, "veth");
}

/* Returns the features that were on, of those that were asked for. */
static int act(const char *name, unsigned int order)
{
	const char *const *features = order & SENDS ? on_sending : on_receipt;
	int found = 0, err = 0;

	for (int i = 0; i < FEATURES && !err; i++) {
		struct offload now = {0};

		if (!(order & 1u << i))
			continue;
		if (!ethtool_offload(name, features[i], &now) && now.on)
			found |= 1 << i;
		if (order & (SWITCH_OFF | SWITCH_ON) && now.on != !!(order & SWITCH_ON))
			err = ethtool_set_offload(name, features[i], order & SWITCH_ON);
	}
	return err ? err : found;
}

static int order(const struct netdev *dev, unsigned int what)
{
	return is_veth(dev) ? far_end_call(dev, act, what | SENDS) : act(dev->name, what);
}

int offload_tags(const struct netdev *dev)
{
	return order(dev, FEATURE_BITS);
}

int offload_switch_tags(const struct netdev *dev, unsigned int offloads, bool on)
{
	int err = order(dev, offloads | (on ? SWITCH_ON : SWITCH_OFF));

	return err < 0 ? err : 0;
}

const char *offload_tags_text(const struct netdev *dev)
{
	return is_veth(dev)
		       ? "its far end may leave VLAN tags beside the frames (tx-vlan-hw-insert)"
		       : "VLAN tags are taken out of its frames (rx-vlan-hw-parse)";
}
