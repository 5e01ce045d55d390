/* SPDX-License-Identifier: MIT */
/*
 * main.c - pathbusctl: the table of commands, the options that all of them have, and the help.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "tell.h"

#define MAX_TIMEOUT_MS 3600000u

static const struct command *const commands[] = {
	&command_post, &command_listen, &command_check, &command_ping, &command_version,
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

enum { OPTION_ADDRESS = OPTION_LONG, OPTION_TRANSPORT, OPTION_TIMEOUT_MS, OPTION_VERSION };

static const struct option_spec specs[] = {
	{ OPTION_ADDRESS, "address", "SOCKET",
	  "the daemon's socket (default: $PATHBUS_ADDRESS, else the known places)" },
	{ OPTION_TRANSPORT, "transport", "KIND",
	  "auto: the daemon if it answers (default); bus: only it; peer: never it" },
	{ OPTION_TIMEOUT_MS, "timeout-ms", "N",
	  "milliseconds to wait for the daemon's answers (default: 250)" },
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
	"  66   the folder of the file does not exist\n"
	"  69   no daemon answers\n"
	"  77   not permitted\n"
	"  124  listen: --timeout was over before --count was reached\n";

static bool set_transport(const char *value)
{
	static const char *const names[] = {
		[PATHBUS_AUTO] = "auto", [PATHBUS_BUS] = "bus", [PATHBUS_PEER] = "peer",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(value, names[i]) == 0) {
			options.transport = (enum pathbus_transport_kind)i;
			return true;
		}
	tell("--transport is auto, bus or peer, not \"%s\"", tell_name(value));
	return false;
}

static bool set(int id, const char *value)
{
	uint64_t number;

	switch (id) {
	case OPTION_ADDRESS:
		options.address = value;
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

static int help(void)
{
	printf("Usage: pathbusctl [OPTION...] COMMAND [ARGUMENT...]\n"
	       "A notification bus whose topics are file paths.\n"
	       "\n"
	       "Commands (each has a --help of its own)\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		printf("  %-8s %-8s %s\n", commands[i]->name,
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

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
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
	if ((size_t)n_words > command->max_files) {
		tell("%s: too many arguments, from \"%s\" on; see: pathbusctl %s --help", command->name,
		     tell_name(argv[command->max_files]), command->name);
		return STATUS_USAGE;
	}
	if (n_words == 0 && command->max_files > 0) {
		tell("%s: which file? see: pathbusctl %s --help", command->name, command->name);
		return STATUS_USAGE;
	}
	return command->run(&options, (size_t)n_words, argv);
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
	int n_words;

	if (!fill_standard_descriptors())
		return STATUS_FAILED;
	signal(SIGPIPE, SIG_IGN); /* a write to a closed pipe is told, or ends `listen` in good order */
	n_words = options_take(groups, argc - 1, argv + 1, true);
	if (n_words < 0) {
		tell("see: pathbusctl --help");
		return STATUS_USAGE;
	}
	if (want_help && n_words == 0)
		return help();
	if (want_version)
		return command_version.run(&options, 0, NULL);
	if (n_words == 0) {
		tell("which command? see: pathbusctl --help");
		return STATUS_USAGE;
	}
	command = find(argv[1]);
	if (!command && strcmp(argv[1], "help") == 0) /* for those who try it */
		return n_words > 1 && find(argv[2]) ? help_command(find(argv[2])) : help();
	if (!command) {
		tell("no command \"%s\"; see: pathbusctl --help", tell_name(argv[1]));
		return STATUS_USAGE;
	}
	return run_command(command, n_words - 1, argv + 2);
}
