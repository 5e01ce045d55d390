/* SPDX-License-Identifier: MIT */
/* test_quiet.c - nobody is woken without a post, and who sleeps does nothing at all. */
#include "conformance/transports.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/process.h"
#include "os/os.h"

enum { N_TOPICS = 4, N_EACH = 3, N_POSTS = 50, BUSY_MS = 300 };

static const char *name_of(int topic)
{
	static char name[16];

	snprintf(name, sizeof(name), "data%d", topic);
	return name;
}

/* --- a subscriber -------------------------------------------------------------------------------------- */

struct counts {
	unsigned n_polls; /* returns of poll with the handle's descriptor ready */
	uint64_t n_posts;
	uint64_t n_waits; /* of the library's own */
};

/* Sleeps on its descriptor until it is spoken to. */
static void sleep_and_count(struct harness_process *peer, pathbus *bus, struct counts *counts)
{
	struct pollfd fds[2] = { { .fd = pathbus_fd(bus), .events = POLLIN }, { .fd = peer->in, .events = POLLIN } };
	uint64_t before = atomic_load(&os_counts.waits);

	do {
		int r = poll(fds, 2, -1);

		ck_assert_int_gt(r, 0);
		if (fds[0].revents) {
			counts->n_polls++;
			counts->n_posts += take_posts(bus);
		}
	} while (fds[0].revents || !fds[1].revents);
	counts->n_waits += atomic_load(&os_counts.waits) - before;
}

static int subscribe(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	const char *line;

	transport_open(bus, name_of(*(const int *)arg), 0);
	harness_tell(peer, "open");
	while ((line = harness_hear(peer)) && strcmp(line, "end") != 0) {
		struct counts counts = { 0 };

		ck_assert_str_eq(line, "sleep");
		expect_quiet(bus); /* what opening and others' coming may have left */
		harness_tell(peer, "sleeping");
		sleep_and_count(peer, bus, &counts);
		harness_expect_line(peer, "report");
		harness_tell(peer, "%u %llu %llu", counts.n_polls, (unsigned long long)counts.n_posts,
		             (unsigned long long)counts.n_waits);
	}
	pathbus_free(bus);
	return 0;
}

static void start(struct harness_process *ret, int topic)
{
	harness_spawn(ret, subscribe, &topic); /* the child has its own copy */
	harness_expect_line(ret, "open");
}

static void put_to_sleep(struct harness_process *subscriber)
{
	harness_tell(subscriber, "sleep");
	harness_expect_line(subscriber, "sleeping");
}

/* What it counted since it went to sleep. */
static struct counts wake_up(struct harness_process *subscriber)
{
	struct counts counts;
	unsigned long long n_posts, n_waits;
	const char *line;

	harness_tell(subscriber, "report");
	line = harness_hear(subscriber);
	ck_assert_ptr_nonnull(line);
	ck_assert_int_eq(sscanf(line, "%u %llu %llu", &counts.n_polls, &n_posts, &n_waits), 3);
	counts.n_posts = n_posts;
	counts.n_waits = n_waits;
	return counts;
}

static void end(struct harness_process *subscriber)
{
	harness_tell(subscriber, "end");
	harness_expect_exit(subscriber, 0);
}

/* --- exactly those --------------------------------------------------------------------------------------- */

static void post_on_one(struct harness_process subscribers[N_TOPICS][N_EACH], pathbus_topic **topics, int posted)
{
	for (int t = 0; t < N_TOPICS; t++)
		for (int i = 0; i < N_EACH; i++)
			put_to_sleep(&subscribers[t][i]);
	for (int i = 0; i < N_POSTS; i++)
		ck_assert_int_eq(pathbus_post(topics[posted]), 0);
	/* Whoever was woken is ready before it hears this. */
	for (int t = 0; t < N_TOPICS; t++)
		for (int i = 0; i < N_EACH; i++) {
			struct counts counts = wake_up(&subscribers[t][i]);

			ck_assert_uint_eq(counts.n_posts, t == posted ? N_POSTS : 0);
			ck_assert(t == posted ? counts.n_polls > 0 : counts.n_polls == 0);
			ck_assert(t == posted || counts.n_waits == 0);
		}
}

