/* SPDX-License-Identifier: MIT */
/*
 * darwin.c - bells are FIFOs, sets are kqueues, memory is unlinked POSIX shared memory. Files are in
 * darwin_files.c.
 *
 * Compiled, not run: scripts/check-darwin compiles it with the system's headers. What is said here about the
 * system's behaviour comes from its manual pages.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct os_seams os_seams;
struct os_counts os_counts;

/* There is no way to open these close-on-exec; between the two calls another thread's fork may copy one. */
static int prepared(int fd, bool nonblocking)
{
	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || (nonblocking && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

uint64_t os_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
}

/* --- bells ----------------------------------------------------------------------------------------- */

/* Made in a folder of its own, so that nobody else's name is in the way, and gone before anybody finds it. */
int os_bell_new(void)
{
	char folder[] = "/private/tmp/pathbus.XXXXXX";
	int dir, bell;

	if (!mkdtemp(folder)) /* mode 0700 */
		return -errno;
	dir = os_open_folder(AT_FDCWD, folder, false);
	if (dir < 0) {
		rmdir(folder);
		return dir;
	}
	bell = mkfifoat(dir, "bell", 0600) < 0 ? -errno : os_bell_open(dir, "bell");
	unlinkat(dir, "bell", 0);
	close(dir);
	rmdir(folder);
	return bell;
}

void os_bell_ring(int bell)
{
	char some[512]; /* of the 8 KiB or more that a FIFO holds */

	atomic_fetch_add_explicit(&os_counts.rings, 1, memory_order_relaxed);
	if (os_seams.fifo_unreliable) {
		int bytes = 0;

		if (ioctl(bell, FIONREAD, &bytes) == 0 && bytes > 0)
			return;
	}
	for (;;) {
		if (write(bell, "", 1) >= 0)
			return;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return;
		/* Full. Never emptied: that would cancel wake-ups which others have not collected. */
		if (read(bell, some, sizeof(some)) < 0 && errno != EINTR && errno != EAGAIN)
			return;
	}
}

void os_bell_drain(int bell)
{
	char bytes[4096];
	ssize_t n;

	do
		n = read(bell, bytes, sizeof(bytes));
	while (n == (ssize_t)sizeof(bytes) || (n < 0 && errno == EINTR));
}

/* 1: yes, 0: no, -1: no descriptors left to find out. */
static int fifo_wakes_on_each_write(void)
{
	int bell = os_bell_new(), set = os_set_new(), answer = -1;

	if (bell >= 0 && set >= 0 && os_set_add(set, bell, OS_READ | OS_EDGE, 0) == 0) {
		int n_edges = 0;
		uint64_t tag;

		for (int i = 0; i < 2; i++)
			if (write(bell, "", 1) == 1 && os_set_wait(set, &tag, 1, 0) == 1)
				n_edges++;
		answer = n_edges == 2;
	}
	if (set >= 0)
		close(set);
	if (bell >= 0)
		close(bell);
	return answer;
}

bool os_bell_fifo_reliable(void)
{
	static _Atomic int known = -1; /* racing threads find the same answer */
	int answer = atomic_load_explicit(&known, memory_order_relaxed);

	if (os_seams.fifo_unreliable)
		return false;
	if (answer < 0) {
		answer = fifo_wakes_on_each_write();
		atomic_store_explicit(&known, answer, memory_order_relaxed);
	}
	return answer == 1;
}

/* --- sets ------------------------------------------------------------------------------------------ */

/* A forked child does not inherit kqueues: their numbers are closed in it, and soon somebody else's. */
int os_set_new(void)
{
	return prepared(kqueue(), false);
}

static int set_filter(int set, int fd, int16_t filter, uint16_t flags, uint64_t tag)
{
	struct kevent change;

	EV_SET(&change, (uintptr_t)fd, filter, flags, 0, 0, (void *)(uintptr_t)tag);
	while (kevent(set, &change, 1, NULL, 0, NULL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Reading and writing are two events of one descriptor, which come with the same tag. */
int os_set_add(int set, int fd, unsigned flags, uint64_t tag)
{
	uint16_t how = (uint16_t)(EV_ADD | (flags & OS_EDGE ? EV_CLEAR : 0));
	int r = 0;

	if (flags & OS_READ)
		r = set_filter(set, fd, EVFILT_READ, how, tag);
	if (r == 0 && (flags & OS_WRITE)) {
		r = set_filter(set, fd, EVFILT_WRITE, how, tag);
		if (r < 0)
			os_set_remove(set, fd);
	}
	return r;
}

/* Away and back, so that flags change too and what is ready is an edge again. */
int os_set_change(int set, int fd, unsigned flags, uint64_t tag)
{
	os_set_remove(set, fd);
	return os_set_add(set, fd, flags, tag);
}

void os_set_remove(int set, int fd)
{
	(void)set_filter(set, fd, EVFILT_READ, EV_DELETE, 0);
	(void)set_filter(set, fd, EVFILT_WRITE, EV_DELETE, 0);
}

int os_set_wait(int set, uint64_t *tags, unsigned max, uint64_t deadline_ns)
{
	struct timespec timeout = { 0, 0 };
	struct kevent events[64];
	int n;

	atomic_fetch_add_explicit(&os_counts.waits, 1, memory_order_relaxed);
	if (deadline_ns != 0 && deadline_ns != OS_NEVER) {
		uint64_t now = os_now_ns();

		timeout = to_timespec(deadline_ns > now ? deadline_ns - now : 0);
	}
	n = kevent(set, NULL, 0, events, max < 64 ? (int)max : 64, deadline_ns == OS_NEVER ? NULL : &timeout);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++)
		tags[i] = (uint64_t)(uintptr_t)events[i].udata;
	return n;
}

/* A kqueue with timers in it, which is readable when one has run out. */
int os_timer_new(void)
{
	return os_set_new();
}

enum { TIMER_FIRST = 1, TIMER_REPEATED = 2 };

static void timer_arm(int timer, uintptr_t which, uint16_t flags, uint64_t ns)
{
	struct kevent change;

	EV_SET(&change, which, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	(void)kevent(timer, &change, 1, NULL, 0, NULL);
	if (ns == 0)
		return;
	EV_SET(&change, which, EVFILT_TIMER, flags, NOTE_NSECONDS, ns > INTPTR_MAX ? INTPTR_MAX : (intptr_t)ns, NULL);
	(void)kevent(timer, &change, 1, NULL, 0, NULL);
}

void os_timer_set(int timer, uint64_t ns, uint64_t interval_ns)
{
	timer_arm(timer, TIMER_FIRST, EV_ADD | EV_ONESHOT, ns);
	timer_arm(timer, TIMER_REPEATED, EV_ADD, ns == 0 ? 0 : interval_ns);
}

void os_timer_clear(int timer)
{
	const struct timespec now = { 0, 0 };
	struct kevent events[2];

	(void)kevent(timer, NULL, 0, events, 2, &now);
}

/* --- waiting for a word ----------------------------------------------------------------------------- */

int os_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
	uint64_t now = os_now_ns();

	if (atomic_load(word) != value)
		return 0;
	if (now >= deadline_ns)
		return -ETIMEDOUT;
	return nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL) < 0 ? -EINTR : 0;
}

void os_futex_wake(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
}

/* --- memory ---------------------------------------------------------------------------------------- */

/* Opens new shared memory twice, for writing and for reading only, and takes its name away. */
static int shm_new(int *ret_reader)
{
	for (int i = 0; i < 100; i++) {
		char name[32]; /* PSHMNAMLEN is 31 */
		uint64_t number;
		int fd;

		os_random(&number, sizeof(number));
		snprintf(name, sizeof(name), "/pathbus.%016llx", (unsigned long long)number);
		fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
		if (fd < 0 && errno == EEXIST)
			continue;
		fd = prepared(fd, false);
		if (fd >= 0 && ret_reader)
			*ret_reader = prepared(shm_open(name, O_RDONLY, 0), false);
		if (fd >= 0)
			shm_unlink(name);
		return fd;
	}
	return -EEXIST;
}

/* Shared memory is given its size once: nobody can change it afterwards. */
int os_memory_new_mapped(const char *label, size_t size, bool seal_writers, void **ret_map)
{
	int fd, reader = -1, error;
	void *map = NULL;

	(void)label;
	fd = shm_new(seal_writers ? &reader : NULL);
	if (fd < 0)
		return fd;
	if (seal_writers && reader < 0) {
		close(fd);
		return reader;
	}
	if (ftruncate(fd, (off_t)size) < 0)
		goto fail;
	if (ret_map) {
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			goto fail;
		*ret_map = map;
	}
	if (!seal_writers)
		return fd;
	close(fd);
	return reader;
fail:
	error = -errno;
	close(fd);
	if (reader >= 0)
		close(reader);
	return error;
}

int os_memory_new(const char *label, size_t size)
{
	return os_memory_new_mapped(label, size, false, NULL);
}

void *os_map(int fd, size_t size, bool writable, void *at)
{
	int protection = PROT_READ | (writable ? PROT_WRITE : 0);
	void *map = mmap(NULL, size, protection, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return NULL;
	if (!at)
		return map;
	/* It can be mapped: now where it shall be. There is no call that moves a mapping. */
	munmap(map, size);
	map = mmap(at, size, protection, MAP_SHARED | MAP_FIXED, fd, 0);
	return map == MAP_FAILED ? NULL : map;
}

/*
 * There is no inheritance that zeroes, so a handler does it in the child. Each page ends with the list's links,
 * out of its user's way.
 */
#define ZERO_SIZE 4096

struct zero_page {
	unsigned char bytes[ZERO_SIZE - 2 * sizeof(void *)];
	struct zero_page *next, **back;
};
_Static_assert(sizeof(struct zero_page) == ZERO_SIZE, "the links are the last of the page");

static pthread_mutex_t zero_lock = PTHREAD_MUTEX_INITIALIZER;
static struct zero_page *zero_pages;

static void zero_before_fork(void)
{
	pthread_mutex_lock(&zero_lock);
}

static void zero_in_parent(void)
{
	pthread_mutex_unlock(&zero_lock);
}

static void zero_in_child(void)
{
	for (struct zero_page *page = zero_pages; page; page = page->next)
		memset(page->bytes, 0, sizeof(page->bytes));
	pthread_mutex_unlock(&zero_lock);
}

static void zero_register(void)
{
	(void)pthread_atfork(zero_before_fork, zero_in_parent, zero_in_child);
}

void *os_map_zero_on_fork(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct zero_page *page = mmap(NULL, ZERO_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);

	if (page == MAP_FAILED)
		return NULL;
	pthread_once(&once, zero_register);
	pthread_mutex_lock(&zero_lock);
	page->next = zero_pages;
	page->back = &zero_pages;
	if (page->next)
		page->next->back = &page->next;
	zero_pages = page;
	pthread_mutex_unlock(&zero_lock);
	return page;
}

void os_unmap_zero_on_fork(void *map)
{
	struct zero_page *page = map;

	if (!page)
		return;
	pthread_mutex_lock(&zero_lock);
	*page->back = page->next;
	if (page->next)
		page->next->back = page->back;
	pthread_mutex_unlock(&zero_lock);
	munmap(page, ZERO_SIZE);
}

int os_allocate(int fd, size_t size)
{
	fstore_t store = { .fst_flags = F_ALLOCATEALL, .fst_posmode = F_PEOFPOSMODE, .fst_length = (off_t)size };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size >= (off_t)size)
		return 0;
	store.fst_length -= st.st_size;
	if (fcntl(fd, F_PREALLOCATE, &store) < 0 && errno != ENOTSUP && errno != EINVAL)
		return -errno;
	return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

void os_random(void *to, size_t size)
{
	arc4random_buf(to, size);
}

/* --- locks ----------------------------------------------------------------------------------------- */

int os_lock(int fd, enum os_lock kind, off_t start, off_t size)
{
#ifdef F_OFD_SETLK
	struct flock lock = { .l_whence = SEEK_SET, .l_start = start, .l_len = size };

	lock.l_type = kind == OS_LOCK_NONE ? F_UNLCK : kind == OS_LOCK_SHARED ? F_RDLCK : F_WRLCK;
	while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (errno == EACCES)
			return -EAGAIN;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
#else
	/* The process's own locks would do harm: they are dropped with any descriptor of the file. */
	(void)fd, (void)kind, (void)start, (void)size;
	return -EOPNOTSUPP;
#endif
}

int os_lock_wait(int fd, enum os_lock kind, off_t start, off_t size)
{
#ifdef F_OFD_SETLKW
	struct flock lock = { .l_whence = SEEK_SET, .l_start = start, .l_len = size };

	lock.l_type = kind == OS_LOCK_NONE ? F_UNLCK : kind == OS_LOCK_SHARED ? F_RDLCK : F_WRLCK;
	return fcntl(fd, F_OFD_SETLKW, &lock) < 0 ? -errno : 0;
#else
	(void)fd, (void)kind, (void)start, (void)size;
	return -EOPNOTSUPP;
#endif
}

int os_lock_look(int fd, off_t start, off_t size)
{
#ifdef F_OFD_GETLK
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = size };

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type == F_UNLCK ? OS_LOCK_NONE : lock.l_type == F_RDLCK ? OS_LOCK_SHARED : OS_LOCK_EXCLUSIVE;
#else
	(void)fd, (void)start, (void)size;
	return -EOPNOTSUPP;
#endif
}

int os_lock_is_held(int fd, off_t start, off_t size)
{
	int r = os_lock_look(fd, start, size);

	return r < 0 ? r : r != OS_LOCK_NONE;
}

int os_lock_is_exclusive(int fd, off_t start, off_t size)
{
#ifdef F_OFD_GETLK
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = size };

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
#else
	(void)fd, (void)start, (void)size;
	return -EOPNOTSUPP;
#endif
}

/* --- sockets --------------------------------------------------------------------------------------- */

int os_socket_new(void)
{
	int fd = prepared(socket(AF_UNIX, SOCK_STREAM, 0), true), yes = 1;

	if (fd >= 0) /* there is no MSG_NOSIGNAL */
		(void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &yes, sizeof(yes));
	return fd;
}

ssize_t os_receive(int socket, struct msghdr *message)
{
	ssize_t n;

	do
		n = recvmsg(socket, message, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		int fd;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof(fd) <= c->cmsg_len; at += sizeof(fd)) {
			memcpy(&fd, (unsigned char *)c + at, sizeof(fd));
			(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		}
	}
	return n;
}

void os_refuse_descriptors(int socket)
{
	(void)socket;
}

/* --- processes ------------------------------------------------------------------------------------- */

int os_process_name(pid_t pid, uid_t *ret_uid, char *ret_name, size_t size)
{
	(void)pid, (void)ret_uid, (void)ret_name, (void)size;
	return -ENOENT;
}

int os_process_watch(pid_t pid)
{
	(void)pid;
	return -ENOSYS;
}

/* --- the death word -------------------------------------------------------------------------------- */

int os_death_arm(_Atomic uint32_t *word)
{
	(void)word;
	return -EOPNOTSUPP;
}
