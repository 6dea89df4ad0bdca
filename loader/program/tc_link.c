// SPDX-License-Identifier: GPL-2.0
#include "tc_link.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "loader/host/features.h"
#include "program.h"
#include "weir_tc.skel.h"

/* Of our clsact filters: behind those which users give small numbers. */
#define FILTER_PRIORITY 49152
#define FILTER_HANDLE	0x77656972 /* "weir" */

struct direction {
	const char *pin;
	int attach_type;
	enum bpf_tc_attach_point point;
};

static const struct direction directions[] = {
	{"tc_ingress", TCX_INGRESS, BPF_TC_INGRESS},
	{"tc_egress", TCX_EGRESS, BPF_TC_EGRESS},
};

struct weir_tc_config tc_config(const struct netdev *dev, bool redirects)
{
	return (struct weir_tc_config){
		.ifindex = dev->ifindex,
		.netns = netdev_namespace(),
		.ethernet = dev->ethernet,
		.handshakes = 1,
		.redirects = redirects,
		.synq_full_at_max = features_synq_full_at_max(),
	};
}

static int load(struct weir_tc_bpf **skel, const struct instance *in, const struct netdev *dev,
		bool redirects)
{
	struct weir_tc_bpf *s = weir_tc_bpf__open();
	struct bpf_map *map;
	int err = 0;

	if (!s)
		return fail(-errno, "cannot open the TC program: %m");
	s->rodata->config = tc_config(dev, redirects);
	bpf_object__for_each_map (map, s->obj)
		if (!err && !bpf_map__is_internal(map))
			err = bpf_map__set_pin_path(
				map, attachment_pin(in, dev->name, bpf_map__name(map)));
	if (!err) /* a variable of the program: see tc/inflight.h */
		err = bpf_map__set_pin_path(s->maps.bss,
					    attachment_pin(in, dev->name, "handshakes"));
	if (!err)
		err = weir_tc_bpf__load(s);
	if (err) {
		weir_tc_bpf__destroy(s);
		return fail(err,
			    "the kernel refused the TC program: %s; see 'weir -vv attach' and "
			    "'weir doctor'",
			    strerror(-err));
	}
	*skel = s;
	return 0;
}

static int tcx_attach(const struct direction *d, int program, const char *pin,
		      const struct netdev *dev)
{
	int link = pin_open(pin), err = 0;

	if (link >= 0) {
		err = bpf_link_update(link, program, NULL);
		close(link);
		return err;
	}
	link = bpf_link_create(program, dev->ifindex, d->attach_type, NULL);
	if (link < 0)
		return link;
	if (bpf_obj_pin(link, pin))
		err = -errno;
	close(link);
	return err;
}

/* The program of the filter with our handle and priority; 0: there is none. */
static int filter_program(const struct direction *d, __u32 ifindex, __u32 *program)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = d->point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);
	int err = bpf_tc_query(&hook, &opts);

	*program = err ? 0 : opts.prog_id;
	return err == -ENOENT || err == -EINVAL || err == -ENODEV ? 0 : err;
}

/* Another instance's filter has the same handle and priority. A map which this device's programs
 * alone use is pinned before any of them is attached, so that one which an interrupted attach left
 * without a pin is known as well. */
static bool is_ours(const struct instance *in, const char *device, __u32 program)
{
	return program && program_uses_pin(program, attachment_pin(in, device, "tc_counters"));
}

static int clsact_attach(const struct instance *in, const struct direction *d, int program,
			 const struct netdev *dev)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = dev->ifindex, .attach_point = d->point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = program, .handle = FILTER_HANDLE,
		    .priority = FILTER_PRIORITY);
	__u32 there;
	int err = filter_program(d, dev->ifindex, &there);

	if (err)
		return err;
	if (there && !is_ours(in, dev->name, there))
		return fail(
			-EBUSY,
			"%s: another instance's TC filter is there (program id %u), and without "
			"TCX only one fits; 'weir status' names the instances, detach there first",
			dev->name, there);
	opts.flags = there ? BPF_TC_F_REPLACE : 0;
	err = bpf_tc_attach(&hook, &opts);
	return err ? err : pin_replace(program, attachment_pin(in, dev->name, d->pin));
}

