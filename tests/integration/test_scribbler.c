/* SPDX-License-Identifier: MIT */
/*
 * test_scribbler.c - another process of the same user writes at random over the shared memory while members use it: no
 * crash, no read outside of it, every call returns; and once it is gone, so is the damage.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/page.h"
#include "common/ring.h"
#include "conformance/transports.h"

enum { N_MEMBERS = 3, SHORT_MS = 2000, FULL_MS = 20000 };

/* Longer than any of them may take, however busy the machine. */
#define CALL_NS UINT64_C(8000000000)

enum target {
	EVERYTHING,  /* the identity too, and the words that drive members away */
	THE_RING,    /* head, skips, tags, words, chunks */
	THE_NUMBERS, /* generation, want, rung, resync, state, slots */
	N_TARGETS,
};

static struct {
	_Atomic bool over;
	_Atomic unsigned long n_calls, n_written, n_maps;
	_Atomic int members[N_MEMBERS]; /* process ids */
} *shared;

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* --- the scribbler ------------------------------------------------------------------------------------------------ */

struct mapped {
	unsigned char *lane;
	size_t size;
	ino_t inode;
};

static void map_file(int file, struct mapped *mapped)
{
	struct stat st;
	void *lane;

	if (file < 0)
		return;
	if (fstat(file, &st) == 0 && st.st_size >= (off_t)PAGE_SIZE_BYTES && st.st_ino != mapped->inode) {
		lane = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		if (lane != MAP_FAILED) {
			if (mapped->lane)
				munmap(mapped->lane, mapped->size);
			*mapped = (struct mapped){ .lane = lane, .size = (size_t)st.st_size, .inode = st.st_ino };
			atomic_fetch_add(&shared->n_maps, 1);
		}
	}
	close(file);
}

/* A lane that a member has mapped: the daemon's are in no folder. */
static void map_lane_of(pid_t pid, struct mapped *mapped)
{
	char path[64], text[512];
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return;
	while (fgets(text, sizeof(text), maps)) {
		unsigned long from, to;

		if (!strstr(text, "/memfd:pathbus-lane") || !strstr(text, "rw-s") || sscanf(text, "%lx-%lx", &from, &to) != 2 ||
		    to - from < PAGE_SIZE_BYTES)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", (int)pid, from, to);
		map_file(open(path, O_RDWR | O_CLOEXEC), mapped);
	}
	fclose(maps);
}

static size_t where(enum target target, const struct mapped *mapped, uint64_t *random)
{
	uint64_t r = random_next(random);

	switch (target) {
	case EVERYTHING:
		return r % 8 == 0 ? r / 8 % mapped->size : r / 8 % 1024;
	case THE_RING:
		if (r % 16 == 0)
			return offsetof(struct page, head) + r / 16 % 16;
		/* Tags most of all. */
		if (r % 16 < 8)
			return PAGE_SIZE_BYTES + r / 16 % LANE_DEFAULT_SLOTS * RING_SLOT_SIZE + (r >> 40) % 2 * 8;
		return PAGE_SIZE_BYTES + r / 16 % (mapped->size - PAGE_SIZE_BYTES);
	default:
		if (r % 4 < 2)
			return offsetof(struct page, slots) + r / 4 % (8 * sizeof(struct page_slot));
		if (r % 4 == 2)
			return offsetof(struct page, state) + r / 4 % 8;
		return offsetof(struct page, generation) + r / 4 % 32;
	}
}

static uint64_t what(uint64_t now, uint64_t *random)
{
	uint64_t r = random_next(random);

	switch (r % 6) {
	case 0:
		return r;
	case 1:
		return now + (r >> 8) % 64 * RING_TICKET - 32 * RING_TICKET;
	case 2:
		return now ^ UINT64_C(1) << (r >> 8) % 64;
	case 3:
		return now + (r >> 8) % 8 * GENERATION_POST;
	case 4:
		return (r >> 8) % 4;
	default:
		return (now & ~UINT64_C(15)) | (r >> 8) % 8;
	}
}

