// SPDX-License-Identifier: GPL-2.0
/* weir service plan: what a change would do, without making it. */
#include "loader/service/plan.h"

#include <stdio.h>

#include "loader/service/change.h"
#include "loader/service/service_view.h"
#include "loader/base/error.h"
#include "loader/out/out.h"

static const struct column service_columns[] = {
	COLUMN("service", "Service", UNIT_TEXT),
	COLUMN("slots", "Slots", UNIT_COUNT),
	COLUMN("slots_moved", "Would move", UNIT_COUNT),
	COLUMN("slots_moved_percent", "", UNIT_PERCENT),
	COLUMN("slots_moving", "Moving now", UNIT_COUNT),
	COLUMN("flows", "Flows", UNIT_COUNT),
	COLUMN("flows_in_moved_slots", "in those slots", UNIT_COUNT),
	COLUMN("flows_switched", "would switch", UNIT_COUNT),
	COLUMN("flows_broken", "would break", UNIT_COUNT, .mark = MARK_ALARM),
};

static const struct column backend_columns[] = {
	COLUMN("backends.backend", "Backend", UNIT_TEXT),
	COLUMN("backends.weight", "Weight", UNIT_COUNT),
	COLUMN("backends.state", "State", UNIT_TEXT),
	COLUMN("backends.change", "Change", UNIT_TEXT),
	COLUMN("backends.slots_now", "Slots now", UNIT_COUNT),
	COLUMN("backends.slots_then", "then", UNIT_COUNT),
	COLUMN("backends.slots_gained", "gained", UNIT_COUNT),
	COLUMN("backends.slots_lost", "lost", UNIT_COUNT),
	COLUMN("backends.flows", "Flows", UNIT_COUNT),
};

/* What becomes of the flows, in a sentence. */
static void judge(const struct plan *p, char *text, size_t size)
{
	const char *about = p->exact ? "" : "about ";

	if (p->is_new)
		snprintf(text, size, "The service is new: nothing can break.");
	else if (p->is_deleted && !p->broken)
		snprintf(text, size, "The service would be gone, and no flow with it.");
	else if (p->is_deleted)
		snprintf(text, size, "The service would be gone: %s%llu flows end.", about,
			 p->broken);
	else if (p->broken)
		snprintf(text, size, "%s%llu flows break: nothing goes to their backends any more.",
			 p->exact ? "" : "About ", p->broken);
	else if (p->switched)
		snprintf(text, size, "%s%llu flows go over to other backends, as 'udp free' says.",
			 p->exact ? "" : "About ", p->switched);
	else if (p->moved)
		snprintf(text, size,
			 "No flow breaks: those in slots that move stay with their backends.");
	else
		snprintf(text, size, "No slot would move.");
}

static json_t *backend_row(const struct plan_backend *b)
{
	json_t *o = backend_json(&b->backend);
	const char *change = b->is_new ? "new" : b->is_gone ? "gone" : b->cut_off ? "cut off" : "";

	json_object_set_new(o, "change", json_string(change));
	json_object_set_new(o, "slots_now", json_integer(b->slots_now));
	json_object_set_new(o, "slots_then", json_integer(b->slots_then));
	json_object_set_new(o, "slots_gained", json_integer(b->gained));
	json_object_set_new(o, "slots_lost", json_integer(b->lost));
	json_object_set_new(o, "flows", json_integer((json_int_t)b->flows));
	return o;
}

static json_t *service_row(const struct plan *p)
{
	json_t *o = service_json(&p->service), *backends = json_array();
	char note[160];

	judge(p, note, sizeof(note));
	for (size_t i = 0; i < p->count; i++)
		json_array_append_new(backends, backend_row(&p->backends[i]));
	json_object_set_new(o, "change",
			    json_string(p->is_new	? "new"
					: p->is_deleted ? "deleted"
							: "changed"));
	json_object_set_new(o, "slots", json_integer(p->slots));
	json_object_set_new(o, "slots_now", json_integer(p->slots_now));
	json_object_set_new(o, "slots_moved", json_integer(p->moved));
	json_object_set_new(o, "slots_moved_percent",
			    json_real(p->slots ? 100.0 * p->moved / p->slots : 0));
	json_object_set_new(o, "slots_moving", json_integer(p->moving));
	json_object_set_new(o, "flows", json_integer((json_int_t)p->flows));
	json_object_set_new(o, "flows_exact", json_boolean(p->exact));
	json_object_set_new(o, "flows_in_moved_slots", json_integer((json_int_t)p->in_moved));
	json_object_set_new(o, "flows_switched", json_integer((json_int_t)p->switched));
	json_object_set_new(o, "flows_broken", json_integer((json_int_t)p->broken));
	json_object_set_new(o, "note", json_string(note));
	json_object_set_new(o, "backends", backends);
	return o;
}

static int show(const struct plan *p, const char *change)
{
	char heading[600];
	json_t *services = json_array();
	const struct table tables[] = {
		{
			.rows = "services",
			.note = "note",
			.heading = heading,
			.empty = "that changes nothing",
			COLUMNS(service_columns),
		},
		{.rows = "services", .group = "backends", COLUMNS(backend_columns)},
	};

	snprintf(heading, sizeof(heading), "Not done, but planned: %s", change);
	if (!p->changes_nothing)
		json_array_append_new(services, service_row(p));
	return out_show(json_pack("{s:s, s:o}", "change", change, "services", services), tables,
			p->count ? 2 : 1);
}

/* The instance is only looked at. */
static int plan(struct args *args, change_fn change, const struct instance *in)
{
	struct balance before = {}, after = {};
	struct changed what = {};
	struct plan p = {};
	int err = services_get(in, &before);

	if (!err)
		err = services_get(in, &after);
	if (!err)
		err = change(args, &after, &what);
	if (!err)
		err = plan_make(&before, &after, NULL, &p);
	if (!err)
		err = plan_find_flows(in, &before, &p);
	if (!err)
		err = show(&p, what.text);
	plan_free(&p);
	json_decref(what.json);
	balance_free(&before);
	balance_free(&after);
	return err;
}

int cmd_service_plan(struct args *args)
{
	change_fn change = change_named(args);
	struct instance in;
	int err = change ? instance_open(&in, false) : -EINVAL;

	if (err)
		return err;
	err = plan(args, change, &in);
	instance_close(&in);
	return err;
}
