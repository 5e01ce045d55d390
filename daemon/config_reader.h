/* SPDX-License-Identifier: MIT */
/*
 * config_reader.h - the process that reads the configuration anew, and main's side of it.
 *
 * Main may open no files in the daemon of all users, and is not to wait for a file system, or for whoever tells users' and groups'
 * names. So a process of the same program is started with it, which runs as the service user, without capabilities. It sleeps until
 * it is asked; then it forks a child, which reads the files, looks names up, and writes what they say into a pipe. Main takes that
 * for what a peer sends. A child that does not answer is given up, and killed when the next one is to be started.
 */
#ifndef PATHBUS_DAEMON_CONFIG_READER_H
#define PATHBUS_DAEMON_CONFIG_READER_H

#include <stdbool.h>
#include <sys/types.h>

#include "config.h"
#include "loop.h"
#include "options.h"
#include "privileges.h"
#include "sources.h"

/* Started as `pathbusd --reader FLAGS UID GID PATH [--no-sandbox]` with its socket as descriptor 3. FLAGS: 's' the daemon of all
 * users, 'm' PATH may be missing, 't' it must be root's or this user's. UID and GID: whom it becomes; "-": nobody else. */
#define CONFIG_READER_ARGUMENT "--reader"

struct config_reader_process {
	pid_t pid; /* 0: none */
	int socket;
};

/* What the setting says once it has answered. */
typedef void config_reader_fn(void *arg, int error, const char *text, const struct sources *files);

struct config_reader;

/* `user`: whom it becomes, in the daemon of all users; else NULL. Waits for nothing. Where no configuration is read none is started.
 * EXIT_STOPPED (0), or it is logged why not. */
int config_reader_start(const struct options *options, const struct service_user *user, struct config_reader_process *ret);
void config_reader_process_end(struct config_reader_process *process); /* waits for its end; for one that nobody has taken over */

/* Takes the process over if it succeeds. `fn` is told, from the loop: error 0 and what the files set; or -errno and a line of text,
 * which is escaped. -ENOMEM. */
int config_reader_new(struct loop *loop, const struct config_reader_process *process, config_reader_fn *fn, void *arg, struct config_reader **ret);
struct config_reader *config_reader_free(struct config_reader *reader); /* takes NULL */
/* Not while it is reading. 0: fn follows. -errno: nothing is under way. */
int config_reader_ask(struct config_reader *reader);
void config_reader_reap(struct config_reader *reader); /* on SIGCHLD; takes NULL */

/* config_reader_process.c. Returns an exit status. */
int config_reader_run(int argc, char **argv);
/* In it, and in tests: serves at this socket until the other end is closed. */
void config_reader_serve(int socket, const struct config_place *place);

/* What stands in the pipe: this, then `size` bytes: the sources (sources_write), or with an error the text. */
#define CONFIG_READER_MAGIC 0x52435350u
#define CONFIG_READER_MAX_SIZE (16u << 20)
struct config_reader_head {
	unsigned magic;
	int error;
	unsigned size;
};

#endif
