/* SPDX-License-Identifier: MIT */
/*
 * pathbus.h - a notification bus whose topics are file paths.
 *
 * Open the same file, and you are on the same channel: one pathbus_post() wakes every process that has the
 * topic open. With a daemon (pathbusd) the channel is the daemon's; without one the library meets the other
 * processes in a hidden folder beside the file. Programs do not see the difference, except by asking
 * pathbus_transport().
 *
 * What you can rely on
 *
 *  1. No lost wake-up. Once pathbus_post() has returned 0, every live subscriber of that topic becomes
 *     readable and sees it, whatever dies, starts, stops or restarts meanwhile, the daemon included.
 *     Spurious wake-ups are allowed; missing ones are bugs. Three limits, all without a daemon to speak of:
 *     a sidecar that another process makes after the poster has opened, a daemon that dies for good in the
 *     same moment, and a poster that never calls the library again.
 *  2. No silent loss. For messages, delivered + reported missed = published. What may have been missed and cannot be
 *     counted is reported: PATHBUS_EVENT_RESYNC says "look again".
 *  3. Nobody waits for a listener. A slow, stopped or dead subscriber never blocks or slows a poster, and
 *     costs bounded memory.
 *  4. Order. One poster's posts and messages arrive in the order it made them. Nothing is promised between posters.
 *     One exception: where posts that are not told, own ones or hidden ones, lie on both sides of a message, or were
 *     made by several threads, a post before that message may be told after it.
 *  5. The file is never touched. It is identified by stat and O_PATH only, never opened and closed the
 *     ordinary way, so POSIX locks that this process holds on it (SQLite's, for example) survive.
 *  6. A good guest in the process. No threads, no signal handlers, no stdout or stderr, no abort, no change
 *     of process-wide state. All descriptors are close-on-exec. A handle is dead after fork() in the child:
 *     calls return -ECHILD, and freeing it is safe.
 *  7. One pollable descriptor. pathbus_fd() is readable while anything is undelivered and until
 *     pathbus_next() has returned 0, however many events a program takes per wake-up; so it works in any
 *     event loop, level-triggered ones included.
 *  8. Rights follow the file. Who may read it may subscribe; who may write it may post, as the kernel would
 *     decide for this user at the moment of opening. For a file that does not exist yet its folder decides: who may
 *     list and search it may subscribe, who may make the file may post; a folder is written by who may make files in
 *     it. With a daemon this is decided anew when the file appears or becomes another inode: who loses a right is told
 *     by PATHBUS_EVENT_ERROR with -EACCES (who only posts: once it posts), and has it again, at growing pauses, when
 *     a later file allows it.
 *  9. Users never share memory unasked.
 * 10. Idle is free. No timers, no polling, no wake-ups while nothing happens. Exceptions, which end by
 *     themselves: waiting for a daemon's answer; retries where the folder of the daemon's socket cannot be
 *     watched; waiting with a deadline for a lock, or for the readers of a double region, which looks every 1 to
 *     20 ms; and a look every 20 ms on kernels whose pipes wake edge-triggered readers only when they were empty
 *     (Linux 5.5 to 5.10.55, 5.11 to 5.13.7).
 *
 * Conventions. Functions return 0 or a positive count on success and a negative errno otherwise; a
 * pathbus_*  out-parameter is untouched on failure. Destructors accept NULL and return NULL. A `pathbus` and
 * its topics are used by one thread at a time, except that pathbus_post, pathbus_publish, pathbus_publish_keyed,
 * pathbus_check, pathbus_get_state, pathbus_set_state, pathbus_exchange_state and pathbus_transport may be called from
 * any thread while the topic is open, and that a pathbus_lock may be taken and given back on a thread of its own. After
 * fork() every call on an inherited handle returns -ECHILD. Times are CLOCK_MONOTONIC nanoseconds.
 */
#ifndef PATHBUS_H
#define PATHBUS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PATHBUS_PUBLIC __attribute__((visibility("default")))
#else
#define PATHBUS_PUBLIC
#endif

#define PATHBUS_VERSION_MAJOR 0
#define PATHBUS_VERSION_MINOR 1
#define PATHBUS_VERSION_PATCH 0

/* One per program or thread: a connection, and the descriptor to poll. */
typedef struct pathbus pathbus;
/* One open topic: a member of the channel of one file. */
typedef struct pathbus_topic pathbus_topic;
/* What programs share under a topic; each goes with the topic's pathbus_close. */
typedef struct pathbus_region pathbus_region;     /* named memory */
typedef struct pathbus_lock pathbus_lock;         /* a named lock */
typedef struct pathbus_endpoint pathbus_endpoint; /* a named place to connect to */

enum pathbus_transport_kind {
	PATHBUS_AUTO = 0, /* the daemon if it answers, else peer to peer */
	PATHBUS_BUS = 1,  /* the daemon only: -ENOTCONN where it does not answer */
	PATHBUS_PEER = 2, /* never the daemon */
	PATHBUS_SOCKET = 3, /* the daemon only, and everything over its socket: no shared memory, for programs whose
	                     * system does not let them have any. Slower; -ENOTCONN where it does not answer. Posts,
	                     * messages, state and sync are questions to the daemon: their calls block until it has
	                     * answered, for at most the timeout */
};

/* Every field at zero is the default; set `size` to sizeof(struct pathbus_options). */
struct pathbus_options {
	size_t size;
	/* The daemon's socket. NULL: $PATHBUS_ADDRESS if set (ignored in set-uid programs), else the system's
	 * socket, else the user's own. Not kept: copied by pathbus_new. */
	const char *address;
	enum pathbus_transport_kind transport;
	/* Milliseconds to wait for the daemon's answers before treating it as absent; 0: 250. */
	unsigned timeout_ms;
};

enum pathbus_event_kind {
	PATHBUS_EVENT_POST = 1,    /* somebody posted; `count` posts are merged into this event */
	PATHBUS_EVENT_MESSAGE = 2, /* a message: `data`, `key` and its sender */
	PATHBUS_EVENT_GAP = 3,     /* exactly `count` messages were missed */
	PATHBUS_EVENT_RESYNC = 4,  /* something may have been missed: look at the file again */
	PATHBUS_EVENT_ERROR = 5,   /* the topic lost its channel and could not join another: see `error`; -EACCES: it lost a right
	                            * (what it may still do, it goes on with) */
	PATHBUS_EVENT_REGION = 6,  /* `region` has a newer `version`; `count` of them since the last such event */
	PATHBUS_EVENT_REGION_REPLACED = 7, /* there is another memory under the name of `region`, which stays as it is */
	PATHBUS_EVENT_CONNECTION = 8, /* somebody has connected to `endpoint`: `fd`, `pid`, `uid`, `gid` */
	PATHBUS_EVENT_UNLISTENED = 9, /* `endpoint` is not reached any more: see `error` */
};

/* Filled by pathbus_next. Set `size` to sizeof(struct pathbus_event) before the first call. `data` and `key` are the
 * library's, and valid until the next pathbus_next, or until the topic or the handle is closed. */
