/* SPDX-License-Identifier: MIT */
/* log_level.c - `pathbusctl log-level [LEVEL]`: shows or sets how much the daemon logs. */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "control.h"
#include "tell.h"

static int show(struct control *control)
{
	struct json *stats;
	int status = control_get(control, "/v1/stats", &stats);
	const char *level;

	if (status != STATUS_OK)
		return control_tell(control, status);
	level = json_text(stats, "log_level");
	printf("%s\n", level ? tell_name(level) : "unknown");
	json_free(stats);
	return tell_flush();
}

static int change(struct control *control, const char *level)
{
	char *body = json_of_text("level", level);
	struct json *answer;
	int status;

	if (!body) {
		tell("\"%s\" is no log level; see: pathbusctl log-level --help", tell_name(level));
		return STATUS_USAGE;
	}
	status = control_post(control, "/v1/log-level", body, &answer);
	free(body);
	if (status != STATUS_OK)
		return control_tell(control, status);
	json_free(answer);
	return STATUS_OK;
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct control *control;
	int status = control_open(options, &control);

	if (status != STATUS_OK)
		return status;
	status = n_words ? change(control, words[0]) : show(control);
	control_close(control);
	return status;
}

const struct command command_log_level = {
	.name = "log-level",
	.arguments = "[LEVEL]",
	.summary = "print how much the daemon logs, or change it until it ends or reloads",
	.about = "LEVEL is error, warning, info or debug, as in the daemon's configuration.",
	.max_words = 1,
	.run = run,
};
