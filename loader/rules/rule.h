/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Rules as the user gives them. They are kept in the rule table itself, behind what the program
 * reads, so that a swap of the table changes both at once; these structs are that format, in host
 * byte order, and WEIR_XDP_SCHEMA covers them.
 */
#ifndef WEIR_RULE_H
#define WEIR_RULE_H

#include <linux/types.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#include "xdp/abi.h"

struct args;

struct prefix {
	__u8 address[16]; /* network order; IPv4 in the first four; bits behind length are 0 */
	__u8 family;	  /* 4 or 6; 0: any address */
	__u8 length;
};

#define RULE_ANY_PROTO 0xffff
#define RULE_LIST_NAME 48

struct rule {
	__u32 id;	       /* names the rule for `del`; not used twice while there are rules */
	__u32 slot;	       /* index of its counter */
	__u8 action;	       /* enum weir_action */
	__u8 via_tc;	       /* redirect: TC transmits, because the target took no XDP frames */
	__u8 list_matches_dst; /* the list is of destinations, not sources */
	__u16 proto;	       /* RULE_ANY_PROTO, WEIR_PROTO_ARP, or 0-255 */
	__u16 sport[2];	       /* first and last; 0 and 65535: any */
	__u16 dport[2];
	struct prefix src;
	struct prefix dst;
	__u32 dev_ifindex;     /* what the names meant last; 0: nothing. A device that is renamed */
	__u32 target_ifindex;  /* takes its rules along */
	char dev[IFNAMSIZ];    /* "": every device */
	char target[IFNAMSIZ]; /* redirect */
	char list[RULE_LIST_NAME]; /* "": no list */
	__u32 prefixes;		   /* how many the list has */
	__u32 burst;		   /* limit: packets */
	__u64 rate_micro;	   /* limit: packets per 10^6 s */
	__u64 since_ns;		   /* CLOCK_REALTIME */
};

struct rule_set {
	struct rule *rules; /* in order of evaluation */
	size_t count;
	struct prefix *prefixes; /* of all lists, in order of their rules */
	size_t prefix_count;
	__u32 next_id;
	__u64 seed;
};

void rule_set_free(struct rule_set *set);

/* "drop src 10.0.0.0/8 dport 80-90 ...", taken from the words. 0, or < 0 with a misuse() line. */
int rule_parse(struct args *args, struct rule *rule);
/* The same text back; `text` has room for RULE_TEXT bytes. */
#define RULE_TEXT 320
void rule_format(const struct rule *rule, char *text);
const char *rule_action_name(const struct rule *rule);

/* "192.0.2.0/24", "2001:db8::1". Bits behind the length are an error: the line says what is
 * meant. */
int prefix_parse(const char *text, struct prefix *prefix);
/* PREFIX_TEXT bytes. */
#define PREFIX_TEXT 52
void prefix_format(const struct prefix *prefix, char *text);

/*
 * Reads a list: one prefix a line, blank lines and what follows a '#' left out; "-" is standard
 * input. The first bad line is named in the fail() line, and nothing is returned.
 */
int prefix_list_read(const char *file, struct prefix **list, size_t *count);

#endif
