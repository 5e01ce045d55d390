/* SPDX-License-Identifier: MIT */
/*
 * process.h - the other processes of a case: forked functions and programs.
 *
 * Each has a pair of pipes to the case, on which both sides exchange lines, so that a case can say in which
 * order things happen. They die with the thread that started them (PR_SET_PDEATHSIG), and a case has to wait
 * for each of them. An assertion that fails in a forked function ends it with 1, and its message is the one
 * that is printed once the case fails; so expect its exit.
 */
#ifndef PATHBUS_TESTS_PROCESS_H
#define PATHBUS_TESTS_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

struct harness_process {
	pid_t pid; /* 0: not running, or already waited for */
	const char *name;
	int in, out; /* this side's ends, -1: none */
	char line[1024];
	struct harness_process *next;
};

/* Runs `function` in a child, which exits with what it returns. `peer` is the child's side of the pipes. */
void harness_spawn(struct harness_process *ret,
		   int (*function)(struct harness_process *peer, void *arg), void *arg);

/* Runs a program (found by PATH unless its name has a slash) with its stdin and stdout on the pipes. */
void harness_exec(struct harness_process *ret, const char *const *argv);
/* The same with its stdin, stdout and stderr on these descriptors, which stay the caller's. */
void harness_exec_on(struct harness_process *ret, const char *const *argv, const int stdio[3]);

/* Runs a program to its end, without input. Returns its wait status. */
int harness_run(const char *const *argv, const char **ret_stdout, const char **ret_stderr);

/* The path of one of the project's programs, in the build that is tested. */
const char *harness_program(const char *name);

/* Sends a line; the newline is added. */
void harness_tell(struct harness_process *, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The next line, without its newline, valid until the next call; NULL at the end of the stream. */
const char *harness_hear(struct harness_process *);
/* Fails unless the next line is this one. */
#define harness_expect_line(process, line) harness_expect_line_at(__FILE__, __LINE__, process, line)
/* Closes the pipes: the other side sees the end of the stream. */
void harness_hang_up(struct harness_process *);

/* SIGSTOP returns when the process stands still. */
void harness_signal(struct harness_process *, int signal);
/* Waits for the end, and returns the wait status. */
int harness_wait(struct harness_process *);
#define harness_expect_exit(process, code) harness_expect_exit_at(__FILE__, __LINE__, process, code)
#define harness_expect_signal(process, signal)                                                     \
	harness_expect_signal_at(__FILE__, __LINE__, process, signal)

void harness_expect_line_at(const char *file, int line, struct harness_process *,
			    const char *expected);
void harness_expect_exit_at(const char *file, int line, struct harness_process *, int code);
void harness_expect_signal_at(const char *file, int line, struct harness_process *, int signal);

#endif
