/* SPDX-License-Identifier: MIT */
/* test_lock.c - named locks: who excludes whom, who waits, who died with one, and who is shown. */
#include "conformance/transports.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "conformance/lockers.h"
#include "harness/process.h"
#include "libclient/internal.h"
#include "libclient/lock_file.h"

#define NAME "a lock"

static pathbus *bus;
static pathbus_topic *topic;

/* Lockers are started before this, or they have copies of what it opens. */
static void open_topic(void)
{
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
}

static void end(void)
{
	bus = pathbus_free(bus);
	ck_assert(!lock_is_there(transport_path("data")));
}

static pathbus_lock *open_lock(const char *name)
{
	pathbus_lock *lock = NULL;
	int r = pathbus_lock_open(topic, name, &lock);

	ck_assert_msg(r == 0, "opening: %s", strerror(-r));
	return lock;
}

/* The transports that have a folder which takes the file. */
static int transport_of(int i)
{
	static const int ids[] = { ON_BUS, ON_PEER, ON_SOCKET };

	return ids[i];
}
enum { N = 3 };

/* --- one process ---------------------------------------------------------------------------------------------- */

START_TEST(two_candidates_in_one_process)
{
	pathbus_lock *one, *other, *elsewhere;

	transport_begin(transport_of(_i));
	open_topic();
	one = open_lock(NAME);
	other = open_lock(NAME);
	elsewhere = open_lock("another");
	ck_assert_int_eq(pathbus_lock_release(one), -EPERM);
	ck_assert_int_eq(pathbus_lock_consistent(one), -EPERM);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(pathbus_lock_acquire(one, 0, UINT64_MAX), 0);
		ck_assert_int_eq(pathbus_lock_acquire(one, 0, UINT64_MAX), -EDEADLK);
		ck_assert_int_eq(pathbus_lock_try(one, PATHBUS_LOCK_SHARED), -EDEADLK);
		ck_assert_int_eq(pathbus_lock_try(other, 0), -EBUSY);
		ck_assert_int_eq(pathbus_lock_try(other, PATHBUS_LOCK_SHARED), -EBUSY);
		ck_assert_int_eq(pathbus_lock_acquire(other, 0, 0), -ETIMEDOUT);
		ck_assert_int_eq(pathbus_lock_acquire(other, 0, 1), -ETIMEDOUT);
		ck_assert_int_eq(pathbus_lock_try(elsewhere, 0), 0);
		ck_assert_int_eq(pathbus_lock_consistent(one), -EINVAL);
		ck_assert_int_eq(pathbus_lock_release(one), 0);
		ck_assert_int_eq(pathbus_lock_release(one), -EPERM);
		ck_assert_int_eq(pathbus_lock_release(elsewhere), 0);
		ck_assert_int_eq(pathbus_lock_try(other, PATHBUS_LOCK_SHARED), 0);
		ck_assert_int_eq(pathbus_lock_acquire(one, PATHBUS_LOCK_SHARED, UINT64_MAX), 0);
		ck_assert_int_eq(pathbus_lock_consistent(one), -EPERM);
		ck_assert_int_eq(pathbus_lock_release(other), 0);
		ck_assert_int_eq(pathbus_lock_try(other, 0), -EBUSY);
		ck_assert_int_eq(pathbus_lock_release(one), 0);
	}
	/* Closing gives it back, without a trace. */
	ck_assert_int_eq(pathbus_lock_try(one, 0), 0);
	ck_assert_ptr_null(pathbus_lock_close(one));
	ck_assert_int_eq(pathbus_lock_try(other, 0), 0);
	ck_assert_ptr_null(pathbus_lock_close(NULL));
	pathbus_close(topic); /* with a lock held, and one open */
	topic = transport_open(bus, "data", 0);
	one = open_lock(NAME);
	ck_assert_int_eq(pathbus_lock_try(one, 0), 0);
	end();
}
END_TEST

