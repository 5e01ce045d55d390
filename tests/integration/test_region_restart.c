/* SPDX-License-Identifier: MIT */
/*
 * test_region_restart.c - the daemon goes and comes: holders are not disturbed, and bring their regions back; one name is
 * never alive in two places meanwhile.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness/process.h"
#include "libclient/region_internal.h"
#include "os/os.h"
#include "region_world.h"

enum { TIMEOUT_MS = 5000, SHORT_MS = 1000 };

static struct world_member a, b;

static void begin(bool serves)
{
	world_begin(serves);
	a = world_join(PATHBUS_AUTO, TIMEOUT_MS);
	b = world_join(PATHBUS_AUTO, TIMEOUT_MS);
	if (serves) {
		world_await_place(&a, PATHBUS_BUS);
		world_await_place(&b, PATHBUS_BUS);
	}
}

static void finish(void)
{
	world_leave(&a);
	world_leave(&b);
	ck_assert_int_eq(world_region_files(), 0);
}

static void end_daemon(bool kills)
{
	if (kills)
		harness_daemon_kill(&world_daemon);
	else
		harness_daemon_stop(&world_daemon);
}

static void await_both(enum pathbus_transport_kind kind)
{
	world_await_place(&a, kind);
	world_await_place(&b, kind);
}

/* --- brought back ---------------------------------------------------------------------------------------------- */

START_TEST(holders_bring_it_back)
{
	struct world_member c;
	pathbus_region *ours, *theirs, *later, *apart;
	struct pathbus_region_info got;

	begin(true);
	ours = world_create(&a, "r", PATHBUS_REGION_DOUBLE);
	apart = world_create(&a, "apart", 0);
	ck_assert_int_eq(pathbus_region_open(b.topic, "r", PATHBUS_REGION_READ_ONLY, &theirs), 0);
	world_publish(ours, 1);
	for (int round = 0; round < 3; round++) {
		end_daemon(_i == 0);
		world_publish(ours, 10 + round); /* nobody is disturbed while it is away */
		world_expect(theirs, 10 + round, 2 + 2 * (uint64_t)round);
		await_both(PATHBUS_PEER);
		harness_daemon_start(&world_daemon, NULL);
		await_both(PATHBUS_BUS);
		c = world_join(PATHBUS_AUTO, TIMEOUT_MS);
		ck_assert_int_eq(pathbus_region_open(c.topic, "r", 0, &later), 0);
		got = world_info(later);
		ck_assert_int_eq(got.place, PATHBUS_BUS);
		ck_assert_uint_eq(got.flags, PATHBUS_REGION_DOUBLE);
		ck_assert(got.writable);
		world_publish(later, 20 + round);
		world_expect(ours, 20 + round, 3 + 2 * (uint64_t)round);
		world_expect(theirs, 20 + round, 3 + 2 * (uint64_t)round);
		ck_assert_int_eq(world_try_create(&c, "r"), -EEXIST);
		ck_assert_int_eq(world_try_open(&c, "apart"), 0);
		world_leave(&c);
	}
	ck_assert(!world_info(ours).replaced && !world_info(theirs).replaced);
	pathbus_region_close(apart);
	pathbus_region_close(ours);
	ck_assert_int_eq(world_try_open(&a, "r"), 0); /* b holds it: as a reader it has brought it back, too */
	pathbus_region_close(theirs);
	harness_await(world_try_open(&a, "r") == -ENOENT);
	ck_assert_int_eq(world_try_create(&a, "r"), 0);
	finish();
}
END_TEST

/* The daemon lives; only the connection ends. */
START_TEST(a_dropped_connection_too)
{
	pathbus_region *ours;

	begin(true);
	ours = world_create(&a, "r", 0);
	world_publish(ours, 1);
	for (int i = 0; i < 3; i++) {
		uint32_t serial = a.bus->connection.serial;

		ck_assert_int_eq(shutdown(a.bus->connection.socket, SHUT_RDWR), 0);
		harness_await((world_pump(&a, 0), ours->holder != 0 && ours->bus_serial != serial));
		world_await_place(&a, PATHBUS_BUS);
		ck_assert_int_eq(world_try_open(&b, "r"), 0);
	}
	pathbus_region_close(ours);
	harness_await(world_try_open(&b, "r") == -ENOENT);
	finish();
}
END_TEST

