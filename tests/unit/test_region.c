/* SPDX-License-Identifier: MIT */
/* test_region.c - what a region is: its shape, its names, its header; and the frames about it. */
#include "harness/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <limits.h>
#include <string.h>

#include "region.h"
#include "wire_region.h"

/* --- shape and names ----------------------------------------------------------------------------------- */

START_TEST(shapes)
{
	static const struct {
		uint64_t data_size;
		unsigned flags;
		uint64_t page_size, frame_size, total;
	} rows[] = {
		{ 1, 0, 4096, 4096, 8192 },
		{ 4096, 0, 4096, 4096, 8192 },
		{ 4097, 0, 4096, 8192, 12288 },
		{ 4097, REGION_DOUBLE, 4096, 8192, 20480 },
		{ 1, REGION_DOUBLE | REGION_HUGE, 2 << 20, 2 << 20, 6 << 20 },
		{ REGION_MAX_DATA, REGION_DOUBLE, 4096, REGION_MAX_DATA, 2 * REGION_MAX_DATA + 4096 },
	};
	static const struct {
		uint64_t data_size, page_size;
	} bad[] = { { 0, 4096 }, { REGION_MAX_DATA + 1, 4096 }, { UINT64_MAX, 4096 }, { 1, 0 }, { 1, 4095 }, { 1, 2048 },
		    { 1, 4096 + 512 }, { 1, UINT64_C(1) << 63 } };
	struct region_shape shape;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_int_eq(region_shape_make(rows[i].data_size, rows[i].flags, rows[i].page_size, &shape), 0);
		ck_assert_uint_eq(shape.frame_size, rows[i].frame_size);
		ck_assert_uint_eq(shape.total, rows[i].total);
		ck_assert_uint_eq(shape.n_frames, rows[i].flags & REGION_DOUBLE ? 2 : 1);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(region_shape_make(bad[i].data_size, 0, bad[i].page_size, &shape), -EINVAL);
}
END_TEST

static const struct topic_key key = { .dir_dev = 1, .dir_ino = 2, .name_size = 4, .name = "file" };
static const struct topic_key other_key = { .dir_dev = 1, .dir_ino = 3, .name_size = 4, .name = "file" };
static const uint8_t id[REGION_ID_SIZE] = { 0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff };

START_TEST(names_tell_apart)
{
	char one[HASH_TEXT_SIZE], two[HASH_TEXT_SIZE], label[REGION_LABEL_SIZE];

	region_hash(&key, "r", 1, one);
	region_hash(&key, "r", 1, two);
	ck_assert_str_eq(one, two);
	region_hash(&key, "s", 1, two);
	ck_assert_str_ne(one, two);
	region_hash(&other_key, "r", 1, two);
	ck_assert_str_ne(one, two);
	region_label(one, id, 0x1234, REGION_DOUBLE, label);
	ck_assert(strncmp(label, "pathbus-region:", 15) == 0);
	ck_assert(strncmp(label + 15, one, 32) == 0);
	ck_assert_str_eq(label + 47, ":ab0102030405060708090a0b0c0d0eff:1234:4");
	region_label(one, id, UINT64_MAX, UINT_MAX, label); /* the longest */
	ck_assert_uint_eq(strlen(label), 47 + 33 + 1 + 16 + 1 + 8);
}
END_TEST

