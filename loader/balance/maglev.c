// SPDX-License-Identifier: GPL-2.0
#include "maglev.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_LEAST    1024u
#define SLOTS_MOST     65536u
#define SLOTS_PER_STEP 128u

/* A backend in the order of names, with its way through the slots. */
struct turn_taker {
	const struct maglev_backend *backend;
	__u32 quota; /* slots it gets */
	__u32 next;  /* slot it asks for next */
	__u32 skip;  /* odd, so that it comes past every slot */
};

struct filling {
	struct turn_taker *takers;
	size_t count;
	__u32 slots;
	__u32 rounds;
	__u32 *turns; /* by turn: who takes it */
	__u32 *rounds_start;
	__u64 *taken;
};

/* The constants here, the order of turns and quota() are part of the ABI: balancers of different
 * versions must give the same slot to the same backend. */
static __u64 mix(__u64 h)
{
	h ^= h >> 32;
	h *= 0xe9846af9b1a615dull;
	h ^= h >> 29;
	h *= 0xd6e8feb86659fd93ull;
	return h ^ h >> 32;
}

static __u64 hash_name(const __u8 *name, __u64 seed)
{
	__u64 words[2];
	__u32 last;

	memcpy(words, name, sizeof(words));
	memcpy(&last, name + sizeof(words), sizeof(last));
	seed = mix(seed ^ le64toh(words[0]));
	seed = mix(seed + 0x9e3779b97f4a7c15ull + le64toh(words[1]));
	return mix(seed + 0x9e3779b97f4a7c15ull + le32toh(last));
}

static __u32 common_divisor(__u32 a, __u32 b)
{
	while (b) {
		__u32 rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

__u32 maglev_slots(const struct maglev_backend *backends, size_t count)
{
	__u32 step = 0, slots = SLOTS_LEAST;
	__u64 sum = 0;

	for (size_t i = 0; i < count; i++) {
		step = common_divisor(backends[i].weight, step);
		sum += backends[i].weight;
	}
	while (step && slots < SLOTS_MOST && slots < sum / step * SLOTS_PER_STEP)
		slots *= 8;
	return slots;
}

static int compare(const void *a, const void *b)
{
	const struct turn_taker *x = a, *y = b;

	return memcmp(x->backend->name, y->backend->name, sizeof(x->backend->name));
}

static void set_out(struct filling *f, const struct maglev_backend *backends)
{
	for (size_t i = 0; i < f->count; i++)
		f->takers[i].backend = &backends[i];
	qsort(f->takers, f->count, sizeof(*f->takers), compare);
	for (size_t i = 0; i < f->count; i++) {
		const __u8 *name = f->takers[i].backend->name;

		f->takers[i].next = hash_name(name, 0) & (f->slots - 1);
		f->takers[i].skip = (hash_name(name, 1) & (f->slots - 1)) | 1;
	}
}

/* Those whose share would be less than a slot get one. Taking these slots from the others may make
 * another one's share too small: until nothing changes. Returns the weights of the others. */
static __u64 give_small(struct filling *f, __u32 *left)
{
	__u64 sum = 0;
	size_t given;

	for (size_t i = 0; i < f->count; i++)
		sum += f->takers[i].backend->weight;
	*left = f->slots;
	if (f->count > f->slots)
		return sum;
	do {
		__u64 before = sum;
		__u32 slots = *left;

		given = 0;
		for (size_t i = 0; i < f->count; i++) {
			struct turn_taker *t = &f->takers[i];

			if (t->quota || (__u64)t->backend->weight * slots >= before)
				continue;
			t->quota = 1;
			sum -= t->backend->weight;
			given++;
		}
		*left -= given;
	} while (given);
	return sum;
}

/* Rounded along the running sum, so the quotas add up and none is off by a slot. */
static void share_out(struct filling *f)
{
	__u32 left, last = 0;
	__u64 sum = give_small(f, &left), run = 0;

	for (size_t i = 0; i < f->count; i++) {
		struct turn_taker *t = &f->takers[i];
		__u32 until;

		if (t->quota)
			continue;
		run += t->backend->weight;
		until = run * left / sum;
		t->quota = until - last;
		last = until;
	}
}

/* Round of a turn, from 0: the heaviest has one in each, the others in proportion, in the middle of
 * their intervals. */
static __u32 round_of(const struct turn_taker *t, __u32 turn, __u32 heaviest)
{
	return (2ull * turn + 1) * heaviest / (2ull * t->backend->weight);
}

static __u32 heaviest_of(const struct filling *f)
{
	__u32 heaviest = 0;

	for (size_t i = 0; i < f->count; i++)
		if (f->takers[i].backend->weight > heaviest)
			heaviest = f->takers[i].backend->weight;
	return heaviest;
}

/* All turns in order of rounds, and within a round in the order of names: a counting sort. */
static int order_turns(struct filling *f)
{
	__u32 heaviest = heaviest_of(f), *start;

	for (size_t i = 0; i < f->count; i++) {
		const struct turn_taker *t = &f->takers[i];
		__u32 rounds = t->quota ? round_of(t, t->quota - 1, heaviest) + 1 : 0;

		if (rounds > f->rounds)
			f->rounds = rounds;
	}
	start = f->rounds_start = calloc(f->rounds + 1, sizeof(*start));
	if (!start)
		return -ENOMEM;
	for (size_t i = 0; i < f->count; i++)
		for (__u32 n = 0; n < f->takers[i].quota; n++)
			start[round_of(&f->takers[i], n, heaviest) + 1]++;
	for (__u32 r = 1; r <= f->rounds; r++)
		start[r] += start[r - 1];
	for (size_t i = 0; i < f->count; i++)
		for (__u32 n = 0; n < f->takers[i].quota; n++)
			f->turns[start[round_of(&f->takers[i], n, heaviest)]++] = i;
	return 0;
}

static bool is_taken(const struct filling *f, __u32 slot)
{
	return f->taken[slot / 64] >> slot % 64 & 1;
}

static void take_turns(struct filling *f, __u32 *owner)
{
	for (__u32 n = 0; n < f->slots; n++) {
		struct turn_taker *t = &f->takers[f->turns[n]];
		__u32 slot = t->next;

		while (is_taken(f, slot))
			slot = (slot + t->skip) & (f->slots - 1);
		f->taken[slot / 64] |= 1ull << slot % 64;
		owner[slot] = t->backend->owner;
		t->next = (slot + t->skip) & (f->slots - 1);
	}
}

int maglev_fill(const struct maglev_backend *backends, size_t count, __u32 *owner, __u32 slots)
{
	struct filling f = {.count = count, .slots = slots};
	int err = -ENOMEM;

	memset(owner, 0, slots * sizeof(*owner));
	if (!count)
		return 0;
	f.takers = calloc(count, sizeof(*f.takers));
	f.turns = calloc(slots, sizeof(*f.turns));
	f.taken = calloc((slots + 63) / 64, sizeof(*f.taken));
	if (f.takers && f.turns && f.taken) {
		set_out(&f, backends);
		share_out(&f);
		err = order_turns(&f);
	}
	if (!err)
		take_turns(&f, owner);
	free(f.rounds_start);
	free(f.taken);
	free(f.turns);
	free(f.takers);
	return err;
}
