/* SPDX-License-Identifier: MIT */
/*
 * files_pool.c - the files workers: when they are started, what they say, when they end.
 *
 * One that does not answer in time is killed and replaced, and if its file system holds it back from dying it is dropped:
 * it has no part any more, but counts. In the daemon of all users one that has nothing to do ends after a while, or when its
 * place is needed; a user has a few places, so that paths which hang leave the others theirs.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "files_internal.h"
#include "helper.h"
#include "limit.h"
#include "os/os.h"
#include "sandbox.h"

/* --- crews ----------------------------------------------------------------------------------------- */

struct crew *crew_find(struct files *files, const struct identity *identity)
{
	struct crew *crew = files->crews;

	if (files->set.forker)
		while (crew && !identity_is_same(crew->identity, identity))
			crew = crew->next;
	return crew;
}

struct crew *crew_find_or_add(struct files *files, struct identity *identity)
{
	struct crew *crew = crew_find(files, identity);

	if (crew || (files->set.forker && !identity))
		return crew;
	crew = calloc(1, sizeof(*crew));
	if (!crew)
		return NULL;
	crew->files = files;
	crew->identity = identity ? identity_ref(identity) : NULL;
	crew->queue.last = &crew->queue.first;
	crew->next = files->crews;
	files->crews = crew;
	return crew;
}

static struct crew **crew_at(struct files *files, const struct crew *crew)
{
	struct crew **at = &files->crews;

	while (*at != crew)
		at = &(*at)->next;
	return at;
}

/* It has had its turn. */
static void crew_to_the_end(struct crew *crew)
{
	struct crew **at = crew_at(crew->files, crew);

	*at = crew->next;
	while (*at)
		at = &(*at)->next;
	*at = crew;
	crew->next = NULL;
}

static bool is_same_user(const struct crew *crew, const struct identity *identity)
{
	return !crew->identity || crew->identity->uid == identity->uid;
}

/* Of one user, or (NULL) of all. */
static void count(const struct files *files, const struct identity *of, unsigned *ret_live, unsigned *ret_dropped)
{
	*ret_live = *ret_dropped = 0;
	for (const struct crew *crew = files->crews; crew; crew = crew->next)
		for (const struct worker *worker = crew->workers; worker && (!of || is_same_user(crew, of)); worker = worker->next)
			++*(worker->socket >= 0 ? ret_live : ret_dropped);
}

unsigned user_waiting(const struct files *files, const struct identity *identity)
{
	unsigned n = 0;

	for (const struct crew *crew = files->crews; crew; crew = crew->next)
		n += is_same_user(crew, identity) ? crew->n_waiting : 0;
	return n;
}

bool crew_cannot_start(const struct crew *crew)
{
	for (const struct worker *worker = crew->workers; worker; worker = worker->next)
		if (worker->socket >= 0)
			return false;
	return crew->start_error != 0;
}

/* --- a worker's end ---------------------------------------------------------------------------------- */

static void worker_free(struct worker *worker)
{
	struct worker **at = &worker->crew->workers;

	while (*at != worker)
		at = &(*at)->next;
	*at = worker->next;
	if (worker->crew->files->set.forker)
		forker_forget(worker->crew->files->set.forker, &worker->forked);
	free(worker);
}

/* Ends its connection; the process ends by that or, unless it may end in peace, by the signal. Its question is the
 * caller's. It may be gone afterwards. */
static struct files_question *worker_drop(struct worker *worker, bool in_peace)
{
	struct files_question *question = worker->question;
	struct forker *forker = worker->crew->files->set.forker;
	bool is_gone;

	worker->question = NULL;
	worker->readable = loop_event_free(worker->readable);
	worker->timer = loop_event_free(worker->timer);
	close(worker->socket);
	worker->socket = -1;
	if (forker) {
		if (!in_peace)
			forker_kill(forker, &worker->forked);
		is_gone = worker->forked.id == 0;
	} else {
		if (worker->pid > 0)
			kill(worker->pid, SIGKILL);
		is_gone = worker->pid == 0 || helper_has_ended(worker->pid, "a files worker");
	}
	if (is_gone)
		worker_free(worker);
	return question;
}

struct crew *crew_free(struct crew *crew)
{
	for (struct worker *worker = crew->workers, *next; worker; worker = next) {
		next = worker->next;
		if (worker->socket >= 0)
			(void)worker_drop(worker, false);
	}
	while (crew->workers)
		worker_free(crew->workers);
	*crew_at(crew->files, crew) = crew->next;
	identity_unref(crew->identity);
	free(crew);
	return NULL;
}

