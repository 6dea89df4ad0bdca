// SPDX-License-Identifier: GPL-2.0
/* Whether the connections between sockets of this host that may be short-cut are. */
#include "findings.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/tend/policy.h"
#include "loader/sock/probe.h"

#define MANY	  10 /* refused connections of a port, below which they may be anything */
#define NEAR_FULL 80 /* percent */

struct asking {
	struct doctor *d;
	const struct sockets_seen *seen;
};

/* ---- the host ---- */

void check_socket_programs(struct doctor *d)
{
	char lacks[SOCK_PROBE_TEXT];
	struct sock_probe probe;

	if (sock_probe(&probe)) {
		report(d, "sockets", WARN, "%s", failure());
		forget_failure();
		return;
	}
	sock_probe_lacks(&probe, lacks);
	if (!*lacks)
		report(d, "sockets", OK,
		       "connections between sockets of this host can be short-cut%s",
		       probe.verdict ? ", with a stream verdict for FIONREAD" : "");
	else
		report(d, "sockets", OK,
		       "connections between sockets of this host stay on TCP, as this kernel lacks %s",
		       lacks);
}

/* ---- who tends ---- */

static const struct sock_scope *first_scope(const struct sock_view *v)
{
	for (int i = 0; i < v->scope_count; i++)
		if (*v->scopes[i].name)
			return &v->scopes[i];
	return NULL;
}

/* It leaves the settings as they are, switches on, and sees to it that somebody tends. */
static void advise_attach(const struct asking *a)
{
	const struct sock_scope *scope = first_scope(&a->seen->view);

	if (scope)
		advise(a->d, "%s sock attach %s", weir(a->d), scope->name);
}

static void check_tender(const struct asking *a)
{
	const struct sock_view *v = &a->seen->view;

	if (v->tender) {
		report(a->d, "tender", OK, "process %d", v->tender);
	} else {
		report(a->d, "tender", WARN,
		       "nobody tends: the %llu connections that are short-cut stay so, and no other "
		       "one will be",
		       sock_view_pairs(v));
		advise_attach(a);
	}
	if (v->on) {
		report(a->d, "switch", OK, "on");
		return;
	}
	report(a->d, "switch", WARN,
	       "off, by a 'weir sock detach' that did not come to its end: every send goes by TCP");
	advise_attach(a);
}

static void check_room(const struct asking *a)
{
	const struct sock_view *v = &a->seen->view;
	__u64 full = 0;

	for (size_t i = 0; i < v->now.count; i++)
		full += v->now.port[i].total.refused[WEIR_R_FULL];
	if (!full && 100ull * v->used < (__u64)NEAR_FULL * v->room) {
		report(a->d, "room", OK, "%u of %u pairs are in use", v->used, v->room);
		return;
	}
	if (full)
		report(a->d, "room", WARN,
		       "%llu connections stay on TCP for lack of it; %u of %u "
		       "pairs are in use now",
		       full, v->used, v->room);
	else
		report(a->d, "room", WARN, "%u of %u pairs are in use", v->used, v->room);
	if (v->room >= WEIR_PAIRS_MAX)
		advise(a->d, "there can be no more of them: attach with --port what is worth it");
	else
		advise(a->d,
		       "%s sock detach --all; then attach each cgroup with its settings again "
		       "and with --pairs %u",
		       weir(a->d), 2 * v->room < WEIR_PAIRS_MAX ? 2 * v->room : WEIR_PAIRS_MAX);
}

