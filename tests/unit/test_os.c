/* SPDX-License-Identifier: MIT */
/* test_os.c - what common/os promises: sets, timers, memory, locks, files, watches, the death word. */
#include "harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "death.h"
#include "harness/process.h"
#include "os/os.h"

#define NOBODY 65534u
#define CANNOT 77 /* exit status of a child that lacks what it needs */
#define MS UINT64_C(1000000)

static int folder = -1; /* the case's, and the working directory */

static void setup(void)
{
	ck_assert_int_eq(chdir(harness_tmpdir()), 0);
	folder = os_open_folder(AT_FDCWD, ".", true);
	ck_assert_int_ge(folder, 0);
}

static void teardown(void)
{
	close(folder);
	ck_assert_int_eq(chdir("/"), 0);
}

static void in_child(int (*function)(struct harness_process *peer, void *arg))
{
	struct harness_process process;
	int status;

	harness_spawn(&process, function, NULL);
	status = harness_wait(&process);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT)
		harness_skip("needs root");
	ck_assert_msg(status == 0, "the child ended with 0x%x", (unsigned)status);
}

static int make_file(const char *name, mode_t mode)
{
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	return fd;
}

static bool is_readable(int fd)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) == 1;
}

/* --- descriptors ------------------------------------------------------------------------------------- */

START_TEST(descriptors_are_well_behaved)
{
	int fds[8], n = 0;

	ck_assert_int_eq(mkfifo("bell", 0600), 0);
	fds[n++] = os_bell_new();
	fds[n++] = os_bell_open(folder, "bell");
	fds[n++] = os_timer_new();
	fds[n++] = os_watch_new();
	fds[n++] = os_socket_new();
	for (int i = 0; i < n; i++) {
		ck_assert_int_ge(fds[i], 0);
		ck_assert(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
	}
	fds[n++] = os_set_new();
	fds[n++] = os_memory_new("test", 4096);
	fds[n++] = os_open_path(AT_FDCWD, "bell", false);
	for (int i = 0; i < n; i++) {
		ck_assert_int_ge(fds[i], 0);
		ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		close(fds[i]);
	}
}
END_TEST

/* --- sets, with and without epoll_pwait2 --------------------------------------------------------------- */

static int wait_now(int set, uint64_t *tags)
{
	return os_set_wait(set, tags, 8, 0);
}

START_TEST(edge_and_level)
{
	int set = os_set_new(), edge = os_bell_new(), level = os_bell_new();
	uint64_t tags[8];

	os_bell_ring(edge);
	ck_assert_int_eq(os_set_add(set, edge, OS_READ | OS_EDGE, UINT64_C(1) << 63), 0);
	ck_assert_int_eq(os_set_add(set, level, OS_READ, 2), 0);
	ck_assert_int_eq(os_set_add(set, level, OS_READ, 2), -EEXIST);
	ck_assert_int_eq(wait_now(set, tags), 1); /* readable when added: an edge */
	ck_assert_uint_eq(tags[0], UINT64_C(1) << 63);
	ck_assert_int_eq(wait_now(set, tags), 0);
	os_bell_ring(edge); /* nobody has read it */
	ck_assert(is_readable(set));
	ck_assert_int_eq(wait_now(set, tags), 1);
	ck_assert(!is_readable(set));

	ck_assert_int_eq(os_set_change(set, edge, OS_READ | OS_EDGE, 3), 0); /* marked again */
	ck_assert(is_readable(set));
	ck_assert_int_eq(wait_now(set, tags), 1);
	ck_assert_uint_eq(tags[0], 3);
	ck_assert_int_eq(wait_now(set, tags), 0);

	os_bell_ring(level);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(wait_now(set, tags), 1);
		ck_assert_uint_eq(tags[0], 2);
	}
	os_bell_drain(level);
	ck_assert_int_eq(wait_now(set, tags), 0);
	ck_assert_int_eq(os_set_change(set, level, OS_READ | OS_WRITE, 4), 0);
	ck_assert_int_eq(wait_now(set, tags), 1);
	ck_assert_uint_eq(tags[0], 4);
	ck_assert_int_eq(os_set_change(set, level, 0, 4), 0);
	os_bell_ring(level);
	ck_assert_int_eq(wait_now(set, tags), 0);
	os_set_remove(set, edge);
	os_set_remove(set, edge);
	os_bell_ring(edge);
	ck_assert_int_eq(wait_now(set, tags), 0);
	ck_assert_int_eq(os_set_change(set, edge, OS_READ, 1), -ENOENT);
	ck_assert_int_eq(os_set_add(set, -1, OS_READ, 1), -EBADF);
	close(level);
	close(edge);
	close(set);
}
END_TEST

