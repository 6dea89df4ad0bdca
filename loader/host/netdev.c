// SPDX-License-Identifier: GPL-2.0
#include "netdev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "netlink.h"

/* From linux/netdev.h, which came with Linux 6.3 and is missing in older systems' headers. */
#define NETDEV_FAMILY	      "netdev"
#define NETDEV_VERSION	      1
#define NETDEV_CMD_DEV_GET    1
#define NETDEV_A_IFINDEX      1
#define NETDEV_A_XDP_FEATURES 3
#define NETDEV_XDP_BASIC      (1u << 0)
#define NETDEV_XDP_NDO_XMIT   (1u << 2)
#define NETDEV_XDP_RX_SG      (1u << 5)

#define ALT_NAME_ROOM 128 /* ALTIFNAMSIZ of linux/if.h, which cannot meet net/if.h */
#define DUMP_TRIES    10

struct listing {
	struct netdev *devs;
	int count;
	int room;
};

/* ---- rtnetlink ---- */

static void read_kind(const struct nlattr *info, struct netdev *dev)
{
	struct nlattr *attr;

	mnl_attr_for_each_nested (attr, info)
		if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
			snprintf(dev->kind, sizeof(dev->kind), "%s", mnl_attr_get_str(attr));
}

static void read_xdp(const struct nlattr *xdp, struct netdev *dev)
{
	__u32 driver_prog = 0;
	struct nlattr *attr;

	mnl_attr_for_each_nested (attr, xdp) {
		switch (mnl_attr_get_type(attr)) {
		case IFLA_XDP_ATTACHED: dev->xdp_mode = mnl_attr_get_u8(attr); break;
		case IFLA_XDP_PROG_ID: dev->xdp_prog = mnl_attr_get_u32(attr); break;
		case IFLA_XDP_DRV_PROG_ID: driver_prog = mnl_attr_get_u32(attr); break;
		}
	}
	if (!dev->xdp_prog) /* XDP_ATTACHED_MULTI names no program of its own */
		dev->xdp_prog = driver_prog;
}

static void read_link(const struct nlmsghdr *message, struct netdev *dev)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	bool elsewhere = false;
	__u32 link = 0;
	struct nlattr *attr;

	memset(dev, 0, sizeof(*dev));
	dev->ifindex = info->ifi_index;
	dev->type = info->ifi_type;
	dev->up = info->ifi_flags & IFF_UP;
	dev->ethernet = dev->type == ARPHRD_ETHER || dev->type == ARPHRD_LOOPBACK;
	mnl_attr_for_each (attr, message, sizeof(*info)) {
		switch (mnl_attr_get_type(attr)) {
		case IFLA_IFNAME:
			snprintf(dev->name, sizeof(dev->name), "%s", mnl_attr_get_str(attr));
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(attr) == sizeof(dev->mac))
				memcpy(dev->mac, mnl_attr_get_payload(attr), sizeof(dev->mac));
			break;
		case IFLA_MTU: dev->mtu = mnl_attr_get_u32(attr); break;
		case IFLA_LINK: link = mnl_attr_get_u32(attr); break;
		case IFLA_LINK_NETNSID:
			elsewhere = true;
			dev->peer_namespace = (__s32)mnl_attr_get_u32(attr);
			break;
		case IFLA_NUM_RX_QUEUES: dev->rx_queues = mnl_attr_get_u32(attr); break;
		case IFLA_NUM_TX_QUEUES: dev->tx_queues = mnl_attr_get_u32(attr); break;
		case IFLA_LINKINFO: read_kind(attr, dev); break;
		case IFLA_XDP: read_xdp(attr, dev); break;
		}
	}
	if (!strcmp(dev->kind, "veth")) {
		dev->peer = link;
		dev->peer_here = link && !elsewhere;
	}
}

