// SPDX-License-Identifier: GPL-2.0
#include "netlink.h"

#include <errno.h>
#include <sys/socket.h>

#define MESSAGE_ROOM 32768 /* the kernel never fills more into one datagram of a dump */

static int receive(struct mnl_socket *nl, unsigned int seq, mnl_cb_t callback, void *data)
{
	char answer[MESSAGE_ROOM];
	ssize_t size;
	int more;

	do {
		size = mnl_socket_recvfrom(nl, answer, sizeof(answer));
		if (size < 0)
			return -errno;
		more = mnl_cb_run(answer, size, seq, mnl_socket_get_portid(nl), callback, data);
	} while (more > 0);
	return more < 0 ? -errno : 0;
}

int netlink_ask(int bus, struct nlmsghdr *request, mnl_cb_t callback, void *data)
{
	struct mnl_socket *nl = mnl_socket_open2(bus, SOCK_CLOEXEC);
	int err;

	if (!nl)
		return -errno;
	request->nlmsg_seq = 1;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(nl, request, request->nlmsg_len) < 0)
		err = -errno;
	else
		err = receive(nl, request->nlmsg_seq, callback, data);
	mnl_socket_close(nl);
	return err;
}
