// SPDX-License-Identifier: GPL-2.0
#include "instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "namespaces.h"
#include "netdev.h"
#include "loader/base/options.h"

#define ROOT	     WEIR_BPFFS "/weir"
#define RECORD	     "instance"
#define DEFAULT_NAME "host"

struct instance_record {
	__u32 schema;
	__u32 pad;
	__u64 netns;  /* inode of the network namespace, which another may have after it */
	__u64 cookie; /* of the namespace, which none has again */
};

#define RECORD_SCHEMA 2

/* linux/bpf.h of Debian 12 has no TCX yet. Its links tell their ifindex where XDP's do. */
#define LINK_TYPE_TCX 11

/* `ip netns exec` gives each command mounts of its own: what is pinned there ends with it. */
static bool mounts_are_private(void)
{
	struct stat own, other;
	char parent[64];

	snprintf(parent, sizeof(parent), "/proc/%d/ns/mnt", getppid());
	if (stat("/proc/self/ns/mnt", &own))
		return false;
	return (!stat(parent, &other) && other.st_ino != own.st_ino) ||
	       (!stat("/proc/1/ns/mnt", &other) && other.st_ino != own.st_ino);
}

static void say_what_is_hidden(void)
{
	static bool said;

	if (!said && mounts_are_private())
		notice("there is no bpffs in this mount namespace, so that nothing that is attached is "
		       "seen; instead of 'ip netns exec NAME weir' use 'weir -n NAME'");
	said = true;
}

static int mount_bpffs(bool change)
{
	struct statfs fs;

	if (statfs(WEIR_BPFFS, &fs))
		return fail(-errno,
			    "%s: %m; this kernel lacks CONFIG_BPF_SYSCALL or /sys is hidden",
			    WEIR_BPFFS);
	if (fs.f_type == BPF_FS_MAGIC)
		return 0;
	if (!change) {
		say_what_is_hidden();
		return -ENOENT;
	}
	if (mounts_are_private())
		return fail(-ENOENT,
			    "there is no bpffs in this mount namespace, and one mounted now would "
			    "vanish with it; instead of 'ip netns exec NAME weir' use 'weir -n "
			    "NAME', elsewhere 'mount -t bpf bpf %s' first",
			    WEIR_BPFFS);
	if (mount("bpf", WEIR_BPFFS, "bpf", 0, "mode=0700"))
		return fail(-errno, "cannot mount bpffs on %s: %m; try 'mount -t bpf bpf %s'",
			    WEIR_BPFFS, WEIR_BPFFS);
	if (!access("/.dockerenv", F_OK) || !access("/run/.containerenv", F_OK))
		notice("bpffs was mounted inside this container: what is pinned ends with it; 'docker "
		       "run -v %s:%s' keeps it",
		       WEIR_BPFFS, WEIR_BPFFS);
	return 0;
}

/* The directory may be removed by who held the lock before: what was waited for is nobody's lock
 * then, and the one to take is that of the directory which is there now. */
static bool is_current(int fd)
{
	struct stat held, there;

	return !fstat(fd, &held) && !stat(ROOT, &there) && held.st_ino == there.st_ino &&
	       held.st_dev == there.st_dev;
}

