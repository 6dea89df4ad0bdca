/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Traffic between two sockets of this host, checked byte by byte, and programs that use sockets in
 * the ways a short-cut may break. `sock help` has the commands.
 */
#ifndef SOCK_H
#define SOCK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* bytes.c */
uint64_t mix(uint64_t x);
/* One of 0 .. below - 1. */
uint64_t roll(uint64_t *dice, uint64_t below);
/* The bytes of a stream are known from its key and their offsets. */
void fill(uint64_t key, uint64_t offset, void *to, size_t size);
/* The first byte that is wrong, or -1. */
ssize_t wrong_at(uint64_t key, uint64_t offset, const void *from, size_t size);
unsigned char byte_at(uint64_t key, uint64_t offset);

/* options.c */
enum option_kind {
	OPTION_NUMBER,
	OPTION_TEXT,
	OPTION_FLAG,
	OPTION_WORD, /* one of words, as its index */
};

struct option_line {
	const char *name;
	enum option_kind kind;
	void *to; /* long, const char *, bool, long */
	long least, most;
	const char *const *words;
	const char *help;
};

/* Ends the program with 2 on what is in neither table; tables end with a line without a name. */
void parse_options(int argc, char **argv, const struct option_line *own,
		   const struct option_line *more);
void show_options(const struct option_line *lines);

/* json.c: one document on one line. */
void json_begin(void);
void json_end(void);
void json_open(const char *name);
void json_close(void);
void json_whole(const char *name, long long value);
void json_real(const char *name, double value);
void json_truth(const char *name, bool value);
void json_text(const char *name, const char *value);

/* net.c */
enum side {
	CLIENT,
	SERVER,
};

enum family {
	FAMILY_4,
	FAMILY_6,
	FAMILY_MAPPED, /* the client speaks IPv4 to a listener of IPv6 */
};

struct net {
	long family, port;
	const char *listen, *connect;
	const char *netns[2], *cgroup[2];
	long send_buffer, receive_buffer;
	long source_port;
	const char *congestion;
	bool nagle;
};

extern struct net net;
extern const struct option_line net_options[];

struct address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} at;
	socklen_t size;
};

_Noreturn void die(const char *what);
double now(void); /* seconds */
double cpu_used(void);
void pause_ms(double ms);
void pin_to(long cpu);
void allow_files(long count);
/* The process works in the network namespace and cgroup of this side from now on. */
void enter(enum side side);
/* Learns the port if any would do. */
int net_listen(int backlog);
/* A socket of the client's side that is not connected; with a source port if `index` >= 0. */
int net_socket(long index);
struct address net_target(void);
/* Waits until it is connected. */
int net_connect(void);
/* NULL, or what kept it from being connected. */
const char *net_connected(int fd);
/* Waits for a connection; -1 if none comes within this time. */
int net_accept(int listener, int wait_ms);
void set_blocking(int fd, bool blocking);
void set_option(int fd, int level, int name, int value);
bool wait_for(int fd, short events, int wait_ms);
const char *name_of(const struct address *address, char *text, size_t size);
struct address end_of(int fd, bool peer);
uint64_t cookie_of(int fd);
uint64_t tcp_bytes_sent(int fd);
/* "ECONNRESET" and so on, "" for 0. */
const char *errno_name(int error);

/* ends.c: both ends as processes of their own. */
void *shared_memory(size_t size);
/* Both must return 0 within the time; false if one does not. */
bool run_ends(int (*server)(void *), int (*client)(void *), void *context, double most_seconds);

/* warm.c */
struct warm {
	long ms, size, pause_us;
	const char *until, *announce;
	bool until_short_cut;
};

struct warmth {
	uint64_t exchanges, bytes;
	uint64_t by_tcp; /* bytes */
	bool short_cut;	 /* the last exchange moved no byte by TCP; of 20 at the end, any */
	uint64_t wrong;	 /* exchanges */
	bool hung;	 /* one did not end within five seconds */
};

extern const struct option_line warm_options[];
extern struct warm warm;
/* Both ends are in this process. */
void warm_up(int client, int server, struct warmth *result);
bool exchange(int client, int server, size_t size, uint64_t key);
/* Takes what is there, checks it; false if not all of it came right within the time. */
bool receive_all(int fd, uint64_t key, uint64_t offset, size_t size, int wait_ms);
bool send_all(int fd, uint64_t key, uint64_t offset, size_t size, int wait_ms);
/* The ends are in two processes: the client says when it is enough. */
void warm_client(int fd);
void warm_server(int fd);
void announce(int client, int server);

/* The commands. */
int stress(int argc, char **argv);
int pingpong(int argc, char **argv);
int bulk(int argc, char **argv);
int short_lived(int argc, char **argv);
int pairs(int argc, char **argv);
int trap(int argc, char **argv);
void stress_help(void);
void pingpong_help(void);
void bulk_help(void);
void short_help(void);
void pairs_help(void);
void trap_help(void);

/* Set by SIGTERM and SIGINT. */
extern volatile bool stopped;

#endif
