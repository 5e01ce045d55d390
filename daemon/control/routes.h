/* SPDX-License-Identifier: MIT */
/* routes.h - what can be asked: docs/control-api.json has the same list, and a test compares them. */
#ifndef PATHBUS_DAEMON_CONTROL_ROUTES_H
#define PATHBUS_DAEMON_CONTROL_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request.h"

struct control_route {
	const char *method; /* GET or POST */
	const char *path;   /* a component {id} stands for a number */
	control_fn *handler;
	const char *query; /* the names that its query may have, with spaces between them */
	const char *body;  /* the same of its body */
	bool is_open;      /* to whoever could connect */
};

/* NULL: there is none; then *ret_allowed is what methods the path has ("GET, POST"), or NULL: it has none at all. */
const struct control_route *control_route_find(const char *method, const char *path, uint64_t *ret_id, const char **ret_allowed);
/* Is it among the names of a list such as `query`? */
bool control_route_names(const char *list, const char *name, size_t size);

/* The handlers, one file for each subject. */
void control_get_health(struct control_request *request); /* routes.c */
void control_get_topics(struct control_request *request); /* topics.c */
void control_get_topic(struct control_request *request); /* topic_detail.c */
void control_get_clients(struct control_request *request); /* clients.c */
void control_disconnect(struct control_request *request);
void control_get_config(struct control_request *request); /* settings.c */
void control_reload(struct control_request *request);
void control_post_topic(struct control_request *request); /* actions.c */
void control_post_path(struct control_request *request);
void control_forget_topic(struct control_request *request);
void control_set_log_level(struct control_request *request);
void control_get_events(struct control_request *request); /* events.c */
void control_get_metrics(struct control_request *request); /* metrics.c */
void control_get_stats(struct control_request *request);   /* stats.c */

#endif
