/* SPDX-License-Identifier: MIT */
/* feed.h - a topic on which this process publishes, and its subscribers, which are processes too. */
#ifndef PATHBUS_BENCH_FEED_H
#define PATHBUS_BENCH_FEED_H

#include "bench.h"

enum { FEED_MAX_SUBSCRIBERS = 8 };

struct feed {
	const struct settings *settings;
	enum pathbus_transport_kind kind;
	unsigned number, n_subscribers;
	struct partner subscribers[FEED_MAX_SUBSCRIBERS];
	pathbus *bus;
	pathbus_topic *topic;
	uint64_t next;           /* the number of the next message: they are numbered from 0, over all rounds */
	_Atomic uint64_t *ended; /* shared: so many have been published, and there are no more for now */
};

/* What became of some messages. */
struct outcome {
	double published, delivered; /* millions per second; delivered to the one that got the fewest of them in its time */
	double missed;               /* by all together; each has reported them */
	double publish_ns, receive_ns; /* processor time for each message published, and for each delivered */
	double rings, wakeups;       /* bell writes of the publisher; of all subscribers */
	double largest_batch;        /* published without a pause; 0: there were none */
	double daemon, others;       /* cores that the daemon used (it rings for posters where many listen), and others */
	double line_ns;              /* bounce_ns just before */
};

/* Forks the subscribers: all feeds are started before the first is opened. `n_subscribers` 1: it has the other core;
 * more: all may use both. */
void feed_start(struct feed *feed);
void feed_open(struct feed *feed);
/* Publishes `n` messages, `rate` per second (0: as fast as it goes), and waits until each subscriber has been told of
 * all of them, or says that it has not: then the program ends. */
struct outcome feed_run(struct feed *feed, unsigned n, unsigned rate);
void feed_stop(struct feed *feed);

#endif
