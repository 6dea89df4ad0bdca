// SPDX-License-Identifier: GPL-2.0
/*
 * The tender's eyes and hands: it walks over the sockets that are known, sees how they are used, puts
 * pairs into `ends` and takes them out again. What is promoted is decided in user space.
 */
#include "births.h"
#include "ends.h"
#include "kernel.h"
#include "maps.h"

#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "observe.h"
#include "walk.h"
#include "join.h"
#include "release.h"
#include "census.h"

char _license[] SEC("license") = "GPL";
