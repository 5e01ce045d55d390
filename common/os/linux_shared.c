/* SPDX-License-Identifier: MIT */
/*
 * linux_shared.c - memory that programs share by name: memfds, of huge pages where there are any, and how much may be
 * reserved.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define LINK_SIZE (sizeof("/proc/2147483647/fd/2147483647"))
enum { TYPE_TMPFS = 0x01021994, TYPE_HUGETLBFS = 0x958458f6 };

/* --- making ----------------------------------------------------------------------------------------- */

static int make(const char *label, unsigned flags)
{
	int fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | flags);

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	return fd < 0 ? -errno : fd;
}

/* The pool may have too few: mapping all of it sets them aside for this file, for as long as it is there. */
static int set_aside(int fd, size_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return -EOPNOTSUPP;
	munmap(map, size);
	return 0;
}

int os_shared_new(const char *label, size_t size, bool huge)
{
	int fd = make(label, huge ? MFD_HUGETLB : 0), r = 0;

	if (fd < 0)
		return huge && fd != -EMFILE && fd != -ENFILE ? -EOPNOTSUPP : fd;
	if (fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		r = huge ? -EOPNOTSUPP : -errno;
	if (r == 0 && huge)
		r = set_aside(fd, size);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static uint64_t meminfo(const char *what)
{
	uint64_t kib = 0;
	char line[128];
	size_t size = strlen(what);
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, what, size) == 0 && line[size] == ':') {
			kib = strtoull(line + size + 1, NULL, 10);
			break;
		}
	}
	if (file)
		fclose(file);
	return kib * 1024;
}

size_t os_huge_page_size(void)
{
	return (size_t)meminfo("Hugepagesize");
}

bool os_transparent_huge(void)
{
	char text[128] = "";
	int fd = open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, "[always]") || strstr(text, "[within_size]") || strstr(text, "[advise]") || strstr(text, "[force]");
}

void os_advise_huge(void *map, size_t size)
{
	(void)madvise(map, size, MADV_HUGEPAGE);
}

/* --- opening anew ------------------------------------------------------------------------------------ */

static int open_anew(int fd, int flags)
{
	char name[LINK_SIZE];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	fd = open(name, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int os_reopen(int fd, bool writable)
{
	return open_anew(fd, writable ? O_RDWR : O_RDONLY);
}

bool os_is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & SEALS) == SEALS;
}

static bool has_label(int fd, const char *label)
{
	char name[LINK_SIZE], found[PATH_MAX], wanted[PATH_MAX];
	ssize_t n;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	snprintf(wanted, sizeof(wanted), "/memfd:%s (deleted)", label);
	n = readlink(name, found, sizeof(found) - 1);
	if (n < 0)
		return false;
	found[n] = '\0';
	return strcmp(found, wanted) == 0;
}

