// SPDX-License-Identifier: GPL-2.0
#include "notice_idle.h"

#include "loader/attach/device.h"
#include "loader/base/error.h"

void notice_idle(const struct instance *in, const char *what)
{
	struct device *list;
	size_t count, xdp = 0;

	if (devices_open(in, &list, &count))
		return;
	for (size_t i = 0; i < count; i++)
		xdp += list[i].attachment.xdp_way != WAY_NONE;
	devices_free(list, count);
	if (!xdp)
		notice("no device of instance '%s' has XDP attached, so %s yet", in->name, what);
}
