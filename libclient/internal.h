/* SPDX-License-Identifier: MIT */
/*
 * internal.h - the handle and its topics, as the files of this folder see them.
 *
 *   handle.c   pathbus_new/free/fd: the pollable set
 *   next.c     pathbus_next: turns between topics
 *   open.c     open: paths and options
 *   topic.c    one member: which lane it is on, and moving it to another; close
 *   post.c     post
 *   publish.c  messages out: the ring
 *   mail.c     messages in: what an event is made of, and what is still to be told of a lane that was left
 *   hide.c     whose events a topic does not want
 *   wait.c     check/wait
 *   state.c    the topic's state
 *   sync.c     have the others caught up?
 *   bus.c      the connection to the daemon, as a state machine that never blocks by itself;
 *              bus_frames.c: what the daemon says
 *   call.c     asking the daemon and waiting for its answer
 *   socket.c   PATHBUS_SOCKET: the same without shared memory
 *   apart.c    PATHBUS_LOCKS_ONLY: no channel at all
 *   peer.c     the sidecar's side: where a topic's sidecar lies, and why
 *   control.c  what happens besides posts: the socket, the timer, folders that are watched
 *   sidecar.c  files and locks
 *   lock.c     named locks; lock_file.c: the file that holds them; lock_look.c: who holds them;
 *              lock_near.c: taking one again that nobody else wants
 *   region_internal.h  named memory: region*.c, anchor.c
 *   members.c  who has the topic open
 *   attachment.c  what a program has opened under a topic: regions, locks, endpoints
 *   endpoint.h  endpoints and connections to them, in files of their own
 *
 * Locking: `lock` protects everything but what is marked (any thread). Posting and checking touch only that,
 * unless the lane is lost. Publishing and changing the state hold the topic's `ring_lock`, for as long as it takes to
 * write a message; who holds both took `lock` first.
 */
#ifndef PATHBUS_INTERNAL_H
#define PATHBUS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "count.h"
#include "death.h"
#include "lane.h"
#include "os/os.h"
#include "own_tickets.h"
#include "pathbus.h"
#include "reader.h"
#include "sidecar.h"
#include "state.h"
#include "told.h"
#include "wire.h"

enum {
	DEFAULT_TIMEOUT_MS = 250,
	N_ADDRESSES = 2,
	REFUSED_MS = 1000,      /* a daemon that would not have us is not asked again for this long */
	RETRY_FIRST_MS = 250,   /* where the socket's folder cannot be watched: pauses grow from here */
	RETRY_LAST_MS = 30000,  /* to here */
	JOIN_MS = 500,          /* for processes that are coming to or going from a sidecar, in calls that may wait */
	LINKS_MS = 200,         /* for links to carry what was published, before a topic goes on elsewhere */
	JOIN_QUICKLY_MS = 20,   /* in those that may not */
	GONE_INTERVAL_MS = 10,  /* a wake-up looks whether its sidecar has been removed, at most this often */
	LOOK_INTERVAL_MS = 20,  /* on kernels whose FIFOs wake only when empty */
	MAX_HIDDEN = 64,        /* origins, and processes, that a topic can hide */
	SYNC_LOOK_MS = 20,      /* pathbus_sync: looks whether those it waits for still live */
	SYNC_LEFT_MS = 5000,    /* and still asks for those who were on a lane that was left, and have not come */
	MAX_PENDING_FDS = 32,   /* descriptors of so many frames: received, not yet matched with their frame */
	BATCH_EVENTS = 32,      /* that pathbus_next takes from a lane at a time, */
	BATCH_BYTES = 4096,     /* and how much of their messages; one more always has room */
};

/* Tags in the sets; anything else is a topic's address, in `control` an endpoint's. */
enum { TAG_CONTROL = 1, TAG_MARK = 2, TAG_SOCKET = 3, TAG_TIMER = 4, TAG_WATCH = 5 };

/* pathbus_topic.epoch: low bits say what is going on, the rest counts moves. */
enum {
	EPOCH_SWAP = 1,  /* page and bell are being exchanged: look again in a moment */
	EPOCH_LOST = 2,  /* the lane is known to be dead; no other joined yet */
	EPOCH_MOVE = 4,  /* one move */
};

