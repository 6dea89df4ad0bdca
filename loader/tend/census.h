/* SPDX-License-Identifier: GPL-2.0 */
/* Connections that were there before their cgroup was attached: sockops/census.h. */
#ifndef WEIR_SOCK_CENSUS_H
#define WEIR_SOCK_CENSUS_H

#include "walk.h"

/* Makes known to the walker what is connected in the attached cgroups, in all namespaces. */
int census(struct walker *w, const struct instance *in);

#endif