START_TEST(names_and_mistakes)
{
	static struct pathbus_lock_info info = { .size = sizeof(info) };
	char longest[257];
	pathbus_lock *lock = NULL, *other;

	transport_begin(transport_of(_i));
	open_topic();
	memset(longest, 'x', sizeof(longest));
	longest[256] = '\0';
	ck_assert_int_eq(pathbus_lock_open(topic, longest, &lock), -ENAMETOOLONG);
	ck_assert_int_eq(pathbus_lock_get_info(topic, longest, &info), -ENAMETOOLONG);
	ck_assert_int_eq(pathbus_lock_open(topic, "", &lock), -EINVAL);
	ck_assert_int_eq(pathbus_lock_open(NULL, NAME, &lock), -EINVAL);
	ck_assert_int_eq(pathbus_lock_open(topic, NULL, &lock), -EINVAL);
	ck_assert_int_eq(pathbus_lock_open(topic, NAME, NULL), -EINVAL);
	ck_assert_ptr_null(lock);
	ck_assert(!lock_is_there(transport_path("data")));
	ck_assert_int_eq(pathbus_lock_try(NULL, 0), -EINVAL);
	ck_assert_int_eq(pathbus_lock_release(NULL), -EINVAL);
	ck_assert_int_eq(pathbus_lock_consistent(NULL), -EINVAL);
	ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), -ENOENT);
	longest[255] = '\0';
	lock = open_lock(longest);
	ck_assert_int_eq(pathbus_lock_try(lock, 4), -EINVAL);
	ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), -ENOENT);
	ck_assert_int_eq(pathbus_lock_try(lock, 0), 0);
	longest[254] = '\0'; /* the name was copied */
	other = open_lock("\xff/\n");
	ck_assert_int_eq(pathbus_lock_try(other, 0), 0);
	longest[254] = 'x';
	ck_assert_int_eq(pathbus_lock_get_info(topic, longest, &info), 0);
	ck_assert_uint_eq(info.n_holders, 1);
	info.size--;
	ck_assert_int_eq(pathbus_lock_get_info(topic, longest, &info), -EINVAL);
	info.size++;
	end();
}
END_TEST

/* --- several processes ---------------------------------------------------------------------------------------- */

/* In the call that waits for a lock, or nobody can tell. */
static bool sleeps_in_the_kernel(pid_t pid)
{
	char path[32], text[64];
	unsigned long fd, command;
	long call;
	FILE *f;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return true;
	if (fgets(text, sizeof(text), f))
		n = sscanf(text, "%ld %lx %lx", &call, &fd, &command);
	fclose(f);
	return n == 3 ? call == SYS_fcntl && command == F_OFD_SETLKW : n < 1 && errno == EPERM;
}

START_TEST(who_waits_gets_it)
{
	struct locker one, other;

	transport_begin(transport_of(_i));
	locker_start(&one, transport_path("data"), NAME);
	locker_start(&other, transport_path("data"), NAME);
	for (int i = 0; i < 20; i++) {
		static const char *const ways[] = { "acquire", "within 20000", "acquire shared" };

		locker_expect(&one, i % 2 ? "try" : "acquire", 0);
		locker_expect(&other, "try", -EBUSY);
		locker_tell(&other, "%s", ways[i % 3]);
		lock_await(transport_path("data"), NAME, 1, 1);
		if (i % 3 != 1)
			harness_await(sleeps_in_the_kernel(other.process.pid));
		locker_expect(&one, "release", 0);
		ck_assert_int_eq(locker_hear(&other), 0);
		lock_await(transport_path("data"), NAME, 1, 0);
		locker_expect(&one, "try", -EBUSY);
		locker_expect(&other, "release", 0);
		lock_await(transport_path("data"), NAME, 0, 0);
	}
	locker_end(&one);
	locker_end(&other);
	ck_assert(!lock_is_there(transport_path("data")));
}
END_TEST

START_TEST(deadlines)
{
	struct locker holder;
	pathbus_lock *lock;

	transport_begin(transport_of(_i));
	locker_start(&holder, transport_path("data"), NAME);
	open_topic();
	lock = open_lock(NAME);
	locker_expect(&holder, "try", 0);
	for (unsigned ms = 1; ms < 100; ms *= 3) {
		uint64_t deadline = harness_deadline(ms);

		ck_assert_int_eq(pathbus_lock_acquire(lock, ms % 2 ? PATHBUS_LOCK_SHARED : 0, deadline), -ETIMEDOUT);
		ck_assert_uint_ge(harness_now_ns(), deadline);
		lock_await(transport_path("data"), NAME, 1, 0);
	}
	locker_end(&holder);
	ck_assert_int_eq(pathbus_lock_acquire(lock, 0, harness_deadline(HARNESS_LIMIT_MS)), 0);
	end();
}
END_TEST

