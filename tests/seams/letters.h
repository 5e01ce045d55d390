/* SPDX-License-Identifier: MIT */
/*
 * letters.h - messages that say who wrote them and the how-manieth they are, and the audit of those who read them.
 *
 * The claim, for each reader:
 *
 *  - No letter is delivered twice, and each writer's come in order. Always.
 *  - A letter whose publishing returned 0 is delivered, or it lies in a hole between two letters of its writer. Of the
 *    holes between two RESYNCs there are never more than the GAPs in between have counted; a hole with a RESYNC in it
 *    is told by that.
 *  - Where there are links, whose losses are RESYNCs, a RESYNC may also stand for a hole that the reader comes to later,
 *    as far as the rings reached when it was told: not for one that begins behind that.
 */
#ifndef PATHBUS_TESTS_SEAMS_LETTERS_H
#define PATHBUS_TESTS_SEAMS_LETTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <pathbus.h>

enum { LETTERS_WRITERS = 8, LETTERS_FILL = 200, LETTERS_TRACE = 32 };

/* A writer's; may be shared between processes. */
struct letter_book {
	unsigned writer;
	_Atomic uint64_t begun;    /* number of the last one */
	_Atomic uint64_t returned; /* ... whose publishing returned 0 */
	_Atomic uint64_t failed;   /* how many did not */
};

/* Publishes the next one. Returns what pathbus_publish_keyed does. */
int letter_write(struct letter_book *book, pathbus_topic *topic);

/* A reader's. Zeroed at first: it has opened before any writer began. */
struct letter_audit {
	uint64_t last[LETTERS_WRITERS];
	bool resynced[LETTERS_WRITERS]; /* since the last letter of that writer */
	uint64_t hole, gaps;            /* since the last RESYNC */
	uint64_t reach;                 /* with links: how many letters a RESYNC stands for after it; else 0 */
	uint64_t reached;               /* letters told since the last one... */
	uint64_t begins[LETTERS_WRITERS]; /* ... when that writer's last came: where its next hole begins */
	uint64_t n_letters, n_gaps, n_resyncs, n_posts;
	uint64_t n_missed;              /* letters that lie in holes */
	struct letter_trace {
		enum pathbus_event_kind kind;
		unsigned writer;
		uint64_t first, last; /* letters in a row */
	} trace[LETTERS_TRACE];
	unsigned n_traced;
};

/* Everything up to now does not count: who opens late. */
void letter_audit_late(struct letter_audit *audit);
/* Fails the case unless the event may come now. */
void letter_audit_take(struct letter_audit *audit, const struct pathbus_event *event);
/* Takes what there is, without waiting. Returns how many events. */
unsigned letter_audit_drain(struct letter_audit *audit, pathbus *bus);

#endif
