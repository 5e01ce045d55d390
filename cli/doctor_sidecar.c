/* SPDX-License-Identifier: MIT */
/*
 * doctor_sidecar.c - the hidden folder in which programs meet without a daemon: is it there, whose is it, who is in it, what is
 * wrong with it? Looks only: nothing is made, joined, locked or removed, as opening the topic would.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "doctor.h"
#include "os/os.h"
#include "page.h"
#include "proc.h"

enum { LEAVING_LOOKS = 20, LEAVING_PAUSE_MS = 10 };

/* One of the two places. */
struct look {
	struct doctor *doctor;
	int parent; /* O_PATH */
	char name[KEY_NAME_MAX + 1];
	char path[2 * PATH_MAX + KEY_NAME_MAX];
	const char *state; /* for JSON */
	int file;          /* its page; -1 */
	uint64_t dev, ino;
	unsigned n_holders, n_in_it;
	bool in_runtime_folder;
};

/* --- who is in it ------------------------------------------------------------------------------------------------ */

static void add_holder(const struct proc *process, void *arg)
{
	struct look *look = arg;
	struct report *report = &look->doctor->report;
	bool stopped = process->state == 'T' || process->state == 't';

	look->n_holders++;
	report_item(report, "holders");
	report_number(report, "pid", (uint64_t)process->pid);
	report_number(report, "uid", process->uid);
	report_text(report, "command", doctor_shown(process->command));
	report_flag(report, "stopped", stopped);
	report_item_end(report);
	report_line(report, "in it: process %lld of %s, %s%s", (long long)process->pid, doctor_user(process->uid),
		    doctor_shown(process->command), stopped ? ", stopped" : "");
}

struct culprit {
	const struct look *look;
	struct proc process; /* pid 0: none yet */
};

static void find_culprit(const struct proc *process, void *arg)
{
	struct culprit *culprit = arg;

	if (culprit->process.pid == 0 && proc_has_lock(process->pid, culprit->look->dev, culprit->look->ino, LOCK_KICK))
		culprit->process = *process;
}

/* Whoever takes it away has one of these locks, for an instant; who closed it and stands still keeps others out, too. */
static bool is_being_left(const struct look *look, bool is_closed)
{
	return os_lock_look(look->file, LOCK_MEMBER, 1) == OS_LOCK_EXCLUSIVE ||
	       (is_closed && os_lock_look(look->file, LOCK_KICK, 1) == OS_LOCK_EXCLUSIVE);
}

static void look_for_leaver(struct look *look, bool is_closed)
{
	struct report *report = &look->doctor->report;
	struct culprit culprit = { .look = look };
	unsigned n_hidden;
	int i = 0;

	while (i < LEAVING_LOOKS && is_being_left(look, is_closed)) {
		nanosleep(&(struct timespec){ .tv_nsec = LEAVING_PAUSE_MS * 1000000 }, NULL);
		i++;
	}
	if (i < LEAVING_LOOKS)
		return;
	look->state = "being-left";
	proc_holders(look->dev, look->ino, find_culprit, &culprit, &n_hidden);
	if (culprit.process.pid == 0)
		report_problem(report, "half-left-sidecar", "look for a stopped process that had the file open, as root, and continue or end it",
			       "a process stands still in the middle of leaving %s, which nobody can join until it goes on",
			       doctor_shown(look->path));
	else
		report_problem(report, "half-left-sidecar", "continue it (kill -CONT) or end it",
			       "process %lld of %s (%s) stands still in the middle of leaving %s, which nobody can join until it goes on",
			       (long long)culprit.process.pid, doctor_user(culprit.process.uid), doctor_shown(culprit.process.command),
			       doctor_shown(look->path));
}

/* Members by their slots, whose locks they hold. The pages of others are not to be trusted: only counted. */
static void count_members(struct look *look)
{
	for (unsigned i = 0; i < PAGE_SLOTS; i++)
		look->n_in_it += os_lock_look(look->file, LOCK_SLOT + (off_t)i, 1) == OS_LOCK_EXCLUSIVE;
}

