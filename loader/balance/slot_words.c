// SPDX-License-Identifier: GPL-2.0
#include "slot_words.h"

#include <errno.h>

__u64 *slot_words(const struct balance_maps *maps)
{
	return balance_map_part(maps->slots, 0, WEIR_MIN_SLOTS * sizeof(__u64));
}

void slot_words_close(__u64 *words)
{
	balance_unmap_part(words, WEIR_MIN_SLOTS * sizeof(*words));
}

int brought_to(const struct balance_maps *maps, __u64 *generation)
{
	__u64 *words = slot_words(maps);

	if (!words)
		return -ENOMEM;
	*generation = __atomic_load_n(&words[0], __ATOMIC_ACQUIRE);
	slot_words_close(words);
	return 0;
}

int set_brought_to(const struct balance_maps *maps, __u64 generation)
{
	__u64 *words = slot_words(maps);

	if (!words)
		return -ENOMEM;
	__atomic_store_n(&words[0], generation, __ATOMIC_RELEASE);
	slot_words_close(words);
	return 0;
}

bool slots_may_move(const __u64 *words, __u32 service)
{
	return words[WEIR_MOVING_WORD + service / 64] >> service % 64 & 1;
}

void slots_say_moving(__u64 *words, __u32 service, bool moving)
{
	__u64 *word = &words[WEIR_MOVING_WORD + service / 64], bit = 1ull << service % 64;

	__atomic_store_n(word, moving ? *word | bit : *word & ~bit, __ATOMIC_SEQ_CST);
}
