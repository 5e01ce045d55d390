/* SPDX-License-Identifier: MIT */
/*
 * logind.c - reads logind.conf and its drop-ins, as logind.conf(5) has it: the first logind.conf of the folders, then all drop-ins in
 * the order of their names, of equal names the one in the first folder; the last word holds.
 */
#include "logind.h"

#include <dirent.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define LAST_SYSTEM_UID 999u /* what is up to here is no person's, and is spared */

static const char *const folders[] = { "/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd" };

enum { N_FOLDERS = sizeof(folders) / sizeof(folders[0]), PATH_SIZE = 512 };

/* Without the blanks around it. In place. */
static char *trim(char *text)
{
	size_t size;

	text += strspn(text, " \t\r\n");
	size = strlen(text);
	while (size > 0 && strchr(" \t\r\n", text[size - 1]))
		text[--size] = '\0';
	return text;
}

static bool is_one_of(const char *text, const char *const words[5])
{
	for (int i = 0; i < 5; i++)
		if (strcasecmp(text, words[i]) == 0)
			return true;
	return false;
}

/* False: there is no such file. */
static bool read_file(const char *path, bool *removes)
{
	static const char *const yes[5] = { "yes", "true", "on", "1", "y" }, *const no[5] = { "no", "false", "off", "0", "n" };
	FILE *file = fopen(path, "re");
	bool in_section = false;
	char *line = NULL;
	size_t size = 0;

	if (!file)
		return false;
	while (getline(&line, &size, file) >= 0) {
		char *text = trim(line), *value = strchr(text, '=');

		if (text[0] == '[')
			in_section = strcmp(text, "[Login]") == 0;
		if (!in_section || text[0] == '#' || text[0] == ';' || !value)
			continue;
		*value++ = '\0';
		if (strcmp(trim(text), "RemoveIPC") != 0)
			continue;
		value = trim(value);
		if (is_one_of(value, yes))
			*removes = true;
		else if (is_one_of(value, no))
			*removes = false;
	}
	free(line);
	fclose(file);
	return true;
}

struct drop_in {
	char name[256];
	int folder;
};

static int compare(const void *a_, const void *b_)
{
	const struct drop_in *a = a_, *b = b_;
	int order = strcmp(a->name, b->name);

	return order ? order : a->folder - b->folder;
}

static size_t collect(struct drop_in **ret)
{
	struct drop_in *list = NULL;
	size_t n = 0;

	for (int i = 0; i < N_FOLDERS; i++) {
		char path[PATH_SIZE];
		struct dirent *entry;
		DIR *dir;

		snprintf(path, sizeof(path), "%s/logind.conf.d", folders[i]);
		dir = opendir(path);
		while (dir && (entry = readdir(dir))) {
			size_t size = strlen(entry->d_name);
			struct drop_in *larger;

			if (size < 6 || strcmp(entry->d_name + size - 5, ".conf") != 0)
				continue;
			larger = realloc(list, (n + 1) * sizeof(*list));
			if (!larger)
				break;
			list = larger;
			snprintf(list[n].name, sizeof(list[n].name), "%s", entry->d_name);
			list[n++].folder = i;
		}
		if (dir)
			closedir(dir);
	}
	if (n > 0)
		qsort(list, n, sizeof(*list), compare);
	*ret = list;
	return n;
}

static bool is_configured(void)
{
	bool removes = true; /* if nothing says otherwise */
	struct drop_in *list;
	char path[PATH_SIZE];
	size_t n;

	for (int i = 0; i < N_FOLDERS; i++) {
		snprintf(path, sizeof(path), "%s/logind.conf", folders[i]);
		if (read_file(path, &removes))
			break;
	}
	n = collect(&list);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && strcmp(list[i].name, list[i - 1].name) == 0)
			continue;
		snprintf(path, sizeof(path), "%s/logind.conf.d/%s", folders[list[i].folder], list[i].name);
		read_file(path, &removes);
	}
	free(list);
	return removes;
}

/* Its services go on when it has logged out, and so does it. */
static bool lingers(uid_t uid)
{
	const struct passwd *entry = getpwuid(uid);
	char path[PATH_SIZE];

	if (!entry)
		return false;
	snprintf(path, sizeof(path), "/var/lib/systemd/linger/%s", entry->pw_name);
	return access(path, F_OK) == 0;
}

bool logind_removes_ipc(uid_t uid)
{
	/* The second is the login manager's own: not every system with systemd has it. */
	return uid > LAST_SYSTEM_UID && access("/run/systemd/system", F_OK) == 0 && access("/run/systemd/seats", F_OK) == 0 &&
	       !lingers(uid) && is_configured();
}
