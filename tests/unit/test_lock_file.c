/* SPDX-License-Identifier: MIT */
/* test_lock_file.c - the file of locks: its layout, its records, and files beside others. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/harness.h"
#include "libclient/lock_file.h"

static struct place place;

static void begin(void)
{
	harness_write_file(harness_path("data"), "data");
	ck_assert_int_eq(chmod(harness_path("data"), 0600), 0);
	ck_assert_int_eq(place_resolve(-1, harness_path("data"), &place), 0);
}

static struct lock_file open_file(const char *lock)
{
	struct lock_file file = LOCK_FILE_NONE;
	int r = lock_file_open(&place, lock, &file);

	ck_assert_msg(r == 0, "opening: %s", strerror(-r));
	return file;
}

static bool is_there(void)
{
	return access(harness_path(".data.pathbus-lock"), F_OK) == 0;
}

/* Other versions of the library read it. */
START_TEST(the_layout_stays)
{
	struct lock_name record;
	struct lock_slot slot;
	struct lock_file file;
	char magic[16];

	begin();
	file = open_file("name");
	ck_assert_int_eq(file.record, 0);
	ck_assert_int_eq(lock_file_take(&file, OS_LOCK_EXCLUSIVE, false), 0);
	ck_assert_int_eq(pread(file.file, magic, 16, 0), 16);
	ck_assert_mem_eq(magic, "pathbus-lock 1\n", 16);
	ck_assert_int_eq(pread(file.file, &record, 512, 69632), 512);
	ck_assert_uint_eq(record.size, 4);
	ck_assert_uint_eq(record.flags, LOCK_NAME_HELD);
	ck_assert_uint_eq(record.party.pid, (uint32_t)getpid());
	ck_assert_str_eq(record.name, "name");
	ck_assert_int_eq(lock_file_give_back(&file, OS_LOCK_EXCLUSIVE, false), 0);
	ck_assert_int_eq(lock_file_take(&file, OS_LOCK_SHARED, false), 0);
	ck_assert_int_eq(pread(file.file, &slot, 64, 4096), 64);
	ck_assert_uint_eq(slot.hash, lock_file_hash("name", 4));
	ck_assert_uint_eq(slot.flags, LOCK_SLOT_HOLDS | LOCK_SLOT_SHARED);
	ck_assert_uint_eq(offsetof(struct lock_slot, party), 16);
	ck_assert_uint_eq(offsetof(struct lock_name, party), 8);
	ck_assert_uint_eq(offsetof(struct lock_name, near_since), 40);
	ck_assert_uint_eq(offsetof(struct lock_name, near_kept), 48);
	ck_assert_uint_eq(offsetof(struct lock_name, near_wanted), 52);
	ck_assert_uint_eq(offsetof(struct lock_name, name), 64);
	lock_file_leave(&file);
	ck_assert(!is_there());
	place_deinit(&place);
}
END_TEST

START_TEST(records_that_are_none)
{
	struct lock_name record = { .size = 3, .name = "abc" };

	ck_assert(lock_name_is(&record, "abc", 3));
	ck_assert(lock_name_is(&record, NULL, 0));
	ck_assert(!lock_name_is(&record, "ab", 2));
	ck_assert(!lock_name_is(&record, "abd", 3));
	record.size = 4; /* there is a zero within the name */
	ck_assert(!lock_name_is(&record, NULL, 0));
	record.size = 0;
	ck_assert(!lock_name_is(&record, NULL, 0));
	memset(record.name, 'x', sizeof(record.name));
	record.size = 255;
	ck_assert(lock_name_is(&record, NULL, 0));
	record.size = 256;
	ck_assert(!lock_name_is(&record, NULL, 0));
	record.size = UINT32_MAX;
	ck_assert(!lock_name_is(&record, NULL, 0));
}
END_TEST

