/* SPDX-License-Identifier: MIT */
/*
 * test_lock_split.c - never two holders: processes that take one lock, alone and shared, come to it by the daemon,
 * peer to peer, through another mount namespace and as another user of the file's group, while the daemon is killed
 * and started again, and they are killed themselves.
 *
 * They note who is in, in memory of their own, which knows nothing of locks.
 */
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/lockers.h"
#include "conformance/transports.h"
#include "libclient/lock_file.h"

#define NAME "n"
enum { USER = 65002, GROUP = 65100, MAX_IDS = 128, N_ROUNDS = 60 };

enum kind { BY_BUS, BY_PEER, BY_NAMESPACE, BY_USER, N_KINDS };

/* Whose the file is. Of the others', who then keep the lock near as often as they can: of one user's alone. */
enum owner { OF_GROUP, OF_USER, OF_ROOT, N_OWNERS };
enum { PER_KIND = 2, N_PARTIES = N_KINDS * PER_KIND };

/* Ids count from 1, and are not used again. */
static struct arena {
	_Atomic uint32_t alone;            /* who is in alone; 0: nobody */
	_Atomic uint32_t sharing[MAX_IDS]; /* who is in with others */
	_Atomic uint32_t doomed[MAX_IDS];  /* is being killed, or has been */
	_Atomic uint64_t n_taken[N_KINDS], n_shared, n_abandoned;
	_Atomic uint32_t stop;
} *arena;

static const char *path;
static enum owner owner;

struct party {
	struct harness_process process;
	enum kind kind;
	uint32_t id;
};

/* --- in a party ----------------------------------------------------------------------------------------------- */

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(random_state >> 33) % n;
}

/* Who is found in must be dead, and have been told of. */
static void expect_dead(uint32_t other, int r)
{
	if (other == 0)
		return;
	ck_assert_msg(other < MAX_IDS && atomic_load(&arena->doomed[other]), "two holders: %u is in", other);
	ck_assert_msg(r == -EOWNERDEAD, "%u has died in there, and nobody says so", other);
}

static void be_in_alone(uint32_t id, int r)
{
	expect_dead(atomic_exchange(&arena->alone, id), r);
	for (uint32_t i = 1; i < MAX_IDS; i++)
		if (atomic_load(&arena->sharing[i])) {
			ck_assert_msg(atomic_load(&arena->doomed[i]), "%u is in as well, sharing", i);
			atomic_store(&arena->sharing[i], 0);
		}
	for (unsigned n = random_below(4); n > 0; n--)
		sched_yield();
	ck_assert_uint_eq(atomic_load(&arena->alone), id);
	atomic_store(&arena->alone, 0);
}

static void be_in_with_others(uint32_t id, int r)
{
	atomic_store(&arena->sharing[id], 1);
	expect_dead(atomic_load(&arena->alone), r);
	for (unsigned n = random_below(4); n > 0; n--)
		sched_yield();
	expect_dead(atomic_load(&arena->alone), r);
	atomic_store(&arena->sharing[id], 0);
	atomic_fetch_add(&arena->n_shared, 1);
}

static void go_in(const struct party *me, pathbus_lock *lock)
{
	bool shared = random_below(4) == 0;
	unsigned flags = shared ? PATHBUS_LOCK_SHARED : owner != OF_GROUP ? PATHBUS_LOCK_NEAR : 0;
	int r = random_below(3) == 0 ? pathbus_lock_try(lock, flags) :
	        random_below(2) == 0 ? pathbus_lock_acquire(lock, flags, harness_deadline(5)) :
	                               pathbus_lock_acquire(lock, flags, UINT64_MAX);

	if (r == -EBUSY || r == -ETIMEDOUT)
		return;
	ck_assert_msg(r == 0 || r == -EOWNERDEAD, "taking it: %s", strerror(-r));
	(shared ? be_in_with_others : be_in_alone)(me->id, r);
	if (r == -EOWNERDEAD) {
		atomic_fetch_add(&arena->n_abandoned, 1);
		if (!shared && random_below(3))
			ck_assert_int_eq(pathbus_lock_consistent(lock), 0);
	}
	atomic_fetch_add(&arena->n_taken[me->kind], 1);
	ck_assert_int_eq(pathbus_lock_release(lock), 0);
}

/* Goes to where this kind of party is. Returns the file's path there. */
static const char *settle(enum kind kind)
{
	if (kind == BY_NAMESPACE) {
		ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
		ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
		ck_assert_int_eq(mount(harness_path("files"), harness_path("elsewhere"), NULL, MS_BIND, NULL), 0);
		return harness_path("elsewhere/data");
	}
	if (kind == BY_USER) {
		ck_assert_int_eq(setgroups(0, NULL), 0);
		ck_assert_int_eq(setgid(GROUP), 0);
		ck_assert_int_eq(setuid(USER), 0);
		ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
		ck_assert_int_eq(prctl(PR_SET_PDEATHSIG, SIGKILL), 0);
	}
	return path;
}

