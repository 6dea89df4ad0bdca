// SPDX-License-Identifier: GPL-2.0
/* Cgroups by name and by id, on the cgroup2 mount of this host. */
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/host/cgroup.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static char mount_point[PATH_MAX];
static char outer[64], inner[80]; /* below the mount, without a slash in front */
static char inner_path[PATH_MAX];
static bool ready;

static int make_cgroups(void **state)
{
	char path[PATH_MAX];
	struct cgroup top;

	(void)state;
	if (geteuid() || cgroup_open(&top, "/")) {
		forget_failure();
		return 0;
	}
	close(top.fd);
	snprintf(mount_point, sizeof(mount_point), "%s", top.path);
	snprintf(outer, sizeof(outer), "weir-unit-%d", getpid());
	snprintf(inner, sizeof(inner), "%s/inner", outer);
	snprintf(path, sizeof(path), "%.3000s/%s", mount_point, outer);
	snprintf(inner_path, sizeof(inner_path), "%.3000s/%s", mount_point, inner);
	ready = !mkdir(path, 0755) && !mkdir(inner_path, 0755);
	return 0;
}

static int remove_cgroups(void **state)
{
	char path[PATH_MAX];

	(void)state;
	snprintf(path, sizeof(path), "%.3000s/%s", mount_point, outer);
	if (*outer) {
		rmdir(inner_path);
		rmdir(path);
	}
	return 0;
}

#define REQUIRE_CGROUPS()       \
	do {                    \
		if (!ready)     \
			skip(); \
	} while (0)

static __u64 inode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

static void assert_opens(const char *name, const char *path)
{
	struct cgroup c;

	assert_int_equal(cgroup_open(&c, name), 0);
	assert_string_equal(c.path, path);
	assert_int_equal(c.id, inode_of(path));
	assert_true(c.fd >= 0);
	close(c.fd);
}

static void test_names(void **state)
{
	char name[PATH_MAX];

	(void)state;
	REQUIRE_CGROUPS();
	assert_opens("/", mount_point);
	assert_opens(".", mount_point);
	assert_opens(mount_point, mount_point);
	assert_opens(inner_path, inner_path);
	assert_opens(inner, inner_path);
	snprintf(name, sizeof(name), "/%s", inner);
	assert_opens(name, inner_path);
	snprintf(name, sizeof(name), "%s//inner/", outer);
	assert_opens(name, inner_path);
	snprintf(name, sizeof(name), "%s/../%s", outer, inner);
	assert_opens(name, inner_path);
}

static void test_link(void **state)
{
	char name[] = "/tmp/weir-unit-XXXXXX";

	(void)state;
	REQUIRE_CGROUPS();
	assert_non_null(mkdtemp(name));
	rmdir(name);
	assert_int_equal(symlink(inner_path, name), 0);
	assert_opens(name, inner_path);
	unlink(name);
}

static void assert_refuses(const char *name, int err, const char *why)
{
	struct cgroup c;

	assert_int_equal(cgroup_open(&c, name), err);
	assert_int_equal(c.fd, -1);
	assert_non_null(strstr(failure(), why));
	assert_int_equal(failure_status(), *name ? 2 : 1);
	forget_failure();
}

static void test_bad_names(void **state)
{
	char name[2 * PATH_MAX];

	(void)state;
	REQUIRE_CGROUPS();
	assert_refuses("", -EINVAL, "empty");
	assert_refuses("weir-unit-none", -ENOENT, mount_point);
	assert_refuses("/weir-unit-none", -ENOENT, "none of that name");
	assert_refuses("/etc", -EINVAL, "no cgroup");
	assert_refuses("/proc/self", -EINVAL, "no cgroup");
	assert_refuses("../../../../../../etc", -EINVAL, "no cgroup");
	assert_refuses("/etc/passwd", -ENOTDIR, "a file");
	snprintf(name, sizeof(name), "%s/cgroup.procs", inner);
	assert_refuses(name, -ENOTDIR, "a file");
	snprintf(name, sizeof(name), "%s/cgroup.procs", inner_path);
	assert_refuses(name, -ENOTDIR, "a file");
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_refuses(name, -ENAMETOOLONG, "File name too long");
	name[0] = '/';
	assert_refuses(name, -ENAMETOOLONG, "File name too long");
}

