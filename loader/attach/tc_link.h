/* SPDX-License-Identifier: GPL-2.0 */
/* Loads the TC programs for one device and attaches them: TCX links, or clsact filters. */
#ifndef WEIR_TC_LINK_H
#define WEIR_TC_LINK_H

#include "device.h"
#include "loader/host/netdev.h"

/* How this kernel takes TC programs: WAY_LINK or WAY_CLSACT. */
enum attach_way tc_way(void);

/* For WAY_CLSACT: the qdisc that carries the filters. `*made`: it was not there before. */
int tc_make_clsact(const struct netdev *dev, bool *made);

/* Attaches, or replaces what is attached, each direction in one step. */
int tc_attach(const struct instance *in, const struct netdev *dev, bool redirects, bool replace,
	      const struct attachment *a);
/* Takes both directions off and removes their pins. A device that is gone is no error. */
int tc_detach(const struct instance *in, const char *device, const struct attachment *a);

#endif
