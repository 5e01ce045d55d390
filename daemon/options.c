/* SPDX-License-Identifier: MIT */
/* options.c - the command line; most of it is the table of keys.c. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exit.h"
#include "keys.h"
#include "narrow.h"
#include "privileges.h"
#include "show_config.h"
#include "topic_rules.h"
#include "version.h"

enum { OPTION_KEY = 256 }; /* and the key's index on top */

static const struct option others[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "system", no_argument, NULL, 's' },
	{ "no-sandbox", no_argument, NULL, 'n' },
	{ "check-config", no_argument, NULL, 'C' },
	{ "print-config", no_argument, NULL, 'P' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'v' },
	{ 0 },
};
enum { N_OTHERS = sizeof(others) / sizeof(others[0]) };

static void print_key(const struct key *key)
{
	static const char *const kinds[] = {
		[KEY_NUMBER] = "N", [KEY_BYTES] = "BYTES", [KEY_MS] = "MS", [KEY_PATH] = "PATH", [KEY_LEVEL] = "LEVEL",
		[KEY_USER] = "NAME", [KEY_GROUP] = "NAME", [KEY_TARGET] = "TARGET",
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
	     "  --config FILE          read what is not given here from FILE, and from\n"
	     "                         FILE.d/*.conf, of which the later ones win\n"
	     "  --check-config         read the configuration, say what is wrong, and end\n"
	     "  --print-config         print what would be in force, and from where, and end\n"
	     "  --json                 print that as JSON\n"
	     "  --no-sandbox           do not restrict what its processes may ask of the kernel,\n"
	     "                         for debuggers, and for kernels without seccomp\n"
	     "  --help                 show this\n"
	     "  --version              show the version\n"
	     "\n"
	     "Also keys of the configuration:");
	for (size_t i = 0; i < n_keys; i++)
		print_key(&keys[i]);
	puts("\n"
	     "SIGTERM and SIGINT stop it, SIGHUP has it read the configuration anew. Exit status: 0 stopped, 1 failed, 2 wrong usage or\n"
	     "configuration, 3 another pathbusd serves already.");
}

static int usage_error(void)
{
	fputs("Try 'pathbusd --help'.\n", stderr);
	return EXIT_USAGE;
}

static int memory_error(void)
{
	fputs("pathbusd: no memory\n", stderr);
	return EXIT_FAILED;
}

/* --- the command line ------------------------------------------------------------------------------ */

enum action { RUN, CHECK, PRINT };

struct command_line {
	struct options options; /* system, no_sandbox, and what is given */
	const char *config;
	enum action action;
	bool json;
};

/* Returns -1, or the exit status. */
static int take_key(const struct key *key, char *text, struct options *to)
{
	char range[KEY_TEXT_SIZE];

	switch (key_set(key, text, to)) {
	case 0:
		return sources_add(&to->given, &(struct setting){ .section = (char *)(uintptr_t)key->section,
		                                                  .name = (char *)(uintptr_t)key->name, .value = text }) < 0 ?
		               memory_error() : -1;
	case -ENOMEM:
		return memory_error();
	default:
		key_range(key, range);
		fprintf(stderr, "pathbusd: --%s takes %s, not '%s'\n", key->name, range, text);
		return usage_error();
	}
}

