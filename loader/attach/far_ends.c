// SPDX-License-Identifier: GPL-2.0
#include "far_ends.h"

#include <stdlib.h>

#include "device.h"
#include "loader/balance/publish.h"
#include "loader/base/error.h"
#include "loader/nexthop/records.h"
#include "loader/rules/tables.h"
#include "polling.h"

/* Devices that XDP sends by. */
struct senders {
	struct device *devices;
	size_t device_count;
	struct rule_set rules;
	struct balance balance;
	__u32 *ifindex;
	size_t count;
};

static void add(struct senders *s, __u32 ifindex)
{
	if (ifindex && (!s->count || s->ifindex[s->count - 1] != ifindex))
		s->ifindex[s->count++] = ifindex;
}

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
		for (size_t i = 0; i < s->balance.backend_count; i++)
			add(s, records.record[s->balance.backends[i].index].ifindex);
		records_close(&records);
	}
	balance_maps_close(&maps);
	return err;
}

static int collect(struct senders *s, const struct instance *in)
{
	size_t most = s->device_count + s->rules.count + s->balance.backend_count;

	s->ifindex = calloc(most + 1, sizeof(*s->ifindex));
	if (!s->ifindex)
		return -ENOMEM;
	for (size_t i = 0; i < s->device_count && s->balance.service_count; i++)
		if (transmits(&s->devices[i]))
			add(s, s->devices[i].attachment.ifindex);
	for (size_t i = 0; i < s->rules.count; i++)
		if (redirects(s, &s->rules.rules[i]))
			add(s, s->rules.rules[i].target_ifindex);
	return s->balance.backend_count ? add_backends(s, in) : 0;
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
	if (!err)
		polling_keep(in, s.ifindex, s.count);
	else if (err != -ENOENT && verbosity)
		notice("far ends that poll for weir go on: %s",
		       failure() ? failure() : "out of memory");
	rule_set_free(&s.rules);
	balance_free(&s.balance);
	devices_free(s.devices, s.device_count);
	free(s.ifindex);
}
