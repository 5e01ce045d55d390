/* SPDX-License-Identifier: MIT */
/*
 * test_region_attacks.c - what another user, a reader, or a process of the same user can do to a region, and what its
 * holders notice of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/process.h"
#include "libclient/region_internal.h"
#include "os/os.h"
#include "region_world.h"

enum { TIMEOUT_MS = 10000, STRANGER = 12345 };

static struct world_member a, b;

static void begin(bool serves)
{
	enum pathbus_transport_kind kind = serves ? PATHBUS_BUS : PATHBUS_PEER;

	world_begin(serves);
	a = world_join(kind, TIMEOUT_MS);
	b = world_join(kind, TIMEOUT_MS);
}

static void finish(void)
{
	world_leave(&a);
	world_leave(&b);
	ck_assert_int_eq(world_region_files(), 0);
}

static pathbus_region *open_it(struct world_member *member, unsigned flags)
{
	pathbus_region *region = NULL;
	int r = pathbus_region_open(member->topic, "r", flags, &region);

	ck_assert_msg(r == 0, "%s", strerror(-r));
	return region;
}

static const char *anchor_path(const char *name)
{
	char file[ANCHOR_NAME_SIZE];
	struct topic_key key;

	ck_assert_int_eq(region_key(a.topic, &key), 0);
	region_anchor_name(&key, name, file);
	return harness_path("../../../dev/shm/%s/%s", strrchr(transport_runtime_folder(), '/') + 1, file);
}

/* --- the daemon's memory ------------------------------------------------------------------------------------------- */

static void expect_errno(int r, int error)
{
	ck_assert_int_eq(r, -1);
	ck_assert_msg(errno == error, "%s, and not %s", strerror(errno), strerror(error));
}

START_TEST(nobody_makes_it_smaller)
{
	pathbus_region *ours, *theirs;
	off_t size;

	begin(true);
	ours = world_create(&a, "r", 0);
	theirs = open_it(&b, 0);
	world_publish(ours, 1);
	size = (off_t)ours->shape.total;
	expect_errno(ftruncate(theirs->file, 0), EPERM);
	expect_errno(ftruncate(theirs->file, size - 1), EPERM);
	expect_errno(ftruncate(theirs->file, size + 1), EPERM);
	expect_errno(fallocate(theirs->file, 0, 0, 2 * size), EPERM);
	expect_errno(fcntl(theirs->file, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
	expect_errno(fcntl(theirs->file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), EPERM);
	world_expect(ours, 1, 1);
	/* Who may write can also make holes, which is no more than writing zeros. */
	ck_assert_int_eq(fallocate(theirs->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size), 0);
	world_expect(ours, 0, 0);
	ck_assert_int_eq(world_try_open(&b, "r"), 0);
	world_publish(ours, 2);
	world_expect(theirs, 2, 1);
	finish();
}
END_TEST

START_TEST(a_reader_cannot_write)
{
	pathbus_region *ours, *theirs;
	const void *data;

	begin(_i == 0);
	ours = world_create(&a, "r", PATHBUS_REGION_DOUBLE);
	theirs = open_it(&b, PATHBUS_REGION_READ_ONLY);
	world_publish(ours, 1);
	if (_i == 0) {
		ck_assert_int_eq(fcntl(theirs->file, F_GETFL) & O_ACCMODE, O_RDONLY);
		ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, theirs->file, 0), MAP_FAILED);
		expect_errno(fallocate(theirs->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) , EBADF);
		expect_errno((int)pwrite(theirs->file, "x", 1, 0), EBADF);
	}
	ck_assert_int_eq(pathbus_region_read_begin(theirs, &data, NULL), 0);
	expect_errno(mprotect((void *)(uintptr_t)data, 4096, PROT_READ | PROT_WRITE), EACCES);
	expect_errno(mprotect(theirs->header, 4096, PROT_READ | PROT_WRITE), EACCES);
	ck_assert_int_eq(pathbus_region_read_end(theirs), 0);
	world_expect(ours, 1, 1);
	finish();
}
END_TEST

