// SPDX-License-Identifier: GPL-2.0
/* weir doctor: what stands in the way, and the command that removes it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "loader/attach/veth/polling.h"
#include "loader/service/services.h"
#include "loader/doctor/doctor.h"
#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/out/out.h"
#include "loader/rules/rules.h"

static const struct column columns[] = {
	COLUMN("level", "", UNIT_TEXT, .mark = MARK_LEVEL),
	COLUMN("subject", "Where", UNIT_TEXT),
	COLUMN("check", "Check", UNIT_TEXT),
	COLUMN("found", "Found", UNIT_TEXT),
};

static const struct table table = {.rows = "findings", .note = "remedy", COLUMNS(columns)};

static const struct device *attached_at(const struct device *list, size_t count,
					const struct netdev *dev)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].present && list[i].attachment.ifindex == dev->ifindex)
			return &list[i];
	return NULL;
}

/* Without a name: every device that is up or attached, but for loopback. */
static int examine_all(struct doctor *doctor, const struct device *list, size_t count)
{
	struct netdev *devs = NULL;
	int found = netdev_list(&devs);

	for (int i = 0; i < found; i++) {
		const struct device *attached = attached_at(list, count, &devs[i]);

		if (attached || (devs[i].up && strcmp(devs[i].name, "lo")))
			doctor_device(doctor, &devs[i], attached);
	}
	free(devs);
	for (size_t i = 0; i < count && found >= 0; i++)
		if (!list[i].present)
			doctor_leftover(doctor, &list[i]);
	return found < 0 ? found : 0;
}

static int examine_one(struct doctor *doctor, const char *name, const struct device *list,
		       size_t count)
{
	struct netdev dev;
	int err = netdev_by_name(name, &dev);

	if (!err)
		doctor_device(doctor, &dev, attached_at(list, count, &dev));
	return err;
}

static int examine_devices(struct doctor *doctor, const char *name)
{
	struct sockets_seen sockets = {0};
	struct tracing_view tracing = {0};
	struct rule_set rules = {0};
	struct balance balance = {0};
	struct netdev *polling = NULL;
	struct device *list = NULL;
	struct instance in;
	size_t count = 0;
	int err = instance_open(&in, false);

	if (err)
		return err;
	if (in.exists)
		err = devices_open(&in, &list, &count);
	if (err) {
		instance_close(&in);
		return err;
	}
	if (in.exists)
		err = rules_get(&in, &rules);
	if (in.exists && !err)
		err = services_get(&in, &balance);
	if (!err) {
		sockets_look(&sockets, &in);
		tracing_look(&tracing, &in);
	}
	doctor->polling_count = polling_list(&in, &polling);
	doctor->polling = polling;
	instance_close(&in);
	if (!err)
		err = name ? examine_one(doctor, name, list, count)
			   : examine_all(doctor, list, count);
	if (!err) {
		doctor_rules(doctor, &rules);
		doctor_services(doctor, &balance, list, count);
		doctor_sockets(doctor, &sockets);
		doctor_pinned(doctor, &tracing);
	}
	tracing_forget(&tracing);
	sockets_forget(&sockets);
	rule_set_free(&rules);
	balance_free(&balance);
	devices_free(list, count);
	free(polling);
	return err;
}

int cmd_doctor(struct args *args)
{
	const char *name = next_word(args);
	struct doctor doctor = {.netns = options.netns};
	int err = no_more_words(args);

	if (err)
		return err;
	doctor.findings = json_array();
	doctor_host(&doctor);
	doctor.problems_only = !name;
	err = examine_devices(&doctor, name);
	if (err) {
		json_decref(doctor.findings);
		return err;
	}
	err = out_show(json_pack("{s:i,s:i,s:o}", "failed", doctor.failed, "warned", doctor.warned,
				 "findings", doctor.findings),
		       &table, 1);
	if (!err && doctor.failed)
		err = fail(-EOPNOTSUPP, "doctor: %d check%s failed: weir cannot do its work here",
			   doctor.failed, doctor.failed == 1 ? "" : "s");
	return err;
}
