// SPDX-License-Identifier: GPL-2.0
#include "ifindexes.h"

#include <errno.h>
#include <stdlib.h>

bool ifindexes_have(const struct ifindexes *list, __u32 ifindex)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->item[i] == ifindex)
			return true;
	return false;
}

int ifindexes_add(struct ifindexes *list, __u32 ifindex)
{
	if (!ifindex || ifindexes_have(list, ifindex))
		return 0;
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 16;
		__u32 *grown = reallocarray(list->item, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->item = grown;
		list->room = room;
	}
	list->item[list->count++] = ifindex;
	return 1;
}

void ifindexes_free(struct ifindexes *list)
{
	free(list->item);
	*list = (struct ifindexes){};
}
