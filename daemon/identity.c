/* SPDX-License-Identifier: MIT */
/* identity.c - who is at the other end of a connection. */
#include "identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int identity_new(int socket, const struct os_peer *peer, bool groups, struct identity **ret)
{
	struct identity *identity = calloc(1, sizeof(*identity));
	int r = 0;

	if (!identity)
		return -ENOMEM;
	*identity = (struct identity){ .n_refs = 1, .socket = socket, .pid = peer->pid, .uid = peer->uid, .gid = peer->gid };
	if (groups)
		r = os_peer_groups(socket, &identity->groups, &identity->n_groups);
	if (r < 0) {
		free(identity);
		return r;
	}
	*ret = identity;
	return 0;
}

struct identity *identity_ref(struct identity *identity)
{
	identity->n_refs++;
	return identity;
}

struct identity *identity_unref(struct identity *identity)
{
	if (identity && --identity->n_refs == 0) {
		free(identity->groups);
		free(identity);
	}
	return NULL;
}

static void close_if_done(struct identity *identity)
{
	if (!identity->ended || identity->n_holds > 0 || identity->socket < 0)
		return;
	close(identity->socket);
	identity->socket = -1;
}

void identity_end(struct identity *identity)
{
	identity->ended = true;
	close_if_done(identity);
}

struct identity *identity_hold(struct identity *identity)
{
	identity->n_holds++;
	return identity_ref(identity);
}

void identity_release(struct identity *identity)
{
	if (!identity)
		return;
	identity->n_holds--;
	close_if_done(identity);
	identity_unref(identity);
}

bool identity_is_same(const struct identity *a, const struct identity *b)
{
	return a->uid == b->uid && a->gid == b->gid && a->n_groups == b->n_groups &&
	       (a->n_groups == 0 || memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)) == 0);
}
