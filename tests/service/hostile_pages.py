#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a user can do to the memory and the bells that it was given: everything, and only to itself. Others' posts, messages
and states go on exactly."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import random
import select
import struct
import time

import bus
import users
from users import ALICE, BOB, EVE, MALLORY, Guest

SCRIBBLE_S = 1
FUTEX_WAKE, FUTEX_CMP_REQUEUE = 1, 4
FULL = (1 << 64) - 2  # as much as an eventfd takes


# --- nothing in common ---------------------------------------------------------------------------------------------------


def hold(line, address, path):
    with bus.Connection(address) as connection:
        topic = connection.open(path)
        status = os.fstat(topic.page_fd)
        line.tell((topic.lane, status.st_dev, status.st_ino, topic.page_fd, topic.bell, topic.rights))
        line.expect("end")


def open_anew(pid, fds, daemon_pids):
    """What of another's can be opened through /proc."""
    opened = []
    for pid, fd in [(pid, fd) for fd in fds] + [(daemon, fd) for daemon in daemon_pids for fd in range(64)]:
        for flags in (os.O_RDONLY, os.O_RDWR, os.O_PATH):
            with contextlib.suppress(OSError):
                os.close(os.open(f"/proc/{pid}/fd/{fd}", flags))
                opened.append((pid, fd, flags))
    for name in ("mem", "maps", "environ"):
        for pid in (pid, *daemon_pids):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    file.read(1)
                    opened.append((pid, name))
    return opened


def test_users_have_no_memory_in_common():
    with users.system() as (daemon, witness):
        path = daemon.file("file", BOB, 0o666)
        with contextlib.ExitStack() as stack:
            guests = [stack.enter_context(Guest(person, hold, daemon.address, path)) for person in (ALICE, BOB, MALLORY)]
            held = [guest.hear() for guest in guests]
            assert len({lane for lane, *_ in held}) == 3 and len({place[1:3] for place in held}) == 3, held
            for guest, what in zip(guests[:2], held):
                opened = users.run_as(MALLORY, open_anew, guest.pid, what[3:5], users.tree(daemon.pid))
                # Processes that are Mallory's own, and that nobody else has anything from, are none of these.
                assert not opened, f"another user's: {opened}"
            for guest in guests:
                guest.tell("end")
        witness.check()


def test_rights_have_no_memory_in_common():
    """Of the same user: a process that has become a member of the group that may write."""
    with users.system() as (daemon, _):
        path = daemon.file("file", BOB, 0o664, users.SHARED_GROUP)
        reader, writer = MALLORY, MALLORY._replace(groups=(users.SHARED_GROUP,))
        with Guest(reader, hold, daemon.address, path) as one, Guest(writer, hold, daemon.address, path) as other:
            first, second = one.hear(), other.hear()
            assert (first[5], second[5]) == (bus.SUBSCRIBE, bus.SUBSCRIBE | bus.POST)
            assert first[0] != second[0] and first[1:3] != second[1:3]
            for guest in (one, other):
                guest.tell("end")


# --- wake-ups ------------------------------------------------------------------------------------------------------------


def futex(address, operation, value, *more):
    return bus.libc.syscall(ctypes.c_long(202 if os.uname().machine == "x86_64" else 98), ctypes.c_void_p(address),
                            ctypes.c_int(operation), ctypes.c_uint(value), *more)


def steal(line, address, path):
    """Wakes and moves whoever sleeps on any word of the page, and empties its bell, all the time."""
    with bus.Connection(address) as connection:
        topic = connection.open(path)
        at = ctypes.addressof(ctypes.c_char.from_buffer(topic.page))
        line.tell("ready")
        while not line.is_told():
            for word in range(0, bus.PAGE_SIZE, 4):
                futex(at + word, FUTEX_CMP_REQUEUE, 0, ctypes.c_long(1000), ctypes.c_void_p(at), ctypes.c_uint(
                    topic.half(word)))
                futex(at + word, FUTEX_WAKE, 1000, None, None, ctypes.c_uint(0))
            with contextlib.suppress(BlockingIOError):
                os.read(topic.bell, 8)
        line.expect("end")


def test_thieves_of_wake_ups():
    with users.system() as (daemon, witness):
        with Guest(MALLORY, steal, daemon.address, witness.posted) as mallory:
            mallory.expect("ready")
            witness.check_for(SCRIBBLE_S)
            mallory.tell("end")


