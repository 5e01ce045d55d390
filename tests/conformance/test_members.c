/* SPDX-License-Identifier: MIT */
/* test_members.c - who has a topic open, as pathbus_member_list tells it. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/process.h"
#include "page.h"

enum { MOST = 300, STOPPED = 7 };

static struct pathbus_member members[MOST];
static unsigned n_members;

static int note(const struct pathbus_member *member, void *arg)
{
	(void)arg;
	ck_assert_uint_lt(n_members, MOST);
	members[n_members++] = *member;
	return 0;
}

/* Returns how many there are; they are in `members`. */
static unsigned list(pathbus_topic *topic)
{
	n_members = 0;
	ck_assert_int_eq(pathbus_member_list(topic, note, NULL), 0);
	return n_members;
}

/* NULL: is not among them. */
static const struct pathbus_member *find(uint64_t origin)
{
	for (unsigned i = 0; i < n_members; i++)
		if (members[i].origin == origin)
			return &members[i];
	return NULL;
}

static const char *own_name(void)
{
	static char name[32];
	const char *text = harness_read_file("/proc/self/comm");

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, "\n"), text);
	return name;
}

static void *post_from_thread(void *topic)
{
	ck_assert_int_eq(pathbus_post(topic), 0);
	return NULL;
}

START_TEST(tells_who_and_what)
{
	pathbus *a, *b, *c;
	pathbus_topic *of_a, *of_b, *of_c, *other;
	const struct pathbus_member *member;
	pthread_t thread;
	uint64_t origin;

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	c = transport_new();
	of_a = transport_open(a, "data", 0);
	ck_assert_uint_eq(list(of_a), 1);
	of_b = transport_open(b, "data", PATHBUS_POST);
	of_c = transport_open(c, "data", PATHBUS_SUBSCRIBE);
	other = transport_open(c, "other", 0);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(pathbus_post(of_b), 0);
	ck_assert_int_eq(pathbus_publish(of_b, "x", 1), 0); /* no post */
	ck_assert_int_eq(pathbus_post(of_a), 0);

	ck_assert_uint_eq(list(of_a), 3);
	for (unsigned i = 0; i < n_members; i++) {
		ck_assert_int_eq(members[i].pid, getpid());
		ck_assert_uint_eq(members[i].uid, geteuid());
		ck_assert_str_eq(members[i].command, own_name());
		ck_assert_int_eq(members[i].is_link, 0);
		ck_assert_int_eq(members[i].is_self, members[i].origin == pathbus_origin(of_a));
	}
	member = find(pathbus_origin(of_a));
	ck_assert(member && member->subscribes && member->n_posts == 1);
	member = find(pathbus_origin(of_b));
	ck_assert(member && !member->subscribes && member->n_posts == 5);
	member = find(pathbus_origin(of_c));
	ck_assert(member && member->subscribes && member->n_posts == 0);
	ck_assert_uint_eq(list(other), 1); /* each topic has its own */

	/* What other threads post is counted as soon as somebody hides, which nobody can do over the socket. */
	if (_i != ON_SOCKET)
		ck_assert_int_eq(pathbus_hide(of_a, pathbus_origin(of_b)), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, post_from_thread, of_b), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	list(of_a);
	ck_assert_uint_eq(find(pathbus_origin(of_b))->n_posts, 6);

	origin = pathbus_origin(of_c);
	pathbus_close(of_c);
	harness_await(list(of_a) == 2);
	ck_assert_ptr_null(find(origin));
	pathbus_free(a);
	pathbus_free(b);
	pathbus_free(c);
}
END_TEST

/* It may stop the list, call the library, and close the very topic. */
static int close_and_stop(const struct pathbus_member *member, void *arg)
{
	pathbus_topic **topic = arg;

	ck_assert_uint_ne(member->origin, 0);
	ck_assert_ptr_nonnull(*topic);
	ck_assert_uint_eq(list(*topic), 2);
	*topic = pathbus_close(*topic);
	return STOPPED;
}

