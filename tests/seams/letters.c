/* SPDX-License-Identifier: MIT */
/* letters.c - what a letter is made of, and which order of events is an honest one. */
#include "seams/letters.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness/harness.h"

struct letter {
	uint32_t writer, fill;
	uint64_t number;
	unsigned char bytes[LETTERS_FILL];
};

#define LETTER_HEAD offsetof(struct letter, bytes)

static unsigned char filling(uint64_t number, uint32_t at)
{
	return (unsigned char)(number * 31 + at * 7);
}

int letter_write(struct letter_book *book, pathbus_topic *topic)
{
	struct letter letter = { .writer = book->writer, .number = atomic_load(&book->begun) + 1 };
	char key[32];
	int key_size, r;

	letter.fill = (uint32_t)(letter.number % LETTERS_FILL); /* some fit into a slot, some do not */
	for (uint32_t i = 0; i < letter.fill; i++)
		letter.bytes[i] = filling(letter.number, i);
	key_size = snprintf(key, sizeof(key), "writer %u", book->writer);
	atomic_store(&book->begun, letter.number);
	r = pathbus_publish_keyed(topic, key, letter.number % 3 ? (size_t)key_size : 0, &letter, LETTER_HEAD + letter.fill);
	if (r == 0)
		atomic_store(&book->returned, letter.number);
	else
		atomic_fetch_add(&book->failed, 1);
	return r;
}

void letter_audit_late(struct letter_audit *audit)
{
	for (int i = 0; i < LETTERS_WRITERS; i++)
		audit->resynced[i] = true;
}

static void note(struct letter_audit *audit, enum pathbus_event_kind kind, unsigned writer, uint64_t number)
{
	struct letter_trace *last = &audit->trace[(audit->n_traced + LETTERS_TRACE - 1) % LETTERS_TRACE];

	/* Those in a row are one. */
	if (kind == PATHBUS_EVENT_MESSAGE && last->kind == kind && last->writer == writer && last->last + 1 == number)
		last->last++;
	else
		audit->trace[audit->n_traced++ % LETTERS_TRACE] =
			(struct letter_trace){ .kind = kind, .writer = writer, .first = number, .last = number };
}

/* The last events, for who has to find out. */
static void explain(const struct letter_audit *audit)
{
	char text[LETTERS_TRACE * 48];
	size_t used = 0;

	for (unsigned i = 0; i < LETTERS_TRACE; i++) {
		const struct letter_trace *trace = &audit->trace[(audit->n_traced + i) % LETTERS_TRACE];

		if (trace->kind == PATHBUS_EVENT_MESSAGE)
			used += (size_t)snprintf(text + used, sizeof(text) - used, " %u:%llu-%llu", trace->writer,
			                         (unsigned long long)trace->first, (unsigned long long)trace->last);
		else if (trace->kind)
			used += (size_t)snprintf(text + used, sizeof(text) - used, " %s(%llu)",
			                         trace->kind == PATHBUS_EVENT_GAP ? "GAP" :
			                         trace->kind == PATHBUS_EVENT_RESYNC ? "RESYNC" : "post",
			                         (unsigned long long)trace->first);
	}
	fprintf(stderr, "process %d:%s\n", (int)getpid(), used ? text : "");
}

static void take_letter(struct letter_audit *audit, const struct pathbus_event *event)
{
	struct letter letter = { 0 };
	bool damaged = false;
	char key[32];

	ck_assert_uint_ge(event->data_size, LETTER_HEAD);
	ck_assert_uint_le(event->data_size, sizeof(letter));
	memcpy(&letter, event->data, event->data_size);
	ck_assert_uint_lt(letter.writer, LETTERS_WRITERS);
	ck_assert_uint_eq(event->data_size, LETTER_HEAD + letter.fill);
	for (uint32_t i = 0; i < letter.fill; i++)
		damaged |= letter.bytes[i] != filling(letter.number, i);
	ck_assert(!damaged);
	snprintf(key, sizeof(key), "writer %u", letter.writer);
	ck_assert(letter.number % 3 ? event->key_size == strlen(key) && memcmp(event->key, key, event->key_size) == 0 :
	                              !event->key);
	note(audit, event->kind, letter.writer, letter.number);
	if (letter.number <= audit->last[letter.writer])
		explain(audit);
	ck_assert_msg(letter.number > audit->last[letter.writer],
	              "process %d: letter %llu of writer %u %s, after its letter %llu (%llu resyncs so far)", (int)getpid(),
	              (unsigned long long)letter.number, letter.writer,
	              letter.number == audit->last[letter.writer] ? "comes again" : "comes late",
	              (unsigned long long)audit->last[letter.writer], (unsigned long long)audit->n_resyncs);
	audit->n_missed += letter.number - audit->last[letter.writer] - 1;
	if (!audit->resynced[letter.writer] && (audit->n_resyncs == 0 || audit->begins[letter.writer] > audit->reach))
		audit->hole += letter.number - audit->last[letter.writer] - 1;
	if (audit->hole > audit->gaps)
		explain(audit);
	ck_assert_msg(audit->hole <= audit->gaps,
	              "process %d: %llu letters missed and only %llu told since the last RESYNC (of %llu), before letter %llu of "
	              "writer %u",
	              (int)getpid(), (unsigned long long)audit->hole, (unsigned long long)audit->gaps,
	              (unsigned long long)audit->n_resyncs, (unsigned long long)letter.number, letter.writer);
	audit->resynced[letter.writer] = false;
	audit->last[letter.writer] = letter.number;
	audit->begins[letter.writer] = ++audit->reached;
	audit->n_letters++;
}

void letter_audit_take(struct letter_audit *audit, const struct pathbus_event *event)
{
	if (event->kind != PATHBUS_EVENT_MESSAGE)
		note(audit, event->kind, 0, event->count);
	switch (event->kind) {
	case PATHBUS_EVENT_MESSAGE:
		take_letter(audit, event);
		break;
	case PATHBUS_EVENT_GAP:
		ck_assert_uint_gt(event->count, 0);
		audit->gaps += event->count;
		audit->n_gaps += event->count;
		break;
	case PATHBUS_EVENT_RESYNC:
		audit->n_resyncs++;
		audit->hole = audit->gaps = audit->reached = 0;
		letter_audit_late(audit);
		break;
	case PATHBUS_EVENT_POST:
		audit->n_posts += event->count;
		break;
	case PATHBUS_EVENT_ERROR:
		break;
	default:
		ck_abort_msg("nobody has asked for events of kind %d", (int)event->kind);
	}
}

unsigned letter_audit_drain(struct letter_audit *audit, pathbus *bus)
{
	struct pathbus_event event = { .size = sizeof(event) };
	unsigned n = 0;
	int r;

	while ((r = pathbus_next(bus, &event)) > 0) {
		letter_audit_take(audit, &event);
		n++;
	}
	ck_assert_int_eq(r, 0);
	return n;
}
