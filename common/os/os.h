/* SPDX-License-Identifier: MIT */
/*
 * os.h - what differs between systems. linux*.c and darwin*.c implement it; nobody else includes their headers.
 *
 * Functions return 0 or a descriptor on success and -errno on failure unless they say otherwise. Every
 * descriptor is close-on-exec, non-blocking where that means something, and owned by the caller.
 */
#ifndef PATHBUS_COMMON_OS_H
#define PATHBUS_COMMON_OS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct msghdr;

#define OS_NEVER UINT64_MAX

/* --- time ------------------------------------------------------------------------------------------ */

uint64_t os_now_ns(void); /* CLOCK_MONOTONIC */

/* --- bells (design 4) ------------------------------------------------------------------------------ */

/* A bell without a name: an eventfd, or an unlinked FIFO. */
int os_bell_new(void);
/* Opens the FIFO `name` in folder `dir` for both directions without blocking, after checking, before the
 * opening, that it is a FIFO of this user with one link and mode 0600. -EEXIST: it is something else; -EPERM:
 * somebody else's. */
int os_bell_open(int dir, const char *name);
/* Writes it: all sets that watch it, edge-triggered, wake. A full bell is never emptied: one page is read
 * back and the write repeated. Cannot fail in a way the caller could act on. */
void os_bell_ring(int bell);
/* Consumes it; only for a bell with a single listener (the carrier's). */
void os_bell_drain(int bell);
/* Do pipes of this kernel wake edge-triggered listeners on each write? Asked once per process with a pipe of
 * its own; false on Linux 5.5 to 5.10.55 and 5.11 to 5.13.7. */
bool os_bell_fifo_reliable(void);

/* --- sets: one descriptor to poll for many --------------------------------------------------------- */

enum { OS_READ = 1, OS_EDGE = 2, OS_WRITE = 4 };

int os_set_new(void);
/* Adds `fd` with a tag that os_set_wait gives back. An edge-triggered descriptor that is readable now counts
 * as an edge. */
int os_set_add(int set, int fd, unsigned flags, uint64_t tag);
/* Changes flags or tag; an edge-triggered descriptor that is readable becomes an edge again. */
int os_set_change(int set, int fd, unsigned flags, uint64_t tag);
void os_set_remove(int set, int fd);
/* Collects up to `max` (at most 64) ready tags. deadline_ns: absolute; 0: only look; OS_NEVER.
 * Returns their number, 0 at the deadline, -EINTR. */
int os_set_wait(int set, uint64_t *tags, unsigned max, uint64_t deadline_ns);

/* A timer to put in a set, readable after it has run out. ns: from now, 0 disarms; interval_ns 0: once. */
int os_timer_new(void);
void os_timer_set(int timer, uint64_t ns, uint64_t interval_ns);
void os_timer_clear(int timer); /* consumes the expiry */

/* --- memory ---------------------------------------------------------------------------------------- */

/* Shared memory without a name, zeroed, of fixed size: a sealed memfd where there is such a thing. */
int os_memory_new(const char *label, size_t size);
/* As os_memory_new, mapped writable at *ret_map; with `seal_writers` the descriptor is for reading only, and
 * nobody else can map it writable from then on (Linux before 5.1, macOS: nobody but this user). */
int os_memory_new_mapped(const char *label, size_t size, bool seal_writers, void **ret_map);
/* Maps `size` bytes shared. `at`: NULL, or the address of an existing mapping to replace in one step.
 * Returns NULL and sets errno on failure (the existing mapping is then untouched). */
void *os_map(int fd, size_t size, bool writable, void *at);
/* A private page that is zero in a forked child, of which the caller may use OS_ZERO_SIZE bytes; NULL and errno on
 * failure. */
#define OS_ZERO_SIZE 2048u
void *os_map_zero_on_fork(void);
void os_unmap_zero_on_fork(void *map); /* NULL is fine; in a forked child too */
/* Allocates, not just sizes: a full disk is -ENOSPC now and not SIGBUS later. */
int os_allocate(int fd, size_t size);
void os_random(void *to, size_t size);