static bool has_in_list;
static int note(const struct pathbus_region_entry *entry, void *arg)
{
	has_in_list |= strcmp(entry->name, arg) == 0;
	return 0;
}

START_TEST(replaced_ones_are_not)
{
	pathbus_region *ours, *theirs, *new;

	begin(true);
	ours = world_create(&a, "r", 0);
	ck_assert_int_eq(pathbus_region_open(b.topic, "r", 0, &theirs), 0);
	world_publish(ours, 1);
	ck_assert_int_eq(pathbus_region_replace(ours, 77, 0, &new), 0);
	end_daemon(true);
	await_both(PATHBUS_PEER);
	harness_daemon_start(&world_daemon, NULL);
	await_both(PATHBUS_BUS);
	world_expect(theirs, 1, 1);
	pathbus_region_close(theirs);
	ck_assert_int_eq(pathbus_region_open(b.topic, "r", 0, &theirs), 0);
	ck_assert_uint_eq(world_info(theirs).data_size, 77);
	pathbus_region_close(new);
	pathbus_region_close(theirs);
	(void)world_pump(&a, 0);
	harness_await(world_try_open(&b, "r") == -ENOENT);
	has_in_list = false;
	ck_assert_int_eq(pathbus_region_list(b.topic, note, (void *)(uintptr_t)"r"), 0);
	ck_assert(!has_in_list);
	world_expect(ours, 1, 1);
	finish();
}
END_TEST

START_TEST(nor_where_nobody_has_the_name)
{
	pathbus_region *ours, *new;

	begin(true);
	ours = world_create(&a, "r", 0);
	world_publish(ours, 1);
	ck_assert_int_eq(pathbus_region_replace(ours, 77, 0, &new), 0);
	pathbus_region_close(new);
	end_daemon(true);
	await_both(PATHBUS_PEER);
	harness_daemon_start(&world_daemon, NULL);
	await_both(PATHBUS_BUS);
	ck_assert(ours->holder == 0 && ours->restoring == 0);
	ck_assert_int_eq(world_try_open(&b, "r"), -ENOENT);
	world_expect(ours, 1, 1);
	finish();
}
END_TEST

static int hold_and_die(struct harness_process *peer, void *arg)
{
	struct world_member me = world_join(PATHBUS_AUTO, TIMEOUT_MS);

	(void)arg;
	world_publish(world_create(&me, "r", PATHBUS_REGION_RESERVE), 5);
	harness_tell(peer, "holding");
	(void)harness_hear(peer);
	return 0;
}

/* Of the system's memory nothing is left, and of the files what the next to come removes. */
START_TEST(everyone_is_killed)
{
	struct harness_process holder;
	pathbus_region *region;

	world_begin(true);
	harness_spawn(&holder, hold_and_die, NULL);
	harness_expect_line(&holder, "holding");
	harness_signal(&world_daemon.process, SIGSTOP); /* it does not see the holder go */
	harness_signal(&holder, SIGKILL);
	harness_expect_signal(&holder, SIGKILL);
	harness_daemon_kill(&world_daemon);
	ck_assert_int_eq(world_region_files(), 1);
	if (_i == 0)
		harness_daemon_start(&world_daemon, NULL);
	a = world_join(PATHBUS_AUTO, TIMEOUT_MS);
	b = world_join(PATHBUS_AUTO, TIMEOUT_MS);
	ck_assert_int_eq(world_try_open(&a, "r"), -ENOENT);
	ck_assert_int_eq(world_region_files(), 0);
	region = world_create(&a, "r", 0);
	ck_assert_uint_eq(world_info(region).version, 0);
	finish();
}
END_TEST

/* --- a holder that stands still ------------------------------------------------------------------------------------ */

