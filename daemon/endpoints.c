/* SPDX-License-Identifier: MIT */
/*
 * endpoints.c - who listens where, who waits, and introductions.
 *
 * Sending may find that a connection is no good any more. That only marks it: whoever listens or waits by it is taken out
 * in the loop's next round, and counts as gone from then on. So nothing here disappears while it is in use.
 */
#include "endpoints.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "endpoint.h"
#include "happening.h"
#include "limit.h"
#include "loop.h"
#include "os/os.h"
#include "topic.h"

static struct endpoint *endpoint_of(struct queue *of_client)
{
	return queue_container(of_client, struct endpoint, of_client);
}

/* --- by name ----------------------------------------------------------------------------------------- */

static uint64_t hash_name(const struct topic *topic, const char *name, uint32_t size)
{
	uint64_t hash = table_mix((uint64_t)(uintptr_t)topic);

	for (uint32_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001b3);
	return table_mix(hash);
}

struct endpoint *endpoint_find(const struct endpoints *endpoints, const struct topic *topic, const char *name, uint32_t name_size)
{
	struct table_entry *entry = table_first(&endpoints->by_name, hash_name(topic, name, name_size));

	for (; entry; entry = table_next(entry)) {
		struct endpoint *endpoint = table_container(entry, struct endpoint, by_name);

		if (endpoint->topic == topic && endpoint->name_size == name_size && memcmp(endpoint->name, name, name_size) == 0)
			return endpoint;
	}
	return NULL;
}

int endpoint_charge(struct client *client, enum charge charge)
{
	client->endpoints.refused = charge;
	return -user_charge(client->user, charge, 1);
}

const char *endpoint_refusal(const struct client *client)
{
	return user_refusal(client->user, client->endpoints.refused);
}

/* For this connection, which is going to listen or wait there. An errno. */
static int endpoint_new(struct endpoints *endpoints, struct client *client, struct topic *topic, const char *name,
                        uint32_t name_size, struct endpoint **ret)
{
	int error = endpoint_charge(client, CHARGE_ENDPOINTS);
	struct endpoint *endpoint = error ? NULL : calloc(1, sizeof(*endpoint) + name_size);

	if (!error && !endpoint)
		user_release(client->user, CHARGE_ENDPOINTS, 1);
	if (!endpoint)
		return error ? error : ENOMEM;
	endpoint->endpoints = endpoints;
	endpoint->user = user_ref(client->user);
	endpoint->topic = topic;
	endpoint->id = ++endpoints->last_id;
	endpoint->name_size = name_size;
	memcpy(endpoint->name, name, name_size);
	queue_init(&endpoint->waiting);
	queue_init(&endpoint->tokens);
	table_add(&endpoints->by_name, &endpoint->by_name, hash_name(topic, name, name_size));
	endpoint->next = topic->endpoints;
	endpoint->at = &topic->endpoints;
	if (endpoint->next)
		endpoint->next->at = &endpoint->next;
	topic->endpoints = endpoint;
	*ret = endpoint;
	return 0;
}

/* Charged to this one from now on, who was not refused that. */
static void give_to(struct endpoint *endpoint, struct user *user)
{
	user_release(endpoint->user, CHARGE_ENDPOINTS, 1);
	user_unref(endpoint->user);
	endpoint->user = user_ref(user);
}

/* Frees it unless somebody listens or waits there; then it is theirs. */
static void endpoint_tidy(struct endpoint *endpoint)
{
	struct user *user = endpoint->client ? endpoint->client->user : NULL;

	if (!user && endpoint->n_waiting > 0)
		user = queue_container(queue_first(&endpoint->waiting), struct endpoint_waiter, place)->client->user;
	if (user && user != endpoint->user) {
		user_charge_anyway(user, CHARGE_ENDPOINTS, 1); /* no more than it waits there, which is charged as well */
		give_to(endpoint, user);
	}
	if (user)
		return;
	table_remove(&endpoint->endpoints->by_name, &endpoint->by_name);
	*endpoint->at = endpoint->next;
	if (endpoint->next)
		endpoint->next->at = endpoint->at;
	user_release(endpoint->user, CHARGE_ENDPOINTS, 1);
	user_unref(endpoint->user);
	free(endpoint);
}

