// SPDX-License-Identifier: GPL-2.0
#include "counts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "run.h"

/* An entry as it is sorted: its key, and its counters behind it. */
struct reading {
	struct counts *c;
	size_t entry; /* bytes of key, padded, and counters */
	char *entries;
	size_t room;
	void *value; /* of all CPUs */
	int copies;
};

static bool is_per_cpu(__u32 type)
{
	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static size_t padded(size_t size)
{
	return (size + 7) & ~(size_t)7;
}

static int begin(struct reading *r, struct counts *c, int map, size_t marks)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(map, &info, &size))
		return fail(-errno, "cannot read a map of counters: %m");
	*c = (struct counts){
		.key_size = info.key_size,
		.values = info.value_size / sizeof(__u64),
		.marks = marks,
	};
	*r = (struct reading){
		.c = c,
		.entry = padded(info.key_size) + info.value_size,
		.copies = is_per_cpu(info.type) ? libbpf_num_possible_cpus() : 1,
	};
	if (info.value_size % sizeof(__u64) || r->copies < 1)
		return fail(-EINVAL, "the map '%s' is not one of counters", info.name);
	r->value = malloc((size_t)r->copies * info.value_size);
	return r->value ? 0 : fail(-ENOMEM, "out of memory");
}

static int grow(struct reading *r)
{
	size_t room = r->room ? 2 * r->room : 64;
	char *more = realloc(r->entries, room * r->entry);

	if (!more)
		return fail(-ENOMEM, "out of memory");
	r->entries = more;
	r->room = room;
	return 0;
}

static int add(struct reading *r, const void *key)
{
	struct counts *c = r->c;
	const __u64 *from = r->value;
	char *entry;
	__u64 *to;

	if (c->count == r->room && grow(r))
		return -ENOMEM;
	entry = r->entries + c->count++ * r->entry;
	memcpy(entry, key, c->key_size);
	to = (__u64 *)(entry + padded(c->key_size));
	memset(to, 0, c->values * sizeof(*to));
	for (int copy = 0; copy < r->copies; copy++)
		for (size_t i = 0; i < c->values; i++, from++)
			to[i] = i < c->marks ? to[i] + *from : *from > to[i] ? *from : to[i];
	return 0;
}

/* An entry that goes while the map is read may be missed, as may be those that come. */
static int read_all(struct reading *r, int map)
{
	char *key = malloc(2 * r->c->key_size), *next = key + r->c->key_size;
	bool first = true;
	int err = key ? 0 : fail(-ENOMEM, "out of memory");

	while (!err && !bpf_map_get_next_key(map, first ? NULL : key, next)) {
		first = false;
		memcpy(key, next, r->c->key_size);
		if (!bpf_map_lookup_elem(map, key, r->value))
			err = add(r, key);
	}
	free(key);
	return err;
}

static int compare(const void *a, const void *b, void *size)
{
	return memcmp(a, b, *(size_t *)size);
}

/* A map that changes may give a key twice. */
static void drop_twins(struct reading *r)
{
	struct counts *c = r->c;
	size_t kept = 0;

	for (size_t i = 0; i < c->count; i++) {
		if (kept && !memcmp(r->entries + (kept - 1) * r->entry, r->entries + i * r->entry,
				    c->key_size))
			continue;
		memmove(r->entries + kept++ * r->entry, r->entries + i * r->entry, r->entry);
	}
	c->count = kept;
}

static int take_over(struct reading *r)
{
	struct counts *c = r->c;
	size_t values = c->values * sizeof(__u64);

	c->keys = malloc(c->count * c->key_size + 1);
	c->value = malloc(c->count * values + 1);
	if (!c->keys || !c->value)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < c->count; i++) {
		const char *entry = r->entries + i * r->entry;

		memcpy((char *)c->keys + i * c->key_size, entry, c->key_size);
		memcpy(counts_value(c, i), entry + padded(c->key_size), values);
	}
	return 0;
}

int counts_read_marks(struct counts *c, int map, size_t marks)
{
	struct reading r = {};
	int err = begin(&r, c, map, marks);

	if (!err)
		err = read_all(&r, map);
	if (!err && c->count) {
		qsort_r(r.entries, c->count, r.entry, compare, &c->key_size);
		drop_twins(&r);
	}
	if (!err)
		err = take_over(&r);
	free(r.entries);
	free(r.value);
	if (err)
		counts_free(c);
	return err;
}

int counts_read(struct counts *c, int map)
{
	return counts_read_marks(c, map, SIZE_MAX);
}

int counts_of_marks(struct counts *c, struct trace_run *run, const char *map, size_t marks)
{
	int fd = trace_map(run, map);

	return fd < 0 ? fd : counts_read_marks(c, fd, marks);
}

int counts_of(struct counts *c, struct trace_run *run, const char *map)
{
	return counts_of_marks(c, run, map, SIZE_MAX);
}

void counts_free(struct counts *c)
{
	free(c->keys);
	free(c->value);
	*c = (struct counts){};
}

const void *counts_key(const struct counts *c, size_t i)
{
	return (const char *)c->keys + i * c->key_size;
}

__u64 *counts_value(const struct counts *c, size_t i)
{
	return c->value + i * c->values;
}

__u64 *counts_find(const struct counts *c, const void *key)
{
	size_t from = 0, to = c->count;

	while (from < to) {
		size_t middle = (from + to) / 2;
		int order = memcmp(key, counts_key(c, middle), c->key_size);

		if (!order)
			return counts_value(c, middle);
		if (order < 0)
			to = middle;
		else
			from = middle + 1;
	}
	return NULL;
}

int counts_copy(struct counts *to, const struct counts *from)
{
	size_t keys = from->count * from->key_size;
	size_t values = from->count * from->values * sizeof(*from->value);

	*to = *from;
	to->keys = malloc(keys + 1);
	to->value = malloc(values + 1);
	if (!to->keys || !to->value) {
		counts_free(to);
		return fail(-ENOMEM, "out of memory");
	}
	if (from->count) {
		memcpy(to->keys, from->keys, keys);
		memcpy(to->value, from->value, values);
	}
	return 0;
}

/* One that was forgotten and came again has counted less since. */
static void take_off(__u64 *now, const __u64 *was, const struct counts *c)
{
	for (size_t n = 0; was && n < c->values && n < c->marks; n++)
		now[n] -= was[n] <= now[n] ? was[n] : 0;
}

void counts_subtract(struct counts *c, const struct counts *before)
{
	for (size_t i = 0; i < c->count; i++)
		take_off(counts_value(c, i), counts_find(before, counts_key(c, i)), c);
}

void counts_since(void *to, const struct counts *c, size_t i, const struct counts *before)
{
	memcpy(to, counts_value(c, i), c->values * sizeof(__u64));
	take_off(to, before ? counts_find(before, counts_key(c, i)) : NULL, c);
}
