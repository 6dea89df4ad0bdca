// SPDX-License-Identifier: GPL-2.0
/* weir sock attach, weir sock detach: whose local connections may be short-cut. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/cmd/command.h"
#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/out/out.h"
#include "loader/sock/firewall.h"
#include "loader/sock/settings.h"
#include "loader/sockview/sock_view.h"
#include "loader/tend/tend.h"

/* ---- attach ---- */

/* What the user named. What he did not name stays as it is where the cgroup is attached. */
struct request {
	const char *cgroup;
	const char *ports, *local, *limit, *pairs;
	bool no_tend;
};

static int parse_attach(struct args *args, struct request *r)
{
	const struct {
		const char *word;
		const char **value;
	} valued[] = {
		{"--port", &r->ports},
		{"--local", &r->local},
		{"--limit", &r->limit},
		{"--pairs", &r->pairs},
	};

	while (args->count) {
		size_t i = 0;

		while (i < 4 && !accept_word(args, valued[i].word))
			i++;
		if (i < 4) {
			*valued[i].value = value_of(args, valued[i].word);
			if (!*valued[i].value)
				return -EINVAL;
		} else if (accept_word(args, "--no-tend")) {
			r->no_tend = true;
		} else if (r->cgroup || args->word[0][0] == '-') {
			return no_more_words(args);
		} else {
			r->cgroup = next_word(args);
		}
	}
	if (!r->cgroup)
		return misuse(
			"a cgroup is missing; '/' is all of this host, 'docker' what is below "
			"the cgroup2 mount of that name");
	return 0;
}

static int apply(const struct request *r, struct sock_settings *s)
{
	int err = 0;

	if (r->ports)
		err = sock_ports_parse(r->ports, s);
	if (!err && r->local)
		err = sock_local_parse(r->local, s);
	if (!err && r->limit)
		err = sock_limit_parse(r->limit, s);
	if (!err && r->pairs)
		err = sock_pairs_parse(r->pairs, s);
	return err;
}

/* Before anything is opened: a wrong word must leave no trace. */
static int check_words(const struct request *r)
{
	struct sock_settings s = {};
	int err = apply(r, &s);

	sock_settings_free(&s);
	return err;
}

/* Takes the scope of this cgroup, if it is attached, to begin with. */
static int settings_for(const struct instance *in, const struct cgroup *cgroup,
			const struct request *r, struct sock_settings *s, bool *updated)
{
	struct sock_scope *scopes = NULL;
	int count = sock_scopes(in, &scopes), err = count < 0 ? count : 0;

	*s = (struct sock_settings){.limit = WEIR_LIMIT_DEFAULT};
	*updated = false;
	for (int i = 0; !err && i < count; i++) {
		if (scopes[i].cgroup != cgroup->id)
			continue;
		*updated = true;
		err = sock_settings_of(&scopes[i], s);
	}
	sock_scopes_free(scopes, count < 0 ? 0 : count);
	return err ? err : apply(r, s);
}

/* Said each time: who attaches must know what he will not see any more. */
static void say_what_goes_blind(void)
{
	struct firewall f;

	notice("short-cut bytes are seen by no netfilter rule, conntrack, tcpdump, tc or XDP "
	       "program, nor by any interface's counters; 'weir sock show' counts them");
	if (firewall_look(&f)) {
		forget_failure();
		return;
	}
	if (!f.namespaces)
		return;
	notice("netfilter rules are loaded %s%s: they still decide which connections "
	       "begin, but not about the bytes of those that are short-cut; a rule added later does "
	       "not stop these, 'weir sock detach' does",
	       f.here ? "here" : "in other network namespaces",
	       f.here && f.namespaces > 1 ? " and in other network namespaces" : "");
}

static int tell_attached(const struct instance *in, const struct sock_scope *scope, bool updated,
			 int tender)
{
	char ports[SOCK_PORTS_TEXT], limit[SOCK_LIMIT_TEXT];
	const char *name = sock_scope_name(scope);
	json_t *o;

	if (options.json) {
		o = sock_scope_json(scope);
		json_object_update_new(o,
				       json_pack("{s:b, s:o}", "updated", updated, "tender_process",
						 tender ? json_integer(tender) : json_null()));
		return out_show(o, NULL, 0);
	}
	sock_ports_format(scope->config.port, scope->config.port_ranges, ports);
	sock_limit_format(scope->config.limit, limit);
	if (!tender)
		notice("nobody tends the sockets of instance '%s': until 'weir run' or 'weir sock "
		       "attach' does, no connection is short-cut",
		       in->name);
	return out_text("%s: %s; ports %s, at most %s unread%s", name,
			updated ? "updated" : "attached", ports, limit,
			tender ? "; connections are short-cut once they were seen to be fit" : "");
}