/* -EBUSY, with nothing said, where the lock is not to be waited for. */
static int try_lock(bool change, bool wait)
{
	int fd, err;

	if (change && mkdir(ROOT, 0700) && errno != EEXIST)
		return fail(-errno, "cannot make %s: %m", ROOT);
	fd = open(ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return change ? -EAGAIN : -ENOENT;
	if (fd < 0)
		return fail(-errno, "cannot open %s: %m", ROOT);
	if (flock(fd, (change ? LOCK_EX : LOCK_SH) | (wait ? 0 : LOCK_NB))) {
		err = -errno;
		close(fd);
		return err == -EWOULDBLOCK ? -EBUSY : fail(err, "cannot lock %s: %m", ROOT);
	}
	if (is_current(fd))
		return fd;
	close(fd);
	return -EAGAIN;
}

static int take_lock(bool change, bool wait)
{
	int fd;

	do
		fd = try_lock(change, wait);
	while (fd == -EAGAIN);
	return fd;
}

static int describe_namespace(struct instance_record *record)
{
	*record = (struct instance_record){.schema = RECORD_SCHEMA, .netns = netdev_namespace()};
	if (!record->netns)
		return fail(-ENOENT, "cannot look at /proc/self/ns/net; mount /proc");
	return netns_cookie(&record->cookie);
}

static int write_record(const struct instance *in, const struct instance_record *record)
{
	__u32 key = 0;
	int fd, err;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_instance", sizeof(key), sizeof(*record), 1,
			    NULL);
	if (fd < 0)
		return fail(fd, "cannot make a BPF map: %s", strerror(-fd));
	err = bpf_map_update_elem(fd, &key, record, BPF_ANY);
	if (!err)
		err = bpf_obj_pin(fd, instance_path(in, RECORD));
	close(fd);
	return err ? fail(err, "cannot pin %s: %s", instance_path(in, RECORD), strerror(-err)) : 0;
}

static bool has_live_link(const struct instance *in)
{
	static const char *const pins[] = {"xdp", "tc_ingress", "tc_egress"};
	DIR *devices = opendir(instance_path(in, "devices"));
	struct dirent *entry;
	bool live = false;

	while (devices && !live && (entry = readdir(devices)))
		for (size_t i = 0; entry->d_name[0] != '.' && i < 3; i++)
			live |= pin_link(instance_path(in, "devices/%s/%s", entry->d_name, pins[i]))
					.ifindex != 0;
	if (devices)
		closedir(devices);
	return live;
}

/* An instance whose namespace is gone has nothing alive in it: its devices went with it. Sockets
 * and descriptors keep a namespace too, but what is attached in it tells by itself. */
static bool is_alive(const struct instance *in, const struct instance_record *record)
{
	return has_live_link(in) || netns_is_alive(record->netns, record->cookie);
}

static int remove_all_but(const struct instance *in, const char *one, const char *other)
{
	DIR *d = opendir(in->dir);
	struct dirent *entry;
	int err = d ? 0 : -errno;

	while (!err && (entry = readdir(d)))
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, one) &&
		    strcmp(entry->d_name, other))
			err = pin_remove_tree(instance_path(in, "%s", entry->d_name));
	if (d)
		closedir(d);
	return err;
}

int instance_clear(const struct instance *in, const char *keep)
{
	int err = remove_all_but(in, keep, RECORD);

	return err == -ENOENT ? 0 : err;
}

/* What an instance of this name in a namespace that is gone has left. Sockets are of no namespace:
 * what is attached for them stays. */
static int start_anew(const struct instance *in)
{
	return remove_all_but(in, "sock", "");
}

/* Devices are known by ifindex, which means nothing in another namespace. */
static int check_record(struct instance *in, bool change)
{
	struct instance_record record, here;
	int err, missing;

	err = describe_namespace(&here);
	if (err)
		return err;
	missing = pin_read(instance_path(in, RECORD), &record, sizeof(record));
	if (missing && missing != -ENOENT)
		return missing;
	if (!missing && record.schema != RECORD_SCHEMA)
		return fail(-EPROTO,
			    "instance '%s' has schema %u, this weir speaks %u; "
			    "detach it with the weir that made it",
			    in->name, record.schema, RECORD_SCHEMA);
	if (!missing && record.netns == here.netns && record.cookie == here.cookie)
		return 0;
	if (!missing && record.netns != here.netns && is_alive(in, &record))
		return fail(-EXDEV,
			    "instance '%s' belongs to another network namespace; "
			    "give its name with -n, or another --instance",
			    in->name);
	if (!change) {
		in->exists = false;
		return 0;
	}
	err = missing ? 0 : start_anew(in);
	return err ? err : write_record(in, &here);
}

