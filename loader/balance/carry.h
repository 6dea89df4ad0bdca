/* SPDX-License-Identifier: GPL-2.0 */
/* Carries flows over from maps that have become too small. */
#ifndef WEIR_CARRY_H
#define WEIR_CARRY_H

#include "maps.h"

/* The ports' table is hashed by its size: every entry finds its place anew. Those that are there already stay. */
int carry_ports(int from, int to);

/* What the programs wrote to the old maps after they were copied, until they went over to the new ones. */
int carry_late(const struct balance_maps *from, const struct balance_maps *to);

#endif
