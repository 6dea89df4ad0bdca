// SPDX-License-Identifier: GPL-2.0
#include "xdp_copy.h"

#include <string.h>

#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "xdp_link.h"
#include "xdp_program.h"

int xdp_copy_load(const struct instance *in, const struct netdev *dev, const struct attachment *a,
		  struct xdp_copy *copy)
{
	struct weir_xdp_config config;
	struct netdev pinned = *dev;
	struct needs needs;
	int err = xdp_loaded_config(in, a->name, a->xdp_way, &config);

	if (err)
		return fail(err, "%s: cannot look at its XDP program: %s", dev->name,
			    strerror(-err));
	err = needs_load(in, &needs);
	if (err)
		return err;
	config.explain = 1;
	strcpy(pinned.name, a->name);
	err = xdp_program_open(&copy->skel, in, &pinned, &config, &needs);
	if (!err) {
		err = weir_xdp_bpf__load(copy->skel);
		if (err) {
			weir_xdp_bpf__destroy(copy->skel);
			err = fail(err, "the kernel refuses the program's copy: %s",
				   strerror(-err));
		}
	}
	needs_release(&needs);
	if (err)
		return err;
	copy->program = bpf_program__fd(xdp_program_of(copy->skel));
	copy->explanation = bpf_map__fd(copy->skel->maps.explanation);
	return 0;
}

void xdp_copy_close(struct xdp_copy *copy)
{
	weir_xdp_bpf__destroy(copy->skel);
}
