// SPDX-License-Identifier: GPL-2.0
#include "far_ends.h"

#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/attach/device.h"
#include "loader/balance/publish.h"
#include "loader/base/error.h"
#include "loader/nexthop/records.h"
#include "loader/program/xdp_link.h"
#include "loader/rules/tables.h"
#include "polling.h"

/* Devices that XDP sends by. */
struct senders {
	struct device *devices;
	size_t device_count;
	struct rule_set rules;
	struct balance balance;
	struct ifindexes found;
};

static bool transmits(const struct device *d)
{
	return d->present && d->attachment.xdp_way != WAY_NONE &&
	       d->attachment.mode != MODE_GENERIC;
}

/* Whether what comes in by this device, or any (0), is sent by XDP. */
static bool comes_in(const struct senders *s, __u32 ifindex)
{
	for (size_t i = 0; i < s->device_count; i++)
		if (transmits(&s->devices[i]) &&
		    (!ifindex || s->devices[i].attachment.ifindex == ifindex))
			return true;
	return false;
}

static bool redirects(const struct senders *s, const struct rule *r)
{
	return r->action == WEIR_A_REDIRECT && (!*r->dev || r->dev_ifindex) &&
	       comes_in(s, r->dev_ifindex);
}

static int add_backends(struct senders *s, const struct instance *in)
{
	struct records records;
	struct balance_maps maps;
	int err = balance_maps_open(in, &maps);

	if (err)
		return err;
	err = records_open(&maps, &records);
	if (!err) {
		for (size_t i = 0; i < s->balance.backend_count && err >= 0; i++)
			err = ifindexes_add(&s->found,
					    records.record[s->balance.backends[i].index].ifindex);
		records_close(&records);
	}
	balance_maps_close(&maps);
	return err < 0 ? err : 0;
}

static int collect(struct senders *s, const struct instance *in)
{
	int err = 0;

	for (size_t i = 0; i < s->device_count && s->balance.service_count && err >= 0; i++)
		if (transmits(&s->devices[i]))
			err = ifindexes_add(&s->found, s->devices[i].attachment.ifindex);
	for (size_t i = 0; i < s->rules.count && err >= 0; i++)
		if (redirects(s, &s->rules.rules[i]))
			err = ifindexes_add(&s->found, s->rules.rules[i].target_ifindex);
	return err >= 0 && s->balance.backend_count ? add_backends(s, in) : err;
}

/* Without a device that transmits, nothing of rules and services needs to be known. */
static int find(struct senders *s, const struct instance *in)
{
	int err = tables_load(in, &s->rules);

	if (!err)
		err = balance_load(in, &s->balance);
	return err ? err : collect(s, in);
}

void far_ends_settle(const struct instance *in)
{
	struct senders s = {};
	bool any = false;
	int err;

	if (!polling_any(in))
		return;
	err = devices_open(in, &s.devices, &s.device_count);
	for (size_t i = 0; i < s.device_count; i++)
		any |= transmits(&s.devices[i]);
	if (!err && any)
		err = find(&s, in);
	if (err >= 0) {
		polling_share(in, &s.found);
		polling_keep(in, &s.found);
	} else if (err != -ENOENT && verbosity) {
		notice("far ends that poll for weir go on: %s",
		       failure() ? failure() : "out of memory");
	}
	rule_set_free(&s.rules);
	balance_free(&s.balance);
	devices_free(s.devices, s.device_count);
	ifindexes_free(&s.found);
}

/* ---- frames that get lost ---- */

static bool takes_none(__u32 ifindex)
{
	struct netdev dev;

	if (!netdev_by_index(ifindex, &dev))
		return dev.xdp_known && !dev.xdp_target;
	forget_failure();
	return false;
}

/* What comes in by a veth is sent back to it as to any other device. */
static bool sends_back(const struct instance *in, const struct attachment *a)
{
	struct weir_xdp_config config;

	return !xdp_loaded_config(in, a->name, a->xdp_way, &config) && config.no_tx &&
	       !config.via_tc;
}

static bool targets_ceased(const struct instance *in)
{
	int devmap = pin_open(instance_path(in, "redirect_devs"));
	__u32 key, *last = NULL;
	bool ceased = false;

	while (devmap >= 0 && !ceased && !bpf_map_get_next_key(devmap, last, &key)) {
		last = &key;
		ceased = takes_none(key);
	}
	if (devmap >= 0)
		close(devmap);
	return ceased;
}

bool far_ends_ceased(const struct instance *in)
{
	struct device *devices;
	bool any = false, ceased = false;
	size_t count;

	if (devices_open(in, &devices, &count)) {
		forget_failure();
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		const struct attachment *a = &devices[i].attachment;

		any |= transmits(&devices[i]);
		ceased |= transmits(&devices[i]) && takes_none(a->ifindex) && sends_back(in, a);
	}
	devices_free(devices, count);
	return ceased || (any && targets_ceased(in));
}