struct attachment;

enum topic_place {
	PLACE_NONE,
	PLACE_BUS,
	PLACE_PEER,
	PLACE_SOCKET, /* the daemon, by frames */
	PLACE_APART,  /* PATHBUS_LOCKS_ONLY: a lane that nobody else is on */
};

/* What a transport found: handed to topic_install, which takes all descriptors over, on failure too. */
struct joined {
	enum topic_place place;
	int page, bell;
	uint32_t slot;            /* WIRE_NO_SLOT: none */
	uint32_t bus_topic;       /* PLACE_BUS: the daemon's number */
	struct sidecar sidecar;   /* PLACE_PEER: holds page and bell as well; `bell` above is a copy to use */
	uint64_t deadline_ns;     /* PLACE_PEER: until when to wait for those who come and go */
	bool in_runtime_folder, local_only;
	bool may_read, may_write;
	char why[128];
};

struct pathbus_topic {
	/* --- any thread ---------------------------------------------------------------------------- */
	_Atomic uint64_t own;             /* own posts and messages begun by the thread that opened, in units of the
	                                   * generation. It alone writes it, which saves a locked instruction; raised
	                                   * before the generation is */
	_Atomic uint64_t own_elsewhere;   /* those of other threads */
	_Atomic uint64_t counting;        /* which slot it counts its posts in, below the tag (count.h) that it does so
	                                   * with; 0: none. 0 while page and slot are exchanged */
	uint64_t home_posts;              /* the thread that opened only: what it has last put in the slot's `posts`, none
	                                   * under way */
	pthread_t home;                   /* the thread that opened; constant */
	_Atomic uint64_t epoch;           /* see EPOCH_ */
	struct page *page;                /* constant address once mapped; lanes are exchanged under it */
	int bell;                         /* constant number; the lane's bell is exchanged under it */
	_Atomic int carrier;              /* the daemon's own bell; -1 in a sidecar */
	_Atomic(const struct death *) death; /* the daemon's, or one that never comes */
	_Atomic uint64_t offset;          /* handle's count = generation - own + offset; see topic.c */
	_Atomic uint32_t slot;            /* in the page's member table, or WIRE_NO_SLOT */
	const _Atomic uint32_t *alive;    /* zero in a forked child */
	_Atomic bool may_post;
	bool subscribed, echo;            /* constant after opening */
	bool remote;                      /* constant: PATHBUS_SOCKET; may_post is false then, and this says it: */
	bool may_post_remote;
	uint64_t origin;                  /* constant; of its messages */
	uint32_t pid, uid;                /* constant; this process's */

	/* --- under ring_lock; exchanged under both locks --------------------------------------------- */
	pthread_mutex_t ring_lock;
	void *lane;                       /* the whole lane, mapped besides `page`: its ring */
	size_t lane_size;
	struct ring ring;
	int ring_file;                    /* PLACE_PEER: the sidecar's, to allocate from; not owned. -1: no need */
	size_t ring_allocated;            /* bytes of ring_file */
	uint64_t carried_since;           /* epoch: each move since has taken the state along, and found none as new */
	uint64_t number;                  /* of the last message; PATHBUS_SOCKET: under the handle's lock */
	uint64_t published;               /* this lane's generation after its last message; 0: none yet */
	struct own_tickets own_tickets;   /* of this lane */

	/* --- the thread that opened only ----------------------------------------------------------------- */
	/* Those two are read and written by the handle's thread too, which may be another: relaxed. Mixed up they put a
	 * post before a message that came after it, no more. */
	_Atomic uint64_t own_first;       /* generation of the first own post or message since own_rested */
	_Atomic uint64_t own_rested;      /* what `own` was when everything had been told */