START_TEST(more_than_a_user_may_have)
{
	static const char *const arguments[] = { "--max-regions", "2", "--max-region-bytes", "1000000", NULL };
	pathbus_region *one, *new = NULL;

	world_begin(false);
	harness_daemon_start(&world_daemon, arguments);
	a = world_join(PATHBUS_BUS, TIMEOUT_MS);
	b = world_join(PATHBUS_BUS, TIMEOUT_MS);
	one = world_create(&a, "one", 0);
	ck_assert_int_eq(pathbus_region_create(b.topic, "large", 1000000, 0, &new), -EDQUOT);
	(void)world_create(&b, "two", PATHBUS_REGION_RESERVE);
	ck_assert_int_eq(world_try_create(&b, "three"), -EDQUOT);
	ck_assert_int_eq(pathbus_region_replace(one, 1, 0, &new), -EDQUOT);
	ck_assert_ptr_null(new);
	ck_assert(!world_info(one).replaced);
	ck_assert_int_eq(world_region_files(), 2); /* nothing stays of what could not be */
	ck_assert_int_eq(world_try_open(&b, "one"), 0);
	pathbus_region_close(one);
	harness_await(world_try_create(&b, "three") == 0);
	finish();
}
END_TEST

/* --- another user --------------------------------------------------------------------------------------------------- */

struct prey {
	pid_t pid;
	int file;
	const char *path;
};

static int open_as(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return fd;
}

/* Has been given the descriptor of a reader, and knows where the rest is. */
static int be_stranger(struct harness_process *peer, void *arg)
{
	const struct prey *prey = arg;
	char path[64];

	(void)peer;
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setresgid(STRANGER, STRANGER, STRANGER), 0);
	ck_assert_int_eq(setresuid(STRANGER, STRANGER, STRANGER), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", prey->file);
	expect_errno(open_as(path, O_RDWR), EACCES);
	expect_errno(open_as(path, O_RDONLY), EACCES);
	expect_errno(open_as(path, O_WRONLY), EACCES);
	expect_errno(fchmod(prey->file, 0666), EPERM);
	expect_errno(fchown(prey->file, STRANGER, STRANGER), EPERM);
	ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, prey->file, 0), MAP_FAILED);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)prey->pid, prey->file);
	expect_errno(open_as(path, O_RDWR), EACCES);
	expect_errno(open_as(prey->path, O_RDWR), EACCES);
	expect_errno(unlink(prey->path), EACCES);
	return 0;
}

START_TEST(another_user_has_no_way_in)
{
	struct harness_process stranger;
	pathbus_region *ours, *theirs;
	struct prey prey;

	if (geteuid() != 0)
		harness_skip("becoming another user takes root");
	begin(_i == 0);
	ours = world_create(&a, "r", 0);
	theirs = open_it(&b, PATHBUS_REGION_READ_ONLY);
	world_publish(ours, 1);
	prey = (struct prey){ .pid = getpid(), .path = anchor_path("r") };
	/* Peer to peer its holder's own descriptor can write; what a stranger could be given is one for reading. */
	prey.file = _i == 0 ? theirs->file : os_reopen(theirs->file, false);
	ck_assert_int_ge(prey.file, 0);
	harness_spawn(&stranger, be_stranger, &prey);
	harness_expect_exit(&stranger, 0);
	if (_i != 0)
		close(prey.file);
	world_expect(ours, 1, 1);
	finish();
}
END_TEST

/* --- what lies in the runtime folder ----------------------------------------------------------------------------------- */

enum planted { PLANTED_LINK, PLANTED_FOLDER, PLANTED_FIFO, PLANTED_OPEN_MODE, PLANTED_HARD_LINK, N_PLANTED };

static void plant(enum planted what, const char *path)
{
	const char *victim = harness_path("victim");

	harness_write_file(victim, "precious");
	ck_assert_int_eq(chmod(victim, 0600), 0);
	switch (what) {
	case PLANTED_LINK:
		ck_assert_int_eq(symlink(victim, path), 0);
		break;
	case PLANTED_FOLDER:
		ck_assert_int_eq(mkdir(path, 0700), 0);
		break;
	case PLANTED_FIFO:
		ck_assert_int_eq(mkfifo(path, 0600), 0);
		break;
	case PLANTED_OPEN_MODE:
		harness_write_file(path, "");
		ck_assert_int_eq(chmod(path, 0644), 0);
		break;
	case PLANTED_HARD_LINK: {
		const char *other = harness_path("../../../dev/shm/%s/other", strrchr(transport_runtime_folder(), '/') + 1);

		harness_write_file(other, "precious");
		ck_assert_int_eq(chmod(other, 0600), 0);
		ck_assert_int_eq(link(other, path), 0);
		break;
	}
	case N_PLANTED:
		break;
	}
}

