/* SPDX-License-Identifier: MIT */
/* ringing.c - rings eventfds by reading nothing from /dev/null: what counts is how that ends. */
#include "ringing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"

#ifdef __linux__
#include <linux/aio_abi.h>
#include <sys/syscall.h>

enum { N_EVENTS = 64 };

static struct {
	aio_context_t context; /* 0: bells are written to */
	int nothing;
} ringing;

int ringing_init(void)
{
	int r;

	ringing.nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (ringing.nothing < 0)
		return -errno;
	ringing.context = 0;
	if (syscall(SYS_io_setup, N_EVENTS, &ringing.context) == 0)
		return 0;
	r = -errno;
	close(ringing.nothing);
	return r;
}

void ringing_deinit(void)
{
	if (!ringing.context)
		return;
	syscall(SYS_io_destroy, ringing.context);
	close(ringing.nothing);
	ringing.context = 0;
}

void ringing_ring(int bell)
{
	struct iocb operation = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)ringing.nothing,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)bell,
	};
	struct iocb *operations[] = { &operation };
	struct io_event events[N_EVENTS];
	struct timespec at_once = { 0 };

	if (!ringing.context) {
		os_bell_ring(bell);
		return;
	}
	atomic_fetch_add_explicit(&os_counts.rings, 1, memory_order_relaxed);
	/* It has ended when io_submit returns. -EAGAIN: nobody has taken the ends of those before. */
	while (syscall(SYS_io_submit, ringing.context, 1, operations) < 0 && (errno == EINTR || errno == EAGAIN))
		(void)syscall(SYS_io_getevents, ringing.context, 0, N_EVENTS, events, &at_once);
}

#else

int ringing_init(void)
{
	return -ENOTSUP;
}

void ringing_deinit(void)
{
}

void ringing_ring(int bell)
{
	os_bell_ring(bell);
}
#endif
