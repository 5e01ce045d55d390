/* SPDX-License-Identifier: MIT */
/*
 * doctor_process.c - what would stop this process from hearing this user's posts? If it is on the channel: what it does there. If it is
 * not: what could have led it elsewhere.
 *
 * Whatever belongs to the process (its names, its environment, its root folder) is looked at without trusting it: no path of it
 * is opened but by O_PATH, in its own root.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor.h"
#include "os/os.h"
#include "proc.h"
#include "tell.h"

struct patient {
	struct doctor *doctor;
	struct proc proc;
	char who[128];        /* "process 4711 (server)" */
	int root;             /* its root folder; -1: cannot be looked into */
	bool is_hidden;       /* something could not be looked at */
	bool is_container;    /* it has namespaces of its own */
	bool is_member, in_sidecar;
	bool is_elsewhere;    /* on another daemon */
	size_t n_problems;    /* of others, before it was looked at */
};

static void note_hidden(struct patient *patient, int error)
{
	patient->is_hidden |= error == -EACCES || error == -EPERM;
}

/* --- where it is -------------------------------------------------------------------------------------------------- */

static void look_at_namespaces(struct patient *patient)
{
	static const char *const kinds[] = { "mnt", "pid", "user" };
	struct report *report = &patient->doctor->report;
	char text[64] = "";

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int same = proc_same_namespace(patient->proc.pid, kinds[i]);
		size_t used = strlen(text);

		note_hidden(patient, same);
		if (same != 0)
			continue;
		patient->is_container = true;
		snprintf(text + used, sizeof(text) - used, "%s%s", used ? ", " : "", kinds[i]);
	}
	report_text(report, "namespaces", text);
	if (text[0])
		report_line(report, "in namespaces of its own (a container): %s", text);
}

/* A path in its root folder, the last component not followed. 0, -errno. */
static int stat_there(const struct patient *patient, const char *path, struct stat *ret)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	int dir, r;

	if (patient->root < 0)
		return -EACCES;
	if (!slash || (size_t)(slash - path) >= sizeof(folder))
		return -ENOENT;
	snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	dir = os_open_in_root(patient->root, folder);
	if (dir < 0)
		return dir;
	r = fstatat(dir, slash + 1, ret, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	close(dir);
	return r;
}

static bool is_same_there(const struct patient *patient, const char *path)
{
	struct stat theirs, mine;

	return stat_there(patient, path, &theirs) == 0 && lstat(path, &mine) == 0 && theirs.st_dev == mine.st_dev &&
	       theirs.st_ino == mine.st_ino;
}

/* --- is it the same file? -------------------------------------------------------------------------------------- */

static void judge_key(struct patient *patient, const struct place *there)
{
	const struct doctor *doctor = patient->doctor;
	struct report *report = &patient->doctor->report;

	if (key_equal(&there->key, &doctor->place.key))
		return;
	if (there->exists && doctor->place.exists && there->file_dev == doctor->place.file_dev &&
	    there->file_ino == doctor->place.file_ino)
		report_problem(report, "same-file-other-folder", "mount the file's folder there, instead of the file alone",
			       "in the root folder of %s, %s is the same file by a name in another folder (the file alone is mounted, or it is a "
			       "hard link), which is another topic", patient->who, doctor_shown(doctor->path));
	else
		report_problem(report, "other-key", "mount the folder of the file there, at the same path (bind mounts keep the topic)",
			       "in the root folder of %s, %s lies in another folder than here (device %llu, inode %llu), so it is another topic",
			       patient->who, doctor_shown(doctor->path), (unsigned long long)there->key.dir_dev,
			       (unsigned long long)there->key.dir_ino);
}

static void look_at_key(struct patient *patient)
{
	struct doctor *doctor = patient->doctor;
	struct place there;
	int r = patient->root < 0 || !doctor->folder[0] ? -ENOSYS : place_resolve(patient->root, doctor->path, &there);

	if (r == 0) {
		report_flag(&doctor->report, "same_key", key_equal(&there.key, &doctor->place.key));
		judge_key(patient, &there);
		place_deinit(&there);
	} else if (r == -ENOENT || r == -ENOTDIR) {
		report_flag(&doctor->report, "same_key", false);
		report_problem(&doctor->report, "not-in-its-root", "mount the file's folder there, at the same path (bind mounts keep the topic)",
			       "in the root folder of %s there is no %s", patient->who, doctor_shown(doctor->folder));
	}
}