/* Who has a deadline is woken by who gives it back, on the same lane, and need not come to its next look. */
START_TEST(who_has_a_deadline_is_woken)
{
	struct locker waiter;
	pathbus_lock *lock;

	transport_begin(_i);
	locker_start(&waiter, transport_path("data"), NAME);
	open_topic();
	lock = open_lock(NAME);
	for (int i = 0; i < 5; i++) {
		uint32_t moved = atomic_load(&topic->page->lock_moved);

		ck_assert_int_eq(pathbus_lock_try(lock, PATHBUS_LOCK_NEAR), 0);
		locker_tell(&waiter, "within 20000");
		harness_await(atomic_load(&topic->page->lock_waits) == 1);
		ck_assert_int_eq(pathbus_lock_release(lock), 0);
		ck_assert_uint_eq(atomic_load(&topic->page->lock_moved), moved + 1);
		ck_assert_int_eq(locker_hear(&waiter), 0);
		locker_expect(&waiter, "release", 0);
		/* And it costs nobody anything when nobody waits. */
		ck_assert_int_eq(pathbus_lock_try(lock, 0), 0);
		atomic_store(&topic->page->lock_waits, 0);
		moved = atomic_load(&topic->page->lock_moved);
		ck_assert_int_eq(pathbus_lock_release(lock), 0);
		ck_assert_uint_eq(atomic_load(&topic->page->lock_moved), moved);
	}
	locker_end(&waiter);
	end();
}
END_TEST

static void note(int number)
{
	(void)number;
}

START_TEST(signals_interrupt)
{
	const struct sigaction action = { .sa_handler = note };
	const struct itimerval often = { .it_interval = { .tv_usec = 20000 }, .it_value = { .tv_usec = 20000 } }, never = { 0 };
	struct locker holder;
	pathbus_lock *lock;

	transport_begin(transport_of(_i));
	locker_start(&holder, transport_path("data"), NAME);
	open_topic();
	lock = open_lock(NAME);
	locker_expect(&holder, "try", 0);
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
	ck_assert_int_eq(pathbus_lock_acquire(lock, 0, UINT64_MAX), -EINTR);
	ck_assert_int_eq(pathbus_lock_acquire(lock, 0, harness_deadline(HARNESS_LIMIT_MS)), -EINTR);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
	lock_await(transport_path("data"), NAME, 1, 0);
	locker_end(&holder);
	ck_assert_int_eq(pathbus_lock_try(lock, 0), 0);
	end();
}
END_TEST

/* --- deaths --------------------------------------------------------------------------------------------------- */

START_TEST(a_holder_that_is_killed)
{
	static const char *const ways[] = { "try", "acquire", "within 20000", "share", "acquire shared" };
	struct locker victim, next, last;
	const char *path;

	transport_begin(transport_of(_i));
	harness_allow_sidecars();
	path = transport_path("data");
	for (int i = 0; i < 5; i++) {
		bool waits = i == 1 || i == 2 || i == 4, shared = i >= 3;

		locker_start(&victim, path, NAME);
		locker_start(&next, path, NAME);
		locker_expect(&victim, "acquire", 0);
		if (waits) {
			locker_tell(&next, "%s", ways[i]);
			lock_await(path, NAME, 1, 1);
			locker_kill(&victim);
			ck_assert_int_eq(locker_hear(&next), -EOWNERDEAD);
		} else {
			locker_kill(&victim);
			locker_expect(&next, ways[i], -EOWNERDEAD);
		}
		locker_start(&last, path, NAME);
		locker_expect(&last, "try", -EBUSY);
		if (shared) {
			locker_expect(&last, "share", -EOWNERDEAD); /* all who share it are told */
			locker_expect(&next, "consistent", -EPERM);
			locker_expect(&last, "release", 0);
		}
		locker_expect(&next, "release", 0);
		locker_expect(&last, "try", -EOWNERDEAD); /* nobody has said that all is well */
		locker_expect(&last, "release", 0);
		locker_end(&next);
		locker_end(&last);
		ck_assert(lock_is_there(path)); /* it remembers */
		locker_start(&last, path, NAME);
		locker_expect(&last, "acquire", -EOWNERDEAD);
		locker_expect(&last, "consistent", 0);
		locker_expect(&last, "consistent", -EINVAL);
		locker_expect(&last, "release", 0);
		locker_expect(&last, "try", 0);
		locker_end(&last);
		ck_assert(!lock_is_there(path));
	}
}
END_TEST

