/* SPDX-License-Identifier: GPL-2.0 */
/* What this kernel can do, found by trying, once per process. */
#ifndef WEIR_FEATURES_H
#define WEIR_FEATURES_H

#include <stdbool.h>

/* linux/bpf.h of Debian 12 has no TCX yet. */
#define TCX_INGRESS 46
#define TCX_EGRESS  47

bool features_dispatcher(void);	       /* freplace programs, which libxdp's dispatcher is made of */
bool features_replaced_by_mover(void); /* also by what moves packet data: not on newer kernels */
bool features_tcx(void);	       /* TCX links (>= 6.6) */
bool features_listener(void);	       /* the TC program may look into listening sockets (BTF) */
bool features_synq_full_at_max(void);  /* before 6.14 a SYN queue at its limit is full */

#endif
