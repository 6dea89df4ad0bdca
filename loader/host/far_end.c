// SPDX-License-Identifier: GPL-2.0
#include "far_end.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "netlink.h"

#define NOT_ASSIGNED (-1)
/* For so long what was not found is not looked for again: longer than most commands take, and no trouble
 * to what goes on. */
#define FRESH_NS 10000000000ull

static int on_id(const struct nlmsghdr *message, void *data)
{
	struct nlattr *attr;

	mnl_attr_for_each (attr, message, sizeof(struct rtgenmsg))
		if (mnl_attr_get_type(attr) == NETNSA_NSID)
			*(__s32 *)data = mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

/* What number our namespace knows that one by. */
static __s32 id_of(int namespace)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct rtgenmsg *info;
	__s32 id = NOT_ASSIGNED;

	request->nlmsg_type = RTM_GETNSID;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	info->rtgen_family = AF_UNSPEC;
	mnl_attr_put_u32(request, NETNSA_FD, namespace);
	return netlink_ask(NETLINK_ROUTE, request, on_id, &id) ? NOT_ASSIGNED : id;
}

/* Where the namespaces are, and what number ours has for each: found out for all at once, as that takes
 * a look at every process. Paths, as descriptors would keep them alive. */
struct place {
	ino_t inode;
	__s32 id;
	char path[sizeof("/run/netns/") + NAME_MAX];
};

static struct {
	struct place *item;
	size_t count, room;
	__u64 since_ns;
} known;

static bool is_known(ino_t inode)
{
	for (size_t i = 0; i < known.count; i++)
		if (known.item[i].inode == inode)
			return true;
	return false;
}

static struct place *new_place(void)
{
	if (known.count == known.room) {
		size_t room = known.room ? 2 * known.room : 16;
		struct place *grown = reallocarray(known.item, room, sizeof(*grown));

		if (!grown)
			return NULL;
		known.item = grown;
		known.room = room;
	}
	return &known.item[known.count++];
}

static void look_at(const char *path)
{
	struct place *place;
	struct stat st;
	int fd;

	if (stat(path, &st) || is_known(st.st_ino))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	place = fd >= 0 ? new_place() : NULL;
	if (place) {
		*place = (struct place){.inode = st.st_ino, .id = id_of(fd)};
		snprintf(place->path, sizeof(place->path), "%s", path);
	}
	if (fd >= 0)
		close(fd);
}

static void look_in(const char *directory, const char *file, bool processes)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char path[sizeof(known.item->path)];

		if (processes ? !isdigit(entry->d_name[0]) : entry->d_name[0] == '.')
			continue;
		if (snprintf(path, sizeof(path), "%s/%s%s", directory, entry->d_name, file) <
		    (int)sizeof(path))
			look_at(path);
	}
	if (dir)
		closedir(dir);
}

static void look_around(void)
{
	known.count = 0;
	look_in("/run/netns", "", false);
	look_in("/proc", "/ns/net", true);
	known.since_ns = clock_now_ns();
}

/* `*stale`: it is no longer where it was found. */
static int open_known(__s32 id, bool *stale)
{
	*stale = false;
	for (size_t i = 0; i < known.count; i++) {
		int fd;

		if (known.item[i].id != id)
			continue;
		fd = open(known.item[i].path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && id_of(fd) == id)
			return fd;
		if (fd >= 0)
			close(fd);
		*stale = true;
	}
	return -1;
}

static int far_namespace(__s32 id)
{
	bool stale;
	int fd;

	if (!known.since_ns || clock_now_ns() - known.since_ns > FRESH_NS)
		look_around();
	fd = open_known(id, &stale);
	if (fd < 0 && stale) {
		look_around();
		fd = open_known(id, &stale);
	}
	return fd;
}

/* Results and errnos, -125 to 127, as an exit status. */
static int as_status(int result)
{
	return result < 0 ? 127 - result : result;
}

static int from_status(int status)
{
	return status > 127 ? 127 - status : status;
}

static int act_there(int namespace, __u32 ifindex,
		     int (*act)(const char *name, unsigned int argument), unsigned int argument)
{
	char name[IFNAMSIZ];

	if (namespace >= 0 && setns(namespace, CLONE_NEWNET))
		return -errno;
	return if_indextoname(ifindex, name) ? act(name, argument) : -ENOENT;
}

static int act_in_child(int namespace, __u32 ifindex,
			int (*act)(const char *name, unsigned int argument), unsigned int argument)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(as_status(act_there(namespace, ifindex, act, argument)));
	if (child < 0)
		return -errno;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? from_status(WEXITSTATUS(status)) : -EINTR;
}

int far_end_call(const struct netdev *dev, int (*act)(const char *name, unsigned int argument),
		 unsigned int argument)
{
	int namespace, result;

	if (!dev->peer)
		return -ENOENT;
	if (dev->peer_here)
		return act_there(-1, dev->peer, act, argument);
	namespace = far_namespace(dev->peer_namespace);
	if (namespace < 0)
		return -ENOENT;
	result = act_in_child(namespace, dev->peer, act, argument);
	close(namespace);
	return result;
}