	/* --- under the handle's lock --------------------------------------------------------------- */
	uint64_t own_rested_elsewhere;    /* as own_rested, of own_elsewhere */
	struct pathbus *bus;
	pathbus_topic *next, *previous;   /* all topics of the handle */
	pathbus_topic *queue_next;        /* those to look at */
	bool queued;
	bool collected;                   /* an edge was taken from the set since the last successful arm */
	uint64_t armed;                   /* generation of that arm */
	uint64_t reported;                /* handle's count that next has told of */
	struct reader reader;             /* what is told of this lane */
	uint64_t own_counted;             /* own messages among the tickets that the reader has counted */
	unsigned char *buffer;            /* of its messages: those that were taken and are not given yet */
	size_t buffer_size, buffer_used;
	struct backlog *backlog, **backlog_tail; /* of the lane before this one */
	struct backlog *told;             /* whose data the program has */
	struct told said;                 /* messages, on this lane if it is linked or on the ones before, which may
	                                   * come again */
	struct newest *newest;            /* PATHBUS_NEWEST */
	uint64_t remote_generation;       /* PLACE_SOCKET: of the daemon's last event */
	uint64_t remote_mark, remote_seen; /* the own lane's generation then; what the daemon was told to be dealt with */
	struct hiding *hiding;            /* NULL: nobody but itself */
	uint64_t goal_remote;             /* PLACE_SOCKET: the daemon's number of the goal */
	uint64_t goal;                    /* a generation up to which all is told once the reader */
	uint64_t goal_ticket, goal_strangers; /* is there, and owes no posts up to there; 0: none */
	bool stalled;                     /* the reader waits for a writer, and looks again at reader_lease_ns */
	bool owes_word;                   /* it was armed while stalled: topic_caught_up once it is not */
	unsigned streak;                  /* events since it was armed last */
	unsigned ring_slots, max_message, last; /* as asked for; 0: default */
	uint64_t resync_seen;             /* the page's resync word */
	bool resync_due;
	int error_due;
	void *userdata;
	char *path;                       /* absolute */
	unsigned flags;
	int wait_set;                     /* made by the first pathbus_wait; -1 */
	enum topic_place place;
	uint32_t bus_topic;               /* the daemon's number, on the connection of this serial */
	uint32_t bus_serial;
	uint32_t request;                 /* the OPEN on its way; 0: none */
	int request_error;                /* its answer, when it was an error */
	uint64_t refused_ns;              /* when that came */
	uint32_t asked;                   /* serial of the connection that was asked last */
	bool fail_told;                   /* the program knows that the channel is lost */
	struct attachment *attachments;
	struct left *left;                /* sync.c: who was on a lane of a daemon that died; NULL: nobody */
	struct sidecar sidecar;
	uint64_t sidecar_seen_ns;         /* when it was last seen to be there */
	struct topic_key key;             /* PLACE_PEER, and after: where to meet if the folder goes away; PLACE_APART */
	bool has_key;
	int folder_watch;                 /* while in the runtime folder: id of the watch on the file's folder */
	struct pathbus_transport transport;
};

enum bus_state {
	BUS_DOWN,     /* no connection */
	BUS_GREETING, /* connected, hello sent; may stay so for as long as a daemon is stopped */
	BUS_UP,
};

/* What came with one frame. */
struct frame_fds {
	int fds[WIRE_MAX_DESCRIPTORS]; /* -1: taken, or none */
	unsigned n;
	bool cut; /* this process had no room for all of them: none is here */
};

struct bus_connection {
	enum bus_state state;
	_Atomic bool is_there;        /* not BUS_DOWN; for those who have no lock */
	int socket;
	uint32_t serial;              /* of this connection */
	bool silent;                  /* did not answer in time; not waited for again until it says something */
	int refusal;                  /* why the last server that accepted would not have us; 0 */
	uint64_t refused_until_ns;    /* not asked again before, unless its socket changes */
	uint64_t deadline_ns;         /* not silent, something is awaited: when to give up; 0: nothing is */
	uint32_t next_request;
	struct death *death;          /* constant address once mapped; pages are exchanged under it */
	int carrier;                  /* constant number once there; -1 */
	bool death_unarmed;           /* the kernel does not mark this daemon's word */
	char address[ADDRESS_SIZE];
	uint64_t pong_ns;             /* when the last one came */
	size_t in_used, in_size;
	unsigned char *in;            /* room for two of the frames that can come */
	bool urgent;                  /* somebody waits or checks: events are read whether or not there is room */
	struct bus_call *call;        /* call.c: what is being waited for, with the lock; NULL: nothing is */
	struct bus_call *patient;     /* and without it */
	int nudge;                    /* wakes who does that, when another thread has taken the answer, or has hung up; -1
	                               * until needed */
	struct frame_fds fds[MAX_PENDING_FDS];
	unsigned n_fds;
	bool rest;                    /* bus_take_rest */
	unsigned char *out;           /* what the socket did not take */
	size_t out_used, out_size;
	int n_addresses;
	char addresses[N_ADDRESSES][ADDRESS_SIZE];
};

