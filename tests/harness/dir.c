/* SPDX-License-Identifier: MIT */
/*
 * dir.c - the folders: one of the program, `pathbus-test.XXXXXX`, and in it one for each case. The program
 * outlives its cases and so removes what a case that died has left.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/harness.h"
#include "harness/internal.h"

#define LOG_TAIL 16384 /* how much of a log is printed */

static char *program_dir;
static char *case_dir;
static char **kept; /* the strings that live until the case ends */
static size_t n_kept;
static bool sidecars_allowed;

char *dir_keep(char *string)
{
	char **more = realloc(kept, (n_kept + 1) * sizeof(*kept));

	ck_assert_ptr_nonnull(string);
	ck_assert_ptr_nonnull(more);
	kept = more;
	kept[n_kept++] = string;
	return string;
}

/* The last test of the run looks whether the folders that are listed there are gone. */
static void list_program_dir(void)
{
	const char *list = getenv("PATHBUS_TEST_FOLDERS");
	FILE *f = list ? fopen(list, "ae") : NULL;

	if (!f)
		return;
	fprintf(f, "%s\n", program_dir);
	fclose(f);
}

const char *dir_program_init(void)
{
	const char *tmp = getenv("TMPDIR");
	char *real = realpath(tmp && *tmp ? tmp : "/tmp", NULL);

	if (!real || asprintf(&program_dir, "%s/pathbus-test.XXXXXX", real) < 0 ||
	    !mkdtemp(program_dir)) {
		perror("no folder for temporary files");
		exit(EXIT_FAILURE);
	}
	free(real);
	list_program_dir();
	return program_dir;
}

void dir_case_init(void)
{
	sidecars_allowed = false;
	ck_assert_int_ge(asprintf(&case_dir, "%s/case%d", program_dir, (int)getpid()), 0);
	ck_assert_msg(mkdir(case_dir, 0700) == 0, "mkdir %s: %s", case_dir, strerror(errno));
}

const char *harness_tmpdir(void)
{
	return case_dir;
}

const char *harness_path(const char *format, ...)
{
	char *name, *path;
	va_list ap;

	va_start(ap, format);
	ck_assert_int_ge(vasprintf(&name, format, ap), 0);
	va_end(ap);
	ck_assert_int_ge(asprintf(&path, "%s/%s", case_dir, name), 0);
	free(name);
	return dir_keep(path);
}

const char *harness_read_file(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;

	ck_assert_msg(f != NULL, "open %s: %s", path, strerror(errno));
	if (getdelim(&text, &size, '\0', f) < 0) {
		free(text);
		text = strdup("");
	}
	fclose(f);
	return dir_keep(text);
}

void harness_write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	ck_assert_msg(f != NULL, "open %s: %s", path, strerror(errno));
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

void harness_allow_sidecars(void)
{
	sidecars_allowed = true;
}

static int refuse_sidecar(const char *path, const struct stat *st, int type, struct FTW *where)
{
	const char *name = path + where->base;
	const char *suffix = strrchr(name, '.');

	(void)st;
	if (type == FTW_D && name[0] == '.' && strcmp(suffix, ".pathbus") == 0)
		ck_abort_msg("a sidecar is left: %s", path);
	return 0;
}

void dir_case_check(void)
{
	if (!sidecars_allowed)
		(void)nftw(case_dir, refuse_sidecar, 16, FTW_PHYS | FTW_MOUNT);
}

static void remove_tree(int at, const char *name);

static void empty_folder(int fd)
{
	DIR *dir = fdopendir(fd); /* owns fd now */
	struct dirent *entry;

	if (!dir) {
		close(fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			remove_tree(dirfd(dir), entry->d_name);
	closedir(dir);
}

/* By descriptors: paths may be longer than PATH_MAX. Stays on the file system, in case a mount was left. */
static void remove_tree(int at, const char *name)
{
	struct stat parent, st;
	int fd;

	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (!S_ISDIR(st.st_mode)) {
		(void)unlinkat(at, name, 0);
		return;
	}
	if ((st.st_mode & 0700) != 0700)
		(void)fchmodat(at, name, 0700, 0);
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && (at == AT_FDCWD || (fstat(at, &parent) == 0 && parent.st_dev == st.st_dev)))
		empty_folder(fd);
	else if (fd >= 0)
		close(fd);
	(void)unlinkat(at, name, AT_REMOVEDIR);
}

void dir_case_deinit(void)
{
	remove_tree(AT_FDCWD, case_dir);
	ck_assert_msg(access(case_dir, F_OK) < 0, "cannot remove %s", case_dir);
	for (size_t i = 0; i < n_kept; i++)
		free(kept[i]);
	free(kept);
	free(case_dir);
	kept = NULL;
	n_kept = 0;
	case_dir = NULL;
}

static void print_log(int folder, const char *name)
{
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r"); /* owns fd now */
	char line[1024];

	if (!f)
		return;
	fprintf(stderr, "---- %s\n", name);
	if (fseek(f, -LOG_TAIL, SEEK_END) == 0 && fgets(line, sizeof(line), f))
		fprintf(stderr, "...\n");
	else
		rewind(f);
	while (fgets(line, sizeof(line), f))
		fputs(line, stderr);
	fprintf(stderr, "----\n");
	fclose(f);
}

static void print_logs(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd); /* owns fd now */
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *suffix = strrchr(entry->d_name, '.');

		if (suffix && strcmp(suffix, ".log") == 0)
			print_log(fd, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

void dir_program_sweep(void)
{
	DIR *dir = opendir(program_dir);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "case", 4) != 0)
			continue;
		print_logs(dirfd(dir), entry->d_name);
		remove_tree(dirfd(dir), entry->d_name);
	}
	if (dir)
		closedir(dir);
}

void dir_program_deinit(void)
{
	remove_tree(AT_FDCWD, program_dir);
	free(program_dir);
	program_dir = NULL;
}
