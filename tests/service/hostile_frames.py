#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Frames by which one user reaches for what is another's: topics, endpoints, regions, tokens, rights, senders. Every one is
refused, and the other has all of it afterwards."""

import ctypes
import errno
import os
import struct

import bus
import endpoints
import regions
import users
from users import ALICE, BOB, MALLORY, Guest

MFD_CLOEXEC, MFD_ALLOW_SEALING = 1, 2


def owner(line, address, path):
    """Has one of everything under the first numbers, which are also the numbers that others try."""
    with bus.Connection(address) as connection, bus.Connection(address) as frames:
        topic = connection.open(path)
        number = frames.open_socket(path)
        endpoint = endpoints.listen(connection, topic.id, b"service")
        token = endpoints.token(connection, topic.id, b"service")
        region = regions.make(topic, b"region", 4096)
        os.pwrite(region.fd, b"kept", 4096)
        line.tell((topic.id, number, endpoint, token, region.holder, region.id, region.fd, connection.pid))
        line.expect("are you well?")
        # All is as it was.
        assert topic.slot == 0 and topic.half(bus.CLOSED) == 0
        assert endpoints.listed(connection, topic.id)[0][:2] == (b"service", os.getpid())
        assert [(name, n) for name, n, _ in regions.listed(topic, are_named=False)] == [(b"region", 1)]
        assert os.pread(region.fd, 4, 4096) == b"kept" and regions.open_region(topic, b"region").id == region.id
        frames.ask(bus.FRAME_POST, struct.pack("<I", number), bus.DONE)
        before = struct.unpack("<QQ", frames.ask(bus.GET_STATE, struct.pack("<I", number), bus.STATE).body)
        assert before == (0, 0), f"the state has become {before}"
        endpoints.send_redeem(connection, token)
        connection.expect(bus.EVENT_CONNECTION)
        connection.expect(bus.CONNECTED)
        line.tell("well")


def dropped(address, data):
    """By another connection, which is closed for it."""
    with bus.Connection(address) as connection:
        connection.send(data)
        answer = connection.receive()
        assert answer and answer.kind == bus.ERROR and answer.request == 0, answer and answer.kind
        connection.expect_end()


def without_effect(address, data):
    """It is no error, or the connection's end: what is not there may have been."""
    with bus.Connection(address) as connection:
        connection.send(data + bus.frame(bus.PING, 2))
        assert connection.receive().kind in (bus.PONG, bus.ERROR)


def forge_numbers(line, address, facts):
    """Numbers mean something in their connection only."""
    topic, number, endpoint, _, holder, _, _, _ = facts
    for named in {topic, number}:
        one = struct.pack("<I", named)
        for data in (bus.frame(bus.CLOSE, 0, one), bus.frame(bus.FRAME_POST, 7, one),
                     bus.frame(bus.PUBLISH, 7, struct.pack("<IIQ", named, 0, 0) + b"forged"),
                     bus.frame(bus.SET_STATE, 7, struct.pack("<IIQQ", named, 0, 0, 66)),
                     bus.frame(bus.GET_STATE, 7, one),
                     bus.frame(bus.SEEN, 0, struct.pack("<IQ", named, 1)),
                     bus.frame(bus.SYNC, 7, struct.pack("<III", named, 0, 0)),
                     endpoints.named(bus.LISTEN, 7, named, 2, b"service"),
                     endpoints.named(bus.CONNECT, 7, named, 0, b"service"),
                     endpoints.named(bus.TOKEN, 7, named, 0, b"service"),
                     bus.frame(bus.REGION_OPEN, 7, struct.pack("<IIQ", named, 0, 0) + bytes(16) + b"region"),
                     bus.frame(bus.REGION_LIST, 7, struct.pack("<IIQ", named, 0, 0)),
                     bus.frame(bus.REGION_RESTORE, 7, struct.pack("<IIIIIIQQ", named, 0, 0, 3, 1, 0, 4096, 4096) +
                               b"i" * 16 + b"region")):
            dropped(address, data)
    for data in (bus.frame(bus.UNLISTEN, 0, struct.pack("<I", endpoint)),
                 bus.frame(bus.TAKEN, 0, struct.pack("<II", endpoint, 1)),
                 bus.frame(bus.CANCEL, 0, struct.pack("<I", 2)),
                 bus.frame(bus.REGION_CLOSE, 0, struct.pack("<III", topic, holder, 0))):
        without_effect(address, data)
    line.tell("done")