/* Events of one topic that were taken from its lane at one look, and are given one by one. */
struct batch {
	pathbus_topic *topic;
	unsigned n, given;
	struct pathbus_event events[BATCH_EVENTS];
};

struct pathbus {
	_Atomic uint32_t *alive;      /* a page that is zero in a forked child */
	uint64_t next_origin;         /* random at first */
	pthread_mutex_t lock;
	_Atomic bool missed;          /* pathbus_next found the lock taken since it was last given back */
	enum pathbus_transport_kind kind;
	uint64_t timeout_ns;
	int set;                      /* what the program polls: bells, `mark`, `control` */
	_Atomic bool listening;       /* it was asked for, or pathbus_next called: only then are bells in it. Who
	                               * only waits or checks is spared an eighth of each wake-up */
	int mark;                     /* always readable, edge-triggered: changing it makes `set` readable */
	bool marked;                  /* ... and not collected yet */
	bool settle_due;              /* topics were lost, or may move: control_settle has work */
	int control;                  /* a set within the set: socket, timer, watch, sockets of endpoints */
	bool sleeps;                  /* call_sleep: the nudge wakes it */
	int timer;
	uint64_t timer_ns;            /* what it is set to; OS_NEVER */
	uint64_t retry_ns, retry_pause_ns;
	uint64_t lease_ns;            /* a reader that is stalled looks again; 0: none */
	uint64_t accept_ns;           /* endpoints that had no descriptor for a connection try again; 0: none */
	pathbus_topic *waited;        /* the one whose wait set holds `control` and `mark` */
	int watch;                    /* -1 until needed, or impossible */
	bool watch_failed;
	int socket_watch[N_ADDRESSES];
	struct os_watch_buffer watch_buffer;
	struct bus_connection connection;
	pathbus_topic *topics;
	pathbus_topic *queue_head, **queue_tail;
	pathbus_topic *hot;           /* the last one that had an event: looked at before any system call */
	unsigned turns;               /* looks at topics since edges were last collected */

	/* --- the handle's thread only ------------------------------------------------------------- */
	struct batch batch;
};

/* --- handle.c --- */
static inline bool is_forked(const _Atomic uint32_t *alive)
{
	return atomic_load_explicit(alive, memory_order_relaxed) == 0;
}
/* The first time somebody wants to hear: all bells into the set, and what came since the openings is found. */
int handle_start_listening(struct pathbus *bus);
void handle_mark(struct pathbus *bus);
/* Gives the lock back in calls that other threads than the handle's may make. */
void handle_unlock(struct pathbus *bus);

/* --- next.c --- */
void handle_queue(pathbus_topic *topic);   /* to be looked at by the next pathbus_next; makes the set readable */
void handle_unqueue(pathbus_topic *topic); /* at its end: nothing of it is given any more */

/* --- topic.c --- */
/* Takes `path` over, unless it fails (no memory). */
pathbus_topic *topic_new(struct pathbus *bus, char *path, unsigned flags, const struct pathbus_topic_options *options);
void topic_free(pathbus_topic *topic);
static inline bool topic_listens(const pathbus_topic *topic);
/* The bell is put into the handle's set, now that it listens. */
int topic_start_listening(pathbus_topic *topic);
void topic_stop_listening(pathbus_topic *topic);
/* Sleeps as far as posters are concerned, or is queued because something came. */
void topic_rest(pathbus_topic *topic);
/* The handle's count of changes at a generation that was just loaded; see topic.c. */
uint64_t topic_count(const pathbus_topic *topic, uint64_t generation);
/* The same for a look that is not followed by another: lags by no more than the posts in the making. */
uint64_t topic_count_now(const pathbus_topic *topic);
bool topic_is_later(uint64_t count, uint64_t than);
/* Does the topic live on a lane that works? Notices a daemon's death (then all its topics are lost). */
bool topic_is_well(pathbus_topic *topic);
/* Marks it as lost: posters on other threads come to the slow path. */
void topic_lose(pathbus_topic *topic);
/* Puts it on the lane: baseline, then RESYNC (unless it is the first), then leaves the old one. Takes
 * *joined over. */
