// SPDX-License-Identifier: GPL-2.0
#include "device_detach.h"

#include <errno.h>
#include <unistd.h>

#include "attachment.h"
#include "veth/held_offloads.h"
#include "loader/balance/publish.h"
#include "loader/base/error.h"
#include "loader/program/tc_link.h"
#include "loader/program/xdp_link.h"
#include "veth/polling.h"
#include "presence.h"

int device_take_off(const struct instance *in, const char *pinned)
{
	struct attachment a;
	int err, xdp, tc;

	err = attachment_read(in, pinned, &a);
	if (err && err != -ENOENT)
		return err;
	/* Should we be stopped on the way, whoever comes next finds a leftover, not an
	 * attachment. */
	if (!err && a.whole) {
		a.whole = 0;
		err = attachment_write(in, &a);
		if (err)
			return err;
	}
	if (!err) {
		xdp = xdp_detach(in, pinned, a.ifindex, a.xdp_way);
		tc = tc_detach(in, pinned, &a);
		if (xdp || tc)
			return xdp ? xdp : tc;
		offloads_restore(&a);
	}
	err = pin_remove_tree(attachment_pin(in, pinned, ""));
	rmdir(instance_path(in, "devices"));
	return err;
}

int device_detach(struct instance *in, const char *name)
{
	struct attachment a;
	char pinned[IFNAMSIZ];

	if (!attachment_find(in, name, pinned) || attachment_read(in, pinned, &a))
		return fail(-ENODEV,
			    "%s is not attached in instance '%s'; 'weir status' shows what "
			    "is",
			    name, in->name);
	return device_take_off(in, pinned);
}

int device_detach_all(struct instance *in)
{
	char **names;
	int n = attachment_names(in, &names), err = n < 0 ? n : 0;

	for (int i = 0; i < n; i++) {
		int one = device_take_off(in, names[i]);

		err = err ? err : one;
	}
	attachment_names_free(names, n);
	if (!err) {
		polling_end(in);
		balance_abandon(in);
	}
	return err ? err : instance_clear(in, "tcp");
}

int devices_reap(struct instance *in)
{
	char **names;
	int n = attachment_names(in, &names), err = n < 0 ? n : 0;

	for (int i = 0; i < n && !err; i++) {
		struct attachment a;
		struct netdev dev;
		int missing = attachment_read(in, names[i], &a);

		if (!missing && a.whole && presence_of_any(in, names[i], &a, &dev))
			continue;
		err = device_take_off(in, names[i]);
		if (!err && verbosity)
			notice("%s: removed what was left of it: %s", names[i],
			       !missing && a.whole ? "the device is gone"
						   : "its attach did not finish");
	}
	attachment_names_free(names, n);
	return err;
}