bool endpoint_is_live(const struct endpoint *endpoint)
{
	return endpoint->client && !endpoint->client->ending && !endpoint->client->unheard && !client_has_hung_up(endpoint->client);
}

bool endpoint_allows(const struct endpoint *endpoint, const struct client *client, const struct member *member)
{
	return client->uid == endpoint->client->uid ||
	       ((endpoint->flags & WIRE_ENDPOINT_READERS) && (member->rights & WIRE_RIGHT_SUBSCRIBE)) ||
	       ((endpoint->flags & WIRE_ENDPOINT_WRITERS) && (member->rights & WIRE_RIGHT_POST));
}

/* --- introductions ------------------------------------------------------------------------------------- */

static struct wire_connection other_end(const struct endpoint *endpoint, const struct client *client)
{
	return (struct wire_connection){
		.endpoint = endpoint->number, .pid = (uint32_t)client->pid, .uid = client->uid, .gid = client->gid,
	};
}

/* Of all its endpoints together: each of them is held up. */
static bool has_many_untaken(const struct client *client)
{
	return client->endpoints.n_untaken >= LIMIT_CLIENT_UNTAKEN;
}

/* Makes a connection, and sends both ends away. 0, ECONNREFUSED (nobody listens), EAGAIN (who does has not taken those
 * before), or what failed. */
static int introduce(struct endpoint *endpoint, struct client *client, uint32_t request)
{
	bool is_packets = (endpoint->flags & WIRE_ENDPOINT_SEQPACKET) != 0;
	struct client *listener = endpoint->client;
	struct wire_connection theirs;
	struct wire_connected ours;
	unsigned char frame[64];
	int pair[2], r;

	if (!endpoint_is_live(endpoint))
		return ECONNREFUSED;
	if (endpoint->n_untaken >= LIMIT_ENDPOINT_UNTAKEN || has_many_untaken(listener))
		return EAGAIN;
	r = os_socket_pair(is_packets ? SOCK_SEQPACKET : SOCK_STREAM, pair);
	if (r < 0)
		return -r;
	theirs = other_end(endpoint, client);
	ours = (struct wire_connected){ .pid = (uint32_t)listener->pid, .uid = listener->uid, .gid = listener->gid,
		                        .flags = is_packets ? (uint32_t)WIRE_ENDPOINT_SEQPACKET : 0u };
	/* The listener first: who is told to be connected is. */
	if (!client_send_fd(listener, frame, wire_put_connection(frame, &theirs), pair[0])) {
		close(pair[1]);
		return ECONNREFUSED;
	}
	endpoint->n_untaken++;
	listener->endpoints.n_untaken++;
	(void)client_send_fd(client, frame, wire_put_connected(frame, request, &ours), pair[1]);
	return 0;
}

/* --- waiting --------------------------------------------------------------------------------------------- */

static struct endpoint_waiter *waiter_of(struct queue *place)
{
	return place ? queue_container(place, struct endpoint_waiter, place) : NULL;
}

/* The endpoint may be one that nobody listens at or waits for now: endpoint_tidy. */
static void waiter_free(struct endpoint_waiter *waiter)
{
	queue_remove(&waiter->place);
	queue_remove(&waiter->of_client);
	waiter->endpoint->n_waiting--;
	waiter->client->endpoints.n_waiting--;
	user_release(waiter->client->user, CHARGE_CONNECTS, 1);
	loop_event_free(waiter->timer);
	free(waiter);
}

static void waiter_fail(struct endpoint_waiter *waiter, int error)
{
	struct client *client = waiter->client;
	uint32_t request = waiter->request;

	waiter_free(waiter);
	client_send_error(client, request, error, endpoint_reason(error));
}

static void waited(void *arg)
{
	struct endpoint_waiter *waiter = arg;
	struct endpoint *endpoint = waiter->endpoint;
	uint64_t now = os_now_ns();

	/* The loop's clock is a coarse one. */
	if (now < waiter->deadline_ns) {
		loop_set(waiter->timer, (unsigned)((waiter->deadline_ns - now) / 1000000u) + 1);
		return;
	}
	waiter_fail(waiter, ETIMEDOUT);
	endpoint_tidy(endpoint);
}