START_TEST(edges_are_each_sets_own)
{
	int sets[5], bell = os_bell_new();
	uint64_t tags[8];

	for (int i = 0; i < 5; i++) {
		sets[i] = os_set_new();
		ck_assert_int_eq(os_set_add(sets[i], bell, OS_READ | OS_EDGE, (uint64_t)i), 0);
	}
	for (int round = 0; round < 3; round++) {
		os_bell_ring(bell);
		for (int i = 0; i < 5; i++) {
			ck_assert_int_eq(wait_now(sets[i], tags), 1);
			ck_assert_uint_eq(tags[0], (uint64_t)i);
			ck_assert_int_eq(wait_now(sets[i], tags), 0);
		}
	}
	for (int i = 0; i < 5; i++)
		close(sets[i]);
	close(bell);
}
END_TEST

START_TEST(at_most_so_many)
{
	int set = os_set_new(), bells[70];
	uint64_t tags[100];

	for (int i = 0; i < 70; i++) {
		bells[i] = os_bell_new();
		os_bell_ring(bells[i]);
		ck_assert_int_eq(os_set_add(set, bells[i], OS_READ | OS_EDGE, (uint64_t)i), 0);
	}
	ck_assert_int_eq(os_set_wait(set, tags, 2, 0), 2);
	ck_assert_int_eq(os_set_wait(set, tags, 100, 0), 64);
	ck_assert_int_eq(os_set_wait(set, tags, 100, 0), 4);
	ck_assert_int_eq(os_set_wait(set, tags, 100, 0), 0);
	for (int i = 0; i < 70; i++)
		close(bells[i]);
	close(set);
}
END_TEST

static void nothing(int signal)
{
	(void)signal;
}

START_TEST(deadlines)
{
	int set = os_set_new(), bell = os_bell_new(), timer = os_timer_new();
	uint64_t tags[8], start;

	os_seams.no_epoll_pwait2 = _i == 1;
	ck_assert_int_eq(os_set_add(set, bell, OS_READ, 1), 0);
	ck_assert_int_eq(os_set_wait(set, tags, 8, 1), 0); /* long past */
	ck_assert_int_eq(os_set_wait(set, tags, 8, os_now_ns()), 0);
	for (uint64_t ns = 1; ns <= 20 * MS; ns *= 7) { /* never before its time */
		start = os_now_ns();
		ck_assert_int_eq(os_set_wait(set, tags, 8, start + ns), 0);
		ck_assert_uint_ge(os_now_ns(), start + ns);
	}
	os_bell_ring(bell);
	ck_assert_int_eq(os_set_wait(set, tags, 8, OS_NEVER), 1);
	ck_assert_int_eq(os_set_wait(set, tags, 8, OS_NEVER - 1), 1);
	ck_assert_int_eq(os_set_wait(set, tags, 8, os_now_ns() + UINT64_C(86400000) * MS * 365), 1);
	ck_assert_int_eq(os_set_wait(set, tags, 8, 1), 1);
	os_bell_drain(bell);

	/* A signal ends it. */
	struct sigaction action = { .sa_handler = nothing }, before;
	struct itimerspec soon = { .it_value.tv_nsec = 5000000, .it_interval.tv_nsec = 5000000 };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	timer_t alarm_timer;

	ck_assert_int_eq(sigaction(SIGUSR1, &action, &before), 0);
	ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &alarm_timer), 0);
	ck_assert_int_eq(timer_settime(alarm_timer, 0, &soon, NULL), 0);
	ck_assert_int_eq(os_set_wait(set, tags, 8, os_now_ns() + HARNESS_LIMIT_MS * MS), -EINTR);
	ck_assert_int_eq(os_set_wait(set, tags, 8, OS_NEVER), -EINTR);
	timer_delete(alarm_timer);
	sigaction(SIGUSR1, &before, NULL);
	close(timer);
	close(bell);
	close(set);
}
END_TEST

START_TEST(timers)
{
	int set = os_set_new(), timer = os_timer_new();
	uint64_t tags[8], start = os_now_ns();

	ck_assert_int_eq(os_set_add(set, timer, OS_READ, 9), 0);
	ck_assert_int_eq(wait_now(set, tags), 0);
	os_timer_set(timer, 3 * MS, 0);
	ck_assert_int_eq(os_set_wait(set, tags, 8, OS_NEVER), 1);
	ck_assert_uint_ge(os_now_ns(), start + 3 * MS);
	ck_assert(is_readable(timer));
	os_timer_clear(timer);
	ck_assert_int_eq(wait_now(set, tags), 0);
	os_timer_clear(timer); /* does not block */

	os_timer_set(timer, 1, 2 * MS);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(os_set_wait(set, tags, 8, OS_NEVER), 1);
		os_timer_clear(timer);
	}
	os_timer_set(timer, 0, 0);
	os_timer_clear(timer);
	ck_assert_int_eq(os_set_wait(set, tags, 8, os_now_ns() + 10 * MS), 0);
	os_timer_set(timer, UINT64_C(86400000) * MS, 0);
	ck_assert_int_eq(wait_now(set, tags), 0);
	close(timer);
	close(set);
}
END_TEST

/* --- bells ------------------------------------------------------------------------------------------- */

static bool edge_after_ring(int set, int bell)
{
	uint64_t tags[8];

	os_bell_ring(bell);
	return wait_now(set, tags) == 1;
}

