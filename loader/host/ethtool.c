// SPDX-License-Identifier: GPL-2.0
#include "ethtool.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int command(int fd, const char *ifname, void *data)
{
	struct ifreq request = {.ifr_data = data};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", ifname);
	return ioctl(fd, SIOCETHTOOL, &request) < 0 ? -errno : 0;
}

static int count_features(int fd, const char *ifname, __u32 *count)
{
	struct ethtool_sset_info *query = calloc(1, sizeof(*query) + sizeof(query->data[0]));
	int err;

	if (!query)
		return -ENOMEM;
	query->cmd = ETHTOOL_GSSET_INFO;
	query->sset_mask = 1ull << ETH_SS_FEATURES;
	err = command(fd, ifname, query);
	if (!err)
		*count = query->sset_mask ? query->data[0] : 0;
	free(query);
	return err;
}

/* Returns the number of the feature's bit or a negative errno. */
static int find_feature(int fd, const char *ifname, __u32 count, const char *feature)
{
	struct ethtool_gstrings *names = calloc(1, sizeof(*names) + count * ETH_GSTRING_LEN);
	int bit = -EOPNOTSUPP, err;

	if (!names)
		return -ENOMEM;
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_FEATURES;
	names->len = count;
	err = command(fd, ifname, names);
	for (__u32 i = 0; !err && i < names->len; i++)
		if (!strncmp((char *)names->data + i * ETH_GSTRING_LEN, feature, ETH_GSTRING_LEN))
			bit = i;
	free(names);
	return err ? err : bit;
}

static int read_feature(int fd, const char *ifname, __u32 count, int bit, struct offload *offload)
{
	__u32 blocks = (count + 31) / 32, mask = 1u << bit % 32;
	struct ethtool_gfeatures *state =
		calloc(1, sizeof(*state) + blocks * sizeof(state->features[0]));
	int err;

	if (!state)
		return -ENOMEM;
	state->cmd = ETHTOOL_GFEATURES;
	state->size = blocks;
	err = command(fd, ifname, state);
	if (!err) {
		const struct ethtool_get_features_block *block = &state->features[bit / 32];

		offload->on = block->active & mask;
		offload->wanted = block->requested & mask;
		offload->fixed = !(block->available & mask) || block->never_changed & mask;
	}
	free(state);
	return err;
}

/* Success tells nothing: the driver may have left it as it was. */
static int write_feature(int fd, const char *ifname, __u32 count, int bit, bool on)
{
	__u32 blocks = (count + 31) / 32, mask = 1u << bit % 32;
	struct ethtool_sfeatures *wish =
		calloc(1, sizeof(*wish) + blocks * sizeof(wish->features[0]));
	int err;

	if (!wish)
		return -ENOMEM;
	wish->cmd = ETHTOOL_SFEATURES;
	wish->size = blocks;
	wish->features[bit / 32].valid = mask;
	wish->features[bit / 32].requested = on ? mask : 0;
	err = command(fd, ifname, wish);
	free(wish);
	return err;
}

/* Returns a socket to ask with, or a negative errno. */
static int open_feature(const char *ifname, const char *feature, __u32 *count, int *bit)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	err = count_features(fd, ifname, count);
	*bit = err ? err : find_feature(fd, ifname, *count, feature);
	if (*bit >= 0)
		return fd;
	close(fd);
	return *bit;
}

int ethtool_offload(const char *ifname, const char *feature, struct offload *offload)
{
	__u32 count = 0;
	int bit, err, fd = open_feature(ifname, feature, &count, &bit);

	if (fd < 0)
		return fd;
	err = read_feature(fd, ifname, count, bit, offload);
	close(fd);
	return err;
}

int ethtool_set_offload(const char *ifname, const char *feature, bool on)
{
	struct offload now;
	__u32 count = 0;
	int bit, err, fd = open_feature(ifname, feature, &count, &bit);

	if (fd < 0)
		return fd;
	err = write_feature(fd, ifname, count, bit, on);
	if (!err)
		err = read_feature(fd, ifname, count, bit, &now);
	close(fd);
	if (!err && now.on != on)
		err = -EOPNOTSUPP;
	return err;
}
