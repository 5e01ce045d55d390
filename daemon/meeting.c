/* SPDX-License-Identifier: MIT */
/* meeting.c - meetings of a name. */
#include "meeting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "identity.h"
#include "user.h"

struct meeting *meeting_find(const struct topic_name *name, const struct user *user)
{
	struct meeting *meeting = name->meetings;

	while (meeting && meeting->user != user)
		meeting = meeting->next;
	return meeting;
}

struct meeting *meeting_get(struct topic_name *name, struct user *user)
{
	struct meeting *meeting = meeting_find(name, user);

	if (meeting)
		return meeting;
	meeting = calloc(1, sizeof(*meeting));
	if (!meeting)
		return NULL;
	meeting->name = name;
	meeting->user = user_ref(user);
	meeting->next = name->meetings;
	name->meetings = meeting;
	return meeting;
}

struct meeting *meeting_free(struct meeting *meeting)
{
	struct meeting **at = &meeting->name->meetings;

	while (*at != meeting)
		at = &(*at)->next;
	*at = meeting->next;
	meeting_hold_identity(meeting, NULL);
	user_unref(meeting->user);
	free(meeting->path);
	free(meeting);
	return NULL;
}

int meeting_set_path(struct meeting *meeting, const char *path)
{
	char *copy = path ? strdup(path) : NULL;

	if (path && !copy)
		return -ENOMEM;
	free(meeting->path);
	meeting->path = copy;
	return 0;
}

const char *meeting_path(const struct meeting *meeting)
{
	return meeting->path ? meeting->path : meeting->name->path;
}

void meeting_hold_identity(struct meeting *meeting, struct identity *identity)
{
	struct identity *old = meeting->identity;

	/* Its connection may have been given back to the account already. */
	if (identity)
		user_charge_anyway(meeting->user, CHARGE_DESCRIPTORS, 1);
	meeting->identity = identity ? identity_hold(identity) : NULL;
	if (old)
		user_release(meeting->user, CHARGE_DESCRIPTORS, 1);
	identity_release(old);
}

struct identity *meeting_identity(const struct meeting *meeting)
{
	struct identity *identity = NULL;

	for (const struct member *member = meeting->name->topic->members; member; member = member->next) {
		if (member->lane->user != meeting->user || !member->identity || member->identity->socket < 0)
			continue;
		identity = member->identity;
		if (member->name == meeting->name)
			break;
	}
	return identity ? identity : meeting->identity;
}
