/* SPDX-License-Identifier: MIT */
/* endpoint_files.c - records and sockets in a sidecar's folder: names, contents, removal. */
#include "endpoint_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/os.h"
#include "pathbus.h"

#define RECORD_MAGIC UINT64_C(0x3144505542485450) /* "PTHBUPD1" */
#define PREFIX "endpoint-"
/* Far from the locks of members and slots (page.h): 60 bits of the hash behind it. */
#define FIRST_BYTE ((off_t)1 << 60)

void endpoint_names_make(const char *name, uint32_t size, struct endpoint_names *ret)
{
	char hash[HASH_TEXT_SIZE], part[16];

	hash_text(name, size, hash);
	snprintf(ret->record, sizeof(ret->record), PREFIX "%s", hash);
	snprintf(ret->socket, sizeof(ret->socket), PREFIX "%s.socket", hash);
	snprintf(ret->new_record, sizeof(ret->new_record), PREFIX "%s~", hash);
	snprintf(ret->new_socket, sizeof(ret->new_socket), PREFIX "%s.socket~", hash);
	memcpy(part, hash + HASH_TEXT_SIZE - sizeof(part), sizeof(part)); /* 15 digits and the end */
	ret->byte = FIRST_BYTE + (off_t)strtoull(part, NULL, 16);
}

/* Is it a name that endpoint_names_make makes? `is_record`: the one of a record. */
static bool is_ours(const char *file, bool is_record)
{
	static const char *const ends[] = { "", ".socket", "~", ".socket~" };
	const char *at = file + sizeof(PREFIX) - 1;

	if (strncmp(file, PREFIX, sizeof(PREFIX) - 1) != 0 || strspn(at, "0123456789abcdef") != HASH_TEXT_SIZE - 1)
		return false;
	at += HASH_TEXT_SIZE - 1;
	for (size_t i = 0; i < (is_record ? 1 : sizeof(ends) / sizeof(ends[0])); i++)
		if (strcmp(at, ends[i]) == 0)
			return true;
	return false;
}

int endpoint_record_make(int dir, const struct endpoint_names *names, const struct endpoint_record *record)
{
	struct endpoint_record whole = *record;
	ssize_t n;
	int fd, r;

	(void)unlinkat(dir, names->new_record, 0);
	fd = openat(dir, names->new_record, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	whole.magic = RECORD_MAGIC;
	os_random(&whole.id, sizeof(whole.id));
	r = os_lock(fd, OS_LOCK_EXCLUSIVE, 0, 1);
	if (r == 0 && fchmod(fd, 0600) < 0) /* whatever the umask */
		r = -errno;
	if (r == 0) {
		n = pwrite(fd, &whole, sizeof(whole), 0);
		r = n < 0 ? -errno : n < (ssize_t)sizeof(whole) ? -ENOSPC : 0;
	}
	if (r < 0) {
		(void)unlinkat(dir, names->new_record, 0);
		close(fd);
		return r;
	}
	return fd;
}

static bool is_sound(const struct endpoint_record *record)
{
	return record->magic == RECORD_MAGIC && record->name_size >= 1 && record->name_size < sizeof(record->name) &&
	       memchr(record->name, '\0', sizeof(record->name)) == record->name + record->name_size;
}

int endpoint_record_read(int dir, const char *file, struct endpoint_record *ret)
{
	struct endpoint_record record;
	int fd = os_open_own_file(dir, file), r;

	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM ? fd : 0;
	r = os_lock_is_held(fd, 0, 1);
	if (r == 1 && (pread(fd, &record, sizeof(record), 0) != (ssize_t)sizeof(record) || !is_sound(&record)))
		r = 0;
	close(fd);
	if (r == 1)
		*ret = record;
	return r;
}

static DIR *open_again(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = fd < 0 ? NULL : fdopendir(fd);

	if (!entries && fd >= 0)
		close(fd);
	return entries;
}

int endpoint_records_each(int dir, int (*fn)(const struct endpoint_record *record, void *arg), void *arg)
{
	DIR *entries = open_again(dir);
	struct dirent *entry;
	int n = 0, r = 0;

	if (!entries)
		return -errno;
	while (r == 0 && (entry = readdir(entries))) {
		struct endpoint_record record;

		if (!is_ours(entry->d_name, true))
			continue;
		r = endpoint_record_read(dir, entry->d_name, &record);
		if (r == 1) {
			n++;
			r = fn(&record, arg);
		}
	}
	closedir(entries);
	return r ? r : n;
}

void endpoint_files_remove(int dir)
{
	DIR *entries = open_again(dir);
	struct dirent *entry;

	while (entries && (entry = readdir(entries)))
		if (is_ours(entry->d_name, false))
			(void)unlinkat(dir, entry->d_name, 0);
	if (entries)
		closedir(entries);
}
