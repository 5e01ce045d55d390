/* SPDX-License-Identifier: MIT */
/*
 * client.c - connections: coming and ending; reading.c and sending.c are what goes on meanwhile.
 *
 * A connection that is to end is marked, does nothing any more, and is freed in the loop's next round, so
 * nobody has to ask after each call whether it still exists. Memory per connection is bounded: nothing is read
 * from one that has too much pending.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "counts.h"
#include "departure.h"
#include "happening.h"
#include "idle.h"
#include "limit.h"
#include "log.h"
#include "opening.h"
#include "options.h"
#include "os/os.h"
#include "region_frames.h"
#include "roster.h"
#include "subscriber.h"
#include "syncing.h"
#include "topic.h"

#define MEMBERS_IN_A_ROW 256 /* that leave before others get their turn */

struct clients {
	const struct context *context;
	struct client *live, *ended, *departing;
	struct roster roster; /* of those that live */
	size_t n;
	struct loop_event *reaper;
};

enum { N_CLIENT_COSTS = 2 };
static const struct cost client_costs[N_CLIENT_COSTS] = { { CHARGE_CONNECTIONS, 1 }, { CHARGE_DESCRIPTORS, 1 } };

/* What is kept of who it is: there may be 65536 groups. */
static uint64_t groups_cost(const struct identity *identity)
{
	return identity ? identity->n_groups * sizeof(*identity->groups) : 0;
}

static void list_add(struct client **list, struct client *client)
{
	client->next = *list;
	client->at = list;
	if (*list)
		(*list)->at = &client->next;
	*list = client;
}

static void list_remove(struct client *client)
{
	*client->at = client->next;
	if (client->next)
		client->next->at = client->at;
}

/* --- ending ---------------------------------------------------------------------------------------- */

/* Nothing is read or handled any more, and nothing is told. */
static void stop_work(struct client *client)
{
	client->ending = true;
	share_leave(&client->read_turn);
	share_leave(&client->read_wait);
	share_leave(&client->pump_turn);
	share_leave(&client->pump_wait);
	client->pump = loop_event_free(client->pump);
	client->namer = loop_event_free(client->namer);
	client->readable = loop_event_free(client->readable);
}

void client_finish(struct client *client, enum leave how)
{
	if (client->ended)
		return;
	stop_work(client);
	client->ended = true;
	client->how = how;
	client->writable = loop_event_free(client->writable);
	client->timer = loop_event_free(client->timer);
	list_remove(client);
	list_add(&client->clients->ended, client);
	client->clients->n--;
	roster_remove(&client->clients->roster, client->number);
	happening_note(HAPPENING_CLIENT_GONE, .client = client->number, .pid = client->pid, .uid = client->uid, .has_uid = true);
	client->number = 0;
	loop_call_soon(client->clients->reaper);
}

void client_drop(struct client *client, enum drop why, const char *text)
{
	unsigned char frame[WIRE_SMALL_FRAME];

	if (client->ending)
		return;
	drop_note(why, client->pid, text);
	stop_work(client);
	client_send_last(client, frame, wire_put_error(frame, 0, drop_error(why), text ? text : drop_text(why)));
}

void client_refuse(int socket, int error, const char *text)
{
	unsigned char frame[WIRE_SMALL_FRAME];

	(void)send(socket, frame, wire_put_error(frame, 0, error, text), MSG_NOSIGNAL | MSG_DONTWAIT);
	close(socket);
}

/* A worker may have it too for a moment, and hang: that is not to keep it open. What is left to do for its members may need it. */
static void hang_up(struct client *client)
{
	if (client->socket < 0)
		return;
	if (client->context->forker) {
		(void)shutdown(client->socket, SHUT_RDWR);
		client->held = identity_hold(client->identity);
	}
	identity_end(client->identity);
	client->socket = -1;
}

/* Everything but the members, which the caller has taken out or frees with their topics. */
static void client_free(struct client *client)
{
	while (client->n_openings > 0)
		opening_cancel(client->openings[--client->n_openings]);
	while (client->syncs)
		syncing_free(client->syncs);
	restoring_cancel(client, NULL);
	for (uint32_t i = 0; i < client->members_size; i++)
		if (client->members[i])
			subscriber_free(client->members[i]);
	endpoints_client_ends(client);
	list_remove(client);
	roster_remove(&client->clients->roster, client->number);
	departure_free(client->departure);
	stop_work(client);
	loop_event_free(client->writable);
	loop_event_free(client->timer);
	hang_up(client);
	user_release(client->user, CHARGE_QUEUE_BYTES, groups_cost(client->identity));
	identity_release(client->held);
	identity_unref(client->identity);
	client_forget_out(client);
	user_release(client->user, CHARGE_IN_FLIGHT, client->n_in_flight);
	reading_forget(client);
	free(client->openings);
	free(client->members);
	user_release_costs(client->user, client_costs, N_CLIENT_COSTS);
	if (user_has(client->user, CHARGE_CONNECTIONS) == 0)
		user_tell_refused(client->user);
	user_unref(client->user);
	free(client);
}

