/* SPDX-License-Identifier: MIT */
/*
 * topic.c - members, lanes and bells of topics; names.c has the tables by which they are found.
 */
#include "topic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lane.h"
#include "limit.h"
#include "log.h"
#include "names.h"
#include "os/os.h"
#include "regions.h"
#include "ring.h"
#include "wire.h"

/* --- pages ----------------------------------------------------------------------------------------- */

/* The page, mapped for a moment unless it is mapped anyway. NULL: errno. */
static struct page *page_borrow(struct topic *topic)
{
	return topic->page ? topic->page : os_map(topic->page_fd, PAGE_SIZE_BYTES, true, NULL);
}

static void page_return(struct topic *topic, struct page *page)
{
	if (page && page != topic->page)
		munmap(page, PAGE_SIZE_BYTES);
}

/* The lane as its first group sees it. With members in other groups the lane is offloaded, and then it is the
 * carrier's bell that is rung. */
static struct lane lane_of(const struct topic *topic, struct page *page)
{
	return (struct lane){
		.page = page,
		.bell = topic->groups[0].bell,
		.carrier = topic->topics->carrier_bell,
	};
}

static int page_make(struct topic *topic, const struct topic_key *key)
{
	uint8_t id[PAGE_ID_SIZE];
	struct page *page;
	struct stat st;

	if (fstat(topic->page_fd, &st) < 0)
		return -errno;
	page = page_borrow(topic);
	if (!page)
		return -errno;
	os_random(id, sizeof(id));
	page_init(page, key, st.st_ino, id, &topic->shape);
	page_return(topic, page);
	return 0;
}

/* --- topics ---------------------------------------------------------------------------------------- */

struct topics *topics_new(unsigned offload_members, unsigned offload_message_members, int carrier_bell)
{
	struct topics *topics = calloc(1, sizeof(*topics));

	if (!topics)
		return NULL;
	topics->offload_members = offload_members;
	topics->offload_message_members = offload_message_members;
	topics->carrier_bell = carrier_bell;
	if (names_init(topics) < 0) {
		free(topics);
		return NULL;
	}
	return topics;
}

struct topics *topics_free(struct topics *topics)
{
	struct table_entry *entry;

	if (!topics)
		return NULL;
	while ((entry = table_any(&topics->by_key)))
		topic_free(table_container(entry, struct topic_name, by_key)->topic);
	names_deinit(topics);
	free(topics);
	return NULL;
}

size_t topics_count(const struct topics *topics)
{
	return topics->n_topics;
}

static int add_group(struct topic *topic)
{
	struct topic_group *groups;
	int bell = os_bell_new();

	if (bell < 0)
		return bell;
	groups = realloc(topic->groups, (topic->n_groups + 1) * sizeof(*groups));
	if (!groups) {
		close(bell);
		return -ENOMEM;
	}
	groups[topic->n_groups++] = (struct topic_group){ .bell = bell };
	topic->groups = groups;
	return 0;
}

int topics_add(struct topics *topics, const struct topic_key *key, const struct lane_shape *shape,
               struct topic_name **ret)
{
	struct topic *topic = calloc(1, sizeof(*topic));
	int r;

	if (!topic)
		return -ENOMEM;
	topic->topics = topics;
	topics->n_topics++;
	topic->shape = *shape;
	topic->page_fd = os_memory_new("pathbus-lane", lane_size(shape));
	r = topic->page_fd < 0 ? topic->page_fd : page_make(topic, key);
	if (r == 0)
		r = add_group(topic);
	if (r == 0)
		r = topic_add_name(topic, key, ret);
	if (r < 0)
		topic_free(topic);
	return r;
}

/* See topics_look_for_messages. */
static void candidate_remove(struct topic *topic)
{
	struct topics *topics = topic->topics;

	if (!topic->candidate_at)
		return;
	if (topics->candidate_at == &topic->candidate_next)
		topics->candidate_at = topic->candidate_at;
	*topic->candidate_at = topic->candidate_next;
	if (topic->candidate_next)
		topic->candidate_next->candidate_at = topic->candidate_at;
	topic->candidate_at = NULL;
}

