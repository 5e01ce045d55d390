#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sections [topic "PATTERN"] where several users meet: whose state is kept, who is charged for it, and that nobody gains a right."""

import errno
import os
import pathlib
import struct

import bus
import users
from topics import KEPT, STATE, STATE_CELLS, expect_refused, get_state, set_state
from users import ALICE, BOB, EVE, MALLORY

SECRET = 0x5EC2E75EC2E7


def system(config, *arguments):
    return users.system(*arguments, witness=False, config=config)


def look(serving, path, flags=0):
    """(value, version), as somebody sees it who comes and goes."""
    with serving.connect() as connection:
        topic = connection.open(path, flags)
        state = get_state(connection, topic.id)
        assert state == state_of_page(topic)
        return state


def state_of_page(topic):
    word = topic.word(STATE)
    return (topic.word(cell_at((word & 0xFFFF) >> 1, word & 1)) if word >> 16 else 0, word >> 16)


def cell_at(slot, cell):
    return bus.SLOTS + slot * bus.SLOT_SIZE + STATE_CELLS + 8 * cell


def leave_state(serving, path, value):
    with serving.connect() as connection:
        set_state(connection, connection.open(path).id, value)


def scribble(topic, value):
    """As whoever has the page mapped may do it."""
    version = (topic.word(STATE) >> 16) + 1
    struct.pack_into("<Q", topic.page, cell_at(topic.slot, 1), value)
    struct.pack_into("<Q", topic.page, STATE, version << 16 | topic.slot << 1 | 1)
    assert state_of_page(topic) == (value, version)


def member(line, serving, path, flags=0):
    """A guest that has it open until it is told to go, and does what it is told meanwhile."""
    with serving.connect() as connection:
        topic = connection.open(path, flags)
        line.tell(topic.rights)
        while (order := line.hear()) != "go":
            if order == "look":
                line.tell(get_state(connection, topic.id))
            elif order[0] == "set":
                set_state(connection, topic.id, order[1])
                line.tell()
            else:
                scribble(topic, order[1])
                line.tell()


def ask(guest, *order):
    guest.tell(order[0] if len(order) == 1 else order)
    return guest.hear()


def leave(guest):
    guest.tell("go")
    guest.end()


# --- whose state ----------------------------------------------------------------------------------------------------


def test_who_may_only_read_leaves_no_state():
    with system(f'[topic "HERE/**"]\n{KEPT}') as (serving, _):
        path = serving.file("file", ALICE, 0o644)
        fresh = serving.file("fresh", ALICE, 0o644)
        users.run_as(ALICE, leave_state, serving, path, 5)
        assert users.run_as(BOB, look, serving, path) == (5, 1), "who may read sees it"
        for there in (path, fresh):
            with users.Guest(BOB, member, serving, there) as bob:
                assert bob.hear() == bus.SUBSCRIBE
                ask(bob, "scribble", 666)
                bob.tell("go")
        assert users.run_as(ALICE, look, serving, path) == (5, 1)
        assert users.run_as(ALICE, look, serving, fresh) == (0, 0)
        # Nor while the other is there, and goes first or comes later.
        alice = users.Guest(ALICE, member, serving, path)
        assert alice.hear() == 3
        bob = users.Guest(BOB, member, serving, path)
        assert bob.hear() == bus.SUBSCRIBE and ask(bob, "look") == (5, 1)
        ask(bob, "scribble", 667)
        ask(alice, "set", 6)
        assert ask(alice, "look") == (6, 2)
        leave(alice)
        ask(bob, "scribble", 668)
        assert users.run_as(ALICE, look, serving, path) == (6, 2)
        assert users.run_as(EVE, look, serving, path)[0] == 6
        leave(bob)
        assert users.run_as(EVE, look, serving, path) == (6, 2)


def test_who_may_only_post_sees_no_state():
    """It may set it, all the same."""
    with system(f'[topic "HERE/**"]\n{KEPT}') as (serving, _):
        path = serving.file("file", ALICE, 0o622)
        users.run_as(ALICE, leave_state, serving, path, SECRET)

        def post_only():
            with serving.connect() as connection:
                topic = connection.open(path, bus.POST)
                assert topic.rights == bus.POST and get_state(connection, topic.id) == (0, 0)
                assert struct.pack("<Q", SECRET) not in topic.page[:]
                expect_refused(connection, path, errno.EACCES, "may not be read")

        users.run_as(BOB, post_only)
        assert users.run_as(ALICE, look, serving, path) == (SECRET, 1)
        with users.Guest(BOB, member, serving, path, bus.POST) as bob:
            assert bob.hear() == bus.POST
            ask(bob, "set", 9)
            bob.tell("go")
        assert users.run_as(ALICE, look, serving, path) == (9, 2)


