/* SPDX-License-Identifier: MIT */
/* test_sidecar_trust.c - nothing that is found in a sidecar's place is trusted before it is checked. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/sidecars.h"
#include "harness/process.h"
#include "page.h"

#define NOBODY 65534u

static pathbus *bus;

static void begin(void)
{
	transport_begin(ON_PEER);
	bus = transport_new();
}

static int try(void)
{
	pathbus_topic *topic = NULL;
	int r = pathbus_open(bus, transport_path("data"), 0, &topic);

	if (r < 0)
		ck_assert_ptr_null(topic);
	else
		pathbus_close(topic);
	return r;
}

static void end(void)
{
	pathbus_free(bus);
	harness_allow_sidecars(); /* what was planted */
}

static void expect_use(void)
{
	pathbus *other = transport_new();
	pathbus_topic *from = transport_open(other, "data", 0);

	transport_open(bus, "data", 0);
	ck_assert_int_eq(pathbus_post(from), 0);
	await_posts(bus, 1);
	pathbus_free(other);
	bus = pathbus_free(bus);
	bus = transport_new();
	ck_assert(!is_there(sidecar_path("data", NULL)));
}

/* Refused, and left as it is. */
static void expect_refusal(int error)
{
	ino_t inode = inode_of(sidecar_path("data", NULL));
	int n = count_entries(sidecar_path("data", NULL), "");

	ck_assert_msg(try() == error, "not %s", strerror(-error));
	ck_assert_uint_eq(inode_of(sidecar_path("data", NULL)), inode);
	ck_assert_int_eq(count_entries(sidecar_path("data", NULL), ""), n);
	ck_assert_int_eq(count_entries(harness_path("files"), ".data.pathbus"), 1);
}

START_TEST(no_folder)
{
	const char *path;

	begin();
	path = sidecar_path("data", NULL);
	harness_write_file(path, "a file");
	expect_refusal(-EEXIST);
	ck_assert_str_eq(harness_read_file(path), "a file");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0); /* opening it would block */
	expect_refusal(-EEXIST);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(symlink("nowhere", path), 0);
	expect_refusal(-EEXIST);
	ck_assert_int_eq(unlink(path), 0);
	leave_sidecar("other");
	ck_assert_int_eq(symlink(".other.pathbus", path), 0);
	expect_refusal(-EEXIST);
	ck_assert(is_there(sidecar_path("other", "page")));
	ck_assert_int_eq(unlink(path), 0);
	expect_use();
	end();
}
END_TEST

START_TEST(somebody_elses_folder)
{
	begin();
	ck_assert_int_eq(mkdir(sidecar_path("data", NULL), 0700), 0);
	harness_write_file(sidecar_path("data", "precious"), "contents"); /* which just has this name */
	expect_refusal(-EEXIST);
	ck_assert_str_eq(harness_read_file(sidecar_path("data", "precious")), "contents");
	remove_all(sidecar_path("data", NULL));
	for (int i = 0; i < 4; i++) {
		static const mode_t modes[] = { 0755, 0770, 0701, 0704 };

		leave_sidecar("data");
		ck_assert_int_eq(chmod(sidecar_path("data", NULL), modes[i]), 0);
		expect_refusal(-EEXIST);
		ck_assert_int_eq(chmod(sidecar_path("data", NULL), 0700), 0);
	}
	expect_use();
	end();
}
END_TEST

START_TEST(planted_pages)
{
	const char *page;

	begin();
	page = sidecar_path("data", "page");
	for (int i = 0; i < 6; i++) {
		leave_sidecar("data");
		if (i == 0) { /* another link to it: its owner could be made to write elsewhere */
			ck_assert_int_eq(link(page, harness_path("files/hard")), 0);
		} else if (i == 1) {
			harness_write_file(harness_path("files/target"), "data of mine");
			ck_assert_int_eq(unlink(page), 0);
			ck_assert_int_eq(link(harness_path("files/target"), page), 0);
		} else if (i == 2) {
			ck_assert_int_eq(rename(page, harness_path("files/elsewhere")), 0);
			ck_assert_int_eq(symlink("../elsewhere", page), 0);
		} else if (i == 3) {
			ck_assert_int_eq(unlink(page), 0);
			ck_assert_int_eq(mkfifo(page, 0600), 0);
		} else if (i == 4) {
			ck_assert_int_eq(unlink(page), 0);
			ck_assert_int_eq(mkdir(page, 0700), 0);
		} else {
			ck_assert_int_eq(chmod(page, 0644), 0);
		}
		expect_refusal(-EEXIST);
		remove_all(sidecar_path("data", NULL));
	}
	ck_assert_str_eq(harness_read_file(harness_path("files/target")), "data of mine");
	expect_use();
	end();
}
END_TEST

/* Its owner is alive, so the sidecar cannot just be removed. */
static int live_in_it(struct harness_process *peer, void *arg)
{
	pathbus *mine = transport_new();
	pathbus_topic *topic = transport_open(mine, "data", 0);

	(void)arg;
	harness_tell(peer, "ready");
	for (;;) {
		const char *line = harness_hear(peer);

		if (!line)
			break;
		if (strcmp(line, "post") == 0) {
			drain(mine);
			ck_assert_int_eq(pathbus_post(topic), 0);
		} else {
			await_event(mine, PATHBUS_EVENT_RESYNC);
		}
		harness_tell(peer, "done");
	}
	pathbus_free(mine);
	return 0;
}