struct topic *topic_free(struct topic *topic)
{
	while (topic->members) {
		struct member *member = topic->members;

		topic->members = member->next;
		regions_leave(member);
		free(member);
	}
	while (topic->names)
		names_free_first(topic);
	if (topic->carry_at) {
		*topic->carry_at = topic->carry_next;
		if (topic->carry_next)
			topic->carry_next->carry_at = topic->carry_at;
	}
	candidate_remove(topic);
	for (unsigned i = 0; i < topic->n_groups; i++)
		close(topic->groups[i].bell);
	free(topic->groups);
	if (topic->page)
		munmap(topic->page, PAGE_SIZE_BYTES);
	if (topic->page_fd >= 0)
		close(topic->page_fd);
	topic->topics->n_topics--;
	free(topic);
	return NULL;
}

/* --- bells and offloading -------------------------------------------------------------------------- */

/* A group with room; makes one if there is none. Its index, or -errno. */
static int find_group(struct topic *topic)
{
	int r;

	for (unsigned i = 0; i < topic->n_groups; i++)
		if (topic->groups[i].n_listening < LIMIT_BELL_MEMBERS)
			return (int)i;
	r = add_group(topic);
	return r < 0 ? r : (int)topic->n_groups - 1;
}

/* Bells at the end that nobody listens to any more; the first one stays. */
static void trim_groups(struct topic *topic)
{
	while (topic->n_groups > 1 && topic->groups[topic->n_groups - 1].n_listening == 0)
		close(topic->groups[--topic->n_groups].bell);
}

/* From now on posters ring the carrier's bell. `page` then stays mapped, and the lane stays in the carrier's
 * list as long as it lives: a poster may have seen the flag and not rung yet, whatever the flag says later. */
static void offload(struct topic *topic, struct page *page)
{
	struct topics *topics = topic->topics;

	topic->page = page;
	candidate_remove(topic);
	if (!topic->carry_at) {
		topic->carry_next = topics->carried;
		topic->carry_at = &topics->carried;
		if (topics->carried)
			topics->carried->carry_at = &topic->carry_next;
		topics->carried = topic;
	}
	topic->offloaded = true;
	atomic_store(&page->offload, 1);
}

/* Listeners whose posters ring for themselves. */
static unsigned most_listening(const struct topic *topic)
{
	const struct topics *topics = topic->topics;

	if (topic->has_messages && topics->offload_message_members < topics->offload_members)
		return topics->offload_message_members;
	return topics->offload_members;
}

static bool has_messages(struct topic *topic, const struct page *page)
{
	if (!topic->has_messages)
		topic->has_messages = atomic_load(&page->messages) != 0;
	return topic->has_messages;
}

/* Is to be offloaded as soon as it has messages: stays mapped until then. */
static void candidate_add(struct topic *topic, struct page *page)
{
	struct topics *topics = topic->topics;

	if (topic->candidate_at || topic->n_listening <= topics->offload_message_members)
		return;
	topic->page = page;
	topic->candidate_next = topics->candidates;
	topic->candidate_at = &topics->candidates;
	if (topics->candidates)
		topics->candidates->candidate_at = &topic->candidate_next;
	topics->candidates = topic;
}

/* Takes a place at a bell. The lane is offloaded before the caller can hand a second bell out. */
static int listen_in(struct topic *topic, struct page *page, unsigned *ret_group)
{
	int group = find_group(topic);

	if (group < 0)
		return group;
	topic->groups[group].n_listening++;
	topic->n_listening++;
	/* Whoever publishes first sets the flag and then rings the carrier, which knows this lane by then. */
	if (!topic->offloaded && !has_messages(topic, page))
		candidate_add(topic, page);
	if (!topic->offloaded && (group > 0 || topic->n_listening > most_listening(topic)))
		offload(topic, page);
	*ret_group = (unsigned)group;
	return 0;
}

