/* SPDX-License-Identifier: MIT */
/* proc.c - /proc. Its texts are the kernel's, but for names: those are any bytes. */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/os.h"

enum { PATH_SIZE = 64, MAX_TEXT = 4 << 20 };

static void path_of(pid_t pid, const char *name, char ret[PATH_SIZE])
{
	snprintf(ret, PATH_SIZE, "/proc/%lld/%s", (long long)pid, name);
}

/* All of a file of /proc, with a zero behind it; to be freed. */
static int read_all(pid_t pid, const char *name, char **ret, size_t *ret_size)
{
	char path[PATH_SIZE], *text = NULL;
	size_t used = 0, size = 0;
	ssize_t n = 0;
	int fd;

	path_of(pid, name, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	do {
		if (size - used < 4096) {
			char *larger = size < MAX_TEXT ? realloc(text, size + 65536) : NULL;

			if (!larger) {
				free(text);
				close(fd);
				return -ENOMEM;
			}
			text = larger;
			size += 65536;
		}
		n = read(fd, text + used, size - used - 1);
		if (n > 0)
			used += (size_t)n;
	} while (n > 0);
	close(fd);
	if (n < 0) {
		n = -errno;
		free(text);
		return (int)n;
	}
	text[used] = '\0';
	*ret = text;
	*ret_size = used;
	return 0;
}

/* What follows "NAME:\t" at the beginning of a line; NULL: there is none. */
static const char *field(const char *text, const char *name)
{
	size_t size = strlen(name);

	for (const char *at = text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
		if (strncmp(at, name, size) == 0 && at[size] == ':')
			return at + size + 1 + strspn(at + size + 1, "\t ");
	return NULL;
}

/* The second of four: the effective one. */
static bool effective(const char *text, const char *name, unsigned *ret)
{
	const char *at = field(text, name);

	return at && sscanf(at, "%*u %u", ret) == 1;
}

int proc_look(pid_t pid, struct proc *ret)
{
	struct proc proc = { .pid = pid };
	const char *at;
	char *text, *end;
	size_t size;
	int r = read_all(pid, "status", &text, &size);

	if (r < 0)
		return r;
	at = field(text, "Name");
	if (at) /* the kernel has escaped what would break the lines */
		snprintf(proc.command, sizeof(proc.command), "%.*s", (int)strcspn(at, "\n"), at);
	at = field(text, "State");
	proc.state = at ? *at : '?';
	if (!effective(text, "Uid", &proc.uid) || !effective(text, "Gid", &proc.gid))
		r = -EIO;
	at = field(text, "Groups");
	while (at && *at != '\n' && proc.n_groups < PROC_MAX_GROUPS) {
		unsigned long group = strtoul(at, &end, 10);

		if (end == at)
			break;
		proc.groups[proc.n_groups++] = (gid_t)group;
		at = end + strspn(end, " ");
	}
	free(text);
	if (r == 0)
		*ret = proc;
	return r;
}

int proc_environment(pid_t pid, const char *name, char **ret_value)
{
	size_t length = strlen(name), size;
	char *text, *value = NULL;
	int r = read_all(pid, "environ", &text, &size);

	if (r < 0)
		return r;
	for (const char *at = text; at < text + size && !value; at += strlen(at) + 1)
		if (strncmp(at, name, length) == 0 && at[length] == '=') {
			value = strdup(at + length + 1);
			r = value ? 1 : -ENOMEM;
			break;
		}
	free(text);
	if (r == 1)
		*ret_value = value;
	return r;
}

int proc_same_namespace(pid_t pid, const char *kind)
{
	char name[16], path[PATH_SIZE];
	struct stat theirs, mine;

	snprintf(name, sizeof(name), "ns/%s", kind);
	path_of(pid, name, path);
	if (stat(path, &theirs) < 0)
		return -errno;
	path_of(getpid(), name, path);
	if (stat(path, &mine) < 0)
		return -errno;
	return theirs.st_dev == mine.st_dev && theirs.st_ino == mine.st_ino;
}

int proc_root(pid_t pid)
{
	char path[PATH_SIZE];

	path_of(pid, "root", path);
	return os_open_folder(AT_FDCWD, path, true);
}

int proc_maps(pid_t pid, const char *part)
{
	char *text;
	size_t size;
	int r = read_all(pid, "maps", &text, &size);

	if (r < 0)
		return r;
	r = strstr(text, part) != NULL;
	free(text);
	return r;
}

/* --- its descriptors -------------------------------------------------------------------------------------------- */

int proc_files(pid_t pid, proc_file *look, void *arg)
{
	char path[PATH_SIZE], text[PATH_MAX];
	struct dirent *entry;
	DIR *dir;
	bool more = true;

	path_of(pid, "fd", path);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (more && (entry = readdir(dir))) {
		ssize_t n = entry->d_name[0] == '.' ? -1 : readlinkat(dirfd(dir), entry->d_name, text, sizeof(text) - 1);

		if (n < 0)
			continue;
		text[n] = '\0';
		more = look(dirfd(dir), entry->d_name, text, arg);
	}
	closedir(dir);
	return 0;
}

struct wanted {
	uint64_t dev, ino;
	bool found;
	pid_t pid;      /* proc_has_lock */
	uint64_t byte;
};

static bool is_wanted(int dir, const char *name, const struct wanted *wanted)
{
	struct stat st;

	return fstatat(dir, name, &st, 0) == 0 && (uint64_t)st.st_dev == wanted->dev && st.st_ino == wanted->ino;
}

static bool find(int dir, const char *name, const char *path, void *arg)
{
	struct wanted *wanted = arg;

	/* Other than files nothing is looked at: not what a file system that does not answer has. */
	if (path[0] == '/' && strstr(path, ".pathbus"))
		wanted->found = is_wanted(dir, name, wanted);
	return !wanted->found;
}

int proc_holders(uint64_t dev, uint64_t ino, proc_holder *look, void *arg, unsigned *ret_n_hidden)
{
	struct dirent *entry;
	struct proc process;
	DIR *dir = opendir("/proc");

	*ret_n_hidden = 0;
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		struct wanted wanted = { .dev = dev, .ino = ino };
		long pid = strtol(entry->d_name, NULL, 10);
		int r = pid > 0 && pid != getpid() ? proc_files((pid_t)pid, find, &wanted) : -ENOENT;

		*ret_n_hidden += r == -EACCES || r == -EPERM;
		if (r == 0 && wanted.found && proc_look((pid_t)pid, &process) == 0)
			look(&process, arg);
	}
	closedir(dir);
	return 0;
}

/* "lock:	1: OFDLCK  ADVISORY  WRITE -1 08:01:1234 1 1" in fdinfo. */
static bool has_lock_line(const char *text, uint64_t byte)
{
	for (const char *at = strstr(text, "lock:"); at; at = strstr(at + 1, "lock:")) {
		unsigned long long from, to;
		char end[24];

		if (sscanf(at, "lock: %*s OFDLCK %*s WRITE %*s %*s %llu %23s", &from, end) != 2)
			continue;
		to = strcmp(end, "EOF") == 0 ? UINT64_MAX : strtoull(end, NULL, 10);
		if (from <= byte && byte <= to)
			return true;
	}
	return false;
}

static bool find_lock(int dir, const char *name, const char *path, void *arg)
{
	struct wanted *wanted = arg;
	char info[32], *text;
	size_t size;

	if (path[0] != '/' || !strstr(path, ".pathbus") || !is_wanted(dir, name, wanted))
		return true;
	snprintf(info, sizeof(info), "fdinfo/%.12s", name);
	if (read_all(wanted->pid, info, &text, &size) < 0)
		return true;
	wanted->found = has_lock_line(text, wanted->byte);
	free(text);
	return !wanted->found;
}

bool proc_has_lock(pid_t pid, uint64_t dev, uint64_t ino, uint64_t byte)
{
	struct wanted wanted = { .dev = dev, .ino = ino, .pid = pid, .byte = byte };

	return proc_files(pid, find_lock, &wanted) == 0 && wanted.found;
}
