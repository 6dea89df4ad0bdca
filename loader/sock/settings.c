// SPDX-License-Identifier: GPL-2.0
#include "settings.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/args.h"
#include "loader/base/error.h"
#include "loader/rules/rule.h"

#define ANY	    "any"
#define PORTS	    65536
#define ITEM_TEXT   80
#define MAPPED_BITS 96 /* of ::ffff:0:0, below which IPv4 lies */

static const __u8 mapped[12] = {[10] = 0xff, [11] = 0xff};

/* Cuts the next item off a list. 1; 0 at its end; < 0 with a misuse() line. */
static int next_item(const char *what, const char **rest, char item[ITEM_TEXT])
{
	size_t length;

	if (!*rest)
		return 0;
	length = strcspn(*rest, ",");
	if (!length)
		return misuse("%s: an item of the list is empty", what);
	if (length >= ITEM_TEXT)
		return misuse("%s '%.60s' is too long", what, *rest);
	memcpy(item, *rest, length);
	item[length] = '\0';
	*rest = (*rest)[length] ? *rest + length + 1 : NULL;
	return 1;
}

/* ---- ports ---- */

static int parse_range(const char *item, bool wanted[PORTS])
{
	char text[ITEM_TEXT], *dash;
	long from, to;

	strcpy(text, item);
	dash = strchr(text, '-');
	if (dash)
		*dash++ = '\0';
	if (parse_number("port", text, 1, PORTS - 1, &from))
		return -EINVAL;
	to = from;
	if (dash && parse_number("port", dash, 1, PORTS - 1, &to))
		return -EINVAL;
	if (to < from)
		return misuse("ports %s end before they begin; '%ld-%ld' is meant", item, to, from);
	memset(wanted + from, true, to - from + 1);
	return 0;
}

/* Ranges in order; those that touch are one. */
static int set_ranges(const bool wanted[PORTS], struct sock_settings *s)
{
	unsigned int count = 0;

	for (int port = 1; port < PORTS; port++) {
		if (!wanted[port])
			continue;
		if (wanted[port - 1]) {
			if (count <= WEIR_PORT_RANGES)
				s->port[count - 1].to = port;
		} else if (++count <= WEIR_PORT_RANGES) {
			s->port[count - 1] = (struct weir_port_range){port, port};
		}
	}
	if (count > WEIR_PORT_RANGES)
		return misuse("--port lists %u ranges; at most %d are possible, so join some of "
			      "them or leave --port out",
			      count, WEIR_PORT_RANGES);
	s->port_ranges = count;
	return 0;
}

int sock_ports_parse(const char *text, struct sock_settings *s)
{
	bool wanted[PORTS] = {false};
	struct sock_settings parsed = *s;
	char item[ITEM_TEXT];
	int more;

	if (!strcmp(text, ANY)) {
		s->port_ranges = 0;
		return 0;
	}
	while ((more = next_item("--port", &text, item)) > 0)
		if (parse_range(item, wanted))
			return -EINVAL;
	if (!more)
		more = set_ranges(wanted, &parsed);
	if (!more)
		*s = parsed;
	return more;
}

void sock_ports_format(const struct weir_port_range *range, unsigned int count,
		       char text[SOCK_PORTS_TEXT])
{
	size_t used = 0;

	strcpy(text, ANY);
	for (unsigned int i = 0; i < count; i++) {
		used += sprintf(text + used, "%s%u", i ? "," : "", range[i].from);
		if (range[i].to != range[i].from)
			used += sprintf(text + used, "-%u", range[i].to);
	}
}

bool sock_ports_have(const struct weir_port_range *range, unsigned int count, __u16 port)
{
	for (unsigned int i = 0; i < count; i++)
		if (port >= range[i].from && port <= range[i].to)
			return true;
	return !count;
}

/* ---- prefixes ---- */

static bool contains(const struct sock_prefix *p, const __be32 address[4])
{
	const __u8 *a = (const __u8 *)p->address, *b = (const __u8 *)address;
	unsigned int whole = p->bits / 8, rest = p->bits % 8;

	if (memcmp(a, b, whole))
		return false;
	return !rest || !((a[whole] ^ b[whole]) >> (8 - rest));
}

static int parse_prefix(const char *item, struct sock_prefix *p)
{
	struct sock_prefix ip4 = {.bits = MAPPED_BITS};
	struct prefix parsed;

	if (prefix_parse(item, &parsed))
		return -EINVAL;
	memcpy(ip4.address, mapped, sizeof(mapped));
	*p = (struct sock_prefix){};
	if (parsed.family == 4) {
		*p = ip4;
		memcpy((__u8 *)p->address + sizeof(mapped), parsed.address, 4);
		p->bits += parsed.length;
		return 0;
	}
	memcpy(p->address, parsed.address, sizeof(p->address));
	p->bits = parsed.length;
	if (contains(p, ip4.address))
		return misuse("--local '%s' would be all of IPv4 as well; name networks, such as "
			      "2000::/3 or fd00::/8, or leave --local out",
			      item);
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct sock_prefix *x = a, *y = b;
	int order = memcmp(x->address, y->address, sizeof(x->address));

	return order ? order : (int)x->bits - (int)y->bits;
}

