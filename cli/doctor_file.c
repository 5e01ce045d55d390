/* SPDX-License-Identifier: MIT */
/* doctor_file.c - which file is it: the key, by which programs meet, and what lies in its way. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/sysmacros.h>
#endif

#include "doctor.h"
#include "os/os.h"
#include "tell.h"

/* --- is the file alone mounted? ------------------------------------------------------------------------------- */

/* Of mountinfo, where blanks and such are \ooo. In place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *at = text; *at; to++)
		if (at[0] == '\\' && strspn(at + 1, "01234567") >= 3) {
			*to = (char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0'));
			at += 4;
		} else {
			*to = *at++;
		}
	*to = '\0';
}

/* Where is what is mounted at this path from? To be freed; NULL: nothing is. Of several the last one is on top. */
static char *mounted_from(const char *path)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *from = NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) >= 0) {
		char *root = NULL, *at = NULL;

		if (sscanf(line, "%*s %*s %*s %ms %ms", &root, &at) == 2) {
			unescape(at);
			if (strcmp(at, path) == 0) {
				unescape(root);
				free(from);
				from = root;
				root = NULL;
			}
		}
		free(root);
		free(at);
	}
	free(line);
	if (file)
		fclose(file);
	return from;
}

static void look_at_mount(struct doctor *doctor, const struct stat *st)
{
	char *from = doctor->folder[0] && !S_ISDIR(st->st_mode) ? mounted_from(doctor->path) : NULL;

	doctor->is_mounted = from != NULL;
	report_flag(&doctor->report, "is_mounted", doctor->is_mounted);
	if (from)
		report_problem(&doctor->report, "file-mount", "mount its folder instead; that keeps the topic",
			       "the file alone is mounted at %s, from %s of its file system: a name in another folder is another topic, "
			       "and who opens it there is not heard here", doctor_shown(doctor->path), doctor_shown(from));
	free(from);
}

/* --- the file --------------------------------------------------------------------------------------------------- */

static void describe_file(struct doctor *doctor, const struct stat *st)
{
	struct report *report = &doctor->report;

	report_number(report, "device", (uint64_t)st->st_dev);
	report_number(report, "inode", st->st_ino);
	report_number(report, "links", st->st_nlink);
	report_number(report, "uid", st->st_uid);
	report_number(report, "gid", st->st_gid);
	report_number(report, "mode", st->st_mode & 07777);
	report_line(report, "the file: device %u:%u, inode %llu, %llu name%s, mode %04o, owner %s, group %u",
		    major(st->st_dev), minor(st->st_dev), (unsigned long long)st->st_ino, (unsigned long long)st->st_nlink,
		    st->st_nlink == 1 ? "" : "s", st->st_mode & 07777u, doctor_user(st->st_uid), (unsigned)st->st_gid);
	look_at_mount(doctor, st);
}

static void describe_key(struct doctor *doctor)
{
	const struct topic_key *key = &doctor->place.key;
	struct report *report = &doctor->report;
	dev_t dev = (dev_t)key->dir_dev;
	struct os_found found;

	if (os_path_of(doctor->place.dir, doctor->folder, sizeof(doctor->folder)) < 0)
		doctor->folder[0] = '\0';
	snprintf(doctor->path, sizeof(doctor->path), "%s%s%s", doctor->folder, strcmp(doctor->folder, "/") == 0 ? "" : "/",
		 key->name);
	report_number(report, "folder_device", key->dir_dev);
	report_number(report, "folder_inode", key->dir_ino);
	report_name(report, "name", key->name);
	report_name(report, "folder", doctor->folder);
	report_flag(report, "exists", doctor->place.exists);
	report_line(report, "%s (links resolved)", doctor_shown(doctor->path));
	report_line(report, "key: name \"%s\" in the folder of device %u:%u, inode %llu", doctor_shown(key->name), major(dev),
		    minor(dev), (unsigned long long)key->dir_ino);
	if (os_find(doctor->place.dir, key->name, &found) == 0)
		describe_file(doctor, &found.st);
	else
		report_line(report, "the file does not exist; its topic does");
	doctor->is_remote = os_is_remote(doctor->place.dir);
	report_flag(report, "spans_hosts", doctor->is_remote);
	if (doctor->is_remote)
		report_note(report, "remote-file-system", "carry news to other hosts by other means; programs on this host meet",
			       "the file system may be shared between hosts; posts reach this host only");
}

bool doctor_look_at_file(struct doctor *doctor)
{
	struct report *report = &doctor->report;
	int r = place_resolve(-1, doctor->file, &doctor->place);

	report_name(report, "file", doctor->file);
	report_section(report, "topic");
	if (r == 0) {
		doctor->has_place = true;
		describe_key(doctor);
		return true;
	}
	report_line(report, "%s: %s", doctor_shown(doctor->file), strerror(-r));
	report_problem(report, "no-topic", tell_explain(r), "%s has no topic: %s", doctor_shown(doctor->file), strerror(-r));
	return false;
}
