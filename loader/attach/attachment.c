// SPDX-License-Identifier: GPL-2.0
#include "attachment.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "tc/abi.h"
#include "xdp/abi.h"

static const char *const mode_names[] = {"auto", "native", "generic", "offload"};
static const char *const way_names[] = {"none", "link", "dispatcher", "clsact"};

const char *attach_mode_name(enum attach_mode mode)
{
	return mode_names[mode];
}

const char *attach_way_name(enum attach_way way)
{
	return way_names[way];
}

const char *attachment_pin(const struct instance *in, const char *device, const char *pin)
{
	return instance_path(in, "devices/%s/%s", pin_name(device), pin);
}

int attachment_read(const struct instance *in, const char *device, struct attachment *a)
{
	return pin_read(attachment_pin(in, device, "attachment"), a, sizeof(*a));
}

int attachment_write(const struct instance *in, const struct attachment *a)
{
	const char *path = attachment_pin(in, a->name, "attachment");
	int fd = pin_open(path), err = 0;
	__u32 key = 0;

	if (fd == -ENOENT) {
		fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_attachment", sizeof(key), sizeof(*a),
				    1, NULL);
		if (fd >= 0 && bpf_obj_pin(fd, path))
			err = -errno;
	}
	if (fd < 0)
		return fail(fd, "cannot make %s: %s", path, strerror(-fd));
	if (!err)
		err = bpf_map_update_elem(fd, &key, a, BPF_ANY);
	close(fd);
	return err ? fail(err, "cannot write %s: %s", path, strerror(-err)) : 0;
}

int attachment_names(const struct instance *in, char ***names)
{
	struct dirent **entries;
	int count = 0, n;

	*names = NULL;
	if (!in->exists)
		return 0;
	n = scandir(instance_path(in, "devices"), &entries, NULL, alphasort);
	if (n < 0)
		return errno == ENOENT ? 0 : fail(-errno, "cannot read %s/devices: %m", in->dir);
	*names = calloc(n + 1, sizeof(**names));
	for (int i = 0; i < n; i++) {
		if (*names && entries[i]->d_name[0] != '.')
			(*names)[count++] = pin_decode(entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return *names ? count : fail(-ENOMEM, "out of memory");
}

void attachment_names_free(char **names, int count)
{
	for (int i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

bool attachment_find(const struct instance *in, const char *name, char *pinned)
{
	__u32 ifindex = if_nametoindex(name);
	struct attachment a;
	bool found = false;
	char **names;
	int n;

	if (strlen(name) >= IFNAMSIZ)
		return false;
	strcpy(pinned, name);
	if (!ifindex || (!attachment_read(in, name, &a) && a.ifindex == ifindex))
		return true;
	n = attachment_names(in, &names);
	for (int i = 0; i < n && !found; i++) {
		found = !attachment_read(in, names[i], &a) && a.ifindex == ifindex;
		if (found)
			snprintf(pinned, IFNAMSIZ, "%s", names[i]);
	}
	attachment_names_free(names, n);
	return found;
}

int attachment_check_schema(const char *name, const struct attachment *a)
{
	if (a->xdp_schema == WEIR_XDP_SCHEMA && a->tc_schema == WEIR_TC_SCHEMA)
		return 0;
	return fail(-EPROTO,
		    "%s: its maps have schema %u.%u, this weir (" WEIR_VERSION ") speaks "
		    "%u.%u; 'weir detach %s' and attach again, which starts the counters "
		    "and rules anew",
		    name, a->xdp_schema, a->tc_schema, WEIR_XDP_SCHEMA, WEIR_TC_SCHEMA, name);
}
