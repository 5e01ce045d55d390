/* SPDX-License-Identifier: MIT */
/* main.c - pathbusd: the daemon, one of its files workers, what starts those of all users, or what reads the configuration. */
#include <string.h>

#include "files_process.h"
#include "files_protocol.h"
#include "files_worker.h"
#include "forker_protocol.h"
#include "options.h"
#include "config_reader.h"
#include "sandbox.h"
#include "server.h"

static bool has(char **arguments, const char *wanted)
{
	while (*arguments && strcmp(*arguments, wanted) != 0)
		arguments++;
	return *arguments;
}

int main(int argc, char **argv)
{
	struct options options;
	int status;

	if (argc >= 2 && strcmp(argv[1], FILES_WORKER_ARGUMENT) == 0)
		return files_worker_run(false, argc == 2 || strcmp(argv[2], SANDBOX_OFF_ARGUMENT) != 0);
	if (argc >= 4 && strcmp(argv[1], FORKER_ARGUMENT) == 0)
		return files_process_run(argv[2], argv[3], has(argv + 4, FORKER_MANAGED_ARGUMENT), !has(argv + 4, SANDBOX_OFF_ARGUMENT));
	if (argc >= 2 && strcmp(argv[1], CONFIG_READER_ARGUMENT) == 0)
		return config_reader_run(argc, argv);
	status = options_parse(argc, argv, &options);
	if (status >= 0)
		return status;
	status = server_run(&options);
	options_deinit(&options);
	return status;
}
