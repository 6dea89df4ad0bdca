/* SPDX-License-Identifier: GPL-2.0 */
/* Names of the peer's cases, by which weir's cases refer to them. */
#ifndef WEIR_BENCH_CASES_FILTER_H
#define WEIR_BENCH_CASES_FILTER_H

#define FILTER_HIT_ONE	  "xdp-filter, 10k addresses: hit, one source"
#define FILTER_HIT_MANY	  "xdp-filter, 10k addresses: hit, random sources"
#define FILTER_MISS_ONE	  "xdp-filter, 10k addresses: miss, one source"
#define FILTER_MISS_MANY  "xdp-filter, 10k addresses: miss, random sources"
#define FILTER_HIT6_MANY  "xdp-filter, 10k IPv6 addresses: hit, random sources"
#define FILTER_MISS6_MANY "xdp-filter, 10k IPv6 addresses: miss, random sources"
#define FILTER_ALL_MISS	  "xdp-filter, all features, 10k addresses: miss, one source"
#define FILTER_LIVE	  "xdp-filter, 10k addresses: hit, live on veth"

#endif
