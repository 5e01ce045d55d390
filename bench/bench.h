/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the families of measurements share.
 *
 *   main.c     the options and the table of families
 *   post.c     a post that nobody waits for
 *   wakeup.c   from post to wake-up, in paired rounds against a futex; the ways to wake are in ways.c
 *   burst.c    a million posts at a sleeper
 *   messages.c as many messages as go through, to one, two and eight subscribers; feed.c: one such topic
 *   bounce.c   a cache line from core to core
 *   sync.c     pathbus_sync
 *   open.c     pathbus_open
 *   locks.c    pathbus_lock_acquire and _release
 *   regions.c  regions against plain shared memory, and opening one
 *   endpoints.c  a connection against a plain socket pair
 *   users.c    posts between users, against D-Bus (dbus.c, sdbus.c); flood.c: with a third user's flood
 *   process.c  partner processes, pinning, scheduling
 *   report.c   medians, the table and the JSON file
 *
 * Every family measures its ways in turns within one round and rotates the order from round to round, so that
 * a noisy neighbour hits all of them alike; ratios are taken within a round.
 */
#ifndef PATHBUS_BENCH_H
#define PATHBUS_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pathbus.h"

struct settings {
	const char *address; /* the daemon's socket; NULL: peer to peer only */
	pid_t daemon;        /* to pin it, with its processes; 0: not known */
	const char *system_address; /* of a daemon of all users; NULL: there is none */
	pid_t system_daemon;
	const char *dbus_address; /* the path of a socket; NULL: there is none */
	pid_t dbus_daemon;
	const char *folder;  /* where the topics' files are made */
	const char *json;    /* where to write the figures; NULL: nowhere */
	const char *part;    /* only the ways whose names contain this; NULL: all */
	bool quick;
	int core, other_core; /* other_core -1: there is only one */
};

/* --- process.c ------------------------------------------------------------------------------------------- */

/* Prints what happened and ends the program, and with it the partners. errno-style r < 0 is spelt out. */
_Noreturn void die(int r, const char *format, ...) __attribute__((format(printf, 2, 3)));

uint64_t now_ns(void);
uint64_t cpu_ns(void); /* used by this process: what a post costs whoever makes it, neighbours or not */
void pin(int core); /* the calling process */
void pin_to_both(const struct settings *settings);
void pin_daemon(const struct settings *settings, int core); /* with all its processes; -1: no core of its own */
/* Another daemon with all its processes, which from then on yields to nobody, as below. */
void pin_yielding(pid_t pid, int core);
/* From now on a process that is woken does not preempt the one that woke it, so that both have to sleep on
 * each leg. Returns the policy's name. */
const char *yield_to_nobody(void);
void preempt_as_usual(void);
uint64_t voluntary_switches(void);
uint64_t daemon_cpu_ns(const struct settings *settings); /* 0: not known */

/* How many cores' worth of work other processes do between two moments: what disturbs a measurement. */
struct load {
	uint64_t wall_ns, busy_ns;
};
struct load load_now(void);
double load_of_others(const struct load *since, uint64_t ours_ns);

enum command { COMMAND_QUIT, COMMAND_OPEN, COMMAND_RUN };

/* Both directions. */
struct message {
	enum command command;
	int core;
	unsigned n;
	uint64_t switches, arms, wakeups, rings, waits;
	uint64_t delivered, missed, end_ns, cpu_ns;
};

struct partner {
	pid_t pid;
	int socket;
};

/* Forks a process that serves messages from `socket` until COMMAND_QUIT. Before this process opens a handle,
 * since a fork would keep its descriptors. */
void partner_start(struct partner *partner, void (*serve)(int socket, const void *arg), const void *arg);
void partner_stop(struct partner *partner);
void message_send(int socket, const struct message *message);
struct message message_receive(int socket);

/* --- handles --------------------------------------------------------------------------------------------- */

enum { RING_SLOTS = 16384, MESSAGE_SIZE = 64 };

extern const enum pathbus_transport_kind transports[2];
const char *transport_name(enum pathbus_transport_kind kind);
bool transport_is_there(const struct settings *settings, enum pathbus_transport_kind kind);
pathbus *handle_new(const struct settings *settings, enum pathbus_transport_kind kind);
/* The file NAME of the folder, which is made, as a topic on the transport of the handle. */
pathbus_topic *topic_of(const struct settings *settings, pathbus *bus, const char *name, unsigned flags);
/* The same with a ring of RING_SLOTS messages. */
pathbus_topic *topic_with_ring(const struct settings *settings, pathbus *bus, const char *name, unsigned flags);
/* Takes all events; returns the number of posts. */
uint64_t drain(pathbus *bus);

/* --- bounce.c -------------------------------------------------------------------------------------------- */

/* One way, between the two cores. Started before handles are opened. */
void bounce_start(const struct settings *settings);
double bounce_ns(void);
void bounce_stop(void);

/* --- report.c -------------------------------------------------------------------------------------------- */

enum limit {
	LIMIT_NONE,
	LIMIT_VALUE,    /* of the median */
	LIMIT_AT_LEAST, /* of the median */
	LIMIT_EACH,     /* of each round */
	LIMIT_RATIO,
};

struct detail {
	const char *name;
	double value;
};

struct figure {
	const char *family, *name;
	const char *transport; /* NULL: none */
	unsigned n_cores;
	const char *unit;
	double *samples; /* one for each round; sorted by report_add */
	unsigned n_samples, per_sample;
	const char *reference; /* of the ratio; NULL: it has none */
	double ratio;
	enum limit limit_of;
	double limit;
	const char *invalid; /* why it does not count; NULL: it does */
	struct detail details[12];
};

double median(double *values, unsigned n);  /* sorts them */
void report_begin(const struct settings *settings);
void report_family(const char *title);
void report_add(struct figure *figure);
void report_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void report_end(const struct settings *settings);

/* --- the families ---------------------------------------------------------------------------------------- */

void measure_post(const struct settings *settings);
void measure_wakeup(const struct settings *settings);
void measure_burst(const struct settings *settings);
void measure_messages(const struct settings *settings);
void measure_message_latency(const struct settings *settings); /* of the family messages; in wakeup.c */
void measure_sync(const struct settings *settings);
void measure_open(const struct settings *settings);
void measure_locks(const struct settings *settings);
void measure_regions(const struct settings *settings);
void measure_region_latency(const struct settings *settings); /* of the family region; in wakeup.c */
void measure_endpoints(const struct settings *settings);
void measure_users(const struct settings *settings);

#endif
