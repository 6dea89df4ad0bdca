/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a subject reports failure without printing: it returns a negative errno and leaves one line
 * (what, why, what to do) that main() prints behind "weir: ". Later lines do not replace the first:
 * the deepest function knows best.
 */
#ifndef WEIR_ERROR_H
#define WEIR_ERROR_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

static inline int same(int err)
{
	return err;
}

/* Refused by kernel or state: exit status 2. Its value is err, which must be negative. A macro, so
 * that compilers see that it is no success. */
#define fail(err, ...) (leave_failure(__VA_ARGS__), same(err))

/* The command line or a file's text is wrong: exit status 1. Its value is -EINVAL. */
#define misuse(...) (leave_misuse(__VA_ARGS__), same(-EINVAL))

/* What the two leave the line with; errno stays as it was. */
void leave_failure(const char *format, ...) __attribute__((format(printf, 1, 2)));
void leave_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Puts "FILE line N: " before the line that a misuse() has just left. Returns -EINVAL. */
int at_line(const char *file, size_t number);

/* Something the user should know although the command succeeds; printed to stderr at once. */
void notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

const char *failure(void); /* the line left by fail() or misuse(), or NULL */
int failure_status(void);  /* 1 or 2 */
void forget_failure(void); /* the caller handled it */
/* Prints the line as main() does at the end, and forgets it: there is more to come. */
void tell_failure(void);

extern int verbosity; /* -v: 1 says what is done, 2 adds libbpf's own output */

#endif
