/* SPDX-License-Identifier: GPL-2.0 */
/* Whether there are netfilter rules that short-cut bytes would pass by. */
#ifndef WEIR_SOCK_FIREWALL_H
#define WEIR_SOCK_FIREWALL_H

#include <stdbool.h>
#include <stddef.h>

struct firewall {
	bool here;	   /* in our network namespace */
	size_t namespaces; /* in how many, with ours */
};

/* Tables of nftables, and those of iptables of old, in all namespaces that can be reached. What
 * cannot be asked has none. 0 or < 0 with a fail() line. */
int firewall_look(struct firewall *f);

#endif
