/* SPDX-License-Identifier: MIT */
/*
 * reader.c - tells posts by the generation and messages by the ring, in the order their writers made them.
 *
 * `accounted` grows by GENERATION_POST for each post that is told and by GENERATION_MESSAGE for each message, told or
 * missed. What is between it and the generation, in whole posts, is still to be told; the rest, less than half a post,
 * are messages whose writers have not raised the generation yet, or never will because they died.
 */
#include "reader.h"

#include "lane.h"

#define MAX_AHEAD (4096 * GENERATION_POST) /* more than threads can be in the middle of a post */
#define FAR_AHEAD_LOOKS 8

static uint64_t posts_until(const struct reader *reader, uint64_t strangers)
{
	uint64_t ahead = strangers - reader->accounted + GENERATION_POST / 2;

	/* Behind, by own posts on their way: a huge number. */
	return ahead < UINT64_C(1) << 63 ? ahead / GENERATION_POST : 0;
}

/* Posts up to there were told by RESYNC. */
static void absorb(struct reader *reader, uint64_t strangers)
{
	reader->accounted += posts_until(reader, strangers) * GENERATION_POST;
}

static enum reader_kind tell_posts(struct reader *reader, uint64_t n, uint64_t *ret_n)
{
	reader->accounted += n * GENERATION_POST;
	*ret_n = n;
	return READER_POSTS;
}

/* Own posts and messages up to a generation: never too few. */
static uint64_t own_until(const struct reader_look *look, uint64_t generation)
{
	if (look->own_until)
		return look->own_until(look->arg, generation);
	if (look->own_since > 0 && lane_is_later(look->own_first, generation))
		return look->own - look->own_since;
	return look->own;
}

static enum reader_kind tell_message(struct reader *reader, const struct reader_look *look, uint64_t *ret_n)
{
	uint64_t before = reader->message.before, strangers, n;

	if (lane_is_later(before, look->generation)) {
		/* It came later than the look, which has not all posts before it. Another look has; or it is damaged. */
		if (!reader->held) {
			reader->held = true;
			return READER_AGAIN;
		}
		before = look->generation;
	}
	strangers = before - own_until(look, before);
	if (reader->absorbs)
		absorb(reader, lane_is_later(strangers, reader->absorb_to) ? reader->absorb_to : strangers);
	n = posts_until(reader, strangers);
	reader->held = n > 0;
	if (n > 0)
		return tell_posts(reader, n, ret_n);
	reader->accounted += GENERATION_MESSAGE;
	return READER_MESSAGE;
}

/* READER_NOTHING: no message now. */
static enum reader_kind read_ring(struct reader *reader, const struct reader_look *look, uint64_t *ret_n)
{
	/* Each turn takes something that is not told; others may add to it for ever. */
	uint32_t most = look->ring->most_steps ? look->ring->most_steps / 16 : look->ring->n_slots;

	for (uint32_t turns = 0; turns < most; turns++) {
		uint64_t from = reader->cursor.counted, missed = 0, own;

		switch (ring_read(look->ring, &reader->cursor, &reader->message, look->buffer, &missed)) {
		case RING_EMPTY:
			return READER_NOTHING;
		case RING_BUSY:
			return READER_AGAIN;
		case RING_STALLED:
			return READER_STALLED;
		case RING_GAP:
			own = look->own_missed ? look->own_missed(look->arg, from, reader->cursor.counted) : 0;
			*ret_n = missed > own ? missed - own : 0;
			reader->accounted += *ret_n * GENERATION_MESSAGE;
			if (*ret_n > 0)
				return READER_GAP;
			break;
		case RING_MESSAGE:
			switch (look->whose ? look->whose(look->arg, &reader->message) : READER_STRANGERS) {
			case READER_STRANGERS:
				return READER_MESSAGE;
			case READER_HIDDEN:
				reader->accounted += GENERATION_MESSAGE;
				break;
			case READER_OWN:
				break;
			}
			break;
		}
	}
	return READER_AGAIN;
}

enum reader_kind reader_next(struct reader *reader, const struct reader_look *look, uint64_t *ret_n)
{
	enum reader_kind kind = READER_NOTHING;
	uint64_t strangers = look->generation - look->own, n;

	if (reader->held)
		return tell_message(reader, look, ret_n);
	if (look->ring && reader->has_ring)
		kind = read_ring(reader, look, ret_n);
	if (kind == READER_MESSAGE)
		return tell_message(reader, look, ret_n);
	/* Stalled, or more to read: what posts came after that is not known, so they wait as well. */
	if (kind != READER_NOTHING)
		return kind;
	if (reader->absorbs) {
		reader->absorbs = false;
		absorb(reader, reader->absorb_to);
	}
	n = posts_until(reader, strangers);
	if (n > 0) {
		reader->far_ahead = 0;
		return tell_posts(reader, n, ret_n);
	}
	if (strangers - reader->accounted >= UINT64_C(1) << 63 && reader->accounted - strangers > MAX_AHEAD) {
		/* Far ahead: so much has been posted by those who do not count since the generation was loaded; or it is a gap
		 * that a damaged ring told, and then all later posts would be taken for told. */
		if (++reader->far_ahead < FAR_AHEAD_LOOKS)
			return READER_AGAIN;
		reader->accounted = strangers;
	}
	reader->far_ahead = 0;
	/* What writers that died have left out does not add up. */
	if (strangers - reader->accounted < UINT64_C(1) << 63)
		reader->accounted = strangers;
	return READER_NOTHING;
}

bool reader_owes(const struct reader *reader, uint64_t strangers)
{
	return reader->held || posts_until(reader, strangers) > 0;
}
