/* SPDX-License-Identifier: MIT */
/*
 * process.c - partner processes, where processes run, and handles that must not fail.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const enum pathbus_transport_kind transports[2] = { PATHBUS_BUS, PATHBUS_PEER };

void die(int r, const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fputs("pathbus-bench: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	if (r < 0)
		fprintf(stderr, ": %s", strerror(-r));
	fputc('\n', stderr);
	exit(1); /* the partners end with their parent */
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * UINT64_C(1000000000) + (uint64_t)used.tv_nsec;
}

/* --- cores and scheduling -------------------------------------------------------------------------------- */

static int set_core(pid_t pid, int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)core, &set);
	return sched_setaffinity(pid, sizeof(set), &set) < 0 ? -errno : 0;
}

void pin(int core)
{
	int r = set_core(0, core);

	if (r < 0)
		die(r, "cannot run on core %d", core);
}

void pin_to_both(const struct settings *settings)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)settings->core, &set);
	if (settings->other_core >= 0)
		CPU_SET((size_t)settings->other_core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die(-errno, "sched_setaffinity");
}

static void pin_tree(pid_t pid, int core, bool yields)
{
	char path[64];
	FILE *children;
	int child;

	(void)set_core(pid, core); /* it may have ended */
	if (yields)
		(void)sched_setscheduler(pid, SCHED_FIFO, &(struct sched_param){ .sched_priority = 1 });
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	children = fopen(path, "re");
	if (!children)
		return;
	while (fscanf(children, "%d", &child) == 1)
		pin_tree(child, core, yields);
	fclose(children);
}

void pin_daemon(const struct settings *settings, int core)
{
	if (settings->daemon > 0)
		pin_tree(settings->daemon, core, false);
}

void pin_yielding(pid_t pid, int core)
{
	if (pid > 0)
		pin_tree(pid, core, true);
}

const char *yield_to_nobody(void)
{
	struct sched_param parameter = { .sched_priority = 1 };

	/* Equals do not preempt each other, and nothing else gets in between. */
	if (sched_setscheduler(0, SCHED_FIFO, &parameter) == 0)
		return "SCHED_FIFO";
	parameter.sched_priority = 0;
	if (sched_setscheduler(0, SCHED_BATCH, &parameter) == 0)
		return "SCHED_BATCH";
	return "SCHED_OTHER";
}

void preempt_as_usual(void)
{
	(void)sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 });
}

uint64_t voluntary_switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)usage.ru_nvcsw;
}

uint64_t daemon_cpu_ns(const struct settings *settings)
{
	struct timespec used;
	clockid_t clock;

	if (settings->daemon <= 0 || clock_getcpuclockid(settings->daemon, &clock) != 0 || clock_gettime(clock, &used) < 0)
		return 0;
	return (uint64_t)used.tv_sec * UINT64_C(1000000000) + (uint64_t)used.tv_nsec;
}

struct load load_now(void)
{
	unsigned long long user = 0, nice = 0, system = 0, idle, iowait, irq = 0, softirq = 0, steal = 0;
	struct load load = { .wall_ns = now_ns() };
	FILE *file = fopen("/proc/stat", "re");

	if (!file)
		return load;
	if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
	           &softirq, &steal) == 8)
		load.busy_ns = (user + nice + system + irq + softirq + steal) *
		               (1000000000u / (unsigned long long)sysconf(_SC_CLK_TCK));
	fclose(file);
	return load;
}

double load_of_others(const struct load *since, uint64_t ours_ns)
{
	struct load now = load_now();
	double others = (double)(now.busy_ns - since->busy_ns) - (double)ours_ns;

	return others > 0 ? others / (double)(now.wall_ns - since->wall_ns) : 0;
}

/* --- partners -------------------------------------------------------------------------------------------- */

void message_send(int socket, const struct message *message)
{
	ssize_t n;

	do
		n = send(socket, message, sizeof(*message), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(*message))
		die(n < 0 ? -errno : 0, "a partner is gone");
}

struct message message_receive(int socket)
{
	struct message message;
	ssize_t n;

	do
		n = recv(socket, &message, sizeof(message), 0);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(message))
		die(n < 0 ? -errno : 0, "a partner has ended");
	return message;
}

void partner_start(struct partner *partner, void (*serve)(int socket, const void *arg), const void *arg)
{
	int sockets[2];
	pid_t parent = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		die(-errno, "socketpair");
	fflush(stdout);
	partner->pid = fork();
	if (partner->pid < 0)
		die(-errno, "fork");
	if (partner->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(sockets[0]);
		serve(sockets[1], arg);
		_exit(0);
	}
	close(sockets[1]);
	partner->socket = sockets[0];
}

void partner_stop(struct partner *partner)
{
	int status;

	message_send(partner->socket, &(struct message){ .command = COMMAND_QUIT });
	while (waitpid(partner->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(partner->socket);
}

/* --- handles --------------------------------------------------------------------------------------------- */

const char *transport_name(enum pathbus_transport_kind kind)
{
	return kind == PATHBUS_BUS ? "bus" : "peer";
}

bool transport_is_there(const struct settings *settings, enum pathbus_transport_kind kind)
{
	return kind == PATHBUS_PEER || settings->address;
}

pathbus *handle_new(const struct settings *settings, enum pathbus_transport_kind kind)
{
	pathbus *bus;
	int r = pathbus_new(&bus, &(struct pathbus_options){ .size = sizeof(struct pathbus_options),
	                                                     .address = settings->address,
	                                                     .transport = kind,
	                                                     .timeout_ms = 5000 });

	if (r < 0)
		die(r, "pathbus_new, transport %s", transport_name(kind));
	return bus;
}

static pathbus_topic *open_topic(const struct settings *settings, pathbus *bus, const char *name, unsigned flags,
                                 unsigned ring_slots)
{
	struct pathbus_topic_options options = { .size = sizeof(options), .ring_slots = ring_slots };
	char path[4096];
	pathbus_topic *topic;
	int fd, r;

	snprintf(path, sizeof(path), "%s/%s", settings->folder, name);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		die(-errno, "%s", path);
	close(fd);
	r = pathbus_open_with(bus, path, flags, &options, &topic);
	if (r < 0)
		die(r, "pathbus_open of %s", path);
	return topic;
}

pathbus_topic *topic_of(const struct settings *settings, pathbus *bus, const char *name, unsigned flags)
{
	return open_topic(settings, bus, name, flags, 0);
}

pathbus_topic *topic_with_ring(const struct settings *settings, pathbus *bus, const char *name, unsigned flags)
{
	return open_topic(settings, bus, name, flags, RING_SLOTS);
}

uint64_t drain(pathbus *bus)
{
	struct pathbus_event event = { .size = sizeof(event) };
	uint64_t n = 0;
	int r;

	while ((r = pathbus_next(bus, &event)) == 1)
		n += event.kind == PATHBUS_EVENT_POST ? event.count : 0;
	if (r < 0)
		die(r, "pathbus_next");
	return n;
}
