/* SPDX-License-Identifier: MIT */
/*
 * doctor.c - `pathbusctl doctor FILE`: everything that decides whether programs hear each other on a file, and what is wrong with it,
 * each with its remedy. First what can be looked at without touching it, then the topic is opened as a program would.
 */
#include "doctor.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "escape.h"
#include "logind.h"
#include "os/os.h"
#include "tell.h"

static bool as_json;
static pid_t asked_pid;

enum { OPTION_JSON = OPTION_LONG, OPTION_PID };

static const struct option_spec specs[] = {
	{ OPTION_PID, "pid", "PID", "and what would stop this process from hearing this user's posts" },
	{ OPTION_JSON, "json", NULL, "print one JSON object" },
	{ 0 },
};

static bool set(int id, const char *value)
{
	uint64_t number;

	if (id == OPTION_JSON) {
		as_json = true;
		return true;
	}
	if (!options_number("pid", value, 1, INT32_MAX, &number))
		return false;
	asked_pid = (pid_t)number;
	return true;
}

/* --- names ------------------------------------------------------------------------------------------------------- */

const char *doctor_shown(const char *name)
{
	static char *texts[8];
	static unsigned next;
	size_t size = strlen(name);
	char **text = &texts[next++ % 8];

	free(*text);
	*text = malloc(ESCAPE_SIZE(size));
	if (!*text)
		return "(out of memory)";
	escape(name, size, *text, ESCAPE_SIZE(size));
	return *text;
}

const char *doctor_user(uid_t uid)
{
	static char texts[4][80];
	static unsigned next;
	char *text = texts[next++ % 4];
	const struct passwd *entry = getpwuid(uid);

	if (entry && entry->pw_name[0])
		snprintf(text, sizeof(texts[0]), "%.60s (%u)", doctor_shown(entry->pw_name), (unsigned)uid);
	else
		snprintf(text, sizeof(texts[0]), "user %u", (unsigned)uid);
	return text;
}

/* --- opening it as a program would --------------------------------------------------------------------------- */

