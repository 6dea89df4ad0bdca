// SPDX-License-Identifier: GPL-2.0
#include "change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/attach/attach.h"
#include "loader/service/service_view.h"
#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/out/out.h"
#include "loader/cmd/notice_idle.h"

#define SAY(what, ...) snprintf((what)->text, sizeof((what)->text), __VA_ARGS__)

/* The service that the next words name. */
static int service_named(struct args *args, const struct balance *b, struct service *service)
{
	const struct service *found;
	int err = service_parse_name(args, service);

	if (err)
		return err;
	found = balance_find(b, service);
	if (!found)
		return no_such_service(service);
	*service = *found;
	return 0;
}

/* ---- services ---- */

int change_service_add(struct args *args, struct balance *b, struct changed *what)
{
	char text[SERVICE_TEXT];
	struct service s;
	int err = service_parse(args, &s);

	if (!err)
		err = no_more_words(args);
	if (!err)
		err = balance_add_service(b, &s);
	if (err)
		return err;
	service_format(&s, text);
	SAY(what, "service added: %s", text);
	what->adds = true;
	what->json = service_json(&s);
	return 0;
}

int change_service_set(struct args *args, struct balance *b, struct changed *what)
{
	char text[SERVICE_TEXT];
	struct service s;
	int err = service_named(args, b, &s);

	if (!err)
		err = service_parse_change(args, &s);
	if (!err)
		err = no_more_words(args);
	if (!err)
		err = balance_change_service(b, &s);
	if (err)
		return err;
	service_format(&s, text);
	SAY(what, "service changed: %s", text);
	what->json = service_json(&s);
	return 0;
}

int change_service_del(struct args *args, struct balance *b, struct changed *what)
{
	char name[SERVICE_NAME];
	struct backend *first;
	struct service s;
	size_t count;
	int err = service_named(args, b, &s);

	if (!err)
		err = no_more_words(args);
	if (err)
		return err;
	count = balance_backends(b, s.index, &first);
	err = balance_delete_service(b, &s);
	if (err)
		return err;
	service_format_name(&s, name);
	SAY(what, "%s deleted with its %zu backend%s; its flows end", name, count,
	    count == 1 ? "" : "s");
	what->json = json_pack("{s:s, s:i}", "deleted", name, "backends", (int)count);
	return 0;
}

/* ---- backends ---- */

static json_t *backends_json(const char *service, const struct backend *list, size_t count)
{
	json_t *backends = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(backends, backend_json(&list[i]));
	return json_pack("{s:s, s:o}", "service", service, "backends", backends);
}

int change_backend_add(struct args *args, struct balance *b, struct changed *what)
{
	char service[SERVICE_NAME], name[BACKEND_NAME];
	struct backend *list;
	struct service s;
	size_t count;
	int err = service_named(args, b, &s);

	if (!err)
		err = backends_parse(args, &s, &list, &count);
	if (err)
		return err;
	err = balance_add_backends(b, &s, list, count);
	if (!err) {
		service_format_name(&s, service);
		backend_format_name(&list[0], name);
		if (count == 1)
			SAY(what, "backend added to %s: %s weight %u", service, name,
			    list[0].weight);
		else
			SAY(what, "%zu backends added to %s", count, service);
		what->json = backends_json(service, list, count);
		what->adds = true;
	}
	free(list);
	return err;
}

/* The service and its backend that the next words name. */
static int backend_named(struct args *args, const struct balance *b, struct service *service,
			 struct backend *backend)
{
	const struct backend *known;
	int err = service_named(args, b, service);

	if (!err)
		err = backend_parse_name(args, service, backend);
	if (err)
		return err;
	known = balance_find_backend(b, service->index, backend);
	if (!known)
		return no_such_backend(service, backend);
	*backend = *known;
	return 0;
}

