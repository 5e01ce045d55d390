/* SPDX-License-Identifier: MIT */
/* control_internal.h - between the files of the control client. */
#ifndef PATHBUS_CLI_CONTROL_INTERNAL_H
#define PATHBUS_CLI_CONTROL_INTERNAL_H

struct control;

/* Sets what control_why says of what http_call has returned. Returns the exit status. */
int control_fail(struct control *control, int error);

#endif
