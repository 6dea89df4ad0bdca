// SPDX-License-Identifier: GPL-2.0
/* weir explain: what the datapath would do with a packet, and why. */
#include "loader/service/explain.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "loader/cmd/command.h"
#include "loader/service/service_view.h"
#include "loader/base/error.h"
#include "loader/out/out.h"
#include "loader/rules/rules.h"
#include "loader/watch/counters.h"

static const struct column columns[] = {
	COLUMN("step", "Step", UNIT_TEXT),
	COLUMN("says", "What the datapath decides", UNIT_TEXT),
};

static const struct table table = {.rows = "steps", COLUMNS(columns)};

static const struct {
	const char *name;
	const char *why;
} placed[] = {
	[WEIR_PLACED_NOT] = {"not", "no backend is asked for"},
	[WEIR_PLACED_SLOT] = {"slot", "the owner of the slot"},
	[WEIR_PLACED_FLOW] = {"flow", "the slot is moving, and the flow is remembered there"},
	[WEIR_PLACED_NEW] = {"new", "the slot is moving, and a new flow goes to its owner"},
	[WEIR_PLACED_PREVIOUS] = {"previous", "the slot is moving, and the flow began before: the "
					      "owner before"},
	[WEIR_PLACED_OWNER] = {"owner", "the slot is moving, and the owner before is dead"},
	[WEIR_PLACED_NO_ROOM] = {"no_room", "the slot is moving, and there is no room to remember "
					    "a new flow: the owner before"},
	[WEIR_PLACED_NAT] = {"nat", "the flow is known"},
	[WEIR_PLACED_FRAGMENT] = {"fragment", "the datagram's first fragment went there"},
};

#define PLACED (sizeof(placed) / sizeof(placed[0]))

/* ---- the question ---- */

static int parse_end(const char *what, struct args *args, __u8 proto, struct address *address,
		     __u16 *port)
{
	bool wanted = proto != IPPROTO_ICMP;
	const char *word = next_word(args);
	struct endpoint e;

	if (!word)
		return misuse("the %s is missing; wanted ADDRESS%s", what, wanted ? ":PORT" : "");
	if (endpoint_parse(what, word, &e))
		return -EINVAL;
	if (wanted && e.port == NO_PORT)
		return misuse("%s '%s' has no port", what, word);
	if (wanted && !e.port)
		return misuse("%s '%s': a packet has one port", what, word);
	if (!wanted && e.port != NO_PORT)
		return misuse("%s '%s': ICMP has no ports", what, word);
	*address = e.address;
	*port = wanted ? e.port : 0;
	return 0;
}

static int parse_proto(struct args *args, __u8 *proto)
{
	const char *word = next_word(args);

	if (word && !strcmp(word, "tcp"))
		*proto = IPPROTO_TCP;
	else if (word && !strcmp(word, "udp"))
		*proto = IPPROTO_UDP;
	else if (word && !strcmp(word, "icmp"))
		*proto = IPPROTO_ICMP;
	else
		return misuse("%s%s%s: wanted tcp, udp or icmp, then SOURCE and DESTINATION",
			      word ? "protocol '" : "a packet is missing", word ? word : "",
			      word ? "'" : "");
	return 0;
}

static int parse_device(struct args *args, struct explain_request *r)
{
	const char *name = value_of(args, "dev");

	if (!name)
		return -EINVAL;
	if (!*name || strlen(name) >= sizeof(r->device))
		return misuse("dev '%s' is no device name", name);
	strcpy(r->device, name);
	return 0;
}

static int parse(struct args *args, struct explain_request *r)
{
	int err = parse_proto(args, &r->proto);

	if (!err)
		err = parse_end("source", args, r->proto, &r->source, &r->sport);
	if (!err)
		err = parse_end("destination", args, r->proto, &r->destination, &r->dport);
	if (!err && r->source.family != r->destination.family)
		err = misuse("source and destination are of different families: no packet is both");
	while (!err && args->count) {
		if (accept_word(args, "syn"))
			r->syn = true;
		else if (accept_word(args, "dev"))
			err = parse_device(args, r);
		else
			err = no_more_words(args);
	}
	if (!err && r->syn && r->proto != IPPROTO_TCP)
		err = misuse("'syn' belongs to tcp");
	return err;
}

/* ---- the answer ---- */

