/* SPDX-License-Identifier: MIT */
/*
 * locks.c - taking a lock that nobody else wants and giving it back, against what the kernel has for that: a byte
 * locked by an open file description lock, which is what a lock that ends with its holder needs, and flock(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "bench.h"
#include "os/os.h"

enum { N_PAIRS = 20000, N_ROUNDS = 15, N_ROUNDS_QUICK = 5, TARGET_NS = 1000 };

enum { BY_BYTE, BY_FLOCK, ALONE, SHARED, NEAR, N_WAYS };

static const char *const names[N_WAYS] = {
	"byte of a file, fcntl", "flock(2)", "lock and unlock, alone", "lock and unlock, shared",
	"lock and unlock, kept near"
};

static int file;
static pathbus_lock *locks[N_WAYS]; /* each its own: one that is kept near is quick to take in any way */

static void must(int r, const char *what)
{
	if (r < 0)
		die(r, "%s", what);
}

static double run(int way)
{
	unsigned flags = way == SHARED ? PATHBUS_LOCK_SHARED : way == NEAR ? PATHBUS_LOCK_NEAR : 0;
	uint64_t start = cpu_ns();

	for (unsigned i = 0; i < N_PAIRS; i++) {
		if (way == BY_BYTE) {
			must(os_lock(file, OS_LOCK_EXCLUSIVE, 1, 1), "a byte");
			must(os_lock(file, OS_LOCK_NONE, 1, 1), "a byte");
		} else if (way == BY_FLOCK) {
			must(flock(file, LOCK_EX), "flock");
			must(flock(file, LOCK_UN), "flock");
		} else {
			must(pathbus_lock_acquire(locks[way], flags, UINT64_MAX), "taking a lock");
			must(pathbus_lock_release(locks[way]), "giving it back");
		}
	}
	return (double)(cpu_ns() - start) / N_PAIRS;
}

void measure_locks(const struct settings *settings)
{
	static double ns[N_WAYS][N_ROUNDS], ratio[N_WAYS][N_ROUNDS];
	unsigned n_rounds = settings->quick ? N_ROUNDS_QUICK : N_ROUNDS;
	pathbus *bus = handle_new(settings, PATHBUS_PEER); /* the same with a daemon */
	pathbus_topic *topic = topic_of(settings, bus, "lock", PATHBUS_POST);
	char path[4096];

	report_family("Lock and unlock, nobody else");
	pin(settings->core);
	snprintf(path, sizeof(path), "%s/lock-file", settings->folder);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		die(-errno, "%s", path);
	for (int way = ALONE; way < N_WAYS; way++)
		must(pathbus_lock_open(topic, names[way], &locks[way]), "opening a lock");
	for (int way = 0; way < N_WAYS; way++)
		run(way);
	for (unsigned round = 0; round < n_rounds; round++) {
		for (unsigned i = 0; i < N_WAYS; i++) {
			unsigned way = (i + round) % N_WAYS;

			ns[way][round] = run((int)way);
		}
		for (int way = 0; way < N_WAYS; way++)
			ratio[way][round] = ns[way][round] / ns[BY_BYTE][round];
	}
	for (int way = 0; way < N_WAYS; way++)
		report_add(&(struct figure){
			.family = "lock",
			.name = names[way],
			.n_cores = 1,
			.unit = "ns",
			.samples = ns[way],
			.n_samples = n_rounds,
			.per_sample = N_PAIRS,
			.reference = way == BY_BYTE ? NULL : names[BY_BYTE],
			.ratio = median(ratio[way], n_rounds),
			.limit_of = way == NEAR ? LIMIT_VALUE : LIMIT_NONE,
			.limit = TARGET_NS,
		});
	close(file);
	unlink(path);
	pathbus_free(bus);
}
