/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An instance: one directory on bpffs that holds all pins of one network namespace.
 *
 *   /sys/fs/bpf/weir/<instance>/
 *     instance                     struct instance_record: schema, namespace
 *     rules rule_counters buckets redirect_devs
 *     devices/<name>/              one per attached device, see device.h
 *
 * Every state change happens under one exclusive flock on /sys/fs/bpf/weir; a look at the pins
 * under a shared one. The lock goes with the process, so a kill -9 leaves none behind.
 */
#ifndef WEIR_INSTANCE_H
#define WEIR_INSTANCE_H

#include <limits.h>
#include <linux/types.h>
#include <stdbool.h>

#define WEIR_BPFFS "/sys/fs/bpf"

struct instance {
	char name[64];
	char dir[PATH_MAX];
	int lock;    /* fd, -1 when not held */
	bool exists; /* the directory is there */
};

/*
 * Opens the instance of options.instance and enters options.netns. For a change (`change`) it
 * mounts bpffs and makes the directory where they are missing; for a look it does neither, and
 * an absent instance is not an error: `exists` says so. Takes the lock; the caller lets it go
 * with instance_close(). Errors: a fail() line.
 */
int instance_open(struct instance *in, bool change);
/* The same for a change by who must not wait: -EBUSY without a fail() line while another has the lock. */
int instance_open_now(struct instance *in);
/* The same for a look by who holds the lock already, and is in the namespace. */
int instance_peek(struct instance *in);
/* For commands that run on: lets others change state while this one goes on reading its fds. */
void instance_unlock(struct instance *in);
/* Also removes the directory if nothing but the instance's own record is left in it. */
void instance_close(struct instance *in);

/* Removes all that is pinned but this directory, and the instance's own record. */
int instance_clear(const struct instance *in, const char *keep);

/* Names of all instances on this host, sorted, in an array the caller frees with its members. */
int instance_names(char ***names);

/* Whether the instance of this name is another one of the namespace that `in` is of: `other` is for a
 * look then, while `in` is locked. */
bool instance_beside(const struct instance *in, const char *name, struct instance *other);

/* Path of a pin below the instance's directory; the result is valid until the next call but 3. */
const char *instance_path(const struct instance *in, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* bpffs allows no dots: the name of a device or instance as a pin's, valid until the next call
 * but 3, and back, to be freed. */
const char *pin_name(const char *name);
char *pin_decode(const char *pin);

/* Opens a pinned object read-write. A missing pin is -ENOENT without a fail() line. */
int pin_open(const char *path);
/* Reads a record, the one value of a pinned array. A missing pin is -ENOENT without a fail() line,
 * one of another size -EPROTO: another weir made it. */
int pin_read(const char *path, void *record, __u32 size);
/* What a pinned XDP or TCX link joins; zero where no such link is pinned. */
struct pinned_link {
	__u32 ifindex; /* 0: the device is gone, or the link was taken off it */
	__u32 program; /* id */
};
struct pinned_link pin_link(const char *path);
/* Pins or replaces: the new pin appears in one step, under the name of the old. */
int pin_replace(int fd, const char *path);
int pin_mkdir(const char *path);
/* Removes a directory of pins with everything in it; a missing one is no error. */
int pin_remove_tree(const char *path);

#endif
