/* SPDX-License-Identifier: MIT */
/* test_daemon_log.c - the log: what a line looks like at each target, what is escaped, what is left out and when that is told. */
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "daemon/happening.h"
#include "daemon/limit.h"
#include "daemon/log_target.h"
#include "harness/harness.h"

#define S UINT64_C(1000000000)
#define FIRST_S (LIMIT_LOG_PAUSE_MS / 1000)

static uint64_t now = UINT64_C(1000000000000);

uint64_t __wrap_os_now_ns(void); /* instead of os_now_ns */
uint64_t __wrap_os_now_ns(void)
{
	return now;
}

/* --- what was written -------------------------------------------------------------------------------- */

static int reader = -1, own_stderr;

/* stderr is a pipe from now on, which does not block who reads it. */
static void catch_stderr(void)
{
	int pair[2];

	own_stderr = dup(STDERR_FILENO);
	ck_assert_int_eq(pipe(pair), 0);
	ck_assert_int_eq(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_ge(dup2(pair[1], STDERR_FILENO), 0);
	close(pair[1]);
	reader = pair[0];
}

static void let_stderr_go(void)
{
	ck_assert_int_ge(dup2(own_stderr, STDERR_FILENO), 0);
	close(own_stderr);
	close(reader);
}

static const char *said(void)
{
	static char text[65536];
	ssize_t n = read(reader, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void open_target(const char *target)
{
	char error[LOG_TARGET_ERROR_SIZE] = "";

	ck_assert_msg(log_target_open(target, error) == 0, "%s", error);
}

/* A socket as syslog or the journal have one. */
static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	unlink(path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static const char *received(int fd)
{
	static char text[8192];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static const char *file_text(const char *path)
{
	static char text[1 << 20];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* The thread writes it. */
static void wait_for_file(const char *path, const char *part)
{
	for (int n = 0; n < 10000; n++) {
		if (strstr(file_text(path), part))
			return;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	ck_abort_msg("'%s' is not in %s: %s", part, path, file_text(path));
}

/* --- lines --------------------------------------------------------------------------------------------- */

START_TEST(lines)
{
	catch_stderr();
	log_event(REASON_SERVING, "serving %s", "x");
	ck_assert_str_eq(said(), "pathbusd: serving x [serving]\n");
	log_event(REASON_FILES_LOST, "lost");
	ck_assert_str_eq(said(), "pathbusd: error: lost [files-lost]\n");
	log_event(REASON_FILES_STARTED, "hidden");
	ck_assert_str_eq(said(), "");
	log_set_level(LOG_LEVEL_DEBUG);
	log_event(REASON_FILES_STARTED, "shown");
	ck_assert_str_eq(said(), "pathbusd: debug: shown [files-started]\n");
	log_set_level(LOG_LEVEL_ERROR);
	log_event(REASON_SETUP, "hidden");
	ck_assert_str_eq(said(), "");
	let_stderr_go();
}
END_TEST

/* One line an event, whatever is in it; and what was escaped already stays as it is. */
START_TEST(escaping)
{
	char large[3 * LOG_TEXT_SIZE];
	const char *text;

	catch_stderr();
	log_event(REASON_SERVING, "a\nb\x1b[2J\x7f\xff\xe2\x80\xae %s \xc3\xa4", "\\x1b\\\\");
	ck_assert_str_eq(said(), "pathbusd: a\\x0ab\\x1b[2J\\x7f\\xff\\xe2\\x80\\xae \\x1b\\\\ \xc3\xa4 [serving]\n");
	memset(large, '\n', sizeof(large));
	large[sizeof(large) - 1] = '\0';
	log_event(REASON_SERVING, "%s", large);
	text = said();
	ck_assert_uint_le(strlen(text), 4096); /* PIPE_BUF: it is written whole */
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
	ck_assert_ptr_nonnull(strstr(text, "\\x0a [serving]\n"));
	let_stderr_go();
}
END_TEST

/* Names are stable: no two are the same, and they are made of letters and dashes. */
START_TEST(reasons)
{
	for (unsigned i = 0; i < N_REASONS; i++) {
		const char *name = log_reason_name((enum log_reason)i);

		ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
		for (unsigned j = 0; j < i; j++)
			ck_assert_str_ne(name, log_reason_name((enum log_reason)j));
	}
}
END_TEST

/* --- what is left out ------------------------------------------------------------------------------------ */

static unsigned count_lines(void)
{
	unsigned n = 0;

	for (const char *at = said(); (at = strchr(at, '\n')); at++)
		n++;
	return n;
}

static unsigned woken_ms;

static void wake(void *arg, unsigned ms)
{
	(void)arg;
	woken_ms = ms;
}

START_TEST(what_others_cause_is_limited)
{
	catch_stderr();
	log_set_waker(wake, NULL);
	ck_assert_uint_eq(log_tell_left_out(), 0);
	for (unsigned i = 0; i < 100; i++)
		log_event(REASON_DROP_SIZE, "dropped");
	ck_assert_uint_eq(count_lines(), LIMIT_LOG_LINES);
	ck_assert_uint_ge(woken_ms, LIMIT_LOG_PAUSE_MS);
	ck_assert_uint_le(woken_ms, LIMIT_LOG_PAUSE_MS + 1);
	/* Each reason by itself, and what the admin causes not at all. */
	log_event(REASON_DROP_TYPE, "other");
	ck_assert_uint_eq(count_lines(), 1);
	for (unsigned i = 0; i < 10; i++)
		log_event(REASON_SERVING, "own");
	ck_assert_uint_eq(count_lines(), 10);
	now += FIRST_S * S / 2;
	ck_assert_uint_ge(log_tell_left_out(), LIMIT_LOG_PAUSE_MS / 2);
	ck_assert_uint_eq(count_lines(), 0);
	now += FIRST_S * S / 2 + 1;
	ck_assert_uint_eq(log_tell_left_out(), 0);
	ck_assert_str_eq(said(), "pathbusd: warning: 97 more in 10 s: a connection was closed: a frame's size is out of range "
	                         "[drop-size]\n");
	/* That was the one line of the next pause, which is longer. */
	log_event(REASON_DROP_SIZE, "dropped");
	ck_assert_uint_eq(count_lines(), 0);
	ck_assert_uint_ge(woken_ms, 2 * LIMIT_LOG_PAUSE_MS);
	now += 2 * FIRST_S * S + 1;
	ck_assert_uint_eq(log_tell_left_out(), 0);
	ck_assert_uint_eq(count_lines(), 1);
	/* It has stopped. */
	now += 4 * FIRST_S * S + 1;
	for (unsigned i = 0; i < 100; i++)
		log_event(REASON_DROP_SIZE, "dropped");
	ck_assert_uint_eq(count_lines(), LIMIT_LOG_LINES);
	log_tell_all_left_out();
	ck_assert_ptr_nonnull(strstr(said(), "97 more"));
	let_stderr_go();
}
END_TEST

/* For an hour, a hundred times a second. */
START_TEST(it_stays_calm)
{
	unsigned n = 0, ms = 0;

	catch_stderr();
	log_set_waker(wake, NULL);
	for (unsigned i = 0; i < 360000; i++) {
		log_event(REASON_DROP_SIZE, "dropped");
		now += S / 100;
		if (ms == 0)
			ms = woken_ms;
		ms = ms > 10 ? ms - 10 : (woken_ms = 0, log_tell_left_out());
		n += i % 100 == 0 ? count_lines() : 0;
	}
	ck_assert_uint_ge(n, LIMIT_LOG_LINES + 5);
	ck_assert_uint_le(n, 20);
	let_stderr_go();
}
END_TEST

START_TEST(one_user_does_not_hide_another)
{
	struct log_limit of[3 * LIMIT_LOG_LINES_OF_ALL] = { 0 };
	char whose[24];

	catch_stderr();
	for (unsigned i = 0; i < 100; i++)
		log_event_of(&of[0], "user 1", REASON_LIMIT_TOPICS, "too many");
	ck_assert_uint_eq(count_lines(), LIMIT_LOG_LINES);
	log_event_of(&of[1], "user 2", REASON_LIMIT_TOPICS, "too many");
	ck_assert_str_eq(said(), "pathbusd: warning: user 2: too many [limit-topics]\n");
	log_limit_end(&of[0]);
	ck_assert_str_eq(said(), "pathbusd: warning: user 1: 97 more in 0 s: topics: max-user-topics [limit-topics]\n");
	log_limit_end(&of[0]);
	log_limit_end(&of[1]);
	ck_assert_str_eq(said(), "");
	/* But many of them do not fill it either. */
	for (unsigned i = 2; i < 3 * LIMIT_LOG_LINES_OF_ALL; i++) {
		snprintf(whose, sizeof(whose), "user %u", i);
		for (unsigned j = 0; j < 5; j++)
			log_event_of(&of[i], whose, REASON_LIMIT_TOPICS, "too many");
	}
	ck_assert_uint_eq(count_lines(), LIMIT_LOG_LINES_OF_ALL - LIMIT_LOG_LINES - 2);
	now += FIRST_S * S + 1;
	(void)log_tell_left_out();
	ck_assert_uint_le(count_lines(), 2);
	for (unsigned i = 2; i < 3 * LIMIT_LOG_LINES_OF_ALL; i++)
		log_limit_end(&of[i]);
	ck_assert_uint_eq(count_lines(), 0);
	log_tell_all_left_out();
	ck_assert_uint_le(count_lines(), 1);
	let_stderr_go();
}
END_TEST

/* --- targets --------------------------------------------------------------------------------------------- */

START_TEST(priorities_where_stderr_is_the_journal)
{
	char stream[64];
	struct stat st;

	catch_stderr();
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	open_target("stderr");
	log_event(REASON_SERVING, "info");
	log_event(REASON_SETUP, "warning");
	log_event(REASON_FILES_LOST, "error");
	ck_assert_str_eq(said(), "<6>pathbusd: info [serving]\n<4>pathbusd: warning: warning [setup]\n"
	                         "<3>pathbusd: error: error [files-lost]\n");
	/* Somebody else's: a program that was started by one of the journal's. */
	setenv("JOURNAL_STREAM", "1:1", 1);
	open_target("auto");
	log_event(REASON_SERVING, "info");
	ck_assert_str_eq(said(), "pathbusd: info [serving]\n");
	/* By its own protocol, if it is there. */
	setenv("JOURNAL_STREAM", stream, 1);
	log_target_journal = harness_path("none");
	open_target("auto");
	log_event(REASON_SERVING, "info");
	ck_assert_str_eq(said(), "<6>pathbusd: info [serving]\n");
	let_stderr_go();
}
END_TEST

START_TEST(journal)
{
	char path[108], stream[64];
	struct stat st;
	int fd;

	catch_stderr();
	snprintf(path, sizeof(path), "%s", harness_path("journal"));
	log_target_journal = path;
	ck_assert_int_lt(log_target_open("journal", (char[LOG_TARGET_ERROR_SIZE]){ 0 }), 0);
	fd = listen_at(path);
	open_target("journal");
	log_target_started();
	log_event(REASON_FILES_LOST, "a\nPRIORITY=7\n%s", "b");
	ck_assert_str_eq(received(fd), "MESSAGE=a\\x0aPRIORITY=7\\x0ab [files-lost]\nPRIORITY=3\nSYSLOG_IDENTIFIER=pathbusd\n"
	                               "SYSLOG_FACILITY=3\nPATHBUS_REASON=files-lost\n");
	ck_assert_str_eq(said(), "");
	/* It is started anew. */
	close(fd);
	fd = listen_at(path);
	log_event(REASON_SERVING, "again");
	ck_assert_ptr_nonnull(strstr(received(fd), "MESSAGE=again [serving]\nPRIORITY=6\n"));
	log_target_reopen();
	log_event(REASON_SERVING, "third");
	ck_assert_ptr_nonnull(strstr(received(fd), "third"));
	/* stderr leads there: so lines do. */
	log_target_close();
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	open_target("auto");
	log_event(REASON_SERVING, "auto");
	ck_assert_ptr_nonnull(strstr(received(fd), "auto"));
	ck_assert_str_eq(said(), "");
	close(fd);
	log_target_close();
	let_stderr_go();
}
END_TEST

/* Nobody reads: nobody waits, and what is missing is told. */
START_TEST(a_socket_that_is_full)
{
	char path[108], text[96];
	int fd;
	uint64_t n;

	catch_stderr();
	snprintf(path, sizeof(path), "%s", harness_path("syslog"));
	log_target_syslog = path;
	fd = listen_at(path);
	open_target("syslog");
	log_target_started();
	for (unsigned i = 0; i < 5000; i++)
		log_event(REASON_SERVING, "line %u", i);
	n = log_target_n_dropped();
	ck_assert_uint_gt(n, 0);
	ck_assert_uint_lt(n, 5000);
	for (unsigned i = 0; i < 5000 - n; i++)
		ck_assert_ptr_nonnull(strstr(received(fd), "line"));
	ck_assert_str_eq(received(fd), "");
	log_event(REASON_SERVING, "after");
	snprintf(text, sizeof(text), "warning: %u lines of the log could not be written [log-dropped]", (unsigned)n);
	ck_assert_ptr_nonnull(strstr(received(fd), text));
	ck_assert_ptr_nonnull(strstr(received(fd), "after"));
	ck_assert_uint_eq(log_target_n_dropped(), n);
	close(fd);
	log_target_close();
	let_stderr_go();
}
END_TEST

START_TEST(syslog_lines)
{
	char path[108], pid[32], month[4];
	int fd, day, hour, minute, second, at = 0;
	const char *line;

	catch_stderr();
	snprintf(path, sizeof(path), "%s", harness_path("syslog"));
	log_target_syslog = path;
	fd = listen_at(path);
	open_target("syslog");
	log_event(REASON_FILES_LOST, "lost");
	line = received(fd);
	snprintf(pid, sizeof(pid), "pathbusd[%d]: error: lost", (int)getpid());
	ck_assert_int_eq(sscanf(line, "<27>%3s %d %d:%d:%d %n", month, &day, &hour, &minute, &second, &at), 5);
	ck_assert_ptr_eq(strstr(line, pid), line + at);
	ck_assert_ptr_nonnull(strstr(line, "lost [files-lost]"));
	/* Until it has started, errors are for whoever started it, too. */
	ck_assert_str_eq(said(), "pathbusd: error: lost [files-lost]\n");
	log_target_started();
	log_event(REASON_FILES_LOST, "lost");
	ck_assert_str_eq(said(), "");
	close(fd);
	log_target_close();
	let_stderr_go();
}
END_TEST

START_TEST(files)
{
	char path[128], old[160], target[160], pid[64];
	struct stat st;

	catch_stderr();
	snprintf(path, sizeof(path), "%s", harness_path("log"));
	snprintf(old, sizeof(old), "%s.1", path);
	snprintf(target, sizeof(target), "file:%s", path);
	umask(077);
	open_target(target);
	ck_assert_int_ge(log_target_folder(), 0);
	log_target_started();
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	log_event(REASON_SETUP, "first");
	wait_for_file(path, "first");
	snprintf(pid, sizeof(pid), "Z pathbusd[%d]: warning: first [setup]\n", (int)getpid());
	ck_assert_str_eq(file_text(path) + strlen("2026-01-01T00:00:00.000"), pid);
	/* As logrotate does. */
	ck_assert_int_eq(rename(path, old), 0);
	log_event(REASON_SERVING, "second");
	log_target_reopen();
	log_event(REASON_SERVING, "third");
	wait_for_file(path, "third");
	ck_assert_ptr_nonnull(strstr(file_text(old), "second"));
	ck_assert_ptr_null(strstr(file_text(path), "second"));
	/* What cannot be opened anew is written on, and that is told. */
	ck_assert_int_eq(rename(path, old), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	log_target_reopen();
	log_event(REASON_SERVING, "fourth");
	wait_for_file(old, "fourth");
	log_event(REASON_SERVING, "fifth");
	wait_for_file(old, "fifth");
	ck_assert_ptr_nonnull(strstr(file_text(old), "cannot be opened anew"));
	ck_assert_ptr_nonnull(strstr(file_text(old), "[log-target]\n"));
	log_event(REASON_SERVING, "sixth");
	log_target_close();
	ck_assert_ptr_nonnull(strstr(file_text(old), "sixth"));
	ck_assert_str_eq(said(), "");
	let_stderr_go();
}
END_TEST

/* Until then the process gives up what a thread would keep. */
START_TEST(no_thread_before_it_has_started)
{
	char path[128], target[160], text[32];

	snprintf(path, sizeof(path), "%s", harness_path("log"));
	snprintf(target, sizeof(target), "file:%s", path);
	open_target(target);
	for (unsigned i = 0; i < 200; i++) {
		log_event(REASON_SERVING, "early %u.", i);
		snprintf(text, sizeof(text), "early %u.", i);
		ck_assert_ptr_nonnull(strstr(file_text(path), text)); /* at once */
	}
	log_target_started();
	log_event(REASON_SERVING, "late");
	wait_for_file(path, "late");
	log_target_close();
}
END_TEST

START_TEST(files_that_are_none)
{
	char path[128], target[160], error[LOG_TARGET_ERROR_SIZE];
	char other[192];
	int fd;

	snprintf(path, sizeof(path), "%s", harness_path("log"));
	snprintf(target, sizeof(target), "file:%s", path);
	ck_assert_int_eq(symlink("/dev/null", path), 0);
	ck_assert_int_eq(log_target_open(target, error), -ELOOP);
	ck_assert_ptr_nonnull(strstr(error, "symbolic link"));
	unlink(path);
	/* Somebody else's file, perhaps, which would become the service user's. */
	snprintf(other, sizeof(other), "%s.other", path);
	fd = open(other, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(link(other, path), 0);
	ck_assert_int_eq(log_target_open(target, error), -EMLINK);
	ck_assert_ptr_nonnull(strstr(error, "other names"));
	unlink(path);
	unlink(other);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_lt(log_target_open(target, error), 0);
	ck_assert_ptr_nonnull(strstr(error, "no regular file"));
	ck_assert_int_eq(log_target_open("file:/dev/null", error), -EEXIST);
	snprintf(target, sizeof(target), "file:%s/none/log", harness_path("x"));
	ck_assert_int_eq(log_target_open(target, error), -ENOENT);
	ck_assert_int_lt(log_target_open("file:/", error), 0);
	ck_assert(!log_target_is_valid("file:log"));
	ck_assert(!log_target_is_valid("file:"));
	ck_assert(!log_target_is_valid("printer"));
	ck_assert(log_target_is_valid("journal"));
	ck_assert_int_lt(log_target_folder(), 0);
}
END_TEST

/* A pipe that nobody reads. */
START_TEST(stderr_that_is_full)
{
	catch_stderr();
	for (unsigned i = 0; i < 5000; i++)
		log_event(REASON_SERVING, "line %u", i);
	ck_assert_uint_gt(log_target_n_dropped(), 0);
	while (*said())
		;
	log_event(REASON_SERVING, "after");
	ck_assert_ptr_nonnull(strstr(said(), "lines of the log could not be written [log-dropped]\npathbusd: after"));
	let_stderr_go();
}
END_TEST

/* --- who watches ------------------------------------------------------------------------------------------- */

static void note(void *arg, const struct happening *happening)
{
	snprintf(arg, 256, "%s %s %s", happening->what, happening->name, happening->text);
	log_event(REASON_SERVING, "while it is told"); /* is written, and not told */
}

START_TEST(lines_are_told)
{
	char told[256] = "";
	struct watcher *watcher = watcher_new(1u << HAPPENING_LOG, NULL, note, told);

	catch_stderr();
	log_event(REASON_SETUP, "a\nb");
	ck_assert_str_eq(told, "warning setup a\\x0ab");
	ck_assert_uint_eq(count_lines(), 2);
	watcher_free(watcher);
	let_stderr_go();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(lines),
	HARNESS_CASE(escaping),
	HARNESS_CASE(reasons),
	HARNESS_CASE(what_others_cause_is_limited),
	HARNESS_CASE(it_stays_calm),
	HARNESS_CASE(one_user_does_not_hide_another),
	HARNESS_CASE(priorities_where_stderr_is_the_journal),
	HARNESS_CASE(journal),
	HARNESS_CASE(a_socket_that_is_full),
	HARNESS_CASE(syslog_lines),
	HARNESS_CASE(files),
	HARNESS_CASE(no_thread_before_it_has_started),
	HARNESS_CASE(files_that_are_none),
	HARNESS_CASE(stderr_that_is_full),
	HARNESS_CASE(lines_are_told),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-log", .cases = cases });
}
