// SPDX-License-Identifier: GPL-2.0
#include "sock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

volatile bool stopped;

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	void (*help)(void);
} commands[] = {
	{"stress", stress, stress_help}, {"pingpong", pingpong, pingpong_help},
	{"bulk", bulk, bulk_help},	 {"short", short_lived, short_help},
	{"pairs", pairs, pairs_help},	 {"trap", trap, trap_help},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int help(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		if (name && strcmp(name, commands[i].name))
			continue;
		printf("sock %s", commands[i].name);
		commands[i].help();
		printf("\n");
	}
	printf("Every command prints one line of JSON. 0: as it should be, 1: not so, 2: could not "
	       "run.\nOptions of each command, numbers with K, M or G behind them:\n");
	show_options(net_options);
	return 0;
}

static void stop(int signal)
{
	(void)signal;
	stopped = true;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = stop};

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (argc > 1 && !strcmp(argv[1], "help"))
		return help(argv[2]);
	for (size_t i = 0; argc > 1 && i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "sock: stress, pingpong, bulk, short, pairs, trap NAME or help\n");
	return 2;
}