START_TEST(fifo_of_an_old_kernel)
{
	int set = os_set_new(), bell, event = os_bell_new();

	ck_assert_int_eq(mkfifo("bell", 0600), 0);
	bell = os_bell_open(folder, "bell");
	ck_assert_int_eq(os_set_add(set, bell, OS_READ | OS_EDGE, 1), 0);
	os_seams.fifo_unreliable = true;
	ck_assert(!os_bell_fifo_reliable());
	ck_assert(edge_after_ring(set, bell));
	ck_assert(!edge_after_ring(set, bell));
	ck_assert_int_eq(os_set_add(set, event, OS_READ | OS_EDGE, 2), 0);
	ck_assert(edge_after_ring(set, event)); /* an eventfd is as ever */
	ck_assert(edge_after_ring(set, event));
	os_seams.fifo_unreliable = false;
	ck_assert_int_eq(edge_after_ring(set, bell), os_bell_fifo_reliable());
	close(event);
	close(bell);
	close(set);
}
END_TEST

/* That no descriptors are left is not an answer for ever. */
START_TEST(reliability_is_asked_again)
{
	struct rlimit before, none;
	bool answer;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert(!os_bell_fifo_reliable());
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	answer = os_bell_fifo_reliable();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(os_bell_fifo_reliable(), answer); /* but a real one is kept */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	if (!answer)
		harness_skip("this kernel's pipes wake only when they were empty");
}
END_TEST

START_TEST(draining)
{
	int bell = os_bell_new();

	os_bell_drain(bell); /* does not block */
	for (int i = 0; i < 5; i++)
		os_bell_ring(bell);
	ck_assert(is_readable(bell));
	os_bell_drain(bell);
	ck_assert(!is_readable(bell));
	close(bell);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------------ */

START_TEST(memory_is_fixed)
{
	int fd = os_memory_new("test", 8192);
	struct stat st;
	uint64_t *map;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 8192);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(ftruncate(fd, 4096), -1);
	ck_assert_int_eq(ftruncate(fd, 16384), -1);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	map = os_map(fd, 8192, true, NULL);
	ck_assert_ptr_nonnull(map);
	for (int i = 0; i < 1024; i++)
		ck_assert_uint_eq(map[i], 0);
	map[1023] = 5;
	munmap(map, 8192);
	map = os_map(fd, 8192, false, NULL);
	ck_assert_uint_eq(map[1023], 5);
	munmap(map, 8192);
	close(fd);
	ck_assert_int_lt(os_memory_new("test", (size_t)1 << 63), 0);
}
END_TEST

START_TEST(memory_with_sealed_writers)
{
	void *map = NULL, *reader;
	char path[64];
	int fd = os_memory_new_mapped("test", 4096, true, &map), again;

	ck_assert_int_ge(fd, 0);
	ck_assert_ptr_nonnull(map);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_ptr_null(os_map(fd, 4096, true, NULL));
	reader = os_map(fd, 4096, false, NULL);
	ck_assert_ptr_nonnull(reader);
	memcpy(map, "word", 5);
	ck_assert_str_eq(reader, "word");

	/* The same user may open it anew, but with the seal not map it for writing. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again >= 0 && fcntl(fd, F_GET_SEALS) & 0x10) {
		ck_assert_ptr_null(os_map(again, 4096, true, NULL));
		ck_assert_int_eq(write(again, "x", 1), -1);
	}
	if (again >= 0)
		close(again);
	munmap(reader, 4096);
	munmap(map, 4096);
	close(fd);
}
END_TEST

START_TEST(mapping_is_replaced_in_place)
{
	int one = os_memory_new("one", 4096), two = os_memory_new("two", 4096);
	char *map = os_map(one, 4096, true, NULL), *other = os_map(two, 4096, true, NULL);

	strcpy(map, "one");
	strcpy(other, "two");
	ck_assert_ptr_eq(os_map(two, 4096, true, map), map);
	ck_assert_str_eq(map, "two");
	strcpy(map, "both");
	ck_assert_str_eq(other, "both");
	errno = 0;
	ck_assert_ptr_null(os_map(-1, 4096, true, map));
	ck_assert_int_eq(errno, EBADF);
	ck_assert_str_eq(map, "both"); /* as it was */
	munmap(map, 4096);
	munmap(other, 4096);
	close(one);
	close(two);
}
END_TEST

struct toucher {
	_Atomic bool end;
	_Atomic uint64_t *word;
	pthread_t thread;
};

static void *touch(void *arg)
{
	struct toucher *toucher = arg;

	while (!atomic_load(&toucher->end))
		atomic_fetch_add(toucher->word, 1);
	return NULL;
}

