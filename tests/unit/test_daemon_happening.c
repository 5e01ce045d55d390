/* SPDX-License-Identifier: MIT */
/* test_daemon_happening.c - who watches is told, of the kinds and paths it asked for; who does not costs nothing. */
#include "daemon/happening.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness/harness.h"
#include "os/os.h"

struct told {
	unsigned n;
	struct happening last;
	char command[64];
};

static void note(void *arg, const struct happening *happening)
{
	struct told *told = arg;

	told->n++;
	told->last = *happening;
	snprintf(told->command, sizeof(told->command), "%s", happening->command ? happening->command : "(none)");
	/* What happens by telling is not told. */
	happening_note(HAPPENING_LIMIT, .n = 1);
}

static unsigned n_evaluated;

static uint64_t evaluated(void)
{
	n_evaluated++;
	return 1;
}

START_TEST(kinds)
{
	struct told told = { 0 }, others = { 0 };
	struct watcher *watcher, *other;

	ck_assert(!happening_is_watched(HAPPENING_RESYNC));
	happening_note(HAPPENING_RESYNC, .topic = evaluated());
	ck_assert_uint_eq(n_evaluated, 0);
	watcher = watcher_new(1u << HAPPENING_RESYNC | 1u << HAPPENING_LIMIT, NULL, note, &told);
	other = watcher_new(1u << HAPPENING_LINK, NULL, note, &others);
	happening_note(HAPPENING_POST, .topic = evaluated());
	ck_assert_uint_eq(n_evaluated, 0);
	happening_note(HAPPENING_RESYNC, .topic = evaluated(), .pid = getpid());
	ck_assert_uint_eq(n_evaluated, 1);
	ck_assert_uint_eq(told.n, 1);
	ck_assert_int_eq(told.last.kind, HAPPENING_RESYNC);
	ck_assert_uint_eq(told.last.topic, 1);
	ck_assert_uint_ne(told.last.time_ns, 0);
	ck_assert_uint_le(told.last.time_ns, os_now_ns());
	ck_assert_str_ne(told.command, "(none)");
	ck_assert_str_ne(told.command, "");
	happening_note(HAPPENING_LIMIT, .time_ns = 5, .command = "x");
	ck_assert_uint_eq(told.n, 2);
	ck_assert_uint_eq(told.last.time_ns, 5);
	ck_assert_str_eq(told.command, "x");
	ck_assert_uint_eq(others.n, 0);
	ck_assert_ptr_null(watcher_free(watcher));
	ck_assert(!happening_is_watched(HAPPENING_RESYNC));
	ck_assert(happening_is_watched(HAPPENING_LINK));
	watcher_free(other);
	ck_assert_uint_eq(happening_watched, 0);
	watcher_free(NULL);
}
END_TEST

START_TEST(patterns)
{
	struct told told = { 0 };
	struct watcher *watcher = watcher_new(1u << HAPPENING_POST | 1u << HAPPENING_LIMIT, "/srv/**", note, &told);

	happening_note(HAPPENING_POST, .path = "/srv/a/b");
	ck_assert_uint_eq(told.n, 1);
	happening_note(HAPPENING_POST, .path = "/home/a");
	happening_note(HAPPENING_LIMIT, .name = "limit-topics"); /* no path */
	ck_assert_uint_eq(told.n, 1);
	ck_assert(watchers_want(HAPPENING_POST, "/srv/x"));
	ck_assert(!watchers_want(HAPPENING_POST, "/var/x"));
	ck_assert(!watchers_want(HAPPENING_POST, NULL));
	ck_assert(!watchers_want(HAPPENING_MESSAGE, "/srv/x"));
	watcher_free(watcher);
	ck_assert(!watchers_want(HAPPENING_POST, "/srv/x"));
}
END_TEST

static void count(void *arg)
{
	++*(unsigned *)arg;
}

START_TEST(who_watches_posts_is_heard_of)
{
	struct told told = { 0 };
	unsigned n = 0;
	struct watcher *watcher;

	watchers_set_changed(count, &n);
	watcher_free(watcher_new(1u << HAPPENING_LINK, NULL, note, &told));
	ck_assert_uint_eq(n, 0);
	watcher = watcher_new(1u << HAPPENING_MESSAGE, NULL, note, &told);
	ck_assert_uint_eq(n, 1);
	watcher_free(watcher);
	ck_assert_uint_eq(n, 2);
	watchers_set_changed(NULL, NULL);
	watcher_free(watcher_new(1u << HAPPENING_POST, NULL, note, &told));
	ck_assert_uint_eq(n, 2);
}
END_TEST

START_TEST(names)
{
	enum happening_kind kind;

	for (unsigned i = 0; i < N_HAPPENINGS; i++) {
		const char *name = happening_name((enum happening_kind)i);

		ck_assert(happening_from(name, strlen(name), &kind));
		ck_assert_uint_eq(kind, i);
		ck_assert(!happening_from(name, strlen(name) - 1, &kind));
	}
	ck_assert(!happening_from("", 0, &kind));
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(kinds),
	HARNESS_CASE(patterns),
	HARNESS_CASE(who_watches_posts_is_heard_of),
	HARNESS_CASE(names),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-happening", .cases = cases });
}
