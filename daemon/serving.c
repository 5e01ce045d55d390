/* SPDX-License-Identifier: MIT */
/* serving.c - the place where the daemon serves. */
#include "serving.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "escape.h"
#include "exit.h"
#include "log.h"
#include "os/os.h"
#include "own_folder.h"
#include "privileges.h"
#include "system_folder.h"

#define BACKLOG 1024
#define NAME_SIZE (ADDRESS_SIZE + 32)
#define LEFT_OVER_MS 2000u

static int failed(const char *what, const char *path, int error)
{
	log_event(REASON_ADDRESS, "%s %s: %s", what, path, strerror(-error));
	return EXIT_FAILED;
}

/* --- the folder ------------------------------------------------------------------------------------ */

static int use_address(const char *address, const struct service_user *user, struct serving *to)
{
	char folder[ADDRESS_SIZE];
	char *slash;

	if (strlen(address) >= sizeof(to->path)) {
		log_event(REASON_ADDRESS, "the address is too long: a socket's path may have %zu bytes on this system, %s has %zu",
		          sizeof(to->path) - 1, address, strlen(address));
		return EXIT_FAILED;
	}
	strcpy(to->path, address);
	slash = strrchr(to->path, '/');
	to->name = slash ? slash + 1 : to->path;
	if (to->name[0] == '\0' || strcmp(to->name, ".") == 0 || strcmp(to->name, "..") == 0) {
		log_event(REASON_ADDRESS, "the address names a folder, not a socket: %s", address);
		return EXIT_FAILED;
	}
	snprintf(folder, sizeof(folder), "%.*s", (int)(to->name - to->path), to->path);
	if (user)
		return system_folder_open(folder[0] ? folder : ".", user, false, &to->dir) < 0 ? EXIT_FAILED : EXIT_STOPPED;
	to->dir = os_open_path(AT_FDCWD, folder[0] ? folder : ".", true);
	return to->dir < 0 ? failed("cannot open the folder of", to->path, to->dir) : EXIT_STOPPED;
}

static int use_own_place(struct serving *to)
{
	char folder[ADDRESS_SIZE];
	int r = address_of_user(geteuid(), to->path);

	if (r < 0)
		return failed("there is no place for a socket of this user:", "", r);
	to->name = strrchr(to->path, '/') + 1;
	snprintf(folder, sizeof(folder), "%.*s", (int)(to->name - to->path - 1), to->path);
	r = own_folder_open(folder, &to->dir);
	if (r == -EPERM) {
		log_event(REASON_ADDRESS, "%s is not this user's alone (owner, or mode other than 0700): not served there", folder);
		return EXIT_FAILED;
	}
	return r < 0 ? failed("cannot make or open", folder, r) : EXIT_STOPPED;
}

static int use_system_place(const struct service_user *user, struct serving *to)
{
	char folder[ADDRESS_SIZE];

	strcpy(to->path, ADDRESS_SYSTEM);
	to->name = strrchr(to->path, '/') + 1;
	snprintf(folder, sizeof(folder), "%.*s", (int)(to->name - to->path - 1), to->path);
	return system_folder_open(folder, user, true, &to->dir) < 0 ? EXIT_FAILED : EXIT_STOPPED;
}

/* --- the lock -------------------------------------------------------------------------------------- */

/* The pid that its holder wrote; 0: not yet. */
static pid_t holder_of(int lock)
{
	char text[32];
	ssize_t n = pread(lock, text, sizeof(text) - 1, 0);
	long pid;

	text[n > 0 ? n : 0] = '\0';
	pid = strtol(text, NULL, 10);
	return pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

/* A daemon that was killed while it started its agent: that child has the lock until it becomes the other program. */
static bool is_left_over(int lock)
{
	pid_t holder = holder_of(lock);

	return holder != 0 && kill(holder, 0) < 0 && errno == ESRCH;
}

static int lock_it(int lock)
{
	int r = os_lock(lock, OS_LOCK_EXCLUSIVE, 0, 0);

	for (unsigned ms = 0; r == -EAGAIN && is_left_over(lock) && ms < LEFT_OVER_MS; ms++) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		r = os_lock(lock, OS_LOCK_EXCLUSIVE, 0, 0);
	}
	return r;
}