/* Another thread that writes there meanwhile meets the old page or the new one, never none. */
START_TEST(mapping_is_replaced_under_use)
{
	int fds[2] = { os_memory_new("one", 4096), os_memory_new("two", 4096) };
	struct toucher toucher = { .word = os_map(fds[0], 4096, true, NULL) };

	ck_assert_int_eq(pthread_create(&toucher.thread, NULL, touch, &toucher), 0);
	for (int i = 0; i < 2000; i++)
		ck_assert_ptr_nonnull(
			os_map(fds[i % 2], 4096, true, (void *)(uintptr_t)toucher.word));
	atomic_store(&toucher.end, true);
	ck_assert_int_eq(pthread_join(toucher.thread, NULL), 0);
	munmap((void *)(uintptr_t)toucher.word, 4096);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

static int sees_zero(struct harness_process *peer, void *arg)
{
	const uint64_t *map = arg;

	(void)peer;
	return map[0] != 0 || map[OS_ZERO_SIZE / 8 - 1] != 0;
}

START_TEST(zero_on_fork)
{
	struct harness_process process;
	uint64_t *map = os_map_zero_on_fork();

	ck_assert_ptr_nonnull(map);
	map[0] = map[OS_ZERO_SIZE / 8 - 1] = 7;
	harness_spawn(&process, sees_zero, map);
	harness_expect_exit(&process, 0);
	ck_assert_uint_eq(map[0], 7);
	ck_assert_uint_eq(map[OS_ZERO_SIZE / 8 - 1], 7);
	os_unmap_zero_on_fork(map);
	os_unmap_zero_on_fork(NULL);
}
END_TEST

static int on_a_full_disk(struct harness_process *peer, void *arg)
{
	int fd;

	(void)peer, (void)arg;
	ck_assert_int_eq(mkdir("mount", 0700), 0);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "mount", "tmpfs", 0, "size=64k") < 0)
		return CANNOT;
	ck_assert_int_eq(chdir("mount"), 0);
	fd = make_file("page", 0600);
	ck_assert_int_eq(os_allocate(fd, 4096), 0);
	ck_assert_int_eq(os_allocate(fd, 1 << 20), -ENOSPC);
	close(fd);
	return 0;
}

START_TEST(allocation)
{
	int fd = make_file("page", 0600);
	struct stat st;

	ck_assert_int_eq(os_allocate(fd, 4096), 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 4096);
	ck_assert_int_ge(st.st_blocks * 512, 4096);
	close(fd);
	ck_assert_int_eq(os_allocate(fd, 4096), -EBADF);
	in_child(on_a_full_disk);
}
END_TEST

START_TEST(random_bytes)
{
	uint64_t a[4] = { 0 }, b[4] = { 0 };

	os_random(a, sizeof(a));
	os_random(b, sizeof(b) - 1);
	ck_assert_mem_ne(a, b, sizeof(a));
	ck_assert_uint_ne(a[0], a[1]);
	ck_assert_int_eq(((unsigned char *)b)[sizeof(b) - 1], 0);
}
END_TEST

/* --- locks ------------------------------------------------------------------------------------------- */

START_TEST(locks_belong_to_descriptions)
{
	int a = make_file("page", 0600), b = os_open_own_file(folder, "page"), copy;

	ck_assert_int_eq(os_lock(a, OS_LOCK_SHARED, 0, 1), 0);
	ck_assert_int_eq(os_lock(b, OS_LOCK_SHARED, 0, 1), 0);
	ck_assert_int_eq(os_lock(b, OS_LOCK_EXCLUSIVE, 0, 1), -EAGAIN);
	ck_assert_int_eq(os_lock(a, OS_LOCK_EXCLUSIVE, 0, 1), -EAGAIN); /* b still has its own */
	ck_assert_int_eq(os_lock(b, OS_LOCK_NONE, 0, 1), 0);
	ck_assert_int_eq(os_lock(a, OS_LOCK_EXCLUSIVE, 0, 1), 0);
	ck_assert_int_eq(os_lock(b, OS_LOCK_SHARED, 0, 1), -EAGAIN);
	ck_assert_int_eq(os_lock(b, OS_LOCK_EXCLUSIVE, 1, 1), 0); /* another byte */
	ck_assert_int_eq(os_lock(a, OS_LOCK_SHARED, 0, 1), 0);
	ck_assert_int_eq(os_lock(b, OS_LOCK_SHARED, 0, 1), 0);
	ck_assert_int_eq(os_lock(b, OS_LOCK_NONE, 0, 1), 0);

	/* Opening and closing the file elsewhere does not drop it, closing one of two copies neither. */
	close(open("page", O_RDWR | O_CLOEXEC));
	copy = dup(a);
	close(a);
	ck_assert_int_eq(os_lock(b, OS_LOCK_EXCLUSIVE, 0, 1), -EAGAIN);
	close(copy);
	ck_assert_int_eq(os_lock(b, OS_LOCK_EXCLUSIVE, 0, 1), 0);
	close(b);
	ck_assert_int_eq(os_lock(b, OS_LOCK_SHARED, 0, 1), -EBADF);
}
END_TEST

static int holds_lock(struct harness_process *peer, void *arg)
{
	int fd = os_open_own_file(folder, "page");

	(void)arg;
	ck_assert_int_eq(os_lock(fd, OS_LOCK_EXCLUSIVE, 16, 1), 0);
	harness_tell(peer, "locked");
	harness_hear(peer);
	return 0;
}