static bool has_lanes(const struct client *client)
{
	for (uint32_t i = 0; i < client->members_size; i++)
		if (client->members[i] && !client->members[i]->subscriber)
			return true;
	return false;
}

static void departed(void *arg, bool is_gone)
{
	struct client *client = arg;

	client->departure = departure_free(client->departure);
	client->how = is_gone ? LEAVE_DIED : LEAVE_LOST;
	list_remove(client);
	list_add(&client->clients->ended, client);
	loop_call_soon(client->clients->reaper);
}

/* One that may have lanes mapped leaves them once its process has ended, if that is soon. */
static bool departs(struct client *client)
{
	struct clients *clients = client->clients;

	if (client->how != LEAVE_LOST || client->departure_is_over || !has_lanes(client))
		return false;
	client->departure_is_over = true;
	client->departure = departure_new(client->context->loop, client->pid, departed, client);
	if (!client->departure)
		return false;
	list_remove(client);
	list_add(&clients->departing, client);
	return true;
}

/* Takes some of its members out. Returns whether none is left. */
static bool reap(struct client *client)
{
	uint64_t end_ns = os_now_ns() + LIMIT_USER_TURN_NS; /* each may have held something in a large ring */
	unsigned n = 0;

	while (client->members_size > 0 && n < MEMBERS_IN_A_ROW && (n == 0 || os_now_ns() < end_ns)) {
		struct member *member = client->members[--client->members_size];

		if (!member)
			continue;
		membership_end(client->context, member, client->how);
		n++;
	}
	return client->members_size == 0;
}

static void reap_ended(void *arg)
{
	struct clients *clients = arg;
	struct client *client = clients->ended;

	if (client && client->socket >= 0) {
		hang_up(client);
		while (client->n_openings > 0)
			opening_cancel(client->openings[--client->n_openings]);
		while (client->syncs)
			syncing_free(client->syncs);
		endpoints_client_ends(client); /* at once: who listens without a connection cannot be introduced */
		restoring_cancel(client, NULL);
		reading_forget(client);
		client_forget_out(client); /* nor do the descriptors in there wait for its process */
	}
	if (client && !departs(client) && reap(client))
		client_free(client);
	if (clients->ended)
		loop_call_soon(clients->reaper);
	else
		idle_note(clients->context->idle);
}

/* --- coming ---------------------------------------------------------------------------------------- */

/* No greeting came, the pause after ETOOMANYREFS is over, or the last words were not taken: never two of them. */
static void timer(void *arg)
{
	struct client *client = arg;

	if (client->ending) {
		client_finish(client, LEAVE_LOST);
		return;
	}
	if (!client->greeted) {
		client_drop(client, DROP_SILENT, NULL);
		return;
	}
	client->resting = false;
	client_writable(client);
}

/* Takes the reference to the user, what is charged for a connection, and the identity over in any case. */
static struct client *client_new(struct clients *clients, int socket, const struct os_peer *peer, struct user *user,
                                 struct identity *identity)
{
	struct loop *loop = clients->context->loop;
	struct client *client = calloc(1, sizeof(*client));

	if (!client) {
		user_release_costs(user, client_costs, N_CLIENT_COSTS);
		user_release(user, CHARGE_QUEUE_BYTES, groups_cost(identity));
		user_unref(user);
		identity_unref(identity);
		return NULL;
	}
	*client = (struct client){ .clients = clients, .context = clients->context, .socket = socket, .user = user,
	                            .uid = peer->uid, .gid = peer->gid, .pid = peer->pid, .identity = identity };
	client->out_last = &client->out;
	reading_init(client);
	queue_init(&client->due);
	queue_init(&client->naming);
	endpoint_user_init(&client->endpoints);
	list_add(&clients->live, client);
	client->openings = calloc(LIMIT_CLIENT_OPENINGS, sizeof(struct opening *));
	client->readable = loop_on_readable(loop, socket, reading_readable, client);
	client->writable = loop_on_writable(loop, socket, client_writable, client);
	client->timer = loop_timer(loop, timer, client);
	client->since_ns = os_now_ns();
	if (client->openings && client->readable && client->writable && client->timer &&
	    roster_add(&clients->roster, client, &client->number) == 0)
		return client;
	client->socket = -1; /* stays the caller's */
	client_free(client);
	return NULL;
}

static void refuse(int socket, enum drop why, pid_t pid, const char *text)
{
	drop_note(why, pid, text);
	client_refuse(socket, drop_error(why), text ? text : drop_text(why));
}

