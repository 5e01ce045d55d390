/* SPDX-License-Identifier: MIT */
/*
 * test_daemon_stream.c - streams of the control socket: bounded memory whatever the reader does, and every line is told or counted. And
 * how long a connection may take for a request, or for its answer, and how much is done in a turn, by a clock that is put forward.
 *
 * The server runs in the test's own loop; one route is exchanged for a stream (--wrap).
 */
#include "harness/harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/context.h"
#include "daemon/control/control.h"
#include "daemon/control/control_limit.h"
#include "daemon/control/list.h"
#include "daemon/control/place.h"
#include "daemon/control/request.h"
#include "daemon/control/stream.h"
#include "daemon/loop.h"

static struct context context;
static struct control *control;
static struct loop_event *stopper;
static struct control_place place;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static struct answer *line;

/* The daemon's clock. */
static uint64_t ahead_ns, step_ns; /* step_ns: that passes whenever somebody looks */
uint64_t __real_os_now_ns(void);
uint64_t __wrap_os_now_ns(void);
uint64_t __wrap_os_now_ns(void)
{
	ahead_ns += step_ns;
	return __real_os_now_ns() + ahead_ns;
}

/* What the exchanged route answers with: a stream; a list; nothing, as long as nobody says so. */
static enum { STREAMS, LISTS, WAITS } answers;
enum { N_ENTRIES = 900, LISTERS = 4 };
static unsigned n_looks, n_forgotten; /* of all lists; of what waits */

static uint64_t look_at(struct control_request *request, uint64_t after, bool *ret_told)
{
	if (after == N_ENTRIES)
		return 0;
	n_looks++;
	*ret_told = true;
	answer_number(control_answer(request), NULL, after + 1);
	return after + 1;
}

static void forget(void *state)
{
	++*(unsigned *)state;
}

/* Streams that have begun and not ended. */
static struct control_stream *streams[LIMIT_CONTROL_STREAMS + 1];
static unsigned n_begun, n_ended;

static void ended(void *arg)
{
	*(struct control_stream **)arg = NULL;
	n_ended++;
}

void __wrap_control_get_clients(struct control_request *request);
void __wrap_control_get_clients(struct control_request *request)
{
	if (answers == LISTS) {
		control_tell_list(request, "entries", look_at);
		return;
	}
	if (answers == WAITS) {
		control_wait(request, &n_forgotten, forget);
		return;
	}
	for (unsigned i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		if (streams[i])
			continue;
		streams[i] = control_stream_start(request, ended, &streams[i]);
		n_begun += streams[i] != NULL;
		return;
	}
	ck_abort_msg("no place");
}

static void stop(void *arg)
{
	loop_stop(arg);
}

/* So many rounds. What is at work in this process only is done by then. */
static void turn(unsigned n)
{
	while (n-- > 0) {
		loop_call_soon(stopper);
		loop_run(context.loop);
	}
}

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	n_begun = n_ended = 0;
	memset(streams, 0, sizeof(streams));
	context = (struct context){ .loop = loop_new() };
	ck_assert_ptr_nonnull(context.loop);
	stopper = loop_timer(context.loop, stop, context.loop);
	line = answer_new(LIMIT_CONTROL_ANSWER);
	ck_assert(stopper && line);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", harness_path("control"));
	place = (struct control_place){ .is_on = true, .group = (gid_t)-1, .serving = { .dir = -1, .lock = -1 } };
	place.serving.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(place.serving.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(place.serving.listener, 64), 0);
	ck_assert_int_eq(control_start(&context, &place, &control), 0);
}

static void teardown(void)
{
	control = control_end(control);
	ck_assert_uint_eq(n_ended, n_begun);
	control_place_leave(&place);
	line = answer_free(line);
	stopper = loop_event_free(stopper);
	context.loop = loop_free(context.loop);
	unlink(address.sun_path);
}

static int reader(void)
{
	static const char text[] = "GET /v1/clients?limit=1000 HTTP/1.1\r\n\r\n";
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL), (int)(sizeof(text) - 1));
	return fd;
}