/* --- memory that programs share by name (regions) ------------------------------------------------- */

/* As os_memory_new. `huge`: of huge pages, all of which the system has set aside by then; -EOPNOTSUPP: it has not as
 * many, or none at all. */
int os_shared_new(const char *label, size_t size, bool huge);
/* A huge page's size; 0: there are none. */
size_t os_huge_page_size(void);
/* Would the system use huge pages for ordinary shared memory, if it is asked to? */
bool os_transparent_huge(void);
void os_advise_huge(void *map, size_t size);
/* Another open file description of the same file. The descriptor given stays the caller's. */
int os_reopen(int fd, bool writable);
/* Nobody can make it smaller any more. */
bool os_is_sealed(int fd);
/* The shared memory that another process has at this number, opened anew: one that os_shared_new made, by this user, under
 * this label. It is held by O_PATH and checked before it is opened. -ESTALE: it is something else; -ESRCH, -EACCES. */
int os_shared_of_process(pid_t pid, int number, const char *label);
/* Stores a word in shared memory of either kind, which others may have made holes in. */
int os_shared_store(int fd, off_t at, uint64_t word);
/* Could so many bytes more be had, as far as the system and the limits on this process's group tell? -ENOSPC: no. What
 * takes more than there is would end in processes being killed. */
int os_may_reserve(uint64_t size);

/* --- locks: open file description locks, non-blocking ----------------------------------------------- */

enum os_lock { OS_LOCK_NONE, OS_LOCK_SHARED, OS_LOCK_EXCLUSIVE };

/* -EAGAIN: somebody else holds it. Changing a lock one holds is atomic. */
int os_lock(int fd, enum os_lock kind, off_t start, off_t size);
/* Does somebody else hold one there? 1, 0, -errno. */
int os_lock_is_held(int fd, off_t start, off_t size);
/* Of which kind: OS_LOCK_NONE, _SHARED, _EXCLUSIVE (of several that somebody holds there, one of them), or -errno. */
int os_lock_look(int fd, off_t start, off_t size);
/* As os_lock, but sleeps in the kernel until it can be had. -EINTR: a signal handler has run. */
int os_lock_wait(int fd, enum os_lock kind, off_t start, off_t size);
/* The same, of exclusive ones. */
int os_lock_is_exclusive(int fd, off_t start, off_t size);

/* --- waiting for a word in shared memory --------------------------------------------------------------- */

/* Sleeps while *word is `value`, until os_futex_wake or the deadline (CLOCK_MONOTONIC). Wakes for nothing too. Returns 0,
 * -ETIMEDOUT, -EINTR. Where the system has no such thing it sleeps for a millisecond. */
int os_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
/* Changes *word and wakes all who sleep on it. */
void os_futex_wake(_Atomic uint32_t *word);

/* --- files ----------------------------------------------------------------------------------------- */

/* Makes the number `to`, which is open, a copy of `fd`, in one step. `fd` stays open. */
int os_replace(int fd, int to);
/* openat with O_PATH | O_CLOEXEC (macOS: O_SYMLINK | O_EVTONLY). */
int os_open_path(int dir, const char *name, bool follow);
/* The same for a folder, which needs no right but that to pass through; to be used as the `dir` of others. */
int os_open_folder(int dir, const char *path, bool follow);
/* The same, following links, but none of those in /proc that lead to what a process has (-ELOOP), where the system can
 * tell them from others (Linux 5.6). */
int os_open_folder_plainly(int dir, const char *path);
/* openat2 of a folder with RESOLVE_IN_ROOT, which follows none of those either (-EXDEV); -ENOSYS where there is no such call. */
int os_open_in_root(int root, const char *path);
/* Opens the regular file `name` in `dir` read-write after checking, before the opening, that it is a regular
 * file of this user with one link and mode 0600. -EEXIST: it is something else; -EPERM: somebody else's. */