def test_sections_widen_nothing():
    """Named for everything, and nothing that the file does not give; not named, and the state is not to be seen."""
    who = f"{ALICE.uid}, {BOB.uid}, @{MALLORY.gid}"
    with system(f'[topic "HERE/**"]\n{KEPT}subscribe = {who}\npost = {who}\nring = 512\nmax-message = 64K\n') as (serving, _):
        secret, readable = serving.file("secret", ALICE, 0o600), serving.file("readable", ALICE, 0o664, users.SHARED_GROUP)
        for path in (secret, readable):
            users.run_as(ALICE, leave_state, serving, path, SECRET)

        def mallory():
            with serving.connect() as connection:
                expect_refused(connection, secret, errno.EACCES, "may not be read")
                expect_refused(connection, secret, errno.EACCES, "may not be written", flags=bus.POST)
                expect_refused(connection, readable, errno.EACCES, "may not be written", flags=bus.POST)
                topic = connection.open(readable)
                assert topic.rights == bus.SUBSCRIBE and get_state(connection, topic.id)[0] == SECRET
                connection.send(bus.frame(bus.SET_STATE, connection.request(), struct.pack("<IIQQ", topic.id, 0, 0, 1)))
                connection.expect_error(errno.EACCES, connection.last_request)

        def eve():
            """She may read the file, and is not named."""
            with serving.connect() as connection:
                expect_refused(connection, readable, errno.EACCES, "names those who may subscribe")
                expect_refused(connection, secret, errno.EACCES)

        users.run_as(MALLORY, mallory)
        users.run_as(EVE, eve)
        assert users.run_as(BOB, look, serving, readable) == (SECRET, 1)


def test_rights_that_are_lost():
    """What somebody set as long as it might is kept; what it writes into its old page afterwards is not."""
    with system(f'[topic "HERE/**"]\n{KEPT}') as (serving, _):
        folder = serving.own_folder(ALICE)
        path = folder / "file"
        path.touch()
        os.chown(path, ALICE.uid, ALICE.gid)
        path.chmod(0o666)
        bob = users.Guest(BOB, member, serving, path)
        assert bob.hear() == 3
        ask(bob, "set", 5)
        new = folder / "new"
        new.touch()
        os.chown(new, ALICE.uid, ALICE.gid)
        new.chmod(0o644)
        new.rename(path)
        serving.expect_said("the rights of a file's members have changed")
        ask(bob, "scribble", 666)
        leave(bob)
        assert users.run_as(BOB, look, serving, path) == (5, 1)
        assert users.run_as(ALICE, look, serving, path) == (5, 1)


def test_between_users():
    with system(f'[topic "HERE/**"]\n{KEPT}') as (serving, _):
        path = serving.file("file", ALICE, 0o666)
        users.run_as(ALICE, leave_state, serving, path, 5)
        for first, second in ((ALICE, BOB), (BOB, ALICE)):
            before = users.run_as(EVE, look, serving, path)
            one = users.Guest(first, member, serving, path)
            assert one.hear() == 3 and ask(one, "look") == before
            # What was kept is older than what is said now.
            ask(one, "scribble", before[0] + 1)
            other = users.Guest(second, member, serving, path)
            assert other.hear() == 3 and ask(other, "look")[0] == before[0] + 1
            ask(other, "set", before[0] + 2)
            leave(one)
            third = users.Guest(EVE, member, serving, path)
            assert third.hear() == 3 and ask(third, "look") == ask(other, "look") == (before[0] + 2, before[1] + 2)
            leave(other)
            leave(third)
            assert users.run_as(MALLORY, look, serving, path) == (before[0] + 2, before[1] + 2)


# --- who pays -------------------------------------------------------------------------------------------------------


