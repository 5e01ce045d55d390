/* SPDX-License-Identifier: MIT */
/* options.c - the command line; most of it is the table of keys.c. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "exit.h"
#include "keys.h"
#include "narrow.h"
#include "version.h"

enum { OPTION_KEY = 256 }; /* and the key's index on top */

static const struct option others[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "system", no_argument, NULL, 's' },
	{ "no-sandbox", no_argument, NULL, 'n' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'v' },
	{ 0 },
};
enum { N_OTHERS = sizeof(others) / sizeof(others[0]) };

static void print_key(const struct key *key)
{
	static const char *const kinds[] = {
		[KEY_NUMBER] = "N", [KEY_BYTES] = "BYTES", [KEY_MS] = "MS", [KEY_PATH] = "PATH", [KEY_LEVEL] = "LEVEL",
		[KEY_USER] = "NAME", [KEY_GROUP] = "NAME",
	};
	char range[KEY_TEXT_SIZE], normal[KEY_TEXT_SIZE];

	key_range(key, range);
	key_normal(key, normal);
	printf("  --%s %s\n"
	       "                         %s\n",
	       key->name, kinds[key->type], key->help);
	if (key->type != KEY_PATH && key->type != KEY_GROUP)
		printf("                         (%s; default %s)\n", range, normal);
}

static void print_help(void)
{
	puts("Usage: pathbusd [OPTION...]\n"
	     "The notification bus whose topics are file paths: serves one user's programs,\n"
	     "or those of all users (--system). Without --address it serves at the user's own\n"
	     "place, and only while no system-wide pathbusd runs; or at the system's.\n"
	     "\n"
	     "  --system               serve all users; what root's is without --address\n"
	     "  --config FILE          read what is not given here from FILE\n"
	     "  --no-sandbox           do not restrict what its processes may ask of the kernel,\n"
	     "                         for debuggers, and for kernels without seccomp\n"
	     "  --help                 show this\n"
	     "  --version              show the version\n"
	     "\n"
	     "Also keys of the configuration:");
	for (size_t i = 0; i < n_keys; i++)
		print_key(&keys[i]);
	puts("\n"
	     "SIGTERM and SIGINT stop it. Exit status: 0 stopped, 1 failed, 2 wrong usage or\n"
	     "configuration, 3 another pathbusd serves already.");
}

static int usage_error(void)
{
	fputs("Try 'pathbusd --help'.\n", stderr);
	return EXIT_USAGE;
}

/* Returns -1, or the exit status. */
static int take_key(const struct key *key, const char *text, struct options *to)
{
	char range[KEY_TEXT_SIZE];

	switch (key_set(key, text, to)) {
	case 0:
		return -1;
	case -ENOMEM:
		fputs("pathbusd: no memory\n", stderr);
		return EXIT_FAILED;
	default:
		key_range(key, range);
		fprintf(stderr, "pathbusd: --%s takes %s, not '%s'\n", key->name, range, text);
		return usage_error();
	}
}

/* Goes through all arguments. Returns -1, or the exit status. */
static int take_all(int argc, char **argv, const struct option *list, struct options *to, const char **ret_config)
{
	int option, status = -1;

	optind = 1;
	while (status < 0 && (option = getopt_long(argc, argv, "", list, NULL)) != -1) {
		switch (option) {
		case 'c':
			*ret_config = optarg;
			break;
		case 's':
			to->system = true;
			break;
		case 'n':
			to->no_sandbox = true;
			break;
		case 'h':
			print_help();
			return EXIT_STOPPED;
		case 'v':
			puts("pathbusd " PATHBUS_VERSION);
			return EXIT_STOPPED;
		case '?':
		case ':':
			return usage_error(); /* getopt_long has said what is wrong */
		default:
			status = take_key(&keys[option - OPTION_KEY], optarg, to);
		}
	}
	if (status < 0 && optind < argc) {
		fprintf(stderr, "pathbusd: takes no arguments: '%s'\n", argv[optind]);
		status = usage_error();
	}
	return status;
}

static const struct option *make_list(void)
{
	static struct option list[KEY_MAX + N_OTHERS];

	for (size_t i = 0; i < n_keys; i++)
		list[i] = (struct option){ keys[i].name, required_argument, NULL, OPTION_KEY + (int)i };
	memcpy(list + n_keys, others, sizeof(others));
	return list;
}

/* First what is wrong with the arguments is told, then with the file; and they are taken after it once more, since they win. */
static int take_config(int argc, char **argv, const struct option *list, const char *config, struct options *to)
{
	int status;

	if (!config && to->system && access(OPTIONS_SYSTEM_CONFIG, F_OK) == 0)
		config = OPTIONS_SYSTEM_CONFIG;
	if (!config)
		return -1;
	to->config = strdup(config);
	status = config_read(config, to->system || geteuid() == 0, to);
	return status < 0 ? take_all(argc, argv, list, to, &config) : status;
}

int options_parse(int argc, char **argv, struct options *ret)
{
	const struct option *list = make_list();
	const char *config = NULL;
	struct options parsed = { 0 };
	int status;

	for (size_t i = 0; i < n_keys; i++)
		key_set_normal(&keys[i], &parsed);
	status = take_all(argc, argv, list, &parsed, &config);
	/* Programs of all users find root's at the system's place. */
	if (geteuid() == 0 && !parsed.address && !config)
		parsed.system = true;
	if (status < 0)
		status = take_config(argc, argv, list, config, &parsed);
	if (geteuid() == 0 && !parsed.address)
		parsed.system = true;
	if (status < 0 && parsed.user && !parsed.system) {
		fputs("pathbusd: --user is for the daemon of all users: give --system too\n", stderr);
		status = usage_error();
	}
	if (status < 0 && !parsed.user) {
		parsed.user = strdup(SERVICE_USER);
		if (!parsed.user) {
			fputs("pathbusd: no memory\n", stderr);
			status = EXIT_FAILED;
		}
	}
	if (status >= 0)
		options_deinit(&parsed);
	else
		*ret = parsed;
	return status;
}

void options_deinit(struct options *options)
{
	free(options->config);
	free(options->address);
	free(options->user);
	free(options->control);
	free(options->control_group);
	options->config = options->address = options->user = options->control = options->control_group = NULL;
	options->narrow = narrow_free(options->narrow);
}
