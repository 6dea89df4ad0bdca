// SPDX-License-Identifier: GPL-2.0
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "loader/base/error.h"

#define FILEID_KERNFS 0xfe /* linux/exportfs.h: a handle that is the id of a cgroup */

static long file_system(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) ? 0 : (long)fs.f_type;
}

static int open_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* A mount that another one covers is still listed, so each is looked at. Returns its fd. */
static int open_mount(char point[PATH_MAX])
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	char buffer[3 * PATH_MAX];
	struct mntent entry;
	int fd = -ENOENT;

	while (mounts && fd < 0 && getmntent_r(mounts, &entry, buffer, sizeof(buffer))) {
		if (strcmp(entry.mnt_type, "cgroup2"))
			continue;
		fd = open_directory(entry.mnt_dir);
		if (fd >= 0 && file_system(fd) != CGROUP2_SUPER_MAGIC) {
			close(fd);
			fd = -ENOENT;
		}
		snprintf(point, PATH_MAX, "%s", entry.mnt_dir);
	}
	if (mounts)
		endmntent(mounts);
	if (fd < 0)
		return fail(
			-ENOENT,
			"no cgroup2 file system is mounted here: mount -t cgroup2 cgroup2 "
			"/sys/fs/cgroup; where `ip netns exec` hides it, use nsenter --net=...; in a "
			"container, docker run -v /sys/fs/cgroup:/sys/fs/cgroup:ro");
	return fd;
}

static int path_of(int fd, char path[PATH_MAX])
{
	char link[40];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, PATH_MAX - 1);
	if (length < 0)
		return -errno;
	path[length] = '\0';
	return 0;
}

union handle {
	struct file_handle head;
	char room[sizeof(struct file_handle) + sizeof(__u64)];
};

static int id_of(int fd, __u64 *id)
{
	union handle handle = {.head.handle_bytes = sizeof(*id)};
	int mount;

	if (name_to_handle_at(fd, "", &handle.head, &mount, AT_EMPTY_PATH))
		return -errno;
	memcpy(id, handle.head.f_handle, sizeof(*id));
	return 0;
}

static int no_such_cgroup(const char *name, const char *point, int err)
{
	if (err == -ENOTDIR)
		return fail(err, "cgroup %.200s: that is a file; name the directory it is in",
			    name);
	if (err == -ENOENT)
		return fail(
			err,
			"cgroup %.200s: there is none of that name below %s: systemd-cgls shows "
			"those that are",
			name, point);
	return fail(err, "cgroup %.200s: %s", name, strerror(-err));
}

static int other_file_system(const char *name, const char *point, long type)
{
	if (type == CGROUP_SUPER_MAGIC)
		return fail(
			-EINVAL,
			"cgroup %.200s: that is one of version 1, which knows nothing of sockets' "
			"programs; those of version 2 are below %s",
			name, point);
	return fail(-EINVAL, "cgroup %.200s: that is no cgroup; they are below %s", name, point);
}

/* An absolute path that leads to no cgroup may be one below the mount: "/docker". Returns the fd. */
static int find(const char *name, const char *point)
{
	char path[PATH_MAX];
	long type = 0;
	int fd;

	if (*name == '/') {
		fd = open_directory(name);
		type = fd >= 0 ? file_system(fd) : 0;
		if (type == CGROUP2_SUPER_MAGIC)
			return fd;
		if (fd >= 0)
			close(fd);
		if (fd == -ENOTDIR)
			return no_such_cgroup(name, point, fd);
	}
	if (snprintf(path, sizeof(path), "%s/%s", point, name) >= (int)sizeof(path))
		return no_such_cgroup(name, point, -ENAMETOOLONG);
	fd = open_directory(path);
	if (fd < 0)
		return type ? other_file_system(name, point, type)
			    : no_such_cgroup(name, point, fd);
	type = file_system(fd);
	if (type == CGROUP2_SUPER_MAGIC)
		return fd;
	close(fd);
	return other_file_system(name, point, type);
}

int cgroup_open(struct cgroup *c, const char *name)
{
	char point[PATH_MAX];
	int fd, err;

	*c = (struct cgroup){.fd = -1};
	if (!*name)
		return misuse("the name of a cgroup is empty; \"/\" is the one that has all");
	fd = open_mount(point);
	if (fd < 0)
		return fd;
	close(fd);
	fd = find(name, point);
	if (fd < 0)
		return fd;
	err = path_of(fd, c->path);
	if (!err)
		err = id_of(fd, &c->id);
	if (err) {
		close(fd);
		return fail(err, "cgroup %.200s: its id: %s", name, strerror(-err));
	}
	c->fd = fd;
	return 0;
}

/* "/" of the mount itself. False: it is not below the mount, as seen from here. */
static bool below_mount(const char *path, const char *point, const char **below)
{
	size_t length = strcmp(point, "/") ? strlen(point) : 0;

	if (strncmp(path, point, length) || (path[length] && path[length] != '/'))
		return false;
	*below = path[length] ? path + length : "/";
	return true;
}

/* What opening by id does, for those who may not: a container seldom has CAP_DAC_READ_SEARCH. */
static int search(const char *point, __u64 id, char *path, size_t room)
{
	char *const roots[] = {(char *)point, NULL};
	FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	int err = -ESTALE;
	FTSENT *entry;

	if (!walk)
		return -errno;
	while (err == -ESTALE && (entry = fts_read(walk)))
		if (entry->fts_info == FTS_D && entry->fts_statp->st_ino == id)
			err = snprintf(path, room, "%s", entry->fts_path) < (int)room
				      ? 0
				      : -ENAMETOOLONG;
	fts_close(walk);
	return err;
}

int cgroup_name(__u64 id, char *name, size_t room)
{
	union handle handle = {
		.head = {.handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS},
	};
	char point[PATH_MAX], path[PATH_MAX] = "";
	int mount = open_mount(point), fd, err;
	const char *below = "";

	*name = '\0';
	if (mount < 0)
		return mount;
	memcpy(handle.head.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(mount, &handle.head, O_PATH | O_CLOEXEC);
	err = fd < 0 ? -errno : path_of(fd, path);
	if (err == -EPERM)
		err = search(point, id, path, sizeof(path));
	close(mount);
	if (fd >= 0)
		close(fd);
	if (err == -ESTALE)
		return 0;
	if (err)
		return fail(err, "cgroup of id %llu: %s", id, strerror(-err));
	if (below_mount(path, point, &below) && snprintf(name, room, "%s", below) >= (int)room)
		return fail(-ENAMETOOLONG, "cgroup %.200s: its name is too long", path);
	return 0;
}
