/* SPDX-License-Identifier: MIT */
/* options.c - the command line. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exit.h"
#include "limit.h"
#include "page.h"
#include "version.h"

enum {
	OPTION_ADDRESS = 256,
	OPTION_OFFLOAD,
	OPTION_OFFLOAD_MESSAGE,
	OPTION_MAX_MESSAGE,
	OPTION_REGION_BYTES,
	OPTION_REGIONS,
	OPTION_HELLO,
	OPTION_FILES,
	OPTION_LOG,
	OPTION_HELP,
	OPTION_VERSION,
};

static const struct option options[] = {
	{ "address", required_argument, NULL, OPTION_ADDRESS },
	{ "offload-members", required_argument, NULL, OPTION_OFFLOAD },
	{ "offload-message-members", required_argument, NULL, OPTION_OFFLOAD_MESSAGE },
	{ "max-message", required_argument, NULL, OPTION_MAX_MESSAGE },
	{ "max-region-bytes", required_argument, NULL, OPTION_REGION_BYTES },
	{ "max-regions", required_argument, NULL, OPTION_REGIONS },
	{ "hello-timeout", required_argument, NULL, OPTION_HELLO },
	{ "files-timeout", required_argument, NULL, OPTION_FILES },
	{ "log-level", required_argument, NULL, OPTION_LOG },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ NULL, 0, NULL, 0 },
};

static void print_help(void)
{
	printf("Usage: pathbusd [OPTION...]\n"
	       "The notification bus whose topics are file paths: serves one user's programs.\n"
	       "\n"
	       "  --address SOCKET       serve at this Unix socket; without it, at the user's own\n"
	       "                         place, and only while no system-wide pathbusd runs\n"
	       "  --offload-members N    ring for the posters of files that more than N have open\n"
	       "                         (default %u)\n"
	       "  --offload-message-members N\n"
	       "                         the same for files with messages (default %u)\n"
	       "  --max-message BYTES    the largest message that a program may ask a topic to take,\n"
	       "                         %u to %u (default %u)\n"
	       "  --max-region-bytes BYTES\n"
	       "                         all regions of a user together (default %llu)\n"
	       "  --max-regions N        how many regions a user may have (default %u)\n"
	       "  --files-timeout MS     give up on a path whose file system does not answer\n"
	       "                         (default %u)\n"
	       "  --hello-timeout MS     close a connection that says nothing (default %u)\n"
	       "  --log-level LEVEL      error, warning, info (default) or debug; to stderr\n"
	       "  --help                 show this\n"
	       "  --version              show the version\n"
	       "\n"
	       "SIGTERM and SIGINT stop it. Exit status: 0 stopped, 1 failed, 2 wrong usage,\n"
	       "3 another pathbusd serves already.\n",
	       LIMIT_OFFLOAD_MEMBERS, LIMIT_OFFLOAD_MESSAGE_MEMBERS, LANE_MIN_MESSAGE, LANE_MAX_MESSAGE, LANE_MAX_MESSAGE,
	       (unsigned long long)LIMIT_REGION_BYTES, LIMIT_REGIONS, LIMIT_FILES_MS, LIMIT_HELLO_MS);
}

static int usage_error(void)
{
	fputs("Try 'pathbusd --help'.\n", stderr);
	return EXIT_USAGE;
}

/* Returns -1, or the exit status. */
static int number(const char *option, const char *text, unsigned min, unsigned max, unsigned *ret)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end != '\0' || text[0] == '-' || value < min || value > max) {
		fprintf(stderr, "pathbusd: --%s takes a number from %u to %u, not '%s'\n", option, min, max, text);
		return usage_error();
	}
	*ret = (unsigned)value;
	return -1;
}

static int bytes(const char *option, const char *text, uint64_t *ret)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end != '\0' || text[0] == '-') {
		fprintf(stderr, "pathbusd: --%s takes a number of bytes, not '%s'\n", option, text);
		return usage_error();
	}
	*ret = value;
	return -1;
}

static int take(int option, const char *argument, struct options *to)
{
	switch (option) {
	case OPTION_ADDRESS:
		if (argument[0] == '\0') {
			fputs("pathbusd: --address takes the path of a socket\n", stderr);
			return usage_error();
		}
		to->address = argument;
		return -1;
	case OPTION_OFFLOAD:
		return number("offload-members", argument, 1, 1000000, &to->offload_members);
	case OPTION_OFFLOAD_MESSAGE:
		return number("offload-message-members", argument, 1, 1000000, &to->offload_message_members);
	case OPTION_MAX_MESSAGE:
		return number("max-message", argument, LANE_MIN_MESSAGE, LANE_MAX_MESSAGE, &to->max_message);
	case OPTION_REGION_BYTES:
		return bytes("max-region-bytes", argument, &to->max_region_bytes);
	case OPTION_REGIONS:
		return number("max-regions", argument, 0, 100000, &to->max_regions);
	case OPTION_HELLO:
		return number("hello-timeout", argument, 1, 3600000, &to->hello_ms);
	case OPTION_FILES:
		return number("files-timeout", argument, 1, 3600000, &to->files_ms);
	case OPTION_LOG:
		if (log_level_from(argument, &to->log_level))
			return -1;
		fprintf(stderr, "pathbusd: --log-level takes error, warning, info or debug, not '%s'\n", argument);
		return usage_error();
	case OPTION_HELP:
		print_help();
		return EXIT_STOPPED;
	case OPTION_VERSION:
		puts("pathbusd " PATHBUS_VERSION);
		return EXIT_STOPPED;
	default:
		return usage_error(); /* getopt_long has said what is wrong */
	}
}

int options_parse(int argc, char **argv, struct options *ret)
{
	struct options parsed = {
		.offload_members = LIMIT_OFFLOAD_MEMBERS,
		.offload_message_members = LIMIT_OFFLOAD_MESSAGE_MEMBERS,
		.max_message = LANE_MAX_MESSAGE,
		.max_region_bytes = LIMIT_REGION_BYTES,
		.max_regions = LIMIT_REGIONS,
		.hello_ms = LIMIT_HELLO_MS,
		.files_ms = LIMIT_FILES_MS,
		.log_level = LOG_LEVEL_INFO,
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		int status = take(option, optarg, &parsed);

		if (status >= 0)
			return status;
	}
	if (optind < argc) {
		fprintf(stderr, "pathbusd: takes no arguments: '%s'\n", argv[optind]);
		return usage_error();
	}
	*ret = parsed;
	return -1;
}
