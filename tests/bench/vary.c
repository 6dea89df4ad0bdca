// SPDX-License-Identifier: GPL-2.0
/*
 * Puts programs into their surroundings: alone, or behind a wrapper that changes each packet. Each
 * entry behind a wrapper has a copy of the wrapper to itself, because the wrapper's maps say what
 * it calls.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <string.h>

#include "bench.h"
#include "loader/base/error.h"
#include "wrapper.h"
#include "wrapper.skel.h"

/* The empty programs, loaded once. */
static struct wrapper_bpf *empty;

static bool is_xdp(const struct bpf_program *program)
{
	return bpf_program__type(program) == BPF_PROG_TYPE_XDP;
}

/* Opens the wrapper programs, of which only those whose names begin so will be loaded: XDP and
 * TC programs cannot share a map of programs. */
static struct wrapper_bpf *open_only(const char *name)
{
	struct wrapper_bpf *skel = wrapper_bpf__open();
	struct bpf_program *program;

	if (!skel) {
		fail(-errno, "bench: %s does not open: %s", name, strerror(errno));
		return NULL;
	}
	bpf_object__for_each_program (program, skel->obj)
		bpf_program__set_autoload(program,
					  !strncmp(bpf_program__name(program), name, strlen(name)));
	return skel;
}

const struct bpf_program *empty_program(const char *name)
{
	int err;

	if (!empty) {
		empty = open_only("empty_");
		if (!empty)
			return NULL;
		err = wrapper_bpf__load(empty);
		if (err) {
			fail(err, "bench: the empty programs do not load: %s", strerror(-err));
			return NULL;
		}
	}
	return bpf_object__find_program_by_name(empty->obj, name);
}

static const struct bpf_program *empty_like(const struct bpf_program *program)
{
	return empty_program(is_xdp(program) ? "empty_xdp" : "empty_tc");
}

static __u32 empty_verdict(const struct bpf_program *program)
{
	return is_xdp(program) ? XDP_DROP : TC_ACT_UNSPEC;
}

int plain(struct bench_case *c, const struct bpf_program *program, __u32 verdict)
{
	const struct bpf_program *bare = empty_like(program);

	if (!bare)
		return -EINVAL;
	c->bare = (struct entry){
		.fd = bpf_program__fd(bare),
		.xdp = is_xdp(program),
		.verdict = empty_verdict(program),
	};
	c->subject = c->bare;
	c->subject.fd = bpf_program__fd(program);
	c->subject.verdict = verdict;
	return 0;
}

/* The kernel lets a program call only programs that agree with it in these. */
static void resemble(struct bpf_program *wrapper, const struct bpf_program *target)
{
	bpf_program__set_expected_attach_type(wrapper, bpf_program__expected_attach_type(target));
	bpf_program__set_flags(wrapper, bpf_program__flags(target));
}

static int call(const struct bpf_map *map, const struct bpf_program *target)
{
	__u32 key = 0, fd = bpf_program__fd(target);

	return bpf_map__update_elem(map, &key, sizeof(key), &fd, sizeof(fd), BPF_ANY);
}

/* Loads the wrapper of that name in front of the target. */
static struct wrapper_bpf *wrap(struct entry *entry, const char *name,
				const struct bpf_program *target, const struct bpf_program *reply,
				__u32 verdict)
{
	struct wrapper_bpf *skel = open_only(name);
	struct bpf_program *program;
	int err;

	if (!skel)
		return NULL;
	program = bpf_object__find_program_by_name(skel->obj, name);
	resemble(program, target);
	err = wrapper_bpf__load(skel);
	if (!err)
		err = call(skel->maps.subject, target);
	if (!err && reply)
		err = call(skel->maps.reply, reply);
	if (err) {
		fail(err, "bench: %s does not load: %s", name, strerror(-err));
		wrapper_bpf__destroy(skel);
		return NULL;
	}
	*entry = (struct entry){
		.fd = bpf_program__fd(program),
		.xdp = is_xdp(target),
		.verdict = verdict,
		.varied = (const volatile __u64 *)&skel->bss->packets,
	};
	return skel;
}

/* The same wrapper in front of the empty program and in front of the subject. */
static int wrap_both(struct bench_case *c, const char *name, const struct bpf_program *program,
		     const struct bpf_program *reply, __u32 verdict, struct wrapper_bpf *skel[2])
{
	const struct bpf_program *bare = empty_like(program);

	if (!bare)
		return -EINVAL;
	skel[0] = wrap(&c->bare, name, bare, reply ? bare : NULL, empty_verdict(program));
	skel[1] = skel[0] ? wrap(&c->subject, name, program, reply, verdict) : NULL;
	return skel[1] ? 0 : -EINVAL;
}