START_TEST(planted_bells)
{
	struct harness_process process;
	const char *bell;

	begin();
	bell = sidecar_path("data", "bell");
	for (int i = 0; i < 4; i++) {
		harness_spawn(&process, live_in_it, NULL);
		harness_expect_line(&process, "ready");
		if (i != 3)
			ck_assert_int_eq(unlink(bell), 0);
		if (i == 0)
			harness_write_file(bell, "");
		else if (i == 1)
			ck_assert_int_eq(symlink("/dev/null", bell), 0);
		else if (i == 2)
			ck_assert_int_eq(mkdir(bell, 0700), 0);
		else
			ck_assert_int_eq(link(bell, harness_path("files/bell")), 0);
		expect_refusal(-EEXIST);
		harness_signal(&process, SIGKILL);
		harness_expect_signal(&process, SIGKILL);
		remove_all(sidecar_path("data", NULL));
	}
	expect_use();
	end();
}
END_TEST

START_TEST(another_users)
{
	static const char *const entries[] = { NULL, "page" };

	if (geteuid() != 0)
		harness_skip("needs root to give files away");
	begin();
	for (size_t i = 0; i < 2; i++) {
		const char *path = sidecar_path("data", entries[i]);

		leave_sidecar("data");
		ck_assert_int_eq(lchown(path, NOBODY, NOBODY), 0);
		expect_refusal(-EPERM);
		ck_assert_int_eq(lchown(path, 0, 0), 0);
		expect_use();
	}
	end();
}
END_TEST

static void damage(const char *path, off_t at, const void *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, bytes, size, at), (ssize_t)size);
	close(fd);
}

/* A page that cannot be used while somebody lives in it: it is taken away, and all meet in a new one. */
START_TEST(damaged_pages)
{
	static const off_t sizes[] = { 0, 1, 100, 4095 };
	static const unsigned char garbage[8] = { 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4 };
	struct harness_process process;

	begin();
	for (int i = 0; i < 8; i++) {
		const char *page = sidecar_path("data", "page");

		harness_spawn(&process, live_in_it, NULL);
		harness_expect_line(&process, "ready");
		if (i < 4) { /* its member would be killed if it touched this: that is the vandal's doing */
			harness_signal(&process, SIGSTOP);
			ck_assert_int_eq(truncate(page, sizes[i]), 0);
		} else if (i == 4) {
			damage(page, offsetof(struct page, magic), garbage, 8);
		} else if (i == 5) {
			damage(page, offsetof(struct page, size), garbage, 4);
		} else if (i == 6) {
			damage(page, offsetof(struct page, inode), garbage, 8);
		} else {
			damage(page, offsetof(struct page, key), garbage, 8);
		}
		transport_open(bus, "data", 0);
		ck_assert(is_held(page));
		if (i < 4) {
			harness_signal(&process, SIGKILL);
			harness_expect_signal(&process, SIGKILL);
		} else {
			harness_tell(&process, "resync");
			harness_expect_line(&process, "done");
			harness_tell(&process, "post");
			harness_expect_line(&process, "done");
			await_posts(bus, 1);
			harness_hang_up(&process);
			harness_expect_exit(&process, 0);
		}
		bus = pathbus_free(bus);
		bus = transport_new();
		ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
	}
	end();
}
END_TEST

START_TEST(a_page_of_a_newer_version)
{
	struct harness_process process;
	uint32_t abi = PAGE_ABI + 1;

	begin();
	harness_spawn(&process, live_in_it, NULL);
	harness_expect_line(&process, "ready");
	damage(sidecar_path("data", "page"), offsetof(struct page, abi), &abi, sizeof(abi));
	expect_refusal(-EPROTONOSUPPORT); /* its members are well: nobody throws them out */
	harness_hang_up(&process);
	harness_expect_exit(&process, 0);
	expect_use();
	end();
}
END_TEST

START_TEST(copies_and_renames)
{
	struct harness_process process;
	pathbus *other;
	pathbus_topic *from;

	begin();
	harness_spawn(&process, live_in_it, NULL);
	harness_expect_line(&process, "ready");
	copy_all(sidecar_path("data", NULL), sidecar_path("copy", NULL)); /* as a backup tool does */
	other = transport_new();
	from = transport_open(other, "copy", 0);
	transport_open(bus, "copy", 0);
	ck_assert_int_eq(pathbus_post(from), 0);
	await_posts(bus, 1);
	harness_tell(&process, "post"); /* which is another topic, and undisturbed */
	harness_expect_line(&process, "done");
	expect_quiet(bus);
	pathbus_free(other);
	bus = pathbus_free(bus);
	ck_assert(!is_there(sidecar_path("copy", NULL)));

	/* Renamed under its member, who finds the others where they look for it. */
	bus = transport_new();
	ck_assert_int_eq(rename(sidecar_path("data", NULL), sidecar_path("moved", NULL)), 0);
	other = transport_new();
	transport_open(other, "moved", 0);
	transport_open(bus, "data", 0);
	harness_tell(&process, "resync");
	harness_expect_line(&process, "done");
	harness_tell(&process, "post");
	harness_expect_line(&process, "done");
	await_posts(bus, 1);
	expect_quiet(other);
	pathbus_free(other);
	harness_hang_up(&process);
	harness_expect_exit(&process, 0);
	bus = pathbus_free(bus);
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(no_folder),
	HARNESS_CASE(somebody_elses_folder),
	HARNESS_CASE(planted_pages),
	HARNESS_CASE(planted_bells),
	HARNESS_CASE(another_users),
	HARNESS_CASE(damaged_pages),
	HARNESS_CASE(a_page_of_a_newer_version),
	HARNESS_CASE(copies_and_renames),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){
		.name = "sidecar_trust", .cases = cases, .teardown = transport_end });
}