START_TEST(headers)
{
	struct region_header header = { 0 };
	struct region_shape shape = { 0 };
	char name[REGION_MAX_NAME + 1];
	unsigned flags;

	region_header_init(&header, &key, "frame", 5, id, 5000, REGION_DOUBLE);
	ck_assert_int_eq(region_header_check(&header, 20480, &key, "frame", &shape, &flags, name), 0);
	ck_assert_uint_eq(shape.total, 20480);
	ck_assert_uint_eq(flags, REGION_DOUBLE);
	ck_assert_str_eq(name, "frame");
	ck_assert_int_eq(region_header_check(&header, 20480, &key, NULL, &shape, &flags, name), 0);
	ck_assert_int_eq(region_header_check(&header, 20480, NULL, NULL, &shape, &flags, NULL), 0);
	/* another size, topic, name */
	ck_assert_int_eq(region_header_check(&header, 20479, &key, "frame", &shape, &flags, NULL), -EBADMSG);
	ck_assert_int_eq(region_header_check(&header, 24576, &key, "frame", &shape, &flags, NULL), -EBADMSG);
	ck_assert_int_eq(region_header_check(&header, 20480, &other_key, "frame", &shape, &flags, NULL), -EBADMSG);
	ck_assert_int_eq(region_header_check(&header, 20480, &key, "fram", &shape, &flags, NULL), -EBADMSG);
	ck_assert_int_eq(region_header_check(&header, 20480, &key, "frames", &shape, &flags, NULL), -EBADMSG);
	/* What is read where nothing was checked before. */
	header.abi++;
	ck_assert_int_eq(region_header_check(&header, 20480, &key, NULL, &shape, &flags, NULL), -EPROTONOSUPPORT);
	header.abi--;
	header.name_size = UINT32_MAX;
	ck_assert_int_eq(region_header_check(&header, 20480, &key, NULL, &shape, &flags, NULL), -EBADMSG);
	header.name_size = 4;
	ck_assert_int_eq(region_header_check(&header, 20480, &key, NULL, &shape, &flags, NULL), -EBADMSG);
	header.name_size = 5;
	header.flags |= 64;
	ck_assert_int_eq(region_header_check(&header, 20480, &key, NULL, &shape, &flags, NULL), -EBADMSG);
	header.flags = REGION_DOUBLE;
	header.data_size = UINT64_MAX - 4096;
	ck_assert_int_eq(region_header_check(&header, 20480, &key, NULL, &shape, &flags, NULL), -EBADMSG);
	header.data_size = 5000;
	memset(header.name, 'x', sizeof(header.name)); /* no end */
	header.name_size = REGION_MAX_NAME;
	ck_assert_int_eq(region_header_check(&header, 20480, NULL, NULL, &shape, &flags, name), -EBADMSG);
	header.name[REGION_MAX_NAME] = '\0';
	ck_assert_int_eq(region_header_check(&header, 20480, NULL, NULL, &shape, &flags, name), 0);
	header.magic ^= 1;
	ck_assert_int_eq(region_header_check(&header, 20480, &key, NULL, &shape, &flags, NULL), -EBADMSG);
}
END_TEST

/* --- frames: what is documented, byte for byte ----------------------------------------------------------- */

union decoded {
	struct wire_region_open open;
	struct wire_region region;
	struct wire_region_close close;
	struct wire_region_restore restore;
	struct wire_restored restored;
	struct wire_region_list list;
	struct wire_regions regions;
};

static size_t put_open(void *to)
{
	struct wire_region_open open = { .topic = 5, .flags = WIRE_REGION_REPLACE | REGION_DOUBLE, .data_size = 0x010203,
		                         .name = "name", .name_size = 4 };

	memcpy(open.replaces, id, sizeof(id));
	return wire_put_region_open(to, 7, &open);
}

static int get_open(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_region_open(frame, size, &ret->open);
}

static size_t again_open(void *to, const union decoded *got)
{
	return wire_put_region_open(to, 7, &got->open);
}

static size_t put_region(void *to)
{
	struct wire_region region = { .topic = 5, .holder = 6, .flags = REGION_HUGE, .pages = REGION_HUGE_PAGES, .writable = 1,
		                      .data_size = 0x010203, .page_size = 2 << 20 };

	memcpy(region.id, id, sizeof(id));
	return wire_put_region(to, 7, &region);
}

static int get_region(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_region(frame, size, &ret->region);
}

static size_t again_region(void *to, const union decoded *got)
{
	return wire_put_region(to, 7, &got->region);
}

static size_t put_close(void *to)
{
	return wire_put_region_close(to, &(struct wire_region_close){ .topic = 5, .holder = 6 });
}

static int get_close(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_region_close(frame, size, &ret->close);
}

static size_t again_close(void *to, const union decoded *got)
{
	return wire_put_region_close(to, &got->close);
}

static size_t put_restore(void *to)
{
	struct wire_region_restore restore = { .topic = 5, .flags = REGION_RESERVE, .pages = REGION_TRANSPARENT,
		                               .descriptor = 12, .writes = 1, .data_size = 0x010203, .page_size = 4096,
		                               .name = "name", .name_size = 4 };

	memcpy(restore.id, id, sizeof(id));
	return wire_put_region_restore(to, 7, &restore);
}

static int get_restore(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_region_restore(frame, size, &ret->restore);
}

static size_t again_restore(void *to, const union decoded *got)
{
	return wire_put_region_restore(to, 7, &got->restore);
}

static size_t put_restored(void *to)
{
	return wire_put_restored(to, 7, &(struct wire_restored){ .topic = 5, .holder = 6 });
}

static int get_restored(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_restored(frame, size, &ret->restored);
}

static size_t again_restored(void *to, const union decoded *got)
{
	return wire_put_restored(to, 7, &got->restored);
}

