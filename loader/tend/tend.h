/* SPDX-License-Identifier: GPL-2.0 */
/* The tender: promotes connections, takes back what went wrong, keeps the books. One at a time. */
#ifndef WEIR_SOCK_TEND_H
#define WEIR_SOCK_TEND_H

#include <stdbool.h>

#include "walk.h"

/* What we remember of a pair. */
struct pair_notes {
	bool seen[WEIR_ENDS]; /* in `ends`, by the last walk */
	bool demoted;
	bool both;		/* are in, since an earlier round */
	__u64 netns[WEIR_ENDS]; /* inodes */
	unsigned int rounds;	/* of joining */
	unsigned int streaming; /* rounds */
	__u64 passed, messages;
};

struct lives_note;

struct tender {
	const struct instance *in;
	struct sock_maps maps;
	struct walker walker;
	int lock; /* of the directory of pins, for as long as we tend */
	__u64 generation;
	__u64 births;	    /* as of the last walk */
	__u64 attached;	    /* as of the last census */
	__u64 news_ns;	    /* when new connections were last seen */
	__u64 observed_ns;  /* when there last was */
	__u64 released_ns;  /* before that no release is tried */
	unsigned int stuck; /* releases in a row that left some in `ends` */
	__u64 census_ns;    /* from when on there may be another census */
	__u64 skipped;	    /* connections that were passed over, as of the last one */
	__u64 lives_ns;	    /* when ports are next decided about */
	bool begun;
	bool joining;		  /* a pair is, since an earlier round */
	bool streaming;		  /* a pair may have to leave in the next round */
	struct pair_notes *notes; /* by slot */
	struct lives_note *lives; /* by port */
};

/* 0; -EBUSY without a line when another process tends; -ENOENT when nothing is attached; < 0. */
int tender_open(struct tender *t, const struct instance *in);
/* One round. Returns ms until the next one should be, or < 0; -ESTALE: nothing is left to tend. */
int tender_round(struct tender *t);
/* Whether there is a reason for a round before its time: new connections, or the end. */
bool tender_has_news(const struct tender *t);
void tender_close(struct tender *t);

/* Ends whoever tends and tends in his place, for one who must be alone with the pairs. 0; -EBUSY
 * with a fail() line; else as tender_open(). */
int tender_take_over(struct tender *t, const struct instance *in);

/* Process id of who tends this instance's sockets; 0: nobody. */
int tender_process(const struct instance *in);

/* Starts one in the background, which ends when the last cgroup is detached. */
int tender_start(const struct instance *in);
/* The same if nobody tends, or another build of weir does, which ends. */
int tender_ensure(const struct instance *in);

#endif
