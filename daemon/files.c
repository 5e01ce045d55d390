/* SPDX-License-Identifier: MIT */
/*
 * files.c - questions to the files workers, and their answers.
 *
 * A worker has one question at a time; the others wait in the queue of their crew. Questions that nobody waits for any
 * more are still answered, since their answers may name watches.
 */
#include "files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files_internal.h"
#include "limit.h"
#include "os/os.h"

/* --- questions ------------------------------------------------------------------------------------- */

static void question_free(struct files_question *question)
{
	identity_unref(question->identity);
	free(question);
}

void question_answer(struct files_question *question, int error, const struct files_reply *reply,
                     int folder)
{
	if (question->fn)
		question->fn(question->arg, error, reply, folder);
	else if (folder >= 0)
		close(folder);
	question_free(question);
}

static void queue_init(struct question_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

static void queue_append(struct question_queue *queue, struct files_question *question)
{
	question->next = NULL;
	*queue->last = question;
	queue->last = &question->next;
}

struct files_question *queue_take(struct question_queue *queue, struct files_question **at)
{
	struct files_question *question = *at;

	*at = question->next;
	if (queue->last == &question->next)
		queue->last = at;
	question->next = NULL;
	return question;
}

/* To be answered with an error, but not from within whatever this is. */
static void fail_soon(struct files *files, struct files_question *question, int error)
{
	question->error = error;
	queue_append(&files->failed, question);
	queue_look_after(files, 0);
}

static struct files_question *ask(struct files *files, const char *path, struct identity *identity, int descriptor,
                                  bool at_home, const void *owner, files_answer_fn *fn, void *arg)
{
	size_t size = strlen(path) + 1;
	struct files_question *question;
	struct crew *crew;

	if (size > PATH_MAX)
		return NULL;
	crew = crew_find_or_add(files, identity);
	question = crew ? calloc(1, sizeof(*question) + size) : NULL;
	if (!question)
		return NULL;
	if (++files->last_id == 0)
		files->last_id = 1;
	*question = (struct files_question){
		.fn = fn, .arg = arg, .owner = owner, .asked_ns = os_now_ns(), .id = files->last_id, .descriptor = descriptor,
		.at_home = at_home,
		.identity = identity ? identity_ref(identity) : NULL,
	};
	memcpy(question->path, path, size);
	if (files->set.forker && user_waiting(files, identity) >= LIMIT_USER_QUESTIONS) {
		fail_soon(files, question, -EDQUOT);
		return question;
	}
	queue_append(&crew->queue, question);
	crew->n_waiting++;
	crew_pump(crew);
	return question;
}

struct files_question *files_ask(struct files *files, const char *path, struct identity *identity, const void *owner,
                                 files_answer_fn *fn, void *arg)
{
	return ask(files, path, identity, -1, false, owner, fn, arg);
}

struct files_question *files_look(struct files *files, const char *path, struct identity *identity, bool at_home,
                                  files_answer_fn *fn, void *arg)
{
	return ask(files, path, identity, -1, at_home, NULL, fn, arg);
}

struct files_question *files_ask_memory(struct files *files, const char *label, struct identity *identity, int descriptor,
                                        const void *owner, files_answer_fn *fn, void *arg)
{
	return ask(files, label, identity, descriptor, false, owner, fn, arg);
}

void files_forget(struct files_question *question)
{
	question->fn = NULL;
	question->arg = NULL;
}

void files_asked(const struct files *files, uint64_t *ret_last, uint64_t *ret_open)
{
	*ret_last = files->n_given;
	*ret_open = 0;
	for (const struct crew *crew = files->crews; crew; crew = crew->next)
		for (const struct worker *worker = crew->workers; worker; worker = worker->next)
			if (worker->question && (*ret_open == 0 || worker->question->number < *ret_open))
				*ret_open = worker->question->number;
}

/* --- the queues ------------------------------------------------------------------------------------ */

static bool owner_may_ask(const struct crew *crew, const void *owner)
{
	unsigned n = 0;

	for (const struct worker *worker = crew->workers; worker; worker = worker->next)
		n += worker->question && worker->question->owner == owner;
	return !owner || n < LIMIT_OWNER_REQUESTS;
}

struct files_question *crew_next_question(struct crew *crew)
{
	for (struct files_question **at = &crew->queue.first; *at;) {
		struct files_question *question = *at;

		if (question->identity && question->identity->socket < 0 && crew->files->set.forker) {
			/* Whose root the path is to be seen in nobody can tell any more. */
			crew->n_waiting--;
			fail_soon(crew->files, queue_take(&crew->queue, at), -ENOTCONN);
		} else if (owner_may_ask(crew, question->owner)) {
			crew->n_waiting--;
			return queue_take(&crew->queue, at);
		} else {
			at = &question->next;
		}
	}
	return NULL;
}

void crew_ask_again(struct crew *crew, struct files_question *question)
{
	question->next = crew->queue.first;
	if (!crew->queue.first)
		crew->queue.last = &question->next;
	crew->queue.first = question;
	crew->n_waiting++;
}

void queue_look_after(struct files *files, unsigned ms)
{
	if (!files->queue_timed || ms == 0)
		loop_set(files->queue_timer, ms);
	files->queue_timed = true;
}

static void give_up(struct crew *crew, int error)
{
	crew->n_waiting--;
	question_answer(queue_take(&crew->queue, &crew->queue.first), error, NULL, -1);
}

/* No worker has become free for long: those that wait in vain are told so. An answer may bring the next question, and with it
 * another crew, before the others; so each crew is looked at by itself. */
static void look_at_queues(struct files *files)
{
	uint64_t now = os_now_ns();
	struct crew *crew = files->crews;

	while (crew) {
		struct files_question *first = crew->queue.first;

		if (first && crew_cannot_start(crew)) {
			give_up(crew, crew->start_error);
			crew = files->crews;
		} else if (first && now - first->asked_ns >= UINT64_C(1000000) * LIMIT_FILES_QUEUE_MS) {
			give_up(crew, -ETIMEDOUT);
			crew = files->crews;
		} else {
			crew = crew->next;
		}
	}
}

static void queue_timer(void *arg)
{
	struct files *files = arg;

	files->queue_timed = false;
	while (files->failed.first) {
		struct files_question *question = queue_take(&files->failed, &files->failed.first);

		question_answer(question, question->error, NULL, -1);
	}
	look_at_queues(files);
	crews_pump(files);
}

/* --- life ------------------------------------------------------------------------------------------ */

int files_new(const struct files_setting *setting, struct files **ret)
{
	struct files *files = calloc(1, sizeof(*files));
	struct crew *crew = NULL;

	if (!files)
		return -ENOMEM;
	files->set = *setting;
	queue_init(&files->failed);
	files->queue_timer = loop_timer(setting->loop, queue_timer, files);
	files->idle_timer = loop_timer(setting->loop, pool_idle, files);
	if (files->queue_timer && files->idle_timer && !setting->forker)
		crew = crew_find_or_add(files, NULL);
	if (!files->queue_timer || !files->idle_timer || (!setting->forker && !crew)) {
		files_free(files);
		return -ENOMEM;
	}
	if (crew)
		crew_pump(crew); /* one is there when it is needed */
	*ret = files;
	return 0;
}

void files_set_times(struct files *files, unsigned timeout_ms, unsigned idle_ms)
{
	files->set.timeout_ms = timeout_ms;
	files->set.idle_ms = idle_ms;
	if (files->idle_timed)
		loop_set(files->idle_timer, idle_ms);
}

struct files *files_free(struct files *files)
{
	if (!files)
		return NULL;
	while (files->crews) {
		struct crew *crew = files->crews;

		while (crew->queue.first)
			question_free(queue_take(&crew->queue, &crew->queue.first));
		for (struct worker *worker = crew->workers; worker; worker = worker->next) {
			if (worker->question)
				question_free(worker->question);
			worker->question = NULL;
		}
		crew_free(crew);
	}
	while (files->failed.first)
		question_free(queue_take(&files->failed, &files->failed.first));
	loop_event_free(files->queue_timer);
	loop_event_free(files->idle_timer);
	free(files);
	return NULL;
}

void files_reap(struct files *files)
{
	pool_reap(files);
}
