// SPDX-License-Identifier: GPL-2.0
/* Flags and options of the receiving call. */
#include "trap.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define SETTLE_MS 50

static void say(int fd, const char *text, int flags)
{
	if (send(fd, text, strlen(text), MSG_NOSIGNAL | flags) != (ssize_t)strlen(text))
		die("send");
	pause_ms(SETTLE_MS);
}

int trap_oob(struct pair *p)
{
	char in_line[64] = "", urgent[8] = "", marks[8] = "";
	ssize_t urgent_size;
	size_t at = 0;
	int error;

	pair_open(p);
	pair_warm(p);
	set_blocking(p->to, false);
	say(p->from, "abc", 0);
	say(p->from, "!", MSG_OOB);
	say(p->from, "def", 0);
	urgent_size = recv(p->to, urgent, 1, MSG_OOB);
	error = urgent_size < 0 ? errno : 0;
	for (int i = 0; i < 6 && at < sizeof(in_line) - 1; i++) {
		ssize_t done;
		int mark = 0;

		ioctl(p->to, SIOCATMARK, &mark);
		marks[i] = mark ? '1' : '0';
		done = recv(p->to, in_line + at, sizeof(in_line) - 1 - at, 0);
		if (done <= 0)
			break;
		at += done;
	}
	trap_begin(p);
	json_text("in_line", in_line);
	json_text("urgent", urgent);
	json_text("urgent_error", errno_name(error));
	json_text("at_mark", marks);
	return trap_end(p, !strcmp(in_line, "abcdef") && !strcmp(urgent, "!"));
}

static void wait_all(struct task *task)
{
	unsigned char bytes[65536];

	*(_Atomic bool *)task->context = true;
	task->result = recv(task->fd, bytes, task->size, MSG_WAITALL);
	task->error = task->result < 0 ? errno : 0;
	if (task->result > 0 && wrong_at(TRAP_KEY, 0, bytes, task->result) >= 0)
		task->result = -2;
}

int trap_waitall(struct pair *p)
{
	long size = size_or(100) < 65536 ? size_or(100) : 65536;
	struct task task = {.run = wait_all, .size = size};
	_Atomic bool begun = false;
	bool early;

	task.context = (void *)&begun;

	pair_open(p);
	pair_warm(p);
	task.fd = p->to;
	set_blocking(p->to, true);
	task_start(&task);
	while (!begun)
		pause_ms(1);
	pause_ms(delay_or(200));
	send_all(p->from, TRAP_KEY, 0, size / 2, 1000);
	early = task_done(&task, delay_or(1000));
	send_all(p->from, TRAP_KEY, size / 2, size - size / 2, 1000);
	task_done(&task, trap_option.wait_ms);
	trap_begin(p);
	json_whole("asked", size);
	json_truth("returned_early", early);
	json_truth("hung", !task.done);
	json_whole("returned", task.done ? task.result : -1);
	json_text("error", errno_name(task.done ? task.error : 0));
	return trap_end(p, task.done && task.result == size && !early);
}

int trap_rcvlowat(struct pair *p)
{
	long size = size_or(100);
	bool half, whole;
	struct drained d;
	int refused = 0, mark = size;

	pair_open(p);
	if (trap_option.when == WHEN_START &&
	    setsockopt(p->to, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof(mark)))
		refused = errno;
	/* A mark above the size of the exchanges would keep them from being read. */
	if (trap_option.when == WHEN_START && warm.size < size)
		warm.size = size;
	pair_warm(p);
	if (trap_option.when == WHEN_LATE &&
	    setsockopt(p->to, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof(mark)))
		refused = errno;
	send_all(p->from, TRAP_KEY, 0, size / 2, 1000);
	half = wait_for(p->to, POLLIN, delay_or(100));
	send_all(p->from, TRAP_KEY, size / 2, size - size / 2, 1000);
	whole = wait_for(p->to, POLLIN, trap_option.wait_ms);
	d = drain(p->to, TRAP_KEY, 0, size, trap_option.wait_ms);
	trap_begin(p);
	json_text("refused", errno_name(refused));
	json_truth("readable_at_half", half);
	json_truth("readable_at_whole", whole);
	json_drained("read", &d);
	return trap_end(p,
			(refused || !half) && whole && d.bytes == (uint64_t)size && d.wrong_at < 0);
}

