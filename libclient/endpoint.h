/* SPDX-License-Identifier: MIT */
/*
 * endpoint.h - an endpoint of this program, and connecting to others'.
 *
 *   endpoint.c          listening: events, and following the topic to where it goes
 *   endpoint_bus.c      by the daemon: frames
 *   endpoint_peer.c     in a sidecar: a socket, and who may have it
 *   endpoint_connect.c  connecting, and waiting for a listener
 *   endpoint_token.c    tokens
 *   endpoint_list.c     lists
 *   endpoint_files.c    the files of endpoints in a sidecar's folder
 *
 * Everything is called under the handle's lock.
 */
#ifndef PATHBUS_ENDPOINT_H
#define PATHBUS_ENDPOINT_H

#include "endpoint_files.h"
#include "internal.h"
#include "wire_endpoint.h"

enum {
	ENDPOINT_KEPT = 16,        /* connections that are accepted before the program takes them */
	ENDPOINT_MOST_KEPT = 1024, /* with those that came where the topic was before; more are closed */
	ENDPOINT_BACKLOG = 16,     /* that wait to be accepted */
	ENDPOINT_PAUSE_MS = 100,   /* until accepting is tried again, when this process has no descriptor for it */
	ENDPOINT_LOOK_MS = 20,     /* who waits for a listener where the folder cannot be watched looks that often */
};

/* A connection that the program has not taken yet. */
struct kept {
	int fd;
	struct os_peer peer;
	uint32_t number, serial; /* the daemon is told, if it is still that connection; 0: it came without one */
};

struct pathbus_endpoint {
	struct attachment attachment; /* first */
	bool making;   /* pathbus_listen is at it */
	bool gone;     /* it is not reached any more, */
	int error_due; /* which the program has to be told; 0: it knows */
	unsigned flags;

	uint32_t number, serial; /* the daemon's, on the connection of this serial; 0: none */
	uint32_t request;        /* a LISTEN that nobody waits for; 0: none */

	int dir, record, socket; /* in a sidecar: its folder, the record (locked), where to accept; -1: not in one */
	bool is_full;            /* the socket is not watched: enough is kept, or there is no descriptor left */

	struct kept *kept;
	unsigned n_kept, kept_size;
	uint32_t name_size;
	char name[]; /* with its end */
};

/* --- endpoint.c --- */
/* 0, -EINVAL, -ENAMETOOLONG. */
int endpoint_check_name(const char *name, uint32_t *ret_size);
extern const struct attachment_type endpoint_type;
/* Those that could not accept may try again. */
void endpoints_accept(struct pathbus *bus);
/* Takes fd over. */
void endpoint_keep(pathbus_endpoint *endpoint, const struct kept *kept);
/* It is not reached any more; `error` is negative. */
void endpoint_fail(pathbus_endpoint *endpoint, int error);

/* --- endpoint_bus.c --- */
int endpoint_bus_listen(pathbus_endpoint *endpoint); /* waits for the answer */
int endpoint_bus_register(pathbus_endpoint *endpoint); /* does not */
void endpoint_bus_leave(pathbus_endpoint *endpoint);
void endpoint_bus_unlisten(pathbus_endpoint *endpoint); /* and waits until it is done */
void endpoint_bus_taken(const pathbus_endpoint *endpoint, const struct kept *kept);
/* -ENOTCONN: the topic is not on the bus now. */
int endpoint_bus_connect(pathbus_topic *topic, const char *name, uint32_t name_size, uint64_t deadline_ns,
                         struct pathbus_connection *ret);
int endpoint_bus_redeem(struct pathbus *bus, const uint8_t token[WIRE_TOKEN_BYTES], uint64_t deadline_ns,
                        struct pathbus_connection *ret);

/* --- endpoint_peer.c --- */
/* As pathbus_listen; waits for others that are at it until the deadline. -ESTALE: the topic's sidecar is not there any more. */
int endpoint_peer_listen(pathbus_endpoint *endpoint, uint64_t deadline_ns);
/* `keep`: what was connected before is accepted first. */
void endpoint_peer_leave(pathbus_endpoint *endpoint, bool keep);
/* Something has come at its socket, or may be accepted now. */
void endpoint_peer_accept(pathbus_endpoint *endpoint);
/* Connects to the socket in `dir` (name NULL: which `dir` is). The handle's lock is given back while a listener that has not
 * accepted those before is waited for. -ECONNREFUSED: nobody listens there; -EAGAIN: it has not accepted in time, for now or
 * (deadline 0) at all; -EINTR. */
int endpoint_peer_connect(struct pathbus *bus, int dir, const char *name, uint64_t deadline_ns, struct pathbus_connection *ret);
/* The folder of the sidecar that the topic is on; -ESTALE. */
int endpoint_peer_folder(const pathbus_topic *topic);
/* After -ESTALE: the topic joins anew, and all who were on that sidecar with it. */
void endpoint_peer_lost(pathbus_topic *topic);

#endif