/* --- its page -------------------------------------------------------------------------------------------------- */

/* A copy of it is looked at: its owner, who may be another user, could take the file's memory away meanwhile. */
static int check_page(const struct look *look)
{
	static struct page page;
	size_t used = 0;
	ssize_t n;
	int r;

	do {
		n = pread(look->file, (char *)&page + used, sizeof(page) - used, (off_t)used);
		if (n > 0)
			used += (size_t)n;
	} while (n > 0 && used < sizeof(page));
	if (n < 0)
		return -errno;
	if (used < sizeof(page))
		return -EBADMSG;
	r = page_check(&page, &look->doctor->place.key, look->ino);
	return r == 0 && atomic_load(&page.closed) ? -EOWNERDEAD : r;
}

static void judge_page(struct look *look, int error)
{
	struct report *report = &look->doctor->report;
	const char *path = doctor_shown(look->path), *replaced = "none is needed: the next program that opens the file replaces it";

	switch (-error) {
	case 0:
		break;
	case ESTALE:
		look->state = "copied";
		report_note(report, "copied-sidecar", replaced, "%s belongs to another file: it was copied, restored or moved here", path);
		break;
	case EOWNERDEAD:
		look->state = "closed";
		report_note(report, "closed-sidecar", replaced, "%s is being left: its programs move elsewhere", path);
		break;
	case EPROTONOSUPPORT:
		look->state = "other-version";
		report_problem(report, "other-version", "end those programs and start them with this version; or start a daemon: pathbusd",
			       "programs with another, incompatible version of the library are in %s", path);
		break;
	default:
		look->state = "damaged";
		report_note(report, "damaged-sidecar", replaced, "%s is damaged", path);
		break;
	}
}

