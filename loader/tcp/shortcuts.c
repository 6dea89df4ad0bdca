// SPDX-License-Identifier: GPL-2.0
#include "shortcuts.h"

#include <linux/types.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "loader/base/options.h"

/* The program that every message of an attached cgroup's pairs passes. */
#define PROGRAM "weir_message"

static bool is_shortcut(__u32 id)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);
	bool is;

	if (fd < 0)
		return false;
	is = !bpf_obj_get_info_by_fd(fd, &info, &size) && info.type == BPF_PROG_TYPE_SK_MSG &&
	     !strcmp(info.name, PROGRAM);
	close(fd);
	return is;
}

/* Pins may be in a bpffs that is not seen from here: a container's, or where `ip netns exec` hides them. */
static bool are_active(void)
{
	__u32 id = 0;

	while (!bpf_prog_get_next_id(id, &id))
		if (is_shortcut(id))
			return true;
	return false;
}

void shortcuts_tell(void)
{
	static bool told;

	if (told || !are_active())
		return;
	told = true;
	notice("'weir sock' is attached: bytes that it short-cuts pass by TCP and are not counted here");
}

void shortcuts_tell_of(json_t *summary)
{
	if (!options.json)
		shortcuts_tell();
	json_object_set_new(summary, "shortcut_active", json_boolean(are_active()));
}
