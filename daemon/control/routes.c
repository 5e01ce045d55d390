/* SPDX-License-Identifier: MIT */
/* routes.c - see routes.h. */
#include "routes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct control_route routes[] = {
	{ "GET", "/healthz", control_get_health, "", "", true },
	{ "GET", "/metrics", control_get_metrics, "", "", false },
	{ "GET", "/v1/events", control_get_events, "kind path posts", "", false },
	{ "GET", "/v1/stats", control_get_stats, "users_after", "", false },
	{ "GET", "/v1/topics", control_get_topics, "limit after path", "", false },
	{ "GET", "/v1/topics/{id}", control_get_topic, "limit lanes_after members_after regions_after endpoints_after", "", false },
	{ "GET", "/v1/clients", control_get_clients, "limit after", "", false },
	{ "GET", "/v1/config", control_get_config, "", "", false },
	{ "POST", "/v1/post", control_post_path, "", "path", false },
	{ "POST", "/v1/topics/{id}/post", control_post_topic, "", "", false },
	{ "POST", "/v1/topics/{id}/forget", control_forget_topic, "", "", false },
	{ "POST", "/v1/clients/{id}/disconnect", control_disconnect, "", "", false },
	{ "POST", "/v1/log-level", control_set_log_level, "", "level", false },
	{ "POST", "/v1/reload", control_reload, "", "", false },
};
enum { N_ROUTES = sizeof(routes) / sizeof(routes[0]) };

/* Digits only. */
static bool parse_id(const char *at, size_t size, uint64_t *ret)
{
	uint64_t id = 0;

	if (size == 0 || size > 19)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (at[i] < '0' || at[i] > '9')
			return false;
		id = id * 10 + (uint64_t)(at[i] - '0');
	}
	*ret = id;
	return true;
}

static bool matches(const char *pattern, const char *path, uint64_t *ret_id)
{
	uint64_t id = 0;

	for (;;) {
		size_t n = strcspn(pattern, "/"), m = strcspn(path, "/");

		if (n == strlen("{id}") && memcmp(pattern, "{id}", n) == 0) {
			if (!parse_id(path, m, &id))
				return false;
		} else if (n != m || memcmp(pattern, path, n) != 0) {
			return false;
		}
		if (pattern[n] != path[m])
			return false;
		if (pattern[n] == '\0')
			break;
		pattern += n + 1;
		path += m + 1;
	}
	*ret_id = id;
	return true;
}

const struct control_route *control_route_find(const char *method, const char *path, uint64_t *ret_id, const char **ret_allowed)
{
	bool gets = false, posts = false;

	for (size_t i = 0; i < N_ROUTES; i++) {
		uint64_t id;

		if (!matches(routes[i].path, path, &id))
			continue;
		if (strcmp(routes[i].method, method) == 0) {
			*ret_id = id;
			return &routes[i];
		}
		gets |= strcmp(routes[i].method, "GET") == 0;
		posts |= strcmp(routes[i].method, "POST") == 0;
	}
	*ret_allowed = gets && posts ? "GET, POST" : gets ? "GET" : posts ? "POST" : NULL;
	return NULL;
}

bool control_route_names(const char *list, const char *name, size_t size)
{
	while (*list) {
		size_t n = strcspn(list, " ");

		if (n == size && memcmp(list, name, n) == 0)
			return true;
		list += n + strspn(list + n, " ");
	}
	return false;
}

void control_get_health(struct control_request *request)
{
	struct answer *answer = control_answer(request);

	answer_object(answer, NULL);
	answer_text(answer, "status", "ok");
	answer_end(answer);
	control_reply(request);
}