int os_shared_of_process(pid_t pid, int number, const char *label)
{
	char name[LINK_SIZE];
	struct statfs fs;
	struct stat st;
	int path, fd = -ESTALE;

	snprintf(name, sizeof(name), "/proc/%d/fd/%d", (int)pid, number);
	path = open(name, O_PATH | O_CLOEXEC); /* opens nothing: not a device, not a FIFO, not what may hang */
	if (path < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	if (has_label(path, label) && fstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	    (st.st_mode & 07777) == 0600 && st.st_nlink == 0 && fstatfs(path, &fs) == 0 &&
	    ((uint32_t)fs.f_type == TYPE_TMPFS || (uint32_t)fs.f_type == TYPE_HUGETLBFS))
		fd = open_anew(path, O_RDWR | O_NONBLOCK); /* its holder may have a lease on it, which is waited for */
	close(path);
	if (fd >= 0 && !os_is_sealed(fd)) {
		close(fd);
		return -ESTALE;
	}
	return fd;
}

/* --- a word ------------------------------------------------------------------------------------------ */

/* Not by write(), for which huge pages are nothing, and which waits for whoever reserves pages of the file (a second for some
 * GiB). And by no store: a hole cannot always be filled, which would be a SIGBUS. */
static int store_mapped(int fd, off_t at, uint64_t word)
{
	struct stat st;
	size_t size;
	char *map;
	int r = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	size = (size_t)st.st_blksize; /* the page's */
	if ((uint64_t)at + sizeof(word) > size)
		return -EINVAL;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	if (process_vm_writev(getpid(), &(struct iovec){ &word, sizeof(word) }, 1,
	                      &(struct iovec){ map + at, sizeof(word) }, 1, 0) < 0)
		r = -errno;
	munmap(map, size);
	return r;
}

int os_shared_store(int fd, off_t at, uint64_t word)
{
	int r = store_mapped(fd, at, word);
	ssize_t n;

	if (r != -ENOSYS && r != -EPERM) /* a kernel, or a filter of system calls, without that */
		return r;
	n = pwrite(fd, &word, sizeof(word), at);
	return n == (ssize_t)sizeof(word) ? 0 : n < 0 ? -errno : -EIO;
}

/* --- how much there is --------------------------------------------------------------------------------- */

/* A number from a file; "max", or no such file: all there can be. */
static uint64_t number_in(const char *folder, const char *name, uint64_t otherwise)
{
	char path[PATH_MAX + 64], text[32];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	if (n <= 0 || text[0] < '0' || text[0] > '9')
		return otherwise;
	text[n] = '\0';
	return strtoull(text, NULL, 10);
}

/* Of a group's memory.stat: files that are in memory and can be read again. */
static uint64_t cached(const char *folder, const char *prefix)
{
	char path[PATH_MAX + 64], line[128], active[64], inactive[64];
	uint64_t sum = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/memory.stat", folder);
	snprintf(active, sizeof(active), "%sactive_file ", prefix);
	snprintf(inactive, sizeof(inactive), "%sinactive_file ", prefix);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, active, strlen(active)) == 0)
			sum += strtoull(line + strlen(active), NULL, 10);
		else if (strncmp(line, inactive, strlen(inactive)) == 0)
			sum += strtoull(line + strlen(inactive), NULL, 10);
	}
	if (file)
		fclose(file);
	return sum;
}

struct group_files {
	const char *root, *limit, *usage, *prefix;
};
static const struct group_files versions[] = {
	{ "/sys/fs/cgroup", "memory.max", "memory.current", "" },
	{ "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_" },
};

/* What a group and those it lies in leave. `path` is changed. */
static uint64_t left_in(const struct group_files *files, char *path)
{
	uint64_t least = UINT64_MAX;

	for (;;) {
		char folder[PATH_MAX];
		uint64_t limit, usage, free_bytes;
		char *slash;

		snprintf(folder, sizeof(folder), "%s%s", files->root, path);
		limit = number_in(folder, files->limit, UINT64_MAX);
		if (limit < UINT64_MAX / 4) { /* the old way to say "none" is a large number */
			usage = number_in(folder, files->usage, 0);
			free_bytes = (limit > usage ? limit - usage : 0) + cached(folder, files->prefix);
			if (free_bytes < least)
				least = free_bytes;
		}
		slash = strrchr(path, '/');
		if (!slash)
			return least;
		*slash = '\0';
	}
}

static uint64_t left_in_groups(void)
{
	char line[PATH_MAX];
	uint64_t least = UINT64_MAX;
	FILE *file = fopen("/proc/self/cgroup", "re");

	while (file && fgets(line, sizeof(line), file)) {
		char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
		const struct group_files *of = NULL;
		uint64_t left;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		if (names[1] == '\0')
			of = &versions[0];
		else if (strcmp(names + 1, "memory") == 0)
			of = &versions[1];
		left = of && strlen(path) < PATH_MAX - 64 ? left_in(of, path) : UINT64_MAX;
		if (left < least)
			least = left;
	}
	if (file)
		fclose(file);
	return least;
}

int os_may_reserve(uint64_t size)
{
	uint64_t swap = meminfo("SwapFree"), left = meminfo("MemAvailable"), groups;

	if (left == 0)
		return 0; /* not known */
	if (size > left + swap)
		return -ENOSPC;
	groups = left_in_groups();
	return groups != UINT64_MAX && size > groups + swap ? -ENOSPC : 0;
}
