/* SPDX-License-Identifier: GPL-2.0 */
/* The attached program once more, for `weir explain`. */
#ifndef WEIR_XDP_COPY_H
#define WEIR_XDP_COPY_H

#include "loader/attach/attachment.h"
#include "loader/host/netdev.h"

struct weir_xdp_bpf;

/* A copy of the program that is attached to the device, on the same maps, that tells what it
 * decides and changes nothing. Close it with xdp_copy_close(). */
struct xdp_copy {
	struct weir_xdp_bpf *skel;
	int program;	 /* fds, closed with it */
	int explanation; /* map of one struct weir_explanation */
};

int xdp_copy_load(const struct instance *in, const struct netdev *dev, const struct attachment *a,
		  struct xdp_copy *copy);
void xdp_copy_close(struct xdp_copy *copy);

#endif
