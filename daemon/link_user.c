/* SPDX-License-Identifier: MIT */
/* link_user.c - users whose sidecars are linked, or looked for. */
#include "link_user.h"

#include <stdlib.h>
#include <string.h>

#include "limit.h"
#include "log.h"
#include "os/os.h"
#include "user.h"

struct link_users {
	struct link_users_setting set;
	struct link_user *first;
	struct loop_event *timer;
	bool timed;
};

/* --- for the agent and the looks ----------------------------------------------------------------------- */

static void on_message(void *arg, const struct link_message *message)
{
	struct link_user *of = arg;

	of->users->set.message(of->users->set.arg, of, message);
}

static void on_lost(void *arg)
{
	struct link_user *of = arg;

	of->users->set.lost(of->users->set.arg, of);
}

static bool on_may_look(void *arg)
{
	struct link_user *of = arg;

	return !agent_is_given_up(of->agent);
}

static bool on_watched(void *arg, struct meeting *meeting, const struct files_reply *reply, uint64_t since)
{
	struct link_user *of = arg;

	return of->users->set.watched(of->users->set.arg, meeting, reply, since);
}

static void on_looked(void *arg, struct meeting *meeting, int error, const struct files_reply *reply, int folder, bool held)
{
	struct link_user *of = arg;

	of->users->set.looked(of->users->set.arg, meeting, error, reply, folder, held);
}

/* --- the runtime folder ---------------------------------------------------------------------------------- */

static void on_runtime(void *arg, const char *entry, bool gone)
{
	struct link_user *of = arg;

	if (gone)
		of->runtime_watch = 0; /* the next looks find or make another */
	of->users->set.runtime(of->users->set.arg, of, gone ? NULL : entry);
}

bool link_user_watch(struct link_user *of, int watch, uint64_t since)
{
	struct folders *folders = of->users->set.folders;
	int old = of->runtime_watch, r = watch;

	if (watch > 0)
		r = folders_hear(folders, watch, since, on_runtime, of);
	if (r < 0) {
		log_event(REASON_FOLDER_UNWATCHED,
		          "the runtime folder of user %u cannot be watched (%s): its processes that meet there are not heard of",
		          (unsigned)user_uid(of->user), strerror(-r));
		return false;
	}
	if (watch <= 0 || watch == old)
		return r > 0;
	of->runtime_watch = watch;
	if (old > 0) {
		/* Another folder: anything may be in it. */
		folders_do_not_hear(folders, old, on_runtime, of);
		of->users->set.runtime(of->users->set.arg, of, NULL);
	}
	return r > 0;
}

static void stop_hearing(struct link_user *of)
{
	if (of->runtime_watch > 0)
		folders_do_not_hear(of->users->set.folders, of->runtime_watch, on_runtime, of);
	of->runtime_watch = 0;
}

/* --- life -------------------------------------------------------------------------------------------- */

static struct link_user *link_user_free(struct link_user *of)
{
	agent_free(of->agent);
	looks_free(of->looks);
	stop_hearing(of);
	user_unref(of->user);
	free(of);
	return NULL;
}

static struct link_user *link_user_new(struct link_users *users, struct user *user)
{
	const struct link_users_setting *set = &users->set;
	struct link_user *of = calloc(1, sizeof(*of));

	if (!of)
		return NULL;
	*of = (struct link_user){ .users = users, .user = user_ref(user), .idle_ns = os_now_ns() };
	of->agent = agent_new(&(struct agent_setting){ .loop = set->loop, .forker = set->forker, .death_fd = set->death_fd,
	                                               .sandboxed = set->sandboxed, .message = on_message, .lost = on_lost, .arg = of });
	of->looks = looks_new(&(struct looks_setting){ .loop = set->loop, .files = set->files, .folders = set->folders,
	                                               .watched = on_watched, .looked = on_looked, .may_look = on_may_look,
	                                               .arg = of });
	return of->agent && of->looks ? of : link_user_free(of);
}

struct link_user *link_users_get(struct link_users *users, struct user *user)
{
	struct link_user *of = users->first;

	while (of && of->user != user)
		of = of->next;
	if (of)
		return of;
	of = link_user_new(users, user);
	if (of) {
		of->next = users->first;
		users->first = of;
	}
	return of;
}

void link_users_set_idle(struct link_users *users, unsigned idle_ms)
{
	users->set.idle_ms = idle_ms;
	if (users->timed)
		loop_set(users->timer, idle_ms);
}

static void look_later(struct link_users *users)
{
	if (!users->timed)
		loop_set(users->timer, users->set.idle_ms);
	users->timed = true;
}

void link_users_idle(struct link_users *users, struct link_user *of)
{
	if (!users->set.forker || of->links)
		return;
	of->idle_ns = os_now_ns();
	if (of->n_meetings == 0)
		stop_hearing(of);
	look_later(users);
}

static void timer(void *arg)
{
	struct link_users *users = arg;
	uint64_t now = os_now_ns();

	users->timed = false;
	for (struct link_user **at = &users->first, *of; (of = *at);) {
		bool is_idle = !of->links && now - of->idle_ns >= users->set.idle_ms * UINT64_C(1000000);

		if (is_idle && agent_runs(of->agent))
			agent_end(of->agent);
		if (is_idle && of->n_meetings == 0 && !agent_is_given_up(of->agent)) {
			*at = of->next;
			link_user_free(of);
			continue;
		}
		if (!of->links && (agent_runs(of->agent) || of->n_meetings == 0))
			look_later(users);
		at = &of->next;
	}
}

void link_users_pump(struct link_users *users)
{
	for (struct link_user *of = users->first; of; of = of->next)
		looks_pump(of->looks);
}

void link_users_reap(struct link_users *users)
{
	for (struct link_user *of = users->first; of; of = of->next)
		agent_reap(of->agent);
}

struct link_users *link_users_new(const struct link_users_setting *setting)
{
	struct link_users *users = calloc(1, sizeof(*users));

	if (!users)
		return NULL;
	users->set = *setting;
	users->timer = loop_timer(setting->loop, timer, users);
	if (!users->timer) {
		free(users);
		return NULL;
	}
	return users;
}

struct link_users *link_users_free(struct link_users *users)
{
	if (!users)
		return NULL;
	while (users->first) {
		struct link_user *of = users->first;

		users->first = of->next;
		link_user_free(of);
	}
	loop_event_free(users->timer);
	free(users);
	return NULL;
}
