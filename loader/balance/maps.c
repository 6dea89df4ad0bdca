// SPDX-License-Identifier: GPL-2.0
#include "maps.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "carry.h"
#include "loader/base/error.h"
#include "xdp/abi.h"
#include "weir_xdp.skel.h"

/* How each map is made. Those whose entries are counted in struct balance_sizes grow. */
struct kind {
	const char *name; /* also of the pin */
	size_t fd;	  /* in struct balance_maps */
	size_t entries;	  /* in struct balance_sizes; FIXED: max_entries says */
	__u32 max_entries;
	__u32 value_size;
	enum bpf_map_type type;
	bool memory; /* mappable */
};

#define PAGE 4096ul

#define FIXED	       ((size_t)-1)
#define FD(field)      offsetof(struct balance_maps, field)
#define ENTRIES(field) offsetof(struct balance_sizes, field)

static const struct kind kinds[] = {
	{"slots", FD(slots), ENTRIES(slots), 0, sizeof(__u64), BPF_MAP_TYPE_ARRAY, true},
	{"backends", FD(backends), ENTRIES(backends), 0, sizeof(struct weir_backend),
	 BPF_MAP_TYPE_ARRAY, true},
	{"backend_counters", FD(backend_counters), ENTRIES(backends), 0,
	 sizeof(struct weir_backend_counters), BPF_MAP_TYPE_PERCPU_ARRAY, false},
	{"service_counters", FD(service_counters), ENTRIES(services), 0,
	 sizeof(struct weir_service_counters), BPF_MAP_TYPE_PERCPU_ARRAY, false},
	{"flows", FD(flows), ENTRIES(flows), 0, sizeof(struct weir_flow_bucket), BPF_MAP_TYPE_ARRAY,
	 true},
	{"nat_flows", FD(nat_flows), ENTRIES(nat_flows), 0, sizeof(struct weir_nat_bucket),
	 BPF_MAP_TYPE_ARRAY, true},
	{"nat_ports", FD(nat_ports), ENTRIES(nat_ports), 0, sizeof(struct weir_nat_ports),
	 BPF_MAP_TYPE_ARRAY, true},
	{"fragments", FD(fragments), FIXED, WEIR_FRAGMENT_BUCKETS,
	 sizeof(struct weir_fragment_bucket), BPF_MAP_TYPE_ARRAY, false},
	{"egress_devs", FD(egress_devs), FIXED, WEIR_EGRESS_DEVS, sizeof(__u32),
	 BPF_MAP_TYPE_DEVMAP_HASH, false},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int *fd_of(struct balance_maps *maps, const struct kind *k)
{
	return (int *)((char *)maps + k->fd);
}

static int fd_in(const struct balance_maps *maps, const struct kind *k)
{
	return *(const int *)((const char *)maps + k->fd);
}

static __u32 entries_of(const struct balance_sizes *sizes, const struct kind *k)
{
	__u32 entries = k->entries == FIXED ? k->max_entries
					    : *(const __u32 *)((const char *)sizes + k->entries);

	return entries ? entries : 1;
}

static int make(const struct kind *k, __u32 entries)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = k->memory ? BPF_F_MMAPABLE : 0);
	char name[BPF_OBJ_NAME_LEN];
	int fd;

	snprintf(name, sizeof(name), "%s", k->name);
	fd = bpf_map_create(k->type, name, sizeof(__u32), k->value_size, entries, &opts);
	return fd < 0 ? fail(fd, "cannot make the map '%s' of %u entries: %s", k->name, entries,
			     strerror(-fd))
		      : fd;
}

static int make_table(const void *table, __u32 size)
{
	__u32 key = 0;
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_services", sizeof(key), size, 1, NULL);
	int err = fd >= 0 && table && bpf_map_update_elem(fd, &key, table, BPF_ANY) ? -errno : 0;

	if (err) {
		close(fd);
		fd = err;
	}
	return fd < 0 ? fail(fd, "cannot make a service table of %u bytes: %s", size, strerror(-fd))
		      : fd;
}

