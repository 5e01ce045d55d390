/* SPDX-License-Identifier: MIT */
/* test_shared.c - os.h: memory that programs share by name, and the files and locks that go with it. */
#include "harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/os.h"

START_TEST(nobody_can_make_it_smaller)
{
	int fd = os_shared_new("pathbus-test", 3 * 4096, false);
	struct stat st;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 3 * 4096);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert(os_is_sealed(fd));
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, 4096), -1);
	ck_assert_int_eq(errno, EPERM);
	close(fd);
	fd = os_memory_new("other", 4096);
	ck_assert(os_is_sealed(fd)); /* a lane's is, too; it is told by its name */
	close(fd);
	fd = memfd_create("bare", MFD_CLOEXEC);
	ck_assert(!os_is_sealed(fd));
	close(fd);
}
END_TEST

/* All of it or none. */
START_TEST(huge_pages_are_set_aside)
{
	size_t size = os_huge_page_size();
	int fd;

	if (size == 0)
		harness_skip("there are no huge pages");
	fd = os_shared_new("pathbus-test", 2 * size, true);
	if (fd >= 0) {
		unsigned char *map = os_map(fd, 2 * size, true, NULL);

		ck_assert_ptr_nonnull(map);
		ck_assert(os_is_sealed(fd));
		memset(map, 1, 2 * size);
		ck_assert_int_eq(os_shared_store(fd, 8, 77), 0);
		ck_assert_uint_eq(map[8], 77);
		munmap(map, 2 * size);
		close(fd);
	} else {
		ck_assert_int_eq(fd, -EOPNOTSUPP);
	}
	ck_assert_int_eq(os_shared_new("pathbus-test", (size_t)1 << 50, true), -EOPNOTSUPP);
}
END_TEST