START_TEST(only_those_of_the_topic_wake)
{
	struct harness_process subscribers[N_TOPICS][N_EACH];
	pathbus_topic *topics[N_TOPICS];
	pathbus *bus;

	transport_begin(_i);
	for (int t = 0; t < N_TOPICS; t++)
		for (int i = 0; i < N_EACH; i++)
			start(&subscribers[t][i], t);
	bus = transport_new();
	for (int t = 0; t < N_TOPICS; t++)
		topics[t] = transport_open(bus, name_of(t), 0);
	expect_quiet(bus);
	for (int t = 0; t < N_TOPICS; t++)
		post_on_one(subscribers, topics, t);
	expect_quiet(bus); /* the poster's own posts are no events; the bell that it rang may have woken it */
	for (int t = 0; t < N_TOPICS; t++)
		for (int i = 0; i < N_EACH; i++)
			end(&subscribers[t][i]);
	pathbus_free(bus);
}
END_TEST

/* Others who come, go and look, beside it and on its own topic, are no reason to wake. */
START_TEST(company_wakes_nobody)
{
	struct harness_process sleeper, visitor;
	struct counts counts;

	transport_begin(_i);
	start(&sleeper, 0);
	start(&visitor, 0); /* with the first other one a daemon may change the way it rings */
	put_to_sleep(&sleeper);
	for (int i = 0; i < 5; i++) {
		struct harness_process another;

		start(&another, i % 2);
		put_to_sleep(&another);
		counts = wake_up(&another);
		ck_assert_uint_eq(counts.n_polls, 0);
		if (_i == ON_BUS || i % 2)
			end(&another);
		else { /* a leaver rings, for a link that may be waiting to be alone (libclient/sidecar.h) */
			counts = wake_up(&sleeper);
			ck_assert_uint_eq(counts.n_polls, 0);
			end(&another);
			put_to_sleep(&sleeper);
		}
	}
	counts = wake_up(&sleeper);
	ck_assert_uint_eq(counts.n_polls, 0);
	ck_assert_uint_eq(counts.n_waits, 0);
	end(&visitor);
	end(&sleeper);
}
END_TEST

START_TEST(nobody_is_rung_for_who_does_not_wait)
{
	struct harness_process subscriber;
	pathbus *bus;
	pathbus_topic *lonely, *met;
	uint64_t before;

	transport_begin(_i);
	bus = transport_new();
	lonely = transport_open(bus, "lonely", 0);
	before = atomic_load(&os_counts.rings);
	for (int i = 0; i < N_POSTS; i++)
		ck_assert_int_eq(pathbus_post(lonely), 0);
	ck_assert_uint_eq(atomic_load(&os_counts.rings), before);
	/* Open, but it has not gone to sleep again since it was rung. */
	start(&subscriber, 0);
	met = transport_open(bus, name_of(0), PATHBUS_POST);
	ck_assert_int_eq(pathbus_post(met), 0);
	before = atomic_load(&os_counts.rings);
	for (int i = 0; i < N_POSTS; i++)
		ck_assert_int_eq(pathbus_post(met), 0);
	ck_assert_uint_eq(atomic_load(&os_counts.rings), before);
	harness_tell(&subscriber, "end");
	harness_expect_exit(&subscriber, 0);
	pathbus_free(bus);
}
END_TEST

/* --- nothing at all -------------------------------------------------------------------------------------- */

static long number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	ck_assert_msg(at != NULL, "no %s", key);
	return strtol(at + strlen(key), NULL, 10);
}

static const char *status_of(const struct harness_process *process)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)process->pid);
	return harness_read_file(path);
}

static bool sleeps(const struct harness_process *process)
{
	return strstr(status_of(process), "State:\tS") != NULL;
}