static int begin(void)
{
	unsigned before = n_begun;
	int fd = reader();

	for (unsigned i = 0; i < 1000 && n_begun == before; i++)
		turn(1);
	ck_assert_uint_eq(n_begun, before + 1);
	return fd;
}

/* A line with its number and some bytes. Returns whether it was taken. */
static bool tell(struct control_stream *stream, uint64_t number)
{
	static const char padding[] = "--------------------------------------------------------------------------------";

	answer_object(line, NULL);
	answer_number(line, "number", number);
	answer_text(line, "padding", padding);
	answer_end(line);
	return control_stream_send(stream, line);
}

/* What has come: lines as they were sent, without the framing of chunks, which stand alone in theirs. */
struct heard {
	char *text;
	size_t size, at;
	uint64_t next; /* number */
	uint64_t n_dropped, n_told, n_gaps;
};

static void take(struct heard *heard, int fd)
{
	for (;;) {
		ssize_t n;

		heard->text = realloc(heard->text, heard->size + 65537);
		ck_assert_ptr_nonnull(heard->text);
		n = recv(fd, heard->text + heard->size, 65536, 0);
		if (n <= 0)
			return;
		heard->size += (size_t)n;
		heard->text[heard->size] = '\0';
	}
}

static void look(struct heard *heard)
{
	char *end;

	while (heard->text && (end = memchr(heard->text + heard->at, '\n', heard->size - heard->at))) {
		unsigned long long number;
		char *text = heard->text + heard->at, *dropped;

		*end = '\0';
		heard->at = (size_t)(end + 1 - heard->text);
		if (sscanf(text, "{\"number\":%llu,", &number) == 1) {
			ck_assert_uint_eq(number, heard->next);
			heard->next++;
			heard->n_told++;
		} else if ((dropped = strstr(text, "\"kind\":\"dropped\",\"n\":"))) {
			ck_assert(strstr(text, "\"time_ns\":") && strstr(text, "\"time\":\""));
			number = strtoull(strstr(dropped, "\"n\":") + 4, NULL, 10);
			ck_assert_uint_gt(number, 0);
			heard->next += number;
			heard->n_dropped += number;
			heard->n_gaps++;
		}
	}
}

START_TEST(lines_come_as_they_are_sent)
{
	int fd = begin();
	struct heard heard = { 0 };

	for (uint64_t i = 0; i < 100; i++) {
		ck_assert(tell(streams[0], i));
		if (i % 7 == 0)
			turn(2);
	}
	turn(5);
	take(&heard, fd);
	ck_assert(strstr(heard.text, "HTTP/1.1 200") && strstr(heard.text, "application/jsonl"));
	look(&heard);
	ck_assert_uint_eq(heard.n_told, 100);
	ck_assert_uint_eq(heard.n_gaps, 0);
	free(heard.text);
	close(fd);
	turn(5);
	ck_assert_uint_eq(n_ended, 1);
}
END_TEST

/* It has been told of each line, or how many it was not told, and where. */
START_TEST(a_slow_reader_is_told_what_it_has_missed)
{
	int fd = begin();
	struct heard heard = { 0 };
	uint64_t sent = 0, taken = 0;

	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 1000; i++)
			taken += tell(streams[0], sent++);
		turn(3);
		/* It sleeps for some rounds. */
		if (round % 10 == 9)
			take(&heard, fd);
	}
	ck_assert_uint_lt(taken, sent);
	/* And at last it gets to the end. */
	for (unsigned i = 0; i < 1000 && (heard.next < sent || i < 50); i++) {
		turn(2);
		take(&heard, fd);
		look(&heard);
	}
	ck_assert_uint_eq(heard.next, sent);
	ck_assert_uint_eq(heard.n_told, taken);
	ck_assert_uint_eq(heard.n_told + heard.n_dropped, sent);
	ck_assert_uint_gt(heard.n_gaps, 1);
	ck_assert(tell(streams[0], sent));
	free(heard.text);
	close(fd);
}
END_TEST

