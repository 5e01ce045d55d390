/* SPDX-License-Identifier: MIT */
/*
 * test_region_races.c - many who make, open and close one name at once, with the daemon and without it: at no time do two
 * memories of that name live.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness/process.h"
#include "libclient/region_internal.h"
#include "region_world.h"

enum { TIMEOUT_MS = 10000, N_PROCESSES = 4, N_ROUNDS = 1500 };

/* What all of them know: while anybody holds one, it is this one. Counted after it was had, and before it is given back. */
static struct ledger {
	pthread_mutex_t lock;
	unsigned n_holders, n_made[2];
	uint8_t id[REGION_ID_SIZE];
} *ledger;

static void enter(const pathbus_region *region, bool made)
{
	uint8_t id[REGION_ID_SIZE];

	memcpy(id, region->header->id, sizeof(id));
	pthread_mutex_lock(&ledger->lock);
	if (ledger->n_holders++ == 0)
		memcpy(ledger->id, id, sizeof(id));
	if (made)
		ledger->n_made[region->place == PATHBUS_BUS]++;
	pthread_mutex_unlock(&ledger->lock);
	ck_assert_msg(memcmp(ledger->id, id, sizeof(id)) == 0, "there are two of them");
}

static void leave(pathbus_region *region)
{
	pthread_mutex_lock(&ledger->lock);
	ledger->n_holders--;
	pthread_mutex_unlock(&ledger->lock);
	pathbus_region_close(region);
}

static int come_and_go(struct harness_process *peer, void *arg)
{
	struct world_member me = world_join(*(const enum pathbus_transport_kind *)arg, TIMEOUT_MS);
	unsigned seed = (unsigned)getpid();

	harness_tell(peer, "ready");
	(void)harness_hear(peer);
	for (int i = 0; i < N_ROUNDS * (harness_full() ? 20 : 1); i++) {
		bool makes = rand_r(&seed) % 2;
		pathbus_region *region;
		int r = makes ? pathbus_region_create(me.topic, "r", 1, 0, &region) :
		                pathbus_region_open(me.topic, "r", 0, &region);

		ck_assert_msg(r == 0 || r == -EEXIST || r == -ENOENT || r == -EBUSY, "%s", strerror(-r));
		if (r < 0)
			continue;
		enter(region, makes);
		if (rand_r(&seed) % 4 == 0)
			(void)world_pump(&me, 0);
		leave(region);
	}
	world_leave(&me);
	return 0;
}

/* i: without a daemon, with it, and some without it while it is there. */
START_TEST(one_at_a_time)
{
	static const enum pathbus_transport_kind kinds[3][2] = { { PATHBUS_PEER, PATHBUS_PEER },
		                                                 { PATHBUS_BUS, PATHBUS_BUS },
		                                                 { PATHBUS_BUS, PATHBUS_PEER } };
	struct harness_process processes[N_PROCESSES];
	pthread_mutexattr_t shared;

	world_begin(_i > 0);
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(ledger, MAP_FAILED);
	pthread_mutexattr_init(&shared);
	pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&ledger->lock, &shared);
	for (int i = 0; i < N_PROCESSES; i++) {
		harness_spawn(&processes[i], come_and_go, (void *)(uintptr_t)&kinds[_i][i % 2]);
		harness_expect_line(&processes[i], "ready");
	}
	for (int i = 0; i < N_PROCESSES; i++)
		harness_tell(&processes[i], "go");
	for (int i = 0; i < N_PROCESSES; i++)
		harness_expect_exit(&processes[i], 0);
	ck_assert_uint_eq(ledger->n_holders, 0);
	/* Each way was taken. */
	ck_assert(_i == 1 || ledger->n_made[0] > 0);
	ck_assert(_i == 0 || ledger->n_made[1] > 0);
	ck_assert_int_eq(world_region_files(), 0);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(one_at_a_time, 3),
	{ 0 }
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "region_races", .cases = cases, .teardown = world_end });
}
