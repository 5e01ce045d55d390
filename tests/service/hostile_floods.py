#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Other users who ask for too much, too slowly, or without ever listening to the answers. What it costs the daemon is
bounded, and others are served all the while."""

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import struct
import time

import bus
import users
from users import BOB, MALLORY, Guest

FLOOD_S = 1
MANY = 10000


# --- too slowly --------------------------------------------------------------------------------------------------------


def greet_slowly(line, address, n):
    """A byte of the greeting at a time, on many connections, until the daemon has closed them all."""
    greeting, left = bus.hello(), {}
    for _ in range(n):
        connection = bus.Connection(address, greet=False)
        connection.socket.setblocking(False)
        left[connection.socket.fileno()] = connection
    line.tell("connected")
    poll = select.poll()
    for fd in left:
        poll.register(fd, select.POLLIN)
    at, reasons = 0, []
    while left:
        for connection in left.values():
            # All but the last byte, and then nothing.
            with contextlib.suppress(OSError):
                connection.socket.send(greeting[at:at + 1] if at < len(greeting) - 1 else b"")
        at += 1
        for fd, _ in poll.poll(50):
            connection = left[fd]
            data = b""
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                data = connection.socket.recv(4096)
            if data:
                reasons.append(struct.unpack_from("<I", data, 12)[0])
                continue
            poll.unregister(fd)
            left.pop(fd).close()
    line.tell(reasons)


def test_slow_greetings():
    with users.system("--hello-timeout", "300") as (daemon, witness):
        counted = users.Counted(daemon)
        with Guest(MALLORY, greet_slowly, daemon.address, 60) as mallory:
            mallory.expect("connected")
            while not mallory.is_told():
                witness.check()
                counted.look(60 + 16)
            assert mallory.hear() == [errno.ETIMEDOUT] * 60
        daemon.expect_said("no greeting in time")


def halve(line, address, n):
    """Large frames that never end."""
    connections = [bus.Connection(address) for _ in range(n)]
    for connection in connections:
        connection.send(struct.pack("<IHHI", bus.MAX_FRAME, bus.OPEN, 0, 2) + bytes(bus.MAX_FRAME - 13))
    line.tell("sent")
    line.expect("end")
    for connection in connections:
        connection.close()


def test_half_frames():
    with users.system() as (daemon, witness):
        counted = users.Counted(daemon)
        with Guest(MALLORY, halve, daemon.address, 60) as mallory:
            mallory.expect("sent")
            for _ in range(5):
                witness.check()
                counted.look(60 + 16)
            mallory.tell("end")


# --- too much ------------------------------------------------------------------------------------------------------------


def flood(line, address, make, seconds):
    """Sends as fast as it goes, taking the answers only so that it goes on; another connection when it is closed."""
    with contextlib.closing(bus.Connection(address)) as first:
        connection, data = first, make(first)
        line.tell("ready")
        end, n_sent = time.monotonic() + seconds, 0
        connection.socket.setblocking(False)
        while time.monotonic() < end:
            readable, writable, _ = select.select([connection.socket], [connection.socket], [], 0.1)
            with contextlib.suppress(BlockingIOError):
                if readable and not connection.socket.recv(65536):
                    break
                if writable:
                    n_sent += connection.socket.send(data)
    line.tell(n_sent)


def pings(_):
    return bus.frame(bus.PING, 2) * 500


def garbage(connection):
    connection.close()
    return b""


def openings(connection):
    """And closings, of one after the other."""
    assert connection
    return b"".join(bus.open_frame(2 + i, f"/tmp/../tmp/pathbus-flood-{i}", bus.SOCKET) for i in range(50))


def floods_of(connection, path):
    number = connection.open_socket(path, bus.POST)
    return number, struct.pack("<I", number)


def flooded(make, what, *arguments, persons=(MALLORY, MALLORY)):
    with users.system(*arguments) as (daemon, witness):
        path = daemon.file("flood", MALLORY, 0o666)
        counted = users.Counted(daemon)
        with contextlib.ExitStack() as stack:
            guests = [stack.enter_context(Guest(person, flood, daemon.address,
                                                lambda connection: make(connection, path), FLOOD_S))
                      for person in persons]
            for guest in guests:
                guest.expect("ready")
            while not all(guest.is_told() for guest in guests):
                witness.check()
                counted.look(4096)
            assert all(guest.hear() > 0 for guest in guests), what
        print(f"  {what}: a round of the others took {witness.slowest * 1000:.0f} ms at most", flush=True)


def test_a_flood_of_frames():
    flooded(lambda connection, _: pings(connection), "pings")


def test_a_flood_of_openings():
    flooded(lambda connection, _: openings(connection), "openings")


def posts(connection, path):
    _, number = floods_of(connection, path)
    return bus.frame(bus.FRAME_POST, 0, number) * 500


def messages(connection, path):
    number, _ = floods_of(connection, path)
    return bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", number, 0, 0) + bytes(1000)) * 50


def test_a_flood_of_posts():
    flooded(posts, "posts")


def test_a_flood_of_messages():
    flooded(messages, "messages")


def connect_in_a_loop(line, address, seconds):
    end, n = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionError, BlockingIOError), \
                contextlib.closing(bus.Connection(address, greet=False)) as connection:
            connection.send(bus.hello())
            n += 1
    line.tell(n)


def test_a_flood_of_connections():
    with users.system() as (daemon, witness):
        with Guest(MALLORY, connect_in_a_loop, daemon.address, FLOOD_S) as mallory:
            while not mallory.is_told():
                witness.check()
            assert mallory.hear() > 0


def connect_many(line, address, n):
    """As many as it may have, and then more; keeps those that were taken."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    n = min(n, limit - 100)
    kept, refused, said = [], 0, set()
    for _ in range(n):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(bus.LIMIT_S)
        with contextlib.suppress(ConnectionError):
            connection.connect(os.fspath(address))
            connection.send(bus.hello())
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = connection.recv(4096)
        if data and struct.unpack_from("<IH", data)[1] == bus.WELCOME:
            kept.append(connection)
        else:
            refused += 1
            said.add(data[16:].decode())
            connection.close()
        if refused >= 1000:
            break
    line.tell((len(kept), refused, said))
    line.expect("end")
    for connection in kept:
        connection.close()


