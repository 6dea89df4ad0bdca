/* SPDX-License-Identifier: GPL-2.0 */
/* What the probe's programs and the loader share. */
#ifndef WEIR_SOCK_PROBE_PROGRAMS_H
#define WEIR_SOCK_PROBE_PROGRAMS_H

#include <linux/types.h>

#define PROBE_SOCKETS 6

struct probe_sock {
	__u64 cookie;
	__u64 peer;  /* the other end's cookie */
	__u32 adopt; /* 1: the iterators put it into the map and take it out */
	__u32 pad;
};

#endif
