/* SPDX-License-Identifier: MIT */
/*
 * files.h - main's side of the files workers: ask where a path leads, be answered later.
 */
#ifndef PATHBUS_DAEMON_FILES_H
#define PATHBUS_DAEMON_FILES_H

#include <stdbool.h>
#include <sys/types.h>

#include "files_protocol.h"
#include "identity.h"
#include "loop.h"

struct files;
struct files_question;

/*
 * error: 0, or a negative errno, and then there is no reply; -ETIMEDOUT: the file system does not answer.
 * reply: valid during the call. folder: a descriptor that the callee owns from now on, or -1.
 */
typedef void files_answer_fn(void *arg, int error, const struct files_reply *reply, int folder);

struct forker;

struct files_setting {
	struct loop *loop;
	struct forker *forker; /* in the daemon of all users; NULL: a user's, whose workers are as it is */
	int watch; /* the inotify descriptor that workers add to */
	unsigned timeout_ms;
	unsigned idle_ms; /* a worker that was forked for a user and has had nothing to do for so long ends */
	bool sandboxed; /* the workers */
	/* An answer has come, and nothing of it has been looked at. */
	void (*answering)(void *arg);
	/* An answer names this watch, whether anybody wants the answer or not. Called before it is given; false: it is out of date, and
	 * the question is asked again. */
	bool (*watched)(void *arg, int watch);
	/* A worker may have added a watch that no answer names. */
	void (*lost_watch)(void *arg);
	void *arg;
};

/* As in the setting, from now on: for what is asked, and has nothing to do, from then. */
void files_set_times(struct files *files, unsigned timeout_ms, unsigned idle_ms);
int files_new(const struct files_setting *setting, struct files **ret);
struct files *files_free(struct files *files); /* answers nothing any more; ends the workers */

/*
 * Asks where a path leads for this identity, of which it takes a reference. `owner`: questions of one owner may not occupy all
 * workers; NULL: nobody's. The answer comes later, never from within. NULL: no memory. In the daemon of all users -ENOTCONN:
 * the identity's connection has ended; -EDQUOT: its user has too many questions waiting.
 */
struct files_question *files_ask(struct files *files, const char *path, struct identity *identity, const void *owner,
                                 files_answer_fn *fn, void *arg);
/* The same by what looks again at a path. `at_home`: in the daemon of all users, as that user, but in our own root: its process
 * may be gone, if somebody holds the identity. */
struct files_question *files_look(struct files *files, const char *path, struct identity *identity, bool at_home,
                                  files_answer_fn *fn, void *arg);
/* The same about shared memory that a process has at a number: os_shared_of_process. The answer's `folder` is a descriptor of
 * it, and of the reply there is nothing. */
struct files_question *files_ask_memory(struct files *files, const char *label, struct identity *identity, int descriptor,
                                        const void *owner, files_answer_fn *fn, void *arg);
/* The answer is not wanted any more. */
void files_forget(struct files_question *question);

/* Questions are numbered as they are given to workers: the last one's number, and the first's of those without an answer, which may
 * name any watch that was there since; 0: there is none. */
void files_asked(const struct files *files, uint64_t *ret_last, uint64_t *ret_open);

/* A child has ended: to be called on SIGCHLD. */
void files_reap(struct files *files);

#endif
