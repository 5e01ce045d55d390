/* SPDX-License-Identifier: MIT */
/*
 * endpoints.c - a stream over a connection that was made by an endpoint, against a plain socket pair; and how long it takes
 * to connect.
 *
 * The partner listens, and reads whichever of the two it is told to. The two take turns in slices within each round; the
 * ratio of a round is the median of its pairs.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

enum { N_ROUNDS = 21, N_ROUNDS_QUICK = 3, N_SLICES = 128, PIECE = 65536, N_PIECES = 64, N_CONNECTS = 200, N_CONNECTS_QUICK = 40 };
enum way { PLAIN, ENDPOINT, N_WAYS_OF };

#define TARGET_RATIO 0.97

struct setup {
	const struct settings *settings;
	enum pathbus_transport_kind transport;
	int plain[2]; /* [0] is ours, [1] the partner's */
	const char *file;
};

static void must(int r, const char *what)
{
	if (r < 0)
		die(r, "%s", what);
}

/* --- the partner ---------------------------------------------------------------------------------------------------- */

static void read_slice(int fd)
{
	static char bytes[PIECE];
	size_t left = (size_t)N_PIECES * PIECE;

	while (left > 0) {
		ssize_t n = read(fd, bytes, left < sizeof(bytes) ? left : sizeof(bytes));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die(n < 0 ? -errno : 0, "the stream has ended");
		left -= (size_t)n;
	}
	if (send(fd, "", 1, MSG_NOSIGNAL) != 1) /* all is here */
		die(-errno, "send");
}

/* Takes connections until the first one whose program says so, and gives that one back; the others are closed. */
static int accept_some(pathbus *bus, unsigned n)
{
	struct pathbus_event event = { .size = sizeof(event) };
	struct pollfd ready = { .fd = pathbus_fd(bus), .events = POLLIN };

	while (n > 0) {
		int r;

		if (poll(&ready, 1, -1) < 0 && errno != EINTR)
			die(-errno, "poll");
		while (n > 0 && (r = pathbus_next(bus, &event)) != 0) {
			must(r, "pathbus_next");
			if (event.kind != PATHBUS_EVENT_CONNECTION)
				continue;
			if (--n == 0)
				return event.fd;
			close(event.fd);
		}
	}
	return -1;
}

/* COMMAND_OPEN: takes so many connections, and keeps the last. COMMAND_RUN: reads a slice of the way `n`. */
static void serve(int socket, const void *arg)
{
	const struct setup *setup = arg;
	pathbus *bus = NULL;
	pathbus_topic *topic;
	pathbus_endpoint *endpoint;
	int connection = -1;

	close(setup->plain[0]);
	for (;;) {
		struct message message = message_receive(socket);

		if (message.command == COMMAND_QUIT)
			break;
		if (message.command == COMMAND_OPEN && !bus) {
			pin(message.core);
			bus = handle_new(setup->settings, setup->transport);
			topic = topic_of(setup->settings, bus, setup->file, 0);
			must(pathbus_listen(topic, "bench", 0, &endpoint), "pathbus_listen");
			drain(bus);
		}
		message_send(socket, &message); /* ready */
		if (message.command == COMMAND_OPEN) {
			if (connection >= 0)
				close(connection);
			connection = accept_some(bus, message.n);
			message_send(socket, &message);
		} else {
			read_slice(message.n == PLAIN ? setup->plain[1] : connection);
		}
	}
	pathbus_free(bus);
}

/* --- this side ------------------------------------------------------------------------------------------------------- */

static uint64_t write_slice(struct partner *partner, int fd, enum way way)
{
	static char bytes[PIECE];
	uint64_t start;

	message_send(partner->socket, &(struct message){ .command = COMMAND_RUN, .n = way });
	message_receive(partner->socket);
	start = now_ns();
	for (unsigned i = 0; i < N_PIECES; i++)
		for (size_t at = 0; at < sizeof(bytes);) {
			ssize_t n = send(fd, bytes + at, sizeof(bytes) - at, MSG_NOSIGNAL);

			if (n < 0 && errno != EINTR)
				die(-errno, "send");
			at += n > 0 ? (size_t)n : 0;
		}
	while (read(fd, bytes, 1) < 0 && errno == EINTR)
		;
	return now_ns() - start;
}

