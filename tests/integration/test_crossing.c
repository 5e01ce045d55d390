/* SPDX-License-Identifier: MIT */
/*
 * test_crossing.c - one daemon for all: processes of three users on one topic. What one says the others hear, from it.
 */
#include "harness/daemon.h"
#include "harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pathbus.h>

#include "seams/letters.h"

enum { SERVICE = 64242, FIRST_USER = 61001, N_USERS = 3, N_GUESTS = 6, SLOTS = 1024, BURST = 4 };

/* A process of some user. What it has heard it writes where the case sees it. */
struct guest {
	struct harness_process process;
	uid_t uid;
	enum pathbus_transport_kind transport;
	unsigned flags;
	struct shared {
		struct letter_book book;
		struct letter_audit audit;
		_Atomic uint64_t posts, messages, missed, resyncs, last[N_GUESTS];
		_Atomic uint32_t uid, pid; /* of the last message */
		_Atomic uint64_t origin;
		_Atomic bool writes; /* letters, all the time */
	} *shared;
};

static struct harness_daemon daemon_;
static struct guest guests[N_GUESTS];
static const char *file;

/* --- around each case --------------------------------------------------------------------------------------------- */

static void setup(void)
{
	const char *folder;

	if (geteuid() != 0)
		harness_skip("needs root, to be other users");
	ck_assert_int_eq(chmod(harness_tmpdir(), 0755), 0);
	ck_assert_int_eq(chmod(harness_path(".."), 0711), 0);
	folder = harness_path("run");
	ck_assert_int_eq(mkdir(folder, 0755), 0);
	ck_assert_int_eq(chown(folder, SERVICE, SERVICE), 0);
	file = harness_path("data");
	harness_write_file(file, "data");
	ck_assert_int_eq(chmod(file, 0666), 0);
	daemon_.address = harness_path("run/socket");
	harness_daemon_start(&daemon_, (const char *const[]){ "--system", "--user", "64242", NULL });
}

static void become(uid_t uid)
{
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setresgid(uid, uid, uid), 0);
	ck_assert_int_eq(setresuid(uid, uid, uid), 0);
	/* A change of user forgets these. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_DUMPABLE, 1);
}

/* --- what a guest does -------------------------------------------------------------------------------------------- */

static void hear_all(struct guest *guest, pathbus *bus, bool audits)
{
	struct pathbus_event event = { .size = sizeof(event) };
	struct shared *shared = guest->shared;
	int r;

	while ((r = pathbus_next(bus, &event)) > 0) {
		if (audits)
			letter_audit_take(&shared->audit, &event);
		if (event.kind == PATHBUS_EVENT_MESSAGE) {
			atomic_store(&shared->uid, (uint32_t)event.uid);
			atomic_store(&shared->pid, (uint32_t)event.pid);
			atomic_store(&shared->origin, event.origin);
			atomic_fetch_add(&shared->messages, 1);
		}
		if (event.kind == PATHBUS_EVENT_POST)
			atomic_fetch_add(&shared->posts, event.count);
		if (event.kind == PATHBUS_EVENT_GAP)
			atomic_fetch_add(&shared->missed, event.count);
		if (event.kind == PATHBUS_EVENT_RESYNC)
			atomic_fetch_add(&shared->resyncs, 1);
		for (int i = 0; i < N_GUESTS; i++)
			atomic_store(&shared->last[i], shared->audit.last[i]);
	}
	ck_assert_int_eq(r, 0);
}

