/* SPDX-License-Identifier: MIT */
/*
 * endpoint_token.c - tokens: text that opens one connection to an endpoint, for whoever has it.
 *
 * The daemon's is a number that it knows. Without one it is the name of a file in the user's runtime folder, which says
 * where the socket is; whoever removes that file has redeemed it. Those that nobody has redeemed in time are removed by the
 * next who makes one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "endpoint.h"

#define BUS_PREFIX "pathbus-bus-"
#define PEER_PREFIX "pathbus-peer-"
#define FILE_PREFIX "token-"
#define DIGITS (2 * WIRE_TOKEN_BYTES)
#define TOKEN_MAGIC UINT64_C(0x314b545542485450) /* "PTHBUTK1" */
#define TOKEN_NS (UINT64_C(60) * 1000000000)

_Static_assert(sizeof(PEER_PREFIX) + DIGITS <= PATHBUS_TOKEN_SIZE, "a token has room");

/* As it stands in the file. */
struct token_file {
	uint64_t magic;
	uint64_t end_ns;     /* CLOCK_MONOTONIC */
	uint64_t id;         /* of the record: who takes its place is not meant */
	uint32_t name_size, path_size;
	char name[WIRE_MAX_ENDPOINT_NAME + 1];
	char folder[PATH_MAX];
};

static void to_text(const char *prefix, const uint8_t bytes[WIRE_TOKEN_BYTES], char *ret)
{
	size_t at = strlen(prefix);

	memcpy(ret, prefix, at);
	for (size_t i = 0; i < WIRE_TOKEN_BYTES; i++, at += 2)
		snprintf(ret + at, 3, "%02x", bytes[i]);
}

/* Is it one of this kind? Then its bytes. */
static bool from_text(const char *prefix, const char *text, uint8_t ret[WIRE_TOKEN_BYTES])
{
	size_t size = strlen(prefix);

	if (strncmp(text, prefix, size) != 0 || strlen(text) != size + DIGITS || strspn(text + size, "0123456789abcdef") != DIGITS)
		return false;
	for (size_t i = 0; i < WIRE_TOKEN_BYTES; i++)
		(void)sscanf(text + size + 2 * i, "%2hhx", &ret[i]);
	return true;
}

/* --- in the runtime folder --------------------------------------------------------------------------------- */

/* 0, -ENOENT: there is none, or it is not sound. */
static int read_token(int runtime, const char *file, struct token_file *ret)
{
	int fd = os_open_own_file(runtime, file);
	ssize_t n;

	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM ? fd : -ENOENT;
	n = pread(fd, ret, sizeof(*ret), 0);
	close(fd);
	if (n != (ssize_t)sizeof(*ret) || ret->magic != TOKEN_MAGIC || ret->path_size >= sizeof(ret->folder) ||
	    memchr(ret->folder, '\0', sizeof(ret->folder)) != ret->folder + ret->path_size || ret->folder[0] != '/' ||
	    ret->name_size < 1 || ret->name_size > WIRE_MAX_ENDPOINT_NAME)
		return -ENOENT;
	return 0;
}

static bool is_over(const struct token_file *token)
{
	uint64_t now = os_now_ns();

	return now >= token->end_ns || token->end_ns - now > TOKEN_NS; /* the clock began anew */
}

