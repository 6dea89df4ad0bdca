// SPDX-License-Identifier: GPL-2.0
/* A thread that answers each byte with one, and reads in the manner that a trap is about. */
#include "tests/sock/trap/trap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PART	    65536
#define TIMES	    100000
#define IDLE_MS	    20
#define PATIENCE_MS 15000

static ssize_t take_spliced(struct echo *e, unsigned char *bytes)
{
	unsigned int flags = e->manner == BY_SPLICE ? SPLICE_F_NONBLOCK : 0;
	ssize_t moved = splice(e->task.fd, NULL, e->pipe[1], NULL, PART, flags), got = 0;

	while (got < moved) {
		ssize_t part = read(e->pipe[0], bytes + got, moved - got);

		if (part <= 0)
			return part;
		got += part;
	}
	return moved;
}

static ssize_t take(struct echo *e, unsigned char *bytes)
{
	bool waits = e->manner == BY_RECV || e->manner == BY_SPLICE;

	if (waits && !wait_for(e->task.fd, POLLIN, IDLE_MS)) {
		errno = EAGAIN;
		return -1;
	}
	if (e->manner == BY_SPLICE || e->manner == BY_SPLEEP) {
		ssize_t got = take_spliced(e, bytes);

		if (got < 0 && errno == EAGAIN && e->manner == BY_SPLICE) {
			e->in_vain++;
			pause_ms(1);
		}
		return got;
	}
	return recv(e->task.fd, bytes, PART, e->manner == BY_SLEEP ? 0 : MSG_DONTWAIT);
}

static void run(struct task *task)
{
	static _Thread_local unsigned char bytes[PART];
	struct echo *e = (struct echo *)task;

	while (!e->stop) {
		ssize_t got = take(e, bytes);

		if (got < 0 && errno == EAGAIN)
			continue;
		if (got <= 0)
			return;
		if (wrong_at(TRAP_KEY, e->heard, bytes, got) >= 0)
			e->wrong = true;
		if (!send_all(task->fd, ~TRAP_KEY, e->heard, got, PATIENCE_MS))
			return;
		e->heard += got;
	}
}

void echo_start(struct echo *echo, int fd, enum manner manner)
{
	echo->manner = manner;
	echo->task.fd = fd;
	echo->task.run = run;
	echo->task.done = false;
	echo->stop = false;
	if (!echo->pipe[1] && pipe2(echo->pipe, O_CLOEXEC))
		die("pipe");
	set_blocking(fd, manner == BY_SLEEP || manner == BY_SPLEEP);
	task_start(&echo->task);
}

bool echo_stop(struct echo *echo, int wait_ms)
{
	echo->stop = true;
	return task_done(&echo->task, wait_ms);
}

static int compare(const void *a, const void *b)
{
	float left = *(const float *)a, right = *(const float *)b;

	return (left > right) - (left < right);
}

void talk_for(int client, struct talk *talk, size_t size, long ms, long pause_us)
{
	float *times = malloc(TIMES * sizeof(*times));
	double begun = now();
	size_t count = 0;

	do {
		double before = now();

		if (!send_all(client, TRAP_KEY, talk->at, size, PATIENCE_MS) ||
		    !receive_all(client, ~TRAP_KEY, talk->at, size, PATIENCE_MS)) {
			talk->hung = (now() - before) * 1e3 >= PATIENCE_MS;
			talk->wrong = !talk->hung;
			break;
		}
		talk->at += size;
		talk->rounds++;
		if (count < TIMES)
			times[count++] = (now() - before) * 1e6;
		if (pause_us)
			pause_ms(pause_us / 1e3);
	} while ((now() - begun) * 1e3 < ms && !stopped);
	qsort(times, count, sizeof(*times), compare);
	talk->p50 = count ? times[count / 2] : 0;
	free(times);
}

void json_talk(const char *name, const struct talk *talk)
{
	json_open(name);
	json_whole("rounds", talk->rounds);
	json_whole("wrong", talk->wrong);
	json_truth("hung", talk->hung);
	json_real("p50_us", talk->p50);
	json_close();
}
