// SPDX-License-Identifier: GPL-2.0
#include "strangers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "loader/base/error.h"
#include "loader/host/netdev.h"
#include "loader/host/netlink.h"
#include "loader/host/namespaces.h"

#define ENOUGH 4096

struct search {
	struct strangers *found;
	const struct sock_end *end, *other;
	size_t room;
	__u64 netns;
	int err;
};

static struct sock_end read_end(__u8 family, const __be32 address[4], __be16 port)
{
	struct sock_end end = {.port = ntohs(port)};

	if (family == AF_INET) {
		end.address[2] = htonl(0xffff);
		end.address[3] = address[0];
	} else {
		memcpy(end.address, address, sizeof(end.address));
	}
	return end;
}

static bool has(const struct stranger *s, const struct sock_end *end)
{
	return sock_end_equal(&s->local, end) || sock_end_equal(&s->remote, end);
}

static bool is_wanted(const struct search *search, const struct stranger *s)
{
	return has(s, search->end) && (!search->other || has(s, search->other));
}

static int add(struct search *search, const struct stranger *s)
{
	struct strangers *to = search->found;
	struct stranger *more;

	if (to->count == search->room) {
		search->room = search->room ? 2 * search->room : 16;
		more = realloc(to->list, search->room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		to->list = more;
	}
	to->list[to->count++] = *s;
	return 0;
}

static int read_attribute(const struct nlattr *attribute, void *data)
{
	struct stranger *s = data;

	if (mnl_attr_get_type(attribute) == INET_DIAG_CGROUP_ID &&
	    mnl_attr_get_payload_len(attribute) >= sizeof(s->cgroup))
		s->cgroup = mnl_attr_get_u64(attribute);
	return MNL_CB_OK;
}

static int read_socket(const struct nlmsghdr *message, void *data)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(message);
	struct search *search = data;
	struct stranger s = {.netns = search->netns};

	if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    mnl_nlmsg_get_payload_len(message) < sizeof(*m))
		return MNL_CB_OK;
	s.local = read_end(m->idiag_family, m->id.idiag_src, m->id.idiag_sport);
	s.remote = read_end(m->idiag_family, m->id.idiag_dst, m->id.idiag_dport);
	if (!is_wanted(search, &s) || search->found->count >= ENOUGH)
		return MNL_CB_OK;
	mnl_attr_parse(message, sizeof(*m), read_attribute, &s);
	search->err = add(search, &s);
	return search->err ? MNL_CB_ERROR : MNL_CB_OK;
}

static int search_family(struct search *search, __u8 family)
{
	char room[MNL_NLMSG_HDRLEN + sizeof(struct inet_diag_req_v2)] __attribute__((aligned(8)));
	struct nlmsghdr *request = mnl_nlmsg_put_header(room);
	struct inet_diag_req_v2 *wanted;

	request->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	wanted = mnl_nlmsg_put_extra_header(request, sizeof(*wanted));
	wanted->sdiag_family = family;
	wanted->sdiag_protocol = IPPROTO_TCP;
	wanted->idiag_states = 1u << TCP_ESTABLISHED | 1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2 |
			       1u << TCP_CLOSE_WAIT;
	return netlink_ask(NETLINK_SOCK_DIAG, request, read_socket, search);
}

/* Without one family's module there is no socket of it. */
static int search_here(void *data)
{
	struct search *search = data;

	search->netns = netdev_namespace();
	search_family(search, AF_INET);
	search_family(search, AF_INET6);
	return search->err;
}

int strangers_find(struct strangers *s, const struct sock_end *end, const struct sock_end *other)
{
	struct search search = {.found = s, .end = end, .other = other};
	struct netns_list list = {};
	int err = netns_list_read(&list);

	*s = (struct strangers){};
	if (!err)
		err = netns_for_each(&list, NULL, 0, search_here, &search, NULL);
	netns_list_free(&list);
	if (!err)
		return 0;
	strangers_free(s);
	return failure() ? err : fail(err, "cannot look for sockets: %s", strerror(-err));
}

void strangers_free(struct strangers *s)
{
	free(s->list);
	*s = (struct strangers){};
}

const struct stranger *stranger_peer(const struct strangers *s, const struct stranger *of)
{
	for (size_t i = 0; i < s->count; i++)
		if (&s->list[i] != of && sock_end_equal(&s->list[i].local, &of->remote) &&
		    sock_end_equal(&s->list[i].remote, &of->local))
			return &s->list[i];
	return NULL;
}
