/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A command parses its arguments, calls subjects and prints what they say. It touches no map and
 * decides nothing. main() finds it in the table and prints the failure line if it returns < 0.
 */
#ifndef WEIR_COMMAND_H
#define WEIR_COMMAND_H

#include <stdbool.h>

#include "loader/base/args.h"

struct command {
	const char *object; /* "rule", "attach"... */
	const char *name;   /* "add"...; NULL when the object is the command */
	int (*run)(struct args *args);
	const char *arguments; /* for help: "DEV [--mode MODE]" */
	const char *summary;
	bool needs_root;
};

int cmd_attach(struct args *args);
int cmd_detach(struct args *args);
int cmd_status(struct args *args);
int cmd_stats(struct args *args);
int cmd_top(struct args *args);
int cmd_rule_add(struct args *args);
int cmd_rule_del(struct args *args);
int cmd_rule_list(struct args *args);
int cmd_rule_flush(struct args *args);
int cmd_rule_load(struct args *args);
int cmd_service_list(struct args *args);
int cmd_service_add(struct args *args);
int cmd_service_set(struct args *args);
int cmd_service_del(struct args *args);
int cmd_backend_list(struct args *args);
int cmd_backend_add(struct args *args);
int cmd_backend_set(struct args *args);
int cmd_backend_drain(struct args *args);
int cmd_backend_del(struct args *args);
int cmd_service_plan(struct args *args);
int cmd_explain(struct args *args);
int cmd_run(struct args *args);
int cmd_handshake_show(struct args *args);
int cmd_handshake_watch(struct args *args);
int cmd_drop_show(struct args *args);
int cmd_drop_watch(struct args *args);
int cmd_doctor(struct args *args);
int cmd_sock_show(struct args *args);
int cmd_sock_attach(struct args *args);
int cmd_sock_detach(struct args *args);
int cmd_sock_list(struct args *args);
int cmd_sock_why(struct args *args);
int cmd_tcp_show(struct args *args);
int cmd_tcp_states(struct args *args);
int cmd_tcp_queue(struct args *args);
int cmd_tcp_rtt(struct args *args);
int cmd_tcp_connect(struct args *args);
int cmd_tcp_life(struct args *args);
int cmd_tcp_top(struct args *args);
int cmd_tcp_port(struct args *args);
int cmd_tcp_retransmit(struct args *args);
int cmd_tcp_drop(struct args *args);

#endif
