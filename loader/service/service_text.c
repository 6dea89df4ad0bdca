// SPDX-License-Identifier: GPL-2.0
/* How the user writes services and backends. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/rules/rule.h"
#include "service.h"

#define IDLE_TCP     900
#define IDLE_UDP     60
#define MOST_IDLE    32400 /* slots keep 16 bits of ticks, compared as differences */
#define LEAST_MSS    536
#define MOST_MSS     9160
#define LEAST_FLOWS  64
#define MOST_FLOWS   (1 << 24)
#define LEAST_SOURCE 8 /* bits of a prefix of sources */

/* ---- services ---- */

int service_parse_name(struct args *args, struct service *service)
{
	const char *proto = next_word(args), *where;
	struct service s = {};
	struct endpoint e;

	if (!proto)
		return misuse("a service is missing; wanted tcp|udp ADDRESS:PORT");
	if (strcmp(proto, "tcp") && strcmp(proto, "udp"))
		return misuse("service '%s': wanted tcp or udp, then ADDRESS:PORT", proto);
	where = next_word(args);
	if (!where)
		return misuse("'%s' needs ADDRESS:PORT behind it", proto);
	if (endpoint_parse("service", where, &e))
		return -EINVAL;
	if (e.port == NO_PORT)
		return misuse(
			"service '%s' has no port; wanted %s%s%s:80, or ':any' for every port",
			where, e.address.family == 6 && *where != '[' ? "[" : "", where,
			e.address.family == 6 && *where != '[' ? "]" : "");
	if (address_check_host("service", &e.address))
		return -EINVAL;
	s.proto = strcmp(proto, "tcp") ? IPPROTO_UDP : IPPROTO_TCP;
	s.address = e.address;
	s.port = e.port;
	*service = s;
	return 0;
}

enum option {
	O_MODE,
	O_AFFINITY,
	O_UDP,
	O_MSS,
	O_SOURCE,
	O_IDLE,
	O_FLOWS,
	O_SLOTS,
	OPTIONS,
};

static const char *const option_names[OPTIONS] = {"mode",   "affinity", "udp",	 "mss",
						  "source", "idle",	"flows", "slots"};

static int parse_mode(const char *text, __u8 *mode)
{
	for (int m = 0; m < WEIR_MODES; m++) {
		if (!strcmp(text, mode_name(m))) {
			*mode = m;
			return 0;
		}
	}
	return misuse("mode '%s': wanted nat, dsr-l2 or dsr-ipip", text);
}

/* One of two words: 1 is the second. */
static int parse_choice(const char *what, const char *text, const char *no, const char *yes,
			__u8 *value)
{
	if (strcmp(text, no) && strcmp(text, yes))
		return misuse("%s '%s': wanted %s or %s", what, text, yes, no);
	*value = !strcmp(text, yes);
	return 0;
}

/* A number, or the word that stands for 0 if there is one. */
static int parse_count(const char *what, const char *text, const char *zero, long least, long most,
		       __u32 *value)
{
	long number = 0;

	if ((!zero || strcmp(text, zero)) && parse_number(what, text, least, most, &number))
		return -EINVAL;
	*value = number;
	return 0;
}

static int parse_slots(const char *text, __u32 *slots)
{
	if (parse_count("slots", text, "auto", WEIR_MIN_SLOTS, WEIR_MAX_SLOTS, slots))
		return -EINVAL;
	if (*slots & (*slots - 1))
		return misuse("slots %s is no power of two", text);
	return 0;
}

static int parse_source(const char *text, struct address *source)
{
	struct address a = {};
	struct prefix p;

	if (!strcmp(text, "own")) {
		*source = a;
		return 0;
	}
	if (!strchr(text, '/')) {
		if (address_parse("source", text, &a))
			return -EINVAL;
	} else {
		if (prefix_parse(text, &p))
			return -EINVAL;
		if (p.length < LEAST_SOURCE)
			return misuse("source '%s': wanted a prefix of %d bits at least", text,
				      LEAST_SOURCE);
		a.family = p.family;
		a.bits = p.length;
		memcpy(a.byte, p.address, sizeof(a.byte));
	}
	if (address_check_host("source", &a))
		return -EINVAL;
	*source = a;
	return 0;
}

static int parse_option(struct service *s, enum option o, const char *text)
{
	__u32 number = s->mss;
	int err;

	switch (o) {
	case O_MODE: return parse_mode(text, &s->mode);
	case O_AFFINITY: return parse_choice("affinity", text, "none", "source", &s->by_source);
	case O_UDP: return parse_choice("udp", text, "sticky", "free", &s->free);
	case O_MSS:
		err = parse_count("mss", text, "off", LEAST_MSS, MOST_MSS, &number);
		s->mss = number;
		return err;
	case O_SOURCE: return parse_source(text, &s->source);
	case O_IDLE: return parse_count("idle", text, NULL, 1, MOST_IDLE, &s->idle);
	case O_FLOWS:
		return parse_count("flows", text, "auto", LEAST_FLOWS, MOST_FLOWS,
				   &s->flows_wanted);
	default: return parse_slots(text, &s->slots_wanted);
	}
}

