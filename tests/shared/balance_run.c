// SPDX-License-Identifier: GPL-2.0
#include "balance_run.h"

#include <arpa/inet.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/balance/maglev.h"
#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "weir_xdp.skel.h"

#define IDLE		     300
#define FAR_JIFFIES	     (1u << 30)
#define CPUS_MOST	     1024
#define NAT_PORTS	     1024
#define FLOW_SEED	     0x5851f42d4c957f2dull
#define MTU		     1500
#define TEST_LONGEST	     120 /* s */
#define SOURCE_BITS	     16
#define DEFAULT_BITS(family) ((family) == 6 ? 128 : 32)

/* ---- time ---- */

static __u64 jiffies(void)
{
	__u64 now;

	if (clock_jiffies(&now))
		errx(1, "%s", failure());
	return now;
}

/* The tick must not change while a test runs, which it does every few days, and five minutes after the
 * kernel has started: jiffies begin shortly before 2^32. */
static void await_steady_tick(void)
{
	const __u64 margin = TEST_LONGEST * 1000000000ull / clock_jiffy_ns();
	static bool steady;

	while (!steady && (jiffies() + margin) >> TEST_TICK_SHIFT != jiffies() >> TEST_TICK_SHIFT)
		sleep(1);
	steady = true;
}

/* ---- services ---- */

struct address test_address(const char *text)
{
	struct address address = {};
	char copy[ADDRESS_TEXT];
	char *slash;

	snprintf(copy, sizeof(copy), "%s", text);
	slash = strchr(copy, '/');
	if (slash)
		*slash = 0;
	address.family = strchr(copy, ':') ? 6 : 4;
	address.bits = slash ? atoi(slash + 1) : DEFAULT_BITS(address.family);
	if (inet_pton(address.family == 6 ? AF_INET6 : AF_INET, copy, address.byte) != 1)
		errx(1, "no address: %s", text);
	return address;
}

struct service *test_service(struct balance *services, __u8 proto, const char *address, __u16 port,
			     enum weir_mode mode)
{
	struct service *service;

	services->services =
		reallocarray(services->services, services->service_count + 1, sizeof(*service));
	if (!services->services)
		err(1, "out of memory");
	service = &services->services[services->service_count++];
	*service = (struct service){
		.index = services->service_count,
		.proto = proto,
		.mode = mode,
		.address = test_address(address),
		.port = port,
		.idle = IDLE,
	};
	return service;
}

struct backend *test_backend(struct balance *services, const char *address, __u16 port,
			     __u16 weight)
{
	struct backend *backend;

	services->backends =
		reallocarray(services->backends, services->backend_count + 1, sizeof(*backend));
	if (!services->backends || !services->service_count)
		errx(1, "no service, or out of memory");
	backend = &services->backends[services->backend_count++];
	*backend = (struct backend){
		.index = services->backend_count,
		.service = services->services[services->service_count - 1].index,
		.address = test_address(address),
		.port = port,
		.weight = weight,
	};
	return backend;
}

static void *copy_of(const void *from, size_t bytes)
{
	void *copy = malloc(bytes ? bytes : 1);

	if (!copy)
		err(1, "out of memory");
	return bytes ? memcpy(copy, from, bytes) : copy;
}

static const struct service *service_of(const struct balance_run *run, __u32 index)
{
	for (size_t i = 0; i < run->services.service_count; i++)
		if (run->services.services[i].index == index)
			return &run->services.services[i];
	errx(1, "no service %u", index);
}

/* ---- slots ---- */

static size_t owners_of(const struct balance_run *run, const struct service *service,
			struct maglev_backend *owners)
{
	size_t count = 0;

	for (size_t i = 0; i < run->services.backend_count; i++) {
		const struct backend *backend = &run->services.backends[i];
		struct maglev_backend *owner = &owners[count];

		if (backend->service != service->index || backend->state != BACKEND_UP)
			continue;
		*owner =
			(struct maglev_backend){.weight = backend->weight, .owner = backend->index};
		memcpy(owner->name, &backend->address, sizeof(struct address) - 2);
		memcpy(owner->name + 18, &backend->port, 2);
		count++;
	}
	return count;
}

static __u32 slots_of(const struct balance_run *run, const struct service *service)
{
	struct maglev_backend *owners = calloc(run->services.backend_count + 1, sizeof(*owners));
	__u32 slots = maglev_slots(owners, owners_of(run, service, owners));

	free(owners);
	return slots;
}

