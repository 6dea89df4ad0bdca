// SPDX-License-Identifier: GPL-2.0
#include "namespaces.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <mntent.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "netdev.h"

#define OWN "/proc/self/ns/net"

/* Each namespace takes a descriptor, and the usual limit of 1024 is meant for select(). */
static bool raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= limit.rlim_max)
		return false;
	limit.rlim_cur = limit.rlim_max;
	return !setrlimit(RLIMIT_NOFILE, &limit);
}

/* Where the inode is among the items behind the first, or should be. */
static size_t place_of(const struct netns_list *list, __u64 inode)
{
	size_t low = 1, high = list->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (list->item[middle].inode < inode)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct netns *find(const struct netns_list *list, __u64 inode)
{
	size_t at;

	if (list->count && list->item[0].inode == inode)
		return list->item;
	at = place_of(list, inode);
	return at < list->count && list->item[at].inode == inode ? list->item + at : NULL;
}

static int insert(struct netns_list *list, struct netns new)
{
	size_t at = list->count ? place_of(list, new.inode) : 0;

	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 64;
		struct netns *item = reallocarray(list->item, room, sizeof(*item));

		if (!item)
			return -ENOMEM;
		list->item = item;
		list->room = room;
	}
	memmove(list->item + at + 1, list->item + at, (list->count - at) * sizeof(new));
	list->item[at] = new;
	list->count++;
	return 0;
}

/* Processes end while one looks, mount points are covered by others, and some are of namespaces of
 * another kind: these are no failures. */
static int add(struct netns_list *list, const char *path)
{
	struct stat st;
	int fd, err;

	if (stat(path, &st) || find(list, st.st_ino))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET || fstat(fd, &st) || find(list, st.st_ino)) {
		close(fd);
		return 0;
	}
	err = insert(list, (struct netns){.inode = st.st_ino, .fd = fd});
	if (err)
		close(fd);
	return err;
}

static int add_processes(struct netns_list *list)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	char path[64];
	int err = 0;

	if (!dir)
		return -errno;
	while (!err && (entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/ns/net", entry->d_name);
		err = add(list, path);
	}
	closedir(dir);
	return err;
}

static int add_mounts(struct netns_list *list)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	char buffer[3 * PATH_MAX];
	struct mntent entry;
	int err = 0;

	if (!mounts)
		return -errno;
	while (!err && getmntent_r(mounts, &entry, buffer, sizeof(buffer)))
		if (!strcmp(entry.mnt_type, "nsfs"))
			err = add(list, entry.mnt_dir);
	endmntent(mounts);
	return err;
}

static int read_all(struct netns_list *list)
{
	int err = add(list, OWN);

	if (!err && !list->count)
		err = -ENOENT;
	if (!err)
		err = add_processes(list);
	return err ? err : add_mounts(list);
}

int netns_list_read(struct netns_list *list)
{
	int err;

	*list = (struct netns_list){0};
	err = read_all(list);
	if (err == -EMFILE && raise_limit()) {
		netns_list_free(list);
		err = read_all(list);
	}
	if (err == -EMFILE)
		return fail(
			err,
			"network namespaces: there are more than files may be open, %zu so far: "
			"raise the limit (ulimit -n)",
			list->count);
	if (err)
		return fail(err, "network namespaces: looking for them in /proc: %s",
			    strerror(-err));
	return 0;
}

void netns_list_free(struct netns_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		close(list->item[i].fd);
	free(list->item);
	*list = (struct netns_list){0};
}

static int by_value(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool is_wanted(const __u64 *wanted, size_t count, __u64 inode)
{
	return !wanted || bsearch(&inode, wanted, count, sizeof(inode), by_value);
}

static size_t count_missing(const struct netns_list *list, const __u64 *wanted, size_t count)
{
	size_t missing = 0;

	for (size_t i = 0; wanted && i < count; i++)
		missing += !find(list, wanted[i]);
	return missing;
}

static int act_in(const struct netns *there, int (*act)(void *data), void *data)
{
	if (setns(there->fd, CLONE_NEWNET)) {
		int err = -errno;

		return fail(err, "network namespace %llu: entering it: %s", there->inode,
			    strerror(-err));
	}
	return act(data);
}

struct tour {
	const struct netns_list *list;
	const __u64 *wanted;
	size_t count;
	int (*act)(void *data);
	void *data;
	int err;
};

static void *travel(void *data)
{
	struct tour *t = data;

	for (size_t i = 0; i < t->list->count && t->err >= 0; i++)
		if (is_wanted(t->wanted, t->count, t->list->item[i].inode))
			t->err = i ? act_in(&t->list->item[i], t->act, t->data) : t->act(t->data);
	return NULL;
}

/* A thread goes, for the process must not be seen elsewhere: who enters a container, as `docker
 * exec` does, goes where its first process is. */
int netns_for_each(const struct netns_list *list, const __u64 *wanted, size_t count,
		   int (*act)(void *data), void *data, size_t *missing)
{
	struct tour t = {list, wanted, count, act, data, 0};
	pthread_t thread;
	int err;

	if (missing)
		*missing = count_missing(list, wanted, count);
	err = pthread_create(&thread, NULL, travel, &t);
	if (err)
		return fail(-err, "network namespaces: a thread to enter them: %s", strerror(err));
	pthread_join(thread, NULL);
	return t.err < 0 ? t.err : 0;
}

/* To find all takes a look at every process: most of those who name one mean their own. */
int netns_visit(__u64 inode, int (*act)(void *data), void *data)
{
	struct netns_list list;
	int err;

	if (inode && inode == netdev_namespace())
		return act(data);
	err = netns_list_read(&list);
	if (!err)
		err = netns_for_each(&list, inode ? &inode : NULL, inode ? 1 : 0, act, data, NULL);
	netns_list_free(&list);
	return err;
}

int netns_cookie(__u64 *cookie)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;
	socklen_t size = sizeof(*cookie);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &size))
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err ? fail(err, "cannot tell this network namespace from others: %s", strerror(-err))
		   : 0;
}

/* Names of namespaces, as `ip netns` gives them, are mounts. */
static bool is_mounted(const char *netns)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, root[64];
	bool found = false;
	size_t room = 0;

	while (mounts && !found && getline(&line, &room, mounts) > 0)
		found = sscanf(line, "%*s %*s %*s %63s", root) == 1 && !strcmp(root, netns);
	free(line);
	if (mounts)
		fclose(mounts);
	return found;
}

static bool is_used(const char *netns)
{
	char link[64];
	bool used = false;
	glob_t threads;

	if (glob("/proc/[0-9]*/task/[0-9]*/ns/net", GLOB_NOSORT, NULL, &threads))
		return false;
	for (size_t i = 0; i < threads.gl_pathc && !used; i++) {
		ssize_t n = readlink(threads.gl_pathv[i], link, sizeof(link) - 1);

		link[n > 0 ? n : 0] = 0;
		used = !strcmp(link, netns);
	}
	globfree(&threads);
	return used;
}

static int compare_cookie(void *data)
{
	__u64 *cookie = data, here;
	int err = netns_cookie(&here);

	if (!err && here != *cookie)
		*cookie = 0;
	return err;
}

/* Entering it may fail where looking does not: then it is taken for the one that it was. */
bool netns_is_alive(__u64 inode, __u64 cookie)
{
	char name[64];

	snprintf(name, sizeof(name), "net:[%llu]", inode);
	if (!is_mounted(name) && !is_used(name))
		return false;
	if (netns_visit(inode, compare_cookie, &cookie))
		forget_failure();
	return cookie;
}