struct pathbus_event {
	size_t size;
	enum pathbus_event_kind kind;
	int error;              /* PATHBUS_EVENT_ERROR: a negative errno; else 0 */
	pathbus_topic *topic;   /* whose event */
	void *userdata;         /* what pathbus_set_userdata was given */
	uint64_t generation;    /* where the topic stood: a cursor for pathbus_check and pathbus_wait. Never falls; how much
	                         * it grows by a change is not specified */
	uint64_t count;         /* posts merged into it; messages missed; MESSAGE: 1, or with PATHBUS_NEWEST 1 and those
	                         * of the same key that it replaces */
	const void *data;       /* MESSAGE; never NULL then, and not terminated */
	size_t data_size;
	const void *key;        /* MESSAGE with a key; else NULL */
	size_t key_size;
	pid_t pid;              /* MESSAGE: its sender's process; 0: not known */
	uid_t uid;              /* MESSAGE: its sender's user; (uid_t)-1: not known */
	uint64_t origin;        /* MESSAGE: the random id of the open topic it was published on (pathbus_origin); else 0 */
	uint64_t time_ns;       /* MESSAGE: when it was published, CLOCK_MONOTONIC; else 0 */
	uint64_t wall_ns;       /* with PATHBUS_WALL_CLOCK the same, in nanoseconds since 1970 (UTC); else 0 */
	pathbus_region *region; /* REGION, REGION_REPLACED */
	uint64_t version;       /* REGION */
	pathbus_endpoint *endpoint; /* CONNECTION, UNLISTENED */
	int fd;                 /* CONNECTION: this side's end, a connected socket, close-on-exec and blocking; the program's from
	                         * now on. Else -1 */
	gid_t gid;              /* CONNECTION: the group that `pid` and `uid` have as well; else (gid_t)-1 */
};

/* Flags of pathbus_open. Neither SUBSCRIBE nor POST: subscribe, and post if the file's rights allow it. */
#define PATHBUS_SUBSCRIBE (1u << 0) /* fail with -EACCES if the file may not be read */
#define PATHBUS_POST (1u << 1)      /* fail with -EACCES if the file may not be written. Without SUBSCRIBE: only to post,
                                     * which who never reads should say: others' pathbus_sync waits for all others */
#define PATHBUS_ECHO (1u << 2)      /* hear one's own posts and messages too */
#define PATHBUS_NEWEST (1u << 3)    /* who is behind gets of each key only the newest message */
#define PATHBUS_HIDE_PROCESS (1u << 4) /* hide what other handles of this process post and publish */
#define PATHBUS_WALL_CLOCK (1u << 5)   /* fill event.wall_ns */
#define PATHBUS_STATE_POSTS (1u << 6)  /* setting and exchanging the state also posts */
#define PATHBUS_LOCKS_ONLY (1u << 7)   /* alone: join no channel. For locks, and nothing else: needs no daemon, makes no
                                        * sidecar, and minds nobody else's. There are no events, posting is -EACCES, and regions,
                                        * endpoints and lists of members are -EOPNOTSUPP */

/* Every field at zero is the default; set `size` to sizeof(struct pathbus_topic_options). */
struct pathbus_topic_options {
	size_t size;
	/* Messages that the topic keeps for subscribers that are behind: at most 65536; 0: 256. Rounded up to a power of two,
	 * and to 8. A rate that must not lose needs about rate x 16 ms of them. Whoever is first on a topic decides; for
	 * those who come later it is what it is (pathbus_get_limits). A daemon may be configured to give more, or to refuse more
	 * than some number. */
	unsigned ring_slots;
	/* Bytes of the largest message, without its key: at most 65536, and what the daemon allows (its --max-message); less
	 * than 128 is 128; 0: 4096, or what the daemon allows. Decided as above. ring_slots, rounded up, times this is at
	 * most 1 GiB; memory is taken as it is used. */
	unsigned max_message;
	/* Deliver up to so many of the messages that were published before this opening, as far as they are kept. */
	unsigned last;
};

struct pathbus_transport {
	size_t size;                      /* set by the caller to sizeof(struct pathbus_transport) */
	enum pathbus_transport_kind kind; /* PATHBUS_BUS, PATHBUS_PEER or PATHBUS_SOCKET; PATHBUS_AUTO: none at the moment */
	int local_only;                   /* 1: reaches this host only, though the file system spans hosts */
	int in_runtime_folder;            /* 1: peer to peer in /dev/shm, since the file's folder takes no sidecar */
	uint64_t since_ns;                /* when the topic joined it */
	char why[128];                    /* one English sentence for people */
};

/**
 * pathbus_new: makes a handle and, unless the transport is PATHBUS_PEER, connects to the daemon.
 *
 * Blocks for at most options->timeout_ms, and only if a daemon accepts but does not answer. With
 * PATHBUS_AUTO an absent daemon is no error.
 *
 * @ret      receives the handle; pathbus_free releases it
 * @options  NULL: defaults
 * Returns 0, or
 *   -EINVAL    options->size is unknown, the transport is none of the four, the address is too long
 *   -ENOTCONN  PATHBUS_BUS or PATHBUS_SOCKET and no daemon answers
 *   -EPERM     the same and the server is neither root's nor this user's, nor, at the system's place, that of whom root
 *              has given its folder to
 *   -EPROTO    the same and the server speaks another protocol
 *   -EMFILE, -ENFILE, -ENOMEM
 */
PATHBUS_PUBLIC int pathbus_new(pathbus **ret, const struct pathbus_options *options);

/**
 * pathbus_free: closes all topics and the handle. No events follow. In a forked child it only releases the
 * child's own copies. Does not block. Returns NULL.
 */
PATHBUS_PUBLIC pathbus *pathbus_free(pathbus *bus);

/**
 * pathbus_fd: the descriptor to poll for reading (poll, select, epoll, kqueue; level- or edge-triggered).
 * It stays the handle's: never read, close or change it. Constant for the handle's life.
 * Returns it, or -ECHILD, -EINVAL (NULL). The first call, or pathbus_next before it, starts listening, which
 * programs that only wait or check are spared; it may return -ENOMEM or -ENOSPC (fs.epoll.max_user_watches).
 */
PATHBUS_PUBLIC int pathbus_fd(const pathbus *bus);

/**
 * pathbus_next: takes one event. Never waits for another process; after a burst it gives way and looks once more, for some
 * microseconds, before it returns 0.
 *
 * Call it until it returns 0, or, in level-triggered loops, once per wake-up: the descriptor stays readable in
 * between. Topics are served in turn. The first event after opening is not owed: who opens reads the file once itself, and hears
 * of every post that returns after pathbus_open has.
 *
 * @event  event->size set by the caller; overwritten only when 1 is returned
 * Returns 1 (an event), 0 (none), or
 *   -EINVAL  event->size is unknown      -ECHILD  in a forked child
 *   -ENOMEM, -ENOSPC  before pathbus_fd was called: as there
 */
PATHBUS_PUBLIC int pathbus_next(pathbus *bus, struct pathbus_event *event);

