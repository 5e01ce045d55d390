/* SPDX-License-Identifier: MIT */
/*
 * peer.c - where a topic's sidecar lies: beside the file, or in the runtime folder, and why.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

/* Folders in which the runtime folder itself lives could be asked about forever. */
#define RUNTIME_TRIES 3

static bool exists(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void fill_joined(struct joined *ret, const struct sidecar *sidecar)
{
	ret->place = PLACE_PEER;
	ret->sidecar = *sidecar;
	ret->page = sidecar->file;
	ret->bell = sidecar->bell;
	ret->slot = sidecar->slot >= 0 ? (uint32_t)sidecar->slot : WIRE_NO_SLOT;
}

/* In the runtime folder, under a name made from the key: one place only, so that all processes agree. */
static int join_runtime(const struct topic_key *key, const struct lane_shape *shape, struct joined *ret)
{
	char name[KEY_NAME_MAX + 1];
	struct sidecar sidecar = SIDECAR_NONE;
	bool unmakeable;
	int r = -ENOENT;

	key_runtime_name(key, name);
	for (int i = 0; i < RUNTIME_TRIES && r == -ENOENT; i++) { /* somebody may be removing the empty folder */
		int dir = sidecar_runtime_folder();

		if (dir < 0)
			return dir;
		r = sidecar_enter(dir, name, key, shape, ret->deadline_ns, &sidecar, &unmakeable);
		close(dir);
	}
	if (r < 0)
		return r;
	ret->in_runtime_folder = true;
	fill_joined(ret, &sidecar);
	return 0;
}

/* Whoever sits in the runtime folder while there is a sidecar beside the file has to come over: posts that
 * they make from now on would not reach us. */
static int call_over(const struct topic_key *key)
{
	char name[KEY_NAME_MAX + 1];
	int dir = sidecar_runtime_folder(), r;

	if (dir < 0) /* else nobody can be there */
		return dir == -EMFILE || dir == -ENFILE || dir == -ENOMEM ? dir : 0;
	key_runtime_name(key, name);
	r = sidecar_kick(dir, name, key);
	close(dir);
	return r;
}

static int join_beside(const struct place *place, const struct lane_shape *shape, struct joined *ret, bool *ret_unmakeable)
{
	char name[KEY_NAME_MAX + 1];
	struct sidecar sidecar = SIDECAR_NONE;
	int r;

	key_sidecar_name(&place->key, name);
	r = sidecar_enter(place->dir, name, &place->key, shape, ret->deadline_ns, &sidecar, ret_unmakeable);
	if (r < 0)
		return r;
	r = call_over(&place->key);
	if (r < 0) {
		sidecar_leave(&sidecar, NULL);
		return r;
	}
	fill_joined(ret, &sidecar);
	return 0;
}

static void watch_folder(pathbus_topic *topic, int dir)
{
	int id;

	if (topic->folder_watch > 0)
		return;
	id = control_watch_folder(topic->bus, dir);
	topic->folder_watch = id > 0 ? id : 0;
}

/* Beside the file if that can be, else in the runtime folder; then with an eye on the file's folder, which is
 * taken first and looked at once more afterwards. */
static int join_at(pathbus_topic *topic, const struct place *place, const struct lane_shape *shape, const char *reason,
                   struct joined *ret)
{
	char name[KEY_NAME_MAX + 1];
	bool unmakeable = false, remote = os_is_remote(place->dir);
	int r = 0;

	if (!remote) {
		r = join_beside(place, shape, ret, &unmakeable);
		if (r == 0 || !unmakeable)
			return r;
		watch_folder(topic, place->dir);
	}
	key_sidecar_name(&place->key, name);
	if (remote)
		snprintf(ret->why, sizeof(ret->why), "%s; the file system spans hosts, this reaches one only",
		         reason);
	else
		snprintf(ret->why, sizeof(ret->why), "%s; the file's folder takes no sidecar (%.60s)", reason,
		         strerror(-r));
	ret->local_only = remote;
	r = join_runtime(&place->key, shape, ret);
	if (r == 0 && !remote && exists(place->dir, name)) {
		/* Came in between. */
		sidecar_leave(&ret->sidecar, NULL);
		ret->in_runtime_folder = false;
		r = join_beside(place, shape, ret, &unmakeable);
	}
	return r;
}

int peer_join(pathbus_topic *topic, uint64_t deadline_ns, struct joined *ret)
{
	struct joined joined = {
		.place = PLACE_PEER, .page = -1, .bell = -1, .sidecar = SIDECAR_NONE, .deadline_ns = deadline_ns
	};
	const char *reason = topic->bus->kind == PATHBUS_PEER ? "asked for" : "no daemon answers";
	struct lane_shape shape;
	struct place place;
	int r = lane_shape_make(topic->ring_slots, topic->max_message, &shape);

	if (r < 0)
		return r;
	snprintf(joined.why, sizeof(joined.why), "%s", reason);
	r = place_resolve(-1, topic->path, &place);
	if (r == 0) {
		joined.may_read = place.may_read;
		joined.may_write = place.may_write;
		r = join_at(topic, &place, &shape, reason, &joined);
		topic->key = place.key;
		topic->has_key = true;
		place_deinit(&place);
	} else if (topic->has_key && (r == -ENOENT || r == -ENOTDIR || r == -EACCES)) {
		/* The folder went away under its members: they go on by the key that they all know. */
		snprintf(joined.why, sizeof(joined.why), "the file's folder is gone");
		joined.may_read = joined.may_write = true;
		r = join_runtime(&topic->key, &shape, &joined);
	}
	if (r == 0)
		*ret = joined;
	return r;
}

bool peer_wants_to_move(pathbus_topic *topic)
{
	char name[KEY_NAME_MAX + 1];
	struct place place;
	bool found;

	if (topic->place != PLACE_PEER || !topic->transport.in_runtime_folder || topic->transport.local_only)
		return false;
	if (place_resolve(-1, topic->path, &place) < 0)
		return false;
	key_sidecar_name(&place.key, name);
	found = exists(place.dir, name);
	place_deinit(&place);
	return found;
}

static int peer_settle(pathbus_topic *topic, uint64_t deadline_ns)
{
	bool is_first = !topic->page;
	struct joined joined;
	int r;

	/* Whoever waits for the daemon may have used all of its time up by now. */
	r = peer_join(topic, os_now_ns() + (deadline_ns ? JOIN_MS : JOIN_QUICKLY_MS) * UINT64_C(1000000), &joined);
	if (r < 0)
		return r;
	/* What was decided at opening stays, unless the daemon has said since that there are no rights. */
	if ((is_first || topic->request_error == -EACCES) && ((topic->subscribed && !joined.may_read) || ((topic->flags & PATHBUS_POST) && !joined.may_write))) {
		joined_release(&joined, NULL);
		return -EACCES;
	}
	if (is_first)
		topic->may_post = joined.may_write && (topic->flags & (PATHBUS_SUBSCRIBE | PATHBUS_POST)) != PATHBUS_SUBSCRIBE;
	return topic_install(topic, &joined);
}

const struct transport transport_peer = { .kind = PATHBUS_PEER, .settle = peer_settle };
