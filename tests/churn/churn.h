/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Traffic that notices the slightest damage: churn serve, churn load, churn flood.
 *
 * A server says its name, NAME_SIZE bytes, and from then on sends back what it gets. A client knows
 * every byte of both directions beforehand.
 */
#ifndef CHURN_H
#define CHURN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_SIZE 16

struct endpoint {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} at;
	socklen_t size;
};

/* "192.0.2.1:80" or "[2001:db8::1]:80"; ends the program if it is neither. */
struct endpoint endpoint_of(const char *text);
long number(const char *text, long least, long most);
double now(void); /* seconds */
uint64_t mix(uint64_t x);
uint64_t dice(void);
void seed_dice(uint64_t seed);
_Noreturn void die(const char *what);

/* Set by SIGTERM and SIGINT. */
extern volatile bool stopped;

int serve(int argc, char **argv);
int load(int argc, char **argv);
int flood(int argc, char **argv);

#endif
