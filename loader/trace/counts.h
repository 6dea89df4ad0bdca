/* SPDX-License-Identifier: GPL-2.0 */
/* A reading of a map whose values are nothing but 64-bit counters: per-CPU ones are summed up. */
#ifndef WEIR_TRACE_COUNTS_H
#define WEIR_TRACE_COUNTS_H

#include <linux/types.h>
#include <stddef.h>

struct trace_run;

struct counts {
	size_t key_size, values; /* bytes; counters of each entry */
	size_t marks; /* from this one on they are high-water marks, the highest of all CPUs */
	size_t count;
	void *keys;   /* sorted by their bytes */
	__u64 *value; /* [count][values] */
};

/* Hashes and arrays, per CPU or not. 0 or < 0 with a fail() line. To be freed by counts_free(). */
int counts_read(struct counts *c, int map);
int counts_read_marks(struct counts *c, int map, size_t marks);
/* The same, of a run's map of this name. */
int counts_of(struct counts *c, struct trace_run *run, const char *map);
int counts_of_marks(struct counts *c, struct trace_run *run, const char *map, size_t marks);
void counts_free(struct counts *c);
const void *counts_key(const struct counts *c, size_t i);
__u64 *counts_value(const struct counts *c, size_t i);
/* The counters of this key, or NULL. */
__u64 *counts_find(const struct counts *c, const void *key);
/* To be freed as well. 0 or < 0 with a fail() line. */
int counts_copy(struct counts *to, const struct counts *from);
/* Takes off what was there before, of the same map; marks stay. */
void counts_subtract(struct counts *c, const struct counts *before);
/* The same of the counters of one entry, which are copied; `before` NULL: nothing. */
void counts_since(void *to, const struct counts *c, size_t i, const struct counts *before);

#endif
