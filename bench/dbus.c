/* SPDX-License-Identifier: MIT */
/*
 * dbus.c - signals over D-Bus, by its protocol.
 *
 * Written as sparingly as it can be: a message is made once and sent by one call, one that comes is looked at only as far as
 * is needed. What a program does with a D-Bus library comes on top.
 */
#include "dbus.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench.h"

#define INTERFACE "org.pathbus.Bench"
#define MEMBER    "Turn"
#define BUS       "org.freedesktop.DBus"

enum { CALL = 1, REPLY = 2, ERROR = 3, SIGNAL = 4, HEADER = 16 };
enum { FIELD_PATH = 1, FIELD_INTERFACE = 2, FIELD_MEMBER = 3, FIELD_DESTINATION = 6, FIELD_SIGNATURE = 8 };

struct out {
	unsigned char bytes[512];
	unsigned size;
};

static void pad(struct out *out, unsigned to)
{
	while (out->size % to)
		out->bytes[out->size++] = 0;
}

/* In the byte order of this machine, which the message names. */
static void put32(struct out *out, uint32_t value)
{
	pad(out, 4);
	memcpy(out->bytes + out->size, &value, sizeof(value));
	out->size += (unsigned)sizeof(value);
}

static void put_text(struct out *out, const char *text)
{
	size_t size = strlen(text) + 1;

	put32(out, (uint32_t)size - 1);
	memcpy(out->bytes + out->size, text, size);
	out->size += (unsigned)size;
}

static void put_field(struct out *out, unsigned char field, char type, const char *text)
{
	pad(out, 8);
	out->bytes[out->size++] = field;
	out->bytes[out->size++] = 1;
	out->bytes[out->size++] = (unsigned char)type;
	out->bytes[out->size++] = 0;
	if (type != 'g') {
		put_text(out, text);
		return;
	}
	out->bytes[out->size++] = (unsigned char)strlen(text);
	memcpy(out->bytes + out->size, text, strlen(text) + 1);
	out->size += (unsigned)strlen(text) + 1;
}

/* `body`: NULL, or the one text of a call. */
static void make(struct out *out, struct dbus *dbus, unsigned char type, const char *path, const char *interface,
                 const char *member, const char *body)
{
	const uint16_t probe = 1;
	uint32_t size, serial = ++dbus->serial;

	*out = (struct out){ .size = HEADER };
	out->bytes[0] = *(const unsigned char *)&probe ? 'l' : 'B';
	out->bytes[1] = type;
	out->bytes[2] = type == SIGNAL; /* no answer */
	out->bytes[3] = 1;
	memcpy(out->bytes + 8, &serial, sizeof(serial));
	put_field(out, FIELD_PATH, 'o', path);
	put_field(out, FIELD_INTERFACE, 's', interface);
	put_field(out, FIELD_MEMBER, 's', member);
	if (type == CALL)
		put_field(out, FIELD_DESTINATION, 's', BUS);
	if (body)
		put_field(out, FIELD_SIGNATURE, 'g', "s");
	size = out->size - HEADER;
	memcpy(out->bytes + 12, &size, sizeof(size));
	pad(out, 8);
	size = out->size;
	if (body)
		put_text(out, body);
	size = out->size - size;
	memcpy(out->bytes + 4, &size, sizeof(size));
}

static void send_all(struct dbus *dbus, const void *bytes, size_t size)
{
	if (send(dbus->fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
		die(-errno, "D-Bus");
}

static void receive(struct dbus *dbus)
{
	ssize_t n;

	if (poll(&(struct pollfd){ .fd = dbus->fd, .events = POLLIN }, 1, -1) < 0 && errno != EINTR)
		die(-errno, "poll");
	n = recv(dbus->fd, dbus->in + dbus->have, sizeof(dbus->in) - dbus->have, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		die(n < 0 ? -errno : 0, "D-Bus has ended");
	dbus->have += (unsigned)n;
}

/* The next message's type, and whether it is one of our signals; 0: it has not come yet. */
static unsigned char take(struct dbus *dbus, bool *ret_turn)
{
	uint32_t body, fields, size;
	unsigned char type;

	if (dbus->have < HEADER)
		return 0;
	memcpy(&body, dbus->in + 4, sizeof(body));
	memcpy(&fields, dbus->in + 12, sizeof(fields));
	if (body > sizeof(dbus->in) || fields > sizeof(dbus->in))
		die(0, "a D-Bus message is too large");
	size = HEADER + (fields + 7) / 8 * 8 + body;
	if (size > sizeof(dbus->in))
		die(0, "a D-Bus message is too large");
	if (dbus->have < size)
		return 0;
	type = dbus->in[1];
	*ret_turn = type == SIGNAL && memmem(dbus->in + HEADER, fields, INTERFACE, sizeof(INTERFACE));
	memmove(dbus->in, dbus->in + size, dbus->have - size);
	dbus->have -= size;
	return type;
}

static void call(struct dbus *dbus, const char *member, const char *body)
{
	struct out out;
	unsigned char type;
	bool turn;

	make(&out, dbus, CALL, "/org/freedesktop/DBus", BUS, member, body);
	send_all(dbus, out.bytes, out.size);
	while ((type = take(dbus, &turn)) != REPLY) {
		if (type == ERROR)
			die(0, "D-Bus refuses %s", member);
		if (type == 0)
			receive(dbus);
	}
}

static void log_in(struct dbus *dbus)
{
	char text[64], hex[32] = "";
	int n = snprintf(text, sizeof(text), "%u", (unsigned)geteuid());

	for (int i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", (unsigned)text[i]);
	n = snprintf(text, sizeof(text), "%cAUTH EXTERNAL %s\r\n", 0, hex);
	send_all(dbus, text, (size_t)n);
	while (!memchr(dbus->in, '\n', dbus->have))
		receive(dbus);
	if (memcmp(dbus->in, "OK ", 3) != 0)
		die(0, "D-Bus does not let user %u in", (unsigned)geteuid());
	dbus->have = 0;
	send_all(dbus, "BEGIN\r\n", 7);
}

void dbus_open(struct dbus *dbus, const char *address, const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char match[128];

	*dbus = (struct dbus){ .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", address);
	if (dbus->fd < 0 || connect(dbus->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die(-errno, "D-Bus at %s", address);
	log_in(dbus);
	call(dbus, "Hello", NULL);
	snprintf(match, sizeof(match), "type='signal',interface='" INTERFACE "',path='%s'", path);
	call(dbus, "AddMatch", match);
}

void dbus_close(struct dbus *dbus)
{
	close(dbus->fd);
}

void dbus_signal(struct dbus *dbus, const char *path)
{
	struct out out;

	make(&out, dbus, SIGNAL, path, INTERFACE, MEMBER, NULL);
	send_all(dbus, out.bytes, out.size);
}

void dbus_await(struct dbus *dbus)
{
	bool turn = false;

	while (!turn)
		if (take(dbus, &turn) == 0)
			receive(dbus);
}