/* The last connection. */
static int connect_some(struct partner *partner, pathbus_topic *topic, unsigned n, double *us)
{
	struct pathbus_connection connection = { .size = sizeof(connection), .fd = -1 };

	for (unsigned i = 0; i < n; i++) {
		uint64_t start = now_ns();

		must(pathbus_connect(topic, "bench", start + UINT64_C(5000000000), &connection), "pathbus_connect");
		us[i] = (double)(now_ns() - start) / 1000;
		if (i + 1 < n)
			close(connection.fd);
	}
	message_receive(partner->socket); /* it has taken all */
	return connection.fd;
}

static void report(const struct setup *setup, unsigned n_cores, double rate[N_WAYS_OF][N_ROUNDS], double *ratio,
                   unsigned n_rounds)
{
	static const char *const names[N_WAYS_OF] = { "a plain socket pair", "a connection" };

	for (unsigned way = 0; way < N_WAYS_OF; way++)
		report_add(&(struct figure){
			.family = "endpoint",
			.name = names[way],
			.transport = transport_name(setup->transport),
			.n_cores = n_cores,
			.unit = "GB/s",
			.samples = rate[way],
			.n_samples = n_rounds,
			.per_sample = N_SLICES * N_PIECES,
		});
	report_add(&(struct figure){
		.family = "endpoint",
		.name = "connection to plain",
		.transport = transport_name(setup->transport),
		.n_cores = n_cores,
		.unit = "",
		.samples = ratio,
		.n_samples = n_rounds,
		.per_sample = N_SLICES * N_PIECES,
		.limit_of = LIMIT_AT_LEAST,
		.limit = TARGET_RATIO,
	});
}

static void measure_streams(const struct setup *setup, struct partner *partner, int connection, unsigned n_cores)
{
	static double rate[N_WAYS_OF][N_ROUNDS], ratio[N_ROUNDS];
	unsigned n_rounds = setup->settings->quick ? N_ROUNDS_QUICK : N_ROUNDS;
	const int fds[N_WAYS_OF] = { setup->plain[0], connection };

	for (unsigned way = 0; way < N_WAYS_OF; way++)
		write_slice(partner, fds[way], way);
	for (unsigned round = 0; round < n_rounds; round++) {
		double rates[N_WAYS_OF][N_SLICES], ratios[N_SLICES];

		for (unsigned i = 0; i < N_SLICES; i++) {
			for (unsigned turn = 0; turn < N_WAYS_OF; turn++) {
				enum way way = (turn + i + round) % N_WAYS_OF; /* who begins changes with each pair */

				rates[way][i] = (double)N_PIECES * PIECE / (double)write_slice(partner, fds[way], way);
			}
			ratios[i] = rates[ENDPOINT][i] / rates[PLAIN][i];
		}
		for (unsigned way = 0; way < N_WAYS_OF; way++)
			rate[way][round] = median(rates[way], N_SLICES);
		ratio[round] = median(ratios, N_SLICES);
	}
	report(setup, n_cores, rate, ratio, n_rounds);
}

static void measure(const struct settings *settings, enum pathbus_transport_kind transport)
{
	static double us[N_CONNECTS];
	struct setup setup = { .settings = settings, .transport = transport, .file = "endpoints" };
	unsigned n_connects = settings->quick ? N_CONNECTS_QUICK : N_CONNECTS, n_cores = settings->other_core < 0 ? 1 : 2;
	struct partner partner;
	pathbus *bus;
	pathbus_topic *topic;
	int connection;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, setup.plain) < 0)
		die(-errno, "socketpair");
	partner_start(&partner, serve, &setup);
	close(setup.plain[1]);
	bus = handle_new(settings, transport);
	topic = topic_of(settings, bus, setup.file, 0);
	message_send(partner.socket, &(struct message){ .command = COMMAND_OPEN,
	                                                .core = n_cores == 2 ? settings->other_core : settings->core,
	                                                .n = n_connects });
	message_receive(partner.socket);
	connection = connect_some(&partner, topic, n_connects, us);
	measure_streams(&setup, &partner, connection, n_cores);
	report_add(&(struct figure){
		.family = "endpoint",
		.name = "connecting",
		.transport = transport_name(transport),
		.n_cores = n_cores,
		.unit = "us",
		.samples = us,
		.n_samples = n_connects,
		.per_sample = 1,
	});
	partner_stop(&partner);
	close(connection);
	close(setup.plain[0]);
	pathbus_free(bus);
}

void measure_endpoints(const struct settings *settings)
{
	report_family("Endpoints");
	pin(settings->core);
	pin_daemon(settings, -1);
	for (unsigned i = 0; i < 2; i++)
		if (transport_is_there(settings, transports[i]))
			measure(settings, transports[i]);
	report_note("streams of 64 KiB writes, in turns with a plain socket pair of the same two processes");
}
