// SPDX-License-Identifier: GPL-2.0
#include "firewall.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <sys/socket.h>

#include "loader/host/netlink.h"
#include "loader/host/namespaces.h"

static int count_table(const struct nlmsghdr *message, void *data)
{
	size_t *count = data;

	*count += message->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE);
	return MNL_CB_OK;
}

static bool has_nftables(void)
{
	char room[MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg)] __attribute__((aligned(8)));
	struct nlmsghdr *request = mnl_nlmsg_put_header(room);
	struct nfgenmsg *general;
	size_t count = 0;

	request->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	general = mnl_nlmsg_put_extra_header(request, sizeof(*general));
	general->nfgen_family = AF_UNSPEC;
	general->version = NFNETLINK_V0;
	return !netlink_ask(NETLINK_NETFILTER, request, count_table, &count) && count;
}

/* A table is named there from its first use on. */
static bool has_line(const char *path)
{
	FILE *f = fopen(path, "re");
	bool has = f && fgetc(f) != EOF;

	if (f)
		fclose(f);
	return has;
}

static bool has_rules(void)
{
	return has_nftables() || has_line("/proc/thread-self/net/ip_tables_names") ||
	       has_line("/proc/thread-self/net/ip6_tables_names");
}

static int look(void *data)
{
	struct firewall *f = data;

	f->namespaces += has_rules();
	return 0;
}

int firewall_look(struct firewall *f)
{
	struct netns_list list = {};
	int err = netns_list_read(&list);

	*f = (struct firewall){.here = has_rules()};
	if (!err)
		err = netns_for_each(&list, NULL, 0, look, f, NULL);
	netns_list_free(&list);
	return err;
}
