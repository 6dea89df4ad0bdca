// SPDX-License-Identifier: GPL-2.0
#include "device_attach.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "device_detach.h"
#include "veth/held_offloads.h"
#include "loader/base/error.h"
#include "loader/host/netdev.h"
#include "loader/program/tc_link.h"
#include "loader/program/xdp_link.h"
#include "lost.h"
#include "veth/polling.h"
#include "presence.h"

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int check_request(const struct netdev *dev, const struct attach_request *r)
{
	if (r->no_xdp && r->no_tc)
		return misuse("--xdp-only and --tc-only together leave nothing to attach");
	if (r->no_xdp && r->decap)
		return misuse("--decap needs the XDP program, which --tc-only leaves out");
	if (r->mode == MODE_OFFLOAD && !r->no_tc)
		return misuse("%s: --mode offload needs --xdp-only: TC programs run on the host",
			      dev->name);
	return 0;
}

static int attach_xdp(const struct instance *in, const struct netdev *dev,
		      const struct needs *needs, bool decap, enum attach_mode *mode,
		      enum attach_way way)
{
	int err = xdp_attach(in, dev, needs, mode, way, decap);

	return err ? err : lost_watch(in, dev->name, dev->ifindex, needs_transmitter(needs));
}

static int attach_tc(const struct instance *in, const struct netdev *dev, const struct needs *needs,
		     struct attachment *a)
{
	bool made = false;
	int err = a->tc_way == WAY_CLSACT ? tc_make_clsact(dev, &made) : 0;

	if (!err && made) {
		a->made_clsact = 1;
		err = attachment_write(in, a);
	}
	return err ? err : tc_attach(in, dev, needs_transmitter(needs), a);
}

/* What a device sends back by itself it takes only while its far end polls. */
static int prepare_veth(const struct instance *in, struct netdev *dev, struct attachment *a,
			enum attach_mode mode, const struct needs *needs)
{
	int err = offloads_hold(in, dev, a, mode, needs);

	if (!err && a->xdp_way != WAY_NONE && xdp_transmits_back(dev, mode, needs))
		polling_begin(in, dev);
	return err;
}

/* Where the dispatcher cannot take the program and nobody else needs the device, a link does. */
static int attach_xdp_first(const struct instance *in, const struct netdev *dev,
			    const struct needs *needs, struct attachment *a, enum attach_mode *mode)
{
	int err = attach_xdp(in, dev, needs, a->decap, mode, a->xdp_way);

	if (err != -EOPNOTSUPP || a->xdp_way != WAY_DISPATCHER || dev->xdp_prog)
		return err;
	forget_failure();
	a->xdp_way = WAY_LINK;
	err = attachment_write(in, a);
	return err ? err : attach_xdp(in, dev, needs, a->decap, mode, a->xdp_way);
}

/* Everything is recorded before it is done, so that whatever an interrupted attach leaves behind
 * can be found and taken off. TC comes first: it obeys what XDP asks of it. */
static int attach_new(const struct instance *in, struct netdev *dev,
		      const struct attach_request *request, const struct needs *needs)
{
	struct attachment a = {
		.xdp_schema = WEIR_XDP_SCHEMA,
		.tc_schema = WEIR_TC_SCHEMA,
		.ifindex = dev->ifindex,
		.mode = request->mode,
		.asked = request->mode,
		.ethernet = dev->ethernet,
		.decap = request->decap,
		.since_ns = now_ns(),
		.version = WEIR_VERSION,
	};
	enum attach_way way = request->exclusive ? WAY_LINK : xdp_way(request->mode);
	enum attach_mode mode = request->mode;
	int err;

	snprintf(a.name, sizeof(a.name), "%s", dev->name);
	a.xdp_way = request->no_xdp ? WAY_NONE : way;
	a.tc_way = request->no_tc ? WAY_NONE : tc_way();
	err = attachment_write(in, &a);
	if (!err && a.tc_way != WAY_NONE)
		err = attach_tc(in, dev, needs, &a);
	if (!err)
		err = prepare_veth(in, dev, &a, mode, needs);
	if (!err && !request->no_xdp)
		err = attach_xdp_first(in, dev, needs, &a, &mode);
	if (!err)
		err = offloads_settle(in, dev, &a, mode, needs);
	a.mode = request->no_xdp ? MODE_AUTO : mode;
	a.whole = 1;
	return err ? err : attachment_write(in, &a);
}

/* The programs of an attached device, exchanged for this build's with the needed switches. XDP
 * marks packets for TC only while TC obeys. */
static int renew(const struct instance *in, struct netdev *dev, struct attachment *a,
		 const struct needs *needs)
{
	enum attach_mode mode = a->mode;
	bool has_tc = a->tc_way != WAY_NONE;
	int err = presence_forget_severed(in, dev->name, a);

	if (!err && has_tc && needs_transmitter(needs))
		err = attach_tc(in, dev, needs, a);
	if (!err)
		err = prepare_veth(in, dev, a, mode, needs);
	if (!err && a->xdp_way != WAY_NONE)
		err = attach_xdp(in, dev, needs, a->decap, &mode, a->xdp_way);
	if (!err)
		err = offloads_settle(in, dev, a, mode, needs);
	if (!err && has_tc && !needs_transmitter(needs))
		err = attach_tc(in, dev, needs, a);
	if (err)
		return err;
	snprintf(a->version, sizeof(a->version), "%s", WEIR_VERSION);
	return attachment_write(in, a);
}