/* Has it asked another daemon to take the region back, and been told? */
static bool is_answered(const struct world_member *me, const pathbus_region *region, uint32_t before)
{
	return region->bus_serial != before && region->bus_serial == me->bus->connection.serial && region->restoring == 0;
}

static int hold(struct harness_process *peer, void *arg)
{
	struct world_member me = world_join(PATHBUS_AUTO, TIMEOUT_MS);
	pathbus_region *region = world_create(&me, "r", 0);
	unsigned n = 0;

	(void)arg;
	world_publish(region, 5);
	harness_tell(peer, "holding");
	while (harness_hear(peer)) {
		/* "go on": until it is on the bus, and knows what became of its region */
		uint32_t before = me.bus->connection.serial;

		harness_await((n += world_pump(&me, PATHBUS_EVENT_REGION_REPLACED), is_answered(&me, region, before)));
		n += world_pump(&me, PATHBUS_EVENT_REGION_REPLACED);
		world_expect(region, 5, 1);
		harness_tell(peer, n ? "replaced" : "restored");
	}
	world_leave(&me);
	return 0;
}

/* The daemon has been away while the holder was stopped. */
static void begin_with_stopped_holder(struct harness_process *holder)
{
	begin(true);
	harness_spawn(holder, hold, NULL);
	harness_expect_line(holder, "holding");
	harness_signal(holder, SIGSTOP);
	end_daemon(true);
	await_both(PATHBUS_PEER);
}

START_TEST(its_name_is_in_use_meanwhile)
{
	struct world_member short_one, peer;
	struct harness_process holder;

	begin_with_stopped_holder(&holder);
	short_one = world_join(PATHBUS_AUTO, SHORT_MS);
	peer = world_join(PATHBUS_PEER, SHORT_MS);
	/* no daemon */
	ck_assert_int_eq(world_try_create(&short_one, "r"), -EEXIST);
	ck_assert_int_eq(world_try_create(&peer, "r"), -EEXIST);
	ck_assert_int_eq(world_try_open(&peer, "r"), -EBUSY);
	ck_assert_int_eq(world_try_open(&short_one, "r"), -EBUSY);
	/* one that does not know it */
	harness_daemon_start(&world_daemon, NULL);
	world_await_place(&short_one, PATHBUS_BUS);
	ck_assert_int_eq(world_try_create(&short_one, "r"), -EEXIST);
	ck_assert_int_eq(world_try_create(&peer, "r"), -EEXIST);
	ck_assert_int_eq(world_try_open(&short_one, "r"), -EBUSY);
	/* one that does */
	harness_signal(&holder, SIGCONT);
	harness_tell(&holder, "go on");
	harness_expect_line(&holder, "restored");
	ck_assert_int_eq(world_try_open(&short_one, "r"), 0);
	ck_assert_int_eq(world_try_create(&peer, "r"), -EEXIST);
	ck_assert_int_eq(world_try_open(&peer, "r"), -EBUSY);
	harness_hang_up(&holder);
	harness_expect_exit(&holder, 0);
	harness_await(world_try_create(&peer, "r") == 0);
	world_leave(&short_one);
	world_leave(&peer);
	finish();
}
END_TEST

static int go_on_soon(struct harness_process *peer, void *arg)
{
	harness_tell(peer, "ready");
	(void)harness_hear(peer);
	ck_assert_int_eq(kill(*(pid_t *)arg, SIGCONT), 0);
	return 0;
}

/* Who opens waits for it. */
START_TEST(it_is_waited_for)
{
	struct harness_process holder, helper;
	pathbus_region *region;

	begin_with_stopped_holder(&holder);
	harness_daemon_start(&world_daemon, NULL);
	world_await_place(&a, PATHBUS_BUS);
	harness_tell(&holder, "go on");
	harness_spawn(&helper, go_on_soon, &holder.pid);
	harness_expect_line(&helper, "ready");
	harness_tell(&helper, "now");
	ck_assert_int_eq(pathbus_region_open(a.topic, "r", 0, &region), 0);
	world_expect(region, 5, 1);
	harness_expect_exit(&helper, 0);
	harness_expect_line(&holder, "restored");
	harness_hang_up(&holder);
	harness_expect_exit(&holder, 0);
	finish();
}
END_TEST

