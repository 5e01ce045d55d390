/* SPDX-License-Identifier: MIT */
/* log_target.c - see log_target.h. */
#include "log_target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "escape.h"
#include "limit.h"
#include "log_file.h"

#define LINE_SIZE (LOG_TEXT_SIZE + 256u) /* below PIPE_BUF: a line is written whole */
#define NAME "pathbusd"
#define FILE_PREFIX "file:"
#define FACILITY (3u << 3) /* daemon */

enum kind { TO_STDERR, TO_JOURNAL, TO_SYSLOG, TO_FILE };

#ifdef __APPLE__
const char *log_target_syslog = "/var/run/syslog";
#else
const char *log_target_syslog = "/dev/log";
#endif
const char *log_target_journal = "/run/systemd/journal/socket";

static enum kind kind = TO_STDERR;
static bool has_looked, stderr_is_journal, has_started;
static int sock = -1; /* of the journal or syslog */
static uint64_t n_dropped, n_untold;

static const unsigned priorities[] = {
	[LOG_LEVEL_ERROR] = 3,
	[LOG_LEVEL_WARNING] = 4,
	[LOG_LEVEL_INFO] = 6,
	[LOG_LEVEL_DEBUG] = 7,
};

/* --- stderr ------------------------------------------------------------------------------------------ */

/* $JOURNAL_STREAM is DEVICE:INODE of what a service manager has connected stdout and stderr to. */
static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uint64_t dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%" SCNu64 ":%" SCNu64, &dev, &ino) == 2 && fstat(fd, &st) == 0 &&
	       (uint64_t)st.st_dev == dev && (uint64_t)st.st_ino == ino;
}

/* stderr is shared with whoever started us, so it cannot be made non-blocking; a pipe that is ready for
 * writing takes a line of this size without blocking. */
static bool stderr_takes_a_line(void)
{
	struct pollfd poll_fd = { .fd = STDERR_FILENO, .events = POLLOUT };

	return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT);
}

/* The part of a line that all but the journal have. An informational one is not called that. */
static const char *level_text(enum log_level level)
{
	return level == LOG_LEVEL_INFO ? "" : log_level_name(level);
}

static bool put_stderr(enum log_level level, const char *reason, const char *text)
{
	char line[LINE_SIZE], priority[8] = "";
	const char *name = level_text(level);
	int used;

	if (!has_looked) {
		has_looked = true;
		stderr_is_journal = is_journal(STDERR_FILENO);
	}
	if (stderr_is_journal)
		snprintf(priority, sizeof(priority), "<%u>", priorities[level]);
	used = snprintf(line, sizeof(line), "%s" NAME ": %s%s%s [%s]\n", priority, name, name[0] ? ": " : "", text, reason);
	return stderr_takes_a_line() && write(STDERR_FILENO, line, (size_t)used) == used;
}

/* --- sockets ----------------------------------------------------------------------------------------- */

static int connect_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd < 0)
		return -errno;
	r = fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static const char *socket_path(void)
{
	return kind == TO_JOURNAL ? log_target_journal : log_target_syslog;
}