int tc_make_clsact(const struct netdev *dev, bool *made)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = dev->ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int err = bpf_tc_hook_create(&hook);

	*made = !err;
	if (err && err != -EEXIST)
		return fail(err, "%s: cannot make a clsact qdisc: %s", dev->name, strerror(-err));
	return 0;
}

enum attach_way tc_way(void)
{
	return features_tcx() ? WAY_LINK : WAY_CLSACT;
}

int tc_attach(const struct instance *in, const struct netdev *dev, bool redirects,
	      const struct attachment *a)
{
	struct weir_tc_bpf *skel = NULL;
	int err;

	err = load(&skel, in, dev, redirects);
	if (err)
		return err;
	for (int i = 0; i < 2 && !err; i++) {
		const struct direction *d = &directions[i];
		int program =
			bpf_program__fd(i ? skel->progs.weir_egress : skel->progs.weir_ingress);

		err = a->tc_way == WAY_LINK
			      ? tcx_attach(d, program, attachment_pin(in, dev->name, d->pin), dev)
			      : clsact_attach(in, d, program, dev);
	}
	weir_tc_bpf__destroy(skel);
	if (err)
		return fail(err, "%s: cannot attach the TC program: %s", dev->name, strerror(-err));
	return 0;
}

/* The id of this attachment's program that is on the device; 0: there is none. */
static __u32 program_on(const struct instance *in, const char *device, const struct direction *d,
			const struct attachment *a)
{
	struct pinned_link link;
	__u32 program;

	if (a->tc_way == WAY_CLSACT) {
		filter_program(d, a->ifindex, &program);
		return is_ours(in, device, program) ? program : 0;
	}
	link = pin_link(attachment_pin(in, device, d->pin));
	return link.ifindex == a->ifindex ? link.program : 0;
}

int tc_directions_on(const struct instance *in, const char *device, const struct attachment *a)
{
	int on = 0;

	for (int i = 0; i < 2 && a->tc_way != WAY_NONE; i++)
		on += program_on(in, device, &directions[i], a) != 0;
	return on;
}

int tc_loaded_config(const struct instance *in, const char *device, const struct attachment *a,
		     struct weir_tc_config *config)
{
	return program_constants(program_on(in, device, &directions[0], a),
				 offsetof(struct weir_tc_bpf__rodata, config), config,
				 sizeof(*config));
}

static int clsact_detach(const struct instance *in, const char *device, const struct direction *d,
			 __u32 ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = d->point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);
	__u32 there;
	int err = filter_program(d, ifindex, &there);

	return err || !is_ours(in, device, there) ? err : bpf_tc_detach(&hook, &opts);
}

static int tcx_detach(const char *pin)
{
	int link = pin_open(pin), err;

	if (link < 0)
		return link == -ENOENT ? 0 : link;
	err = bpf_link_detach(link) ? -errno : 0;
	close(link);
	return err;
}

/* The qdisc may carry others' filters by now: then it stays. */
static void clsact_remove(const struct attachment *a)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = a->ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	if (!netdev_clsact_filters(a->ifindex))
		bpf_tc_hook_destroy(&hook);
}

int tc_detach(const struct instance *in, const char *device, const struct attachment *a)
{
	for (int i = 0; i < 2; i++) {
		const struct direction *d = &directions[i];
		const char *pin = attachment_pin(in, device, d->pin);
		int err = a->tc_way == WAY_CLSACT ? clsact_detach(in, device, d, a->ifindex)
						  : tcx_detach(pin);

		if (err && err != -ENODEV && err != -ENOLINK && err != -ENOENT && err != -EINVAL)
			return fail(err, "%s: cannot detach the TC program: %s", device,
				    strerror(-err));
		if (unlink(pin) && errno != ENOENT)
			return fail(-errno, "cannot remove %s: %m", pin);
	}
	if (a->tc_way == WAY_CLSACT && a->made_clsact)
		clsact_remove(a);
	return 0;
}
