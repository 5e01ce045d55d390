/* SPDX-License-Identifier: MIT */
/*
 * lock_near.c - a lock that is kept near: who has given it back takes it again by a word in memory, until somebody
 * else wants it.
 *
 * Besides the lock's own byte there is one for who keeps the lock near. Who has the lock's own byte, be it for a
 * moment, may become that, and who finds that somebody else is has to come to terms with it before it has the lock:
 * it sets `wanted` and looks at `since` (near_settle); who keeps the lock near sets `since` and looks at `wanted`
 * (near_take), and gives its byte back when it has seen it. So one of the two sees the other, and none polls. Who
 * only reads and writes the file by calls, root for example, can do its part as well. (tests/model/lock.pml)
 *
 * Only a file that nobody else may open is mapped, and is not opened to others from then on: they could shorten it.
 */
#include "lock_file.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* All sequentially consistent: `since` and `wanted` are a pair of Dekker's. */
struct lock_near {
	_Atomic uint64_t since;  /* of the wall clock: who keeps the lock near has it since then; 0: it has it not. Written by
	                          * it alone; left behind by one that dies with it */
	_Atomic uint32_t kept;   /* 1: somebody does, or did when it died. Changed by who has the lock's byte */
	_Atomic uint32_t wanted; /* 1: others want it. Set and cleared by who has the lock's byte */
};
_Static_assert(offsetof(struct lock_near, since) == 0 && sizeof(struct lock_near) == 16, "layout");
_Static_assert(offsetof(struct lock_name, near_since) % 8 == 0, "layout");
_Static_assert(offsetof(struct lock_name, near_kept) - offsetof(struct lock_name, near_since) ==
               offsetof(struct lock_near, kept), "layout");
_Static_assert(offsetof(struct lock_name, near_wanted) - offsetof(struct lock_name, near_since) ==
               offsetof(struct lock_near, wanted), "layout");

enum {
	GONE_NS = 10000000, /* looks this often whether the file has been removed, or moved */
};

/* Times, before it is kept near: those who take turns would only hinder each other. */
unsigned near_undisturbed = 3;

static off_t near_at(const struct lock_file *file)
{
	return LOCK_FILE_NAMES_AT + (off_t)file->record * (off_t)sizeof(struct lock_name) +
	       (off_t)offsetof(struct lock_name, near_since);
}

static off_t byte_of(const struct lock_file *file)
{
	return LOCK_FILE_NEAR + (off_t)file->record;
}

/* --- who keeps it near ---------------------------------------------------------------------------------------- */

void near_unmap(struct lock_file *file)
{
	if (file->map)
		munmap(file->map, file->map_size);
	file->map = NULL;
	file->near = NULL;
}

/* With the table locked, under which others may be let in. */
static bool may_map(const struct lock_file *file)
{
	uint32_t yes = 1;
	struct stat st;

	/* Where there is a list of access control these bits are its mask. */
	return fstat(file->file, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 077) == 0 &&
	       st.st_size >= near_at(file) + (off_t)sizeof(struct lock_near) && !os_is_remote(file->dir) &&
	       lock_file_write(file->file, &yes, sizeof(yes), LOCK_FILE_MAPPED_AT) == 0;
}

static bool map(struct lock_file *file)
{
	bool may;

	if (file->near)
		return true;
	if (os_lock(file->file, OS_LOCK_EXCLUSIVE, LOCK_FILE_TABLE, 1) < 0)
		return false; /* another time: nobody is waited for here */
	may = may_map(file);
	os_lock(file->file, OS_LOCK_NONE, LOCK_FILE_TABLE, 1);
	if (!may)
		return false;
	file->map_size = (size_t)near_at(file) + sizeof(struct lock_near);
	file->map = os_map(file->file, file->map_size, true, NULL);
	if (file->map)
		file->near = (struct lock_near *)(void *)((char *)file->map + near_at(file));
	return file->map != NULL;
}

void near_keep(struct lock_file *file)
{
	if (file->n_undisturbed < near_undisturbed) {
		file->n_undisturbed++;
		return;
	}
	/* Its byte may still be another's that has not noticed yet that it keeps the lock no more. */
	if (!map(file) || os_lock(file->file, OS_LOCK_EXCLUSIVE, byte_of(file), 1) < 0) {
		file->n_undisturbed = 0;
		return;
	}
	atomic_store(&file->near->since, 0);
	atomic_store(&file->near->wanted, 0);
	atomic_store(&file->near->kept, 1);
	file->kept = true;
	file->seen_ns = lock_file_wall_ns();
}

void near_drop(struct lock_file *file)
{
	if (!file->kept)
		return;
	file->kept = false;
	file->n_undisturbed = 0;
	os_lock(file->file, OS_LOCK_NONE, byte_of(file), 1);
}

static bool is_gone(struct lock_file *file, uint64_t now)
{
	if (now - file->seen_ns < GONE_NS)
		return false;
	file->seen_ns = now;
	return lock_file_find(file) == 0;
}

bool near_take(struct lock_file *file)
{
	uint64_t now = lock_file_wall_ns();

	if (__builtin_expect(is_gone(file, now), 0))
		return false;
	atomic_store(&file->near->since, now);
	lock_file_step(LOCK_STEP_NEAR_TAKEN);
	if (__builtin_expect(atomic_load(&file->near->wanted) == 0, 1)) {
		file->abandoned = false;
		file->near_held = true;
		return true;
	}
	atomic_store(&file->near->since, 0);
	return false;
}

void near_give(struct lock_file *file)
{
	file->near_held = false;
	atomic_store(&file->near->since, 0);
	lock_file_step(LOCK_STEP_NEAR_FREED);
	if (__builtin_expect(atomic_load(&file->near->wanted) != 0, 0))
		near_drop(file);
}

/* --- the others ----------------------------------------------------------------------------------------------- */

static int read_since(const struct lock_file *file, uint64_t *ret)
{
	ssize_t n = lock_file_read(file->file, ret, sizeof(*ret), near_at(file));

	return n < 0 ? (int)n : 0;
}

int near_settle(struct lock_file *file, const struct lock_name *record, bool wait)
{
	static const uint32_t wanted = 1;
	uint64_t since;
	int r;

	if (!record->near_kept)
		return 0;
	r = lock_file_write(file->file, &wanted, sizeof(wanted),
	                    near_at(file) + (off_t)offsetof(struct lock_near, wanted));
	if (r < 0)
		return r;
	/* What the kernel has stored for us comes before what it loads next. */
	atomic_thread_fence(memory_order_seq_cst);
	lock_file_step(LOCK_STEP_WANTED);
	r = read_since(file, &since);
	if (r < 0 || since == 0)
		return r;
	r = wait ? os_lock_wait(file->file, OS_LOCK_EXCLUSIVE, byte_of(file), 1) :
	           os_lock(file->file, OS_LOCK_EXCLUSIVE, byte_of(file), 1);
	if (r < 0)
		return r;
	/* It has given its byte back, or it is dead, and then what it has said stands. */
	r = read_since(file, &since);
	os_lock(file->file, OS_LOCK_NONE, byte_of(file), 1);
	return r < 0 ? r : since != 0;
}

int near_forget(struct lock_file *file)
{
	static const uint32_t no = 0;

	return lock_file_write(file->file, &no, sizeof(no), near_at(file) + (off_t)offsetof(struct lock_near, kept));
}