static void scribble(enum target target, const struct mapped *mapped, uint64_t *random)
{
	for (int i = 0; i < 1000; i++) {
		size_t at = where(target, mapped, random) / 8 * 8;
		_Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(mapped->lane + at);

		atomic_store_explicit(word, what(atomic_load_explicit(word, memory_order_relaxed), random), memory_order_relaxed);
	}
	atomic_fetch_add(&shared->n_written, 1000);
}

static int be_scribbler(struct harness_process *peer, void *arg)
{
	enum target target = *(enum target *)arg;
	struct mapped beside = { 0 }, lane = { 0 };
	uint64_t random = (uint64_t)getpid() * UINT64_C(0x9e3779b97f4a7c15) + 1;

	(void)peer;
	while (!atomic_load(&shared->over)) {
		/* They may have gone over to others. */
		map_file(open(transport_edit(".data.pathbus/page"), O_RDWR | O_CLOEXEC), &beside);
		for (int i = 0; i < N_MEMBERS; i++)
			if (atomic_load(&shared->members[i]) != 0)
				map_lane_of(atomic_load(&shared->members[i]), &lane);
		for (int i = 0; i < 20; i++) {
			if (beside.lane)
				scribble(target, &beside, &random);
			if (lane.lane)
				scribble(target, &lane, &random);
			if (i % 4 == 0)
				poll(NULL, 0, 1); /* so that they get somewhere in between */
		}
	}
	return 0;
}

/* --- those who use it ----------------------------------------------------------------------------------------------- */

static uint64_t call_began;

