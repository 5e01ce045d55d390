/* SPDX-License-Identifier: MIT */
/*
 * test_guest.c - what the library leaves alone in the process that it is a guest of: threads, signals, output,
 * every setting of the process, and what a program inherits that it starts.
 */
#include "conformance/transports.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "harness/process.h"

extern char **environ;

/* --- everything that belongs to the whole process ---------------------------------------------------------- */

#define N_SIGNALS 64
#define N_LIMITS 16
#define N_ITIMERS 3

/* Not as the library hands it out, where most of the mask is whatever was there. */
struct action {
	uintptr_t handler;
	uint64_t mask, flags;
};

struct process_state {
	struct action actions[N_SIGNALS + 1];
	sigset_t mask, pending;
	struct rlimit limits[N_LIMITS];
	struct itimerval timers[N_ITIMERS];
	int n_tasks, nice, dumpable, death_signal, no_new_privs, subreaper;
	int stdio_flags[3];
	uid_t uid, euid;
	gid_t gid, egid;
	pid_t group, session;
	unsigned umask;
	char folder[512], locale[128], name[16];
	char **environment; /* where it is */
	size_t n_environment;
	uint64_t environment_sum;
};

static int n_entries(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* Without changing it, as umask() would. */
static unsigned read_umask(void)
{
	const char *line = strstr(harness_read_file("/proc/self/status"), "\nUmask:");

	ck_assert_ptr_nonnull(line);
	return (unsigned)strtoul(line + strlen("\nUmask:"), NULL, 8);
}

static void read_environment(struct process_state *ret)
{
	ret->environment = environ;
	ret->environment_sum = UINT64_C(14695981039346656037);
	for (char **at = environ; *at; at++, ret->n_environment++)
		for (const char *c = *at; *c; c++)
			ret->environment_sum = (ret->environment_sum ^ (unsigned char)*c) * UINT64_C(1099511628211);
}

static void read_actions(struct process_state *ret)
{
	for (int i = 1; i <= N_SIGNALS; i++) {
		struct sigaction action;

		if (sigaction(i, NULL, &action) < 0)
			continue; /* used by the C library itself */
		ret->actions[i].handler = (uintptr_t)action.sa_handler;
		ret->actions[i].flags = (uint64_t)action.sa_flags;
		for (int k = 1; k <= N_SIGNALS; k++)
			ret->actions[i].mask |= (uint64_t)(sigismember(&action.sa_mask, k) == 1) << (k - 1);
	}
}

/* Compared as bytes, so the padding is zeroed as well. */
static void read_state(struct process_state *ret)
{
	memset(ret, 0, sizeof(*ret));
	read_actions(ret);
	ck_assert_int_eq(sigprocmask(SIG_SETMASK, NULL, &ret->mask), 0);
	ck_assert_int_eq(sigpending(&ret->pending), 0);
	for (unsigned i = 0; i < N_LIMITS; i++)
		(void)getrlimit(i, &ret->limits[i]);
	for (unsigned i = 0; i < N_ITIMERS; i++)
		ck_assert_int_eq(getitimer(i, &ret->timers[i]), 0);
	ret->n_tasks = n_entries("/proc/self/task");
	ret->nice = getpriority(PRIO_PROCESS, 0);
	ret->dumpable = prctl(PR_GET_DUMPABLE);
	ck_assert_int_eq(prctl(PR_GET_PDEATHSIG, &ret->death_signal), 0);
	ck_assert_int_eq(prctl(PR_GET_CHILD_SUBREAPER, &ret->subreaper), 0);
	ck_assert_int_eq(prctl(PR_GET_NAME, ret->name), 0);
	ret->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	for (int i = 0; i < 3; i++)
		ret->stdio_flags[i] = fcntl(i, F_GETFL) | fcntl(i, F_GETFD) << 30;
	ret->uid = getuid();
	ret->euid = geteuid();
	ret->gid = getgid();
	ret->egid = getegid();
	ret->group = getpgrp();
	ret->session = getsid(0);
	ret->umask = read_umask();
	ck_assert_ptr_nonnull(getcwd(ret->folder, sizeof(ret->folder)));
	snprintf(ret->locale, sizeof(ret->locale), "%s", setlocale(LC_ALL, NULL));
	read_environment(ret);
}

#define expect_same_member(member)                                                                                     \
	ck_assert_msg(memcmp(&now.member, &before->member, sizeof(now.member)) == 0, "after %s: " #member " changed",  \
	              after)

static void expect_same_state(const struct process_state *before, const char *after)
{
	static struct process_state now;

	read_state(&now);
	for (int i = 1; i <= N_SIGNALS; i++)
		ck_assert_msg(memcmp(&now.actions[i], &before->actions[i], sizeof(now.actions[i])) == 0,
		              "after %s: the action of signal %d changed", after, i);
	ck_assert_msg(now.n_tasks == before->n_tasks, "after %s: %d threads instead of %d", after, now.n_tasks,
	              before->n_tasks);
	expect_same_member(mask);
	expect_same_member(pending);
	expect_same_member(limits);
	expect_same_member(timers);
	expect_same_member(stdio_flags);
	expect_same_member(umask);
	expect_same_member(folder);
	expect_same_member(locale);
	expect_same_member(environment_sum);
	ck_assert_msg(memcmp(&now, before, sizeof(now)) == 0, "after %s: something else changed", after);
}

/* --- a program that uses everything ------------------------------------------------------------------------ */

static struct process_state before;

#define step(statement)                                                                                                \
	do {                                                                                                           \
		statement;                                                                                             \
		expect_same_state(&before, #statement);                                                                \
	} while (0)

static bool was_open[1024];

static void each_descriptor(void (*function)(int fd))
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		ck_assert_int_lt(fd, 1024);
		if (entry->d_name[0] != '.' && fd != dirfd(dir))
			function(fd);
	}
	closedir(dir);
}