START_TEST(locks_end_with_their_process)
{
	int fd = make_file("page", 0600);
	struct harness_process process;

	harness_spawn(&process, holds_lock, NULL);
	harness_expect_line(&process, "locked");
	ck_assert_int_eq(os_lock(fd, OS_LOCK_SHARED, 16, 1), -EAGAIN);
	ck_assert_int_eq(os_lock(fd, OS_LOCK_SHARED, 15, 1), 0);
	harness_signal(&process, SIGKILL);
	harness_expect_signal(&process, SIGKILL);
	ck_assert_int_eq(os_lock(fd, OS_LOCK_SHARED, 16, 1), 0);
	close(fd);
}
END_TEST

/* --- what stands where ours should be ------------------------------------------------------------------ */

static const struct {
	const char *name;
	int as_file, as_bell; /* 0: opens */
} found[] = {
	{ "file", 0, -EEXIST },
	{ "fifo", -EEXIST, 0 },
	{ "missing", -ENOENT, -ENOENT },
	{ "link-to-file", -EEXIST, -EEXIST },
	{ "link-to-fifo", -EEXIST, -EEXIST },
	{ "dangling", -EEXIST, -EEXIST },
	{ "folder", -EEXIST, -EEXIST },
	{ "socket", -EEXIST, -EEXIST },
	{ "device", -EEXIST, -EEXIST },
	{ "linked-file", -EEXIST, -EEXIST },
	{ "linked-fifo", -EEXIST, -EEXIST },
	{ "file-0644", -EEXIST, -EEXIST },
	{ "file-0700", -EEXIST, -EEXIST },
	{ "file-4600", -EEXIST, -EEXIST },
	{ "fifo-0620", -EEXIST, -EEXIST },
	{ "foreign-file", -EPERM, -EEXIST },
	{ "foreign-fifo", -EEXIST, -EPERM },
	{ "foreign-file-0644", -EPERM, -EEXIST },
	{ "foreign-linked-fifo", -EEXIST, -EPERM },
};
#define N_FOUND (int)(sizeof(found) / sizeof(found[0]))

static void make_fifo(const char *name, mode_t mode)
{
	ck_assert_int_eq(mkfifo(name, 0600), 0);
	ck_assert_int_eq(chmod(name, mode), 0);
}

static void make_all(void)
{
	close(make_file("file", 0600));
	close(make_file("file-0644", 0644));
	close(make_file("file-0700", 0700));
	close(make_file("file-4600", 04600));
	close(make_file("linked-file", 0600));
	close(make_file("foreign-file", 0600));
	close(make_file("foreign-file-0644", 0644));
	make_fifo("fifo", 0600);
	make_fifo("fifo-0620", 0620);
	make_fifo("linked-fifo", 0600);
	make_fifo("foreign-fifo", 0600);
	make_fifo("foreign-linked-fifo", 0600);
	ck_assert_int_eq(link("linked-file", "x"), 0);
	ck_assert_int_eq(link("linked-fifo", "y"), 0);
	ck_assert_int_eq(link("foreign-linked-fifo", "z"), 0);
	ck_assert_int_eq(symlink("file", "link-to-file"), 0);
	ck_assert_int_eq(symlink("fifo", "link-to-fifo"), 0);
	ck_assert_int_eq(symlink("nowhere", "dangling"), 0);
	ck_assert_int_eq(mkdir("folder", 0700), 0);
	ck_assert_int_eq(mknod("socket", S_IFSOCK | 0600, 0), 0);
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(mknod("device", S_IFCHR | 0600, 0x105), 0); /* /dev/zero */
	ck_assert_int_eq(chown("foreign-file", NOBODY, 0), 0);
	ck_assert_int_eq(chown("foreign-file-0644", NOBODY, 0), 0);
	ck_assert_int_eq(chown("foreign-fifo", NOBODY, 0), 0);
	ck_assert_int_eq(chown("foreign-linked-fifo", NOBODY, 0), 0);
}

START_TEST(only_our_own_is_opened)
{
	const char *name = found[_i].name;
	int fd;

	if (geteuid() != 0 && (strncmp(name, "foreign", 7) == 0 || strcmp(name, "device") == 0))
		harness_skip("%s: needs root", name);
	make_all();
	fd = os_open_own_file(folder, name);
	ck_assert_msg(fd >= 0 ? found[_i].as_file == 0 : fd == found[_i].as_file, "%s: %d", name,
		      fd);
	if (fd >= 0) {
		ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
		ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
		close(fd);
	}
	fd = os_bell_open(folder, name);
	ck_assert_msg(fd >= 0 ? found[_i].as_bell == 0 : fd == found[_i].as_bell, "%s: %d", name,
		      fd);
	if (fd >= 0)
		close(fd);
}
END_TEST

/* --- files ------------------------------------------------------------------------------------------- */

