/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which slot a flow falls into. Plain C, so that the loader computes it by the same code. The same
 * on every balancer: part of the ABI.
 */
#ifndef WEIR_HASH_H
#define WEIR_HASH_H

#include <linux/types.h>
#include <stdbool.h>

#define WEIR_INLINE static inline __attribute__((always_inline))

WEIR_INLINE __u64 mix_flow(__u64 h)
{
	h ^= h >> 32;
	h *= 0xe9846af9b1a615dull;
	h ^= h >> 32;
	h *= 0xe9846af9b1a615dull;
	return h ^ h >> 28;
}

/* Addresses as in struct packet. IPv4 flows never collide, as address and ports are 64 bits and
 * mixing loses none; of IPv6, neighbours in a subnet do not, whatever their ports. The upper 24
 * bits choose the slot, the others the place of the flow in tables; with affinity by source the
 * upper ones come from the source alone. */
WEIR_INLINE __u64 hash_flow(__u64 source, __u64 source_low, __u32 family, __u64 ports,
			    bool by_source)
{
	__u64 high = source, hash;

	if (family == 6)
		high = mix_flow(source ^ 0x9e3779b97f4a7c15ull) +
		       source_low * 0x9e3779b97f4a7c15ull;
	hash = mix_flow(high ^ ports);
	if (by_source)
		hash = (mix_flow(high) & ~0ull << 40) | (hash & ~(~0ull << 40));
	return hash;
}

WEIR_INLINE __u64 ports_of(__u32 sport, __u32 dport)
{
	return (__u64)sport << 16 | dport;
}

/* Tells a backend by its address and port; port 0: any. */
WEIR_INLINE __u64 nat_backend_key(__u64 address, __u64 low, __u32 family, __u32 port)
{
	return hash_flow(address, low, family, port, false);
}

/* Counted from the service's first slot. */
WEIR_INLINE __u32 slot_of_hash(__u64 hash, __u32 slot_mask)
{
	return (__u32)(hash >> 40) & slot_mask;
}

#endif
