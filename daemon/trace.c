/* SPDX-License-Identifier: MIT */
/* trace.c - see trace.h. */
#include "trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crossing_internal.h"
#include "happening.h"
#include "limit.h"
#include "log.h"
#include "os/os.h"
#include "share.h"
#include "side.h"
#include "topic.h"
#include "topic_counts.h"
#include "user.h"
#include "wire.h"

#define COMMAND_NS UINT64_C(1000000000) /* a process's name is looked up so often at most */

struct trace {
	struct topic_lane *lane;
	struct side side; /* puts nothing */
	unsigned group;
	struct loop_event *rung, *later;
	struct share_place turn;
	bool rests; /* until `later` */
	uint64_t own_units; /* that the daemon had put there by itself, at the last look */
	uint64_t n_posts;   /* seen, and not told yet */
	uint64_t posts[PAGE_SLOTS]; /* members' counts, as they were told last */
	pid_t named;        /* whose name this is, as of then */
	uint64_t named_ns;
	char command[64];
};

static struct {
	const struct context *context;
	struct loop_event *walker;
	uint64_t walked; /* the number of the last topic looked at */
	unsigned n;      /* lanes */
} tracing;

/* --- telling ------------------------------------------------------------------------------------------- */

/* Of one who sends all the time it is not asked for each time. */
static const char *command_of(struct trace *trace, pid_t pid)
{
	uint64_t now = os_now_ns();
	uid_t uid;

	if (pid <= 0)
		return NULL;
	if (trace->named != pid || now - trace->named_ns > COMMAND_NS) {
		if (os_process_name(pid, &uid, trace->command, sizeof(trace->command)) < 0 || uid != user_uid(trace->lane->user))
			trace->command[0] = '\0';
		trace->command[sizeof(trace->command) - 1] = '\0';
		trace->named = pid;
		trace->named_ns = now;
	}
	return trace->command;
}

static void tell(struct trace *trace, enum happening_kind kind, const char *path, pid_t pid, uint64_t n)
{
	const struct topic *topic = trace->lane->topic;

	happening_note(kind, .topic = topic->number, .path = path ? path : topic_path(topic), .pid = pid,
	               .uid = user_uid(trace->lane->user), .has_uid = true, .command = command_of(trace, pid), .n = n);
}

static uint64_t own_units(const struct topic_lane *lane)
{
	return lane->own.units + (lane->crossing ? lane->crossing->side.own : 0);
}

static uint64_t *count_of(struct trace *trace, const struct member *member)
{
	return member->lane == trace->lane && member->slot < PAGE_SLOTS ? &trace->posts[member->slot] : NULL;
}

/* What is there by now is not told. */
static void begin_counts(struct trace *trace)
{
	trace->own_units = own_units(trace->lane);
	for (const struct member *member = trace->lane->topic->members; member; member = member->next)
		if (count_of(trace, member))
			*count_of(trace, member) = member_counts_of(member, trace->side.lane.page).posts;
}

/*
 * Each who has posted, and those of which nobody says so (other threads of a member, members without a slot, links). A member counts
 * a post before it makes it: what is not seen in the lane yet is told next time. `is_all`: what was seen there is not all.
 */
static void tell_posts(struct trace *trace, bool is_all)
{
	uint64_t own = own_units(trace->lane), known = (own - trace->own_units) / GENERATION_POST;

	trace->own_units = own;
	for (const struct member *member = trace->lane->topic->members; member; member = member->next) {
		uint64_t *told = count_of(trace, member), posts, more, left = trace->n_posts > known ? trace->n_posts - known : 0;

		if (!told)
			continue;
		posts = member_counts_of(member, trace->side.lane.page).posts;
		if (posts < *told)
			*told = 0; /* it counts anew */
		more = posts - *told;
		if (!is_all && more > left)
			more = left;
		*told += more;
		known += more;
		if (more > 0)
			tell(trace, HAPPENING_POST, member->name->path, member->pid, more);
	}
	if (trace->n_posts > known)
		tell(trace, HAPPENING_POST, NULL, 0, trace->n_posts - known);
	trace->n_posts = 0;
}

/* Carried there by main: it is told where it comes from. (Who writes such a thing into its own lane hides nothing but itself.) */
static bool is_carried(const struct trace *trace, const struct ring_message *message)
{
	return message->uid != (uint32_t)user_uid(trace->lane->user);
}

static void tell_message(struct trace *trace)
{
	const struct ring_message *message = &trace->side.reader.message;
	const struct member *member = trace->lane->topic->members;

	if (is_carried(trace, message))
		return;
	while (member && (member->lane != trace->lane || (uint32_t)member->pid != message->pid))
		member = member->next;
	tell(trace, HAPPENING_MESSAGE, member ? member->name->path : NULL, member ? member->pid : 0, message->data_size);
}

/* --- looking ------------------------------------------------------------------------------------------- */

static void rest(struct trace *trace, unsigned ms)
{
	trace->rests = true;
	loop_disable(trace->rung);
	loop_set(trace->later, ms);
}

/* What is new, up to so many things. True: there was something. */
static bool look(struct trace *trace, unsigned budget)
{
	bool is_new = false, is_resync = false;

	side_look(&trace->side);
	for (; budget > 0; budget--) {
		uint64_t n = 0;
		enum side_news news = side_next(&trace->side, &n);

		if (news == SIDE_NOTHING || news == SIDE_STALLED)
			break;
		is_new = true;
		is_resync |= news == SIDE_RESYNC;
		if (news == SIDE_POSTS)
			trace->n_posts += n;
		else if (news == SIDE_GAP)
			tell(trace, HAPPENING_GAP, NULL, 0, n);
		else if (news == SIDE_MESSAGE)
			tell_message(trace);
	}
	if (is_new)
		tell_posts(trace, is_resync);
	return is_new;
}

