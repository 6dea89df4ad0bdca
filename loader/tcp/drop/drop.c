// SPDX-License-Identifier: GPL-2.0
#include "drop.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "drop_counts.h"
#include "drop_reasons.h"
#include "drop_xdp.h"
#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/host/netdev.h"
#include "loader/out/endpoint.h"
#include "loader/out/out.h"
#include "loader/kernel/kernel_names.h"
#include "loader/watch/counters.h"
#include "loader/tcp/states/states.h"
#include "tcp_drop.skel.h"

struct drop_own {
	struct counts before; /* the last reading */
	struct xdp_drops xdp; /* the same */
	bool begun;	      /* there was one */
	bool settled;	      /* `settings` were read */
	struct weir_drop_settings settings;
};

static const struct trace_hook hooks[] = {
	{"tp_btf/kfree_skb", "dropped packet", true},
};

/* ---- begin and end ---- */

static void settle(struct weir_drop_settings *s, const struct drop_settings *user)
{
	*s = (struct weir_drop_settings){
		.no_socket = drop_reason_value("NO_SOCKET"),
		.not_specified = drop_reason_value("NOT_SPECIFIED"),
		.listen_overflow = drop_reason_value("TCP_LISTEN_OVERFLOW"),
		.socket = hook_arguments("kfree_skb") > 3,
		.all = user && user->all,
		.stack = user && user->stack,
	};
	drop_reasons_benign(s->benign);
}

static int choose(struct trace_run *run)
{
	struct tcp_drop_bpf__rodata *constants = trace_rodata(run);

	settle(&constants->settings, run->settings);
	return constants->settings.stack ? 0 : trace_resize(run, "stacks", 1);
}

static void forget_drop(struct trace_run *run)
{
	struct drop_own *own = run->own;

	counts_free(&own->before);
	xdp_drops_free(&own->xdp);
}

const struct tracer tracer_drop = {
	.name = "drop",
	.answers = "packets that the kernel or weir drops, and where",
	.hooks = hooks,
	.hook_count = sizeof(hooks) / sizeof(hooks[0]),
	.own_size = sizeof(struct drop_own),
	.elf = tcp_drop_bpf__elf_bytes,
	.choose = choose,
	.prepare = xdp_drops_keep,
	.forget = forget_drop,
};

static const struct weir_drop_settings *settings_of(struct trace_run *run)
{
	struct drop_own *own = run->own;

	if (!own->settled && !trace_constants(run, sizeof(struct weir_trace_config), &own->settings,
					      sizeof(own->settings)))
		own->settled = true;
	return own->settled ? &own->settings : NULL;
}

/* ---- what both lines and summaries say ---- */

static bool is_benign(const struct weir_drop_settings *s, const struct weir_drop_kind *kind)
{
	return kind->cause == WEIR_DROP_TIME_WAIT || kind->cause == WEIR_DROP_ACK_USED ||
	       (kind->reason < 256 && s->benign[kind->reason / 64] >> kind->reason % 64 & 1);
}

/* Functions that run XDP programs on what is an skb already, and free it when they say so. */
static bool runs_xdp(const char *symbol)
{
	static const char *const functions[] = {
		"veth_xdp_rcv_skb",
		"do_xdp_generic",
		"netif_receive_generic_xdp",
		"bpf_prog_run_generic_xdp",
	};
	size_t length = strcspn(symbol, "+");

	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (!strncmp(symbol, functions[i], length) && !functions[i][length])
			return true;
	return false;
}

static const char *cause_of(const struct weir_drop_kind *kind, const char *symbol)
{
	switch (kind->cause) {
	case WEIR_DROP_ACCEPT_QUEUE_FULL: return "accept_queue_full";
	case WEIR_DROP_TIME_WAIT: return "time_wait";
	case WEIR_DROP_ACK_USED: return "ack_used";
	}
	return runs_xdp(symbol) ? "xdp" : NULL;
}

