/* SPDX-License-Identifier: MIT */
/*
 * files_worker.c - resolves paths as their clients see them, watches their folders, looks for sidecars.
 *
 * A file system may hang it at any call; main then kills it and starts another. It keeps no state.
 */
#include "files_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"
#include "client_root.h"
#include "files_protocol.h"
#include "helper.h"
#include "os/os.h"
#include "own_folder.h"
#include "sandbox.h"

/* Where this process is at home. */
struct home {
	bool system;
	int root; /* of the daemon of all users: where everybody is; O_PATH */
	bool is_ours; /* and so are we */
	dev_t dev;
	ino_t ino;
	char namespace[64];
};

static void read_namespace(const char *pid, char *ret, size_t size)
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%s/ns/mnt", pid);
	n = readlink(link, ret, size - 1);
	ret[n > 0 ? n : 0] = '\0';
}

static int find_home(bool system, struct home *ret)
{
	struct stat st;

	*ret = (struct home){ .system = system, .root = -1 };
	if (system) {
		int own = os_open_folder(AT_FDCWD, "/", true);

		ret->root = FILES_FD_HOME;
		ret->is_ours = own >= 0 && os_is_same_place(own, ret->root);
		if (own >= 0)
			close(own);
		return own < 0 ? own : 0;
	}
	if (stat("/", &st) == 0) {
		ret->dev = st.st_dev;
		ret->ino = st.st_ino;
	}
	read_namespace("self", ret->namespace, sizeof(ret->namespace));
	return 0;
}

/*
 * The root folder of a client (O_PATH, the caller's), or -1: it is our own, or cannot be known. A process
 * that protects itself (EACCES) or has ended is taken to live where we do.
 */
static int root_of(const struct home *home, pid_t pid)
{
	char name[32], namespace[sizeof(home->namespace)];
	struct stat st;
	int root;

	if (pid <= 0)
		return -1;
	snprintf(name, sizeof(name), "/proc/%d/root", (int)pid);
	root = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -1;
	snprintf(name, sizeof(name), "%d", (int)pid);
	read_namespace(name, namespace, sizeof(namespace));
	if (fstat(root, &st) < 0 || (st.st_dev == home->dev && st.st_ino == home->ino &&
	                             (!namespace[0] || strcmp(namespace, home->namespace) == 0))) {
		close(root);
		return -1;
	}
	return root;
}

/* By a child of the files process. A descriptor (the caller's), or -errno. */
static int ask_opener(const struct files_request *request, int client)
{
	struct opener_reply reply;
	unsigned n_fds = 0;
	int fd = -1, r;
	ssize_t n;

	r = helper_send(FILES_FD_OPENER, request, offsetof(struct files_request, path) + strlen(request->path) + 1, &client, 1);
	if (r < 0)
		return r;
	n = helper_receive(FILES_FD_OPENER, &reply, sizeof(reply), &fd, 1, &n_fds, 0);
	if (n != (ssize_t)sizeof(reply))
		return n < 0 ? (int)n : -EIO;
	if (reply.error < 0 && n_fds > 0)
		close(fd);
	return reply.error < 0 ? reply.error : n_fds == 1 ? fd : -EMFILE;
}

/* In the daemon of all users nobody is taken to be where everybody is unless that is so. 0: *ret is another root (the caller's),
 * or -1. */
static int client_root(const struct home *home, const struct files_request *request, int client, int *ret)
{
	int root = client_open_root(client, -1);

	if (root == -EACCES)
		root = ask_opener(request, client);
	if (root < 0)
		return root;
	if (os_is_same_place(root, home->root)) {
		close(root);
		root = -1;
	}
	*ret = root;
	return 0;
}

/* The path without symbolic links, to find the same folder again whatever becomes of those. */
static void fill_path(const struct place *place, char *ret)
{
	size_t used;

	if (os_path_of(place->dir, ret, PATH_MAX) < 0) {
		ret[0] = '\0';
		return;
	}
	used = strlen(ret);
	if (used > 1)
		ret[used++] = '/';
	if (used + place->key.name_size >= PATH_MAX)
		used = 0;
	else
		memcpy(ret + used, place->key.name, place->key.name_size);
	ret[used > 0 ? used + place->key.name_size : 0] = '\0';
}

/* Could there be a sidecar, and whose? What cannot be looked at is not assumed empty. */
static bool may_have_sidecar(int dir, const char *name, uint32_t *ret_owner)
{
	struct stat st;
	bool found = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;

	*ret_owner = found ? st.st_uid : (uid_t)-1;
	return found || (errno != ENOENT && errno != ENOTDIR);
}