START_TEST(function_may_stop_and_close)
{
	pathbus *bus;
	pathbus_topic *topic;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	transport_open(bus, "data", 0);
	ck_assert_int_eq(pathbus_member_list(topic, close_and_stop, &topic), STOPPED);
	ck_assert_ptr_null(topic);
	pathbus_free(bus);
}
END_TEST

static int never(const struct pathbus_member *member, void *arg)
{
	(void)member, (void)arg;
	ck_abort_msg("was called");
	return 0;
}

START_TEST(errors)
{
	pathbus *bus;
	pathbus_topic *topic;
	int status;
	pid_t child;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	ck_assert_int_eq(pathbus_member_list(NULL, never, NULL), -EINVAL);
	ck_assert_int_eq(pathbus_member_list(topic, NULL, NULL), -EINVAL);
	child = fork();
	if (child == 0)
		_exit(pathbus_member_list(topic, never, NULL) == -ECHILD ? 0 : 1);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	pathbus_free(bus);
}
END_TEST

static int be_there(struct harness_process *peer, void *arg)
{
	struct pathbus_options options = transport_options();
	pathbus *bus;
	pathbus_topic *topic;

	if (arg)
		options.transport = *(enum pathbus_transport_kind *)arg;
	ck_assert_int_eq(pathbus_new(&bus, &options), 0);
	ck_assert_int_eq(pathbus_open(bus, transport_path("data"), 0, &topic), 0);
	ck_assert_int_eq(pathbus_post(topic), 0);
	harness_tell(peer, "ready");
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

START_TEST(other_processes_and_the_dead)
{
	struct harness_process processes[3];
	pathbus *bus;
	pathbus_topic *topic;

	transport_begin(_i);
	harness_allow_sidecars();
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	for (int i = 0; i < 3; i++)
		harness_spawn(&processes[i], be_there, NULL);
	for (int i = 0; i < 3; i++)
		harness_expect_line(&processes[i], "ready");
	ck_assert_uint_eq(list(topic), 4);
	for (int i = 0; i < 3; i++) {
		unsigned n_found = 0;

		for (unsigned k = 0; k < n_members; k++)
			if (members[k].pid == processes[i].pid && members[k].n_posts == 1 && !members[k].is_self)
				n_found++;
		ck_assert_uint_eq(n_found, 1);
	}
	if (_i == ON_BUS)
		harness_daemon_suspend(transport_daemon()); /* so that it does not clear the slot */
	harness_signal(&processes[0], SIGKILL);
	harness_expect_signal(&processes[0], SIGKILL);
	/* At once: peer to peer its lock has gone with it, and on the bus there is no such process any more. */
	ck_assert_uint_eq(list(topic), 3);
	for (unsigned k = 0; k < n_members; k++)
		ck_assert_int_ne(members[k].pid, processes[0].pid);
	if (_i == ON_BUS)
		harness_daemon_resume(transport_daemon());
	for (int i = 1; i < 3; i++) {
		harness_tell(&processes[i], "end");
		harness_expect_exit(&processes[i], 0);
	}
	harness_await(list(topic) == 1);
	pathbus_free(bus);
}
END_TEST

/* What a file's rights were when it was opened decides the lane: who is on another one is told by the daemon. */
START_TEST(those_of_other_lanes)
{
	enum { N_READERS = 40 }; /* more than one answer names */
	pathbus *writer, *reader, *remote;
	pathbus_topic *from, *to[N_READERS], *apart;
	struct pathbus_options options;
	const struct pathbus_member *member;

	if (geteuid() == 0)
		(void)transport_try_own_mounts();
	transport_become_nobody(); /* so that the mode bits decide */
	transport_begin(ON_BUS);
	harness_write_file(transport_edit("data"), "data");
	writer = transport_new();
	reader = transport_new();
	options = transport_options();
	options.transport = PATHBUS_SOCKET;
	ck_assert_int_eq(pathbus_new(&remote, &options), 0);
	from = transport_open(writer, "data", 0);
	ck_assert_int_eq(chmod(transport_edit("data"), 0400), 0);
	for (int i = 0; i < N_READERS; i++)
		to[i] = transport_open(reader, "data", PATHBUS_SUBSCRIBE);
	ck_assert_int_eq(pathbus_open(remote, transport_path("data"), PATHBUS_SUBSCRIBE, &apart), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pathbus_post(from), 0);
	for (int k = 0; k < 3; k++) {
		ck_assert_uint_eq(list(k == 0 ? from : k == 1 ? to[7] : apart), N_READERS + 2);
		member = find(pathbus_origin(from));
		ck_assert(member && member->n_posts == 3 && member->pid == getpid() && member->is_self == (k == 0));
		for (int i = 0; i < N_READERS; i++) {
			member = find(pathbus_origin(to[i]));
			ck_assert(member && member->subscribes && member->n_posts == 0 && member->uid == geteuid());
			ck_assert_int_eq(member->is_self, k == 1 && i == 7);
		}
		ck_assert_ptr_nonnull(find(pathbus_origin(apart)));
	}
	pathbus_free(reader);
	harness_await(list(from) == 2);
	pathbus_free(remote);
	pathbus_free(writer);
}
END_TEST

/* Who has only the socket is among them for those who can see the table. */
START_TEST(socket_members_are_listed)
{
	static enum pathbus_transport_kind kind = PATHBUS_SOCKET;
	struct harness_process process;
	pathbus *bus;
	pathbus_topic *topic;

	transport_begin(ON_BUS);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	harness_spawn(&process, be_there, &kind);
	harness_expect_line(&process, "ready");
	ck_assert_uint_eq(list(topic), 2);
	for (unsigned k = 0; k < n_members; k++)
		if (!members[k].is_self) {
			ck_assert_int_eq(members[k].pid, process.pid);
			ck_assert_int_eq(members[k].subscribes, 1);
			ck_assert_uint_eq(members[k].n_posts, 1);
			ck_assert_str_eq(members[k].command, own_name());
		}
	harness_tell(&process, "end");
	harness_expect_exit(&process, 0);
	pathbus_free(bus);
}
END_TEST

START_TEST(a_link_is_told_apart)
{
	static enum pathbus_transport_kind kind = PATHBUS_PEER;
	struct harness_process process;
	pathbus *bus;
	pathbus_topic *topic;
	unsigned n_links = 0;

	transport_begin(ON_BUS);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	ck_assert_uint_eq(list(topic), 1);
	harness_spawn(&process, be_there, &kind);
	harness_expect_line(&process, "ready");
	harness_await(list(topic) == 2); /* itself and the link; who is behind that is not seen from here */
	for (unsigned k = 0; k < n_members; k++) {
		n_links += members[k].is_link != 0;
		ck_assert_int_eq(members[k].is_link, !members[k].is_self);
		ck_assert_int_ne(members[k].pid, process.pid);
	}
	ck_assert_uint_eq(n_links, 1);
	harness_tell(&process, "end");
	harness_expect_exit(&process, 0);
	harness_await(list(topic) == 1);
	pathbus_free(bus);
}
END_TEST

/* Numbers of processes from elsewhere: nothing is said about processes here that happen to have them. */
static int list_from_elsewhere(struct harness_process *peer, void *arg)
{
	pid_t child;
	int status;

	(void)arg;
	(void)peer;
	if (unshare(CLONE_NEWPID) < 0)
		return 77;
	child = fork();
	if (child == 0) {
		pathbus *bus = transport_new();
		pathbus_topic *topic = transport_open(bus, "data", PATHBUS_POST);

		ck_assert_uint_eq(list(topic), 2);
		for (unsigned k = 0; k < n_members; k++) {
			ck_assert_str_eq(members[k].command, "");
			ck_assert_uint_eq(members[k].uid, (uid_t)-1);
			ck_assert_int_gt(members[k].pid, 1); /* what the daemon calls it */
		}
		pathbus_free(bus);
		_exit(0);
	}
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

START_TEST(from_another_pid_namespace)
{
	struct harness_process elsewhere;
	pathbus *bus;
	int status;

	transport_begin(ON_BUS);
	bus = transport_new();
	transport_open(bus, "data", 0);
	harness_spawn(&elsewhere, list_from_elsewhere, NULL);
	status = harness_wait(&elsewhere);
	pathbus_free(bus);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		transport_end();
		harness_skip("no pid namespace of one's own");
	}
	ck_assert_int_eq(status, 0);
}
END_TEST

/* Who comes when the table is full works, and is not in it. */
START_TEST(more_than_the_table_holds)
{
	enum { N = PAGE_SLOTS + 5 };
	pathbus *bus;
	pathbus_topic *topics[N];
	unsigned n_self = 0;

	transport_begin(_i);
	bus = transport_new();
	for (int i = 0; i < N; i++)
		topics[i] = transport_open(bus, "data", 0);
	for (int i = 0; i < N; i++) {
		if (i > 2 && i < N - 7)
			continue;
		ck_assert_uint_eq(list(topics[i]), PAGE_SLOTS);
		for (unsigned k = 0; k < n_members; k++)
			n_self += members[k].is_self && members[k].origin == pathbus_origin(topics[i]);
	}
	ck_assert_uint_eq(n_self, 3 + 2);
	pathbus_free(bus);
}
END_TEST

/* Any member may write the table. What is listed may be nonsense then, but nothing happens. */
START_TEST(nonsense_in_the_table)
{
	static const uint32_t pids[] = { 1, UINT32_MAX, (uint32_t)INT32_MIN, INT32_MAX, 0, 2 };
	pathbus *bus;
	pathbus_topic *topic;
	struct page *page;
	int file;

	transport_begin(ON_PEER);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	file = open(harness_path("files/.data.pathbus/page"), O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(file, 0);
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		/* So that they count as living, with the lock of another open file. */
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_SLOT + (off_t)i, .l_len = 1 };
		struct page_slot *slot = &page->slots[i];

		if (atomic_load(&slot->origin) == pathbus_origin(topic) || fcntl(file, F_OFD_SETLK, &lock) < 0)
			continue;
		atomic_store(&slot->pid, pids[i % 6]);
		atomic_store(&slot->origin, i % 5 ? UINT64_MAX - i : pathbus_origin(topic));
		atomic_store(&slot->posts, UINT64_MAX - i);
		atomic_store(&slot->posts_elsewhere, i % 3 ? UINT64_MAX : 0);
		atomic_store(&slot->flags, (uint16_t)(i % 7 ? UINT16_MAX : 0));
	}
	ck_assert_uint_gt(list(topic), 100);
	for (unsigned k = 0; k < n_members; k++) {
		ck_assert_int_gt(members[k].pid, 0);
		ck_assert_int_eq(members[k].is_self, members[k].origin == pathbus_origin(topic) &&
		                                     members[k].pid == getpid());
		ck_assert_uint_le(members[k].n_posts, 2 * COUNT_POSTS);
		ck_assert_uint_lt(strlen(members[k].command), sizeof(members[k].command));
	}
	munmap(page, sizeof(*page));
	close(file);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(tells_who_and_what, N_TRANSPORTS),
	HARNESS_CASE_EACH(function_may_stop_and_close, N_TRANSPORTS),
	HARNESS_CASE_EACH(errors, N_TRANSPORTS),
	HARNESS_CASE_EACH(other_processes_and_the_dead, ON_SOCKET),
	HARNESS_CASE(those_of_other_lanes),
	HARNESS_CASE(socket_members_are_listed),
	HARNESS_CASE(a_link_is_told_apart),
	HARNESS_CASE(from_another_pid_namespace),
	HARNESS_CASE_EACH(more_than_the_table_holds, ON_RUNTIME),
	HARNESS_CASE(nonsense_in_the_table),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "members", .cases = cases, .teardown = transport_end });
}