/**
 * pathbus_open: opens the topic of a path. The file need not exist; its folder must.
 *
 * The path is made absolute and its symbolic links are resolved, the last one too. A folder may be a topic.
 * Blocks for at most the timeout waiting for a daemon, and for the file system of the path.
 *
 * @path   any bytes but NUL; at most PATH_MAX
 * @flags  any of the flags above; 0: none
 * @ret    receives the topic; it belongs to `bus`; pathbus_close releases it
 * Returns 0, or
 *   -EINVAL        an unknown flag, PATHBUS_LOCKS_ONLY with others, an empty path
 *   -ENOENT        the folder does not exist            -ENOTDIR  a part of the path is no folder
 *   -ELOOP         too many symbolic links              -ENAMETOOLONG
 *   -EACCES        the folder may not be searched, the file may not be read, or PATHBUS_POST without the right
 *   -EPERM         peer to peer, and the sidecar belongs to another user: run pathbusd
 *   -EPROTONOSUPPORT  peer to peer, and the sidecar is in use by another, incompatible version
 *   -ENOTCONN      PATHBUS_BUS or PATHBUS_SOCKET and the daemon is away
 *   -ETIMEDOUT     the file system of the path does not answer the daemon
 *   -EROFS         peer to peer: a sidecar exists but is on a read-only mount
 *   -EEXIST        peer to peer: something that is no sidecar has its name
 *   -EBUSY         peer to peer: another process holds the sidecar half-way through leaving
 *   -EIO           the shared memory is damaged, or a helper of the daemon failed
 *   -EDQUOT        the user has as much of something as the daemon allows a user (its log says of what)
 *   -EPROTO        what the daemon or the sidecar has is no lane of this library's
 *   -EMFILE, -ENFILE, -ENOMEM, -ENOSPC
 */
PATHBUS_PUBLIC int pathbus_open(pathbus *bus, const char *path, unsigned flags, pathbus_topic **ret);

/**
 * pathbus_open_fd: the same for the file that a descriptor refers to (O_PATH will do). The descriptor stays
 * the caller's. The topic is that of the name the file has now.
 * Returns as pathbus_open, and -EBADF (not open), -ENOENT (the file has been removed), -EINVAL (no path: a
 * pipe, a socket, a memfd).
 */
PATHBUS_PUBLIC int pathbus_open_fd(pathbus *bus, int fd, unsigned flags, pathbus_topic **ret);

/**
 * pathbus_open_with: pathbus_open with options. @options: NULL: defaults; not kept.
 * Returns as pathbus_open, and
 *   -EINVAL    options->size is unknown, or a value is more than may be asked for
 *   -EMSGSIZE  a larger message, or a ring of more messages, than the daemon allows for this file
 */
PATHBUS_PUBLIC int pathbus_open_with(pathbus *bus, const char *path, unsigned flags,
                                     const struct pathbus_topic_options *options, pathbus_topic **ret);

/** pathbus_close: leaves the topic. No events of it follow. Does not block. Returns NULL. */
PATHBUS_PUBLIC pathbus_topic *pathbus_close(pathbus_topic *topic);

/** pathbus_set_userdata: the pointer that events of this topic carry. The library never looks at it. */
PATHBUS_PUBLIC void pathbus_set_userdata(pathbus_topic *topic, void *userdata);

/**
 * pathbus_post: says "something changed" to every other member of the topic. Any thread.
 *
 * Posts merge: a subscriber that is behind gets one event for many. Commit your change before you post.
 * No system call when nobody waits. Does not block, except after the daemon's death: then it joins anew
 * first, which may take up to the timeout. With PATHBUS_SOCKET it asks the daemon and waits for the answer, always.
 *
 * Returns 0, or
 *   -EACCES  the file's rights do not allow it
 *   -ECHILD  in a forked child
 *   -EINVAL  topic is NULL
 *   -ETIMEDOUT, -ENOTCONN, -ENOMEM  PATHBUS_SOCKET: the daemon did not answer, or is away; no memory for the question
 *   otherwise, when the channel was lost and no other could be joined, an error of pathbus_open. The post is
 *   then not guaranteed to have been seen: post again.
 */
PATHBUS_PUBLIC int pathbus_post(pathbus_topic *topic);

/**
 * pathbus_publish: sends a message to every other member of the topic: a post that carries bytes. Any thread.
 *
 * Each subscriber gets it as an event of its own, or is told by a GAP that it has missed it, because it was too far
 * behind. Never waits for a subscriber. No system call when nobody sleeps (peer to peer the first message, and the
 * first that is larger than 72 bytes with its key, reserve their space on the disk). With PATHBUS_SOCKET it asks the
 * daemon and waits for the answer, as pathbus_post does; after an error of that kind it may be published all the same.
 *
 * @data, size  any bytes; `data` may be NULL if size is 0. Copied.
 * Returns 0, or as pathbus_post, and
 *   -EMSGSIZE  larger than the topic's limit (pathbus_get_limits), or the key larger than 255 bytes
 *   -EINVAL    data or key is NULL and its size is not 0
 *   -ENOSPC    peer to peer: no space left for the ring
 *   -ENOBUFS   every place of the ring is held by a process that was stopped while it published
 *   -EIO       the shared memory is damaged
 */
PATHBUS_PUBLIC int pathbus_publish(pathbus_topic *topic, const void *data, size_t size);

/**
 * pathbus_publish_keyed: the same with a key of up to 255 bytes, by which messages replace each other for subscribers
 * that opened with PATHBUS_NEWEST and are behind. A key_size of 0: no key.
 */
PATHBUS_PUBLIC int pathbus_publish_keyed(pathbus_topic *topic, const void *key, size_t key_size, const void *data,
                                         size_t size);

/** pathbus_origin: the random id that this open topic's messages carry; never 0. 0: topic is NULL. */
PATHBUS_PUBLIC uint64_t pathbus_origin(const pathbus_topic *topic);

/**
 * pathbus_hide: no more events for what the open topic with this id posts and publishes (pathbus_origin, or the origin
 * of an event). For pathbus_next only: pathbus_check and pathbus_wait count it as before. Posts are not hidden with
 * PATHBUS_SOCKET, where a post does not say whose it is, nor are those of members beyond the first 240 of a topic, of
 * which nobody counts them. Messages that were missed before they were looked at are counted in GAPs, hidden or not. Of
 * a member that is killed in the middle of a post one post may show; while a thread of it stands still there for more
 * than 100 ms, several. Belongs to the handle's thread.
 * Returns 0, or -EINVAL (topic is NULL or origin 0), -ENOMEM, -ECHILD, -ENOBUFS (more than 64).
 */
PATHBUS_PUBLIC int pathbus_hide(pathbus_topic *topic, uint64_t origin);

/** pathbus_hide_process: the same for all handles of a process. PATHBUS_HIDE_PROCESS is this for one's own. */
PATHBUS_PUBLIC int pathbus_hide_process(pathbus_topic *topic, pid_t pid);

/* What the topic was made with; set `size` to sizeof(struct pathbus_limits). */
struct pathbus_limits {
	size_t size;
	unsigned ring_slots, max_message;
};

/** pathbus_get_limits: of the channel that the topic is on now. Returns 0, or -EINVAL, -ECHILD. */
PATHBUS_PUBLIC int pathbus_get_limits(const pathbus_topic *topic, struct pathbus_limits *ret);

/**
 * pathbus_get_state: the 64-bit value that is kept with the topic as long as it has a member. Any thread; no system call
 * (PATHBUS_SOCKET: asks the daemon). A topic whose state was never set has value 0 and version 0.
 *
 * @ret_value    receives the value
 * @ret_version  NULL, or receives its version, which grows with each change
 * Returns 0, or -EINVAL, -ECHILD; with PATHBUS_SOCKET also -ENOTCONN, -ETIMEDOUT.
 */
PATHBUS_PUBLIC int pathbus_get_state(pathbus_topic *topic, uint64_t *ret_value, uint64_t *ret_version);

/**
 * pathbus_set_state: sets it. Any thread. Posts only with PATHBUS_STATE_POSTS. It survives the daemon's end while a member
 * lives, and moves between daemon and sidecar: the newest version wins.
 * Returns 0, or as pathbus_post, and -EUSERS (the topic has more than 240 members, and this is a later one), -EIO (the
 * shared memory is damaged).
 */
