/* SPDX-License-Identifier: MIT */
/* door.c - see door.h. */
#include "door.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control_limit.h"
#include "daemon/limit.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "os/os.h"

enum { N_PLACES = LIMIT_CONTROL_CONNECTIONS, TICK_MS = 1000 };

struct place {
	bool used;
	int fd;
	ino_t ino; /* of its socket, which tells it from the next with this number */
	uid_t uid;
	enum door_state state;
	uint64_t since_ns;
};

struct door {
	struct evhttp *http;
	struct evconnlistener *listener;
	struct loop_event *greeter, *rest, *tick;
	bool ticks;
	struct bufferevent *fresh[LIMIT_CONTROL_ACCEPTS_IN_A_ROW]; /* a reference each */
	unsigned n_fresh;
	struct place places[N_PLACES];
};

#define FULL \
	"{\"error\":{\"code\":\"too-many-connections\",\"message\":\"too many control connections\"," \
	"\"hint\":\"close some of your own, or try again later\"}}"

/* --- places ---------------------------------------------------------------------------------------- */

static bool is_there(const struct place *place)
{
	struct stat st;

	return place->used && fstat(place->fd, &st) == 0 && st.st_ino == place->ino;
}

static struct place *find(struct door *door, int fd)
{
	for (unsigned i = 0; i < N_PLACES; i++)
		if (door->places[i].used && door->places[i].fd == fd)
			return is_there(&door->places[i]) ? &door->places[i] : NULL;
	return NULL;
}

static void sweep(struct door *door)
{
	for (unsigned i = 0; i < N_PLACES; i++)
		door->places[i].used = is_there(&door->places[i]);
}

bool door_is_used(const struct door *door)
{
	for (unsigned i = 0; i < N_PLACES; i++)
		if (is_there(&door->places[i]))
			return true;
	return door->n_fresh > 0;
}

/* NULL: there is none for this user. */
static struct place *free_place(struct door *door, uid_t uid)
{
	unsigned n = 0, n_of_user = 0;
	struct place *place = NULL;

	for (unsigned i = 0; i < N_PLACES; i++) {
		if (!door->places[i].used)
			place = &door->places[i];
		n += door->places[i].used;
		n_of_user += door->places[i].used && door->places[i].uid == uid;
	}
	if (uid != 0 && (n_of_user >= LIMIT_CONTROL_USER || n >= N_PLACES - LIMIT_CONTROL_KEPT))
		return NULL;
	return place;
}

/* --- time ------------------------------------------------------------------------------------------ */

/* Only while somebody is there who may not stay for ever. */
static void set_tick(struct door *door)
{
	if (door->ticks)
		return;
	door->ticks = true;
	loop_set(door->tick, TICK_MS);
}

bool door_note(struct door *door, int fd, enum door_state state)
{
	struct place *place = find(door, fd);

	if (!place)
		return false;
	place->state = state;
	place->since_ns = os_now_ns();
	if (state != DOOR_STREAMS)
		set_tick(door);
	return true;
}

static void tick(void *arg)
{
	struct door *door = arg;
	uint64_t now = os_now_ns();

	door->ticks = false;
	sweep(door);
	for (unsigned i = 0; i < N_PLACES; i++) {
		struct place *place = &door->places[i];
		uint64_t ms = place->state == DOOR_WAITS ? LIMIT_CONTROL_WAIT_MS : LIMIT_CONTROL_TAKE_MS;

		if (!place->used || place->state == DOOR_STREAMS)
			continue;
		set_tick(door);
		if (now - place->since_ns < ms * 1000000)
			continue;
		/* evhttp finds the end of it, and closes. */
		(void)shutdown(place->fd, SHUT_RDWR);
	}
}

/* --- coming ---------------------------------------------------------------------------------------- */

static void refuse(int fd, const struct os_peer *peer)
{
	char text[512];
	int n;

	log_event(REASON_CONTROL, "too many control connections: one of process %d, user %u is refused", (int)peer->pid,
	          (unsigned)peer->uid);
	n = snprintf(text, sizeof(text),
	             "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
	             "Content-Length: %zu\r\n\r\n" FULL,
	             sizeof(FULL) - 1);
	(void)send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)shutdown(fd, SHUT_RDWR);
}

