/* SPDX-License-Identifier: MIT */
/*
 * test_daemon_reload.c - every allocation and every system call of a reload fails once, in main, in the process that reads and in its
 * child: then everything is as it was, and the next reload is through.
 */
#include "harness/harness.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/config_reader.h"
#include "daemon/helper.h"
#include "daemon/keys.h"
#include "daemon/narrow.h"
#include "daemon/reload.h"
#include "daemon/user.h"

/* --- what fails -------------------------------------------------------------------------------------- */

enum fault { MALLOC, CALLOC, REALLOC, STRDUP, STRNDUP, ASPRINTF, OPEN, FSTAT, READ, FDOPENDIR, READDIR, PIPE2, FCNTL, FORK, SENDMSG,
	     RECVMSG, POLL, WRITE, N_FAULTS };
enum role { MAIN, SERVER, CHILD, N_ROLES };

static const char *const names[] = { "malloc", "calloc", "realloc", "strdup", "strndup", "asprintf", "open", "fstat", "read",
	                             "fdopendir", "readdir", "pipe2", "fcntl", "fork", "sendmsg", "recvmsg", "poll", "write" };
_Static_assert(sizeof(names) / sizeof(names[0]) == N_FAULTS, "each has a name");

/* Shared by all processes of the test. */
static struct {
	_Atomic int fault, role, left;
	_Atomic bool hit;
} *plan;
static enum role role;

static bool fails(enum fault fault, int error)
{
	if (!plan || plan->fault != (int)fault || plan->role != (int)role || atomic_fetch_sub(&plan->left, 1) != 1)
		return false;
	plan->hit = true;
	errno = error;
	return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fails(MALLOC, ENOMEM) ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fails(CALLOC, ENOMEM) ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
	return fails(REALLOC, ENOMEM) ? NULL : __real_realloc(old, size);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return fails(STRDUP, ENOMEM) ? NULL : __real_strdup(text);
}

char *__real_strndup(const char *text, size_t size);
char *__wrap_strndup(const char *text, size_t size);
char *__wrap_strndup(const char *text, size_t size)
{
	return fails(STRNDUP, ENOMEM) ? NULL : __real_strndup(text, size);
}

int __wrap_asprintf(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **ret, const char *format, ...)
{
	va_list args;
	int n;

	if (fails(ASPRINTF, ENOMEM))
		return -1;
	va_start(args, format);
	n = vasprintf(ret, format, args);
	va_end(args);
	return n;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return fails(OPEN, EMFILE) ? -1 : __real_open(path, flags, mode);
}

int __real_fstat(int fd, struct stat *ret);
int __wrap_fstat(int fd, struct stat *ret);
int __wrap_fstat(int fd, struct stat *ret)
{
	return fails(FSTAT, EIO) ? -1 : __real_fstat(fd, ret);
}

ssize_t __real_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size)
{
	return fails(READ, EIO) ? -1 : __real_read(fd, data, size);
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
	return fails(WRITE, EIO) ? -1 : __real_write(fd, data, size);
}

DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd)
{
	return fails(FDOPENDIR, ENOMEM) ? NULL : __real_fdopendir(fd);
}

struct dirent *__real_readdir(DIR *dir);
struct dirent *__wrap_readdir(DIR *dir);
struct dirent *__wrap_readdir(DIR *dir)
{
	return fails(READDIR, EIO) ? NULL : __real_readdir(dir);
}

int __real_pipe2(int *ret, int flags);
int __wrap_pipe2(int *ret, int flags);
int __wrap_pipe2(int *ret, int flags)
{
	return fails(PIPE2, EMFILE) ? -1 : __real_pipe2(ret, flags);
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
	va_list args;
	long value;

	va_start(args, command);
	value = va_arg(args, long);
	va_end(args);
	return fails(FCNTL, EINVAL) ? -1 : __real_fcntl(fd, command, value);
}

pid_t __real_fork(void);
pid_t __wrap_fork(void);
pid_t __wrap_fork(void)
{
	pid_t pid = fails(FORK, EAGAIN) ? -1 : __real_fork();

	if (pid == 0 && role == SERVER)
		role = CHILD;
	return pid;
}

ssize_t __real_sendmsg(int socket, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int socket, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int socket, const struct msghdr *message, int flags)
{
	return fails(SENDMSG, ENOBUFS) ? -1 : __real_sendmsg(socket, message, flags);
}

ssize_t __real_recvmsg(int socket, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int socket, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int socket, struct msghdr *message, int flags)
{
	return fails(RECVMSG, ENOMEM) ? -1 : __real_recvmsg(socket, message, flags);
}