START_TEST(what_is_planted_is_not_touched)
{
	enum planted what = (enum planted)(_i / 2);
	pathbus_region *region = NULL;
	const char *path;
	struct stat before, after;
	int r;

	begin(_i % 2 == 0);
	ck_assert_int_eq(world_try_create(&a, "warm-up"), 0); /* there is a runtime folder */
	path = anchor_path("r");
	plant(what, path);
	ck_assert_int_eq(lstat(path, &before), 0);
	ck_assert_int_eq(world_try_create(&a, "r"), -EEXIST);
	r = pathbus_region_open(a.topic, "r", 0, &region);
	ck_assert_msg(r == -EEXIST || r == -EBUSY, "opening: %s", strerror(-r));
	ck_assert_int_eq(lstat(path, &after), 0);
	ck_assert(before.st_ino == after.st_ino && before.st_mode == after.st_mode && before.st_size == after.st_size);
	ck_assert_str_eq(harness_read_file(harness_path("victim")), "precious");
	ck_assert_int_eq(remove(path), 0);
	if (what == PLANTED_HARD_LINK)
		ck_assert_int_eq(system("rm /dev/shm/pathbus-*/other"), 0);
	harness_await(world_try_create(&a, "r") == 0);
	finish();
}
END_TEST

static void write_file_of(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, 0600), 0);
	ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
	close(fd);
}

/* A file that somebody holds, with anything in it: an error, and no more. */
START_TEST(files_with_anything_in_them)
{
	struct region_header *header;
	struct region_shape shape;
	struct topic_key key;
	const char *path;
	unsigned seed = 1;
	int fd;

	begin(false);
	ck_assert_int_eq(world_try_create(&a, "warm-up"), 0);
	path = anchor_path("r");
	ck_assert_int_eq(region_key(a.topic, &key), 0);
	ck_assert_int_eq(region_shape_make(REGION_BYTES, 0, REGION_PAGE, &shape), 0);
	header = calloc(1, (size_t)shape.total);
	for (int i = 0; i < 300; i++) {
		static const uint8_t id[REGION_ID_SIZE];
		unsigned char *bytes = (unsigned char *)header;
		size_t size = (size_t)shape.total;
		int r;

		memset(header, 0, size);
		region_header_init(header, &key, "r", 1, id, REGION_BYTES, 0);
		switch (i % 5) {
		case 0: /* cut off */
			size = (size_t)rand_r(&seed) % size + 1;
			break;
		case 1: /* longer */
			header->data_size += (uint64_t)(rand_r(&seed) % 1000000) * 4096 + 4096;
			break;
		case 2: /* overflows, some of them */
			header->data_size = ~UINT64_C(0) << (rand_r(&seed) % 64);
			break;
		case 3:
			header->name_size = (uint32_t)rand_r(&seed) | 2;
			break;
		default:
			bytes[rand_r(&seed) % 50] ^= (unsigned char)(1 + rand_r(&seed) % 255);
			bytes[rand_r(&seed) % 4] ^= 1;
			break;
		}
		write_file_of(path, header, size);
		fd = open(path, O_RDWR | O_CLOEXEC);
		ck_assert_int_eq(os_lock(fd, OS_LOCK_SHARED, REGION_LOCK_MEMBER, 1), 0);
		r = world_try_open(&a, "r");
		ck_assert_msg(r == -EIO || r == -EPROTONOSUPPORT || r == -EBUSY, "round %d: %s", i, strerror(-r));
		ck_assert_int_eq(world_try_create(&a, "r"), -EEXIST);
		close(fd);
		/* Nobody holds it any more: it is what a crash has left. */
		ck_assert_int_eq(world_try_open(&a, "r"), -ENOENT);
		ck_assert_int_eq(access(path, F_OK), -1);
	}
	free(header);
	finish();
}
END_TEST

/* --- a header that somebody scribbles over ---------------------------------------------------------------------------- */

static volatile sig_atomic_t is_enough;

static void enough(int signal)
{
	(void)signal;
	is_enough = 1;
}

static int scribble(struct harness_process *peer, void *arg)
{
	struct world_member me = world_join(*(const enum pathbus_transport_kind *)arg, TIMEOUT_MS);
	pathbus_region *region = open_it(&me, 0);
	_Atomic uint64_t *words = (_Atomic uint64_t *)(void *)region->header;
	unsigned seed = 7;

	signal(SIGTERM, enough);
	harness_tell(peer, "scribbling");
	for (unsigned i = 0; !is_enough; i++) {
		static const size_t at[] = { 80, 88, 89 }; /* sequence, claim, replaced */
		uint64_t random = (uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed);

		atomic_store(&words[i % 3 ? at[i / 3 % 3] : (unsigned)rand_r(&seed) % 512],
		             i % 7 == 0 ? ~UINT64_C(0) : i % 5 == 0 ? 0 : random);
		if (i % 64 == 0)
			usleep(50);
	}
	world_leave(&me);
	return 0;
}

