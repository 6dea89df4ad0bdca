// SPDX-License-Identifier: GPL-2.0
/* What the doctor says of the far ends of veths. */
#include "findings.h"

#include "loader/attach/veth/offload.h"
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

static const struct far_end *look(struct doctor *d, const struct netdev *dev)
{
	struct far_end *seen = &d->far_ends[dev->ifindex % FAR_ENDS_SEEN];

	if (seen->ifindex != dev->ifindex)
		*seen = (struct far_end){dev->ifindex, offload_far_end(dev), offload_tags(dev)};
	return seen;
}

bool far_end_is_out_of_reach(struct doctor *d, const struct netdev *dev)
{
	return dev->peer && look(d, dev)->does < 0;
}

void advise_reach(struct doctor *d)
{
	advise(d, "run weir where the processes of that namespace are seen; in a container: docker "
		  "run --pid host --cap-add SYS_PTRACE");
}

const char *why_no_frames(struct doctor *d, const struct netdev *dev)
{
	int does = dev->peer ? look(d, dev)->does : 0;

	if (!dev->peer)
		return "it takes no XDP frames";
	if (does < 0)
		return "its far end, which would have to poll (NAPI), is in a network namespace that "
		       "cannot be reached from here";
	if (!(does & FAR_END_UP))
		return "its far end is down";
	return does & FAR_END_MERGES ? "its far end polls, which the kernel has not noticed"
				     : "its far end does not poll (NAPI)";
}

void advise_frames(struct doctor *d, const struct netdev *dev)
{
	const struct far_end *far = look(d, dev);

	if (far_end_is_out_of_reach(d, dev))
		advise_reach(d);
	else if (!dev->peer || !dev->xdp_known || !(far->does & FAR_END_UP))
		return;
	else if (!dev->xdp_target && far->does & FAR_END_MERGES)
		advise_far_end(d, dev, "-K", "gro off, then on again");
	else if (!dev->xdp_target || far->tags > 0)
		advise(d,
		       "'%s attach DEV' of an attached device, or any other change, sees to its far "
		       "end",
		       weir(d));
}
