// SPDX-License-Identifier: GPL-2.0
#include "publish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bring.h"
#include "carry.h"
#include "loader/attach/device_attach.h"
#include "loader/attach/serving.h"
#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/rules/tables.h"
#include "ranges.h"
#include "loader/nexthop/records.h"
#include "loader/service/service_table.h"
#include "slot_words.h"
#include "loader/nexthop/ways.h"

#define WAIT_MS	   300 /* for neighbours to answer */
#define PREPARE_MS 2000

static const struct balance_needs no_needs = {.maps = NO_BALANCE_MAPS_INIT};

/* Where a change stands: what was, what shall be, in which maps. */
struct publication {
	struct instance *in;
	struct balance before;
	struct balance *after;
	struct balance_maps maps; /* current ones; none: there were no services */
	struct balance_sizes sizes;
	struct weir_service_head was; /* the current table's; all 0: there were no services */
	struct service_table table;
	struct ways ways; /* to new backends */
	bool copied;	  /* into larger maps */
};

static int read_table(const struct balance_maps *maps, struct balance *balance,
		      struct weir_service_head *head)
{
	void *table;
	size_t size;
	int err = balance_maps_table(maps, &table, &size);

	if (err)
		return err;
	err = service_table_source(table, size, balance);
	*head = *(const struct weir_service_head *)table;
	free(table);
	return err;
}

int balance_read(const struct balance_maps *maps, struct balance *balance, __u64 *generation)
{
	struct weir_service_head head = {};
	int err = read_table(maps, balance, &head);

	if (generation)
		*generation = head.generation;
	return err;
}

int balance_load(const struct instance *in, struct balance *balance)
{
	struct balance_maps maps;
	int err = balance_maps_open(in, &maps);

	*balance = (struct balance){};
	if (err)
		return err == -ENOENT ? 0 : err;
	err = balance_read(&maps, balance, NULL);
	balance_maps_close(&maps);
	return err;
}

static int needs_of(const struct balance_maps *maps, struct balance_needs *needs)
{
	struct balance unused = {};
	struct balance_sizes sizes;
	struct weir_service_head head;
	int err = read_table(maps, &unused, &head);

	balance_free(&unused);
	if (!err)
		err = balance_maps_sizes(maps, &sizes);
	if (err)
		return err;
	needs->modes = head.modes;
	needs->service_bytes = sizes.service_bytes;
	needs->maps = *maps;
	return 0;
}

int balance_needs(const struct instance *in, struct balance_needs *needs)
{
	struct balance_maps maps;
	int err = balance_maps_open(in, &maps);

	*needs = no_needs;
	if (err)
		return err == -ENOENT ? 0 : err;
	err = needs_of(&maps, needs);
	if (err)
		balance_maps_close(&maps);
	return err;
}

void balance_release(struct balance_needs *needs)
{
	balance_maps_close(&needs->maps);
	*needs = no_needs;
}

/* All devices' programs, for these services and the rules as they are. */
static int reconcile(struct instance *in, const struct balance_needs *balance)
{
	struct needs needs = {.balance = *balance};
	int err = tables_needs(in, &needs.rules);

	if (err)
		return err;
	err = devices_reconcile(in, &needs);
	tables_release(&needs.rules);
	return err;
}

/* ---- steps of a change ---- */

/* New backends have no record yet. */
static bool is_new(const struct balance *before, const struct backend *backend)
{
	const struct backend *was = balance_find_backend(before, backend->service, backend);

	return !was || was->index != backend->index;
}

/* Once for a device in a row. */
static int note_replies(const struct publication *p)
{
	const char *told = "";
	int err = 0;

	for (size_t i = 0; i < p->after->backend_count && !err; i++) {
		const struct backend *b = &p->after->backends[i];
		const struct next_hop *hop;

		if (!is_new(&p->before, b) ||
		    balance_service(p->after, b->service)->mode != WEIR_NAT)
			continue;
		hop = ways_hop(&p->ways, &b->address);
		if (!hop || !hop->ifindex || hop->local || !strcmp(told, hop->device))
			continue;
		told = hop->device;
		err = serving_note_replies(p->in, hop->device);
	}
	return err;
}

