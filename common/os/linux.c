/* SPDX-License-Identifier: MIT */
/*
 * linux.c - bells are eventfds and FIFOs, sets are epoll, memory is memfd. Files are in linux_files.c.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/time_types.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* Newer than the headers of the oldest system we build on. */
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

struct os_seams os_seams;
struct os_counts os_counts;

static int fd_or_errno(int fd)
{
	return fd >= 0 ? fd : -errno;
}

uint64_t os_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* --- bells ----------------------------------------------------------------------------------------- */

int os_bell_new(void)
{
	return fd_or_errno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void os_bell_ring(int bell)
{
	static const uint64_t one = 1; /* an eventfd takes eight bytes; a FIFO is as happy with them */
	char page[4096];

	atomic_fetch_add_explicit(&os_counts.rings, 1, memory_order_relaxed);
	if (os_seams.fifo_unreliable) {
		int bytes = 0;

		if (ioctl(bell, FIONREAD, &bytes) == 0 && bytes > 0)
			return;
	}
	for (;;) {
		if (write(bell, &one, sizeof(one)) >= 0)
			return;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return;
		/* Full. Never emptied: that would cancel wake-ups which others have not collected. A FIFO gives one
		 * page of several; an eventfd is full after 2^64 - 2 rings. */
		if (read(bell, page, sizeof(page)) < 0 && errno != EINTR && errno != EAGAIN)
			return;
	}
}

void os_bell_drain(int bell)
{
	uint64_t count;

	while (read(bell, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

/* 1: yes, 0: no, -1: no descriptors left to find out. */
static int fifo_wakes_on_each_write(void)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int pipe_fds[2], set, answer = -1;

	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	set = epoll_create1(EPOLL_CLOEXEC);
	if (set >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, pipe_fds[0], &event) == 0) {
		int n_edges = 0;

		for (int i = 0; i < 2; i++)
			if (write(pipe_fds[1], "", 1) == 1 && epoll_wait(set, &event, 1, 0) == 1)
				n_edges++;
		answer = n_edges == 2;
	}
	if (set >= 0)
		close(set);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return answer;
}

bool os_bell_fifo_reliable(void)
{
	static _Atomic int known = -1; /* racing threads find the same answer */
	int answer = atomic_load_explicit(&known, memory_order_relaxed);

	if (os_seams.fifo_unreliable)
		return false;
	if (answer < 0) {
		/* Not to be found out now: the careful way, a look every 20 ms, for this caller; the next asks again. */
		answer = fifo_wakes_on_each_write();
		atomic_store_explicit(&known, answer, memory_order_relaxed);
	}
	return answer == 1;
}

/* --- sets ------------------------------------------------------------------------------------------ */

int os_set_new(void)
{
	return fd_or_errno(epoll_create1(EPOLL_CLOEXEC));
}

static int set_control(int set, int operation, int fd, unsigned flags, uint64_t tag)
{
	struct epoll_event event = { .data.u64 = tag };

	if (flags & OS_READ)
		event.events |= EPOLLIN;
	if (flags & OS_WRITE)
		event.events |= EPOLLOUT;
	if (flags & OS_EDGE)
		event.events |= EPOLLET;
	return epoll_ctl(set, operation, fd, &event) < 0 ? -errno : 0;
}

int os_set_add(int set, int fd, unsigned flags, uint64_t tag)
{
	return set_control(set, EPOLL_CTL_ADD, fd, flags, tag);
}

int os_set_change(int set, int fd, unsigned flags, uint64_t tag)
{
	return set_control(set, EPOLL_CTL_MOD, fd, flags, tag);
}

void os_set_remove(int set, int fd)
{
	(void)set_control(set, EPOLL_CTL_DEL, fd, 0, 0);
}

#ifdef SYS_epoll_pwait2
/* -ENOSYS before Linux 5.11 (and where a filter refuses it). */
static int wait_ns(int set, struct epoll_event *events, int max, uint64_t left_ns)
{
	static _Atomic bool missing;
	struct __kernel_timespec timeout = {
		.tv_sec = (int64_t)(left_ns / 1000000000u),
		.tv_nsec = (int64_t)(left_ns % 1000000000u),
	};
	long n;

	if (os_seams.no_epoll_pwait2 || atomic_load_explicit(&missing, memory_order_relaxed))
		return -ENOSYS;
	n = syscall(SYS_epoll_pwait2, set, events, max, &timeout, NULL, 0);
	if (n >= 0)
		return (int)n;
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
	atomic_store_explicit(&missing, true, memory_order_relaxed);
	return -ENOSYS;
}
#else
static int wait_ns(int set, struct epoll_event *events, int max, uint64_t left_ns)
{
	(void)set, (void)events, (void)max, (void)left_ns;
	return -ENOSYS;
}
#endif

/* epoll_wait with an absolute deadline, where need be rounded up to milliseconds. */
static int wait_until(int set, struct epoll_event *events, int max, uint64_t deadline_ns)
{
	int n, ms = 0;

	do {
		uint64_t now = deadline_ns == 0 || deadline_ns == OS_NEVER ? 0 : os_now_ns();
		uint64_t left = deadline_ns > now ? deadline_ns - now : 0;

		if (deadline_ns == OS_NEVER) {
			ms = -1;
		} else if (left > 0) {
			n = wait_ns(set, events, max, left);
			if (n != -ENOSYS)
				return n;
			left = (left + 999999u) / 1000000u;
			ms = left > INT_MAX ? INT_MAX : (int)left; /* 24 days, and then again */
		}
		n = epoll_wait(set, events, max, ms);
	} while (n == 0 && ms == INT_MAX);
	return n >= 0 ? n : -errno;
}

int os_set_wait(int set, uint64_t *tags, unsigned max, uint64_t deadline_ns)
{
	struct epoll_event events[64];
	int n;

	atomic_fetch_add_explicit(&os_counts.waits, 1, memory_order_relaxed);
	n = wait_until(set, events, max < 64 ? (int)max : 64, deadline_ns);
	for (int i = 0; i < n; i++)
		tags[i] = events[i].data.u64;
	return n;
}

int os_timer_new(void)
{
	return fd_or_errno(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

void os_timer_set(int timer, uint64_t ns, uint64_t interval_ns)
{
	struct itimerspec when = {
		.it_value = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) },
		.it_interval = { .tv_sec = (time_t)(interval_ns / 1000000000u),
		                 .tv_nsec = (long)(interval_ns % 1000000000u) },
	};

	timerfd_settime(timer, 0, &when, NULL);
}

void os_timer_clear(int timer)
{
	os_bell_drain(timer);
}

/* --- waiting for a word ----------------------------------------------------------------------------- */

int os_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
	struct timespec until = { .tv_sec = (time_t)(deadline_ns / 1000000000u), .tv_nsec = (long)(deadline_ns % 1000000000u) };

	/* The _BITSET form takes an absolute time. Not private: others have the word in other mappings. */
	if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, deadline_ns == OS_NEVER ? NULL : &until, NULL,
	            FUTEX_BITSET_MATCH_ANY) == 0)
		return 0;
	return errno == ETIMEDOUT ? -ETIMEDOUT : errno == EINTR ? -EINTR : 0;
}