static int on_link(const struct nlmsghdr *message, void *data)
{
	struct listing *list = data;

	if (message->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	if (list->count == list->room) {
		int room = list->room ? 2 * list->room : 16;
		struct netdev *grown = reallocarray(list->devs, room, sizeof(*grown));

		if (!grown) {
			errno = ENOMEM;
			return MNL_CB_ERROR;
		}
		list->devs = grown;
		list->room = room;
	}
	read_link(message, &list->devs[list->count++]);
	return MNL_CB_OK;
}

static struct nlmsghdr *link_request(void *buffer, __u16 flags, __u32 ifindex)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info;

	request->nlmsg_type = RTM_GETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	info->ifi_index = ifindex;
	mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return request;
}

/* ---- what rtnetlink does not tell ---- */

static void read_driver(int fd, struct netdev *dev)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {.ifr_data = (void *)&info};

	strcpy(request.ifr_name, dev->name);
	if (!ioctl(fd, SIOCETHTOOL, &request))
		snprintf(dev->driver, sizeof(dev->driver), "%s", info.driver);
}

static int on_family(const struct nlmsghdr *message, void *data)
{
	struct nlattr *attr;

	mnl_attr_for_each (attr, message, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID)
			*(__u16 *)data = mnl_attr_get_u16(attr);
	return MNL_CB_OK;
}

static struct nlmsghdr *generic_request(void *buffer, __u16 family, __u8 command, __u16 flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct genlmsghdr *generic;

	request->nlmsg_type = family;
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	generic = mnl_nlmsg_put_extra_header(request, sizeof(*generic));
	generic->cmd = command;
	generic->version = NETDEV_VERSION;
	return request;
}

/* Returns 0 when the kernel has no such family. */
static __u16 netdev_family(void)
{
	char buffer[256];
	struct nlmsghdr *request =
		generic_request(buffer, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK);
	__u16 family = 0;

	mnl_attr_put_strz(request, CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY);
	return netlink_ask(NETLINK_GENERIC, request, on_family, &family) ? 0 : family;
}

static int on_features(const struct nlmsghdr *message, void *data)
{
	struct listing *list = data;
	struct nlattr *attr;
	__u32 ifindex = 0;
	__u64 features = 0;

	mnl_attr_for_each (attr, message, sizeof(struct genlmsghdr)) {
		switch (mnl_attr_get_type(attr)) {
		case NETDEV_A_IFINDEX: ifindex = mnl_attr_get_u32(attr); break;
		case NETDEV_A_XDP_FEATURES: features = mnl_attr_get_u64(attr); break;
		}
	}
	for (int i = 0; i < list->count; i++) {
		struct netdev *dev = &list->devs[i];

		if (dev->ifindex != ifindex)
			continue;
		dev->xdp_known = true;
		dev->xdp_native = features & NETDEV_XDP_BASIC;
		dev->xdp_target = features & NETDEV_XDP_NDO_XMIT;
		dev->xdp_frags = features & NETDEV_XDP_RX_SG;
	}
	return MNL_CB_OK;
}

static void read_features(struct listing *list)
{
	__u16 family = netdev_family();
	struct nlmsghdr *request;
	char buffer[256];

	if (!family)
		return;
	request = generic_request(buffer, family, NETDEV_CMD_DEV_GET,
				  list->count == 1 ? NLM_F_ACK : NLM_F_DUMP);
	if (list->count == 1)
		mnl_attr_put_u32(request, NETDEV_A_IFINDEX, list->devs[0].ifindex);
	netlink_ask(NETLINK_GENERIC, request, on_features, list);
}

static void complete(struct listing *list)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (int i = 0; i < list->count && fd >= 0; i++)
		read_driver(fd, &list->devs[i]);
	if (fd >= 0)
		close(fd);
	if (list->count)
		read_features(list);
}

/* ---- what others call ---- */

static int get_one(struct nlmsghdr *request, struct netdev *dev)
{
	struct listing list = {0};
	int err = netlink_ask(NETLINK_ROUTE, request, on_link, &list);

	if (!err && !list.count)
		err = -ENODEV;
	if (!err) {
		list.count = 1;
		complete(&list);
		*dev = list.devs[0];
	}
	free(list.devs);
	return err;
}

