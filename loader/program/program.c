// SPDX-License-Identifier: GPL-2.0
#include "program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/host/instance.h"

#define MAPS_MAX 32 /* no program of ours uses more */

/* Ids of the maps that a program uses. Returns their number. */
static int maps_of(__u32 program, __u32 *maps)
{
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (unsigned long)maps};
	__u32 size = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(program), err;

	if (fd < 0)
		return fd;
	err = bpf_obj_get_info_by_fd(fd, &info, &size);
	close(fd);
	if (err)
		return err;
	return info.nr_map_ids < MAPS_MAX ? info.nr_map_ids : MAPS_MAX;
}

bool program_uses_map(__u32 program, int map)
{
	struct bpf_map_info info = {};
	__u32 maps[MAPS_MAX], size = sizeof(info);
	int n = bpf_obj_get_info_by_fd(map, &info, &size) ? 0 : maps_of(program, maps);

	for (int i = 0; i < n; i++)
		if (maps[i] == info.id)
			return true;
	return false;
}

bool program_uses_pin(__u32 program, const char *pin)
{
	int fd = pin_open(pin);
	bool uses;

	if (fd < 0)
		return false;
	uses = program_uses_map(program, fd);
	close(fd);
	return uses;
}

/* The compiler may put tables of its own behind what the skeleton knows of the section. */
static int read_constants(int fd, __u32 offset, void *to, __u32 size)
{
	struct bpf_map_info info = {};
	__u32 length = sizeof(info), key = 0;
	int err = -ENOENT;
	char *value;

	if (bpf_obj_get_info_by_fd(fd, &info, &length) || !strstr(info.name, ".rodata") ||
	    info.value_size < offset + size)
		return err;
	value = malloc(info.value_size);
	if (value && !bpf_map_lookup_elem(fd, &key, value)) {
		memcpy(to, value + offset, size);
		err = 0;
	}
	free(value);
	return err;
}

int program_constants(__u32 program, __u32 offset, void *to, __u32 size)
{
	__u32 maps[MAPS_MAX];
	int n = maps_of(program, maps), err = -ENOENT;

	for (int i = 0; err && i < n; i++) {
		int fd = bpf_map_get_fd_by_id(maps[i]);

		if (fd < 0)
			continue;
		err = read_constants(fd, offset, to, size);
		close(fd);
	}
	return err;
}
