// SPDX-License-Identifier: GPL-2.0
#include "findings.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "loader/attach/veth/offload.h"
#include "loader/program/xdp_link.h"
#include "loader/nexthop/nexthop.h"
#include "loader/base/error.h"

#define WAIT_MS	   500
#define TCP_HEADER 20

struct looking {
	struct doctor *d;
	const struct balance *b;
	__u32 mtu;	   /* the largest of attached devices: what clients may send */
	unsigned int wait; /* what is left of the patience for neighbours */
};

/* ---- devices that serve ---- */

static bool has_backends(const struct balance *b, __u8 family)
{
	for (size_t i = 0; i < b->backend_count; i++)
		if (b->backends[i].address.family == family)
			return true;
	return false;
}

/* XDP asks the kernel's tables for a way only where forwarding is on. */
static void check_forwarding(const struct looking *l, const char *device, __u8 family)
{
	const char *ip = family == 6 ? "ipv6" : "ipv4";
	char path[64];

	if (!has_backends(l->b, family))
		return;
	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%%s/forwarding", ip);
	if (read_sysctl(path, device) != 0) {
		report(l->d, "next-hops", OK, "%s forwarding is on", ip);
		return;
	}
	report(l->d, "next-hops", WARN,
	       "%s forwarding is off: new Ethernet addresses of backends are noticed by 'weir run' "
	       "and by changing commands, not by packets",
	       ip);
	advise(l->d, "%ssysctl -w net/%s/conf/%s/forwarding=1%s", inside(l->d), ip, device,
	       family == 6 ? " (and accept_ra=2 if it learns routes from advertisements)" : "");
}

static void check_way_out(const struct looking *l, const struct netdev *dev,
			  const struct attachment *a)
{
	const char *why = xdp_redirects_by_tc(dev, a->mode) ? xdp_may_need_tc(dev, a->mode)
							    : xdp_serves_by_tc(dev, a->mode);

	if (!why) {
		report(l->d, "transmit", OK, "by the driver");
		return;
	}
	report(l->d, "transmit", a->tc_way == WAY_NONE ? FAIL : WARN, "%s: %s", why,
	       a->tc_way == WAY_NONE
		       ? "TC would have to transmit, which is not attached: packets are not balanced"
		       : "TC transmits, which is slower");
	if (a->tc_way == WAY_NONE)
		advise(l->d, "%s detach %s && %s attach %s", weir(l->d), dev->name, weir(l->d),
		       dev->name);
	else if (a->mode != MODE_GENERIC)
		advise_frames(l->d, dev);
}

static bool has_tunnels(const struct balance *b)
{
	for (size_t i = 0; i < b->service_count; i++)
		if (b->services[i].mode == WEIR_DSR_IPIP)
			return true;
	return false;
}

/* Generic XDP sees packets that are merged, or not yet segmented: tunnels do not take them. */
static void check_large(const struct looking *l, const struct netdev *dev, enum attach_mode mode)
{
	int large;

	if (mode != MODE_GENERIC || !has_tunnels(l->b))
		return;
	large = offload_large(dev);
	if (!large && !offload_large_elsewhere(dev)) {
		report(l->d, "large-packets", OK, "none: GRO is off%s",
		       dev->peer ? ", and the far end segments what it sends" : "");
		return;
	}
	report(l->d, "large-packets", WARN,
	       "XDP is in generic mode and packets may come in larger than the MTU: no tunnel takes "
	       "them, TCP stalls");
	if (large <= 0)
		advise(l->d, "ethtool -K DEV gro off tso off where they come from");
	else if (offload_large_far(large))
		advise_far_end(l->d, dev, "-K", "tso off tx-udp-segmentation off");
	else
		advise(l->d, "%sethtool -K %s gro off lro off", inside(l->d), dev->name);
}

static void check_attached(struct looking *l, const struct device *devices, size_t count)
{
	size_t serving = 0;

	for (size_t i = 0; i < count; i++) {
		const struct attachment *a = &devices[i].attachment;
		struct netdev dev;

		if (!devices[i].present || a->xdp_way == WAY_NONE || !a->ethernet)
			continue;
		if (netdev_by_index(a->ifindex, &dev)) {
			forget_failure();
			continue;
		}
		serving++;
		l->mtu = dev.mtu > l->mtu ? dev.mtu : l->mtu;
		l->d->subject = dev.name;
		check_way_out(l, &dev, a);
		check_large(l, &dev, a->mode);
		check_forwarding(l, dev.name, 4);
		check_forwarding(l, dev.name, 6);
	}
	if (serving)
		return;
	l->d->subject = "services";
	report(l->d, "devices", FAIL, "no device is attached with XDP: nothing serves them");
	advise(l->d, "%s attach DEV", weir(l->d));
}