int __real_poll(struct pollfd *polled, nfds_t n, int ms);
int __wrap_poll(struct pollfd *polled, nfds_t n, int ms);
int __wrap_poll(struct pollfd *polled, nfds_t n, int ms)
{
	return fails(POLL, ENOMEM) ? -1 : __real_poll(polled, n, ms);
}

/* --- a daemon's parts -------------------------------------------------------------------------------- */

static const char old_text[] = "[daemon]\nuser = root\n[regions]\nmax-regions = 3\n[rights]\npost = /a : root, @root\n";
static const char new_text[] = "[begin]\n[daemon]\nuser = 1\nlog-level = error\n[rights]\npost = /a : root,\n  @root\npost = /b : 7\n"
			       "[topic \"/srv/[ab]*\"]\npost = root\nring = 64\n[end]\n";
static const char drop_in[] = "[regions]\nmax-regions = 4\n[lanes]\nmax-message = 1K\n";

static struct world {
	struct context context;
	struct options options, before;
	struct config_place place;
	struct user *user;
	struct reload *reload;
	struct config_reader_process process;
	int n_answers, error;
	char text[RELOAD_TEXT_SIZE];
} world;

static char *path_of(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s", harness_path("%s", name));
	return path;
}

static void write_old(void)
{
	(void)unlink(harness_path("conf.d/a.conf"));
	harness_write_file(harness_path("conf"), old_text);
}

static void write_new(void)
{
	harness_write_file(harness_path("conf"), new_text);
	harness_write_file(harness_path("conf.d/a.conf"), drop_in);
}

static void world_init(bool with_loop)
{
	char error[CONFIG_ERROR_SIZE] = "";
	struct sources files = { 0 };
	struct users_setting setting = { .offload_members = 8, .offload_message_members = 4 };

	plan = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(plan != MAP_FAILED);
	plan->fault = N_FAULTS;
	ck_assert_int_eq(mkdir(harness_path("conf.d"), 0700), 0);
	write_old();
	world.place = (struct config_place){ .path = path_of("conf"), .trusted = true };
	ck_assert_int_eq(config_read(&world.place, &files, error), 0);
	ck_assert_int_eq(options_make(&(struct options){ .config = (char *)(size_t)world.place.path, .config_is_given = true }, &files,
	                              &world.options, error), 0);
	sources_deinit(&files);
	world.context.options = &world.options;
	world.context.users = users_new(&setting);
	ck_assert_ptr_nonnull(world.context.users);
	ck_assert_int_eq(users_get(world.context.users, 1000, &world.user), 0);
	if (with_loop) {
		world.context.loop = loop_new();
		ck_assert_ptr_nonnull(world.context.loop);
	}
	log_set_level(LOG_LEVEL_INFO);
}

static void world_deinit(void)
{
	user_unref(world.user);
	users_free(world.context.users);
	options_deinit(&world.options);
	if (world.context.loop)
		loop_free(world.context.loop);
}

static void expect_new(const char *what)
{
	ck_assert_msg(world.options.user_most[CHARGE_REGIONS] == 4 && world.options.max_message == 1024, "%s", what);
	ck_assert_msg(world.options.topic_rules != NULL && world.options.sources.n_files == 2, "%s", what);
	ck_assert_msg(strcmp(world.options.user, "root") == 0, "%s: it needs a restart", what);
	ck_assert_uint_eq(user_may_most(world.user, CHARGE_REGIONS), 4);
	ck_assert_int_eq(log_level(), LOG_LEVEL_ERROR);
	ck_assert_ptr_nonnull(world.options.kept_from[key_find("user") - keys]);
}

/* To the byte: no member was touched, nor what it points to. */
static void expect_before(const char *what)
{
	struct narrow_who who = { .uid = 5, .gid = 5 };

	ck_assert_msg(memcmp(&world.options, &world.before, sizeof(world.options)) == 0, "%s", what);
	ck_assert_str_eq(world.options.user, "root");
	ck_assert_uint_eq(narrow_rights(world.options.narrow, "/a", &who, 3), 1);
	ck_assert_uint_eq(narrow_rights(world.options.narrow, "/b", &who, 3), 3);
	ck_assert_int_eq((int)log_level(), LOG_LEVEL_INFO);
	ck_assert_msg(world.text[0] != '\0', "%s: it says why", what);
}

