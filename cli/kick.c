/* SPDX-License-Identifier: MIT */
/* kick.c - `pathbusctl kick NUMBER`: cuts a client's connection to the daemon. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "control.h"
#include "line.h"
#include "tell.h"

enum { OPTION_ID = OPTION_LONG, OPTION_PID };

static const struct option_spec specs[] = {
	{ OPTION_ID, "id", NULL, "the number is a client's, as `clients` shows it" },
	{ OPTION_PID, "pid", NULL, "the number is a process's: all its connections" },
	{ 0 },
};

static bool only_id, only_pid;

static bool set(int id, const char *value)
{
	(void)value;
	*(id == OPTION_ID ? &only_id : &only_pid) = true;
	return true;
}

/* --- who is meant -------------------------------------------------------------------------------------------------- */

struct victim {
	uint64_t id, pid;
	uid_t uid;
	char *command;
};

struct search {
	uint64_t number;
	struct victim *found;
	size_t n_found, n_by_id, n_by_pid;
	bool failed; /* no memory */
};

static void add(struct search *search, const struct json *client)
{
	struct victim *grown = realloc(search->found, (search->n_found + 1) * sizeof(*grown));
	const char *command = json_text(client, "command");
	struct victim *victim;

	if (!grown) {
		search->failed = true;
		return;
	}
	search->found = grown;
	victim = &grown[search->n_found++];
	*victim = (struct victim){
		.id = json_number(client, "id"),
		.pid = json_number(client, "pid"),
		.uid = (uid_t)json_number(client, "uid"),
		.command = strdup(command ? command : ""),
	};
	search->failed |= !victim->command;
}

static bool look_at(const struct json *page, void *userdata)
{
	struct search *search = userdata;
	const struct json *clients = json_get(page, "clients");

	for (size_t i = 0; i < json_length(clients) && !search->failed; i++) {
		const struct json *client = json_at(clients, i);
		bool by_id = !only_pid && json_has_number(client, "id") && json_number(client, "id") == search->number;
		bool by_pid = !only_id && json_number(client, "pid") == search->number;

		search->n_by_id += by_id && !by_pid;
		search->n_by_pid += by_pid;
		if (by_id || by_pid)
			add(search, client);
	}
	return !search->failed;
}

/* --- the blow ------------------------------------------------------------------------------------------------------ */

static int disconnect(struct control *control, const struct victim *victim)
{
	char target[64];
	struct json *answer;
	int status;

	snprintf(target, sizeof(target), "/v1/clients/%" PRIu64 "/disconnect", victim->id);
	status = control_post(control, target, NULL, &answer);
	if (status != STATUS_OK)
		return control_tell(control, status);
	json_free(answer);
	printf("disconnected client %" PRIu64 ": process %" PRIu64 ", user %s", victim->id, victim->pid,
	       line_user(victim->uid));
	printf("%s%s\n", *victim->command ? ", " : "", tell_name(victim->command));
	return STATUS_OK;
}

static int disconnect_all(struct control *control, const struct search *search)
{
	int status = STATUS_OK, last;

	if (search->failed) {
		tell("out of memory");
		return STATUS_FAILED;
	}
	if (search->n_found == 0) {
		tell("no client has the %s%" PRIu64 "; see: pathbusctl clients", only_id ? "number " : only_pid ?
		     "process id " : "number or the process id ", search->number);
		return STATUS_NO_FOLDER;
	}
	if (search->n_by_id && search->n_by_pid) {
		tell("%" PRIu64 " is a client's number and the process id of another; say which: --id or --pid", search->number);
		return STATUS_USAGE;
	}
	for (size_t i = 0; i < search->n_found; i++) {
		last = disconnect(control, &search->found[i]);
		if (last != STATUS_OK)
			status = last;
	}
	last = tell_flush();
	return status != STATUS_OK ? status : last;
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct search search = { 0 };
	struct control *control;
	int status;

	(void)n_words;
	if (only_id && only_pid) {
		tell("--id and --pid exclude each other");
		return STATUS_USAGE;
	}
	if (!options_word_number("CLIENT-ID|PID", words[0], 1, INT64_MAX, &search.number))
		return STATUS_USAGE;
	status = control_open(options, &control);
	if (status != STATUS_OK)
		return status;
	status = control_pages(control, "/v1/clients", NULL, look_at, &search);
	status = status == STATUS_OK ? disconnect_all(control, &search) : control_tell(control, status);
	for (size_t i = 0; i < search.n_found; i++)
		free(search.found[i].command);
	free(search.found);
	control_close(control);
	return status;
}

const struct command command_kick = {
	.name = "kick",
	.arguments = "CLIENT-ID|PID",
	.summary = "cut a client's connection to the daemon",
	.about = "Its program lives on, and may connect again; others are told that they may have missed something. A\n"
		 "process is cut off on all its connections. Where the number could mean both, --id or --pid says which.",
	.options = specs,
	.set = set,
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