START_TEST(opened_anew)
{
	int fd = os_shared_new("pathbus-test", 4096, false), reader = os_reopen(fd, false), writer = os_reopen(fd, true);

	ck_assert_int_ge(reader, 0);
	ck_assert_int_ge(writer, 0);
	ck_assert_int_eq(fcntl(reader, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_eq(fcntl(writer, F_GETFL) & O_ACCMODE, O_RDWR);
	/* Each is a holder of its own; a copy is not. */
	ck_assert_int_eq(os_lock(writer, OS_LOCK_EXCLUSIVE, 5, 1), 0);
	ck_assert_int_eq(os_lock_is_exclusive(reader, 5, 1), 1);
	ck_assert_int_eq(os_lock_is_exclusive(fd, 5, 1), 1);
	ck_assert_int_eq(os_lock_is_exclusive(writer, 5, 1), 0);
	ck_assert_int_eq(os_lock(writer, OS_LOCK_SHARED, 5, 1), 0);
	ck_assert_int_eq(os_lock_is_exclusive(reader, 5, 1), 0);
	ck_assert_int_eq(os_lock_is_held(fd, 5, 1), 1);
	ck_assert_int_eq(os_lock(reader, OS_LOCK_SHARED, 5, 1), 0);
	ck_assert_int_eq(os_lock(fd, OS_LOCK_EXCLUSIVE, 5, 1), -EAGAIN);
	ck_assert_int_eq(os_lock(writer, OS_LOCK_EXCLUSIVE, (off_t)(UINT64_C(1) << 62) + 12345, 1), 0);
	ck_assert_int_eq(os_lock_is_exclusive(reader, (off_t)(UINT64_C(1) << 62) + 12345, 1), 1);
	ck_assert_int_eq(os_lock_is_exclusive(reader, (off_t)(UINT64_C(1) << 62) + 12344, 1), 0);
	ck_assert_int_eq(os_lock_is_exclusive(reader, INT64_MAX, 1), 0);
	close(writer);
	ck_assert_int_eq(os_lock_is_exclusive(reader, (off_t)(UINT64_C(1) << 62) + 12345, 1), 0);
	close(reader);
	close(fd);
}
END_TEST

START_TEST(of_a_process)
{
	int fd = os_shared_new("pathbus-test", 4096, false), same, lane = os_memory_new("pathbus-lane", 4096);
	struct stat one, other;

	same = os_shared_of_process(getpid(), fd, "pathbus-test");
	ck_assert_int_ge(same, 0);
	ck_assert_int_eq(fstat(fd, &one), 0);
	ck_assert_int_eq(fstat(same, &other), 0);
	ck_assert(one.st_dev == other.st_dev && one.st_ino == other.st_ino);
	ck_assert_int_eq(fcntl(same, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(os_shared_of_process(getpid(), fd, "pathbus-tes"), -ESTALE);
	ck_assert_int_eq(os_shared_of_process(getpid(), fd, "pathbus-test2"), -ESTALE);
	ck_assert_int_eq(os_shared_of_process(getpid(), fd, ""), -ESTALE);
	ck_assert_int_eq(os_shared_of_process(getpid(), lane, "pathbus-test"), -ESTALE);
	ck_assert_int_eq(os_shared_of_process(getpid(), 0, "pathbus-test"), -ESTALE);
	ck_assert_int_eq(os_shared_of_process(getpid(), 12345, "pathbus-test"), -ESRCH);
	ck_assert_int_eq(os_shared_of_process(-1, fd, "pathbus-test"), -ESRCH);
	ck_assert_int_eq(fchmod(fd, 0640), 0);
	ck_assert_int_eq(os_shared_of_process(getpid(), fd, "pathbus-test"), -ESTALE);
	close(same);
	close(lane);
	close(fd);
	fd = memfd_create("pathbus-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_eq(fchmod(fd, 0600), 0);
	ck_assert_int_eq(os_shared_of_process(getpid(), fd, "pathbus-test"), -ESTALE); /* no seals */
	close(fd);
}
END_TEST

START_TEST(a_word_is_stored)
{
	int fd = os_shared_new("pathbus-test", 8192, false);
	uint64_t word = 0;

	ck_assert_int_eq(os_shared_store(fd, 712, UINT64_C(0x0102030405060708)), 0);
	ck_assert_int_eq(pread(fd, &word, sizeof(word), 712), sizeof(word));
	ck_assert_uint_eq(word, UINT64_C(0x0102030405060708));
	ck_assert_int_lt(os_shared_store(-1, 0, 1), 0);
	close(fd);
}
END_TEST

START_TEST(what_may_be_reserved)
{
	ck_assert_int_eq(os_may_reserve(1), 0);
	ck_assert_int_eq(os_may_reserve(1 << 20), 0);
	ck_assert_int_eq(os_may_reserve(UINT64_C(1) << 60), -ENOSPC);
	ck_assert_int_eq(os_may_reserve(UINT64_MAX), -ENOSPC);
}
END_TEST

START_TEST(files_without_a_name)
{
	int dir = os_open_folder(AT_FDCWD, harness_tmpdir(), false), file, other;
	struct stat st;

	umask(0377); /* whatever that is */
	file = os_make_unnamed(dir);
	umask(022);
	if (file == -EOPNOTSUPP || file == -EISDIR)
		harness_skip("this file system has none");
	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(fstat(file, &st), 0);
	ck_assert(st.st_nlink == 0 && (st.st_mode & 07777) == 0600);
	ck_assert_int_eq(os_link_new(file, dir, "name"), 0);
	other = os_make_unnamed(dir);
	ck_assert_int_eq(os_link_new(other, dir, "name"), -EEXIST);
	ck_assert_int_eq(os_link_new(other, dir, "other"), 0);
	ck_assert_int_eq(fstatat(dir, "name", &st, AT_SYMLINK_NOFOLLOW), 0);
	ck_assert_uint_eq(st.st_nlink, 1);
	close(file);
	close(other);
	close(dir);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(nobody_can_make_it_smaller),
	HARNESS_CASE(huge_pages_are_set_aside),
	HARNESS_CASE(opened_anew),
	HARNESS_CASE(of_a_process),
	HARNESS_CASE(a_word_is_stored),
	HARNESS_CASE(what_may_be_reserved),
	HARNESS_CASE(files_without_a_name),
	{ 0 }
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "shared", .cases = cases });
}