int trap_peek(struct pair *p)
{
	unsigned char bytes[65536];
	long size = size_or(1000) < 65536 ? size_or(1000) : 65536;
	ssize_t peeked[3];
	struct drained d;
	bool good;

	pair_open(p);
	pair_warm(p);
	send_all(p->from, TRAP_KEY, 0, size / 2, 1000);
	send_all(p->from, TRAP_KEY, size / 2, size - size / 2, 1000);
	for (double limit = now() + trap_option.wait_ms / 1e3; now() < limit; pause_ms(1))
		if (recv(p->to, bytes, size, MSG_PEEK | MSG_DONTWAIT) == size)
			break;
	pause_ms(SETTLE_MS);
	for (int i = 0; i < 3; i++)
		peeked[i] = recv(p->to, bytes, i == 1 ? 10 : size, MSG_PEEK | MSG_DONTWAIT);
	good = peeked[2] > 0 && wrong_at(TRAP_KEY, 0, bytes, peeked[2]) < 0;
	d = drain(p->to, TRAP_KEY, 0, size + 1, QUIET_MS);
	trap_begin(p);
	json_whole("sent", size);
	json_whole("peeked", peeked[0]);
	json_whole("peeked_ten", peeked[1]);
	json_whole("peeked_again", peeked[2]);
	json_truth("bytes_right", good);
	json_drained("read", &d);
	return trap_end(p, good && peeked[0] == size && peeked[1] == 10 && peeked[2] == size &&
				   d.bytes == (uint64_t)size && d.wrong_at < 0);
}

int trap_trunc(struct pair *p)
{
	long size = size_or(1000), thrown = size / 2;
	struct drained d;
	ssize_t done;
	int error;

	pair_open(p);
	pair_warm(p);
	send_all(p->from, TRAP_KEY, 0, size, 1000);
	pause_ms(SETTLE_MS);
	done = recv(p->to, NULL, thrown, MSG_TRUNC | MSG_DONTWAIT);
	error = done < 0 ? errno : 0;
	d = drain(p->to, TRAP_KEY, done > 0 ? done : 0, size, QUIET_MS);
	trap_begin(p);
	json_whole("sent", size);
	json_whole("thrown_away", done);
	json_text("error", errno_name(error));
	json_drained("read", &d);
	return trap_end(p,
			done == thrown && d.bytes == (uint64_t)(size - thrown) && d.wrong_at < 0);
}

/* What FIONREAD says, as soon as it is what it should be, or after a while. */
static int size_there(int fd, int expected)
{
	int size = -1;

	for (int i = 0; i < trap_option.wait_ms; i++) {
		if (ioctl(fd, FIONREAD, &size) || size == expected)
			return size;
		pause_ms(1);
	}
	return size;
}

int trap_fionread(struct pair *p)
{
	static const long sizes[] = {1, 10, 100, 1000, 9, 20000};
	long messages = count_or(6), read = 0, sent = 0, checks = 0;
	int said = 0, expected = 0;
	struct drained d = {.wrong_at = -1};

	pair_open(p);
	pair_warm(p);
	set_blocking(p->to, false);
	said = size_there(p->to, 0);
	for (long i = 0; i < messages && said == expected; i++, checks++) {
		long size = trap_option.size > 0 ? trap_option.size : sizes[i % 6];

		if (!send_all(p->from, TRAP_KEY, sent, size, 1000))
			break;
		sent += size;
		expected = sent;
		said = size_there(p->to, expected);
	}
	while (read < sent && said == expected && d.wrong_at < 0) {
		d = drain(p->to, TRAP_KEY, read, 1 + (sent - read) / 3, trap_option.wait_ms);
		if (!d.bytes)
			break;
		read += d.bytes;
		expected = sent - read;
		said = size_there(p->to, expected);
		checks++;
	}
	trap_begin(p);
	json_whole("sent", sent);
	json_whole("read", read);
	json_whole("checks", checks);
	json_whole("expected", expected);
	json_whole("said", said);
	json_whole("wrong_at", d.wrong_at);
	return trap_end(p, said == expected && read == sent && d.wrong_at < 0);
}
