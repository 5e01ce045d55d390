/* SPDX-License-Identifier: MIT */
/* test_endpoint_rounds.c - listening, connecting and closing ten thousand times leaves nothing behind, on either side. */
#include "conformance/transports.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conformance/meeting.h"
#include "conformance/sidecars.h"

enum { ROUNDS = 10000, WARM = 500 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEPS_FREED_MEMORY 1
#else
#define KEEPS_FREED_MEMORY 0
#endif

struct holdings {
	int descriptors, mappings, files, runtime;
	long resident; /* KiB */
};

/* Of files and shared memory; the others are the allocator's. */
static int n_mappings(const char *path)
{
	FILE *maps = fopen(path, "re");
	char line[4096];
	unsigned long inode;
	int n = 0;

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps))
		n += sscanf(line, "%*s %*s %*s %*s %lu", &inode) == 1 && inode != 0;
	fclose(maps);
	return n;
}

static struct holdings look(pid_t pid)
{
	char path[64];
	struct holdings found = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	found.descriptors = count_entries(path, "");
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	found.mappings = n_mappings(path);
	found.files = count_entries(sidecar_path("file", NULL), "");
	found.runtime = transport_own_runtime() ? count_entries(transport_runtime_folder(), "") : 0;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	{
		const char *line = strstr(harness_read_file(path), "\nVmRSS:");

		found.resident = line ? strtol(line + 7, NULL, 10) : 0;
	}
	return found;
}

static void expect_no_more(const struct holdings *before, const struct holdings *after, const char *whose)
{
	ck_assert_msg(after->descriptors <= before->descriptors, "%s: %d descriptors, %d before", whose, after->descriptors,
	              before->descriptors);
	ck_assert_msg(after->mappings <= before->mappings, "%s: %d mappings, %d before", whose, after->mappings, before->mappings);
	ck_assert_msg(after->files <= before->files, "%s: %d files, %d before", whose, after->files, before->files);
	ck_assert_msg(after->runtime <= before->runtime, "%s: %d in the runtime folder, %d before", whose, after->runtime,
	              before->runtime);
	if (!KEEPS_FREED_MEMORY)
		ck_assert_msg(after->resident <= before->resident + 300, "%s: %ld KiB, %ld before", whose, after->resident,
		              before->resident);
}

static void run(pathbus *one, pathbus_topic *served, pathbus *other, pathbus_topic *used, int n)
{
	for (int i = 0; i < n; i++) {
		pathbus_endpoint *endpoint = listen_at(served, "service", i % 3 ? 0 : PATHBUS_ENDPOINT_SEQPACKET);
		struct pathbus_connection connection = connection_of();
		int fd;

		if (i % 10 == 9) {
			char token[PATHBUS_TOKEN_SIZE];

			ck_assert_int_eq(pathbus_token_make(used, "service", token), 0);
			ck_assert_int_eq(pathbus_token_redeem(other, token, 0, &connection), 0);
		} else {
			connection = dial(used, "service");
		}
		if (i % 5 != 4) { /* else it is closed with its endpoint */
			fd = accept_one(one, endpoint);
			expect_joined(connection.fd, fd);
			close(fd);
		}
		if (i % 10 == 4) {
			uint64_t seen = 0;

			(void)pathbus_wait(served, &seen, 0, 0); /* it has come, and is not taken */
			(void)pathbus_wait(served, &seen, 0, 0);
		}
		close(connection.fd);
		pathbus_unlisten(endpoint);
	}
	drain(one);
	drain(other);
}

START_TEST(leave_nothing_behind)
{
	pid_t daemon_pid;
	struct holdings before, after, before_daemon = { 0 }, after_daemon;
	pathbus *one, *other;
	pathbus_topic *served, *used;

	if (geteuid() == 0)
		(void)transport_try_own_mounts(); /* a runtime folder that nobody else uses */
	transport_begin(_i);
	one = transport_new();
	other = transport_new();
	served = transport_open(one, "file", 0);
	used = transport_open(other, "file", 0);
	daemon_pid = transport_daemon()->process.pid;
	run(one, served, other, used, WARM);
	before = look(getpid());
	if (daemon_pid)
		before_daemon = look(daemon_pid);
	run(one, served, other, used, ROUNDS);
	after = look(getpid());
	expect_no_more(&before, &after, "this process");
	if (daemon_pid) {
		ck_assert_int_eq(pathbus_ping(one, NULL), 0); /* it has dealt with everything */
		ck_assert_int_eq(pathbus_ping(other, NULL), 0);
		after_daemon = look(daemon_pid);
		expect_no_more(&before_daemon, &after_daemon, "the daemon");
	}
	pathbus_free(one);
	pathbus_free(other);
}
END_TEST

static const struct harness_case cases[] = {
	{ .test = &leave_nothing_behind, .name = "leave_nothing_behind", .n_runs = N_TRANSPORTS, .limit_s = 120 },
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "endpoint_rounds", .cases = cases, .teardown = transport_end });
}
