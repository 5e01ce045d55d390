/* SPDX-License-Identifier: MIT */
/*
 * test_lane.c - the wake-up protocol over both kinds of bell: who is woken, what it costs, and that nobody
 * sleeps on an unseen post.
 */
#include "harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/process.h"
#include "lane.h"
#include "os/os.h"

/* --- the two kinds of lane -------------------------------------------------------------------------- */

struct kind {
	const char *name;
	bool fifo; /* a file and a FIFO, which each member opens; else a memfd and an eventfd, which they share */
};

static const struct kind kinds[] = { { "eventfd and memfd", false }, { "FIFO and file", true } };
#define N_KINDS (int)(sizeof(kinds) / sizeof(kinds[0]))

static const struct kind *kind;
static struct page *page;
static int shared_bell = -1, folder = -1;
static uint64_t n_rings_before, first; /* generation of a new page */

static const uint8_t id[PAGE_ID_SIZE] = { 1, 2, 3 };
static const struct topic_key key = { .dir_dev = 7, .dir_ino = 8, .name_size = 4, .name = "file" };

static const struct lane_shape shape = { .ring_slots = LANE_DEFAULT_SLOTS, .max_message = LANE_DEFAULT_MESSAGE };

static void lane_make(int which)
{
	struct stat st;
	int fd;

	kind = &kinds[which];
	n_rings_before = atomic_load(&os_counts.rings);
	if (kind->fifo) {
		folder = os_open_folder(AT_FDCWD, harness_tmpdir(), true);
		ck_assert_int_ge(folder, 0);
		ck_assert_int_eq(mkfifo(harness_path("bell"), 0600), 0);
		fd = open(harness_path("page"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(os_allocate(fd, PAGE_SIZE_BYTES), 0);
	} else {
		shared_bell = os_bell_new();
		ck_assert_int_ge(shared_bell, 0);
		fd = os_memory_new("test", PAGE_SIZE_BYTES);
		ck_assert_int_ge(fd, 0);
	}
	ck_assert_int_eq(fstat(fd, &st), 0);
	page = os_map(fd, PAGE_SIZE_BYTES, true, NULL);
	ck_assert_ptr_nonnull(page);
	page_init(page, &key, st.st_ino, id, &shape);
	ck_assert_int_eq(page_check(page, &key, st.st_ino), 0);
	first = atomic_load(&page->generation);
	close(fd);
}

static void lane_unmake(void)
{
	if (!page)
		return;
	munmap(page, PAGE_SIZE_BYTES);
	close(kind->fifo ? folder : shared_bell);
}

struct member {
	struct lane lane;
	int set;
	uint64_t seen;
};

static struct lane lane_open(void)
{
	struct lane lane = { .page = page, .bell = shared_bell, .carrier = -1 };

	if (kind->fifo)
		lane.bell = os_bell_open(folder, "bell");
	ck_assert_int_ge(lane.bell, 0);
	return lane;
}

static void lane_leave(struct lane *lane)
{
	if (kind->fifo)
		close(lane->bell);
}

static bool look(struct member *member)
{
	uint64_t tags[4], before = member->seen;
	int n = os_set_wait(member->set, tags, 4, 0);

	ck_assert_int_ge(n, 0);
	do
		member->seen = lane_generation(&member->lane);
	while (!lane_arm(&member->lane, member->seen));
	return member->seen != before;
}

static void join(struct member *member)
{
	member->lane = lane_open();
	member->set = os_set_new();
	ck_assert_int_ge(member->set, 0);
	ck_assert_int_eq(os_set_add(member->set, member->lane.bell, OS_READ | OS_EDGE, 1), 0);
	member->seen = 0;
	look(member);
}

static void leave(struct member *member)
{
	close(member->set);
	lane_leave(&member->lane);
}

static bool is_readable(const struct member *member)
{
	return poll(&(struct pollfd){ .fd = member->set, .events = POLLIN }, 1, 0) == 1;
}

static uint64_t n_rings(void)
{
	return atomic_load(&os_counts.rings) - n_rings_before;
}

/* --- what a post costs ------------------------------------------------------------------------------- */

START_TEST(post_that_nobody_armed_for)
{
	struct member member;
	struct lane lane;

	lane_make(_i);
	lane = lane_open();
	for (int i = 0; i < 1000; i++)
		ck_assert_uint_eq(lane_post(&lane), first + ((uint64_t)i + 1) * GENERATION_POST);
	ck_assert_uint_eq(n_rings(), 0);

	/* Who joined, was woken once and does not look again is not rung again. */
	join(&member);
	lane_post(&lane);
	ck_assert_uint_eq(n_rings(), 1);
	for (int i = 0; i < 1000; i++)
		lane_post(&lane);
	ck_assert_uint_eq(n_rings(), 1);
	leave(&member);
	lane_leave(&lane);
}
END_TEST

START_TEST(burst_rings_once)
{
	struct member member;
	struct lane lane;

	lane_make(_i);
	join(&member);
	lane = lane_open();
	ck_assert(!is_readable(&member));
	for (int i = 0; i < 1000000; i++)
		lane_post(&lane);
	ck_assert_uint_eq(n_rings(), 1);
	ck_assert(is_readable(&member));
	ck_assert(look(&member));
	ck_assert_uint_eq(member.seen, first + 1000000 * GENERATION_POST);
	ck_assert(!is_readable(&member));
	leave(&member);
	lane_leave(&lane);
}
END_TEST

START_TEST(each_arming_costs_one_ring)
{
	struct member member;
	struct lane lane;

	lane_make(_i);
	join(&member);
	lane = lane_open();
	for (uint64_t i = 1; i <= 300; i++) {
		for (int j = 0; j < 5; j++)
			lane_post(&lane);
		ck_assert_uint_eq(n_rings(), i);
		ck_assert(is_readable(&member));
		ck_assert(look(&member));
		ck_assert(!look(&member));
	}
	leave(&member);
	lane_leave(&lane);
}
END_TEST

START_TEST(one_ring_wakes_all)
{
	enum { N = 20 };
	struct member members[N];
	struct lane lane;

	lane_make(_i);
	lane = lane_open();
	for (int i = 0; i < N;
	     i++) { /* armed at different generations: each post wakes those that are asleep */
		join(&members[i]);
		if (i == N / 2)
			lane_post(&lane);
	}
	ck_assert_uint_eq(n_rings(), 1);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(is_readable(&members[i]), i <= N / 2);
	lane_post(&lane);
	ck_assert_uint_eq(n_rings(), 2);
	for (int i = 0; i < N; i++) {
		ck_assert(is_readable(&members[i]));
		ck_assert(look(&members[i]));
		ck_assert(!is_readable(&members[i]));
	}
	for (int i = 0; i < N; i++)
		leave(&members[i]);
	lane_leave(&lane);
}
END_TEST

/* --- the protocol's corners -------------------------------------------------------------------------- */

START_TEST(arming_fails_when_there_is_more)
{
	struct lane lane;
	uint64_t generation;

	lane_make(_i);
	lane = lane_open();
	generation = lane_generation(&lane);
	ck_assert(lane_arm(&lane, generation));
	ck_assert(!lane_rung_since(&lane, generation));
	lane_post(&lane);
	ck_assert(lane_rung_since(&lane, generation));
	ck_assert(!lane_arm(&lane, generation));
	ck_assert(lane_arm(&lane, generation + GENERATION_POST));
	ck_assert(!lane_rung_since(&lane, generation + GENERATION_POST));
	lane_leave(&lane);
}
END_TEST

/* A late arming by who has seen less does not take another's away. */
START_TEST(want_only_grows)
{
	struct lane lane;

	lane_make(_i);
	lane = lane_open();
	lane_post(&lane);
	lane_post(&lane);
	ck_assert(lane_arm(&lane, first + 2 * GENERATION_POST));
	ck_assert(!lane_arm(&lane, first));
	lane_post(&lane);
	ck_assert_uint_eq(n_rings(), 1);
	lane_leave(&lane);
}
END_TEST

/* A poster dies after each of its steps: the next post wakes whoever the dead one did not. */
START_TEST(poster_dies_on_the_way)
{
	struct member member;
	struct lane lane;

	lane_make(_i);
	lane = lane_open();
	join(&member);
	atomic_fetch_add(&page->generation, GENERATION_POST); /* before the bell */
	ck_assert(!is_readable(&member));
	lane_post(&lane);
	ck_assert(is_readable(&member));
	ck_assert(look(&member));

	atomic_fetch_add(&page->generation, GENERATION_POST); /* between the bell and rung */
	lane_ring(&lane);
	ck_assert(is_readable(&member));
	ck_assert(look(&member));
	ck_assert(!is_readable(&member));
	lane_post(&lane);
	ck_assert(is_readable(&member));
	ck_assert(look(&member));
	leave(&member);
	lane_leave(&lane);
}
END_TEST

/*
 * A poster whose lane is exchanged under it (libclient/topic.c) may leave the number of its old lane in rung of the
 * new one. The next post rings nevertheless, and puts it right.
 */
START_TEST(foreign_number_in_rung)
{
	static const uint64_t distances[] = { 5 * GENERATION_POST, UINT64_C(1) << 40, UINT64_C(1) << 62 };
	struct member member;
	struct lane lane;

	lane_make(_i);
	lane = lane_open();
	join(&member);
	for (size_t i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
		uint64_t before = n_rings();

		atomic_store(&page->rung, lane_generation(&lane) + distances[i]);
		lane_post(&lane);
		ck_assert(is_readable(&member));
		lane_post(&lane);
		ck_assert_uint_eq(n_rings(), before + 1);
		ck_assert(look(&member));
		lane_post(&lane);
		ck_assert_uint_eq(n_rings(), before + 2);
		ck_assert(look(&member));
	}
	leave(&member);
	lane_leave(&lane);
}
END_TEST

/*
 * A poster whose bell is exchanged between its generation and its ring rings the wrong one. It must not say that it
 * has rung: its repetition would ring nobody, and nobody else's post would either.
 */
START_TEST(moved_on_the_way)
{
	_Atomic uint64_t epoch = 4;
	struct member member;
	struct lane lane, wrong;
	int bell;

	lane_make(_i);
	lane = lane_open();
	join(&member);
	bell = os_bell_new();
	wrong = lane;
	wrong.bell = bell;
	lane_raise_at(&wrong, GENERATION_POST, &epoch, 0);
	ck_assert(!is_readable(&member));
	lane_raise_at(&lane, GENERATION_POST, &epoch, 4);
	ck_assert(is_readable(&member));
	close(bell);
	leave(&member);
	lane_leave(&lane);
}
END_TEST

START_TEST(closing_wakes_everybody)
{
	struct member sleeping, awake;
	struct lane lane;
	uint64_t generation, resync;

	lane_make(_i);
	lane = lane_open();
	join(&awake);
	lane_post(&lane); /* not collected */
	join(&sleeping);
	generation = lane_generation(&lane);
	resync = atomic_load(&page->resync);
	ck_assert(!lane_closed(&lane));
	lane_close(&lane);
	ck_assert(lane_closed(&lane));
	ck_assert_uint_gt(lane_generation(&lane), generation);
	ck_assert_uint_gt(atomic_load(&page->resync), resync);
	ck_assert(is_readable(&sleeping));
	ck_assert(is_readable(&awake));
	lane_close(&lane);
	ck_assert(lane_closed(&lane));
	leave(&sleeping);
	leave(&awake);
	lane_leave(&lane);
}
END_TEST

START_TEST(resync_wakes_like_a_post)
{
	struct member member;
	struct lane lane;

	lane_make(_i);
	lane = lane_open();
	join(&member);
	lane_resync(&lane);
	ck_assert_uint_eq(atomic_load(&page->resync), 1);
	ck_assert(is_readable(&member));
	ck_assert(look(&member));
	ck_assert(!lane_closed(&lane));
	leave(&member);
	lane_leave(&lane);
}
END_TEST

START_TEST(offloaded_lane_rings_the_carrier)
{
	struct member member, carrier;
	struct lane lane, without;

	lane_make(_i);
	lane = without = lane_open();
	lane.carrier = os_bell_new();
	ck_assert_int_ge(lane.carrier, 0);
	join(&member);
	carrier = (struct member){ .set = os_set_new() };
	ck_assert_int_eq(os_set_add(carrier.set, lane.carrier, OS_READ, 1), 0);

	atomic_store(&page->offload, 1);
	lane_post(&lane);
	ck_assert(is_readable(&carrier));
	ck_assert(!is_readable(&member));
	os_bell_drain(lane.carrier);
	ck_assert(!is_readable(&carrier));
	ck_assert(look(&member));
	lane_post(&without); /* the carrier itself, and who has none */
	ck_assert(!is_readable(&carrier));
	ck_assert(is_readable(&member));
	ck_assert(look(&member));

	atomic_store(&page->offload, 0);
	lane_post(&lane);
	ck_assert(!is_readable(&carrier));
	ck_assert(is_readable(&member));
	close(carrier.set);
	close(lane.carrier);
	leave(&member);
	lane_leave(&lane);
}
END_TEST

/* --- a full bell ------------------------------------------------------------------------------------- */

static const int pipe_sizes[] = { 4096, 8192, 65536 };

/* Ringing a full FIFO reads a page back, and another member's uncollected edge is still there. */
START_TEST(full_fifo)
{
	struct member uncollected, armed;
	struct lane lane;
	int size, bytes = 0;

	lane_make(1);
	lane = lane_open();
	size = fcntl(lane.bell, F_SETPIPE_SZ, pipe_sizes[_i]);
	if (size != pipe_sizes[_i])
		harness_skip("a pipe of %d bytes cannot be had here", pipe_sizes[_i]);
	join(&uncollected);
	join(&armed);
	lane_post(&lane);
	while (write(lane.bell, "full", 4) > 0)
		;
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert(look(&armed));
	ck_assert(!is_readable(&armed));
	for (int i = 0; i < 3 * size / 8; i++) { /* full again and again */
		lane_post(&lane);
		ck_assert(is_readable(&armed));
		ck_assert(look(&armed));
		ck_assert(!is_readable(&armed));
		ck_assert_int_eq(ioctl(lane.bell, FIONREAD, &bytes), 0);
		ck_assert_int_gt(bytes, size - 4096);
	}
	ck_assert(is_readable(&uncollected));
	leave(&uncollected);
	leave(&armed);
	lane_leave(&lane);
}
END_TEST

START_TEST(full_eventfd)
{
	const uint64_t most = UINT64_MAX - 1;
	struct member member;
	struct lane lane;

	lane_make(0);
	lane = lane_open();
	ck_assert_int_eq(write(lane.bell, &most, sizeof(most)), sizeof(most));
	join(&member);
	ck_assert(!is_readable(&member));
	lane_post(&lane);
	ck_assert(is_readable(&member));
	leave(&member);
}
END_TEST

/* --- the page ---------------------------------------------------------------------------------------- */

static union {
	struct page page;
	uint8_t bytes[PAGE_SIZE_BYTES];
} blank;

START_TEST(page_is_checked)
{
	static const struct {
		size_t offset;
		int error;
	} damage[] = {
		{ offsetof(struct page, magic), -EBADMSG },
		{ offsetof(struct page, magic) + 7, -EBADMSG },
		{ offsetof(struct page, abi), -EPROTONOSUPPORT },
		{ offsetof(struct page, size), -EBADMSG },
		{ offsetof(struct page, size) + 3, -EBADMSG },
		{ offsetof(struct page, inode), -ESTALE },
		{ offsetof(struct page, inode) + 7, -ESTALE },
		{ offsetof(struct page, key.dir_dev), -ESTALE },
		{ offsetof(struct page, key.dir_ino), -ESTALE },
		{ offsetof(struct page, key.name_size), -ESTALE },
		{ offsetof(struct page, key.name), -ESTALE },
		{ offsetof(struct page, key.name) + KEY_NAME_MAX, -ESTALE },
		{ offsetof(struct page, id), 0 },
		{ offsetof(struct page, shape.ring_slots), -EBADMSG },
		{ offsetof(struct page, shape.max_message) + 3, -EBADMSG },
		{ offsetof(struct page, generation), 0 },
	};

	ck_assert_int_eq(page_check(&blank.page, &key, 99), -EBADMSG);
	page_init(&blank.page, &key, 99, id, &shape);
	ck_assert_int_eq(page_check(&blank.page, &key, 99), 0);
	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		blank.bytes[damage[i].offset] ^= 1;
		ck_assert_msg(page_check(&blank.page, &key, 99) == damage[i].error, "byte %zu",
			      damage[i].offset);
		blank.bytes[damage[i].offset] ^= 1;
	}
	ck_assert_int_eq(page_check(&blank.page, &key, 99), 0);
}
END_TEST

START_TEST(new_page_is_quiet)
{
	lane_make(_i);
	ck_assert_uint_eq(first, page->first);
	ck_assert(lane_is_later(atomic_load(&page->rung), atomic_load(&page->want)));
	ck_assert_uint_eq(atomic_load(&page->closed), 0);
	ck_assert_uint_eq(atomic_load(&page->offload), 0);
	ck_assert_uint_eq(atomic_load(&page->resync), 0);
	for (unsigned i = 0; i < PAGE_SLOTS; i++)
		ck_assert_uint_eq(atomic_load(&page->slots[i].pid), 0);
}
END_TEST

/* --- many posters, many members ---------------------------------------------------------------------- */

enum { N_POSTERS = 3, N_MEMBERS = 4 };

/* Shared by threads, and by processes. */
struct crowd {
	_Atomic uint64_t seen[N_MEMBERS];
	_Atomic uint64_t round; /* posters start it; 0: not yet; UINT64_MAX: go home */
	_Atomic unsigned n_posted;
	_Atomic unsigned n_late;
};

static struct crowd *crowd;

static unsigned n_rounds(void)
{
#if defined(__SANITIZE_THREAD__)
	unsigned n = 400;
#else
	unsigned n = 1500;
#endif
	return harness_full() ? n * 10 : n;
}

/* Sleeps without a time-out of its own: a lost wake-up is one for ever. The deadline only ends the test. */
static void member_run(int number)
{
	struct member member;

	join(&member);
	atomic_store(&crowd->seen[number], member.seen);
	while (atomic_load(&crowd->round) != UINT64_MAX) {
		uint64_t tags[4];
		int n = os_set_wait(member.set, tags, 4,
				    os_now_ns() + HARNESS_LIMIT_MS * UINT64_C(2000000));

		if (n == 0)
			atomic_fetch_add(&crowd->n_late, 1);
		if (n == 0)
			break;
		look(&member);
		atomic_store(&crowd->seen[number], member.seen);
	}
	leave(&member);
}

static void poster_run(int number)
{
	struct lane lane = lane_open();
	uint64_t round = 0;
	unsigned random = (unsigned)number + 1;

	for (;;) {
		uint64_t now = atomic_load(&crowd->round);

		if (now == UINT64_MAX)
			break;
		if (now == round) {
			sched_yield();
			continue;
		}
		round = now;
		random = random * 1664525 + 1013904223;
		for (unsigned i = 0; i < (random >> 20) % 8 + 1; i++)
			lane_post(&lane);
		atomic_fetch_add(&crowd->n_posted, 1);
	}
	lane_leave(&lane);
}

static bool all_have_seen(uint64_t generation)
{
	for (int i = 0; i < N_MEMBERS; i++)
		if (lane_is_later(generation, atomic_load(&crowd->seen[i])))
			return false;
	return true;
}

/* Round after round: all post at once, and then everybody must come to have seen it all. */
static void crowd_drive(void)
{
	struct lane lane = lane_open();

	harness_await(all_have_seen(first));
	for (unsigned round = 1; round <= n_rounds(); round++) {
		uint64_t end = os_now_ns() + HARNESS_LIMIT_MS * UINT64_C(1000000);

		atomic_store(&crowd->n_posted, 0);
		atomic_store(&crowd->round, round);
		while (atomic_load(&crowd->n_posted) < N_POSTERS && os_now_ns() < end)
			sched_yield(); /* no assertion in here: Check writes to a file for each */
		ck_assert_uint_eq(atomic_load(&crowd->n_posted), N_POSTERS);
		while (!all_have_seen(lane_generation(&lane)) && os_now_ns() < end)
			sched_yield();
		ck_assert_msg(all_have_seen(lane_generation(&lane)),
			      "round %u: a member sleeps on a post", round);
	}
	atomic_store(&crowd->round, UINT64_MAX);
	lane_post(&lane);
	lane_leave(&lane);
}

static void crowd_make(int which)
{
	lane_make(which);
	crowd = mmap(NULL, sizeof(*crowd), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	ck_assert_ptr_ne(crowd, MAP_FAILED);
}

struct role {
	int number; /* posters first */
	pthread_t thread;
	struct harness_process process;
};

static void *role_thread(void *arg)
{
	struct role *role = arg;

	if (role->number < N_POSTERS)
		poster_run(role->number);
	else
		member_run(role->number - N_POSTERS);
	return NULL;
}

static int role_process(struct harness_process *peer, void *arg)
{
	(void)peer;
	role_thread(arg);
	return 0;
}

START_TEST(crowd_of_threads)
{
	struct role roles[N_POSTERS + N_MEMBERS];

	crowd_make(_i);
	for (int i = 0; i < N_POSTERS + N_MEMBERS; i++) {
		roles[i].number = i;
		ck_assert_int_eq(pthread_create(&roles[i].thread, NULL, role_thread, &roles[i]), 0);
	}
	crowd_drive();
	for (int i = 0; i < N_POSTERS + N_MEMBERS; i++)
		ck_assert_int_eq(pthread_join(roles[i].thread, NULL), 0);
	ck_assert_uint_eq(atomic_load(&crowd->n_late), 0);
	munmap(crowd, sizeof(*crowd));
}
END_TEST

START_TEST(crowd_of_processes)
{
	struct role roles[N_POSTERS + N_MEMBERS];

	crowd_make(_i);
	for (int i = 0; i < N_POSTERS + N_MEMBERS; i++) {
		roles[i].number = i;
		harness_spawn(&roles[i].process, role_process, &roles[i]);
	}
	crowd_drive();
	for (int i = 0; i < N_POSTERS + N_MEMBERS; i++)
		harness_expect_exit(&roles[i].process, 0);
	ck_assert_uint_eq(atomic_load(&crowd->n_late), 0);
	munmap(crowd, sizeof(*crowd));
}
END_TEST

/* --- a post in the very moment of going to sleep ------------------------------------------------------- */

struct duel {
	struct member member;
	_Atomic uint64_t seen, n_looks;
	_Atomic bool end;
	_Atomic bool late;
	pthread_t thread;
};

static void *duel_member(void *arg)
{
	struct duel *duel = arg;
	uint32_t random = 1;

	join(&duel->member);
	while (!atomic_load(&duel->end)) {
		uint64_t tags[4];

		atomic_store(&duel->seen, duel->member.seen);
		if (os_set_wait(duel->member.set, tags, 4,
				os_now_ns() + HARNESS_LIMIT_MS * UINT64_C(2000000)) == 0)
			atomic_store(&duel->late, true);
		random = random * 1664525 + 1013904223;
		atomic_fetch_add(&duel->n_looks, 1); /* here comes the post */
		for (volatile unsigned i = 0; i < random >> 23; i++)
			;
		look(&duel->member);
	}
	leave(&duel->member);
	return NULL;
}

/* One post wakes the member, another comes a moment later, at all distances: it is seen as well. */
START_TEST(post_while_arming)
{
	struct duel duel = { .late = false };
	struct lane lane;

	lane_make(_i);
	lane = lane_open();
	ck_assert_int_eq(pthread_create(&duel.thread, NULL, duel_member, &duel), 0);
	harness_await(atomic_load(&duel.seen) > 0);
	for (unsigned round = 0; round < n_rounds() * 10; round++) {
		uint64_t end = os_now_ns() + HARNESS_LIMIT_MS * UINT64_C(1000000);
		uint64_t n_looks = atomic_load(&duel.n_looks);

		lane_post(&lane);
		/* No assertion in here: Check writes to a file for each. Not for long without giving way, or a busy machine
		 * leaves the member no time. */
		for (unsigned spins = 1; atomic_load(&duel.n_looks) == n_looks && os_now_ns() < end; spins++)
			if (spins % 1000 == 0)
				sched_yield();
		lane_post(&lane);
		while (lane_is_later(lane_generation(&lane), atomic_load(&duel.seen)) && os_now_ns() < end)
			sched_yield();
		if (atomic_load(&duel.seen) != lane_generation(&lane)) {
			int bytes = -1;

			(void)ioctl(lane.bell, FIONREAD, &bytes);
			ck_abort_msg("round %u: the member sleeps on a post: generation %llu, seen %llu, want %llu, rung %llu, "
				     "looks %llu then %llu, %d bytes in the bell", round,
				     (unsigned long long)lane_generation(&lane), (unsigned long long)atomic_load(&duel.seen),
				     (unsigned long long)atomic_load(&lane.page->want),
				     (unsigned long long)atomic_load(&lane.page->rung), (unsigned long long)n_looks,
				     (unsigned long long)atomic_load(&duel.n_looks), bytes);
		}
	}
	atomic_store(&duel.end, true);
	lane_post(&lane);
	ck_assert_int_eq(pthread_join(duel.thread, NULL), 0);
	ck_assert(!atomic_load(&duel.late));
	lane_leave(&lane);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(post_that_nobody_armed_for, N_KINDS),
	HARNESS_CASE_EACH(burst_rings_once, N_KINDS),
	HARNESS_CASE_EACH(each_arming_costs_one_ring, N_KINDS),
	HARNESS_CASE_EACH(one_ring_wakes_all, N_KINDS),
	HARNESS_CASE_EACH(arming_fails_when_there_is_more, N_KINDS),
	HARNESS_CASE_EACH(want_only_grows, N_KINDS),
	HARNESS_CASE_EACH(poster_dies_on_the_way, N_KINDS),
	HARNESS_CASE_EACH(foreign_number_in_rung, N_KINDS),
	HARNESS_CASE_EACH(moved_on_the_way, N_KINDS),
	HARNESS_CASE_EACH(closing_wakes_everybody, N_KINDS),
	HARNESS_CASE_EACH(resync_wakes_like_a_post, N_KINDS),
	HARNESS_CASE_EACH(offloaded_lane_rings_the_carrier, N_KINDS),
	HARNESS_CASE_EACH(full_fifo, (int)(sizeof(pipe_sizes) / sizeof(pipe_sizes[0]))),
	HARNESS_CASE(full_eventfd),
	HARNESS_CASE(page_is_checked),
	HARNESS_CASE_EACH(new_page_is_quiet, N_KINDS),
	HARNESS_CASE_EACH(post_while_arming, N_KINDS),
	HARNESS_CASE_EACH(crowd_of_threads, N_KINDS),
	HARNESS_CASE_EACH(crowd_of_processes, N_KINDS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(
		argc, argv,
		&(struct harness_suite){ .name = "lane", .cases = cases, .teardown = lane_unmake });
}
