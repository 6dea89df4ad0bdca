// SPDX-License-Identifier: GPL-2.0
#include "drop_reasons.h"

#include <stdio.h>
#include <string.h>

#include "loader/kernel/kernel_names.h"

#define SUBSYSTEM_SHIFT 16

/* The packet had done its work, or another like it had. */
static const char *const benign[] = {
	"QUEUE_PURGE",			     /* a socket was closed with it unread */
	"TCP_OLD_DATA",			     /* all of it had come before */
	"TCP_OLD_SEQUENCE",		     /* the same, and keepalive probes */
	"TCP_OLD_ACK",	     "TCP_OFOMERGE", /* it waits in the queue already */
	"TCP_RESET",			     /* a RST that was obeyed */
	"OTHERHOST",			     /* overheard: the device is in promiscuous mode */
	"PACKET_SOCK_ERROR",		     /* a capture had no room for its copy */
};

#define FULL_QUEUE                                                            \
	"the accept queue is full: accept() faster, or a larger backlog and " \
	"net.core.somaxconn; 'weir tcp queue' shows the depths"

static const struct {
	const char *name, *advice;
} advices[] = {
	{"NO_SOCKET",
	 "nobody listens there, or the connection is gone: the sender gets a RST; 'ss -ltn' "
	 "shows who listens where"},
	{"TCP_LISTEN_OVERFLOW", FULL_QUEUE},
	{"accept_queue_full", FULL_QUEUE},
	{"xdp", "an XDP program; if it is weir's, the same packets are in the rows 'xdp DEVICE'"},
	{"TCP_CSUM",
	 "damaged on the way, or an offload is broken: 'ethtool -k' and the NIC's error "
	 "counters"},
	{"IP_CSUM", "damaged on the way: the NIC's error counters"},
	{"NETFILTER_DROP",
	 "a firewall rule: 'nft list ruleset' with counters, or 'nft monitor trace'"},
	{"SOCKET_FILTER", "a BPF filter on the socket, or of its cgroup: 'bpftool cgroup tree'"},
	{"BPF_CGROUP_EGRESS", "a BPF program of the cgroup: 'bpftool cgroup tree'"},
	{"SOCKET_RCVBUFF", "the receive buffer is full: net.ipv4.tcp_rmem, or a slow reader"},
	{"SOCKET_BACKLOG", "the socket's owner held it too long while packets came: a slow reader, "
			   "net.ipv4.tcp_rmem"},
	{"PROTO_MEM", "TCP has used up its memory: net.ipv4.tcp_mem, 'ss -s'"},
	{"CPU_BACKLOG", "one CPU gets more than it can do: RPS, net.core.netdev_max_backlog"},
	{"TCP_INVALID_SEQUENCE",
	 "outside of the window: an old connection's packet, or a middle box that "
	 "rewrites"},
	{"TCP_RFC7323_PAWS", "its timestamp is too old: several hosts behind one NAT address?"},
	{"TCP_RFC7323_TW_PAWS",
	 "its timestamp is older than the connection that was there before: several "
	 "hosts behind one NAT address?"},
	{"TCP_ZEROWINDOW", "more was sent than there was room for: a slow reader"},
	{"TCP_OVERWINDOW", "more was sent than there was room for: a slow reader"},
	{"TCP_OFO_QUEUE_PRUNE",
	 "out of memory for what comes in the wrong order: net.ipv4.tcp_rmem"},
	{"TCP_OFO_DROP", "out of memory for what comes in the wrong order: net.ipv4.tcp_rmem"},
	{"TCP_ABORT_ON_DATA", "data came after close(): the connection was reset"},
	{"TCP_CLOSE", "the socket was closed already"},
	{"SOCKET_CLOSE", "the socket was closed already"},
	{"TCP_FLAGS", "flags that make no sense in this state"},
	{"IP_RPFILTER", "the way back leads elsewhere: net.ipv4.conf.*.rp_filter"},
	{"IP_OUTNOROUTES", "no route: 'ip route get ADDRESS'"},
	{"IP_INNOROUTES",
	 "no route, or forwarding is off: 'ip route get ADDRESS from ADDRESS iif DEV'"},
	{"NEIGH_FAILED", "the next hop does not answer: 'ip neigh'"},
	{"NEIGH_QUEUEFULL", "too many wait for the next hop's address: 'ip neigh'"},
	{"QDISC_DROP", "the queue of the device is full: 'tc -s qdisc'"},
	{"QDISC_OVERLIMIT", "the queue of the device is full: 'tc -s qdisc'"},
	{"QDISC_CONGESTED", "the queue of the device is congested: 'tc -s qdisc'"},
	{"FULL_RING", "the device's ring is full: the reader behind it is too slow"},
	{"TC_INGRESS", "a filter of tc: 'tc -s filter show dev DEV ingress'"},
	{"TC_EGRESS", "a filter of tc: 'tc -s filter show dev DEV egress'"},
	{"XDP", "an XDP program; if it is weir's, the same packets are in the rows 'xdp DEVICE'"},
	{"PKT_TOO_BIG", "larger than the MTU of the way: 'ip route get', 'tracepath'"},
	{"TCP_MD5NOTFOUND", "signatures of TCP do not match on both sides"},
	{"TCP_MD5FAILURE", "signatures of TCP do not match on both sides"},
	{"NOMEM", "out of memory"},
};

const char *drop_reason_name(__u32 reason, char text[DROP_REASON_TEXT])
{
	const char *name = kernel_enum_name("skb_drop_reason", "SKB_DROP_REASON_", reason);
	const char *subsystem = kernel_enum_name(
		"skb_drop_reason_subsys", "SKB_DROP_REASON_SUBSYS_", reason >> SUBSYSTEM_SHIFT);

	if (reason >> SUBSYSTEM_SHIFT && subsystem)
		snprintf(text, DROP_REASON_TEXT, "%s:%u", subsystem,
			 reason & ((1u << SUBSYSTEM_SHIFT) - 1));
	else if (name)
		snprintf(text, DROP_REASON_TEXT, "%s", name);
	else
		snprintf(text, DROP_REASON_TEXT, "reason %u", reason);
	return text;
}

const char *drop_reason_advice(const char *name)
{
	for (size_t i = 0; name && i < sizeof(advices) / sizeof(advices[0]); i++)
		if (!strcmp(advices[i].name, name))
			return advices[i].advice;
	return NULL;
}

__u32 drop_reason_value(const char *name)
{
	char enumerator[96];
	__s64 value;

	snprintf(enumerator, sizeof(enumerator), "SKB_DROP_REASON_%s", name);
	return kernel_enum_value(enumerator, &value) ? ~0u : (__u32)value;
}

void drop_reasons_benign(__u64 mask[4])
{
	for (size_t i = 0; i < sizeof(benign) / sizeof(benign[0]); i++) {
		__u32 reason = drop_reason_value(benign[i]);

		if (reason < 256)
			mask[reason / 64] |= 1ull << reason % 64;
	}
}
