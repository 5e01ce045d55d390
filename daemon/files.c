/* SPDX-License-Identifier: MIT */
/*
 * files.c - the pool of files workers.
 *
 * A worker has one question at a time; the others wait in a queue. One that does not answer in time is killed
 * and replaced, and if its file system holds it back from dying it is lost: forgotten, but counted. Questions
 * that nobody waits for any more are still answered, since their answers may name watches.
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limit.h"
#include "log.h"
#include "os/os.h"
#include "helper.h"

struct files_question {
	struct files_question *next;
	files_answer_fn *fn; /* NULL: forgotten */
	void *arg;
	const void *owner;
	uint64_t asked_ns;
	uint32_t id;
	pid_t pid;
	int descriptor; /* -1: a path is meant */
	bool repeated;
	char path[]; /* with its end */
};

struct worker {
	struct files *files;
	pid_t pid; /* 0: none here */
	int socket;
	bool ready, slow;
	unsigned n_extensions; /* of its question's time */
	struct loop_event *readable;
	struct loop_event *timer;
	struct files_question *question;
};

struct files {
	struct files_setting set;
	struct worker workers[LIMIT_WORKERS];
	pid_t lost[LIMIT_LOST_WORKERS]; /* killed, not yet dead; 0: free */
	struct files_question *first, **last;
	unsigned n_open;
	uint32_t last_id;
	struct loop_event *queue_timer;
	bool queue_timed;
	unsigned n_unready; /* workers in a row that ended before they were ready */
	uint64_t rest_ns;   /* no worker is started before */
	int start_error;  /* of the last attempt to start one; 0: it worked */
	struct log_limit failures;
};

static void pump(struct files *files);

/* --- questions ------------------------------------------------------------------------------------- */

static void question_answer(struct files *files, struct files_question *question, int error,
                            const struct files_reply *reply, int folder)
{
	if (reply && reply->watch > 0)
		files->set.watched(files->set.arg, reply->watch);
	if (question->fn)
		question->fn(question->arg, error, reply, folder);
	else if (folder >= 0)
		close(folder);
	free(question);
	if (--files->n_open == 0)
		files->set.quiet(files->set.arg);
}

static struct files_question *ask(struct files *files, const char *path, pid_t pid, int descriptor, const void *owner,
                                  files_answer_fn *fn, void *arg)
{
	size_t size = strlen(path) + 1;
	struct files_question *question;

	if (size > PATH_MAX)
		return NULL;
	question = calloc(1, sizeof(*question) + size);
	if (!question)
		return NULL;
	if (++files->last_id == 0)
		files->last_id = 1;
	*question = (struct files_question){
		.fn = fn, .arg = arg, .owner = owner, .asked_ns = os_now_ns(), .id = files->last_id, .pid = pid,
		.descriptor = descriptor,
	};
	memcpy(question->path, path, size);
	*files->last = question;
	files->last = &question->next;
	files->n_open++;
	pump(files);
	return question;
}

struct files_question *files_ask(struct files *files, const char *path, pid_t pid, const void *owner,
                                 files_answer_fn *fn, void *arg)
{
	return ask(files, path, pid, -1, owner, fn, arg);
}

struct files_question *files_ask_memory(struct files *files, const char *label, pid_t pid, int descriptor, const void *owner,
                                        files_answer_fn *fn, void *arg)
{
	return ask(files, label, pid, descriptor, owner, fn, arg);
}

void files_forget(struct files_question *question)
{
	question->fn = NULL;
	question->arg = NULL;
}

bool files_busy(const struct files *files)
{
	return files->n_open > 0;
}

/* --- workers --------------------------------------------------------------------------------------- */

/* Ends a worker's connection; the process ends by that or by the signal. Its question is the caller's. */
static struct files_question *worker_drop(struct worker *worker)
{
	struct files_question *question = worker->question;

	worker->readable = loop_event_free(worker->readable);
	worker->timer = loop_event_free(worker->timer);
	close(worker->socket);
	if (worker->pid > 0) {
		kill(worker->pid, SIGKILL);
		if (waitpid(worker->pid, NULL, WNOHANG) == 0) {
			for (unsigned i = 0; i < LIMIT_LOST_WORKERS; i++) {
				if (worker->files->lost[i] == 0) {
					worker->files->lost[i] = worker->pid;
					break;
				}
			}
		}
	}
	*worker = (struct worker){ .files = worker->files };
	return question;
}

static void worker_fail(struct worker *worker, int error)
{
	struct files *files = worker->files;
	struct files_question *question;

	if (!worker->ready) {
		if (++files->n_unready >= LIMIT_WORKER_STARTS)
			files->rest_ns = os_now_ns() + UINT64_C(1000000) * LIMIT_WORKER_REST_MS;
		files->start_error = error;
	}
	question = worker_drop(worker);
	if (question && error == -EIO && !question->repeated) {
		/* Somebody killed the worker, or the question did: that the second time will show. */
		question->repeated = true;
		question->next = files->first;
		if (!files->first)
			files->last = &question->next;
		files->first = question;
	} else if (question) {
		question_answer(files, question, error, NULL, -1);
	}
	pump(files);
}

