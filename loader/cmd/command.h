/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A command parses its arguments, calls subjects and prints what they say. It touches no map and
 * decides nothing. main() finds it in the table and prints the failure line if it returns < 0.
 */
#ifndef WEIR_COMMAND_H
#define WEIR_COMMAND_H

#include <stdbool.h>

struct args {
	int count;
	char **word;
};

struct command {
	const char *object; /* "rule", "attach"... */
	const char *name;   /* "add"...; NULL when the object is the command */
	int (*run)(struct args *args);
	const char *arguments; /* for help: "DEV [--mode MODE]" */
	const char *summary;
	bool needs_root;
};

/* Takes the next word, or returns NULL when there is none. */
char *next_word(struct args *args);
/* Takes the next word if it is `word` (no abbreviation: words may be names of devices). */
bool accept_word(struct args *args, const char *word);
/* The value behind keyword `word`; a missing value is a misuse() and returns NULL. */
char *value_of(struct args *args, const char *word);
/* A misuse() that names the first word nobody took; 0 when all are taken. */
int no_more_words(struct args *args);
/* Whole-string numbers: "12abc" is refused. `what` names the value in the message. */
int parse_number(const char *what, const char *text, long least, long most, long *number);
/* Seconds, fractions allowed: "0.5". */
int parse_seconds(const char *what, const char *text, double *seconds);

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
int cmd_handshake_show(struct args *args);
int cmd_handshake_watch(struct args *args);
int cmd_drop_show(struct args *args);
int cmd_drop_watch(struct args *args);
int cmd_doctor(struct args *args);

#endif
