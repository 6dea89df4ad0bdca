// SPDX-License-Identifier: GPL-2.0
#include "xdp_link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "loader/base/error.h"
#include "loader/host/features.h"
#include "program.h"
#include "xdp_program.h"

/* Valid until the next few paths are made: asked for where it is used. */
static const char *xdp_pin(const struct instance *in, const char *device)
{
	return attachment_pin(in, device, "xdp");
}

static int load_failed(int err)
{
	return fail(
		err,
		"the kernel refused the XDP program: %s; see 'weir -vv attach' and 'weir doctor'",
		strerror(-err));
}

static int explain_busy(const struct netdev *dev)
{
	return fail(-EBUSY,
		    "%s: another XDP program (id %u) is attached and this way of attaching "
		    "cannot share; detach it first ('xdp-loader unload %s --all', 'ip link "
		    "set %s xdp off', or by what holds its link: 'bpftool link')",
		    dev->name, dev->xdp_prog, dev->name, dev->name);
}

static __u32 mode_flags(enum attach_mode mode)
{
	switch (mode) {
	case MODE_GENERIC: return XDP_FLAGS_SKB_MODE;
	case MODE_OFFLOAD: return XDP_FLAGS_HW_MODE;
	default: return XDP_FLAGS_DRV_MODE;
	}
}

static int explain_attach(const struct netdev *dev, enum attach_mode mode, int err)
{
	if (err == -EBUSY || err == -EEXIST)
		return explain_busy(dev);
	if (mode == MODE_OFFLOAD)
		return fail(err, "%s: cannot offload XDP: %s; try --mode native or --mode generic",
			    dev->name, strerror(-err));
	if (mode == MODE_NATIVE)
		return fail(err,
			    "%s: its driver takes no native XDP program: %s; 'weir doctor %s' "
			    "may say why, --mode generic works everywhere but slower",
			    dev->name, strerror(-err), dev->name);
	return fail(err, "%s: cannot attach the XDP program: %s", dev->name, strerror(-err));
}

static int link_attach(const struct instance *in, const struct netdev *dev,
		       const struct needs *needs, enum attach_mode mode, bool decap)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = mode_flags(mode));
	struct weir_xdp_config config;
	struct bpf_program *program;
	struct weir_xdp_bpf *skel;
	const char *pin;
	int link, err;

	config = xdp_config(dev, mode, needs, decap);
	err = xdp_program_open(&skel, in, dev, &config, needs);
	if (err)
		return err;
	program = xdp_program_of(skel);
	if (mode == MODE_OFFLOAD)
		bpf_program__set_ifindex(program, dev->ifindex);
	err = weir_xdp_bpf__load(skel);
	if (err) {
		err = mode == MODE_OFFLOAD ? err : load_failed(err);
		goto out;
	}
	pin = xdp_pin(in, dev->name);
	link = pin_open(pin);
	if (link >= 0) {
		err = bpf_link_update(link, bpf_program__fd(program), NULL);
		close(link);
		if (err)
			err = fail(err, "%s: cannot replace the XDP program: %s", dev->name,
				   strerror(-err));
		goto out;
	}
	link = bpf_link_create(bpf_program__fd(program), dev->ifindex, BPF_XDP, &opts);
	if (link < 0) {
		err = link;
		goto out;
	}
	if (bpf_obj_pin(link, pin))
		err = fail(-errno, "cannot pin %s: %m", pin);
	close(link);
out:
	weir_xdp_bpf__destroy(skel);
	return err;
}

static enum xdp_attach_mode libxdp_mode(enum attach_mode mode)
{
	return mode == MODE_GENERIC ? XDP_MODE_SKB : XDP_MODE_NATIVE;
}

/* Takes one program of this device, other than `keep`, off its dispatcher. 1: there was one. A
 * device's programs are known by its counters, so that one which an interrupted attach left without
 * a pin is found as well. */