/* It is a folder of ours, where only lanes and tokens lie. */
static void remove_stale(int runtime)
{
	int fd = openat(runtime, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = fd < 0 ? NULL : fdopendir(fd);
	struct token_file token;
	struct dirent *entry;
	uint8_t bytes[WIRE_TOKEN_BYTES];

	if (!entries && fd >= 0)
		close(fd);
	while (entries && (entry = readdir(entries)))
		if (from_text(FILE_PREFIX, entry->d_name, bytes) &&
		    (read_token(runtime, entry->d_name, &token) == -ENOENT || is_over(&token)))
			(void)unlinkat(runtime, entry->d_name, 0);
	if (entries)
		closedir(entries);
}

/* It has no name until it is whole, so that who is killed over it leaves nothing. */
static int write_token(const struct token_file *token, const uint8_t bytes[WIRE_TOKEN_BYTES])
{
	char name[sizeof(FILE_PREFIX) + DIGITS];
	int runtime = sidecar_runtime_folder(), fd, r;
	ssize_t n;

	if (runtime < 0)
		return runtime;
	to_text(FILE_PREFIX, bytes, name);
	remove_stale(runtime);
	fd = r = os_make_unnamed(runtime);
	if (fd >= 0) {
		n = write(fd, token, sizeof(*token));
		r = n == (ssize_t)sizeof(*token) ? os_link_new(fd, runtime, name) : n < 0 ? -errno : -ENOSPC;
		close(fd);
	}
	close(runtime);
	return r;
}

static int make_beside(pathbus_topic *topic, const char *name, uint32_t name_size, char *ret)
{
	struct token_file token = { .magic = TOKEN_MAGIC, .end_ns = os_now_ns() + TOKEN_NS };
	uint8_t bytes[WIRE_TOKEN_BYTES];
	struct endpoint_record record;
	struct endpoint_names names;
	int dir = endpoint_peer_folder(topic), r;

	if (dir < 0)
		return dir;
	endpoint_names_make(name, name_size, &names);
	r = endpoint_record_read(dir, names.record, &record);
	r = r == 1 ? 0 : r == 0 ? -ECONNREFUSED : r;
	if (r == 0)
		r = os_path_of(dir, token.folder, sizeof(token.folder));
	close(dir);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	token.path_size = (uint32_t)strlen(token.folder);
	token.id = record.id;
	token.name_size = name_size;
	memcpy(token.name, name, name_size);
	os_random(bytes, sizeof(bytes));
	r = write_token(&token, bytes);
	if (r == 0)
		to_text(PEER_PREFIX, bytes, ret);
	return r;
}

/* The folder that it is for, if it is one of ours. */
static int open_folder(const struct token_file *token)
{
	int dir = os_open_folder(AT_FDCWD, token->folder, false);
	struct stat st;

	if (dir < 0)
		return dir == -EMFILE || dir == -ENFILE || dir == -ENOMEM ? dir : -ECONNREFUSED;
	if (fstat(dir, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 0077) != 0) {
		close(dir);
		return -ECONNREFUSED;
	}
	return dir;
}

/* Does the one who listened then still listen? 0, -ECONNREFUSED. */
static int check_listener(int dir, const struct endpoint_names *names, const struct token_file *token)
{
	struct endpoint_record record;
	int r = endpoint_record_read(dir, names->record, &record);

	return r == 1 && record.id == token->id ? 0 : r < 0 ? r : -ECONNREFUSED;
}

static int connect_there(struct pathbus *bus, int dir, const struct token_file *token, uint64_t deadline_ns,
                         struct pathbus_connection *ret)
{
	struct pathbus_connection connection;
	struct endpoint_names names;
	int r;

	endpoint_names_make(token->name, token->name_size, &names);
	r = check_listener(dir, &names, token);
	if (r < 0)
		return r;
	do
		r = endpoint_peer_connect(bus, dir, names.socket, deadline_ns, &connection);
	while (r == -EAGAIN && os_now_ns() < deadline_ns);
	if (r < 0)
		return r == -EAGAIN && deadline_ns != 0 ? -ETIMEDOUT : r;
	r = check_listener(dir, &names, token); /* the record is exchanged before the socket */
	if (r < 0)
		close(connection.fd);
	else
		*ret = connection;
	return r;
}

/* Only who removes the file has redeemed it. */
static int redeem_beside(struct pathbus *bus, const uint8_t bytes[WIRE_TOKEN_BYTES], uint64_t deadline_ns,
                         struct pathbus_connection *ret)
{
	char name[sizeof(FILE_PREFIX) + DIGITS];
	int runtime = sidecar_runtime_folder(), dir = -1, r;
	struct token_file token;

	if (runtime < 0)
		return runtime;
	to_text(FILE_PREFIX, bytes, name);
	r = read_token(runtime, name, &token);
	if (r == 0)
		r = dir = open_folder(&token);
	if (r != -ENOENT && r != -EMFILE && r != -ENFILE && r != -ENOMEM && unlinkat(runtime, name, 0) < 0)
		r = -ENOENT; /* somebody was faster */
	close(runtime);
	if (r >= 0)
		r = is_over(&token) ? -ENOENT : connect_there(bus, dir, &token, deadline_ns, ret);
	if (dir >= 0)
		close(dir);
	return r;
}

/* --- on the bus ------------------------------------------------------------------------------------------------ */

struct token_of {
	const char *name;
	uint32_t name_size;
};

static size_t put_token(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	const struct token_of *of = arg;

	return wire_put_token(to, request, &(struct wire_connect){ .topic = topic->bus_topic, .name = of->name,
	                                                            .name_size = of->name_size });
}

static int take_token(struct bus_call *call, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct wire_token_made body;
	int r = header->type == WIRE_TOKEN_MADE ? wire_get_token_made(frame, header->size, &body) : -EPROTO;

	(void)fds;
	if (r == 0)
		to_text(BUS_PREFIX, body.token, call->to);
	return r;
}

static int make_on_bus(pathbus_topic *topic, const char *name, uint32_t name_size, char *ret)
{
	const struct token_of of = { .name = name, .name_size = name_size };

	return call_daemon(topic->bus, topic, &(struct bus_call){ .put = put_token, .arg = &of, .take = take_token, .to = ret }, 0);
}

/* --- both -------------------------------------------------------------------------------------------------------- */

int pathbus_token_make(pathbus_topic *topic, const char *name, char ret[PATHBUS_TOKEN_SIZE])
{
	char text[PATHBUS_TOKEN_SIZE] = "";
	struct pathbus *bus;
	uint32_t name_size;
	int r;

	if (!topic || !ret)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic_is_apart(topic))
		return -EOPNOTSUPP;
	r = endpoint_check_name(name, &name_size);
	if (r < 0)
		return r;
	bus = topic->bus;
	pthread_mutex_lock(&bus->lock);
	r = -ESTALE;
	for (int i = 0; i < 8 && (r == -ESTALE || (r == -ENOTCONN && bus->kind == PATHBUS_AUTO)); i++) {
		r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
		if (r < 0)
			break;
		r = topic_is_on_bus(topic) ? make_on_bus(topic, name, name_size, text) : make_beside(topic, name, name_size, text);
		if (r == -ESTALE)
			endpoint_peer_lost(topic);
	}
	control_finish(bus);
	handle_unlock(bus);
	if (r == 0)
		memcpy(ret, text, PATHBUS_TOKEN_SIZE);
	return r == -ESTALE ? -ECONNREFUSED : r;
}

int pathbus_token_redeem(pathbus *bus, const char *token, uint64_t deadline_ns, struct pathbus_connection *ret)
{
	struct pathbus_connection connection;
	uint8_t bytes[WIRE_TOKEN_BYTES];
	bool is_peers;
	int r;

	if (!bus || !token || !ret || ret->size != sizeof(*ret))
		return -EINVAL;
	if (is_forked(bus->alive))
		return -ECHILD;
	is_peers = from_text(PEER_PREFIX, token, bytes);
	if (!is_peers && !from_text(BUS_PREFIX, token, bytes))
		return -EINVAL;
	pthread_mutex_lock(&bus->lock);
	r = is_peers ? redeem_beside(bus, bytes, deadline_ns, &connection) :
	               endpoint_bus_redeem(bus, bytes, deadline_ns, &connection);
	control_finish(bus);
	handle_unlock(bus);
	if (r == 0)
		*ret = connection;
	return r;
}
