// SPDX-License-Identifier: GPL-2.0
#include "local.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/types.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "device.h"
#include "loader/base/error.h"
#include "xdp/abi.h"

static bool is_loopback(const struct sockaddr *address)
{
	const struct sockaddr_in6 *six = (const void *)address;
	const struct sockaddr_in *four = (const void *)address;

	return address->sa_family == AF_INET ? ntohl(four->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET
					     : IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
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

static bool is_end(const struct ifaddrs *a)
{
	return a->ifa_addr &&
	       (a->ifa_addr->sa_family == AF_INET || a->ifa_addr->sa_family == AF_INET6) &&
	       !is_loopback(a->ifa_addr);
}

static bool is_known(const struct ifaddrs *list, const struct weir_local_address *one)
{
	for (const struct ifaddrs *a = list; a; a = a->ifa_next) {
		struct weir_local_address other;

		if (!is_end(a))
			continue;
		other = as_parsed(a->ifa_addr);
		if (!memcmp(&other, one, sizeof(other)))
			return true;
	}
	return false;
}

static int forget_gone(int fd, const struct ifaddrs *list)
{
	struct weir_local_address last, next;
	bool more = !bpf_map_get_next_key(fd, NULL, &next);

	while (more) {
		last = next;
		more = !bpf_map_get_next_key(fd, &last, &next);
		if (!is_known(list, &last) && bpf_map_delete_elem(fd, &last) && errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* One address may be on several devices. Returns how many find no room. */
static int add_new(int fd, const struct ifaddrs *list)
{
	__u32 is_here = 1;
	int left_out = 0;

	for (const struct ifaddrs *a = list; a; a = a->ifa_next) {
		struct weir_local_address one;

		if (!is_end(a))
			continue;
		one = as_parsed(a->ifa_addr);
		if (!bpf_map_update_elem(fd, &one, &is_here, BPF_NOEXIST) || errno == EEXIST)
			continue;
		if (errno != E2BIG)
			return -errno;
		left_out++;
	}
	return left_out;
}

static int write_addresses(const struct instance *in, const struct device *d,
			   const struct ifaddrs *list)
{
	const char *path = attachment_pin(in, d->attachment.name, "local_addresses");
	int fd = pin_open(path), err;

	if (fd < 0)
		return fail(fd, "cannot open %s: %s", path, strerror(-fd));
	err = forget_gone(fd, list);
	if (!err)
		err = add_new(fd, list);
	close(fd);
	if (err < 0)
		return fail(err, "cannot write %s: %s", path, strerror(-err));
	if (err)
		notice("%s: %d of this host's addresses find no room among the %d that tunnels may "
		       "end at; tunnels to those are not unpacked",
		       d->name, err, WEIR_LOCAL_ADDRESSES);
	return 0;
}

int local_settle(const struct instance *in)
{
	struct ifaddrs *addresses = NULL;
	struct device *list;
	size_t count;
	int err = devices_open(in, &list, &count);

	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++) {
		if (!list[i].attachment.decap)
			continue;
		if (!addresses && getifaddrs(&addresses))
			err = fail(-errno, "cannot list this host's addresses: %m");
		else
			err = write_addresses(in, &list[i], addresses);
	}
	if (addresses)
		freeifaddrs(addresses);
	devices_free(list, count);
	return err;
}
