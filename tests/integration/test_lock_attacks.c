/* SPDX-License-Identifier: MIT */
/*
 * test_lock_attacks.c - the file of locks in the hands of others: who may open it, what is planted in its place, what
 * happens to who works on it while it is shortened, overwritten or removed.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "conformance/lockers.h"
#include "conformance/sidecars.h"
#include "conformance/transports.h"
#include "libclient/lock_file.h"

#define NAME "n"
enum { OWNER = 65001, MEMBER = 65002, STRANGER = 65003, GROUP = 65100, OTHER_GROUP = 65101 };

static const char *path;

static void begin(void)
{
	transport_begin(ON_BUS);
	path = transport_path("data");
}

/* Other users come to the case's folder, and to its daemon. */
static void begin_among_users(void)
{
	if (geteuid() != 0)
		harness_skip("needs root to become other users");
	ck_assert_int_eq(chmod(harness_path(".."), 0711), 0);
	ck_assert_int_eq(chmod(harness_tmpdir(), 0711), 0);
	begin();
	ck_assert_int_eq(chmod(harness_path("files"), 0777), 0);
}

static void make_file(unsigned uid, unsigned gid, mode_t mode)
{
	harness_write_file(path, "data");
	ck_assert_int_eq(chown(path, uid, gid), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static int open_as(unsigned uid, unsigned gid)
{
	struct locker locker;
	int r = locker_start_as(&locker, path, NAME, uid, gid);

	if (r == 0)
		locker_expect(&locker, "try", 0);
	locker_end(&locker);
	return r;
}

/* --- planted in its place ------------------------------------------------------------------------------------- */

static void expect_refusal(int error)
{
	struct stat before, after;

	ck_assert_int_eq(lstat(lock_path(path), &before), 0);
	ck_assert_int_eq(open_as(0, 0), error);
	ck_assert_int_eq(lstat(lock_path(path), &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	ck_assert_int_eq(before.st_size, after.st_size);
	ck_assert_uint_eq(before.st_mode, after.st_mode);
	remove_all(lock_path(path));
	ck_assert_int_eq(open_as(0, 0), 0);
	ck_assert(!lock_is_there(path));
}

static int any(const struct pathbus_lock_info *info, void *arg)
{
	(void)info, (void)arg;
	return 1;
}

static void expect_no_look(int error)
{
	static struct pathbus_lock_info info = { .size = sizeof(info) };
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);

	ck_assert_int_eq(pathbus_lock_get_info(topic, NAME, &info), error);
	ck_assert_int_eq(pathbus_lock_list(topic, any, NULL), error);
	pathbus_free(bus);
}

START_TEST(planted_files)
{
	const char *victim;

	begin();
	victim = harness_path("files/victim");
	harness_write_file(victim, "");
	ck_assert_int_eq(symlink("victim", lock_path(path)), 0);
	expect_refusal(-EEXIST);
	ck_assert_int_eq(symlink("nowhere", lock_path(path)), 0);
	expect_refusal(-EEXIST);
	ck_assert_int_eq(link(victim, lock_path(path)), 0);
	expect_refusal(-EEXIST);
	ck_assert_int_eq(mkfifo(lock_path(path), 0600), 0); /* opening it would block */
	expect_no_look(-EEXIST);
	expect_refusal(-EEXIST);
	ck_assert_int_eq(mkdir(lock_path(path), 0700), 0);
	expect_refusal(-EEXIST);
	harness_write_file(lock_path(path), "data of mine\n");
	expect_no_look(-EEXIST);
	expect_refusal(-EEXIST);
	harness_write_file(lock_path(path), "path");
	ck_assert_int_eq(truncate(lock_path(path), 100), 0);
	ck_assert_int_eq(open_as(0, 0), 0);
	harness_write_file(lock_path(path), "path-data");
	expect_refusal(-EEXIST);
	ck_assert_str_eq(harness_read_file(victim), "");
	/* An empty one is what is left of one that was shortened. */
	harness_write_file(lock_path(path), "");
	ck_assert_int_eq(open_as(0, 0), 0);
	ck_assert(!lock_is_there(path));
}
END_TEST

START_TEST(planted_in_a_folder_for_all)
{
	begin_among_users();
	ck_assert_int_eq(chmod(harness_path("files"), 01777), 0);
	make_file(OWNER, GROUP, 0666);
	harness_write_file(lock_path(path), "");
	ck_assert_int_eq(chmod(lock_path(path), 0666), 0);
	for (int i = 0; i < 2; i++) {
		/* A stranger's; the owner's of the file, whose it may be. */
		ck_assert_int_eq(chown(lock_path(path), i ? OWNER : STRANGER, GROUP), 0);
		ck_assert_int_eq(open_as(0, 0), i ? 0 : -EPERM);
		if (i == 0)
			ck_assert_int_eq(open_as(MEMBER, GROUP), -EPERM);
	}
	ck_assert(!lock_is_there(path));
}
END_TEST

/* --- who may -------------------------------------------------------------------------------------------------- */

struct entry {
	uint16_t tag, permissions;
	uint32_t id;
};

static void set_list(const char *file, const struct entry *entries, unsigned n)
{
	struct {
		uint32_t version;
		struct entry entries[16];
	} list = { .version = htole32(2) };

	for (unsigned i = 0; i < n; i++)
		list.entries[i] = (struct entry){ htole16(entries[i].tag), htole16(entries[i].permissions),
			                          htole32(entries[i].id) };
	if (setxattr(file, "system.posix_acl_access", &list, 4 + n * sizeof(entries[0]), 0) < 0)
		harness_skip("no lists of access control here: %s", strerror(errno));
}

/* Who makes the file first, and who then may use it. */
START_TEST(who_may_write_may_lock)
{
	static const struct {
		mode_t mode;
		bool owner, member, stranger;
	} rows[] = {
		{ 0600, true, false, false }, { 0644, true, false, false }, { 0660, true, true, false },
		{ 0664, true, true, false },  { 0666, true, true, true },   { 0620, true, true, false },
		{ 0060, false, true, false }, { 0606, true, false, true },
	};
	static const struct {
		unsigned uid, gid;
	} users[] = { { 0, 0 }, { OWNER, OTHER_GROUP }, { MEMBER, GROUP }, { STRANGER, OTHER_GROUP } };

	begin_among_users();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int maker = 0; maker < 4; maker++) {
			const bool may[4] = { true, rows[i].owner, rows[i].member, rows[i].stranger };
			struct locker first;

			make_file(OWNER, GROUP, rows[i].mode);
			if (!may[maker]) {
				ck_assert_int_eq(open_as(users[maker].uid, users[maker].gid), -EACCES);
				continue;
			}
			ck_assert_int_eq(locker_start_as(&first, path, NAME, users[maker].uid, users[maker].gid), 0);
			for (int user = 0; user < 4; user++) {
				int r = open_as(users[user].uid, users[user].gid);

				ck_assert_msg(r == (may[user] ? 0 : -EACCES), "mode %o, made by %d, opened by %d: %d",
				              rows[i].mode, maker, user, r);
			}
			locker_end(&first);
			ck_assert(!lock_is_there(path));
		}
}
END_TEST

/* Who may only read the file cannot even open the locks' file: it could keep everybody out. */
static int try_to_read(struct harness_process *peer, void *arg)
{
	(void)peer, (void)arg;
	ck_assert_int_eq(setgid(OTHER_GROUP), 0);
	ck_assert_int_eq(setuid(STRANGER), 0);
	ck_assert_int_ge(open(path, O_RDONLY | O_CLOEXEC), 0);
	ck_assert_int_lt(open(lock_path(path), O_RDONLY | O_CLOEXEC), 0);
	ck_assert_int_eq(errno, EACCES);
	return 0;
}

START_TEST(who_may_only_read_may_not)
{
	struct harness_process reader;
	struct locker first;

	begin_among_users();
	make_file(OWNER, GROUP, 0664);
	locker_start(&first, path, NAME);
	harness_spawn(&reader, try_to_read, NULL);
	harness_expect_exit(&reader, 0);
	ck_assert_int_eq(open_as(STRANGER, OTHER_GROUP), -EACCES);
	/* Rights of today: the owner's next opening brings them. */
	ck_assert_int_eq(chmod(path, 0666), 0);
	ck_assert_int_eq(open_as(STRANGER, OTHER_GROUP), -EACCES);
	ck_assert_int_eq(open_as(OWNER, OTHER_GROUP), 0);
	ck_assert_int_eq(open_as(STRANGER, OTHER_GROUP), 0);
	locker_end(&first);
}
END_TEST

static int try_to_lock_by_itself(struct harness_process *peer, void *arg)
{
	(void)peer, (void)arg;
	ck_assert_int_eq(setgid(OTHER_GROUP + 9), 0);
	ck_assert_int_eq(setuid(MEMBER), 0);
	ck_assert_int_lt(open(lock_path(path), O_RDONLY | O_CLOEXEC), 0);
	ck_assert_int_eq(errno, EACCES);
	return 0;
}

START_TEST(lists_of_access_control)
{
	enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP_ENTRY = 8, MASK = 16, OTHER = 32, NONE = 0 };
	static const struct entry entries[] = {
		{ USER_OBJ, 6, UINT32_MAX }, { USER, 6, MEMBER },         { USER, 4, STRANGER },
		{ GROUP_OBJ, 4, UINT32_MAX }, { GROUP_ENTRY, 6, OTHER_GROUP }, { MASK, 6, UINT32_MAX }, { OTHER, 4, UINT32_MAX },
	};
	struct entry masked[7];
	struct locker first;
	struct harness_process named;

	begin_among_users();
	for (int maker = 0; maker < 3; maker++) {
		make_file(OWNER, GROUP, 0600);
		set_list(path, entries, 7);
		ck_assert_int_eq(locker_start_as(&first, path, NAME, maker == 0 ? 0 : maker == 1 ? OWNER : MEMBER, GROUP), 0);
		ck_assert_int_eq(open_as(0, 0), 0);
		ck_assert_int_eq(open_as(OWNER, GROUP), 0);
		ck_assert_int_eq(open_as(MEMBER, GROUP), 0);                /* named */
		ck_assert_int_eq(open_as(STRANGER, OTHER_GROUP), -EACCES);  /* named, with less than its group */
		ck_assert_int_eq(open_as(STRANGER + 1, OTHER_GROUP), 0);    /* in a group that is */
		ck_assert_int_eq(open_as(STRANGER + 1, GROUP), -EACCES);    /* which may only read */
		ck_assert_int_eq(open_as(STRANGER + 1, GROUP + 9), -EACCES);
		locker_end(&first);
		ck_assert(!lock_is_there(path));
	}
	/* The mask takes from those who are named, and from the group, but not from others. */
	memcpy(masked, entries, sizeof(masked));
	masked[5].permissions = 4;
	masked[6].permissions = 6;
	set_list(path, masked, 7);
	ck_assert_int_eq(open_as(OWNER, GROUP), 0);
	ck_assert_int_eq(open_as(MEMBER, GROUP), -EACCES);
	ck_assert_int_eq(open_as(STRANGER + 1, GROUP + 9), 0);
	/* Nor can they open the locks' file by themselves. */
	locker_start(&first, path, NAME);
	harness_spawn(&named, try_to_lock_by_itself, NULL);
	harness_expect_exit(&named, 0);
	locker_end(&first);
	ck_assert(!lock_is_there(path));
}
END_TEST

/* Of a file that is not there its folder decides; root's file is the owner's; the mode is that of today's file. */
START_TEST(a_file_that_is_missing)
{
	struct stat st;
	struct locker first;

	begin_among_users();
	ck_assert_int_eq(chown(harness_path("files"), OWNER, GROUP), 0);
	ck_assert_int_eq(chmod(harness_path("files"), 0775), 0);
	locker_start(&first, path, NAME);
	ck_assert_int_eq(stat(lock_path(path), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	ck_assert_uint_eq(st.st_uid, OWNER);
	ck_assert_uint_eq(st.st_gid, GROUP);
	ck_assert_int_eq(open_as(MEMBER, GROUP), 0);
	ck_assert_int_eq(open_as(STRANGER, OTHER_GROUP), -EACCES);
	locker_end(&first);
	/* A folder that takes nothing from who may write the file. */
	make_file(OWNER, GROUP, 0660);
	ck_assert_int_eq(chmod(harness_path("files"), 0755), 0);
	ck_assert_int_eq(open_as(MEMBER, GROUP), -EACCES);
	locker_start(&first, path, NAME);
	ck_assert_int_eq(open_as(MEMBER, GROUP), 0);
	locker_end(&first);
	ck_assert(!lock_is_there(path));
}
END_TEST

/* --- shortened, overwritten, removed -------------------------------------------------------------------------- */

static struct vandal {
	unsigned uid;
	int way;
} vandal;

/* Does its worst a number of times, and says so in between. */
static int be_vandal(struct harness_process *peer, void *arg)
{
	static const off_t sizes[] = { 0, 1, 15, 16, 4096, 4100, 69632, 69640, 70000, 1 << 20 };
	const struct vandal *me = arg;
	unsigned char noise[512];
	int fd;

	if (me->uid) {
		ck_assert_int_eq(setgid(GROUP), 0);
		ck_assert_int_eq(setuid(me->uid), 0);
	}
	fd = open(lock_path(path), O_RDWR | O_CLOEXEC);
	ck_assert_msg(fd >= 0, "opening: %s", strerror(errno));
	for (int i = 0; harness_hear(peer); i++) {
		for (size_t k = 0; k < sizeof(noise); k++)
			noise[k] = (unsigned char)(i * 31 + (int)k * (me->way == 2 ? 7 : 0));
		if (me->way == 0)
			ck_assert_int_eq(ftruncate(fd, sizes[i % 10]), 0);
		else
			ck_assert_int_eq(pwrite(fd, noise, sizeof(noise), LOCK_FILE_NAMES_AT + 512 * (i % 4)), 512);
		if (me->way == 2)
			ck_assert_int_eq(pwrite(fd, noise, sizeof(noise), LOCK_FILE_SLOTS_AT + 512 * (i % 4)), 512);
		harness_tell(peer, "done");
	}
	close(fd);
	return 0;
}

static bool is_fine(int r)
{
	return r == 0 || r == -EOWNERDEAD;
}

/* _i: by the same user or another; shortened, records of nothing, noise. Whoever holds the lock holds it alone, and goes on. */
START_TEST(while_it_is_used)
{
	struct harness_process process;
	struct locker one, other, third;

	vandal = (struct vandal){ .uid = _i % 2 ? MEMBER : 0, .way = _i / 2 };
	if (_i % 2) {
		begin_among_users();
		make_file(OWNER, GROUP, 0660);
	} else {
		begin();
	}
	locker_start(&one, path, NAME);
	locker_start(&other, path, NAME);
	harness_spawn(&process, be_vandal, &vandal);
	for (int i = 0; i < 60; i++) {
		const char *way = i % 3 ? "acquire" : "within 20000";

		ck_assert(is_fine(locker_ask(&one, i % 4 ? "try" : "acquire")));
		harness_tell(&process, "go");
		harness_expect_line(&process, "done");
		locker_expect(&other, "try", -EBUSY);
		locker_expect(&other, "share", -EBUSY);
		if (i % 10 == 0) { /* who comes finds the same lock, if anything */
			int r = locker_start_as(&third, path, NAME, 0, 0);

			ck_assert_msg(r == 0 || r == -EEXIST, "coming: %s", strerror(-r));
			if (r == 0)
				locker_expect(&third, "try", -EBUSY);
			locker_end(&third);
		}
		locker_tell(&other, "%s", way);
		harness_tell(&process, "go");
		harness_expect_line(&process, "done");
		locker_expect(&one, "release", 0);
		ck_assert(is_fine(locker_hear(&other)));
		locker_expect(&one, "try", -EBUSY);
		(void)locker_ask(&other, "consistent");
		locker_expect(&other, "release", 0);
	}
	harness_hang_up(&process);
	harness_expect_exit(&process, 0);
	locker_end(&one);
	locker_end(&other);
	(void)unlink(lock_path(path)); /* it may look like one that remembers */
}
END_TEST

/* What was shortened while somebody held it is written anew by the next, so that its death is told again. */
START_TEST(a_record_comes_back)
{
	struct locker one, other;

	begin();
	harness_allow_sidecars();
	locker_start(&one, path, NAME);
	locker_start(&other, path, NAME);
	ck_assert_int_eq(truncate(lock_path(path), 0), 0);
	locker_expect(&one, "try", 0);
	locker_kill(&one);
	locker_expect(&other, "try", -EOWNERDEAD);
	ck_assert_int_eq(truncate(lock_path(path), 0), 0);
	locker_expect(&other, "release", 0); /* not consistent: that is written */
	locker_start(&one, path, NAME);
	locker_expect(&one, "try", 0); /* of a record without a name nobody knows whose it was */
	locker_end(&one);
	locker_end(&other);
	ck_assert(!lock_is_there(path));
}
END_TEST

/* Removed by hand: who comes, and who was there, meet in a new one. */
START_TEST(removed_under_its_handles)
{
	struct locker one, other, waiter;

	begin();
	locker_start(&one, path, NAME);
	locker_start(&waiter, path, NAME);
	for (int i = 0; i < 5; i++) {
		static const char *const ways[] = { "acquire", "within 20000", "acquire shared" };

		locker_expect(&one, "try", 0);
		locker_tell(&waiter, "%s", ways[i % 3]);
		lock_await(path, NAME, 1, 1);
		ck_assert_int_eq(unlink(lock_path(path)), 0);
		locker_start(&other, path, NAME);
		locker_expect(&other, "try", 0); /* as the header says: what is removed excludes nobody */
		locker_expect(&one, "release", 0);
		locker_expect(&one, "try", -EBUSY);
		locker_expect(&other, "release", 0);
		ck_assert_int_eq(locker_hear(&waiter), 0);
		locker_expect(&other, "try", -EBUSY);
		locker_expect(&one, "try", -EBUSY);
		locker_expect(&waiter, "release", 0);
		locker_end(&other);
		ck_assert(lock_is_there(path));
	}
	locker_end(&one);
	locker_end(&waiter);
	ck_assert(!lock_is_there(path));
}
END_TEST

/* More names than there are records. */
START_TEST(too_many_names)
{
	static pathbus_lock *locks[LOCK_FILE_N_NAMES];
	pathbus_lock *one_more = NULL;
	pathbus_topic *topic;
	pathbus *bus;
	char name[32];

	begin();
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	for (int i = 0; i < LOCK_FILE_N_NAMES; i++) {
		int r;

		snprintf(name, sizeof(name), "lock %d", i);
		r = pathbus_lock_open(topic, name, &locks[i]);
		if (r == -EMFILE)
			harness_skip("too few descriptors for this");
		ck_assert_int_eq(r, 0);
	}
	ck_assert_int_eq(pathbus_lock_open(topic, "one more", &one_more), -EUSERS);
	ck_assert_int_eq(pathbus_lock_open(topic, "lock 1023", &one_more), 0);
	ck_assert_int_eq(pathbus_lock_try(one_more, 0), 0);
	ck_assert_int_eq(pathbus_lock_try(locks[1023], 0), -EBUSY);
	pathbus_lock_close(locks[7]);
	pathbus_lock_close(one_more);
	ck_assert_int_eq(pathbus_lock_open(topic, "one more", &one_more), 0);
	ck_assert_int_eq(pathbus_lock_try(one_more, 0), 0);
	pathbus_free(bus);
	ck_assert(!lock_is_there(path));
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(planted_files),
	HARNESS_CASE(planted_in_a_folder_for_all),
	HARNESS_CASE(who_may_write_may_lock),
	HARNESS_CASE(who_may_only_read_may_not),
	HARNESS_CASE(lists_of_access_control),
	HARNESS_CASE(a_file_that_is_missing),
	HARNESS_CASE_EACH(while_it_is_used, 6),
	HARNESS_CASE(a_record_comes_back),
	HARNESS_CASE(removed_under_its_handles),
	HARNESS_CASE(too_many_names),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "lock_attacks", .cases = cases, .teardown = transport_end });
}