PATHBUS_PUBLIC int pathbus_set_state(pathbus_topic *topic, uint64_t value);

/**
 * pathbus_exchange_state: sets it if it is `expected`, in one step, so that of two who change it at once one is told to
 * try again (compare and swap). Any thread.
 * Returns 0, -EAGAIN (it is another by now: get it and try again), -EOPNOTSUPP (peer to peer while others are on the
 * daemon, or may be, since it is there and does not answer: only they can), or as pathbus_set_state.
 *
 * Peer to peer an exchange may be overwritten by a newer version of those who come from a daemon's lane: of a daemon that
 * has died and whose members have not moved yet, and, for handles with PATHBUS_PEER, which do not ask it, of one that
 * has not joined the two yet (for some milliseconds; for as long as it is stopped).
 */
PATHBUS_PUBLIC int pathbus_exchange_state(pathbus_topic *topic, uint64_t expected, uint64_t value);

/* A subscriber that has not caught up. */
struct pathbus_laggard {
	pid_t pid;
	uid_t uid;        /* (uid_t)-1: not known */
	uint64_t origin;
	char command[16]; /* of the process, cut; "": not known */
};

/* Set `size` to sizeof(struct pathbus_sync), and `laggards` to an array of max_laggards (or NULL and 0). */
struct pathbus_sync {
	size_t size;
	unsigned n_subscribers;  /* live ones, besides this topic, when the waiting began and since */
	unsigned n_caught_up;    /* of these */
	unsigned n_untracked;    /* links to members on another lane (some reach the daemon, some do not): whether those
	                          * have caught up is not known. Members beyond 240 are in none of these. With
	                          * PATHBUS_SOCKET the other way round: members beyond 240, and no links */
	unsigned n_laggards;     /* filled; with PATHBUS_SOCKET at most 128 */
	unsigned max_laggards;
	struct pathbus_laggard *laggards;
};

/**
 * pathbus_sync: have the others dealt with what was posted and published on this topic up to now?
 *
 * A subscriber has if it has come back for more after receiving it: its pathbus_next has returned 0 or a later event, or
 * it has called pathbus_wait or pathbus_check with a cursor that is not older. One that dies or closes meanwhile leaves
 * the count; one that joins later is not waited for. After a daemon's death those who were there have not caught up until
 * they have come over and been told; calls that begin more than five seconds after this topic has moved do not ask for
 * them any more. A topic that was opened with flags of 0 is a subscriber, also if its program never reads: who only posts
 * should say PATHBUS_POST. Belongs to the handle's thread.
 *
 * @deadline_ns  CLOCK_MONOTONIC; 0 or the past: only look; UINT64_MAX: no deadline. Where the channel was lost it is
 *               joined anew first, which may take up to the timeout beyond that; with PATHBUS_SOCKET so may the answer
 * Returns 0 (all have), -ETIMEDOUT (not all by the deadline), both with *ret filled; or -EINVAL, -ECHILD, -EINTR, or
 * as pathbus_open when the channel was lost. With PATHBUS_SOCKET also -ETIMEDOUT with *ret untouched (the daemon did
 * not answer), -ENOTCONN, -ENOMEM, -EBUSY (32 that were interrupted are still under way).
 */
PATHBUS_PUBLIC int pathbus_sync(pathbus_topic *topic, uint64_t deadline_ns, struct pathbus_sync *ret);

/**
 * pathbus_check: has the topic changed since *seen? Any thread. No system call (unless the daemon has died, and except
 * with PATHBUS_SOCKET: then it reads what the socket has, and may wait for another thread's question to the daemon).
 * While another thread is in the middle of a post on this very topic, somebody else's may show one call later.
 *
 * @seen  the caller's cursor: 0 at first (the first call then returns 1); moved forward when 1 is returned
 * Returns 1 changed (own posts not counted, unless PATHBUS_ECHO), 0 not, or -EINVAL (seen is NULL), -ECHILD, -EACCES
 * (PATHBUS_SOCKET, and opened with PATHBUS_POST alone: the daemon tells such a topic nothing).
 */
PATHBUS_PUBLIC int pathbus_check(pathbus_topic *topic, uint64_t *seen);

/**
 * pathbus_wait: waits until the topic has changed since *seen. Consumes nothing from pathbus_next.
 *
 * The shortest way from post to wake-up: no event loop in between. Belongs to the handle's thread.
 *
 * @seen         as in pathbus_check
 * @deadline_ns  CLOCK_MONOTONIC; 0 or the past: only look; UINT64_MAX: no deadline
 * @spin_us      look this many microseconds before sleeping; 0: sleep at once
 * Returns 1 changed, 0 at the deadline, or -EINVAL, -ECHILD, -EACCES (as pathbus_check), -EINTR (a signal handler ran),
 * -EMFILE, -ENFILE, -ENOMEM, -ENOSPC (the first wait on a topic makes a descriptor; fs.epoll.max_user_watches)
 */
PATHBUS_PUBLIC int pathbus_wait(pathbus_topic *topic, uint64_t *seen, uint64_t deadline_ns, unsigned spin_us);

/**
 * pathbus_transport: which way the topic takes now, since when, and why. Any thread.
 * Returns 0, or -EINVAL (ret->size unknown), -ECHILD.
 */
PATHBUS_PUBLIC int pathbus_transport(const pathbus_topic *topic, struct pathbus_transport *ret);

/** pathbus_version: "MAJOR.MINOR.PATCH" of the library in use. Static storage. */
PATHBUS_PUBLIC const char *pathbus_version(void);

/**
 * pathbus_ping: asks the daemon for an answer; blocks for at most the timeout.
 * @ret_ns  NULL, or receives the round trip in nanoseconds
 * Returns 0, or -ENOTCONN (no daemon), -ETIMEDOUT (it did not answer), -ECHILD.
 */
PATHBUS_PUBLIC int pathbus_ping(pathbus *bus, uint64_t *ret_ns);

/** pathbus_address: the daemon's socket this handle is connected to, or NULL. Valid until the next call. */
PATHBUS_PUBLIC const char *pathbus_address(pathbus *bus);

/* --- regions: named memory ----------------------------------------------------------------------------------- */

/*
 * Named memory under a topic, mapped by all who hold it and copied by nobody. With a daemon it is the daemon's memory, and
 * nobody can make it smaller; without one it is a file in /dev/shm, for one user. Who may write the topic's file may write it
 * (on a topic that was opened so that it may post), who may read the file has it read-only. A region lives until its last holder
 * has closed it or died. The daemon's end does not disturb holders; they bring it back to the next one.
 *
 * Names have 1 to 255 bytes, any but NUL. All calls belong to the handle's thread. After fork() every call returns -ECHILD; the
 * memory stays mapped in the child, who may read it until it closes the region or ends, and keeps it alive for as long. A process
 * that dies within a bracket is in writers' way until such children have exited, started another program or freed the handle.
 * A process of the same user that truncates the file of a region without a daemon makes its holders fault.
 */
#define PATHBUS_REGION_RESERVE (1u << 0)   /* create, replace: take all of its pages now: -ENOSPC instead of a fault later */
#define PATHBUS_REGION_HUGE (1u << 1)      /* create, replace: huge pages if they can be had; get_info says which it got */
#define PATHBUS_REGION_DOUBLE (1u << 2)    /* create, replace: two frames, so that readers always have a whole one */
#define PATHBUS_REGION_READ_ONLY (1u << 3) /* open: though it might be written */
#define PATHBUS_REGION_OVERTAKE (1u << 4)  /* begin, double: at the deadline write all the same; who reads there is told */

