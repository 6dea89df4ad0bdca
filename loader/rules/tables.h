/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Publishes rule tables: the pin `rules` of an instance is a map of one slot that holds the
 * current table's map. A table of the same needs is swapped by one store into that slot, for all
 * devices at once; one that needs other switches or more room gets a map of its own, and each
 * device goes over to it, program and table in one step.
 */
#ifndef WEIR_TABLES_H
#define WEIR_TABLES_H

#include "loader/host/instance.h"
#include "table.h"
#include "loader/attach/needs.h"

/* The current rules; none: an empty set, with next_id and seed ready for use. */
int tables_load(const struct instance *in, struct rule_set *set);
/* Makes `set` the current rules, with names and indexes of their devices as they are now. On an
 * error nothing has changed. */
int tables_publish(struct instance *in, struct rule_set *set);
/* Brings devices and table to what the rules say: after devices were renamed, came or went, and
 * after a command that was killed between the two. */
int tables_settle(struct instance *in);

/* What the current rules need of the programs; the caller lets go with tables_release(). */
int tables_needs(const struct instance *in, struct rule_needs *needs);
void tables_release(struct rule_needs *needs);

#endif