static int make_services(const void *table, __u32 size)
{
	int inner = make_table(table, size), outer, err = 0;
	__u32 key = 0;

	if (inner < 0)
		return inner;
	LIBBPF_OPTS(bpf_map_create_opts, opts, .inner_map_fd = inner);
	outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "services", sizeof(key), sizeof(key), 1,
			       &opts);
	if (outer >= 0 && bpf_map_update_elem(outer, &key, &inner, BPF_ANY))
		err = -errno;
	close(inner);
	if (err) {
		close(outer);
		outer = err;
	}
	return outer < 0
		       ? fail(outer, "cannot make the map of service tables: %s", strerror(-outer))
		       : outer;
}

int balance_maps_make(struct balance_maps *maps, const struct balance_sizes *sizes,
		      const void *table)
{
	int fd = make_services(table, sizes->service_bytes);

	*maps = NO_BALANCE_MAPS;
	maps->services = fd;
	for (size_t i = 0; i < KINDS && fd >= 0; i++)
		fd = *fd_of(maps, &kinds[i]) = make(&kinds[i], entries_of(sizes, &kinds[i]));
	if (fd < 0)
		balance_maps_close(maps);
	return fd < 0 ? fd : 0;
}

void balance_maps_close(struct balance_maps *maps)
{
	if (maps->services >= 0)
		close(maps->services);
	for (size_t i = 0; i < KINDS; i++)
		if (fd_in(maps, &kinds[i]) >= 0)
			close(fd_in(maps, &kinds[i]));
	*maps = NO_BALANCE_MAPS;
}

static int info_of(int fd, struct bpf_map_info *info)
{
	__u32 size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return bpf_obj_get_info_by_fd(fd, info, &size)
		       ? fail(-errno, "cannot look at a map of the balancer: %m")
		       : 0;
}

/* The map that holds the current table. */
static int current_table(const struct balance_maps *maps)
{
	__u32 key = 0, id;
	int fd;

	if (bpf_map_lookup_elem(maps->services, &key, &id))
		return fail(-errno, "cannot read the service table: %m");
	fd = bpf_map_get_fd_by_id(id);
	return fd < 0 ? fail(-errno, "cannot open the service table: %m") : fd;
}

int balance_maps_sizes(const struct balance_maps *maps, struct balance_sizes *sizes)
{
	struct bpf_map_info info;
	int fd = current_table(maps), err;

	*sizes = (struct balance_sizes){};
	if (fd < 0)
		return fd;
	err = info_of(fd, &info);
	close(fd);
	sizes->service_bytes = info.value_size;
	for (size_t i = 0; i < KINDS && !err; i++) {
		if (kinds[i].entries == FIXED)
			continue;
		err = info_of(fd_in(maps, &kinds[i]), &info);
		*(__u32 *)((char *)sizes + kinds[i].entries) = info.max_entries;
	}
	return err;
}

void *balance_map_memory(int map, size_t *bytes)
{
	struct bpf_map_info info;
	void *memory;

	if (info_of(map, &info))
		return NULL;
	*bytes = ((size_t)info.value_size * info.max_entries + PAGE - 1) & ~(PAGE - 1);
	memory = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	if (memory == MAP_FAILED) {
		fail(-errno, "cannot map %s into memory: %m", info.name);
		return NULL;
	}
	return memory;
}

void balance_unmap(void *memory, size_t bytes)
{
	if (memory)
		munmap(memory, bytes);
}

void *balance_map_part(int map, size_t first_byte, size_t bytes)
{
	size_t start = first_byte & ~(PAGE - 1),
	       end = (first_byte + bytes + PAGE - 1) & ~(PAGE - 1);
	char *memory = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_SHARED, map, start);

	if (memory == MAP_FAILED) {
		fail(-errno, "cannot map a part of the balancer's memory: %m");
		return NULL;
	}
	return memory + (first_byte - start);
}

void balance_unmap_part(void *memory, size_t bytes)
{
	size_t start = (size_t)memory & ~(PAGE - 1);

	if (memory)
		munmap((void *)start, (size_t)memory + bytes - start);
}

