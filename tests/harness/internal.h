/* SPDX-License-Identifier: MIT */
/* internal.h - what the harness's own files share. */
#ifndef PATHBUS_TESTS_INTERNAL_H
#define PATHBUS_TESTS_INTERNAL_H

#include <sys/types.h>

/* dir.c: the program's folder, in which each case has its own. */
const char *dir_program_init(void);
void dir_program_sweep(void); /* after a case: prints the logs of what it left, and removes that */
void dir_program_deinit(void);
void dir_case_init(void);
void dir_case_check(void);
void dir_case_deinit(void);
char *dir_keep(char *string); /* takes the string, and frees it when the case ends */

/* guest.c: what a case must leave as it was. */
void guest_init(pid_t program);
void guest_check(void);

/* process.c: who it is; 0: any that runs. */
const char *process_name(pid_t pid);

#endif