/* As it is now, not as it was meant: one look at what is pinned. */
static int report(const struct instance *in, const struct cgroup *cgroup, bool updated)
{
	struct sock_scope *scopes = NULL;
	int count = sock_scopes(in, &scopes), err = count < 0 ? count : 0;

	for (int i = 0; !err && i < count; i++)
		if (scopes[i].cgroup == cgroup->id)
			err = tell_attached(in, &scopes[i], updated, tender_process(in));
	sock_scopes_free(scopes, count < 0 ? 0 : count);
	return err;
}

static int attach(struct instance *in, const struct cgroup *cgroup, const struct request *r)
{
	struct sock_settings settings;
	bool updated;
	int err = settings_for(in, cgroup, r, &settings, &updated);

	if (!err)
		err = sock_attach(in, cgroup, &settings);
	sock_settings_free(&settings);
	if (err)
		return err;
	/* The tender is a child that lives on: it must not inherit the lock. */
	instance_unlock(in);
	if (!r->no_tend)
		err = tender_ensure(in);
	if (!err)
		err = report(in, cgroup, updated);
	if (!err)
		say_what_goes_blind();
	return err;
}

int cmd_sock_attach(struct args *args)
{
	struct request request = {};
	struct cgroup cgroup;
	struct instance in;
	int err = parse_attach(args, &request);

	if (!err)
		err = check_words(&request);
	if (!err)
		err = cgroup_open(&cgroup, request.cgroup);
	if (err)
		return err;
	err = instance_open(&in, true);
	if (!err)
		err = attach(&in, &cgroup, &request);
	instance_close(&in);
	close(cgroup.fd);
	return err;
}

/* ---- detach ---- */

static int parse_detach(struct args *args, const char **name, bool *all, bool *force)
{
	while (args->count) {
		if (accept_word(args, "--all"))
			*all = true;
		else if (accept_word(args, "--force"))
			*force = true;
		else if (*name || args->word[0][0] == '-')
			return no_more_words(args);
		else
			*name = next_word(args);
	}
	if (*all && *name)
		return misuse("'%s' or --all, not both", *name);
	if (!*all && !*name)
		return misuse("a cgroup or --all is missing");
	return 0;
}

static int find_attached(const struct instance *in, const char *name, struct cgroup *cgroup)
{
	struct sock_scope *scopes = NULL;
	int count = sock_scopes(in, &scopes), err;

	err = count < 0 ? count : sock_scope_find(name, scopes, count, cgroup);
	sock_scopes_free(scopes, count < 0 ? 0 : count);
	return err;
}

static void say_what_stayed(const struct sock_detached *d)
{
	if (d->kept)
		notice("sockets with bytes unread or a reader waiting: %lu; they stay whole, send by "
		       "TCP, and leave the short cut when they close",
		       d->kept);
	if (d->lost)
		notice("sockets taken out by force: %lu; what they had not read of short-cut bytes is "
		       "lost without an error, and a reader asleep in recv() saw EAGAIN",
		       d->lost);
}

static int tell_detached(const char *name, const struct sock_detached *d)
{
	if (options.json)
		return out_show(json_pack("{s:o, s:I, s:I, s:I}", "detached",
					  name ? out_string(name) : json_true(), "sockets_released",
					  (json_int_t)d->released, "sockets_kept",
					  (json_int_t)d->kept, "sockets_forced",
					  (json_int_t)d->lost),
				NULL, 0);
	say_what_stayed(d);
	return out_text("%s: detached; sockets back on TCP: %lu", name ? name : "all cgroups",
			d->released);
}

int cmd_sock_detach(struct args *args)
{
	struct sock_detached result = {};
	bool all = false, force = false;
	const char *name = NULL;
	struct cgroup cgroup;
	struct instance in;
	int err = parse_detach(args, &name, &all, &force);

	if (!err)
		err = instance_open(&in, true);
	if (err)
		return err;
	if (name)
		err = find_attached(&in, name, &cgroup);
	if (!err && force)
		notice("--force takes sockets out of the short cut at once: bytes that a reader "
		       "has not read yet are lost without an error, and what comes behind "
		       "them may not be read any more");
	if (!err)
		err = sock_detach(&in, all ? NULL : &cgroup, force, &result);
	if (!err)
		err = tell_detached(name, &result);
	instance_close(&in);
	return err;
}