/* Names get records of their own, one name the same one, and who leaves makes room. */
START_TEST(records_are_given_out)
{
	struct lock_file a, b, c, a2;

	begin();
	a = open_file("a");
	b = open_file("b");
	a2 = open_file("a");
	ck_assert_int_eq(a.record, 0);
	ck_assert_int_eq(b.record, 1);
	ck_assert_int_eq(a2.record, 0);
	lock_file_leave(&a);
	c = open_file("c");
	ck_assert_int_eq(c.record, 2);
	lock_file_leave(&a2);
	a = open_file("d");
	ck_assert_int_eq(a.record, 0);
	/* An abandoned one is not given to others. */
	ck_assert_int_eq(lock_file_take(&b, OS_LOCK_EXCLUSIVE, false), 0);
	close(b.file);
	close(b.dir);
	a2 = open_file("e");
	ck_assert_int_eq(a2.record, 3);
	b = open_file("b");
	ck_assert_int_eq(b.record, 1);
	ck_assert_int_eq(lock_file_take(&b, OS_LOCK_EXCLUSIVE, false), 1);
	ck_assert_int_eq(lock_file_mend(&b), 0);
	ck_assert_int_eq(lock_file_give_back(&b, OS_LOCK_EXCLUSIVE, false), 0);
	lock_file_leave(&a);
	lock_file_leave(&b);
	lock_file_leave(&c);
	ck_assert(is_there());
	lock_file_leave(&a2);
	ck_assert(!is_there());
	place_deinit(&place);
}
END_TEST

/* Shortened between any two steps: missing records are found again, and never two. */
START_TEST(a_record_that_goes_missing)
{
	static const off_t sizes[] = { 0, 1, 16, 4096, 69632, 69650, 69700, 70144 };
	struct lock_file a, b, late;

	begin();
	a = open_file("a");
	b = open_file("b");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		ck_assert_int_eq(ftruncate(a.file, sizes[i]), 0);
		late = open_file(i % 2 ? "b" : "a");
		ck_assert_int_eq(lock_file_take(&b, OS_LOCK_EXCLUSIVE, false), 0);
		ck_assert_int_eq(lock_file_take(&a, OS_LOCK_EXCLUSIVE, false), 0);
		ck_assert_int_eq(lock_file_take(&late, OS_LOCK_EXCLUSIVE, false), -EAGAIN);
		ck_assert_int_eq(late.record, i % 2 ? b.record : a.record);
		ck_assert_int_ne(a.record, b.record);
		ck_assert_int_eq(lock_file_give_back(&a, OS_LOCK_EXCLUSIVE, false), 0);
		ck_assert_int_eq(lock_file_give_back(&b, OS_LOCK_EXCLUSIVE, false), 0);
		lock_file_leave(&late);
	}
	lock_file_leave(&a);
	lock_file_leave(&b);
	ck_assert(!is_there());
	place_deinit(&place);
}
END_TEST

/* A name that leaves no room for the suffix. */
START_TEST(long_file_names)
{
	char name[256], lock[KEY_NAME_MAX + 1], other[KEY_NAME_MAX + 1];
	struct lock_file file;

	memset(name, 'n', 255);
	name[255] = '\0';
	ck_assert_int_eq(place_resolve(-1, harness_path("%s", name), &place), 0);
	key_lock_name(&place.key, lock);
	key_sidecar_name(&place.key, other);
	ck_assert_uint_le(strlen(lock), KEY_NAME_MAX);
	ck_assert_str_ne(lock, other);
	ck_assert_str_eq(lock + strlen(lock) - 13, ".pathbus-lock");
	file = open_file("a");
	ck_assert_int_eq(access(harness_path("%s", lock), F_OK), 0);
	lock_file_leave(&file);
	ck_assert_int_ne(access(harness_path("%s", lock), F_OK), 0);
	place_deinit(&place);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(the_layout_stays),
	HARNESS_CASE(records_that_are_none),
	HARNESS_CASE(records_are_given_out),
	HARNESS_CASE(a_record_that_goes_missing),
	HARNESS_CASE(long_file_names),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "lock_file", .cases = cases });
}
