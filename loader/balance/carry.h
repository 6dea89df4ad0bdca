/* SPDX-License-Identifier: GPL-2.0 */
/* Carries flows over from maps that have become too small. */
#ifndef WEIR_CARRY_H
#define WEIR_CARRY_H

#include <stdbool.h>

#include "maps.h"

/* The ports' table is hashed by its size: every entry finds its place anew. Those that are there
 * already stay. */
int carry_ports(int from, int to);

/* A flow to its bucket in another map or range: what it was seen to be last, if it is there. */
void carry_flow(const struct weir_flow *from, struct weir_flow_bucket *to);

/* While flows are copied the programs remember no new ones: those go where nothing need be
 * remembered, to the owner that their slot had before. */
int carry_hold(const struct balance_maps *maps, bool hold);

/* What the programs wrote to the old maps after they were copied, until they went over to the
 * new ones. */
int carry_late(const struct balance_maps *from, const struct balance_maps *to);

#endif