static int copy_memory(int from, int to)
{
	size_t from_bytes, to_bytes = 0;
	void *source = balance_map_memory(from, &from_bytes);
	void *target = source ? balance_map_memory(to, &to_bytes) : NULL;

	if (target)
		memcpy(target, source, from_bytes);
	balance_unmap(source, from_bytes);
	balance_unmap(target, to_bytes);
	return target ? 0 : -ENOMEM;
}

static int copy_each(int from, int to, __u32 entries, size_t value_size)
{
	char *value = malloc(value_size);
	int err = value ? 0 : -ENOMEM;

	for (__u32 key = 0; key < entries && !err; key++)
		if (bpf_map_lookup_elem(from, &key, value) ||
		    bpf_map_update_elem(to, &key, value, BPF_ANY))
			err = -errno;
	free(value);
	return err ? fail(err, "cannot copy a map of the balancer: %s", strerror(-err)) : 0;
}

static int copy(const struct kind *k, int from, int to, __u32 entries)
{
	if (k->fd == FD(nat_ports))
		return carry_ports(from, to);
	if (k->memory)
		return copy_memory(from, to);
	return copy_each(from, to, entries,
			 k->type == BPF_MAP_TYPE_PERCPU_ARRAY
				 ? (size_t)((k->value_size + 7) & ~7u) * libbpf_num_possible_cpus()
				 : k->value_size);
}

static int share(int fd)
{
	int copy_of = dup(fd);

	return copy_of < 0 ? fail(-errno, "out of file descriptors") : copy_of;
}

static int grow_one(const struct kind *k, int from, __u32 entries)
{
	struct bpf_map_info info;
	int err = info_of(from, &info), to;

	if (err)
		return err;
	if (k->entries == FIXED || info.max_entries >= entries)
		return share(from);
	to = make(k, entries);
	if (to < 0)
		return to;
	err = copy(k, from, to, info.max_entries);
	if (err)
		close(to);
	return err ? err : to;
}

int balance_maps_grow(const struct balance_maps *maps, const struct balance_sizes *sizes,
		      const void *table, struct balance_maps *larger)
{
	int fd;

	*larger = NO_BALANCE_MAPS;
	fd = larger->services = make_services(table, sizes->service_bytes);
	for (size_t i = 0; i < KINDS && fd >= 0; i++)
		fd = *fd_of(larger, &kinds[i]) =
			grow_one(&kinds[i], fd_in(maps, &kinds[i]), entries_of(sizes, &kinds[i]));
	if (fd < 0)
		balance_maps_close(larger);
	return fd < 0 ? fd : 0;
}

/* The directory of maps that are announced, with a slash; "": that of the instance itself. */
#define ANNOUNCED "next/"

static int open_pins(const struct instance *in, const char *where, struct balance_maps *maps)
{
	int fd;

	*maps = NO_BALANCE_MAPS;
	fd = in->exists ? pin_open(instance_path(in, "%sservices", where)) : -ENOENT;
	if (fd == -ENOENT)
		return fd;
	maps->services = fd;
	for (size_t i = 0; i < KINDS && fd >= 0; i++)
		fd = *fd_of(maps, &kinds[i]) =
			pin_open(instance_path(in, "%s%s", where, kinds[i].name));
	if (fd >= 0)
		return 0;
	balance_maps_close(maps);
	return fail(fd == -ENOENT ? -EPROTO : fd,
		    "the balancer's maps of instance '%s' are not all there: %s; 'weir detach "
		    "--all' and set up anew",
		    in->name, strerror(-fd));
}

int balance_maps_open(const struct instance *in, struct balance_maps *maps)
{
	int err = open_pins(in, ANNOUNCED, maps);

	return err == -ENOENT ? open_pins(in, "", maps) : err;
}

int balance_maps_replaced(const struct instance *in, struct balance_maps *maps)
{
	return open_pins(in, "", maps);
}