static void admit(struct door *door, int fd, ino_t ino)
{
	struct os_peer peer = { .uid = (uid_t)-1 };
	struct place *place = os_peer_credentials(fd, &peer) == 0 ? free_place(door, peer.uid) : NULL;

	if (!place) {
		refuse(fd, &peer);
		return;
	}
	*place = (struct place){ .used = true, .fd = fd, .ino = ino, .uid = peer.uid, .since_ns = os_now_ns() };
	set_tick(door);
}

/* Those that have come in this round: now evhttp has given them their descriptors. */
static void greet(void *arg)
{
	struct door *door = arg;

	sweep(door);
	for (unsigned i = 0; i < door->n_fresh; i++) {
		int fd = bufferevent_getfd(door->fresh[i]);
		struct stat before, after;
		bool was_there = fd >= 0 && fstat(fd, &before) == 0;

		bufferevent_decref(door->fresh[i]);
		/* Was that the last reference? Then it has gone again. */
		if (was_there && fstat(fd, &after) == 0 && after.st_ino == before.st_ino)
			admit(door, fd, after.st_ino);
	}
	door->n_fresh = 0;
	evconnlistener_enable(door->listener);
}

/* One has been accepted; which, only greet can tell. */
static struct bufferevent *make_bufferevent(struct event_base *base, void *arg)
{
	struct door *door = arg;
	struct bufferevent *bev;

	/* Without one evhttp makes its own, which has no place here: door_note says so. */
	if (door->n_fresh == LIMIT_CONTROL_ACCEPTS_IN_A_ROW)
		return NULL;
	bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (!bev)
		return NULL;
	/* Who sends on while nobody reads waits. */
	bufferevent_setwatermark(bev, EV_READ, 0, LIMIT_CONTROL_AHEAD);
	bufferevent_incref(bev);
	door->fresh[door->n_fresh++] = bev;
	if (door->n_fresh == 1)
		loop_call_soon(door->greeter);
	if (door->n_fresh == LIMIT_CONTROL_ACCEPTS_IN_A_ROW)
		evconnlistener_disable(door->listener); /* until then: which ends this round's */
	return bev;
}

static void cannot_accept(struct evconnlistener *listener, void *arg)
{
	struct door *door = arg;

	log_event(REASON_ACCEPT_FAILED, "a control connection cannot be accepted: %s", strerror(errno));
	evconnlistener_disable(listener);
	loop_set(door->rest, LIMIT_ACCEPT_REST_MS);
}

static void rested(void *arg)
{
	struct door *door = arg;

	evconnlistener_enable(door->listener);
}

struct door *door_new(struct loop *loop, struct evhttp *http, int socket)
{
	struct door *door = calloc(1, sizeof(*door));

	if (!door)
		return NULL;
	door->http = http;
	door->greeter = loop_timer(loop, greet, door);
	door->rest = loop_timer(loop, rested, door);
	door->tick = loop_timer(loop, tick, door);
	if (door->greeter && door->rest && door->tick)
		door->listener = evconnlistener_new(loop_base(loop), NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, socket);
	if (!door->listener)
		return door_free(door);
	evconnlistener_set_error_cb(door->listener, cannot_accept);
	evhttp_set_bevcb(http, make_bufferevent, door);
	if (!evhttp_bind_listener(http, door->listener)) {
		evconnlistener_free(door->listener);
		return door_free(door);
	}
	return door;
}

void door_close(struct door *door)
{
	evconnlistener_disable(door->listener);
	for (unsigned i = 0; i < door->n_fresh; i++)
		bufferevent_decref(door->fresh[i]);
	door->n_fresh = 0;
}

/* The listener is evhttp's. */
struct door *door_free(struct door *door)
{
	if (!door)
		return NULL;
	loop_event_free(door->greeter);
	loop_event_free(door->rest);
	loop_event_free(door->tick);
	free(door);
	return NULL;
}
