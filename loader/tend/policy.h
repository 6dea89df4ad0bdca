/* SPDX-License-Identifier: GPL-2.0 */
/* Who is promoted to the short cut, and who is not, and why. Pure functions of what was seen. */
#ifndef WEIR_SOCK_POLICY_H
#define WEIR_SOCK_POLICY_H

#include "sockops/abi.h"

enum sock_verdict {
	SOCK_WAIT, /* not enough seen */
	SOCK_PROMOTE,
	SOCK_REFUSE,
};

struct sock_judgement {
	enum sock_verdict verdict;
	enum weir_refusal reason; /* of SOCK_REFUSE */
	enum weir_end end;	  /* whose doing it is */
};

/* The two ends of a connection, by enum weir_end, from one walk. */
struct sock_judgement sock_judge(const struct weir_sock_record *const ends[WEIR_ENDS]);

/* Of one that still had to wait when the time for it was over: why it is refused. */
struct sock_judgement sock_judge_late(const struct weir_sock_record *const ends[WEIR_ENDS]);

/* When a refused connection is looked at again: ns from now, or WEIR_NEVER. `refusals` in a row. */
__u64 sock_judge_again(enum weir_refusal reason, unsigned int refusals);

/* Whether a joined socket must leave: options that were set since. WEIR_REFUSALS: no. */
enum weir_refusal sock_must_leave(const struct weir_sock_record *r);

/* "one_way"... as JSON and metrics have it, and what it means, as people read it. */
extern const char *const sock_refusal_names[WEIR_REFUSALS];
extern const char *const sock_refusal_texts[WEIR_REFUSALS];
/* What to do about it; "nothing: ..." */
extern const char *const sock_refusal_remedies[WEIR_REFUSALS];

#endif