static void fill_slots(struct balance_run *run, const struct service *service)
{
	struct maglev_backend *owners = calloc(run->services.backend_count + 1, sizeof(*owners));
	__u32 *owner = calloc(service->slots, sizeof(*owner));

	if (!owners || !owner ||
	    maglev_fill(owners, owners_of(run, service, owners), owner, service->slots))
		err(1, "cannot fill %u slots", service->slots);
	for (__u32 i = 0; i < service->slots; i++)
		run->slots[service->first_slot + i] = WEIR_SLOT(owner[i], 0, 0);
	free(owner);
	free(owners);
}

__u64 *balance_run_slot(const struct balance_run *run, __u32 service, __u32 slot)
{
	const struct service *s = service_of(run, service);

	return &run->slots[s->first_slot + (slot & (s->slots - 1))];
}

void balance_run_move_slot(struct balance_run *run, __u32 service, __u32 slot, __u32 owner)
{
	__u64 *word = balance_run_slot(run, service, slot), seen = *word;

	if (WEIR_SLOT_OWNER(seen) == owner)
		return;
	if (WEIR_SLOT_PREVIOUS(seen))
		*word = WEIR_SLOT(owner, WEIR_SLOT_PREVIOUS(seen), WEIR_SLOT_TICK(seen));
	else
		*word = WEIR_SLOT(owner, WEIR_SLOT_OWNER(seen), balance_run_now());
}

void balance_run_settle_slot(struct balance_run *run, __u32 service, __u32 slot)
{
	__u64 *word = balance_run_slot(run, service, slot);

	*word = WEIR_SLOT(WEIR_SLOT_OWNER(*word), 0, 0);
}

/* ---- maps ---- */

static void place_services(struct balance_run *run, const struct balance_setup *setup)
{
	struct balance *b = &run->services;
	struct balance_sizes *sizes = &run->sizes;

	*sizes = (struct balance_sizes){
		.slots = WEIR_MIN_SLOTS, /* which belong to no service */
		.services = b->service_count + 1,
		.backends = b->backend_count + 1 + setup->spare,
		.nat_ports = setup->nat_ports ? setup->nat_ports : NAT_PORTS,
	};
	for (size_t i = 0; i < b->service_count; i++) {
		struct service *service = &b->services[i];
		__u32 *buckets = service->mode == WEIR_NAT ? &sizes->nat_flows : &sizes->flows;

		if (!service->slots)
			service->slots = slots_of(run, service);
		if (!service->buckets)
			service->buckets = TEST_BUCKETS;
		service->first_slot = sizes->slots;
		service->first_bucket = *buckets;
		sizes->slots += service->slots;
		*buckets += service->buckets;
	}
	sizes->flows += !sizes->flows;
	sizes->nat_flows += !sizes->nat_flows;
}

static void set_source(struct weir_backend *record, const struct service *service,
		       const struct address *to)
{
	struct address source = service->source;

	if (!source.family)
		source = test_address(to->family == 6 ? TEST_OWN6 : TEST_OWN4);
	record->source_bits = DEFAULT_BITS(source.family) - source.bits;
	if (record->source_bits > SOURCE_BITS)
		record->source_bits = SOURCE_BITS;
	memcpy(record->source, source.byte, sizeof(record->source));
}

static void set_backend(struct balance_run *run, const struct backend *backend)
{
	const struct service *service = service_of(run, backend->service);
	struct weir_backend *record = &run->backends[backend->index];

	*record = (struct weir_backend){
		.dest_mac = {0x02, 0xbb, 0, 0, backend->index >> 8, backend->index},
		.ifindex = TEST_DEVICE,
		.fresh_until = balance_run_jiffies() + FAR_JIFFIES,
		.mtu = MTU,
		.flags = WEIR_B_REACHABLE | (backend->state == BACKEND_DEAD ? 0 : WEIR_B_ALIVE) |
			 (backend->address.family == 6 ? WEIR_B_V6 : 0),
		.port = htons(backend->port),
		.mode = service->mode,
		.service = service->index,
	};
	memcpy(record->source_mac, TEST_OWN_MAC, 6);
	memcpy(record->address, backend->address.byte, sizeof(record->address));
	set_source(record, service, &backend->address);
}

static void make_maps(struct balance_run *run, const struct balance_setup *setup)
{
	struct service_table table;
	size_t bytes;

	place_services(run, setup);
	if (service_table_compile(&run->services, &setup->nat_sources, clock_tick_ns(), &table))
		errx(1, "%s", failure());
	((struct weir_service_head *)table.bytes)->nat_port_mask = run->sizes.nat_ports - 1;
	service_table_seed(&table, FLOW_SEED);
	run->sizes.service_bytes = table.size;
	if (balance_maps_make(&run->maps, &run->sizes, table.bytes))
		errx(1, "%s", failure());
	free(table.bytes);
	run->slots = balance_map_memory(run->maps.slots, &bytes);
	run->backends = balance_map_memory(run->maps.backends, &bytes);
	run->flows = balance_map_memory(run->maps.flows, &bytes);
	run->nat_flows = balance_map_memory(run->maps.nat_flows, &bytes);
	if (!run->slots || !run->backends || !run->flows || !run->nat_flows)
		errx(1, "%s", failure());
}