/* --- may it read the file? -------------------------------------------------------------------------------------- */

/* Becomes that user. 0: it may not read it, 1: it may, 2: not known. */
static int ask_as(const struct patient *patient)
{
	const struct proc *proc = &patient->proc;
	struct place there;

#ifdef __linux__
	if (setgroups(proc->n_groups, proc->groups) < 0 || setresgid(proc->gid, proc->gid, proc->gid) < 0 ||
	    setresuid(proc->uid, proc->uid, proc->uid) < 0)
		return 2;
#else
	(void)proc;
	return 2;
#endif
	switch (place_resolve(patient->root, patient->doctor->path, &there)) {
	case 0:
		return there.may_read;
	case -EACCES:
		return 0;
	default:
		return 2;
	}
}

static void look_at_rights(struct patient *patient)
{
	struct report *report = &patient->doctor->report;
	int status = 0;
	pid_t child;

	if (patient->proc.uid == 0 || patient->root < 0 || !patient->doctor->folder[0])
		return;
	if (geteuid() != 0) {
		patient->is_hidden |= patient->proc.uid != geteuid();
		return; /* its user is this one, or cannot be played */
	}
	child = fork();
	if (child == 0)
		_exit(ask_as(patient));
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) > 1)
		return;
	report_flag(report, "may_read", WEXITSTATUS(status) == 1);
	if (WEXITSTATUS(status) == 0)
		report_problem(report, "process-may-not-read", "let its user read the file and search the folders above it: chmod, chgrp or setfacl",
			       "%s of %s may not read the file, and so not subscribe", patient->who, doctor_user(patient->proc.uid));
}

/* --- does it go to the same daemon? ---------------------------------------------------------------------------- */

static int find_member(const struct pathbus_member *member, void *arg)
{
	const struct patient *patient = arg;

	return member->pid == patient->proc.pid;
}

/* Has it the file open over the daemon at this address? */
static bool is_member_at(struct patient *patient, const char *address)
{
	struct pathbus_options options = *patient->doctor->options;
	pathbus_topic *topic;
	pathbus *bus;
	bool found;

	options.address = address;
	options.transport = PATHBUS_BUS;
	if (pathbus_new(&bus, &options) < 0)
		return false;
	found = pathbus_open(bus, patient->doctor->file, PATHBUS_SUBSCRIBE, &topic) == 0 &&
		pathbus_member_list(topic, find_member, patient) == 1;
	pathbus_free(bus);
	return found;
}

/* What its environment says is where it looks first. */
static void judge_given(struct patient *patient, const char *given)
{
	const struct doctor *doctor = patient->doctor;
	struct report *report = &patient->doctor->report;

	if (doctor->has_daemon && (strcmp(given, doctor->address) == 0 || is_same_there(patient, given)))
		return;
	patient->is_elsewhere = is_member_at(patient, given);
	if (patient->is_elsewhere)
		report_line(report, "it has the file open over the daemon at %s%s", doctor_shown(given),
			    doctor->has_daemon ? "" : ", which joins the sidecar with it");
	if (doctor->has_daemon)
		report_problem(report, "other-address", "start it with the same address; or all with none, so that they find the known places",
			       "%s was started with PATHBUS_ADDRESS=%s%s, and this user's programs are on the daemon at %s", patient->who,
			       doctor_shown(given), patient->is_elsewhere ? ", and is on the daemon there" : "",
			       doctor_shown(doctor->address));
}

static bool is_known_place(const char *address, uid_t uid)
{
	char of_user[ADDRESS_SIZE];

	return strcmp(address, ADDRESS_SYSTEM) == 0 ||
	       (address_of_user(uid, of_user) == 0 && strcmp(address, of_user) == 0);
}

/* This look went without a daemon, as it was told to. */
static void look_at_known_places(struct patient *patient)
{
	char of_user[ADDRESS_SIZE];

	patient->is_elsewhere = is_member_at(patient, ADDRESS_SYSTEM) ||
				(address_of_user(patient->proc.uid, of_user) == 0 && is_member_at(patient, of_user));
	if (patient->is_elsewhere)
		report_line(&patient->doctor->report, "it has the file open over its daemon, which joins the sidecar with it");
}

