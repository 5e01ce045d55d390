/* SPDX-License-Identifier: MIT */
/*
 * crossing.c - carries between the lanes of a topic.
 *
 * A lane's bell is listened to only if there is something to take out of it. What is new there is put into the others at
 * once, some at a time; what follows waits for the loop's next round.
 */
#include "crossing_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "carrier.h"
#include "context.h"
#include "counts.h"
#include "limit.h"
#include "os/os.h"
#include "user.h"
#include "wire.h"

/* --- who says it --------------------------------------------------------------------------------------------- */

static struct speaker *find_speaker(const struct crossing *crossing, const struct user *user)
{
	struct speaker *speaker = crossing->speakers;

	while (speaker && speaker->user != user)
		speaker = speaker->next;
	return speaker;
}

static struct speaker *get_speaker(struct crossing *crossing, struct user *user)
{
	struct speaker *speaker = find_speaker(crossing, user);

	if (speaker)
		return speaker;
	speaker = calloc(1, sizeof(*speaker));
	if (speaker) {
		*speaker = (struct speaker){ .next = crossing->speakers, .user = user_ref(user) };
		speaker->said.max = LIMIT_KNOWN_ORIGINS;
		crossing->speakers = speaker;
	}
	return speaker;
}

static bool is_member(const struct topic_lane *lane, uint32_t pid)
{
	for (const struct member *member = lane->topic->members; member; member = member->next)
		if (member->lane == lane && (uint32_t)member->pid == pid)
			return true;
	return false;
}

/* Is this another user's handle? By what it has said, or by the tables of its lanes. */
static bool is_anothers(const struct crossing_lane *from, uint64_t origin)
{
	for (const struct speaker *other = from->crossing->speakers; other; other = other->next)
		if (other != from->speaker && known_has_origin(&other->said, origin))
			return true;
	for (const struct topic_lane *lane = from->crossing->topic->lanes; lane; lane = lane->next)
		for (unsigned i = 0; lane->crossing && lane->user != from->lane->user && i < PAGE_SLOTS; i++)
			if (atomic_load_explicit(&lane->crossing->side.lane.page->slots[i].origin, memory_order_relaxed) == origin)
				return true;
	return false;
}

/* Who sent it is what we know, whatever the message says. Its origin is its handle's, unless another user speaks as that:
 * else that one's messages would be taken for told. */
static void attest(const struct crossing_lane *from, struct ring_message *message)
{
	message->uid = (uint32_t)user_uid(from->lane->user);
	if (!is_member(from->lane, message->pid))
		message->pid = 0;
	if (message->origin != 0 && !known_has_origin(&from->speaker->said, message->origin) &&
	    is_anothers(from, message->origin))
		message->origin = 0;
}

/* --- carrying ------------------------------------------------------------------------------------------------- */

/* The lanes to put into, one after the other. */
static struct crossing_lane *next_sink(const struct crossing_lane *from, struct topic_lane **at)
{
	struct topic_lane *lane = *at;

	while (lane && (!lane->crossing || lane == from->lane || !is_put_into(lane)))
		lane = lane->next;
	*at = lane ? lane->next : NULL;
	if (lane)
		lane->crossing->was_put = true;
	return lane ? lane->crossing : NULL;
}

static void put_posts(const struct crossing_lane *from, uint64_t n)
{
	struct topic_lane *at = from->crossing->topic->lanes;

	for (struct crossing_lane *to; (to = next_sink(from, &at));)
		side_post(&to->side, n < LIMIT_MERGED_POSTS ? n : LIMIT_MERGED_POSTS);
}

static void put_resync(const struct crossing_lane *from)
{
	struct topic_lane *at = from->crossing->topic->lanes;

	for (struct crossing_lane *to; (to = next_sink(from, &at));)
		side_resync(&to->side);
}

/* Tickets that nobody can read are messages to who counts them. */
static void put_missed(struct crossing_lane *to, uint64_t n)
{
	uint64_t before = to->side.own;

	side_put_gap(&to->side, n);
	to->lane->own.messages += (to->side.own - before) % GENERATION_POST;
}

