// SPDX-License-Identifier: GPL-2.0
#include "rule.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/args.h"
#include "loader/base/error.h"

static const char *const action_names[] = {
	[WEIR_A_DROP] = "drop",
	[WEIR_A_PASS] = "pass",
	[WEIR_A_LIMIT] = "limit",
	[WEIR_A_REDIRECT] = "redirect",
};

static const struct {
	const char *name;
	__u16 number;
} protocols[] = {
	{"tcp", 6},
	{"udp", 17},
	{"icmp", 1},
	{"icmp6", 58},
	{"sctp", 132},
	{"dccp", 33},
	{"udplite", 136},
	{"gre", 47},
	{"esp", 50},
	{"ah", 51},
	{"arp", WEIR_PROTO_ARP},
};

#define PROTOCOLS (sizeof(protocols) / sizeof(protocols[0]))

void rule_set_free(struct rule_set *set)
{
	free(set->rules);
	free(set->prefixes);
	*set = (struct rule_set){};
}

const char *rule_action_name(const struct rule *rule)
{
	return action_names[rule->action];
}

static bool clear_host_bits(__u8 *address, unsigned int length, unsigned int size)
{
	bool cleared = false;

	for (unsigned int bit = length; bit < size * 8; bit++) {
		__u8 mask = 0x80 >> bit % 8;

		cleared |= address[bit / 8] & mask;
		address[bit / 8] &= ~mask;
	}
	return cleared;
}

int prefix_parse(const char *text, struct prefix *prefix)
{
	static const __u8 mapped[12] = {[10] = 0xff, [11] = 0xff};
	char address[INET6_ADDRSTRLEN], right[PREFIX_TEXT];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	struct prefix p = {};
	unsigned int size;
	long length;

	if (n >= sizeof(address))
		return misuse("'%.60s' is no address; wanted 192.0.2.0/24 or 2001:db8::/32", text);
	memcpy(address, text, n);
	address[n] = 0;
	if (inet_pton(AF_INET, address, p.address) == 1)
		p.family = 4;
	else if (inet_pton(AF_INET6, address, p.address) == 1)
		p.family = 6;
	else
		return misuse("'%.60s' is no address; wanted 192.0.2.0/24 or 2001:db8::/32", text);
	if (p.family == 6 && !memcmp(p.address, mapped, sizeof(mapped)))
		return misuse("'%s' is an IPv4 address inside IPv6, which no packet carries; write "
			      "it as IPv4: %s",
			      text, strrchr(address, ':') + 1);
	size = p.family == 4 ? 4 : 16;
	length = size * 8;
	if (slash && parse_number("prefix length", slash + 1, 0, size * 8, &length))
		return -EINVAL;
	p.length = length;
	if (clear_host_bits(p.address, length, size)) {
		prefix_format(&p, right);
		return misuse("'%s' has bits behind its prefix length; '%s' is the network", text,
			      right);
	}
	*prefix = p;
	return 0;
}

void prefix_format(const struct prefix *p, char *text)
{
	unsigned int full = p->family == 4 ? 32 : 128;

	inet_ntop(p->family == 4 ? AF_INET : AF_INET6, p->address, text, INET6_ADDRSTRLEN);
	if (p->length != full)
		sprintf(text + strlen(text), "/%u", p->length);
}

static int parse_ports(const char *what, char *text, __u16 *range)
{
	char *dash = strchr(text, '-');
	long first, last;

	if (dash)
		*dash = 0;
	if (parse_number(what, text, 0, 65535, &first))
		return -EINVAL;
	last = first;
	if (dash && parse_number(what, dash + 1, 0, 65535, &last))
		return -EINVAL;
	if (last < first)
		return misuse("%s %ld-%ld: the range ends before it begins", what, first, last);
	range[0] = first;
	range[1] = last;
	return 0;
}

static int parse_proto(const char *text, __u16 *proto)
{
	long number;

	for (size_t i = 0; i < PROTOCOLS; i++) {
		if (!strcmp(text, protocols[i].name)) {
			*proto = protocols[i].number;
			return 0;
		}
	}
	if (!isdigit((unsigned char)*text))
		return misuse(
			"protocol '%s' is not known; wanted tcp, udp, icmp, icmp6, sctp, dccp, "
			"udplite, gre, esp, ah, arp or a number",
			text);
	if (parse_number("protocol", text, 0, 255, &number))
		return -EINVAL;
	*proto = number;
	return 0;
}

