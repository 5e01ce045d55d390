/* SPDX-License-Identifier: MIT */
/*
 * asking.h - questions to the files process that are asked for a user: charged to it from the asking until the answer, whether
 * anybody waits for that any more or not.
 */
#ifndef PATHBUS_DAEMON_ASKING_H
#define PATHBUS_DAEMON_ASKING_H

#include <sys/types.h>

#include "files.h"

struct asking;
struct user;

/* As files_ask and files_ask_memory. Whether the user may is asked before (CHARGE_REQUESTS). NULL: no memory. */
struct asking *asking_path(struct files *files, struct user *user, const char *path, struct identity *identity, const void *owner,
                           files_answer_fn *fn, void *arg);
struct asking *asking_memory(struct files *files, struct user *user, const char *label, struct identity *identity, int descriptor,
                             const void *owner, files_answer_fn *fn, void *arg);
/* The answer is not wanted any more. */
void asking_forget(struct asking *asking);
/* There will be no answers: the files process has been given up. */
void asking_end(void);

#endif