/* One message. 1: taken; 0: none there; -errno: the worker is no good any more. */
static int worker_receive(struct worker *worker, struct files_reply *reply, int *ret_folder)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = { .iov_base = reply, .iov_len = sizeof(*reply) };
	struct msghdr header = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *first;
	ssize_t n = recvmsg(worker->socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	*ret_folder = -1;
	first = CMSG_FIRSTHDR(&header);
	if (first && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS &&
	    first->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_folder, CMSG_DATA(first), sizeof(int));
	if ((size_t)n <= offsetof(struct files_reply, path))
		return -EPIPE;
	reply->path[(size_t)n - offsetof(struct files_reply, path) - 1] = '\0';
	/* The kernel had no room for the descriptor in our table. */
	if (header.msg_flags & MSG_CTRUNC)
		reply->error = -EMFILE;
	return 1;
}

static void worker_readable(void *arg)
{
	static struct files_reply reply;
	struct worker *worker = arg;
	struct files *files = worker->files;
	struct files_question *question = worker->question;
	int folder = -1, r = worker_receive(worker, &reply, &folder);

	if (r == 0)
		return;
	if (r > 0 && !worker->ready && reply.id == 0) {
		worker->ready = true;
		files->n_unready = 0;
		loop_disable(worker->timer);
		pump(files);
		return;
	}
	if (r < 0 || !question || reply.id != question->id) {
		log_warning("a files worker has ended unexpectedly");
		if (folder >= 0)
			close(folder);
		worker_fail(worker, -EIO);
		return;
	}
	worker->question = NULL;
	worker->slow = false;
	loop_disable(worker->timer);
	if (reply.error < 0 && folder >= 0) {
		close(folder);
		folder = -1;
	}
	question_answer(files, question, reply.error, reply.error < 0 ? NULL : &reply, folder);
	pump(files);
}

/* Does it wait for the processor, not for a file system? */
static bool is_runnable(pid_t pid)
{
	char name[32], text[256], *end;
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	end = strrchr(text, ')'); /* the program's name may hold anything */
	return end && end[1] == ' ' && end[2] == 'R';
}

static void worker_timer(void *arg)
{
	struct worker *worker = arg;
	struct files *files = worker->files;

	if (worker->question && !worker->slow && files->set.timeout_ms > LIMIT_FILES_SLOW_MS) {
		/* Not late yet, but others need not wait for it. */
		worker->slow = true;
		loop_set(worker->timer, files->set.timeout_ms - LIMIT_FILES_SLOW_MS);
		pump(files);
		return;
	}
	if (worker->question && worker->n_extensions < LIMIT_FILES_EXTENSIONS && is_runnable(worker->pid)) {
		worker->n_extensions++;
		loop_set(worker->timer, files->set.timeout_ms);
		return;
	}
	if (log_allows(&files->failures, "files workers that did not answer"))
		log_warning(worker->ready ? "a file system does not answer; its files worker is replaced" :
		                            "a files worker does not start; it is replaced");
	worker_fail(worker, -ETIMEDOUT);
}

static unsigned n_lost(const struct files *files)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LIMIT_LOST_WORKERS; i++)
		n += files->lost[i] != 0;
	return n;
}

static int worker_start(struct worker *worker)
{
	static const char *const argv[] = { "pathbusd", FILES_WORKER_ARGUMENT, NULL };
	struct files *files = worker->files;
	int pair[2], r;

	r = helper_pair(pair);
	if (r < 0)
		return r;
	r = helper_start("/proc/self/exe", argv, (const int[]){ pair[1], files->set.watch }, 2, &worker->pid);
	close(pair[1]);
	worker->socket = pair[0];
	if (r == 0) {
		worker->readable = loop_on_readable(files->set.loop, pair[0], worker_readable, worker);
		worker->timer = loop_timer(files->set.loop, worker_timer, worker);
		if (!worker->readable || !worker->timer)
			r = -ENOMEM;
	} else {
		worker->pid = 0;
	}
	if (r < 0) {
		worker_drop(worker);
		return r;
	}
	loop_set(worker->timer, LIMIT_WORKER_START_MS);
	return 0;
}

/* Makes sure that a worker is free or about to be, if there may be another. */
static void have_a_free_worker(struct files *files)
{
	struct worker *none = NULL;
	int r;

	for (unsigned i = 0; i < LIMIT_WORKERS; i++) {
		struct worker *worker = &files->workers[i];

		if (worker->pid == 0)
			none = none ? none : worker;
		else if (!worker->question || !worker->slow)
			return; /* free, starting, or likely to answer soon */
	}
	if (!none || n_lost(files) >= LIMIT_LOST_WORKERS || os_now_ns() < files->rest_ns)
		return;
	r = files->start_error = worker_start(none);
	if (r < 0 && log_allows(&files->failures, "files workers that could not be started"))
		log_error("a files worker could not be started: %s", strerror(-r));
}

