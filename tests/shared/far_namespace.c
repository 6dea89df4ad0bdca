// SPDX-License-Identifier: GPL-2.0
#include "far_namespace.h"

#include <err.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void run(const char *format, ...)
{
	char command[512];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	if (system(command))
		errx(1, "failed: %s", command);
}

pid_t start_far_end(void)
{
	int unshared[2];
	char byte;
	pid_t pid;

	if (pipe(unshared))
		return -1;
	pid = fork();
	if (!pid) {
		if (!unshare(CLONE_NEWNET) && write(unshared[1], "", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	close(unshared[1]);
	if (read(unshared[0], &byte, 1) != 1)
		pid = -1;
	close(unshared[0]);
	return pid;
}

void end_far_end(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