def test_numbers_of_others():
    with users.system() as (daemon, witness):
        path = daemon.file("file", BOB, 0o600)
        with Guest(BOB, owner, daemon.address, path) as bob:
            facts = bob.hear()
            with Guest(MALLORY, forge_numbers, daemon.address, facts) as mallory:
                mallory.expect("done")
            bob.tell("are you well?")
            bob.expect("well")
        witness.check()


def refused(connection, kind, body, number):
    connection.send(bus.frame(kind, connection.request(), body))
    connection.expect_error(number, connection.last_request)


def read_only(line, address, path, facts):
    """May read the file, and nothing else."""
    _, _, endpoint, _, _, region_id, region_fd, _ = facts
    with bus.Connection(address) as connection, bus.Connection(address) as frames:
        for flags in (bus.POST, bus.POST | bus.SUBSCRIBE, bus.POST | bus.SOCKET):
            connection.send(bus.open_frame(connection.request(), path, flags))
            connection.expect_error(errno.EACCES, connection.last_request)
        topic, number = connection.open(path), frames.open_socket(path)
        assert topic.rights == bus.SUBSCRIBE
        one = struct.pack("<I", number)
        refused(frames, bus.FRAME_POST, one, errno.EACCES)
        refused(frames, bus.PUBLISH, struct.pack("<IIQ", number, 0, 0) + b"forged", errno.EACCES)
        refused(frames, bus.SET_STATE, struct.pack("<IIQQ", number, 0, 0, 66), errno.EACCES)
        for flags in (0, 2):
            refused(frames, bus.LISTEN, struct.pack("<II", number, flags) + b"service", errno.EACCES)
        refused(connection, bus.CONNECT, struct.pack("<II", topic.id, 0) + b"service", errno.EACCES)
        refused(connection, bus.TOKEN, struct.pack("<II", topic.id, 0) + b"service", errno.EACCES)
        # Regions: to read; none of its own, none in the place of another.
        for flags, replaced in ((regions.CREATE, bytes(16)), (regions.REPLACE, region_id)):
            regions.refused(topic, b"region" if flags != regions.CREATE else b"own", errno.EACCES,
                            flags=flags, size=4096, replaces=replaced)
        region = regions.open_region(topic, b"region", regions.READ_ONLY)
        assert region.writable == 0 and os.pread(region.fd, 4, 4096) == b"kept"
        for attempt in (lambda: os.pwrite(region.fd, b"lost", 4096),
                        lambda: os.open(f"/proc/self/fd/{region.fd}", os.O_RDWR),
                        lambda: os.ftruncate(region.fd, 0), lambda: os.fchmod(region.fd, 0o666)):
            try:
                attempt()
            except OSError as error:
                assert error.errno in (errno.EACCES, errno.EPERM, errno.EBADF, errno.EINVAL), error
            else:
                raise AssertionError("a region that is for reading only was written")
        # What it says it holds: nothing, another's number, memory of its own with that label.
        forged = forged_region(region.name)
        for fd in (-1 & 0x7FFFFFFF, region_fd + 1000, forged, region.fd):
            connection.send(bus.frame(bus.REGION_RESTORE, connection.request(), struct.pack(
                "<IIIIIIQQ", topic.id, 0, 0, fd, 1, 0, 4096, 4096) + b"j" * 16 + b"region"))
            answer = connection.expect(bus.ERROR, connection.last_request)
            assert struct.unpack_from("<I", answer.body)[0] in (errno.EACCES, errno.EEXIST, errno.ESRCH, errno.ESTALE)
        # Whoever guesses tokens.
        for _ in range(100):
            frames.send(bus.frame(bus.REDEEM, frames.request(), struct.pack("<I", 0) + os.urandom(16)))
            frames.expect_error(errno.ENOENT, frames.last_request)
        # Who is only told may post as much as it likes into its own page: it is nobody's post.
        for _ in range(100):
            topic.post()
        struct.pack_into("<I", topic.page, bus.CLOSED, 1)
        topic.post()
        assert endpoint
    line.tell("done")


