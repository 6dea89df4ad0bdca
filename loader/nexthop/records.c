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

static __u8 free_bits(const struct service *service, const struct address *chosen)
{
	int bits = (chosen->family == 4 ? 32 : 128) - chosen->bits;

	if (chosen != &service->source || service->mode != WEIR_DSR_IPIP)
		return 0;
	return bits > 16 ? 16 : bits;
}

bool records_set_source(struct records *records, const struct service *service,
			const struct backend *backend, const struct next_hop *hop)
{
	struct weir_backend *r = &records->record[backend->index];
	const struct address *chosen = &service->source;
	__u64 source[2], *to = (__u64 *)r->source;
	bool changed;

	if (chosen->family != backend->address.family)
		chosen = &hop->source;
	set_address((__be32 *)source, chosen);
	changed = memcmp(source, to, sizeof(source));
	/* In words: packets are on their way. */
	__atomic_store_n(&to[0], source[0], __ATOMIC_RELAXED);
	__atomic_store_n(&to[1], source[1], __ATOMIC_RELAXED);
	__atomic_store_n(&r->source_bits, free_bits(service, chosen), __ATOMIC_RELAXED);
	return changed;
}

bool records_has_source(const struct records *records, const struct backend *backend)
{
	static const __be32 none[4];

	return memcmp(records->record[backend->index].source, none, sizeof(none));
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

/* A device that takes XDP frames must be in the map of those; else TC transmits. */
static bool takes_frames(const struct records *records, const struct next_hop *hop)
{
	__u32 ifindex = hop->ifindex;

	if (!ifindex || hop->via_tc)
		return false;
	if (!bpf_map_update_elem(records->egress_devs, &ifindex, &ifindex, BPF_ANY))
		return true;
	notice("cannot prepare %s for XDP frames: %s; TC transmits", hop->device,
	       errno == E2BIG ? "there are too many devices of backends" : strerror(errno));
	return false;
}

/* TC transmits by any device, so the flag is there before a device that needs it, and goes
 * after. */
static void describe_way(const struct records *records, struct weir_backend *r,
			 const struct next_hop *hop)
{
	bool by_tc = !takes_frames(records, hop);

	if (by_tc)
		set_flag(r, WEIR_B_VIA_TC, hop->ifindex);
	if (hop->ifindex)
		__atomic_store_n(&r->mtu, hop->mtu > 65535 ? 65535 : hop->mtu, __ATOMIC_RELAXED);
	if (hop->reachable) {
		set_way(r, hop);
		__atomic_store_n(&r->fresh_until,
				 (__u32)records->jiffies + (FRESH_TICKS << clock_tick_shift()),
				 __ATOMIC_RELEASE);
	}
	if (!by_tc)
		set_flag(r, WEIR_B_VIA_TC, false);
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
		 const struct backend *backend, const struct next_hop *hop)
{
	struct weir_backend *r = &records->record[backend->index];
	char name[BACKEND_NAME];

	backend_format_name(backend, name);
	if (hop->local && service->mode == WEIR_NAT)
		return fail(-EINVAL,
			    "backend %s is this host itself, which mode nat cannot reach; use mode "
			    "dsr-l2, or let the server listen at the service's address",
			    name);
	if (!hop->local && !hop->reachable)
		say_unreachable(backend, hop);
	*r = (struct weir_backend){
		.flags = backend->address.family == 6 ? WEIR_B_V6 : 0,
		.port = htons(backend->port),
		.mode = service->mode,
		.service = service->index,
	};
	set_address(r->address, &backend->address);
	records_set_source(records, service, backend, hop);
	describe_way(records, r, hop);
	records_set_alive(records, backend);
	return 0;
}

bool records_refresh(struct records *records, const struct backend *backend,
		     const struct next_hop *hop)
{
	struct weir_backend *r = &records->record[backend->index], was = *r;

	describe_way(records, r, hop);
	return memcmp(was.dest_mac, r->dest_mac, 16) || was.flags != r->flags || was.mtu != r->mtu;
}

/* What goes to a backend in these modes goes in the name of this host, who has no name for those
 * that it has no route to. */
void records_set_alive(struct records *records, const struct backend *backend)
{
	struct weir_backend *r = &records->record[backend->index];
	bool nameless = r->mode != WEIR_DSR_L2 && !records_has_source(records, backend);

	set_flag(r, WEIR_B_ALIVE, backend->state != BACKEND_DEAD && !nameless);
}

void records_release(const struct backend *backend)
{
	struct next_hop hop;

	if (!next_hop_find(&backend->address, 0, &hop) && hop.ifindex && !hop.local)
		next_hop_release(&hop);
	forget_failure();
}
