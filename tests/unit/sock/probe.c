// SPDX-License-Identifier: GPL-2.0
/* What this kernel's sockmap does right, tried as attach tries it; and what is said of it. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "loader/sock/probe.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static const struct sock_probe all_right = {
	.shortcut = true,
	.fionread_tcp = true,
	.fionread_shortcut = true,
	.rmem = true,
	.tracepoints = true,
	.iterators = true,
};

#define REQUIRE_ROOT()          \
	do {                    \
		if (geteuid())  \
			skip(); \
	} while (0)

static unsigned int kernel_version(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;

	assert_int_equal(uname(&name), 0);
	assert_int_equal(sscanf(name.release, "%u.%u", &major, &minor), 2);
	return major * 1000 + minor;
}

static __u64 own_namespace(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	return st.st_ino;
}

static int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = -3; /* ".", ".." and the directory itself */

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static bool is_ours(__u32 id)
{
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd < 0)
		return false;
	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		info.name[0] = '\0';
	close(fd);
	return !strcmp(info.name, "probe_message") || !strcmp(info.name, "probe_adopt") ||
	       !strcmp(info.name, "weir_probe");
}

/* The kernel takes a while to free them, and somebody else may be trying too. */
static bool nothing_stays(void)
{
	for (int i = 0; i < 600; i++) {
		bool found = false;
		__u32 id = 0;

		while (!found && !bpf_prog_get_next_id(id, &id))
			found = is_ours(id);
		if (!found)
			return true;
		usleep(50000);
	}
	return false;
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

static void print_probe(const struct sock_probe *p, double ms)
{
	print_message("# shortcut %d, FIONREAD of TCP %d, with verdict %d, of short-cut bytes %d, "
		      "verdict needed %d, charged %d, tracepoints %d, iterators %d, %.0f ms\n",
		      p->shortcut, p->fionread_tcp, p->fionread_tcp_verdict, p->fionread_shortcut,
		      p->verdict, p->rmem, p->tracepoints, p->iterators, ms);
}

static void test_this_kernel(void **state)
{
	int files = open_files(), err;
	__u64 namespace = own_namespace();
	struct sock_probe p, again;
	double begun;

	(void)state;
	REQUIRE_ROOT();
	assert_int_equal(sock_probe(&p), 0);
	begun = now_ms();
	assert_int_equal(sock_probe(&again), 0);
	print_probe(&again, now_ms() - begun);
	assert_memory_equal(&p, &again, sizeof(p));

	assert_true(p.shortcut);
	assert_true(p.iterators);
	assert_int_equal(p.tracepoints, kernel_version() >= 6003);
	err = sock_probe_check(&p);
	if (err)
		print_message("# %s\n", failure());
	forget_failure();
	assert_int_equal(!err, p.rmem && p.tracepoints && p.fionread_shortcut &&
				       (p.fionread_tcp || p.fionread_tcp_verdict));

	assert_int_equal(own_namespace(), namespace);
	assert_int_equal(open_files(), files);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_true(nothing_stays());
}

/* Whether one that was left behind was killed too, rather than ending by itself. */
static bool orphan_was_killed(void)
{
	int status;

	return waitpid(-1, &status, 0) > 0 && WIFSIGNALED(status);
}

/* kill -9 of who tries, at any time; more often where it came too early or too late each time. */
static void test_killed(void **state)
{
	int killed = 0;

	(void)state;
	REQUIRE_ROOT();
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	for (int i = 0; i < 8 || (!killed && i < 400); i++) {
		struct sock_probe p;
		pid_t pid = fork();

		if (!pid)
			_exit(sock_probe(&p) != 0);
		assert_true(pid > 0);
		usleep(i < 8 ? 7000 * i : 1000 * (i % 100));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		killed += orphan_was_killed();
	}
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
	assert_true(killed > 0);
	assert_true(nothing_stays());
}

static void assert_lacks(struct sock_probe p, const char *what, const char *since)
{
	struct utsname name;

	assert_int_equal(uname(&name), 0);
	assert_int_equal(sock_probe_check(&p), -EOPNOTSUPP);
	assert_int_equal(failure_status(), 2);
	assert_non_null(strstr(failure(), what));
	assert_non_null(strstr(failure(), since));
	assert_non_null(strstr(failure(), name.release));
	assert_non_null(strstr(failure(), "nothing was attached"));
	assert_null(strchr(failure(), '\n'));
	forget_failure();
}

static void test_check(void **state)
{
	struct sock_probe p = all_right;

	(void)state;
	assert_int_equal(sock_probe_check(&p), 0);
	p.tracepoints = false;
	assert_lacks(p, "tracepoints", "6.3)");
	p = all_right;
	p.iterators = false;
	assert_lacks(p, "iterators", "5.15)");
	p = all_right;
	p.shortcut = false;
	assert_lacks(p, "in order", "5.15)");
	p = all_right;
	p.rmem = false;
	assert_lacks(p, "charged", "6.13");
	p = all_right;
	p.fionread_shortcut = false;
	assert_lacks(p, "FIONREAD", "6.18.14");
	p = all_right;
	p.fionread_tcp = false;
	assert_lacks(p, "FIONREAD", "6.18.14");
	assert_lacks((struct sock_probe){0}, "tracepoints", "6.6.128");
	assert_lacks((struct sock_probe){0}, "FIONREAD", "6.13");
}

/* The stream verdict is a remedy if it makes TCP's bytes count; what it breaks counts too. */
static void test_check_remedy(void **state)
{
	struct sock_probe p = all_right;

	(void)state;
	p.verdict = true;
	assert_lacks(p, "FIONREAD", "6.18.14");
	p.fionread_tcp_verdict = true;
	assert_int_equal(sock_probe_check(&p), 0);
	p.fionread_tcp = false;
	assert_int_equal(sock_probe_check(&p), 0);
	p.fionread_shortcut = false;
	assert_lacks(p, "FIONREAD", "6.18.14");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_this_kernel),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_check_remedy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