int topic_install(pathbus_topic *topic, struct joined *joined);
void joined_release(struct joined *joined, struct page *page);
/* Gets it onto a lane that works, waiting for the daemon until the deadline (0: not at all; then 0 may also
 * mean: on its way). */
int topic_settle(pathbus_topic *topic, uint64_t deadline_ns);
/* At a wake-up: has the sidecar been removed under us? Then it is lost. */
void topic_look_for_sidecar(pathbus_topic *topic);
/* Tells the program that it could not be. */
void topic_fail(pathbus_topic *topic, int error);
/* Own posts begun. Read after the generation. */
static inline uint64_t topic_own(const pathbus_topic *topic)
{
	return atomic_load(&topic->own) + atomic_load(&topic->own_elsewhere);
}
static inline bool topic_listens(const pathbus_topic *topic)
{
	return topic->subscribed && atomic_load_explicit(&topic->bus->listening, memory_order_relaxed);
}
/* It has no channel, and so no regions, endpoints or members. */
static inline bool topic_is_apart(const pathbus_topic *topic)
{
	return (topic->flags & PATHBUS_LOCKS_ONLY) != 0;
}
static inline bool topic_is_on_bus(const pathbus_topic *topic)
{
	return topic->place == PLACE_BUS || topic->place == PLACE_SOCKET;
}
static inline struct lane topic_lane(const pathbus_topic *topic)
{
	return (struct lane){ .page = topic->page, .bell = topic->bell, .carrier = atomic_load(&topic->carrier) };
}
extern const struct death death_never;

/* --- publish.c --- */
/* Own posts and messages, before the generation is raised. True: on the thread that opened. */
static inline bool topic_count_own(pathbus_topic *topic, uint64_t units)
{
	uint64_t own;

	/* Before the generation is raised: the add to that orders this store before itself, and who loads the new
	 * generation sees it (topic_own). A thread that takes over the id of one that ended sees what that one stored. */
	if (__builtin_expect(!pthread_equal(pthread_self(), topic->home), 0)) {
		atomic_fetch_add(&topic->own_elsewhere, units);
		return false;
	}
	own = atomic_load_explicit(&topic->own, memory_order_relaxed);
	atomic_store_explicit(&topic->own, own + units, memory_order_relaxed);
	return true;
}
/* Which generation it was, on the thread that opened. */
static inline void topic_note_own(pathbus_topic *topic, uint64_t generation, uint64_t units)
{
	if (__builtin_expect(atomic_load_explicit(&topic->own, memory_order_relaxed) - units ==
	                     atomic_load_explicit(&topic->own_rested, memory_order_relaxed), 0))
		atomic_store_explicit(&topic->own_first, generation, memory_order_relaxed);
}
/* What it does in its lane, for people. */
static inline struct page_tally *topic_tally(pathbus_topic *topic)
{
	return page_tally(topic->page, (uint32_t)(atomic_load_explicit(&topic->counting, memory_order_relaxed) & 0xff));
}
static inline void topic_note_wakeup(pathbus_topic *topic)
{
	atomic_fetch_add_explicit(&topic_tally(topic)->wakeups, 1, memory_order_relaxed);
}

/* What a try to post, publish or change the state came to. */
enum {
	TRY_AGAIN,   /* the lane is not, or no longer, one that others are on */
	TRY_THROUGH,
	TRY_ASK,     /* through if the daemon lives: its death word does not tell */
};
/* After the generation was raised: is the lane one that others are on, and still the one of this epoch? */
static inline int topic_is_still_well(const pathbus_topic *topic, uint64_t epoch)
{
	/* The epoch last: it is moved before a death page or a lane is exchanged, so a word read from a new one does not
	 * pass for the old one's. */
	const struct death *death = atomic_load(&topic->death);
	bool armed = death->armed != 0;

	if (__builtin_expect(death_has_come(death) || atomic_load(&topic->page->closed) ||
	                     atomic_load(&topic->epoch) != epoch, 0))
		return TRY_AGAIN;
	return __builtin_expect(armed, 1) ? TRY_THROUGH : TRY_ASK;
}
/* Goes on after a try that was not through, the one of this epoch: does `once` until it is through on a lane that lives; an
 * error of it is final. The cold part of post, publish and the state. Takes the handle's lock, and holds it around
 * `once`. */