/* Somebody has removed the files by which the name is known to be in use. */
START_TEST(the_first_to_come_back_has_the_name)
{
	struct harness_process holder;
	pathbus_region *region;

	begin_with_stopped_holder(&holder);
	ck_assert_int_eq(system("rm /dev/shm/pathbus-*/*.region"), 0);
	harness_daemon_start(&world_daemon, NULL);
	world_await_place(&a, PATHBUS_BUS);
	region = world_create(&a, "r", 0);
	harness_signal(&holder, SIGCONT);
	harness_tell(&holder, "go on");
	harness_expect_line(&holder, "replaced");
	world_publish(region, 6);
	pathbus_region_close(region);
	ck_assert_int_eq(pathbus_region_create(a.topic, "r", 1, 0, &region), 0);
	harness_hang_up(&holder);
	harness_expect_exit(&holder, 0);
	ck_assert_int_eq(world_try_open(&b, "r"), b.topic->place == PLACE_BUS ? 0 : -EBUSY);
	finish();
}
END_TEST

/* --- one made without a daemon ---------------------------------------------------------------------------------------- */

START_TEST(it_lives_where_it_was_made)
{
	pathbus_region *ours, *theirs, *new;
	struct world_member c;

	begin(false);
	ours = world_create(&a, "r", 0);
	ck_assert_int_eq(world_info(ours).place, PATHBUS_PEER);
	world_publish(ours, 1);
	harness_daemon_start(&world_daemon, NULL);
	await_both(PATHBUS_BUS);
	ck_assert_int_eq(world_try_create(&b, "r"), -EEXIST);
	ck_assert_int_eq(pathbus_region_open(b.topic, "r", 0, &theirs), 0);
	ck_assert_int_eq(world_info(theirs).place, PATHBUS_PEER);
	(void)world_pump(&b, 0);
	world_publish(ours, 2); /* by a post on the daemon's lane */
	await_readable(b.bus);
	ck_assert_uint_eq(world_pump(&b, PATHBUS_EVENT_REGION), 1);
	world_expect(theirs, 2, 2);
	ck_assert_int_eq(pathbus_region_replace(ours, 9, 0, &new), 0);
	ck_assert_int_eq(world_info(new).place, PATHBUS_PEER);
	await_readable(b.bus);
	ck_assert_uint_eq(world_pump(&b, PATHBUS_EVENT_REGION_REPLACED), 1);
	c = world_join(PATHBUS_PEER, SHORT_MS);
	ck_assert_int_eq(world_try_open(&c, "r"), 0);
	has_in_list = false;
	ck_assert_int_eq(pathbus_region_list(b.topic, note, (void *)(uintptr_t)"r"), 0);
	ck_assert(has_in_list);
	world_leave(&c);
	pathbus_region_close(new);
	pathbus_region_close(ours);
	/* From now on it is the daemon's. */
	ours = world_create(&a, "r", 0);
	ck_assert_int_eq(world_info(ours).place, PATHBUS_BUS);
	finish();
}
END_TEST

/* --- any moment ---------------------------------------------------------------------------------------------------------- */