/* What the files say, as one process. */
static int run_here(void)
{
	struct sources files = { 0 }, again = { 0 };
	struct reload_answer answer = { 0 };
	struct reload_names lists;
	char *data = NULL;
	size_t size = 0;
	int r;

	world.text[0] = '\0';
	r = config_read(&world.place, &files, world.text);
	if (r == 0) {
		r = sources_write(&files, &data, &size);
		if (r == 0)
			r = sources_read(data, size, &again);
		if (r < 0)
			strcpy(world.text, "no memory");
	}
	if (r == 0) {
		reload_take(&world.context, &world.options, &again, &answer, &lists, world.text);
		r = answer.error;
		plan->fault = N_FAULTS; /* none of the checks' own calls */
		ck_assert(r == 0 || (!answer.changed[0] && !answer.restart_needed[0]));
	}
	free(data);
	sources_deinit(&files);
	sources_deinit(&again);
	return r;
}

/* One reload; 0 or -errno, and its text. */
static int (*run)(void);

static void back_to_old(void)
{
	write_old();
	plan->fault = N_FAULTS;
	ck_assert_msg(run_here() == 0, "%s", world.text);
	ck_assert_ptr_null(world.options.kept_from[key_find("user") - keys]);
	memcpy(&world.before, &world.options, sizeof(world.options));
	write_new();
}

/* Each call of this one, in this process, until there are no more. Returns how many there are. */
static int fail_each(enum fault fault, enum role of)
{
	for (int n = 1;; n++) {
		char what[64];
		int r;

		snprintf(what, sizeof(what), "the %d. %s of process %d", n, names[fault], (int)of);
		back_to_old();
		plan->hit = false;
		plan->role = (int)of;
		plan->left = n;
		plan->fault = (int)fault;
		r = run();
		plan->fault = N_FAULTS;
		if (r < 0)
			expect_before(what);
		else
			expect_new(what);
		ck_assert_msg(r == 0 || plan->hit, "%s: nothing has failed, but: %s", what, world.text);
		if (!plan->hit)
			return n - 1;
		/* And the next one is through. */
		ck_assert_msg(run() == 0, "%s: then: %s", what, world.text);
		expect_new(what);
	}
}

/* --- without processes ------------------------------------------------------------------------------- */

START_TEST(every_call_fails_once)
{
	static const enum fault faults[] = { MALLOC, CALLOC, REALLOC, STRDUP, STRNDUP, ASPRINTF, OPEN, FSTAT, READ, FDOPENDIR, READDIR };

	world_init(false);
	run = run_here;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		ck_assert_msg(fail_each(faults[i], MAIN) > 0, "%s is not asked for", names[faults[i]]);
	world_deinit();
}
END_TEST

/* --- with the process that reads ---------------------------------------------------------------------- */

static void start_server(void)
{
	int pair[2];

	ck_assert_int_eq(helper_pair(pair), 0);
	role = SERVER;
	world.process.pid = __real_fork();
	if (world.process.pid == 0) {
		close(pair[0]);
		config_reader_serve(pair[1], &world.place);
		_exit(0);
	}
	role = MAIN;
	ck_assert_int_ge(world.process.pid, 0);
	close(pair[1]);
	world.process.socket = pair[0];
}

static void answered(void *arg, const struct reload_answer *answer)
{
	(void)arg;
	world.n_answers++;
	world.error = answer->error;
	snprintf(world.text, sizeof(world.text), "%s", answer->text);
	loop_stop(world.context.loop);
}

static void end_server(void)
{
	world.reload = reload_free(world.reload);
}

/* Of the server's own calls some end it: then there is another one each time. */
static int run_with_server(void)
{
	int fault = atomic_exchange(&plan->fault, N_FAULTS);

	if (!world.reload) {
		start_server();
		ck_assert_int_eq(reload_new(&world.context, &world.options, &world.process, &world.reload), 0);
	}
	world.n_answers = 0;
	world.error = 0;
	plan->fault = fault;
	if (reload_ask(world.reload, answered, NULL)) {
		loop_run(world.context.loop);
	} else {
		strcpy(world.text, "no memory");
		world.error = -ENOMEM;
		world.n_answers = 1;
	}
	if (plan->role == SERVER)
		end_server(); /* it may have answered before it fails */
	plan->fault = N_FAULTS; /* none of the checks' own calls */
	ck_assert_int_eq(world.n_answers, 1);
	return world.error;
}

START_TEST(every_call_of_every_process_fails_once)
{
	static const struct {
		enum role role;
		enum fault faults[10];
	} rows[] = {
		{ MAIN, { PIPE2, FCNTL, SENDMSG, READ, REALLOC, MALLOC, N_FAULTS } },
		{ SERVER, { POLL, RECVMSG, PIPE2, FORK, N_FAULTS } },
		{ CHILD, { OPEN, FSTAT, READ, READDIR, MALLOC, WRITE, N_FAULTS } },
	};

	world_init(true);
	run = run_with_server;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (const enum fault *fault = rows[i].faults; *fault != N_FAULTS; fault++)
			ck_assert_msg(fail_each(*fault, rows[i].role) > 0, "%s is not asked for", names[*fault]);
	end_server();
	world_deinit();
}
END_TEST

