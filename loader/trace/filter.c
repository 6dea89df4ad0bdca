// SPDX-License-Identifier: GPL-2.0
#include "filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/base/args.h"
#include "loader/base/error.h"
#include "loader/out/out.h"
#include "loader/rules/rule.h"

#define MAPPED_BITS 96 /* of ::ffff:0:0, below which IPv4 lies */
#define NETNS_NAMES "/run/netns/"

/* ---- ports ---- */

static int parse_range(const char *option, char *item, struct weir_trace_ports *range)
{
	char *dash = strchr(item, '-');
	long from, to;

	if (dash)
		*dash++ = '\0';
	if (parse_number(option, item, 1, 65535, &from))
		return -EINVAL;
	to = from;
	if (dash && parse_number(option, dash, 1, 65535, &to))
		return -EINVAL;
	if (to < from)
		return misuse("%s: %ld-%ld ends before it begins; '%ld-%ld' is meant", option, from,
			      to, to, from);
	*range = (struct weir_trace_ports){from, to};
	return 0;
}

static int parse_ranges(const char *option, const char *text,
			struct weir_trace_ports range[WEIR_TRACE_RANGES], __u8 *count)
{
	struct weir_trace_ports parsed[WEIR_TRACE_RANGES] = {};
	char *copy = strdup(text), *rest = copy, *item;
	unsigned int n = 0;
	int err = copy ? 0 : fail(-ENOMEM, "out of memory");

	while (!err && (item = strsep(&rest, ",")))
		if (n == WEIR_TRACE_RANGES)
			err = misuse("%s lists more than %d ranges; join some of them", option,
				     WEIR_TRACE_RANGES);
		else
			err = parse_range(option, item, &parsed[n++]);
	free(copy);
	if (err)
		return err;
	memcpy(range, parsed, sizeof(parsed));
	*count = n;
	return 0;
}

int filter_port(struct weir_trace_filter *f, const char *text)
{
	return parse_ranges("--port", text, f->port, &f->port_ranges);
}

int filter_peer_port(struct weir_trace_filter *f, const char *text)
{
	return parse_ranges("--peer-port", text, f->peer_port, &f->peer_ranges);
}

static json_t *ranges_json(const struct weir_trace_ports *range, unsigned int count)
{
	char text[WEIR_TRACE_RANGES * 12 + 1] = "";
	size_t used = 0;

	for (unsigned int i = 0; i < count; i++) {
		used += sprintf(text + used, "%s%u", i ? "," : "", range[i].from);
		if (range[i].to != range[i].from)
			used += sprintf(text + used, "-%u", range[i].to);
	}
	return json_string(text);
}

/* ---- the others ---- */

int filter_family(struct weir_trace_filter *f, __u8 family)
{
	if (f->family && f->family != family)
		return misuse("no packet is of IPv4 and of IPv6 at once");
	f->family = family;
	return 0;
}

int filter_peer(struct weir_trace_filter *f, const char *text)
{
	struct prefix p;

	if (prefix_parse(text, &p) || filter_family(f, p.family)) /* ::/0 is not IPv4 as well */
		return -EINVAL;
	memset(f->peer, 0, sizeof(f->peer));
	if (p.family == 4) {
		f->peer[2] = htonl(0xffff);
		memcpy(&f->peer[3], p.address, 4);
		f->peer_bits = MAPPED_BITS + p.length;
		return 0;
	}
	memcpy(f->peer, p.address, sizeof(f->peer));
	f->peer_bits = p.length;
	return 0;
}

static json_t *peer_json(const struct weir_trace_filter *f)
{
	bool ip4 = f->peer_bits >= MAPPED_BITS && !f->peer[0] && !f->peer[1] &&
		   f->peer[2] == htonl(0xffff);
	char address[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 8];

	inet_ntop(ip4 ? AF_INET : AF_INET6, ip4 ? &f->peer[3] : f->peer, address, sizeof(address));
	snprintf(text, sizeof(text), "%s/%u", address, f->peer_bits - (ip4 ? MAPPED_BITS : 0));
	return json_string(text);
}

