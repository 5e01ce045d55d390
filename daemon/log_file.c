/* SPDX-License-Identifier: MIT */
/* log_file.c - see log_file.h. */
#include "log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "helper_thread.h"
#include "limit.h"

#define FLAGS (O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) /* sandbox.c has the same */

/* What both threads use, under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool has_threads; /* main's alone */
static bool is_running, is_to_reopen;
static int error;          /* of the last opening; untold */
static uint64_t n_failed;  /* lines that could not be written; untold */
static char *waiting;      /* LIMIT_LOG_FILE_BYTES, of which so many are used */
static size_t n_waiting, n_before; /* those that were there when it was to be opened anew */

/* The thread's while it runs, else main's. */
static char *writing;
static int file = -1;

/* Fixed from opening to closing. */
static int folder = -1;
static char name[NAME_MAX + 1];

static int open_it(void)
{
	struct stat st;
	int fd = openat(folder, name, FLAGS, 0640), r;

	if (fd < 0)
		return -errno;
	r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EEXIST;
	/* Who may write the folder may have made it another name of what is not theirs, which would be written, and given away. */
	if (r == 0 && st.st_nlink > 1)
		r = -EMLINK;
	if (r < 0) {
		close(fd);
		return r;
	}
	if (file >= 0)
		close(file);
	file = fd;
	return 0;
}

int log_file_open(const char *path)
{
	const char *slash = strrchr(path, '/');
	char above[PATH_MAX];
	int r;

	if (!slash || strlen(slash + 1) > NAME_MAX || (size_t)(slash - path) + 2 > sizeof(above))
		return -ENAMETOOLONG;
	if (slash[1] == '\0' || strcmp(slash + 1, ".") == 0 || strcmp(slash + 1, "..") == 0)
		return -EISDIR;
	snprintf(above, sizeof(above), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	strcpy(name, slash + 1);
	folder = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return -errno;
	waiting = malloc(LIMIT_LOG_FILE_BYTES);
	writing = malloc(LIMIT_LOG_FILE_BYTES);
	r = waiting && writing ? open_it() : -ENOMEM;
	if (r < 0)
		log_file_close(0);
	return r;
}

int log_file_give(uid_t uid, gid_t gid)
{
	return fchown(file, uid, gid) < 0 ? -errno : 0;
}

int log_file_folder(void)
{
	return folder;
}

/* --- the thread -------------------------------------------------------------------------------------- */

static uint64_t count_lines(const char *at, size_t size)
{
	uint64_t n = 0;

	for (size_t i = 0; i < size; i++)
		n += at[i] == '\n';
	return n;
}

/* Returns how many lines could not be written. */
static uint64_t write_all(const char *at, size_t size)
{
	while (size > 0) {
		ssize_t n = write(file, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return count_lines(at, size);
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

static void *run(void *arg)
{
	pthread_mutex_lock(&lock);
	while (n_waiting > 0 || is_to_reopen) {
		bool reopens = is_to_reopen;
		size_t size = n_waiting, before = reopens ? n_before : 0;
		uint64_t failed = 0;
		char *text = waiting;
		int r = 0;

		waiting = writing;
		writing = text;
		n_waiting = 0;
		is_to_reopen = false;
		pthread_mutex_unlock(&lock);
		/* What was said before is in the old one. */
		failed += write_all(text, before);
		if (reopens)
			r = open_it();
		failed += write_all(text + before, size - before);
		pthread_mutex_lock(&lock);
		n_failed += failed;
		if (r < 0)
			error = r;
	}
	is_running = false;
	pthread_mutex_unlock(&lock);
	return arg;
}

/* --- main -------------------------------------------------------------------------------------------- */

void log_file_started(void)
{
	has_threads = true;
}

void log_file_reopen(void)
{
	pthread_mutex_lock(&lock);
	is_to_reopen = true;
	n_before = n_waiting;
	is_running = is_running || helper_thread_start(run);
	pthread_mutex_unlock(&lock);
}

int log_file_take_error(void)
{
	int r;

	pthread_mutex_lock(&lock);
	r = error;
	error = 0;
	pthread_mutex_unlock(&lock);
	return r;
}

uint64_t log_file_take_failed(void)
{
	uint64_t n;

	pthread_mutex_lock(&lock);
	n = n_failed;
	n_failed = 0;
	pthread_mutex_unlock(&lock);
	return n;
}

bool log_file_put(const char *line, size_t size)
{
	bool is_taken = false;

	if (!has_threads)
		return write_all(line, size) == 0;
	pthread_mutex_lock(&lock);
	if (size <= LIMIT_LOG_FILE_BYTES - n_waiting) {
		memcpy(waiting + n_waiting, line, size);
		n_waiting += size;
		is_running = is_running || helper_thread_start(run);
		is_taken = is_running;
		if (!is_taken)
			n_waiting -= size;
	}
	pthread_mutex_unlock(&lock);
	return is_taken;
}

void log_file_close(unsigned ms)
{
	bool is_over = false;

	for (unsigned n = 0; !is_over && n <= ms; n++) {
		pthread_mutex_lock(&lock);
		is_over = !is_running;
		pthread_mutex_unlock(&lock);
		if (!is_over)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	if (!is_over)
		return; /* it may write for ever; the process ends */
	if (file >= 0)
		close(file);
	if (folder >= 0)
		close(folder);
	file = folder = -1;
	free(waiting);
	free(writing);
	waiting = writing = NULL;
	has_threads = false;
}