static void worker_fail(struct worker *worker, int error)
{
	struct crew *crew = worker->crew;
	struct files *files = crew->files;
	struct files_question *question;

	if (!worker->ready) {
		if (++crew->n_unready >= LIMIT_WORKER_STARTS)
			crew->rest_ns = os_now_ns() + UINT64_C(1000000) * LIMIT_WORKER_REST_MS;
		crew->start_error = error;
	}
	question = worker_drop(worker, false);
	if (question)
		files->set.lost_watch(files->set.arg);
	if (question && error == -EIO && !question->repeated) {
		/* Somebody killed the worker, or the question did: that the second time will show. */
		question->repeated = true;
		crew_ask_again(crew, question);
	} else if (question) {
		question_answer(question, error, NULL, -1);
	}
	crews_pump(files);
}

/* --- what it says ---------------------------------------------------------------------------------- */

/* One message. 1: taken; 0: none there; -errno: the worker is no good any more. */
static int worker_receive(struct worker *worker, struct files_reply *reply, int *ret_folder)
{
	unsigned n_fds = 0;
	ssize_t n;

	*ret_folder = -1;
	n = helper_receive(worker->socket, reply, sizeof(*reply), ret_folder, 1, &n_fds, MSG_DONTWAIT);
	if (n < 0)
		return n == -EAGAIN ? 0 : (int)n;
	if ((size_t)n <= offsetof(struct files_reply, path))
		return -EPIPE;
	reply->path[(size_t)n - offsetof(struct files_reply, path) - 1] = '\0';
	/* It says that one comes along, and the kernel had no room for it in our table. */
	if (n_fds == 0 && reply->error == 0 && worker->question && (reply->sidecar || worker->question->descriptor >= 0))
		reply->error = -EMFILE;
	return 1;
}

/* What the worker says of it with its first word. In the daemon of all users it has ended then, if it has none. */
static void note_sandbox(const struct worker *worker, const struct files_reply *ready)
{
	struct files *files = worker->crew->files;

	if (ready->error < 0 && files->set.forker)
		log_event(REASON_SANDBOX_FAILED, "a files worker cannot enter its sandbox (%s): " SANDBOX_ADVICE, ready->path);
	else if (ready->error < 0)
		log_event(REASON_SANDBOX_MISSING, "a files worker runs without a sandbox (%s)", ready->path);
	else if (files->set.forker)
		log_event(REASON_FILES_STARTED, "files worker of user %u: sandbox: %s", (unsigned)worker->crew->identity->uid, ready->path);
	else
		log_event(REASON_FILES_STARTED, "files worker (pid %d): sandbox: %s", (int)worker->pid, ready->path);
}

/* Whatever else it says, what it names is known from now on. */
static bool watches_are_good(struct files *files, const struct files_reply *reply)
{
	bool good = true;

	if (reply->watch > 0)
		good = files->set.watched(files->set.arg, reply->watch);
	if (reply->runtime_watch > 0)
		good = files->set.watched(files->set.arg, reply->runtime_watch) && good;
	if (reply->lost_watch)
		files->set.lost_watch(files->set.arg);
	return good;
}

static void ask_for_watches_again(struct crew *crew, struct files_question *question)
{
	if (++question->n_stale <= LIMIT_STALE_WATCHES)
		crew_ask_again(crew, question);
	else
		question_answer(question, -EAGAIN, NULL, -1);
}

static void worker_readable(void *arg)
{
	static struct files_reply reply;
	struct worker *worker = arg;
	struct files *files = worker->crew->files;
	struct files_question *question = worker->question;
	int folder = -1, r;

	if (question)
		files->set.answering(files->set.arg); /* one that has a question is not ended by that */
	r = worker_receive(worker, &reply, &folder);
	if (r == 0)
		return;
	if (r > 0 && !worker->ready && reply.id == 0 && folder < 0) {
		note_sandbox(worker, &reply);
		if (files->set.forker && reply.error < 0) {
			worker_fail(worker, reply.error);
			return;
		}
		worker->ready = true;
		worker->crew->n_unready = 0;
		worker->crew->start_error = 0;
		worker->idle_ns = os_now_ns();
		loop_disable(worker->timer);
		crew_pump(worker->crew);
		return;
	}
	if (r < 0 || !question || reply.id != question->id) {
		log_event(REASON_FILES_WORKER, "a files worker has ended unexpectedly");
		if (folder >= 0)
			close(folder);
		worker_fail(worker, -EIO);
		return;
	}
	worker->question = NULL;
	worker->slow = false;
	worker->idle_ns = os_now_ns();
	loop_disable(worker->timer);
	if (folder >= 0 && reply.error < 0) {
		close(folder);
		folder = -1;
	}
	if (watches_are_good(files, &reply) || reply.error < 0) {
		question_answer(question, reply.error, reply.error < 0 ? NULL : &reply, folder);
	} else {
		if (folder >= 0)
			close(folder);
		ask_for_watches_again(worker->crew, question);
	}
	crews_pump(files);
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
	struct files *files = worker->crew->files;
	pid_t pid = files->set.forker ? worker->forked.pid : worker->pid;

	if (worker->question && !worker->slow && files->set.timeout_ms > LIMIT_FILES_SLOW_MS) {
		/* Not late yet, but others need not wait for it. */
		worker->slow = true;
		loop_set(worker->timer, files->set.timeout_ms - LIMIT_FILES_SLOW_MS);
		crew_pump(worker->crew);
		return;
	}
	if (worker->question && worker->n_extensions < LIMIT_FILES_EXTENSIONS && pid > 0 && is_runnable(pid)) {
		worker->n_extensions++;
		loop_set(worker->timer, files->set.timeout_ms);
		return;
	}
	if (worker->ready)
		log_event(REASON_FILES_SILENT, "a file system does not answer; its files worker is replaced");
	else
		log_event(REASON_FILES_WORKER, "a files worker does not start; it is replaced");
	worker_fail(worker, -ETIMEDOUT);
}