/* "500", "1.5k/s", "60/m", "3/h": packets per 10^6 s. */
static int parse_rate(const char *text, __u64 *rate_micro)
{
	char *end = "";
	double rate, per = 1;

	/* strtod would also take hexadecimal, exponents and "inf". */
	errno = 0;
	rate = isdigit((unsigned char)*text) ? strtod(text, &end) : -1;
	if (rate > 0 && end != text + strspn(text, "0123456789."))
		rate = -1;
	if (rate > 0 && (*end == 'k' || *end == 'M')) {
		rate *= *end == 'k' ? 1e3 : 1e6;
		end++;
	}
	if (rate > 0 && *end == '/') {
		per = !strcmp(end, "/s")   ? 1
		      : !strcmp(end, "/m") ? 60
		      : !strcmp(end, "/h") ? 3600
					   : 0;
		end += 2;
	}
	if (rate <= 0 || errno || !per || *end)
		return misuse("rate '%s': wanted packets per second as 500, 10k/s, or 60/m, 3/h",
			      text);
	rate = rate * 1e6 / per;
	if (rate < 277 || rate > 1e14)
		return misuse("rate '%s' is out of range; wanted 1/h to 100M/s", text);
	*rate_micro = rate + 0.5;
	return 0;
}

static int parse_device(const char *what, const char *text, char *name)
{
	if (!*text || strlen(text) >= IFNAMSIZ || strchr(text, '/') || strpbrk(text, " \t\n"))
		return misuse("%s '%s' is no device name", what, text);
	strcpy(name, text);
	return 0;
}

static int parse_action(struct args *args, struct rule *r)
{
	const char *word = next_word(args), *value;
	int err = 0;

	for (r->action = 0; word && r->action <= WEIR_A_REDIRECT; r->action++)
		if (!strcmp(word, action_names[r->action]))
			break;
	if (!word || r->action > WEIR_A_REDIRECT)
		return misuse("action %s%s%s: wanted drop, pass, 'limit RATE' or 'redirect DEV'",
			      word ? "'" : "is missing", word ? word : "", word ? "'" : "");
	if (r->action == WEIR_A_LIMIT) {
		value = value_of(args, "limit");
		err = value ? parse_rate(value, &r->rate_micro) : -EINVAL;
	} else if (r->action == WEIR_A_REDIRECT) {
		value = value_of(args, "redirect");
		err = value ? parse_device("redirect", value, r->target) : -EINVAL;
	}
	return err;
}

enum keyword {
	K_SRC,
	K_DST,
	K_PROTO,
	K_SPORT,
	K_DPORT,
	K_DEV,
	K_BURST,
	KEYWORDS,
};

static const char *const keywords[KEYWORDS] = {"src",	"dst", "proto", "sport",
					       "dport", "dev", "burst"};

static int parse_value(struct rule *r, enum keyword k, char *value)
{
	long number;

	switch (k) {
	case K_SRC: return prefix_parse(value, &r->src);
	case K_DST: return prefix_parse(value, &r->dst);
	case K_PROTO: return parse_proto(value, &r->proto);
	case K_SPORT: return parse_ports("sport", value, r->sport);
	case K_DPORT: return parse_ports("dport", value, r->dport);
	case K_DEV: return parse_device("dev", value, r->dev);
	default:
		if (parse_number("burst", value, 1, 1000000, &number))
			return -EINVAL;
		r->burst = number;
		return 0;
	}
}

static bool any_ports(const __u16 *range)
{
	return range[0] == 0 && range[1] == 65535;
}

static bool has_ports(__u16 proto)
{
	return proto == RULE_ANY_PROTO || proto == 6 || proto == 17 || proto == 33 ||
	       proto == 132 || proto == 136;
}

static int check_rule(const struct rule *r)
{
	bool ports = !any_ports(r->sport) || !any_ports(r->dport);

	if (ports && !has_ports(r->proto))
		return misuse("a port needs proto tcp, udp, sctp, dccp, udplite or none at all");
	if (r->proto == WEIR_PROTO_ARP && (r->src.family || r->dst.family))
		return misuse("proto arp cannot be combined with src or dst");
	if (r->src.family && r->dst.family && r->src.family != r->dst.family)
		return misuse("src and dst are of different families: no packet is both");
	if (r->burst && r->action != WEIR_A_LIMIT)
		return misuse("burst belongs to 'limit RATE'");
	return 0;
}

int rule_parse(struct args *args, struct rule *rule)
{
	struct rule r = {.proto = RULE_ANY_PROTO, .sport = {0, 65535}, .dport = {0, 65535}};
	bool seen[KEYWORDS] = {};
	int err = parse_action(args, &r);

	while (!err) {
		char *value;
		int k = 0;

		while (k < KEYWORDS && !accept_word(args, keywords[k]))
			k++;
		if (k == KEYWORDS)
			break;
		if (seen[k])
			return misuse("'%s' is given twice", keywords[k]);
		seen[k] = true;
		value = value_of(args, keywords[k]);
		err = value ? parse_value(&r, k, value) : -EINVAL;
	}
	if (!err)
		err = check_rule(&r);
	if (err)
		return err;
	if (r.action == WEIR_A_LIMIT && !r.burst) {
		/* A tenth of a second's worth, but never so few that one page load is cut. */
		__u64 tenth = r.rate_micro / 10000000;

		r.burst = tenth < 10 ? 10 : tenth > 1000000 ? 1000000 : tenth;
	}
	*rule = r;
	return 0;
}

