/* SPDX-License-Identifier: MIT */
/* reload.c - `pathbusctl reload`: has the daemon read its configuration again, and says what came of it. */
#include <stdio.h>

#include "command.h"
#include "control.h"
#include "tell.h"

/* "TITLE: a, b"; nothing without entries. */
static void print_keys(const char *title, const struct json *keys)
{
	size_t n = json_length(keys);

	for (size_t i = 0; i < n; i++) {
		const char *key = json_as_text(json_at(keys, i));

		printf("%s%s%s", i ? ", " : title, i ? "" : ": ", key ? tell_name(key) : "?");
	}
	if (n)
		printf("\n");
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct control *control;
	struct json *answer = NULL;
	int status = control_open(options, &control);

	(void)n_words, (void)words;
	if (status != STATUS_OK)
		return status;
	status = control_post(control, "/v1/reload", NULL, &answer);
	if (status == STATUS_OK) {
		const struct json *changed = json_get(answer, "changed");

		if (json_length(changed) == 0)
			printf("nothing has changed\n");
		print_keys("changed", changed);
		print_keys("changed only by a restart", json_get(answer, "restart_needed"));
		json_free(answer);
		status = tell_flush();
	} else {
		status = control_tell(control, status);
	}
	control_close(control);
	return status;
}

const struct command command_reload = {
	.name = "reload",
	.summary = "have the daemon read its configuration again",
	.about = "Prints the keys that have changed, and those whose change needs a restart. Where the configuration has an\n"
		 "error, that is told with its file and line, the daemon keeps the one that it has, and the exit status is 1.",
	.run = run,
};
