/* SPDX-License-Identifier: MIT */
/* agent_program.c - finding and becoming the program of the link agent. */
#include "agent_program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PATHBUS_LIBEXEC_DIR
#define PATHBUS_LIBEXEC_DIR "/usr/libexec/pathbus"
#endif

static const char *const sanitizers[] = { "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=", "LSAN_OPTIONS=" };
#define N_SANITIZERS (sizeof(sanitizers) / sizeof(sanitizers[0]))

extern char **environ;

void agent_program_find(char *ret, size_t size)
{
	char own[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
	char *slash;

	own[n > 0 ? n : 0] = '\0';
	slash = strrchr(own, '/');
	if (slash) {
		slash[1] = '\0';
		n = snprintf(ret, size, "%s" AGENT_PROGRAM, own);
		if (n > 0 && (size_t)n < size && access(ret, X_OK) == 0)
			return;
	}
	snprintf(ret, size, "%s/" AGENT_PROGRAM, PATHBUS_LIBEXEC_DIR);
}

int agent_program_open(void)
{
	char program[AGENT_PROGRAM_SIZE];
	int fd;

	agent_program_find(program, sizeof(program));
	fd = open(program, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int agent_program_become(int program, const char *argument)
{
	const char *const argv[] = { AGENT_PROGRAM, argument, NULL };
	const char *kept[N_SANITIZERS + 1] = { NULL };
	unsigned n = 0;

	/* What a sanitizer is told, and nothing else. */
	for (char **one = environ; *one; one++)
		for (unsigned i = 0; i < N_SANITIZERS && n < N_SANITIZERS; i++)
			if (strncmp(*one, sanitizers[i], strlen(sanitizers[i])) == 0)
				kept[n++] = *one;
	syscall(SYS_execveat, program, "", (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)kept, AT_EMPTY_PATH);
	return -errno;
}