/* Posters ring for themselves again once there are clearly fewer than it took, and only where all share the
 * first bell, since posters know no other. */
static void listen_out(struct topic *topic, unsigned group)
{
	topic->groups[group].n_listening--;
	topic->n_listening--;
	trim_groups(topic);
	if (topic->offloaded && topic->n_groups == 1 && topic->n_listening <= most_listening(topic) / 2) {
		topic->offloaded = false;
		atomic_store(&topic->page->offload, 0);
		if (!has_messages(topic, topic->page))
			candidate_add(topic, topic->page);
	}
	if (topic->n_listening <= topic->topics->offload_message_members)
		candidate_remove(topic);
}

int topic_listen(struct topic *topic, unsigned *ret_group)
{
	struct page *page = page_borrow(topic);
	int r;

	if (!page)
		return -errno;
	r = listen_in(topic, page, ret_group);
	page_return(topic, page);
	return r < 0 ? r : topic->groups[*ret_group].bell;
}

void topic_unlisten(struct topic *topic, unsigned group)
{
	listen_out(topic, group);
}

bool topics_look_for_messages(struct topics *topics, bool begin)
{
	if (begin && topics->candidate_at)
		topics->look_again = true;
	else if (begin)
		topics->candidate_at = &topics->candidates;
	for (unsigned n = 0; n < LIMIT_CANDIDATES_IN_A_ROW && topics->candidate_at; n++) {
		struct topic *topic = *topics->candidate_at;

		if (!topic) {
			topics->candidate_at = topics->look_again ? &topics->candidates : NULL;
			topics->look_again = false;
		} else if (has_messages(topic, topic->page)) {
			offload(topic, topic->page); /* and the next one has its place */
		} else {
			topics->candidate_at = &topic->candidate_next;
		}
	}
	return topics->candidate_at != NULL;
}

void topics_carry(struct topics *topics)
{
	for (struct topic *topic = topics->carried; topic; topic = topic->carry_next) {
		uint64_t generation = atomic_load(&topic->page->generation);

		if (generation == topic->carried)
			continue;
		topic->carried = generation;
		for (unsigned i = 0; i < topic->n_groups; i++)
			if (topic->groups[i].n_listening > 0)
				os_bell_ring(topic->groups[i].bell);
	}
}

bool topic_was_posted(struct topic *topic)
{
	struct page *page = page_borrow(topic);
	bool posted = true;

	if (page)
		posted = atomic_load(&page->generation) != page->first;
	page_return(topic, page);
	return posted;
}

static void tell_members(struct topic *topic, bool is_resync)
{
	struct page *page = page_borrow(topic);

	if (page) {
		struct lane lane = lane_of(topic, page);

		if (is_resync)
			lane_resync(&lane);
		else
			lane_post(&lane);
	} else {
		log_error("no memory to tell a topic's members that they may have missed something");
	}
	page_return(topic, page);
}

void topic_resync(struct topic *topic)
{
	tell_members(topic, true);
}

void topic_post(struct topic *topic)
{
	tell_members(topic, false);
}

/* --- members --------------------------------------------------------------------------------------- */

static uint32_t take_slot(struct topic *topic)
{
	for (uint32_t i = 0; i < PAGE_SLOTS; i++) {
		if (!(topic->slots[i / 64] & UINT64_C(1) << i % 64)) {
			topic->slots[i / 64] |= UINT64_C(1) << i % 64;
			return i;
		}
	}
	topic->n_unslotted++;
	return WIRE_NO_SLOT;
}

static void return_slot(struct topic *topic, uint32_t slot)
{
	if (slot == WIRE_NO_SLOT)
		topic->n_unslotted--;
	else
		topic->slots[slot / 64] &= ~(UINT64_C(1) << slot % 64);
}

