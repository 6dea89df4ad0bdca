// SPDX-License-Identifier: GPL-2.0
#include "records.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"

#define FRESH_TICKS 8 /* as in xdp/balance/nexthop.h */

int records_open(const struct balance_maps *maps, struct records *records)
{
	int err = clock_jiffies(&records->jiffies);

	if (err)
		return err;
	records->egress_devs = maps->egress_devs;
	records->record = balance_map_memory(maps->backends, &records->bytes);
	return records->record ? 0 : -ENOMEM;
}

void records_close(struct records *records)
{
	balance_unmap(records->record, records->bytes);
	records->record = NULL;
}

static void set_address(__be32 *to, const struct address *from)
{
	memset(to, 0, 16);
	memcpy(to, from->byte, from->family == 4 ? 4 : 16);
}

/* What this host is to be towards the backend. */
static void set_source(struct weir_backend *r, const struct service *service,
		       const struct backend *backend, const struct next_hop *hop)
{
	const struct address *chosen = &service->source;

	if (chosen->family != backend->address.family)
		chosen = &hop->source;
	set_address(r->source, chosen);
	r->source_bits = 0;
	if (chosen != &service->source || service->mode != WEIR_DSR_IPIP)
		return;
	r->source_bits = (chosen->family == 4 ? 32 : 128) - chosen->bits;
	if (r->source_bits > 16)
		r->source_bits = 16;
}

/* Two aligned stores, as the program may be reading: the first has all of dest_mac. */
static void set_way(struct weir_backend *r, const struct next_hop *hop)
{
	union {
		struct {
			__u8 dest[6];
			__u8 source[6];
			__u32 ifindex;
		};
		__u64 word[2];
	} way = {.ifindex = hop->ifindex};
	__u64 *to = (__u64 *)r;

	memcpy(way.dest, hop->dest_mac, 6);
	memcpy(way.source, hop->source_mac, 6);
	__atomic_store_n(&to[0], way.word[0], __ATOMIC_RELEASE);
	__atomic_store_n(&to[1], way.word[1], __ATOMIC_RELEASE);
}

static void set_flag(struct weir_backend *r, __u8 flag, bool on)
{
	if (on)
		__atomic_fetch_or(&r->flags, flag, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(&r->flags, (__u8)~flag, __ATOMIC_SEQ_CST);
}

/* A device that takes XDP frames must be in the map of those. */
static void allow_egress(const struct records *records, const struct next_hop *hop)
{
	__u32 ifindex = hop->ifindex;

	if (ifindex && !hop->via_tc &&
	    bpf_map_update_elem(records->egress_devs, &ifindex, &ifindex, BPF_ANY))
		notice("cannot prepare %s for XDP frames: %s", hop->device, strerror(errno));
}

static void describe_way(const struct records *records, struct weir_backend *r,
			 const struct next_hop *hop)
{
	allow_egress(records, hop);
	if (hop->reachable) {
		set_way(r, hop);
		__atomic_store_n(&r->fresh_until,
				 (__u32)records->jiffies + (FRESH_TICKS << clock_tick_shift()),
				 __ATOMIC_RELEASE);
	}
	if (hop->ifindex)
		__atomic_store_n(&r->mtu, hop->mtu > 65535 ? 65535 : hop->mtu, __ATOMIC_RELAXED);
	set_flag(r, WEIR_B_VIA_TC, hop->via_tc);
	set_flag(r, WEIR_B_LOCAL, hop->local);
	if (hop->reachable)
		set_flag(r, WEIR_B_REACHABLE, true);
	else if (hop->local || !hop->ifindex)
		set_flag(r, WEIR_B_REACHABLE, false);
}

static void say_unreachable(const struct backend *backend, const struct next_hop *hop)
{
	char name[BACKEND_NAME], gateway[ADDRESS_TEXT];

	backend_format_name(backend, name);
	if (!hop->ifindex) {
		notice("backend %s: this host has no route to it, so nothing gets there; 'ip "
		       "route get' shows what the kernel thinks",
		       name);
		return;
	}
	address_format(&hop->gateway, gateway);
	notice("backend %s: %s does not answer on %s, so nothing gets there yet; weir goes on "
	       "when it does",
	       name, gateway, hop->device);
}

int records_fill(struct records *records, const struct service *service,
		 const struct backend *backend, unsigned int wait_ms)
{
	struct weir_backend *r = &records->record[backend->index];
	char name[BACKEND_NAME];
	struct next_hop hop;
	int err = next_hop_find(&backend->address, wait_ms, &hop);

	if (err)
		return err;
	backend_format_name(backend, name);
	if (hop.local && service->mode == WEIR_NAT)
		return fail(-EINVAL,
			    "backend %s is this host itself, which mode nat cannot reach; use mode "
			    "dsr-l2, or let the server listen at the service's address",
			    name);
	if (!hop.local && !hop.reachable)
		say_unreachable(backend, &hop);
	*r = (struct weir_backend){
		.flags = backend->address.family == 6 ? WEIR_B_V6 : 0,
		.port = htons(backend->port),
		.mode = service->mode,
		.service = service->index,
	};
	set_address(r->address, &backend->address);
	set_source(r, service, backend, &hop);
	describe_way(records, r, &hop);
	if (hop.ifindex && !hop.local)
		next_hop_keep(&hop);
	set_flag(r, WEIR_B_ALIVE, backend->state != BACKEND_DEAD);
	return 0;
}

bool records_refresh(struct records *records, const struct backend *backend)
{
	struct weir_backend *r = &records->record[backend->index], was = *r;
	static const __be32 none[4];
	struct next_hop hop;

	if (next_hop_find(&backend->address, 0, &hop)) {
		forget_failure();
		return false;
	}
	if (!memcmp(r->source, none, sizeof(none)) && hop.source.family)
		set_address(r->source, &hop.source);
	describe_way(records, r, &hop);
	if (hop.ifindex && !hop.local)
		next_hop_keep(&hop);
	return memcmp(was.dest_mac, r->dest_mac, 16) || was.flags != r->flags ||
	       was.mtu != r->mtu;
}

void records_set_alive(struct records *records, const struct backend *backend)
{
	set_flag(&records->record[backend->index], WEIR_B_ALIVE, backend->state != BACKEND_DEAD);
}

void records_release(const struct backend *backend)
{
	struct next_hop hop;

	if (!next_hop_find(&backend->address, 0, &hop) && hop.ifindex && !hop.local)
		next_hop_release(&hop);
	forget_failure();
}
