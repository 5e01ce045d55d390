/* SPDX-License-Identifier: MIT */
/*
 * lock_file.h - the file beside a topic's that holds its locks, `.NAME.pathbus-lock`.
 *
 * What excludes is open file description locks on bytes of the file, so the kernel ends them with their holder. What
 * the file contains only says what they mean: who holds a lock, who waits, and whether the last one gave it back. It
 * is read and written by calls and never mapped, since everybody who may write the topic's file may shorten it: then
 * records are missing, which means that nothing is known, and are written anew.
 *
 * Every handle has an open file description of its own, also several in one process: they exclude each other. See the
 * head of lock_file.c for the rules.
 */
#ifndef PATHBUS_LOCK_FILE_H
#define PATHBUS_LOCK_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "key.h"
#include "os/os.h"

#define LOCK_NAME_MAX 255u

enum {
	LOCK_FILE_MEMBER = 0,    /* byte: shared by every handle; exclusive: nobody else has one */
	LOCK_FILE_TABLE = 1,     /* exclusive: gives out names' records */
	LOCK_FILE_SLOT = 4096,   /* + slot: exclusive, its handle's */
	LOCK_FILE_USE = 65536,   /* + record: shared by the handles of this name; exclusive: nobody needs the record */
	LOCK_FILE_NEAR = 131072, /* + record: exclusive, of who keeps the lock near (lock_near.c) */
	LOCK_FILE_N_SLOTS = 1024, /* handles that can be shown as waiting, or as holding a lock shared */
	LOCK_FILE_N_NAMES = 1024, /* in use at a time, or abandoned */
};
/* + 62 bits of the name's hash: the lock itself. Not the number of its record, which who shortens the file could have
 * given to another name. */
#define LOCK_FILE_BYTE (INT64_C(1) << 62)

#define LOCK_FILE_MAGIC "pathbus-lock 1\n" /* and the terminating 0 */
#define LOCK_FILE_MAPPED_AT 16 /* 32 bits: somebody has mapped the file; so nobody else may be let in any more */
#define LOCK_FILE_SLOTS_AT 4096
#define LOCK_FILE_NAMES_AT (LOCK_FILE_SLOTS_AT + LOCK_FILE_N_SLOTS * 64)

/* Who, as they say themselves. */
struct lock_party {
	uint64_t since_ns; /* of the wall clock */
	uint32_t pid, uid;
	char command[16];
};

enum {
	LOCK_SLOT_WAITS = 1,
	LOCK_SLOT_HOLDS = 2,  /* shared: of who holds it alone the name's record tells */
	LOCK_SLOT_SHARED = 4, /* waits for it shared */
};

/* Written by the slot's handle, which holds its byte; by no other. Read for people. */
struct lock_slot {
	uint64_t hash; /* of the lock's name */
	uint32_t flags, reserved;
	struct lock_party party;
	uint8_t reserved2[16];
};
_Static_assert(sizeof(struct lock_slot) == 64, "layout");

enum {
	LOCK_NAME_HELD = 1,      /* alone, by `party`; if nobody holds the lock's byte: it died with it */
	LOCK_NAME_ABANDONED = 2, /* somebody died with it, and nobody has said since that all is well */
};

/* The name is written by who holds LOCK_FILE_TABLE, the rest by who holds the lock alone. */
struct lock_name {
	uint32_t size, flags;
	struct lock_party party; /* who has it, or had it last */
	/* See lock_near.c, and struct lock_near there, which is this in memory. */
	uint64_t near_since;
	uint32_t near_kept, near_wanted;
	uint8_t reserved[8];
	char name[LOCK_NAME_MAX + 1];
	uint8_t reserved2[512 - 64 - LOCK_NAME_MAX - 1];
};
_Static_assert(sizeof(struct lock_name) == 512, "a record lies in one sector");

struct lock_near;

struct lock_file {
	int dir;                         /* the folder; owned */
	int file;                        /* owned; -1: not joined */
	char beside[KEY_NAME_MAX + 1];   /* the topic's file in it */
	char name[KEY_NAME_MAX + 1];     /* and its own */
	char lock[LOCK_NAME_MAX + 1];    /* the lock's name */
	uint32_t lock_size;
	uint64_t hash;
	int record;                      /* of the name */
	int slot;                        /* -1: none yet, or none left */
	bool waits;                      /* its slot says so */
	bool abandoned;                  /* what it has, since it holds the lock alone */
	struct lock_party me;
	struct lock_near *near;          /* its words of the record, mapped; NULL: not */
	void *map;
	size_t map_size;
	bool kept;                       /* it keeps the lock near: holds LOCK_FILE_NEAR + record */
	bool near_held;                  /* and has it */
	unsigned n_undisturbed;          /* times that it has had it, and nobody else in between */
	uint64_t seen_ns;                /* when the file was last seen to be there */
};

#define LOCK_FILE_NONE ((struct lock_file){ .dir = -1, .file = -1, .record = -1, .slot = -1 })

