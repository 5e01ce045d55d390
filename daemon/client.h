/* SPDX-License-Identifier: MIT */
/*
 * client.h - the connections: reading, writing, ending. frames.c says what each frame means.
 */
#ifndef PATHBUS_DAEMON_CLIENT_H
#define PATHBUS_DAEMON_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "context.h"
#include "loop.h"

struct clients;
struct client;
struct member;
struct opening;

struct clients *clients_new(const struct context *context); /* NULL: no memory */
/* Closes all connections at once; members are not taken out (the topics are freed after this). */
struct clients *clients_free(struct clients *clients);
/* The connection with this number; and the first one with a larger number. NULL: there is none that has not ended. */
struct client *clients_find(const struct clients *clients, uint64_t number);
struct client *clients_after(const struct clients *clients, uint64_t number);
size_t clients_count(const struct clients *clients);
/* None is there, nor is any being taken out. */
bool clients_are_gone(const struct clients *clients);

/* Takes a connected socket over, in any case: refuses and closes it where it has to. */
void clients_add(struct clients *clients, int socket);
/* Says why on a socket that cannot be taken, and closes it. */
void client_refuse(int socket, int error, const char *text);

#endif