/* Somebody listens there now, or has room again. */
static void serve_waiting(struct endpoint *endpoint)
{
	struct endpoint_waiter *waiter;

	while ((waiter = waiter_of(queue_first(&endpoint->waiting)))) {
		int error = 0;

		if (!endpoint_is_live(endpoint))
			break;
		if (waiter->client->ending || waiter->client->unheard) {
			waiter_free(waiter);
			continue;
		}
		if (waiter->member && !endpoint_allows(endpoint, waiter->client, waiter->member))
			error = EACCES;
		else
			error = introduce(endpoint, waiter->client, waiter->request);
		if (error == EAGAIN || error == ECONNREFUSED)
			break;
		if (error)
			waiter_fail(waiter, error);
		else
			waiter_free(waiter);
	}
	endpoint_tidy(endpoint);
}

/* 0, or an errno. */
static int wait_there(struct endpoint *endpoint, struct client *client, const struct member *member, uint32_t request,
                      uint32_t timeout_ms)
{
	bool has_end = timeout_ms != WIRE_NO_TIMEOUT;
	struct endpoint_waiter *waiter;
	int error;

	if (client->endpoints.n_waiting >= LIMIT_CLIENT_CONNECTS)
		return EBUSY;
	error = endpoint_charge(client, CHARGE_CONNECTS);
	if (error)
		return error;
	waiter = calloc(1, sizeof(*waiter));
	if (waiter && has_end)
		waiter->timer = loop_timer(client->context->loop, waited, waiter);
	if (!waiter || (has_end && !waiter->timer)) {
		free(waiter);
		user_release(client->user, CHARGE_CONNECTS, 1);
		return ENOMEM;
	}
	if (has_end) {
		waiter->deadline_ns = os_now_ns() + timeout_ms * UINT64_C(1000000);
		loop_set(waiter->timer, timeout_ms);
	}
	waiter->endpoint = endpoint;
	waiter->client = client;
	waiter->member = member;
	waiter->request = request;
	queue_move(&endpoint->waiting, &waiter->place);
	queue_move(&client->endpoints.waiting, &waiter->of_client);
	endpoint->n_waiting++;
	client->endpoints.n_waiting++;
	return 0;
}

int endpoint_meet(struct endpoint *endpoint, struct client *client, const struct member *member, uint32_t request,
                  uint32_t timeout_ms)
{
	int error = ECONNREFUSED;

	if (endpoint_is_live(endpoint) && member && !endpoint_allows(endpoint, client, member))
		return EACCES;
	/* Those that wait there came first. */
	if (endpoint_is_live(endpoint))
		error = endpoint->n_waiting > 0 ? EAGAIN : introduce(endpoint, client, request);
	if (timeout_ms > 0 && (error == EAGAIN || (error == ECONNREFUSED && member)))
		error = wait_there(endpoint, client, member, request, timeout_ms);
	return error;
}

int endpoint_connect(struct client *client, struct member *member, uint32_t request, const struct wire_connect *connect)
{
	struct endpoints *endpoints = client->context->endpoints;
	struct topic *topic = member->name->topic;
	struct endpoint *endpoint = endpoint_find(endpoints, topic, connect->name, connect->name_size);
	int error;

	if (!endpoint && connect->timeout_ms == 0)
		return ECONNREFUSED;
	error = endpoint ? 0 : endpoint_new(endpoints, client, topic, connect->name, connect->name_size, &endpoint);
	if (error)
		return error;
	error = endpoint_meet(endpoint, client, member, request, connect->timeout_ms);
	endpoint_tidy(endpoint);
	return error;
}

void endpoint_cancel(struct client *client, uint32_t request)
{
	struct queue *all = &client->endpoints.waiting;

	for (struct queue *place = all->next; place != all; place = place->next) {
		struct endpoint_waiter *waiter = queue_container(place, struct endpoint_waiter, of_client);
		struct endpoint *endpoint = waiter->endpoint;

		if (waiter->request != request)
			continue;
		waiter_free(waiter);
		endpoint_tidy(endpoint);
		return;
	}
}

/* --- listening ------------------------------------------------------------------------------------------- */

