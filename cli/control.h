/* SPDX-License-Identifier: MIT */
/*
 * control.h - asking the daemon over its control socket: HTTP and JSON on a Unix socket (docs/control-api.json).
 *
 * Requests return an exit status; on failure control_why says what went wrong, with the socket, the cause and the next step, and
 * control_tell prints it. What answers is bounded in size and in time, and it is asked nothing before the kernel has said that it
 * is root, this user or the service user.
 */
#ifndef PATHBUS_CLI_CONTROL_H
#define PATHBUS_CLI_CONTROL_H

#include <stdbool.h>

#include "json_read.h"
#include "pathbus.h"

struct control;

/* The value of --control, which must live on. */
void control_use(const char *socket);

/* Finds the socket: --control, $PATHBUS_CONTROL, what belongs to --address or $PATHBUS_ADDRESS, the system's if it is there,
 * the user's own. It is connected to with the first request. Returns an exit status; on failure it is told. */
int control_open(const struct pathbus_options *options, struct control **ret);
struct control *control_close(struct control *); /* takes NULL, returns NULL */
const char *control_socket(const struct control *);

/*
 * While an answer is waited for, `ready` is called whenever `fd` is readable (or has ended, or has an error). Where it returns
 * false the request is given up: it returns STATUS_OK and no answer, and the connection is closed. fd -1: no more. `interval_ms`
 * not 0: it is called at least so often too.
 */
typedef bool control_ready(void *userdata);
void control_watch(struct control *, int fd, unsigned interval_ms, control_ready *ready, void *userdata);

/* Requests are given up, too, at this time of the monotonic clock; 0: never. */
void control_until(struct control *, uint64_t deadline_ns);
/* A request is given up, too, as soon as nobody reads from this descriptor any more; -1: none. */
void control_watch_output(struct control *, int fd);

/*
 * One request. `target` is a path with its query ("/v1/stats"). *ret is the answer, to be freed, or NULL: given up (above).
 * `body` is JSON, or NULL for none. POST is never sent twice.
 */
int control_get(struct control *, const char *target, struct json **ret);
int control_post(struct control *, const char *target, const char *body, struct json **ret);

/* A path with a query: `pairs` are names and values in turn and end with a name of NULL; a value of NULL leaves its name out.
 * To be freed; NULL: out of memory. */
char *control_target(const char *path, const char *const *pairs);

/* Each page of a list in turn, until `take` returns false. `pairs` as above, without limit and after. */
typedef bool control_page(const struct json *page, void *userdata);
int control_pages(struct control *, const char *path, const char *const *pairs, control_page *take, void *userdata);

/* Each object of a stream in turn, until `take` returns false (STATUS_OK), it is given up (STATUS_OK), or it ends, which is a
 * failure: the daemon has ended. `begun` is called once, when the daemon has accepted; NULL: nobody. */
typedef bool control_object(const struct json *object, void *userdata);
int control_stream(struct control *, const char *target, void (*begun)(void *userdata), control_object *take, void *userdata);

/* What the last failure was, in printable text of one line; never NULL. Valid until the next request. */
const char *control_why(const struct control *);
/* Prints that, and returns the status. */
int control_tell(const struct control *, int status);

#endif