/* ---- services ---- */

/* Nobody sends packets for an address that no host answers for. */
static void check_address(struct looking *l, const struct service *s)
{
	char vip[ADDRESS_TEXT];
	struct next_hop hop;

	address_format(&s->address, vip);
	if (next_hop_find(&s->address, l->wait, &hop)) {
		forget_failure();
		return;
	}
	if (hop.local) {
		report(l->d, "address", OK,
		       "%s is this host's too: what is for no service stays here, and so do "
		       "connections made here",
		       vip);
	} else if (!hop.ifindex || !address_equal(&hop.gateway, &s->address)) {
		report(l->d, "address", OK, "%s is not on a link of this host: routers bring it",
		       vip);
	} else if (hop.reachable) {
		report(l->d, "address", WARN,
		       "another host (%02x:%02x:%02x:%02x:%02x:%02x) answers for %s on %s",
		       hop.dest_mac[0], hop.dest_mac[1], hop.dest_mac[2], hop.dest_mac[3],
		       hop.dest_mac[4], hop.dest_mac[5], vip, hop.device);
		advise(l->d,
		       "%sip neigh show %s; backends of dsr-l2 need arp_ignore=1 and the "
		       "address on lo",
		       inside(l->d), vip);
	} else {
		l->wait = 0;
		report(l->d, "address", WARN,
		       "%s is on the link of %s and no host answers for it: clients there do not "
		       "find it",
		       vip, hop.device);
		advise(l->d, "%sip address add %s/%d dev %s%s", inside(l->d), vip,
		       s->address.family == 6 ? 128 : 32, hop.device,
		       s->address.family == 6 ? " nodad" : "");
	}
}

static void check_backends_up(struct looking *l, const struct service *s)
{
	struct backend *backends;
	size_t count = balance_backends(l->b, s->index, &backends), up = 0;

	for (size_t i = 0; i < count; i++)
		up += backends[i].state == BACKEND_UP;
	if (up) {
		report(l->d, "backends", OK, "%zu up", up);
		return;
	}
	report(l->d, "backends", FAIL, "%s: new connections are dropped",
	       count ? "none is up" : "there are none");
	advise(l->d, "%s backend %s", weir(l->d), count ? "set ... state up" : "add ...");
}

/* ---- backends ---- */

static __u32 header(__u8 family)
{
	return family == 6 ? 40 : 20;
}

/* What does not fit is answered with "too big", which some networks lose, and which IPv4 has
 * only for packets with DF. The service's `mss` is no help: backends answer past the balancer. */
static void check_room(const struct looking *l, const struct service *s, const struct backend *b,
		       const struct next_hop *hop)
{
	__u32 outer = header(b->address.family), need = l->mtu + outer;
	__u32 mss = hop->mtu - outer - header(s->address.family) - TCP_HEADER;

	if (hop->mtu >= need) {
		report(l->d, "mtu", OK, "%u by %s", hop->mtu, hop->device);
		return;
	}
	report(l->d, "mtu", WARN,
	       "%u by %s: with %u bytes of outer header only packets up to %u fit, clients may send "
	       "%u%s",
	       hop->mtu, hop->device, outer, hop->mtu - outer, l->mtu,
	       s->address.family == 4 ? "; fragments and other packets without DF are lost untold"
				      : "");
	if (s->proto == IPPROTO_TCP)
		advise(l->d,
		       "an MTU of %u all the way, or on the backend: ip route change ... advmss %u",
		       need, mss);
	else
		advise(l->d, "an MTU of %u all the way; %sip link set dev %s mtu %u", need,
		       inside(l->d), hop->device, need);
}

static void check_egress(const struct looking *l, const struct next_hop *hop)
{
	struct netdev dev;

	if (!hop->via_tc) {
		report(l->d, "egress", OK, "%s, which takes XDP frames", hop->device);
		return;
	}
	if (netdev_by_index(hop->ifindex, &dev)) {
		forget_failure();
		return;
	}
	if (!dev.xdp_known) {
		report(l->d, "egress", OK,
		       "%s: this kernel does not tell whether it takes XDP frames, TC transmits",
		       hop->device);
		return;
	}
	report(l->d, "egress", WARN,
	       "%s takes no XDP frames, for %s: TC transmits, which is slower", hop->device,
	       why_no_frames(l->d, &dev));
	advise_frames(l->d, &dev);
}

