/* SPDX-License-Identifier: MIT */
/* test_sync.c - who has caught up, who has not, and who does not count any more. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/process.h"

#define SOON_NS UINT64_C(50000000)

static struct pathbus_laggard laggards[8];
static struct pathbus_sync result;

static int look(pathbus_topic *topic, uint64_t wait_ns)
{
	memset(laggards, 0, sizeof(laggards));
	result = (struct pathbus_sync){ .size = sizeof(result), .laggards = laggards, .max_laggards = 8 };
	return pathbus_sync(topic, wait_ns ? harness_now_ns() + wait_ns : 0, &result);
}

#define LONG_NS ((uint64_t)harness_limit_ms * 1000000)

START_TEST(alone)
{
	pathbus *bus;
	pathbus_topic *topic;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	ck_assert_int_eq(pathbus_post(topic), 0);
	ck_assert_int_eq(look(topic, 0), 0);
	ck_assert_uint_eq(result.n_subscribers, 0);
	ck_assert_uint_eq(result.n_caught_up, 0);
	ck_assert_int_eq(pathbus_sync(NULL, 0, &result), -EINVAL);
	ck_assert_int_eq(pathbus_sync(topic, 0, NULL), -EINVAL);
	pathbus_free(bus);
}
END_TEST

START_TEST(who_comes_back_has_dealt_with_it)
{
	pathbus *poster, *listener;
	pathbus_topic *from;
	struct pathbus_event event;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	transport_open(listener, "data", 0);
	from = transport_open(poster, "data", PATHBUS_POST); /* no subscriber itself */
	expect_quiet(listener);
	for (int round = 0; round < 4; round++) {
		ck_assert_int_eq(round % 2 ? pathbus_publish(from, "x", 1) : pathbus_post(from), 0);
		ck_assert_int_eq(look(from, 0), -ETIMEDOUT);
		ck_assert_uint_eq(result.n_subscribers, 1);
		ck_assert_uint_eq(result.n_caught_up, 0);
		ck_assert_uint_eq(result.n_laggards, 1);
		ck_assert_int_eq(laggards[0].pid, getpid());
		ck_assert_uint_eq(laggards[0].uid, geteuid());
		ck_assert_uint_gt(strlen(laggards[0].command), 0);
		await_readable(listener);
		ck_assert_int_eq(take(listener, &event), 1);
		/* Received, and perhaps being dealt with. */
		ck_assert_int_eq(look(from, SOON_NS), -ETIMEDOUT);
		ck_assert_uint_eq(result.n_caught_up, 0);
		ck_assert_int_eq(take(listener, &event), 0); /* has come back for more */
		ck_assert_int_eq(look(from, LONG_NS), 0);
		ck_assert_uint_eq(result.n_subscribers, 1);
		ck_assert_uint_eq(result.n_caught_up, 1);
		ck_assert_uint_eq(result.n_laggards, 0);
	}
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

static int listen_till_told(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	int n = 0;

	(void)arg;
	transport_open(bus, "data", PATHBUS_SUBSCRIBE);
	expect_quiet(bus);
	harness_tell(peer, "ready");
	while (n < 3) {
		struct pathbus_event event;

		await_readable(bus);
		while (take(bus, &event))
			n += (int)event.count;
	}
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

START_TEST(waits_for_all)
{
	enum { N = 8 };
	struct harness_process listeners[N];
	pathbus *bus;
	pathbus_topic *topic;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "data", PATHBUS_POST);
	for (int i = 0; i < N; i++)
		harness_spawn(&listeners[i], listen_till_told, NULL);
	for (int i = 0; i < N; i++)
		harness_expect_line(&listeners[i], "ready");
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(pathbus_post(topic), 0);
		ck_assert_int_eq(look(topic, LONG_NS), 0);
		ck_assert_uint_eq(result.n_subscribers, N);
		ck_assert_uint_eq(result.n_caught_up, N);
		ck_assert_uint_eq(result.n_untracked, 0);
	}
	for (int i = 0; i < N; i++) {
		harness_tell(&listeners[i], "end");
		harness_expect_exit(&listeners[i], 0);
	}
	pathbus_free(bus);
}
END_TEST