/* Who heals it and dies all the same has abandoned it again; who only shared or waited has not. */
START_TEST(others_that_are_killed)
{
	struct locker victim, next;
	const char *path;

	transport_begin(transport_of(_i));
	harness_allow_sidecars();
	path = transport_path("data");
	locker_start(&victim, path, NAME);
	locker_start(&next, path, NAME);
	locker_expect(&victim, "share", 0);
	locker_tell(&next, "acquire");
	lock_await(path, NAME, 1, 1);
	locker_kill(&victim);
	ck_assert_int_eq(locker_hear(&next), 0);
	locker_start(&victim, path, NAME);
	locker_tell(&victim, "acquire");
	lock_await(path, NAME, 1, 1);
	locker_kill(&victim);
	lock_await(path, NAME, 1, 0);
	locker_expect(&next, "release", 0);
	locker_expect(&next, "try", 0);
	locker_kill(&next);
	locker_start(&victim, path, NAME);
	locker_expect(&victim, "try", -EOWNERDEAD);
	locker_expect(&victim, "consistent", 0);
	locker_kill(&victim);
	locker_start(&next, path, NAME);
	locker_expect(&next, "try", -EOWNERDEAD);
	locker_expect(&next, "consistent", 0);
	locker_end(&next);
	ck_assert(!lock_is_there(path));
}
END_TEST

/* --- the file, and what becomes of it ---------------------------------------------------------------------------------- */

START_TEST(a_file_that_is_moved_away)
{
	pathbus_lock *ours, *theirs;

	transport_begin(transport_of(_i));
	open_topic();
	ours = open_lock(NAME);
	ck_assert_int_eq(rename(lock_path(transport_path("data")), transport_edit("away")), 0);
	theirs = open_lock(NAME);
	ck_assert_int_eq(pathbus_lock_try(ours, 0), 0);
	ck_assert_int_eq(pathbus_lock_try(theirs, 0), -EBUSY);
	end();
	ck_assert_int_eq(unlink(transport_edit("away")), 0);
}
END_TEST

/* Two on one topic never have one lock in two places. */
START_TEST(a_path_that_leads_elsewhere)
{
	static struct pathbus_lock_info info = { .size = sizeof(info) };
	pathbus_lock *ours, *none = NULL;
	pathbus *another;

	transport_begin(transport_of(_i));
	ck_assert_int_eq(mkdir(transport_edit("one"), 0700), 0);
	ck_assert_int_eq(mkdir(transport_edit("two"), 0700), 0);
	ck_assert_int_eq(symlink("one", transport_edit("now")), 0);
	bus = transport_new();
	another = transport_new();
	topic = transport_open(bus, "now/data", 0);
	ours = open_lock(NAME);
	topic = transport_open(another, "now/data", 0);
	ck_assert_int_eq(unlink(transport_edit("now")), 0);
	ck_assert_int_eq(symlink("two", transport_edit("now")), 0);
	ck_assert_int_eq(pathbus_lock_open(topic, NAME, &none), -ESTALE);
	ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), -ESTALE);
	ck_assert_ptr_null(none);
	ck_assert_int_eq(pathbus_lock_try(ours, 0), 0); /* stays where it was */
	topic = transport_open(another, "now/data", 0);
	ck_assert_int_eq(pathbus_lock_open(topic, NAME, &none), 0);
	pathbus_free(another);
	bus = pathbus_free(bus);
}
END_TEST

/* --- who is shown --------------------------------------------------------------------------------------------- */

/* time() may lag behind the clock that the library asks. */
static uint64_t wall_s(void)
{
	struct timespec now;

	ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &now), 0);
	return (uint64_t)now.tv_sec;
}

static int count_lock(const struct pathbus_lock_info *info, void *arg)
{
	unsigned *n = arg;

	ck_assert_uint_eq(info->size, sizeof(*info));
	ck_assert(strcmp(info->name, NAME) == 0 || strcmp(info->name, "another") == 0);
	n[strcmp(info->name, NAME) == 0 ? 0 : 1]++;
	return n[2] ? 7 : 0;
}

