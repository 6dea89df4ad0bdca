// SPDX-License-Identifier: GPL-2.0
#include "findings.h"

#include <string.h>

#include "loader/attach/veth/held_offloads.h"
#include "loader/host/ethtool.h"

/* A page less XDP's headroom, skb_shared_info, the Ethernet header and two VLAN tags. */
#define SINGLE_BUFFER_MTU 3498

static void check_up(struct doctor *d, const struct netdev *dev)
{
	if (dev->up) {
		report(d, "up", OK, "yes");
		return;
	}
	report(d, "up", WARN, "the device is down: no packet reaches it");
	advise(d, "%sip link set dev %s up", inside(d), dev->name);
}

static void check_native(struct doctor *d, const struct netdev *dev)
{
	const char *driver = *dev->driver ? dev->driver : "the driver";

	if (!dev->xdp_known) {
		report(d, "native-xdp", OK, "this kernel does not tell before it is tried");
		return;
	}
	if (dev->xdp_native) {
		report(d, "native-xdp", OK, "%s supports it", driver);
		return;
	}
	if (!strcmp(dev->kind, "veth")) {
		report(d, "native-xdp", WARN,
		       "refused: fewer receive queues than the far end has transmit queues");
		advise_far_end(d, dev, "-L", "tx 1");
		return;
	}
	report(d, "native-xdp", WARN,
	       "%s has none: attach takes generic mode, which is several times slower", driver);
}

static void check_mtu(struct doctor *d, const struct netdev *dev)
{
	if (dev->mtu <= SINGLE_BUFFER_MTU || (dev->xdp_known && !dev->xdp_native)) {
		report(d, "mtu", OK, "%u", dev->mtu);
		return;
	}
	if (dev->xdp_frags) {
		report(d, "mtu", OK, "%u: frames of several buffers, which the driver supports",
		       dev->mtu);
		return;
	}
	report(d, "mtu", WARN, "%u is above %u: the driver refuses native XDP or cuts frames",
	       dev->mtu, SINGLE_BUFFER_MTU);
	advise(d, "%sip link set dev %s mtu %u", inside(d), dev->name, SINGLE_BUFFER_MTU);
}

static void check_offload(struct doctor *d, const struct netdev *dev, const char *feature,
			  const char *check)
{
	struct offload offload;

	if (ethtool_offload(dev->name, feature, &offload) || !offload.on) {
		report(d, check, OK, "off");
		return;
	}
	report(d, check, WARN,
	       "on: the device merges packets before XDP sees them; drivers then refuse native XDP");
	if (!offload.fixed)
		advise(d, "%sethtool -K %s %s off", inside(d), dev->name, feature);
	else if (!strcmp(dev->driver, "virtio_net"))
		advise(d,
		       "set by the hypervisor: start the guest with guest_tso4=off,guest_tso6=off,"
		       "guest_ecn=off,guest_ufo=off, or attach with --mode generic");
	else
		advise(d, "the driver does not let it be changed: attach with --mode generic");
}

static bool polls_for_weir(const struct doctor *d, const struct netdev *dev)
{
	for (size_t i = 0; i < d->polling_count; i++)
		if (d->polling[i].ifindex == dev->ifindex)
			return true;
	return false;
}

static void check_target(struct doctor *d, const struct netdev *dev)
{
	if (!dev->xdp_known) {
		report(d, "redirect-target", OK, "this kernel does not tell before it is tried");
	} else if (dev->xdp_target) {
		report(d, "redirect-target", OK, "frames redirected to it are sent by the driver%s",
		       polls_for_weir(d, dev) ? "; for that weir switched GRO on at its far end"
					      : "");
	} else if (dev->up && far_end_is_out_of_reach(d, dev)) {
		/* Bad only if something is redirected there; doctor_rules() knows. */
		report(d, "redirect-target", d->problems_only ? OK : WARN,
		       "%s: packets redirected to it take the slower way through TC",
		       why_no_frames(d, dev));
		advise_reach(d);
	} else if (dev->up && dev->peer) {
		report(d, "redirect-target", OK, "%s; weir has it poll where it begins to send",
		       why_no_frames(d, dev));
	} else {
		report(d, "redirect-target", OK,
		       "packets redirected to it are sent by the TC program, not by the driver");
	}
}

static void check_routing(struct doctor *d, const struct netdev *dev)
{
	int all = read_sysctl("/proc/sys/net/ipv4/conf/%s/rp_filter", "all");
	int own = read_sysctl("/proc/sys/net/ipv4/conf/%s/rp_filter", dev->name);
	int forwarding = read_sysctl("/proc/sys/net/ipv4/conf/%s/forwarding", dev->name);

	if ((own > all ? own : all) == 1) {
		report(d, "rp-filter", WARN,
		       "strict: packets that came another way than their answers go are dropped");
		advise(d, "%ssysctl -w net/ipv4/conf/%s/rp_filter=2", inside(d), dev->name);
	} else {
		report(d, "rp-filter", OK, "not strict");
	}
	if (forwarding == 0) {
		report(d, "forwarding", OK, "off: needed only where this host routes");
		advise(d, "only if it shall route: %ssysctl -w net/ipv4/conf/%s/forwarding=1",
		       inside(d), dev->name);
	} else if (forwarding > 0) {
		report(d, "forwarding", OK, "on");
	}
}

static void check_program(struct doctor *d, const struct netdev *dev, const struct device *attached)
{
	if (!attached) {
		if (!dev->xdp_prog)
			return;
		report(d, "xdp-program", WARN,
		       "a program that is not weir's is attached (id %u); weir can join it only "
		       "through libxdp's dispatcher",
		       dev->xdp_prog);
		advise(d, "bpftool prog show id %u", dev->xdp_prog);
		return;
	}
	if (offloads_are_taken(dev, &attached->attachment)) {
		report(d, "mode", WARN,
		       "attached, native: on veth that takes segmentation offload from the far end, "
		       "and large transfers that come in cost two to three times as much");
		advise(d, "%s detach %s && %s attach %s --mode generic", weir(d), dev->name,
		       weir(d), dev->name);
		return;
	}
	if (attached->attachment.mode == MODE_GENERIC && dev->xdp_native &&
	    strcmp(dev->kind, "veth")) {
		report(d, "mode", WARN,
		       "attached in generic mode although the driver has native XDP");
		advise(d, "%s detach %s && %s attach %s --mode native", weir(d), dev->name, weir(d),
		       dev->name);
		return;
	}
	report(d, "mode", OK, "attached, %s", attach_mode_name(attached->attachment.mode));
}

void doctor_device(struct doctor *d, const struct netdev *dev, const struct device *attached)
{
	size_t before = json_array_size(d->findings);

	d->subject = dev->name;
	check_up(d, dev);
	check_program(d, dev, attached);
	check_native(d, dev);
	check_mtu(d, dev);
	check_offload(d, dev, "rx-lro", "lro");
	check_offload(d, dev, "rx-gro-hw", "gro-hw");
	check_target(d, dev);
	check_routing(d, dev);
	if (json_array_size(d->findings) == before) {
		d->problems_only = false;
		report(d, "device", OK, "nothing stands in the way");
		d->problems_only = true;
	}
}

void doctor_leftover(struct doctor *d, const struct device *attached)
{
	d->subject = attached->name;
	report(d, "attachment", WARN, "the device is gone, its programs and maps are not");
	advise(d, "%s detach %s", weir(d), attached->name);
}
