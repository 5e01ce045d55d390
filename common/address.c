/* SPDX-License-Identifier: MIT */
/* address.c - the places where a daemon's socket may be. */
#include "address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/os.h"

static const char *from_environment(const char *name)
{
#if defined(__GLIBC__)
	const char *address = secure_getenv(name);
#else
	const char *address = issetugid() ? NULL : getenv(name);
#endif

	return address && address[0] ? address : NULL;
}

const char *address_from_environment(void)
{
	return from_environment("PATHBUS_ADDRESS");
}

const char *address_control_from_environment(void)
{
	return from_environment("PATHBUS_CONTROL");
}

int address_runtime_folder(uid_t uid, char *ret, size_t size)
{
	int n = snprintf(ret, size, "%s/pathbus-%u", os_runtime_root(), (unsigned)uid);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* The socket of this name in the user's place. */
static int place_of_user(uid_t uid, const char *name, char *ret)
{
	char root[ADDRESS_SIZE];
	struct stat st;
	int r, n;

	r = os_user_runtime_root(uid, root, sizeof(root));
	if (r == 0 && stat(root, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == uid) {
		n = snprintf(ret, ADDRESS_SIZE, "%.80s/pathbus/%s", root, name);
	} else {
		r = address_runtime_folder(uid, root, sizeof(root));
		if (r < 0)
			return r;
		n = snprintf(ret, ADDRESS_SIZE, "%.80s/%s", root, name);
	}
	return n < 0 || (size_t)n >= ADDRESS_SIZE ? -ENAMETOOLONG : 0;
}

int address_of_user(uid_t uid, char *ret)
{
	return place_of_user(uid, "socket", ret);
}

int address_control_of_user(uid_t uid, char *ret)
{
	return place_of_user(uid, "control", ret);
}

int address_control_of(const char *address, char *ret)
{
	int n = snprintf(ret, ADDRESS_SIZE, "%s.control", address);

	return n < 0 || (size_t)n >= ADDRESS_SIZE ? -ENAMETOOLONG : 0;
}

/* The path without its last component; false: it has none, or is too long. */
static bool parent_of(const char *path, char *ret)
{
	const char *slash = strrchr(path, '/');
	int n = slash && slash > path ? snprintf(ret, ADDRESS_SIZE, "%.*s", (int)(slash - path), path) : 0;

	return n > 0 && (size_t)n < ADDRESS_SIZE;
}

static bool is_given_to(const char *folder, uid_t uid)
{
	char above[ADDRESS_SIZE];
	struct stat st;

	return parent_of(folder, above) && stat(above, &st) == 0 && st.st_uid == 0 && (st.st_mode & 022) == 0 &&
	       lstat(folder, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == uid && (st.st_mode & 022) == 0;
}

static bool is_of_system(const char *address)
{
	return strcmp(address, ADDRESS_SYSTEM) == 0 || strcmp(address, ADDRESS_SYSTEM_CONTROL) == 0;
}

bool address_may_be_served_by(const char *address, uid_t uid)
{
	char folder[ADDRESS_SIZE];

	return uid == 0 || (uid == geteuid() && os_is_one_user(uid)) ||
	       (is_of_system(address) && parent_of(address, folder) && is_given_to(folder, uid));
}

int address_fill(const char *path, struct sockaddr_un *ret)
{
	size_t size = strlen(path);

	if (size == 0)
		return -EINVAL;
	if (size >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(ret->sun_path, path, size);
	return 0;
}