static int check_source(const struct service *s)
{
	const struct address *source = &s->source;

	if (!source->family)
		return 0;
	if (s->mode == WEIR_DSR_L2)
		return misuse("source belongs to modes nat and dsr-ipip: dsr-l2 keeps the client's "
			      "address");
	if (s->mode == WEIR_NAT && source->bits != (source->family == 4 ? 32 : 128))
		return misuse("source of mode nat: wanted one address, as replies come back to it");
	if (s->mode == WEIR_NAT && source->family != s->address.family)
		return misuse("source of mode nat: wanted an address of the service's own family");
	if (s->address.family == 6 && source->family == 4)
		return misuse("source: IPv6 is not carried in IPv4; wanted an IPv6 address");
	return 0;
}

static int check_service(const struct service *s, const bool *seen)
{
	if (seen[O_UDP] && s->proto != IPPROTO_UDP)
		return misuse("option 'udp' belongs to services of UDP");
	if (s->free && s->mode == WEIR_NAT)
		return misuse(
			"'udp free' belongs to modes dsr-l2 and dsr-ipip: nat remembers every "
			"flow");
	if (seen[O_MSS] && s->proto != IPPROTO_TCP)
		return misuse("option 'mss' belongs to services of TCP");
	return check_source(s);
}

/* Takes options as long as there are any, and notes which. */
static int parse_options(struct args *args, struct service *s, bool *seen)
{
	int err = 0;

	while (!err) {
		const char *value;
		int o = 0;

		while (o < OPTIONS && !accept_word(args, option_names[o]))
			o++;
		if (o == OPTIONS)
			break;
		if (seen[o])
			return misuse("'%s' is given twice", option_names[o]);
		seen[o] = true;
		value = value_of(args, option_names[o]);
		err = value ? parse_option(s, o, value) : -EINVAL;
	}
	return err;
}

static __u32 default_idle(const struct service *s)
{
	return s->proto == IPPROTO_TCP ? IDLE_TCP : IDLE_UDP;
}

int service_parse(struct args *args, struct service *service)
{
	bool seen[OPTIONS] = {};
	struct service s;
	int err = service_parse_name(args, &s);

	if (err)
		return err;
	s.idle = default_idle(&s);
	err = parse_options(args, &s, seen);
	if (!err && !seen[O_MODE])
		err = args->count ? no_more_words(args)
				  : misuse("the mode is missing; wanted mode nat, dsr-l2 or "
					   "dsr-ipip");
	if (!err)
		err = check_service(&s, seen);
	if (!err)
		*service = s;
	return err;
}

int service_parse_change(struct args *args, struct service *service)
{
	struct service s = *service;
	bool seen[OPTIONS] = {};
	int count = args->count, err = parse_options(args, &s, seen);

	if (!err && s.mode != service->mode)
		err = misuse("the mode of a service cannot change; delete it and add it again");
	if (!err && args->count == count)
		err = args->count ? no_more_words(args)
				  : misuse("nothing to change is named; wanted udp, mss, "
					   "source, idle, flows or slots");
	if (!err)
		err = check_service(&s, seen);
	if (!err)
		*service = s;
	return err;
}

void service_format_name(const struct service *s, char text[SERVICE_NAME])
{
	char port[8] = "any";

	if (s->port)
		sprintf(port, "%u", s->port);
	endpoint_format(&s->address, port,
			text + sprintf(text, "%s ", s->proto == IPPROTO_TCP ? "tcp" : "udp"));
}

void service_format(const struct service *s, char text[SERVICE_TEXT])
{
	char source[ADDRESS_TEXT], *at = text;

	service_format_name(s, text);
	at += strlen(text);
	at += sprintf(at, " mode %s", mode_name(s->mode));
	if (s->by_source)
		at += sprintf(at, " affinity source");
	if (s->free)
		at += sprintf(at, " udp free");
	if (s->mss)
		at += sprintf(at, " mss %u", s->mss);
	if (s->source.family) {
		address_format(&s->source, source);
		at += sprintf(at, " source %s", source);
	}
	if (s->idle != default_idle(s))
		at += sprintf(at, " idle %u", s->idle);
	if (s->flows_wanted)
		at += sprintf(at, " flows %u", s->flows_wanted);
	if (s->slots_wanted)
		sprintf(at, " slots %u", s->slots_wanted);
}

/* ---- backends ---- */

