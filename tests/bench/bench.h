/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A case is a packet, a program and an empty program in the same surroundings. Each round takes
 * one sample of every case; a sample counts only if the verdict, the program's own counter and,
 * where packets vary, the wrapper's counter say that every packet went the way it should.
 */
#ifndef WEIR_BENCH_H
#define WEIR_BENCH_H

#include <bpf/libbpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include "tests/shared/packets.h"
#include "wrapper.h"
#include "xdp/abi.h"

struct weir_xdp_bpf;

#define BENCH_CASES  128
#define BENCH_ROUNDS 101

/* A program as it is handed to BPF_PROG_TEST_RUN. */
struct entry {
	int fd;
	bool xdp;
	__u32 verdict;
	const volatile __u64 *varied; /* packets changed so far; NULL: not behind a wrapper */
};

/* Where live frames end, see live.c. */
enum live_end {
	LIVE_AT_PROGRAM,
	LIVE_BACK,
	LIVE_ELSEWHERE,
};

struct bench_case {
	const char *hook; /* "XDP" or "TC" */
	const char *name;
	const char *peer; /* name of the case to compare with; NULL: none */
	struct packet packet;
	struct entry bare, subject;
	__u64 (*counted)(const void *owner); /* packets that went the expected way so far */
	const void *owner;
	bool uncounted; /* instead, `counted` must stay where it is */
	bool live;	/* frames over veth devices, see live.c; no verdicts are checked */
	enum live_end end;
	int generator;		/* live: fd of the program that sends the frames */
	struct packet *arrives; /* live: as what the frames arrive; NULL: as they were */
	bool wanted;
	double bare_ns[BENCH_ROUNDS];
	double ns[BENCH_ROUNDS];
};

struct bench {
	struct bench_case cases[BENCH_CASES];
	int count;
};

/* All functions below return 0 or a negative errno with a fail() line. */

/* bench.c: a new case, to be filled in. There is always room. */
struct bench_case *bench_add(struct bench *bench, const char *hook, const char *name);
/* The case of that name; NULL: not there. */
struct bench_case *bench_find(struct bench *bench, const char *name);

/* cases_*.c: each adds its cases. Objects stay loaded until the process ends. */
int add_weir_xdp(struct bench *bench);
int add_xdp_filter(struct bench *bench);
int add_weir_tc(struct bench *bench);
int add_balance(struct bench *bench);
int add_balance_live(struct bench *bench);

/* sample.c: mean ns of CPU time per packet over `repeat` packets. */
int sample(const struct bench_case *c, const struct entry *entry, __u32 repeat, double *ns);
/* Enters a network namespace of our own, with the loopback device up. */
int sample_prepare(void);
/* Whether the case's counter says what it should of `repeat` packets since it was `before`. */
int check_counted(const struct bench_case *c, __u64 before, __u32 repeat);
/* Sum over all CPUs of the 64-bit number at `offset` in the value of a per-CPU array. */
__u64 percpu_sum(int map_fd, __u32 key, size_t offset);

/* cell.c: a case's `counted` and `owner`: which cell of whose counters its packets belong to. */
struct cell;
__u64 cell_packets(const void *cell);
const struct cell *cell_of(const struct weir_xdp_bpf *skel, enum weir_verdict verdict,
			   enum weir_class class);

/* live.c: creates the devices; one sample. */
int live_prepare(void);
int live_sample(const struct bench_case *c, const struct entry *entry, __u32 repeat, double *ns);
/* ifindex of the device that the program under test has, and of the one to redirect to. */
__u32 live_device(void);
__u32 live_exit(void);
/* Fills in both entries: the receiver runs `program` instead of the empty one of that name. */
int live_case(struct bench_case *c, const struct bpf_program *program, const char *empty,
	      enum live_end end);
/* The same for a program that changes the frame: to `arrives`, which is looked for where it
 * ends. */
int live_changing_case(struct bench_case *c, const struct bpf_program *program, const char *empty,
		       enum live_end end, const struct packet *arrives);

/* vary.c: a program that does nothing but return, loaded once; NULL with a fail() line. */
const struct bpf_program *empty_program(const char *name);
/* The device that empty_redirect or empty_redirect_back sends to. */
int empty_redirect_to(enum bench_exit exit, __u32 ifindex);
/* empty_receive counts the frames that begin so and have this length: the counter. */
const volatile __u64 *await_frames(const struct packet *frame);
/* fd of a program that makes each live frame this one and sends it; < 0 with a fail() line. */
int live_generator(const struct packet *packet);
/* vary.c: fills in both entries of a case, with the subject's verdict. */
int plain(struct bench_case *c, const struct bpf_program *program, __u32 verdict);

/* The same, each packet from the next of BENCH_SOURCES source addresses in network order; `draw`
 * makes them. The case's packet says whether IPv4 or IPv6. */
typedef void draw_source(void *from, __be32 address[4]);
int vary_sources(struct bench_case *c, const struct bpf_program *program, __u32 verdict,
		 draw_source *draw, void *from);

/* Before each run the frame is made what it was, from the next of so many clients (a power of two;
 * 1: as it is). `first`, if any, runs once for each of them before. */
int vary_clients(struct bench_case *c, const struct bpf_program *program, __u32 verdict,
		 __u32 clients, const struct packet *first);

/* TC: the same segment from BENCH_FLOWS clients in turn. */
int vary_flows(struct bench_case *c, const struct bpf_program *program, __u32 verdict);
/* TC: SYN and ACK go through `program`, SYN-ACK through `reply`, of a fresh connection each time.
 * `exchange` holds the three, in room for a SYN; the client's address is filled in. */
int vary_connections(struct bench_case *c, const struct bpf_program *program,
		     const struct bpf_program *reply, __u32 verdict,
		     const struct packet exchange[BENCH_EXCHANGE]);

#endif