static int update(struct instance *in, struct netdev *dev, const struct attach_request *request,
		  struct attachment *a, const struct needs *needs)
{
	int err = attachment_check_schema(dev->name, a);

	if (err)
		return err;
	if ((request->no_xdp && a->xdp_way != WAY_NONE) ||
	    (request->no_tc && a->tc_way != WAY_NONE) ||
	    (!request->no_xdp && a->xdp_way == WAY_NONE) ||
	    (!request->no_tc && a->tc_way == WAY_NONE) ||
	    (request->exclusive && a->xdp_way == WAY_DISPATCHER) ||
	    (request->mode != MODE_AUTO && request->mode != a->mode))
		return fail(-EEXIST,
			    "%s is attached in another way (XDP %s by %s, TC by %s); "
			    "'weir detach %s' first",
			    dev->name, attach_mode_name(a->mode), attach_way_name(a->xdp_way),
			    attach_way_name(a->tc_way), dev->name);
	a->decap |= request->decap;
	if (request->mode != MODE_AUTO)
		a->asked = request->mode;
	return renew(in, dev, a, needs);
}

/* Pins are named after devices, and another one had this name when it was attached. */
static int check_name(const struct instance *in, const char *name, __u32 ifindex)
{
	struct attachment a;
	struct netdev other;

	if (attachment_read(in, name, &a) || a.ifindex == ifindex)
		return 0;
	if (netdev_by_index(a.ifindex, &other)) {
		forget_failure();
		return 0;
	}
	return fail(-EEXIST, "%s: %s was attached under this name; 'weir detach %s' first", name,
		    other.name, other.name);
}

int device_attach(struct instance *in, const char *name, const struct attach_request *request,
		  const struct needs *needs, bool *updated)
{
	char pinned[IFNAMSIZ];
	struct attachment a;
	struct netdev dev;
	int err;

	err = netdev_by_name(name, &dev);
	if (!err)
		err = check_request(&dev, request);
	if (err)
		return err;
	attachment_find(in, dev.name, pinned);
	strcpy(dev.name, pinned);
	*updated = !attachment_read(in, dev.name, &a) && a.whole && a.ifindex == dev.ifindex;
	if (*updated)
		return update(in, &dev, request, &a, needs);
	err = check_name(in, dev.name, dev.ifindex);
	if (err)
		return err;
	err = device_take_off(in, dev.name);
	if (!err)
		err = pin_mkdir(instance_path(in, "devices"));
	if (!err)
		err = pin_mkdir(attachment_pin(in, dev.name, ""));
	if (!err)
		err = attach_new(in, &dev, request, needs);
	if (err)
		device_take_off(in, dev.name);
	return err;
}

static bool xdp_fits(const struct instance *in, const struct netdev *dev,
		     const struct attachment *a, const struct needs *needs)
{
	struct weir_xdp_config want = xdp_config(dev, a->mode, needs, a->decap), have;

	return !xdp_loaded_config(in, a->name, a->xdp_way, &have) &&
	       !memcmp(&want, &have, sizeof(want)) && xdp_uses_maps(in, a->name, a->xdp_way, needs);
}

static bool tc_fits(const struct instance *in, const struct netdev *dev, const struct attachment *a,
		    const struct needs *needs)
{
	struct weir_tc_config want = tc_config(dev, needs_transmitter(needs)), have;

	return !tc_loaded_config(in, a->name, a, &have) && !memcmp(&want, &have, sizeof(want));
}

static bool fits(const struct instance *in, const struct netdev *dev, const struct attachment *a,
		 const struct needs *needs)
{
	return presence_of_all(in, a->name, a) &&
	       (!a->tags || xdp_transmits_tags(dev, a->mode, needs)) &&
	       (a->xdp_way == WAY_NONE || xdp_fits(in, dev, a, needs)) &&
	       (a->tc_way == WAY_NONE || tc_fits(in, dev, a, needs));
}

int devices_reconcile(struct instance *in, const struct needs *needs)
{
	char **names;
	int n = attachment_names(in, &names), err = n < 0 ? n : 0;

	for (int i = 0; i < n && !err; i++) {
		struct attachment a;
		struct netdev dev;

		if (attachment_read(in, names[i], &a) || !a.whole)
			continue;
		err = attachment_check_schema(names[i], &a);
		if (!err)
			err = netdev_by_index(a.ifindex, &dev);
		snprintf(dev.name, sizeof(dev.name), "%s", names[i]);
		if (!err)
			err = prepare_veth(in, &dev, &a, a.mode, needs);
		if (!err && !fits(in, &dev, &a, needs))
			err = renew(in, &dev, &a, needs);
	}
	attachment_names_free(names, n);
	return err;
}