void os_futex_wake(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	(void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* --- memory ---------------------------------------------------------------------------------------- */

int os_memory_new_mapped(const char *label, size_t size, bool seal_writers, void **ret_map)
{
	char link[sizeof("/proc/self/fd/") + 12];
	bool sealed = false;
	void *map = NULL;
	int fd, error;

	fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)size) < 0)
		goto fail;
	if (ret_map) {
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED) {
			map = NULL;
			goto fail;
		}
	}
	if (seal_writers)
		sealed = fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		goto fail;
	if (seal_writers) {
		/* Without the seal (before Linux 5.1) a descriptor for reading must do: the mode lets nobody but this
		 * user open the memory anew. */
		int reader;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		reader = open(link, O_RDONLY | O_CLOEXEC);
		if (reader < 0 && !sealed)
			goto fail;
		if (reader >= 0) {
			close(fd);
			fd = reader;
		}
	}
	if (ret_map)
		*ret_map = map;
	return fd;
fail:
	error = -errno;
	if (map)
		munmap(map, size);
	close(fd);
	return error;
}

int os_memory_new(const char *label, size_t size)
{
	return os_memory_new_mapped(label, size, false, NULL);
}

void *os_map(int fd, size_t size, bool writable, void *at)
{
	int protection = PROT_READ | (writable ? PROT_WRITE : 0);
	void *map, *moved;

	map = mmap(NULL, size, protection, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return NULL;
	if (!at)
		return map;
	/* Map first and move then, so that a failure leaves the old mapping as it was. Threads that touch the
	 * address meanwhile wait for the kernel's lock and find the old page or the new one. */
	moved = mremap(map, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, at);
	if (moved == MAP_FAILED) {
		int error = errno;

		munmap(map, size);
		errno = error;
		return NULL;
	}
	return moved;
}

void *os_map_zero_on_fork(void)
{
	void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	if (madvise(map, 4096, MADV_WIPEONFORK) < 0) {
		int error = errno;

		munmap(map, 4096);
		errno = error;
		return NULL;
	}
	return map;
}

void os_unmap_zero_on_fork(void *map)
{
	if (map)
		munmap(map, 4096);
}

int os_allocate(int fd, size_t size)
{
	int error;

	do
		error = posix_fallocate(fd, 0, (off_t)size);
	while (error == EINTR);
	return -error;
}

void os_random(void *to, size_t size)
{
	unsigned char *at = to;

	while (size > 0) {
		ssize_t n = getrandom(at, size, 0);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			/* Refused by a filter: unique enough for a name, and nothing more is asked of it. */
			for (uint64_t x = os_now_ns() ^ ((uint64_t)getpid() << 40) ^ (uintptr_t)&x; size > 0; size--) {
				x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
				*at++ = (unsigned char)(x >> 56);
			}
			return;
		}
		at += n;
		size -= (size_t)n;
	}
}