static void put_gap(const struct crossing_lane *from, uint64_t n)
{
	struct topic_lane *at = from->crossing->topic->lanes;

	for (struct crossing_lane *to; (to = next_sink(from, &at));)
		put_missed(to, n);
}

static void put_message(struct crossing_lane *from)
{
	struct ring_message *message = &from->side.reader.message;
	struct topic_lane *at = from->crossing->topic->lanes;

	attest(from, message);
	(void)known_add(&from->speaker->said, message->origin, message->number);
	for (struct crossing_lane *to; (to = next_sink(from, &at));) {
		int r = side_put_message(&to->side, message);

		to->lane->own.messages += r == 0;
		to->lane->own.bytes += r == 0 ? message->data_size : 0;
		if (r == -EMSGSIZE)
			put_missed(to, 1);
		else if (r < 0)
			side_resync(&to->side);
	}
}

static void put(struct crossing_lane *from, enum side_news news, uint64_t n)
{
	counts.carried += news == SIDE_MESSAGE ? 1 : news == SIDE_POSTS ? (n < LIMIT_MERGED_POSTS ? n : LIMIT_MERGED_POSTS) : 0;
	if (news == SIDE_GAP)
		atomic_fetch_add_explicit(&page_tally(from->side.lane.page, 0)->gaps, n, memory_order_relaxed);
	switch (news) {
	case SIDE_POSTS:
		put_posts(from, n);
		break;
	case SIDE_RESYNC:
		put_resync(from);
		break;
	case SIDE_GAP:
		put_gap(from, n);
		break;
	case SIDE_MESSAGE:
		put_message(from);
		break;
	case SIDE_NOTHING:
	case SIDE_AGAIN:
	case SIDE_STALLED:
		break;
	}
}

/* --- what is new ----------------------------------------------------------------------------------------------- */

/* The state after the generation: what was set before a post is there before it is told. */
static void look(struct crossing_lane *from)
{
	side_look(&from->side);
	crossing_take_state(from);
}

static void look_at(struct crossing_lane *from, uint64_t at_ns)
{
	uint64_t now = os_now_ns();

	loop_set(from->later, at_ns > now ? (unsigned)((at_ns - now) / 1000000u) + 1 : 1);
}

/* Its user pays: for each thing that is carried, for as many messages as it says are missed, and for a bell that rings for
 * nothing. What is over stays where it is, and becomes merged posts and messages that are missed. */
static bool may_carry(struct crossing_lane *from, unsigned n, uint64_t now)
{
	uint64_t again_ns = 0;

	if (user_carry(from->lane->user, n, now, &again_ns) == n)
		return true;
	from->rests = true;
	loop_disable(from->rung);
	look_at(from, again_ns);
	return false;
}

/* What its writer knew of was posted, and published, before this message, and so it was taken before. In a lane that is never
 * empty that is how it is seen to get on (syncing.c). */
static void note_carried(struct crossing_lane *from, uint64_t before)
{
	if (lane_is_later(before, from->carried) && !lane_is_later(before, from->side.generation))
		from->carried = before;
}

static bool is_news(enum side_news news)
{
	return news != SIDE_NOTHING && news != SIDE_STALLED;
}

/* What is new, some at a time. True: there is no more, and it sleeps. */
static bool carry(struct crossing_lane *from, unsigned budget)
{
	uint64_t now = os_now_ns(), n = 0, before;
	bool is_for_nothing = !from->was_put && !from->is_new;
	enum side_news news;

	if (from->rests)
		return false;
	if (from->heard_ns == 0)
		from->heard_ns = now;
	from->was_put = from->is_new = false;
	look(from);
	for (; budget > 0; budget--) {
		news = side_next(&from->side, &n);
		if (news == SIDE_NOTHING)
			from->carried = from->side.generation;
		if (is_news(news)) {
			is_for_nothing = false;
			before = from->side.reader.message.before; /* another where it is put */
			put(from, news, n);
			if (news == SIDE_MESSAGE)
				note_carried(from, before);
			if (!may_carry(from, news == SIDE_GAP && n < LIMIT_MERGED_POSTS ? (unsigned)n : 1, now))
				return false;
		} else if (!lane_arm(&from->side.lane, from->side.generation)) {
			look(from);
		} else {
			if (news == SIDE_STALLED)
				look_at(from, from->side.stalled_ns);
			if (!is_for_nothing)
				counts_took(LATENCY_CARRYING, from->heard_ns);
			from->heard_ns = 0;
			return (!is_for_nothing || may_carry(from, 1, now)) && news == SIDE_NOTHING;
		}
		if (share_is_over(user_share(from->lane->user)))
			break;
	}
	loop_call_soon(from->later);
	return false;
}