START_TEST(who_holds_and_who_waits)
{
	static struct pathbus_lock_info info;
	struct locker holder, waiter, sharer;
	pathbus_lock *lock;
	unsigned n[3] = { 0 };
	uint64_t now = wall_s();

	transport_begin(transport_of(_i));
	locker_start(&holder, transport_path("data"), NAME);
	locker_start(&waiter, transport_path("data"), NAME);
	locker_start(&sharer, transport_path("data"), NAME);
	open_topic();
	ck_assert_int_eq(pathbus_lock_list(topic, count_lock, n), 0);
	ck_assert_uint_eq(n[0], 1);
	info.size = sizeof(info);
	ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), 0);
	ck_assert_int_eq(info.state, PATHBUS_LOCK_FREE);
	ck_assert_uint_eq(info.n_parties, 0);
	locker_expect(&holder, "try", 0);
	locker_tell(&waiter, "acquire");
	lock_await(transport_path("data"), NAME, 1, 1);
	ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), 0);
	ck_assert_int_eq(info.state, PATHBUS_LOCK_IS_EXCLUSIVE);
	ck_assert_int_eq(info.abandoned, 0);
	ck_assert_uint_eq(info.n_parties, 2);
	ck_assert_str_eq(info.name, NAME);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(info.parties[i].pid, i == 0 ? holder.process.pid : waiter.process.pid);
		ck_assert_uint_eq(info.parties[i].uid, geteuid());
		ck_assert_int_eq(info.parties[i].waits, i == 1);
		ck_assert_int_eq(info.parties[i].shared, 0);
		ck_assert_uint_gt(strlen(info.parties[i].command), 0);
		ck_assert_uint_ge(info.parties[i].since_ns / 1000000000u + 1, now);
		ck_assert_uint_le(info.parties[i].since_ns / 1000000000u, wall_s());
	}
	locker_expect(&holder, "release", 0);
	ck_assert_int_eq(locker_hear(&waiter), 0);
	locker_expect(&waiter, "release", 0);
	locker_expect(&holder, "share", 0);
	locker_expect(&sharer, "share", 0);
	locker_tell(&waiter, "acquire");
	lock_await(transport_path("data"), NAME, 2, 1);
	ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), 0);
	ck_assert_int_eq(info.state, PATHBUS_LOCK_IS_SHARED);
	ck_assert_uint_eq(info.n_parties, 3);
	ck_assert_int_eq(info.parties[0].shared && info.parties[1].shared && !info.parties[2].shared, 1);
	ck_assert_int_eq(info.parties[2].pid, waiter.process.pid);
	locker_end(&sharer);
	locker_end(&holder);
	ck_assert_int_eq(locker_hear(&waiter), 0);
	lock = open_lock("another");
	n[0] = n[1] = 0;
	ck_assert_int_eq(pathbus_lock_list(topic, count_lock, n), 0);
	ck_assert_uint_eq(n[0], 1);
	ck_assert_uint_eq(n[1], 1);
	n[2] = 1;
	ck_assert_int_eq(pathbus_lock_list(topic, count_lock, n), 7);
	locker_end(&waiter);
	/* A record that nobody uses is not shown, and is used again. */
	n[0] = n[1] = n[2] = 0;
	ck_assert_int_eq(pathbus_lock_list(topic, count_lock, n), 0);
	ck_assert_uint_eq(n[0], 0);
	ck_assert_uint_eq(n[1], 1);
	pathbus_lock_close(lock);
	end();
}
END_TEST

/* --- forks ---------------------------------------------------------------------------------------------------- */

static pathbus_lock *inherited;

static int use_and_free(struct harness_process *peer, void *arg)
{
	static struct pathbus_lock_info info = { .size = sizeof(info) };
	pathbus_lock *lock = NULL;

	(void)arg;
	ck_assert_int_eq(pathbus_lock_acquire(inherited, 0, UINT64_MAX), -ECHILD);
	ck_assert_int_eq(pathbus_lock_try(inherited, 0), -ECHILD);
	ck_assert_int_eq(pathbus_lock_release(inherited), -ECHILD);
	ck_assert_int_eq(pathbus_lock_consistent(inherited), -ECHILD);
	ck_assert_int_eq(pathbus_lock_open(topic, NAME, &lock), -ECHILD);
	ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), -ECHILD);
	ck_assert_int_eq(pathbus_lock_list(topic, count_lock, NULL), -ECHILD);
	ck_assert_ptr_null(pathbus_lock_close(inherited));
	ck_assert_ptr_null(pathbus_free(bus));
	harness_tell(peer, "freed");
	(void)harness_hear(peer);
	return 0;
}

