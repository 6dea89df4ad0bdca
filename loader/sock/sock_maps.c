// SPDX-License-Identifier: GPL-2.0
#include "sock_maps.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "weir_birth.skel.h"

/* Where each map is pinned and kept. */
static const struct pinned_map {
	const char *name;
	size_t fd; /* offset in struct sock_maps */
	enum bpf_map_type type;
	__u32 key, value, entries, flags;
	__u32 by_pairs; /* entries for each pair; 0: as many as `entries` */
} pinned_maps[] = {
	{"sockets", offsetof(struct sock_maps, sockets), BPF_MAP_TYPE_SK_STORAGE, sizeof(int),
	 sizeof(struct weir_sock), 0, BPF_F_NO_PREALLOC, 0},
	{"births", offsetof(struct sock_maps, births), BPF_MAP_TYPE_LRU_HASH,
	 sizeof(struct weir_key), sizeof(struct weir_birth), WEIR_BIRTHS, 0, 0},
	{"ends", offsetof(struct sock_maps, ends), BPF_MAP_TYPE_SOCKHASH, sizeof(__u64),
	 sizeof(__u64), 0, 0, WEIR_ENDS},
	{"pairs", offsetof(struct sock_maps, pairs_fd), BPF_MAP_TYPE_ARRAY, sizeof(__u32),
	 sizeof(struct weir_pair), 0, BPF_F_MMAPABLE, 1},
	{"lives", offsetof(struct sock_maps, lives_fd), BPF_MAP_TYPE_ARRAY, sizeof(__u32),
	 sizeof(struct weir_lives), WEIR_LIVES, BPF_F_MMAPABLE, 0},
	{"local", offsetof(struct sock_maps, local), BPF_MAP_TYPE_LPM_TRIE,
	 sizeof(struct weir_local_key), sizeof(__u8), WEIR_LOCAL_MAX, BPF_F_NO_PREALLOC, 0},
	{"totals", offsetof(struct sock_maps, totals), BPF_MAP_TYPE_HASH,
	 sizeof(struct weir_sock_port), sizeof(struct weir_sock_totals), WEIR_SOCK_PORTS,
	 BPF_F_NO_PREALLOC, 0},
	/* The last one: what is there without it was not made to its end. */
	{"control", offsetof(struct sock_maps, control_fd), BPF_MAP_TYPE_ARRAY, sizeof(__u32),
	 sizeof(struct weir_sock_control), 1, BPF_F_MMAPABLE, 0},
};

#define MAPS (sizeof(pinned_maps) / sizeof(pinned_maps[0]))

static int *fd_of(const struct sock_maps *m, const struct pinned_map *map)
{
	return (int *)((char *)m + map->fd);
}

static const char *path_of(const struct instance *in, const struct pinned_map *map)
{
	return instance_path(in, "sock/%s", map->name);
}

static int check(const struct instance *in, const struct pinned_map *map, int fd, __u32 *entries)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return fail(-errno, "cannot read %s: %m", path_of(in, map));
	if (info.type != map->type || info.key_size != map->key || info.value_size != map->value)
		return fail(-EPROTO,
			    "%s has another schema than this weir (" WEIR_VERSION ") speaks; "
			    "'weir sock detach --all' with the weir that made it",
			    path_of(in, map));
	*entries = info.max_entries;
	return 0;
}

/* Socket storage is only made for a type that the kernel knows. */
static int make_storage(const struct pinned_map *map)
{
	struct weir_birth_bpf *skel = weir_birth_bpf__open();
	struct btf *btf = skel ? bpf_object__btf(skel->obj) : NULL;
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = map->flags);
	int err = btf ? btf__load_into_kernel(btf) : -ENOMEM;

	if (!err) {
		opts.btf_fd = btf__fd(btf);
		opts.btf_key_type_id = btf__find_by_name_kind(btf, "int", BTF_KIND_INT);
		opts.btf_value_type_id = btf__find_by_name_kind(btf, "weir_sock", BTF_KIND_STRUCT);
		err = bpf_map_create(map->type, map->name, map->key, map->value, 0, &opts);
	}
	weir_birth_bpf__destroy(skel);
	return err;
}