static int name_instance(struct instance *in)
{
	const char *name = options.instance;

	if (!name && options.netns && strchr(options.netns, '/'))
		return misuse("namespace '%s' is a path, which names no instance: add --instance "
			      "NAME",
			      options.netns);
	if (!name)
		name = options.netns;
	if (!name)
		name = DEFAULT_NAME;
	if (!*name || strlen(name) >= sizeof(in->name) || strchr(name, '/') || name[0] == '.')
		return misuse(
			"instance name '%s': wanted 1 to %zu characters, no '/', no leading '.'",
			name, sizeof(in->name) - 1);
	strcpy(in->name, name);
	snprintf(in->dir, sizeof(in->dir), ROOT "/%s", pin_name(name));
	return 0;
}

static int open_instance(struct instance *in, bool change, bool wait)
{
	int err;

	*in = (struct instance){.lock = -1};
	err = name_instance(in);
	if (!err && options.netns)
		err = netdev_enter(options.netns);
	if (err)
		return err;
	err = mount_bpffs(change);
	if (!err)
		err = in->lock = take_lock(change, wait);
	if (err == -ENOENT && !change)
		return 0;
	if (err < 0)
		return err;
	in->exists = !access(in->dir, F_OK);
	err = 0;
	if (change && !in->exists) {
		err = pin_mkdir(in->dir);
		in->exists = !err;
	}
	if (!err && in->exists)
		err = check_record(in, change);
	if (err)
		instance_unlock(in);
	return err;
}

int instance_open(struct instance *in, bool change)
{
	return open_instance(in, change, true);
}

int instance_open_now(struct instance *in)
{
	return open_instance(in, true, false);
}

int instance_peek(struct instance *in)
{
	int err;

	*in = (struct instance){.lock = -1};
	err = name_instance(in);
	in->exists = !err && !access(in->dir, F_OK);
	return err;
}

void instance_unlock(struct instance *in)
{
	if (in->lock >= 0)
		close(in->lock);
	in->lock = -1;
}

static bool only_record_left(const char *dir)
{
	struct dirent *entry;
	DIR *d = opendir(dir);
	bool only = d;

	while (d && (entry = readdir(d)))
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, RECORD))
			only = false;
	if (d)
		closedir(d);
	return only;
}