static void obey(struct harness_process *peer, pathbus_topic *topic, const char *line)
{
	struct pathbus_sync sync = { .size = sizeof(sync) };
	uint64_t a = 0, b = 0;

	if (sscanf(line, "set %lu", &a) == 1) {
		harness_tell(peer, "%d", pathbus_set_state(topic, a));
	} else if (sscanf(line, "exchange %lu %lu", &a, &b) == 2) {
		harness_tell(peer, "%d", pathbus_exchange_state(topic, a, b));
	} else if (strcmp(line, "get") == 0) {
		ck_assert_int_eq(pathbus_get_state(topic, &a, NULL), 0);
		harness_tell(peer, "%lu", a);
	} else if (strcmp(line, "post") == 0) {
		harness_tell(peer, "%d", pathbus_post(topic));
	} else if (strcmp(line, "publish") == 0) {
		harness_tell(peer, "%d", pathbus_publish(topic, "hello", 5));
	} else if (strcmp(line, "count") == 0) { /* with others, until 1000 is reached */
		for (int r; a < 1000;) {
			ck_assert_int_eq(pathbus_get_state(topic, &a, NULL), 0);
			r = a < 1000 ? pathbus_exchange_state(topic, a, a + 1) : -EAGAIN;
			ck_assert(r == 0 || r == -EAGAIN);
			b += r == 0;
		}
		harness_tell(peer, "%lu", b);
	} else if (sscanf(line, "sync %lu", &a) == 1) {
		int r = pathbus_sync(topic, harness_now_ns() + a * 1000000, &sync);

		harness_tell(peer, "%d %u %u", r, (unsigned)sync.n_caught_up, (unsigned)sync.n_subscribers);
	} else {
		ck_abort_msg("what is '%s'?", line);
	}
}

static int be_guest(struct harness_process *peer, void *arg)
{
	struct guest *guest = arg;
	struct pathbus_options options = { .size = sizeof(options), .address = daemon_.address, .transport = guest->transport,
		                           .timeout_ms = harness_limit_ms };
	struct pathbus_topic_options topic_options = { .size = sizeof(topic_options), .ring_slots = SLOTS };
	struct pollfd fds[2] = { { .fd = peer->in, .events = POLLIN }, { .events = POLLIN } };
	uint64_t next_ns = 0;
	pathbus_topic *topic;
	pathbus *bus;

	become(guest->uid);
	ck_assert_int_eq(pathbus_new(&bus, &options), 0);
	ck_assert_int_eq(pathbus_open_with(bus, file, guest->flags, &topic_options, &topic), 0);
	fds[1].fd = pathbus_fd(bus);
	harness_tell(peer, "ready");
	for (;;) {
		bool writes = atomic_load(&guest->shared->writes);

		ck_assert_int_ge(poll(fds, 2, writes ? 1 : 20), 0);
		hear_all(guest, bus, guest->shared->book.writer < N_GUESTS);
		/* Not at each letter that it hears: then all would answer all. */
		if (writes && harness_now_ns() >= next_ns) {
			for (int i = 0; i < BURST; i++)
				ck_assert_int_eq(letter_write(&guest->shared->book, topic), 0);
			next_ns = harness_now_ns() + 1000000;
		}
		if (fds[0].revents) {
			const char *line = harness_hear(peer);

			if (!line || strcmp(line, "end") == 0)
				break;
			obey(peer, topic, line);
		}
	}
	pathbus_free(bus);
	return 0;
}

static void start(struct guest *guest)
{
	harness_spawn(&guest->process, be_guest, guest);
	harness_expect_line(&guest->process, "ready");
}

static struct guest *come(unsigned i, unsigned whose, enum pathbus_transport_kind transport, unsigned flags)
{
	struct guest *guest = &guests[i];

