/* SPDX-License-Identifier: GPL-2.0 */
/* What this kernel's sockmap does right: tried on connections of our own over loopback. */
#ifndef WEIR_SOCK_PROBE_H
#define WEIR_SOCK_PROBE_H

#include <stdbool.h>

struct sock_probe {
	bool shortcut;		   /* bytes go past TCP, and are read whole, ahead of TCP's */
	bool fionread_tcp;	   /* FIONREAD counts bytes of TCP with the message program alone */
	bool fionread_tcp_verdict; /* ... with the stream verdict as well */
	bool fionread_shortcut;	   /* and short-cut bytes, and both together, with what is needed */
	bool verdict;		   /* the stream verdict is needed: it is not right without */
	bool rmem;		   /* short-cut bytes are charged to the reader (sk_rmem_alloc) */
	bool tracepoints;	   /* sock_send_length and sock_recv_length can be traced */
	bool iterators;		   /* they put sockets into a sockmap and take them out of it */
};

/* In a process and a network namespace that end with it: no firewall is asked, and nothing of it
 * stays. 0 or < 0 with a fail() line when it could not be tried. */
int sock_probe(struct sock_probe *probe);

/* What is needed and not there, "a, b (since Linux 6.3)", and since when it is; "" if nothing. */
#define SOCK_PROBE_TEXT 600
void sock_probe_lacks(const struct sock_probe *probe, char text[SOCK_PROBE_TEXT]);
/* 0 if all that is needed is there, else a fail() line that says what is not and since when it is. */
int sock_probe_check(const struct sock_probe *probe);

#endif