int filter_pid(struct weir_trace_filter *f, const char *text)
{
	long pid;

	if (parse_number("--pid", text, 1, 1 << 22, &pid))
		return -EINVAL;
	f->pid = pid;
	return 0;
}

int filter_min(struct weir_trace_filter *f, const char *text)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"", 1e6}};
	char *end;
	double value = strtod(text, &end);

	for (size_t i = 0; end != text && i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit))
			continue;
		if (!(value > 0 && value * units[i].ns < 1e15))
			break;
		f->min_ns = llround(value * units[i].ns);
		return 0;
	}
	return misuse("--min '%s': wanted a time above 0, such as 5ms, 200us or 1.5s", text);
}

/* The inode of a network namespace; 0 with errno. */
static ino_t namespace_inode(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st = {};

	if (fd < 0)
		return 0;
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET || fstat(fd, &st))
		errno = EINVAL;
	close(fd);
	return st.st_ino;
}

int filter_netns(struct weir_trace_filter *f, const char *text)
{
	bool process = *text && !text[strspn(text, "0123456789")];
	char path[PATH_MAX];
	ino_t inode;

	if (!*text)
		return misuse("--netns: the name of the namespace is empty");
	snprintf(path, sizeof(path), "%s%s", strchr(text, '/') ? "" : NETNS_NAMES, text);
	inode = namespace_inode(path);
	if (!inode && process) {
		snprintf(path, sizeof(path), "/proc/%s/ns/net", text);
		inode = namespace_inode(path);
	}
	if (!inode && errno == ENOENT)
		return fail(-ENOENT, "--netns %s: there is no such namespace%s", text,
			    process ? ", and no such process" : "");
	if (!inode)
		return fail(-errno, "--netns %s: %s is not a network namespace, or not for us: %m",
			    text, path);
	f->netns = inode;
	return 0;
}

/* How deep it lies, as seen from here. */
static int level_of(const struct cgroup *c)
{
	char name[PATH_MAX];
	int level = 0;

	if (cgroup_name(c->id, name, sizeof(name))) {
		forget_failure();
		return 0;
	}
	for (const char *at = name; *at; at++)
		level += at[0] == '/' && at[1];
	return level;
}

int filter_cgroup(struct weir_trace_filter *f, const char *text, struct cgroup *c)
{
	int err = cgroup_open(c, text);

	if (err)
		return err;
	if (level_of(c) >= WEIR_CGROUP_LEVELS)
		return misuse(
			"--cgroup %s: filters look no deeper than %d levels; name one above it",
			text, WEIR_CGROUP_LEVELS - 1);
	f->cgroup = c->id;
	return 0;
}

json_t *filter_json(const struct weir_trace_filter *f)
{
	char name[PATH_MAX];
	json_t *o = json_object();

	if (f->port_ranges)
		json_object_set_new(o, "port", ranges_json(f->port, f->port_ranges));
	if (f->peer_bits)
		json_object_set_new(o, "peer", peer_json(f));
	if (f->peer_ranges)
		json_object_set_new(o, "peer_port", ranges_json(f->peer_port, f->peer_ranges));
	if (f->pid)
		json_object_set_new(o, "pid", json_integer(f->pid));
	if (f->cgroup)
		json_object_set_new(o, "cgroup",
				    out_string(cgroup_name(f->cgroup, name, sizeof(name)) || !*name
						       ? "(removed)"
						       : name));
	if (f->netns)
		json_object_set_new(o, "netns_inode", json_integer(f->netns));
	if (f->family)
		json_object_set_new(o, "family", json_integer(f->family));
	if (f->min_ns)
		json_object_set_new(o, "min_us", json_real(f->min_ns / 1e3));
	return o;
}
