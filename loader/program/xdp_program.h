/* SPDX-License-Identifier: GPL-2.0 */
/* The object's programs: which one a device gets, and how it is opened for the device. */
#ifndef WEIR_XDP_PROGRAM_H
#define WEIR_XDP_PROGRAM_H

#include "loader/host/netdev.h"
#include "loader/attach/needs.h"
#include "xdp/abi.h"
#include "xdp/balance/abi.h"
#include "weir_xdp.skel.h"

/* The one for the switches in rodata. */
static inline struct bpf_program *xdp_program_of(const struct weir_xdp_bpf *skel)
{
	const struct weir_xdp_config *config =
		(const struct weir_xdp_config *)&skel->rodata->config;

	if (config->modes || config->decap || config->explain)
		return skel->progs.weir_balance;
	return config->redirects ? skel->progs.weir_redirect : skel->progs.weir_xdp;
}

/* The switch `common`, which follows from the others. Beside NAT the stacks of the program and of what
 * it calls would add up to more than the verifier's 512 bytes. */
static inline bool xdp_has_common(const struct weir_xdp_config *config)
{
	return config->modes && !(config->modes & 1u << WEIR_NAT) && config->ethernet &&
	       !config->fields && !config->decap && !config->via_tc && !config->partial_sums;
}

/* Before load, when the switches are set: the others are not loaded. */
static inline void xdp_choose_program(struct weir_xdp_bpf *skel)
{
	struct bpf_program *program = xdp_program_of(skel);

	bpf_program__set_autoload(skel->progs.weir_xdp, program == skel->progs.weir_xdp);
	bpf_program__set_autoload(skel->progs.weir_redirect, program == skel->progs.weir_redirect);
	bpf_program__set_autoload(skel->progs.weir_balance, program == skel->progs.weir_balance);
	bpf_program__set_expected_attach_type(program, BPF_XDP);
	if (skel->rodata->config.frags)
		bpf_program__set_flags(program, BPF_F_XDP_HAS_FRAGS);
}

/* Opens the object for a device with these switches and the instance's maps, ready to be loaded.
 * 0 or < 0 with a fail() line. */
int xdp_program_open(struct weir_xdp_bpf **skel, const struct instance *in,
		     const struct netdev *dev, const struct weir_xdp_config *config,
		     const struct needs *needs);

#endif