/* --- its start --------------------------------------------------------------------------------------- */

/* The files process says that it is gone, or could not be started. */
static void worker_gone(void *arg, int error)
{
	struct worker *worker = arg;
	struct files *files = worker->crew->files;

	if (worker->socket < 0) {
		worker_free(worker);
		files->set.lost_watch(files->set.arg); /* it may have hung in adding it */
		crews_pump(files);
		return;
	}
	/* Its socket tells what it still had to say, and then that it has ended. */
	if (error < 0) {
		log_event(REASON_FILES_UNSTARTED, "a files worker could not be started: %s", strerror(-error));
		worker_fail(worker, error);
	}
}

static const struct identity *some_identity(const struct crew *crew)
{
	for (const struct files_question *question = crew->queue.first; question; question = question->next)
		if (question->identity->socket >= 0)
			return question->identity;
	return NULL;
}

static int start_process(struct worker *worker, int socket)
{
	struct files *files = worker->crew->files;
	const char *const argv[] = { "pathbusd", FILES_WORKER_ARGUMENT, files->set.sandboxed ? NULL : SANDBOX_OFF_ARGUMENT, NULL };
	const struct identity *identity;

	if (!files->set.forker)
		return helper_start("/proc/self/exe", argv, (const int[]){ socket, files->set.watch }, 2, &worker->pid);
	identity = some_identity(worker->crew);
	worker->forked.ended = worker_gone;
	worker->forked.arg = worker;
	return identity ? forker_start_worker(files->set.forker, identity, socket, &worker->forked) : -ENOTCONN;
}

static int worker_start(struct crew *crew)
{
	struct loop *loop = crew->files->set.loop;
	struct worker *worker = calloc(1, sizeof(*worker));
	int pair[2], r = worker ? helper_pair(pair) : -ENOMEM;

	if (r < 0) {
		free(worker);
		return r;
	}
	*worker = (struct worker){ .crew = crew, .socket = pair[0], .next = crew->workers };
	crew->workers = worker;
	worker->readable = loop_on_readable(loop, pair[0], worker_readable, worker);
	worker->timer = loop_timer(loop, worker_timer, worker);
	r = worker->readable && worker->timer ? start_process(worker, pair[1]) : -ENOMEM;
	close(pair[1]);
	if (r < 0) {
		(void)worker_drop(worker, false);
		return r;
	}
	loop_set(worker->timer, LIMIT_WORKER_START_MS);
	return 0;
}

/* The one that has been idle for longest makes room. */
static bool end_an_idle_one(struct files *files)
{
	struct worker *oldest = NULL;

	for (struct crew *crew = files->crews; crew; crew = crew->next)
		for (struct worker *worker = crew->workers; worker; worker = worker->next)
			if (worker->socket >= 0 && worker->ready && !worker->question && !crew->queue.first &&
			    (!oldest || worker->idle_ns < oldest->idle_ns))
				oldest = worker;
	if (oldest)
		(void)worker_drop(oldest, true);
	return oldest != NULL;
}

static bool has_a_place(struct crew *crew)
{
	struct files *files = crew->files;
	unsigned n_live, n_dropped;

	count(files, crew->identity, &n_live, &n_dropped);
	if (!files->set.forker)
		return n_live < LIMIT_WORKERS && n_dropped < LIMIT_LOST_WORKERS;
	if (n_live >= LIMIT_USER_WORKERS || n_dropped >= LIMIT_USER_LOST_WORKERS)
		return false;
	count(files, NULL, &n_live, &n_dropped);
	return n_dropped < LIMIT_ALL_LOST_WORKERS && (n_live < LIMIT_ALL_WORKERS || end_an_idle_one(files));
}

