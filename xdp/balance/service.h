/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which service a packet is for: abi.h describes the table. One place to look at for the address,
 * one for the port; no helper is called. As with rules, every access is masked to the table's size.
 */
#ifndef WEIR_SERVICE_H
#define WEIR_SERVICE_H

#include "../frame.h"
#include "abi.h"
#include "explain.h"

struct service_set {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct weir_service_head));
};

/* The loader gives the inner map the table's real size before load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct service_set);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_service_counters);
} service_counters SEC(".maps");

static __always_inline const struct weir_service_head *service_table(void)
{
	__u32 key = 0;
	void *set = bpf_map_lookup_elem(&services, &key);

	return set ? bpf_map_lookup_elem(set, &key) : NULL;
}

static __always_inline __u64 service_word(const struct weir_service_head *t, __u64 at)
{
	return *(const __u64 *)((const void *)t + (at * 8 & (config.service_bytes - 8)));
}

/* What the table says of an address: the lower half of WEIR_ADDRESS4(); 0: nothing. */
static __always_inline __u32 find_address4(const struct weir_service_head *t, __u32 address)
{
	__u64 place = t->addresses4 + WEIR_PLACE(address, t->seed, t->mask4);

	for (int i = 0; i < WEIR_PROBES; i++) {
		__u64 entry = service_word(t, place + i);

		if (entry >> 32 == address)
			return entry;
		if (i + 1u >= t->probes)
			break;
	}
	return 0;
}

static __always_inline __u32 find_address6(const struct weir_service_head *t, __u64 high, __u64 low)
{
	__u64 place = t->addresses6 + WEIR_PLACE(WEIR_KEY6(high, low), t->seed, t->mask6) * 3;

	for (int i = 0; i < WEIR_PROBES; i++, place += 3) {
		if (service_word(t, place + 1) == high && service_word(t, place + 2) == low)
			return service_word(t, place);
		if (i + 1u >= t->probes)
			break;
	}
	return 0;
}

static __always_inline __u32 find_address(const struct weir_service_head *t, __u32 family,
					  __u64 high, __u64 low)
{
	return family == 4 ? find_address4(t, high >> 32) : find_address6(t, high, low);
}

static __always_inline __u32 find_port(const struct weir_service_head *t, __u64 key)
{
	__u64 place = t->ports + WEIR_PLACE(key, t->seed, t->ports_mask);

	for (int i = 0; i < WEIR_PROBES; i++) {
		__u64 entry = service_word(t, place + i);

		if (entry >> WEIR_PORT_SERVICE_BITS == key)
			return entry & ((1u << WEIR_PORT_SERVICE_BITS) - 1);
		if (i + 1u >= t->probes)
			break;
	}
	return 0;
}

static __always_inline __u32 vip_of(__u32 address)
{
	return address >> WEIR_ADDRESS_FLAGS;
}

/* Index of the service at this port of a VIP, or of the one for any port; 0: none. */
static __always_inline __u32 find_by_port(const struct weir_service_head *t, __u32 address,
					  bool udp, __u32 port)
{
	__u32 index = find_port(t, WEIR_PORT_KEY(vip_of(address), udp, port));

	return index ? index : find_port(t, WEIR_PORT_KEY(vip_of(address), udp, 0));
}

static __always_inline __u32 find_service(const struct weir_service_head *t, __u32 address,
					  __u32 proto, __u32 port)
{
	if (proto != IPPROTO_UDP && proto != IPPROTO_TCP)
		return 0;
	return find_by_port(t, address, proto == IPPROTO_UDP, port);
}

static __always_inline const struct weir_service *service_at(const struct weir_service_head *t,
							     __u32 index)
{
	__u64 at = ((__u64)t->records + (__u64)index * (sizeof(struct weir_service) / 8)) * 8;

	return (const void *)t + (at & (config.service_bytes - sizeof(struct weir_service)));
}

/* What the VIP has of this protocol, see struct weir_vip. */
static __always_inline __u32 services_of(const struct weir_service_head *t, __u32 address,
					 __u32 proto)
{
	__u64 vip = service_word(t, (__u64)t->vips + vip_of(address));

	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return 0;
	return proto == IPPROTO_TCP ? (__u32)vip : vip >> 32;
}

/* The service of packets that show no ports, if there is just one of this protocol at the VIP. */
static __always_inline __u32 only_service(const struct weir_service_head *t, __u32 address,
					  __u32 proto)
{
	__u32 only = services_of(t, address, proto);

	return only == WEIR_SEVERAL ? 0 : only;
}

static __always_inline struct weir_service_counters *counters_of_service(__u32 index)
{
	return config.explain ? NULL : bpf_map_lookup_elem(&service_counters, &index);
}

#define count_for_service(index, field)                                        \
	do {                                                                   \
		struct weir_service_counters *sc = counters_of_service(index); \
		if (sc)                                                        \
			sc->field++;                                           \
	} while (0)

#endif