START_TEST(freeing_in_a_child_gives_nothing_back)
{
	struct locker other;
	struct harness_process child;

	transport_begin(transport_of(_i));
	locker_start(&other, transport_path("data"), NAME);
	open_topic();
	inherited = open_lock(NAME);
	ck_assert_int_eq(pathbus_lock_try(inherited, 0), 0);
	harness_spawn(&child, use_and_free, NULL);
	harness_expect_line(&child, "freed");
	locker_expect(&other, "try", -EBUSY);
	ck_assert_int_eq(pathbus_lock_release(inherited), 0);
	locker_expect(&other, "try", 0);
	locker_end(&other);
	ck_assert_int_eq(pathbus_lock_try(inherited, 0), 0);
	harness_hang_up(&child);
	harness_expect_exit(&child, 0);
	end();
}
END_TEST

/* --- kept near ------------------------------------------------------------------------------------------------ */

/* Whether the lock's file is mapped: so it is kept near, or was. */
static bool is_mapped(void)
{
	struct stat st;
	char inode[32];

	if (stat(lock_path(transport_path("data")), &st) < 0)
		return false;
	snprintf(inode, sizeof(inode), " %llu ", (unsigned long long)st.st_ino); /* its maker's has another name there */
	return strstr(harness_read_file("/proc/self/maps"), inode) != NULL;
}

static bool try_and_give_back(pathbus_lock *lock)
{
	int r = pathbus_lock_try(lock, PATHBUS_LOCK_NEAR);

	if (r == 0)
		ck_assert_int_eq(pathbus_lock_release(lock), 0);
	return r == 0;
}

static bool is_there(void)
{
	return lock_is_there(transport_path("data"));
}

START_TEST(a_lock_that_is_kept_near)
{
	static struct pathbus_lock_info info = { .size = sizeof(info) };
	struct locker other;
	pathbus_lock *lock;
	uint64_t since;

	transport_begin(transport_of(_i));
	locker_start(&other, transport_path("data"), NAME);
	open_topic();
	lock = open_lock(NAME);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 8; i++)
			ck_assert(try_and_give_back(lock));
		ck_assert(is_mapped());
		ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), 0);
		ck_assert_int_eq(info.state, PATHBUS_LOCK_FREE);
		ck_assert_int_eq(pathbus_lock_acquire(lock, round == 1 ? 0 : PATHBUS_LOCK_NEAR, UINT64_MAX), 0);
		ck_assert_int_eq(pathbus_lock_try(lock, PATHBUS_LOCK_NEAR), -EDEADLK);
		ck_assert_int_eq(pathbus_lock_consistent(lock), -EINVAL);
		locker_expect(&other, "try", -EBUSY);
		locker_tell(&other, "%s", round == 1 ? "acquire shared" : "acquire");
		lock_await(transport_path("data"), NAME, 1, 1);
		ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), 0);
		ck_assert_int_eq(info.state, PATHBUS_LOCK_IS_EXCLUSIVE);
		ck_assert_int_eq(info.abandoned, 0);
		ck_assert_int_eq(info.parties[0].pid, getpid());
		ck_assert_int_eq(info.parties[1].pid, other.process.pid);
		since = info.parties[0].since_ns;
		ck_assert_uint_le(since / 1000000000u, wall_s());
		ck_assert_int_eq(pathbus_lock_release(lock), 0);
		ck_assert_int_eq(locker_hear(&other), 0);
		ck_assert_int_eq(pathbus_lock_try(lock, PATHBUS_LOCK_NEAR), -EBUSY);
		ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), 0);
		ck_assert_int_eq(info.parties[0].pid, other.process.pid);
		locker_expect(&other, "release", 0);
		ck_assert_int_eq(pathbus_lock_try(lock, PATHBUS_LOCK_SHARED | PATHBUS_LOCK_NEAR), 0);
		locker_expect(&other, "share", 0);
		locker_expect(&other, "release", 0);
		ck_assert_int_eq(pathbus_lock_release(lock), 0);
	}
	/* Closed while it is near, and while it is held near. */
	for (int held = 0; held < 2; held++) {
		for (int i = 0; i < 8; i++)
			ck_assert(try_and_give_back(lock));
		if (held)
			ck_assert_int_eq(pathbus_lock_try(lock, 0), 0);
		pathbus_lock_close(lock);
		ck_assert(!is_mapped());
		locker_expect(&other, "try", 0);
		locker_expect(&other, "release", 0);
		lock = open_lock(NAME);
	}
	/* Removed by hand: noticed, and made anew. */
	for (int i = 0; i < 8; i++)
		ck_assert(try_and_give_back(lock));
	ck_assert_int_eq(unlink(lock_path(transport_path("data"))), 0);
	harness_await(try_and_give_back(lock) && is_there());
	locker_end(&other);
	end();
}
END_TEST