/* It sleeps only once nothing has come for a pause: until then nobody rings for it. */
static void take_turn(void *arg)
{
	struct trace *trace = arg;

	if (look(trace, LIMIT_TRACED_IN_A_ROW) || !lane_arm(&trace->side.lane, trace->side.generation))
		rest(trace, LIMIT_TRACE_REST_MS);
	else if (trace->side.stalled_ns != 0)
		rest(trace, (unsigned)(RING_LEASE_NS / 1000000));
}

static void heard(void *arg)
{
	struct trace *trace = arg;

	(void)share_run(user_share(trace->lane->user), &trace->turn);
}

static void go_on(void *arg)
{
	struct trace *trace = arg;

	loop_enable(trace->rung);
	trace->rests = false;
	heard(trace);
}

/* --- lanes --------------------------------------------------------------------------------------------- */

static void end(struct trace *trace)
{
	share_leave(&trace->turn);
	loop_event_free(trace->later);
	if (trace->rung) {
		loop_event_free(trace->rung); /* before its bell is closed */
		topic_lane_unlisten(trace->lane, trace->group);
	}
	side_close(&trace->side);
	trace->lane->trace = NULL;
	tracing.n--;
	free(trace);
}

static int begin_side(struct trace *trace)
{
	struct topic_lane *lane = trace->lane;
	size_t size = lane_size(&lane->shape);
	void *map = os_map(lane->page_fd, size, true, NULL);
	int r;

	if (!map)
		return -errno;
	trace->side.lane = topic_lane_view(lane, NULL);
	trace->side.file = -1;
	trace->side.slot = WIRE_NO_SLOT;
	r = side_open(&trace->side, map, size, &lane->shape);
	trace->side.ring.most_steps = LIMIT_RING_STEPS;
	return r;
}

static int listen_to(struct trace *trace)
{
	struct loop *loop = tracing.context->loop;
	int bell = topic_lane_listen(trace->lane, &trace->group);

	if (bell < 0)
		return bell;
	trace->rung = loop_on_edge(loop, bell, heard, trace);
	if (!trace->rung)
		topic_lane_unlisten(trace->lane, trace->group);
	trace->later = loop_timer(loop, go_on, trace);
	return trace->rung && trace->later ? 0 : -ENOMEM;
}

static void begin(struct topic_lane *lane)
{
	struct trace *trace = tracing.n < LIMIT_TRACED_LANES ? calloc(1, sizeof(*trace)) : NULL;
	int r;

	if (!trace)
		return;
	trace->lane = lane;
	trace->turn = (struct share_place){ .fn = take_turn, .arg = trace };
	lane->trace = trace;
	tracing.n++;
	r = begin_side(trace);
	if (r == 0)
		r = listen_to(trace);
	if (r < 0) {
		log_event(REASON_CONTROL, "what is posted to a file cannot be told to who watches it: %s", strerror(-r));
		end(trace);
		return;
	}
	begin_counts(trace);
	side_take_baseline(&trace->side);
	take_turn(trace);
}

/* By any of its names. */
static bool is_wanted(const struct topic_lane *lane)
{
	if (!(lane->rights & WIRE_RIGHT_POST))
		return false;
	for (const struct topic_name *name = lane->topic->names; name; name = name->next)
		if (watchers_want(HAPPENING_POST, name->path) || watchers_want(HAPPENING_MESSAGE, name->path) ||
		    watchers_want(HAPPENING_GAP, name->path))
			return true;
	return false;
}

static void look_who(struct topic *topic)
{
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next) {
		if (!lane->trace && is_wanted(lane))
			begin(lane);
		else if (lane->trace && !is_wanted(lane))
			end(lane->trace);
	}
}

static bool is_watched(void)
{
	return happening_is_watched(HAPPENING_POST) || happening_is_watched(HAPPENING_MESSAGE) ||
	       happening_is_watched(HAPPENING_GAP);
}

void trace_joined(const struct member *member)
{
	struct trace *trace = member->lane->trace;

	if (trace && member->slot < PAGE_SLOTS)
		trace->posts[member->slot] = 0; /* another's before */
	else if (!trace && is_watched() && tracing.context)
		look_who(member->lane->topic);
}

void trace_left(const struct member *member)
{
	struct trace *trace = member->lane->trace;

	if (!trace)
		return;
	(void)look(trace, LIMIT_TRACED_IN_A_ROW);
	if (member->slot < PAGE_SLOTS)
		trace->posts[member->slot] = 0;
}

void trace_forget(struct topic_lane *lane)
{
	if (lane->trace)
		end(lane->trace);
}

/* --- who watches --------------------------------------------------------------------------------------- */

/* Some topics at a time: there may be many. */
static void walk(void *arg)
{
	(void)arg;
	for (unsigned n = 0; n < LIMIT_TRACE_TOPICS_IN_A_ROW; n++) {
		struct topic *topic = topics_after(tracing.context->topics, tracing.walked);

		if (!topic)
			return;
		tracing.walked = topic->number;
		look_who(topic);
	}
	loop_call_soon(tracing.walker);
}

static void changed(void *arg)
{
	tracing.walked = 0;
	walk(arg);
}

int trace_start(const struct context *context)
{
	tracing.context = context;
	tracing.walker = loop_timer(context->loop, walk, NULL);
	if (!tracing.walker)
		return -ENOMEM;
	watchers_set_changed(changed, NULL);
	return 0;
}

void trace_stop(void)
{
	watchers_set_changed(NULL, NULL);
	tracing.walker = loop_event_free(tracing.walker);
	tracing.context = NULL;
}
