// SPDX-License-Identifier: GPL-2.0
#include "queue_kernel.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"

void queue_expect(const __u64 count[WEIR_Q_COUNTS], __u64 mib[WEIR_MIBS])
{
	__u64 overflows = count[WEIR_Q_SYN_ACCEPT] + count[WEIR_Q_ACK] + count[WEIR_Q_COOKIE_ACK];

	mib[WEIR_MIB_LISTEN_OVERFLOWS] += overflows;
	mib[WEIR_MIB_LISTEN_DROPS] += overflows + count[WEIR_Q_SYN_SYN] +
				      count[WEIR_Q_SYN_RESERVE] + count[WEIR_Q_SYN_OTHER];
	mib[WEIR_MIB_REQQ_DROP] += count[WEIR_Q_SYN_SYN];
	mib[WEIR_MIB_REQQ_COOKIES] += count[WEIR_Q_COOKIE] + count[WEIR_Q_BOTH_FULL];
	mib[WEIR_MIB_COOKIES_SENT] += count[WEIR_Q_COOKIE];
	mib[WEIR_MIB_SYN_RETRANS] += count[WEIR_Q_SYNACKS] + count[WEIR_Q_OWN_SYNS];
}

static void expect(const struct counts *c, __u64 cookie, __u64 mib[WEIR_MIBS])
{
	memset(mib, 0, WEIR_MIBS * sizeof(*mib));
	for (size_t i = 0; i < c->count; i++) {
		const struct weir_queue_listener *l = counts_key(c, i);

		if (l->cookie == cookie)
			queue_expect(counts_value(c, i), mib);
	}
}

int queue_kernel_begin(struct trace_run *run, const struct queue_reading *r)
{
	int map = trace_map(run, "spaces"), err = map < 0 ? map : 0;

	for (size_t i = 0; !err && i < r->space_count; i++) {
		const struct queue_space *s = &r->spaces[i];
		struct weir_queue_space began;

		memcpy(began.kernel, s->kernel, sizeof(began.kernel));
		expect(&r->before, s->cookie, began.before);
		expect(&r->after, s->cookie, began.after);
		err = bpf_map_update_elem(map, &s->cookie, &began, BPF_ANY);
		if (err)
			err = fail(err, "cannot note the kernel's counters: %s", strerror(-err));
	}
	return err;
}

/* What came while the kernel's counters were read may be in them or not. */
static json_t *counter_json(int i, const __u64 *kernel, const __u64 *least, const __u64 *most)
{
	__s64 counted = kernel[i], weir = counted;

	if (weir < (__s64)least[i])
		weir = least[i];
	if (weir > (__s64)most[i])
		weir = most[i];
	return json_pack("{s:s,s:I,s:I,s:I}", "counter", queue_mibs[i], "kernel",
			 (json_int_t)counted, "weir", (json_int_t)weir, "unexplained",
			 (json_int_t)(counted - weir));
}

static json_t *space_json(int map, const struct queue_reading *r, const struct queue_space *s)
{
	__u64 kernel[WEIR_MIBS], least[WEIR_MIBS], most[WEIR_MIBS], any = 0;
	struct weir_queue_space began = {};
	json_t *counters = json_array();

	/* One that is not there came later, and began at 0. */
	bpf_map_lookup_elem(map, &s->cookie, &began);
	expect(&r->before, s->cookie, least);
	expect(&r->after, s->cookie, most);
	for (int i = 0; i < WEIR_MIBS; i++) {
		kernel[i] = s->kernel[i] - began.kernel[i];
		least[i] = least[i] > began.after[i] ? least[i] - began.after[i] : 0;
		most[i] = most[i] > began.before[i] ? most[i] - began.before[i] : 0;
		any |= kernel[i] | most[i];
		json_array_append_new(counters, counter_json(i, kernel, least, most));
	}
	return json_pack("{s:I,s:b,s:o}", "netns_inode", (json_int_t)s->netns, "quiet", !any,
			 "counters", counters);
}

json_t *queue_kernel_json(struct trace_run *run, const struct queue_reading *r)
{
	int map = trace_map(run, "spaces");
	json_t *spaces;

	if (map < 0)
		return NULL;
	spaces = json_array();
	for (size_t i = 0; i < r->space_count; i++)
		json_array_append_new(spaces, space_json(map, r, &r->spaces[i]));
	return spaces;
}
