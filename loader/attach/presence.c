// SPDX-License-Identifier: GPL-2.0
#include "presence.h"

#include <errno.h>
#include <unistd.h>

#include <xdp/libxdp.h>

#include "loader/base/error.h"
#include "loader/program/program.h"
#include "loader/program/tc_link.h"

/* A device's programs are known by its counters, in whatever order they were pinned. */
static bool is_dispatched(const struct instance *in, const char *pinned, __u32 ifindex)
{
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex(ifindex);
	struct xdp_program *program = NULL;
	bool found = false;

	if (libxdp_get_error(all))
		return false;
	while (!found && !xdp_multiprog__is_legacy(all) &&
	       (program = xdp_multiprog__next_prog(program, all)))
		found = program_uses_pin(xdp_program__id(program),
					 attachment_pin(in, pinned, "counters"));
	xdp_multiprog__close(all);
	return found;
}

static bool xdp_is_on(const struct instance *in, const char *pinned, const struct attachment *a)
{
	switch (a->xdp_way) {
	case WAY_LINK: return pin_link(attachment_pin(in, pinned, "xdp")).ifindex == a->ifindex;
	case WAY_DISPATCHER: return is_dispatched(in, pinned, a->ifindex);
	default: return false;
	}
}

bool presence_of_any(const struct instance *in, const char *pinned, const struct attachment *a,
		     struct netdev *dev)
{
	if (netdev_by_index(a->ifindex, dev)) {
		forget_failure();
		return false;
	}
	return xdp_is_on(in, pinned, a) || tc_directions_on(in, pinned, a);
}

bool presence_of_all(const struct instance *in, const char *pinned, const struct attachment *a)
{
	return (a->xdp_way == WAY_NONE || xdp_is_on(in, pinned, a)) &&
	       (a->tc_way == WAY_NONE || tc_directions_on(in, pinned, a) == 2);
}

static int forget(const struct instance *in, const char *pinned, const char *name, __u32 ifindex)
{
	const char *pin = attachment_pin(in, pinned, name);

	if (pin_link(pin).ifindex == ifindex || !unlink(pin) || errno == ENOENT)
		return 0;
	return fail(-errno, "cannot remove %s: %m", pin);
}

int presence_forget_severed(const struct instance *in, const char *pinned,
			    const struct attachment *a)
{
	int err = 0;

	if (a->xdp_way == WAY_LINK)
		err = forget(in, pinned, "xdp", a->ifindex);
	if (!err && a->tc_way == WAY_LINK)
		err = forget(in, pinned, "tc_ingress", a->ifindex);
	if (!err && a->tc_way == WAY_LINK)
		err = forget(in, pinned, "tc_egress", a->ifindex);
	return err;
}
