// SPDX-License-Identifier: GPL-2.0
#include "redirects.h"
#include "table.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/attach/device.h"
#include "loader/attach/veth/polling.h"
#include "loader/program/xdp_link.h"
#include "loader/base/error.h"
#include "loader/host/netdev.h"

#define DEVS 256 /* as in xdp/redirect.h */

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

/* Why TC has to transmit for XDP; NULL: it never has to. */
static const char *needs_tc(const struct netdev *source, const struct netdev *target,
			    enum attach_mode mode)
{
	if (!takes_xdp(target) && !polling_would_do(target))
		return "the target takes no XDP frames";
	return xdp_may_need_tc(source, mode);
}

static int check_pair(const struct netdev *source, const struct netdev *target,
		      enum attach_mode mode, bool has_tc)
{
	const char *why = needs_tc(source, target, mode);
	int err = check_source(source, target);

	if (err || !why || has_tc)
		return err;
	return fail(-EOPNOTSUPP,
		    "cannot redirect from %s to %s: %s, and TC, which would transmit then, is not "
		    "attached to %s; attach it without --xdp-only",
		    source->name, target->name, why, source->name);
}

static int check_attached(const struct device *d, const struct netdev *target)
{
	struct netdev source;
	int err;

	if (!d->present || d->attachment.ifindex == target->ifindex ||
	    d->attachment.xdp_way == WAY_NONE)
		return 0;
	err = netdev_by_index(d->attachment.ifindex, &source);
	return err ? err
		   : check_pair(&source, target, d->attachment.mode,
				d->attachment.tc_way != WAY_NONE);
}

int redirects_check_device(const struct rule_set *set, const struct netdev *source,
			   enum attach_mode mode, bool has_tc)
{
	int err = 0;

	for (size_t i = 0; i < set->count && !err; i++) {
		const struct rule *r = &set->rules[i];
		struct netdev target;

		if (r->action != WEIR_A_REDIRECT || (*r->dev && strcmp(r->dev, source->name)))
			continue;
		if (netdev_by_name(r->target, &target))
			forget_failure();
		else if (target.ifindex != source->ifindex)
			err = check_pair(source, &target, mode, has_tc);
	}
	return err;
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
	const char *pin = instance_path(in, "redirect_devs");
	int fd = pin_open(pin), err;

	if (fd != -ENOENT)
		return fd;
	fd = bpf_map_create(BPF_MAP_TYPE_DEVMAP_HASH, "redirect_devs", sizeof(__u32), sizeof(__u32),
			    DEVS, NULL);
	if (fd >= 0 && bpf_obj_pin(fd, pin)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int resolve(int devmap, const char *name, struct redirect_target *t)
{
	struct netdev target;
	int err;

	*t = (struct redirect_target){.via_tc = true};
	strcpy(t->name, name);
	t->ifindex = if_nametoindex(name);
	if (!t->ifindex)
		return 0;
	err = netdev_by_index(t->ifindex, &target);
	if (err)
		return err;
	t->via_tc = !takes_xdp(&target);
	if (t->via_tc || !bpf_map_update_elem(devmap, &t->ifindex, &t->ifindex, BPF_ANY))
		return 0;
	return fail(-errno, "cannot prepare redirects to %s: %s", name,
		    errno == E2BIG ? "there are 256 targets already" : strerror(errno));
}

static const struct redirect_target *find(const struct table_names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (!strcmp(names->targets[i].name, name))
			return &names->targets[i];
	return NULL;
}

static bool comes_in(const struct rule *r, const struct ifindexes *transmitting)
{
	return *r->dev ? ifindexes_have(transmitting, r->dev_ifindex) : transmitting->count > 0;
}

void redirects_prepare(const struct instance *in, const struct rule_set *set)
{
	struct ifindexes transmitting, seen = {};

	devices_transmitting(in, &transmitting);
	for (size_t i = 0; i < set->count && transmitting.count; i++) {
		const struct rule *r = &set->rules[i];

		if (r->action == WEIR_A_REDIRECT && comes_in(r, &transmitting) &&
		    ifindexes_add(&seen, r->target_ifindex))
			polling_begin_at(in, r->target_ifindex);
	}
	ifindexes_free(&transmitting);
	ifindexes_free(&seen);
}

bool redirects_outdated(const struct rule *rule)
{
	struct netdev target;

	if (rule->action != WEIR_A_REDIRECT)
		return false;
	if (netdev_by_name(rule->target, &target)) {
		forget_failure();
		return false;
	}
	return takes_xdp(&target) == rule->via_tc;
}

int redirects_resolve(const struct instance *in, struct rule_set *set, struct table_names *names)
{
	struct redirect_target *targets;
	int devmap = -1, err = 0;

	*names = (struct table_names){.ifindex = index_of};
	targets = calloc(set->count + 1, sizeof(*targets));
	if (!targets)
		return fail(-ENOMEM, "out of memory");
	names->targets = targets;
	for (size_t i = 0; i < set->count && !err; i++) {
		struct rule *r = &set->rules[i];
		const struct redirect_target *known = find(names, r->target);

		if (r->action != WEIR_A_REDIRECT)
			continue;
		if (known) {
			r->via_tc = known->via_tc;
			continue;
		}
		if (devmap < 0)
			devmap = open_devmap(in);
		if (devmap < 0)
			err = fail(devmap, "cannot make the map of redirect targets: %s",
				   strerror(-devmap));
		else
			err = resolve(devmap, r->target, &targets[names->count++]);
		r->via_tc = !err && targets[names->count - 1].via_tc;
	}
	if (devmap >= 0)
		close(devmap);
	if (err)
		redirects_release(names);
	return err;
}

static bool in_use(const struct table_names *names, __u32 ifindex)
{
	for (size_t i = 0; i < names->count; i++)
		if (names->targets[i].ifindex == ifindex && !names->targets[i].via_tc)
			return true;
	return false;
}

void redirects_settle(const struct instance *in, const struct table_names *names)
{
	int devmap = pin_open(instance_path(in, "redirect_devs"));
	__u32 key, next;
	bool more;

	if (devmap < 0)
		return;
	more = !bpf_map_get_next_key(devmap, NULL, &next);
	while (more) {
		key = next;
		more = !bpf_map_get_next_key(devmap, &key, &next);
		if (!in_use(names, key))
			bpf_map_delete_elem(devmap, &key);
	}
	close(devmap);
}

void redirects_release(struct table_names *names)
{
	free((void *)names->targets);
	*names = (struct table_names){};
}
