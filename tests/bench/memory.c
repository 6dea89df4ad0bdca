// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/balance/maglev.h"
#include "loader/balance/maps.h"
#include "loader/balance/ranges.h"
#include "loader/service/service_table.h"
#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "memory.h"
#include "tests/shared/balance_run.h"

static const struct {
	const char *services;
	enum weir_mode mode;
	__u32 backends;
} configured[] = {
	{"one service, dsr, 4 backends", WEIR_DSR_L2, 4},
	{"one service, nat, 4 backends", WEIR_NAT, 4},
	{"one service, dsr, 1000 backends", WEIR_DSR_L2, 1000},
};

#define CONFIGURED (sizeof(configured) / sizeof(configured[0]))

/* In bytes, as the kernel accounts for the map. */
static __u64 map_bytes(int fd)
{
	char path[64], line[128];
	unsigned long long bytes = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	if (f)
		fclose(f);
	return bytes;
}

/* With the table inside. */
static __u64 services_bytes(int outer)
{
	__u64 bytes = map_bytes(outer);
	__u32 key = 0, id;
	int inner = -1;

	if (!bpf_map_lookup_elem(outer, &key, &id))
		inner = bpf_map_get_fd_by_id(id);
	if (inner >= 0) {
		bytes += map_bytes(inner);
		close(inner);
	}
	return bytes;
}

static void add_part(struct memory *memory, const char *map, __u64 bytes)
{
	int i = 0;

	while (memory->part[i].map)
		i++;
	memory->part[i].map = map;
	memory->part[i].bytes = bytes;
	memory->bytes += bytes;
}

static void weigh(const struct balance_maps *maps, struct memory *memory)
{
	add_part(memory, "services", services_bytes(maps->services));
	add_part(memory, "slots", map_bytes(maps->slots));
	add_part(memory, "backends", map_bytes(maps->backends));
	add_part(memory, "backend_counters", map_bytes(maps->backend_counters));
	add_part(memory, "service_counters", map_bytes(maps->service_counters));
	add_part(memory, "flows", map_bytes(maps->flows));
	add_part(memory, "nat_flows", map_bytes(maps->nat_flows));
	add_part(memory, "nat_ports", map_bytes(maps->nat_ports));
	add_part(memory, "fragments", map_bytes(maps->fragments));
	add_part(memory, "egress_devs", map_bytes(maps->egress_devs));
}

static __u32 slots_for(__u32 backends)
{
	struct maglev_backend *owners = calloc(backends, sizeof(*owners));
	__u32 slots;

	if (!owners)
		abort();
	for (__u32 i = 0; i < backends; i++)
		owners[i].weight = 1;
	slots = maglev_slots(owners, backends);
	free(owners);
	return slots;
}

static void configure(struct balance *services, enum weir_mode mode, __u32 backends)
{
	test_service(services, IPPROTO_TCP, PACKET_SERVER, 443, mode)->slots = slots_for(backends);
	for (__u32 i = 0; i < backends; i++) {
		struct in_addr address = {htonl(0x0a010001 + i)};

		test_backend(services, inet_ntoa(address), 0, 1);
	}
}

static int make(const struct balance *services, const struct nat_sources *sources,
		struct balance_maps *maps)
{
	struct balance_sizes sizes = {};
	struct service_table table;
	int err = service_table_compile(services, sources, clock_tick_ns(), &table);

	if (err)
		return err;
	ranges_sizes(services, &sizes);
	sizes.service_bytes = table.size;
	err = balance_maps_make(maps, &sizes, table.bytes);
	free(table.bytes);
	return err;
}

int memory_of(size_t which, struct memory *memory)
{
	struct address own = test_address(TEST_OWN4);
	struct nat_sources sources = {&own, 1};
	struct balance services = {}, nothing = {};
	struct balance_maps maps;
	int err;

	if (which >= CONFIGURED)
		return 1;
	*memory = (struct memory){.services = configured[which].services};
	configure(&services, configured[which].mode, configured[which].backends);
	err = ranges_assign(&services, &nothing);
	if (!err)
		err = make(&services, &sources, &maps);
	if (!err) {
		weigh(&maps, memory);
		balance_maps_close(&maps);
	}
	balance_free(&services);
	return err;
}