/* Charges its user for it, or refuses it. */
static bool admit(int socket, const struct os_peer *peer, struct user *user)
{
	const char *limit = NULL;
	int r = user_charge_costs(user, client_costs, N_CLIENT_COSTS, &limit);

	if (r == 0 && !user_may_have(user, CHARGE_QUEUE_BYTES, LIMIT_USER_QUEUE_ROOM)) {
		/* What it sent would wait for others of its user to take what they are sent: that may be for ever. */
		user_release_costs(user, client_costs, N_CLIENT_COSTS);
		user_note_refusal(user, CHARGE_QUEUE_BYTES, -EDQUOT);
		limit = user_refusal(user, CHARGE_QUEUE_BYTES);
		r = -EDQUOT;
	}
	if (r < 0)
		refuse(socket, r == -EDQUOT ? DROP_QUOTA : r == -EMFILE ? DROP_NO_DESCRIPTORS : DROP_TOO_MANY, peer->pid,
		       r == -EDQUOT ? limit : NULL);
	return r == 0;
}

void clients_add(struct clients *clients, int socket)
{
	const struct options *options = clients->context->options;
	int send_buffer = LIMIT_CLIENT_SEND_BUFFER;
	char text[WIRE_MAX_TEXT];
	struct identity *identity;
	struct client *client;
	struct user *user;
	struct os_peer peer;

	counts.accepted++;
	os_refuse_descriptors(socket);
	if (os_peer_credentials(socket, &peer) < 0) {
		refuse(socket, DROP_BROKEN, 0, NULL);
		return;
	}
	if (!options->system && peer.uid != geteuid()) {
		snprintf(text, sizeof(text), "this pathbusd serves user %u only, not user %u", (unsigned)geteuid(),
		         (unsigned)peer.uid);
		refuse(socket, DROP_USER, peer.pid, text);
		return;
	}
	if (!os_is_one_user(peer.uid)) {
		refuse(socket, DROP_USER, peer.pid, "this pathbusd's user namespace does not have this user");
		return;
	}
	if (users_get(clients->context->users, peer.uid, &user) < 0) {
		refuse(socket, DROP_NO_MEMORY, peer.pid, NULL);
		return;
	}
	if (!admit(socket, &peer, user)) {
		user_unref(user);
		return;
	}
	(void)setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
	/* Of a user's daemon only [rights] want the groups, which may come to be there while the connection is. */
	if (identity_new(socket, &peer, true, &identity) < 0 &&
	    (options->system || options->narrow || identity_new(socket, &peer, false, &identity) < 0)) {
		refuse(socket, DROP_NO_MEMORY, peer.pid, NULL);
		user_release_costs(user, client_costs, N_CLIENT_COSTS);
		user_unref(user);
		return;
	}
	if (user_charge(user, CHARGE_QUEUE_BYTES, groups_cost(identity)) < 0) {
		refuse(socket, DROP_QUOTA, peer.pid, user_refusal(user, CHARGE_QUEUE_BYTES));
		user_release_costs(user, client_costs, N_CLIENT_COSTS);
		identity_unref(identity);
		user_unref(user);
		return;
	}
	client = client_new(clients, socket, &peer, user, identity);
	if (!client) {
		refuse(socket, DROP_NO_MEMORY, peer.pid, NULL);
		return;
	}
	clients->n++;
	happening_note(HAPPENING_CLIENT_CONNECTED, .client = client->number, .pid = client->pid, .uid = client->uid, .has_uid = true);
	loop_set(client->timer, options->hello_ms);
}

struct clients *clients_new(const struct context *context)
{
	struct clients *clients = calloc(1, sizeof(*clients));

	if (!clients)
		return NULL;
	clients->context = context;
	clients->reaper = loop_timer(context->loop, reap_ended, clients);
	if (!clients->reaper) {
		free(clients);
		return NULL;
	}
	return clients;
}

struct clients *clients_free(struct clients *clients)
{
	if (!clients)
		return NULL;
	while (clients->live)
		client_free(clients->live);
	while (clients->ended)
		client_free(clients->ended);
	while (clients->departing)
		client_free(clients->departing);
	loop_event_free(clients->reaper);
	roster_deinit(&clients->roster);
	free(clients);
	return NULL;
}

struct client *clients_find(const struct clients *clients, uint64_t number)
{
	return roster_find(&clients->roster, number);
}

struct client *clients_after(const struct clients *clients, uint64_t number)
{
	return roster_after(&clients->roster, number);
}

void clients_note_taken(struct clients *clients, struct user *user)
{
	/* It costs a look at each connection; others of that user which wait for the same have just had it done. */
	if (!user_may_look(user, os_now_ns()))
		return;
	for (struct client *client = clients->live; client; client = client->next) {
		if (client->user != user || client->n_in_flight == 0 || os_unread(client->socket) != 0)
			continue;
		user_release(client->user, CHARGE_IN_FLIGHT, client->n_in_flight);
		client->n_in_flight = 0;
	}
}

size_t clients_count(const struct clients *clients)
{
	return clients->n;
}

bool clients_are_gone(const struct clients *clients)
{
	return !clients->live && !clients->ended && !clients->departing;
}
