/* SPDX-License-Identifier: GPL-2.0 */
/* What `service add|set|del` and `backend add|set|drain|del` do to a configuration in memory: the
 * commands make it current, `service plan` only shows what it would mean. */
#ifndef WEIR_CMD_CHANGE_H
#define WEIR_CMD_CHANGE_H

#include <jansson.h>

#include "loader/cmd/command.h"
#include "loader/service/services.h"

struct changed {
	char text[512]; /* what was done, for people */
	json_t *json;	/* the same as a document; released by whoever asked for the change */
	bool adds;	/* there is more to balance than before */
};

/* Takes all words. 0, or < 0 with a fail() or misuse() line. */
typedef int (*change_fn)(struct args *args, struct balance *b, struct changed *what);

int change_service_add(struct args *args, struct balance *b, struct changed *what);
int change_service_set(struct args *args, struct balance *b, struct changed *what);
int change_service_del(struct args *args, struct balance *b, struct changed *what);
int change_backend_add(struct args *args, struct balance *b, struct changed *what);
int change_backend_set(struct args *args, struct balance *b, struct changed *what);
int change_backend_drain(struct args *args, struct balance *b, struct changed *what);
int change_backend_del(struct args *args, struct balance *b, struct changed *what);

/* Makes the change current, and says so. */
int change_run(struct args *args, change_fn change);

/* The change that the first two words name, shortened or not; NULL with a misuse() line. */
change_fn change_named(struct args *args);

#endif