/* From now on nobody listens there. Those who wait go on waiting, unless it was for this one. */
static void note(const struct endpoint *endpoint, const char *what)
{
	happening_note(HAPPENING_ENDPOINT, .topic = endpoint->topic->number, .path = topic_path(endpoint->topic), .name = endpoint->name,
	               .name_size = endpoint->name_size, .client = endpoint->client->number, .pid = endpoint->client->pid,
	               .uid = endpoint->client->uid, .has_uid = true, .what = what);
}

static void listener_ends(struct endpoint *endpoint)
{
	struct queue *all = &endpoint->waiting;

	note(endpoint, "gone");
	tokens_endpoint_ends(endpoint);
	queue_remove(&endpoint->of_client);
	endpoint->client->endpoints.n_listening--;
	endpoint->client->endpoints.n_untaken -= endpoint->n_untaken;
	endpoint->n_untaken = 0;
	endpoint->client = NULL;
	endpoint->member = NULL;
	for (struct queue *place = all->next, *next; place != all; place = next) {
		struct endpoint_waiter *waiter = waiter_of(place);

		next = place->next;
		if (!waiter->member)
			waiter_fail(waiter, ECONNREFUSED);
	}
}

/* All of its endpoints were held up, and are not any more. */
static void serve_all(struct client *client)
{
	struct queue *all = &client->endpoints.listening;

	for (struct queue *place = all->next, *next; place != all; place = next) {
		next = place->next;
		serve_waiting(endpoint_of(place));
	}
}

/* The next has the place. */
static void take_from(struct endpoint *endpoint)
{
	struct client *before = endpoint->client;
	bool was_full = has_many_untaken(before);
	const struct wire_unlistened body = { .endpoint = endpoint->number, .error = EADDRINUSE };
	unsigned char frame[64];

	client_send(before, frame, wire_put_unlistened(frame, &body), NULL, 0, NULL);
	listener_ends(endpoint);
	if (was_full)
		serve_all(before);
}

int endpoint_listen(struct client *client, struct member *member, const struct wire_listen *listen, uint32_t *ret_number)
{
	struct endpoints *endpoints = client->context->endpoints;
	struct endpoint *endpoint;
	int error = 0;

	if (!(member->rights & WIRE_RIGHT_POST))
		return EACCES; /* else who may only read could pose as the service */
	if (client->endpoints.n_listening >= LIMIT_CLIENT_ENDPOINTS)
		return EMFILE;
	endpoint = endpoint_find(endpoints, member->name->topic, listen->name, listen->name_size);
	if (endpoint && endpoint_is_live(endpoint)) {
		if (!(listen->flags & WIRE_ENDPOINT_TAKE_OVER))
			return EADDRINUSE;
		if (client->uid != endpoint->client->uid)
			return EPERM;
	}
	if (!endpoint) {
		error = endpoint_new(endpoints, client, member->name->topic, listen->name, listen->name_size, &endpoint);
	} else if (endpoint->user != client->user) {
		error = endpoint_charge(client, CHARGE_ENDPOINTS);
		if (!error)
			give_to(endpoint, client->user);
	}
	if (error)
		return error;
	if (endpoint->client)
		take_from(endpoint);
	endpoint->client = client;
	endpoint->member = member;
	endpoint->flags = listen->flags & ~(uint32_t)WIRE_ENDPOINT_TAKE_OVER;
	endpoint->number = ++client->endpoints.last_number;
	queue_move(&client->endpoints.listening, &endpoint->of_client);
	client->endpoints.n_listening++;
	note(endpoint, "listening");
	*ret_number = endpoint->number;
	return 0;
}

void endpoint_listening(struct client *client)
{
	/* The one that was added last. */
	serve_waiting(endpoint_of(client->endpoints.listening.before));
}

static struct endpoint *find_number(struct client *client, uint32_t number)
{
	struct queue *all = &client->endpoints.listening;

	for (struct queue *place = all->next; place != all; place = place->next)
		if (endpoint_of(place)->number == number)
			return endpoint_of(place);
	return NULL;
}

void endpoint_unlisten(struct client *client, uint32_t number)
{
	struct endpoint *endpoint = find_number(client, number);
	bool was_full = has_many_untaken(client);

	if (!endpoint)
		return; /* another has taken its place, and this one has not heard of it yet */
	listener_ends(endpoint);
	endpoint_tidy(endpoint);
	if (was_full)
		serve_all(client);
}

