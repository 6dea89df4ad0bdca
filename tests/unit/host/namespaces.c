// SPDX-License-Identifier: GPL-2.0
/* Network namespaces of processes and of mounts, and visits to them. */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/host/namespaces.h"
#include "tests/shared/far_namespace.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

#define FAR 3

static pid_t far[FAR];
static __u64 far_inode[FAR];
static char named[] = "/tmp/weir-unit-XXXXXX";
static __u64 named_inode;
static bool ready;

static __u64 inode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_ino;
}

static __u64 own_inode(void)
{
	return inode_of("/proc/thread-self/ns/net");
}

static __u64 inode_of_process(pid_t pid)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	return inode_of(path);
}

/* One that has a name and no process. */
static bool make_named(void)
{
	char path[40];
	pid_t pid = start_far_end();
	int fd = mkstemp(named);

	if (pid < 0 || fd < 0)
		return false;
	close(fd);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	if (mount(path, named, NULL, MS_BIND, NULL))
		return false;
	named_inode = inode_of(named);
	end_far_end(pid);
	return true;
}

/* What is mounted here is seen by this test alone. */
static int make_namespaces(void **state)
{
	(void)state;
	if (geteuid() || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return 0;
	ready = make_named();
	for (int i = 0; i < FAR && ready; i++) {
		far[i] = start_far_end();
		ready = far[i] > 0;
		far_inode[i] = inode_of_process(far[i]);
	}
	return 0;
}

static int end_namespaces(void **state)
{
	(void)state;
	for (int i = 0; i < FAR; i++)
		end_far_end(far[i]);
	umount2(named, MNT_DETACH);
	unlink(named);
	return 0;
}

#define REQUIRE_NAMESPACES()    \
	do {                    \
		if (!ready)     \
			skip(); \
	} while (0)

static int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = -3; /* ".", ".." and the directory itself */

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static size_t times_in(const struct netns_list *list, __u64 inode)
{
	size_t times = 0;

	for (size_t i = 0; i < list->count; i++)
		times += list->item[i].inode == inode;
	return times;
}

static void test_list(void **state)
{
	int files = open_files();
	struct netns_list list;
	struct stat st;

	(void)state;
	REQUIRE_NAMESPACES();
	assert_int_equal(netns_list_read(&list), 0);
	assert_int_equal(list.item[0].inode, own_inode());
	for (int i = 0; i < FAR; i++)
		assert_int_equal(times_in(&list, far_inode[i]), 1);
	assert_int_equal(times_in(&list, named_inode), 1);
	for (size_t i = 0; i < list.count; i++) {
		assert_int_equal(fstat(list.item[i].fd, &st), 0);
		assert_int_equal(st.st_ino, list.item[i].inode);
		assert_int_equal(times_in(&list, list.item[i].inode), 1);
		assert_true(i < 2 || list.item[i - 1].inode < list.item[i].inode);
	}
	netns_list_free(&list);
	assert_int_equal(open_files(), files);
}

static void test_other_mounts(void **state)
{
	char other[] = "/tmp/weir unit-XXXXXX";
	__u64 inode = inode_of("/proc/self/ns/uts");
	struct netns_list list;

	(void)state;
	REQUIRE_NAMESPACES();
	close(mkstemp(other));
	assert_int_equal(mount("/proc/self/ns/uts", other, NULL, MS_BIND, NULL), 0);
	assert_int_equal(netns_list_read(&list), 0);
	assert_int_equal(times_in(&list, inode), 0);
	assert_int_equal(times_in(&list, named_inode), 1);
	netns_list_free(&list);

	/* Covered: its path leads to something else. */
	assert_int_equal(mount("/dev/null", named, NULL, MS_BIND, NULL), 0);
	assert_int_equal(netns_list_read(&list), 0);
	assert_int_equal(times_in(&list, named_inode), 0);
	netns_list_free(&list);
	umount2(named, MNT_DETACH);
	umount2(other, MNT_DETACH);
	unlink(other);
}

/* Processes with namespaces of their own that end while they are looked at. */
static void test_vanishing(void **state)
{
	int files = open_files(), status;
	pid_t child, maker;

	(void)state;
	REQUIRE_NAMESPACES();
	maker = fork();
	if (!maker) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < 60; i++) {
			child = fork();
			if (!child)
				_exit(unshare(CLONE_NEWNET) != 0);
			waitpid(child, NULL, 0);
		}
		_exit(0);
	}
	assert_true(maker > 0);
	while (!waitpid(maker, &status, WNOHANG)) {
		struct netns_list list;

		assert_int_equal(netns_list_read(&list), 0);
		assert_int_equal(times_in(&list, far_inode[0]), 1);
		netns_list_free(&list);
	}
	assert_int_equal(status, 0);
	assert_int_equal(open_files(), files);
}

struct visits {
	__u64 inode[256];
	size_t count;
	size_t fail_at; /* 0: never */
};

static int visit(void *data)
{
	struct visits *v = data;

	if (v->count < 256)
		v->inode[v->count] = own_inode();
	v->count++;
	return v->fail_at && v->count == v->fail_at ? -EXDEV : 0;
}