/* Returns -1, or the exit status. */
static int take_all(int argc, char **argv, const struct option *list, struct command_line *to)
{
	int option, status = -1;

	optind = 1;
	while (status < 0 && (option = getopt_long(argc, argv, "", list, NULL)) != -1) {
		switch (option) {
		case 'c':
			to->config = optarg;
			break;
		case 's':
			to->options.system = true;
			break;
		case 'n':
			to->options.no_sandbox = true;
			break;
		case 'C':
			to->action = CHECK;
			break;
		case 'P':
			to->action = PRINT;
			break;
		case 'j':
			to->json = true;
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
			status = take_key(&keys[option - OPTION_KEY], optarg, &to->options);
		}
	}
	if (status < 0 && optind < argc) {
		fprintf(stderr, "pathbusd: takes no arguments: '%s'\n", argv[optind]);
		status = usage_error();
	}
	if (status < 0 && to->json && to->action != PRINT) {
		fputs("pathbusd: --json is for --print-config\n", stderr);
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

/* --- what is in force ------------------------------------------------------------------------------ */

/* One without a name begins its section. */
static int take_topic_setting(struct options *options, const struct setting *setting, char *ret_error)
{
	char *from = setting_from(setting);
	int r = from && setting->argument ? 0 : -ENOMEM;

	if (r == 0 && !setting->name[0])
		r = topic_rules_begin(&options->topic_rules, setting->argument, from, ret_error);
	else if (r == 0)
		r = options->topic_rules ? topic_rules_add(options->topic_rules, setting->name, setting->value, from, ret_error) : -EINVAL;
	if (r == 0 && narrow_right(setting->name))
		r = narrow_add_plain(&options->narrow, narrow_right(setting->name), setting_plain(setting), ret_error);
	free(from);
	return r == -ENOENT ? -EINVAL : r;
}

static int take_setting(struct options *options, const struct setting *setting, char *ret_error)
{
	const struct key *key = key_find(setting->name);
	char range[KEY_TEXT_SIZE], error[CONFIG_ERROR_SIZE / 2] = "is not known";
	int r = -EINVAL;

	if (strcmp(setting->section, TOPIC_RULES_SECTION) == 0) {
		r = take_topic_setting(options, setting, error);
	} else if (strcmp(setting->section, KEY_SECTION_RIGHTS) == 0) {
		if (narrow_right(setting->name))
			r = narrow_add_plain(&options->narrow, narrow_right(setting->name), setting_plain(setting), error);
	} else if (key && strcmp(setting->section, key->section) == 0) {
		r = key_set(key, setting_plain(setting), options);
		key_range(key, range);
		snprintf(error, sizeof(error), "takes %s", range);
	}
	if (r == -EINVAL)
		snprintf(ret_error, CONFIG_ERROR_SIZE, "%s:%u: %s: %s", setting->file ? setting->file : "command line", setting->line,
		         setting->name, error);
	return r;
}

static int take_settings(struct options *options, const struct sources *sources, char *ret_error)
{
	int r = 0;

	for (size_t i = 0; i < sources->n && r == 0; i++)
		r = take_setting(options, &sources->list[i], ret_error);
	return r;
}

static int copy_text(const char *from, char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}

int options_make(const struct options *like, const struct sources *files, struct options *ret, char *ret_error)
{
	struct options made = { .system = like->system, .no_sandbox = like->no_sandbox, .config_is_given = like->config_is_given };
	int r = copy_text(like->config, &made.config);

	for (size_t i = 0; i < n_keys; i++)
		key_set_normal(&keys[i], &made);
	if (r == 0)
		r = sources_add_all(&made.given, &like->given);
	if (r == 0)
		r = sources_add_all(&made.sources, files);
	if (r == 0)
		r = sources_add_all(&made.sources, &made.given);
	if (r == 0)
		r = take_settings(&made, &made.sources, ret_error);
	if (r == 0 && !made.user)
		r = copy_text(SERVICE_USER, &made.user);
	if (r == 0 && !made.log_target)
		r = copy_text("auto", &made.log_target);
	if (r == -ENOMEM)
		snprintf(ret_error, CONFIG_ERROR_SIZE, "no memory to take the configuration over");
	if (r < 0)
		options_deinit(&made);
	else
		*ret = made;
	return r;
}

bool options_place(const struct options *options, struct config_place *ret)
{
	*ret = (struct config_place){ .path = options->config, .may_be_missing = !options->config_is_given,
		                      .trusted = options->system || geteuid() == 0 };
	return options->config != NULL;
}

/* Absolute: the daemon goes to another folder. Returns -1, or the exit status. */
static int find_config(const struct command_line *line, struct options *to)
{
	char *here = NULL;
	int n = 0;

	to->config_is_given = line->config != NULL;
	if (!line->config && !to->system)
		return -1;
	if (!line->config || line->config[0] == '/')
		return copy_text(line->config ? line->config : OPTIONS_SYSTEM_CONFIG, &to->config) < 0 ? memory_error() : -1;
	here = getcwd(NULL, 0);
	if (!here) {
		fprintf(stderr, "pathbusd: %s: cannot tell which folder this is: %s\n", line->config, strerror(errno));
		return EXIT_FAILED;
	}
	n = asprintf(&to->config, "%s/%s", here, line->config);
	free(here);
	if (n >= 0)
		return -1;
	to->config = NULL;
	return memory_error();
}

/* Returns -1, or the exit status. */
static int read_config(struct command_line *line, struct options *ret)
{
	char error[CONFIG_ERROR_SIZE] = "";
	struct sources files = { 0 };
	struct config_place place;
	int status = find_config(line, &line->options), r = 0;

	if (status >= 0)
		return status;
	if (options_place(&line->options, &place))
		r = config_read(&place, &files, error);
	if (r == 0)
		r = options_make(&line->options, &files, ret, error);
	sources_deinit(&files);
	if (r == 0)
		return -1;
	fprintf(stderr, "pathbusd: %s\n", error);
	return r == -ENOMEM ? EXIT_FAILED : EXIT_USAGE;
}

/* Returns -1, or the exit status. */
static int check(const struct options *options, enum action action)
{
	const struct setting *user = sources_find(&options->sources, "user");
	struct service_user found;
	char *from;

	if (!user)
		return -1;
	from = setting_from(user);
	if (!from)
		return memory_error();
	if (!options->system) {
		fprintf(stderr, "pathbusd: %s: --user is for the daemon of all users: give --system too\n", from);
		free(from);
		return usage_error();
	}
	if (action == CHECK && privileges_find_user(options->user, &found) < 0) {
		fprintf(stderr, "pathbusd: %s: user takes the name or number of a user who is there and is not root, not '%s'\n", from,
		        options->user);
		free(from);
		return EXIT_USAGE;
	}
	free(from);
	return -1;
}

int options_parse(int argc, char **argv, struct options *ret)
{
	const struct option *list = make_list();
	struct command_line line = { 0 };
	struct options parsed = { 0 };
	int status;

	status = take_all(argc, argv, list, &line);
	/* Programs of all users find root's at the system's place. */
	if (geteuid() == 0 && !line.options.address && !line.config)
		line.options.system = true;
	if (status < 0)
		status = read_config(&line, &parsed);
	if (geteuid() == 0 && !parsed.address)
		parsed.system = true;
	if (status < 0)
		status = check(&parsed, line.action);
	if (status < 0 && line.action == CHECK)
		status = show_config_is_good(&parsed);
	if (status < 0 && line.action == PRINT)
		status = show_config(&parsed, line.json);
	options_deinit(&line.options);
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
	free(options->log_target);
	free(options->user);
	free(options->control);
	free(options->control_group);
	options->config = options->address = options->user = options->control = options->control_group = NULL;
	options->log_target = NULL;
	options->narrow = narrow_free(options->narrow);
	options->topic_rules = topic_rules_free(options->topic_rules);
	sources_deinit(&options->given);
	sources_deinit(&options->sources);
	for (size_t i = 0; i < KEY_MAX; i++) {
		free(options->kept_from[i]);
		options->kept_from[i] = NULL;
	}
}