int os_open_own_file(int dir, const char *name);
/*
 * A file beside another, `model` (in `dir` too; "": the folder itself), for all who may write that one, and for
 * nobody else: its group, mode bits and list of access control say so. Of a model that is not there its folder
 * decides.
 *
 * os_open_beside opens one, after checking, before the opening, that it is a regular file with one link, and in a
 * folder in which not everybody may take away (sticky) that it is root's, this user's, or the model's or the folder's
 * owner's. os_make_beside makes one, for reading and writing: it is `prepare`d (not 0: fails with that) before others
 * see it, where the file system can do that. os_share_beside gives one that was made long ago the rights of today;
 * only its owner can. Returns a descriptor, 0; -EEXIST: something else is there; -EPERM: somebody's who has no
 * business there; -errno.
 */
int os_open_beside(int dir, const char *name, const char *model, bool writable);
int os_make_beside(int dir, const char *name, const char *model, int (*prepare)(int fd, void *arg), void *arg);
int os_share_beside(int fd, int dir, const char *model);
/* A regular file in `dir`, mode 0600, without a name; os_link_new gives it one, unless there is such a file: -EEXIST. */
int os_make_unnamed(int dir);
int os_link_new(int fd, int dir, const char *name);
/*
 * `name` ("": the folder itself) in `dir`, no link followed, never opened: what it is, and what open(2) would let the effective
 * user do. Devices of a mount without any: nothing. Append-only files may be written, and programs that run: that is a passing
 * state. 0, -ENOENT, -EACCES (the folder may not be searched)...
 */
struct os_found {
	struct stat st;
	bool read, write;
	bool search;    /* a folder's */
	bool read_only; /* the file system is; `write` then says what its mode bits do */
};
int os_find(int dir, const char *name, struct os_found *ret);
/* Would the kernel follow the link `name` in `dir`, as the last one of a path? 0; -EACCES: somebody else's in a folder of all;
 * -ELOOP: a mount that has no links; -ENOENT: it is none any more. */
int os_may_follow(int dir, const char *name);
/* Are these the same folder of the same mount? False where the system cannot tell. */
bool os_is_same_place(int a, int b);
/* Does it lie in /proc, whose links mean the process that looks at them? */
bool os_is_of_processes(int dir);
/* The path of a descriptor, as seen from the process's root. -ENOENT: removed; -EINVAL: has none. */
int os_path_of(int fd, char *ret, size_t size);
/* Renames a folder without replacing anything but an empty one. -EEXIST: something is in the way. */
int os_rename_new(int dir, const char *from, const char *to);
/* Is the file system shared between hosts (NFS, SMB, 9p, FUSE)? */
bool os_is_remote(int dir);
/* Where lanes live whose folder takes no sidecar: /dev/shm on Linux. Constant, never from the environment. */
const char *os_runtime_root(void);
/* The folder below which pathbusd's own socket folder of this user lies: /run/user/UID. */
int os_user_runtime_root(uid_t uid, char *ret, size_t size);

/* --- watching a folder for names that appear ------------------------------------------------------- */

/* A descriptor to put in a set. */
int os_watch_new(void);
/* Watches the folder behind `dir` for entries created or moved in; returns an id > 0, the same for the same
 * folder. */
int os_watch_add(int watch, int dir);
/* The same for entries that are removed, too, and for the folder's own end: events of no name, or of any. */
int os_watch_add_removals(int watch, int dir);
/* On Linux its id is given to another folder only after all others have been (2^31). */
void os_watch_remove(int watch, int id);
/* Calls `fn` with the id of every watch that there is. 0, -errno: some may be missing; -EOPNOTSUPP: this system does not tell. */
int os_watch_each(int watch, void (*fn)(void *arg, int id), void *arg);
/* Takes one event; returns 1, 0 (none), -errno. name NULL: anything may have appeared (overflow, or the
 * system does not name it); id 0: in any folder; `gone`: the watch has ended. `name` is valid until the
 * next call with this buffer. */