START_TEST(paths_of_descriptors)
{
	char path[PATH_MAX];
	int fd;

	ck_assert_int_eq(os_path_of(folder, path, sizeof(path)), 0);
	ck_assert_str_eq(path, harness_tmpdir());
	ck_assert_int_eq(os_path_of(folder, path, strlen(harness_tmpdir()) + 2), 0);
	ck_assert_int_eq(os_path_of(folder, path, strlen(harness_tmpdir()) + 1), -ENAMETOOLONG);
	ck_assert_int_eq(mkdir("gone", 0700), 0);
	fd = os_open_folder(AT_FDCWD, "gone", true);
	ck_assert_int_eq(rmdir("gone"), 0);
	ck_assert_int_eq(os_path_of(fd, path, sizeof(path)), -ENOENT);
	close(fd);
	fd = os_memory_new("test", 4096);
	ck_assert_int_eq(os_path_of(fd, path, sizeof(path)), -EINVAL);
	close(fd);
	fd = os_socket_new();
	ck_assert_int_eq(os_path_of(fd, path, sizeof(path)), -EINVAL);
	close(fd);
	ck_assert_int_eq(os_path_of(fd, path, sizeof(path)), -EBADF);
	fd = os_open_folder(AT_FDCWD, "/", true);
	ck_assert_int_eq(os_path_of(fd, path, sizeof(path)), 0);
	ck_assert_str_eq(path, "/");
	close(fd);
}
END_TEST

START_TEST(numbers_are_kept)
{
	int one = make_file("one", 0600), two = make_file("two", 0600);
	struct stat expected, st;

	ck_assert_int_eq(fstat(two, &expected), 0);
	ck_assert_int_eq(os_replace(two, one), 0);
	ck_assert_int_eq(fstat(one, &st), 0);
	ck_assert_uint_eq(st.st_ino, expected.st_ino);
	ck_assert_int_eq(fcntl(one, F_GETFD), FD_CLOEXEC);
	close(two);
	ck_assert_int_eq(os_replace(two, one), -EBADF);
	ck_assert_int_eq(fstat(one, &st), 0);
	close(one);
}
END_TEST

START_TEST(folders_are_opened_as_folders)
{
	int fd;

	close(make_file("file", 0600));
	ck_assert_int_eq(mkdir("folder", 0700), 0);
	ck_assert_int_eq(symlink("folder", "link"), 0);
	ck_assert_int_eq(os_open_folder(folder, "file", true), -ENOTDIR);
	ck_assert_int_eq(os_open_folder(folder, "missing", true), -ENOENT);
	ck_assert_int_eq(os_open_folder(folder, "link", false), -ENOTDIR);
	fd = os_open_folder(folder, "link", true);
	ck_assert_int_ge(fd, 0);
	close(fd);
	fd = os_open_path(folder, "link", false);
	ck_assert_int_ge(fd, 0);
	close(fd);
}
END_TEST

START_TEST(renaming_replaces_nothing)
{
	ck_assert_int_eq(mkdir("a", 0700), 0);
	ck_assert_int_eq(mkdir("empty", 0700), 0);
	ck_assert_int_eq(mkdir("full", 0700), 0);
	close(make_file("full/file", 0600));
	close(make_file("file", 0600));
	ck_assert_int_eq(os_rename_new(folder, "a", "full"), -EEXIST);
	ck_assert_int_eq(os_rename_new(folder, "a", "file"), -EEXIST);
	ck_assert_int_eq(os_rename_new(folder, "a", "empty"), -EEXIST);
	ck_assert_int_eq(os_rename_new(folder, "missing", "b"), -ENOENT);
	ck_assert_int_eq(os_rename_new(folder, "a", "b"), 0);
	ck_assert_int_eq(access("a", F_OK), -1);
	ck_assert_int_eq(access("b", F_OK), 0);
}
END_TEST

START_TEST(this_host_only)
{
	int fd = os_open_folder(AT_FDCWD, os_runtime_root(), true);
	char root[64];

	if (fd >= 0) {
		ck_assert(!os_is_remote(fd));
		close(fd);
	}
	ck_assert_int_eq(os_user_runtime_root(1000, root, sizeof(root)), 0);
	ck_assert_str_eq(root, "/run/user/1000");
	ck_assert_int_eq(os_user_runtime_root(1000, root, 14), -ENAMETOOLONG);
}
END_TEST

/* --- watches ----------------------------------------------------------------------------------------- */

static struct os_watch_buffer buffer;

static void expect_event(int watch, int id, const char *name, bool gone)
{
	struct os_watch_event event;

	ck_assert_int_eq(os_watch_next(watch, &buffer, &event), 1);
	ck_assert_int_eq(event.id, id);
	ck_assert_int_eq(event.gone, gone);
	if (name)
		ck_assert_str_eq(event.name, name);
	else
		ck_assert_ptr_null(event.name);
}

static void expect_no_event(int watch)
{
	struct os_watch_event event;

	ck_assert_int_eq(os_watch_next(watch, &buffer, &event), 0);
	ck_assert(!is_readable(watch));
}