static int set_backend(struct balance *b, const struct service *s, const struct backend *name,
		       const struct backend *change, struct changed *what)
{
	char service[SERVICE_NAME], text[BACKEND_NAME];
	const struct backend *set;
	int err = balance_change_backend(b, s, name, change->weight, change->state);

	if (err)
		return err;
	set = balance_find_backend(b, s->index, name);
	service_format_name(s, service);
	backend_format_name(set, text);
	SAY(what, "backend of %s changed: %s weight %u state %s", service, text, set->weight,
	    backend_state_name(set->state));
	what->json = backends_json(service, set, 1);
	return 0;
}

int change_backend_set(struct args *args, struct balance *b, struct changed *what)
{
	struct backend backend, change = {.state = BACKEND_STATES};
	struct service s;
	int err = backend_named(args, b, &s, &backend);

	if (!err)
		err = backend_parse_change(args, &change);
	if (!err)
		err = no_more_words(args);
	return err ? err : set_backend(b, &s, &backend, &change, what);
}

int change_backend_drain(struct args *args, struct balance *b, struct changed *what)
{
	struct backend backend, change = {.state = BACKEND_DRAIN};
	struct service s;
	int err = backend_named(args, b, &s, &backend);

	if (!err)
		err = no_more_words(args);
	return err ? err : set_backend(b, &s, &backend, &change, what);
}

int change_backend_del(struct args *args, struct balance *b, struct changed *what)
{
	char service[SERVICE_NAME], name[BACKEND_NAME];
	struct backend backend;
	struct service s;
	bool at_once;
	int err = backend_named(args, b, &s, &backend);

	if (err)
		return err;
	at_once = accept_word(args, "now");
	err = no_more_words(args);
	if (!err)
		err = balance_delete_backend(b, &s, &backend, at_once);
	if (err)
		return err;
	service_format_name(&s, service);
	backend_format_name(&backend, name);
	if (at_once)
		SAY(what, "backend of %s deleted: %s; its flows end", service, name);
	else
		SAY(what,
		    "backend of %s is leaving: %s; no new flows go there, and it is forgotten "
		    "when the last one has ended",
		    service, name);
	what->json = json_pack("{s:s, s:s, s:s}", "service", service, "backend", name, "state",
			       at_once ? "deleted" : backend_state_name(BACKEND_LEAVING));
	return 0;
}

/* ---- any ---- */

int change_run(struct args *args, change_fn change)
{
	struct changed what = {};
	struct balance b = {};
	struct instance in;
	int err = attach_open(&in);

	if (err)
		return err;
	err = services_get(&in, &b);
	if (!err)
		err = change(args, &b, &what);
	if (!err)
		err = services_publish(&in, &b);
	if (!err) {
		if (what.adds)
			notice_idle(&in, "nothing is balanced");
		err = options.json ? out_show(json_incref(what.json), NULL, 0)
				   : out_text("%s", what.text);
	}
	json_decref(what.json);
	balance_free(&b);
	attach_close(&in);
	return err;
}

static const struct {
	const char *object, *name;
	change_fn change;
} changes[] = {
	{"service", "add", change_service_add},	    {"service", "set", change_service_set},
	{"service", "del", change_service_del},	    {"backend", "add", change_backend_add},
	{"backend", "set", change_backend_set},	    {"backend", "del", change_backend_del},
	{"backend", "drain", change_backend_drain},
};

change_fn change_named(struct args *args)
{
	const char *object = next_word(args), *name = next_word(args);
	change_fn found = NULL;

	for (size_t i = 0; name && i < sizeof(changes) / sizeof(changes[0]); i++) {
		if (strncmp(changes[i].object, object, strlen(object)) ||
		    strncmp(changes[i].name, name, strlen(name)))
			continue;
		if (found) {
			misuse("'%s %s' may be several changes", object, name);
			return NULL;
		}
		found = changes[i].change;
	}
	if (!found)
		misuse("wanted a change behind 'plan': service add|set|del ... or backend "
		       "add|set|drain|del ...");
	return found;
}