void instance_close(struct instance *in)
{
	if (in->lock >= 0 && in->exists && (access(in->dir, F_OK) || only_record_left(in->dir))) {
		pin_remove_tree(in->dir);
		rmdir(ROOT);
	}
	instance_unlock(in);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int instance_names(char ***names)
{
	struct dirent *entry;
	int count = 0;
	DIR *d = opendir(ROOT);

	*names = NULL;
	while (d && (entry = readdir(d))) {
		char **more;

		if (entry->d_name[0] == '.')
			continue;
		more = realloc(*names, (count + 1) * sizeof(**names));
		if (!more)
			break;
		*names = more;
		more[count++] = pin_decode(entry->d_name);
	}
	if (d)
		closedir(d);
	if (count)
		qsort(*names, count, sizeof(**names), compare_names);
	return count;
}

bool instance_beside(const struct instance *in, const char *name, struct instance *other)
{
	struct instance_record here, record;

	*other = (struct instance){.lock = -1};
	if (!strcmp(name, in->name))
		return false;
	snprintf(other->name, sizeof(other->name), "%s", name);
	snprintf(other->dir, sizeof(other->dir), ROOT "/%s", pin_name(name));
	if (describe_namespace(&here) ||
	    pin_read(instance_path(other, RECORD), &record, sizeof(record))) {
		forget_failure();
		return false;
	}
	other->exists = record.netns == here.netns && record.cookie == here.cookie;
	return other->exists;
}

const char *instance_path(const struct instance *in, const char *format, ...)
{
	static char path[4][PATH_MAX + 64];
	static unsigned int turn;
	char *p = path[turn++ % 4];
	va_list args;
	int n;

	n = snprintf(p, sizeof(path[0]), "%s/", in->dir);
	va_start(args, format);
	vsnprintf(p + n, sizeof(path[0]) - n, format, args);
	va_end(args);
	return p;
}

const char *pin_name(const char *name)
{
	static char encoded[4][256];
	static unsigned int turn;
	char *start = encoded[turn++ % 4], *to = start;

	for (; *name && to < start + sizeof(encoded[0]) - 4; name++) {
		if (*name == '.' || *name == '%')
			to += sprintf(to, "%%%02x", *name);
		else
			*to++ = *name;
	}
	*to = 0;
	return start;
}

char *pin_decode(const char *pin)
{
	char *name = strdup(pin), *to = name;
	unsigned int byte;

	for (; name && *pin; pin++) {
		if (*pin == '%' && sscanf(pin + 1, "%2x", &byte) == 1) {
			*to++ = byte;
			pin += 2;
		} else {
			*to++ = *pin;
		}
	}
	if (name)
		*to = 0;
	return name;
}

int pin_open(const char *path)
{
	int fd = bpf_obj_get(path);

	return fd < 0 ? -errno : fd;
}

int pin_read(const char *path, void *record, __u32 size)
{
	struct bpf_map_info info = {};
	__u32 length = sizeof(info), key = 0;
	int fd = pin_open(path), err = 0;

	if (fd == -ENOENT)
		return fd;
	if (fd < 0)
		return fail(fd, "cannot open %s: %s", path, strerror(-fd));
	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		err = -errno;
	else if (info.type != BPF_MAP_TYPE_ARRAY || info.key_size != sizeof(key) ||
		 info.value_size != size)
		err = -EPROTO;
	else if (bpf_map_lookup_elem(fd, &key, record))
		err = -errno;
	close(fd);
	if (err == -EPROTO)
		return fail(err,
			    "%s has another schema than this weir (" WEIR_VERSION ") speaks; "
			    "detach with the weir that made it",
			    path);
	return err ? fail(err, "cannot read %s: %s", path, strerror(-err)) : 0;
}

/* What the kernel tells of a program or map could be read as a link's. Some say bpf_link. */
static bool is_link(int fd)
{
	char path[32], what[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, what, sizeof(what) - 1);
	what[n > 0 ? n : 0] = 0;
	return !strcmp(what, "anon_inode:bpf-link") || !strcmp(what, "anon_inode:bpf_link");
}

struct pinned_link pin_link(const char *path)
{
	struct pinned_link link = {};
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	int fd = pin_open(path);

	if (fd < 0)
		return link;
	if (is_link(fd) && !bpf_obj_get_info_by_fd(fd, &info, &size) &&
	    (info.type == BPF_LINK_TYPE_XDP || info.type == LINK_TYPE_TCX))
		link = (struct pinned_link){info.xdp.ifindex, info.prog_id};
	close(fd);
	return link;
}

int pin_replace(int fd, const char *path)
{
	char fresh[PATH_MAX + 80];
	int err;

	snprintf(fresh, sizeof(fresh), "%s_new", path);
	unlink(fresh);
	if (bpf_obj_pin(fd, fresh))
		return fail(-errno, "cannot pin %s: %m", fresh);
	if (!rename(fresh, path))
		return 0;
	err = -errno;
	unlink(fresh);
	return fail(err, "cannot rename %s: %s", fresh, strerror(-err));
}

int pin_mkdir(const char *path)
{
	if (mkdir(path, 0700) && errno != EEXIST)
		return fail(-errno, "cannot make %s: %m", path);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

int pin_remove_tree(const char *path)
{
	if (access(path, F_OK) && errno == ENOENT)
		return 0;
	if (nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS))
		return fail(-errno, "cannot remove %s: %m", path);
	return 0;
}