static void test_version_1(void **state)
{
	(void)state;
	REQUIRE_CGROUPS();
	if (access("/sys/fs/cgroup/memory/cgroup.procs", F_OK))
		skip();
	assert_refuses("/sys/fs/cgroup/memory", -EINVAL, "version 1");
}

static void assert_named(__u64 id, const char *expected)
{
	char name[PATH_MAX] = "?";

	assert_int_equal(cgroup_name(id, name, sizeof(name)), 0);
	assert_string_equal(name, expected);
}

static void test_ids(void **state)
{
	char name[PATH_MAX], small[8];
	__u64 id;

	(void)state;
	REQUIRE_CGROUPS();
	assert_named(inode_of(mount_point), "/");
	snprintf(name, sizeof(name), "/%s", inner);
	id = inode_of(inner_path);
	assert_named(id, name);
	assert_int_equal(cgroup_name(id, small, sizeof(small)), -ENAMETOOLONG);
	forget_failure();
	assert_int_equal(rmdir(inner_path), 0);
	assert_named(id, "");
	assert_int_equal(mkdir(inner_path, 0755), 0);
	assert_named(id, ""); /* another one, though of that name */
	assert_named(inode_of(inner_path), name);
	assert_named(0, "");
	assert_named(~0ull, "");
}

/* Containers seldom may open by id. Returns whether that was allowed. */
static bool allow_handles(bool allowed)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
	const __u32 bit = 1u << CAP_DAC_READ_SEARCH;
	bool before;

	assert_int_equal(syscall(SYS_capget, &head, sets), 0);
	before = sets[0].effective & bit;
	sets[0].effective = allowed ? sets[0].effective | bit : sets[0].effective & ~bit;
	assert_int_equal(syscall(SYS_capset, &head, sets), 0);
	return before;
}

static void test_ids_without_handles(void **state)
{
	bool before;

	REQUIRE_CGROUPS();
	before = allow_handles(false);
	test_ids(state);
	allow_handles(before);
}

/* The exit status of `test` in a mount namespace of its own. */
static int with_own_mounts(int (*test)(void))
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)
			      ? 99
			      : test());
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static int no_mount(void)
{
	char name[8];
	struct cgroup c;

	while (!cgroup_open(&c, "/")) {
		close(c.fd);
		if (umount2(c.path, MNT_DETACH))
			return 1;
	}
	if (!strstr(failure(), "no cgroup2 file system is mounted"))
		return 2;
	return cgroup_name(1, name, sizeof(name)) == -ENOENT ? 0 : 3;
}

static int covered_mount(void)
{
	struct cgroup c;

	if (mount("none", mount_point, "tmpfs", 0, NULL))
		return 1;
	return cgroup_open(&c, "/") == -ENOENT ? 0 : 2;
}

static int strange_mount(void)
{
	char name[PATH_MAX] = "", expected[100], point[] = "/tmp/weir unit\tXXXXXX";
	struct cgroup c;
	int err = no_mount();

	forget_failure();
	if (err || !mkdtemp(point) || mount("none", point, "cgroup2", 0, NULL))
		return 10;
	err = cgroup_open(&c, inner);
	if (!err && strncmp(c.path, point, strlen(point)))
		err = 11;
	snprintf(expected, sizeof(expected), "/%s", inner);
	if (!err && (cgroup_name(c.id, name, sizeof(name)) || strcmp(name, expected)))
		err = 12;
	umount2(point, MNT_DETACH);
	rmdir(point);
	return err < 0 ? 13 : err;
}

static void test_mounts(void **state)
{
	(void)state;
	REQUIRE_CGROUPS();
	assert_int_equal(with_own_mounts(no_mount), 0);
	assert_int_equal(with_own_mounts(covered_mount), 0);
	assert_int_equal(with_own_mounts(strange_mount), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),	  cmocka_unit_test(test_link),
		cmocka_unit_test(test_bad_names), cmocka_unit_test(test_version_1),
		cmocka_unit_test(test_ids),	  cmocka_unit_test(test_ids_without_handles),
		cmocka_unit_test(test_mounts),
	};

	return cmocka_run_group_tests(tests, make_cgroups, remove_cgroups);
}