static void take_turn(void *arg)
{
	struct crossing_lane *from = arg;

	if (carry(from, LIMIT_CARRIED_IN_A_ROW) && topic_lane_is_empty(from->lane))
		loop_call_soon(from->crossing->settling);
}

static void run_turn(struct crossing_lane *from)
{
	(void)share_run(user_share(from->lane->user), &from->turn);
}

static void heard(void *arg)
{
	struct crossing_lane *from = arg;

	if (from->heard_ns == 0)
		from->heard_ns = os_now_ns();
	atomic_fetch_add_explicit(&page_tally(from->side.lane.page, 0)->wakeups, 1, memory_order_relaxed);
	run_turn(from);
}

static void go_on(void *arg)
{
	struct crossing_lane *from = arg;

	if (from->rests) {
		loop_enable(from->rung);
		from->is_new = true; /* nobody has rung: what there is for that has been paid */
	}
	from->rests = false;
	run_turn(from);
}

static void settle(void *arg)
{
	crossing_settle(((struct crossing *)arg)->topic);
}

/* What is there now, since nobody will come to it later. */
static void carry_rest(struct crossing_lane *from)
{
	uint64_t end_ns = os_now_ns() + LIMIT_AT_THE_END_NS;

	look(from);
	for (unsigned budget = LIMIT_CARRIED_AT_THE_END; budget > 0 && os_now_ns() < end_ns; budget--) {
		uint64_t n = 0;
		enum side_news news = side_next(&from->side, &n);

		if (news == SIDE_NOTHING)
			return;
		if (news == SIDE_STALLED)
			break;
		put(from, news, n);
	}
	put_resync(from);
}

bool crossing_has_carried(struct crossing_lane *from, uint64_t generation)
{
	if (is_taken_from(from->lane) && lane_is_later(generation, from->carried))
		(void)carry(from, LIMIT_CARRIED_IN_A_ROW);
	return !is_taken_from(from->lane) || !lane_is_later(generation, from->carried);
}

uint64_t crossing_carried(const struct crossing_lane *from)
{
	return from->carried;
}

struct page *crossing_page(const struct crossing_lane *in)
{
	return in->side.lane.page;
}

void crossing_post(struct crossing_lane *in)
{
	in->was_put = true;
	side_post(&in->side, 1);
}

void crossing_resync(struct crossing_lane *in)
{
	in->was_put = true;
	side_resync(&in->side);
}

/* --- joining --------------------------------------------------------------------------------------------------- */

static void leave(struct crossing_lane *end)
{
	struct topic_lane *lane = end->lane;

	share_leave(&end->turn);
	loop_event_free(end->later);
	if (end->rung) {
		loop_event_free(end->rung); /* before its bell is closed */
		topic_lane_unlisten(lane, end->group);
	}
	if (end->side.slot != WIRE_NO_SLOT)
		topic_lane_return_slot(lane, end->side.slot);
	lane->own.units += end->side.own;
	side_close(&end->side);
	lane->crossing = NULL;
	free(end);
}

static int listen_to(struct crossing_lane *end)
{
	int bell = topic_lane_listen(end->lane, &end->group);

	if (bell < 0)
		return bell;
	end->turn = (struct share_place){ .fn = take_turn, .arg = end };
	end->rung = loop_on_edge(end->crossing->loop, bell, heard, end);
	end->later = loop_timer(end->crossing->loop, go_on, end);
	if (!end->rung)
		topic_lane_unlisten(end->lane, end->group);
	return end->rung && end->later ? 0 : -ENOMEM;
}