/* How often it went to sleep: each time that it ran in between is one more. */
static long n_sleeps(const struct harness_process *process)
{
	return number_after(status_of(process), "\nvoluntary_ctxt_switches:");
}

START_TEST(an_idle_subscriber_does_not_run)
{
	struct harness_process idle, busy;
	struct counts counts;
	pathbus *bus;
	pathbus_topic *topic;
	uint64_t n_posts = 0, end_ns;
	long before;

	transport_begin(_i);
	if (_i == ON_PEER && !os_bell_fifo_reliable())
		harness_skip("this kernel's pipes need a look every 20 ms");
	start(&idle, 0);
	start(&busy, 1);
	put_to_sleep(&idle);
	put_to_sleep(&busy);
	bus = transport_new();
	topic = transport_open(bus, name_of(1), 0);
	harness_await(sleeps(&idle));
	before = n_sleeps(&idle);
	/* Long enough for whatever would come round by itself. */
	for (end_ns = harness_deadline(BUSY_MS); harness_now_ns() < end_ns; n_posts++) {
		ck_assert_int_eq(pathbus_post(topic), 0);
		if (n_posts % 1000 == 0)
			pathbus_close(transport_open(bus, "third", 0));
	}
	ck_assert_int_eq(n_sleeps(&idle), before);
	counts = wake_up(&idle);
	ck_assert_uint_eq(counts.n_polls, 0);
	ck_assert_uint_eq(counts.n_waits, 0);
	counts = wake_up(&busy);
	ck_assert_uint_eq(counts.n_posts, n_posts);
	end(&idle);
	end(&busy);
	pathbus_free(bus);
}
END_TEST

static bool is_armed(int timer)
{
	char path[64];
	const char *value;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", timer);
	value = strstr(harness_read_file(path), "it_value:");
	return value && strncmp(value, "it_value: (0, 0)", strlen("it_value: (0, 0)")) != 0;
}

static int n_armed_timers(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		char target[64] = "";

		if (readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) > 0 &&
		    strcmp(target, "anon_inode:[timerfd]") == 0)
			n += is_armed(atoi(entry->d_name));
	}
	closedir(dir);
	return n;
}

static void use_and_rest(pathbus *bus)
{
	pathbus_topic *topic;
	uint64_t seen = 0;

	ck_assert_int_eq(pathbus_open(bus, transport_path("data0"), 0, &topic), 0);
	ck_assert_int_eq(pathbus_wait(topic, &seen, 0, 0), 1);
	ck_assert_int_eq(pathbus_wait(topic, &seen, 0, 0), 0);
	ck_assert_int_eq(pathbus_post(topic), 0);
	expect_quiet(bus);
	ck_assert_int_eq(n_armed_timers(), 0);
}

START_TEST(no_timer_runs_in_an_idle_handle)
{
	pathbus *bus;

	transport_begin(_i);
	if (_i == ON_PEER && !os_bell_fifo_reliable())
		harness_skip("this kernel's pipes need a look every 20 ms");
	bus = transport_new();
	use_and_rest(bus);
	pathbus_free(bus);
}
END_TEST

/* It would take a daemon if there were one, and so watches for the socket. */
START_TEST(nor_in_one_that_may_change_its_way)
{
	struct pathbus_options options = { .size = sizeof(options), .timeout_ms = HARNESS_LIMIT_MS };
	pathbus *bus;

	transport_begin(_i);
	if (_i == ON_PEER && !os_bell_fifo_reliable())
		harness_skip("this kernel's pipes need a look every 20 ms");
	options.address = _i == ON_BUS ? transport_daemon()->address : harness_path("no-socket");
	ck_assert_int_eq(pathbus_new(&bus, &options), 0);
	use_and_rest(bus);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(only_those_of_the_topic_wake, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(company_wakes_nobody, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(nobody_is_rung_for_who_does_not_wait, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(an_idle_subscriber_does_not_run, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(no_timer_runs_in_an_idle_handle, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(nor_in_one_that_may_change_its_way, N_FIELD_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "quiet", .cases = cases, .teardown = transport_end });
}
