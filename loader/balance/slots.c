// SPDX-License-Identifier: GPL-2.0
#include "slots.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "maglev.h"

static void name_backend(const struct backend *b, struct maglev_backend *to)
{
	__be16 port = htons(b->port);

	*to = (struct maglev_backend){.weight = b->weight, .owner = b->index};
	to->name[0] = b->address.family;
	memcpy(to->name + 2, b->address.byte, 16);
	memcpy(to->name + 18, &port, sizeof(port));
}

/* Those that take new flows, or all that stay: drained and dead ones come back, and the number of
 * slots is not to change twice for that. */
static size_t choose(const struct balance *b, __u32 service, bool all,
		     struct maglev_backend *chosen)
{
	struct backend *first;
	size_t n = balance_backends(b, service, &first), count = 0;

	for (size_t i = 0; i < n; i++)
		if (all ? first[i].state != BACKEND_LEAVING : first[i].state == BACKEND_UP)
			name_backend(&first[i], &chosen[count++]);
	return count;
}

int slots_plan(const struct balance *b, const struct service *service, __u32 **owner, __u32 *count)
{
	struct backend *first;
	size_t n = balance_backends(b, service->index, &first);
	struct maglev_backend *chosen = calloc(n + 1, sizeof(*chosen));
	int err = chosen ? 0 : -ENOMEM;

	*owner = NULL;
	if (!err) {
		n = choose(b, service->index, true, chosen);
		*count = service->slots_wanted ? service->slots_wanted : maglev_slots(chosen, n);
		n = choose(b, service->index, false, chosen);
		*owner = malloc(*count * sizeof(**owner));
		err = *owner ? maglev_fill(chosen, n, *owner, *count) : -ENOMEM;
	}
	free(chosen);
	if (!err)
		return 0;
	free(*owner);
	return fail(err, "out of memory for a table of %u slots", *count);
}

__u64 slots_next(const struct slot_range *range, __u64 word, __u32 owner)
{
	__u32 previous = WEIR_SLOT_PREVIOUS(word);

	if (!range->tracked || !range->used)
		return WEIR_SLOT(owner, 0, 0);
	/* The oldest owner stays the one before: flows begun since are all remembered. */
	if (previous)
		return WEIR_SLOT(owner, previous, WEIR_SLOT_TICK(word));
	return WEIR_SLOT(owner, WEIR_SLOT_OWNER(word), range->tick);
}

static bool swap(__u64 *slot, __u64 seen, __u64 next)
{
	return __atomic_compare_exchange_n(slot, &seen, next, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

static bool move_one(const struct slot_range *range, __u64 *slot, __u32 owner)
{
	__u64 seen;

	do {
		seen = __atomic_load_n(slot, __ATOMIC_RELAXED);
		if (WEIR_SLOT_OWNER(seen) == owner)
			return false;
	} while (!swap(slot, seen, slots_next(range, seen, owner)));
	return true;
}

__u32 slots_move(const struct slot_range *range, const __u32 *owner, __u32 count)
{
	__u32 changed = 0;

	for (__u32 i = 0; i < range->count; i++)
		changed += move_one(range, &range->slot[i], owner[i & (count - 1)]);
	return changed;
}

__u32 slots_settle(const struct slot_range *range, const bool *needed, __u32 idle)
{
	__u32 settled = 0;

	for (__u32 i = 0; i < range->count; i++) {
		__u64 seen = __atomic_load_n(&range->slot[i], __ATOMIC_RELAXED);
		__u32 since = WEIR_SLOT_AGE(seen, range->tick);

		if (!WEIR_SLOT_PREVIOUS(seen) || needed[i])
			continue;
		/* One tick more than the flows are given: theirs is counted apart from the
		 * slot's. */
		if (range->tracked && since <= idle + 1)
			continue;
		settled += swap(&range->slot[i], seen, WEIR_SLOT(WEIR_SLOT_OWNER(seen), 0, 0));
	}
	return settled;
}

void slots_renew(const struct slot_range *range)
{
	for (__u32 i = 0; i < range->count; i++) {
		__u64 seen = __atomic_load_n(&range->slot[i], __ATOMIC_RELAXED);

		/* Whoever else changes the slot meanwhile writes a fresh tick. */
		if (WEIR_SLOT_PREVIOUS(seen))
			swap(&range->slot[i], seen,
			     WEIR_SLOT(WEIR_SLOT_OWNER(seen), WEIR_SLOT_PREVIOUS(seen),
				       range->tick));
	}
}

__u32 slots_moving(const struct slot_range *range)
{
	__u32 moving = 0;

	for (__u32 i = 0; i < range->count; i++)
		moving +=
			WEIR_SLOT_PREVIOUS(__atomic_load_n(&range->slot[i], __ATOMIC_RELAXED)) != 0;
	return moving;
}

/* With itself as the owner before, a slot goes on asking for remembered flows. */
void slots_purge(const struct slot_range *range, const bool *known, __u32 count)
{
	for (__u32 i = 0; i < range->count; i++) {
		__u64 *slot = &range->slot[i], seen, next;
		__u32 previous;

		do {
			seen = __atomic_load_n(slot, __ATOMIC_RELAXED);
			previous = WEIR_SLOT_PREVIOUS(seen);
			if (previous < count && known[previous])
				break;
			next = WEIR_SLOT(WEIR_SLOT_OWNER(seen), WEIR_SLOT_OWNER(seen),
					 WEIR_SLOT_TICK(seen));
		} while (!swap(slot, seen, next));
	}
}