/* An error is an answer, too. */
#define CALL(expression)                                                                                             \
	do {                                                                                                          \
		call_began = harness_now_ns();                                                                        \
		(void)(expression);                                                                                   \
		ck_assert_msg(harness_now_ns() - call_began < CALL_NS, "this took %llu ms: %s",                       \
		              (unsigned long long)((harness_now_ns() - call_began) / 1000000), #expression);          \
		atomic_fetch_add(&shared->n_calls, 1);                                                                \
	} while (0)

struct use {
	pathbus *bus;
	pathbus_topic *topic;
	uint64_t random;
};

static void take_some(struct use *use)
{
	static volatile unsigned char sum; /* each byte is read */
	struct pathbus_event event = { .size = sizeof(event) };
	struct pollfd one = { .fd = pathbus_fd(use->bus), .events = POLLIN };
	int r = 0;

	(void)poll(&one, 1, 1);
	for (int i = 0; i < 50; i++) {
		CALL(r = pathbus_next(use->bus, &event));
		if (r <= 0)
			break;
		/* What an event says may be anything, but it is there to be read. */
		if (event.kind == PATHBUS_EVENT_MESSAGE) {
			for (size_t at = 0; at < event.data_size; at++)
				sum = sum ^ ((const unsigned char *)event.data)[at];
			for (size_t at = 0; at < event.key_size; at++)
				sum = sum ^ ((const unsigned char *)event.key)[at];
			if (random_next(&use->random) % 64 == 0)
				CALL(pathbus_hide(use->topic, event.origin));
		}
	}
	ck_assert_int_ge(r, 0);
}

static void use_it(struct use *use)
{
	static unsigned char data[4096];
	struct pathbus_laggard laggards[4];
	struct pathbus_sync sync = { .size = sizeof(sync), .laggards = laggards, .max_laggards = 4 };
	struct pathbus_limits limits = { .size = sizeof(limits) };
	struct pathbus_transport transport = { .size = sizeof(transport) };
	uint64_t r = random_next(&use->random), seen = r, value = 0;

	switch (r % 16) {
	case 0:
	case 1:
		CALL(pathbus_post(use->topic));
		break;
	case 2:
	case 3:
	case 4:
	case 5:
		CALL(pathbus_publish_keyed(use->topic, data, r / 16 % 9, data, r / 256 % (r % 2 ? 64 : sizeof(data))));
		break;
	case 6:
		CALL(pathbus_get_state(use->topic, &value, NULL));
		break;
	case 7:
		CALL(pathbus_set_state(use->topic, r));
		break;
	case 8:
		CALL(pathbus_get_state(use->topic, &value, NULL));
		CALL(pathbus_exchange_state(use->topic, value, r));
		break;
	case 9:
		if (r / 16 % 8 == 0)
			CALL(pathbus_sync(use->topic, harness_now_ns() + r / 256 % 20 * 1000000, &sync));
		break;
	case 10:
		CALL(pathbus_check(use->topic, &seen));
		break;
	case 11:
		if (r / 16 % 8 == 0)
			CALL(pathbus_wait(use->topic, &seen, harness_now_ns() + r / 256 % 10 * 1000000, 0));
		break;
	case 12:
		CALL(pathbus_get_limits(use->topic, &limits));
		CALL(pathbus_transport(use->topic, &transport));
		break;
	default:
		take_some(use);
		break;
	}
}

struct setting {
	enum pathbus_transport_kind kind;
	unsigned flags;
	int number;
};

static int be_member(struct harness_process *peer, void *arg)
{
	const struct setting *setting = arg;
	struct pathbus_options options = transport_options();
	struct use use = { .random = (uint64_t)getpid() * UINT64_C(0x9e3779b97f4a7c15) + 1 };

	(void)peer;
	options.transport = setting->kind;
	options.timeout_ms = 1000;
	ck_assert_int_eq(pathbus_new(&use.bus, &options), 0);
	ck_assert_int_eq(pathbus_open(use.bus, transport_path("data"), setting->flags, &use.topic), 0);
	atomic_store(&shared->members[setting->number], getpid());
	while (!atomic_load(&shared->over)) {
		for (int i = 0; i < 200; i++)
			use_it(&use);
		if (random_next(&use.random) % 8 == 0) { /* who comes meanwhile may be turned away */
			pathbus_topic *topic = NULL;
			int r = 0;

			CALL(r = pathbus_open(use.bus, transport_path("data"), 0, &topic));
			ck_assert(r < 0 || topic);
			if (topic)
				CALL(pathbus_close(topic));
		}
	}
	CALL(pathbus_free(use.bus));
	return 0;
}

/* --- the cases -------------------------------------------------------------------------------------------------------- */

enum way { BESIDE, OVER_DAEMON, WITH_LINK, N_WAYS };

static const struct setting settings[N_WAYS][N_MEMBERS] = {
	[BESIDE] = { { PATHBUS_PEER, 0, 0 }, { PATHBUS_PEER, PATHBUS_NEWEST, 1 }, { PATHBUS_PEER, PATHBUS_ECHO, 2 } },
	[OVER_DAEMON] = { { PATHBUS_BUS, 0, 0 }, { PATHBUS_BUS, PATHBUS_NEWEST | PATHBUS_HIDE_PROCESS, 1 },
	                  { PATHBUS_SOCKET, 0, 2 } },
	[WITH_LINK] = { { PATHBUS_AUTO, 0, 0 }, { PATHBUS_PEER, 0, 1 }, { PATHBUS_AUTO, PATHBUS_ECHO, 2 } },
};

static int open_and_say(pathbus *a, pathbus *b, pathbus_topic **to, pathbus_topic **from)
{
	int r = pathbus_open(a, transport_path("data"), 0, to);

	if (r < 0)
		return -EAGAIN;
	ck_assert_int_eq(pathbus_open(b, transport_path("data"), 0, from), 0);
	r = pathbus_publish(*from, "well", 4);
	ck_assert(r == 0 || r == -EIO);
	return r;
}

/* Those who come after the scribbler has gone, and its victims, find everything as it should be. */
static void expect_health(enum pathbus_transport_kind kind)
{
	struct pathbus_options options = transport_options();
	struct pathbus_event event = { .size = sizeof(event) };
	pathbus *a, *b;
	pathbus_topic *from, *to;
	uint64_t limit = harness_deadline(harness_limit_ms);
	int r;

	options.transport = kind;
	ck_assert_int_eq(pathbus_new(&a, &options), 0);
	ck_assert_int_eq(pathbus_new(&b, &options), 0);
	/* The damaged lane itself may be there until its last member, the link perhaps, has left. */
	harness_await((r = open_and_say(a, b, &to, &from)) == 0 || r == -EIO);
	while (r == -EIO) {
		to = pathbus_close(to);
		from = pathbus_close(from);
		harness_await((r = open_and_say(a, b, &to, &from)) == 0 || r == -EIO);
		ck_assert_uint_lt(harness_now_ns(), limit);
	}
	do
		harness_await(pathbus_next(a, &event) == 1);
	while (event.kind == PATHBUS_EVENT_RESYNC || event.kind == PATHBUS_EVENT_POST);
	ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
	ck_assert_uint_eq(event.data_size, 4);
	ck_assert_int_eq(memcmp(event.data, "well", 4), 0);
	pathbus_free(a);
	pathbus_free(b);
}

START_TEST(members_survive)
{
	enum way way = (enum way)(_i / N_TARGETS);
	enum target target = (enum target)(_i % N_TARGETS);
	struct harness_process members[N_MEMBERS], scribbler;
	uint64_t end;

	harness_allow_sidecars();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	transport_begin(way == BESIDE ? ON_PEER : ON_BUS);
	for (int i = 0; i < N_MEMBERS; i++) {
		harness_spawn(&members[i], be_member, (void *)(uintptr_t)&settings[way][i]);
		harness_await(atomic_load(&shared->members[i]) != 0);
	}
	harness_spawn(&scribbler, be_scribbler, &target);
	harness_await(atomic_load(&shared->n_written) > 0);
	for (end = harness_now_ns() + (harness_full() ? FULL_MS : SHORT_MS) * UINT64_C(1000000) / N_TARGETS;
	     harness_now_ns() < end;)
		poll(NULL, 0, 50);
	atomic_store(&shared->over, true);
	harness_expect_exit(&scribbler, 0);
	for (int i = 0; i < N_MEMBERS; i++)
		harness_expect_exit(&members[i], 0);
	printf("%lu calls, %lu words in %lu lanes\n", atomic_load(&shared->n_calls), atomic_load(&shared->n_written),
	       atomic_load(&shared->n_maps));
	if (way != BESIDE) {
		const char *log = harness_read_file(transport_daemon()->log);

		ck_assert_msg(!strstr(log, "Sanitizer") && !strstr(log, "runtime error") && !strstr(log, "agent"), "%s", log);
		expect_health(PATHBUS_BUS);
	}
	expect_health(PATHBUS_PEER);
	munmap(shared, sizeof(*shared));
}
END_TEST

static int use_closed_lane(struct harness_process *peer, void *arg)
{
	struct use uses[2] = { { .random = 1 }, { .random = 2 } };
	struct mapped lane = { 0 };

	(void)arg;
	for (int i = 0; i < 2; i++) {
		uses[i].bus = transport_new();
		uses[i].topic = transport_open(uses[i].bus, "data", 0);
		take_some(&uses[i]);
	}
	map_lane_of(getpid(), &lane);
	ck_assert_ptr_nonnull(lane.lane);
	atomic_store(&((struct page *)(void *)lane.lane)->closed, 1);
	munmap(lane.lane, lane.size);
	for (int n = 0; n < 400; n++)
		use_it(&uses[n % 2]);
	for (int i = 0; i < 2; i++)
		CALL(pathbus_free(uses[i].bus));
	harness_tell(peer, "done");
	return 0;
}

/* Nobody closes a lane of the daemon's. If somebody has, there is no other to go to: calls fail, and do not try for ever. */
START_TEST(a_lane_that_is_closed)
{
	struct harness_process user;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	transport_begin(ON_BUS);
	harness_spawn(&user, use_closed_lane, NULL);
	harness_expect_line(&user, "done");
	harness_expect_exit(&user, 0);
	expect_health(PATHBUS_BUS);
	munmap(shared, sizeof(*shared));
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(a_lane_that_is_closed),
	HARNESS_CASE_EACH(members_survive, N_WAYS * N_TARGETS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "scribbler", .cases = cases, .teardown = transport_end });
}
