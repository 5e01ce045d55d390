/* SPDX-License-Identifier: MIT */
/*
 * main.c - pathbusctl: the table of commands, the options that all of them have, and the help.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "control.h"
#include "tell.h"

#define MAX_TIMEOUT_MS 3600000u

static const struct command *const commands[] = {
	&command_post,
	&command_listen,
	&command_state_get,
	&command_state_set,
	&command_state_cas,
	&command_lock_run,
	&command_lock_show,
	&command_region_list,
	&command_region_create,
	&command_region_read,
	&command_region_write,
	&command_region_dump,
	&command_endpoint_list,
	&command_endpoint_connect,
	&command_who,
	&command_check,
	&command_doctor,
	&command_topics,
	&command_clients,
	&command_stats,
	&command_top,
	&command_monitor,
	&command_kick,
	&command_reload,
	&command_log_level,
	&command_config,
	&command_ping,
	&command_version,
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

enum { OPTION_ADDRESS = OPTION_LONG, OPTION_CONTROL, OPTION_TRANSPORT, OPTION_TIMEOUT_MS, OPTION_VERSION };

static const struct option_spec specs[] = {
	{ OPTION_ADDRESS, "address", "SOCKET",
	  "the daemon's socket (default: $PATHBUS_ADDRESS, else the known places)" },
	{ OPTION_CONTROL, "control", "SOCKET",
	  "the daemon's control socket (default: $PATHBUS_CONTROL, else the one\n"
	  "that belongs to the address or is in the known places)" },
	{ OPTION_TRANSPORT, "transport", "KIND",
	  "auto: the daemon if it answers (default); bus: only it; peer: never it;\n"
	  "socket: only it, all over its socket, without shared memory" },
	{ OPTION_TIMEOUT_MS, "timeout-ms", "N",
	  "milliseconds to wait for the daemon's answers (default: 250; 5000 on\n"
	  "its control socket)" },
	{ 'h', "help", NULL, "print this help; after a command, that command's" },
	{ OPTION_VERSION, "version", NULL, "print the version" },
	{ 0 },
};

static struct pathbus_options options = { .size = sizeof(options) };
static bool want_help, want_version;

static const char epilogue[] =
	"\n"
	"Exit status\n"
	"  0    it worked\n"
	"  1    it failed\n"
	"  2    the command line is wrong\n"
	"  3    post --wait: not all subscribers have caught up in time\n"
	"  4    state cas: the value was another\n"
	"  66   the folder of the file does not exist, or there is no region or client of that name\n"
	"  69   no daemon answers or it has ended, or nobody listens on the endpoint\n"
	"  75   lock run --no-wait: others hold the lock; or the daemon is too busy with others like this\n"
	"  77   not permitted\n"
	"  124  --timeout was over before it was done; listen: before --count was reached; lock run: before\n"
	"       it had the lock\n"
	"  126  lock run: the command cannot be run\n"
	"  127  lock run: the command is not there; otherwise its status is that of the command\n";

static bool set_transport(const char *value)
{
	static const char *const names[] = {
		[PATHBUS_AUTO] = "auto", [PATHBUS_BUS] = "bus", [PATHBUS_PEER] = "peer",
		[PATHBUS_SOCKET] = "socket",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(value, names[i]) == 0) {
			options.transport = (enum pathbus_transport_kind)i;
			return true;
		}
	tell("--transport is auto, bus, peer or socket, not \"%s\"", tell_name(value));
	return false;
}

static bool set(int id, const char *value)
{
	uint64_t number;

	switch (id) {
	case OPTION_ADDRESS:
		options.address = value;
		return true;
	case OPTION_CONTROL:
		control_use(value);
		return true;
	case OPTION_TRANSPORT:
		return set_transport(value);
	case OPTION_TIMEOUT_MS:
		if (!options_number("timeout-ms", value, 1, MAX_TIMEOUT_MS, &number))
			return false;
		options.timeout_ms = (unsigned)number;
		return true;
	case OPTION_VERSION:
		want_version = true;
		return true;
	default:
		want_help = true;
		return true;
	}
}

/* Is the first word of this name the word? */
static bool begins_with(const char *name, const char *word)
{
	size_t size = strcspn(name, " ");

	return strlen(word) == size && memcmp(name, word, size) == 0;
}

