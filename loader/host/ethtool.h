/* SPDX-License-Identifier: GPL-2.0 */
/* Offloads of a device, by the names that `ethtool -k` shows for single features. */
#ifndef WEIR_ETHTOOL_H
#define WEIR_ETHTOOL_H

#include <stdbool.h>

struct offload {
	bool on;
	bool wanted; /* asked for, whether or not the device has it on */
	bool fixed;  /* the driver lets nobody change it */
};

/* 0, or -EOPNOTSUPP when the device has no such feature; other negative errnos. No fail() line. */
int ethtool_offload(const char *ifname, const char *feature, struct offload *offload);
/* The same, and -EOPNOTSUPP also when the device leaves it as it was. */
int ethtool_set_offload(const char *ifname, const char *feature, bool on);

#endif
