/* SPDX-License-Identifier: MIT */
/* topic_log.c - see topic_log.h. */
#include "topic_log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bucket.h"
#include "count.h"
#include "escape.h"
#include "keeping.h"
#include "limit.h"
#include "log.h"
#include "os/os.h"
#include "states.h"
#include "topic_lane.h"
#include "user.h"
#include "wire.h"

#define PATH_SHOWN 512u
#define TEXT_SIZE 256u

struct topic_log {
	struct state state;         /* that was told last */
	uint64_t n_posts, n_messages; /* of those who have left */
};

/* Of all topics together: who can open many writes no more. */
static struct bucket all_lines = { .rate = LIMIT_TOPIC_LOG_RATE_OF_ALL, .burst = LIMIT_TOPIC_LOG_BURST_OF_ALL };
static uint64_t n_left_out;

void topic_log_set(struct topic *topic, bool is_on)
{
	if (!is_on)
		topic->log = topic_log_free(topic->log);
	if (!is_on || topic->log)
		return;
	topic->log = calloc(1, sizeof(*topic->log));
}

struct topic_log *topic_log_free(struct topic_log *log)
{
	free(log);
	return NULL;
}

static bool may_tell(struct user *user)
{
	uint64_t now = os_now_ns(), again_ns;

	if (user_may_be_logged(user, now) && bucket_take(&all_lines, 1, now, &again_ns) == 1)
		return true;
	n_left_out++;
	return false;
}

static void tell(const struct topic_name *name, struct user *user, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void tell(const struct topic_name *name, struct user *user, const char *format, ...)
{
	char path[PATH_SHOWN], text[TEXT_SIZE];
	va_list arguments;

	if (!may_tell(user))
		return;
	if (n_left_out > 0)
		log_event(REASON_TOPIC, "topics: %" PRIu64 " lines were left out", n_left_out);
	n_left_out = 0;
	path[0] = '\0';
	if (name->path)
		escape(name->path, strlen(name->path), path, sizeof(path));
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	log_event(REASON_TOPIC, "topic '%s': %s", path, text);
}

/* --- who ----------------------------------------------------------------------------------------------- */

static const char *rights_of(const struct member *member)
{
	static const char *const names[] = { "no rights", "to subscribe", "to post", "to subscribe and post" };

	return names[member->rights & (WIRE_RIGHT_SUBSCRIBE | WIRE_RIGHT_POST)];
}

void topic_log_joined(const struct member *member)
{
	struct topic *topic = member->name->topic;

	if (!topic->log)
		return;
	tell(member->name, member->lane->user, "%s by process %d of user %u %s%s", topic->n_members == 1 ? "opened" : "joined", (int)member->pid,
	     (unsigned)user_uid(member->lane->user), rights_of(member), member->group == TOPIC_NO_GROUP ? ", without shared memory" : "");
	topic_log_look(topic, member->lane->user);
}

/* As its slot says, which it writes itself. */
static void count(const struct member *member, uint64_t *ret_posts, uint64_t *ret_messages)
{
	struct page *page = member->slot < PAGE_SLOTS ? topic_lane_borrow(member->lane) : NULL;
	const struct page_slot *slot = page ? &page->slots[member->slot] : NULL;
	uint64_t elsewhere = slot ? atomic_load(&slot->posts_elsewhere) : 0, posts = slot ? atomic_load(&slot->posts) : 0;

	*ret_posts = ((posts ^ elsewhere) & COUNT_TAG ? 0 : posts & COUNT_POSTS) + (elsewhere & COUNT_POSTS);
	*ret_messages = slot ? atomic_load(&slot->messages) : 0;
	topic_lane_return(member->lane, page);
}

void topic_log_leaves(const struct member *member, enum leave how)
{
	static const char *const ways[] = { [LEAVE_CLOSED] = "closed by", [LEAVE_DIED] = "left by the end of",
	                                    [LEAVE_LOST] = "lost, as the connection ended, by" };
	struct topic *topic = member->name->topic;
	uint64_t n_posts, n_messages;

	if (!topic->log)
		return;
	topic_log_look(topic, member->lane->user);
	count(member, &n_posts, &n_messages);
	topic->log->n_posts += n_posts;
	topic->log->n_messages += n_messages;
	tell(member->name, member->lane->user, "%s process %d of user %u (posts: %" PRIu64 ", messages: %" PRIu64 ")", ways[how],
	     (int)member->pid, (unsigned)user_uid(member->lane->user), n_posts, n_messages);
}

/* --- what ---------------------------------------------------------------------------------------------- */

void topic_log_state(struct topic *topic, struct user *user, const struct state *state)
{
	struct topic_log *log = topic->log;

	if (!log || state->version == 0 || (state->version == log->state.version && state->value == log->state.value))
		return;
	log->state = *state;
	tell(topic->names, user, "its state is %" PRIu64 ", version %" PRIu64, state->value, state->version);
}

void topic_log_look(struct topic *topic, struct user *user)
{
	struct state state;

	if (topic->log && states_look(topic, &state))
		topic_log_state(topic, user, &state);
}

void topic_log_ends(struct topic *topic, struct user *user, bool is_kept)
{
	if (!topic->log)
		return;
	tell(topic->names, user, "nobody has it open (posts: %" PRIu64 ", messages: %" PRIu64 ")%s", topic->log->n_posts,
	     topic->log->n_messages, is_kept ? "; its state is kept" : "");
	topic->log->n_posts = topic->log->n_messages = 0;
}

void topic_log_forgotten(struct topic *topic, struct user *user)
{
	if (topic->log)
		tell(topic->names, user, "its state is not kept any more");
}
