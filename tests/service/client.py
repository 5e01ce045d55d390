#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/python/pathbus.py where something goes wrong: what cannot be sent, daemons that refuse, numbers after a
restart. What it does otherwise is in subscribers.py."""

import asyncio
import contextlib
import errno
import math
import os
import pathlib
import socket
import struct
import sys
import threading

import bus

sys.dont_write_bytecode = True
sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[2] / "examples/python"))
import pathbus  # noqa: E402

LIMIT = bus.LIMIT_S


def connect(daemon):
    return pathbus.Bus(daemon.address, timeout=LIMIT)


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 2 * LIMIT))


def expect_raised(kind, number, call):
    try:
        call()
    except kind as error:
        assert not number or error.errno == number, repr(error)
    else:
        raise AssertionError(f"{kind} was expected")


async def expect_raised_by(kind, number, coroutine_of):
    try:
        await coroutine_of()
    except kind as error:
        assert not number or error.errno == number, repr(error)
    else:
        raise AssertionError(f"{kind} was expected")


# --- what cannot be sent --------------------------------------------------------------------------------------------


def wrong_calls(topic):
    """(what is raised, its errno, the call)"""
    return [
        (OSError, errno.EMSGSIZE, lambda: topic.publish(bytes(4097))),  # the topic's limit: the daemon says so
        (OSError, errno.EMSGSIZE, lambda: topic.publish(bytes(65537))),  # the protocol's
        (OSError, errno.EMSGSIZE, lambda: topic.publish(bytes(1 << 20))),
        (OSError, errno.EMSGSIZE, lambda: topic.publish(b"x", bytes(256))),
        (TypeError, 0, lambda: topic.publish("text")),
        (TypeError, 0, lambda: topic.publish(5)),
        (ValueError, 0, lambda: topic.set_state(-1)),
        (ValueError, 0, lambda: topic.set_state(1 << 64)),
        (ValueError, 0, lambda: topic.exchange_state(-1, 1)),
        (ValueError, 0, lambda: topic.exchange_state(1, 1 << 64)),
        (TypeError, 0, lambda: topic.set_state("1")),
        (ValueError, 0, lambda: topic.sync(0, laggards=-1)),
    ]


def wrong_openings(open_file, path):
    return [
        (ValueError, 0, lambda: open_file(f"{path}\0x")),
        (ValueError, 0, lambda: open_file("")),
        (OSError, errno.ENAMETOOLONG, lambda: open_file("/" + "x/" * 3000)),
        (ValueError, 0, lambda: open_file(path, last=-1)),
        (ValueError, 0, lambda: open_file(path, ring_slots=-1)),
        (ValueError, 0, lambda: open_file(path, max_message=1 << 32)),
        (OSError, errno.EINVAL, lambda: open_file(path, max_message=65537)),
    ]


def test_what_cannot_be_sent():
    with bus.daemon() as daemon, connect(daemon) as client, connect(daemon) as other:
        topic = client.open(daemon.folder / "file")
        other.open(daemon.folder / "file")
        connection = client.fileno()
        for kind, number, call in wrong_calls(topic) + wrong_openings(client.open, daemon.folder / "more"):
            expect_raised(kind, number, call)
            topic.post()
            assert other.next(LIMIT).kind == "post", "the connection is still the same one"
        assert client.fileno() == connection and client.next(0) is None
        topic.publish(bytearray(4096), memoryview(bytes(255)))
        event = other.next(LIMIT)
        assert (event.kind, event.data, event.key) == ("message", bytes(4096), bytes(255))
        topic.set_state((1 << 64) - 1)
        assert topic.get_state() == ((1 << 64) - 1, 1)
        assert not topic.sync(-1, laggards=1000)
        other.next(0)
        assert topic.sync(math.inf)


def test_what_cannot_be_sent_by_asyncio():
    async def talk(daemon):
        async with pathbus.AsyncBus(daemon.address) as client, pathbus.AsyncBus(daemon.address) as other:
            topic = await client.open(daemon.folder / "file")
            await other.open(daemon.folder / "file")
            for kind, number, call in wrong_calls(topic) + wrong_openings(client.open, daemon.folder / "more"):
                await expect_raised_by(kind, number, call)
                await topic.post()
                assert (await other.next()).kind == "post"
            assert not await topic.sync(0)

    with bus.daemon() as daemon:
        run(talk(daemon))


def test_paths_are_the_kernels():
    """What is before a `..` may be a link."""
    with bus.daemon() as daemon, connect(daemon) as client, connect(daemon) as other:
        (daemon.folder / "real/deep").mkdir(parents=True)
        (daemon.folder / "link").symlink_to("real/deep")
        there, beside = other.open(daemon.folder / "real/file"), other.open(daemon.folder / "file")
        client.open(f"{daemon.folder}/link/../file").post()
        assert other.next(LIMIT).topic is there
        before = os.getcwd()
        os.chdir(daemon.folder)
        try:
            for path in ("link/../file", b"link/../file", pathlib.Path("real/file")):
                client.open(path).post()
                assert other.next(LIMIT).topic is there
            client.open("file").post()
            assert other.next(LIMIT).topic is beside
        finally:
            os.chdir(before)


# --- daemons that refuse --------------------------------------------------------------------------------------------


class Fake:
    """A daemon that says what the test wants: each connection gets the next of the scripts, or the last one again, which
    are the answers to its frames in turn. Then the connection ends, unless with `stay`."""

    def __init__(self, *scripts):
        self.address = pathlib.Path(bus.new_folder()) / "socket"
        self.scripts = list(scripts)
        self.n_connections = 0
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.bind(os.fspath(self.address))
        self.listening.listen(8)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.thread.join(LIMIT)
        self.listening.close()

    def serve(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.n_connections += 1
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
            with connection, contextlib.suppress(OSError):  # it has gone
                self.answer(connection, script)

    @staticmethod
    def answer(connection, script):
        rest = b""
        for answer in script:
            while len(rest) < 12 or len(rest) < struct.unpack_from("<I", rest)[0]:
                data = connection.recv(65536)
                if not data:
                    return
                rest += data
            size, _, _, request = struct.unpack_from("<IHHI", rest)
            rest = rest[size:]
            connection.sendall(answer(request))
            if answer is stay:
                while connection.recv(65536):
                    pass
                return


def stay(_):
    """The frame was the last: what comes is not answered."""
    return b""


def welcome(request):
    return pathbus.frame(pathbus.WELCOME, request, bytes(32))


def opened(request):
    return pathbus.frame(pathbus.OPENED, request, struct.pack("<6IQ", 1, 3, 0, 0, 256, 4096, 77))


def done(request):
    return pathbus.frame(pathbus.DONE, request)


def last_word(number):
    def say(_):
        return pathbus.frame(pathbus.ERROR, 0, struct.pack("<I", number) + b"so there")

    return say


PASSING = (errno.EUSERS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def test_what_a_daemon_has_no_room_for_now():
    for number in PASSING:
        no = [last_word(number)]
        # When it begins, and when it comes back.
        with Fake(no, no, [welcome, opened], no, no, [welcome, opened, done, stay]) as fake, \
                pathbus.Bus(fake.address, timeout=LIMIT) as client:
            assert fake.n_connections == 3
            topic = client.open("/file")
            assert client.next(LIMIT).kind == "resync"
            topic.post()
            assert fake.n_connections == 6


def test_what_a_daemon_has_no_room_for_now_by_asyncio():
    async def talk(number):
        no = [last_word(number)]
        with Fake(no, no, [welcome, opened], no, no, [welcome, opened, done, stay]) as fake:
            async with pathbus.AsyncBus(fake.address, timeout=LIMIT) as client:
                assert fake.n_connections == 3
                topic = await client.open("/file")
                assert (await client.next()).kind == "resync"
                await topic.post()
                assert fake.n_connections == 6

    for number in PASSING:
        run(talk(number))


def test_no_room_for_long():
    with Fake([last_word(errno.EUSERS)]) as fake:
        expect_raised(ConnectionResetError, errno.EUSERS, lambda: pathbus.Bus(fake.address, timeout=2))
        run(expect_raised_by(ConnectionResetError, errno.EUSERS, pathbus.AsyncBus(fake.address, timeout=2).start))
        assert fake.n_connections > 4, "it has tried more than once"


def test_a_daemon_that_cannot_be_talked_to():
    with Fake([last_word(errno.EPROTO)]) as fake:
        expect_raised(pathbus.Refused, errno.EPROTO, lambda: pathbus.Bus(fake.address, timeout=LIMIT))
        run(expect_raised_by(pathbus.Refused, errno.EPROTO, pathbus.AsyncBus(fake.address, timeout=LIMIT).start))
        assert fake.n_connections == 2


def test_a_last_word_is_not_the_last_call():
    """Whatever the daemon did not like: that call fails, and the next one finds it again."""
    with Fake([welcome, opened, last_word(errno.EBADMSG)], [welcome, opened, done, stay]) as fake, \
            pathbus.Bus(fake.address, timeout=LIMIT) as client:
        topic = client.open("/file")
        expect_raised(pathbus.Refused, errno.EBADMSG, topic.post)
        topic.post()
        assert client.next(LIMIT).kind == "resync"
    # A greeting that is refused when it comes back, by a daemon of another version, which does not stay.
    with Fake([welcome, opened], [last_word(errno.EPROTO)], [welcome, opened, done, stay]) as fake, \
            pathbus.Bus(fake.address, timeout=LIMIT) as client:
        topic = client.open("/file")
        expect_raised(pathbus.Refused, errno.EPROTO, lambda: client.next(LIMIT))
        assert client.next(LIMIT).kind == "resync"
        topic.post()


def test_a_last_word_is_not_the_last_call_by_asyncio():
    async def talk():
        with Fake([welcome, opened, last_word(errno.EBADMSG)], [welcome, opened, done, stay]) as fake:
            async with pathbus.AsyncBus(fake.address, timeout=LIMIT) as client:
                topic = await client.open("/file")
                await expect_raised_by(pathbus.Refused, errno.EBADMSG, topic.post)
                await topic.post()
                assert (await client.next()).kind == "resync"
        with Fake([welcome, opened], [last_word(errno.EPROTO)], [welcome, opened, done, stay]) as fake:
            async with pathbus.AsyncBus(fake.address, timeout=LIMIT) as client:
                topic = await client.open("/file")
                await expect_raised_by(pathbus.Refused, errno.EPROTO, client.next)
                assert (await client.next()).kind == "resync"
                await topic.post()

    run(talk())


# --- numbers --------------------------------------------------------------------------------------------------------


def numbered(number, topic, data=b"x"):
    return bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", topic, 0, number) + data)


def numbers_of(client, n):
    events = [client.next(LIMIT) for _ in range(n)]
    assert {event.kind for event in events} == {"message"}, events
    return [event.number for event in events]


def is_rising(numbers):
    return all(a < b for a, b in zip(numbers, numbers[1:]))


def test_numbers_of_the_daemon_never_come_again():
    """An origin may be in several openings, one after the other or at once, and outlives the daemon."""
    folder, last = bus.new_folder(), 0
    for _ in range(3):
        with bus.daemon(folder=folder) as daemon, daemon.connect() as one, daemon.connect() as other, \
                connect(daemon) as reader:
            path = daemon.folder / "file"
            reader.open(path)
            topics = [(client, client.open_socket(path, bus.POST, origin=7)) for client in (one, other, one)]
            for _ in range(100):
                for client, topic in topics:
                    client.send(numbered(0, topic))
                    client.ping()
            numbers = numbers_of(reader, 300)
            assert is_rising([last, *numbers]), (last, numbers)
            last = numbers[-1]
            for client, topic in topics:
                client.send(bus.frame(bus.CLOSE, 0, struct.pack("<I", topic)))
            topic = one.open_socket(path, bus.POST, origin=7)
            one.send(numbered(0, topic))
            assert is_rising([last, *numbers_of(reader, 1)])


def test_numbers_of_both():
    """Those that the daemon gives are above those that the client has given, and disturb nobody else's."""
    with bus.daemon() as daemon, daemon.connect() as one, daemon.connect() as other, connect(daemon) as reader:
        path = daemon.folder / "file"
        reader.open(path)
        high, low = one.open_socket(path, bus.POST), other.open_socket(path, bus.POST)
        for number in (5, 1 << 63, 0, 0, 0xFFFFFFFFFFFFFFFF, 0):
            one.send(numbered(number, high))
        one.ping()
        numbers = numbers_of(reader, 6)
        assert numbers[:5] == [5, 1 << 63, (1 << 63) + 1, (1 << 63) + 2, 0xFFFFFFFFFFFFFFFF]
        assert 0 < numbers[5] < 1 << 62, "there is none above"
        other.send(numbered(0, low))
        assert numbers_of(reader, 1)[0] < 1 << 62


def test_the_client_counts_on_after_a_restart():
    daemon = bus.Daemon()
    with connect(daemon) as client:
        topic = client.open(daemon.folder / "file", echo=True)
        for _ in range(3):
            topic.publish(b"x")
        assert numbers_of(client, 3) == [1, 2, 3]
        daemon.kill()
        with bus.daemon(folder=daemon.folder):
            assert client.next(LIMIT).kind == "resync"
            topic.publish(b"x")
            assert numbers_of(client, 1) == [4]
            client.close()


if __name__ == "__main__":
    bus.main()