/* In the runtime folder of the user whom this worker is for, which main may not look into. First the watch, then the look. */
static void look_at_runtime_folder(const struct topic_key *key, struct files_reply *reply)
{
	char path[ADDRESS_SIZE], name[KEY_NAME_MAX + 1];
	uint32_t owner;
	int dir = -1, r = address_runtime_folder(geteuid(), path, sizeof(path));

	if (r == 0)
		r = own_folder_open(path, &dir);
	if (r < 0) {
		reply->runtime_watch = r;
		return;
	}
	reply->runtime_watch = os_watch_add(FILES_FD_WATCH, dir);
	key_runtime_name(key, name);
	reply->runtime = may_have_sidecar(dir, name, &owner);
	close(dir);
}

/* First the watch, then the look: what appears in between is told by the watch. */
static int find(int root, const char *path, struct place *ret, struct files_reply *reply)
{
	int r = 1;

	for (unsigned i = 0; i < 3 && r == 1; i++) {
		r = place_resolve_for(root, path, ret);
		if (r < 0)
			return r;
		reply->lost_watch |= reply->watch > 0;
		reply->watch = os_watch_add(FILES_FD_WATCH, ret->dir);
		r = place_look_again(ret);
		if (r != 0)
			place_deinit(ret);
	}
	return r == 1 ? -EAGAIN : r;
}

/* Fills the reply in. Returns the folder's descriptor if it is to go along, else -1. */
static int answer(const struct home *home, const struct files_request *request, int client, struct files_reply *reply)
{
	char name[KEY_NAME_MAX + 1];
	struct place place;
	int root = -1;

	if (home->system && client < 0) {
		reply->error = -ENOTCONN;
		return -1;
	}
	if (request->descriptor >= 0) {
		int fd = home->system ? ask_opener(request, client) :
		                        os_shared_of_process(request->pid, request->descriptor, request->path);

		reply->error = fd < 0 ? fd : 0;
		return fd;
	}
	if (home->system && !request->at_home)
		reply->error = client_root(home, request, client, &root);
	else if (!home->system)
		root = root_of(home, request->pid);
	if (reply->error == 0)
		reply->error = find(root < 0 && home->system && !home->is_ours ? home->root : root, request->path, &place, reply);
	if (root >= 0)
		close(root);
	if (reply->error < 0)
		return -1;
	key_sidecar_name(&place.key, name);
	reply->sidecar = may_have_sidecar(place.dir, name, &reply->owner) || reply->watch < 0;
	if (home->system)
		look_at_runtime_folder(&place.key, reply);
	reply->key = place.key;
	reply->exists = place.exists;
	reply->may_read = place.may_read;
	reply->may_write = place.may_write;
	reply->read_only = place.read_only;
	if (place.exists) {
		reply->file_dev = place.file_dev;
		reply->file_ino = place.file_ino;
		reply->n_links = place.n_links;
	}
	/* Of another root the client's own words are what leads there again. */
	if (!home->system || root < 0)
		fill_path(&place, reply->path);
	if (reply->sidecar)
		return place.dir;
	place_deinit(&place);
	return -1;
}

static int send_reply(const struct files_reply *reply, int folder)
{
	size_t size = offsetof(struct files_reply, path) + strlen(reply->path) + 1;
	int r;

	do {
		/* main's end may be full only if main stands still; it reads what it asked for */
		r = helper_send(FILES_FD_SOCKET, reply, size, &folder, folder >= 0 ? 1 : 0);
	} while (r == -EAGAIN && usleep(1000) == 0);
	return r;
}

/* What it is goes along with the word that this worker is ready. */
static void enter_sandbox(bool system, bool sandboxed, struct files_reply *ready)
{
	const struct sandbox_setting setting = { .system = system, .peers = true };
	struct sandbox_state state = { "turned off" };

	if (sandboxed)
		ready->error = sandbox_enter(SANDBOX_WORKER, &setting, &state);
	snprintf(ready->path, sizeof(ready->path), "%s", state.text);
}

int files_worker_run(bool system, bool sandboxed)
{
	static struct files_request request;
	static struct files_reply reply;
	struct home home;

	if (find_home(system, &home) < 0)
		return 1;
	enter_sandbox(system, sandboxed, &reply);
	if (send_reply(&reply, -1) < 0 || (system && reply.error < 0))
		return 1;
	for (;;) {
		unsigned n_fds = 0;
		int client = -1, folder;
		ssize_t n = helper_receive(FILES_FD_SOCKET, &request, sizeof(request), &client, 1, &n_fds, 0);

		if (n <= (ssize_t)offsetof(struct files_request, path))
			return n == 0 ? 0 : 1;
		request.path[(size_t)n - offsetof(struct files_request, path) - 1] = '\0';
		memset(&reply, 0, offsetof(struct files_reply, path) + 1);
		reply.id = request.id;
		folder = answer(&home, &request, n_fds == 1 ? client : -1, &reply);
		if (n_fds == 1)
			close(client); /* before the answer: main may end it then, and its end is to be seen at once */
		if (send_reply(&reply, folder) < 0)
			return 1;
		if (folder >= 0)
			close(folder);
	}
}