def test_ten_thousand_connections():
    """Of one user: what is over is told which limit it was, and others still get all of theirs."""
    with users.system() as (daemon, witness):
        counted = users.Counted(daemon)
        with Guest(MALLORY, connect_many, daemon.address, MANY) as mallory:
            while not mallory.is_told():
                witness.check()
            n_kept, n_refused, said = mallory.hear()
            print(f"  {n_kept} were taken, {n_refused} refused: {sorted(said)}", flush=True)
            assert n_kept >= 16 and n_refused >= 1, "there is a limit"
            assert any("--max-user-connections" in text for text in said), said
            counted.look(n_kept + 64)

            def connect():
                with contextlib.ExitStack() as stack:
                    for _ in range(16):
                        stack.enter_context(bus.Connection(daemon.address)).open(daemon.data)
                return True

            assert users.run_as(BOB, connect)
            witness.check()
            mallory.tell("end")
        daemon.expect_said("--max-user-connections")


# --- without listening -----------------------------------------------------------------------------------------------


def be_deaf(line, address, path, n):
    connections = [bus.Connection(address) for _ in range(n)]
    for connection in connections:
        for _ in range(4):
            connection.open_socket(path)
        connection.open(path)
    line.tell("ready")
    line.expect("end")
    for connection in connections:
        connection.close()


def talk(line, address, path, n):
    """Posts and messages; says how long one took at most."""
    with bus.Connection(address) as connection:
        number = connection.open_socket(path, bus.POST)
        line.tell("ready")
        line.expect("go")
        slowest = 0
        for i in range(n):
            before = time.monotonic()
            connection.ask(bus.FRAME_POST, struct.pack("<I", number), bus.DONE)
            connection.ask(bus.PUBLISH, struct.pack("<IIQ", number, 0, 0) + b"%d" % i + bytes(500), bus.DONE)
            slowest = max(slowest, time.monotonic() - before)
        line.tell(slowest)


def listen(line, address, path, n):
    """Everything is told, or counted as missed."""
    with bus.Connection(address) as connection:
        connection.open_socket(path, bus.SUBSCRIBE)
        line.tell("ready")
        heard, missed = [], 0
        while len(heard) + missed < n:
            answer = connection.receive()
            if answer.kind == bus.EVENT_MESSAGE:
                heard.append(int(users.Message(answer.body).data.rstrip(b"\0")))
            elif answer.kind == bus.EVENT_GAP:
                missed += struct.unpack_from("<Q", answer.body, 12)[0]
        assert heard == sorted(heard) and len(heard) + missed == n
        line.tell((len(heard), missed))


def test_subscribers_that_never_read():
    n = 1000
    with users.system() as (daemon, witness):
        path = daemon.file("file", BOB, 0o644)
        counted = users.Counted(daemon)
        with Guest(MALLORY, be_deaf, daemon.address, path, 20) as mallory, \
                Guest(users.ALICE, listen, daemon.address, path, n) as alice, \
                Guest(BOB, talk, daemon.address, path, n) as bob:
            for guest in (mallory, alice, bob):
                guest.expect("ready")
            mallory.signal(signal.SIGSTOP)
            bob.tell("go")
            while not (bob.is_told() and alice.is_told()):
                witness.check()
                counted.look(20 * 8 + 64)
            assert bob.hear() < users.PATIENCE_S
            heard, missed = alice.hear()
            print(f"  {heard} heard, {missed} missed", flush=True)
            assert heard > 0
            mallory.signal(signal.SIGCONT)
            mallory.tell("end")


if __name__ == "__main__":
    bus.main()
