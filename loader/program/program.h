/* SPDX-License-Identifier: GPL-2.0 */
/* Programs that are loaded: the maps they use tell whose they are, their constants how they are
 * switched. */
#ifndef WEIR_PROGRAM_H
#define WEIR_PROGRAM_H

#include <linux/types.h>
#include <stdbool.h>

/* Whether the program with this id uses the map, or the one that is pinned there. */
bool program_uses_map(__u32 program, int map);
bool program_uses_pin(__u32 program, const char *pin);

/* Copies constants out of the program's .rodata; -ENOENT: it has none that are so long. */
int program_constants(__u32 program, __u32 offset, void *to, __u32 size);

#endif