struct told {
	const struct explain_request *request;
	const struct explain_answer *answer;
	struct balance balance;
	struct rule_set rules;
	json_t *json, *steps;
};

static void step(struct told *t, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void step(struct told *t, const char *name, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(t->steps,
			      json_pack("{s:s, s:o}", "step", name, "says", out_string(text)));
}

static void end_text(const struct address *a, __u8 proto, __u16 port, char *text)
{
	char number[8];

	sprintf(number, "%u", port);
	if (proto == IPPROTO_ICMP)
		address_format(a, text);
	else
		endpoint_format(a, number, text);
}

static void tell_packet(struct told *t)
{
	const struct explain_request *r = t->request;
	const char *proto = r->proto == IPPROTO_TCP   ? "tcp"
			    : r->proto == IPPROTO_UDP ? "udp"
						      : "icmp";
	const char *what = r->syn		     ? ", first packet of a connection"
			   : r->proto == IPPROTO_TCP ? ", in the middle of a connection"
			   : r->proto == IPPROTO_UDP ? ""
						     : ", echo request";
	char from[ADDRESS_TEXT + 24], to[ADDRESS_TEXT + 24];

	end_text(&r->source, r->proto, r->sport, from);
	end_text(&r->destination, r->proto, r->dport, to);
	step(t, "packet", "%s %s to %s%s, comes in at %s", proto, from, to, what,
	     t->answer->device);
	json_object_update_new(t->json, json_pack("{s:s, s:s, s:s, s:b, s:o}", "protocol", proto,
						  "source", from, "destination", to, "syn", r->syn,
						  "device", out_string(t->answer->device)));
}

static void tell_rule(struct told *t)
{
	char text[RULE_TEXT];

	if (t->rules.count && !t->answer->rule)
		step(t, "rule", "none matches");
	for (size_t i = 0; i < t->rules.count; i++) {
		if (t->rules.rules[i].id != t->answer->rule)
			continue;
		rule_format(&t->rules.rules[i], text);
		step(t, "rule", "rule %u: %s", t->answer->rule, text);
		json_object_set_new(t->json, "rule_text", out_string(text));
	}
	json_object_set_new(t->json, "rule",
			    t->answer->rule ? json_integer(t->answer->rule) : json_null());
}

/* The name of a backend by its index; "none" for 0, and what is gone meanwhile by its number. */
static void name_backend(const struct told *t, __u32 index, char text[BACKEND_NAME])
{
	if (!index) {
		strcpy(text, "none");
		return;
	}
	for (size_t i = 0; i < t->balance.backend_count; i++) {
		if (t->balance.backends[i].index == index) {
			backend_format_name(&t->balance.backends[i], text);
			return;
		}
	}
	snprintf(text, BACKEND_NAME, "backend %u, which is gone", index);
}

static void set_backend(struct told *t, const char *key, __u32 index)
{
	char text[BACKEND_NAME];

	name_backend(t, index, text);
	json_object_set_new(t->json, key, index ? json_string(text) : json_null());
}

static bool leaves(const struct explain_answer *a)
{
	return *a->egress || a->code == XDP_TX;
}

static void tell_service(struct told *t)
{
	const struct weir_explanation *told = &t->answer->told;
	const struct service *s =
		told->service ? balance_service(&t->balance, told->service) : NULL;
	char text[SERVICE_TEXT];

	json_object_set_new(t->json, "service", json_null());
	if (!s) {
		if (t->request->proto == IPPROTO_ICMP && leaves(t->answer))
			step(t, "service", "none; the address is a service's: answered here");
		else
			step(t, "service", "none");
		return;
	}
	service_format(s, text);
	step(t, "service", "%s%s", text, told->reply ? "; this is a backend's reply" : "");
	service_format_name(s, text);
	json_object_set_new(t->json, "service", json_string(text));
	json_object_set_new(t->json, "mode", json_string(mode_name(s->mode)));
	json_object_set_new(t->json, "reply", json_boolean(told->reply));
}

static void tell_place(struct told *t)
{
	const struct weir_explanation *told = &t->answer->told;
	const struct service *s = balance_service(&t->balance, told->service);
	char owner[BACKEND_NAME], previous[BACKEND_NAME], backend[BACKEND_NAME], hash[24];

	name_backend(t, told->owner, owner);
	name_backend(t, told->previous, previous);
	name_backend(t, told->backend, backend);
	if (told->slot) {
		if (told->previous)
			step(t, "slot", "%u of %u: moving from %s to %s", told->slot - 1,
			     s ? s->slots : 0, previous, owner);
		else
			step(t, "slot", "%u of %u: owner %s, not moving", told->slot - 1,
			     s ? s->slots : 0, owner);
		snprintf(hash, sizeof(hash), "%016llx", told->hash);
		json_object_set_new(t->json, "slot", json_integer(told->slot - 1));
		json_object_set_new(t->json, "slots", json_integer(s ? s->slots : 0));
		json_object_set_new(t->json, "hash", json_string(hash));
		set_backend(t, "owner", told->owner);
		set_backend(t, "previous", told->previous);
	}
	if (told->backend)
		step(t, "backend", "%s: %s", backend,
		     placed[told->placed < PLACED ? told->placed : 0].why);
	if (told->nat_port)
		step(t, "nat", "the backend sees port %u", ntohs(told->nat_port));
	set_backend(t, "backend", told->backend);
	json_object_set_new(t->json, "placed",
			    json_string(placed[told->placed < PLACED ? told->placed : 0].name));
	if (told->nat_port)
		json_object_set_new(t->json, "nat_port", json_integer(ntohs(told->nat_port)));
}

static void tell_verdict(struct told *t)
{
	const struct weir_explanation *told = &t->answer->told;
	const char *verdict = told->verdict < WEIR_VERDICTS ? verdict_names[told->verdict] : "?";
	const char *class = told->class < WEIR_CLASSES ? class_names[told->class] : "?";

	if (told->reason < WEIR_REASONS)
		step(t, "verdict", "%s, counted as %s, reason %s", verdict, class,
		     reason_names[told->reason]);
	else
		step(t, "verdict", "%s, counted as %s", verdict, class);
	json_object_set_new(t->json, "verdict", json_string(verdict));
	json_object_set_new(t->json, "class", json_string(class));
	json_object_set_new(t->json, "reason",
			    told->reason < WEIR_REASONS ? json_string(reason_names[told->reason])
							: json_null());
}

static void mac_text(const __u8 *mac, char text[18])
{
	snprintf(text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
		 mac[5]);
}

/* The frame as it leaves. */
static void tell_egress(struct told *t)
{
	const struct explain_answer *a = t->answer;
	size_t shown = a->length < sizeof(a->frame) ? a->length : sizeof(a->frame);
	char to[18], from[18], hex[2 * sizeof(a->frame) + 1] = "";
	const char *device = *a->egress ? a->egress : a->device;

	if (shown < 14 || !leaves(a))
		return;
	mac_text(a->frame, to);
	mac_text(a->frame + 6, from);
	for (size_t i = 0; i < shown; i++)
		sprintf(hex + 2 * i, "%02x", a->frame[i]);
	/* XDP passes on, with a mark, what TC is to send. */
	step(t, "egress", "out of %s%s, to %s from %s, %u bytes", device,
	     a->code == XDP_PASS ? " by TC" : "", to, from, a->length);
	json_object_update_new(t->json, json_pack("{s:o, s:s, s:s, s:i, s:s}", "egress_device",
						  out_string(device), "mac", to, "source_mac", from,
						  "bytes", (int)a->length, "frame", hex));
}

static int show(const struct instance *in, const struct explain_request *request,
		const struct explain_answer *answer)
{
	struct told t = {.request = request, .answer = answer};
	int err = services_get(in, &t.balance);

	if (!err)
		err = rules_get(in, &t.rules);
	if (!err) {
		t.json = json_object();
		t.steps = json_array();
		tell_packet(&t);
		tell_rule(&t);
		tell_service(&t);
		tell_place(&t);
		tell_verdict(&t);
		tell_egress(&t);
		json_object_set_new(t.json, "steps", t.steps);
		err = out_show(t.json, &table, 1);
	}
	balance_free(&t.balance);
	rule_set_free(&t.rules);
	return err;
}

int cmd_explain(struct args *args)
{
	struct explain_request request = {};
	struct explain_answer answer = {};
	struct instance in;
	int err = parse(args, &request);

	if (!err)
		err = instance_open(&in, false);
	if (err)
		return err;
	err = explain_packet(&in, &request, &answer);
	if (!err)
		err = show(&in, &request, &answer);
	instance_close(&in);
	return err;
}