/* A file that is mapped is not opened to others any more; one that others may open is not mapped. */
START_TEST(what_others_may_open_is_not_mapped)
{
	struct stat st;
	pathbus_lock *lock, *another;
	const char *path;

	transport_begin(transport_of(_i));
	path = transport_edit("data");
	harness_write_file(path, "data");
	ck_assert_int_eq(chmod(path, 0600), 0);
	open_topic();
	for (int widened = 0; widened < 2; widened++) {
		lock = open_lock(NAME);
		for (int i = 0; i < 8 && !widened; i++)
			ck_assert(try_and_give_back(lock));
		ck_assert_int_eq(is_mapped(), !widened);
		ck_assert_int_eq(chmod(path, 0666), 0);
		another = open_lock("another");
		ck_assert_int_eq(stat(lock_path(path), &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, widened ? 0666 : 0600);
		for (int i = 0; i < 8; i++)
			ck_assert(try_and_give_back(another));
		ck_assert_int_eq(is_mapped(), !widened);
		pathbus_lock_close(lock);
		pathbus_lock_close(another);
		ck_assert(!is_mapped());
	}
	end();
}
END_TEST

/* --- nothing grows -------------------------------------------------------------------------------------------- */

static int n_entries(const char *folder)
{
	DIR *dir = opendir(folder);
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int n_lines(const char *path)
{
	const char *text = harness_read_file(path);
	int n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static long resident_kb(void)
{
	const char *line = strstr(harness_read_file("/proc/self/status"), "\nVmRSS:");
	long kb = 0;

	ck_assert_ptr_nonnull(line);
	ck_assert_int_eq(sscanf(line, " VmRSS: %ld", &kb), 1);
	return kb;
}

/* Some first, in which whatever is kept is made. Then thousands, with and without another that stays open. */
START_TEST(ten_thousand_rounds)
{
	enum { FIRST = 500, ROUNDS = 10000 };
	int n_fds = 0, n_maps = 0, n_files = 0;
	pathbus_lock *stays = NULL;
	long kb = 0;

	near_undisturbed = 0;
	transport_begin(transport_of(_i));
	open_topic();
	for (int i = 0; i < FIRST + ROUNDS; i++) {
		pathbus_lock *lock;
		char name[32];

		snprintf(name, sizeof(name), "lock %d", i % 2 ? i : 0);
		lock = open_lock(name);
		ck_assert_int_eq(pathbus_lock_try(lock, i % 3 == 0 ? PATHBUS_LOCK_SHARED : i % 3 == 1 ? PATHBUS_LOCK_NEAR : 0),
		                 0);
		if (i % 5 == 0)
			ck_assert_int_eq(pathbus_lock_release(lock), 0);
		pathbus_lock_close(lock);
		if (i == ROUNDS / 2)
			stays = open_lock("stays");
		if (i == FIRST) {
			n_fds = n_entries("/proc/self/fd");
			n_maps = n_lines("/proc/self/maps");
			n_files = n_entries(transport_path(""));
			kb = resident_kb();
		}
	}
	if (stays) {
		struct stat st;

		ck_assert_int_eq(stat(lock_path(transport_path("data")), &st), 0);
		ck_assert_int_lt(st.st_size, 131072); /* records are used again */
		pathbus_lock_close(stays);
	}
	ck_assert_int_eq(n_entries("/proc/self/fd"), n_fds);
	ck_assert_int_le(n_lines("/proc/self/maps"), n_maps + 8); /* the allocator's own */
	ck_assert_int_eq(n_entries(transport_path("")), n_files);
#if defined(__SANITIZE_ADDRESS__)
	ck_assert_int_le(resident_kb(), kb + 65536); /* it keeps what was freed for a while */
#else
	ck_assert_int_le(resident_kb(), kb + 1024);
#endif
	end();
}
END_TEST

/* --- where it cannot be --------------------------------------------------------------------------------------- */

START_TEST(a_folder_on_a_read_only_mount)
{
	static struct pathbus_lock_info info = { .size = sizeof(info) };
	pathbus_lock *lock = NULL;
	unsigned n[3] = { 0 };

	transport_begin(ON_RUNTIME);
	open_topic();
	ck_assert_int_eq(pathbus_lock_open(topic, NAME, &lock), -EROFS);
	ck_assert_ptr_null(lock);
	ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), -ENOENT);
	ck_assert_int_eq(pathbus_lock_list(topic, count_lock, n), 0);
	end();
}
END_TEST

static int no_member(const struct pathbus_member *member, void *arg)
{
	(void)member, (void)arg;
	ck_abort_msg("there is no table of members");
}

/* On no channel, and yet the same locks. */
START_TEST(locks_only)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };
	struct pathbus_connection connection = { .size = sizeof(connection) };
	pathbus_topic *apart = NULL, *again;
	pathbus_endpoint *endpoint;
	pathbus_region *region;
	struct pathbus_event event;
	uint64_t seen = 0;
	pathbus_lock *lock;
	struct locker other;

	transport_begin(transport_of(_i));
	locker_start(&other, transport_path("data"), NAME);
	open_topic();
	ck_assert_int_eq(pathbus_open(bus, transport_path("data"), PATHBUS_LOCKS_ONLY | PATHBUS_POST, &apart), -EINVAL);
	ck_assert_int_eq(pathbus_open(bus, transport_path("none/data"), PATHBUS_LOCKS_ONLY, &apart), -ENOENT);
	ck_assert_ptr_null(apart);
	ck_assert_int_eq(pathbus_open(bus, transport_path("data"), PATHBUS_LOCKS_ONLY, &apart), 0);
	ck_assert_int_eq(pathbus_open(bus, transport_path("data"), PATHBUS_LOCKS_ONLY, &again), 0);
	ck_assert_int_eq(pathbus_transport(apart, &transport), 0);
	ck_assert_int_eq(transport.kind, PATHBUS_AUTO);
	ck_assert_int_eq(pathbus_post(apart), -EACCES);
	ck_assert_int_eq(pathbus_publish(apart, "x", 1), -EACCES);
	ck_assert_int_eq(pathbus_set_state(apart, 1), -EACCES);
	ck_assert_int_eq(pathbus_region_open(apart, NAME, 0, &region), -EOPNOTSUPP);
	ck_assert_int_eq(pathbus_listen(apart, NAME, 0, &endpoint), -EOPNOTSUPP);
	ck_assert_int_eq(pathbus_connect(apart, NAME, 0, &connection), -EOPNOTSUPP);
	ck_assert_int_eq(pathbus_member_list(apart, no_member, NULL), -EOPNOTSUPP);
	(void)pathbus_check(apart, &seen);
	ck_assert_int_eq(pathbus_post(topic), 0);
	ck_assert_int_eq(pathbus_check(apart, &seen), 0);
	ck_assert_int_eq(pathbus_wait(apart, &seen, harness_deadline(1), 0), 0);
	ck_assert_int_eq(take(bus, &event), 0);
	ck_assert_int_eq(pathbus_lock_open(apart, NAME, &lock), 0);
	locker_expect(&other, "try", 0);
	ck_assert_int_eq(pathbus_lock_try(lock, 0), -EBUSY);
	locker_tell(&other, "release");
	ck_assert_int_eq(pathbus_lock_acquire(lock, 0, harness_deadline(HARNESS_LIMIT_MS)), 0);
	ck_assert_int_eq(locker_hear(&other), 0);
	locker_expect(&other, "try", -EBUSY);
	pathbus_close(apart);
	locker_expect(&other, "try", 0);
	locker_end(&other);
	end();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(two_candidates_in_one_process, N),
	HARNESS_CASE_EACH(names_and_mistakes, N),
	HARNESS_CASE_EACH(who_waits_gets_it, N),
	HARNESS_CASE_EACH(deadlines, N),
	HARNESS_CASE_EACH(who_has_a_deadline_is_woken, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(signals_interrupt, N),
	HARNESS_CASE_EACH(a_holder_that_is_killed, N),
	HARNESS_CASE_EACH(others_that_are_killed, N),
	HARNESS_CASE_EACH(who_holds_and_who_waits, N),
	HARNESS_CASE_EACH(freeing_in_a_child_gives_nothing_back, N),
	HARNESS_CASE_EACH(a_lock_that_is_kept_near, N),
	HARNESS_CASE_EACH(what_others_may_open_is_not_mapped, N),
	HARNESS_CASE_EACH(ten_thousand_rounds, N),
	HARNESS_CASE_EACH(locks_only, N),
	HARNESS_CASE(a_folder_on_a_read_only_mount),
	HARNESS_CASE_EACH(a_file_that_is_moved_away, N),
	HARNESS_CASE_EACH(a_path_that_leads_elsewhere, N - 1), /* over the socket it is not known */
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "lock", .cases = cases, .teardown = transport_end });
}