/* 20 MB of lines that nobody reads. */
START_TEST(a_reader_that_stops_costs_bounded_memory)
{
	int fd = begin();
	uint64_t taken = 0, n = 0;

	for (; n < 200000; n++) {
		taken += tell(streams[0], n);
		if (n % 10000 == 0)
			turn(2);
	}
	/* The kernel's buffer comes on top of what is kept here. */
	ck_assert_uint_lt(taken * 100, LIMIT_CONTROL_STREAM + (UINT64_C(1) << 20));
	ck_assert(control_stream_is_full(streams[0]));
	close(fd);
	for (unsigned i = 0; i < 100 && n_ended == 0; i++)
		turn(1);
	ck_assert_uint_eq(n_ended, 1);
}
END_TEST

/* What it sends while it listens is not read on and on. */
START_TEST(a_reader_that_sends)
{
	static const char junk[65536];
	int fd = begin();
	struct heard heard = { 0 };
	uint64_t n_sent = 0;

	for (unsigned i = 0; i < 2000; i++) {
		ssize_t n = send(fd, junk, sizeof(junk), MSG_NOSIGNAL);

		n_sent += n > 0 ? (uint64_t)n : 0;
		turn(1);
	}
	ck_assert_uint_lt(n_sent, LIMIT_CONTROL_AHEAD + (UINT64_C(1) << 20));
	ck_assert(tell(streams[0], 0));
	turn(5);
	take(&heard, fd);
	look(&heard);
	ck_assert_uint_eq(heard.n_told, 1);
	free(heard.text);
	close(fd);
	/* It cannot be seen that it has gone; the next line tells. */
	for (unsigned i = 0; i < 100 && n_ended == 0; i++) {
		(void)tell(streams[0], 1);
		turn(1);
	}
	ck_assert_uint_eq(n_ended, 1);
}
END_TEST

START_TEST(only_so_many)
{
	int fds[LIMIT_CONTROL_STREAMS + 1];
	struct heard heard = { 0 };

	for (unsigned i = 0; i < LIMIT_CONTROL_STREAMS; i++)
		fds[i] = begin();
	fds[LIMIT_CONTROL_STREAMS] = reader();
	for (unsigned i = 0; i < 100 && heard.size == 0; i++) {
		turn(1);
		take(&heard, fds[LIMIT_CONTROL_STREAMS]);
	}
	ck_assert(strstr(heard.text, " 503 ") && strstr(heard.text, "too-many-streams"));
	free(heard.text);
	/* One that ends makes room for another. */
	close(fds[3]);
	for (unsigned i = 0; i < 100 && n_ended == 0; i++)
		turn(1);
	fds[3] = begin();
	for (unsigned i = 0; i <= LIMIT_CONTROL_STREAMS; i++)
		close(fds[i]);
}
END_TEST

/* From this side: all that was sent comes, and then the end; `ended` is not called. */
START_TEST(ended_here)
{
	int fd = begin();
	struct heard heard = { 0 };

	ck_assert(tell(streams[0], 0));
	streams[0] = control_stream_end(streams[0]);
	n_ended++;
	turn(5);
	take(&heard, fd);
	look(&heard);
	ck_assert_uint_eq(heard.n_told, 1);
	ck_assert(heard.size > 5 && memcmp(heard.text + heard.size - 5, "0\r\0\r", 4) == 0);
	free(heard.text);
	close(fd);
	turn(5);
}
END_TEST

static bool is_open(int fd, struct heard *heard)
{
	char byte;

	turn(20);
	take(heard, fd);
	return recv(fd, &byte, 1, MSG_PEEK) != 0;
}

/* The door looks each second; a minute is for machines that do other things. */
static void wait_for_end(int fd, struct heard *heard)
{
	uint64_t end_ns = __real_os_now_ns() + UINT64_C(60000000000);

	while (is_open(fd, heard) && __real_os_now_ns() < end_ns)
		usleep(1000);
	ck_assert(!is_open(fd, heard));
}

/* Halves of requests, and those who say nothing, go when their time is over, however they spend it; who asks, stays longer, and a
 * stream for as long as it likes. */
