// SPDX-License-Identifier: GPL-2.0
/* Senders that do not copy, and what else sits between a socket and TCP. */
#include "trap.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

struct completions {
	uint64_t sends, copied;
};

static void complete(int fd, struct completions *c)
{
	char control[256];
	struct msghdr header = {.msg_control = control, .msg_controllen = sizeof(control)};

	while (recvmsg(fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0) {
		for (struct cmsghdr *m = CMSG_FIRSTHDR(&header); m; m = CMSG_NXTHDR(&header, m)) {
			struct sock_extended_err error;

			memcpy(&error, CMSG_DATA(m), sizeof(error));
			if (error.ee_origin != SO_EE_ORIGIN_ZEROCOPY)
				continue;
			c->sends += error.ee_data - error.ee_info + 1;
			if (error.ee_code & SO_EE_CODE_ZEROCOPY_COPIED)
				c->copied += error.ee_data - error.ee_info + 1;
		}
		header.msg_controllen = sizeof(control);
	}
}

static int allow_zerocopy(int fd)
{
	int one = 1;

	return setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) ? errno : 0;
}

int trap_zerocopy(struct pair *p)
{
	long size = size_or(20000), count = count_or(20);
	struct completions done = {};
	uint64_t at = 0, read = 0, sends = 0;
	struct drained d = {.wrong_at = -1};
	int refused, error = 0;
	char *bytes;
	double limit;

	p->listener = net_listen(16);
	p->client = net_connect();
	p->server = net_accept(p->listener, 5000);
	refused = trap_option.when == WHEN_START
			  ? allow_zerocopy(trap_option.from_server ? p->server : p->client)
			  : 0;
	pair_open(p);
	pair_warm(p);
	if (trap_option.when == WHEN_LATE)
		refused = allow_zerocopy(p->from);
	/* Each send has memory of its own: it may not change until it is completed. */
	bytes = malloc(size * count);
	fill(TRAP_KEY, 0, bytes, size * count);
	for (long i = 0; i < count && !error; i++) {
		for (long left = size; left;) {
			ssize_t sent = send(p->from, bytes + at, left,
					    MSG_NOSIGNAL | (refused ? 0 : MSG_ZEROCOPY));

			if (sent < 0) {
				error = errno;
				break;
			}
			sends += !refused;
			at += sent;
			left -= sent;
		}
		d = drain(p->to, TRAP_KEY, read, at - read, trap_option.wait_ms);
		read += d.bytes;
		if (d.wrong_at >= 0 || read < at)
			break;
		complete(p->from, &done);
	}
	limit = now() + trap_option.wait_ms / 1e3;
	while (done.sends < sends && now() < limit) {
		complete(p->from, &done);
		pause_ms(1);
	}
	trap_begin(p);
	json_text("refused", errno_name(refused));
	json_text("error", errno_name(error));
	json_whole("sent", at);
	json_whole("read", read);
	json_whole("wrong_at", d.wrong_at);
	json_whole("sends", sends);
	json_whole("completed", done.sends);
	json_whole("completed_copied", done.copied);
	return trap_end(p, !error && read == at && d.wrong_at < 0 && done.sends == sends);
}

static int file_of(size_t size)
{
	int fd = memfd_create("sock", MFD_CLOEXEC);
	char *bytes = malloc(size);

	fill(TRAP_KEY, 0, bytes, size);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		die("memfd");
	free(bytes);
	return fd;
}

int trap_sendfile(struct pair *p)
{
	long size = size_or(65536);
	unsigned char first = 0, changed = byte_at(TRAP_KEY, 0) ^ 0xff;
	int file = file_of(size);
	struct drained d, rest;
	ssize_t sent, later;
	off_t at = 0;

	pair_open(p);
	pair_warm(p);
	set_blocking(p->to, false);
	sent = sendfile(p->from, file, &at, size);
	d = drain(p->to, TRAP_KEY, 0, size, trap_option.wait_ms);
	at = 0;
	later = sendfile(p->from, file, &at, 4096 < size ? 4096 : size);
	if (pwrite(file, &changed, 1, 0) != 1)
		die("pwrite");
	wait_for(p->to, POLLIN, trap_option.wait_ms);
	if (recv(p->to, &first, 1, 0) != 1)
		first = 0;
	rest = drain(p->to, TRAP_KEY, 1, later - 1, trap_option.wait_ms);
	trap_begin(p);
	json_whole("sent", sent);
	json_drained("read", &d);
	json_whole("sent_then", later);
	json_truth("sees_change", first == changed);
	json_drained("rest", &rest);
	return trap_end(p, sent > 0 && d.bytes == (uint64_t)sent && d.wrong_at < 0 && later > 0 &&
				   rest.bytes == (uint64_t)later - 1 && rest.wrong_at < 0 &&
				   (first == changed || first == byte_at(TRAP_KEY, 0)));
}

static int set_ulp(int fd)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3) ? errno : 0;
}

int trap_ulp(struct pair *p)
{
	long rounds = count_or(20), good = 0;
	int error = 0;

	pair_open(p);
	if (trap_option.when == WHEN_START)
		error = set_ulp(p->from);
	pair_warm(p);
	if (trap_option.when == WHEN_LATE)
		error = set_ulp(p->from);
	while (good < rounds && exchange(p->client, p->server, size_or(100), good))
		good++;
	trap_begin(p);
	json_text("error", errno_name(error));
	json_whole("exchanges", good);
	return trap_end(p, good == rounds);
}