static int dispatcher_detach_one(__u32 ifindex, const char *counters, __u32 keep)
{
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex(ifindex);
	struct xdp_program *program = NULL;
	int err = 0;

	if (libxdp_get_error(all))
		return 0;
	if (!xdp_multiprog__is_legacy(all))
		while ((program = xdp_multiprog__next_prog(program, all)))
			if (xdp_program__id(program) != keep &&
			    program_uses_pin(xdp_program__id(program), counters))
				break;
	if (program)
		err = xdp_program__detach(program, ifindex, xdp_multiprog__attach_mode(all), 0);
	if (program && !err)
		err = 1;
	xdp_multiprog__close(all);
	return err;
}

static int dispatcher_detach(const struct instance *in, const char *device, __u32 ifindex,
			     __u32 keep)
{
	int err;

	do
		err = dispatcher_detach_one(ifindex, attachment_pin(in, device, "counters"), keep);
	while (err > 0);
	return err;
}

/* Programs on the device's dispatcher besides this device's own. */
static bool shares_dispatcher(const struct instance *in, const struct netdev *dev)
{
	const char *counters = attachment_pin(in, dev->name, "counters");
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex(dev->ifindex);
	struct xdp_program *program = NULL;
	bool found = false;

	if (libxdp_get_error(all))
		return false;
	found = xdp_multiprog__is_legacy(all);
	while (!found && (program = xdp_multiprog__next_prog(program, all)))
		found = !program_uses_pin(xdp_program__id(program), counters);
	xdp_multiprog__close(all);
	return found;
}

/* Newer kernels let programs that move the packet's data replace only what moves them too, which
 * the stubs of older dispatchers do not. The program that only counts and judges moves nothing. */
static int explain_dispatcher(const struct instance *in, const struct netdev *dev,
			      const struct weir_xdp_config *config, const struct weir_xdp_bpf *skel,
			      int err)
{
	char detach[sizeof("weir detach ; ") + IFNAMSIZ] = "";

	if (err == -EBUSY || err == -EEXIST || xdp_program_of(skel) == skel->progs.weir_xdp ||
	    features_replaced_by_mover())
		return err;
	if (!access(xdp_pin(in, dev->name), F_OK))
		snprintf(detach, sizeof(detach), "weir detach %s; ", dev->name);
	return fail(-EOPNOTSUPP,
		    "%s: on this kernel the installed libxdp's dispatcher takes no program that "
		    "moves packet data, as services, --decap and redirects do; '%sweir attach "
		    "%s --exclusive%s' gives weir a link of its own%s",
		    dev->name, detach, dev->name, config->decap ? " --decap" : "",
		    shares_dispatcher(in, dev) ? ", once other XDP programs are off the device"
					       : "");
}

/* The dispatcher has no way to exchange one of its programs: the new one is added before the old
 * one goes, so for a moment frames pass both, and none passes neither. */
static int dispatcher_attach(const struct instance *in, const struct netdev *dev,
			     const struct needs *needs, enum attach_mode mode, bool decap)
{
	LIBBPF_OPTS(xdp_program_opts, opts);
	struct weir_xdp_config config;
	struct xdp_program *program;
	struct weir_xdp_bpf *skel;
	int err;

	config = xdp_config(dev, mode, needs, decap);
	err = xdp_program_open(&skel, in, dev, &config, needs);
	if (err)
		return err;
	opts.obj = skel->obj;
	opts.prog_name = bpf_program__name(xdp_program_of(skel));
	program = xdp_program__create(&opts);
	err = libxdp_get_error(program);
	if (err) {
		err = fail(err, "libxdp does not take the XDP program: %s", strerror(-err));
		goto out;
	}
	err = xdp_program__attach(program, dev->ifindex, libxdp_mode(mode), 0);
	if (err) {
		err = explain_dispatcher(in, dev, &config, skel, err);
		goto close;
	}
	err = dispatcher_detach(in, dev->name, dev->ifindex, xdp_program__id(program));
	if (!err)
		err = pin_replace(xdp_program__fd(program), xdp_pin(in, dev->name));
	if (err) {
		xdp_program__detach(program, dev->ifindex, libxdp_mode(mode), 0);
		err = fail(err, "%s: cannot replace the program in the dispatcher: %s", dev->name,
			   strerror(-err));
	}
close:
	xdp_program__close(program);
out:
	weir_xdp_bpf__destroy(skel);
	return err;
}