struct os_watch_event { int id; const char *name; bool gone; };
struct os_watch_buffer { size_t used, at; _Alignas(8) char bytes[4096]; };
int os_watch_next(int watch, struct os_watch_buffer *buffer, struct os_watch_event *ret);
/* Are there events that no buffer has had yet? True where that cannot be told. */
bool os_watch_has_next(int watch);

/* --- sockets --------------------------------------------------------------------------------------- */

/* AF_UNIX stream, non-blocking, close-on-exec. */
int os_socket_new(void);
/* Who is at the other end. pid 0 where not known. 0, -errno. */
struct os_peer { pid_t pid; uid_t uid; gid_t gid; };
int os_peer_credentials(int socket, struct os_peer *ret);
/* Is it one user's number? In a user namespace that has not all users the kernel gives one number to all others: then nobody is
 * known by that. */
bool os_is_one_user(uid_t uid);
/* That one's supplementary groups, as it connected; *ret is to be freed. -EOPNOTSUPP, -ENOMEM. */
int os_peer_groups(int socket, gid_t **ret, unsigned *ret_n);
/* As os_process_watch, of the very process that connected: its number may be another's by now. -ESRCH: it has ended;
 * -EOPNOTSUPP: the system (Linux before 6.5) cannot tell. */
int os_peer_watch(int socket);
/* A connected pair of SOCK_STREAM or SOCK_SEQPACKET, close-on-exec and blocking. 0, -errno. */
int os_socket_pair(int type, int ret[2]);
/* One of such a type that is not connected yet; non-blocking. */
int os_socket_of(int type);
/* Binds it, or connects it, to the name in the folder `dir`, however long the folder's path is. os_socket_connect: `name` NULL:
 * `dir` is a descriptor (os_open_path) of the socket's file itself. 0, -errno; -EOPNOTSUPP where there is no such way. */
int os_socket_bind(int socket, int dir, const char *name);
int os_socket_connect(int socket, int dir, const char *name);
/* Gives it an address that no other has and no folder shows, which the other side sees: os_socket_accept tells. */
int os_socket_mark(int socket);
/* A new connection, close-on-exec and blocking; -EAGAIN: there is none. */
int os_socket_accept(int listener, bool *ret_marked);
/* recvmsg without waiting; descriptors that come are close-on-exec. Returns the number of bytes, -errno. */
ssize_t os_receive(int socket, struct msghdr *message);
/* How much of what was sent by it the other side has not taken: 0 is exact. -errno. */
int os_unread(int socket);
/* Refuse descriptors at the socket where the kernel can (SO_PASSRIGHTS, Linux 6.16). */
void os_refuse_descriptors(int socket);

/* --- processes ---------------------------------------------------------------------------------------- */

/* The process's effective user, and the name of its program as the system has it. -ENOENT: there is no such process. */
int os_process_name(pid_t pid, uid_t *ret_uid, char *ret_name, size_t size);

/* A descriptor that is readable once the process has ended, with all of its threads. -ESRCH: it has; -ENOSYS, -EMFILE... */
int os_process_watch(pid_t pid);

/* --- the death word (design 7.1) ------------------------------------------------------------------- */

#define OS_DEAD 0x40000000u /* FUTEX_OWNER_DIED */
/* Has the kernel mark *word with OS_DEAD when the calling thread dies, before its descriptors are closed.
 * -EOPNOTSUPP: the caller must mark it and clients watch their socket. */
int os_death_arm(_Atomic uint32_t *word);

/* --- test seams ------------------------------------------------------------------------------------ */

/* Test programs, which link the static library, set these; nothing else does. */
extern struct os_seams {
	bool fifo_unreliable; /* behave like the kernels of os_bell_fifo_reliable: a FIFO wakes only when empty */
	bool no_epoll_pwait2; /* take the millisecond path */
	bool no_inotify;      /* os_watch_new fails with -EMFILE */
} os_seams;

/* Counts that tests read (own process only; relaxed). */
extern struct os_counts {
	_Atomic uint64_t arms; /* lane_arm */
	_Atomic uint64_t rings;
	_Atomic uint64_t waits;
} os_counts;

#endif
