/* SPDX-License-Identifier: MIT */
/*
 * darwin_shared.c - memory that programs share by name is not there yet: it needs memory that can be sealed, and descriptors
 * that can be opened anew. Compiled, not run.
 */
#include "os.h"

#include <errno.h>

int os_shared_new(const char *label, size_t size, bool huge)
{
	(void)label, (void)size, (void)huge;
	return -EOPNOTSUPP;
}

size_t os_huge_page_size(void)
{
	return 0;
}

bool os_transparent_huge(void)
{
	return false;
}

void os_advise_huge(void *map, size_t size)
{
	(void)map, (void)size;
}

int os_reopen(int fd, bool writable)
{
	(void)fd, (void)writable;
	return -EOPNOTSUPP;
}

bool os_is_sealed(int fd)
{
	(void)fd;
	return false;
}

int os_shared_of_process(pid_t pid, int number, const char *label)
{
	(void)pid, (void)number, (void)label;
	return -EOPNOTSUPP;
}

int os_shared_store(int fd, off_t at, uint64_t word)
{
	(void)fd, (void)at, (void)word;
	return -EOPNOTSUPP;
}

int os_may_reserve(uint64_t size)
{
	(void)size;
	return 0;
}

int os_make_unnamed(int dir)
{
	(void)dir;
	return -EOPNOTSUPP;
}

int os_link_new(int fd, int dir, const char *name)
{
	(void)fd, (void)dir, (void)name;
	return -EOPNOTSUPP;
}