/* The table comes last: without it there is no balancer. */
static int pin(const struct instance *in, const char *where, const struct balance_maps *maps)
{
	int err = 0;

	for (size_t i = 0; i < KINDS && !err; i++)
		err = pin_replace(fd_in(maps, &kinds[i]),
				  instance_path(in, "%s%s", where, kinds[i].name));
	return err ? err : pin_replace(maps->services, instance_path(in, "%sservices", where));
}

int balance_maps_pin(const struct instance *in, const struct balance_maps *maps)
{
	return pin(in, "", maps);
}

int balance_maps_announce(const struct instance *in, const struct balance_maps *maps)
{
	int err = balance_maps_withdraw(in);

	if (!err)
		err = pin_mkdir(instance_path(in, ANNOUNCED));
	return err ? err : pin(in, ANNOUNCED, maps);
}

bool balance_maps_announced(const struct instance *in)
{
	return in->exists && !access(instance_path(in, ANNOUNCED "services"), F_OK);
}

/* The table goes first, as in balance_maps_unpin(). */
int balance_maps_withdraw(const struct instance *in)
{
	const char *table = instance_path(in, ANNOUNCED "services");

	if (unlink(table) && errno != ENOENT)
		return fail(-errno, "cannot remove %s: %m", table);
	return pin_remove_tree(instance_path(in, ANNOUNCED));
}

static int unpin(const struct instance *in, const char *name)
{
	const char *pin = instance_path(in, "%s", name);

	return unlink(pin) && errno != ENOENT ? fail(-errno, "cannot remove %s: %m", pin) : 0;
}

int balance_maps_unpin(const struct instance *in)
{
	int err = balance_maps_withdraw(in);

	if (!err)
		err = unpin(in, "services");

	for (size_t i = 0; i < KINDS && !err; i++)
		err = unpin(in, kinds[i].name);
	return err;
}

static int use(struct bpf_map *map, const struct balance_maps *maps, int fd)
{
	bpf_map__set_autocreate(map, maps);
	return maps ? bpf_map__reuse_fd(map, fd) : 0;
}

int balance_maps_use(struct weir_xdp_bpf *skel, const struct balance_maps *maps)
{
	int err = use(skel->maps.services, maps, maps ? maps->services : -1);

	for (size_t i = 0; i < KINDS && !err; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(skel->obj, kinds[i].name);

		if (map)
			err = use(map, maps, maps ? fd_in(maps, &kinds[i]) : -1);
	}
	bpf_map__set_autocreate(skel->maps.explanation, skel->rodata->config.explain);
	return err;
}

int balance_maps_swap(const struct balance_maps *maps, const void *table, __u32 service_bytes)
{
	int fd = make_table(table, service_bytes), err;
	__u32 key = 0;

	if (fd < 0)
		return fd;
	err = bpf_map_update_elem(maps->services, &key, &fd, BPF_ANY) ? -errno : 0;
	close(fd);
	return err ? fail(err, "cannot swap the service table: %s", strerror(-err)) : 0;
}

int balance_maps_table(const struct balance_maps *maps, void **table, size_t *size)
{
	struct bpf_map_info info;
	int fd = current_table(maps), err;
	__u32 key = 0;

	if (fd < 0)
		return fd;
	err = info_of(fd, &info);
	*size = info.value_size;
	*table = err ? NULL : malloc(info.value_size);
	if (!err && !*table)
		err = fail(-ENOMEM, "out of memory");
	if (!err && bpf_map_lookup_elem(fd, &key, *table)) {
		err = fail(-errno, "cannot read the service table: %m");
		free(*table);
	}
	close(fd);
	return err;
}

/* The kernel waits for all programs when an array of maps changes, be it to what it was. */
int balance_maps_wait(const struct balance_maps *maps)
{
	int fd = current_table(maps), err;
	__u32 key = 0;

	if (fd < 0)
		return fd;
	err = bpf_map_update_elem(maps->services, &key, &fd, BPF_ANY) ? -errno : 0;
	close(fd);
	return err ? fail(err, "cannot wait for packets: %s", strerror(-err)) : 0;
}
