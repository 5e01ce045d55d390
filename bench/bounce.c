/* SPDX-License-Identifier: MIT */
/*
 * bounce.c - how long a cache line takes from one core to the other. Whatever two cores tell each other through memory is
 * made of that; in a virtual machine it is another from one moment to the next (by a factor of five and more), as its
 * host moves its processors.
 */
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "bench.h"

enum { N_BOUNCES = 10000 };

static struct {
	const struct settings *settings;
	struct partner partner;
	_Atomic unsigned *line; /* shared; odd: it is the partner's turn */
} bounce;

static void serve(int socket, const void *arg)
{
	(void)arg;
	pin(bounce.settings->other_core);
	for (;;) {
		struct message message = message_receive(socket);

		if (message.command == COMMAND_QUIT)
			break;
		message_send(socket, &message);
		for (unsigned i = 1; i < 2 * N_BOUNCES; i += 2) {
			while (atomic_load_explicit(bounce.line, memory_order_acquire) != i)
				;
			atomic_store_explicit(bounce.line, i + 1, memory_order_release);
		}
	}
}

void bounce_start(const struct settings *settings)
{
	bounce.settings = settings;
	bounce.line = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (bounce.line == MAP_FAILED)
		die(-errno, "mmap");
	partner_start(&bounce.partner, serve, NULL);
}

double bounce_ns(void)
{
	struct message message = { .command = COMMAND_RUN };
	uint64_t start;

	pin(bounce.settings->core);
	atomic_store(bounce.line, 0);
	message_send(bounce.partner.socket, &message);
	message_receive(bounce.partner.socket);
	start = now_ns();
	for (unsigned i = 0; i < 2 * N_BOUNCES; i += 2) {
		atomic_store_explicit(bounce.line, i + 1, memory_order_release);
		while (atomic_load_explicit(bounce.line, memory_order_acquire) != i + 2)
			;
	}
	return (double)(now_ns() - start) / (2 * N_BOUNCES);
}

void bounce_stop(void)
{
	partner_stop(&bounce.partner);
	munmap((void *)bounce.line, 4096);
}
