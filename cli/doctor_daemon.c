/* SPDX-License-Identifier: MIT */
/*
 * doctor_daemon.c - which daemon would the library take? Tries each address in the library's order, as the library does, up to the
 * daemon's greeting; and says of each why it was taken or not.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "command.h"
#include "control.h"
#include "doctor.h"
#include "os/os.h"
#include "proc.h"
#include "wire.h"

#define DEFAULT_TIMEOUT_MS 250u

struct probe {
	const char *address;
	const char *source; /* where the address comes from */
	struct os_peer listener;
	struct wire_welcome welcome;
	bool is_connected;
	int error; /* 0: taken; -ETIME: it accepts and says nothing */
};

static uint64_t deadline_of(const struct doctor *doctor)
{
	unsigned ms = doctor->options->timeout_ms ? doctor->options->timeout_ms : DEFAULT_TIMEOUT_MS;

	return os_now_ns() + ms * UINT64_C(1000000);
}

/* --- the greeting ------------------------------------------------------------------------------------------- */

static bool wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd one = { .fd = fd, .events = events };
	uint64_t now = os_now_ns();

	return now < deadline_ns && poll(&one, 1, (int)((deadline_ns - now + 999999) / 1000000)) > 0;
}

/* The descriptors that come with an answer are not wanted. */
static void close_descriptors(struct msghdr *message)
{
	for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at)) {
		size_t n = at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_RIGHTS ?
				   (at->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(at) + i * sizeof(fd), sizeof(fd));
			close(fd);
		}
	}
}

/* One whole frame. 0, -ETIME, -ENOTCONN (it has ended), -EPROTO. */
static int receive(int fd, unsigned char *frame, size_t size, uint64_t deadline_ns, struct wire_header *ret)
{
	size_t used = 0;

	for (;;) {
		union { struct cmsghdr head; char bytes[CMSG_SPACE(16 * sizeof(int))]; } space;
		struct iovec part = { .iov_base = frame + used, .iov_len = size - used };
		struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = space.bytes,
					  .msg_controllen = sizeof(space.bytes) };
		ssize_t n;
		int r = wire_get_header(frame, used, ret);

		if (r != 0)
			return r < 0 ? -EPROTO : 0;
		if (!wait_for(fd, POLLIN, deadline_ns))
			return -ETIME;
		n = os_receive(fd, &message);
		if (n == -EAGAIN || n == -EINTR)
			continue;
		if (n <= 0)
			return -ENOTCONN;
		close_descriptors(&message);
		used += (size_t)n;
	}
}