/* Rules decide about the packets that begin a connection; those of a later date come too late. */
static void check_firewall(const struct asking *a)
{
	const struct firewall *f = &a->seen->firewall;
	__u64 pairs = sock_view_pairs(&a->seen->view);

	if (!f->namespaces || !pairs) {
		report(a->d, "netfilter", OK,
		       f->namespaces ? "rules are loaded, nothing is short-cut past them now"
				     : "no rules are loaded");
		return;
	}
	report(a->d, "netfilter", WARN,
	       "rules are loaded %s: they see the beginning of the %llu connections that are "
	       "short-cut, but not their bytes; a rule added now does not stop these",
	       f->here ? "here" : "in other network namespaces", pairs);
	advise(a->d, "where rules must see every byte, leave the port out: weir sock attach ... "
		     "--port; 'weir sock detach' before a rule that shall stop connections");
}

/* ---- cgroups and their ports ---- */

static void check_scope(const struct asking *a, const struct sock_scope *scope)
{
	a->d->subject = sock_scope_name(scope);
	if (*scope->name) {
		report(a->d, "cgroup", OK, "attached");
		return;
	}
	report(a->d, "cgroup", WARN, "the cgroup is gone, what weir has pinned for it is not");
	advise(a->d, "%s sock detach '%s'", weir(a->d), sock_scope_name(scope));
}

/* Of those that somebody can do something about; a full table is told of in another place. */
static enum weir_refusal main_reason(const struct weir_sock_totals *t)
{
	enum weir_refusal top = WEIR_REFUSALS;

	for (int r = 0; r < WEIR_REFUSALS; r++)
		if (r != WEIR_R_FULL && strncmp(sock_refusal_remedies[r], "nothing", 7) &&
		    t->refused[r] >= MANY &&
		    (top == WEIR_REFUSALS || t->refused[r] > t->refused[top]))
			top = (enum weir_refusal)r;
	return top;
}

/* A warning where more were refused for one reason than were ever short-cut. */
static void check_port(const struct asking *a, const struct sock_port_stats *p)
{
	const struct sock_view *v = &a->seen->view;
	enum weir_refusal reason = main_reason(&p->total);
	char subject[PATH_MAX + 32], port[16] = "other ports";

	if (reason == WEIR_REFUSALS || p->total.refused[reason] <= p->total.pairs)
		return;
	if (p->port)
		snprintf(port, sizeof(port), "port %u", p->port);
	snprintf(subject, sizeof(subject), "%s of %s", port,
		 sock_cgroup_label(v->scopes, v->scope_count, p->cgroup));
	a->d->subject = subject;
	report(a->d, "refused", WARN, "%llu connections stay on TCP, %llu were short-cut: %s",
	       p->total.refused[reason], p->total.pairs, sock_refusal_texts[reason]);
	advise(a->d, "%s", sock_refusal_remedies[reason]);
}

/* ---- */

void sockets_look(struct sockets_seen *seen, const struct instance *in)
{
	*seen = (struct sockets_seen){};
	if (!in->exists)
		return;
	seen->left = !access(instance_path(in, "sock"), F_OK);
	if (sock_view_take(&seen->view, in)) {
		snprintf(seen->broken, sizeof(seen->broken), "%s", failure());
		forget_failure();
	}
	if (sock_view_pairs(&seen->view) && firewall_look(&seen->firewall))
		forget_failure();
}

void sockets_forget(struct sockets_seen *seen)
{
	sock_view_free(&seen->view);
}

void doctor_sockets(struct doctor *d, const struct sockets_seen *seen)
{
	const struct sock_view *v = &seen->view;
	struct asking a = {.d = d, .seen = seen};

	d->subject = "sockets";
	if (*seen->broken) {
		report(d, "maps", FAIL, "%s", seen->broken);
		return;
	}
	if (!v->scope_count) {
		if (!seen->left)
			return;
		report(d, "maps", WARN, "no cgroup is attached, and yet something is pinned");
		advise(d, "%s sock detach --all", weir(d));
		return;
	}
	check_tender(&a);
	check_room(&a);
	check_firewall(&a);
	for (int i = 0; i < v->scope_count; i++)
		check_scope(&a, &v->scopes[i]);
	for (size_t i = 0; i < v->now.count; i++)
		check_port(&a, &v->now.port[i]);
}