static int by_value(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void test_visits(void **state)
{
	__u64 own = own_inode(), wanted[] = {far_inode[0], far_inode[2], named_inode, own, 1};
	struct visits v = {0}, none = {0};
	struct netns_list list;
	size_t missing = 9;

	(void)state;
	REQUIRE_NAMESPACES();
	assert_int_equal(netns_list_read(&list), 0);
	qsort(wanted, 5, sizeof(wanted[0]), by_value);
	assert_int_equal(netns_for_each(&list, wanted, 5, visit, &v, &missing), 0);
	assert_int_equal(missing, 1);
	assert_int_equal(v.count, 4);
	assert_int_equal(v.inode[0], own);
	qsort(v.inode, 4, sizeof(v.inode[0]), by_value);
	assert_memory_equal(v.inode, wanted + 1, 4 * sizeof(wanted[0]));
	assert_int_equal(own_inode(), own);

	assert_int_equal(netns_for_each(&list, wanted, 0, visit, &none, &missing), 0);
	assert_int_equal(none.count, 0);
	assert_int_equal(missing, 0);
	assert_int_equal(netns_for_each(&list, NULL, 0, visit, &none, NULL), 0);
	assert_int_equal(none.count, list.count);
	assert_int_equal(own_inode(), own);
	netns_list_free(&list);
}

static void test_visits_stop(void **state)
{
	struct visits v = {.fail_at = 2};
	__u64 own = own_inode();
	struct netns_list list;

	(void)state;
	REQUIRE_NAMESPACES();
	assert_int_equal(netns_list_read(&list), 0);
	assert_int_equal(netns_for_each(&list, NULL, 0, visit, &v, NULL), -EXDEV);
	assert_int_equal(v.count, 2);
	assert_int_not_equal(v.inode[1], own);
	assert_int_equal(own_inode(), own);

	close(list.item[1].fd);
	list.item[1].fd = open("/dev/null", O_RDONLY);
	v = (struct visits){0};
	assert_int_equal(netns_for_each(&list, NULL, 0, visit, &v, NULL), -EINVAL);
	assert_non_null(strstr(failure(), "entering"));
	forget_failure();
	assert_int_equal(v.count, 1);
	assert_int_equal(own_inode(), own);
	netns_list_free(&list);
}

/* The status of a process that does it with few file descriptors left. */
static int read_with_limit(rlim_t soft, rlim_t hard)
{
	struct rlimit limit = {soft, hard};
	struct netns_list list;
	pid_t child = fork();
	int status;

	if (!child) {
		int err = setrlimit(RLIMIT_NOFILE, &limit) ? 1 : netns_list_read(&list);

		_exit(err == -EMFILE && strstr(failure(), "ulimit") ? 24
		      : err || list.count <= FAR + 1		    ? 1
								    : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WEXITSTATUS(status);
}

static void test_many(void **state)
{
	int lowest = dup(STDOUT_FILENO);
	rlim_t few = lowest + 2; /* for one namespace and a directory */

	(void)state;
	REQUIRE_NAMESPACES();
	close(lowest);
	assert_int_equal(read_with_limit(few, few), 24);
	assert_int_equal(read_with_limit(few, 1024), 0);
}

static int stay(void *data)
{
	struct visits *v = data;

	if (v->count < 256)
		v->inode[v->count++] = inode_of("/proc/self/ns/net");
	return 0;
}

/* Who enters a container goes where its first process is seen. */
static void test_seen_at_home(void **state)
{
	__u64 own = own_inode();
	struct netns_list list;
	struct visits v = {0};

	(void)state;
	REQUIRE_NAMESPACES();
	assert_int_equal(netns_list_read(&list), 0);
	assert_int_equal(netns_for_each(&list, NULL, 0, stay, &v, NULL), 0);
	assert_true(v.count > 1);
	for (size_t i = 0; i < v.count; i++)
		assert_int_equal(v.inode[i], own);
	netns_list_free(&list);
}

static int read_cookie(void *data)
{
	return netns_cookie(data);
}

/* An inode goes to another namespace when its own is gone, a cookie never. */
static void test_alive(void **state)
{
	__u64 named_cookie = 0, far_cookie = 0, own = 0;

	(void)state;
	REQUIRE_NAMESPACES();
	assert_int_equal(netns_cookie(&own), 0);
	assert_int_equal(netns_visit(named_inode, read_cookie, &named_cookie), 0);
	assert_int_equal(netns_visit(far_inode[1], read_cookie, &far_cookie), 0);
	assert_true(own && named_cookie && far_cookie);
	assert_true(netns_is_alive(own_inode(), own));
	assert_true(netns_is_alive(named_inode, named_cookie));
	assert_true(netns_is_alive(far_inode[1], far_cookie));
	assert_false(netns_is_alive(own_inode(), far_cookie));
	assert_false(netns_is_alive(named_inode, far_cookie));
	assert_false(netns_is_alive(far_inode[1], named_cookie));
	assert_false(netns_is_alive(1, own));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),	     cmocka_unit_test(test_other_mounts),
		cmocka_unit_test(test_vanishing),    cmocka_unit_test(test_visits),
		cmocka_unit_test(test_visits_stop),  cmocka_unit_test(test_many),
		cmocka_unit_test(test_seen_at_home), cmocka_unit_test(test_alive),
	};

	return cmocka_run_group_tests(tests, make_namespaces, end_namespaces);
}
