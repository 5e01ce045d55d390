/* SPDX-License-Identifier: MIT */
/* attachment.c - the list of what a program has opened under a topic. */
#include "internal.h"

void attachment_add(pathbus_topic *topic, struct attachment *attachment, const struct attachment_type *type)
{
	attachment->type = type;
	attachment->topic = topic;
	attachment->next = topic->attachments;
	topic->attachments = attachment;
}

void attachment_remove(struct attachment *attachment)
{
	struct attachment **at = &attachment->topic->attachments;

	while (*at != attachment)
		at = &(*at)->next;
	*at = attachment->next;
}

void attachments_end(pathbus_topic *topic, bool forked)
{
	while (topic->attachments) {
		struct attachment *first = topic->attachments;

		attachment_remove(first);
		first->type->end(first, forked);
	}
}

void attachments_moved(pathbus_topic *topic)
{
	for (struct attachment *one = topic->attachments; one; one = one->next)
		if (one->type->moved)
			one->type->moved(one);
}

bool attachments_are_stuck(const pathbus_topic *topic)
{
	for (const struct attachment *one = topic->attachments; one; one = one->next)
		if (one->stuck)
			return true;
	return false;
}

void attachments_retry(pathbus_topic *topic)
{
	for (struct attachment *one = topic->attachments; one; one = one->next) {
		if (!one->stuck)
			continue;
		one->stuck = false;
		one->type->moved(one);
	}
}

bool attachments_take_event(pathbus_topic *topic, uint64_t generation, struct pathbus_event *event)
{
	for (struct attachment *one = topic->attachments; one; one = one->next)
		if (one->type->take_event && one->type->take_event(one, generation, event))
			return true;
	return false;
}