/* Makes sure that a worker is free or about to be, if there may be another; in a user's daemon, always. */
static void have_a_free_worker(struct crew *crew)
{
	struct files *files = crew->files;
	int r;

	if (files->set.forker && !some_identity(crew))
		return;
	for (const struct worker *worker = crew->workers; worker; worker = worker->next)
		if (worker->socket >= 0 && (!worker->question || !worker->slow))
			return; /* free, starting, or likely to answer soon */
	if (os_now_ns() < crew->rest_ns || !has_a_place(crew))
		return;
	r = crew->start_error = worker_start(crew);
	if (r < 0)
		log_event(REASON_FILES_UNSTARTED, "a files worker could not be started: %s", strerror(-r));
}

/* --- handing out ------------------------------------------------------------------------------------- */

static struct worker *free_worker(const struct crew *crew)
{
	struct worker *worker = crew->workers;

	while (worker && (worker->socket < 0 || !worker->ready || worker->question))
		worker = worker->next;
	return worker;
}

static void send_question(const struct worker *worker)
{
	const struct files_question *question = worker->question;
	const struct identity *identity = question->identity;
	struct files_request request = { .id = question->id, .pid = identity ? identity->pid : 0,
	                                 .descriptor = question->descriptor, .at_home = question->at_home };
	size_t size = strlen(question->path) + 1;
	unsigned n_fds = worker->crew->files->set.forker ? 1 : 0;

	memcpy(request.path, question->path, size);
	/* A worker that has ended does not take it: its socket says so in the loop's next round. */
	(void)helper_send(worker->socket, &request, offsetof(struct files_request, path) + size,
	                  n_fds ? &identity->socket : NULL, n_fds);
}

static void give(struct worker *worker, struct files_question *question)
{
	unsigned timeout_ms = worker->crew->files->set.timeout_ms;

	question->number = ++worker->crew->files->n_given;
	worker->question = question;
	worker->slow = false;
	worker->n_extensions = 0;
	loop_set(worker->timer, timeout_ms > LIMIT_FILES_SLOW_MS ? LIMIT_FILES_SLOW_MS : timeout_ms);
	send_question(worker);
}

void crew_pump(struct crew *crew)
{
	struct files *files = crew->files;
	struct worker *worker;

	while (crew->queue.first && (worker = free_worker(crew))) {
		struct files_question *question = crew_next_question(crew);

		if (!question)
			break;
		give(worker, question);
	}
	have_a_free_worker(crew);
	if (crew->queue.first)
		queue_look_after(files, crew_cannot_start(crew) ? 0 : LIMIT_FILES_QUEUE_MS);
	if (files->set.forker && !files->idle_timed) {
		files->idle_timed = true;
		loop_set(files->idle_timer, files->set.idle_ms);
	}
}

/* A place may have become free, for anybody. */
void crews_pump(struct files *files)
{
	for (struct crew *crew = files->crews, *next; crew; crew = next) {
		unsigned n_waited = crew->n_waiting;

		next = crew->next;
		if (n_waited > 0 || !files->set.forker)
			crew_pump(crew);
		if (crew->n_waiting < n_waited && next)
			crew_to_the_end(crew);
	}
}

/* --- as time goes by ----------------------------------------------------------------------------------- */

void pool_idle(void *arg)
{
	struct files *files = arg;
	uint64_t now = os_now_ns(), limit = UINT64_C(1000000) * files->set.idle_ms;

	files->idle_timed = false;
	for (struct crew *crew = files->crews, *next_crew; crew; crew = next_crew) {
		next_crew = crew->next;
		for (struct worker *worker = crew->workers, *next; worker; worker = next) {
			next = worker->next;
			if (worker->socket >= 0 && worker->ready && !worker->question && now - worker->idle_ns >= limit)
				(void)worker_drop(worker, true);
		}
		if (!crew->workers && !crew->queue.first)
			crew_free(crew);
	}
	if (files->crews) {
		files->idle_timed = true;
		loop_set(files->idle_timer, files->set.idle_ms);
	}
}

void pool_reap(struct files *files)
{
	for (struct crew *crew = files->crews; crew && !files->set.forker; crew = crew->next)
		for (struct worker *worker = crew->workers, *next; worker; worker = next) {
			next = worker->next;
			if (worker->pid <= 0 || !helper_has_ended(worker->pid, "a files worker"))
				continue;
			/* Its socket tells what it still had to say, and then that it has ended. */
			worker->pid = 0;
			if (worker->socket < 0) {
				worker_free(worker);
				files->set.lost_watch(files->set.arg);
			}
		}
	crews_pump(files);
}
