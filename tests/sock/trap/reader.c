// SPDX-License-Identifier: GPL-2.0
/* Readers that sleep, spin, or splice. */
#include "trap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define STOP_MS 20000

static int report_echo(struct pair *p, struct echo *e, struct talk *small, struct talk *large)
{
	trap_begin(p);
	json_talk("small", small);
	json_talk("large", large);
	json_whole("read_in_vain", e->in_vain);
	json_truth("wrong", e->wrong);
	json_whole("read", e->heard);
	return trap_end(p, !e->wrong && !small->hung && !large->hung && !small->wrong &&
				   !large->wrong);
}

/* Small rounds for this time, or until the file is there; then a large one. */
static int talk_with(struct pair *p, enum manner manner, long ms)
{
	bool delayed = p->warmth.exchanges;
	struct talk small = {}, large;
	struct echo e = {};
	double begun = now();

	echo_start(&e, p->server, manner);
	do {
		talk_for(p->client, &small, warm.size, ms, warm.pause_us);
		ms = 20;
	} while (!small.hung && !small.wrong && now() - begun < 300 &&
		 (delayed ? delay_goes_on() : warm.until && access(warm.until, F_OK)));
	large = (struct talk){.at = small.at};
	if (!small.hung && !small.wrong)
		talk_for(p->client, &large, size_or(60000), 0, 0);
	shutdown(p->client, SHUT_WR);
	echo_stop(&e, STOP_MS);
	return report_echo(p, &e, &small, &large);
}

int trap_splice(struct pair *p)
{
	bool sleeps = trap_option.blocking != BLOCKING_NEVER;

	pair_open(p);
	return talk_with(p, sleeps ? BY_SPLEEP : BY_SPLICE, warm.ms ? warm.ms : 300);
}

int trap_blocking(struct pair *p)
{
	bool late = trap_option.blocking != BLOCKING_START;

	pair_open(p);
	if (late) {
		set_blocking(p->server, false);
		pair_warm(p);
	}
	return talk_with(p, BY_SLEEP, late ? delay_or(500) : warm.ms ? warm.ms : 300);
}

int trap_splice_late(struct pair *p)
{
	long size = size_or(10000);
	uint64_t spliced = 0, in_vain = 0;
	struct drained left;
	double limit;
	int pipes[2];

	pair_open(p);
	pair_warm(p);
	set_blocking(p->to, false);
	if (pipe2(pipes, O_CLOEXEC))
		die("pipe");
	if (!send_all(p->from, TRAP_KEY, 0, size, 2000))
		die("send");
	limit = now() + QUIET_MS / 1e3;
	while (spliced < (uint64_t)size && now() < limit) {
		unsigned char bytes[4096];
		ssize_t done;

		if (!wait_for(p->to, POLLIN, 20))
			continue;
		done = splice(p->to, NULL, pipes[1], NULL, sizeof(bytes), SPLICE_F_NONBLOCK);
		if (done > 0 && read(pipes[0], bytes, done) == done &&
		    wrong_at(TRAP_KEY, spliced, bytes, done) < 0) {
			spliced += done;
			continue;
		}
		in_vain++;
		pause_ms(1);
	}
	left = drain(p->to, TRAP_KEY, spliced, size - spliced, trap_option.wait_ms);
	trap_begin(p);
	json_whole("sent", size);
	json_whole("spliced", spliced);
	json_whole("spliced_in_vain", in_vain);
	json_drained("left_for_recv", &left);
	return trap_end(p, spliced == (uint64_t)size);
}

int trap_spin(struct pair *p)
{
	struct talk calm = {}, spinning = {};
	struct echo e = {};
	double cpu, spent;

	pair_open(p);
	pair_warm(p);
	echo_start(&e, p->server, BY_RECV);
	talk_for(p->client, &calm, warm.size, delay_or(500), 0);
	echo_stop(&e, STOP_MS);
	spinning.at = calm.at;
	echo_start(&e, p->server, BY_SPIN);
	cpu = cpu_used();
	talk_for(p->client, &spinning, warm.size, delay_or(500), 0);
	spent = cpu_used() - cpu;
	echo_stop(&e, STOP_MS);
	trap_begin(p);
	json_talk("calm", &calm);
	json_talk("spinning", &spinning);
	json_real("spinning_cpu_seconds", spent);
	return trap_end(p,
			!e.wrong && !calm.hung && !calm.wrong && !spinning.hung && !spinning.wrong);
}

static void write_asleep(struct task *task)
{
	unsigned char *bytes = malloc(task->size);

	fill(TRAP_KEY, 0, bytes, task->size);
	task->result = send(task->fd, bytes, task->size, MSG_NOSIGNAL);
	task->error = errno;
	free(bytes);
}

int trap_blocking_writer(struct pair *p)
{
	struct task task = {.run = write_asleep, .size = size_or(8 << 20)};
	struct drained d = {.wrong_at = -1};
	uint64_t read = 0;
	bool slept;

	pair_open(p);
	pair_warm(p);
	task.fd = p->from;
	set_blocking(p->from, true);
	set_blocking(p->to, false);
	task_start(&task);
	slept = !task_done(&task, delay_or(300));
	delay(0);
	while (read < task.size) {
		d = drain(p->to, TRAP_KEY, read, 65536, trap_option.wait_ms);
		if (!d.bytes || d.wrong_at >= 0)
			break;
		read += d.bytes;
	}
	task_done(&task, trap_option.wait_ms);
	trap_begin(p);
	json_truth("slept", slept);
	json_truth("returned", task.done);
	json_whole("sent", task.done ? task.result : -1);
	json_whole("read", read);
	json_whole("wrong_at", d.wrong_at);
	return trap_end(p, task.done && task.result == (ssize_t)task.size && read == task.size &&
				   d.wrong_at < 0);
}

static bool woken(int epoll_fd, uint32_t *events, int wait_ms)
{
	struct epoll_event event = {};
	bool some = epoll_wait(epoll_fd, &event, 1, wait_ms) == 1;

	*events |= event.events;
	return some;
}

int trap_edge(struct pair *p)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
	long rounds = count_or(20), first = 0, second = 0, idle = 0, size = size_or(100);
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	uint32_t events = 0, last = 0;
	struct drained d = {};
	uint64_t at = 0;

	pair_open(p);
	pair_warm(p);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->to, &event))
		die("epoll_ctl");
	for (long i = 0; i < rounds; i++, at += 2 * size) {
		send_all(p->from, TRAP_KEY, at, size, 1000);
		first += woken(epoll_fd, &events, trap_option.wait_ms);
		send_all(p->from, TRAP_KEY, at + size, size, 1000);
		second += woken(epoll_fd, &events, trap_option.wait_ms);
		if (!i)
			idle += woken(epoll_fd, &events, 100);
		d = drain(p->to, TRAP_KEY, at, 2 * size, trap_option.wait_ms);
		if (d.wrong_at >= 0 || d.bytes != 2ul * size)
			break;
	}
	shutdown(p->from, SHUT_WR);
	woken(epoll_fd, &last, trap_option.wait_ms);
	trap_begin(p);
	json_whole("rounds", rounds);
	json_whole("woken_by_first", first);
	json_whole("woken_by_second", second);
	json_whole("woken_by_nothing", idle);
	json_truth("rdhup", last & EPOLLRDHUP);
	json_drained("last_read", &d);
	return trap_end(p, first == rounds && second == rounds && !idle && last & EPOLLRDHUP &&
				   d.wrong_at < 0);
}