static void note_open(int fd)
{
	was_open[fd] = true;
}

static int n_new;

static void check_flag(int fd)
{
	if (was_open[fd])
		return;
	n_new++;
	ck_assert_msg(fcntl(fd, F_GETFD) & FD_CLOEXEC, "descriptor %d is not close-on-exec", fd);
}

/* The library's own, of which there are some. */
static void check_close_on_exec(void)
{
	n_new = 0;
	each_descriptor(check_flag);
	ck_assert_int_gt(n_new, 3);
}

static const char *descriptors_of_a_program(void)
{
	static const char *const list[] = { "/bin/ls", "/proc/self/fd", NULL };
	const char *out, *errors;

	ck_assert_int_eq(harness_run(list, &out, &errors), 0);
	ck_assert_str_eq(errors, "");
	return out;
}

static bool hears_to(struct harness_process *peer, const char *order)
{
	const char *line = harness_hear(peer);

	return line && strcmp(line, order) == 0;
}

/* At the other end. */
static int keep_company(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);

	(void)arg;
	harness_tell(peer, "open");
	while (hears_to(peer, "post")) {
		ck_assert_int_eq(pathbus_post(topic), 0);
		harness_tell(peer, "posted");
	}
	pathbus_free(bus);
	return 0;
}

static void get_a_post(struct harness_process *company)
{
	harness_tell(company, "post");
	harness_expect_line(company, "posted");
}

/* Passes over everything else, of both topics. */
static void await_kind(pathbus *bus, enum pathbus_event_kind kind)
{
	struct pathbus_event event = { 0 };

	do
		await_readable(bus);
	while (!take(bus, &event) || event.kind != kind);
}

static void use_errors(pathbus *bus)
{
	struct pathbus_options options = transport_options();
	pathbus_topic *topic;
	pathbus *none;

	ck_assert_int_eq(pathbus_open(bus, transport_path("missing/data"), 0, &topic), -ENOENT);
	ck_assert_int_eq(pathbus_open(bus, "", 0, &topic), -EINVAL);
	ck_assert_int_eq(pathbus_open_fd(bus, -1, 0, &topic), -EBADF);
	options.transport = PATHBUS_BUS;
	options.address = harness_path("no-socket");
	ck_assert_int_eq(pathbus_new(&none, &options), -ENOTCONN);
	options.size = 1;
	ck_assert_int_eq(pathbus_new(&none, &options), -EINVAL);
}

