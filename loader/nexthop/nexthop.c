// SPDX-License-Identifier: GPL-2.0
#include "nexthop.h"

#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "loader/base/error.h"
#include "loader/host/netdev.h"
#include "loader/host/netlink.h"

/* Marks weir's entries in the neighbour table: `ip neigh show proto 119`. */
#define PROTOCOL_WEIR 119

#define POLL_MS	 2
#define NO_STATE 0 /* NUD_NONE */

#define HAS_ETHERNET_ADDRESS \
	(NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)

static int family_of(const struct address *a)
{
	return a->family == 6 ? AF_INET6 : AF_INET;
}

static size_t length_of(const struct address *a)
{
	return a->family == 6 ? 16 : 4;
}

static void take_address(struct address *a, int family, const void *bytes, size_t length)
{
	*a = (struct address){.family = family == AF_INET6 ? 6 : 4};
	a->bits = 8 * length_of(a);
	if (length >= length_of(a))
		memcpy(a->byte, bytes, length_of(a));
	else
		a->family = 0;
}

/* ---- route ---- */

struct route {
	unsigned int type; /* RTN_* */
	__u32 ifindex;
	__u32 mtu;	/* 0: the device's */
	bool tunnelled; /* by the route itself (lwtunnel) */
	struct address gateway, source;
};

static void read_metrics(const struct nlattr *metrics, struct route *r)
{
	struct nlattr *attr;

	mnl_attr_for_each_nested (attr, metrics)
		if (mnl_attr_get_type(attr) == RTAX_MTU)
			r->mtu = mnl_attr_get_u32(attr);
}

/* An IPv4 route whose gateway is IPv6. */
static void read_via(const struct nlattr *attr, struct route *r)
{
	const struct rtvia *via = mnl_attr_get_payload(attr);
	size_t length = mnl_attr_get_payload_len(attr);

	if (length > sizeof(*via))
		take_address(&r->gateway, via->rtvia_family, via->rtvia_addr,
			     length - sizeof(*via));
}

static int on_route(const struct nlmsghdr *message, void *data)
{
	const struct rtmsg *info = mnl_nlmsg_get_payload(message);
	struct route *r = data;
	struct nlattr *attr;

	if (message->nlmsg_type != RTM_NEWROUTE)
		return MNL_CB_OK;
	r->type = info->rtm_type;
	mnl_attr_for_each (attr, message, sizeof(*info)) {
		const void *bytes = mnl_attr_get_payload(attr);
		size_t length = mnl_attr_get_payload_len(attr);

		switch (mnl_attr_get_type(attr)) {
		case RTA_OIF: r->ifindex = mnl_attr_get_u32(attr); break;
		case RTA_GATEWAY: take_address(&r->gateway, info->rtm_family, bytes, length); break;
		case RTA_PREFSRC: take_address(&r->source, info->rtm_family, bytes, length); break;
		case RTA_VIA: read_via(attr, r); break;
		case RTA_METRICS: read_metrics(attr, r); break;
		case RTA_ENCAP: r->tunnelled = true; break;
		}
	}
	return MNL_CB_OK;
}

/* The kernel chooses among several paths. Without a route the type is RTN_UNREACHABLE. */
static int find_route(const struct address *to, struct route *r)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct rtmsg *info;
	int err;

	memset(r, 0, sizeof(*r));
	request->nlmsg_type = RTM_GETROUTE;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	info->rtm_family = family_of(to);
	info->rtm_dst_len = 8 * length_of(to);
	mnl_attr_put(request, RTA_DST, length_of(to), to->byte);
	err = netlink_ask(NETLINK_ROUTE, request, on_route, r);
	switch (err) {
	case -ENETUNREACH:
	case -EHOSTUNREACH:
	case -EACCES: /* prohibit */
	case -EINVAL: /* blackhole */ r->type = RTN_UNREACHABLE; return 0;
	}
	return err;
}

bool address_is_local(const struct address *address)
{
	struct route r;

	return !find_route(address, &r) && (r.type == RTN_LOCAL || r.type == RTN_ANYCAST);
}

/* ---- neighbour ---- */

struct neighbour {
	__u16 state; /* NUD_*; NO_STATE: the kernel has no entry */
	__u8 flags;  /* NTF_* */
	__u8 protocol;
	__u32 flags_ext; /* NTF_EXT_* */
	bool has_mac;
	__u8 mac[6];
};