/* --- locks ----------------------------------------------------------------------------------------- */

int os_lock(int fd, enum os_lock kind, off_t start, off_t size)
{
	struct flock lock = { .l_whence = SEEK_SET, .l_start = start, .l_len = size };

	lock.l_type = kind == OS_LOCK_NONE ? F_UNLCK : kind == OS_LOCK_SHARED ? F_RDLCK : F_WRLCK;
	while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (errno == EACCES)
			return -EAGAIN;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int os_lock_wait(int fd, enum os_lock kind, off_t start, off_t size)
{
	struct flock lock = { .l_whence = SEEK_SET, .l_start = start, .l_len = size };

	lock.l_type = kind == OS_LOCK_NONE ? F_UNLCK : kind == OS_LOCK_SHARED ? F_RDLCK : F_WRLCK;
	return fcntl(fd, F_OFD_SETLKW, &lock) < 0 ? -errno : 0;
}

int os_lock_look(int fd, off_t start, off_t size)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = size };

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type == F_UNLCK ? OS_LOCK_NONE : lock.l_type == F_RDLCK ? OS_LOCK_SHARED : OS_LOCK_EXCLUSIVE;
}

int os_lock_is_held(int fd, off_t start, off_t size)
{
	int r = os_lock_look(fd, start, size);

	return r < 0 ? r : r != OS_LOCK_NONE;
}

int os_lock_is_exclusive(int fd, off_t start, off_t size)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = size };

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

/* --- sockets --------------------------------------------------------------------------------------- */

int os_socket_new(void)
{
	return fd_or_errno(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

ssize_t os_receive(int socket, struct msghdr *message)
{
	ssize_t n;

	do
		n = recvmsg(socket, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

void os_refuse_descriptors(int socket)
{
	int no = 0;

	(void)setsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no));
}

/* --- processes ------------------------------------------------------------------------------------- */

int os_process_name(pid_t pid, uid_t *ret_uid, char *ret_name, size_t size)
{
	char path[sizeof("/proc//comm") + 12];
	struct stat st;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, ret_name, size - 1);
	if (n < 0 || fstat(fd, &st) < 0)
		n = -errno;
	else
		*ret_uid = st.st_uid;
	close(fd);
	if (n < 0)
		return (int)n;
	while (n > 0 && ret_name[n - 1] == '\n')
		n--;
	ret_name[n] = '\0';
	return 0;
}

int os_process_watch(pid_t pid)
{
#ifdef SYS_pidfd_open
	return pid > 0 ? fd_or_errno((int)syscall(SYS_pidfd_open, pid, 0)) : -ESRCH; /* close-on-exec always */
#else
	(void)pid;
	return -ENOSYS;
#endif
}

/* --- the death word -------------------------------------------------------------------------------- */

int os_death_arm(_Atomic uint32_t *word)
{
	/* The list of one: the kernel walks it when this thread dies, in exit_mm(), which comes before
	 * exit_files() in do_exit(). It finds the word at entry + futex_offset. Replaces glibc's own list of this
	 * thread, which is empty unless the thread uses robust mutexes. */
	static struct {
		struct robust_list_head head;
		struct robust_list entry;
	} list;
	uint32_t tid = (uint32_t)syscall(SYS_gettid);

	list.head.list.next = &list.entry;
	list.entry.next = &list.head.list;
	list.head.futex_offset = (long)((uintptr_t)word - (uintptr_t)&list.entry);
	list.head.list_op_pending = NULL;
	atomic_store(word, tid);
	if (syscall(SYS_set_robust_list, &list.head, sizeof(list.head)) < 0)
		return -errno;
	return 0;
}