/* What a member that is gone held in the ring is given back. */
static void recover_ring(struct topic *topic, const struct page *page, uint32_t slot)
{
	size_t size = lane_size(&topic->shape);
	struct ring ring;
	unsigned char *lane;

	if (slot == WIRE_NO_SLOT || !atomic_load(&page->messages))
		return;
	lane = os_map(topic->page_fd, size, true, NULL);
	if (!lane) {
		log_error("no memory to look after a topic's messages");
		return;
	}
	ring_attach(&ring, (struct page *)(void *)lane, lane + PAGE_SIZE_BYTES, &topic->shape);
	ring_recover(&ring, slot);
	munmap(lane, size);
}


int topic_link_join(struct topic *topic, pid_t pid, unsigned *ret_group, uint32_t *ret_slot)
{
	struct page *page = page_borrow(topic);
	int r;

	if (!page)
		return -errno;
	r = listen_in(topic, page, ret_group);
	if (r == 0) {
		*ret_slot = take_slot(topic);
		if (*ret_slot != WIRE_NO_SLOT)
			page_take_slot(page, *ret_slot, pid);
	}
	page_return(topic, page);
	return r < 0 ? r : topic->groups[*ret_group].bell;
}

void topic_link_leave(struct topic *topic, unsigned group, uint32_t slot, bool died)
{
	struct page *page = page_borrow(topic);

	listen_out(topic, group);
	if (page && slot != WIRE_NO_SLOT) {
		if (died)
			recover_ring(topic, page, slot);
		page_leave_slot(page, slot);
	}
	page_return(topic, page);
	return_slot(topic, slot);
}

int topic_join(struct topic_name *name, pid_t pid, uint32_t rights, bool listens, struct member **ret)
{
	struct topic *topic = name->topic;
	struct member *member = calloc(1, sizeof(*member));
	struct page *page;
	int r;

	if (!member)
		return -ENOMEM;
	page = page_borrow(topic);
	r = page ? 0 : -errno;
	member->group = TOPIC_NO_GROUP;
	if (r == 0 && listens)
		r = listen_in(topic, page, &member->group);
	if (r < 0) {
		page_return(topic, page);
		free(member);
		return r;
	}
	member->name = name;
	member->rights = rights;
	member->pid = pid;
	member->slot = take_slot(topic);
	if (member->slot != WIRE_NO_SLOT)
		page_take_slot(page, member->slot, pid);
	page_return(topic, page);

	member->next = topic->members;
	member->at = &topic->members;
	if (topic->members)
		topic->members->at = &member->next;
	topic->members = member;
	topic->n_members++;
	*ret = member;
	return 0;
}

void topic_leave(struct member *member, enum leave how)
{
	struct topic *topic = member->name->topic;
	struct page *page = page_borrow(topic);

	regions_leave(member);
	if (!page)
		log_error("no memory to clear a slot, or to tell others of a member's end");
	if (member->group != TOPIC_NO_GROUP)
		listen_out(topic, member->group);
	if (page) {
		/* Others: members, or a sidecar's behind a link. Before the slot is cleared, so that who finds the
		 * slot free has been told. */
		if (how == LEAVE_DIED)
			recover_ring(topic, page, member->slot); /* before the others are told: then they see it */
		if (how != LEAVE_CLOSED && member->told && (member->rights & WIRE_RIGHT_POST) && topic->n_listening > 0) {
			struct lane lane = lane_of(topic, page);

			lane_resync(&lane);
		}
		if (member->slot != WIRE_NO_SLOT)
			page_leave_slot(page, member->slot);
		page_return(topic, page);
	}
	/* What writes there may go on, once the process is scheduled again, for as long as the lane is there. */
	if (how != LEAVE_LOST || member->slot == WIRE_NO_SLOT)
		return_slot(topic, member->slot);
	*member->at = member->next;
	if (member->next)
		member->next->at = member->at;
	topic->n_members--;
	free(member);
}

int member_bell(const struct member *member)
{
	return member->name->topic->groups[member->group].bell;
}