/* Before anything is changed or held up, as neighbours may take their time. */
static int find_ways(struct publication *p)
{
	struct address *to = calloc(p->after->backend_count + 1, sizeof(*to));
	size_t count = 0;
	int err;

	if (!to)
		return fail(-ENOMEM, "out of memory");
	for (size_t i = 0; i < p->after->backend_count; i++)
		if (is_new(&p->before, &p->after->backends[i]))
			to[count++] = p->after->backends[i].address;
	err = ways_collect(&p->ways, to, count);
	free(to);
	if (!err)
		err = ways_find(&p->ways, WAIT_MS);
	if (!err)
		ways_prepare(&p->ways, p->in, PREPARE_MS);
	for (size_t i = 0; i < p->ways.count && !err; i++)
		if (p->ways.way[i].hop.via_tc) {
			err = serving_check_egress(p->in, p->ways.way[i].hop.device);
			break;
		}
	return err ? err : note_replies(p);
}

static void keep_neighbours(const struct publication *p)
{
	for (size_t i = 0; i < p->ways.count; i++)
		next_hop_keep(&p->ways.way[i].hop);
}

static int fill_records(const struct publication *p, const struct balance_maps *maps)
{
	struct records records;
	int err = records_open(maps, &records);

	for (size_t i = 0; i < p->after->backend_count && !err; i++) {
		const struct backend *b = &p->after->backends[i];

		if (!is_new(&p->before, b))
			continue;
		err = percpu_clear(maps->backend_counters, b->index,
				   sizeof(struct weir_backend_counters));
		if (!err)
			err = records_fill(&records, balance_service(p->after, b->service), b,
					   ways_hop(&p->ways, &b->address));
	}
	records_close(&records);
	return err;
}

static int fill_services(const struct publication *p, const struct balance_maps *maps)
{
	int err = 0;

	for (size_t i = 0; i < p->after->service_count && !err; i++) {
		const struct service *s = &p->after->services[i];
		const struct service *was = service_before(&p->before, s);

		if (!was)
			err = percpu_clear(maps->service_counters, s->index,
					   sizeof(struct weir_service_counters));
		if (!err)
			err = service_prepare(maps, p->after, s, was);
	}
	return err;
}

/* The addresses that NAT flows leave from. */
static int collect_sources(const struct balance *after, const struct balance_maps *maps,
			   struct nat_sources *sources)
{
	struct address *list = calloc(after->backend_count + 1, sizeof(*list));
	static const __be32 none[4];
	struct weir_backend *record;
	size_t bytes;

	*sources = (struct nat_sources){.address = list};
	if (!list)
		return fail(-ENOMEM, "out of memory");
	record = balance_map_memory(maps->backends, &bytes);
	if (!record)
		return -ENOMEM;
	for (size_t i = 0; i < after->backend_count; i++) {
		const struct backend *b = &after->backends[i];
		struct address *to = &list[sources->count];

		if (balance_service(after, b->service)->mode != WEIR_NAT)
			continue;
		if (!memcmp(record[b->index].source, none, sizeof(none)))
			continue;
		to->family = b->address.family;
		to->bits = to->family == 4 ? 32 : 128;
		memcpy(to->byte, record[b->index].source, to->family == 4 ? 4 : 16);
		sources->count++;
	}
	balance_unmap(record, bytes);
	return 0;
}

