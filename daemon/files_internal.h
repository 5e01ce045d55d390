/* SPDX-License-Identifier: MIT */
/*
 * files_internal.h - what files.c (questions and their queues) and files_pool.c (workers) share.
 *
 * Workers are kept in crews: in the daemon of all users one for each identity that has asked, in a user's daemon one.
 */
#ifndef PATHBUS_DAEMON_FILES_INTERNAL_H
#define PATHBUS_DAEMON_FILES_INTERNAL_H

#include "files.h"
#include "forker.h"
#include "log.h"

struct files_question {
	struct files_question *next;
	files_answer_fn *fn; /* NULL: forgotten */
	void *arg;
	const void *owner;
	struct identity *identity; /* NULL: nobody's, in a user's daemon */
	uint64_t asked_ns;
	uint64_t number; /* that it was given to a worker as */
	uint32_t id;
	unsigned n_stale; /* answers that named a watch which had been ended */
	int error;      /* < 0: not to be asked: the answer */
	int descriptor; /* -1: a path is meant */
	bool at_home;
	bool repeated;
	char path[]; /* with its end */
};

struct question_queue {
	struct files_question *first, **last;
};

struct worker {
	struct worker *next;
	struct crew *crew;
	pid_t pid;  /* a user's daemon's child; 0: already waited for */
	int socket; /* -1: dropped, and its process not yet gone */
	bool ready, slow;
	unsigned n_extensions; /* of its question's time */
	uint64_t idle_ns;      /* since then it has no question */
	struct loop_event *readable, *timer;
	struct files_question *question;
	struct forked forked; /* in the daemon of all users */
};

struct crew {
	struct crew *next;
	struct files *files;
	struct identity *identity; /* one of those that it is for; NULL: in a user's daemon */
	struct worker *workers;    /* the dropped ones too */
	struct question_queue queue;
	unsigned n_waiting;
	unsigned n_unready; /* workers in a row that ended before they were ready */
	uint64_t rest_ns;   /* no worker is started before */
	int start_error;    /* of the last attempt to start one; 0: it worked */
};

struct files {
	struct files_setting set;
	struct crew *crews; /* whose turn is next comes first */
	struct question_queue failed; /* not asked: to be answered soon */
	uint64_t n_given; /* to workers */
	uint32_t last_id;
	struct loop_event *queue_timer, *idle_timer;
	bool queue_timed, idle_timed;
};

/* files.c */
void question_answer(struct files_question *question, int error, const struct files_reply *reply,
                     int folder);
struct files_question *queue_take(struct question_queue *queue, struct files_question **at);
/* The first one of the crew's whose owner has not enough of them under way. */
struct files_question *crew_next_question(struct crew *crew);
/* Before all others. */
void crew_ask_again(struct crew *crew, struct files_question *question);

/* files_pool.c */
struct crew *crew_find(struct files *files, const struct identity *identity);
struct crew *crew_find_or_add(struct files *files, struct identity *identity);
struct crew *crew_free(struct crew *crew); /* out of the list, with its workers; its questions are the caller's */
/* Hands out what can be handed out, and has workers started. Answers nothing itself, so it may be called from anywhere. */
void crew_pump(struct crew *crew);
void crews_pump(struct files *files);
/* There is no worker, and none could be started. */
bool crew_cannot_start(const struct crew *crew);
/* How many questions of the identity's user wait. */
unsigned user_waiting(const struct files *files, const struct identity *identity);
/* Have a look at the queues after so long. */
void queue_look_after(struct files *files, unsigned ms);
void pool_idle(void *arg);
void pool_reap(struct files *files);

#endif