/* All commands, or those that begin with this word. */
static int help(const char *word)
{
	printf("Usage: pathbusctl [OPTION...] %s [ARGUMENT...]\n"
	       "A notification bus whose topics are file paths.\n"
	       "\n"
	       "Commands (each has a --help of its own)\n", word ? word : "COMMAND");
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (!word || begins_with(commands[i]->name, word))
			printf("  %-16s %-19s %s\n", commands[i]->name,
			       commands[i]->arguments ? commands[i]->arguments : "", commands[i]->summary);
	printf("\nOptions\n");
	options_help(specs);
	fputs(epilogue, stdout);
	return tell_flush();
}

static int help_command(const struct command *command)
{
	printf("Usage: pathbusctl %s [OPTION...]%s%s\n", command->name, command->arguments ? " " : "",
	       command->arguments ? command->arguments : "");
	printf("%c%s.\n", command->summary[0] - 'a' + 'A', command->summary + 1);
	if (command->about)
		printf("\n%s\n", command->about);
	if (command->options) {
		printf("\nOptions\n");
		options_help(command->options);
	}
	printf("\nOptions of all commands\n");
	options_help(specs);
	fputs(epilogue, stdout);
	return tell_flush();
}

/* By its one or two words. *ret_n_used: how many they are; without a command 1 if the first could begin one, else 0. */
static const struct command *find(int n_words, char **words, int *ret_n_used)
{
	*ret_n_used = 0;
	for (size_t i = 0; i < N_COMMANDS && n_words > 0; i++) {
		const char *second = strchr(commands[i]->name, ' ');

		if (!begins_with(commands[i]->name, words[0]))
			continue;
		*ret_n_used = 1;
		if (second && (n_words < 2 || strcmp(second + 1, words[1]) != 0))
			continue;
		*ret_n_used += second != NULL;
		return commands[i];
	}
	return NULL;
}

static int run_command(const struct command *command, int argc, char **argv)
{
	const struct option_group groups[2] = {
		{ command->options, command->set },
		{ specs, set },
	};
	int n_words = options_take(groups, argc, argv, false);

	if (n_words < 0) {
		tell("see: pathbusctl %s --help", command->name);
		return STATUS_USAGE;
	}
	if (want_help)
		return help_command(command);
	if (want_version)
		return command_version.run(&options, 0, NULL);
	if ((size_t)n_words > command->max_words) {
		tell("%s: too many arguments, from \"%s\" on; see: pathbusctl %s --help", command->name,
		     tell_name(argv[command->max_words]), command->name);
		return STATUS_USAGE;
	}
	if ((size_t)n_words < command->min_words) {
		tell("%s needs %s; see: pathbusctl %s --help", command->name, command->arguments, command->name);
		return STATUS_USAGE;
	}
	return command->run(&options, (size_t)n_words, argv);
}

static int help_on(int n_words, char **words)
{
	int n_used;
	const struct command *command = find(n_words, words, &n_used);

	return command ? help_command(command) : help(n_used ? words[0] : NULL);
}

/* "state" alone, or followed by options or by something else. */
static int tell_no_command(const struct option_group groups[2], int n_words, char **words, bool is_first_word)
{
	if (!is_first_word) {
		tell("no command \"%s\"; see: pathbusctl --help", tell_name(words[0]));
		return STATUS_USAGE;
	}
	if (options_take(groups, n_words - 1, words + 1, true) == 0 && want_help)
		return help(words[0]);
	tell("%s: which of its commands? see: pathbusctl %s --help", words[0], words[0]);
	return STATUS_USAGE;
}

/*
 * Whoever starts us with a standard descriptor closed must not find the library's there. What is opened here
 * is the wrong way round, so that using it is still an error.
 */
static bool fill_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	const struct option_group groups[2] = { { specs, set }, { 0 } };
	const struct command *command;
	int n_words, n_used;

	if (!fill_standard_descriptors())
		return STATUS_FAILED;
	signal(SIGPIPE, SIG_IGN); /* a write to a closed pipe is told, or ends `listen` in good order */
	n_words = options_take(groups, argc - 1, argv + 1, true);
	if (n_words < 0) {
		tell("see: pathbusctl --help");
		return STATUS_USAGE;
	}
	if (want_help && n_words == 0)
		return help(NULL);
	if (want_version)
		return command_version.run(&options, 0, NULL);
	if (n_words == 0) {
		tell("which command? see: pathbusctl --help");
		return STATUS_USAGE;
	}
	command = find(n_words, argv + 1, &n_used);
	if (!command && strcmp(argv[1], "help") == 0) /* for those who try it */
		return help_on(n_words - 1, argv + 2);
	if (!command)
		return tell_no_command(groups, n_words, argv + 1, n_used > 0);
	return run_command(command, n_words - n_used, argv + 1 + n_used);
}