/* What it takes for an answer is nothing but that: whatever comes, nothing changes. */
START_TEST(answers_that_make_no_sense)
{
	static const char good[] = "=0\0=1\0=regions\0-\0=max-regions\0=5\0-\0=/f\0=1";
	struct config_reader_head heads[] = {
		{ CONFIG_READER_MAGIC, 0, 0 }, { CONFIG_READER_MAGIC, 0, sizeof(good) - 1 }, { CONFIG_READER_MAGIC, 0, sizeof(good) + 1 },
		{ CONFIG_READER_MAGIC, 1, sizeof(good) }, { 0, 0, sizeof(good) }, { CONFIG_READER_MAGIC, 0, UINT_MAX },
		{ CONFIG_READER_MAGIC, -EINVAL, sizeof(good) }, { CONFIG_READER_MAGIC, 0, sizeof(good) },
	};
	size_t n = sizeof(heads) / sizeof(heads[0]);

	world_init(true);
	memcpy(&world.before, &world.options, sizeof(world.options));
	for (size_t i = 0; i < n + sizeof(good); i++) {
		struct config_reader_head head = i < n ? heads[i] : (struct config_reader_head){ CONFIG_READER_MAGIC, 0, sizeof(good) };
		char data[sizeof(good)];
		int pair[2];

		memcpy(data, good, sizeof(good));
		if (i >= n)
			data[i - n] = data[i - n] == '\0' ? '=' : '\0';
		ck_assert_int_eq(helper_pair(pair), 0);
		world.process.pid = __real_fork();
		if (world.process.pid == 0) {
			char byte;
			int fd;
			unsigned n_fds;

			close(pair[0]);
			if (helper_receive(pair[1], &byte, 1, &fd, 1, &n_fds, 0) == 1 && n_fds == 1 &&
			    __real_write(fd, &head, sizeof(head)) > 0 && __real_write(fd, data, sizeof(data)) > 0)
				_exit(0);
			_exit(1);
		}
		close(pair[1]);
		world.process.socket = pair[0];
		ck_assert_int_eq(reload_new(&world.context, &world.options, &world.process, &world.reload), 0);
		ck_assert_ptr_nonnull(reload_ask(world.reload, answered, NULL));
		loop_run(world.context.loop);
		reload_free(world.reload);
		if (i == n - 1) { /* the one that does */
			ck_assert_msg(world.error == 0, "%s", world.text);
			ck_assert_uint_eq(world.options.user_most[CHARGE_REGIONS], 5);
			memcpy(&world.before, &world.options, sizeof(world.options));
		} else {
			ck_assert_msg(world.error < 0, "%zu: %s", i, world.text);
			ck_assert_mem_eq(&world.options, &world.before, sizeof(world.options));
		}
	}
	world_deinit();
}
END_TEST

/* Who waits is answered once; who does not wait any more is not; and all by what is read after they have asked. */
static int n_called;

static void called(void *arg, const struct reload_answer *answer)
{
	ck_assert_int_eq(answer->error, 0);
	n_called++;
	if (arg)
		loop_stop(world.context.loop);
	else /* once more, from within */
		ck_assert_ptr_nonnull(reload_ask(world.reload, called, &world));
}

START_TEST(who_is_answered)
{
	struct reload_request *forgotten;

	world_init(true);
	start_server();
	ck_assert_int_eq(reload_new(&world.context, &world.options, &world.process, &world.reload), 0);
	ck_assert_ptr_nonnull(reload_ask(world.reload, NULL, NULL));
	forgotten = reload_ask(world.reload, called, &world);
	ck_assert_ptr_nonnull(reload_ask(world.reload, called, NULL));
	reload_forget(forgotten);
	loop_run(world.context.loop);
	ck_assert_int_eq(n_called, 2);
	/* And with some that are not answered any more. */
	ck_assert_ptr_nonnull(reload_ask(world.reload, called, &world));
	reload_free(world.reload);
	ck_assert_int_eq(n_called, 2);
	world_deinit();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(every_call_fails_once),
	HARNESS_CASE(every_call_of_every_process_fails_once),
	HARNESS_CASE(answers_that_make_no_sense),
	HARNESS_CASE(who_is_answered),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-reload", .cases = cases });
}
