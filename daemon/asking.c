/* SPDX-License-Identifier: MIT */
/* asking.c - who asks the files process, and what for that is charged. */
#include "asking.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "counts.h"
#include "os/os.h"
#include "queue.h"
#include "user.h"

struct asking {
	struct queue place;
	struct user *user;
	files_answer_fn *fn; /* NULL: forgotten */
	void *arg;
	size_t n_bytes;
	uint64_t since_ns;
};

static struct queue all = { &all, &all };

static void asking_free(struct asking *asking)
{
	queue_remove(&asking->place);
	user_release(asking->user, CHARGE_QUEUE_BYTES, asking->n_bytes);
	user_release(asking->user, CHARGE_REQUESTS, 1);
	user_unref(asking->user);
	free(asking);
}

static void answered(void *arg, int error, const struct files_reply *reply, int folder)
{
	struct asking *asking = arg;
	files_answer_fn *fn = asking->fn;
	void *its_arg = asking->arg;

	counts_took(LATENCY_FILES, asking->since_ns);
	/* Before: what is done with the answer may be to ask again. */
	asking_free(asking);
	if (fn)
		fn(its_arg, error, reply, folder);
	else if (folder >= 0)
		close(folder);
}

static struct asking *asking_new(struct user *user, const char *path, files_answer_fn *fn, void *arg)
{
	struct asking *asking = calloc(1, sizeof(*asking));

	if (!asking)
		return NULL;
	*asking = (struct asking){ .user = user_ref(user), .fn = fn, .arg = arg, .since_ns = os_now_ns() };
	asking->n_bytes = sizeof(*asking) + strnlen(path, PATH_MAX); /* what it is asked with is copied */
	user_charge_anyway(user, CHARGE_REQUESTS, 1);
	user_charge_anyway(user, CHARGE_QUEUE_BYTES, asking->n_bytes);
	queue_move(&all, &asking->place);
	return asking;
}

/* As it was asked. */
static struct asking *asked(struct asking *asking, const struct files_question *question)
{
	if (question || !asking)
		return asking;
	asking_free(asking);
	return NULL;
}

struct asking *asking_path(struct files *files, struct user *user, const char *path, struct identity *identity, const void *owner,
                           files_answer_fn *fn, void *arg)
{
	struct asking *asking = asking_new(user, path, fn, arg);

	return asked(asking, asking ? files_ask(files, path, identity, owner, answered, asking) : NULL);
}

struct asking *asking_memory(struct files *files, struct user *user, const char *label, struct identity *identity, int descriptor,
                             const void *owner, files_answer_fn *fn, void *arg)
{
	struct asking *asking = asking_new(user, label, fn, arg);

	return asked(asking, asking ? files_ask_memory(files, label, identity, descriptor, owner, answered, asking) : NULL);
}

void asking_forget(struct asking *asking)
{
	asking->fn = NULL;
	asking->arg = NULL;
}

void asking_end(void)
{
	struct queue *first;

	while ((first = queue_first(&all)))
		asking_free(queue_container(first, struct asking, place));
}
