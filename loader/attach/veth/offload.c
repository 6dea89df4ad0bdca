// SPDX-License-Identifier: GPL-2.0
#include "offload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loader/host/ethtool.h"
#include "loader/host/far_end.h"

#define FEATURES     3 /* at most, of one kind */
#define FEATURE_BITS ((1u << FEATURES) - 1)

/* 802.1Q, 802.1ad */
static const char *const tags_on_receipt[FEATURES] = {"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"};
static const char *const tags_on_sending[FEATURES] = {"tx-vlan-hw-insert",
						      "tx-vlan-stag-hw-insert"};
static const char *const large_on_receipt[FEATURES] = {"rx-gro", "rx-gro-hw", "rx-lro"};
static const char *const large_on_sending[FEATURES] = {
	"tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp-segmentation"};

/* What an action is told, above the bits of features. */
#define SENDS	   0x10u
#define SWITCH_OFF 0x20u
#define SWITCH_ON  0x40u
#define LARGE	   0x80u
#define WANTED	   0x100u

/* In what is known of large packets: the bits of the far end, above those of the device. */
#define FAR_SHIFT 4

static bool is_veth(const struct netdev *dev)
{
	return !strcmp(dev->kind, "veth");
}

/* Returns the features that were on (WANTED: that somebody wants on), of those in the order. */
static int act(const char *name, unsigned int order)
{
	const char *const *tags = order & SENDS ? tags_on_sending : tags_on_receipt;
	const char *const *large = order & SENDS ? large_on_sending : large_on_receipt;
	const char *const *features = order & LARGE ? large : tags;
	int found = 0, err = 0;

	for (int i = 0; i < FEATURES && !err; i++) {
		struct offload now = {0};

		if (!(order & 1u << i) || !features[i])
			continue;
		if (!ethtool_offload(name, features[i], &now) &&
		    (order & WANTED ? now.wanted : now.on))
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
	if (!is_veth(dev))
		return "VLAN tags are taken out of its frames (rx-vlan-hw-parse)";
	return offload_tags(dev) < 0
		       ? "its far end, which may leave VLAN tags beside the frames, is in a network "
			 "namespace that cannot be reached from here"
		       : "its far end may leave VLAN tags beside the frames (tx-vlan-hw-insert)";
}

int offload_large(const struct netdev *dev)
{
	int here = act(dev->name, FEATURE_BITS | LARGE), there = 0;

	if (here >= 0 && is_veth(dev))
		there = far_end_call(dev, act, FEATURE_BITS | LARGE | SENDS);
	if (here < 0)
		return here;
	return there < 0 ? there : here | there << FAR_SHIFT;
}

int offload_switch_large(const struct netdev *dev, unsigned int offloads, bool on)
{
	unsigned int there = offloads >> FAR_SHIFT, what = LARGE | (on ? SWITCH_ON : SWITCH_OFF);
	int err = act(dev->name, (offloads & FEATURE_BITS) | what), far = 0;

	if (there)
		far = far_end_call(dev, act, there | what | SENDS);
	if (err < 0)
		return err;
	return far < 0 ? far : 0;
}

bool offload_is_taken_from_far_end(const struct netdev *dev)
{
	return is_veth(dev) && far_end_call(dev, act, FEATURE_BITS | LARGE | SENDS | WANTED);
}

bool offload_large_far(unsigned int offloads)
{
	return offloads >> FAR_SHIFT;
}

bool offload_large_elsewhere(const struct netdev *dev)
{
	return dev->kind[0] && !is_veth(dev);
}

const char *offload_tags_name(const struct netdev *dev, int bit, bool *far)
{
	*far = is_veth(dev);
	return bit < FEATURES ? (*far ? tags_on_sending : tags_on_receipt)[bit] : NULL;
}

const char *offload_large_name(int bit, bool *far)
{
	*far = bit >= FAR_SHIFT;
	bit -= *far ? FAR_SHIFT : 0;
	return bit < FEATURES ? (*far ? large_on_sending : large_on_receipt)[bit] : NULL;
}

static bool is_up(const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {};
	bool up;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	up = fd >= 0 && !ioctl(fd, SIOCGIFFLAGS, &request) && request.ifr_flags & IFF_UP;
	if (fd >= 0)
		close(fd);
	return up;
}

static int act_on_merging(const char *name, unsigned int order)
{
	struct offload now = {0};
	int err;

	if (order)
		return ethtool_set_offload(name, OFFLOAD_POLLS, order & SWITCH_ON);
	err = ethtool_offload(name, OFFLOAD_POLLS, &now);
	return err ? err : (now.on ? FAR_END_MERGES : 0) | (is_up(name) ? FAR_END_UP : 0);
}

int offload_far_end(const struct netdev *dev)
{
	return far_end_call(dev, act_on_merging, 0);
}

int offload_switch_polls(const struct netdev *dev, bool on)
{
	return far_end_call(dev, act_on_merging, on ? SWITCH_ON : SWITCH_OFF);
}