int topic_repeat(pathbus_topic *topic, int tried, uint64_t epoch, int (*once)(pathbus_topic *topic, void *arg), void *arg);

/* --- mail.c --- */
/* The first lane, or another: takes the baseline in `lane`, keeps what is still to be told of the one before, and takes
 * the mapping over. Under both locks. */
void mail_move(pathbus_topic *topic, void *lane, size_t size, const struct lane_shape *shape);
/* The generation and what is own of it were loaded after that: up to there all is told. */
void mail_start(pathbus_topic *topic, uint64_t generation);
bool mail_init(pathbus_topic *topic); /* false: no memory */
void mail_deinit(pathbus_topic *topic);
/* Is something still to be told of a lane that was left? Then fills the event's message part. */
bool mail_take_backlog(pathbus_topic *topic, struct pathbus_event *event);
/* What the reader has to know of this generation, which was just loaded. Several events may be taken at one look, as long
 * as there is room. Until mail_looked nobody else publishes on the topic: what its own messages are among those that it
 * has missed is known only for the last n_slots of them. */
struct reader_look mail_look(pathbus_topic *topic, uint64_t generation);
void mail_looked(pathbus_topic *topic);
void mail_note_resync(pathbus_topic *topic, const struct reader_look *look); /* RESYNC is told at this look */
bool mail_has_room(const pathbus_topic *topic);
/* Takes what is new. With READER_POSTS, _GAP and _MESSAGE event->kind, count and the message's part are filled; the
 * message's bytes stay where they are until the next look. */
enum reader_kind mail_next(pathbus_topic *topic, struct reader_look *look, struct pathbus_event *event);

/* --- hide.c --- */
bool hide_own_process(pathbus_topic *topic); /* at its making; false: no memory */
bool hide_origin(const pathbus_topic *topic, uint32_t pid, uint64_t origin); /* is it not to be told of its messages? */
/* On a new lane: what was posted up to now is told, or not owed. */
void hide_begin(pathbus_topic *topic);
/* Posts of those who are hidden, since then; loaded after the generation. Never ahead of it for long. */
uint64_t hide_posts(pathbus_topic *topic);
/* When to look again, since somebody may have died in the middle of a post; 0: not. */
uint64_t hide_lease_ns(const pathbus_topic *topic);

/* --- sync.c --- */
/* The program has come back for more, having been told everything up to this generation. `rests`: it will sleep. */
void topic_caught_up(pathbus_topic *topic, uint64_t generation, bool rests);
/* Before the lane is left for another: notes who is still on it. */
void sync_note_left(pathbus_topic *topic);
/* Is the process in this slot gone, without anybody having cleared it? Under the handle's lock. */
bool slot_is_dead(const pathbus_topic *topic, unsigned index);
/* Are the process ids in the table of the daemon's lane those that we would use? */
bool topic_knows_pids(const pathbus_topic *topic);

/* --- bus.c --- */
void bus_init(struct pathbus *bus);
/* Before the topics of a handle are closed: one frame for all. A frame for each might fill the socket, and then
 * the end without a goodbye would look like a death. */
void bus_say_goodbye(struct pathbus *bus);
void bus_deinit(struct pathbus *bus);
int bus_set_addresses(struct pathbus *bus, const char *address);
/* Connects if it is down and a server is there. Never waits. Returns 0 (greeting or up) or why not. */
int bus_try(struct pathbus *bus);
/* Takes what has come, notices the end. Never waits. */
void bus_advance(struct pathbus *bus);
/* Sleeps until something comes or the deadline. True: a signal handler has run. */
bool bus_await(struct pathbus *bus, uint64_t deadline_ns);
/* Waits until up. 0, -ENOTCONN, -ETIMEDOUT. */
int bus_up(struct pathbus *bus, uint64_t deadline_ns);
/* The daemon is gone: its topics are lost, the connection is closed. */
void bus_lost(struct pathbus *bus);
bool bus_is_dead(struct pathbus *bus);
/* Is there a daemon on which others may have this topic, and which has not told us so far? Then what is exchanged in the
 * sidecar may be exchanged there as well. */
