/* SPDX-License-Identifier: MIT */
/* clients.c - GET /v1/clients, and ending one of them. */
#include "daemon/client.h"

#include "daemon/connection.h"
#include "daemon/context.h"
#include "daemon/log.h"
#include "list.h"
#include "routes.h"
#include "topics.h"

static bool is_socket_only(const struct client *client)
{
	return client->pump != NULL && client->n_members > 0;
}

static uint64_t look(struct control_request *request, uint64_t after, bool *ret_told)
{
	struct client *client = clients_after(control_context(request)->clients, after);
	struct answer *answer = control_answer(request);

	if (!client)
		return 0;
	*ret_told = true;
	answer_object(answer, NULL);
	answer_number(answer, "id", client->number);
	answer_number(answer, "pid", (uint64_t)client->pid);
	answer_number(answer, "uid", client->uid);
	tell_command(answer, client->pid, client->uid);
	answer_number(answer, "since_ms", client->since_ns / 1000000);
	answer_number(answer, "topics", client->n_members);
	answer_number(answer, "queued_bytes", client->out_bytes + client->event_bytes);
	answer_number(answer, "requests", client->n_requests);
	answer_bool(answer, "socket_only", is_socket_only(client));
	answer_end(answer);
	return client->number;
}

void control_get_clients(struct control_request *request)
{
	control_tell_list(request, "clients", look);
}

void control_disconnect(struct control_request *request)
{
	struct client *client = clients_find(control_context(request)->clients, control_id(request));

	if (!client || client->ending) {
		control_reply_error(request, 404, "not-found", "GET /v1/clients lists those that there are", "there is no client %llu",
		                    (unsigned long long)control_id(request));
		return;
	}
	log_event(REASON_ADMIN, "%s: client %llu (process %d, user %u) is disconnected", control_who(request),
	         (unsigned long long)client->number, (int)client->pid, (unsigned)client->uid);
	client_drop(client, DROP_ADMIN, NULL);
	answer_object(control_answer(request), NULL);
	answer_bool(control_answer(request), "disconnected", true);
	answer_end(control_answer(request));
	control_reply(request);
}
