/* SPDX-License-Identifier: GPL-2.0 */
/* Targets of redirect rules: whether frames can be sent there, how, and their devmap entries. */
#ifndef WEIR_REDIRECTS_H
#define WEIR_REDIRECTS_H

#include "loader/attach/attachment.h"
#include "loader/host/instance.h"
#include "loader/host/netdev.h"
#include "rule.h"

struct table_names;

/* Refuses, with reason and remedy, a rule whose frames would not arrive. */
int redirects_check(const struct instance *in, const struct rule *rule);

/* The same for a device that is about to be attached, under the rules that there are. */
int redirects_check_device(const struct rule_set *set, const struct netdev *source,
			   enum attach_mode mode, bool has_tc);

/* Far ends of targets that have to poll are made to, where a device is attached that transmits. */
void redirects_prepare(const struct instance *in, const struct rule_set *set);
/* What the names in the rules stand for now. Targets that take XDP frames get an entry in the
 * devmap, which no entry in use gives way for. */
int redirects_resolve(const struct instance *in, struct rule_set *set, struct table_names *names);
/* Whether the rule's target has begun or ceased to take XDP frames since the table was made; if it
 * has ceased, they are lost. */
bool redirects_outdated(const struct rule *rule);
/* The table of these names is in use: entries of others are freed. */
void redirects_settle(const struct instance *in, const struct table_names *names);
void redirects_release(struct table_names *names);

#endif
