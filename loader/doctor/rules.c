// SPDX-License-Identifier: GPL-2.0
#include "findings.h"

#include "loader/base/error.h"
#include "loader/rules/redirects.h"

static void check_rule_device(struct doctor *d, const struct rule *rule, const char *name,
			      bool target)
{
	struct netdev dev;

	if (!*name)
		return;
	if (netdev_by_name(name, &dev)) {
		forget_failure();
		report(d, "rule", WARN, "rule %u names device %s, which does not exist", rule->id,
		       name);
		advise(d, "%s rule del %u", weir(d), rule->id);
		return;
	}
	if (!target)
		return;
	if (!dev.up) {
		report(d, "rule", WARN, "rule %u redirects to %s, which is down", rule->id, name);
		advise(d, "%sip link set dev %s up", inside(d), name);
	} else if (redirects_outdated(rule) && !rule->via_tc) {
		report(d, "rule", FAIL,
		       "rule %u redirects to %s, which has ceased to take XDP frames: they are lost",
		       rule->id, name);
		advise_frames(d, &dev);
	} else if (dev.xdp_known && !dev.xdp_target) {
		report(d, "rule", WARN,
		       "rule %u redirects to %s: %s, so that packets take the slower way through TC",
		       rule->id, name, why_no_frames(d, &dev));
		advise_frames(d, &dev);
	}
}

void doctor_rules(struct doctor *d, const struct rule_set *rules)
{
	d->subject = "rules";
	for (size_t i = 0; i < rules->count; i++) {
		check_rule_device(d, &rules->rules[i], rules->rules[i].dev, false);
		check_rule_device(d, &rules->rules[i], rules->rules[i].target, true);
	}
}
