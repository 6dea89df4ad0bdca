/* SPDX-License-Identifier: GPL-2.0 */
/* Ports whose connections soon end: what it costs to remember these is spared. */
#ifndef WEIR_SOCK_LIVES_H
#define WEIR_SOCK_LIVES_H

#include "loader/sock/sock_maps.h"

/* What was counted when a port was last decided about. */
struct lives_note {
	__u32 born, lasted;
	__u32 suspect; /* looks in a row at which they did not seem to last */
	__u32 idle;    /* looks at which there was too little to tell */
	bool skip;     /* decided: they do not last */
};

/* Decides about all ports; to be called every quarter of a second, with room for WEIR_LIVES notes. */
void lives_look(struct sock_maps *m, struct lives_note *notes);
/* Connections that were passed over so far: some of them may last after all. */
__u64 lives_skipped(const struct sock_maps *m);

#endif
