/* SPDX-License-Identifier: GPL-2.0 */
/* The rules of an instance: what `weir rule` does. Changes are all or nothing. */
#ifndef WEIR_RULES_H
#define WEIR_RULES_H

#include "loader/host/instance.h"
#include "rule.h"

/* The current rules; free with rule_set_free(). */
int rules_get(const struct instance *in, struct rule_set *set);

/* Appends the rule, or puts it before the rule with id `before` (0: append). Sets rule->id. */
int rules_add(struct instance *in, struct rule *rule, __u32 before);

/* The rule applies to the addresses of a list. A list rule of the same name is replaced where it
 * stands and keeps id and counters, and with `keep` all it does but for the addresses: `*rule` then
 * says what that is. Otherwise as rules_add(). */
int rules_add_list(struct instance *in, struct rule *rule, const struct prefix *list, size_t count,
		   __u32 before, bool keep, bool *replaced);

/* All of these or none. */
int rules_delete(struct instance *in, const __u32 *ids, size_t count);
int rules_flush(struct instance *in, size_t *count);

/* What each rule has counted, in order of the set, over all CPUs. */
int rules_counters(const struct instance *in, const struct rule_set *set,
		   struct weir_counter *counters);

#endif