static void judge_address(struct patient *patient, const char *given)
{
	const struct doctor *doctor = patient->doctor;
	struct report *report = &patient->doctor->report;
	const char *ours = doctor_shown(doctor->address);

	if (given)
		judge_given(patient, given);
	else if (!doctor->has_daemon)
		look_at_known_places(patient);
	if (!doctor->has_daemon)
		return;
	if (!given && doctor->is_given && !is_known_place(doctor->address, patient->proc.uid))
		report_problem(report, "other-address", "start it with PATHBUS_ADDRESS set to that, too; or let all use a known place",
			       "%s has no PATHBUS_ADDRESS, and this user's programs are on the daemon at %s, where it does not look",
			       patient->who, ours);
	else if ((!given || strcmp(given, doctor->address) == 0) && !is_same_there(patient, doctor->address))
		report_problem(report, "socket-not-there", "mount the socket's folder there, at the same path",
			       "in the root folder of %s the daemon's socket %s is not there", patient->who, ours);
}

static void look_at_address(struct patient *patient)
{
	struct report *report = &patient->doctor->report;
	char *given = NULL;
	int r = proc_environment(patient->proc.pid, "PATHBUS_ADDRESS", &given);

	note_hidden(patient, r);
	if (r < 0 || patient->root < 0)
		return;
	if (given && !given[0]) {
		free(given);
		given = NULL;
	}
	report_text(report, "address", given ? doctor_shown(given) : NULL);
	judge_address(patient, given);
	free(given);
}

static void look_at_user(struct patient *patient)
{
	const struct doctor *doctor = patient->doctor;

	if (patient->proc.uid == geteuid() || (doctor->has_daemon && doctor->is_system))
		return;
	report_problem(&patient->doctor->report, "other-user", "start the daemon of all users, as root: pathbusd --system",
		       "%s is of %s, this look is by %s, and there is no daemon of all users between them", patient->who,
		       doctor_user(patient->proc.uid), doctor_user(geteuid()));
}

/* --- what it has open --------------------------------------------------------------------------------------------- */

/* "/data/.app.db.pathbus/page" is "/data" and "app.db". In place; false: it is no such thing. */
static bool split_sidecar(char *path, char **ret_name)
{
	static const char page[] = "/page", suffix[] = ".pathbus";
	size_t size = strlen(path);
	char *slash;

	if (size < sizeof(page) || strcmp(path + size - (sizeof(page) - 1), page) != 0)
		return false;
	path[size -= sizeof(page) - 1] = '\0';
	if (size < sizeof(suffix) || strcmp(path + size - (sizeof(suffix) - 1), suffix) != 0)
		return false;
	path[size - (sizeof(suffix) - 1)] = '\0';
	slash = strrchr(path, '/');
	if (!slash || slash[1] != '.' || !slash[2])
		return false;
	*slash = '\0';
	*ret_name = slash + 2;
	return true;
}

/* By which other name of the file does it meet others? */
static void look_at_other_name(struct patient *patient, const char *text)
{
	struct doctor *doctor = patient->doctor;
	char path[PATH_MAX + 300], *name;
	struct stat st, folder;
	int dir;

	snprintf(path, sizeof(path), "%s", text);
	if (patient->root < 0 || !doctor->place.exists || !split_sidecar(path, &name))
		return;
	dir = os_open_in_root(patient->root, path[0] ? path : "/");
	if (dir < 0)
		return;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (uint64_t)st.st_dev == doctor->place.file_dev &&
	    st.st_ino == doctor->place.file_ino && fstat(dir, &folder) == 0 &&
	    ((uint64_t)folder.st_dev != doctor->place.key.dir_dev || folder.st_ino != doctor->place.key.dir_ino ||
	     strcmp(name, doctor->place.key.name) != 0))
		report_problem(&doctor->report, "other-name", "have it open the file by the same name (a bind mount of the folder will do); or, for hard "
			       "links, start a daemon: pathbusd", "%s has this very file open by another name, %s/%s, which is another topic",
			       patient->who, doctor_shown(path), doctor_shown(name));
	close(dir);
}

static bool look_at_file(int dir, const char *name, const char *path, void *arg)
{
	struct patient *patient = arg;
	const struct doctor *doctor = patient->doctor;
	struct stat st;

	if (path[0] != '/' || !strstr(path, ".pathbus/page") || fstatat(dir, name, &st, 0) < 0)
		return true;
	for (unsigned i = 0; i < 2; i++)
		if (doctor->pages[i].ino != 0 && doctor->pages[i].dev == (uint64_t)st.st_dev && doctor->pages[i].ino == st.st_ino)
			patient->in_sidecar = true;
	if (!patient->in_sidecar)
		look_at_other_name(patient, path);
	return true;
}

