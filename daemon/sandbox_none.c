/* SPDX-License-Identifier: MIT */
/* sandbox_none.c - systems without seccomp. */
#include "sandbox.h"

#include <errno.h>
#include <stdio.h>

int sandbox_enter(enum sandbox_role role, const struct sandbox_setting *setting, struct sandbox_state *ret)
{
	(void)role, (void)setting;
	snprintf(ret->text, sizeof(ret->text), "this system has none that is used here");
	return -EOPNOTSUPP;
}

bool sandbox_has_killed(int status)
{
	(void)status;
	return false;
}
