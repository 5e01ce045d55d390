/* SPDX-License-Identifier: MIT */
/* death_page.c - the daemon's end of the death word. */
#include "death_page.h"

#include <unistd.h>

#include "log.h"

int death_page_init(struct death_page *ret)
{
	void *map;
	int fd, r;

	/* Mapped before it is sealed: from then on nobody can map it writable. */
	fd = os_memory_new_mapped("pathbus-death", DEATH_SIZE, true, &map);
	if (fd < 0)
		return fd;
	*ret = (struct death_page){ .page = map, .fd = fd };
	ret->page->magic = DEATH_MAGIC;
	r = os_death_arm(&ret->page->word);
	ret->page->armed = r == 0;
	if (r < 0)
		log_event(REASON_SETUP, "the kernel does not mark the death word; clients watch their sockets instead");
	return 0;
}

void death_page_mark(struct death_page *page)
{
	atomic_fetch_or(&page->page->word, OS_DEAD);
}

void death_page_deinit(struct death_page *page)
{
	if (page->fd >= 0)
		close(page->fd);
	page->fd = -1;
}