/* Every call, with somebody at the other end. The channel is lost at the end of it, and found again. */
static void use_everything(struct harness_process *company)
{
	struct pathbus_options options = transport_options();
	struct pathbus_transport transport = { .size = sizeof(transport) };
	pathbus_topic *topic, *by_fd, *alone;
	uint64_t seen = 0, ns;
	const char *inherited = descriptors_of_a_program();
	int fd = open(transport_edit("data"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	pathbus *bus;

	each_descriptor(note_open);
	read_state(&before);
	step(ck_assert_int_eq(pathbus_new(&bus, &options), 0));
	step(ck_assert_int_eq(pathbus_open(bus, transport_path("data"), 0, &topic), 0));
	step(ck_assert_int_eq(pathbus_open_fd(bus, fd, PATHBUS_ECHO, &by_fd), 0));
	step(ck_assert_int_eq(pathbus_open(bus, transport_path("alone"), 0, &alone), 0)); /* the first there */
	step(ck_assert_int_ge(pathbus_fd(bus), 0));
	step(ck_assert_int_eq(pathbus_post(topic), 0));
	step(drain(bus));
	step(ck_assert_int_eq(pathbus_check(topic, &seen), 1));
	step(ck_assert_int_eq(pathbus_wait(topic, &seen, 0, 0), 0));
	get_a_post(company);
	step(ck_assert_int_eq(pathbus_wait(topic, &seen, harness_deadline(harness_limit_ms), 10), 1));
	get_a_post(company);
	step(await_readable(bus));
	step(drain(bus));
	step(ck_assert_int_eq(pathbus_transport(topic, &transport), 0));
	step((void)pathbus_address(bus));
	step((void)pathbus_ping(bus, &ns));
	step(pathbus_set_userdata(topic, &seen));
	step(use_errors(bus));
	check_close_on_exec();
	ck_assert_str_eq(descriptors_of_a_program(), inherited);
	expect_same_state(&before, "starting a program");
	if (transport_daemon()->process.pid > 0) {
		harness_daemon_kill(transport_daemon());
		step(ck_assert_int_eq(pathbus_post(topic), -ENOTCONN)); /* and no SIGPIPE */
		step(await_kind(bus, PATHBUS_EVENT_ERROR));
		step(ck_assert_int_eq(pathbus_ping(bus, &ns), -ENOTCONN));
		harness_daemon_start(transport_daemon(), NULL);
		step(await_kind(bus, PATHBUS_EVENT_RESYNC));
		step(ck_assert_int_eq(pathbus_post(topic), 0));
		check_close_on_exec();
		ck_assert_str_eq(descriptors_of_a_program(), inherited);
	}
	step((void)pathbus_close(by_fd));
	step((void)pathbus_close(alone)); /* and the last */
	step((void)pathbus_free(bus));
	close(fd);
}

static void start_company(struct harness_process *company)
{
	harness_spawn(company, keep_company, NULL);
	harness_expect_line(company, "open");
}

static void end_company(struct harness_process *company)
{
	harness_tell(company, "end");
	harness_expect_exit(company, 0);
}

START_TEST(nothing_of_the_process_changes)
{
	struct harness_process company;

	transport_begin(_i);
	start_company(&company);
	use_everything(&company);
	end_company(&company);
}
END_TEST

static void handler(int signal)
{
	(void)signal;
}

/* The same where everything is unusual. */
START_TEST(nor_what_the_program_has_set_itself)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART | SA_NODEFER };
	struct harness_process company;
	struct rlimit limit;
	sigset_t mask;

	transport_begin(_i);
	start_company(&company);
	for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
		ck_assert_int_eq(sigaction(i, &action, NULL), 0);
	ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
	ck_assert_ptr_ne(signal(SIGPIPE, handler), SIG_ERR);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigaddset(&mask, SIGHUP);
	ck_assert_int_eq(sigprocmask(SIG_BLOCK, &mask, NULL), 0);
	ck_assert_int_eq(raise(SIGHUP), 0); /* stays pending */
	(void)umask(0077);
	ck_assert_int_eq(setenv("LC_ALL", "C.UTF-8", 1), 0);
	(void)setlocale(LC_ALL, "");
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 400;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(chdir(transport_path("")), 0);
	use_everything(&company);
	end_company(&company);
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

/* --- output ------------------------------------------------------------------------------------------------ */

static int use_everything_silently(struct harness_process *peer, void *arg)
{
	const char *path = arg;
	struct harness_process company;
	int out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	(void)peer;
	ck_assert_int_ge(out, 0);
	ck_assert_int_eq(dup2(out, STDOUT_FILENO), STDOUT_FILENO);
	ck_assert_int_eq(dup2(out, STDERR_FILENO), STDERR_FILENO);
	close(out);
	start_company(&company);
	use_everything(&company);
	end_company(&company);
	fflush(NULL);
	return 0;
}

/* Without a daemon that it could kill: that belongs to the case. */
START_TEST(nothing_is_printed)
{
	struct harness_daemon held;
	struct harness_process program;
	const char *out = harness_path("output");

	transport_begin(_i);
	held = *transport_daemon();
	transport_daemon()->process.pid = 0;
	harness_spawn(&program, use_everything_silently, (void *)(uintptr_t)out);
	harness_expect_exit(&program, 0);
	*transport_daemon() = held;
	ck_assert_str_eq(harness_read_file(out), "");
}
END_TEST

/* A program may have none. The numbers 0 to 2 are then the library's, and it must not take them for output. */
static int use_without_stdio(struct harness_process *peer, void *arg)
{
	struct harness_process company;
	pathbus *bus;
	pathbus_topic *topic;

	(void)arg;
	start_company(&company);
	for (int i = 0; i < 3; i++)
		close(i);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	ck_assert_int_eq(pathbus_post(topic), 0);
	get_a_post(&company);
	await_posts(bus, 1);
	use_errors(bus);
	get_a_post(&company);
	await_posts(bus, 1);
	end_company(&company);
	pathbus_free(bus);
	harness_tell(peer, "done");
	return 0;
}

START_TEST(without_standard_descriptors)
{
	struct harness_process program;

	transport_begin(_i);
	harness_spawn(&program, use_without_stdio, NULL);
	harness_expect_line(&program, "done");
	harness_expect_exit(&program, 0);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(nothing_of_the_process_changes, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(nor_what_the_program_has_set_itself, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(nothing_is_printed, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(without_standard_descriptors, N_FIELD_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "guest", .cases = cases, .teardown = transport_end });
}