enum pathbus_region_pages {
	PATHBUS_PAGES_ORDINARY = 0,
	PATHBUS_PAGES_TRANSPARENT = 1, /* asked for; the kernel decides */
	PATHBUS_PAGES_HUGE = 2,        /* set aside from the system's pool; the header takes one, too */
};

/* Set `size` to sizeof(struct pathbus_region_info). */
struct pathbus_region_info {
	size_t size;
	const char *name;         /* valid while the region is open */
	size_t data_size;         /* of one frame, as asked for */
	unsigned flags;           /* that it was made with: RESERVE, HUGE, DOUBLE */
	enum pathbus_region_pages pages;
	enum pathbus_transport_kind place; /* PATHBUS_BUS: the daemon's memory; PATHBUS_PEER: a file of this user's */
	int writable;
	int replaced;             /* there is another memory under this name by now */
	uint64_t version;         /* 0: nothing was published yet */
};

/**
 * pathbus_region_create: makes a region under a name that is free. Its memory is zero; version 0.
 *
 * Where it lies on several memory nodes is the caller's to decide (mbind, or who touches it first). Blocks for at most the
 * timeout waiting for the daemon; with PATHBUS_REGION_RESERVE also for as long as zeroing its pages takes. Without
 * RESERVE a write may fault (SIGBUS) where the system has no memory left for it, and without a daemon where /dev/shm is full.
 *
 * @data_size  bytes of one frame, 1 to 2^42
 * @flags      PATHBUS_REGION_RESERVE, _HUGE, _DOUBLE
 * @ret        receives the region; it belongs to the topic; pathbus_region_close, or the topic's pathbus_close, releases it
 * Returns 0, or
 *   -EINVAL      a NULL pointer, an empty name, an unknown flag, the size
 *   -ENAMETOOLONG
 *   -EACCES      the topic may not post
 *   -EEXIST      the name is in use, here or at a daemon (also by holders of one that was replaced who have not looked
 *                since, or one that is being brought back to a daemon)
 *   -EBUSY       a process that makes or removes this name stands still
 *   -EDQUOT      the user has made as many regions, or as many bytes of them, as the daemon allows (--max-regions,
 *                --max-region-bytes), or has as many open, or as many descriptors
 *   -ENOSPC      RESERVE: there is not that much memory; no space left in /dev/shm
 *   -EOPNOTSUPP  PATHBUS_SOCKET; a system without such memory
 *   -ENOTCONN, -ETIMEDOUT, -ECHILD, -EIO (the topic's memory is damaged), -EPROTO, -EMFILE, -ENFILE, -ENOMEM; or, when the
 *   channel was lost, as pathbus_open
 */
PATHBUS_PUBLIC int pathbus_region_create(pathbus_topic *topic, const char *name, size_t data_size, unsigned flags,
                                         pathbus_region **ret);

/**
 * pathbus_region_open: opens one that is there. Who opens reads what is published by then itself; events tell of what is
 * newer. One that its holders are bringing back to a daemon is waited for, for the timeout.
 *
 * @flags  PATHBUS_REGION_READ_ONLY, or 0: writable if it may be (pathbus_region_get_info says)
 * Returns 0, or as pathbus_region_create, and
 *   -ENOENT   there is none of this name
 *   -EBUSY    it is a daemon's, which does not know it (yet), or which this handle does not reach
 *   -EEXIST   something that is no region has its name in /dev/shm
 *   -EACCES   the file's rights do not allow it
 *   -EIO      the file that is found in /dev/shm is damaged
 *   -EPROTONOSUPPORT  another version of the library made it
 */
PATHBUS_PUBLIC int pathbus_region_open(pathbus_topic *topic, const char *name, unsigned flags, pathbus_region **ret);

/**
 * pathbus_region_replace: makes another memory, of another size or kind, in the place of one that is open, which stays open
 * and as it is. Who holds the old one keeps it, and is told (PATHBUS_EVENT_REGION_REPLACED, and -ESTALE by
 * pathbus_region_wait); who opens from now on gets the new one. Posts the topic. The new one's versions begin at 0.
 *
 * @ret  receives the new one
 * Returns 0, or as pathbus_region_create, and -ESTALE (another has replaced it already), -EACCES (it may not be written),
 * -EBUSY (somebody else is about to). Where *ret was filled, but the post failed, its error: then others may not have been
 * told yet. After an error the old one has its name still, except where memory or descriptors run out while the daemon's are
 * being taken, though there were enough just before, and where the daemon has not answered in time.
 */
PATHBUS_PUBLIC int pathbus_region_replace(pathbus_region *region, size_t data_size, unsigned flags, pathbus_region **ret);

/**
 * pathbus_region_close: gives it back; the last one out frees it. An open bracket is left as a death would leave it. No
 * events of it follow. Does not block. Returns NULL.
 */
PATHBUS_PUBLIC pathbus_region *pathbus_region_close(pathbus_region *region);

/** pathbus_region_get_info: returns 0, or -EINVAL (ret->size is unknown), -ECHILD. */
PATHBUS_PUBLIC int pathbus_region_get_info(const pathbus_region *region, struct pathbus_region_info *ret);

/**
 * pathbus_region_begin: the write bracket. One writer at a time; one that dies within its bracket is no hindrance to the next.
 * Without contention no system call (PATHBUS_REGION_DOUBLE: two).
 *
 * With PATHBUS_REGION_DOUBLE the frame that is not shown is written, and readers that are still in it are waited for. It
 * holds what was published two versions ago. Without it, it is the one frame, with what was published last, or what a
 * writer that died has made of it; while it is written nobody has it whole.
 *
 * @flags        0, or PATHBUS_REGION_OVERTAKE
 * @deadline_ns  CLOCK_MONOTONIC; 0 or the past: only look; UINT64_MAX: no deadline. Who waits looks again every 1 to 20 ms
 * @ret_data     receives where to write; valid until pathbus_region_end
 * Returns 0, or
 *   -EBUSY     another writer is within its bracket at the deadline; or readers are still in that frame
 *   -EACCES    it is read-only             -EALREADY  this handle is within its bracket
 *   -EINVAL, -ECHILD
 */
PATHBUS_PUBLIC int pathbus_region_begin(pathbus_region *region, unsigned flags, uint64_t deadline_ns, void **ret_data);

/**
 * pathbus_region_end: publishes what was written as the next version, and posts the topic: the post is told as any other
 * as well. Returns 0, or -EINVAL (no bracket is open), -ECHILD; or an error of pathbus_post: it is published all the same,
 * and others may not have been told yet.
 */
PATHBUS_PUBLIC int pathbus_region_end(pathbus_region *region);

/**
 * pathbus_region_read_begin: the read bracket: what is read within it is whole if pathbus_region_read_end says so. Never
 * waits. Until then it may be torn: check it before you trust an index or a size in it, and do not act on it.
 *
 * With PATHBUS_REGION_DOUBLE it is whole in any case, unless a writer was told to overtake; keep the bracket short all the
 * same, since writers wait for it (those of this very handle get -EBUSY). Two system calls; else none.
 *
 * @ret_data     receives the frame; valid until pathbus_region_read_end
 * @ret_version  NULL, or receives its version; 0: nothing was published yet, and it is zero
 * Returns 0, or -EAGAIN (it is being written, or a writer died in it: read again after the next version), -EALREADY (a bracket
 * is open), -EINVAL, -ECHILD.
 */