bool endpoint_taken(struct client *client, const struct wire_taken *taken)
{
	struct endpoint *endpoint = find_number(client, taken->endpoint);
	bool was_full = has_many_untaken(client);

	if (!endpoint)
		return taken->endpoint <= client->endpoints.last_number; /* it was its */
	if (taken->count > endpoint->n_untaken)
		return false;
	endpoint->n_untaken -= taken->count;
	client->endpoints.n_untaken -= taken->count;
	if (was_full)
		serve_all(client);
	else
		serve_waiting(endpoint);
	return true;
}

/* --- lists ----------------------------------------------------------------------------------------------- */

static void fill_entry(const struct endpoint *endpoint, struct wire_endpoint_entry *ret)
{
	uid_t uid;

	*ret = (struct wire_endpoint_entry){
		.pid = (uint32_t)endpoint->client->pid,
		.uid = endpoint->client->uid,
		.flags = endpoint->flags,
		.n_waiting = endpoint->n_untaken + endpoint->n_waiting,
		.name = endpoint->name,
		.name_size = endpoint->name_size,
	};
	(void)os_process_name(endpoint->client->pid, &uid, ret->command, sizeof(ret->command));
	ret->command[sizeof(ret->command) - 1] = '\0';
}

void endpoint_list(struct member *member, uint64_t before, struct wire_endpoints *ret)
{
	*ret = (struct wire_endpoints){ .n = 0 };
	for (const struct endpoint *endpoint = member->name->topic->endpoints; endpoint; endpoint = endpoint->next) {
		if (!endpoint_is_live(endpoint) || (before && endpoint->id >= before))
			continue;
		if (ret->n == WIRE_MAX_ENDPOINTS)
			return; /* and there are more */
		fill_entry(endpoint, &ret->entries[ret->n++]);
		ret->next = endpoint->id;
	}
	ret->next = 0;
}

/* --- beginning and end ----------------------------------------------------------------------------------- */

void endpoint_user_init(struct endpoint_user *user)
{
	queue_init(&user->listening);
	queue_init(&user->waiting);
	queue_init(&user->tokens);
}

/* `member` NULL: all of the connection's. */
static void end_listeners(struct client *client, const struct member *member)
{
	struct queue *all = &client->endpoints.listening;

	for (struct queue *place = all->next, *next; place != all; place = next) {
		struct endpoint *endpoint = endpoint_of(place);

		next = place->next;
		if (member && endpoint->member != member)
			continue;
		listener_ends(endpoint);
		endpoint_tidy(endpoint);
	}
}

static void end_waiters(struct client *client, const struct member *member)
{
	struct queue *all = &client->endpoints.waiting;

	for (struct queue *place = all->next, *next; place != all; place = next) {
		struct endpoint_waiter *waiter = queue_container(place, struct endpoint_waiter, of_client);
		struct endpoint *endpoint = waiter->endpoint;

		next = place->next;
		if (member && waiter->member != member)
			continue;
		if (member)
			waiter_fail(waiter, ECANCELED);
		else
			waiter_free(waiter);
		endpoint_tidy(endpoint);
	}
}

void endpoints_client_ends(struct client *client)
{
	end_waiters(client, NULL);
	end_listeners(client, NULL);
	tokens_client_ends(client);
}

void endpoints_member_ends(struct client *client, const struct member *member)
{
	bool was_full = has_many_untaken(client);

	end_waiters(client, member);
	end_listeners(client, member);
	if (was_full)
		serve_all(client);
}

struct endpoints *endpoints_new(const struct context *context)
{
	struct endpoints *endpoints = calloc(1, sizeof(*endpoints));

	if (!endpoints)
		return NULL;
	endpoints->context = context;
	if (table_init(&endpoints->by_name) < 0) {
		free(endpoints);
		return NULL;
	}
	if (tokens_init(endpoints) < 0) {
		table_deinit(&endpoints->by_name);
		free(endpoints);
		return NULL;
	}
	return endpoints;
}

struct endpoints *endpoints_free(struct endpoints *endpoints)
{
	if (!endpoints)
		return NULL;
	tokens_deinit(endpoints);
	table_deinit(&endpoints->by_name);
	free(endpoints);
	return NULL;
}