def fill_bells(line, address, path, n):
    """Its bells, the carrier's too: full, and such that who writes them waits."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(bus.Connection(address)) for _ in range(n)]
        topics = [connection.open(path) for connection in connections]
        bells = {topic.bell for topic in topics} | {connection.carrier for connection in connections}
        for topic in topics:
            topic.listener()
        for _ in range(3):
            for bell in bells:
                fcntl.fcntl(bell, fcntl.F_SETFL, os.O_NONBLOCK)
                with contextlib.suppress(BlockingIOError):
                    os.write(bell, struct.pack("<Q", FULL))
                fcntl.fcntl(bell, fcntl.F_SETFL, 0)
            for topic in topics:
                topic.arm()
            line.tell("filled")
            if line.hear() == "end":
                return


def test_bells_that_block():
    """With few members in the lane, for whom their posters ring, and with so many that their carrier does."""
    for n in (1, 12):
        with users.system() as (daemon, witness):
            with Guest(MALLORY, fill_bells, daemon.address, witness.posted, n) as mallory, \
                    Guest(EVE, fill_bells, daemon.address, witness.shared, n) as eve:
                for order in ("again", "again", "end"):
                    for guest in (mallory, eve):
                        guest.expect("filled")
                    witness.check()
                    witness.check()
                    for guest in (mallory, eve):
                        guest.tell(order)
                witness.check()


def watch_often(line, address, path, n):
    """As many sets as the kernel takes have its bells in them, and are in another set themselves."""
    with bus.Connection(address) as connection, select.epoll() as outer:
        topic = connection.open(path)
        inner, refused = [], 0
        for _ in range(n):
            poll = select.epoll()
            inner.append(poll)
            outer.register(poll.fileno(), select.EPOLLIN)
            for fd in (topic.bell, connection.carrier):
                try:
                    poll.register(fd, select.EPOLLIN | select.EPOLLET)
                except OSError as error:
                    assert error.errno == errno.EINVAL, error
                    refused += 1
        line.tell(refused)
        # Its own next member may be told that there is no place.
        with bus.Connection(address) as another:
            another.send(bus.open_frame(another.request(), path, bus.SOCKET))
            assert another.receive().kind in (bus.OPENED, bus.ERROR)
        line.expect("end")
        for poll in inner:
            poll.close()


def test_hundreds_of_sets_on_a_bell():
    with users.system() as (daemon, witness):
        with Guest(MALLORY, watch_often, daemon.address, witness.posted, 600) as mallory:
            assert mallory.hear() > 0, "the kernel has a limit"
            witness.check()
            mallory.tell("end")


# --- scribblers ----------------------------------------------------------------------------------------------------------


def scribble(line, address, path, seed, slots):
    """All of the lane, ring and all, at random and with what might mean something; and rings."""
    chance = random.Random(seed)
    telling = (0, 1, 2, 0xFFFFFFFF, 0x7FFFFFFF, bus.N_SLOTS, slots, 1 << 20)
    with bus.Connection(address) as connection:
        topic = connection.open(path)
        memory = mmap.mmap(topic.page_fd, os.fstat(topic.page_fd).st_size)
        size = min(len(memory), bus.PAGE_SIZE + slots * 128)
        line.tell("ready")
        n = 0
        while not line.is_told():
            kind = chance.randrange(4)
            if kind == 0:
                at = chance.randrange(size - 64)
                memory[at:at + 64] = chance.randbytes(64)
            elif kind == 1:
                struct.pack_into("<I", memory, chance.randrange(size // 4) * 4, chance.choice(telling))
            elif kind == 2:
                struct.pack_into("<Q", memory, chance.randrange(bus.GENERATION, 704) & ~7, chance.getrandbits(64))
            else:
                # Such that what works for it has something to do.
                struct.pack_into("<Q", memory, bus.GENERATION, chance.getrandbits(64))
            n += 1
            if n % 16 == 0:
                for bell in (topic.bell, connection.carrier):
                    with contextlib.suppress(BlockingIOError):
                        os.write(bell, struct.pack("<Q", 1))
        line.expect("end")


def publish_counted(line, address, path, n):
    with bus.Connection(address) as connection:
        number = connection.open_socket(path, bus.POST)
        line.tell("ready")
        line.expect("go")
        for i in range(n):
            connection.ask(bus.PUBLISH, struct.pack("<IIQ", number, 0, 0) + b"%d" % i, bus.DONE)
            connection.ask(bus.SET_STATE, struct.pack("<IIQQ", number, 0, 0, i), bus.DONE)
            time.sleep(0.001)  # a rate, so that it lasts as long as the scribbling
        line.tell("published")
        line.expect("end")


def hear_counted(line, address, path, n, senders):
    """All of Bob's in order, or exactly counted as missed; and nobody's but who may write."""
    with bus.Connection(address) as connection:
        number = connection.open_socket(path, bus.SUBSCRIBE)
        line.tell("ready")
        heard, missed, others = [], 0, 0
        while not heard or heard[-1] != n - 1:
            answer = connection.receive()
            assert answer is not None, "the connection ended"
            if answer.kind == bus.EVENT_MESSAGE:
                message = users.Message(answer.body)
                assert message.uid in senders, f"a message of user {message.uid}"
                if message.uid == BOB.uid:
                    heard.append(int(message.data))
                else:
                    others += 1
            elif answer.kind == bus.EVENT_GAP:
                missed += struct.unpack_from("<Q", answer.body, 12)[0]
        assert heard == sorted(set(heard)), "each once, in order"
        line.tell((len(heard), missed, others))
        state = line.hear()
        if state is not None:
            bus.wait_for(lambda: users.state_of(connection, number) == state, "the state has come")
        line.tell("done")


def scribbled(mode, n=500):
    """Bob to Alice, while two others scribble in the same topic."""
    with users.system() as (daemon, witness):
        path = daemon.file("file", BOB, mode)
        senders = {BOB.uid} | ({MALLORY.uid, EVE.uid} if mode & 2 else set())
        with Guest(BOB, publish_counted, daemon.address, path, n) as bob, \
                Guest(ALICE, hear_counted, daemon.address, path, n, senders) as alice, \
                Guest(MALLORY, scribble, daemon.address, path, 1, 256) as mallory, \
                Guest(EVE, scribble, daemon.address, witness.shared, 2, 256) as eve:
            for guest in (bob, alice, mallory, eve):
                guest.expect("ready")
            bob.tell("go")
            while not bob.is_told():
                witness.check()
            bob.expect("published")
            for guest in (mallory, eve):
                guest.tell("end")
                guest.end()
            heard, missed, others = alice.hear()
            bob.tell("end")
            # Who may write it may set it, so only then it is Bob's.
            alice.tell(None if mode & 2 else n - 1)
            alice.expect("done")
        return heard, missed, others


def test_scribblers_who_may_only_read():
    """What they do to their own lane is no post, and nobody hears of it."""
    assert scribbled(0o644) == (500, 0, 0)


def test_scribblers_who_may_post():
    """They may post, and publish what they like, as themselves. What others publish comes as before."""
    heard, missed, others = scribbled(0o666)
    print(f"  {heard} of 500 heard, {missed} missed in all, {others} of the scribblers'", flush=True)
    assert heard == 500, f"{heard} of 500"


def forge_sender(line, address, path, uid):
    """A message in its own ring that says it is another's."""
    with bus.Connection(address) as connection, bus.Connection(address) as frames:
        topic = connection.open(path)
        number = frames.open_socket(path, bus.POST)
        memory = mmap.mmap(topic.page_fd, os.fstat(topic.page_fd).st_size)
        line.tell("ready")
        line.expect("go")
        mine, theirs = struct.pack("<I", os.getuid()), struct.pack("<I", uid)
        for i in range(200):
            frames.send(bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", number, 0, 0) + b"%d" % i))
            # Each word in the ring that may be the sender's user.
            at = memory.find(mine, bus.PAGE_SIZE, bus.PAGE_SIZE + 256 * 128)
            while at >= 0:
                memory[at:at + 4] = theirs
                at = memory.find(mine, at + 4, bus.PAGE_SIZE + 256 * 128)
        frames.ping()
        line.tell("sent")
        line.expect("end")


def hear_senders(line, address, path):
    with bus.Connection(address) as connection:
        connection.open_socket(path, bus.SUBSCRIBE)
        line.tell("ready")
        line.expect("who?")
        connection.send(bus.frame(bus.PING, connection.request()))
        senders = set()
        while (answer := connection.receive()).kind != bus.PONG:
            if answer.kind == bus.EVENT_MESSAGE:
                senders.add(users.Message(answer.body).uid)
        line.tell(senders)


def test_senders_are_true():
    """To another user, whatever is written into the ring."""
    with users.system() as (daemon, witness):
        path = daemon.file("file", BOB, 0o666)
        with Guest(ALICE, hear_senders, daemon.address, path) as alice, \
                Guest(MALLORY, forge_sender, daemon.address, path, BOB.uid) as mallory:
            alice.expect("ready")
            mallory.expect("ready")
            mallory.tell("go")
            mallory.expect("sent")
            witness.check()
            alice.tell("who?")
            senders = alice.hear()
            assert senders == {MALLORY.uid}, senders
            mallory.tell("end")


def publish_as(line, address, path, uid):
    """Takes the origin of that user's messages from the first that comes, and publishes with numbers far ahead."""
    with bus.Connection(address) as listening, bus.Connection(address) as connection:
        listening.open_socket(path, bus.SUBSCRIBE)
        line.tell("ready")
        while True:
            answer = listening.receive()
            message = users.Message(answer.body) if answer.kind == bus.EVENT_MESSAGE else None
            if message and message.uid == uid:
                break
        number = connection.open_socket(path, bus.POST, origin=message.origin)
        for ahead in (1, 2, 100, 1 << 40, (1 << 64) - 1):
            connection.ask(bus.PUBLISH, struct.pack("<IIQ", number, 0, (message.number + ahead) % (1 << 64)) + b"forged",
                           bus.DONE)
        line.tell("published")
        line.expect("end")


def publish_before_and_after(line, address, path):
    with bus.Connection(address) as connection:
        number = connection.open_socket(path, bus.POST)
        line.tell("ready")
        for i in range(10):
            if i == 1:
                line.expect("go on")
            connection.ask(bus.PUBLISH, struct.pack("<IIQ", number, 0, 0) + b"%d" % i, bus.DONE)
        line.expect("end")


def hear_all(line, address, path):
    with bus.Connection(address) as connection:
        connection.open_socket(path, bus.SUBSCRIBE)
        line.tell("ready")
        heard = []
        while len(heard) < 10:
            answer = connection.receive()
            if answer.kind == bus.EVENT_MESSAGE and users.Message(answer.body).uid == BOB.uid:
                heard.append(int(users.Message(answer.body).data))
        line.tell(heard)


def test_numbers_of_another_users_messages():
    """Who publishes with another's origin and numbers is told as somebody else, and keeps nothing from being told."""
    with users.system() as (daemon, witness):
        path = daemon.file("file", BOB, 0o666)
        with Guest(ALICE, hear_all, daemon.address, path) as alice, \
                Guest(MALLORY, publish_as, daemon.address, path, BOB.uid) as mallory:
            alice.expect("ready")
            mallory.expect("ready")
            with Guest(BOB, publish_before_and_after, daemon.address, path) as bob:
                bob.expect("ready")
                mallory.expect("published")
                bob.tell("go on")
                assert alice.hear() == list(range(10))
                bob.tell("end")
            mallory.tell("end")
        witness.check()


# --- the sizes of things -----------------------------------------------------------------------------------------------


def shrink(line, address, path):
    """All that might take memory away under who has it mapped, or keep others from using it."""
    with bus.Connection(address) as connection:
        topic = connection.open(path)
        refused = 0
        attempts = [
            lambda: os.ftruncate(topic.page_fd, 0),
            lambda: os.ftruncate(topic.page_fd, 1 << 30),
            lambda: fcntl.fcntl(topic.page_fd, 1033, 8),  # F_SEAL_WRITE
            lambda: fcntl.fcntl(topic.page_fd, 1033, 16),  # F_SEAL_FUTURE_WRITE
            lambda: mmap.mmap(connection.death, bus.DEATH_SIZE),
            lambda: os.ftruncate(connection.death, 0),
            lambda: os.pwrite(connection.death, b"x", 8),
            lambda: os.open(f"/proc/self/fd/{connection.death}", os.O_RDWR),
        ]
        for attempt in attempts:
            try:
                attempt()
            except OSError:
                refused += 1
        line.tell((refused, len(attempts)))


def test_memory_that_is_taken_away():
    with users.system() as (daemon, witness):
        with Guest(MALLORY, shrink, daemon.address, witness.shared) as mallory:
            refused, n = mallory.hear()
            assert refused == n, f"{n - refused} were let through"


if __name__ == "__main__":
    bus.main()