PATHBUS_PUBLIC int pathbus_region_read_begin(pathbus_region *region, const void **ret_data, uint64_t *ret_version);

/** pathbus_region_read_end: returns 0: whole; -EAGAIN: torn, read again; -EINVAL (no bracket is open), -ECHILD. */
PATHBUS_PUBLIC int pathbus_region_read_end(pathbus_region *region);

/**
 * pathbus_region_wait: waits until a version newer than *version is published. Consumes nothing from pathbus_next.
 *
 * @version      the last one seen, 0 at first; moved to the newest when 1 is returned. One's own count, too
 * @deadline_ns, @spin_us  as in pathbus_wait
 * Returns 1 newer, 0 at the deadline, -ESTALE (none will come here: the region was replaced), or an error of pathbus_wait.
 */
PATHBUS_PUBLIC int pathbus_region_wait(pathbus_region *region, uint64_t *version, uint64_t deadline_ns, unsigned spin_us);

/* Who holds a region. */
struct pathbus_holder {
	pid_t pid;
	uid_t uid;
	int writes;       /* may write it */
	char command[16]; /* of the process, cut; "": not known */
};

/* Valid during the call of pathbus_region_fn. */
struct pathbus_region_entry {
	const char *name;
	uint64_t data_size, version;
	unsigned flags;
	enum pathbus_region_pages pages;
	enum pathbus_transport_kind place;
	unsigned n_holders;  /* open handles; without a daemon those beyond 64 are not counted */
	unsigned n_listed;   /* with a daemon at most 16 */
	const struct pathbus_holder *holders; /* the first n_listed */
};

/* Not 0: stop, and return that. May call the library. */
typedef int pathbus_region_fn(const struct pathbus_region_entry *entry, void *arg);

/**
 * pathbus_region_list: calls fn for each region of the topic: the daemon's, then this user's without one. Those that were
 * replaced are not among them. Blocks for at most the timeout for each.
 * Returns 0, what fn returned, or -EINVAL, -ECHILD, -EOPNOTSUPP (PATHBUS_SOCKET), -ETIMEDOUT, -EIO, -EMFILE, -ENFILE,
 * -ENOMEM; or, when the channel was lost, as pathbus_open.
 */
PATHBUS_PUBLIC int pathbus_region_list(pathbus_topic *topic, pathbus_region_fn *fn, void *arg);

/* --- locks ------------------------------------------------------------------------------------------------------ */

/*
 * A lock has a name under a topic, excludes programs of several users, and survives who dies with it. It does not
 * depend on the daemon: what excludes is a file beside the topic's, `.NAME.pathbus-lock`, which every program on the
 * topic finds, with and without a daemon, in another mount namespace, and as another user. Who may write the file may
 * lock, and nobody else: the lock's file is made with those rights, and brought up to date by its owner's next
 * opening (but see PATHBUS_LOCK_NEAR). The last one out removes it, unless it remembers that a lock was abandoned, or
 * lies in a folder where this user may remove nothing.
 *
 * One holder at a time, or several that share it. A pathbus_lock is one candidate: two of them exclude each other in
 * one process as well, so each thread opens its own. It is used by one thread at a time, not necessarily the
 * handle's; opening, closing and asking who holds it belong to the handle's thread.
 *
 * Who is killed while it holds a lock alone leaves it abandoned: the next one gets it, and is told so by -EOWNERDEAD.
 * It looks after what the lock protects, and says so with pathbus_lock_consistent; else everybody after it is told
 * the same. A lock that was shared is not abandoned: who shares changes nothing.
 *
 * A child made by fork() has a copy of its parent's descriptors. So a lock whose holder dies stays taken until its
 * children have exited, started another program or freed the handle. Freeing it in the child does not give the lock
 * back.
 *
 * Not fair: who comes may be faster than who waits. Who removes the lock's file by hand, or shortens or overwrites
 * it, takes away what is remembered there, and by removing it also the locks that are held: others get them in a new
 * file. The users who may do that are those who may write the file, or its folder.
 */

#define PATHBUS_LOCK_SHARED (1u << 0) /* together with others that share it */
/*
 * When it is given back, keep it near, so that this pathbus_lock takes it again without a system call, until somebody
 * else wants it: for who takes a lock often that others seldom want. The others need not do the same, and get it as
 * soon as it is free. Begins when it was taken some times in a row and nobody else wanted it; without effect with
 * PATHBUS_LOCK_SHARED, on a file system that spans hosts, and where another user may write the topic's file. The
 * lock's file is mapped then, and from then on keeps the rights that it has: a process of this user (or root) that
 * shortens the file ends this one by SIGBUS. Without this flag nothing is mapped, and a file that is shortened harms
 * nobody. One that is removed by hand is noticed after 10 ms.
 */
#define PATHBUS_LOCK_NEAR (1u << 1)

/**
 * pathbus_lock_open: opens a named lock of the topic's file; takes nothing. Blocks for the file system, and for half
 * a second at most while other processes come and go.
 *
 * @name  1 to 255 bytes, any but NUL; copied
 * @ret   receives the lock; it belongs to the topic, and ends with it; pathbus_lock_close releases it. Two descriptors
 * Returns 0, or
 *   -EINVAL   NULL, an empty name             -ENAMETOOLONG
 *   -EACCES   this user may not write the topic's file; or the lock's file has to be made, and the folder may not be written;
 *             or it was made before the file's rights were widened, and its owner has not opened it since
 *   -EPERM    a file of that name is there that somebody else has put into a folder for all (/tmp)
 *   -EEXIST   something that is no file of locks has its name
 *   -EROFS    the folder is on a read-only mount
 *   -EBUSY    a process stands still half-way through opening or closing a lock of this file
 *   -EUSERS   1024 names are open, or abandoned
 *   -ESTALE   the path of the topic leads elsewhere by now: a symbolic link in it, or the file's folder, is another one.
 *             Others on this topic have the locks where it was; who opens the topic anew is where the path leads
 *   -ENOLCK, -EOPNOTSUPP  the file system, or this system, has no such locks
 *   -ENOSPC, -EDQUOT, -EMFILE, -ENFILE, -ENOMEM, -ECHILD, -EIO, and as pathbus_open for the path
 */
PATHBUS_PUBLIC int pathbus_lock_open(pathbus_topic *topic, const char *name, pathbus_lock **ret);

/**
 * pathbus_lock_acquire: takes the lock, waiting for it.
 *
 * Without a deadline it sleeps in the kernel. With one it looks every 1 to 20 ms, and is woken before by who gives it
 * back, if that is a program of the same user on the same channel.
 *
 * @flags        0: alone; PATHBUS_LOCK_SHARED; PATHBUS_LOCK_NEAR
 * @deadline_ns  CLOCK_MONOTONIC; 0 or the past: only look; UINT64_MAX: no deadline
 * Returns 0, or
 *   -EOWNERDEAD  it is held now, and somebody has died with it: see pathbus_lock_consistent
 *   -ETIMEDOUT   not until the deadline
 *   -EDEADLK     this pathbus_lock holds it already, alone or shared: give it back first
 *   -EINTR       a signal handler ran meanwhile; not held
 *   -EINVAL      NULL, or an unknown flag               -ECHILD  in a forked child
 *   -ENOSPC, -EIO...  what was to be noted in the lock's file could not be; not held
 *   as pathbus_lock_open, where the lock's file has been removed and has to be made anew; not held
 */
