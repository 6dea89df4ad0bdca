// SPDX-License-Identifier: GPL-2.0
#include "lives.h"

#define ENOUGH	 16 /* connections to tell from */
#define FEW_LAST 8  /* less than one of so many: not worth it */
/* Those that have just begun had no time to last: they have until the next look. */
#define SURE	  2
#define FORGOTTEN 40 /* looks */

static void decide(struct weir_lives *l, struct lives_note *n, bool skip)
{
	l->good = skip ? l->born - WEIR_BURST : l->born;
	*n = (struct lives_note){.born = l->born, .lasted = l->lasted, .skip = skip};
}

static void look(struct weir_lives *l, struct lives_note *n)
{
	__u32 born = l->born - n->born, lasted = l->lasted - n->lasted;
	bool short_lived = lasted * FEW_LAST < born;

	if (born < ENOUGH) {
		if (++n->idle >= FORGOTTEN)
			decide(l, n, false);
		return;
	}
	n->suspect = short_lived ? n->suspect + 1 : 0;
	if (!short_lived)
		decide(l, n, false);
	else if (n->suspect >= SURE || n->skip)
		decide(l, n, true);
}

void lives_look(struct sock_maps *m, struct lives_note *notes)
{
	for (int i = 0; i < WEIR_LIVES; i++)
		if (m->lives[i].born)
			look(&m->lives[i], &notes[i]);
}

__u64 lives_skipped(const struct sock_maps *m)
{
	__u64 skipped = 0;

	for (int i = 0; i < WEIR_LIVES; i++)
		skipped += m->lives[i].skipped;
	return skipped;
}