static void look_at_page(struct look *look, int dir)
{
	struct doctor *doctor = look->doctor;
	struct report *report = &doctor->report;
	unsigned n_hidden = 0;
	struct stat st;
	int error;

	look->file = openat(dir, "page", O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (look->file < 0 || fstat(look->file, &st) < 0 || !S_ISREG(st.st_mode)) {
		look->state = look->file < 0 && errno == ENOENT ? "empty" : "hidden";
		if (look->file < 0 && errno == ENOENT)
			report_note(report, "empty-sidecar", "none is needed, unless other files were put there: take those away",
				    "%s has no page: it is being removed, or was taken apart by hand", doctor_shown(look->path));
		return;
	}
	look->dev = (uint64_t)st.st_dev;
	look->ino = st.st_ino;
	doctor->pages[look->in_runtime_folder].dev = look->dev;
	doctor->pages[look->in_runtime_folder].ino = look->ino;
	if (os_lock_look(look->file, LOCK_MEMBER, 1) == OS_LOCK_NONE) {
		look->state = "stale";
		report_line(report, "%s: nobody is in it", doctor_shown(look->path));
		report_note(report, "stale-sidecar", "none is needed: the next program that opens the file removes it; or remove it: rm -r",
			    "%s was left behind by programs that were killed", doctor_shown(look->path));
		return;
	}
	look->state = "in-use";
	doctor->is_lived_in |= !look->in_runtime_folder;
	doctor->has_sidecar |= st.st_uid == geteuid();
	count_members(look);
	report_number(report, "members", look->n_in_it);
	report_line(report, "%s: in use, %u member%s", doctor_shown(look->path), look->n_in_it, look->n_in_it == 1 ? "" : "s");
	error = check_page(look);
	judge_page(look, error);
	proc_holders(look->dev, look->ino, add_holder, look, &n_hidden);
	if (n_hidden > 0 && look->n_holders == 0)
		report_line(report, "in it: processes that this user may not look into");
	look_for_leaver(look, error == -EOWNERDEAD);
}

/* --- the folder --------------------------------------------------------------------------------------------------- */

static void note_foreign(struct look *look, const struct stat *st)
{
	look->state = "foreign";
	look->doctor->is_foreign = true;
	look->doctor->owner = st->st_uid;
	report_line(&look->doctor->report, "%s: belongs to %s", doctor_shown(look->path), doctor_user(st->st_uid));
}

static void look_at_folder(struct look *look, const struct stat *st)
{
	struct doctor *doctor = look->doctor;
	const char *path = doctor_shown(look->path);
	int dir;

	report_number(&doctor->report, "uid", st->st_uid);
	report_number(&doctor->report, "mode", st->st_mode & 07777);
	if (st->st_uid != geteuid())
		note_foreign(look, st);
	if (!S_ISDIR(st->st_mode) || (st->st_mode & 0077) != 0) {
		look->state = S_ISDIR(st->st_mode) ? "wrong-mode" : "no-folder";
		report_line(&doctor->report, "%s: mode %04o", path, st->st_mode & 07777u);
		if (S_ISDIR(st->st_mode))
			report_problem(&doctor->report, "sidecar-mode", "give it back its mode: chmod 0700",
				       "%s has mode %04o, and only 0700 is trusted: programs refuse it", path, st->st_mode & 07777u);
		else
			report_problem(&doctor->report, "sidecar-in-the-way", "move it away",
				       "%s is no folder, and stands where the sidecar belongs", path);
		return;
	}
	dir = openat(look->parent, look->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return; /* another user's */
	look_at_page(look, dir);
	close(dir);
	if (st->st_uid != geteuid() && strcmp(look->state, "in-use") == 0)
		look->state = "foreign";
}

static void look_at(struct look *look)
{
	struct report *report = &look->doctor->report;
	struct stat st;

	report_item(report, "places");
	report_name(report, "path", look->path);
	report_flag(report, "in_runtime_folder", look->in_runtime_folder);
	if (fstatat(look->parent, look->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		look->state = "there";
		look_at_folder(look, &st);
	} else if (errno != ENOENT) {
		look->state = "hidden";
		report_line(report, "%s: cannot be looked at: %s", doctor_shown(look->path), strerror(errno));
	} else {
		look->state = "absent";
		report_line(report, "%s: not there", doctor_shown(look->path));
	}
	report_text(report, "state", look->state);
	report_item_end(report);
	if (look->file >= 0)
		close(look->file);
}

/* --- the runtime folder ----------------------------------------------------------------------------------------- */

static void look_at_runtime(struct doctor *doctor)
{
	struct look look = { .doctor = doctor, .file = -1, .in_runtime_folder = true };
	struct report *report = &doctor->report;
	char folder[PATH_MAX];
	struct stat st;

	if (address_runtime_folder(geteuid(), folder, sizeof(folder)) < 0 || lstat(folder, &st) < 0)
		return; /* it is made when it is needed */
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0077) != 0) {
		report_problem(report, "runtime-folder", "have root take it away; it is made anew",
			       "%s is not a folder of this user with mode 0700 (owner %s, mode %04o), so nothing can meet there",
			       doctor_shown(folder), doctor_user(st.st_uid), st.st_mode & 07777u);
		return;
	}
	key_runtime_name(&doctor->place.key, look.name);
	snprintf(look.path, sizeof(look.path), "%s/%s", folder, look.name);
	look.parent = os_open_folder(AT_FDCWD, folder, false);
	if (look.parent < 0)
		return;
	look_at(&look);
	close(look.parent);
}

void doctor_look_at_sidecar(struct doctor *doctor)
{
	struct look look = { .doctor = doctor, .parent = doctor->place.dir, .file = -1 };

	report_section(&doctor->report, "sidecar");
	key_sidecar_name(&doctor->place.key, look.name);
	snprintf(look.path, sizeof(look.path), "%.*s/%s", PATH_MAX, strcmp(doctor->folder, "/") == 0 ? "" : doctor->folder, look.name);
	look_at(&look);
	look_at_runtime(doctor);
}