START_TEST(names_that_appear)
{
	int watch = os_watch_new(), a, b, id_a, id_b;

	ck_assert_int_eq(mkdir("a", 0700), 0);
	ck_assert_int_eq(mkdir("b", 0700), 0);
	a = os_open_folder(folder, "a", true);
	b = os_open_folder(folder, "b", true);
	id_a = os_watch_add(watch, a);
	id_b = os_watch_add(watch, b);
	ck_assert_int_gt(id_a, 0);
	ck_assert_int_gt(id_b, 0);
	ck_assert_int_ne(id_a, id_b);
	ck_assert_int_eq(os_watch_add(watch, a), id_a);
	expect_no_event(watch);

	close(make_file("a/file", 0600));
	ck_assert_int_eq(mkdir("b/.file.pathbus", 0700), 0);
	ck_assert(is_readable(watch));
	ck_assert_int_eq(rename("a/file", "b/moved"), 0);
	ck_assert_int_eq(unlink("b/moved"), 0); /* says nothing */
	expect_event(watch, id_a, "file", false);
	expect_event(watch, id_b, ".file.pathbus", false);
	expect_event(watch, id_b, "moved", false);
	expect_no_event(watch);

	os_watch_remove(watch, id_b);
	ck_assert_int_eq(rmdir("b/.file.pathbus"), 0);
	ck_assert_int_eq(mkdir("b/again", 0700), 0);
	expect_event(watch, id_b, NULL, true);
	expect_no_event(watch);
	close(a);
	close(b);
	close(watch);
}
END_TEST

/* The end of a folder is told when the last descriptor that holds it is closed. */
START_TEST(folder_goes)
{
	int watch = os_watch_new(), a, id;

	ck_assert_int_eq(mkdir("a", 0700), 0);
	a = os_open_folder(folder, "a", true);
	id = os_watch_add(watch, a);
	ck_assert_int_eq(rmdir("a"), 0);
	expect_no_event(watch);
	close(a);
	expect_event(watch, id, NULL, true);
	expect_event(watch, id, NULL, true);
	expect_no_event(watch);
	close(watch);
}
END_TEST

START_TEST(queue_overflows)
{
	int watch = os_watch_new(), id = os_watch_add(watch, folder), n_events = 0, n_overflows = 0;
	char text[32];
	struct os_watch_event event;
	long limit;

	limit = strtol(harness_read_file("/proc/sys/fs/inotify/max_queued_events"), NULL, 10);
	if (limit <= 0 || limit > 100000)
		harness_skip("the queue is too long to fill: %ld", limit);
	ck_assert_int_gt(id, 0);
	close(make_file("0", 0600));
	for (long i = 0; i <= limit; i++) {
		char from[32];

		snprintf(from, sizeof(from), "%ld", i);
		snprintf(text, sizeof(text), "%ld", i + 1);
		ck_assert_int_eq(rename(from, text), 0);
	}
	while (os_watch_next(watch, &buffer, &event) == 1) {
		n_events++;
		if (event.id == 0) {
			n_overflows++;
			ck_assert_ptr_null(event.name);
			ck_assert(!event.gone);
		}
	}
	ck_assert_int_eq(n_overflows, 1);
	ck_assert_int_ge(n_events, limit);
	close(watch);
}
END_TEST

START_TEST(what_cannot_be_watched)
{
	int watch = os_watch_new(), file;

	file = make_file("file", 0600);
	ck_assert_int_eq(os_watch_add(watch, file), -ENOTDIR);
	ck_assert_int_eq(os_watch_add(watch, -1), -ENOENT);
	close(file);
	close(watch);
	os_seams.no_inotify = true;
	ck_assert_int_eq(os_watch_new(), -EMFILE);
	os_seams.no_inotify = false;
}
END_TEST

static int watches_unreadable(struct harness_process *peer, void *arg)
{
	int watch = os_watch_new(), dir;

	(void)peer, (void)arg;
	ck_assert_int_eq(mkdir("unreadable", 0), 0);
	ck_assert_int_eq(chmod("unreadable", 0711), 0);
	dir = os_open_folder(folder, "unreadable", true);
	if (setgroups(0, NULL) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return CANNOT;
	ck_assert_int_eq(os_watch_add(watch, dir), -EACCES);
	return 0;
}

START_TEST(unreadable_folder_is_reported)
{
	in_child(watches_unreadable);
}
END_TEST

/* --- sockets ----------------------------------------------------------------------------------------- */

START_TEST(peers)
{
	struct os_peer peer = { .uid = 12345 };
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(os_peer_credentials(pair[0], &peer), 0);
	ck_assert_uint_eq(peer.uid, geteuid());
	ck_assert_uint_eq(peer.gid, getegid());
	ck_assert_int_eq(peer.pid, getpid());
	os_refuse_descriptors(pair[0]);
	close(pair[0]);
	close(pair[1]);
	peer.uid = 12345;
	ck_assert_int_eq(os_peer_credentials(pair[0], &peer), -EBADF);
	ck_assert_uint_eq(peer.uid, 12345);
}
END_TEST

static void send_descriptor(int socket, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec part = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	ck_assert_int_eq(sendmsg(socket, &message, 0), 1);
}

START_TEST(receiving)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char byte = 0;
	struct iovec part = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	int pair[2], fd;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(os_receive(pair[0], &message),
			 -EAGAIN); /* though the socket would block */
	message.msg_controllen = sizeof(control);
	send_descriptor(pair[1], folder);
	ck_assert_int_eq(os_receive(pair[0], &message), 1);
	ck_assert_int_eq(byte, 'x');
	ck_assert_ptr_nonnull(CMSG_FIRSTHDR(&message));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	close(pair[1]);
	ck_assert_int_eq(os_receive(pair[0], &message), 0);
	close(pair[0]);
	ck_assert_int_eq(os_receive(pair[0], &message), -EBADF);
}
END_TEST

