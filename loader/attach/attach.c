// SPDX-License-Identifier: GPL-2.0
#include "attach.h"

#include "loader/base/error.h"
#include "loader/rules/rules.h"
#include "loader/rules/tables.h"

int attach_open(struct instance *in)
{
	int err = instance_open(in, true);

	if (err)
		return err;
	err = devices_reap(in);
	if (err)
		instance_close(in);
	return err;
}

int attach(struct instance *in, const char *name, const struct attach_request *request,
	   bool *updated)
{
	struct rule_needs needs;
	int err = tables_needs(in, &needs);

	if (err)
		return err;
	err = device_attach(in, name, request, &needs, updated);
	tables_release(&needs);
	/* A rule may name the device, which had another ifindex or none when it was added. */
	return err ? err : rules_refresh(in);
}