bool bus_may_have(const pathbus_topic *topic);
int bus_request_open(pathbus_topic *topic);
/* Nothing to do, or to say, if the connection it was opened on has ended. */
void bus_close_topic(struct pathbus *bus, uint32_t bus_topic, uint32_t serial);
int bus_ping(struct pathbus *bus, uint64_t deadline_ns);

/* Sends, or keeps what the socket does not take now. */
int bus_send_frame(struct pathbus *bus, const void *frame, size_t size);
uint32_t bus_new_request(struct bus_connection *connection);

/* --- call.c --- */
/* A request that is being waited for. One at a time with the handle's lock, and one that may take long without it. */
struct bus_call {
	bool patient; /* the lock is given back while it is waited for */
	/* Puts the frame together, once it is known on which connection, and as which topic and request (its bus_topic).
	 * `to` has WIRE_MAX_FRAME bytes. Returns its size. */
	size_t (*put)(void *to, uint32_t request, const pathbus_topic *topic, const void *arg);
	const void *arg;
	/* Takes the answer, which is no error. fds: those that came with it; what is taken over is set to -1. 0, or a
	 * negative errno which is then the call's. NULL: it is DONE, and there is nothing to take. */
	int (*take)(struct bus_call *call, const void *frame, const struct wire_header *header, struct frame_fds *fds);
	void *to; /* for `take` */

	uint32_t request; /* from here on call.c's */
	bool answered;
	int error;
};
/*
 * Asks, and waits for the answer; asked anew where the connection ends in between. Under the handle's lock. `topic`: is
 * settled first; NULL: the request names none. deadline_ns 0: the handle's timeout. Returns 0, the error that was answered,
 * -ENOTCONN (no daemon, or the topic is not on the bus now), -ETIMEDOUT, -ENOMEM, as topic_settle; -EINTR (patient ones: a
 * signal handler has run).
 */
int call_daemon(struct pathbus *bus, pathbus_topic *topic, struct bus_call *call, uint64_t deadline_ns);
/* The answer to what is being waited for, or to what is not any more. */
int call_on_answer(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds);
bool call_on_error(struct pathbus *bus, uint32_t request, int error); /* true: it was waited for */
void call_nudge(struct pathbus *bus);
/* Sleeps without the lock until something has happened besides posts, at most until the deadline, and sees to that. Belongs to
 * the handle's thread. 0, -EINTR; no descriptor for it: -EMFILE, -ENFILE, -ENOMEM. */
int call_sleep(struct pathbus *bus, uint64_t deadline_ns);

/* --- lock.c --- */
/* Where the file of the topic's locks lies. -ESTALE: the topic's path leads to another file's by now; -EIO: the lane is
 * damaged; as place_resolve. */
int lock_place(const pathbus_topic *topic, struct place *ret);

/* --- attachment.c --- */
/*
 * What a program has opened under a topic, and what goes with it. The first member of a region, a lock, an endpoint. All
 * functions are called under the handle's lock.
 */
struct attachment_type {
	/* The topic is being closed, and this has been taken out of its list: closes it, and frees it. In a forked child (`forked`) descriptors and memory only. */
	void (*end)(struct attachment *attachment, bool forked);
	/* The topic has moved to another lane, perhaps of another kind (topic->place); NULL: nothing is to be done. */
	void (*moved)(struct attachment *attachment);
	/* Fills *event, which has been initialized as PATHBUS_EVENT_RESYNC, if there is something to tell; NULL: never. Asked at
	 * each look at the topic; `generation` was loaded before. */
	bool (*take_event)(struct attachment *attachment, uint64_t generation, struct pathbus_event *event);
};
struct attachment {
	const struct attachment_type *type;
	pathbus_topic *topic;
	struct attachment *next;
	bool stuck; /* `moved` could not do its work, for a passing reason: it is called again, after growing pauses */
};
void attachment_add(pathbus_topic *topic, struct attachment *attachment, const struct attachment_type *type);
void attachment_remove(struct attachment *attachment);
void attachments_end(pathbus_topic *topic, bool forked);
void attachments_moved(pathbus_topic *topic);
bool attachments_are_stuck(const pathbus_topic *topic);
void attachments_retry(pathbus_topic *topic); /* those that are stuck */
bool attachments_take_event(pathbus_topic *topic, uint64_t generation, struct pathbus_event *event);

