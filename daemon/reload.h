/* SPDX-License-Identifier: MIT */
/*
 * reload.h - reads the configuration anew while the daemon runs, on SIGHUP or when the control socket asks for it.
 *
 * It is taken over whole or not at all: whatever is wrong in it, or fails on the way, leaves everything as it was. What can change
 * while the daemon runs does; what needs a restart is named. Main reads no files for it and looks no names up, so the answer comes
 * later.
 */
#ifndef PATHBUS_DAEMON_RELOAD_H
#define PATHBUS_DAEMON_RELOAD_H

#include <stddef.h>

#include "context.h"
#include "options.h"
#include "config_reader.h"

struct reload;
struct reload_request;

struct reload_answer {
	int error;        /* 0: what was read is in force; -errno: what was before is, whole */
	const char *text; /* one line for people: what has changed and what needs a restart; or FILE:LINE: what is wrong. Escaped */
	/* Names of keys, and "[rights]" for a section that is taken as one; each ends with NULL. None where there was an error. */
	const char *const *changed;        /* now */
	const char *const *restart_needed; /* all that are other in the files than in force, not only since this time */
};

/* `answer` and all in it is there for this call only. */
typedef void reload_fn(void *arg, const struct reload_answer *answer);

/*
 * `options`: the context's, which it changes. `process`: what reads the files (config_reader.h); pid 0: none are read. It is taken over if
 * that succeeds. -ENOMEM.
 */
int reload_new(struct context *context, struct options *options, const struct config_reader_process *process, struct reload **ret);
struct reload *reload_free(struct reload *reload); /* whoever waits is not answered; takes NULL */
void reload_reap(struct reload *reload);           /* on SIGCHLD; takes NULL */

/*
 * `fn` is called once, from the loop and not before this has returned; it may be NULL: the log says it all. Those who ask while it is
 * being read are answered after it has been read once more. NULL: no memory.
 */
struct reload_request *reload_ask(struct reload *reload, reload_fn *fn, void *arg);
/* It is not to be answered any more. */
void reload_forget(struct reload_request *request);

/*
 * Takes over what was read, whole or not at all; the part of it that needs no process. `answer->text` is in `text` (RELOAD_TEXT_SIZE)
 * then, and its lists in `names`.
 */
#define RELOAD_TEXT_SIZE 2048u
struct reload_names {
	const char *changed[KEY_MAX + 3], *restart_needed[KEY_MAX + 1];
};
void reload_take(struct context *context, struct options *options, const struct sources *files, struct reload_answer *answer,
                 struct reload_names *names, char *text);

#endif
