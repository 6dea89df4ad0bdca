// SPDX-License-Identifier: GPL-2.0
#include "port_range.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/host/namespaces.h"
#include "loader/host/netdev.h"

#define SETTINGS      "/proc/sys/net/ipv4/"
#define RESERVED_ROOM (512 << 10) /* every second port, in words */

/* The kernel lists ranges in order, and none twice. */
static __u32 reserved_within(const char *text, unsigned int least, unsigned int most)
{
	unsigned int from, to;
	__u32 count = 0;
	char *end;

	while (*text >= '0' && *text <= '9') {
		from = to = strtoul(text, &end, 10);
		if (*end == '-')
			to = strtoul(end + 1, &end, 10);
		from = from < least ? least : from;
		to = to > most ? most : to;
		count += from <= to ? to - from + 1 : 0;
		text = *end == ',' ? end + 1 : end;
	}
	return count;
}

static int parse_range(const char *text, unsigned int *least, unsigned int *most)
{
	return sscanf(text, "%u %u", least, most) == 2 && *least <= *most ? 0 : -EINVAL;
}

__u32 port_range_count(const char *range, const char *reserved)
{
	unsigned int least = 0, most = 0;

	if (parse_range(range, &least, &most))
		return 0;
	return most - least + 1 - reserved_within(reserved, least, most);
}

/* /proc/sys/net is that of the thread's namespace. */
static int read_setting(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	while (used < room - 1 && (n = read(fd, text + used, room - 1 - used)) > 0)
		used += n;
	text[used] = 0;
	close(fd);
	return n < 0 ? -EIO : 0;
}

void port_range_here(__u16 *least, __u16 *most)
{
	unsigned int from = 0, to = 0;
	char text[64];

	if (read_setting(SETTINGS "ip_local_port_range", text, sizeof(text)) ||
	    parse_range(text, &from, &to))
		from = to = 0;
	*least = from;
	*most = to;
}

struct reading {
	struct port_range *range;
	size_t count;
	char *reserved; /* RESERVED_ROOM */
};

static struct port_range *find(struct port_range *range, size_t count, __u64 netns)
{
	for (size_t i = 0; i < count; i++)
		if (range[i].netns == netns)
			return &range[i];
	return NULL;
}

/* Where it cannot be read, what there is stays unknown. */
static int read_here(void *data)
{
	struct reading *r = data;
	struct port_range *range = find(r->range, r->count, netdev_namespace());
	char text[64];

	if (range && !read_setting(SETTINGS "ip_local_port_range", text, sizeof(text)) &&
	    !read_setting(SETTINGS "ip_local_reserved_ports", r->reserved, RESERVED_ROOM))
		range->ports = port_range_count(text, r->reserved);
	return 0;
}

static int read_elsewhere(struct reading *r)
{
	__u64 *wanted = calloc(r->count, sizeof(*wanted));
	struct netns_list list;
	int err;

	if (!wanted)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < r->count; i++)
		wanted[i] = r->range[i].netns;
	err = netns_list_read(&list);
	if (!err)
		err = netns_for_each(&list, wanted, r->count, read_here, r, NULL);
	netns_list_free(&list);
	free(wanted);
	return err;
}

int port_ranges_read(struct port_range *range, size_t count)
{
	struct reading r = {range, count, malloc(RESERVED_ROOM)};
	int err = 0;

	if (!r.reserved)
		return fail(-ENOMEM, "out of memory");
	if (count == 1 && range->netns == netdev_namespace())
		read_here(&r);
	else if (count)
		err = read_elsewhere(&r);
	free(r.reserved);
	return err;
}

__u32 port_range_find(const struct port_range *range, size_t count, __u64 netns)
{
	const struct port_range *found = find((struct port_range *)range, count, netns);

	return found ? found->ports : 0;
}
