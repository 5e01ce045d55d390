/* SPDX-License-Identifier: MIT */
/* world.c - the shared numbers, and the claim. */
#include "seams/world.h"

#include <stddef.h>
#include <sys/mman.h>

struct world *world_new(void)
{
	struct world *world =
		mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return world == MAP_FAILED ? NULL : world;
}

struct world *world_free(struct world *world)
{
	if (world)
		munmap(world, sizeof(*world));
	return NULL;
}

int world_first_miss(const struct world *world, int *ret_file, int *ret_poster)
{
	for (int me = 0; me < N_MEMBERS; me++)
		for (int file = 0; file < N_FILES; file++) {
			uint64_t look = atomic_load(&world->seats[me].look[file]);

			for (int poster = 0; poster < N_MEMBERS; poster++) {
				if (poster == me || atomic_load(&world->seats[poster].returned[file]) <= look)
					continue;
				*ret_file = file;
				*ret_poster = poster;
				return me;
			}
		}
	return -1;
}