static int on_neighbour(const struct nlmsghdr *message, void *data)
{
	const struct ndmsg *info = mnl_nlmsg_get_payload(message);
	struct neighbour *n = data;
	struct nlattr *attr;

	if (message->nlmsg_type != RTM_NEWNEIGH)
		return MNL_CB_OK;
	n->state = info->ndm_state;
	n->flags = info->ndm_flags;
	mnl_attr_for_each (attr, message, sizeof(*info)) {
		switch (mnl_attr_get_type(attr)) {
		case NDA_LLADDR:
			n->has_mac = n->state & HAS_ETHERNET_ADDRESS &&
				     mnl_attr_get_payload_len(attr) == sizeof(n->mac);
			if (n->has_mac)
				memcpy(n->mac, mnl_attr_get_payload(attr), sizeof(n->mac));
			break;
		case NDA_PROTOCOL: n->protocol = mnl_attr_get_u8(attr); break;
		case NDA_FLAGS_EXT: n->flags_ext = mnl_attr_get_u32(attr); break;
		}
	}
	return MNL_CB_OK;
}

static struct nlmsghdr *neighbour_request(void *buffer, __u16 type, __u16 flags,
					  const struct next_hop *hop, __u8 neighbour_flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ndmsg *info;

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	info->ndm_family = family_of(&hop->gateway);
	info->ndm_ifindex = hop->ifindex;
	info->ndm_flags = neighbour_flags;
	info->ndm_state = NO_STATE;
	mnl_attr_put(request, NDA_DST, length_of(&hop->gateway), hop->gateway.byte);
	return request;
}

static int get_neighbour(const struct next_hop *hop, struct neighbour *n)
{
	char buffer[256];
	int err;

	memset(n, 0, sizeof(*n));
	err = netlink_ask(NETLINK_ROUTE, neighbour_request(buffer, RTM_GETNEIGH, 0, hop, 0),
			  on_neighbour, n);
	return err == -ENOENT ? 0 : err;
}

/* NTF_USE has the kernel resolve the entry as if it had a packet for it. What the request does not
 * repeat of these two flags the kernel takes off the entry, and permanence it takes off always. */
static int use_neighbour(const struct next_hop *hop, const struct neighbour *now, __u32 flags_ext,
			 __u8 protocol)
{
	char buffer[256];
	struct nlmsghdr *request = neighbour_request(buffer, RTM_NEWNEIGH, NLM_F_CREATE, hop,
						     NTF_USE | (now->flags & NTF_EXT_LEARNED));

	if (flags_ext)
		mnl_attr_put_u32(request, NDA_FLAGS_EXT, flags_ext);
	if (protocol)
		mnl_attr_put_u8(request, NDA_PROTOCOL, protocol);
	return netlink_ask(NETLINK_ROUTE, request, NULL, NULL);
}

static void sleep_ms(unsigned int ms)
{
	struct timespec t = {.tv_nsec = ms * 1000000l};

	nanosleep(&t, NULL);
}

/* The kernel's own failure to resolve it is no error. */
static int resolve(const struct next_hop *hop, unsigned int wait_ms, struct neighbour *n)
{
	int err = get_neighbour(hop, n);

	if (err || n->has_mac || n->state & (NUD_PERMANENT | NUD_NOARP))
		return err;
	if (!(n->state & NUD_INCOMPLETE))
		err = use_neighbour(hop, n, n->flags_ext & NTF_EXT_MANAGED, 0);
	for (unsigned int waited = 0; !err && waited < wait_ms; waited += POLL_MS) {
		sleep_ms(POLL_MS);
		err = get_neighbour(hop, n);
		if (err || n->has_mac || n->state == NUD_FAILED)
			break;
	}
	return err;
}

/* Nobody but the kernel and weir has a say in it. */
static bool is_ordinary(const struct neighbour *n)
{
	return !(n->state & (NUD_PERMANENT | NUD_NOARP)) && !(n->flags & NTF_EXT_LEARNED) &&
	       (n->protocol == RTPROT_UNSPEC || n->protocol == RTPROT_KERNEL ||
		n->protocol == PROTOCOL_WEIR);
}

int next_hop_keep(const struct next_hop *hop)
{
	struct neighbour n;
	int err;

	if (hop->local || !hop->ifindex)
		return 0;
	err = get_neighbour(hop, &n);
	if (err || !is_ordinary(&n) || n.flags_ext & NTF_EXT_MANAGED)
		return err;
	return use_neighbour(hop, &n, NTF_EXT_MANAGED, PROTOCOL_WEIR);
}

