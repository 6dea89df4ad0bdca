/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A tracer, and a run of it: one BPF object of trace/ that either lives with the command, or is pinned
 * below <instance>/tcp/<tracer>/ and collects at bounded memory until it is unpinned. Who reads maps
 * need not know which: trace_map() gives the same.
 *
 *   <instance>/tcp/<tracer>/
 *     NAME            each map
 *     link_PROGRAM    each link
 *     about           struct weir_trace_about; pinned last: without it the rest is not whole
 */
#ifndef WEIR_TRACE_RUN_H
#define WEIR_TRACE_RUN_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "loader/kernel/hooks.h"
#include "loader/host/cgroup.h"
#include "loader/host/instance.h"
#include "trace/abi/trace.h"

struct bpf_link;
struct bpf_object;
struct trace_run;

#define TRACE_LINK     "link_" /* and the program's name: how links are pinned */
#define TRACE_PROGRAMS 12
#define TRACE_MAPS     16
#define TRACE_ROOM     (32u << 20) /* bytes */

struct tracer {
	const char *name;    /* of the command and of the pins: "states" */
	const char *answers; /* in a few words, for `weir tcp show` */
	const struct trace_hook *hooks;
	int hook_count;
	bool live_only;	  /* there is nothing to collect in the background */
	size_t own_size;  /* of run->own, which is zeroed */
	bool misses_none; /* another program takes over where one is interrupted by its own event */

	const void *(*elf)(size_t *size); /* of the BPF object: NAME_bpf__elf_bytes() */
	/* Before loading: its own constants, sizes of maps, what is left out, and what run->about.config
	 * shall be. May be NULL. */
	int (*choose)(struct trace_run *run);
	/* After loading, before and after the programs are attached: what must be in the maps, what is
	 * there already. May be NULL. */
	int (*prepare)(struct trace_run *run);
	int (*begun)(struct trace_run *run);
	void (*forget)(struct trace_run *run); /* what `own` holds; may be NULL */
};

struct trace_run {
	const struct tracer *tracer;
	struct weir_trace_about about; /* with the filter */
	bool pinned;		       /* read from pins: nothing is ours to detach */
	void *own;		       /* the tracer's, from `choose` to `forget` */
	const void *settings; /* what the user chose, as the tracer knows it; NULL when pinned */
	struct bpf_object *object; /* NULL when pinned */
	struct bpf_link *links[TRACE_PROGRAMS];
	char programs[TRACE_PROGRAMS][24]; /* names, of all that run */
	__u32 program_ids[TRACE_PROGRAMS];
	int program_count;
	struct {
		char name[24];
		int fd;
	} maps[TRACE_MAPS]; /* that were asked for */
	int map_count;
	char pins[PATH_MAX]; /* directory, when pinned */
};

/* Loads and attaches. What the filter names is the cgroup `cgroup`, NULL: all. A hook that is missing and
 * not needed is left out, with a notice. 0 or < 0 with a fail() line and nothing left. */
int trace_start(struct trace_run *run, const struct tracer *tracer,
		const struct weir_trace_config *config, const struct cgroup *cgroup,
		const void *settings);
/* Ends it, when it is not pinned. */
void trace_end(struct trace_run *run);

/* For tracer.choose(). The constants are NAME_bpf__rodata of the skeleton; names are those of the object. */
void *trace_rodata(const struct trace_run *run);
void trace_want(const struct trace_run *run, const char *program, bool wanted);
int trace_resize(const struct trace_run *run, const char *map, __u32 entries);

/* How many of the entries that are wanted a hash may have that keeps so many bytes of each for every CPU: it
 * takes at most TRACE_ROOM, or what one entry takes. trace_start() keeps to it. */
__u32 trace_room(__u32 wanted, __u32 bytes, int cpus);

/* Of a map of this name, -1 with a fail() line when there is none. The run's own. */
int trace_map(struct trace_run *run, const char *name);

/* Runs an iterator of its own, which writes nothing, over `what` of the namespace that the calling thread
 * is in. 0 or < 0 with a fail() line. */
int trace_walk(const struct trace_run *run, const char *program, const char *what);

/* Copies constants of its programs, which begin with struct weir_trace_config: those of a pinned run
 * tell how it was set up. */
int trace_constants(const struct trace_run *run, __u32 offset, void *to, __u32 size);

/* What it could not do, since it began. */
struct trace_lost {
	__u64 events_lost, records_full, unknown; /* as in struct weir_trace_tally */
	__u64 missed; /* runs that the kernel left out, as the program ran already */
};
int trace_lost_read(struct trace_run *run, struct trace_lost *lost);
/* {"events_lost", "records_full", "unknown", "missed_runs"} */
json_t *trace_lost_json(const struct trace_lost *lost);

#endif
