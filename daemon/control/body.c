/* SPDX-License-Identifier: MIT */
/* body.c - see body.h; by jansson. */
#include "body.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "routes.h"

struct body {
	json_t *root;
};

static const char *unknown(json_t *root, const char *names)
{
	const char *name;
	json_t *value;

	json_object_foreach(root, name, value)
		if (!control_route_names(names, name, strlen(name)))
			return name;
	return NULL;
}

int body_parse(const char *text, size_t size, const char *names, struct body **ret, char *ret_error)
{
	json_error_t error;
	json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	char shown[100];
	const char *name;
	struct body *body;

	if (!root) {
		escape(error.text, strlen(error.text), shown, sizeof(shown));
		snprintf(ret_error, BODY_ERROR_SIZE, "the body is no JSON: line %d, column %d: %s", error.line, error.column, shown);
		return -EINVAL;
	}
	name = json_is_object(root) ? unknown(root, names) : NULL;
	if (!json_is_object(root) || name) {
		escape(name ? name : "", name ? strlen(name) : 0, shown, sizeof(shown));
		snprintf(ret_error, BODY_ERROR_SIZE, name ? "the body may not have '%s' in it%s" : "the body is no object%s%s",
		         shown, "");
		json_decref(root);
		return -EINVAL;
	}
	body = malloc(sizeof(*body));
	if (!body) {
		json_decref(root);
		return -ENOMEM;
	}
	body->root = root;
	*ret = body;
	return 0;
}

struct body *body_free(struct body *body)
{
	if (body)
		json_decref(body->root);
	free(body);
	return NULL;
}

const char *body_text(const struct body *body, const char *name)
{
	return body ? json_string_value(json_object_get(body->root, name)) : NULL;
}