static int listen_and_sleep(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();

	(void)arg;
	transport_open(bus, "data", PATHBUS_SUBSCRIBE);
	expect_quiet(bus);
	harness_tell(peer, "ready");
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

START_TEST(the_dead_leave_the_count)
{
	struct harness_process listener;
	pathbus *bus, *other;
	pathbus_topic *topic;

	transport_begin(_i);
	harness_allow_sidecars();
	bus = transport_new();
	other = transport_new();
	transport_open(other, "data", 0);
	topic = transport_open(bus, "data", PATHBUS_POST);
	harness_spawn(&listener, listen_and_sleep, NULL);
	harness_expect_line(&listener, "ready");
	ck_assert_int_eq(pathbus_post(topic), 0);
	await_posts(other, 1);
	harness_await(look(topic, SOON_NS) == -ETIMEDOUT && result.n_laggards == 1);
	ck_assert_uint_eq(result.n_subscribers, 2);
	ck_assert_int_eq(laggards[0].pid, listener.pid);
	harness_signal(&listener, SIGKILL);
	harness_expect_signal(&listener, SIGKILL);
	/* Others are told RESYNC by a daemon, and have to take that too. */
	harness_await((drain(other), look(topic, SOON_NS) == 0));
	ck_assert_uint_eq(result.n_subscribers, 1);
	ck_assert_uint_eq(result.n_caught_up, 1);
	pathbus_free(other);
	pathbus_free(bus);
}
END_TEST

START_TEST(who_waits_is_a_subscriber_too)
{
	pathbus *poster, *waiter;
	pathbus_topic *from, *to;
	uint64_t seen = 0;

	transport_begin(_i);
	poster = transport_new();
	waiter = transport_new();
	to = transport_open(waiter, "data", PATHBUS_SUBSCRIBE);
	from = transport_open(poster, "data", PATHBUS_POST);
	while (pathbus_check(to, &seen) == 1)
		;
	ck_assert_int_eq(pathbus_post(from), 0);
	ck_assert_int_eq(look(from, 0), -ETIMEDOUT);
	ck_assert_int_eq(pathbus_wait(to, &seen, UINT64_MAX, 0), 1);
	ck_assert_int_eq(look(from, 0), -ETIMEDOUT); /* received; not back yet */
	ck_assert_int_eq(pathbus_check(to, &seen), 0);
	ck_assert_int_eq(look(from, LONG_NS), 0);
	ck_assert_uint_eq(result.n_subscribers, 1);
	pathbus_free(poster);
	pathbus_free(waiter);
}
END_TEST

/* One event of two is out, or both are and the second is being dealt with: it has not caught up. _i: transport, order. */
START_TEST(who_has_half_of_it_has_not_caught_up)
{
	pathbus *poster, *listener;
	pathbus_topic *from;
	struct pathbus_event event;

	transport_begin(_i / 2);
	poster = transport_new();
	listener = transport_new();
	transport_open(listener, "data", 0);
	from = transport_open(poster, "data", PATHBUS_POST);
	expect_quiet(listener);
	for (int round = 0; round < 3; round++) {
		if (_i % 2)
			ck_assert_int_eq(pathbus_post(from), 0);
		ck_assert_int_eq(pathbus_publish(from, "m", 1), 0);
		if (_i % 2 == 0)
			ck_assert_int_eq(pathbus_post(from), 0);
		for (int i = 0; i < 2; i++) {
			take_soon(listener, &event);
			ck_assert_int_eq(event.kind, i == _i % 2 ? PATHBUS_EVENT_MESSAGE : PATHBUS_EVENT_POST);
			ck_assert_int_eq(look(from, SOON_NS), -ETIMEDOUT);
			ck_assert_uint_eq(result.n_subscribers, 1);
			ck_assert_uint_eq(result.n_caught_up, 0);
		}
		expect_quiet(listener);
		ck_assert_int_eq(look(from, LONG_NS), 0);
		ck_assert_uint_eq(result.n_caught_up, 1);
	}
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

/* All that there was is its own post, from before it began to listen. */
START_TEST(who_has_only_itself_to_hear_has_caught_up)
{
	pathbus *poster, *listener;
	pathbus_topic *from, *to;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	to = transport_open(listener, "data", 0);
	ck_assert_int_eq(pathbus_post(to), 0);
	expect_quiet(listener);
	from = transport_open(poster, "data", PATHBUS_POST);
	ck_assert_int_eq(look(from, LONG_NS), 0);
	ck_assert_uint_eq(result.n_subscribers, 1);
	ck_assert_uint_eq(result.n_caught_up, 1);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

/* Whose process ids mean nothing here, or something else, are alive all the same. */
static int sync_from_elsewhere(struct harness_process *peer, void *arg)
{
	pid_t child;
	int status;

	(void)arg;
	(void)peer;
	if (unshare(CLONE_NEWPID) < 0)
		return 77;
	child = fork();
	if (child == 0) {
		pathbus *bus = transport_new();
		pathbus_topic *topic = transport_open(bus, "data", PATHBUS_POST);

		ck_assert_int_eq(pathbus_post(topic), 0);
		ck_assert_int_eq(look(topic, SOON_NS), -ETIMEDOUT);
		ck_assert_uint_eq(result.n_subscribers, 1);
		ck_assert_uint_eq(result.n_caught_up, 0);
		ck_assert_uint_eq(result.n_laggards, 1);
		pathbus_free(bus);
		_exit(0);
	}
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

START_TEST(from_another_pid_namespace)
{
	struct harness_process elsewhere;
	pathbus *listener;
	int status;

	transport_begin(_i);
	listener = transport_new();
	transport_open(listener, "data", 0);
	expect_quiet(listener);
	harness_spawn(&elsewhere, sync_from_elsewhere, NULL);
	status = harness_wait(&elsewhere);
	pathbus_free(listener);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		transport_end();
		harness_skip("no pid namespace of one's own");
	}
	ck_assert_int_eq(status, 0);
}
END_TEST

struct waiter {
	pathbus *bus;
	pathbus_topic *topic;
	_Atomic pid_t thread; /* once it is about to wait */
	_Atomic bool over;
	int r;
};

static void *wait_for_all(void *arg)
{
	struct waiter *waiter = arg;
	struct pathbus_sync mine = { .size = sizeof(mine) };

	waiter->bus = transport_new();
	waiter->topic = transport_open(waiter->bus, "data", 0);
	ck_assert_int_eq(pathbus_post(waiter->topic), 0);
	atomic_store(&waiter->thread, (pid_t)syscall(SYS_gettid));
	waiter->r = pathbus_sync(waiter->topic, harness_now_ns() + LONG_NS, &mine);
	atomic_store(&waiter->over, true);
	return NULL;
}

static const char *read_stat(pid_t thread)
{
	static char text[512];
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)thread);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	n = read(fd, text, sizeof(text) - 1);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	close(fd);
	return text;
}

static void drain_all(pathbus *bus)
{
	struct pathbus_event event = { .size = sizeof(event) };

	while (take(bus, &event))
		;
}

/* A thread that waits sleeps: the state is behind the last parenthesis. */
static bool is_asleep(pid_t thread)
{
	const char *text = read_stat(thread);

	return strstr(strrchr(text, ')'), ") S") != NULL;
}

/* While it waits the topic is there for other threads. */
START_TEST(other_threads_go_on)
{
	struct waiter waiter = { 0 };
	pathbus *listener;
	pthread_t thread;
	uint64_t seen = 0;

	transport_begin(_i);
	listener = transport_new();
	transport_open(listener, "data", 0);
	expect_quiet(listener);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_all, &waiter), 0);
	harness_await(atomic_load(&waiter.thread) != 0);
	for (int i = 0; i < 20; i++) {
		harness_await(is_asleep(atomic_load(&waiter.thread)));
		ck_assert_int_eq(pathbus_post(waiter.topic), 0);
		ck_assert_int_eq(pathbus_publish(waiter.topic, "m", 1), 0);
		ck_assert_int_ge(pathbus_check(waiter.topic, &seen), 0);
		ck_assert(!atomic_load(&waiter.over));
	}
	harness_await((drain_all(listener), atomic_load(&waiter.over)));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(waiter.r, 0);
	pathbus_free(waiter.bus);
	pathbus_free(listener);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(who_has_half_of_it_has_not_caught_up, 2 * N_TRANSPORTS),
	HARNESS_CASE_EACH(who_has_only_itself_to_hear_has_caught_up, N_TRANSPORTS),
	HARNESS_CASE_EACH(alone, N_TRANSPORTS),
	HARNESS_CASE_EACH(who_comes_back_has_dealt_with_it, N_TRANSPORTS),
	HARNESS_CASE_EACH(waits_for_all, N_TRANSPORTS),
	HARNESS_CASE_EACH(the_dead_leave_the_count, N_TRANSPORTS),
	HARNESS_CASE_EACH(who_waits_is_a_subscriber_too, N_TRANSPORTS),
	HARNESS_CASE_EACH(from_another_pid_namespace, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(other_threads_go_on, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "sync", .cases = cases, .teardown = transport_end });
}