static size_t put_list(void *to)
{
	return wire_put_region_list(to, 7, &(struct wire_region_list){ .topic = 5, .after = 0x0807060504030201 });
}

static int get_list(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_region_list(frame, size, &ret->list);
}

static size_t again_list(void *to, const union decoded *got)
{
	return wire_put_region_list(to, 7, &got->list);
}

static const struct wire_region_holder holders[2] = { { .pid = 1, .uid = 2, .writes = 1, .command = "cmd" },
	                                              { .pid = 3, .uid = 4, .command = "other" } };

static size_t put_regions(void *to)
{
	const struct wire_regions regions = { .number = 1, .data_size = 0x010203, .version = 3, .flags = 7, .pages = 1,
		                              .n_holders = 3, .n_listed = 2, .name = "name", .name_size = 4 };

	return wire_put_regions(to, 7, &regions, holders);
}

static int get_regions(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_regions(frame, size, &ret->regions);
}

static size_t again_regions(void *to, const union decoded *got)
{
	struct wire_region_holder copies[WIRE_REGION_HOLDERS];

	for (uint32_t i = 0; i < got->regions.n_listed; i++)
		wire_get_region_holder(&got->regions, i, &copies[i]);
	return wire_put_regions(to, 7, &got->regions, copies);
}

#define ID "\xab\1\2\3\4\5\6\7\x8\x9\xa\xb\xc\xd\xe\xff"

static const struct frame {
	size_t (*put)(void *to);
	int (*get)(const void *frame, size_t size, union decoded *ret);
	size_t (*again)(void *to, const union decoded *got);
	size_t size;
	unsigned char bytes[160];
} frames[] = {
	{ put_open, get_open, again_open, 48,
	  "\x30\0\0\0\xc\0\0\0\7\0\0\0"
	  "\5\0\0\0\4\2\0\0\3\2\1\0\0\0\0\0" ID "name" },
	{ put_region, get_region, again_region, 68,
	  "\x44\0\0\0\x4b\0\0\0\7\0\0\0"
	  "\5\0\0\0\6\0\0\0\2\0\0\0\2\0\0\0\1\0\0\0\0\0\0\0\3\2\1\0\0\0\0\0\0\0\x20\0\0\0\0\0" ID },
	{ put_close, get_close, again_close, 24,
	  "\x18\0\0\0\xd\0\0\0\0\0\0\0"
	  "\5\0\0\0\6\0\0\0\0\0\0\0" },
	{ put_restore, get_restore, again_restore, 72,
	  "\x48\0\0\0\xe\0\0\0\7\0\0\0"
	  "\5\0\0\0\1\0\0\0\1\0\0\0\xc\0\0\0\1\0\0\0\0\0\0\0\3\2\1\0\0\0\0\0\0\x10\0\0\0\0\0\0" ID "name" },
	{ put_restored, get_restored, again_restored, 20,
	  "\x14\0\0\0\x4c\0\0\0\7\0\0\0"
	  "\5\0\0\0\6\0\0\0" },
	{ put_list, get_list, again_list, 28,
	  "\x1c\0\0\0\xf\0\0\0\7\0\0\0"
	  "\5\0\0\0\0\0\0\0\1\2\3\4\5\6\7\x8" },
	{ put_regions, get_regions, again_regions, 128,
	  "\x80\0\0\0\x4d\0\0\0\7\0\0\0"
	  "\1\0\0\0\0\0\0\0\3\2\1\0\0\0\0\0\3\0\0\0\0\0\0\0\7\0\0\0\1\0\0\0\3\0\0\0\2\0\0\0\4\0\0\0\0\0\0\0"
	  "\1\0\0\0\2\0\0\0\1\0\0\0\0\0\0\0"
	  "cmd\0\0\0\0\0\0\0\0\0\0\0\0\0"
	  "\3\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0"
	  "other\0\0\0\0\0\0\0\0\0\0\0"
	  "name" },
};
enum { N_FRAMES = sizeof(frames) / sizeof(frames[0]) };

START_TEST(round_trip)
{
	const struct frame *frame = &frames[_i];
	unsigned char bytes[WIRE_SMALL_FRAME], copy[WIRE_SMALL_FRAME];
	union decoded got;

	ck_assert_uint_eq(frame->put(bytes), frame->size);
	ck_assert_mem_eq(bytes, frame->bytes, frame->size);
	ck_assert_int_eq(frame->get(bytes, frame->size, &got), 0);
	ck_assert_uint_eq(frame->again(copy, &got), frame->size);
	ck_assert_mem_eq(copy, bytes, frame->size);
}
END_TEST