static void unmap(void *memory, __u32 entries, size_t size)
{
	balance_unmap(memory, entries * size);
}

static struct weir_xdp_config config_of(const struct balance_run *run,
					const struct balance_setup *setup)
{
	struct weir_xdp_config config = setup->config;

	config.ifindex = TEST_DEVICE;
	config.ethernet = 1;
	config.tick_shift = TEST_TICK_SHIFT;
	config.service_bytes = run->sizes.service_bytes;
	config.common = !setup->uncommon;
	for (size_t i = 0; i < run->services.service_count; i++)
		config.modes |= 1u << run->services.services[i].mode;
	return config;
}

void balance_run_open(struct balance_run *run, const struct balance_setup *setup)
{
	const struct balance *from = setup->services;
	struct weir_xdp_config config;

	await_steady_tick();
	*run = (struct balance_run){.services = *from};
	run->services.services =
		copy_of(from->services, from->service_count * sizeof(struct service));
	run->services.backends =
		copy_of(from->backends, from->backend_count * sizeof(struct backend));
	make_maps(run, setup);
	for (size_t i = 0; i < from->service_count; i++)
		fill_slots(run, &run->services.services[i]);
	for (size_t i = 0; i < from->backend_count; i++)
		set_backend(run, &run->services.backends[i]);
	config = config_of(run, setup);
	xdp_run_open_balance(&run->xdp, &config, setup->rules, setup->names, &run->maps);
}

void balance_run_close(struct balance_run *run)
{
	if (run->explains)
		xdp_run_close(&run->explainer);
	xdp_run_close(&run->xdp);
	unmap(run->slots, run->sizes.slots, sizeof(*run->slots));
	unmap(run->backends, run->sizes.backends, sizeof(*run->backends));
	unmap(run->flows, run->sizes.flows, sizeof(*run->flows));
	unmap(run->nat_flows, run->sizes.nat_flows, sizeof(*run->nat_flows));
	balance_maps_close(&run->maps);
	free(run->services.services);
	free(run->services.backends);
}

/* ---- frames ---- */

void balance_run_frame(struct balance_run *run, const struct packet *packet,
		       struct xdp_result *result)
{
	xdp_run_frame(&run->xdp, packet, result);
}

void balance_run_explain(struct balance_run *run, const struct packet *packet,
			 struct xdp_result *result, struct weir_explanation *explanation)
{
	static const struct weir_explanation nothing;
	int map;

	if (!run->explains)
		xdp_run_open_explain(&run->explainer, &run->xdp);
	run->explains = true;
	map = bpf_map__fd(run->explainer.skel->maps.explanation);
	balance_run_write(map, 0, &nothing);
	xdp_run_only(&run->explainer, packet, result);
	balance_run_read(map, 0, explanation);
}

/* ---- counters and time ---- */

void balance_run_read(int map, __u32 index, void *value)
{
	if (bpf_map_lookup_elem(map, &index, value))
		err(1, "cannot read entry %u of a map", index);
}

void balance_run_write(int map, __u32 index, const void *value)
{
	if (bpf_map_update_elem(map, &index, value, 0))
		err(1, "cannot write entry %u of a map", index);
}

static void sum_counters(int map, __u32 index, void *sum, size_t size)
{
	static __u64 each[CPUS_MOST * 16];
	int cpus = libbpf_num_possible_cpus();
	size_t words = size / 8;
	__u64 *total = sum;

	if (cpus < 0 || cpus * words > sizeof(each) / sizeof(*each))
		errx(1, "too many CPUs");
	balance_run_read(map, index, each);
	memset(sum, 0, size);
	for (size_t i = 0; i < cpus * words; i++)
		total[i % words] += each[i];
}

struct weir_backend_counters balance_run_backend(const struct balance_run *run, __u32 index)
{
	struct weir_backend_counters sum;

	sum_counters(run->maps.backend_counters, index, &sum, sizeof(sum));
	return sum;
}

struct weir_service_counters balance_run_service(const struct balance_run *run, __u32 index)
{
	struct weir_service_counters sum;

	sum_counters(run->maps.service_counters, index, &sum, sizeof(sum));
	return sum;
}

__u32 balance_run_jiffies(void)
{
	return jiffies();
}