/* All that is asked: every call comes back, and nothing is touched that is not the region's. */
static void use(pathbus_region *region, struct world_member *member, unsigned n)
{
	const unsigned char *first = (const unsigned char *)region->header, *last = first + region->shape.total;
	uint64_t version = n % 2 ? UINT64_MAX - 1 : 0;
	const void *data;
	void *to;
	int r;

	r = pathbus_region_begin(region, n % 3 ? 0 : PATHBUS_REGION_OVERTAKE, n % 10 ? 0 : os_now_ns() + 2000000, &to);
	if (r == 0) {
		ck_assert((unsigned char *)to > first && (unsigned char *)to + REGION_BYTES <= last);
		memset(to, (int)n, REGION_BYTES);
		ck_assert_int_eq(pathbus_region_end(region), 0);
	} else {
		ck_assert_int_eq(r, -EBUSY);
	}
	r = pathbus_region_read_begin(region, &data, NULL);
	if (r == 0) {
		ck_assert((const unsigned char *)data > first && (const unsigned char *)data + REGION_BYTES <= last);
		r = pathbus_region_read_end(region);
	}
	ck_assert(r == 0 || r == -EAGAIN);
	r = pathbus_region_wait(region, &version, os_now_ns() + 100000, 0);
	ck_assert(r == 0 || r == 1 || r == -ESTALE);
	if (n % 16 == 0)
		(void)world_pump(member, 0);
}

static int count(const struct pathbus_region_entry *entry, void *arg)
{
	(void)entry;
	++*(int *)arg;
	return 0;
}

/* i: the daemon's, or a file; with one frame, or two. */
START_TEST(a_header_that_is_scribbled_over)
{
	enum pathbus_transport_kind kind = _i % 2 == 0 ? PATHBUS_BUS : PATHBUS_PEER;
	uint64_t end = os_now_ns() + UINT64_C(1000000000) * (harness_full() ? 20 : 2);
	struct harness_process scribbler;
	pathbus_region *ours, *theirs;
	int n_listed = 0;

	begin(kind == PATHBUS_BUS);
	ours = world_create(&a, "r", _i / 2 ? PATHBUS_REGION_DOUBLE : 0);
	theirs = open_it(&b, 0);
	harness_spawn(&scribbler, scribble, &kind);
	harness_expect_line(&scribbler, "scribbling");
	for (unsigned n = 0; n < 100 || os_now_ns() < end; n++) {
		use(ours, &a, n);
		use(theirs, &b, n + 1);
		if (n % 32 == 0) {
			int r = world_try_open(&a, "r");

			ck_assert_msg(r == 0 || r == -EIO || r == -EPROTONOSUPPORT, "%s", strerror(-r));
			ck_assert_int_eq(pathbus_region_list(a.topic, count, &n_listed), 0);
		}
	}
	harness_signal(&scribbler, SIGTERM);
	harness_expect_exit(&scribbler, 0);
	/* Its writers go on from wherever that is. */
	use(ours, &a, 1);
	ck_assert_int_eq(world_try_create(&a, "r"), -EEXIST);
	finish();
}
END_TEST

/* A number in `claim` that nobody has: who claims next has it. */
START_TEST(a_claim_that_is_nobody_s)
{
	static const uint64_t claims[] = { 1, UINT64_MAX, UINT64_C(1) << 62, (UINT64_C(1) << 62) - 1, UINT64_C(1) << 63 };
	pathbus_region *ours;

	begin(_i == 0);
	ours = world_create(&a, "r", 0);
	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		atomic_store(&ours->header->claim, claims[i]);
		world_publish(ours, (int)i);
		world_expect(ours, (int)i, i + 1);
		ck_assert_uint_eq(atomic_load(&ours->header->claim), 0);
	}
	finish();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(nobody_makes_it_smaller),
	HARNESS_CASE(more_than_a_user_may_have),
	HARNESS_CASE_EACH(a_reader_cannot_write, 2),
	HARNESS_CASE_EACH(another_user_has_no_way_in, 2),
	HARNESS_CASE_EACH(what_is_planted_is_not_touched, 2 * N_PLANTED),
	HARNESS_CASE(files_with_anything_in_them),
	HARNESS_CASE_EACH(a_header_that_is_scribbled_over, 4),
	HARNESS_CASE_EACH(a_claim_that_is_nobody_s, 2),
	{ 0 }
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "region_attacks", .cases = cases, .teardown = world_end });
}