/* Where the kernel takes a service's address for this host's own. */
static void check_source(const struct looking *l, const struct service *s,
			 const struct next_hop *hop)
{
	char source[ADDRESS_TEXT], name[SERVICE_NAME];
	bool taken = false;

	for (size_t i = 0; i < l->b->service_count; i++)
		taken |= address_equal(&l->b->services[i].address, &hop->source);
	if (s->mode != WEIR_NAT || s->source.family == hop->source.family || !taken)
		return;
	address_format(&hop->source, source);
	service_format_name(s, name);
	report(l->d, "source", WARN,
	       "packets come to it from %s, a service's address: if it has that too, as for dsr, it "
	       "drops them",
	       source);
	advise(l->d, "%s service set %s source ADDR, before it has backends", weir(l->d), name);
}

static void check_found(struct looking *l, const struct service *s, const struct backend *b,
			const struct next_hop *hop)
{
	char gateway[ADDRESS_TEXT];

	address_format(&hop->gateway, gateway);
	if (hop->reachable) {
		report(l->d, "neighbour", OK, "%s on %s", gateway, hop->device);
	} else {
		l->wait = 0;
		report(l->d, "neighbour", FAIL, "%s does not answer on %s: nothing gets there",
		       gateway, hop->device);
		advise(l->d, "%sip neigh show %s dev %s", inside(l->d), gateway, hop->device);
	}
	if (s->mode == WEIR_DSR_L2 && !address_equal(&hop->gateway, &b->address)) {
		report(l->d, "link", FAIL,
		       "it is behind the router %s, which would bring packets for the service's "
		       "address back: dsr-l2 needs backends on the same link",
		       gateway);
		advise(l->d, "mode dsr-ipip for this service");
	}
	if (s->mode == WEIR_DSR_IPIP)
		check_room(l, s, b, hop);
	check_source(l, s, hop);
	check_egress(l, hop);
}

static void check_backend(struct looking *l, const struct service *s, const struct backend *b)
{
	char to[ADDRESS_TEXT];
	struct next_hop hop;

	if (b->state == BACKEND_DEAD)
		return;
	address_format(&b->address, to);
	if (next_hop_find(&b->address, l->wait, &hop)) {
		report(l->d, "route", FAIL, "%s", failure());
		forget_failure();
	} else if (hop.local) {
		report(l->d, "route", OK, "it is this host");
	} else if (!hop.ifindex) {
		report(l->d, "route", FAIL, "this host has no route to it: nothing gets there");
		advise(l->d, "%sip route get %s", inside(l->d), to);
	} else {
		check_found(l, s, b, &hop);
	}
}

/* All are asked for before any is waited for. */
static void ask_for_all(const struct balance *b)
{
	struct next_hop hop;

	for (size_t i = 0; i < b->backend_count; i++)
		next_hop_find(&b->backends[i].address, 0, &hop);
	for (size_t i = 0; i < b->service_count; i++)
		next_hop_find(&b->services[i].address, 0, &hop);
	forget_failure();
}

void doctor_services(struct doctor *d, const struct balance *b, const struct device *devices,
		     size_t count)
{
	struct looking l = {.d = d, .b = b, .wait = WAIT_MS};

	if (!b->service_count)
		return;
	check_attached(&l, devices, count);
	ask_for_all(b);
	for (size_t i = 0; i < b->service_count; i++) {
		const struct service *s = &b->services[i];
		char name[SERVICE_NAME], subject[SERVICE_NAME + BACKEND_NAME + 4];
		struct backend *backends;
		size_t n = balance_backends(b, s->index, &backends);

		service_format_name(s, name);
		d->subject = name;
		check_address(&l, s);
		check_backends_up(&l, s);
		for (size_t j = 0; j < n; j++) {
			char backend[BACKEND_NAME];

			backend_format_name(&backends[j], backend);
			snprintf(subject, sizeof(subject), "%s of %s", backend, name);
			d->subject = subject;
			check_backend(&l, s, &backends[j]);
		}
	}
}