/* --- endpoint_bus.c: what the daemon says --- */
int endpoint_on_listening(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds);
int endpoint_on_connection(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds);
int endpoint_on_unlistened(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds);
bool endpoint_on_error(struct pathbus *bus, uint32_t request, int error); /* true: an endpoint had asked */

/* --- socket.c --- */
/* The lane of one's own that an OPENED without descriptors asks for. */
int socket_make_lane(pathbus_topic *topic, const struct wire_opened *opened, struct joined *ret);
int socket_on_frame(struct pathbus *bus, const void *frame, const struct wire_header *header);
/* May more events be read? */
bool socket_has_room(const struct pathbus *bus);
/* These take the handle's lock. */
int socket_post(pathbus_topic *topic);
int socket_publish(pathbus_topic *topic, struct ring_message *message);
int socket_get_state(pathbus_topic *topic, struct state *ret);
/* By the daemon; -ENOTCONN: the topic is not on the bus. NULL: sets. Also where shared memory is not enough, as the next one. */
int socket_change_state(pathbus_topic *topic, const uint64_t *expected, uint64_t value);
int socket_sync(pathbus_topic *topic, uint64_t deadline_ns, struct pathbus_sync *ret);
void socket_look(pathbus_topic *topic);
/* Under it. */
void socket_caught_up(pathbus_topic *topic, uint64_t generation);
void socket_say_seen(pathbus_topic *topic, uint64_t remote_generation);

/* --- bus_frames.c: for bus.c --- */
/* Takes what is there: bytes received, 0 none, -ECONNRESET the end, -errno. */
int bus_receive(struct bus_connection *connection);
/* Handles the whole frames in the buffer; an error ends the connection. */
int bus_handle_frames(struct pathbus *bus);
/* The daemon has died: takes the connections that it had introduced before, which live, and nothing else. */
void bus_take_rest(struct pathbus *bus);
void bus_close_fds(struct bus_connection *connection);
void frame_close_fds(struct frame_fds *fds); /* those that were not taken */

/* --- peer.c --- */
int peer_join(pathbus_topic *topic, uint64_t deadline_ns, struct joined *ret);
/* Runtime folder only: is there a sidecar at the file's side now? */
bool peer_wants_to_move(pathbus_topic *topic);

/* --- control.c --- */
void control_process(struct pathbus *bus);
/* Brings every topic on its way as far as it gets without waiting; sets the timer. */
void control_settle(struct pathbus *bus);
void control_set_timer(struct pathbus *bus);
/* There is work for control_settle: the handle's descriptor becomes readable until it is done. */
void control_due(struct pathbus *bus);
/* Before a lock is given back on another path than pathbus_next's. */
void control_finish(struct pathbus *bus);
/* A daemon's answer that may be another next time? */
bool control_may_pass(int error);
/* Watches for the daemon's socket. Before trying to connect, so that nothing falls in between. */
void control_watch_sockets(struct pathbus *bus);
int control_watch_folder(struct pathbus *bus, int dir);
int control_watch_sidecar(struct pathbus *bus, int dir); /* a folder of its own, and its end; unwatched as the other */
void control_unwatch_folder(struct pathbus *bus, int id);

/* One row per way in; topic_settle goes through them in order. */
struct transport {
	enum pathbus_transport_kind kind;
	/* Gets the topic onto a lane of this kind. 0; -EINPROGRESS: waiting for an answer, with deadline 0;
	 * -ENOTCONN, -ETIMEDOUT: not this way, try the next; other errors are final. */
	int (*settle)(pathbus_topic *topic, uint64_t deadline_ns);
};
extern const struct transport transport_bus, transport_peer, transport_apart;

#endif