/* A prefix that lies in another one says nothing. */
static size_t simplify(struct sock_prefix *list, size_t count)
{
	size_t kept = 0;

	qsort(list, count, sizeof(*list), by_address);
	for (size_t i = 0; i < count; i++)
		if (!kept || !contains(&list[kept - 1], list[i].address))
			list[kept++] = list[i];
	return kept;
}

static size_t count_items(const char *text)
{
	size_t count = 1;

	for (; *text; text++)
		count += *text == ',';
	return count;
}

static int parse_prefixes(const char *text, struct sock_prefix **list, size_t *count)
{
	char item[ITEM_TEXT];
	int more;

	*count = 0;
	*list = calloc(count_items(text), sizeof(**list));
	if (!*list)
		return fail(-ENOMEM, "out of memory");
	while ((more = next_item("--local", &text, item)) > 0)
		if (parse_prefix(item, &(*list)[(*count)++]))
			return -EINVAL;
	if (more < 0)
		return more;
	*count = simplify(*list, *count);
	if (*count > WEIR_LOCAL_MAX)
		return misuse("--local lists %zu networks; at most %d are possible", *count,
			      WEIR_LOCAL_MAX);
	return 0;
}

int sock_local_parse(const char *text, struct sock_settings *s)
{
	struct sock_prefix *list = NULL;
	size_t count = 0;
	int err = strcmp(text, ANY) ? parse_prefixes(text, &list, &count) : 0;

	if (err) {
		free(list);
		return err;
	}
	free(s->local);
	s->local = list;
	s->local_count = count;
	return 0;
}

void sock_prefix_format(const struct sock_prefix *p, char text[SOCK_PREFIX_TEXT])
{
	bool ip4 = p->bits >= MAPPED_BITS && !memcmp(p->address, mapped, sizeof(mapped));
	struct prefix as_rule = {.family = ip4 ? 4 : 6, .length = p->bits};

	if (ip4) {
		memcpy(as_rule.address, (const __u8 *)p->address + sizeof(mapped), 4);
		as_rule.length -= MAPPED_BITS;
	} else {
		memcpy(as_rule.address, p->address, sizeof(as_rule.address));
	}
	prefix_format(&as_rule, text);
}

bool sock_prefixes_have(const struct sock_prefix *prefix, size_t count, const __be32 address[4])
{
	for (size_t i = 0; i < count; i++)
		if (contains(&prefix[i], address))
			return true;
	return !count;
}

/* ---- numbers ---- */

int sock_limit_parse(const char *text, struct sock_settings *s)
{
	size_t digits = strspn(text, "0123456789");
	char number[ITEM_TEXT];
	long bytes, unit = 1;

	switch (toupper((unsigned char)text[digits])) {
	case 'K': unit = 1024; break;
	case 'M': unit = 1024 * 1024; break;
	}
	if (!digits || digits >= sizeof(number) || (unit > 1 ? text[digits + 1] : text[digits]))
		return misuse("--limit '%.60s' is no number of bytes; wanted 65536, 512K or 1M",
			      text);
	memcpy(number, text, digits);
	number[digits] = '\0';
	errno = 0;
	bytes = strtol(number, NULL, 10);
	if (errno || bytes > WEIR_LIMIT_MAX / unit || bytes * unit < WEIR_LIMIT_MIN)
		return misuse("--limit %.60s is not between %dK and %dM", text,
			      WEIR_LIMIT_MIN / 1024, WEIR_LIMIT_MAX / 1024 / 1024);
	s->limit = bytes * unit;
	return 0;
}

void sock_limit_format(__u32 bytes, char text[SOCK_LIMIT_TEXT])
{
	if (bytes % (1024 * 1024) == 0)
		sprintf(text, "%uM", bytes / (1024 * 1024));
	else if (bytes % 1024 == 0)
		sprintf(text, "%uK", bytes / 1024);
	else
		sprintf(text, "%u", bytes);
}

int sock_pairs_parse(const char *text, struct sock_settings *s)
{
	long pairs;

	if (parse_number("--pairs", text, 1, WEIR_PAIRS_MAX, &pairs))
		return -EINVAL;
	s->pairs = pairs;
	return 0;
}

/* ---- all of them ---- */

int sock_settings_of(const struct sock_scope *scope, struct sock_settings *s)
{
	*s = (struct sock_settings){
		.port_ranges = scope->config.port_ranges,
		.limit = scope->config.limit,
	};
	memcpy(s->port, scope->config.port, sizeof(s->port));
	if (!scope->local_count)
		return 0;
	s->local = calloc(scope->local_count, sizeof(*s->local));
	if (!s->local)
		return fail(-ENOMEM, "out of memory");
	memcpy(s->local, scope->local, scope->local_count * sizeof(*s->local));
	s->local_count = scope->local_count;
	return 0;
}

void sock_settings_free(struct sock_settings *s)
{
	free(s->local);
	*s = (struct sock_settings){};
}
