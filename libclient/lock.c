/* SPDX-License-Identifier: MIT */
/*
 * lock.c - named locks: taking them, waiting for them, giving them back. The same with and without a daemon: what
 * excludes is in the file beside the topic's (lock_file.c).
 *
 * Who waits without a deadline sleeps in the kernel. Who has one looks again and again, at growing pauses, and is
 * woken in between by who gives a lock of this topic back on the same lane. Everything but opening and closing
 * belongs to whoever uses the lock, on any thread, and takes no lock of the handle's: it may wait for long.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "lock_file.h"

enum { PAUSE_FIRST_MS = 1, PAUSE_LAST_MS = 20 };

struct pathbus_lock {
	struct attachment attachment; /* first */
	struct lock_file file;
	enum os_lock held;
	bool near; /* the last who took it asked to keep it near */
};

/* --- beginning and end ---------------------------------------------------------------------------------------- */

static void give_back(pathbus_lock *lock);

static void end(struct attachment *attachment, bool forked)
{
	pathbus_lock *lock = (pathbus_lock *)attachment;

	if (forked) {
		/* The parent's: the descriptions are shared with it. */
		lock_file_drop(&lock->file);
	} else {
		if (lock->held != OS_LOCK_NONE)
			give_back(lock);
		lock_file_leave(&lock->file);
	}
	free(lock);
}

static const struct attachment_type type = { .end = end };

/* The topic is told by what it was opened as, and its path may lead to another by now. Over the socket that is not known. */
int lock_place(const pathbus_topic *topic, struct place *ret)
{
	struct topic_key key;
	int r = place_resolve(-1, topic->path, ret);

	if (r < 0 || topic->remote)
		return r;
	/* Once; any member can write there. */
	memcpy(&key, topic_is_apart(topic) ? &topic->key : &topic->page->key, sizeof(key));
	if (key.name_size > KEY_NAME_MAX)
		r = -EIO;
	else if (!key_equal(&key, &ret->key))
		r = -ESTALE;
	if (r < 0)
		place_deinit(ret);
	return r;
}

int pathbus_lock_open(pathbus_topic *topic, const char *name, pathbus_lock **ret)
{
	struct place place;
	pathbus_lock *lock;
	int r;

	if (!topic || !name || !ret || name[0] == '\0')
		return -EINVAL;
	if (strlen(name) > LOCK_NAME_MAX)
		return -ENAMETOOLONG;
	if (is_forked(topic->alive))
		return -ECHILD;
	lock = calloc(1, sizeof(*lock));
	if (!lock)
		return -ENOMEM;
	r = lock_place(topic, &place);
	if (r == 0) {
		r = lock_file_open(&place, name, &lock->file);
		place_deinit(&place);
	}
	if (r < 0) {
		free(lock);
		return r;
	}
	pthread_mutex_lock(&topic->bus->lock);
	attachment_add(topic, &lock->attachment, &type);
	handle_unlock(topic->bus);
	*ret = lock;
	return 0;
}

pathbus_lock *pathbus_lock_close(pathbus_lock *lock)
{
	struct pathbus *bus;
	bool forked;

	if (!lock)
		return NULL;
	bus = lock->attachment.topic->bus;
	forked = is_forked(lock->attachment.topic->alive);
	if (!forked) /* in the child another thread's hold on it would never end */
		pthread_mutex_lock(&bus->lock);
	attachment_remove(&lock->attachment);
	if (!forked)
		handle_unlock(bus);
	end(&lock->attachment, forked);
	return NULL;
}

/* --- waiting -------------------------------------------------------------------------------------------------- */

/* Looks at growing pauses. The page stays where it is, also while its lane is exchanged for another: then the next look is
 * what ends the pause. */