START_TEST(half_requests)
{
	static const char whole[] = "GET /healthz HTTP/1.1\r\n\r\n";
	int listens = begin(), silent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), half, asks;
	struct heard heard = { 0 };

	half = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	asks = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(connect(silent, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(connect(half, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(connect(asks, (struct sockaddr *)&address, sizeof(address)), 0);
	turn(5);
	ahead_ns = (LIMIT_CONTROL_WAIT_MS - 2000) * UINT64_C(1000000);
	ck_assert_int_eq(send(half, whole, 5, MSG_NOSIGNAL), 5);
	ck_assert_int_eq(send(asks, whole, sizeof(whole) - 1, MSG_NOSIGNAL), (int)sizeof(whole) - 1);
	turn(5);
	take(&heard, asks);
	ck_assert(strstr(heard.text, "{\"status\":\"ok\"}"));
	ck_assert_int_eq(send(half, whole + 5, 5, MSG_NOSIGNAL), 5);
	ahead_ns = (LIMIT_CONTROL_WAIT_MS + 1000) * UINT64_C(1000000);
	wait_for_end(half, &heard);
	ck_assert(!is_open(silent, &heard));
	ck_assert(is_open(asks, &heard));
	ahead_ns = UINT64_C(3600000000000);
	wait_for_end(asks, &heard);
	ck_assert(is_open(listens, &heard));
	ck_assert(tell(streams[0], 0));
	turn(5);
	take(&heard, listens);
	ck_assert(strstr(heard.text, "{\"number\":0,"));
	free(heard.text);
	close(listens);
	close(silent);
	close(half);
	close(asks);
}
END_TEST

/* By a clock that goes on by 5 us with each look at it: in a round as much is done as fits in the turn of all, by whoever is at work. */
START_TEST(long_answers_are_made_in_turns)
{
	struct heard heard[LISTERS] = { { 0 } };
	unsigned most = 0, n_rounds = 0, n_all = 0;
	int fds[LISTERS];

	answers = LISTS;
	for (unsigned i = 0; i < LISTERS; i++)
		fds[i] = reader();
	step_ns = 5000;
	for (unsigned i = 0; i < 10000 && n_all < LISTERS; i++) {
		unsigned before = n_looks;

		turn(1);
		most = n_looks - before > most ? n_looks - before : most;
		n_rounds += n_looks > before;
		n_all = 0;
		for (unsigned k = 0; k < LISTERS; k++) {
			take(&heard[k], fds[k]);
			n_all += heard[k].text && strstr(heard[k].text, ",899,900],\"next\":null}") != NULL;
		}
	}
	ck_assert_uint_eq(n_all, LISTERS);
	ck_assert_uint_eq(n_looks, LISTERS * N_ENTRIES);
	/* turn(1) is one or two rounds. */
	ck_assert_uint_le(most, 2 * LIMIT_CONTROL_TURN_NS / step_ns);
	ck_assert_uint_gt(n_rounds, n_looks / most - 1);
	for (unsigned i = 0; i < LISTERS; i++) {
		free(heard[i].text);
		close(fds[i]);
	}
	turn(5);
}
END_TEST

/* Whom nobody has answered is forgotten with the server. */
START_TEST(what_waits_ends)
{
	int fd;

	answers = WAITS;
	fd = reader();
	turn(10);
	ck_assert_uint_eq(n_forgotten, 0);
	control = control_end(control);
	ck_assert_uint_eq(n_forgotten, 1);
	close(fd);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(long_answers_are_made_in_turns),
	HARNESS_CASE(what_waits_ends),
	HARNESS_CASE(half_requests),
	HARNESS_CASE(lines_come_as_they_are_sent),
	HARNESS_CASE(a_slow_reader_is_told_what_it_has_missed),
	HARNESS_CASE(a_reader_that_stops_costs_bounded_memory),
	HARNESS_CASE(a_reader_that_sends),
	HARNESS_CASE(only_so_many),
	HARNESS_CASE(ended_here),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){
	                            .name = "daemon-stream", .cases = cases, .setup = setup, .teardown = teardown });
}
