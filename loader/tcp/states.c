// SPDX-License-Identifier: GPL-2.0
#include "states.h"

#include <errno.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/out/endpoint.h"
#include "loader/out/out.h"
#include "tcp_states.skel.h"
#include "trace/abi/states.h"

static const struct trace_hook hooks[] = {
	{"tp_btf/inet_sock_set_state", "change of state", true},
};

static int open_states(struct trace_run *run, struct bpf_object **object,
		       struct weir_trace_config **config)
{
	struct tcp_states_bpf *skel = tcp_states_bpf__open();

	if (!skel)
		return fail(-errno, "cannot open the tracing programs: %m");
	run->skeleton = skel;
	*object = skel->obj;
	*config = &skel->rodata->config;
	return 0;
}

static void close_states(void *skeleton)
{
	tcp_states_bpf__destroy(skeleton);
}

const struct tracer tracer_states = {
	.name = "states",
	.answers = "how long sockets stay in each state",
	.hooks = hooks,
	.hook_count = sizeof(hooks) / sizeof(hooks[0]),
	.open = open_states,
	.close = close_states,
};

const char *tcp_state_name(unsigned int state)
{
	static const char *const names[] = {
		NULL,	     "ESTABLISHED", "SYN_SENT",	    "SYN_RECV",	  "FIN_WAIT1",
		"FIN_WAIT2", "TIME_WAIT",   "CLOSE",	    "CLOSE_WAIT", "LAST_ACK",
		"LISTEN",    "CLOSING",	    "NEW_SYN_RECV",
	};

	return state < sizeof(names) / sizeof(names[0]) && names[state] ? names[state] : "?";
}

json_t *states_row(struct trace_run *run, const void *event, size_t size)
{
	const struct weir_state_event *e = event;
	json_t *row;

	(void)run;
	if (size < sizeof(*e))
		return NULL;
	row = json_object();
	json_object_set_new(row, "time", out_time(e->ns));
	json_object_set_new(row, "pid", e->owner.pid ? json_integer(e->owner.pid) : json_null());
	json_object_set_new(row, "comm", e->owner.pid ? out_string(e->owner.comm) : json_null());
	json_object_set_new(row, "local",
			    out_end(e->ends.local, e->ends.local_port, e->ends.family));
	json_object_set_new(row, "remote",
			    out_end(e->ends.remote, e->ends.remote_port, e->ends.family));
	json_object_set_new(row, "old_state", json_string(tcp_state_name(e->from)));
	json_object_set_new(row, "new_state", json_string(tcp_state_name(e->to)));
	json_object_set_new(row, "in_old_state_us",
			    e->lasted_ns ? json_real(e->lasted_ns / 1e3) : json_null());
	json_object_set_new(row, "netns_inode", json_integer(e->ends.netns));
	return row;
}

json_t *states_summary(struct trace_run *run, double seconds)
{
	(void)run;
	(void)seconds;
	return json_pack("{s:[]}", "changes");
}