static int check_family(const struct service *s, const struct address *a)
{
	const char *mode = mode_name(s->mode);
	char text[ADDRESS_TEXT];

	address_format(a, text);
	if (address_equal(&s->address, a))
		return misuse("backend %s is the service's own address", text);
	if (s->address.family == a->family || (s->mode == WEIR_DSR_IPIP && a->family == 6))
		return 0;
	if (s->mode == WEIR_DSR_IPIP)
		return misuse("backend %s: IPv6 is not carried in IPv4; wanted an IPv6 address",
			      text);
	return misuse("backend %s: mode %s wants an IPv%u address like the service's", text, mode,
		      s->address.family);
}

/* The service's own port is the same as none, so that no backend has two names. */
static int backend_port(const struct service *s, const struct endpoint *e, __u16 *port)
{
	*port = 0;
	if (e->port == NO_PORT || e->port == s->port)
		return 0;
	if (!e->port)
		return misuse("a backend has one port, or that of its service: leave ':any' out");
	if (s->mode != WEIR_NAT)
		return misuse("backend port %d: mode %s cannot change ports; leave it out", e->port,
			      mode_name(s->mode));
	*port = e->port;
	return 0;
}

int backend_parse_name(struct args *args, const struct service *service, struct backend *backend)
{
	const char *word = next_word(args);
	struct backend b = {.service = service->index};
	struct endpoint e;

	if (!word)
		return misuse("a backend is missing; wanted ADDRESS%s",
			      service->mode == WEIR_NAT ? "[:PORT]" : "");
	if (endpoint_parse("backend", word, &e) || address_check_host("backend", &e.address) ||
	    check_family(service, &e.address) || backend_port(service, &e, &b.port))
		return -EINVAL;
	b.address = e.address;
	*backend = b;
	return 0;
}

static int parse_weight(const char *text, __u16 *weight)
{
	long number;

	if (!strcmp(text, "0"))
		return misuse("weight 0 is not between 1 and %u; 'state drain' ends new flows",
			      WEIR_MAX_WEIGHT);
	if (parse_number("weight", text, 1, WEIR_MAX_WEIGHT, &number))
		return -EINVAL;
	*weight = number;
	return 0;
}

static int parse_state(const char *text, __u8 *state)
{
	for (int s = 0; s < BACKEND_LEAVING; s++) {
		if (!strcmp(text, backend_state_name(s))) {
			*state = s;
			return 0;
		}
	}
	if (!strcmp(text, backend_state_name(BACKEND_LEAVING)))
		return misuse("state leaving is what 'weir backend del' makes");
	return misuse("state '%s': wanted up, drain or dead", text);
}

/* Takes them as long as there are any; `*count`: how many. */
static int parse_backend_options(struct args *args, struct backend *b, int *count)
{
	bool weight = false, state = false;
	const char *value;

	for (;;) {
		if (accept_word(args, "weight")) {
			value = value_of(args, "weight");
			if (weight)
				return misuse("'weight' is given twice");
			if (!value || parse_weight(value, &b->weight))
				return -EINVAL;
			weight = true;
		} else if (accept_word(args, "state")) {
			value = value_of(args, "state");
			if (state)
				return misuse("'state' is given twice");
			if (!value || parse_state(value, &b->state))
				return -EINVAL;
			state = true;
		} else {
			*count = weight + state;
			return 0;
		}
	}
}

int backend_parse_change(struct args *args, struct backend *backend)
{
	struct backend b = *backend;
	int count, err = parse_backend_options(args, &b, &count);

	if (!err && !count)
		err = args->count ? no_more_words(args)
				  : misuse("nothing to change is named; wanted weight or state");
	if (!err)
		*backend = b;
	return err;
}

/* Any backend of the list that is the same as the one behind it? */
static int check_new(const struct backend *list, size_t count)
{
	const struct backend *last = &list[count];
	char text[BACKEND_NAME];

	for (size_t i = 0; i < count; i++) {
		if (list[i].port == last->port && address_equal(&list[i].address, &last->address)) {
			backend_format_name(last, text);
			return misuse("backend %s is given twice", text);
		}
	}
	return 0;
}

int backends_parse(struct args *args, const struct service *service, struct backend **list,
		   size_t *count)
{
	struct backend *b = calloc(args->count + 1, sizeof(*b));
	int options, err = b ? 0 : fail(-ENOMEM, "out of memory");
	size_t n = 0;

	while (!err && (args->count || !n)) {
		err = backend_parse_name(args, service, &b[n]);
		if (!err) {
			b[n].weight = 1;
			err = parse_backend_options(args, &b[n], &options);
		}
		if (!err)
			err = check_new(b, n++);
	}
	if (err) {
		free(b);
		return err;
	}
	*list = b;
	*count = n;
	return 0;
}

void backend_format_name(const struct backend *b, char text[BACKEND_NAME])
{
	char port[8];

	sprintf(port, "%u", b->port);
	if (b->port)
		endpoint_format(&b->address, port, text);
	else
		address_format(&b->address, text);
}