static int attach_by(enum attach_way way, const struct instance *in, const struct netdev *dev,
		     const struct needs *needs, enum attach_mode mode, bool decap)
{
	int err = way == WAY_DISPATCHER ? dispatcher_attach(in, dev, needs, mode, decap)
					: link_attach(in, dev, needs, mode, decap);

	if (!err && verbosity)
		notice("%s: XDP %s by %s", dev->name, attach_mode_name(mode), attach_way_name(way));
	return err;
}

enum attach_way xdp_way(enum attach_mode mode)
{
	return mode != MODE_OFFLOAD && features_dispatcher() ? WAY_DISPATCHER : WAY_LINK;
}

int xdp_attach(const struct instance *in, const struct netdev *dev, const struct needs *needs,
	       enum attach_mode *mode, enum attach_way way, bool decap)
{
	enum attach_mode first = *mode == MODE_AUTO ? MODE_NATIVE : *mode;
	int err = attach_by(way, in, dev, needs, first, decap);

	if (err && *mode == MODE_AUTO && !failure() && err != -EBUSY && err != -EEXIST) {
		first = MODE_GENERIC;
		err = attach_by(way, in, dev, needs, first, decap);
	}
	if (err)
		return failure() ? err : explain_attach(dev, first, err);
	*mode = first;
	return 0;
}

int xdp_detach(const struct instance *in, const char *device, __u32 ifindex, enum attach_way way)
{
	const char *pin;
	int fd, err = 0;

	if (way == WAY_DISPATCHER) {
		err = dispatcher_detach(in, device, ifindex, 0);
	} else {
		fd = pin_open(xdp_pin(in, device));
		if (fd == -ENOENT)
			return 0;
		if (fd >= 0) {
			err = bpf_link_detach(fd) ? -errno : 0;
			close(fd);
		}
	}
	if (err && err != -ENODEV && err != -ENOLINK && err != -ENOENT)
		return fail(err, "%s: cannot detach the XDP program: %s", device, strerror(-err));
	pin = xdp_pin(in, device);
	if (unlink(pin) && errno != ENOENT)
		return fail(-errno, "cannot remove %s: %m", pin);
	return 0;
}

/* Id of the attached program, through its link where there is one; 0: none. */
static __u32 attached_program(const struct instance *in, const char *device, enum attach_way way)
{
	struct bpf_link_info link = {};
	struct bpf_prog_info program = {};
	__u32 link_size = sizeof(link), program_size = sizeof(program);
	int fd = pin_open(xdp_pin(in, device));

	if (fd < 0)
		return 0;
	if (way == WAY_LINK)
		bpf_obj_get_info_by_fd(fd, &link, &link_size);
	else
		bpf_obj_get_info_by_fd(fd, &program, &program_size);
	close(fd);
	return way == WAY_LINK ? link.prog_id : program.id;
}

static bool uses(__u32 program, int map)
{
	return map < 0 || program_uses_map(program, map);
}

bool xdp_uses_maps(const struct instance *in, const char *device, enum attach_way way,
		   const struct needs *needs)
{
	const struct balance_maps *m = &needs->balance.maps;
	__u32 program = attached_program(in, device, way);
	struct weir_xdp_config config;

	if (!uses(program, needs->rules.table))
		return false;
	if (xdp_loaded_config(in, device, way, &config) || !config.modes)
		return true;
	return uses(program, m->services) && uses(program, m->slots) &&
	       uses(program, m->backends) && uses(program, m->backend_counters) &&
	       uses(program, m->service_counters) && uses(program, m->flows) &&
	       uses(program, m->nat_flows) && uses(program, m->nat_ports);
}

int xdp_loaded_config(const struct instance *in, const char *device, enum attach_way way,
		      struct weir_xdp_config *config)
{
	return program_constants(attached_program(in, device, way),
				 offsetof(struct weir_xdp_bpf__rodata, config), config,
				 sizeof(*config));
}