PATHBUS_PUBLIC int pathbus_lock_acquire(pathbus_lock *lock, unsigned flags, uint64_t deadline_ns);

/** pathbus_lock_try: the same without waiting. Returns as pathbus_lock_acquire, and -EBUSY: others hold it. */
PATHBUS_PUBLIC int pathbus_lock_try(pathbus_lock *lock, unsigned flags);

/**
 * pathbus_lock_consistent: says that what the lock protects is well again, or was all the time, so that who comes
 * next is not told -EOWNERDEAD. By who holds it alone. Does not block. Returns 0, or -EINVAL (NULL; or it was not
 * abandoned), -EPERM (not held, or shared), -ECHILD, -ENOSPC, -EIO.
 */
PATHBUS_PUBLIC int pathbus_lock_consistent(pathbus_lock *lock);

/**
 * pathbus_lock_release: gives it back. Does not block.
 * Returns 0, or -EINVAL (NULL), -EPERM (not held), -ECHILD.
 */
PATHBUS_PUBLIC int pathbus_lock_release(pathbus_lock *lock);

/**
 * pathbus_lock_close: gives it back if it is held, and closes it. In a forked child it only releases the child's
 * copies. Does not block. Returns NULL.
 */
PATHBUS_PUBLIC pathbus_lock *pathbus_lock_close(pathbus_lock *lock);

enum pathbus_lock_state {
	PATHBUS_LOCK_FREE = 0,
	PATHBUS_LOCK_IS_EXCLUSIVE = 1,
	PATHBUS_LOCK_IS_SHARED = 2,
};

/* Somebody who holds a lock or waits for it, as they say themselves. */
struct pathbus_lock_party {
	pid_t pid;         /* in their own process id namespace; 0: not known */
	uid_t uid;
	char command[16];  /* cut */
	uint64_t since_ns; /* of the wall clock, since 1970 */
	int waits, shared;
};

struct pathbus_lock_info {
	size_t size;          /* set by the caller to sizeof(struct pathbus_lock_info) */
	const char *name;     /* pathbus_lock_get_info: the caller's; pathbus_lock_list: valid until `fn` returns */
	enum pathbus_lock_state state;
	int abandoned;        /* 1: who takes it is told -EOWNERDEAD */
	unsigned n_holders;   /* of the first 1024 that wait for a lock of this file, or share one */
	unsigned n_waiters;
	unsigned n_parties;   /* listed: holders first */
	struct pathbus_lock_party parties[64];
};

/**
 * pathbus_lock_get_info: who holds a lock, since when, and who waits. Takes nothing and disturbs nobody; may be outdated at
 * once. Blocks for the file system only.
 * Returns 0; -ENOENT (nobody has this lock open, and it is not abandoned); -EINVAL, -ENAMETOOLONG, -ECHILD; -EACCES,
 * -EPERM, -EEXIST, -ESTALE, -EMFILE, -ENFILE, -ENOMEM, -EIO as pathbus_lock_open.
 */
PATHBUS_PUBLIC int pathbus_lock_get_info(pathbus_topic *topic, const char *name, struct pathbus_lock_info *ret);

/* Not 0: stop, and return that. It may not close the topic. */
typedef int pathbus_lock_fn(const struct pathbus_lock_info *info, void *arg);

/**
 * pathbus_lock_list: calls `fn` for each lock of the topic's file that somebody has open or that is abandoned.
 * Returns 0, what `fn` returned, or as pathbus_lock_get_info (but not -ENOENT).
 */
PATHBUS_PUBLIC int pathbus_lock_list(pathbus_topic *topic, pathbus_lock_fn *fn, void *arg);

/* --- endpoints: meeting another program ------------------------------------------------------------------------ */

/*
 * A program listens under a topic and a name, and gets each connection as an event (PATHBUS_EVENT_CONNECTION); who connects
 * there gets the other end. Both ends are sockets of the kernel, with nobody in between: what happens to the daemon
 * afterwards does not disturb them. Each side is told the process, user and group of the other, as the kernel knows them
 * (of the moment when that one's handle connected to the daemon or, without one, listened or connected).
 *
 * With a daemon the endpoint is in the daemon and on no disk. Without one it is a socket in the sidecar, for this user only.
 * It follows its topic from one to the other; connections stay as they are, those that the program has not taken yet are
 * given all the same, and who waits to connect goes on waiting there. Between programs of which some reach the daemon and
 * others do not (PATHBUS_PEER) there are no connections. While a listener moves, for some milliseconds, nobody listens.
 *
 * Names of endpoints: 1 to 255 bytes, any but NUL.
 */

/* Flags of pathbus_listen. */
#define PATHBUS_ENDPOINT_SEQPACKET (1u << 0) /* connections keep the bounds of messages; else they are streams */
#define PATHBUS_ENDPOINT_TAKE_OVER (1u << 1) /* in place of a program that listens there, which is told (UNLISTENED) */
#define PATHBUS_ENDPOINT_READERS (1u << 2)   /* who may read the file may connect, too; */
#define PATHBUS_ENDPOINT_WRITERS (1u << 3)   /* who may write it may; neither: processes of this user only */

/* Set `size` to sizeof(struct pathbus_connection). */
struct pathbus_connection {
	size_t size;
	int fd;    /* this side's end: a connected socket, close-on-exec and blocking; the program's */
	pid_t pid; /* the listener's process; */
	uid_t uid; /* user; */
	gid_t gid; /* and group */
	int type;  /* SOCK_STREAM or SOCK_SEQPACKET */
};

/**
 * pathbus_listen: listens under the topic at a name, until pathbus_unlisten or the topic's pathbus_close. Belongs to the
 * handle's thread, as do all of these.
 *
 * Needs the right to write the file, so that who may only read it cannot pose as the service; the topic's own flags do not
 * matter. A program that does not come for its events (pathbus_next) holds up only those who want to connect: at most 16
 * connections wait for it, further ones for their deadline. Where the topic moves the endpoint follows; if it cannot, the
 * program gets PATHBUS_EVENT_UNLISTENED with the error (-EADDRINUSE: another program was faster, or has taken over). After
 * that the endpoint still is to be given back with pathbus_unlisten.
 *
 * @ret  receives the endpoint, which belongs to the topic
 * Returns 0, or
 *   -EADDRINUSE    another program listens there (unless PATHBUS_ENDPOINT_TAKE_OVER)
 *   -EACCES        the file may not be written
 *   -EINVAL        an unknown flag, an empty name           -ENAMETOOLONG  a name of more than 255 bytes
 *   -ECHILD        in a forked child
 *   -EPERM         TAKE_OVER of another user's endpoint
 *   -EBUSY         peer to peer: another process stands still in the middle of listening there
 *   -EMFILE, -ENFILE, -ENOMEM, -ENOSPC; -EMFILE also: more than 256 on one handle
 *   -ETIMEDOUT     the daemon did not answer
 *   -EOPNOTSUPP    peer to peer on a system without sockets that can be reached by a folder's descriptor
 *   otherwise, when the channel was lost, an error of pathbus_open
 */
PATHBUS_PUBLIC int pathbus_listen(pathbus_topic *topic, const char *name, unsigned flags, pathbus_endpoint **ret);

