/* SPDX-License-Identifier: MIT */
/*
 * looks.h - looking again, through the files workers, whether processes of a user meet beside a file.
 */
#ifndef PATHBUS_DAEMON_LOOKS_H
#define PATHBUS_DAEMON_LOOKS_H

#include <stdbool.h>

#include "files.h"
#include "folders.h"
#include "log.h"
#include "meeting.h"
#include "topic.h"

struct looks; /* of one user: others do not wait for its folders */

struct looks_setting {
	struct loop *loop;
	struct files *files;
	struct folders *folders;
	/* A look that began at `since` names watches. Returns whether something may have appeared after it. */
	bool (*watched)(void *arg, struct meeting *meeting, const struct files_reply *reply, uint64_t since);
	/*
	 * A look has ended. folder: >= 0, it may hold a sidecar (stays the caller's; valid during the call).
	 * error: why it could not be looked at; then there is no reply. held: look_holds was set, and is no more.
	 */
	void (*looked)(void *arg, struct meeting *meeting, int error, const struct files_reply *reply, int folder, bool held);
	/* Is it of any use to repeat failed looks now? */
	bool (*may_look)(void *arg);
	void *arg;
};

struct looks *looks_new(const struct looks_setting *setting); /* NULL: no memory */
struct looks *looks_free(struct looks *looks); /* all have been cancelled */

/* Now, or once more if a look is under way. looks_enqueue waits for looks_pump. */
void looks_soon(struct looks *looks, struct meeting *meeting);
void looks_enqueue(struct looks *looks, struct meeting *meeting);
void looks_pump(struct looks *looks);
/* After a pause: something was wanting. */
void looks_later(struct looks *looks, struct meeting *meeting);
bool looks_may_pass(int error); /* is it an error of that kind? */
/* Not at all any more: it is about to be freed. */
void looks_cancel(struct looks *looks, struct meeting *meeting);

/* See linker_watch. */
int looks_watch(struct looks *looks, struct topic_name *name, int watch, uint64_t since);

/* One line in the log: what failed, why, and the name's path. */
void looks_log(enum log_reason reason, const struct topic_name *name, const char *what, int error);

#endif