static void set_kind(json_t *row, const struct weir_drop_kind *kind)
{
	char symbol[KERNEL_SYMBOL_TEXT], reason[DROP_REASON_TEXT];
	const char *cause;

	kernel_symbol(kind->location, symbol);
	cause = cause_of(kind, symbol);
	json_object_set_new(row, "reason", json_string(drop_reason_name(kind->reason, reason)));
	json_object_set_new(row, "cause", cause ? json_string(cause) : json_null());
	json_object_set_new(row, "location", json_string(symbol));
}

/* The tracer's own frames come first, and then what it is called by, down to the place of the drop. */
static json_t *stack_json(const __u64 *frame, size_t count, __u64 location)
{
	char symbol[KERNEL_SYMBOL_TEXT];
	json_t *stack = json_array();
	size_t first = 0;

	while (first < count && frame[first] != location)
		first++;
	for (size_t i = first < count ? first : 0; i < count; i++)
		json_array_append_new(stack, json_string(kernel_symbol(frame[i], symbol)));
	return stack;
}

static json_t *number_or_null(__u64 number)
{
	return number ? json_integer(number) : json_null();
}

/* ---- lines ---- */

static json_t *flags_json(const struct weir_drop_event *e)
{
	static const char *const names[] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
	char text[48] = "";

	if (e->kind.other || (!e->ends.local_port && !e->ends.remote_port))
		return json_null();
	for (int i = 0; i < 8; i++)
		if (e->flags >> i & 1)
			sprintf(text + strlen(text), "%s%s", *text ? "|" : "", names[i]);
	return json_string(*text ? text : "none");
}

static json_t *protocol_json(const struct weir_drop_event *e)
{
	char number[8];

	switch (e->ends.family ? e->protocol : 0) {
	case 0: return e->ends.family ? json_string("0") : json_null();
	case IPPROTO_TCP: return json_string("tcp");
	case IPPROTO_UDP: return json_string("udp");
	case IPPROTO_ICMP: return json_string("icmp");
	case IPPROTO_ICMPV6: return json_string("icmp6");
	}
	snprintf(number, sizeof(number), "%u", e->protocol);
	return json_string(number);
}

static json_t *end_json(const struct weir_drop_event *e, const __be32 address[4], __u16 port)
{
	if (!e->ends.family)
		return json_null();
	return e->ends.local_port || e->ends.remote_port ? out_end(address, port, e->ends.family)
							 : out_address(address, e->ends.family);
}

/* XDP programs see what comes in. */
static json_t *direction_json(__u8 direction, const char *cause)
{
	if (direction == WEIR_DROP_OUT)
		return json_string("out");
	return direction == WEIR_DROP_IN || (cause && !strcmp(cause, "xdp")) ? json_string("in")
									     : json_null();
}

static void set_listener(json_t *row, const struct weir_drop_event *e)
{
	bool listens = e->state == 10; /* TCP_LISTEN */

	json_object_set_new(row, "state",
			    e->state ? json_string(tcp_state_name(e->state)) : json_null());
	json_object_set_new(row, "accept_queue",
			    listens ? json_integer(e->accept_queue) : json_null());
	json_object_set_new(row, "accept_max", listens ? json_integer(e->accept_max) : json_null());
	json_object_set_new(row, "syn_queue", listens ? json_integer(e->syn_queue) : json_null());
}

static json_t *event_json(const struct weir_drop_event *e)
{
	json_t *row = json_object();
	const char *cause;

	json_object_set_new(row, "time", out_time(e->ns));
	json_object_set_new(row, "source", json_string("kernel"));
	json_object_set_new(row, "device", json_null());
	json_object_set_new(row, "packets", json_integer(1));
	json_object_set_new(row, "protocol", protocol_json(e));
	json_object_set_new(row, "local", end_json(e, e->ends.local, e->ends.local_port));
	json_object_set_new(row, "remote", end_json(e, e->ends.remote, e->ends.remote_port));
	json_object_set_new(row, "flags", flags_json(e));
	set_listener(row, e);
	set_kind(row, &e->kind);
	cause = json_string_value(json_object_get(row, "cause"));
	json_object_set_new(row, "direction", direction_json(e->direction, cause));
	json_object_set_new(row, "ifindex", number_or_null(e->ifindex));
	json_object_set_new(row, "netns_inode", number_or_null(e->ends.netns));
	return row;
}

