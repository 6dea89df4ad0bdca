// SPDX-License-Identifier: GPL-2.0
/* Readers that do not keep up. */
#include "trap.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define FLOODS	  20
#define SETTLE_MS 300 /* a socket that was full for so long is */

static long tcp_pages(void)
{
	FILE *file = fopen("/proc/net/sockstat", "r");
	char line[256];
	long pages = -1;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "TCP: inuse %*d orphan %*d tw %*d alloc %*d mem %ld", &pages) == 1)
			break;
	if (file)
		fclose(file);
	return pages;
}

struct flood {
	uint64_t accepted, messages;
	const char *stopped; /* by what */
};

/* Where it has not been stopped yet it goes on: the last packets may have been under way. */
static bool flood(struct flood *f, int fd, size_t size, uint64_t cap)
{
	unsigned char *bytes = malloc(size);
	size_t left = f->messages * size - f->accepted;

	f->stopped = "cap";

	while (f->accepted < cap) {
		ssize_t done;

		if (!left) {
			left = size;
			f->messages++;
		}
		fill(TRAP_KEY, f->accepted, bytes, left);
		done = send(fd, bytes, left, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done > 0) {
			f->accepted += done;
			left -= done;
		} else if (errno != EAGAIN || !wait_for(fd, POLLOUT, SETTLE_MS)) {
			f->stopped = errno_name(errno);
			break;
		}
	}
	free(bytes);
	return wait_for(fd, POLLOUT, 0);
}

int trap_slow_reader(struct pair *p)
{
	long before = tcp_pages(), full;
	uint32_t reader, sender;
	bool writable, again;
	struct drained d, rest;
	struct flood f = {};

	pair_open(p);
	pair_warm(p);
	for (int i = 0; i < FLOODS; i++) {
		writable = flood(&f, p->from, size_or(65536), trap_option.cap);
		if (!writable)
			break;
	}
	reader = memory_held(p->to, false);
	sender = memory_held(p->from, true);
	full = tcp_pages();
	delay(delay_or(0));
	d = drain(p->to, TRAP_KEY, 0, f.accepted, trap_option.wait_ms);
	rest = drain(p->to, TRAP_KEY, f.accepted, 1, 20);
	again = wait_for(p->from, POLLOUT, trap_option.wait_ms);

	trap_begin(p);
	json_whole("accepted", f.accepted);
	json_whole("messages", f.messages);
	json_text("stopped_by", f.stopped);
	json_truth("writable_when_full", writable);
	json_whole("reader_memory", reader);
	json_whole("sender_memory", sender);
	json_whole("tcp_pages_before", before);
	json_whole("tcp_pages_full", full);
	json_drained("read", &d);
	json_whole("too_much", rest.bytes);
	json_truth("writable_again", again);
	return trap_end(p, d.bytes == f.accepted && d.wrong_at < 0 && !rest.bytes && again &&
				   f.accepted < (uint64_t)trap_option.cap && !writable);
}

/* What waits is read in small parts while more is sent, in order. */
int trap_late_reader(struct pair *p)
{
	long size = size_or(3000), count = count_or(20);
	uint64_t sent = 0, read = 0, total = 2ull * size * count;
	long long wrong = -1;
	bool good = true;

	pair_open(p);
	pair_warm(p);
	for (; good && sent < total / 2; sent += size)
		good = send_all(p->from, TRAP_KEY, sent, size, 2000);
	delay(delay_or(300));
	while (good && read < total) {
		uint64_t there = sent - read, part = 1 + size / 3;
		struct drained d = drain(p->to, TRAP_KEY, read, part < there ? part : there,
					 trap_option.wait_ms);

		if (!d.bytes)
			break;
		read += d.bytes;
		if (wrong < 0)
			wrong = d.wrong_at;
		if (sent < total) {
			good = send_all(p->from, TRAP_KEY, sent, size, 2000);
			sent += size;
		}
	}
	trap_begin(p);
	json_whole("sent", sent);
	json_whole("read", read);
	json_whole("wrong_at", wrong);
	return trap_end(p, good && read == total && wrong < 0);
}
