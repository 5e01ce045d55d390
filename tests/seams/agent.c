/* SPDX-License-Identifier: MIT */
/* agent.c - found by its name and parent, in /proc. */
#include "seams/agent.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/harness.h"

/* Its state and its parent; false: no such process, or another program. */
static bool look_at(const char *pid, char *ret_state, int *ret_parent)
{
	char path[64], name[32], text[256];
	FILE *file;
	bool found;

	snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	found = fgets(text, sizeof(text), file) &&
	        sscanf(text, "%*d (%31[^)]) %c %d", name, ret_state, ret_parent) == 3 && strcmp(name, "pathbus-link") == 0;
	fclose(file);
	return found;
}

pid_t agent_of(const struct harness_daemon *daemon)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;
	int parent;
	char state;

	ck_assert_ptr_nonnull(proc);
	while (!found && (entry = readdir(proc)))
		if (atoi(entry->d_name) > 0 && look_at(entry->d_name, &state, &parent) && parent == daemon->process.pid)
			found = atoi(entry->d_name);
	closedir(proc);
	return found;
}

static bool stands_still(pid_t agent)
{
	char pid[16], state;
	int parent;

	snprintf(pid, sizeof(pid), "%d", (int)agent);
	return look_at(pid, &state, &parent) && state == 'T';
}

void agent_stop(pid_t agent)
{
	ck_assert_int_gt(agent, 0);
	ck_assert_int_eq(kill(agent, SIGSTOP), 0);
	harness_await(stands_still(agent));
}
