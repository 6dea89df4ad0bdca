/* SPDX-License-Identifier: GPL-2.0 */
/* The tender: promotes connections, takes back what went wrong, keeps the books. One at a time. */
#ifndef WEIR_SOCK_TEND_H
#define WEIR_SOCK_TEND_H

#include <stdbool.h>

#include "namespaces.h"
#include "walk.h"

struct tender {
	struct sock_maps maps;
	struct walker walker;
	int lock; /* of the directory of pins, for as long as we tend */
	__u64 generation;
	__u64 births; /* as of the last look */
	/* more in tend.c */
	struct tender_state *state;
};

/* 0; -EBUSY without a line when another process tends; -ENOENT when nothing is attached; < 0. */
int tender_open(struct tender *t, const struct instance *in);
/* One round. Returns ms until the next one should be, or < 0; -ESTALE: nothing is left to tend. */
int tender_round(struct tender *t);
void tender_close(struct tender *t);

/* Process id of who tends this instance's sockets; 0: nobody. */
int tender_process(const struct instance *in);

/* Starts one in the background, which ends when the last cgroup is detached. */
int tender_start(const struct instance *in);

#endif
