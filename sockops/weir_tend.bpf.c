// SPDX-License-Identifier: GPL-2.0
/*
 * The tender's eyes and hands: it walks over the sockets that are known, sees how they are used, puts
 * pairs into `ends` and takes them out again. What is promoted is decided in user space.
 */
#include "observe.h"
#include "walk.h"
#include "join.h"
#include "release.h"
#include "census.h"

char _license[] SEC("license") = "GPL";