static void open_bus(const struct party *me, const char *file, pathbus **ret_bus, pathbus_topic **ret_topic)
{
	struct pathbus_options options = transport_options();
	int r;

	options.transport = me->kind == BY_PEER || me->kind == BY_USER ? PATHBUS_PEER : PATHBUS_AUTO;
	ck_assert_int_eq(pathbus_new(ret_bus, &options), 0);
	/* The channel may be between two daemons just now. */
	harness_await((r = pathbus_open(*ret_bus, file, me->kind == BY_USER ? PATHBUS_LOCKS_ONLY : 0, ret_topic)) == 0);
}

static int be_party(struct harness_process *peer, void *arg)
{
	const struct party *me = arg;
	const char *file = settle(me->kind);
	pathbus_topic *topic = NULL;
	pathbus_lock *lock = NULL;
	pathbus *bus = NULL;

	random_state = me->id * UINT64_C(0x9e3779b97f4a7c15);
	near_undisturbed = random_below(3);
	harness_tell(peer, "ready");
	while (!atomic_load(&arena->stop)) {
		if (!bus)
			open_bus(me, file, &bus, &topic);
		if (!lock) {
			int r;

			harness_await((r = pathbus_lock_open(topic, NAME, &lock)) != -EBUSY);
			ck_assert_msg(r == 0, "opening: %s", strerror(-r));
		}
		go_in(me, lock);
		if (random_below(8) == 0)
			lock = pathbus_lock_close(lock);
		if (random_below(100) == 0) {
			bus = pathbus_free(bus);
			lock = NULL;
		}
	}
	pathbus_free(bus);
	return 0;
}

/* --- the case ------------------------------------------------------------------------------------------------- */

static uint32_t last_id;

static void start(struct party *party, enum kind kind)
{
	*party = (struct party){ .kind = kind, .id = ++last_id };
	ck_assert_uint_lt(last_id, MAX_IDS);
	harness_spawn(&party->process, be_party, party);
	harness_expect_line(&party->process, "ready");
}

static void kill_party(struct party *party)
{
	atomic_store(&arena->doomed[party->id], 1);
	harness_signal(&party->process, SIGKILL);
	harness_expect_signal(&party->process, SIGKILL);
}

static uint64_t n_taken(void)
{
	uint64_t n = 0;

	for (int i = 0; i < N_KINDS; i++)
		n += atomic_load(&arena->n_taken[i]);
	return n;
}

static void prepare(void)
{
	transport_begin(ON_BUS);
	harness_allow_sidecars(); /* of those who are killed */
	path = transport_path("data");
	arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(arena, MAP_FAILED);
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(chmod(harness_path(".."), 0711), 0);
	ck_assert_int_eq(chmod(harness_tmpdir(), 0711), 0);
	ck_assert_int_eq(mkdir(harness_path("elsewhere"), 0700), 0);
	harness_write_file(path, "data");
	ck_assert_int_eq(chown(path, owner == OF_USER ? USER : 0, GROUP), 0);
	ck_assert_int_eq(chmod(path, owner == OF_GROUP ? 0660 : 0600), 0);
	ck_assert_int_eq(chown(harness_path("files"), owner == OF_USER ? USER : 0, GROUP), 0);
	ck_assert_int_eq(chmod(harness_path("files"), 0770), 0);
}

/* The last who died may have left it abandoned, and nobody have taken it since. */
static void clean_up(void)
{
	struct locker last;

	locker_start(&last, path, NAME);
	if (locker_ask(&last, "try") == -EOWNERDEAD)
		locker_expect(&last, "consistent", 0);
	locker_end(&last);
	ck_assert(!lock_is_there(path));
}

START_TEST(never_two_holders)
{
	/* Without privileges there is neither another user nor another namespace. */
	int n_kinds = geteuid() != 0 ? BY_PEER + 1 : _i == OF_ROOT ? BY_NAMESPACE + 1 : N_KINDS;
	int n = n_kinds * PER_KIND, n_rounds = harness_full() ? 100 : N_ROUNDS;
	struct party parties[N_PARTIES];

	owner = (enum owner)_i;
	prepare();
	random_state = harness_now_ns();
	for (int i = 0; i < n; i++)
		start(&parties[i], (enum kind)(i % n_kinds));
	for (int round = 0; round < n_rounds; round++) {
		uint64_t goal = n_taken() + 500;

		harness_await(n_taken() >= goal);
		if (round % 3 == 0) {
			harness_daemon_kill(transport_daemon());
			goal = n_taken() + 200;
			harness_await(n_taken() >= goal); /* without one */
			harness_daemon_start(transport_daemon(), NULL);
		} else {
			struct party *victim = &parties[random_below((unsigned)n)];
			enum kind kind = victim->kind;

			kill_party(victim);
			start(victim, kind);
		}
	}
	for (int i = 0; i < n_kinds; i++) {
		uint64_t goal = atomic_load(&arena->n_taken[i]) + 1;

		harness_await(atomic_load(&arena->n_taken[i]) >= goal);
	}
	atomic_store(&arena->stop, 1);
	for (int i = 0; i < n; i++)
		harness_expect_exit(&parties[i].process, 0);
	ck_assert_uint_gt(atomic_load(&arena->n_shared), 0);
	clean_up();
	munmap(arena, sizeof(*arena));
}
END_TEST

static const struct harness_case cases[] = {
	{ .test = &never_two_holders, .name = "never_two_holders", .n_runs = N_OWNERS, .limit_s = 180 },
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "lock_split", .cases = cases, .teardown = transport_end });
}