int vary_sources(struct bench_case *c, const struct bpf_program *program, __u32 verdict,
		 draw_source *draw, void *from)
{
	bool ip6 = c->packet.bytes[ETH_HLEN] >> 4 == 6;
	struct wrapper_bpf *skel[2];
	int err = wrap_both(c, ip6 ? "vary_source6" : "vary_source4", program, NULL, verdict, skel);

	if (err)
		return err;
	for (int i = 0; i < BENCH_SOURCES; i++) {
		__be32 address[4] = {};

		draw(from, address);
		for (int copy = 0; copy < 2; copy++) {
			skel[copy]->bss->sources4[i] = address[0];
			memcpy(skel[copy]->bss->sources6[i], address, sizeof(address));
		}
	}
	return 0;
}

static void restore_to(struct wrapper_bpf *skel, const struct packet *packet, __u32 clients)
{
	memcpy(skel->bss->ether, packet->bytes, ETH_HLEN);
	memcpy(skel->bss->line, packet->bytes + ETH_HLEN, sizeof(skel->bss->line));
	skel->bss->length = packet->length;
	skel->bss->clients = clients - 1;
}

/* So many packets that are not measured, each from the next client. */
static int run_before(const struct entry *entry, struct wrapper_bpf *skel,
		      const struct packet *packet, __u32 clients)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->bytes,
		    .data_size_in = packet->length, .repeat = clients);
	int err;

	restore_to(skel, packet, clients);
	err = bpf_prog_test_run_opts(entry->fd, &opts);
	skel->bss->packets = 0;
	return err ? fail(-errno, "bench: BPF_PROG_TEST_RUN: %m") : 0;
}

int vary_clients(struct bench_case *c, const struct bpf_program *program, __u32 verdict,
		 __u32 clients, const struct packet *first)
{
	bool ip6 = c->packet.bytes[ETH_HLEN] >> 4 == 6;
	struct wrapper_bpf *skel[2];
	int err = wrap_both(c, ip6 ? "restore_client6" : "restore_client4", program, NULL, verdict,
			    skel);

	if (!err && first)
		err = run_before(&c->subject, skel[1], first, clients);
	for (int i = 0; !err && i < 2; i++)
		restore_to(skel[i], &c->packet, clients);
	return err;
}

int vary_flows(struct bench_case *c, const struct bpf_program *program, __u32 verdict)
{
	struct wrapper_bpf *skel[2];

	return wrap_both(c, "vary_flow", program, NULL, verdict, skel);
}

int vary_connections(struct bench_case *c, const struct bpf_program *program,
		     const struct bpf_program *reply, __u32 verdict,
		     const struct packet exchange[BENCH_EXCHANGE])
{
	struct wrapper_bpf *skel[2];
	int err = wrap_both(c, "vary_connection", program, reply, verdict, skel);

	for (int i = 0; !err && i < 2; i++)
		for (int step = 0; step < BENCH_EXCHANGE; step++)
			memcpy(skel[i]->bss->exchange[step], exchange[step].bytes + ETH_HLEN,
			       sizeof(skel[i]->bss->exchange[step]));
	return err;
}

int empty_redirect_to(enum bench_exit exit, __u32 ifindex)
{
	__u32 key = exit;
	int err;

	if (!empty_program("empty_redirect"))
		return -EINVAL;
	err = bpf_map__update_elem(empty->maps.exits, &key, sizeof(key), &ifindex, sizeof(ifindex),
				   BPF_ANY);
	return err ? fail(err, "bench: devmap: %s", strerror(-err)) : 0;
}

const volatile __u64 *await_frames(const struct packet *frame)
{
	memcpy(empty->bss->awaited, frame->bytes, sizeof(empty->bss->awaited));
	empty->bss->awaited_length = frame->length;
	return (const volatile __u64 *)&empty->bss->arrived;
}

int live_generator(const struct packet *packet)
{
	struct wrapper_bpf *skel = open_only("live_generate4");
	int err = skel ? wrapper_bpf__load(skel) : -EINVAL;

	if (!skel)
		return err;
	if (err)
		return fail(err, "bench: live_generate4 does not load: %s", strerror(-err));
	restore_to(skel, packet, 1);
	return bpf_program__fd(skel->progs.live_generate4);
}
