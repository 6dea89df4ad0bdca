/* SPDX-License-Identifier: GPL-2.0 */
/* What the wrapper programs and the bench share. */
#ifndef WEIR_BENCH_WRAPPER_H
#define WEIR_BENCH_WRAPPER_H

#define BENCH_SOURCES 65536 /* addresses a varied packet can come from */
#define BENCH_FLOWS   (1 << 24)
#define BENCH_WORDS4  15 /* 32-bit words of an IPv4 and TCP header with 20 bytes of options */

#define BENCH_LINE 11 /* 64-bit words that are restored: Ethernet, IPv6 and TCP with a timestamp */

#define BENCH_AWAITED 5 /* 64-bit words that arrived live frames are compared in */

/* Devices that the empty programs redirect to. */
enum bench_exit {
	BENCH_ELSEWHERE,
	BENCH_BACK, /* where the frame came in */
	BENCH_EXITS,
};

enum bench_exchange {
	BENCH_SYN,
	BENCH_SYNACK,
	BENCH_ACK,
	BENCH_EXCHANGE,
};

/* Verdict of a wrapper whose tail call failed; no program under test returns it. */
#define BENCH_NOT_REACHED 77

#endif
