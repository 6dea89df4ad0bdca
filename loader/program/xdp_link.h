/* SPDX-License-Identifier: GPL-2.0 */
/* Loads the XDP program for one device and attaches it, by a link or in libxdp's dispatcher. */
#ifndef WEIR_XDP_LINK_H
#define WEIR_XDP_LINK_H

#include "loader/attach/attachment.h"
#include "loader/host/netdev.h"
#include "loader/attach/needs.h"
#include "xdp/abi.h"

/* MODE_NATIVE or MODE_GENERIC; `dev` as it is now. */
struct weir_xdp_config xdp_config(const struct netdev *dev, enum attach_mode mode,
				  const struct needs *needs, bool decap);

/* The switches of the program that is attached for this device; -ENOENT: none. */
int xdp_loaded_config(const struct instance *in, const char *device, enum attach_way way,
		      struct weir_xdp_config *config);

/* Whether XDP on this device leaves transmission to TC whatever the target takes: in generic mode,
 * and where the frame is not the whole packet: VLAN tags that lie beside it (offload.h), jumbo
 * segments whose checksums are unfinished. `mode` is MODE_GENERIC or any other. */
bool xdp_redirects_by_tc(const struct netdev *dev, enum attach_mode mode);

/* Whether XDP transmits for services on this device, or by redirects if it is a veth, so that VLAN
 * tags must be in its frames. */
bool xdp_transmits_tags(const struct netdev *dev, enum attach_mode mode, const struct needs *needs);
/* Whether XDP sends what comes in by this device back by it: services do. */
bool xdp_transmits_back(const struct netdev *dev, enum attach_mode mode, const struct needs *needs);
/* Whether packets larger than the MTU would come to tunnels: see offload.h. */
bool xdp_takes_large(const struct netdev *dev, enum attach_mode mode, const struct needs *needs);

/* Why XDP on this device may leave a packet to TC although the target takes XDP frames; NULL: it
 * never does. On veth and tun some packets carry more than their bytes tell. */
const char *xdp_may_need_tc(const struct netdev *dev, enum attach_mode mode);

/* Why TC has to transmit what services send by this device, beside VLAN tags, which are put into
 * the frames then where that is possible; NULL: it does not. */
const char *xdp_serves_by_tc(const struct netdev *dev, enum attach_mode mode);

/* How XDP programs share a device here: WAY_DISPATCHER, or WAY_LINK, which does not. */
enum attach_way xdp_way(enum attach_mode mode);

/* Whether the attached program reads the maps of `needs`. */
bool xdp_uses_maps(const struct instance *in, const char *device, enum attach_way way,
		   const struct needs *needs);

/*
 * Attaches or, when the device's `xdp` pin exists, replaces in one step. `*mode` says what is
 * wanted (MODE_AUTO: native, else generic) and, on success, what was done. -EOPNOTSUPP: the
 * dispatcher cannot take this program, a link could.
 */
int xdp_attach(const struct instance *in, const struct netdev *dev, const struct needs *needs,
	       enum attach_mode *mode, enum attach_way way, bool decap);

/* Takes the program off and removes its pin. A device that is gone is no error. */
int xdp_detach(const struct instance *in, const char *device, __u32 ifindex, enum attach_way way);

#endif
