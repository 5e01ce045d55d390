/* SPDX-License-Identifier: MIT */
/* queue.h - a queue whose members have their place in it within themselves: one step to leave it, or to take it over. */
#ifndef PATHBUS_DAEMON_QUEUE_H
#define PATHBUS_DAEMON_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

/* A queue, which is to be initialized, or a place in one, which is zeroed while it is in none. */
struct queue {
	struct queue *next, *before;
};

#define queue_container(place, type, member) ((type *)(void *)((char *)(place) - offsetof(type, member)))

static inline void queue_init(struct queue *queue)
{
	queue->next = queue->before = queue;
}

static inline struct queue *queue_first(const struct queue *queue)
{
	return queue->next == queue ? NULL : queue->next;
}

static inline bool queue_has(const struct queue *place)
{
	return place->next != NULL;
}

/* Nothing, if it is in none. */
static inline void queue_remove(struct queue *place)
{
	if (!place->next)
		return;
	place->next->before = place->before;
	place->before->next = place->next;
	place->next = place->before = NULL;
}

/* At the end; from wherever it is. */
static inline void queue_move(struct queue *queue, struct queue *place)
{
	queue_remove(place);
	place->next = queue;
	place->before = queue->before;
	queue->before->next = place;
	queue->before = place;
}

/* All that is in `from`, at the end. */
static inline void queue_move_all(struct queue *queue, struct queue *from)
{
	if (from->next == from)
		return;
	from->next->before = queue->before;
	queue->before->next = from->next;
	from->before->next = queue;
	queue->before = from->before;
	queue_init(from);
}

#endif