static int served_already(const struct serving *serving, int lock)
{
	pid_t holder = holder_of(lock);

	if (holder != 0)
		log_event(REASON_ADDRESS_TAKEN, "another pathbusd (pid %d) serves %s already; stop it first, or give another %s",
		          (int)holder, serving->path, serving->option);
	else
		log_event(REASON_ADDRESS_TAKEN, "another pathbusd serves %s already; stop it first, or give another %s", serving->path,
		          serving->option);
	return EXIT_SERVED;
}

/* A lock on a file that was removed meanwhile is worth nothing. */
static bool is_still_there(const struct serving *serving, const char *name, int lock)
{
	struct stat there, held;

	return fstatat(serving->dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && fstat(lock, &held) == 0 &&
	       there.st_dev == held.st_dev && there.st_ino == held.st_ino;
}

static int take_lock(struct serving *serving)
{
	char name[NAME_SIZE];

	snprintf(name, sizeof(name), "%s.lock", serving->name);
	for (;;) {
		struct stat st;
		int lock = openat(serving->dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		                  0600);
		int r;

		if (lock < 0)
			return failed("cannot make the lock file of", serving->path, -errno);
		if (fstat(lock, &st) < 0 || !S_ISREG(st.st_mode)) {
			close(lock);
			log_event(REASON_ADDRESS, "%s.lock is no regular file", serving->path);
			return EXIT_FAILED;
		}
		r = lock_it(lock);
		if (r == -EAGAIN) {
			int status = served_already(serving, lock);

			close(lock);
			return status;
		}
		if (r < 0) {
			close(lock);
			return failed("cannot lock", serving->path, r);
		}
		if (is_still_there(serving, name, lock)) {
			serving->lock = lock;
			break;
		}
		close(lock);
	}
	if (ftruncate(serving->lock, 0) < 0 || dprintf(serving->lock, "%d\n", (int)getpid()) < 0)
		log_event(REASON_SETUP, "the pid could not be written to %s.lock", serving->path);
	return EXIT_STOPPED;
}

/* --- the socket ------------------------------------------------------------------------------------ */

/* Where the temporary name makes the path too long for a socket, the folder is reached through /proc. */
static int bind_as(const struct serving *serving, const char *name)
{
	char path[2 * NAME_SIZE];
	struct sockaddr_un address;
	int r;

	snprintf(path, sizeof(path), "%.*s%s", (int)(serving->name - serving->path), serving->path, name);
	r = address_fill(path, &address);
	if (r == -ENAMETOOLONG) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", serving->dir, name);
		r = address_fill(path, &address);
	}
	if (r < 0)
		return r;
	return bind(serving->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* Moves the new socket to its name in one step, over a stale socket but over nothing else. */
static int move_into_place(const struct serving *serving, const char *name)
{
	struct stat st;

	if (fstatat(serving->dir, serving->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? os_rename_new(serving->dir, name, serving->name) : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	return renameat(serving->dir, name, serving->dir, serving->name) < 0 ? -errno : 0;
}

static int open_socket(struct serving *serving)
{
	char name[32];
	struct stat st;
	int r;

	serving->listener = os_socket_new();
	if (serving->listener < 0)
		return failed("no socket for", serving->path, serving->listener);
	os_refuse_descriptors(serving->listener); /* accepted ones inherit it: from their first byte */
	snprintf(name, sizeof(name), ".pathbusd-%d", (int)getpid());
	(void)unlinkat(serving->dir, name, 0); /* of a dead process with our pid */
	r = bind_as(serving, name);
	if (r < 0)
		return failed("cannot make the socket", serving->path, r);
	/* The group first: until then it is for nobody but its owner. */
	if (serving->group != (gid_t)-1 && fchownat(serving->dir, name, (uid_t)-1, serving->group, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (r == 0 && serving->mode != 0 && fchmodat(serving->dir, name, serving->mode, 0) < 0)
		r = -errno;
	/* Listening as root, if it is: clients see that from now on, and take nobody else's socket for it. */
	if (r == 0 && (fstatat(serving->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || listen(serving->listener, BACKLOG) < 0))
		r = -errno;
	if (r == 0)
		r = move_into_place(serving, name);
	if (r < 0) {
		(void)unlinkat(serving->dir, name, 0);
		if (r != -EEXIST)
			return failed("cannot serve", serving->path, r);
		log_event(REASON_ADDRESS, "%s exists and is no socket: it is left alone; remove it, or give another %s", serving->path,
		          serving->option);
		return EXIT_FAILED;
	}
	serving->dev = st.st_dev;
	serving->ino = st.st_ino;
	return EXIT_STOPPED;
}

static void use_socket(struct serving *serving, const struct inherited_socket *inherited)
{
	serving->listener = inherited->fd;
	os_refuse_descriptors(serving->listener);
}

/* The folder is the service user's, who may exchange what lies in there at any moment, for a link to what is root's perhaps: so
 * it is that user who makes and changes it. Listening stays root's. */
static int fill_folder(struct serving *serving, const struct service_user *user, const struct inherited_socket *inherited)
{
	bool is_lent = user && geteuid() == 0;
	struct service_user lent = is_lent ? *user : (struct service_user){ 0 };
	int status;

	/* What it makes is of the group that is to have it: it need not be one of the service user's. */
	if (is_lent && serving->group != (gid_t)-1)
		lent.gid = serving->group;
	if (is_lent && privileges_lend_files(&lent) < 0)
		return failed("cannot be the service user in the folder of", serving->path, -EPERM);
	status = take_lock(serving);
	if (status == EXIT_STOPPED && inherited && inherited->fd >= 0)
		use_socket(serving, inherited);
	else if (status == EXIT_STOPPED)
		status = open_socket(serving);
	if (is_lent)
		privileges_take_files_back();
	return status;
}

/* The instance's own place, or that of an address. */
static int use_place(const char *address, const struct service_user *user, struct serving *to)
{
	char own[ADDRESS_SIZE] = ADDRESS_SYSTEM;
	int r = user ? 0 : address_of_user(geteuid(), own);

	to->is_own_place = !address || (r == 0 && strcmp(address, own) == 0);
	if (!to->is_own_place)
		return use_address(address, user, to);
	return user ? use_system_place(user, to) : use_own_place(to);
}

static int check_inherited(const char *address, const struct inherited_socket *inherited)
{
	if (inherited->fd < 0 || !address || strcmp(address, inherited->path) == 0)
		return EXIT_STOPPED;
	log_event(REASON_ADDRESS, "the service manager listens at %s, and the address is to be %s: change its unit to that, or leave the "
	          "address out", inherited->path, address);
	return EXIT_USAGE;
}

/* `status`: of finding the folder. */
static int start(struct serving *serving, const struct service_user *user, const struct inherited_socket *inherited, int status,
                 struct serving *ret)
{
	size_t name_at = serving->name ? (size_t)(serving->name - serving->path) : 0;

	if (status == EXIT_STOPPED)
		status = fill_folder(serving, user, inherited);
	if (status != EXIT_STOPPED) {
		serving_stop(serving);
		return status;
	}
	*ret = *serving;
	ret->name = ret->path + name_at;
	return EXIT_STOPPED;
}

int serving_start(const char *address, const struct service_user *user, const struct inherited_socket *inherited,
                  struct serving *ret)
{
	struct serving serving = { .option = "--address", .group = (gid_t)-1, .dir = -1, .lock = -1, .listener = -1 };
	int status = check_inherited(address, inherited);

	if (status == EXIT_STOPPED)
		status = use_place(inherited->fd >= 0 ? inherited->path : address, user, &serving);
	/* Whoever names the instance's own place has named a place all the same. */
	serving.is_own_place = serving.is_own_place && !address;
	serving.mode = user ? 0666 : 0; /* anybody may connect to what serves all users */
	return start(&serving, user, inherited, status, ret);
}

int serving_start_control(const char *path, const struct service_user *user, gid_t group, struct serving *ret)
{
	struct serving serving = { .option = "--control", .group = group, .dir = -1, .lock = -1, .listener = -1 };

	serving.mode = group == (gid_t)-1 ? 0600 : 0660;
	return start(&serving, user, NULL, use_address(path, user, &serving), ret);
}

void serving_stop(struct serving *serving)
{
	char name[NAME_SIZE];
	struct stat st;

	if (serving->listener >= 0)
		close(serving->listener);
	if (serving->ino != 0 && fstatat(serving->dir, serving->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_dev == serving->dev && st.st_ino == serving->ino)
		(void)unlinkat(serving->dir, serving->name, 0);
	if (serving->lock >= 0) {
		/* Removed while it is held: who waits for its name finds out that this one is gone. */
		snprintf(name, sizeof(name), "%s.lock", serving->name);
		if (is_still_there(serving, name, serving->lock))
			(void)unlinkat(serving->dir, name, 0);
		close(serving->lock);
	}
	if (serving->dir >= 0)
		close(serving->dir);
	*serving = (struct serving){ .dir = -1, .lock = -1, .listener = -1 };
}
