/* SPDX-License-Identifier: MIT */
/*
 * test_sqlite.c - a SQLite database in WAL mode stays sound under writers that open, post on and close topics on its
 * files all the time: its locks are POSIX locks, which any closing of a descriptor of the file would drop.
 */
#include "conformance/transports.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "harness/process.h"

enum { N_WRITERS = 2, N_TRANSACTIONS = 300, N_FILES = 3, CASE_LIMIT_S = 180 };

static const char *const suffixes[N_FILES] = { "", "-wal", "-shm" };
static const char *paths[N_FILES]; /* the harness's own strings are not for threads */

static void prepare_paths(void)
{
	for (int i = 0; i < N_FILES; i++)
		paths[i] = harness_path("files/data.db%s", suffixes[i]);
}

/* --- the database ------------------------------------------------------------------------------------------ */

static sqlite3 *open_database(void)
{
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(paths[0], &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_busy_timeout(db, (int)harness_limit_ms), SQLITE_OK);
	return db;
}

static void run(sqlite3 *db, const char *sql)
{
	char *message = NULL;
	int r = sqlite3_exec(db, sql, NULL, NULL, &message);

	ck_assert_msg(r == SQLITE_OK, "%s: %s", sql, message ? message : sqlite3_errstr(r));
}

static const char *answer(sqlite3 *db, const char *sql)
{
	static char text[256];
	sqlite3_stmt *statement;

	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(statement), SQLITE_ROW);
	snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(statement, 0));
	ck_assert_int_eq(sqlite3_finalize(statement), SQLITE_OK);
	return text;
}

static void make_database(void)
{
	sqlite3 *db = open_database();

	ck_assert_str_eq(answer(db, "PRAGMA journal_mode = WAL"), "wal");
	run(db, "CREATE TABLE entry (id INTEGER PRIMARY KEY, writer INTEGER, text TEXT);"
	        "CREATE INDEX by_text ON entry (text);"
	        "CREATE TABLE total (n INTEGER);"
	        "INSERT INTO total VALUES (0);");
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* Reads before it writes, so that two at once would lose one. */
static void begin_transaction(sqlite3 *db, int writer)
{
	char sql[256];

	run(db, "BEGIN IMMEDIATE");
	snprintf(sql, sizeof(sql), "INSERT INTO entry (writer, text) VALUES (%d, hex(randomblob(100)))", writer);
	run(db, sql);
}

static void end_transaction(sqlite3 *db)
{
	int n = 0;

	(void)sscanf(answer(db, "SELECT n FROM total"), "%d", &n);
	run(db, sqlite3_snprintf(64, (char[64]){ 0 }, "UPDATE total SET n = %d", n + 1));
	run(db, "COMMIT");
}

/* --- the topics -------------------------------------------------------------------------------------------- */

static void visit(pathbus *bus, const char *path)
{
	pathbus_topic *topic;

	ck_assert_int_eq(pathbus_open(bus, path, 0, &topic), 0);
	ck_assert_int_eq(pathbus_post(topic), 0);
	drain(bus);
	pathbus_close(topic);
}

static _Atomic bool stop;

/* Beside the writing, whatever that holds at the moment. */
static void *visit_until_stopped(void *arg)
{
	pathbus *bus = transport_new();

	for (int i = 0; !atomic_load(&stop); i++)
		visit(bus, paths[i % N_FILES]);
	pathbus_free(bus);
	return arg;
}

/* In the thread that writes: in the middle of each transaction, and after it. */
static int write_database(struct harness_process *peer, void *arg)
{
	int writer = *(const int *)arg;
	sqlite3 *db = open_database();
	pathbus *bus = transport_new();
	pathbus_topic *topic;
	pthread_t thread;

	run(db, "PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 20"); /* no power fails here */
	ck_assert_int_eq(pathbus_open(bus, paths[0], PATHBUS_POST, &topic), 0);
	transport_expect(topic);
	harness_tell(peer, "ready");
	harness_expect_line(peer, "go");
	ck_assert_int_eq(pthread_create(&thread, NULL, visit_until_stopped, NULL), 0);
	for (int i = 0; i < N_TRANSACTIONS; i++) {
		begin_transaction(db, writer);
		visit(bus, paths[i % N_FILES]);
		end_transaction(db);
		ck_assert_int_eq(pathbus_post(topic), 0);
		if (i % 50 == 49)
			ck_assert_str_eq(answer(db, "PRAGMA integrity_check"), "ok");
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	pathbus_free(bus);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	return 0;
}

/* Woken by the writers, it sees all that they committed. */
static void watch_database(pathbus *bus, sqlite3 *db)
{
	int n = 0;

	while (n < N_WRITERS * N_TRANSACTIONS) {
		await_readable(bus);
		drain(bus);
		(void)sscanf(answer(db, "SELECT count(*) FROM entry"), "%d", &n);
	}
}

START_TEST(it_stays_sound)
{
	struct harness_process writers[N_WRITERS];
	pathbus *bus;
	sqlite3 *db;

	transport_begin(_i);
	prepare_paths();
	make_database();
	for (int i = 0; i < N_WRITERS; i++) {
		harness_spawn(&writers[i], write_database, &i); /* the child has its own copy */
		harness_expect_line(&writers[i], "ready");
	}
	bus = transport_new();
	transport_open(bus, "data.db", PATHBUS_SUBSCRIBE);
	db = open_database();
	for (int i = 0; i < N_WRITERS; i++)
		harness_tell(&writers[i], "go");
	watch_database(bus, db);
	for (int i = 0; i < N_WRITERS; i++)
		harness_expect_exit(&writers[i], 0);
	ck_assert_str_eq(answer(db, "PRAGMA integrity_check"), "ok");
	ck_assert_str_eq(answer(db, "SELECT count(*) = 600 FROM entry"), "1");
	ck_assert_str_eq(answer(db, "SELECT n FROM total"), "600");
	ck_assert_str_eq(answer(db, "SELECT group_concat(n) FROM (SELECT count(*) AS n FROM entry GROUP BY writer)"),
	                 "300,300");
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	{ .test = &it_stays_sound, .name = "it_stays_sound", .n_runs = N_FIELD_TRANSPORTS, .limit_s = CASE_LIMIT_S },
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "sqlite", .cases = cases, .teardown = transport_end });
}
