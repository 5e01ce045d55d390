/* SPDX-License-Identifier: MIT */
/* config_files.c - finds and reads the files of the configuration; config.c knows what stands in them. */
#include "config_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "escape.h"

#define MAX_SIZE (UINT64_C(1) << 20)
#define MAX_FILES 256u
#define SUFFIX ".conf"

struct reading {
	const struct config_place *place;
	struct sources made;
	uint64_t size; /* of all files so far */
	char *error;
};

void config_file_fail(struct config_file *file, int error, unsigned line, const char *what)
{
	char path[CONFIG_ERROR_SIZE / 2];

	if (file->error < 0)
		return;
	file->error = error;
	file->wrong_line = line;
	escape(file->path, strlen(file->path), path, sizeof(path));
	if (line > 0)
		snprintf(file->error_text, CONFIG_ERROR_SIZE, "%s:%u: %s", path, line, what);
	else
		snprintf(file->error_text, CONFIG_ERROR_SIZE, "%s: %s", path, what);
}

static void fail_to_read(struct config_file *file, int error)
{
	char text[256];

	if (error == -EACCES)
		snprintf(text, sizeof(text), "cannot be read by user %u: let that one read it (chmod a+r)", (unsigned)geteuid());
	else
		snprintf(text, sizeof(text), "cannot be read: %s", strerror(-error));
	config_file_fail(file, error, 0, text);
}

/* Could somebody else have written it? */
static bool is_safe(struct config_file *file, const struct stat *st, bool trusted)
{
	char text[160];

	if (trusted && st->st_uid != 0 && st->st_uid != geteuid()) {
		snprintf(text, sizeof(text), "belongs to user %u, who could change what all users may do; make it root's",
		         (unsigned)st->st_uid);
		config_file_fail(file, -EINVAL, 0, text);
		return false;
	}
	if (trusted && st->st_mode & (S_IWGRP | S_IWOTH)) {
		config_file_fail(file, -EINVAL, 0, "others than its owner may write it; take that away with chmod go-w");
		return false;
	}
	return true;
}

/* --- a file ---------------------------------------------------------------------------------------- */

static bool check_file(struct reading *reading, struct config_file *file, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		config_file_fail(file, -EINVAL, 0, "is no regular file");
	else if (st->st_size < 0 || (uint64_t)st->st_size > MAX_SIZE - reading->size)
		config_file_fail(file, -EINVAL, 0, reading->size > 0 ? "is, with the files before it, larger than 1M" : "is larger than 1M");
	else
		return is_safe(file, st, reading->place->trusted);
	return false;
}

/* The whole file: what is checked is what is read. The caller's; NULL: it has failed. */
static char *read_all(struct config_file *file, int fd, size_t size, size_t *ret_size)
{
	char *text = malloc(size + 1);
	size_t used = 0;
	ssize_t n = 1;

	if (!text) {
		config_file_fail(file, -ENOMEM, 0, "no memory");
		return NULL;
	}
	while (used < size && n > 0) {
		n = read(fd, text + used, size - used);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			used += (size_t)n;
	}
	text[used] = '\0';
	*ret_size = used;
	if (n < 0)
		fail_to_read(file, -errno);
	else if (used < size)
		config_file_fail(file, -EINVAL, 0, "became shorter while it was read: is it still being written?");
	else if (strlen(text) != used)
		config_file_fail(file, -EINVAL, 0, "is no text: it has a zero byte");
	else
		return text;
	free(text);
	return NULL;
}

/* 0 or -errno, told. */
static int read_file(struct reading *reading, const char *path, bool may_be_missing)
{
	struct config_file file = { .path = (char *)(uintptr_t)path, .error_text = reading->error };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t size = 0;
	char *text = NULL;
	struct stat st;

	if (fd < 0 && errno == ENOENT && may_be_missing)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		fail_to_read(&file, -errno);
	else if (check_file(reading, &file, &st))
		text = read_all(&file, fd, (size_t)st.st_size, &size);
	if (fd >= 0)
		close(fd);
	if (text) {
		reading->size += size;
		if (sources_add_file(&reading->made, path) < 0)
			config_file_fail(&file, -ENOMEM, 0, "no memory");
		else
			config_parse(&file, text, size, &reading->made);
	}
	free(text);
	return file.error;
}

/* --- the folder ------------------------------------------------------------------------------------ */

static bool is_ours(const char *name)
{
	size_t size = strlen(name);

	return name[0] != '.' && size > strlen(SUFFIX) && strcmp(name + size - strlen(SUFFIX), SUFFIX) == 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Adds the paths of what is there, unsorted. */
static void list(struct config_file *folder, DIR *dir, char **names, unsigned *n)
{
	const struct dirent *entry;

	while (errno = 0, folder->error == 0 && (entry = readdir(dir))) {
		if (!is_ours(entry->d_name))
			continue;
		if (*n == MAX_FILES) {
			config_file_fail(folder, -EINVAL, 0, "has more than 256 files");
		} else if (asprintf(&names[*n], "%s/%s", folder->path, entry->d_name) < 0) {
			config_file_fail(folder, -ENOMEM, 0, "no memory");
		} else {
			(*n)++;
		}
	}
	if (errno != 0)
		fail_to_read(folder, -errno);
}

static int read_folder(struct reading *reading, char *path)
{
	struct config_file folder = { .path = path, .error_text = reading->error };
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *names[MAX_FILES];
	unsigned n = 0;
	struct stat st;
	DIR *dir = NULL;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		fail_to_read(&folder, -errno);
	else if (is_safe(&folder, &st, reading->place->trusted)) {
		dir = fdopendir(fd);
		if (dir)
			list(&folder, dir, names, &n);
		else
			fail_to_read(&folder, -errno);
	}
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
	qsort(names, n, sizeof(names[0]), compare);
	for (unsigned i = 0; i < n; i++) {
		if (folder.error == 0)
			folder.error = read_file(reading, names[i], false);
		free(names[i]);
	}
	return folder.error;
}

int config_read(const struct config_place *place, struct sources *sources, char *ret_error)
{
	struct reading reading = { .place = place, .error = ret_error };
	char *folder = NULL;
	int r = read_file(&reading, place->path, place->may_be_missing);

	if (r == 0 && asprintf(&folder, "%s.d", place->path) < 0) {
		folder = NULL;
		r = -ENOMEM;
	}
	if (r == 0)
		r = read_folder(&reading, folder);
	if (r == 0)
		r = sources_add_all(sources, &reading.made);
	if (r == -ENOMEM)
		snprintf(ret_error, CONFIG_ERROR_SIZE, "no memory to read the configuration");
	sources_deinit(&reading.made);
	free(folder);
	return r;
}
