// SPDX-License-Identifier: GPL-2.0
/* The tender as a process of its own, for those who do not have `weir run` running. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "tend.h"

#define ASK_MS 50 /* how often the programs' counter of new connections is looked at */

/* What the child says to who started it: 0, or the error with its line behind. */
struct word {
	int err;
	char line[512];
};

static void say(int to, int err)
{
	struct word word = {.err = err};

	snprintf(word.line, sizeof(word.line), "%s", failure() ? failure() : "");
	if (write(to, &word, sizeof(word)) < 0)
		_exit(2);
	close(to);
}

static void wait_for_news(const struct tender *t, int ms)
{
	for (; ms > 0 && !tender_has_news(t); ms -= ASK_MS)
		usleep(1000 * (ms < ASK_MS ? ms : ASK_MS));
}

/* A round that failed may succeed the next time: what it could not do is left as it was. */
static void go_on(struct tender *t)
{
	int ms = 0;

	while (ms != -ESTALE) {
		ms = tender_round(t);
		forget_failure();
		if (ms != -ESTALE)
			wait_for_news(t, ms < 0 ? 1000 : ms);
	}
}

static void detach_from_terminal(void)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	if (chdir("/"))
		_exit(2);
}

/* What the starter has open is not ours to keep: its lock, which all instances share, and the pipes
 * of who waits for it to end. */
static void close_all_but(int kept)
{
	if (kept > 3)
		close_range(3, kept - 1, 0);
	close_range(kept < 3 ? 3 : kept + 1, ~0u, 0);
}

/* Who only looks whether somebody tends holds the lock for a moment. */
static int open_tender(struct tender *t, const struct instance *in)
{
	int err = tender_open(t, in);

	for (int i = 0; err == -EBUSY && i < 10; i++) {
		usleep(10000);
		err = tender_open(t, in);
	}
	return err;
}

static void be_tender(const struct instance *in, int to)
{
	struct tender t;
	int err;

	setsid();
	if (fork())
		_exit(0);
	close_all_but(to);
	signal(SIGPIPE, SIG_IGN);
	err = open_tender(&t, in);
	detach_from_terminal();
	say(to, err == -EBUSY ? 0 : err);
	if (!err) {
		go_on(&t);
		tender_close(&t);
	}
	_exit(0);
}

int tender_start(const struct instance *in)
{
	struct word word = {.err = -ECHILD};
	int pipes[2];
	pid_t child;

	if (pipe2(pipes, O_CLOEXEC))
		return fail(-errno, "cannot make a pipe: %m");
	fflush(NULL);
	child = fork();
	if (!child) {
		close(pipes[0]);
		be_tender(in, pipes[1]);
	}
	close(pipes[1]);
	if (child < 0 || read(pipes[0], &word, sizeof(word)) != sizeof(word))
		word.err = -ECHILD;
	close(pipes[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	if (word.err)
		return fail(word.err, "nobody tends the sockets: %s",
			    *word.line ? word.line : "the process for it did not start");
	return 0;
}

/* One that we cannot look at is let be. */
static bool is_same_build(int process)
{
	char path[32];
	struct stat own, other;

	snprintf(path, sizeof(path), "/proc/%d/exe", process);
	return stat("/proc/self/exe", &own) || stat(path, &other) ||
	       (own.st_ino == other.st_ino && own.st_dev == other.st_dev);
}

int tender_ensure(const struct instance *in)
{
	int process = tender_process(in), err = 0;
	struct tender t;

	if (process && is_same_build(process))
		return 0;
	if (process) {
		err = tender_take_over(&t, in);
		if (!err)
			tender_close(&t);
	}
	return err ? err : tender_start(in);
}
