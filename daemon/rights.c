/* SPDX-License-Identifier: MIT */
/* rights.c - see rights.h. */
#include "rights.h"

#include "narrow.h"
#include "topic.h"
#include "wire.h"

uint32_t rights_of(const struct options *options, const struct identity *identity, const struct files_reply *reply,
                   const struct topic *topic, uint32_t *ret_narrowed)
{
	const struct narrow_who who = {
		.uid = identity->uid, .gid = identity->gid, .groups = identity->groups, .n_groups = identity->n_groups,
	};
	uint32_t rights = (reply->may_read ? WIRE_RIGHT_SUBSCRIBE : 0u) | (reply->may_write ? WIRE_RIGHT_POST : 0u), left;

	/* With several users a read-only mount may stand between two of them. */
	if (options->system && reply->read_only)
		rights &= ~(uint32_t)WIRE_RIGHT_POST;
	left = narrow_rights(options->narrow, reply->path, &who, rights);
	if (topic && topic->names && topic->names->next)
		for (const struct topic_name *name = topic->names; name; name = name->next)
			left = narrow_rights(options->narrow, name->is_foreign || !name->path ? "" : name->path, &who, left);
	if (ret_narrowed)
		*ret_narrowed = rights & ~left;
	return left;
}
