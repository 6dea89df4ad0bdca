/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is pinned for each device below <instance>/devices/<name>/, and the record of how it is
 * attached.
 *
 *   attachment   struct attachment; pinned first and marked whole last
 *   counters handshakes endpoints endpoint_stats tc_counters watchers events       maps
 *   local_addresses  map, where tunnels are unpacked: see local.h
 *   lost_in_driver lost_before  links, while rules redirect: see lost.h
 *   xdp tc_ingress tc_egress    links; or, where the kernel has none for the way of attaching
 *                               (libxdp dispatcher, clsact), the programs
 */
#ifndef WEIR_ATTACHMENT_H
#define WEIR_ATTACHMENT_H

#include <linux/types.h>
#include <net/if.h>
#include <stdbool.h>

#include "loader/host/instance.h"

enum attach_mode {
	MODE_AUTO,
	MODE_NATIVE,
	MODE_GENERIC,
	MODE_OFFLOAD,
};

enum attach_way {
	WAY_NONE,
	WAY_LINK,	/* XDP or TCX bpf_link */
	WAY_DISPATCHER, /* libxdp multi-program dispatcher */
	WAY_CLSACT,	/* tc filter */
};

struct attachment {
	__u32 xdp_schema;
	__u32 tc_schema;
	__u32 ifindex;
	__u8 mode;    /* enum attach_mode, as attached: never MODE_AUTO */
	__u8 xdp_way; /* enum attach_way */
	__u8 tc_way;
	__u8 ethernet;
	__u64 since_ns;	  /* CLOCK_BOOTTIME of the first attach */
	__u8 made_clsact; /* clsact: the qdisc is ours */
	__u8 whole;	  /* 0: the attach has not finished */
	__u8 decap;	  /* unpacks tunnels */
	__u8 tags;	  /* offloads that were switched off for it: see offload.h */
	__u8 large;	  /* the same for large packets */
	__u8 asked;	  /* enum attach_mode: the mode the user named; MODE_AUTO: none */
	__u8 pad[2];
	char name[IFNAMSIZ];
	char version[24]; /* of the weir that loaded the programs */
};

const char *attach_mode_name(enum attach_mode mode);
const char *attach_way_name(enum attach_way way);

/* Path of a device's pin, as instance_path() gives it. */
const char *attachment_pin(const struct instance *in, const char *device, const char *pin);

/* -ENOENT without a fail() line: there is none. */
int attachment_read(const struct instance *in, const char *device, struct attachment *a);
int attachment_write(const struct instance *in, const struct attachment *a);

/* Device names below the instance, sorted, attached or only begun. Their number, or < 0 with a
 * fail() line. */
int attachment_names(const struct instance *in, char ***names);
void attachment_names_free(char **names, int count);

/* A device that is renamed keeps the pins of its old name: finds what they are under. A device that
 * is gone is known by that name only. False: there is such a device and it has none. */
bool attachment_find(const struct instance *in, const char *name, char *pinned);

/* Refuses, with a fail() line, maps that this weir does not know. */
int attachment_check_schema(const char *name, const struct attachment *a);

#endif
