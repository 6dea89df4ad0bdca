// SPDX-License-Identifier: GPL-2.0
#include "redirects.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/attach/device.h"
#include "loader/base/error.h"
#include "loader/host/netdev.h"

#define PORTS 256 /* as in xdp/redirect.h */

/* Whether XDP can transmit there by itself. Where the kernel does not tell (< 6.3), TC does it,
 * which is always right. */
static bool takes_xdp(const struct netdev *target)
{
	return target->xdp_known && target->xdp_target;
}

static int check_target(const struct netdev *target)
{
	if (target->type == ARPHRD_LOOPBACK)
		return fail(-EINVAL,
			    "cannot redirect to %s: what is sent there comes back to this "
			    "host; drop or pass instead",
			    target->name);
	if (!target->ethernet)
		return fail(-EINVAL,
			    "cannot redirect to %s: it has no Ethernet header, so frames do "
			    "not fit; route to it instead",
			    target->name);
	if (!target->up)
		return fail(-ENETDOWN,
			    "cannot redirect to %s: it is down; 'ip link set %s up' first",
			    target->name, target->name);
	return 0;
}

static int check_source(const struct netdev *source, const struct netdev *target)
{
	if (source->ifindex == target->ifindex)
		return fail(-EINVAL, "cannot redirect from %s to itself", source->name);
	if (!source->ethernet)
		return fail(-EINVAL,
			    "cannot redirect from %s to %s: the frames have no Ethernet "
			    "header",
			    source->name, target->name);
	if (source->mtu > target->mtu)
		return fail(-EMSGSIZE,
			    "cannot redirect from %s (MTU %u) to %s (MTU %u): larger "
			    "frames would be lost; 'ip link set %s mtu %u' first",
			    source->name, source->mtu, target->name, target->mtu, target->name,
			    source->mtu);
	return 0;
}

static int check_attached(const struct device *d, const struct netdev *target)
{
	bool by_tc = !takes_xdp(target) || d->attachment.mode == MODE_GENERIC;
	struct netdev source;
	int err;

	if (!d->present || d->attachment.ifindex == target->ifindex ||
	    d->attachment.xdp_way == WAY_NONE)
		return 0;
	err = netdev_by_index(d->attachment.ifindex, &source);
	if (!err)
		err = check_source(&source, target);
	if (err)
		return err;
	if (by_tc && d->attachment.tc_way == WAY_NONE)
		return fail(-EOPNOTSUPP,
			    "cannot redirect from %s to %s: %s, and TC, which could "
			    "transmit for it, is not attached; 'weir detach %s' and "
			    "attach without --xdp-only",
			    d->name, target->name,
			    takes_xdp(target) ? "XDP is in generic mode" : "it takes no XDP frames",
			    d->name);
	return 0;
}

int redirects_check(const struct instance *in, const struct rule *rule)
{
	struct netdev target, source;
	struct device *devices;
	size_t count;
	int err;

	err = netdev_by_name(rule->target, &target);
	if (!err)
		err = check_target(&target);
	if (!err && *rule->dev) {
		err = netdev_by_name(rule->dev, &source);
		if (!err)
			err = check_source(&source, &target);
	}
	if (!err)
		err = devices_open(in, &devices, &count);
	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++)
		if (!*rule->dev || !strcmp(rule->dev, devices[i].name))
			err = check_attached(&devices[i], &target);
	devices_free(devices, count);
	return err;
}

static __u32 index_of(const char *name)
{
	return if_nametoindex(name);
}

static int open_devmap(const struct instance *in)
{
	const char *pin = instance_path(in, "redirect_ports");
	int fd = pin_open(pin);

	if (fd != -ENOENT)
		return fd;
	fd = bpf_map_create(BPF_MAP_TYPE_DEVMAP, "redirect_ports", sizeof(__u32), sizeof(__u32),
			    PORTS, NULL);
	if (fd >= 0 && bpf_obj_pin(fd, pin)) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* The devmap's entry for this device, made if there is none. */
static int find_port(int devmap, __u32 ifindex, __u32 *port)
{
	__u32 entry, unused = PORTS;

	for (__u32 i = 0; i < PORTS; i++) {
		if (bpf_map_lookup_elem(devmap, &i, &entry))
			entry = 0;
		if (entry == ifindex) {
			*port = i;
			return 0;
		}
		if (!entry && unused == PORTS)
			unused = i;
	}
	if (unused == PORTS)
		return -ENOSPC;
	*port = unused;
	return bpf_map_update_elem(devmap, &unused, &ifindex, BPF_ANY) ? -errno : 0;
}

static int resolve(int devmap, const char *name, struct redirect_port *port)
{
	struct netdev target;
	int err;

	*port = (struct redirect_port){.via_tc = true};
	strcpy(port->name, name);
	port->ifindex = if_nametoindex(name);
	if (!port->ifindex)
		return 0;
	err = netdev_by_index(port->ifindex, &target);
	if (err)
		return err;
	port->via_tc = !takes_xdp(&target);
	if (port->via_tc)
		return 0;
	err = find_port(devmap, port->ifindex, &port->port);
	if (err)
		return fail(err, "cannot prepare redirects to %s: %s", name,
			    err == -ENOSPC ? "there are 256 targets already" : strerror(-err));
	return 0;
}

static bool known(const struct table_names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (!strcmp(names->ports[i].name, name))
			return true;
	return false;
}

int redirects_resolve(const struct instance *in, const struct rule_set *set,
		      struct table_names *names)
{
	struct redirect_port *ports;
	int devmap = -1, err = 0;

	*names = (struct table_names){.ifindex = index_of};
	ports = calloc(set->count + 1, sizeof(*ports));
	if (!ports)
		return fail(-ENOMEM, "out of memory");
	names->ports = ports;
	for (size_t i = 0; i < set->count && !err; i++) {
		const struct rule *r = &set->rules[i];

		if (r->action != WEIR_A_REDIRECT || known(names, r->target))
			continue;
		if (devmap < 0)
			devmap = open_devmap(in);
		if (devmap < 0)
			err = fail(devmap, "cannot make the map of redirect targets: %s",
				   strerror(-devmap));
		else
			err = resolve(devmap, r->target, &ports[names->count++]);
	}
	if (devmap >= 0)
		close(devmap);
	if (err)
		redirects_release(names);
	return err;
}

void redirects_settle(const struct instance *in, const struct table_names *names)
{
	int devmap = pin_open(instance_path(in, "redirect_ports"));
	bool used[PORTS] = {};

	if (devmap < 0)
		return;
	for (size_t i = 0; i < names->count; i++)
		if (!names->ports[i].via_tc)
			used[names->ports[i].port] = true;
	for (__u32 i = 0; i < PORTS; i++)
		if (!used[i])
			bpf_map_delete_elem(devmap, &i);
	close(devmap);
}

void redirects_release(struct table_names *names)
{
	free((void *)names->ports);
	*names = (struct table_names){};
}
