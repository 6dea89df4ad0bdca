// SPDX-License-Identifier: GPL-2.0
#include "attach.h"

#include <stdio.h>

#include "device_detach.h"
#include "veth/far_ends.h"
#include "local.h"
#include "needs.h"
#include "veth/polling.h"
#include "serving.h"

#include "loader/service/services.h"
#include "loader/trace/pins.h"
#include "loader/base/error.h"
#include "loader/rules/redirects.h"
#include "loader/rules/tables.h"

static int settle(struct instance *in)
{
	int err = tables_settle(in);

	if (!err)
		err = local_settle(in);
	return err ? err : services_settle(in);
}

/* With a program, this device may take XDP frames that it did not take before. */
static int settle_all(struct instance *in)
{
	struct tended done;
	int err = tables_settle(in);

	if (!err)
		err = local_settle(in);
	return err ? err : services_tend(in, &done);
}

int attach_open(struct instance *in)
{
	int err = instance_open(in, true);

	if (err)
		return err;
	err = devices_reap(in);
	if (!err)
		err = trace_mend(in);
	if (!err) {
		polling_mend(in);
		err = settle(in);
	}
	if (err)
		instance_close(in);
	return err;
}

/* A command that failed may have begun something, and has left a line that stays. */
void attach_close(struct instance *in)
{
	int status = failure_status();
	char line[1024];

	snprintf(line, sizeof(line), "%s", status ? failure() : "");
	forget_failure();
	far_ends_settle(in);
	forget_failure();
	if (status)
		(status == 1 ? leave_misuse : leave_failure)("%s", line);
	instance_close(in);
}

int attach_tend(struct instance *in, struct tended *what)
{
	int err;

	polling_mend(in);
	err = far_ends_ceased(in) ? tables_settle(in) : 0;
	if (!err)
		err = services_tend(in, what);
	if (!err && (what->forgotten_backends || what->refreshed_hops))
		far_ends_settle(in);
	return err;
}

/* What `rule add` would refuse for an attached device is refused here for a new one. */
static int check_rules(const struct instance *in, const char *name,
		       const struct attach_request *request)
{
	struct rule_set set;
	struct netdev dev;
	int err = netdev_by_name(name, &dev);

	if (!err)
		err = tables_load(in, &set);
	if (err || request->no_xdp)
		return err;
	err = redirects_check_device(&set, &dev, request->mode, !request->no_tc);
	rule_set_free(&set);
	return err;
}

static int check_services(const char *name, const struct attach_request *request,
			  const struct needs *needs)
{
	struct netdev dev;
	int err;

	if (!needs->balance.modes || request->no_xdp)
		return 0;
	err = netdev_by_name(name, &dev);
	return err ? err : serving_check_device(&dev, request->mode, !request->no_tc);
}

/* Backends' devices that took XDP frames when a device transmitted last may have ceased to. */
static int settle_ways(struct instance *in, const struct attach_request *request)
{
	struct tended done;

	return request->no_xdp || request->mode == MODE_GENERIC ? 0 : services_tend(in, &done);
}

int attach(struct instance *in, const char *name, const struct attach_request *request,
	   bool *updated)
{
	struct needs needs;
	int err = check_rules(in, name, request);

	if (!err)
		err = needs_load(in, &needs);
	if (err)
		return err;
	err = check_services(name, request, &needs);
	if (!err)
		err = settle_ways(in, request);
	if (!err)
		err = device_attach(in, name, request, &needs, updated);
	needs_release(&needs);
	return err ? err : settle_all(in);
}