static int compile(struct publication *p, const struct balance_maps *maps)
{
	struct weir_service_head *head;
	__u64 seed = p->was.flow_seed;
	struct nat_sources sources;
	int err = collect_sources(p->after, maps, &sources);

	if (!err)
		err = service_table_compile(p->after, &sources, clock_tick_ns(), &p->table);
	free((void *)sources.address);
	if (err)
		return err;
	head = p->table.bytes;
	head->generation = p->was.generation + 1;
	head->nat_port_mask = p->sizes.nat_ports ? p->sizes.nat_ports - 1 : 0;
	if (!seed && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return fail(-EIO, "no random numbers: getrandom(2) failed");
	service_table_seed(&p->table, seed);
	return 0;
}

static bool has_room(const struct balance_sizes *have, const struct balance_sizes *need)
{
	return have->slots >= need->slots && have->backends >= need->backends &&
	       have->services >= need->services && have->flows >= need->flows &&
	       have->nat_flows >= need->nat_flows && have->nat_ports >= need->nat_ports;
}

/* Maps with room for all: the current ones, or larger copies that the programs do not use yet. */
static int find_room(struct publication *p, struct balance_maps *larger)
{
	struct balance_sizes need = {}, have = {};
	int err;

	ranges_sizes(p->after, &need);
	*larger = NO_BALANCE_MAPS;
	need.service_bytes = 4096;
	if (p->maps.services < 0) {
		p->sizes = need;
		return balance_maps_make(larger, &need, NULL);
	}
	err = balance_maps_sizes(&p->maps, &have);
	if (err)
		return err;
	if (has_room(&have, &need)) {
		p->sizes = have;
		return 0;
	}
	p->sizes = need;
	p->sizes.service_bytes = have.service_bytes;
	return balance_maps_grow(&p->maps, &p->sizes, NULL, larger);
}

/* Whether programs and maps stay as they are and only the table is exchanged. */
static bool stays(const struct publication *p, const struct balance_needs *now)
{
	const struct weir_service_head *head = p->table.bytes;

	return now->modes == head->modes && now->service_bytes >= p->table.size &&
	       now->service_bytes / 16 <= p->table.size;
}

static int swap_table(const struct publication *p, __u32 service_bytes)
{
	char *bytes = calloc(1, service_bytes);
	int err;

	if (!bytes)
		return fail(-ENOMEM, "out of memory");
	memcpy(bytes, p->table.bytes, p->table.size);
	err = balance_maps_swap(&p->maps, bytes, service_bytes);
	free(bytes);
	return err;
}

/* To maps that are announced: so whoever comes after us, should we be stopped on the way, does this
 * again. `from` has no maps: there were no services. */
static int go_over(struct instance *in, const struct balance_maps *from,
		   const struct balance *before, const struct balance_needs *to,
		   const struct balance *after, bool copied)
{
	int err = reconcile(in, to);

	if (!err && from->services >= 0)
		err = carry_late(from, &to->maps);
	if (!err && before->service_count)
		err = bring_late(&to->maps, after, before, copied);
	if (!err)
		err = balance_maps_pin(in, &to->maps);
	return err ? err : balance_maps_withdraw(in);
}

/* Programs that went over come back, with what they wrote meanwhile. */
static void go_back(struct instance *in, const struct balance_needs *now,
		    const struct balance_maps *next)
{
	if (!balance_maps_withdraw(in))
		reconcile(in, now);
	if (now->maps.services >= 0)
		carry_late(next, &now->maps);
}

/* Programs go over to other maps or switches, one device after the other; if one cannot, all go
 * back. */
static int move_programs(struct publication *p, const struct balance_maps *maps)
{
	const struct weir_service_head *head = p->table.bytes;
	struct balance_needs now, next = {.modes = head->modes, .service_bytes = p->table.size};
	int err = balance_needs(p->in, &now);

	if (err)
		return err;
	p->sizes.service_bytes = p->table.size;
	err = balance_maps_grow(maps, &p->sizes, p->table.bytes, &next.maps);
	/* Now, so that little is left to do after. */
	if (!err && p->maps.services >= 0)
		err = carry_late(&p->maps, &next.maps);
	if (!err)
		err = balance_maps_announce(p->in, &next.maps);
	if (!err)
		err = go_over(p->in, &p->maps, &p->before, &next, p->after, p->copied);
	if (err && next.maps.services >= 0)
		go_back(p->in, &now, &next.maps);
	balance_release(&now);
	if (err) {
		balance_maps_close(&next.maps);
		return err;
	}
	balance_maps_close(&p->maps);
	p->maps = next.maps;
	return 0;
}

static int complete_move(struct instance *in, const struct balance_maps *from,
			 const struct balance_needs *to)
{
	struct balance before = {}, after = {};
	int err = balance_read(&to->maps, &after, NULL);

	if (!err && from->services >= 0)
		err = balance_read(from, &before, NULL);
	if (!err)
		err = go_over(in, from, &before, to, &after, true);
	balance_free(&before);
	balance_free(&after);
	return err;
}

int balance_complete_move(struct instance *in)
{
	struct balance_needs to;
	struct balance_maps from;
	int err;

	if (!balance_maps_announced(in))
		return balance_maps_withdraw(in);
	err = balance_needs(in, &to);
	if (err)
		return err;
	err = balance_maps_replaced(in, &from);
	if (!err || err == -ENOENT)
		err = complete_move(in, &from, &to);
	balance_maps_close(&from);
	balance_release(&to);
	return err;
}

static int exchange_table(struct publication *p, __u32 service_bytes)
{
	int err = swap_table(p, service_bytes);

	return err || !p->before.service_count ? err
					       : bring_late(&p->maps, p->after, &p->before, false);
}

static int exchange(struct publication *p, const struct balance_maps *larger)
{
	struct balance_needs now = no_needs;
	int err;

	if (p->copied)
		return move_programs(p, larger);
	err = needs_of(&p->maps, &now);
	if (err)
		return err;
	return stays(p, &now) ? exchange_table(p, now.service_bytes) : move_programs(p, &p->maps);
}

static bool still_used(const struct balance *after, const struct backend *gone)
{
	for (size_t i = 0; i < after->backend_count; i++)
		if (address_equal(&after->backends[i].address, &gone->address))
			return true;
	return false;
}

static void release_neighbours(const struct balance *before, const struct balance *after)
{
	for (size_t i = 0; i < before->backend_count; i++) {
		const struct backend *b = &before->backends[i];

		if (!balance_find_backend(after, b->service, b) && !still_used(after, b))
			records_release(b);
	}
}

/* Without services nothing of them stays. */
static int clear(struct publication *p)
{
	struct balance_needs none = no_needs;
	int err;

	if (p->maps.services < 0)
		return 0;
	err = reconcile(p->in, &none);
	if (!err)
		err = balance_maps_unpin(p->in);
	return err;
}

static int prepare(struct publication *p, struct balance_maps *larger)
{
	const struct balance_maps *into;
	int err = find_room(p, larger);

	if (err)
		return err;
	p->copied = larger->services >= 0;
	into = p->copied ? larger : &p->maps;
	err = fill_records(p, into);
	if (!err)
		err = fill_services(p, into);
	return err ? err : compile(p, into);
}

static int replace_held(struct publication *p)
{
	struct balance_maps larger = NO_BALANCE_MAPS;
	int err = prepare(p, &larger);

	if (!err)
		err = exchange(p, &larger);
	balance_maps_close(&larger);
	if (!err)
		err = bring_all(&p->maps, p->after, &p->before, p->was.generation + 1);
	return err;
}

/* Whether flows are copied, into larger maps or other ranges. */
static int copies(const struct publication *p, bool *flows)
{
	struct balance_sizes need = {}, have = {};
	int err = balance_maps_sizes(&p->maps, &have);

	ranges_sizes(p->after, &need);
	*flows = !err && !has_room(&have, &need);
	for (size_t i = 0; i < p->after->service_count && !err && !*flows; i++) {
		const struct service *s = &p->after->services[i];
		const struct service *was = service_before(&p->before, s);

		*flows = was &&
			 (was->first_bucket != s->first_bucket || was->first_slot != s->first_slot);
	}
	return err;
}

static int replace(struct publication *p)
{
	bool hold = false;
	int err = ranges_assign(p->after, &p->before);

	if (!err)
		err = find_ways(p);
	if (!err && p->maps.services >= 0)
		err = copies(p, &hold);
	if (!err && hold)
		err = carry_hold(&p->maps, true);
	if (err)
		return err;
	err = replace_held(p);
	if (hold)
		carry_hold(&p->maps, false);
	if (!err)
		keep_neighbours(p);
	return err;
}

void balance_abandon(const struct instance *in)
{
	struct balance was, none = {};

	if (balance_load(in, &was)) {
		forget_failure();
		return;
	}
	release_neighbours(&was, &none);
	balance_free(&was);
}

int balance_publish(struct instance *in, struct balance *after)
{
	struct publication p = {.in = in, .after = after};
	int err = balance_maps_open(in, &p.maps);

	if (err && err != -ENOENT)
		return err;
	err = err ? 0 : read_table(&p.maps, &p.before, &p.was);
	if (!err)
		err = after->service_count ? replace(&p) : clear(&p);
	if (!err)
		release_neighbours(&p.before, after);
	ways_free(&p.ways);
	free(p.table.bytes);
	balance_free(&p.before);
	balance_maps_close(&p.maps);
	return err;
}
