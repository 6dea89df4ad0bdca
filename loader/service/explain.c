// SPDX-License-Identifier: GPL-2.0
#include "explain.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/attach/device.h"
#include "loader/program/xdp_copy.h"
#include "loader/base/error.h"
#include "loader/host/netdev.h"
#include "loader/rules/rules.h"

#define TTL	64
#define WINDOW	64240
#define PAYLOAD 16 /* bytes behind the transport header, so that nothing is padding */

/* ---- the packet ---- */

struct frame {
	__u8 byte[128];
	__u32 length;
};

static void *append(struct frame *f, const void *bytes, __u32 length)
{
	void *at = f->byte + f->length;

	if (bytes)
		memcpy(at, bytes, length);
	else
		memset(at, 0, length);
	f->length += length;
	return at;
}

static __u32 sum_of(const void *bytes, __u32 length, __u32 sum)
{
	const __u8 *byte = bytes;

	for (__u32 i = 0; i < length; i++)
		sum += i % 2 ? byte[i] : byte[i] << 8;
	return sum;
}

static __u16 finish(__u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static bool is_six(const struct explain_request *r)
{
	return r->destination.family == 6;
}

static __u8 protocol_of(const struct explain_request *r)
{
	return r->proto == IPPROTO_ICMP && is_six(r) ? IPPROTO_ICMPV6 : r->proto;
}

/* To the device's own Ethernet address, from a made-up neighbour. */
static int append_link(struct frame *f, const struct netdev *dev, bool six)
{
	struct ethhdr link = {
		.h_source = {2, 0, 0, 0, 0, 1},
		.h_proto = htons(six ? ETH_P_IPV6 : ETH_P_IP),
	};
	struct ifreq request = {};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = fd < 0 ? -errno : 0;

	memcpy(request.ifr_name, dev->name, sizeof(request.ifr_name));
	if (!err && ioctl(fd, SIOCGIFHWADDR, &request))
		err = -errno;
	if (fd >= 0)
		close(fd);
	if (err)
		return fail(err, "%s: cannot read its Ethernet address: %s", dev->name,
			    strerror(-err));
	memcpy(link.h_dest, request.ifr_hwaddr.sa_data, ETH_ALEN);
	append(f, &link, sizeof(link));
	return 0;
}

static void append_ip(struct frame *f, const struct explain_request *r, __u32 payload)
{
	if (is_six(r)) {
		struct ip6_hdr *ip = append(f, NULL, sizeof(*ip));

		ip->ip6_vfc = 6 << 4;
		ip->ip6_plen = htons(payload);
		ip->ip6_nxt = protocol_of(r);
		ip->ip6_hlim = TTL;
		memcpy(&ip->ip6_src, r->source.byte, 16);
		memcpy(&ip->ip6_dst, r->destination.byte, 16);
	} else {
		struct ip *ip = append(f, NULL, sizeof(*ip));

		ip->ip_v = 4;
		ip->ip_hl = 5;
		ip->ip_len = htons(sizeof(*ip) + payload);
		ip->ip_off = htons(IP_DF);
		ip->ip_ttl = TTL;
		ip->ip_p = protocol_of(r);
		memcpy(&ip->ip_src, r->source.byte, 4);
		memcpy(&ip->ip_dst, r->destination.byte, 4);
		ip->ip_sum = finish(sum_of(ip, sizeof(*ip), 0));
	}
}

static void fill_tcp(struct tcphdr *tcp, const struct explain_request *r)
{
	tcp->th_sport = htons(r->sport);
	tcp->th_dport = htons(r->dport);
	tcp->th_off = 5;
	tcp->th_flags = r->syn ? TH_SYN : TH_ACK;
	tcp->th_win = htons(WINDOW);
}

/* Returns where its checksum goes. */
static void *append_transport(struct frame *f, const struct explain_request *r)
{
	if (r->proto == IPPROTO_TCP) {
		struct tcphdr *tcp = append(f, NULL, sizeof(*tcp));

		fill_tcp(tcp, r);
		return &tcp->th_sum;
	}
	if (r->proto == IPPROTO_UDP) {
		struct udphdr *udp = append(f, NULL, sizeof(*udp));

		udp->uh_sport = htons(r->sport);
		udp->uh_dport = htons(r->dport);
		udp->uh_ulen = htons(sizeof(*udp) + PAYLOAD);
		return &udp->uh_sum;
	}
	if (is_six(r)) {
		struct icmp6_hdr *echo = append(f, NULL, sizeof(*echo));

		echo->icmp6_type = ICMP6_ECHO_REQUEST;
		return &echo->icmp6_cksum;
	}
	struct icmphdr *echo = append(f, NULL, sizeof(*echo));

	echo->type = ICMP_ECHO;
	return &echo->checksum;
}

static __u32 transport_size(const struct explain_request *r)
{
	return r->proto == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
}

/* ICMP of IPv4 alone has no pseudo header. */
static __u32 pseudo_sum(const struct explain_request *r, __u32 length)
{
	__u32 bytes = is_six(r) ? 16 : 4;

	if (protocol_of(r) == IPPROTO_ICMP)
		return 0;
	return sum_of(r->source.byte, bytes, sum_of(r->destination.byte, bytes, 0)) +
	       protocol_of(r) + length;
}

static int build(struct frame *f, const struct explain_request *r, const struct netdev *dev)
{
	__u32 length = transport_size(r) + PAYLOAD;
	__u16 *check;
	int err = dev->ethernet ? append_link(f, dev, is_six(r)) : 0;

	if (err)
		return err;
	append_ip(f, r, length);
	check = append_transport(f, r);
	append(f, NULL, PAYLOAD);
	*check = finish(sum_of(f->byte + f->length - length, length, pseudo_sum(r, length)));
	return 0;
}

/* ---- the program ---- */

static int find_device(const struct instance *in, const struct explain_request *r,
		       struct device *device)
{
	struct device *list;
	size_t count, chosen;
	int err = devices_open(in, &list, &count);

	if (err)
		return err;
	for (chosen = 0; chosen < count; chosen++)
		if (!*r->device || !strcmp(list[chosen].name, r->device))
			break;
	if (chosen == count)
		err = *r->device ? fail(-ENODEV, "%s is not attached; 'weir status' shows what is",
					r->device)
				 : fail(-ENODEV, "nothing is attached; 'weir attach DEV' first");
	else if (!*r->device && count > 1)
		err = misuse("several devices are attached: name one with 'dev DEV'");
	else if (list[chosen].attachment.xdp_way == WAY_NONE)
		err = fail(-ENODEV, "%s: XDP is not attached", list[chosen].name);
	else
		*device = list[chosen];
	devices_free(list, count);
	return err;
}

static int run(const struct xdp_copy *copy, const struct netdev *dev, const struct frame *frame,
	       struct explain_answer *answer)
{
	struct xdp_md context = {.data_end = frame->length, .ingress_ifindex = dev->ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame->byte, .data_size_in = frame->length,
		    .data_out = answer->frame, .data_size_out = sizeof(answer->frame),
		    .ctx_in = &context, .ctx_size_in = sizeof(context), .ctx_out = &context,
		    .ctx_size_out = sizeof(context), .repeat = 1);
	__u32 key = 0;
	int err = bpf_prog_test_run_opts(copy->program, &opts);

	if (err)
		return fail(err, "the kernel does not run the program on a packet: %s",
			    strerror(-err));
	answer->code = opts.retval;
	/* What comes back begins with the mark for TC, if there is one. */
	answer->length = opts.data_size_out - context.data;
	memmove(answer->frame, answer->frame + context.data, answer->length);
	return bpf_map_lookup_elem(copy->explanation, &key, &answer->told)
		       ? fail(-errno, "cannot read the explanation: %m")
		       : 0;
}

static int find_rule(const struct instance *in, struct explain_answer *answer)
{
	struct rule_set set;
	int err = answer->told.rule ? rules_get(in, &set) : -ENOENT;

	if (err)
		return err == -ENOENT ? 0 : err;
	for (size_t i = 0; i < set.count; i++)
		if (set.rules[i].slot + 1 == answer->told.rule)
			answer->rule = set.rules[i].id;
	rule_set_free(&set);
	return 0;
}

static int check(const struct explain_request *r)
{
	if (r->source.family != r->destination.family)
		return misuse("source and destination are of different families");
	return 0;
}

int explain_packet(const struct instance *in, const struct explain_request *request,
		   struct explain_answer *answer)
{
	struct frame frame = {};
	struct xdp_copy copy;
	struct device device;
	struct netdev dev;
	int err = check(request);

	*answer = (struct explain_answer){};
	if (!err)
		err = find_device(in, request, &device);
	if (!err)
		err = netdev_by_index(device.attachment.ifindex, &dev);
	if (!err)
		err = build(&frame, request, &dev);
	if (err)
		return err;
	memcpy(answer->device, dev.name, sizeof(answer->device));
	err = xdp_copy_load(in, &dev, &device.attachment, &copy);
	if (err)
		return err;
	err = run(&copy, &dev, &frame, answer);
	xdp_copy_close(&copy);
	if (!err)
		err = find_rule(in, answer);
	if (!err && answer->told.egress && !if_indextoname(answer->told.egress, answer->egress))
		answer->egress[0] = 0;
	return err;
}
