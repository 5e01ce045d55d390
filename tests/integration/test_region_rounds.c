/* SPDX-License-Identifier: MIT */
/* test_region_rounds.c - regions that come and go ten thousand times leave nothing: in the program, in the daemon, on disk. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "region_world.h"

enum { TIMEOUT_MS = 10000, N_WARM = 1000, N_ROUNDS = 10000 };

/* With the address sanitizer what is freed stays for a while: here not for long, in the daemon neither. */
#define SHORT_QUARANTINE "quarantine_size_mb=1:thread_local_quarantine_size_kb=64"

const char *__asan_default_options(void) __attribute__((visibility("default")));
const char *__asan_default_options(void)
{
	return SHORT_QUARANTINE;
}

static void shorten_the_daemons_quarantine(void)
{
	const char *given = getenv("ASAN_OPTIONS");
	char options[1024];

	snprintf(options, sizeof(options), "%s%s%s", given ? given : "", given ? ":" : "", SHORT_QUARANTINE);
	setenv("ASAN_OPTIONS", options, 1);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MORE_KIB = 16384 };
#else
enum { MORE_KIB = 4096 };
#endif

struct usage {
	unsigned fds, maps;
	unsigned long kib;
};

static unsigned n_lines(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned n = 0;
	int c;

	ck_assert_msg(file, "%s: %s", path, strerror(errno));
	while ((c = getc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

/* The number on the line of /proc/PID/status that begins so. */
static unsigned long status_of(pid_t pid, const char *name)
{
	unsigned long number = 0;
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0)
			number = strtoul(line + strlen(name), NULL, 10);
	fclose(file);
	return number;
}

/* The daemon has a thread for as long as it gives memory back. */
static void await_daemon(void)
{
	harness_await(status_of(world_daemon.process.pid, "Threads:") == 1);
}

static struct usage usage_of(pid_t pid)
{
	struct usage usage = { 0 };
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		usage.fds++;
	closedir(dir);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	usage.maps = n_lines(path);
	usage.kib = status_of(pid, "VmRSS:");
	return usage;
}

static void expect_no_more(const char *who, struct usage before, struct usage after)
{
	ck_assert_msg(after.fds == before.fds, "%s: descriptors: %u, and then %u", who, before.fds, after.fds);
	ck_assert_msg(after.maps <= before.maps + 16, "%s: mappings: %u, and then %u", who, before.maps, after.maps);
	ck_assert_msg(after.kib <= before.kib + MORE_KIB, "%s: memory: %lu KiB, and then %lu", who, before.kib, after.kib);
}

static bool is_gone(struct world_member *member, const char *name)
{
	return world_try_open(member, name) == -ENOENT;
}

/* One way after the other of coming and going. */
static void round_of(struct world_member *a, struct world_member *b, unsigned n)
{
	pathbus_region *ours = world_create(a, "r", n % 2 ? PATHBUS_REGION_DOUBLE : PATHBUS_REGION_RESERVE), *theirs, *new;

	ck_assert_int_eq(pathbus_region_open(b->topic, "r", n % 3 ? 0 : PATHBUS_REGION_READ_ONLY, &theirs), 0);
	if (n % 4 == 0) {
		world_publish(ours, 1);
		world_expect(theirs, 1, 1);
	}
	if (n % 5 == 0) {
		ck_assert_int_eq(pathbus_region_replace(ours, 10, 0, &new), 0);
		pathbus_region_close(new);
	}
	pathbus_region_close(n % 2 ? ours : theirs);
	pathbus_region_close(n % 2 ? theirs : ours);
	/* What was replaced is told; and a close may still be on its way to the daemon. */
	if (n % 16 == 0) {
		(void)world_pump(a, 0);
		(void)world_pump(b, 0);
	}
	harness_await(is_gone(b, "r"));
}

START_TEST(nothing_grows)
{
	enum pathbus_transport_kind kind = _i ? PATHBUS_PEER : PATHBUS_BUS;
	struct usage before, after, daemon_before = { 0 }, daemon_after = { 0 };
	struct world_member a, b;

	shorten_the_daemons_quarantine();
	world_begin(kind == PATHBUS_BUS);
	a = world_join(kind, TIMEOUT_MS);
	b = world_join(kind, TIMEOUT_MS);
	for (unsigned n = 0; n < N_WARM; n++)
		round_of(&a, &b, n);
	before = usage_of(getpid());
	if (kind == PATHBUS_BUS) {
		await_daemon();
		daemon_before = usage_of(world_daemon.process.pid);
	}
	for (unsigned n = 0; n < N_ROUNDS; n++)
		round_of(&a, &b, n);
	after = usage_of(getpid());
	if (kind == PATHBUS_BUS) {
		await_daemon();
		daemon_after = usage_of(world_daemon.process.pid);
	}
	expect_no_more("the program", before, after);
	expect_no_more("the daemon", daemon_before, daemon_after);
	ck_assert_int_eq(world_region_files(), 0);
	world_leave(&a);
	world_leave(&b);
}
END_TEST

static const struct harness_case cases[] = {
	{ .test = &nothing_grows, .name = "nothing_grows", .n_runs = 2, .limit_s = 240 },
	{ 0 }
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "region_rounds", .cases = cases, .teardown = world_end });
}