def test_who_is_charged():
    with system(f'[topic "HERE/**"]\n{KEPT}', "--max-user-kept", "1") as (serving, _):
        shared, alices, bobs = (serving.file(name, ALICE, 0o666) for name in ("shared", "alices", "bobs"))
        # Alice has set it, whoever leaves last.
        alice, bob = users.Guest(ALICE, member, serving, shared), users.Guest(BOB, member, serving, shared)
        assert alice.hear() == bob.hear() == 3
        ask(bob, "set", 1)
        ask(alice, "set", 5)
        leave(alice)
        leave(bob)
        users.run_as(ALICE, leave_state, serving, alices, 6)
        assert users.run_as(EVE, look, serving, alices) == (0, 0), "she has one already"
        users.run_as(BOB, leave_state, serving, bobs, 7)
        assert users.run_as(EVE, look, serving, bobs) == (7, 1), "he has none yet"
        assert users.run_as(EVE, look, serving, shared) == (5, 2)
        serving.expect_said(f"user {ALICE.uid}: this user has as many topics whose state is kept as it may have: 1")
        # Who only looks is charged for nothing, and takes nothing from who is.
        users.run_as(EVE, leave_state, serving, alices, 8)
        assert users.run_as(BOB, look, serving, alices) == (8, 1)
        # Bob sets what Alice had set: it is his now, and he has one already.
        users.run_as(BOB, leave_state, serving, shared, 9)
        assert users.run_as(EVE, look, serving, shared) == (0, 0)
        # So Alice has none now.
        users.run_as(ALICE, leave_state, serving, shared, 10)
        assert users.run_as(EVE, look, serving, shared) == (10, 1)


def test_who_is_charged_for_the_watch():
    """Who has set the state, as nobody else wants it; then who comes."""
    with system(f'[topic "HERE/**"]\n{KEPT}', "--max-user-watches", "1") as (serving, _):
        shared, others = serving.file("shared", ALICE, 0o666), serving.file("others", ALICE, 0o666)
        alice, bob = users.Guest(ALICE, member, serving, shared), users.Guest(BOB, member, serving, shared)
        assert alice.hear() == bob.hear() == 3
        ask(alice, "set", 5)
        leave(alice)
        leave(bob)

        def may(path):
            with serving.connect() as connection:
                try:
                    connection.open(path).close()
                except bus.Failed as failed:
                    assert failed.number == errno.EDQUOT and "max-user-watches" in failed.text, failed
                    return False
                return True

        assert users.run_as(BOB, may, others) and not users.run_as(ALICE, may, others) and users.run_as(ALICE, may, shared)
        bob = users.Guest(BOB, member, serving, shared)
        assert bob.hear() == 3
        assert users.run_as(ALICE, may, others) and not users.run_as(BOB, may, others)
        leave(bob)


# --- paths that are not known ---------------------------------------------------------------------------------------


def test_another_root():
    """There a path may mean anything: the least of all sections holds, and no state is kept."""
    text = f'[topic "/nowhere/*"]\nmax-message = 200\nmax-ring = 64\n[topic "HERE/**"]\n{KEPT}ring = 512\nmax-message = 64K\n'
    with system(text) as (serving, _):
        jail = serving.data / "jail"
        named, outside = serving.data / "named", serving.file("file", ALICE, 0o666)
        inside = pathlib.Path(f"{jail}{named}")  # its path there is one that a section names
        inside.parent.mkdir(parents=True)
        inside.touch()
        inside.chmod(0o666)
        socket_dir = jail / "run"
        socket_dir.mkdir()
        os.link(serving.address, socket_dir / "socket")

        def in_jail(line):
            with bus.Connection("/run/socket") as connection:
                topic = connection.open(named)
                set_state(connection, topic.id, 5)
                line.tell((topic.ring_slots, topic.max_message))
                expect_refused(connection, named, errno.EMSGSIZE, "200 bytes", max_message=201)
                expect_refused(connection, named, errno.EMSGSIZE, "64 messages", ring_slots=65)

        was = users.become
        users.become = lambda person: (os.chroot(jail), os.chdir("/"), was(person))
        try:
            guest = users.Guest(ALICE, in_jail)
        finally:
            users.become = was
        assert guest.hear() == (64, 200)
        guest.end()
        # By its path here it is another thing: what is said of it holds.
        def outside_of_it():
            with serving.connect() as connection:
                topics = [connection.open(path) for path in (inside, outside)]
                line = [(topic.ring_slots, topic.max_message, get_state(connection, topic.id)) for topic in topics]
                set_state(connection, topics[0].id, 6)
                return line

        assert users.run_as(ALICE, outside_of_it) == 2 * [(512, 4096, (0, 0))]
        assert users.run_as(ALICE, look, serving, inside) == (6, 1)


if __name__ == "__main__":
    bus.main()
