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
 *  2. No silent loss. What may have been missed and cannot be counted is reported: PATHBUS_EVENT_RESYNC says
 *     "look again".
 *  3. Nobody waits for a listener. A slow, stopped or dead subscriber never blocks or slows a poster, and
 *     costs bounded memory.
 *  4. Order. One poster's posts arrive in the order it made them. Nothing is promised between posters.
 *  5. The file is never touched. It is identified by stat and O_PATH only, never opened and closed the
 *     ordinary way, so POSIX locks that this process holds on it (SQLite's, for example) survive.
 *  6. A good guest in the process. No threads, no signal handlers, no stdout or stderr, no abort, no change
 *     of process-wide state. All descriptors are close-on-exec. A handle is dead after fork() in the child:
 *     calls return -ECHILD, and freeing it is safe.
 *  7. One pollable descriptor. pathbus_fd() is readable while anything is undelivered and until
 *     pathbus_next() has returned 0, however many events a program takes per wake-up; so it works in any
 *     event loop, level-triggered ones included.
 *  8. Rights follow the file. Who may read it may subscribe; who may write it may post, as the kernel would
 *     decide for this user at the moment of opening. For a file that does not exist yet its folder decides.
 *  9. Users never share memory unasked.
 * 10. Idle is free. No timers, no polling, no wake-ups while nothing happens. Exceptions, which end by
 *     themselves: waiting for a daemon's answer; retries where the folder of the daemon's socket cannot be
 *     watched; and a look every 20 ms on kernels whose pipes wake edge-triggered readers only when they were
 *     empty (Linux 5.5 to 5.10.55, 5.11 to 5.13.7).
 *
 * Conventions. Functions return 0 or a positive count on success and a negative errno otherwise; a
 * pathbus_*  out-parameter is untouched on failure. Destructors accept NULL and return NULL. A `pathbus` and
 * its topics are used by one thread at a time, except that pathbus_post, pathbus_check and
 * pathbus_transport may be called from any thread while the topic is open. After fork() every call on an
 * inherited handle returns -ECHILD. Times are CLOCK_MONOTONIC nanoseconds.
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

enum pathbus_transport_kind {
	PATHBUS_AUTO = 0, /* the daemon if it answers, else peer to peer */
	PATHBUS_BUS = 1,  /* the daemon only: -ENOTCONN where it does not answer */
	PATHBUS_PEER = 2, /* never the daemon */
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
	PATHBUS_EVENT_MESSAGE = 2, /* reserved: a post that carries data */
	PATHBUS_EVENT_GAP = 3,     /* reserved: exactly `count` messages were missed */
	PATHBUS_EVENT_RESYNC = 4,  /* something may have been missed: look at the file again */
	PATHBUS_EVENT_ERROR = 5,   /* the topic lost its channel and could not join another: see `error` */
};

/* Filled by pathbus_next. Set `size` to sizeof(struct pathbus_event) before the first call. */
struct pathbus_event {
	size_t size;
	enum pathbus_event_kind kind;
	int error;              /* PATHBUS_EVENT_ERROR: a negative errno; else 0 */
	pathbus_topic *topic;   /* whose event */
	void *userdata;         /* what pathbus_set_userdata was given */
	uint64_t generation;    /* the handle's count of changes; never falls */
	uint64_t count;         /* posts merged into it */
	const void *data;       /* NULL until messages exist */
	size_t data_size;
	pid_t pid;              /* 0: not known */
	uid_t uid;              /* (uid_t)-1: not known */
	uint64_t origin;        /* 0: not known */
	uint64_t time_ns;       /* 0: not known */
};

/* Flags of pathbus_open. Neither SUBSCRIBE nor POST: subscribe, and post if the file's rights allow it. */
#define PATHBUS_SUBSCRIBE (1u << 0) /* fail with -EACCES if the file may not be read */
#define PATHBUS_POST (1u << 1)      /* fail with -EACCES if the file may not be written */
#define PATHBUS_ECHO (1u << 2)      /* hear one's own posts too */

struct pathbus_transport {
	size_t size;                      /* set by the caller to sizeof(struct pathbus_transport) */
	enum pathbus_transport_kind kind; /* PATHBUS_BUS or PATHBUS_PEER; PATHBUS_AUTO: none at the moment */
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
 *   -EINVAL    options->size is unknown, the transport is none of the three, the address is too long
 *   -ENOTCONN  PATHBUS_BUS and no daemon answers
 *   -EPERM     PATHBUS_BUS and the server is neither root's nor this user's
 *   -EPROTO    PATHBUS_BUS and the server speaks another protocol
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
 * pathbus_next: takes one event. Never waits for another process.
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
 * @flags  PATHBUS_SUBSCRIBE, PATHBUS_POST, PATHBUS_ECHO
 * @ret    receives the topic; it belongs to `bus`; pathbus_close releases it
 * Returns 0, or
 *   -EINVAL        an unknown flag, an empty path
 *   -ENOENT        the folder does not exist            -ENOTDIR  a part of the path is no folder
 *   -ELOOP         too many symbolic links              -ENAMETOOLONG
 *   -EACCES        the folder may not be searched, the file may not be read, or PATHBUS_POST without the right
 *   -EPERM         peer to peer, and the sidecar belongs to another user: run pathbusd
 *   -EPROTONOSUPPORT  peer to peer, and the sidecar is in use by another, incompatible version
 *   -ENOTCONN      PATHBUS_BUS and the daemon is away
 *   -ETIMEDOUT     the file system of the path does not answer the daemon
 *   -EROFS         peer to peer: a sidecar exists but is on a read-only mount
 *   -EEXIST        peer to peer: something that is no sidecar has its name
 *   -EBUSY         peer to peer: another process holds the sidecar half-way through leaving
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

/** pathbus_close: leaves the topic. No events of it follow. Does not block. Returns NULL. */
PATHBUS_PUBLIC pathbus_topic *pathbus_close(pathbus_topic *topic);

/** pathbus_set_userdata: the pointer that events of this topic carry. The library never looks at it. */
PATHBUS_PUBLIC void pathbus_set_userdata(pathbus_topic *topic, void *userdata);

/**
 * pathbus_post: says "something changed" to every other member of the topic. Any thread.
 *
 * Posts coalesce: a subscriber that is behind gets one event for many. Commit your change before you post.
 * No system call when nobody waits. Does not block, except after the daemon's death: then it joins anew
 * first, which may take up to the timeout.
 *
 * Returns 0, or
 *   -EACCES  the file's rights do not allow it
 *   -ECHILD  in a forked child
 *   otherwise, when the channel was lost and no other could be joined, an error of pathbus_open. The post is
 *   then not guaranteed to have been seen: post again.
 */
PATHBUS_PUBLIC int pathbus_post(pathbus_topic *topic);

/**
 * pathbus_check: has the topic changed since *seen? Any thread. No system call (unless the daemon has died).
 * While another thread is in the middle of a post on this very topic, somebody else's may show one call later.
 *
 * @seen  the caller's cursor: 0 at first (the first call then returns 1); moved forward when 1 is returned
 * Returns 1 changed (own posts not counted, unless PATHBUS_ECHO), 0 not, or -EINVAL (seen is NULL), -ECHILD
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
 * Returns 1 changed, 0 at the deadline, or -EINVAL, -ECHILD, -EINTR (a signal handler ran), -EMFILE (the
 * first wait on a topic makes a descriptor)
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

#ifdef __cplusplus
}
#endif
#endif
