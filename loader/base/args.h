/* SPDX-License-Identifier: GPL-2.0 */
/* The words of a command line, taken one by one. */
#ifndef WEIR_ARGS_H
#define WEIR_ARGS_H

#include <stdbool.h>

struct args {
	int count;
	char **word;
};

/* Takes the next word, or returns NULL when there is none. */
char *next_word(struct args *args);
/* Takes the next word if it is `word` (no abbreviation: words may be names of devices). */
bool accept_word(struct args *args, const char *word);
/* The value behind keyword `word`; a missing value is a misuse() and returns NULL. */
char *value_of(struct args *args, const char *word);
/* A misuse() that names the first word nobody took; 0 when all are taken. */
int no_more_words(struct args *args);
/* Whole-string numbers: "12abc" is refused. `what` names the value in the message. */
int parse_number(const char *what, const char *text, long least, long most, long *number);
/* Seconds, fractions allowed: "0.5". */
int parse_seconds(const char *what, const char *text, double *seconds);

#endif