/**
 * pathbus_unlisten: listens no more: once it has returned, the next one may. Connections that were taken stay; those that were
 * not are closed. No events of it follow. Waits for the daemon's answer, for at most the timeout; peer to peer for another
 * program that is listening there at this moment, for 20 ms at most. (pathbus_close and pathbus_free do not wait.) Returns
 * NULL.
 */
PATHBUS_PUBLIC pathbus_endpoint *pathbus_unlisten(pathbus_endpoint *endpoint);

/**
 * pathbus_connect: connects to whoever listens under the topic at this name, wherever the topic is.
 *
 * @deadline_ns  CLOCK_MONOTONIC. 0: now or not at all; otherwise waits for a listener, or for one that has not taken the
 *               connections before, until then; UINT64_MAX: no deadline. With PATHBUS_BUS and PATHBUS_SOCKET also for a daemon
 *               that comes back. The daemon's answer may take up to the timeout beyond that
 * @ret          ret->size set by the caller; filled if 0 is returned
 * Returns 0, or
 *   -ECONNREFUSED  deadline 0: nobody listens there
 *   -EAGAIN        deadline 0: who does has not taken the connections before
 *   -ETIMEDOUT     neither changed until the deadline; or the daemon did not answer
 *   -EACCES        who listens does not take connections of this user (PATHBUS_ENDPOINT_READERS, _WRITERS)
 *   -EINVAL, -ENAMETOOLONG, -ECHILD  as pathbus_listen; and ret->size is unknown
 *   -EINTR         a signal handler has run
 *   -ENOTCONN      PATHBUS_BUS, PATHBUS_SOCKET: the daemon is away, and was until the deadline
 *   -EBUSY         32 that were interrupted are still under way
 *   -EMFILE, -ENFILE, -ENOMEM; otherwise, when the channel was lost, an error of pathbus_open
 */
PATHBUS_PUBLIC int pathbus_connect(pathbus_topic *topic, const char *name, uint64_t deadline_ns, struct pathbus_connection *ret);

#define PATHBUS_TOKEN_SIZE 64 /* with the terminating 0 */

/**
 * pathbus_token_make: makes a token with which another program can connect to the endpoint, once: printable text, to be
 * passed on in a message, over a socket, as an argument. Whoever has it needs neither the topic nor any right to the file.
 *
 * By whoever listens there or may connect. It is valid for 60 seconds, and no longer than the program that listens now
 * stays where it is: with the daemon, or without one.
 *
 * @ret  receives the token, terminated
 * Returns 0, or -ECONNREFUSED (nobody listens there), -EACCES (as pathbus_connect), -ENOBUFS (64 tokens of this handle are
 * not redeemed yet, or 16384 of all), -EDQUOT (the user has as many as the daemon allows), -EINVAL, -ENAMETOOLONG, -ECHILD, -ETIMEDOUT, -EMFILE, -ENFILE, -ENOMEM, -ENOSPC, or,
 * when the channel was lost, an error of pathbus_open.
 */
PATHBUS_PUBLIC int pathbus_token_make(pathbus_topic *topic, const char *name, char ret[PATHBUS_TOKEN_SIZE]);

/**
 * pathbus_token_redeem: connects with a token. The listener is told who has redeemed it.
 *
 * A token of the daemon's needs a handle that reaches this daemon, one that was made without a daemon a process of this user
 * that sees the same /dev/shm and the same path of the file.
 *
 * @deadline_ns  as pathbus_connect, for a listener that has not taken the connections before; it is not waited for
 * Returns 0, or -ENOENT (not valid, or not any more), -ECONNREFUSED (who listened does not any more), -EAGAIN (deadline 0: it
 * has not taken the connections before; a daemon's token stays valid), -ETIMEDOUT, -EINVAL (no token; ret->size), -ECHILD,
 * -EINTR, -ENOTCONN (the daemon is away), -EBUSY, -EMFILE, -ENFILE, -ENOMEM.
 */
PATHBUS_PUBLIC int pathbus_token_redeem(pathbus *bus, const char *token, uint64_t deadline_ns, struct pathbus_connection *ret);

/* One that somebody listens at. */
struct pathbus_endpoint_entry {
	const char *name; /* valid during the call */
	pid_t pid;
	uid_t uid;
	char command[16];  /* of the process, cut; "": not known */
	unsigned flags;    /* PATHBUS_ENDPOINT_SEQPACKET, _READERS, _WRITERS */
	enum pathbus_transport_kind place; /* PATHBUS_BUS or PATHBUS_PEER */
	unsigned n_waiting; /* connections that it has not taken; PATHBUS_PEER: not known, 0 */
};
typedef int pathbus_endpoint_fn(const struct pathbus_endpoint_entry *entry, void *arg); /* not 0: stop, and return that */

/**
 * pathbus_endpoint_list: calls back for each endpoint that the topic has where it is now, in no particular order. The
 * callback may call the library, but not close the topic.
 * Returns 0, what the callback returned, or -EINVAL, -ECHILD, -ETIMEDOUT, -EMFILE, -ENFILE, -ENOMEM, or, when the channel
 * was lost, an error of pathbus_open.
 */
PATHBUS_PUBLIC int pathbus_endpoint_list(pathbus_topic *topic, pathbus_endpoint_fn *fn, void *arg);
/* --- members: who has the topic open ---------------------------------------------------------------------------- */

/* One of them. All of it is for people: it may be old by the time it is read, and a process id is no identity. */
struct pathbus_member {
	pid_t pid;        /* as the daemon sees it, and peer to peer as the member does: in a container another's */
	uid_t uid;        /* the process's effective user; (uid_t)-1: not known */
	uint64_t origin;  /* the id of the open topic, as pathbus_origin gives it to that program; 0: a link's */
	char command[16]; /* of the process, cut; "": not known */
	int subscribes;   /* 1: is told of posts; 0: opened with PATHBUS_POST alone */
	uint64_t n_posts; /* posts since it came to this channel, by the thread that opened the topic; those of other
	                   * threads only while somebody hides others' posts */
	int is_self;      /* 1: the topic that was asked about */
	int is_link;      /* 1: no program, but what joins the daemon's channel with a sidecar, where others are */
	uint64_t behind_posts;    /* since it last had dealt with all; UINT64_MAX: not known, as of other users' and of who does */
	uint64_t behind_messages; /* not subscribe */
};

/* Not 0: no more, and pathbus_member_list returns that. *member is valid until the function returns. */
typedef int pathbus_member_fn(const struct pathbus_member *member, void *arg);

/**
 * pathbus_member_list: who has the topic open, of all users, on the channel that this topic is on: not those behind a link, nor
 * those of a user beyond the first 240. Calls `fn` for each, in no particular order, after all of them were looked at; it may
 * call the library, and close the topic. Belongs to the handle's thread. Where other users have it open too it asks the daemon,
 * and waits for its answer, up to the timeout; the same where the channel was lost and is joined anew first.
 *
 * Returns 0, what `fn` returned if that was not 0, or
 *   -EINVAL      topic or fn is NULL
 *   -ECHILD      in a forked child
 *   -EOPNOTSUPP  a topic for locks only
 *   -ENOTCONN    the daemon ended meanwhile, again and again
 *   -ETIMEDOUT   PATHBUS_SOCKET: it does not answer. Others are told of those on their own lane then: of their user
 *   -ENOMEM, or as pathbus_open when the channel was lost
 */
PATHBUS_PUBLIC int pathbus_member_list(pathbus_topic *topic, pathbus_member_fn *fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
