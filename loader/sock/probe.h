/* SPDX-License-Identifier: GPL-2.0 */
/* What this kernel's sockmap does right: tried on connections of our own over loopback. */
#ifndef WEIR_SOCK_PROBE_H
#define WEIR_SOCK_PROBE_H

#include <stdbool.h>

struct sock_probe {
	bool fionread_tcp;	   /* FIONREAD counts bytes of TCP with the message program alone */
	bool fionread_tcp_verdict; /* ... with the stream verdict as well */
	bool fionread_shortcut;	   /* and short-cut bytes, with what of both is needed */
	bool rmem;		   /* short-cut bytes are charged to the reader (sk_rmem_alloc) */
	bool tracepoints;	   /* sock_send_length and sock_recv_length: Linux 6.3 */
	bool iterators;		   /* the socket storage iterator may write sockmaps */
};

/* In a network namespace of its own, so that no firewall and no attached program is asked: no trace
 * of it stays. 0 or < 0 with a fail() line when it could not be tried. */
int sock_probe(struct sock_probe *probe);

/* 0 if all that is needed is there, else a fail() line that says what is not and what to do. */
int sock_probe_check(const struct sock_probe *probe);

#endif