static char *add_ports(char *at, const char *what, const __u16 *range)
{
	if (any_ports(range))
		return at;
	at += sprintf(at, " %s %u", what, range[0]);
	return range[1] == range[0] ? at : at + sprintf(at, "-%u", range[1]);
}

static char *add_proto(char *at, __u16 proto)
{
	if (proto == RULE_ANY_PROTO)
		return at;
	for (size_t i = 0; i < PROTOCOLS; i++)
		if (protocols[i].number == proto)
			return at + sprintf(at, " proto %s", protocols[i].name);
	return at + sprintf(at, " proto %u", proto);
}

#define WHOLE_AT_MOST 1000000 /* larger numbers per minute or hour are no better to read */

/* Whether the rate is what parse_rate() makes of a whole number in this unit of time. */
static bool is_whole(__u64 rate_micro, unsigned int seconds, unsigned int *number)
{
	double n = rint(rate_micro * seconds / 1e6);

	*number = n <= WHOLE_AT_MOST ? n : 0;
	return *number && (__u64)(*number * 1e6 / seconds + 0.5) == rate_micro;
}

/* In the unit that the user may have given: the one in which the rate is a whole number. */
static char *add_rate(char *at, __u64 rate_micro, __u32 burst)
{
	unsigned int number;

	if (rate_micro % 1000000000 == 0) {
		at += sprintf(at, " %lluk/s", rate_micro / 1000000000);
	} else if (rate_micro % 1000000 == 0) {
		at += sprintf(at, " %llu/s", rate_micro / 1000000);
	} else if (is_whole(rate_micro, 60, &number)) {
		at += sprintf(at, " %u/m", number);
	} else if (is_whole(rate_micro, 3600, &number)) {
		at += sprintf(at, " %u/h", number);
	} else {
		at += sprintf(at, " %llu.%06llu", rate_micro / 1000000, rate_micro % 1000000);
		while (at[-1] == '0')
			at--;
		at += sprintf(at, "/s");
	}
	return at + sprintf(at, " burst %u", burst);
}

void rule_format(const struct rule *r, char *text)
{
	char *at = text + sprintf(text, "%s", action_names[r->action]), prefix[PREFIX_TEXT];

	if (r->action == WEIR_A_LIMIT)
		at = add_rate(at, r->rate_micro, r->burst);
	if (r->action == WEIR_A_REDIRECT)
		at += sprintf(at, " %s", r->target);
	if (*r->list)
		at += sprintf(at, " %s list %s (%u prefixes)", r->list_matches_dst ? "dst" : "src",
			      r->list, r->prefixes);
	if (r->src.family) {
		prefix_format(&r->src, prefix);
		at += sprintf(at, " src %s", prefix);
	}
	if (r->dst.family) {
		prefix_format(&r->dst, prefix);
		at += sprintf(at, " dst %s", prefix);
	}
	at = add_proto(at, r->proto);
	at = add_ports(at, "sport", r->sport);
	at = add_ports(at, "dport", r->dport);
	if (*r->dev)
		sprintf(at, " dev %s", r->dev);
}

static char *trim(char *line)
{
	char *comment = strchr(line, '#'), *end;

	if (comment)
		*comment = 0;
	while (isspace((unsigned char)*line))
		line++;
	end = line + strlen(line);
	while (end > line && isspace((unsigned char)end[-1]))
		*--end = 0;
	return line;
}

static int add_line(const char *text, struct prefix **list, size_t *count, size_t *room)
{
	struct prefix *more;

	if (*count == *room) {
		*room = *room ? *room * 2 : 1024;
		more = realloc(*list, *room * sizeof(**list));
		if (!more)
			return fail(-ENOMEM, "out of memory");
		*list = more;
	}
	return prefix_parse(text, &(*list)[(*count)++]);
}

static int read_lines(FILE *f, const char *name, struct prefix **list, size_t *count)
{
	size_t room = 0, size = 0, number = 0;
	char *line = NULL;
	ssize_t length;
	int err = 0;

	while (!err && (length = getline(&line, &size, f)) >= 0) {
		bool whole = (size_t)length == strlen(line);
		char *text = trim(line);

		number++;
		if (!whole)
			err = misuse("a NUL byte is no part of an address");
		else if (*text)
			err = add_line(text, list, count, &room);
		if (err)
			err = at_line(name, number);
	}
	if (!err && ferror(f))
		err = fail(-EIO, "%s: reading failed after line %zu", name, number);
	free(line);
	return err;
}

int prefix_list_read(const char *file, struct prefix **list, size_t *count)
{
	bool standard = !strcmp(file, "-");
	FILE *f = standard ? stdin : fopen(file, "re");
	int err;

	*list = NULL;
	*count = 0;
	if (!f)
		return fail(-errno, "cannot open '%s': %m", file);
	err = read_lines(f, standard ? "standard input" : file, list, count);
	if (!standard)
		fclose(f);
	if (!err && !*count)
		err = misuse("'%s' holds no prefix; to block nothing, delete the rule", file);
	if (err) {
		free(*list);
		*list = NULL;
		*count = 0;
	}
	return err;
}
