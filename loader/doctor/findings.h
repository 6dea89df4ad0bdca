/* SPDX-License-Identifier: GPL-2.0 */
/* How the doctor's checks say what they found. */
#ifndef WEIR_FINDINGS_H
#define WEIR_FINDINGS_H

#include "doctor.h"

enum level {
	OK,
	WARN,
	FAIL,
};

/* A finding about d->subject. */
__attribute__((format(printf, 4, 5))) void report(struct doctor *d, const char *check,
						  enum level level, const char *format, ...);
/* The remedy of the finding reported last, if that was not left out. */
__attribute__((format(printf, 2, 3))) void advise(struct doctor *d, const char *format, ...);
/* The remedy is a change by ethtool at the far end of this veth. */
void advise_far_end(struct doctor *d, const struct netdev *dev, const char *option,
		    const char *what);

/* Whether it is a veth whose far end weir cannot reach, to switch GRO on there and what is in the way
 * off. The remedy says from where it can. */
bool far_end_is_out_of_reach(struct doctor *d, const struct netdev *dev);
void advise_reach(struct doctor *d);

/* Why this device takes no XDP frames; and the remedy, where there is one. */
const char *why_no_frames(struct doctor *d, const struct netdev *dev);
void advise_frames(struct doctor *d, const struct netdev *dev);

/* Whether this kernel can short-cut connections between sockets: of the host. */
void check_socket_programs(struct doctor *d);

/* What has to stand before a command that changes a device of the namespace looked at. */
const char *inside(const struct doctor *d);
/* How weir is called for that namespace. */
const char *weir(const struct doctor *d);

/* The first number in a file below /proc/sys; -1 when it cannot be read. */
int read_sysctl(const char *format, const char *name);

#endif
