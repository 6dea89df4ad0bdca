// SPDX-License-Identifier: GPL-2.0
/* What BPF_PROG_TEST_RUN cannot make: packets marked by XDP, and packets whose headers lie outside
 * the linear part. Real devices in a namespace of this process; frames through packet sockets. */
#include "loader/host/netdev.h"
#include "tests/datapath/tc_segments.h"

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "xdp/abi.h"

#define TCX_INGRESS_TYPE 46
#define TCX_EGRESS_TYPE	 47
#define BIG		 5000

/* a0 -- a1 (XDP marks, TC obeys) -> b0 -- b1 */
static int make_namespace(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET))
		return -1;
	return system("for d in a b; do ip link add ${d}0 mtu 9000 type veth peer name ${d}1 "
		      "mtu 9000 && ip link set ${d}0 addrgenmode none up && "
		      "ip link set ${d}1 addrgenmode none up || exit 1; done");
}

static int packet_socket(const char *device)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = if_nametoindex(device)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && !bind(fd, (void *)&at, sizeof(at)));
	return fd;
}

static int attach(const struct bpf_program *program, const char *device, int type)
{
	int link = bpf_link_create(bpf_program__fd(program), if_nametoindex(device), type, NULL);

	if (link < 0)
		skip(); /* no TCX */
	return link;
}

/* Leaves struct weir_meta, as XDP on the device `from` does, and passes. */
static int marker(__u32 from, __u32 target)
{
	const struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 6, .src_reg = 1},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = -16},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_xdp_adjust_meta},
		{.code = BPF_LDX | BPF_MEM | BPF_W,
		 .dst_reg = 2,
		 .src_reg = 6,
		 .off = offsetof(struct xdp_md, data_meta)},
		{.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 3, .src_reg = 6},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 1, .src_reg = 2},
		{.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 1, .imm = 16},
		{.code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = 1, .src_reg = 3, .off = 4},
		{.code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 2, .imm = WEIR_META_MAGIC},
		{.code = BPF_ST | BPF_MEM | BPF_W,
		 .dst_reg = 2,
		 .off = 4,
		 .imm = netdev_namespace()},
		{.code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 2, .off = 8, .imm = from},
		{.code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 2, .off = 12, .imm = target},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "marker", "GPL", program,
			       sizeof(program) / sizeof(program[0]), NULL);

	assert_true(fd >= 0);
	return fd;
}

static bool arrives(int from, int to, const struct packet *packet, struct timeval patience)
{
	uint8_t got[2048];
	ssize_t length;

	assert_int_equal(setsockopt(to, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(send(from, packet->bytes, packet->length, 0), packet->length);
	do
		length = recv(to, got, sizeof(got), 0);
	while (length >= 0 &&
	       (length != packet->length || memcmp(got, packet->bytes, packet->length)));
	return length >= 0;
}

/* A packet socket may have the packet before TC has. */
static void await_syn(struct observer *o)
{
	for (int i = 0; i < 2000 && !endpoint_of(o, WEIR_SERVER, 80).stats.syn; i++)
		usleep(5000);
	assert_int_equal(endpoint_of(o, WEIR_SERVER, 80).stats.syn, 1);
}

static void test_marked_by_xdp(void **state)
{
	const struct timeval a_moment = {.tv_usec = 300000}, long_enough = {.tv_sec = 20};
	struct weir_tc_config config = {.ethernet = 1, .handshakes = 1, .redirects = 1};
	struct segment_spec s = {.flags = SYN, .seq = 1};
	struct observer first, second;
	int from, to, xdp, links[2];
	struct packet packet;

	(void)state;
	config.netns = netdev_namespace();
	config.ifindex = if_nametoindex("a1");
	observer_open_with(&first, &config);
	config.ifindex = if_nametoindex("b1");
	observer_open_with(&second, &config);
	links[0] = attach(first.skel->progs.weir_ingress, "a1", TCX_INGRESS_TYPE);
	links[1] = attach(second.skel->progs.weir_ingress, "b1", TCX_INGRESS_TYPE);
	from = packet_socket("a0");
	to = packet_socket("b1");
	build(&packet, &s, true);
	assert_false(arrives(from, to, &packet, a_moment));
	await_syn(&first);
	xdp = marker(if_nametoindex("a1"), if_nametoindex("b0"));
	assert_int_equal(bpf_xdp_attach(if_nametoindex("a1"), xdp, XDP_FLAGS_SKB_MODE, NULL), 0);
	assert_true(arrives(from, to, &packet, long_enough));
	assert_int_equal(counters_of(&first).redirected, 1);
	assert_int_equal(endpoint_of(&first, WEIR_SERVER, 80).stats.syn_retransmits, 0);
	/* The mark may go with the packet, but means nothing there. */
	await_syn(&second);
	assert_int_equal(counters_of(&second).redirected, 0);
	bpf_xdp_detach(if_nametoindex("a1"), XDP_FLAGS_SKB_MODE, NULL);
	close(xdp);
	close(from);
	close(to);
	close(links[0]);
	close(links[1]);
	observer_close(&first);
	observer_close(&second);
}

/* A packet socket puts as much into the linear part as its caller says, here the Ethernet
 * header. */
static void send_nonlinear(int fd, const struct packet *packet)
{
	static uint8_t bytes[sizeof(struct virtio_net_hdr) + BIG];
	struct virtio_net_hdr offload = {.hdr_len = 14};
	int on = 1;

	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, &offload, sizeof(offload));
	memcpy(bytes + sizeof(offload), packet->bytes, packet->length);
	assert_int_equal(send(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
}

/* The kernel gives a packet socket no short linear part for less than a page: the frame is padded,
 * which the IP length hides. */
static void test_nonlinear(void **state)
{
	const struct segment_spec syns[] = {
		{.flags = SYN, .seq = 1},
		{.flags = SYN, .seq = 1, .vlans = 2, .ip_options = 40, .server_port = 81},
		{.flags = SYN, .seq = 1, .family = 6, .server_port = 82},
		{.flags = SYN, .seq = 1, .family = 6, .extensions = 5, .server_port = 83},
	};
	struct packet packet;
	struct observer o;
	int fd, link;

	(void)state;
	observer_open(&o);
	link = attach(o.skel->progs.weir_egress, "a0", TCX_EGRESS_TYPE);
	fd = packet_socket("a0");
	for (int i = 0; i < 4; i++) {
		build(&packet, &syns[i], true);
		send_nonlinear(fd, &packet);
		assert_int_equal(endpoint_of(&o, WEIR_CLIENT, 80 + i).stats.syn, 1);
	}
	close(fd);
	close(link);
	observer_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marked_by_xdp),
		cmocka_unit_test(test_nonlinear),
	};

	return cmocka_run_group_tests(tests, make_namespace, NULL);
}