static int join(struct crossing *crossing, struct topic_lane *lane)
{
	struct speaker *speaker = get_speaker(crossing, lane->user);
	struct crossing_lane *end = speaker ? calloc(1, sizeof(*end)) : NULL;
	size_t size = lane_size(&lane->shape);
	void *map;
	int r;

	if (!end)
		return -ENOMEM;
	*end = (struct crossing_lane){ .crossing = crossing, .lane = lane, .speaker = speaker, .is_new = true };
	lane->crossing = end;
	end->side.lane = topic_lane_view(lane, NULL);
	end->side.file = -1;
	end->side.known = &speaker->said;
	end->side.slot = topic_lane_take_slot(lane);
	lane->n_unslotted -= end->side.slot == WIRE_NO_SLOT; /* it is no member */
	map = os_map(lane->page_fd, size, true, NULL);
	r = map ? side_open(&end->side, map, size, &lane->shape) : -errno;
	end->side.ring.most_steps = LIMIT_RING_STEPS;
	if (r == 0 && is_taken_from(lane))
		r = listen_to(end);
	if (r < 0) {
		leave(end);
		return r;
	}
	/* From now on readers keep in mind what they have told: it may be carried, and then come again. */
	atomic_store(&end->side.lane.page->linked, 1);
	side_take_baseline(&end->side);
	end->carried = end->side.generation;
	crossing_join_state(end);
	return 0;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static struct crossing *crossing_free(struct crossing *crossing)
{
	for (struct topic_lane *lane = crossing->topic->lanes; lane; lane = lane->next)
		if (lane->crossing)
			leave(lane->crossing);
	while (crossing->speakers) {
		struct speaker *speaker = crossing->speakers;

		crossing->speakers = speaker->next;
		user_unref(speaker->user);
		known_deinit(&speaker->said);
		free(speaker);
	}
	loop_event_free(crossing->settling);
	user_unref(crossing->setter);
	crossing->topic->crossing = NULL;
	free(crossing);
	return NULL;
}

/* Lanes that have been left are carried to their end, and then go. */
static void end_empty_lanes(struct topic *topic)
{
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next) {
		struct crossing_lane *end = lane->crossing;

		if (!end || !topic_lane_is_empty(lane))
			continue;
		/* The topic ends with its last member, and links only take what is there by then. */
		if (is_taken_from(lane) && topic->n_members == 0)
			carry_rest(end);
		else if (!is_taken_from(lane) || carry(end, LIMIT_CARRIED_IN_A_ROW))
			leave(end);
	}
}

static unsigned count_lanes(const struct topic *topic)
{
	unsigned n = 0;

	for (const struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		n++;
	return n;
}

void crossing_settle(struct topic *topic)
{
	if (topic->crossing)
		end_empty_lanes(topic);
	topic_drop_empty_lanes(topic);
	if (topic->crossing && topic->n_members > 0 && count_lanes(topic) < 2) {
		crossing_keep_state(topic);
		crossing_free(topic->crossing);
	}
}

int crossing_update(const struct context *context, struct topic *topic)
{
	int r = 0;

	crossing_settle(topic);
	if (topic->n_members == 0 || count_lanes(topic) < 2)
		return 0;
	if (!topic->crossing) {
		topic->crossing = calloc(1, sizeof(*topic->crossing));
		if (!topic->crossing)
			return -ENOMEM;
		*topic->crossing = (struct crossing){ .topic = topic, .loop = context->loop };
		topic->crossing->settling = loop_timer(context->loop, settle, topic->crossing);
		if (!topic->crossing->settling) {
			crossing_free(topic->crossing);
			return -ENOMEM;
		}
	}
	for (struct topic_lane *lane = topic->lanes; r == 0 && lane; lane = lane->next)
		if (!lane->crossing && !lane->retired)
			r = join(topic->crossing, lane);
	crossing_begin_state(topic->crossing);
	/* All baselines are taken: what has come since is carried, and from then on the bells tell. */
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		if (lane->crossing && lane->crossing->is_new && is_taken_from(lane))
			(void)carry(lane->crossing, LIMIT_CARRIED_IN_A_ROW);
	return r;
}

void crossing_retire(struct topic_lane *lane)
{
	if (!lane->crossing)
		return;
	if (is_taken_from(lane))
		carry_rest(lane->crossing);
	leave(lane->crossing);
}

void crossing_end(struct topic *topic)
{
	if (topic->crossing)
		crossing_free(topic->crossing);
}