json_t *drop_row(struct trace_run *run, const void *event, size_t size)
{
	const struct weir_drop_settings *settings = settings_of(run);
	const struct weir_drop_stack_event *e = event;
	json_t *row;

	if (size < sizeof(e->event) || !settings)
		return NULL;
	row = event_json(&e->event);
	json_object_set_new(row, "benign", json_boolean(is_benign(settings, &e->event.kind)));
	if (size >= sizeof(*e) && e->event.stack_bytes)
		json_object_set_new(row, "stack",
				    stack_json(e->frame, e->event.stack_bytes / sizeof(__u64),
					       e->event.kind.location));
	return row;
}

/* ---- what weir's own programs dropped ---- */

/* They count by device and reason: what else a filter asks for is not known of their packets. */
static bool shows_xdp(const struct trace_run *run)
{
	const struct weir_trace_filter *f = &run->about.config.filter;

	return !f->cgroup && !f->family && !f->port_ranges && !f->peer_ranges && !f->peer_bits &&
	       (!f->netns || f->netns == netdev_namespace());
}

static json_t *xdp_json(const struct xdp_device *device, unsigned int drop, __u64 packets)
{
	char source[24];
	json_t *row = json_object();

	snprintf(source, sizeof(source), "xdp %s", device->name);
	json_object_set_new(row, "source", out_string(source));
	json_object_set_new(row, "device", out_string(device->name));
	json_object_set_new(row, "packets", json_integer(packets));
	json_object_set_new(row, "reason", json_string(drop_name(drop)));
	json_object_set_new(row, "cause", json_null());
	json_object_set_new(row, "location", json_null());
	json_object_set_new(row, "benign", json_false());
	json_object_set_new(row, "advice", json_string(drop_meanings[drop]));
	return row;
}

/* With `recent` since the last call, else since the tracer began. */
static int append_xdp(struct trace_run *run, json_t *rows, bool recent)
{
	struct drop_own *own = run->own;
	struct xdp_drops x = {};
	int err = shows_xdp(run) ? xdp_drops_read(&x, false) : 0;

	if (err || !shows_xdp(run))
		return err;
	for (size_t i = 0; i < x.count; i++) {
		const struct xdp_device *device = &x.device[i];
		struct weir_drop_device start = xdp_drops_at_start(run, device->ifindex);
		const struct weir_drop_device *before =
			recent ? xdp_drops_of(&own->xdp, device->ifindex) : NULL;

		for (unsigned int drop = 0; drop < COUNTERS_DROPS; drop++) {
			__u64 n = xdp_dropped(&device->now, before ? before : &start, drop);

			if (n)
				json_array_append_new(rows, xdp_json(device, drop, n));
		}
	}
	xdp_drops_free(&own->xdp);
	own->xdp = x;
	return 0;
}

json_t *drop_rows(struct trace_run *run)
{
	json_t *rows = json_array(), *row;
	size_t i;

	if (append_xdp(run, rows, true)) {
		json_decref(rows);
		return NULL;
	}
	json_array_foreach (rows, i, row)
		json_object_set_new(row, "time", out_time(clock_now_ns()));
	return rows;
}

/* ---- the summary ---- */