/* Read once: see await_steady_tick(). */
__u32 balance_run_now(void)
{
	static __u32 now;

	if (!now)
		now = jiffies() >> TEST_TICK_SHIFT;
	return now;
}

static void age_slots(struct balance_run *run, __u32 ticks)
{
	for (__u32 i = 0; i < run->sizes.slots; i++) {
		__u64 slot = run->slots[i];

		if (WEIR_SLOT_PREVIOUS(slot))
			run->slots[i] = WEIR_SLOT(WEIR_SLOT_OWNER(slot), WEIR_SLOT_PREVIOUS(slot),
						  WEIR_SLOT_TICK(slot) - ticks);
	}
}

static void age_flows(struct balance_run *run, __u32 ticks)
{
	struct weir_flow *flow = &run->flows->way[0];
	struct weir_nat_flow *nat = &run->nat_flows->way[0];

	for (__u32 i = 0; i < run->sizes.flows * WEIR_FLOW_WAYS; i++)
		if (flow[i].tag)
			flow[i].place -= (__u64)ticks << 32;
	for (__u32 i = 0; i < run->sizes.nat_flows * WEIR_NAT_WAYS; i++)
		if (WEIR_LIFE_STATE(nat[i].life) != WEIR_NAT_FREE)
			nat[i].life -= (__u64)ticks << 32;
}

static void age_fragments(struct balance_run *run, __u32 ticks)
{
	struct weir_fragment_bucket bucket;

	for (__u32 i = 0; i < WEIR_FRAGMENT_BUCKETS; i++) {
		balance_run_read(run->maps.fragments, i, &bucket);
		for (int at = 0; at < WEIR_FRAGMENT_WAYS; at++) {
			__u64 way = bucket.way[at];

			if (way)
				bucket.way[at] = WEIR_FRAGMENT(way, WEIR_FRAGMENT_TICK(way) - ticks,
							       WEIR_FRAGMENT_TARGET(way));
		}
		balance_run_write(run->maps.fragments, i, &bucket);
	}
}

void balance_run_age(struct balance_run *run, __u32 ticks)
{
	age_slots(run, ticks);
	age_flows(run, ticks);
	age_fragments(run, ticks);
}

void balance_run_stale(struct balance_run *run, __u32 backend)
{
	run->backends[backend].fresh_until = balance_run_jiffies() - 1;
}

/* ---- what a run may not change ---- */

#define FNV_PRIME  0x100000001b3ull
#define VALUE_MOST (4u << 20)

static __u64 mix(__u64 hash, const void *bytes, size_t count)
{
	const __u8 *at = bytes;

	for (size_t i = 0; i < count; i++)
		hash = (hash ^ at[i]) * FNV_PRIME;
	return hash;
}

static size_t value_bytes(const struct bpf_map *map)
{
	size_t size = bpf_map__value_size(map);

	if (bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY)
		size = (size + 7) / 8 * 8 * libbpf_num_possible_cpus();
	if (size > VALUE_MOST)
		errx(1, "values of %zu bytes", size);
	return size;
}

static __u64 mix_entries(__u64 hash, const struct bpf_map *map)
{
	static __u8 value[VALUE_MOST];
	size_t size = value_bytes(map);

	for (__u32 key = 0; key < bpf_map__max_entries(map); key++)
		if (!bpf_map_lookup_elem(bpf_map__fd(map), &key, value))
			hash = mix(hash, value, size);
	return hash;
}

static __u64 mix_table(__u64 hash, const struct balance_maps *maps)
{
	void *table;
	size_t size;

	if (balance_maps_table(maps, &table, &size))
		errx(1, "%s", failure());
	hash = mix(hash, table, size);
	free(table);
	return hash;
}

__u64 balance_run_fingerprint(const struct balance_run *run)
{
	const struct weir_xdp_bpf *skel = run->xdp.skel;
	const struct balance_sizes *sizes = &run->sizes;
	__u64 hash = 0xcbf29ce484222325ull;
	struct bpf_map *map;

	hash = mix_table(hash, &run->maps);
	hash = mix(hash, run->slots, sizes->slots * sizeof(*run->slots));
	hash = mix(hash, run->backends, sizes->backends * sizeof(*run->backends));
	hash = mix(hash, run->flows, sizes->flows * sizeof(*run->flows));
	hash = mix(hash, run->nat_flows, sizes->nat_flows * sizeof(*run->nat_flows));
	bpf_object__for_each_map (map, skel->obj)
		if (bpf_map__fd(map) >= 0 && map != skel->maps.slots &&
		    map != skel->maps.backends && map != skel->maps.flows)
			hash = mix_entries(hash, map);
	return hash;
}