static int take_until(pathbus_lock *lock, enum os_lock kind, uint64_t deadline_ns)
{
	struct page *page = lock->attachment.topic->page;
	uint64_t pause_ns = PAUSE_FIRST_MS * UINT64_C(1000000);

	for (;;) {
		uint32_t moved;
		uint64_t now, until;
		int r;

		/* First the word, then the try: who gives it back after the try sees the word (wake). */
		atomic_store(&page->lock_waits, 1);
		moved = atomic_load(&page->lock_moved);
		r = lock_file_take(&lock->file, kind, false);
		if (r != -EAGAIN)
			return r;
		now = os_now_ns();
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		until = deadline_ns - now > pause_ns ? now + pause_ns : deadline_ns;
		if (os_futex_wait(&page->lock_moved, moved, until) == -EINTR)
			return -EINTR;
		pause_ns = 2 * pause_ns < PAUSE_LAST_MS * UINT64_C(1000000) ? 2 * pause_ns : PAUSE_LAST_MS * UINT64_C(1000000);
	}
}

/* After a lock was given back. Those who sleep in the kernel are woken by it. */
static void wake(pathbus_lock *lock)
{
	struct page *page = lock->attachment.topic->page;

	if (__builtin_expect(atomic_load(&page->lock_waits) != 0, 0)) {
		atomic_store(&page->lock_waits, 0); /* before the waking: who goes on waiting sets it again */
		os_futex_wake(&page->lock_moved);
	}
}

static void give_back(pathbus_lock *lock)
{
	enum os_lock held = lock->held;

	lock->held = OS_LOCK_NONE;
	(void)lock_file_give_back(&lock->file, held, lock->near);
	wake(lock);
}

/* --- taking --------------------------------------------------------------------------------------------------- */

/* deadline_ns 0: does not wait. */
static int take_once(pathbus_lock *lock, enum os_lock kind, uint64_t deadline_ns)
{
	int r;

	if (lock->file.file < 0) { /* left, and could not be joined anew */
		r = lock_file_join(&lock->file);
		if (r < 0)
			return r == -ESTALE ? -EIO : r; /* a network's folder that is gone: no use in trying again */
	}
	r = lock_file_take(&lock->file, kind, false);
	if (r == -EAGAIN && deadline_ns != 0) {
		lock_file_wait_begins(&lock->file, kind == OS_LOCK_SHARED);
		if (deadline_ns == UINT64_MAX)
			r = lock_file_take(&lock->file, kind, true);
		else
			r = take_until(lock, kind, deadline_ns);
		if (r < 0)
			lock_file_wait_ends(&lock->file);
	}
	return r;
}

static int take(pathbus_lock *lock, unsigned flags, uint64_t deadline_ns)
{
	enum os_lock kind = flags & PATHBUS_LOCK_SHARED ? OS_LOCK_SHARED : OS_LOCK_EXCLUSIVE;
	int r;

	if (!lock || (flags & ~(PATHBUS_LOCK_SHARED | PATHBUS_LOCK_NEAR)))
		return -EINVAL;
	if (is_forked(lock->attachment.topic->alive))
		return -ECHILD;
	if (lock->held != OS_LOCK_NONE)
		return -EDEADLK;
	do
		r = take_once(lock, kind, deadline_ns);
	while (r == -ESTALE); /* removed by hand: all over again, where others find it */
	if (r < 0)
		return r;
	lock->held = kind;
	lock->near = (flags & PATHBUS_LOCK_NEAR) != 0;
	return r > 0 ? -EOWNERDEAD : 0;
}

int pathbus_lock_acquire(pathbus_lock *lock, unsigned flags, uint64_t deadline_ns)
{
	int r = take(lock, flags, deadline_ns);

	return r == -EAGAIN ? -ETIMEDOUT : r;
}

int pathbus_lock_try(pathbus_lock *lock, unsigned flags)
{
	int r = take(lock, flags, 0);

	return r == -EAGAIN ? -EBUSY : r;
}

static int check_held(const pathbus_lock *lock)
{
	if (!lock)
		return -EINVAL;
	if (is_forked(lock->attachment.topic->alive))
		return -ECHILD;
	return lock->held == OS_LOCK_NONE ? -EPERM : 0;
}

int pathbus_lock_consistent(pathbus_lock *lock)
{
	int r = check_held(lock);

	if (r < 0)
		return r;
	if (lock->held != OS_LOCK_EXCLUSIVE)
		return -EPERM;
	return lock->file.abandoned ? lock_file_mend(&lock->file) : -EINVAL;
}

int pathbus_lock_release(pathbus_lock *lock)
{
	int r = check_held(lock);

	if (r == 0)
		give_back(lock);
	return r;
}