int next_hop_release(const struct next_hop *hop)
{
	struct neighbour n;
	int err;

	if (hop->local || !hop->ifindex)
		return 0;
	err = get_neighbour(hop, &n);
	if (err || n.protocol != PROTOCOL_WEIR || !is_ordinary(&n))
		return err == -ENODEV ? 0 : err;
	return use_neighbour(hop, &n, 0, RTPROT_KERNEL);
}

/* ---- the way ---- */

static const char *text_of(const struct address *a)
{
	static char text[ADDRESS_TEXT];

	address_format(a, text);
	return text;
}

static int check_device(const struct address *to, const struct route *r, const struct netdev *dev)
{
	if (dev->type == ARPHRD_LOOPBACK)
		return fail(-EINVAL,
			    "%s: its route leads to %s, where frames come back to this host; "
			    "'ip route get %s' shows it",
			    text_of(to), dev->name, text_of(to));
	if (!dev->ethernet)
		return fail(
			-EOPNOTSUPP,
			"%s: its route leads to %s, which has no Ethernet header; weir sends by "
			"Ethernet devices only",
			text_of(to), dev->name);
	if (r->tunnelled)
		return fail(-EOPNOTSUPP,
			    "%s: its route by %s encapsulates packets itself, which weir cannot do "
			    "for it; use a plain route",
			    text_of(to), dev->name);
	return 0;
}

/* Before Linux 6.3 the kernel does not tell. NICs do while a program is attached to their
 * driver; TC is right always. */
static bool takes_xdp(const struct netdev *dev)
{
	if (dev->xdp_known)
		return dev->xdp_target;
	return !*dev->kind && dev->xdp_mode == XDP_ATTACHED_DRV;
}

static bool in_one_go;
static struct netdev last_device;

void next_hops_in_one_go(bool on)
{
	in_one_go = on;
	last_device.ifindex = 0;
}

static int look_at_device(__u32 ifindex, struct netdev *dev)
{
	int err = 0;

	if (in_one_go && last_device.ifindex == ifindex) {
		*dev = last_device;
		return 0;
	}
	err = netdev_by_index(ifindex, dev);
	if (!err)
		last_device = *dev;
	return err;
}

static int leave_by_device(const struct address *to, unsigned int wait_ms, const struct route *r,
			   struct next_hop *hop)
{
	struct neighbour n;
	struct netdev dev;
	int err;

	err = look_at_device(r->ifindex, &dev);
	if (!err)
		err = check_device(to, r, &dev);
	if (err)
		return err;
	hop->ifindex = r->ifindex;
	hop->mtu = r->mtu && r->mtu < dev.mtu ? r->mtu : dev.mtu;
	hop->via_tc = !takes_xdp(&dev);
	hop->gateway = r->gateway.family ? r->gateway : *to;
	memcpy(hop->source_mac, dev.mac, sizeof(hop->source_mac));
	snprintf(hop->device, sizeof(hop->device), "%s", dev.name);
	err = resolve(hop, wait_ms, &n);
	if (err)
		return fail(err, "neighbour %s on %s: rtnetlink: %s", text_of(&hop->gateway),
			    dev.name, strerror(-err));
	hop->reachable = n.has_mac;
	memcpy(hop->dest_mac, n.mac, sizeof(hop->dest_mac));
	return 0;
}

int next_hop_find(const struct address *to, unsigned int wait_ms, struct next_hop *hop)
{
	struct route r;
	int err;

	memset(hop, 0, sizeof(*hop));
	err = find_route(to, &r);
	if (err)
		return fail(err, "%s: route: rtnetlink: %s", text_of(to), strerror(-err));
	switch (r.type) {
	case RTN_UNICAST: break;
	case RTN_LOCAL:
	case RTN_ANYCAST:
		hop->local = true;
		hop->source = *to;
		return 0;
	case RTN_BROADCAST:
	case RTN_MULTICAST:
		return fail(-EINVAL, "%s is a %s address; a backend is a single host", text_of(to),
			    r.type == RTN_BROADCAST ? "broadcast" : "multicast");
	default: return 0;
	}
	hop->source = r.source;
	return leave_by_device(to, wait_ms, &r, hop);
}