/* --- the death word ---------------------------------------------------------------------------------- */

static struct death *death_new(void)
{
	void *map;
	int fd = os_memory_new_mapped("death", DEATH_SIZE, true, &map);

	ck_assert_int_ge(fd, 0);
	close(fd);
	return map;
}

static int arms(struct harness_process *peer, void *arg)
{
	struct death *death = arg;

	ck_assert_int_eq(os_death_arm(&death->word), 0);
	harness_tell(peer, "armed");
	harness_hear(peer);
	return 0;
}

START_TEST(death_is_seen)
{
	struct death *death = death_new();
	struct harness_process process;

	harness_spawn(&process, arms, death);
	harness_expect_line(&process, "armed");
	ck_assert_uint_eq(atomic_load(&death->word), (uint32_t)process.pid);
	ck_assert(!death_has_come(death));
	harness_signal(&process, SIGSTOP);
	ck_assert(!death_has_come(death));
	if (_i == 0) {
		harness_signal(&process, SIGKILL);
		harness_expect_signal(&process, SIGKILL);
	} else {
		harness_signal(&process, SIGCONT);
		harness_hang_up(&process);
		harness_expect_exit(&process, 0);
	}
	ck_assert(death_has_come(death));
	munmap(death, DEATH_SIZE);
}
END_TEST

/* Who hears the end of the socket, finds the word marked already. */
START_TEST(word_comes_before_the_sockets_end)
{
	for (int i = 0; i < 100; i++) {
		struct death *death = death_new();
		struct harness_process process;

		harness_spawn(&process, arms, death);
		harness_expect_line(&process, "armed");
		ck_assert_int_eq(kill(process.pid, SIGKILL), 0);
		ck_assert_ptr_null(harness_hear(&process));
		ck_assert(death_has_come(death));
		harness_expect_signal(&process, SIGKILL);
		munmap(death, DEATH_SIZE);
	}
}
END_TEST

static int arms_and_forks(struct harness_process *peer, void *arg)
{
	pid_t child;
	int status;

	ck_assert_int_eq(os_death_arm(&((struct death *)arg)->word), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	harness_tell(peer, "forked");
	harness_hear(peer);
	return 0;
}

START_TEST(a_childs_death_is_not_ours)
{
	struct death *death = death_new();
	struct harness_process process;

	harness_spawn(&process, arms_and_forks, death);
	harness_expect_line(&process, "forked");
	ck_assert(!death_has_come(death));
	harness_hang_up(&process);
	harness_expect_exit(&process, 0);
	ck_assert(death_has_come(death));
	munmap(death, DEATH_SIZE);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(descriptors_are_well_behaved),
	HARNESS_CASE(edge_and_level),
	HARNESS_CASE(edges_are_each_sets_own),
	HARNESS_CASE(at_most_so_many),
	HARNESS_CASE_EACH(deadlines, 2),
	HARNESS_CASE(timers),
	HARNESS_CASE(fifo_of_an_old_kernel),
	HARNESS_CASE(reliability_is_asked_again),
	HARNESS_CASE(draining),
	HARNESS_CASE(memory_is_fixed),
	HARNESS_CASE(memory_with_sealed_writers),
	HARNESS_CASE(mapping_is_replaced_in_place),
	HARNESS_CASE(mapping_is_replaced_under_use),
	HARNESS_CASE(zero_on_fork),
	HARNESS_CASE(allocation),
	HARNESS_CASE(random_bytes),
	HARNESS_CASE(locks_belong_to_descriptions),
	HARNESS_CASE(locks_end_with_their_process),
	HARNESS_CASE_EACH(only_our_own_is_opened, N_FOUND),
	HARNESS_CASE(paths_of_descriptors),
	HARNESS_CASE(numbers_are_kept),
	HARNESS_CASE(folders_are_opened_as_folders),
	HARNESS_CASE(renaming_replaces_nothing),
	HARNESS_CASE(this_host_only),
	HARNESS_CASE(names_that_appear),
	HARNESS_CASE(folder_goes),
	HARNESS_CASE(queue_overflows),
	HARNESS_CASE(what_cannot_be_watched),
	HARNESS_CASE(unreadable_folder_is_reported),
	HARNESS_CASE(peers),
	HARNESS_CASE(receiving),
	HARNESS_CASE_EACH(death_is_seen, 2),
	HARNESS_CASE(word_comes_before_the_sockets_end),
	HARNESS_CASE(a_childs_death_is_not_ours),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(
		argc, argv,
		&(struct harness_suite){
			.name = "os", .cases = cases, .setup = setup, .teardown = teardown });
}
