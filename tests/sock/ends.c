// SPDX-License-Identifier: GPL-2.0
#include "sock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

static pid_t start(enum side side, int (*end)(void *), void *context)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		exit(2);
	enter(side);
	exit(end(context));
}

bool run_ends(int (*server)(void *), int (*client)(void *), void *context, double most_seconds)
{
	pid_t pids[2] = {[CLIENT] = start(CLIENT, client, context),
			 [SERVER] = start(SERVER, server, context)};
	double limit = now() + most_seconds;
	bool good = true;

	for (int left = 2; left;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid > 0) {
			pids[pid == pids[SERVER] ? SERVER : CLIENT] = 0;
			left--;
			if (status && good)
				limit = now() + 1;
			good = good && !status;
			continue;
		}
		if (now() > limit || stopped) {
			good = false;
			for (int i = 0; i < 2; i++)
				if (pids[i])
					kill(pids[i], SIGKILL);
		}
		pause_ms(5);
	}
	return good;
}
