/* SPDX-License-Identifier: MIT */
/* lane_counts.c - see lane_counts.h. */
#include "lane_counts.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "crossing_internal.h"
#include "os/os.h"
#include "relay.h"
#include "ring.h"
#include "topic.h"
#include "topic_lane.h"

#define FASTEST_NS 4u /* nobody does anything in a lane more often */
#define AT_ONCE 1024u /* but the clock and the lane are not looked at in one moment */

struct lane_sums lanes_counted;

/* Where it lies, from `generation` on. */
struct words {
	uint64_t bytes[(offsetof(struct page, slots) - offsetof(struct page, generation)) / 8];
};

static uint64_t word(const struct words *words, size_t offset)
{
	return words->bytes[(offset - offsetof(struct page, generation)) / 8];
}

static uint64_t sum(const struct words *words, size_t offset)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < PAGE_TALLIES; i++)
		n += word(words, offsetof(struct page, tallies) + i * sizeof(struct page_tally) + offset);
	return n;
}

static struct lane_own own_of(const struct topic_lane *lane)
{
	struct lane_own own = lane->own;

	if (lane->crossing)
		own.units += lane->crossing->side.own;
	return own;
}

static void look_at(const struct topic_lane *lane, const struct words *words, struct lane_look *ret)
{
	struct lane_own own = own_of(lane);

	*ret = (struct lane_look){
		.at_ns = os_now_ns(),
		.generation = word(words, offsetof(struct page, generation)),
		.head = word(words, offsetof(struct page, head)),
		.skips = word(words, offsetof(struct page, skips)),
		.resync = word(words, offsetof(struct page, resync)),
		.message_bytes = sum(words, offsetof(struct page_tally, message_bytes)),
		.bells = sum(words, offsetof(struct page_tally, bells)),
		.wakeups = sum(words, offsetof(struct page_tally, wakeups)),
		.gaps = sum(words, offsetof(struct page_tally, gaps)),
		.own_units = own.units,
		.own_messages = own.messages,
		.own_bytes = own.bytes,
	};
}

/* By a call where it is not mapped: that costs a third of mapping it. */
static bool read_words(struct topic_lane *lane, struct words *ret)
{
	struct page *page = lane->page;

	if (!page && lane->crossing)
		page = lane->crossing->side.lane.page;
	if (!page && lane->relay)
		page = lane->relay->ring.page;
	if (!page)
		return pread(lane->page_fd, ret, sizeof(*ret), offsetof(struct page, generation)) == (ssize_t)sizeof(*ret);
	for (size_t i = 0; i < sizeof(ret->bytes) / 8; i++)
		ret->bytes[i] = __atomic_load_n((const uint64_t *)(const void *)((const char *)&page->generation + 8 * i), __ATOMIC_RELAXED);
	return true;
}

/* What was added since, if that can be. */
static uint64_t since(uint64_t now, uint64_t before, uint64_t most)
{
	return now - before <= most ? now - before : 0;
}

static void add(struct lane_sums *to, const struct lane_sums *counts)
{
	to->posts += counts->posts;
	to->messages += counts->messages;
	to->message_bytes += counts->message_bytes;
	to->bells += counts->bells;
	to->wakeups += counts->wakeups;
	to->gaps += counts->gaps;
	to->resyncs += counts->resyncs;
}

/* Tickets without those that never had a message, the daemon's own taken off. */
static uint64_t messages_between(const struct lane_look *a, const struct lane_look *b)
{
	uint64_t tickets = (b->head - a->head) / RING_TICKET, skipped = (uint32_t)(b->skips - a->skips);
	uint64_t own = b->own_messages - a->own_messages;

	return tickets - skipped - own;
}

void lane_counts_begin(struct topic_lane *lane, struct page *page)
{
	lane->look = (struct lane_look){
		.at_ns = os_now_ns(),
		.generation = atomic_load(&page->generation),
		.head = atomic_load(&page->head),
	};
}

void lane_counts_take(struct topic_lane *lane)
{
	struct lane_look before = lane->look, now;
	struct lane_sums counts;
	struct words words;
	uint64_t most, units;

	if (!read_words(lane, &words))
		return;
	look_at(lane, &words, &now);
	most = (now.at_ns - before.at_ns) / FASTEST_NS + AT_ONCE;
	counts = (struct lane_sums){
		.messages = since(messages_between(&before, &now), 0, most),
		.message_bytes = since(now.message_bytes - (now.own_bytes - before.own_bytes), before.message_bytes,
		                       most * LANE_MAX_MESSAGE / 64),
		.bells = since(now.bells, before.bells, most),
		.wakeups = since(now.wakeups, before.wakeups, most),
		.gaps = since(now.gaps, before.gaps, most * PAGE_SLOTS),
		.resyncs = since(now.resync, before.resync, most),
	};
	/* Some messages may be claimed and not yet added, or their writer dead: far from half a post. */
	units = now.generation - before.generation - (now.own_units - before.own_units) - counts.messages * GENERATION_MESSAGE;
	counts.posts = since((units + GENERATION_POST / 2) / GENERATION_POST, 0, most);
	lane->look = now;
	add(&lane->counted, &counts);
	if (lane->topic)
		add(&lane->topic->counted, &counts);
	add(&lanes_counted, &counts);
}
