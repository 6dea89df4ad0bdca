// SPDX-License-Identifier: GPL-2.0
#include "xdp_program.h"

#include <errno.h>
#include <net/if_arp.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/attach/attachment.h"
#include "loader/attach/veth/offload.h"
#include "xdp_link.h"

/* A frame of a larger MTU does not fit a page beside XDP's headroom and the skb's tail. */
#define MTU_OF_ONE_PAGE 3498

/* A sender behind veth or tun leaves checksums to its device. */
static bool has_partial_sums(const struct netdev *dev)
{
	return !strcmp(dev->kind, "veth") || !strcmp(dev->kind, "tun");
}

/* Generic XDP sees packets as they are handed on from device to device of this host, and of virtual
 * machines beside it. NICs that are none of these verify what they receive or leave it as it is. */
static bool may_have_partial_sums(const struct netdev *dev, enum attach_mode mode)
{
	return has_partial_sums(dev) ||
	       (mode == MODE_GENERIC &&
		(*dev->kind || dev->type == ARPHRD_LOOPBACK || !strcmp(dev->driver, "virtio_net")));
}

/* A far end that is not found may do what it likes. */
static bool takes_tags_out(const struct netdev *dev)
{
	return offload_tags(dev);
}

bool xdp_redirects_by_tc(const struct netdev *dev, enum attach_mode mode)
{
	return mode == MODE_GENERIC || takes_tags_out(dev) ||
	       (has_partial_sums(dev) && dev->mtu > MTU_OF_ONE_PAGE);
}

const char *xdp_may_need_tc(const struct netdev *dev, enum attach_mode mode)
{
	if (mode == MODE_GENERIC)
		return "XDP is in generic mode";
	if (takes_tags_out(dev))
		return offload_tags_text(dev);
	return has_partial_sums(dev) ? "its packets may have unfinished checksums" : NULL;
}

/* Without Ethernet headers there is nothing to write a backend's address into. */
static bool balances(const struct netdev *dev, const struct needs *needs)
{
	return dev->ethernet && needs->balance.modes;
}

/* Redirects do not have a NIC's tags put into frames: on veth that costs nothing. */
bool xdp_transmits_tags(const struct netdev *dev, enum attach_mode mode, const struct needs *needs)
{
	bool redirects = needs->rules.redirects && dev->peer && dev->xdp_known;

	return (balances(dev, needs) || redirects) && mode != MODE_GENERIC;
}

bool xdp_transmits_back(const struct netdev *dev, enum attach_mode mode, const struct needs *needs)
{
	return balances(dev, needs) && mode != MODE_GENERIC && dev->mtu <= MTU_OF_ONE_PAGE;
}

bool xdp_takes_large(const struct netdev *dev, enum attach_mode mode, const struct needs *needs)
{
	return balances(dev, needs) && mode == MODE_GENERIC &&
	       needs->balance.modes & 1u << WEIR_DSR_IPIP;
}

/* The far end of a veth takes XDP frames only while it polls. Other drivers do while weir's program
 * is attached. */
static bool takes_own_frames(const struct netdev *dev)
{
	return strcmp(dev->kind, "veth") || (dev->xdp_known && dev->xdp_target);
}

static bool transmits_by_tc(const struct netdev *dev, enum attach_mode mode, bool balance)
{
	return (balance && !takes_own_frames(dev)) || xdp_redirects_by_tc(dev, mode);
}

const char *xdp_serves_by_tc(const struct netdev *dev, enum attach_mode mode)
{
	if (mode == MODE_GENERIC)
		return "XDP is in generic mode";
	if (has_partial_sums(dev) && dev->mtu > MTU_OF_ONE_PAGE)
		return "its packets may have unfinished checksums";
	return takes_own_frames(dev) ? NULL : "its far end takes no XDP frames";
}

