// SPDX-License-Identifier: GPL-2.0
/* weir attach, weir detach */
#include "loader/attach/attach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "loader/attach/device.h"
#include "loader/attach/device_detach.h"
#include "loader/attach/veth/held_offloads.h"
#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/host/netdev.h"
#include "loader/out/out.h"
#include "loader/sock/attach.h"

static int parse_mode(const char *text, enum attach_mode *mode)
{
	for (*mode = MODE_AUTO; *mode <= MODE_OFFLOAD; ++*mode)
		if (!strcmp(text, attach_mode_name(*mode)))
			return 0;
	return misuse("mode '%s': wanted auto, native, generic or offload", text);
}

static int parse_request(struct args *args, const char **name, struct attach_request *r)
{
	const char *word;

	*name = NULL;
	while (args->count) {
		if (accept_word(args, "--mode")) {
			word = value_of(args, "--mode");
			if (!word || parse_mode(word, &r->mode))
				return -EINVAL;
		} else if (accept_word(args, "--exclusive")) {
			r->exclusive = true;
		} else if (accept_word(args, "--decap")) {
			r->decap = true;
		} else if (accept_word(args, "--xdp-only")) {
			r->no_tc = true;
		} else if (accept_word(args, "--tc-only")) {
			r->no_xdp = true;
		} else if (!*name && args->word[0][0] != '-') {
			*name = next_word(args);
		} else {
			return no_more_words(args);
		}
	}
	return *name ? 0 : misuse("attach: a device is missing; 'ip -br link' shows what there is");
}

static json_t *describe(const struct device *d, bool updated)
{
	const struct attachment *a = &d->attachment;

	return json_pack("{s:o, s:i, s:s, s:s, s:s, s:b, s:b, s:s}", "device", out_string(d->name),
			 "ifindex", a->ifindex, "mode",
			 a->xdp_way ? attach_mode_name(a->mode) : "off", "xdp",
			 attach_way_name(a->xdp_way), "tc", attach_way_name(a->tc_way), "decap",
			 a->decap, "updated", updated, "version", a->version);
}

/* Between sockets of one host, where veth leads, generic mode is the faster one. */
static void note_mode(const struct netdev *dev, const struct attachment *a, bool updated)
{
	bool veth = !strcmp(dev->kind, "veth");

	if (!a->xdp_way)
		return;
	if (a->mode == MODE_GENERIC && !veth)
		notice("%s: XDP runs in generic mode: every feature works, at a fraction of the speed; "
		       "'weir doctor %s' tells whether native mode is possible",
		       dev->name, dev->name);
	if (!updated && offloads_are_taken(dev, a))
		notice("%s: native XDP on veth takes segmentation offload from the far end: large "
		       "transfers that come in cost two to three times as much; 'weir detach %s' and "
		       "attach with --mode generic, or with --tc-only, leaves it",
		       dev->name, dev->name);
}

static int say(const struct instance *in, const struct netdev *dev, bool updated)
{
	const char *name = dev->name;
	const struct attachment *a;
	struct device *d;
	int err = device_open(in, name, &d);

	if (err)
		return err;
	a = &d->attachment;
	note_mode(dev, a, updated);
	if (options.json)
		err = out_show(describe(d, updated), NULL, 0);
	else
		err = out_text(
			"%s: %s, XDP %s%s%s%s, TC %s%s", name, updated ? "updated" : "attached",
			a->xdp_way ? attach_mode_name(a->mode) : "off", a->xdp_way ? " (" : "",
			a->xdp_way ? attach_way_name(a->xdp_way) : "", a->xdp_way ? ")" : "",
			a->tc_way == WAY_LINK ? "TCX"
			: a->tc_way	      ? attach_way_name(a->tc_way)
					      : "off",
			a->decap ? ", unpacks tunnels" : "");
	devices_free(d, 1);
	return err;
}

int cmd_attach(struct args *args)
{
	struct attach_request request = {};
	struct netdev dev;
	struct instance in;
	const char *name;
	bool updated;
	int err;

	err = parse_request(args, &name, &request);
	if (!err)
		err = attach_open(&in);
	if (err)
		return err;
	err = netdev_by_name(name, &dev);
	if (!err)
		err = attach(&in, dev.name, &request, &updated);
	if (!err)
		err = say(&in, &dev, updated);
	attach_close(&in);
	return err;
}

static json_t *detached(const char *name)
{
	return name ? json_pack("{s:[o]}", "detached", out_string(name)) : NULL;
}

/* Sockets that are short-cut would stay so, with nothing left that could end it. */
static int give_sockets_back(struct instance *in)
{
	struct sock_detached sockets;
	int err = sock_detach(in, NULL, false, &sockets);

	if (!err && sockets.kept)
		notice("sockets with bytes unread or a reader waiting: %lu; they stay whole, send by "
		       "TCP, and leave the short cut when they close",
		       sockets.kept);
	return err;
}

/* Everything goes, whatever its state, so nothing is cleared away first. */
static int do_detach_all(void)
{
	struct instance in;
	int err = instance_open(&in, true);

	if (err)
		return err;
	err = give_sockets_back(&in);
	if (!err)
		err = device_detach_all(&in);
	if (!err && options.json)
		err = out_show(json_pack("{s:b}", "detached_all", 1), NULL, 0);
	else if (!err)
		err = out_text("instance %s: everything detached", in.name);
	instance_close(&in);
	return err;
}

int cmd_detach(struct args *args)
{
	struct netdev dev;
	struct instance in;
	const char *name;
	int err;

	if (accept_word(args, "--all")) {
		err = no_more_words(args);
		return err ? err : do_detach_all();
	}
	name = next_word(args);
	if (!name)
		return misuse("detach: a device or --all is missing");
	err = no_more_words(args);
	if (!err)
		err = instance_open(&in, true);
	if (err)
		return err;
	if (!netdev_by_name(name, &dev))
		name = dev.name;
	forget_failure(); /* a device that is gone is known by the name it had */
	err = device_detach(&in, name);
	if (!err)
		err = devices_reap(&in);
	if (!err)
		err = options.json ? out_show(detached(name), NULL, 0)
				   : out_text("%s: detached", name);
	attach_close(&in);
	return err;
}