/* --- the queue ------------------------------------------------------------------------------------- */

static bool owner_may_ask(const struct files *files, const void *owner)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LIMIT_WORKERS; i++)
		n += files->workers[i].question && files->workers[i].question->owner == owner;
	return !owner || n < LIMIT_OWNER_REQUESTS;
}

static struct files_question *queue_take(struct files *files, struct files_question **at)
{
	struct files_question *question = *at;

	*at = question->next;
	if (files->last == &question->next)
		files->last = at;
	question->next = NULL;
	return question;
}

/* The first question whose owner has not enough of them under way. */
static struct files_question *queue_next(struct files *files)
{
	for (struct files_question **at = &files->first; *at; at = &(*at)->next)
		if (owner_may_ask(files, (*at)->owner))
			return queue_take(files, at);
	return NULL;
}

/* There is no worker, and none could be started. */
static bool cannot_start(const struct files *files)
{
	for (unsigned i = 0; i < LIMIT_WORKERS; i++)
		if (files->workers[i].pid != 0)
			return false;
	return files->start_error != 0;
}

static struct worker *free_worker(struct files *files)
{
	for (unsigned i = 0; i < LIMIT_WORKERS; i++)
		if (files->workers[i].pid > 0 && files->workers[i].ready && !files->workers[i].question)
			return &files->workers[i];
	return NULL;
}

static void send_question(const struct worker *worker)
{
	const struct files_question *question = worker->question;
	struct files_request request = { .id = question->id, .pid = question->pid,
	                                 .descriptor = question->descriptor };
	size_t size = strlen(question->path) + 1;

	memcpy(request.path, question->path, size);
	/* A worker that has ended does not take it: its socket says so in the loop's next round. */
	(void)helper_send(worker->socket, &request, offsetof(struct files_request, path) + size, NULL, 0);
}

/* Hands out what can be handed out. Answers nothing itself, so it may be called from anywhere. */
static void pump(struct files *files)
{
	struct worker *worker;

	while (files->first && (worker = free_worker(files))) {
		struct files_question *question = queue_next(files);

		if (!question)
			break;
		worker->question = question;
		worker->slow = false;
		worker->n_extensions = 0;
		loop_set(worker->timer, files->set.timeout_ms > LIMIT_FILES_SLOW_MS ? LIMIT_FILES_SLOW_MS : files->set.timeout_ms);
		send_question(worker);
	}
	have_a_free_worker(files);
	if (files->first && !files->queue_timed) {
		files->queue_timed = true;
		loop_set(files->queue_timer, cannot_start(files) ? 0 : LIMIT_FILES_QUEUE_MS);
	}
}

/* No worker has become free for long: those that wait in vain are told so. */
static void queue_timer(void *arg)
{
	struct files *files = arg;
	uint64_t now = os_now_ns();

	files->queue_timed = false;
	if (cannot_start(files))
		while (files->first)
			question_answer(files, queue_take(files, &files->first), files->start_error, NULL, -1);
	while (files->first && now - files->first->asked_ns >= UINT64_C(1000000) * LIMIT_FILES_QUEUE_MS)
		question_answer(files, queue_take(files, &files->first), -ETIMEDOUT, NULL, -1);
	pump(files);
}

/* --- life ------------------------------------------------------------------------------------------ */

int files_new(const struct files_setting *setting, struct files **ret)
{
	struct files *files = calloc(1, sizeof(*files));

	if (!files)
		return -ENOMEM;
	files->set = *setting;
	files->last = &files->first;
	for (unsigned i = 0; i < LIMIT_WORKERS; i++)
		files->workers[i].files = files;
	files->queue_timer = loop_timer(setting->loop, queue_timer, files);
	if (!files->queue_timer) {
		free(files);
		return -ENOMEM;
	}
	have_a_free_worker(files);
	*ret = files;
	return 0;
}

struct files *files_free(struct files *files)
{
	if (!files)
		return NULL;
	for (unsigned i = 0; i < LIMIT_WORKERS; i++)
		if (files->workers[i].pid != 0)
			free(worker_drop(&files->workers[i]));
	while (files->first)
		free(queue_take(files, &files->first));
	loop_event_free(files->queue_timer);
	free(files);
	return NULL;
}

void files_reap(struct files *files)
{
	for (unsigned i = 0; i < LIMIT_LOST_WORKERS; i++)
		if (files->lost[i] > 0 && waitpid(files->lost[i], NULL, WNOHANG) != 0)
			files->lost[i] = 0;
	for (unsigned i = 0; i < LIMIT_WORKERS; i++) {
		struct worker *worker = &files->workers[i];

		/* Its socket tells what it still had to say, and then that it has ended. */
		if (worker->pid > 0 && waitpid(worker->pid, NULL, WNOHANG) != 0)
			worker->pid = -1;
	}
	pump(files);
}
