/* SPDX-License-Identifier: MIT */
/* body.h - the body of a request: one JSON object. */
#ifndef PATHBUS_DAEMON_CONTROL_BODY_H
#define PATHBUS_DAEMON_CONTROL_BODY_H

#include <stddef.h>

struct body;

#define BODY_ERROR_SIZE 200u

/* `names`: what it may have in it, with spaces between. 0; -EINVAL: ret_error, BODY_ERROR_SIZE bytes, says why; -ENOMEM. */
int body_parse(const char *text, size_t size, const char *names, struct body **ret, char *ret_error);
struct body *body_free(struct body *body); /* takes NULL; returns NULL */
const char *body_text(const struct body *body, const char *name); /* NULL: none, or no text. `body` may be NULL */

#endif