/* Of each shorter one; and of each with one bit changed what is taken is what is written again. */
START_TEST(every_size_and_every_bit)
{
	const struct frame *frame = &frames[_i];
	unsigned char copy[WIRE_SMALL_FRAME];
	union decoded got;

	for (size_t size = WIRE_HEADER_SIZE; size < frame->size; size++) {
		unsigned char *part = malloc(size);
		union decoded untouched;
		int r;

		memcpy(part, frame->bytes, size);
		memset(&got, 0x5a, sizeof(got));
		memset(&untouched, 0x5a, sizeof(untouched));
		r = frame->get(part, size, &got);
		if (r != 0)
			ck_assert_mem_eq(&got, &untouched, sizeof(got));
		/* a shorter name is a name */
		ck_assert(r == -EBADMSG || (r == 0 && frame->bytes[frame->size - 1] == 'e' && size > frame->size - 4));
		free(part);
	}
	for (size_t bit = WIRE_HEADER_SIZE * 8; bit < frame->size * 8; bit++) {
		unsigned char *changed = malloc(frame->size);

		memcpy(changed, frame->bytes, frame->size);
		changed[bit / 8] ^= (unsigned char)(1 << bit % 8);
		if (frame->get(changed, frame->size, &got) == 0) {
			ck_assert_uint_eq(frame->again(copy, &got), frame->size);
			ck_assert_mem_eq(copy, changed, frame->size);
		}
		free(changed);
	}
}
END_TEST

static const struct bad {
	unsigned frame;
	size_t offset;
	unsigned char value;
} bad[] = {
	{ 0, 17, 3 },   /* open: makes and replaces */
	{ 0, 17, 0 },   /* opens, and says a size */
	{ 0, 16, 12 },  /* makes it read-only */
	{ 0, 19, 1 },   /* unknown */
	{ 0, 44, 0 },   /* NUL in the name */
	{ 1, 16, 0 },   /* region: no holder */
	{ 1, 20, 8 },   /* flags */
	{ 1, 24, 3 },   /* pages */
	{ 1, 28, 2 },   /* writable */
	{ 1, 32, 1 },   /* reserved */
	{ 1, 47, 1 },   /* a size that cannot be */
	{ 1, 48, 1 },   /* nor such a page */
	{ 2, 16, 0 },   /* close: of nothing */
	{ 2, 20, 1 },   /* or of both */
	{ 3, 16, 8 },   /* restore: flags */
	{ 3, 20, 3 },   /* pages */
	{ 3, 27, 0x80 }, /* a negative descriptor */
	{ 3, 28, 2 },   /* writes */
	{ 3, 32, 1 },   /* reserved */
	{ 3, 68, 0 },   /* NUL in the name */
	{ 4, 16, 0 },   /* restored: no holder */
	{ 5, 16, 1 },   /* list: reserved */
	{ 6, 12, 0 },   /* regions: no number */
	{ 6, 36, 8 },   /* flags */
	{ 6, 40, 3 },   /* pages */
	{ 6, 44, 1 },   /* more listed than there are */
	{ 6, 48, 1 },   /* fewer than there are bytes */
	{ 6, 48, 200 },
	{ 6, 52, 5 },   /* a longer name */
	{ 6, 56, 1 },   /* reserved */
	{ 6, 68, 2 },   /* a holder's */
	{ 6, 72, 1 },
	{ 6, 91, 'x' }, /* a command without an end */
	{ 6, 124, 0 },  /* NUL in the name */
};
enum { N_BAD = sizeof(bad) / sizeof(bad[0]) };

START_TEST(bad_fields)
{
	const struct frame *frame = &frames[bad[_i].frame];
	unsigned char bytes[160];
	union decoded got, untouched;

	memcpy(bytes, frame->bytes, sizeof(bytes));
	ck_assert_int_ne(bytes[bad[_i].offset], bad[_i].value);
	bytes[bad[_i].offset] = bad[_i].value;
	memset(&got, 0x5a, sizeof(got));
	memset(&untouched, 0x5a, sizeof(untouched));
	ck_assert_int_eq(frame->get(bytes, frame->size, &got), -EBADMSG);
	ck_assert_mem_eq(&got, &untouched, sizeof(got));
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(shapes),
	HARNESS_CASE(names_tell_apart),
	HARNESS_CASE(headers),
	HARNESS_CASE_EACH(round_trip, N_FRAMES),
	HARNESS_CASE_EACH(every_size_and_every_bit, N_FRAMES),
	HARNESS_CASE_EACH(bad_fields, N_BAD),
	{ 0 }
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "region", .cases = cases });
}