/* Makes, opens and closes until it is told to end; says how often it could. */
static int churn(struct harness_process *peer, void *arg)
{
	struct world_member me = world_join(PATHBUS_AUTO, SHORT_MS);
	unsigned n = 0, seed = (unsigned)(uintptr_t)arg;
	struct pollfd input = { .fd = peer->in, .events = POLLIN };
	pathbus_region *kept = NULL;

	harness_tell(peer, "ready");
	while (poll(&input, 1, 0) == 0) {
		pathbus_region *region = NULL;
		char name[8];
		int r;

		snprintf(name, sizeof(name), "n%d", rand_r(&seed) % 3);
		r = rand_r(&seed) % 2 ? pathbus_region_create(me.topic, name, REGION_BYTES, 0, &region) :
		                        pathbus_region_open(me.topic, name, 0, &region);
		ck_assert_msg(r == 0 || r == -EEXIST || r == -ENOENT || r == -EBUSY || r == -ENOTCONN || r == -ETIMEDOUT,
		              "%s", strerror(-r));
		if (r == 0) {
			void *to;

			n++;
			r = pathbus_region_begin(region, 0, 0, &to);
			ck_assert(r == 0 || r == -EBUSY);
			if (r == 0)
				ck_assert_int_eq(pathbus_region_end(region), 0);
			pathbus_region_close(kept);
			kept = region;
		}
		(void)world_pump(&me, 0);
	}
	world_leave(&me);
	harness_tell(peer, n > 0 ? "some" : "none");
	return 0;
}

enum { N_CHURNERS = 2, N_DEATHS = 8 };

START_TEST(a_daemon_dies_at_any_moment)
{
	struct harness_process churners[N_CHURNERS];
	static const char *const names[] = { "n0", "n1", "n2" };

	begin(true);
	for (int i = 0; i < N_CHURNERS; i++) {
		harness_spawn(&churners[i], churn, (void *)(uintptr_t)(i + 1));
		harness_expect_line(&churners[i], "ready");
	}
	for (int i = 0; i < N_DEATHS; i++) {
		end_daemon(true);
		world_await_place(&a, PATHBUS_PEER);
		harness_daemon_start(&world_daemon, NULL);
		world_await_place(&a, PATHBUS_BUS);
	}
	for (int i = 0; i < N_CHURNERS; i++) {
		harness_tell(&churners[i], "end");
		harness_expect_line(&churners[i], "some");
		harness_expect_exit(&churners[i], 0);
	}
	for (int i = 0; i < 3; i++)
		harness_await(world_try_create(&a, names[i]) == 0);
	finish();
}
END_TEST

/* The next daemon has no room for both, until one is given back. */
START_TEST(it_is_tried_again)
{
	const char *const one_region[] = { "--max-regions", "1", NULL };
	pathbus_region *regions[2];
	struct world_member c;
	int back = -1;

	begin(true);
	regions[0] = world_create(&a, "r", 0);
	regions[1] = world_create(&a, "s", 0);
	world_publish(regions[0], 1);
	world_publish(regions[1], 1);
	end_daemon(true);
	await_both(PATHBUS_PEER);
	harness_daemon_start(&world_daemon, one_region);
	await_both(PATHBUS_BUS);
	c = world_join(PATHBUS_AUTO, 100);
	harness_await((world_pump(&a, 0), back = world_try_open(&c, "r") == 0 ? 0 : world_try_open(&c, "s") == 0 ? 1 : -1) >= 0);
	ck_assert_int_eq(world_try_open(&c, back ? "r" : "s"), -EBUSY); /* in use, and the daemon does not know it */
	pathbus_region_close(regions[back]);
	harness_await((world_pump(&a, 0), world_try_open(&c, back ? "r" : "s") == 0));
	world_expect(regions[!back], 1, 1);
	ck_assert(!world_info(regions[!back]).replaced);
	world_leave(&c);
	pathbus_region_close(regions[!back]);
	finish();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(it_is_tried_again),
	HARNESS_CASE_EACH(holders_bring_it_back, 2),
	HARNESS_CASE(a_dropped_connection_too),
	HARNESS_CASE(replaced_ones_are_not),
	HARNESS_CASE(nor_where_nobody_has_the_name),
	HARNESS_CASE_EACH(everyone_is_killed, 2),
	HARNESS_CASE(its_name_is_in_use_meanwhile),
	HARNESS_CASE(it_is_waited_for),
	HARNESS_CASE(the_first_to_come_back_has_the_name),
	HARNESS_CASE(it_lives_where_it_was_made),
	HARNESS_CASE(a_daemon_dies_at_any_moment),
	{ 0 }
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "region_restart", .cases = cases, .teardown = world_end });
}