def forged_region(name):
    label = name.removeprefix("/memfd:").removesuffix(" (deleted)")
    fd = users.libc_call("memfd_create", label.encode(), ctypes.c_uint(MFD_CLOEXEC | MFD_ALLOW_SEALING))
    os.ftruncate(fd, 8192)
    os.fchmod(fd, 0o600)
    regions.fcntl.fcntl(fd, regions.F_ADD_SEALS, regions.SEALS)
    return fd


def listen_exactly(line, address, path):
    """Told of what was posted before the question, and of nothing else."""
    with bus.Connection(address) as frames:
        number = frames.open_socket(path, bus.SUBSCRIBE)
        line.tell("ready")
        line.expect("what came?")
        frames.send(bus.frame(bus.PING, frames.request()))
        told = []
        while (answer := frames.receive()).kind != bus.PONG:
            told.append(answer.kind)
        state = users.state_of(frames, number)
        line.tell((told, state))


def test_who_may_only_read():
    with users.system() as (daemon, witness):
        path = daemon.file("file", BOB, 0o644)
        with Guest(BOB, owner, daemon.address, path) as bob:
            facts = bob.hear()
            with Guest(ALICE, listen_exactly, daemon.address, path) as alice:
                alice.expect("ready")
                with Guest(MALLORY, read_only, daemon.address, path, facts) as mallory:
                    mallory.expect("done")
                alice.tell("what came?")
                told, state = alice.hear()
                # That somebody has gone is told to all; nothing that counts as a post is.
                assert set(told) <= {bus.EVENT_RESYNC} and state == 0, (told, state)
            bob.tell("are you well?")
            bob.expect("well")
        witness.check()


def take_over(line, address, path):
    """May write the file as well: and is still not who listens."""
    with bus.Connection(address) as connection:
        topic = connection.open(path).id
        refused(connection, bus.LISTEN, struct.pack("<II", topic, 0) + b"service", errno.EADDRINUSE)
        refused(connection, bus.LISTEN, struct.pack("<II", topic, 2) + b"service", errno.EPERM)
        refused(connection, bus.CONNECT, struct.pack("<II", topic, 0) + b"service", errno.EACCES)
        refused(connection, bus.TOKEN, struct.pack("<II", topic, 0) + b"service", errno.EACCES)
    line.tell("done")


def test_taking_over_from_another_user():
    with users.system() as (daemon, witness):
        path = daemon.file("file", BOB, 0o666)
        with Guest(BOB, owner, daemon.address, path) as bob:
            facts = bob.hear()
            assert facts
            with Guest(MALLORY, take_over, daemon.address, path) as mallory:
                mallory.expect("done")
            bob.tell("are you well?")
            bob.expect("well")
        witness.check()


def serve(line, address, path):
    with bus.Connection(address) as connection:
        endpoint = endpoints.listen(connection, connection.open(path).id, b"open", 4)
        line.tell("ready")
        answer = connection.expect(bus.EVENT_CONNECTION, 0)
        number, pid, uid, gid = struct.unpack("<IIII", answer.body)
        assert number == endpoint
        line.tell((pid, uid, gid))
        line.expect("end")


def test_who_connects_is_whom_the_kernel_says():
    with users.system() as (daemon, _):
        path = daemon.file("file", BOB, 0o644)
        with Guest(BOB, serve, daemon.address, path) as bob:
            bob.expect("ready")

            def connect(line):
                with bus.Connection(daemon.address) as connection:
                    connection.send(endpoints.named(bus.CONNECT, connection.request(), connection.open_socket(path),
                                                    0, b"open"))
                    answer = connection.expect(bus.CONNECTED)
                    line.tell(struct.unpack("<IIII", answer.body)[:3])
                    line.expect("end")

            with Guest(MALLORY, connect) as mallory:
                assert mallory.hear() == (bob.pid, BOB.uid, BOB.gid)
                assert bob.hear() == (mallory.pid, MALLORY.uid, MALLORY.gid)
                bob.tell("end")
                mallory.tell("end")


if __name__ == "__main__":
    bus.main()
