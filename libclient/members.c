/* SPDX-License-Identifier: MIT */
/*
 * members.c - who has the topic open: from the lane's table of members, and of other lanes from the daemon.
 *
 * Every member may write all of the table, so what it says is worth as much as the least of them: each word is loaded
 * once, and only ever printed. What a process is called, and whose it is, the system says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "wire_member.h"

struct members {
	unsigned n_own;   /* of this lane, which come first */
	bool knows_pids;  /* the process ids mean the same to us; peer to peer that is assumed */
	bool on_bus;
	size_t n, size;
	struct pathbus_member *list;
	uint64_t after; /* where the daemon's next answer goes on; 0: it was the last */
	uint64_t self;  /* the topic's origin */
};

_Static_assert(sizeof(((struct pathbus_member *)0)->command) == WIRE_COMMAND_SIZE, "one size");

/* 0, -ENOMEM. */
static int make_room(struct members *members, size_t more)
{
	size_t size = members->n + more;
	struct pathbus_member *larger;

	if (size <= members->size)
		return 0;
	larger = realloc(members->list, 2 * size * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	members->list = larger;
	members->size = 2 * size;
	return 0;
}

/* --- of this lane ------------------------------------------------------------------------------------------------ */

/* A word of posts (count.h) that has another's tag was written by a thread that took the slot for its own. */
static uint64_t posts_in(uint64_t word, uint64_t tag)
{
	return (word ^ tag) & COUNT_TAG ? 0 : word & COUNT_POSTS;
}

/* How much has come since it last had dealt with all, its own included. */
static void look_behind(const struct page *page, const struct page_slot *slot, struct pathbus_member *ret)
{
	uint64_t generation = atomic_load(&page->generation), seen = atomic_load(&slot->seen);
	uint64_t behind = lane_is_later(generation, seen) ? generation - seen : 0;

	ret->behind_posts = behind / GENERATION_POST;
	ret->behind_messages = behind % GENERATION_POST;
}

/* False: nobody is there, or nobody yet. */
static bool look_at(const pathbus_topic *topic, unsigned index, struct pathbus_member *ret)
{
	const struct page_slot *slot = &topic->page->slots[index];
	uint32_t pid = atomic_load(&slot->pid);
	uint64_t origin = atomic_load(&slot->origin);
	uint16_t flags = atomic_load(&slot->flags);
	uint64_t elsewhere = atomic_load(&slot->posts_elsewhere), posts = atomic_load(&slot->posts);

	/* Who has its slot but has not said who it is comes, or goes, this very moment. */
	if (pid == 0 || pid > INT32_MAX || (origin == 0 && !(flags & SLOT_LINK)))
		return false;
	/* Has the slot gone to somebody else meanwhile? That one has only just come. */
	if (atomic_load(&slot->origin) != origin || atomic_load(&slot->pid) != pid)
		return false;
	*ret = (struct pathbus_member){
		.pid = (pid_t)pid,
		.uid = (uid_t)-1,
		.origin = origin,
		.subscribes = (flags & SLOT_SUBSCRIBES) != 0,
		.n_posts = posts_in(posts, elsewhere) + (elsewhere & COUNT_POSTS),
		.is_self = index == atomic_load(&topic->slot) && origin == topic->origin,
		.is_link = (flags & SLOT_LINK) != 0,
		.behind_posts = UINT64_MAX,
		.behind_messages = UINT64_MAX,
	};
	if (ret->subscribes && !ret->is_link)
		look_behind(topic->page, slot, ret);
	return true;
}

static int look(const pathbus_topic *topic, struct members *members)
{
	members->on_bus = topic_is_on_bus(topic);
	members->knows_pids = !members->on_bus || topic_knows_pids(topic);
	if (make_room(members, PAGE_SLOTS) < 0)
		return -ENOMEM;
	members->n = 0;
	for (unsigned i = 0; i < PAGE_SLOTS; i++)
		if (look_at(topic, i, &members->list[members->n]) && !slot_is_dead(topic, i))
			members->n++;
	members->n_own = (unsigned)members->n;
	return 0;
}

/* --- of others --------------------------------------------------------------------------------------------------- */

static size_t put_list(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	const struct members *members = arg;

	return wire_put_member_list(to, request,
	                            &(struct wire_member_list){ .topic = topic->bus_topic, .after = members->after });
}

static int take_list(struct bus_call *call, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct members *members = call->to;
	struct wire_members body;
	int r = header->type == WIRE_MEMBERS ? wire_get_members(frame, header->size, &body) : -EPROTO;

	(void)fds;
	if (r == 0 && body.next != 0 && body.next <= members->after)
		r = -EPROTO; /* it would never end */
	if (r == 0)
		r = make_room(members, body.n);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < body.n; i++) {
		const struct wire_member *from = &body.entries[i];
		struct pathbus_member *member = &members->list[members->n++];

		*member = (struct pathbus_member){
			.pid = (pid_t)from->pid,
			.uid = from->uid,
			.origin = from->origin,
			.subscribes = (from->flags & WIRE_MEMBER_SUBSCRIBES) != 0,
			.n_posts = from->n_posts,
			.is_self = from->origin == members->self,
			.behind_posts = UINT64_MAX,
			.behind_messages = UINT64_MAX,
		};
		memcpy(member->command, from->command, sizeof(member->command));
	}
	members->after = body.next;
	return 0;
}

static int ask(pathbus_topic *topic, struct members *members)
{
	struct bus_call call = { .put = put_list, .arg = members, .take = take_list, .to = members };
	int r;

	do
		r = call_daemon(topic->bus, topic, &call, 0);
	while (r == 0 && members->after != 0);
	return r;
}

/* The lane, and where the others are, may change meanwhile: then once more, from the start. */
static int collect(pathbus_topic *topic, struct members *members)
{
	int r = -ENOTCONN;

	for (int i = 0; i < 8 && r == -ENOTCONN; i++) {
		members->n = members->after = 0;
		members->n_own = 0;
		r = topic_settle(topic, os_now_ns() + topic->bus->timeout_ns);
		if (r == 0 && !topic->remote)
			r = look(topic, members);
		if (r == 0 && (topic->remote || (members->on_bus && atomic_load(&topic->page->divided))))
			r = ask(topic, members);
		if (r == -ETIMEDOUT && !topic->remote)
			r = 0; /* the daemon stands still: those of this lane are known all the same */
	}
	return r;
}

/* False: it has ended, and the daemon has not cleared its slot yet. */
static bool name(const struct members *members, struct pathbus_member *member)
{
	uid_t uid;
	int r;

	if (!members->knows_pids)
		return true;
	r = os_process_name(member->pid, &uid, member->command, sizeof(member->command));
	if (r < 0) {
		memset(member->command, 0, sizeof(member->command));
		return r != -ENOENT || !members->on_bus;
	}
	member->uid = uid;
	return true;
}

int pathbus_member_list(pathbus_topic *topic, pathbus_member_fn *fn, void *arg)
{
	struct members members = { 0 };
	struct pathbus *bus;
	int r;

	if (!topic || !fn)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic_is_apart(topic))
		return -EOPNOTSUPP;
	members.self = topic->origin;
	bus = topic->bus;
	pthread_mutex_lock(&bus->lock);
	r = collect(topic, &members);
	control_finish(bus);
	handle_unlock(bus);
	/* Without the lock: the function is the program's, and may call us. */
	for (size_t i = 0; r == 0 && i < members.n; i++)
		if (i >= members.n_own || name(&members, &members.list[i]))
			r = fn(&members.list[i], arg);
	free(members.list);
	return r;
}
