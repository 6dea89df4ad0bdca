// SPDX-License-Identifier: GPL-2.0
#include "device.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/balance/publish.h"
#include "loader/base/error.h"
#include "loader/host/netdev.h"
#include "lost.h"
#include "offload.h"
#include "polling.h"
#include "presence.h"
#include "tc/abi.h"
#include "loader/program/tc_link.h"
#include "loader/program/xdp_link.h"

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

static const char *path_of(const struct instance *in, const char *device, const char *pin)
{
	return instance_path(in, "devices/%s/%s", pin_name(device), pin);
}

static int read_attachment(const struct instance *in, const char *device, struct attachment *a)
{
	return pin_read(path_of(in, device, "attachment"), a, sizeof(*a));
}

static int write_attachment(const struct instance *in, const struct attachment *a)
{
	const char *path = path_of(in, a->name, "attachment");
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

/* Device names below the instance, sorted, attached or only begun. */
static int device_names(const struct instance *in, char ***names)
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

static void free_names(char **names, int count)
{
	for (int i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* A device that is renamed keeps the pins of its old name: finds what they are under. A device that
 * is gone is known by that name only. False: there is such a device and it has none. */
static bool find_pins(const struct instance *in, const char *name, char *pinned)
{
	__u32 ifindex = if_nametoindex(name);
	struct attachment a;
	bool found = false;
	char **names;
	int n;

	if (strlen(name) >= IFNAMSIZ)
		return false;
	strcpy(pinned, name);
	if (!ifindex || (!read_attachment(in, name, &a) && a.ifindex == ifindex))
		return true;
	n = device_names(in, &names);
	for (int i = 0; i < n && !found; i++) {
		found = !read_attachment(in, names[i], &a) && a.ifindex == ifindex;
		if (found)
			snprintf(pinned, IFNAMSIZ, "%s", names[i]);
	}
	free_names(names, n);
	return found;
}

static int open_map(const struct instance *in, const char *device, const char *pin)
{
	int fd = pin_open(path_of(in, device, pin));

	return fd < 0 ? -1 : fd;
}

static void open_maps(const struct instance *in, const char *pinned, struct device *d)
{
	struct handshake_maps *h = &d->handshakes;

	d->counters = open_map(in, pinned, "counters");
	h->handshakes = open_map(in, pinned, "handshakes");
	h->endpoints = open_map(in, pinned, "endpoints");
	h->endpoint_stats = open_map(in, pinned, "endpoint_stats");
	h->tc_counters = open_map(in, pinned, "tc_counters");
	h->watchers = open_map(in, pinned, "watchers");
	h->events = open_map(in, pinned, "events");
}

static void close_maps(struct device *d)
{
	const struct handshake_maps *h = &d->handshakes;
	int fds[] = {d->counters,    h->handshakes, h->endpoints, h->endpoint_stats,
		     h->tc_counters, h->watchers,   h->events};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int check_schema(const char *name, const struct attachment *a)
{
	if (a->xdp_schema == WEIR_XDP_SCHEMA && a->tc_schema == WEIR_TC_SCHEMA)
		return 0;
	return fail(-EPROTO,
		    "%s: its maps have schema %u.%u, this weir (" WEIR_VERSION ") speaks "
		    "%u.%u; 'weir detach %s' and attach again, which starts the counters "
		    "and rules anew",
		    name, a->xdp_schema, a->tc_schema, WEIR_XDP_SCHEMA, WEIR_TC_SCHEMA, name);
}

/* d->attachment is read. It is shown by the name it has now, its last one if it is gone. */
static int fill(const struct instance *in, const char *pinned, struct device *d)
{
	struct netdev dev;

	d->present = presence_of_any(in, pinned, &d->attachment, &dev);
	snprintf(d->name, sizeof(d->name), "%s", d->present ? dev.name : pinned);
	open_maps(in, pinned, d);
	return check_schema(d->name, &d->attachment);
}

int devices_open(const struct instance *in, struct device **list, size_t *count)
{
	char **names;
	int n = device_names(in, &names), err = 0;

	*list = NULL;
	*count = 0;
	if (n <= 0)
		return n;
	*list = calloc(n, sizeof(**list));
	if (!*list)
		err = fail(-ENOMEM, "out of memory");
	for (int i = 0; i < n && !err; i++) {
		struct device *d = &(*list)[*count];

		err = read_attachment(in, names[i], &d->attachment);
		if (err == -ENOENT) {
			err = 0;
		} else if (!err && d->attachment.whole) {
			++*count;
			err = fill(in, names[i], d);
		}
	}
	free_names(names, n);
	if (err) {
		devices_free(*list, *count);
		*list = NULL;
		*count = 0;
	}
	return err;
}

int device_open(const struct instance *in, const char *name, struct device **list)
{
	struct device *d = calloc(1, sizeof(*d));
	char pinned[IFNAMSIZ];
	int err;

	if (!d)
		return fail(-ENOMEM, "out of memory");
	err = in->exists && find_pins(in, name, pinned)
		      ? read_attachment(in, pinned, &d->attachment)
		      : -ENOENT;
	if (err || !d->attachment.whole) {
		free(d);
		return fail(-ENODEV,
			    "%s is not attached in instance '%s'; 'weir status' shows what "
			    "is, 'weir attach %s' attaches it",
			    name, in->name, name);
	}
	err = fill(in, pinned, d);
	if (err)
		devices_free(d, 1);
	else
		*list = d;
	return err;
}

void devices_free(struct device *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close_maps(&list[i]);
	free(list);
}

static void restore_offloads(const struct attachment *a)
{
	struct netdev dev;

	if (!a->tags && !a->large)
		return;
	if (netdev_by_index(a->ifindex, &dev)) {
		forget_failure();
		return;
	}
	if (a->tags)
		offload_switch_tags(&dev, a->tags, true);
	if (a->large)
		offload_switch_large(&dev, a->large, true);
}

static int take_off(const struct instance *in, const char *name)
{
	struct attachment a;
	int err, xdp, tc;

	err = read_attachment(in, name, &a);
	if (err && err != -ENOENT)
		return err;
	/* Should we be stopped on the way, whoever comes next finds a leftover, not an
	 * attachment. */
	if (!err && a.whole) {
		a.whole = 0;
		err = write_attachment(in, &a);
		if (err)
			return err;
	}
	if (!err) {
		xdp = xdp_detach(in, name, a.ifindex, a.xdp_way);
		tc = tc_detach(in, name, &a);
		if (xdp || tc)
			return xdp ? xdp : tc;
		restore_offloads(&a);
	}
	err = pin_remove_tree(path_of(in, name, ""));
	rmdir(instance_path(in, "devices"));
	return err;
}

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int check_request(const struct netdev *dev, const struct attach_request *r)
{
	if (r->no_xdp && r->no_tc)
		return misuse("--xdp-only and --tc-only together leave nothing to attach");
	if (r->no_xdp && r->decap)
		return misuse("--decap needs the XDP program, which --tc-only leaves out");
	if (r->mode == MODE_OFFLOAD && !r->no_tc)
		return misuse("%s: --mode offload needs --xdp-only: TC programs run on the host",
			      dev->name);
	return 0;
}

static int attach_xdp(const struct instance *in, const struct netdev *dev,
		      const struct needs *needs, bool decap, enum attach_mode *mode,
		      enum attach_way way)
{
	int err = xdp_attach(in, dev, needs, mode, way, decap);

	return err ? err : lost_watch(in, dev->name, dev->ifindex, needs_transmitter(needs));
}

static int attach_tc(const struct instance *in, const struct netdev *dev, const struct needs *needs,
		     struct attachment *a)
{
	bool made = false;
	int err = a->tc_way == WAY_CLSACT ? tc_make_clsact(dev, &made) : 0;

	if (!err && made) {
		a->made_clsact = 1;
		err = write_attachment(in, a);
	}
	return err ? err : tc_attach(in, dev, needs_transmitter(needs), a);
}

/* Services transmit by XDP, so VLAN tags must be in the frames. Where they cannot be put there, TC
 * transmits. */
static int hold_tags(const struct instance *in, const struct netdev *dev, struct attachment *a,
		     enum attach_mode mode, const struct needs *needs)
{
	int tags, err;

	if (a->xdp_way == WAY_NONE || !xdp_transmits_tags(dev, mode, needs))
		return 0;
	tags = offload_tags(dev);
	if (tags <= 0)
		return 0;
	a->tags |= tags;
	err = write_attachment(in, a);
	if (!err)
		offload_switch_tags(dev, tags, false);
	return err;
}

/* What a device sends back by itself it takes only while its far end polls. */
static int prepare_veth(const struct instance *in, struct netdev *dev, struct attachment *a,
			enum attach_mode mode, const struct needs *needs)
{
	int err = hold_tags(in, dev, a, mode, needs);

	if (!err && a->xdp_way != WAY_NONE && xdp_transmits_back(dev, mode, needs))
		polling_begin(in, dev);
	return err;
}

static int release_tags(const struct instance *in, const struct netdev *dev, struct attachment *a,
			enum attach_mode mode, const struct needs *needs)
{
	if (!a->tags || xdp_transmits_tags(dev, mode, needs))
		return 0;
	if (offload_switch_tags(dev, a->tags, true) == -ENOENT)
		return 0; /* out of reach: the next time */
	a->tags = 0;
	return write_attachment(in, a);
}

static int hold_large(const struct instance *in, const struct netdev *dev, struct attachment *a)
{
	int large = offload_large(dev), err = 0;

	if (large > 0) {
		a->large |= large;
		err = write_attachment(in, a);
		if (!err)
			large = offload_switch_large(dev, large, false);
	}
	if (!err && (large < 0 || offload_large_elsewhere(dev)))
		notice("%s: XDP is in generic mode, and packets may come in larger than its MTU, "
		       "which no tunnel of dsr-ipip takes: switch GRO and TSO off where they come "
		       "from (ethtool -K)",
		       dev->name);
	return err;
}

/* Tunnels take what fits the MTU only: generic XDP sees packets that are merged or not yet
 * segmented. Called when the mode is known. */
static int settle_large(const struct instance *in, const struct netdev *dev, struct attachment *a,
			enum attach_mode mode, const struct needs *needs)
{
	if (a->xdp_way != WAY_NONE && xdp_takes_large(dev, mode, needs))
		return hold_large(in, dev, a);
	if (!a->large)
		return 0;
	offload_switch_large(dev, a->large, true);
	a->large = 0;
	return write_attachment(in, a);
}

/* Where the dispatcher cannot take the program and nobody else needs the device, a link does. */
static int attach_xdp_first(const struct instance *in, const struct netdev *dev,
			    const struct needs *needs, struct attachment *a, enum attach_mode *mode)
{
	int err = attach_xdp(in, dev, needs, a->decap, mode, a->xdp_way);

	if (err != -EOPNOTSUPP || a->xdp_way != WAY_DISPATCHER || dev->xdp_prog)
		return err;
	forget_failure();
	a->xdp_way = WAY_LINK;
	err = write_attachment(in, a);
	return err ? err : attach_xdp(in, dev, needs, a->decap, mode, a->xdp_way);
}

/* Everything is recorded before it is done, so that whatever an interrupted attach leaves behind
 * can be found and taken off. TC comes first: it obeys what XDP asks of it. */
static int attach_new(const struct instance *in, struct netdev *dev,
		      const struct attach_request *request, const struct needs *needs)
{
	struct attachment a = {
		.xdp_schema = WEIR_XDP_SCHEMA,
		.tc_schema = WEIR_TC_SCHEMA,
		.ifindex = dev->ifindex,
		.mode = request->mode,
		.ethernet = dev->ethernet,
		.decap = request->decap,
		.since_ns = now_ns(),
		.version = WEIR_VERSION,
	};
	enum attach_way way = request->exclusive ? WAY_LINK : xdp_way(request->mode);
	enum attach_mode mode = request->mode;
	int err;

	snprintf(a.name, sizeof(a.name), "%s", dev->name);
	a.xdp_way = request->no_xdp ? WAY_NONE : way;
	a.tc_way = request->no_tc ? WAY_NONE : tc_way();
	err = write_attachment(in, &a);
	if (!err && a.tc_way != WAY_NONE)
		err = attach_tc(in, dev, needs, &a);
	if (!err)
		err = prepare_veth(in, dev, &a, mode, needs);
	if (!err && !request->no_xdp)
		err = attach_xdp_first(in, dev, needs, &a, &mode);
	if (!err)
		err = release_tags(in, dev, &a, mode, needs);
	if (!err)
		err = settle_large(in, dev, &a, mode, needs);
	a.mode = request->no_xdp ? MODE_AUTO : mode;
	a.whole = 1;
	return err ? err : write_attachment(in, &a);
}

/* The programs of an attached device, exchanged for this build's with the needed switches. XDP
 * marks packets for TC only while TC obeys. */
static int renew(const struct instance *in, struct netdev *dev, struct attachment *a,
		 const struct needs *needs)
{
	enum attach_mode mode = a->mode;
	bool has_tc = a->tc_way != WAY_NONE;
	int err = presence_forget_severed(in, dev->name, a);

	if (!err && has_tc && needs_transmitter(needs))
		err = attach_tc(in, dev, needs, a);
	if (!err)
		err = prepare_veth(in, dev, a, mode, needs);
	if (!err && a->xdp_way != WAY_NONE)
		err = attach_xdp(in, dev, needs, a->decap, &mode, a->xdp_way);
	if (!err)
		err = release_tags(in, dev, a, mode, needs);
	if (!err)
		err = settle_large(in, dev, a, mode, needs);
	if (!err && has_tc && !needs_transmitter(needs))
		err = attach_tc(in, dev, needs, a);
	if (err)
		return err;
	snprintf(a->version, sizeof(a->version), "%s", WEIR_VERSION);
	return write_attachment(in, a);
}

static int update(struct instance *in, struct netdev *dev, const struct attach_request *request,
		  struct attachment *a, const struct needs *needs)
{
	int err = check_schema(dev->name, a);

	if (err)
		return err;
	if ((request->no_xdp && a->xdp_way != WAY_NONE) ||
	    (request->no_tc && a->tc_way != WAY_NONE) ||
	    (!request->no_xdp && a->xdp_way == WAY_NONE) ||
	    (!request->no_tc && a->tc_way == WAY_NONE) ||
	    (request->exclusive && a->xdp_way == WAY_DISPATCHER) ||
	    (request->mode != MODE_AUTO && request->mode != a->mode))
		return fail(-EEXIST,
			    "%s is attached in another way (XDP %s by %s, TC by %s); "
			    "'weir detach %s' first",
			    dev->name, attach_mode_name(a->mode), attach_way_name(a->xdp_way),
			    attach_way_name(a->tc_way), dev->name);
	a->decap |= request->decap;
	return renew(in, dev, a, needs);
}

/* Pins are named after devices, and another one had this name when it was attached. */
static int check_name(const struct instance *in, const char *name, __u32 ifindex)
{
	struct attachment a;
	struct netdev other;

	if (read_attachment(in, name, &a) || a.ifindex == ifindex)
		return 0;
	if (netdev_by_index(a.ifindex, &other)) {
		forget_failure();
		return 0;
	}
	return fail(-EEXIST, "%s: %s was attached under this name; 'weir detach %s' first", name,
		    other.name, other.name);
}

int device_attach(struct instance *in, const char *name, const struct attach_request *request,
		  const struct needs *needs, bool *updated)
{
	char pinned[IFNAMSIZ];
	struct attachment a;
	struct netdev dev;
	int err;

	err = netdev_by_name(name, &dev);
	if (!err)
		err = check_request(&dev, request);
	if (err)
		return err;
	find_pins(in, dev.name, pinned);
	strcpy(dev.name, pinned);
	*updated = !read_attachment(in, dev.name, &a) && a.whole && a.ifindex == dev.ifindex;
	if (*updated)
		return update(in, &dev, request, &a, needs);
	err = check_name(in, dev.name, dev.ifindex);
	if (err)
		return err;
	err = take_off(in, dev.name);
	if (!err)
		err = pin_mkdir(instance_path(in, "devices"));
	if (!err)
		err = pin_mkdir(path_of(in, dev.name, ""));
	if (!err)
		err = attach_new(in, &dev, request, needs);
	if (err)
		take_off(in, dev.name);
	return err;
}

int device_detach(struct instance *in, const char *name)
{
	struct attachment a;
	char pinned[IFNAMSIZ];

	if (!find_pins(in, name, pinned) || read_attachment(in, pinned, &a))
		return fail(-ENODEV,
			    "%s is not attached in instance '%s'; 'weir status' shows what "
			    "is",
			    name, in->name);
	return take_off(in, pinned);
}

int device_detach_all(struct instance *in)
{
	char **names;
	int n = device_names(in, &names), err = n < 0 ? n : 0;

	for (int i = 0; i < n; i++) {
		int one = take_off(in, names[i]);

		err = err ? err : one;
	}
	free_names(names, n);
	if (!err) {
		polling_end(in);
		balance_abandon(in);
	}
	return err ? err : instance_clear(in, "tcp");
}

int devices_reap(struct instance *in)
{
	char **names;
	int n = device_names(in, &names), err = n < 0 ? n : 0;

	for (int i = 0; i < n && !err; i++) {
		struct attachment a;
		struct netdev dev;
		int missing = read_attachment(in, names[i], &a);

		if (!missing && a.whole && presence_of_any(in, names[i], &a, &dev))
			continue;
		err = take_off(in, names[i]);
		if (!err && verbosity)
			notice("%s: removed what was left of it: %s", names[i],
			       !missing && a.whole ? "the device is gone"
						   : "its attach did not finish");
	}
	free_names(names, n);
	return err;
}

void devices_transmitting(const struct instance *in, struct ifindexes *list)
{
	char **names;
	int n = device_names(in, &names);

	*list = (struct ifindexes){};
	for (int i = 0; i < n; i++) {
		struct attachment a;

		if (!read_attachment(in, names[i], &a) && a.whole && a.xdp_way != WAY_NONE &&
		    a.mode != MODE_GENERIC)
			ifindexes_add(list, a.ifindex);
	}
	if (n < 0)
		forget_failure();
	else
		free_names(names, n);
}

static bool xdp_fits(const struct instance *in, const struct netdev *dev,
		     const struct attachment *a, const struct needs *needs)
{
	struct weir_xdp_config want = xdp_config(dev, a->mode, needs, a->decap), have;

	return !xdp_loaded_config(in, a->name, a->xdp_way, &have) &&
	       !memcmp(&want, &have, sizeof(want)) && xdp_uses_maps(in, a->name, a->xdp_way, needs);
}

static bool tc_fits(const struct instance *in, const struct netdev *dev, const struct attachment *a,
		    const struct needs *needs)
{
	struct weir_tc_config want = tc_config(dev, needs_transmitter(needs)), have;

	return !tc_loaded_config(in, a->name, a, &have) && !memcmp(&want, &have, sizeof(want));
}

static bool fits(const struct instance *in, const struct netdev *dev, const struct attachment *a,
		 const struct needs *needs)
{
	return presence_of_all(in, a->name, a) &&
	       (!a->tags || xdp_transmits_tags(dev, a->mode, needs)) &&
	       (a->xdp_way == WAY_NONE || xdp_fits(in, dev, a, needs)) &&
	       (a->tc_way == WAY_NONE || tc_fits(in, dev, a, needs));
}

int devices_reconcile(struct instance *in, const struct needs *needs)
{
	char **names;
	int n = device_names(in, &names), err = n < 0 ? n : 0;

	for (int i = 0; i < n && !err; i++) {
		struct attachment a;
		struct netdev dev;

		if (read_attachment(in, names[i], &a) || !a.whole)
			continue;
		err = check_schema(names[i], &a);
		if (!err)
			err = netdev_by_index(a.ifindex, &dev);
		snprintf(dev.name, sizeof(dev.name), "%s", names[i]);
		if (!err)
			err = prepare_veth(in, &dev, &a, a.mode, needs);
		if (!err && !fits(in, &dev, &a, needs))
			err = renew(in, &dev, &a, needs);
	}
	free_names(names, n);
	return err;
}
