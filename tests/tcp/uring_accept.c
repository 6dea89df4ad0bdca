// SPDX-License-Identifier: GPL-2.0
/* Accepts one connection on a port by io_uring, where no system call returns it, and reads from it. Says
 * "ready", and in the end its process. Status 77: the kernel lets nobody use io_uring. */
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ring {
	int fd;
	struct io_uring_params params;
	char *rings;
	struct io_uring_sqe *entries;
};

static void begin(struct ring *r)
{
	const int access = PROT_READ | PROT_WRITE;

	r->fd = syscall(SYS_io_uring_setup, 4, &r->params);
	if (r->fd < 0)
		exit(77);
	r->rings = mmap(NULL, 65536, access, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->entries = mmap(NULL, 4096, access, MAP_SHARED, r->fd, IORING_OFF_SQES);
	if (r->rings == MAP_FAILED || r->entries == MAP_FAILED ||
	    !(r->params.features & IORING_FEAT_SINGLE_MMAP))
		exit(77);
}

/* Submits one operation and waits for what it returns. */
static int run(struct ring *r, struct io_uring_sqe operation)
{
	unsigned int *array = (void *)(r->rings + r->params.sq_off.array);
	unsigned int *head = (void *)(r->rings + r->params.cq_off.head);
	struct io_uring_cqe *done = (void *)(r->rings + r->params.cq_off.cqes);

	r->entries[0] = operation;
	array[*(unsigned int *)(r->rings + r->params.sq_off.tail) & 3] = 0;
	__atomic_add_fetch((unsigned int *)(r->rings + r->params.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		exit(1);
	return done[(*head)++ & *(unsigned int *)(r->rings + r->params.cq_off.ring_mask)].res;
}

int main(int argc, char **argv)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	int listener = socket(AF_INET, SOCK_STREAM, 0), got;
	struct ring r = {0};
	char text[16];

	if (argc < 2)
		return 1;
	any.sin_port = htons(atoi(argv[1]));
	if (bind(listener, (void *)&any, sizeof(any)) || listen(listener, 4))
		return 1;
	begin(&r);
	puts("ready");
	fflush(stdout);
	got = run(&r, (struct io_uring_sqe){.opcode = IORING_OP_ACCEPT, .fd = listener});
	if (got < 0 || read(got, text, sizeof(text)) <= 0)
		return 1;
	printf("%d\n", getpid());
	return 0;
}
