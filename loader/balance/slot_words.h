/* SPDX-License-Identifier: GPL-2.0 */
/* The words in front of all slots, see xdp/balance/abi.h. */
#ifndef WEIR_SLOT_WORDS_H
#define WEIR_SLOT_WORDS_H

#include <stdbool.h>

#include "maps.h"

/* NULL with a fail() line. */
__u64 *slot_words(const struct balance_maps *maps);
void slot_words_close(__u64 *words);

/* The generation that slots, flows and records were brought to. */
int brought_to(const struct balance_maps *maps, __u64 *generation);
int set_brought_to(const struct balance_maps *maps, __u64 generation);

/* Whether slots of the service may be moving: said before they begin to, taken back when all
 * rest. */
bool slots_may_move(const __u64 *words, __u32 service);
void slots_say_moving(__u64 *words, __u32 service, bool moving);

#endif
