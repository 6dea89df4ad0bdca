// SPDX-License-Identifier: GPL-2.0
/* What the doctor says of the far ends of veths. */
#include "findings.h"

#include "loader/attach/offload.h"
#include "loader/base/error.h"

void advise_far_end(struct doctor *d, const struct netdev *dev, const char *option,
		    const char *what)
{
	struct netdev peer;

	if (dev->peer_here && !netdev_by_index(dev->peer, &peer))
		advise(d, "%sethtool %s %s %s", inside(d), option, peer.name, what);
	else
		advise(d, "in the far end's namespace: ethtool %s <device with index %u> %s",
		       option, dev->peer, what);
}

bool far_end_is_out_of_reach(const struct netdev *dev)
{
	return dev->peer && offload_polls(dev) < 0;
}

void advise_reach(struct doctor *d)
{
	advise(d, "run weir where the processes of that namespace are seen; in a container: docker "
		  "run --pid host --cap-add SYS_PTRACE");
}

const char *why_no_frames(const struct netdev *dev)
{
	int polls = dev->peer ? offload_polls(dev) : 0;

	if (!dev->peer)
		return "it takes no XDP frames";
	if (polls < 0)
		return "its far end, which would have to poll (NAPI), is in a network namespace that "
		       "cannot be reached from here";
	return polls ? "its far end is down" : "its far end does not poll (NAPI)";
}

void advise_frames(struct doctor *d, const struct netdev *dev)
{
	if (far_end_is_out_of_reach(dev))
		advise_reach(d);
	else if (dev->peer && dev->xdp_known && (!dev->xdp_target || offload_tags(dev) > 0))
		advise(d, "%s attach %s, which sees to its far end where something is sent",
		       weir(d), dev->name);
}