/* Whoever reads it may have been started anew, with another socket. */
static bool send_line(const char *line, size_t size)
{
	int fd;

	if (sock >= 0 && send(sock, line, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size)
		return true;
	if (sock >= 0 && errno != ECONNREFUSED && errno != ENOTCONN && errno != ECONNRESET)
		return false;
	fd = connect_socket(socket_path());
	if (fd < 0)
		return false;
	if (sock >= 0)
		close(sock);
	sock = fd;
	return send(sock, line, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

/* A line has no end of line within. */
static bool put_journal(enum log_level level, const char *reason, const char *text)
{
	char datagram[LINE_SIZE];
	int used = snprintf(datagram, sizeof(datagram),
	                    "MESSAGE=%s [%s]\nPRIORITY=%u\nSYSLOG_IDENTIFIER=" NAME "\nSYSLOG_FACILITY=3\nPATHBUS_REASON=%s\n", text,
	                    reason, priorities[level], reason);

	return send_line(datagram, (size_t)used);
}

/* RFC 3164, as the C library's syslog writes it. */
static bool put_syslog(enum log_level level, const char *reason, const char *text)
{
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	char line[LINE_SIZE];
	const char *name = level_text(level);
	time_t now = time(NULL);
	struct tm tm;
	int used;

	localtime_r(&now, &tm);
	used = snprintf(line, sizeof(line), "<%u>%s %2d %02d:%02d:%02d " NAME "[%d]: %s%s%s [%s]", FACILITY | priorities[level],
	                months[tm.tm_mon % 12], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)getpid(), name,
	                name[0] ? ": " : "", text, reason);
	return send_line(line, (size_t)used);
}

/* --- a file ------------------------------------------------------------------------------------------ */

static bool put_file(enum log_level level, const char *reason, const char *text)
{
	char line[LINE_SIZE], when[40];
	const char *name = level_text(level);
	struct timespec now;
	struct tm tm;
	int used;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	used = snprintf(line, sizeof(line), "%s.%03dZ " NAME "[%d]: %s%s%s [%s]\n", when, (int)(now.tv_nsec / 1000000), (int)getpid(),
	                name, name[0] ? ": " : "", text, reason);
	return log_file_put(line, (size_t)used);
}

/* --- any --------------------------------------------------------------------------------------------- */

static bool put(enum log_level level, const char *reason, const char *text)
{
	switch (kind) {
	case TO_JOURNAL:
		return put_journal(level, reason, text);
	case TO_SYSLOG:
		return put_syslog(level, reason, text);
	case TO_FILE:
		return put_file(level, reason, text);
	case TO_STDERR:
		break;
	}
	return put_stderr(level, reason, text);
}

static void note_dropped(uint64_t n)
{
	n_dropped += n;
	n_untold += n;
}

static void put_own(enum log_reason reason, const char *text)
{
	if (log_reason_level(reason) <= log_level())
		(void)put(log_reason_level(reason), log_reason_name(reason), text);
}

/* What the thread of a file has to tell, and how many lines are missing before the next. */
static void tell_own(void)
{
	char text[LOG_TARGET_ERROR_SIZE];
	int r = kind == TO_FILE ? log_file_take_error() : 0;

	if (r < 0) {
		snprintf(text, sizeof(text), "the log's file cannot be opened anew (%s): the old one is written on; let user %u "
		         "write in its folder, or make the file for it", strerror(-r), (unsigned)geteuid());
		put_own(REASON_LOG_TARGET, text);
	}
	if (kind == TO_FILE)
		note_dropped(log_file_take_failed());
	if (n_untold > 0) {
		uint64_t n = n_untold;

		snprintf(text, sizeof(text), "%" PRIu64 " lines of the log could not be written", n);
		if (put(log_reason_level(REASON_LOG_DROPPED), log_reason_name(REASON_LOG_DROPPED), text))
			n_untold -= n;
	}
}

void log_target_put(enum log_level level, const char *reason, const char *text)
{
	tell_own();
	if (!put(level, reason, text))
		note_dropped(1);
	if (kind != TO_STDERR && level == LOG_LEVEL_ERROR && !has_started && !stderr_is_journal)
		(void)put_stderr(level, reason, text);
}

uint64_t log_target_n_dropped(void)
{
	return n_dropped;
}

/* --- which ------------------------------------------------------------------------------------------- */

static bool kind_from(const char *target, enum kind *ret)
{
	if (strcmp(target, "auto") == 0)
		*ret = is_journal(STDERR_FILENO) ? TO_JOURNAL : TO_STDERR;
	else if (strcmp(target, "stderr") == 0)
		*ret = TO_STDERR;
	else if (strcmp(target, "journal") == 0)
		*ret = TO_JOURNAL;
	else if (strcmp(target, "syslog") == 0)
		*ret = TO_SYSLOG;
	else if (strncmp(target, FILE_PREFIX, strlen(FILE_PREFIX)) == 0 && target[strlen(FILE_PREFIX)] == '/')
		*ret = TO_FILE;
	else
		return false;
	return true;
}

bool log_target_is_valid(const char *target)
{
	enum kind is;

	return kind_from(target, &is);
}

static const char *why(int error)
{
	switch (error) {
	case ELOOP:
		return "it is a symbolic link; name the file itself";
	case EMLINK:
		return "the file has other names, too; name one that has not";
	case EEXIST:
	case ENXIO:
		return "it is no regular file";
	default:
		return strerror(error);
	}
}

static int open_file(const char *path, char *ret_error)
{
	char shown[LOG_TARGET_ERROR_SIZE / 2];
	int r = log_file_open(path);

	escape(path, strlen(path), shown, sizeof(shown));
	if (r < 0)
		snprintf(ret_error, LOG_TARGET_ERROR_SIZE, "the log cannot be written to %s: %s", shown, why(-r));
	return r;
}

static int open_socket(enum kind of, bool must, char *ret_error)
{
	const char *path = of == TO_JOURNAL ? log_target_journal : log_target_syslog;
	int fd = connect_socket(path);

	if (fd < 0 && must)
		snprintf(ret_error, LOG_TARGET_ERROR_SIZE, "the log cannot be sent to %s (%s): choose another --log-target", path,
		         strerror(-fd));
	return fd;
}

int log_target_open(const char *target, char *ret_error)
{
	enum kind to;
	int r = 0, fd = -1;

	if (!kind_from(target, &to)) {
		snprintf(ret_error, LOG_TARGET_ERROR_SIZE, "there is no such target of the log");
		return -EINVAL;
	}
	stderr_is_journal = is_journal(STDERR_FILENO);
	has_looked = true;
	if (to == TO_FILE)
		r = open_file(target + strlen(FILE_PREFIX), ret_error);
	if (to == TO_JOURNAL || to == TO_SYSLOG) {
		fd = open_socket(to, strcmp(target, "auto") != 0, ret_error);
		r = fd < 0 ? fd : 0;
		/* stderr leads there, too. */
		if (r < 0 && strcmp(target, "auto") == 0) {
			to = TO_STDERR;
			r = 0;
		}
	}
	if (r < 0)
		return r;
	tzset(); /* reads a file, which a sandbox may not let it do later */
	sock = fd;
	kind = to;
	return 0;
}

void log_target_started(void)
{
	has_started = true;
	log_file_started();
}

int log_target_give(uid_t uid, gid_t gid)
{
	return kind == TO_FILE ? log_file_give(uid, gid) : 0;
}

int log_target_folder(void)
{
	return kind == TO_FILE ? log_file_folder() : -1;
}

void log_target_reopen(void)
{
	if (kind == TO_FILE)
		log_file_reopen();
	if (sock >= 0)
		close(sock);
	sock = -1; /* connected with the next line */
}

void log_target_close(void)
{
	if (kind == TO_FILE)
		log_file_close(LIMIT_LOG_END_MS);
	if (sock >= 0)
		close(sock);
	sock = -1;
	kind = TO_STDERR;
	has_started = false;
}