static int greet(int fd, struct wire_welcome *ret, uint64_t deadline_ns)
{
	unsigned char frame[WIRE_SMALL_FRAME];
	struct wire_header header;
	size_t size = wire_put_hello(frame, 1, &(struct wire_hello){ .version_min = WIRE_VERSION, .version_max = WIRE_VERSION });
	int r;

	if (send(fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size)
		return -ENOTCONN;
	r = receive(fd, frame, sizeof(frame), deadline_ns, &header);
	if (r < 0)
		return r;
	if (header.type != WIRE_WELCOME || wire_get_welcome(frame, header.size, ret) < 0)
		return -EPROTO;
	(void)send(fd, frame, wire_put_goodbye(frame), MSG_DONTWAIT | MSG_NOSIGNAL);
	return 0;
}

static int connect_to(int fd, const char *address, uint64_t deadline_ns)
{
	struct sockaddr_un where;
	int r = address_fill(address, &where);

	while (r == 0 && connect(fd, (struct sockaddr *)&where, sizeof(where)) < 0) {
		if (errno != EAGAIN || os_now_ns() >= deadline_ns)
			return -errno;
		poll(NULL, 0, 1); /* so many wait to be accepted that there is no room */
	}
	return r;
}

static void try_address(const struct doctor *doctor, struct probe *probe)
{
	uint64_t deadline_ns = deadline_of(doctor);
	int fd = os_socket_new();

	probe->error = fd < 0 ? fd : connect_to(fd, probe->address, deadline_ns);
	if (probe->error == 0) {
		probe->is_connected = true;
		probe->error = os_peer_credentials(fd, &probe->listener);
	}
	if (probe->error == 0 && !address_may_be_served_by(probe->address, probe->listener.uid))
		probe->error = -EPERM;
	if (probe->error == 0)
		probe->error = greet(fd, &probe->welcome, deadline_ns);
	if (fd >= 0)
		close(fd);
}

/* --- what it means ---------------------------------------------------------------------------------------------- */

/* A word for scripts, and for people why. */
static const char *result_of(int error, const char **ret_why)
{
	switch (-error) {
	case 0:
		*ret_why = "taken";
		return "taken";
	case ENOENT:
	case ENOTDIR:
		*ret_why = "not taken: there is no socket";
		return "absent";
	case ECONNREFUSED:
		*ret_why = "not taken: a socket that nobody listens on; its daemon has died, or is being started";
		return "dead";
	case EPERM:
		*ret_why = "not taken: it is served by a user who is not trusted";
		return "untrusted";
	case EACCES:
		*ret_why = "not taken: this user may not reach the socket";
		return "unreachable";
	case ETIME:
	case EAGAIN:
		*ret_why = "not taken: it does not answer";
		return "silent";
	case ENOTCONN:
	case EPIPE:
	case ECONNRESET:
		*ret_why = "not taken: it ends the connection";
		return "refuses";
	case EPROTO:
		*ret_why = "not taken: it speaks no protocol of this library's";
		return "foreign";
	default:
		*ret_why = strerror(-error);
		return "failed";
	}
}

/* Given by its address: it listens as whom it was started, and as the daemon of all users it has become another. */
static bool is_all_users(const struct probe *probe, uid_t uid)
{
	return strcmp(probe->address, ADDRESS_SYSTEM) == 0 || probe->listener.uid != geteuid() || uid != probe->listener.uid;
}

/* What only its control socket tells. */
static void ask_control(struct doctor *doctor)
{
	struct report *report = &doctor->report;
	struct control *control;
	struct json *stats = NULL;

	if (control_open(doctor->options, &control) != STATUS_OK)
		return;
	if (control_get(control, "/v1/stats", &stats) == STATUS_OK && stats &&
	    json_number(stats, "pid") == (uint64_t)doctor->daemon_pid) {
		const char *version = json_text(stats, "version"), *instance = json_text(stats, "instance");

		report_name(report, "control", control_socket(control));
		report_text(report, "version", version ? doctor_shown(version) : NULL);
		if (instance)
			doctor->is_system = strcmp(instance, "system") == 0;
		report_line(report, "version %s, this program's is %s", version ? doctor_shown(version) : "?", PATHBUS_VERSION);
	} else {
		report_text(report, "version", NULL);
		report_line(report, "its version is not known: only its control socket tells (%s), and it does not let this user ask",
			    doctor_shown(control_socket(control)));
	}
	json_free(stats);
	control_close(control);
}

static void note_taken(struct doctor *doctor, const struct probe *probe)
{
	struct report *report = &doctor->report;
	uid_t uid = probe->listener.uid;
	struct proc process;

	snprintf(doctor->address, sizeof(doctor->address), "%s", probe->address);
	doctor->has_daemon = true;
	doctor->daemon_pid = (pid_t)probe->welcome.pid;
	/* Its number may be that of another process here: the daemon is in a container, say. */
	if (proc_look(doctor->daemon_pid, &process) == 0 && strncmp(process.command, "pathbusd", 8) == 0)
		uid = process.uid;
	doctor->is_system = is_all_users(probe, uid);
	report_number(report, "pid", probe->welcome.pid);
	report_number(report, "uid", uid);
	report_number(report, "protocol", probe->welcome.version);
	ask_control(doctor);
	report_text(report, "instance", doctor->is_system ? "system" : "user");
	report_line(report, "process %lld of %s, for %s, protocol version %u", (long long)doctor->daemon_pid, doctor_user(uid),
		    doctor->is_system ? "all users" : "this user", probe->welcome.version);
}

static void judge(struct doctor *doctor, const struct probe *probe)
{
	struct report *report = &doctor->report;
	const char *address = doctor_shown(probe->address);

	switch (-probe->error) {
	case EPERM:
		report_problem(report, "untrusted-daemon",
			       "stop what listens there, then start a daemon of your own (pathbusd) or that of all users, as root "
			       "(pathbusd --system)",
			       "%s is served by %s, whom programs of this user do not trust; they pass it by", address,
			       doctor_user(probe->listener.uid));
		break;
	case EACCES:
		report_problem(report, "unreachable-daemon", "let this user search the socket's folder and write the socket: chmod",
			       "this user may not reach %s, where others may meet", address);
		break;
	case ETIME:
	case EAGAIN:
		report_problem(report, "silent-daemon",
			       "see whether it is stopped (ps) or busy; continue or restart it; or wait longer: --timeout-ms",
			       "the daemon at %s accepts connections and does not answer; programs go on without it", address);
		break;
	case ENOTCONN:
	case EPIPE:
	case ECONNRESET:
		report_problem(report, "refusing-daemon", "see the daemon's log: it says why; often it has a limit on connections",
			       "the daemon at %s ends the connection at once", address);
		break;
	case EPROTO:
		report_problem(report, "foreign-daemon", "restart the daemon after an upgrade; or give the address of a daemon",
			       "what listens at %s does not speak the protocol of this library", address);
		break;
	case ECONNREFUSED:
		if (!doctor->is_given)
			report_note(report, "dead-socket", "none is needed: the next daemon that starts there replaces it",
				    "%s is a socket that nobody listens on: a daemon was killed, or is just being started", address);
		break;
	default:
		break;
	}
}

static void report_probe(struct doctor *doctor, const struct probe *probe, bool is_tried)
{
	struct report *report = &doctor->report;
	const char *why = "not tried: an earlier one was taken";
	const char *result = is_tried ? result_of(probe->error, &why) : "not-tried";

	report_item(report, "addresses");
	report_name(report, "address", probe->address);
	report_text(report, "source", probe->source);
	report_text(report, "result", result);
	report_text(report, "why", why);
	if (probe->is_connected) {
		report_number(report, "listener_pid", (uint64_t)probe->listener.pid);
		report_number(report, "listener_uid", probe->listener.uid);
	}
	report_item_end(report);
	report_line(report, "%s (%s): %s", doctor_shown(probe->address), probe->source, why);
	if (is_tried)
		judge(doctor, probe);
}

void doctor_look_for_daemon(struct doctor *doctor)
{
	const char *given = doctor->options->address ? doctor->options->address : address_from_environment();
	struct report *report = &doctor->report;
	struct probe probes[2] = { 0 };
	char of_user[ADDRESS_SIZE];
	size_t n = 0;

	report_section(report, "daemon");
	doctor->asked = doctor->options->transport != PATHBUS_PEER;
	doctor->is_given = given != NULL;
	if (given) {
		probes[n++] = (struct probe){ .address = given,
					      .source = doctor->options->address ? "--address" : "$PATHBUS_ADDRESS" };
	} else {
		probes[n++] = (struct probe){ .address = ADDRESS_SYSTEM, .source = "the system's" };
		if (address_of_user(geteuid(), of_user) == 0)
			probes[n++] = (struct probe){ .address = of_user, .source = "the user's own" };
	}
	report_flag(report, "asked", doctor->asked);
	if (!doctor->asked)
		report_line(report, "not asked: --transport peer");
	for (size_t i = 0; i < n && doctor->asked; i++) {
		bool is_tried = !doctor->has_daemon;

		if (is_tried)
			try_address(doctor, &probes[i]);
		report_probe(doctor, &probes[i], is_tried);
		if (is_tried && probes[i].error == 0)
			note_taken(doctor, &probes[i]);
	}
	report_flag(report, "taken", doctor->has_daemon);
	if (doctor->has_daemon)
		report_name(report, "address", doctor->address);
	if (doctor->asked && !doctor->has_daemon && given && !report_has(report, "silent-daemon"))
		report_problem(report, "no-daemon-there",
			       "start one there: pathbusd --address SOCKET; or leave the address out, so that the known places are tried",
			       "no daemon can be used at %s (%s), and no other place is tried", doctor_shown(given), probes[0].source);
}
