/* SPDX-License-Identifier: GPL-2.0 */
/* Control groups, version 2, as the user names them. */
#ifndef WEIR_CGROUP_H
#define WEIR_CGROUP_H

#include <limits.h>
#include <linux/types.h>
#include <stddef.h>

struct cgroup {
	char path[PATH_MAX]; /* absolute, without links and dots */
	__u64 id;	     /* what programs and links of it have */
	int fd;		     /* of the directory; the caller's to close */
};

/* `name` is an absolute path of a directory in a cgroup2 mount, or a path below the mount ("/",
 * "docker", "/system.slice/nginx.service"). Version 1 may be mounted beside it
 * (/sys/fs/cgroup/unified). 0 or < 0 with a fail() line. */
int cgroup_open(struct cgroup *c, const char *name);
/* Path below the mount ("/", "/docker") of the cgroup of this id, for people; "" when it is gone. */
int cgroup_name(__u64 id, char *name, size_t room);

#endif