static int on_filter(const struct nlmsghdr *message, void *data)
{
	int *count = data;

	if (message->nlmsg_type == RTM_NEWTFILTER)
		++*count;
	return MNL_CB_OK;
}

int netdev_clsact_filters(__u32 ifindex)
{
	static const __u32 parents[] = {TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS),
					TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)};
	int count = 0, err = 0;

	for (int i = 0; i < 2 && !err; i++) {
		char buffer[512];
		struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
		struct tcmsg *tc;

		request->nlmsg_type = RTM_GETTFILTER;
		request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		tc = mnl_nlmsg_put_extra_header(request, sizeof(*tc));
		tc->tcm_ifindex = ifindex;
		tc->tcm_parent = parents[i];
		err = netlink_ask(NETLINK_ROUTE, request, on_filter, &count);
	}
	return err ? err : count;
}

int netdev_by_name(const char *name, struct netdev *dev)
{
	char buffer[512];
	struct nlmsghdr *request = link_request(buffer, NLM_F_ACK, 0);
	size_t len = strlen(name);
	int err = -ENODEV;

	if (len && len < ALT_NAME_ROOM) {
		mnl_attr_put_strz(request, len < IFNAMSIZ ? IFLA_IFNAME : IFLA_ALT_IFNAME, name);
		err = get_one(request, dev);
	}
	if (err == -ENODEV)
		return fail(err, "device '%s' does not exist; 'ip link' shows the names", name);
	if (err)
		return fail(err, "device '%s': rtnetlink: %s", name, strerror(-err));
	return 0;
}

int netdev_by_index(__u32 ifindex, struct netdev *dev)
{
	char buffer[512];
	int err = ifindex ? get_one(link_request(buffer, NLM_F_ACK, ifindex), dev) : -ENODEV;

	if (err == -ENODEV)
		return fail(err, "device with index %u does not exist; 'ip link' shows the indexes",
			    ifindex);
	if (err)
		return fail(err, "device with index %u: rtnetlink: %s", ifindex, strerror(-err));
	return 0;
}

static int by_index(const void *a, const void *b)
{
	const struct netdev *left = a, *right = b;

	return (left->ifindex > right->ifindex) - (left->ifindex < right->ifindex);
}

int netdev_list(struct netdev **devs)
{
	struct listing list = {0};
	char buffer[512];
	int err = -EINTR;

	/* EINTR: the list changed under the dump. */
	for (int tries = 0; err == -EINTR && tries < DUMP_TRIES; tries++) {
		list.count = 0;
		err = netlink_ask(NETLINK_ROUTE, link_request(buffer, NLM_F_DUMP, 0), on_link,
				  &list);
	}
	if (err) {
		free(list.devs);
		return fail(err, "list of devices: rtnetlink: %s", strerror(-err));
	}
	complete(&list);
	if (list.count)
		qsort(list.devs, list.count, sizeof(*list.devs), by_index);
	*devs = list.devs;
	return list.count;
}

__u32 netdev_namespace(void)
{
	struct stat st;

	return stat("/proc/thread-self/ns/net", &st) ? 0 : st.st_ino;
}

int netdev_enter(const char *netns)
{
	char path[PATH_MAX];
	int fd, err = 0;

	if (!*netns)
		return fail(-ENOENT,
			    "namespace: the name is empty; 'ip netns list' shows the names");
	if (snprintf(path, sizeof(path), "%s%s", strchr(netns, '/') ? "" : "/run/netns/", netns) >=
	    (int)sizeof(path))
		return fail(-ENAMETOOLONG, "namespace '%.32s...': the name is too long", netns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return fail(-ENOENT,
			    "namespace '%s' does not exist; 'ip netns list' shows the names",
			    netns);
	if (fd < 0)
		return fail(-errno, "namespace '%s': %s: %m", netns, path);
	if (setns(fd, CLONE_NEWNET)) {
		err = -errno;
		if (err == -EINVAL)
			fail(err, "namespace '%s': %s is not a network namespace", netns, path);
		else
			fail(err, "namespace '%s': setns: %s; run weir as root", netns,
			     strerror(-err));
	}
	close(fd);
	return err;
}