static void look_at_member(struct patient *patient, const struct pathbus_member *member)
{
	struct report *report = &patient->doctor->report;

	patient->is_member = true;
	report_flag(report, "subscribes", member->subscribes);
	report_line(report, "on this channel: %s", member->subscribes ? "it subscribes" : "it does not subscribe");
	if (!member->subscribes)
		report_problem(report, "only-posts", "have it open the file with PATHBUS_SUBSCRIBE, or without flags",
			       "%s has the file open only to post", patient->who);
}

static void look_at_state(struct patient *patient)
{
	if (patient->proc.state == 'T' || patient->proc.state == 't')
		report_problem(&patient->doctor->report, "stopped", "continue it: kill -CONT, or end the debugger that holds it",
			       "%s is stopped: it hears when it goes on", patient->who);
}

static void tell_absent(struct patient *patient)
{
	struct report *report = &patient->doctor->report;
	int library = proc_maps(patient->proc.pid, "libpathbus"), lane = proc_maps(patient->proc.pid, "memfd:pathbus-");
	bool uses = library == 1 || lane == 1;

	note_hidden(patient, library);
	if (library >= 0) {
		report_flag(report, "uses_pathbus", uses);
		report_line(report, "not on this channel; it %s", uses ? "uses Pathbus" : "does not seem to use Pathbus");
	}
	if (patient->n_problems < report->n_problems || !patient->doctor->knows_members || patient->is_elsewhere)
		return;
	report_problem(report, "not-open", "have it open this path; see by which it has others: ls -l /proc/PID/fd, or pathbusctl topics",
		       "%s does not have the file open%s", patient->who, library >= 0 && !uses ? ", and does not seem to use Pathbus" : "");
}

void doctor_look_at_process(struct doctor *doctor)
{
	struct patient patient = { .doctor = doctor, .root = -1, .n_problems = doctor->report.n_problems };
	struct report *report = &doctor->report;
	int r = proc_look(doctor->pid, &patient.proc);

	report_section(report, "process");
	report_number(report, "pid", (uint64_t)doctor->pid);
	if (r < 0 || patient.proc.state == 'Z' || patient.proc.state == 'X') {
		report_line(report, "%lld: %s", (long long)doctor->pid, r < 0 ? strerror(-r) : "it has ended");
		report_problem(report, "no-process", "look for it: ps; in a container its number is another one inside",
			       "there is no process %lld", (long long)doctor->pid);
		return;
	}
	snprintf(patient.who, sizeof(patient.who), "process %lld (%s)", (long long)doctor->pid, doctor_shown(patient.proc.command));
	report_number(report, "uid", patient.proc.uid);
	report_text(report, "command", doctor_shown(patient.proc.command));
	report_line(report, "%lld of %s, %s", (long long)doctor->pid, doctor_user(patient.proc.uid), doctor_shown(patient.proc.command));
	patient.root = proc_root(doctor->pid);
	note_hidden(&patient, patient.root);
	look_at_namespaces(&patient);
	look_at_state(&patient);
	for (size_t i = 0; i < doctor->n_members && !patient.is_member; i++)
		if (doctor->members[i].pid == doctor->pid)
			look_at_member(&patient, &doctor->members[i]);
	note_hidden(&patient, proc_files(doctor->pid, look_at_file, &patient));
	report_flag(report, "member", patient.is_member);
	report_flag(report, "in_sidecar", patient.in_sidecar);
	if (patient.in_sidecar && !patient.is_member)
		report_line(report, "in the sidecar%s", doctor->has_link ? ", which is joined with this channel" : "");
	if (!patient.is_member && !patient.in_sidecar) {
		look_at_user(&patient);
		look_at_key(&patient);
		look_at_rights(&patient);
		look_at_address(&patient);
		if (doctor->is_open && doctor->transport.in_runtime_folder && patient.root >= 0 && !is_same_there(&patient, "/dev/shm"))
			report_problem(report, "other-shm", "share /dev/shm with it (bind mount); or start a daemon: pathbusd",
				       "the topic lives in the runtime folder, and %s has another /dev/shm", patient.who);
		tell_absent(&patient);
	}
	if (patient.is_hidden)
		report_note(report, "not-all-seen",
			    geteuid() == 0 ? "run it outside of the container, or as the system's own root" : "run pathbusctl doctor as root",
			    "%s may not be looked into by this user, so something may be missing here", patient.who);
	if (patient.root >= 0)
		close(patient.root);
}