	guest->uid = FIRST_USER + whose;
	guest->transport = transport;
	guest->flags = flags;
	guest->shared = mmap(NULL, sizeof(*guest->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(guest->shared, MAP_FAILED);
	guest->shared->book.writer = N_GUESTS; /* nothing is audited */
	start(guest);
	return guest;
}

static const char *ask(struct guest *guest, const char *line)
{
	harness_tell(&guest->process, "%s", line);
	return harness_hear(&guest->process);
}

static void tell(struct guest *guest, const char *line, const char *answer)
{
	const char *heard = ask(guest, line);

	ck_assert_msg(heard && strcmp(heard, answer) == 0, "%s: %s, not %s", line, heard ? heard : "nothing", answer);
}

static void end(struct guest *guest)
{
	harness_tell(&guest->process, "end");
	harness_expect_exit(&guest->process, 0);
}

static void end_all(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		end(&guests[i]);
	harness_daemon_stop(&daemon_);
}

/* --- cases -------------------------------------------------------------------------------------------------------- */

static const enum pathbus_transport_kind kinds[] = { PATHBUS_BUS, PATHBUS_SOCKET };

START_TEST(posts_and_messages)
{
	struct guest *a = come(0, 0, PATHBUS_BUS, 0), *b = come(1, 1, kinds[_i], 0), *c = come(2, 2, kinds[_i], PATHBUS_SUBSCRIBE);

	tell(a, "post", "0");
	harness_await(atomic_load(&b->shared->posts) == 1 && atomic_load(&c->shared->posts) == 1);
	tell(b, "post", "0");
	harness_await(atomic_load(&a->shared->posts) == 1 && atomic_load(&c->shared->posts) == 2);
	tell(a, "publish", "0");
	harness_await(atomic_load(&b->shared->messages) == 1 && atomic_load(&c->shared->messages) == 1);
	ck_assert_uint_eq(atomic_load(&b->shared->uid), a->uid);
	ck_assert_uint_eq(atomic_load(&b->shared->pid), (uint32_t)a->process.pid);
	tell(b, "publish", "0");
	harness_await(atomic_load(&a->shared->messages) == 1 && atomic_load(&c->shared->messages) == 2);
	ck_assert_uint_eq(atomic_load(&a->shared->uid), b->uid);
	ck_assert_uint_eq(atomic_load(&a->shared->pid), (uint32_t)b->process.pid);
	ck_assert_uint_eq(atomic_load(&a->shared->resyncs) + atomic_load(&a->shared->missed), 0);
	/* Who dies may have changed the file. */
	harness_signal(&a->process, SIGKILL);
	harness_expect_signal(&a->process, SIGKILL);
	harness_await(atomic_load(&b->shared->resyncs) > 0 && atomic_load(&c->shared->resyncs) > 0);
	end(b);
	end(c);
	harness_daemon_stop(&daemon_);
}
END_TEST

START_TEST(one_state)
{
	struct guest *a = come(0, 0, PATHBUS_BUS, 0), *b, *c;
	unsigned long sum = 0;

	tell(a, "set 5", "0");
	b = come(1, 1, kinds[_i], 0);
	c = come(2, 2, kinds[_i], PATHBUS_SUBSCRIBE);
	tell(b, "get", "5");
	tell(c, "get", "5");
	tell(b, "set 6", "0");
	tell(a, "get", "6");
	tell(c, "get", "6");
	tell(a, "exchange 5 7", "-11");
	tell(a, "exchange 6 7", "0");
	tell(b, "exchange 6 8", "-11");
	tell(b, "get", "7");
	tell(c, "set 9", "-13");
	tell(c, "get", "7");
	/* Each step is somebody's, and nobody else's. */
	tell(a, "set 0", "0");
	come(3, 0, PATHBUS_BUS, 0);
	for (unsigned i = 0; i < 4; i++)
		if (i != 2)
			harness_tell(&guests[i].process, "count");
	for (unsigned i = 0; i < 4; i++)
		if (i != 2)
			sum += strtoul(harness_hear(&guests[i].process), NULL, 10);
	ck_assert_uint_eq(sum, 1000);
	tell(c, "get", "1000");
	end_all(4);
}
END_TEST

START_TEST(sync_counts_all)
{
	struct guest *a = come(0, 0, PATHBUS_BUS, 0), *b = come(1, 1, kinds[_i], 0), *c = come(2, 2, PATHBUS_BUS, 0);

	come(3, 0, PATHBUS_BUS, 0);
	tell(a, "post", "0");
	tell(a, "sync 20000", "0 3 3");
	ck_assert_uint_eq(atomic_load(&b->shared->posts), 1);
	ck_assert_uint_eq(atomic_load(&c->shared->posts), 1);
	harness_signal(&c->process, SIGSTOP);
	tell(b, "publish", "0");
	tell(b, "sync 200", "-110 2 3");
	harness_signal(&c->process, SIGCONT);
	tell(b, "sync 20000", "0 3 3");
	/* Who dies leaves the count. */
	harness_signal(&c->process, SIGSTOP);
	tell(b, "publish", "0");
	harness_tell(&b->process, "sync 20000");
	harness_signal(&c->process, SIGKILL);
	harness_expect_signal(&c->process, SIGKILL);
	harness_expect_line(&b->process, "0 2 2");
	end(a);
	end(b);
	end(&guests[3]);
	harness_daemon_stop(&daemon_);
}
END_TEST

/* Two processes of each user write and listen, and are killed. */
static void write_all(bool writes)
{
	for (unsigned i = 0; i < N_GUESTS; i++)
		atomic_store(&guests[i].shared->writes, writes);
}

static bool all_have_heard(void)
{
	for (unsigned i = 0; i < N_GUESTS; i++)
		for (unsigned j = 0; j < N_GUESTS; j++)
			if (i != j && atomic_load(&guests[i].shared->last[j]) != atomic_load(&guests[j].shared->book.begun))
				return false;
	return true;
}

static void kill_and_replace(struct guest *guest)
{
	uint64_t resyncs[N_GUESTS], begun = atomic_load(&guest->shared->book.begun);

	harness_await(atomic_load(&guest->shared->book.begun) > begun + 20);
	for (unsigned i = 0; i < N_GUESTS; i++)
		resyncs[i] = atomic_load(&guests[i].shared->resyncs);
	harness_signal(&guest->process, SIGKILL);
	harness_expect_signal(&guest->process, SIGKILL);
	/* Then the next one's letters are not before that. */
	for (unsigned i = 0; i < N_GUESTS; i++)
		if (&guests[i] != guest)
			harness_await(atomic_load(&guests[i].shared->resyncs) > resyncs[i]);
	guest->shared->audit = (struct letter_audit){ .reach = SLOTS };
	letter_audit_late(&guest->shared->audit);
	start(guest);
}

START_TEST(chaos)
{
	harness_limit_ms *= 2;
	for (unsigned i = 0; i < N_GUESTS; i++) {
		come(i, i % N_USERS, i == N_GUESTS - 1 ? PATHBUS_SOCKET : PATHBUS_BUS, 0);
		guests[i].shared->audit.reach = SLOTS;
		letter_audit_late(&guests[i].shared->audit);
		guests[i].shared->book.writer = i;
	}
	for (unsigned round = 0; round < (harness_full() ? 100 : 15); round++) {
		write_all(true);
		kill_and_replace(&guests[(unsigned)rand() % N_GUESTS]);
		write_all(false);
		for (unsigned i = 0; i < N_GUESTS; i++)
			tell(&guests[i], "get", "0");
		/* A last one of each, which nobody misses. */
		for (unsigned i = 0; i < N_GUESTS; i++) {
			uint64_t begun = atomic_load(&guests[i].shared->book.begun);

			atomic_store(&guests[i].shared->writes, true);
			harness_await(atomic_load(&guests[i].shared->book.begun) > begun);
			atomic_store(&guests[i].shared->writes, false);
			tell(&guests[i], "get", "0");
		}
		harness_await(all_have_heard());
	}
	for (unsigned i = 0; i < N_GUESTS; i++)
		printf("guest %u: %llu letters, %llu missed, %llu in gaps, %llu resyncs\n", i,
		       (unsigned long long)guests[i].shared->audit.n_letters,
		       (unsigned long long)guests[i].shared->audit.n_missed,
		       (unsigned long long)guests[i].shared->audit.n_gaps,
		       (unsigned long long)guests[i].shared->audit.n_resyncs);
	end_all(N_GUESTS);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(posts_and_messages, 2),
	HARNESS_CASE_EACH(one_state, 2),
	HARNESS_CASE_EACH(sync_counts_all, 2),
	HARNESS_CASE(chaos),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "crossing", .cases = cases, .setup = setup });
}
