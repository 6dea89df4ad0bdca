/* SPDX-License-Identifier: GPL-2.0 */
/* Loads the TC programs for one device and attaches them: TCX links, or clsact filters. */
#ifndef WEIR_TC_LINK_H
#define WEIR_TC_LINK_H

#include "loader/attach/attachment.h"
#include "loader/host/netdev.h"
#include "tc/abi.h"

/* How this kernel takes TC programs: WAY_LINK or WAY_CLSACT. */
enum attach_way tc_way(void);

/* For WAY_CLSACT: the qdisc that carries the filters. `*made`: it was not there before. */
int tc_make_clsact(const struct netdev *dev, bool *made);

/* The switches of the programs, `dev` as it is now, and of those that are attached; -ENOENT:
 * none. */
struct weir_tc_config tc_config(const struct netdev *dev, bool redirects);
int tc_loaded_config(const struct instance *in, const char *device, const struct attachment *a,
		     struct weir_tc_config *config);
/* In how many of both directions this attachment's programs are on the device. */
int tc_directions_on(const struct instance *in, const char *device, const struct attachment *a);

/* Attaches, or replaces what is attached, each direction in one step. */
int tc_attach(const struct instance *in, const struct netdev *dev, bool redirects,
	      const struct attachment *a);
/* Takes both directions off and removes their pins. A device that is gone is no error. */
int tc_detach(const struct instance *in, const char *device, const struct attachment *a);

#endif