static int add_member(const struct pathbus_member *member, void *arg)
{
	struct doctor *doctor = arg;
	struct pathbus_member *larger;

	if (member->is_link)
		doctor->has_link = true;
	if (member->is_self || member->is_link)
		return 0;
	larger = realloc(doctor->members, (doctor->n_members + 1) * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	doctor->members = larger;
	larger[doctor->n_members++] = *member;
	return 0;
}

static void describe_transport(struct doctor *doctor)
{
	const struct pathbus_transport *transport = &doctor->transport;
	struct report *report = &doctor->report;

	report_section(report, "transport");
	report_text(report, "kind", tell_transport(transport->kind));
	report_text(report, "why", doctor_shown(transport->why));
	report_flag(report, "in_runtime_folder", transport->in_runtime_folder);
	report_flag(report, "local_only", transport->local_only);
	report_line(report, "%s%s: %s", tell_transport(transport->kind), transport->in_runtime_folder ? ", in the runtime folder" : "",
		    doctor_shown(transport->why));
}

/* Opens with one right, looks, closes. 0, -errno. */
static int try_right(struct doctor *doctor, pathbus *bus, unsigned flag)
{
	pathbus_topic *topic;
	int r = pathbus_open(bus, doctor->file, flag, &topic);

	if (r < 0)
		return r;
	doctor->transport.size = sizeof(doctor->transport);
	if (pathbus_transport(topic, &doctor->transport) == 0)
		doctor->is_open = true;
	if (flag == PATHBUS_SUBSCRIBE)
		doctor->knows_members = pathbus_member_list(topic, add_member, doctor) == 0;
	pathbus_close(topic);
	return 0;
}

static const char *right_text(int error, bool of_file)
{
	return error == 0 ? "yes" : error != -EACCES ? strerror(-error) : of_file ? "no: the daemon's configuration does not allow it" : "no: the file's rights do not allow it";
}

static void describe_rights(struct doctor *doctor, int subscribe, int post)
{
	const struct place *place = &doctor->place;
	struct report *report = &doctor->report;

	report_section(report, "rights");
	report_number(report, "uid", geteuid());
	report_flag(report, "subscribe", subscribe == 0);
	report_flag(report, "post", post == 0);
	report_flag(report, "file_may_be_read", place->may_read);
	report_flag(report, "file_may_be_written", place->may_write);
	report_flag(report, "read_only", place->read_only);
	report_line(report, "of %s, as open(2) would decide%s", doctor_user(geteuid()),
		    place->exists ? "" : "; the file does not exist, so its folder decides");
	report_line(report, "subscribe: %s", right_text(subscribe, place->may_read));
	report_line(report, "post: %s%s", right_text(post, place->may_write && !place->read_only),
		    post == -EACCES && place->read_only ? " (it is on a read-only mount)" : "");
	if (subscribe == -EACCES && !place->may_read)
		report_problem(report, "may-not-read", "have its owner let this user read it: chmod, chgrp or setfacl",
			       "%s may not read the file, and so not subscribe", doctor_user(geteuid()));
	else if (subscribe == -EACCES)
		report_problem(report, "rights-narrowed", "ask who configures the daemon: [rights] in its configuration",
			       "the file's rights let %s subscribe, but the daemon's configuration does not", doctor_user(geteuid()));
	if (post == -EACCES && subscribe == 0)
		report_note(report, "may-not-post",
			    place->may_write && !place->read_only ? "ask who configures the daemon: [rights] in its configuration" :
			    place->read_only ? "mount it writable, or post from where it is" :
			    "have its owner let this user write it: chmod, chgrp or setfacl",
			    "%s may subscribe, but not post", doctor_user(geteuid()));
}

static void describe_members(struct doctor *doctor)
{
	struct report *report = &doctor->report;

	report_section(report, "members");
	report_flag(report, "known", doctor->knows_members);
	if (!doctor->knows_members) {
		report_line(report, "not known: only who may subscribe is told");
		return;
	}
	report_number(report, "count", doctor->n_members);
	report_flag(report, "linked", doctor->has_link);
	report_line(report, "%zu other%s on this channel%s; see: pathbusctl who", doctor->n_members, doctor->n_members == 1 ? "" : "s",
		    doctor->has_link ? ", and a link to where more are" : "");
}

void doctor_open(struct doctor *doctor)
{
	pathbus *bus;
	int r = pathbus_new(&bus, doctor->options), post, subscribe;

	if (r < 0) {
		report_problem(&doctor->report, "no-connection", "see the daemon above; or do without: --transport auto",
			       "no handle can be made: %s", strerror(-r));
		return;
	}
	post = try_right(doctor, bus, PATHBUS_POST);
	subscribe = try_right(doctor, bus, PATHBUS_SUBSCRIBE);
	pathbus_free(bus);
	doctor->may_post = post == 0;
	doctor->may_subscribe = subscribe == 0;
	if (doctor->is_open)
		describe_transport(doctor);
	describe_rights(doctor, subscribe, post);
	if (doctor->is_open)
		describe_members(doctor);
	/* What has a finding of its own already needs no second one. */
	if (subscribe < 0 && subscribe != -EACCES && doctor->report.n_problems == 0 && !doctor->is_foreign)
		report_problem(&doctor->report, "open-fails", tell_explain(subscribe), "opening fails: %s", strerror(-subscribe));
}

/* --- what follows from all of it ------------------------------------------------------------------------------ */

/* Does anything that they meet by lie where logging out empties it? */
static void look_at_logout(struct doctor *doctor)
{
	char folder[ADDRESS_SIZE];
	bool is_socket = doctor->has_daemon && address_runtime_folder(geteuid(), folder, sizeof(folder)) == 0 &&
			 strncmp(doctor->address, folder, strlen(folder)) == 0 && doctor->address[strlen(folder)] == '/';

	if ((doctor->transport.in_runtime_folder || is_socket) && logind_removes_ipc(geteuid()))
		report_problem(&doctor->report, "remove-ipc",
			       "set RemoveIPC=no in /etc/systemd/logind.conf; or let the user's services go on: loginctl enable-linger",
			       "%s lies in /dev/shm, which systemd empties of this user's files when its last session ends (RemoveIPC): "
			       "programs that go on then no longer meet new ones",
			       is_socket ? "the daemon's socket" : "the topic's memory");
}

/* Another user's sidecar. The daemon of all users joins it as long as that user has the file open over the daemon, too. */
static void judge_foreign(struct doctor *doctor)
{
	struct report *report = &doctor->report;
	const char *owner = doctor_user(doctor->owner);
	bool is_joined = false;

	for (size_t i = 0; i < doctor->n_members; i++)
		is_joined |= doctor->members[i].uid == doctor->owner;
	if (!doctor->has_daemon)
		report_problem(report, "foreign-sidecar", "start the daemon of all users, as root: pathbusd --system",
			       "the sidecar belongs to %s: without a daemon only one user's programs can have the file open, others' are refused",
			       owner);
	else if (!doctor->is_lived_in || is_joined || !doctor->knows_members)
		report_note(report, "foreign-sidecar", "have its programs reach the daemon, too: see `pathbusctl doctor` as that user",
			    "the sidecar belongs to %s: programs in there hear the others only while that user has the file open over the "
			    "daemon, too", owner);
	else
		report_problem(report, "unlinked", "have its programs reach the daemon, too: see `pathbusctl doctor` as that user",
			       "programs of %s meet in their sidecar, and none of that user's has the file open over the daemon, so the two are "
			       "not joined: neither side hears the other", owner);
}

/* It is there, and yet the topic is not on it. */
static void judge_beside(struct doctor *doctor)
{
	struct report *report = &doctor->report;

	if (doctor->has_daemon && doctor->is_open && doctor->transport.kind == PATHBUS_PEER && doctor->asked)
		report_problem(report, "beside-daemon", "see the daemon's log for why it did not take the topic",
			       "the daemon at %s is there, but the topic is not on it: who has the file open there is not heard here",
			       doctor_shown(doctor->address));
}

static void conclude(struct doctor *doctor)
{
	struct report *report = &doctor->report;

	if (doctor->place.exists && doctor->place.n_links > 1 && !doctor->has_daemon)
		report_problem(report, "hard-links", "open it by one name everywhere; or start a daemon, which can tell: pathbusd",
			       "the file has %llu names (hard links), and without a daemon each is a topic of its own",
			       (unsigned long long)doctor->place.n_links);
	if (doctor->is_foreign)
		judge_foreign(doctor);
	judge_beside(doctor);
	if (!doctor->is_open)
		return;
	look_at_logout(doctor);
	if (doctor->transport.in_runtime_folder && !doctor->is_remote)
		report_note(report, "no-sidecar", "let this user write the folder, if it should lie there: it reaches programs in containers, too",
			    "the file's folder takes no sidecar, so programs meet in /dev/shm: those that see another /dev/shm are not reached");
	if (doctor->transport.kind == PATHBUS_BUS && doctor->has_sidecar && !doctor->has_link)
		report_problem(report, "unlinked", "see the daemon's log for why it cannot start pathbus-link; or end who uses the sidecar",
			       "programs meet in the sidecar, and the daemon has not joined it: neither side hears the other");
	if (doctor->transport.kind == PATHBUS_PEER && !os_bell_fifo_reliable())
		report_note(report, "old-pipes", "start a daemon (pathbusd), or update the kernel",
			    "pipes of this kernel do not wake on each write: without a daemon programs look every 20 ms, and hear that late");
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct doctor doctor = { .options = options, .file = words[0], .pid = asked_pid, .folder = "" };
	int status = STATUS_OK;

	(void)n_words;
	if (doctor_look_at_file(&doctor)) {
		doctor_look_for_daemon(&doctor);
		doctor_look_at_sidecar(&doctor);
		doctor_open(&doctor);
		conclude(&doctor);
		if (doctor.pid)
			doctor_look_at_process(&doctor);
	}
	if (!report_print(&doctor.report, as_json) || tell_flush() != STATUS_OK)
		status = STATUS_FAILED;
	else if (doctor.report.n_problems > 0)
		status = STATUS_FAILED;
	if (doctor.has_place)
		place_deinit(&doctor.place);
	free(doctor.members);
	report_free(&doctor.report);
	return status;
}

const struct command command_doctor = {
	.name = "doctor",
	.arguments = "FILE",
	.summary = "find out what keeps programs from hearing each other on a file",
	.about = "Prints which topic the file is, which daemon is taken and why, the transport, the rights of this user and\n"
		 "what lies beside the file; then what is wrong, each with a remedy. A problem keeps somebody from hearing;\n"
		 "a note does not. The exit status is 0 without problems, and 1 with some.",
	.options = specs,
	.set = set,
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
