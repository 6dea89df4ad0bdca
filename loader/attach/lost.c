// SPDX-License-Identifier: GPL-2.0
#include "lost.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "attachment.h"
#include "loader/base/error.h"
#include "loader/host/netdev.h"
#include "xdp/abi.h"
#include "weir_lost.skel.h"

static int end(const struct instance *in, const char *device)
{
	static const char *const pins[] = {"lost_in_driver", "lost_before"};

	for (int i = 0; i < 2; i++)
		if (unlink(attachment_pin(in, device, pins[i])) && errno != ENOENT)
			return fail(-errno, "cannot remove %s: %m",
				    attachment_pin(in, device, pins[i]));
	return 0;
}

/* A tracing link takes no other program: the new link is there before the old one goes. */
static int attach(const struct bpf_program *program, const char *pin)
{
	int link = bpf_raw_tracepoint_open(NULL, bpf_program__fd(program)), err;

	if (link < 0)
		return link;
	err = pin_replace(link, pin);
	close(link);
	return err;
}

static int load(struct weir_lost_bpf *skel, const struct instance *in, const char *device,
		__u32 ifindex)
{
	int err;

	skel->rodata->config = (struct weir_lost_config){ifindex, netdev_namespace()};
	err = bpf_map__set_pin_path(skel->maps.counters, attachment_pin(in, device, "counters"));
	return err ? err : weir_lost_bpf__load(skel);
}

int lost_watch(const struct instance *in, const char *device, __u32 ifindex, bool on)
{
	struct weir_lost_bpf *skel;
	int err;

	if (!on)
		return end(in, device);
	skel = weir_lost_bpf__open();
	if (!skel)
		return fail(-errno, "cannot open the program that counts lost frames: %m");
	err = load(skel, in, device, ifindex);
	if (!err)
		err = attach(skel->progs.weir_lost_in_driver,
			     attachment_pin(in, device, "lost_in_driver"));
	if (!err)
		err = attach(skel->progs.weir_lost_before,
			     attachment_pin(in, device, "lost_before"));
	weir_lost_bpf__destroy(skel);
	if (err && verbosity)
		notice("%s: frames lost behind a redirect are not counted: %s", device,
		       strerror(-err));
	return failure() ? err : 0;
}