/* Of all CPUs' the latest stack; NULL: none was taken. */
static void set_stack(struct trace_run *run, json_t *row, const struct weir_drop_kind *kind)
{
	int cpus = libbpf_num_possible_cpus(), fd = trace_map(run, "stacks");
	const struct weir_drop_stack *last = NULL;
	struct weir_drop_stack *s = cpus > 0 ? calloc(cpus, sizeof(*s)) : NULL;
	__u64 skipped = 0;
	__u32 current;

	if (s && fd >= 0 && !bpf_map_lookup_elem(fd, kind, s))
		for (int cpu = 0; cpu < cpus; cpu++) {
			skipped += s[cpu].skipped;
			if (s[cpu].taken && (!last || s[cpu].last_ns > last->last_ns))
				last = &s[cpu];
		}
	if (last) {
		current = (last->taken - 1) & 1;
		json_object_set_new(row, "stack",
				    stack_json(last->frame[current],
					       last->bytes[current] / sizeof(__u64),
					       kind->location));
	}
	json_object_set_new(row, "stacks_skipped", json_integer(skipped));
	free(s);
}

static json_t *kind_json(struct trace_run *run, const struct weir_drop_settings *settings,
			 const struct weir_drop_kind *kind, __u64 packets)
{
	json_t *row = json_object();
	const char *advice;

	json_object_set_new(row, "source", json_string("kernel"));
	json_object_set_new(row, "device", json_null());
	json_object_set_new(row, "tcp", json_boolean(!kind->other));
	json_object_set_new(row, "packets", json_integer(packets));
	set_kind(row, kind);
	json_object_set_new(row, "benign", json_boolean(is_benign(settings, kind)));
	advice = drop_reason_advice(json_string_value(json_object_get(row, "cause")));
	if (!advice)
		advice = drop_reason_advice(json_string_value(json_object_get(row, "reason")));
	json_object_set_new(row, "advice", advice ? json_string(advice) : json_null());
	if (settings->stack)
		set_stack(run, row, kind);
	return row;
}

static int by_packets(const void *a, const void *b)
{
	json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "packets"));
	json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "packets"));

	return (x < y) - (x > y);
}

/* Takes the rows over: most packets first, with their rate. */
static json_t *sorted(json_t *rows, double seconds)
{
	size_t count = json_array_size(rows), i;
	json_t **row = calloc(count ? count : 1, sizeof(*row)), *out = json_array();

	for (i = 0; row && i < count; i++)
		row[i] = json_incref(json_array_get(rows, i));
	if (row)
		qsort(row, count, sizeof(*row), by_packets);
	for (i = 0; row && i < count; i++) {
		double packets = json_integer_value(json_object_get(row[i], "packets"));

		json_object_set_new(row[i], "packets_per_second",
				    seconds > 0 ? json_real(packets / seconds) : json_null());
		json_array_append_new(out, row[i]);
	}
	free(row);
	json_decref(rows);
	return out;
}

/* What the kernel dropped, into what is a loss and what is not. */
static int append_kernel(struct trace_run *run, json_t *drops, json_t *benign, bool recent)
{
	const struct weir_drop_settings *settings = settings_of(run);
	struct drop_own *own = run->own;
	struct counts now;
	int err = settings ? drop_counts_read(&now, run) : -EIO;

	if (err)
		return err;
	for (size_t i = 0; i < now.count; i++) {
		const struct weir_drop_kind *kind = counts_key(&now, i);
		const __u64 *before = recent && own->begun ? counts_find(&own->before, kind) : NULL;
		__u64 packets = *counts_value(&now, i) - (before ? *before : 0);

		if (packets)
			json_array_append_new(is_benign(settings, kind) ? benign : drops,
					      kind_json(run, settings, kind, packets));
	}
	counts_free(&own->before);
	own->before = now;
	return 0;
}

json_t *drop_summary(struct trace_run *run, double seconds)
{
	double since = seconds ? seconds : (clock_now_ns() - run->about.started_ns) / 1e9;
	json_t *drops = json_array(), *benign = json_array();
	struct drop_own *own = run->own;
	int err = append_kernel(run, drops, benign, seconds > 0);

	if (!err)
		err = append_xdp(run, drops, seconds > 0);
	own->begun = true;
	if (err) {
		json_decref(drops);
		json_decref(benign);
		return NULL;
	}
	return json_pack("{s:o,s:o}", "drops", sorted(drops, since), "benign",
			 sorted(benign, since));
}