struct weir_xdp_config xdp_config(const struct netdev *dev, enum attach_mode mode,
				  const struct needs *needs, bool decap)
{
	const struct rule_needs *rules = &needs->rules;
	bool balance = balances(dev, needs);
	bool transmits = rules->redirects || balance;
	struct weir_xdp_config config = {
		.ifindex = dev->ifindex,
		.fields = rules->fields,
		.table_bytes = rules->table_bytes,
		.ethernet = dev->ethernet,
		.limits = rules->limits,
		.redirects = rules->redirects,
		.netns = transmits ? netdev_namespace() : 0,
		.via_tc = transmits && transmits_by_tc(dev, mode, balance),
		.no_tx = balance && !strcmp(dev->kind, "veth"),
		.partial_sums = transmits && may_have_partial_sums(dev, mode),
		.frags = dev->mtu > MTU_OF_ONE_PAGE,
		.service_bytes = balance ? needs->balance.service_bytes : 0,
		.modes = balance ? needs->balance.modes : 0,
		.tick_shift = balance ? clock_tick_shift() : 0,
		.decap = decap,
	};

	config.common = xdp_has_common(&config);
	return config;
}

/* The kernel adds a flag of its own to a devmap, which libbpf takes for a mismatch when it looks
 * at the pin by itself. */
static int reuse_pin(struct bpf_map *map, const char *pin)
{
	int fd = pin_open(pin), err;

	if (fd < 0)
		return fd;
	err = bpf_map__reuse_fd(map, fd);
	close(fd);
	return err;
}

/* Maps that the rules leave unused are not made. */
static int choose_rule_maps(struct weir_xdp_bpf *skel, const struct instance *in,
			    const struct rule_needs *needs)
{
	int err = 0;

	bpf_map__set_autocreate(skel->maps.rules, needs->fields);
	bpf_map__set_autocreate(skel->maps.rule_counters, needs->fields);
	bpf_map__set_autocreate(skel->maps.buckets, needs->limits);
	bpf_map__set_autocreate(skel->maps.redirect_devs, needs->redirects);
	if (needs->fields)
		err = bpf_map__reuse_fd(skel->maps.rules, needs->table);
	if (!err && needs->fields)
		err = bpf_map__set_pin_path(skel->maps.rule_counters,
					    instance_path(in, "rule_counters"));
	if (!err && needs->limits)
		err = bpf_map__set_pin_path(skel->maps.buckets, instance_path(in, "buckets"));
	if (!err && needs->redirects)
		err = reuse_pin(skel->maps.redirect_devs, instance_path(in, "redirect_devs"));
	return err;
}

static int allow_own_frames(const struct weir_xdp_config *config, const struct needs *needs)
{
	__u32 ifindex = config->ifindex;

	if (!config->no_tx || config->via_tc || config->explain)
		return 0;
	return bpf_map_update_elem(needs->balance.maps.egress_devs, &ifindex, &ifindex, BPF_ANY)
		       ? -errno
		       : 0;
}

static int choose_maps(struct weir_xdp_bpf *skel, const struct instance *in, const char *device,
		       const struct needs *needs)
{
	const struct balance_maps *balance =
		skel->rodata->config.modes ? &needs->balance.maps : NULL;
	int err = 0;

	if (!skel->rodata->config.explain)
		err = bpf_map__set_pin_path(skel->maps.counters,
					    attachment_pin(in, device, "counters"));
	if (!err)
		err = choose_rule_maps(skel, in, &needs->rules);
	if (!err)
		err = allow_own_frames((const void *)&skel->rodata->config, needs);
	bpf_map__set_autocreate(skel->maps.local_addresses, skel->rodata->config.decap);
	if (!err && skel->rodata->config.decap)
		err = bpf_map__set_pin_path(skel->maps.local_addresses,
					    attachment_pin(in, device, "local_addresses"));
	return err ? err : balance_maps_use(skel, balance);
}

int xdp_program_open(struct weir_xdp_bpf **skel, const struct instance *in,
		     const struct netdev *dev, const struct weir_xdp_config *config,
		     const struct needs *needs)
{
	struct weir_xdp_bpf *s = weir_xdp_bpf__open();
	int err;

	if (!s)
		return fail(-errno, "cannot open the XDP program: %m");
	s->rodata->config = *config;
	xdp_choose_program(s);
	err = choose_maps(s, in, dev->name, needs);
	if (err) {
		weir_xdp_bpf__destroy(s);
		return fail(err, "cannot prepare the XDP program's maps: %s", strerror(-err));
	}
	*skel = s;
	return 0;
}