/*
 * Joins the file of this place, and makes it if need be. Waits half a second at most for those who come and go.
 * Returns 0; -EACCES, -EROFS, -EPERM..: it may not be opened or made; -EEXIST: something else has its name; -EBUSY: a
 * process stands still half-way through coming or going; -EUSERS: all records are in use; -ENOSPC, -EMFILE, -errno.
 */
int lock_file_open(const struct place *place, const char *lock, struct lock_file *ret);
/* The same again, after -ESTALE. */
int lock_file_join(struct lock_file *file);
/* Gives everything back. The last one out removes the file, unless a lock in it is abandoned. */
void lock_file_leave(struct lock_file *file);
/* Releases descriptors only: for forked children. */
void lock_file_drop(struct lock_file *file);

/* Tries to take the lock, or (`wait`) sleeps until it can be had, and notes that. Returns 1: abandoned; 0; -EAGAIN; -EINTR;
 * -ESTALE: the file has been removed, or moved, under us, and is left; -errno. */
int lock_file_take(struct lock_file *file, enum os_lock kind, bool wait);
/* Says for people that it waits, until it has taken the lock or says otherwise. */
void lock_file_wait_begins(struct lock_file *file, bool shared);
void lock_file_wait_ends(struct lock_file *file);
/* What was abandoned is well again. */
int lock_file_mend(struct lock_file *file);
/* Gives the lock back; `near`: and keeps it near, if it may. An error: the record could not be written; so the next one may be
 * told that it was abandoned. */
int lock_file_give_back(struct lock_file *file, enum os_lock kind, bool near);

/* --- lock_near.c: under lock_file_take and _give_back --------------------------------------------------------- */

/* Takes it without asking the kernel, if it is kept. */
bool near_take(struct lock_file *file);
/* Gives back what near_take has taken. */
void near_give(struct lock_file *file);
/* With the lock's byte: if another keeps it near (`record`), makes that known to it, and waits until it has given it back.
 * Returns 1: it has died with it; 0; -EAGAIN, -EINTR, -errno. */
int near_settle(struct lock_file *file, const struct lock_name *record, bool wait);
/* Once it is written down what became of that: nobody keeps it near. */
int near_forget(struct lock_file *file);
/* With the lock's byte, which is given back next: keeps it near from now on. */
void near_keep(struct lock_file *file);
/* Keeps it near no more; it does not have it. */
void near_drop(struct lock_file *file);
void near_unmap(struct lock_file *file);

/* --- for lock_near.c and lock_look.c -------------------------------------------------------------------------- */

/* Does the folder still have it under its name? 1, 0, -errno. */
int lock_file_find(const struct lock_file *file);
uint64_t lock_file_hash(const char *lock, size_t size);
/* Is it this lock's, or anybody's, and whole? `lock` NULL: anybody's. */
bool lock_name_is(const struct lock_name *record, const char *lock, size_t size);
/* Reads; what is not there is zero. Returns how much was there, or -errno. */
ssize_t lock_file_read(int file, void *to, size_t size, off_t at);
int lock_file_write(int file, const void *from, size_t size, off_t at);
/* Has somebody died with it, or has it? */
bool lock_name_is_marked(const struct lock_name *record);
/* Is it ours (0), or what is left of one that was shortened, perhaps to nothing (1)? Else -EEXIST. */
int lock_file_check(int file);
uint64_t lock_file_wall_ns(void);

/* --- test seams ----------------------------------------------------------------------------------------------- */

/* Called, if set, at each of these. */
enum lock_step {
	LOCK_STEP_OPENED,   /* has opened a file that was there, and is no member yet */
	LOCK_STEP_PREPARED, /* the new file has no name yet */
	LOCK_STEP_MADE,     /* it has */
	LOCK_STEP_JOINED,   /* is a member */
	LOCK_STEP_TABLE,    /* gives out a record */
	LOCK_STEP_NAMED,    /* has written it */
	LOCK_STEP_TAKEN,    /* has the lock, and has not said so */
	LOCK_STEP_NOTED,    /* has said so */
	LOCK_STEP_FREED,    /* has said that it has it no more, and still has it */
	LOCK_STEP_GIVEN,    /* given back */
	LOCK_STEP_NEAR_TAKEN, /* keeps it near: has said that it has it, and not looked whether it is wanted */
	LOCK_STEP_NEAR_FREED, /* has said that it has it no more, and not looked */
	LOCK_STEP_WANTED,   /* has told who keeps it near */
	LOCK_STEP_LEFT,     /* is no member any more */
	LOCK_STEP_ALONE,    /* nobody else is */
	LOCK_STEP_REMOVED,  /* the name is gone */
	LOCK_N_STEPS
};
extern unsigned near_undisturbed; /* times that a lock is taken before it is kept near */
extern void (*lock_seam)(enum lock_step step);
static inline void lock_file_step(enum lock_step step)
{
	if (__builtin_expect(lock_seam != NULL, 0))
		lock_seam(step);
}

#endif