static int make(const struct instance *in, const struct pinned_map *map, __u32 pairs)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = map->flags);
	__u32 entries = map->by_pairs ? map->by_pairs * pairs : map->entries;
	int fd, err;

	if (map->type == BPF_MAP_TYPE_SK_STORAGE)
		fd = make_storage(map);
	else
		fd = bpf_map_create(map->type, map->name, map->key, map->value, entries, &opts);
	if (fd < 0)
		return fail(fd, "cannot make the BPF map '%s': %s", map->name, strerror(-fd));
	err = bpf_obj_pin(fd, path_of(in, map));
	if (!err)
		return fd;
	close(fd);
	return fail(err, "cannot pin %s: %s", path_of(in, map), strerror(-err));
}

static void *map_memory(int fd, size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static size_t pairs_size(const struct sock_maps *m)
{
	return m->pair_count * sizeof(*m->pairs);
}

/* The record is written by who makes it, and only then is the set of maps good. */
static int share(struct sock_maps *m, bool change)
{
	m->control = map_memory(m->control_fd, sizeof(*m->control));
	m->pairs = map_memory(m->pairs_fd, pairs_size(m));
	m->lives = map_memory(m->lives_fd, WEIR_LIVES * sizeof(*m->lives));
	if (!m->control || !m->pairs || !m->lives)
		return fail(-errno, "cannot share memory with the socket programs: %m");
	if (!m->control->schema && !change)
		return -ENOENT;
	if (!m->control->schema)
		m->control->schema = WEIR_SOCK_SCHEMA;
	if (m->control->schema != WEIR_SOCK_SCHEMA)
		return fail(
			-EPROTO,
			"the attached socket programs have schema %u, this weir speaks %u; 'weir "
			"sock detach --all' with the weir that made them",
			m->control->schema, WEIR_SOCK_SCHEMA);
	return 0;
}

/* pairs: 0 when nothing is to be made. */
static int open_all(struct sock_maps *m, const struct instance *in, __u32 pairs)
{
	bool change = pairs;
	__u32 entries = 0;
	int err;

	for (size_t i = 0; i < MAPS; i++) {
		const struct pinned_map *map = &pinned_maps[i];
		int *fd = fd_of(m, map);

		*fd = pin_open(path_of(in, map));
		if (*fd == -ENOENT && change)
			*fd = make(in, map, pairs);
		if (*fd < 0)
			return *fd == -ENOENT ? -ENOENT
					      : fail(*fd, "cannot open %s: %s", path_of(in, map),
						     strerror(-*fd));
		err = check(in, map, *fd, &entries);
		if (err)
			return err;
		if (fd == &m->pairs_fd)
			m->pair_count = pairs = entries;
	}
	return share(m, change);
}

static void forget_all(struct sock_maps *m)
{
	*m = (struct sock_maps){.control_fd = -1, .pairs_fd = -1};
	for (size_t i = 0; i < MAPS; i++)
		*fd_of(m, &pinned_maps[i]) = -1;
}

int sock_maps_open(struct sock_maps *m, const struct instance *in)
{
	int err;

	forget_all(m);
	if (!in->exists)
		return -ENOENT;
	err = open_all(m, in, 0);
	if (err)
		sock_maps_close(m);
	return err;
}

int sock_maps_make(struct sock_maps *m, const struct instance *in, __u32 pairs)
{
	int err;

	forget_all(m);
	err = pin_mkdir(instance_path(in, "sock"));
	if (!err)
		err = open_all(m, in, pairs);
	if (err)
		sock_maps_close(m);
	return err;
}

void sock_maps_close(struct sock_maps *m)
{
	if (m->control)
		munmap(m->control, sizeof(*m->control));
	if (m->pairs)
		munmap(m->pairs, pairs_size(m));
	if (m->lives)
		munmap(m->lives, WEIR_LIVES * sizeof(*m->lives));
	for (size_t i = 0; i < MAPS; i++)
		if (*fd_of(m, &pinned_maps[i]) >= 0)
			close(*fd_of(m, &pinned_maps[i]));
	forget_all(m);
}

int sock_maps_reuse(const struct sock_maps *m, struct bpf_object *object)
{
	int err = 0;

	for (size_t i = 0; !err && i < MAPS; i++) {
		struct bpf_map *map;

		map = bpf_object__find_map_by_name(object, pinned_maps[i].name);
		if (map)
			err = bpf_map__reuse_fd(map, *fd_of(m, &pinned_maps[i]));
	}
	return err ? fail(err, "cannot use the maps that are pinned: %s", strerror(-err)) : 0;
}
