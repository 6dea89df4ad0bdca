// SPDX-License-Identifier: GPL-2.0
#include "local.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/types.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "device.h"
#include "loader/base/error.h"
#include "xdp/abi.h"

/* The least likely to be the end of a tunnel come last, should there be too many. */
enum rank {
	RANK_DEVICE,
	RANK_LOOPBACK_DEVICE, /* VIPs, among others */
	RANK_LINK_LOCAL,
	RANKS,
};

static bool is_loopback(const struct sockaddr *address)
{
	const struct sockaddr_in6 *six = (const void *)address;
	const struct sockaddr_in *four = (const void *)address;

	return address->sa_family == AF_INET ? ntohl(four->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET
					     : IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

static enum rank rank_of(const struct ifaddrs *a)
{
	const struct sockaddr_in6 *six = (const void *)a->ifa_addr;

	if (six->sin6_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr))
		return RANK_LINK_LOCAL;
	return a->ifa_flags & IFF_LOOPBACK ? RANK_LOOPBACK_DEVICE : RANK_DEVICE;
}

static struct weir_local_address as_parsed(const struct sockaddr *address)
{
	const struct sockaddr_in6 *six = (const void *)address;
	const struct sockaddr_in *four = (const void *)address;
	__be32 word[4];

	if (address->sa_family == AF_INET)
		return (struct weir_local_address){
			.family = 4,
			.high = (__u64)ntohl(four->sin_addr.s_addr) << 32,
		};
	memcpy(word, &six->sin6_addr, sizeof(word));
	return (struct weir_local_address){
		.family = 6,
		.high = (__u64)ntohl(word[0]) << 32 | ntohl(word[1]),
		.low = (__u64)ntohl(word[2]) << 32 | ntohl(word[3]),
	};
}

static void add(struct weir_local_addresses *to, const struct sockaddr *address, size_t *left_out)
{
	struct weir_local_address one = as_parsed(address);

	/* One address may be on several devices. */
	for (__u32 i = 0; i < to->count; i++)
		if (!memcmp(&to->address[i], &one, sizeof(one)))
			return;
	if (to->count < WEIR_LOCAL_ADDRESSES)
		to->address[to->count++] = one;
	else
		++*left_out;
}

static int find_addresses(struct weir_local_addresses *found, size_t *left_out)
{
	struct ifaddrs *list;

	*found = (struct weir_local_addresses){};
	*left_out = 0;
	if (getifaddrs(&list))
		return fail(-errno, "cannot list this host's addresses: %m");
	for (int rank = 0; rank < RANKS; rank++)
		for (const struct ifaddrs *a = list; a; a = a->ifa_next)
			if (a->ifa_addr &&
			    (a->ifa_addr->sa_family == AF_INET ||
			     a->ifa_addr->sa_family == AF_INET6) &&
			    !is_loopback(a->ifa_addr) && (int)rank_of(a) == rank)
				add(found, a->ifa_addr, left_out);
	freeifaddrs(list);
	return 0;
}

static int write_addresses(const struct instance *in, const struct device *d,
			   const struct weir_local_addresses *now, size_t left_out)
{
	const char *path =
		instance_path(in, "devices/%s/local_addresses", pin_name(d->attachment.name));
	struct weir_local_addresses before;
	int fd = pin_open(path), err = 0;
	__u32 key = 0;

	if (fd < 0)
		return fail(fd, "cannot open %s: %s", path, strerror(-fd));
	if (bpf_map_lookup_elem(fd, &key, &before) || memcmp(&before, now, sizeof(before))) {
		if (bpf_map_update_elem(fd, &key, now, BPF_ANY))
			err = fail(-errno, "cannot write %s: %m", path);
		else if (left_out)
			notice("%s: %zu of this host's addresses find no room among the %d that "
			       "tunnels may end at; tunnels to those are not unpacked",
			       d->name, left_out, WEIR_LOCAL_ADDRESSES);
	}
	close(fd);
	return err;
}

int local_settle(const struct instance *in)
{
	struct weir_local_addresses now;
	bool known = false;
	struct device *list;
	size_t count, left_out = 0;
	int err = devices_open(in, &list, &count);

	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++) {
		if (!list[i].attachment.decap)
			continue;
		if (!known)
			err = find_addresses(&now, &left_out);
		known = true;
		if (!err)
			err = write_addresses(in, &list[i], &now, left_out);
	}
	devices_free(list, count);
	return err;
}
