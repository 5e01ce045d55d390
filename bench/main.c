/* SPDX-License-Identifier: MIT */
/*
 * main.c - pathbus-bench: the project's figures. Usually started by scripts/bench, which gives it a daemon.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "bench.h"

static const struct family {
	const char *name;
	void (*measure)(const struct settings *settings);
} families[] = {
	{ "post", measure_post },
	{ "wakeup", measure_wakeup },
	{ "burst", measure_burst },
	{ "messages", measure_messages },
	{ "sync", measure_sync },
	{ "open", measure_open },
	{ "lock", measure_locks },
	{ "region", measure_regions },
	{ "endpoint", measure_endpoints },
	{ "users", measure_users },
};

static void usage(FILE *to)
{
	fputs("usage: pathbus-bench --folder FOLDER [OPTION...]\n"
	      "\n"
	      "  --folder FOLDER     where to make the files that are the topics\n"
	      "  --address SOCKET    a daemon's; without it only peer to peer is measured\n"
	      "  --daemon PID        that daemon, to pin its processes\n"
	      "  --system SOCKET     one's of a daemon of all users; needs root\n"
	      "  --system-daemon PID that daemon\n"
	      "  --dbus SOCKET       a dbus-daemon's that lets everybody do everything\n"
	      "  --dbus-daemon PID   that daemon\n"
	      "  --json FILE         writes the figures there too\n"
	      "  --quick             fewer repetitions\n"
	      "  --only FAMILY[/WAY] post, wakeup, burst, messages, sync, open, lock, region, endpoint or users; of that what has\n"
	      "                      WAY in its name\n"
	      "  --help\n"
	      "\n"
	      "The exit status says whether it could be measured, not whether the targets were met.\n",
	      to);
}

static void choose_cores(struct settings *settings)
{
	cpu_set_t set;

	settings->core = settings->other_core = -1;
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		die(-errno, "sched_getaffinity");
	/* The last ones: interrupts tend to go to the first. */
	for (int i = CPU_SETSIZE - 1; i >= 0 && settings->other_core < 0; i--) {
		if (!CPU_ISSET((size_t)i, &set))
			continue;
		if (settings->core < 0)
			settings->core = i;
		else
			settings->other_core = i;
	}
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static bool parse(int argc, char **argv, struct settings *settings, const char **ret_only)
{
	static const struct option options[] = {
		{ "folder", required_argument, NULL, 'f' }, { "address", required_argument, NULL, 'a' },
		{ "daemon", required_argument, NULL, 'd' }, { "json", required_argument, NULL, 'j' },
		{ "quick", no_argument, NULL, 'q' },        { "only", required_argument, NULL, 'o' },
		{ "system", required_argument, NULL, 's' }, { "system-daemon", required_argument, NULL, 'S' },
		{ "dbus", required_argument, NULL, 'b' }, { "dbus-daemon", required_argument, NULL, 'B' },
		{ "help", no_argument, NULL, 'h' },         { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 'f': settings->folder = optarg; break;
		case 'a': settings->address = optarg; break;
		case 'd': settings->daemon = (pid_t)strtol(optarg, NULL, 10); break;
		case 's': settings->system_address = optarg; break;
		case 'S': settings->system_daemon = (pid_t)strtol(optarg, NULL, 10); break;
		case 'b': settings->dbus_address = optarg; break;
		case 'B': settings->dbus_daemon = (pid_t)strtol(optarg, NULL, 10); break;
		case 'j': settings->json = optarg; break;
		case 'q': settings->quick = true; break;
		case 'o': *ret_only = optarg; break;
		case 'h':
			usage(stdout);
			exit(0);
		default: return false;
		}
	}
	return optind == argc && settings->folder;
}

int main(int argc, char **argv)
{
	struct settings settings = { 0 };
	const char *only = NULL;
	struct stat st;
	size_t length = 0;
	bool found = false;

	if (!parse(argc, argv, &settings, &only)) {
		usage(stderr);
		return 2;
	}
	if (stat(settings.folder, &st) < 0)
		die(-errno, "%s", settings.folder);
	if (only) {
		length = strcspn(only, "/");
		settings.part = only[length] ? only + length + 1 : NULL;
	}
	choose_cores(&settings);
	raise_descriptor_limit();
	report_begin(&settings);
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (only && (strlen(families[i].name) != length || strncmp(only, families[i].name, length) != 0))
			continue;
		found = true;
		families[i].measure(&settings);
	}
	if (!found)
		die(0, "there is no family %s", only);
	report_end(&settings);
	return 0;
}
