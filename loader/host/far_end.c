// SPDX-License-Identifier: GPL-2.0
#include "far_end.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netlink.h"

#define NOT_ASSIGNED (-1)

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

/* `last` is the one looked at before: processes of one namespace often stand together. */
static int open_if(const char *path, __s32 id, ino_t *last)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -1;
	if (!fstat(fd, &st) && st.st_ino != *last) {
		if (id_of(fd) == id)
			return fd;
		*last = st.st_ino;
	}
	close(fd);
	return -1;
}

/* The one among these entries' namespaces that has the number; -1: none. */
static int search(const char *directory, const char *file, bool processes, __s32 id)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;
	ino_t last = 0;
	int fd = -1;

	while (dir && fd < 0 && (entry = readdir(dir))) {
		char path[PATH_MAX];

		if (processes ? !isdigit(entry->d_name[0]) : entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s%s", directory, entry->d_name, file);
		fd = open_if(path, id, &last);
	}
	if (dir)
		closedir(dir);
	return fd;
}

static int far_namespace(__s32 id)
{
	int fd = search("/run/netns", "", false, id);

	return fd >= 0 ? fd : search("/proc", "/ns/net", true, id);
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
