#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Limits per user: each of them is reached by one user, says so, leaves others theirs, and is free again afterwards."""

import contextlib
import errno
import os
import pathlib
import random
import resource
import select
import signal
import socket
import struct
import sys

import bus

SERVICE, ONE, OTHER = 41000, 41001, 41002  # nobody has to know these users
CREATE = 256


@contextlib.contextmanager
def shared(*arguments, **keywords):
    """A daemon for several users, and a folder that all of them may write."""
    if os.geteuid() != 0:
        raise bus.Skip("needs root, to connect as two users")
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o755)
    # On a busy machine a path may take its time, and that is not what is tested here.
    with bus.daemon("--system", "--user", str(SERVICE), "--files-timeout", "20000",
                    "--helper-idle", "100", *arguments, folder=folder, address=folder / "run/socket",
                    **keywords) as daemon:
        daemon.files = folder / "files"
        daemon.files.mkdir()
        daemon.files.chmod(0o777)
        yield daemon


@contextlib.contextmanager
def being(uid):
    """The kernel remembers who has connected."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def connect(daemon, uid):
    with being(uid):
        connection = bus.Connection(daemon.address, greet=False)
    try:
        with contextlib.suppress(BrokenPipeError):  # it was refused before it could say anything: then that is what it reads
            connection.send(bus.hello(connection.request()))
        connection.expect(bus.WELCOME)
    except BaseException:
        connection.close()
        raise
    return connection


class User:
    """All connections of one, which end together."""

    def __init__(self, daemon, uid):
        self.daemon, self.uid, self.connections = daemon, uid, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.connections:
            connection.__exit__()
        self.connections = []

    def connect(self):
        self.connections.append(connect(self.daemon, self.uid))
        return self.connections[-1]


def refused(option, value, call, number=errno.EDQUOT):
    try:
        call()
    except bus.Failed as failed:
        assert failed.number == number, failed
        assert f"--{option})" in failed.text and f" {value} " in failed.text, failed
    else:
        raise AssertionError(f"--{option} {value} has not been reached")


def listen(connection, topic, name):
    connection.ask(bus.LISTEN, struct.pack("<II", topic, 0) + name, bus.LISTENING)


def connect_frame(request, topic, name, timeout=bus.NO_TIMEOUT):
    return bus.frame(bus.CONNECT, request, struct.pack("<II", topic, timeout) + name)


# --- each of them ------------------------------------------------------------------------------------------------------

class Limit:
    """How one is reached: takes as many as there may be; another is refused."""

    def __init__(self, option, most, take, prepare=lambda user: None):
        self.option, self.most, self.take, self.prepare = option, most, take, prepare


def take_connection(user, _, __):
    user.connect()


def prepare_topics(user):
    return user.connect()


def take_topic(user, connection, n):
    connection.open(user.daemon.files / f"file-{user.uid}-{n}")


def take_opening(user, connection, _):
    connection.open(user.daemon.files / "file")


def take_hard_link(user, connection, n):
    path = user.daemon.files / f"link-{user.uid}-{n}"
    if n == 0:
        path.touch()
        path.chmod(0o666)
    elif not path.exists():
        os.link(user.daemon.files / f"link-{user.uid}-0", path)
    connection.open(path)


def prepare_region(user):
    connection = user.connect()
    return connection, connection.open(user.daemon.files / "file", bus.POST)


def region_frame(topic, flags, size, name):
    return struct.pack("<IIQ", topic.id, flags, size) + bytes(16) + name


def take_region(user, prepared, n, size=4096):
    connection, topic = prepared
    connection.ask(bus.REGION_OPEN, region_frame(topic, CREATE, size, b"region-%d-%d" % (user.uid, n)), bus.REGION)


def take_holder(user, prepared, n):
    connection, topic = prepared
    connection.ask(bus.REGION_OPEN, region_frame(topic, CREATE if n == 0 else 0, 4096 if n == 0 else 0,
                                                 b"region-%d" % user.uid), bus.REGION)


def prepare_number(user):
    connection = user.connect()
    return connection, connection.open(user.daemon.files / "file", bus.POST).id


def take_endpoint(user, prepared, n):
    listen(*prepared, b"endpoint-%d-%d" % (user.uid, n))


def take_waiting_name(user, prepared, n):
    connection, topic = prepared
    connection.send(connect_frame(connection.request(), topic, b"name-%d-%d" % (user.uid, n)))
    connection.send(bus.frame(bus.PING, connection.request()))
    connection.expect(bus.PONG)


def take_connect(user, prepared, _):
    take_waiting_name(user, prepared, 0)


def prepare_token(user):
    prepared = prepare_number(user)
    listen(*prepared, b"listener-%d" % user.uid)
    return prepared


def take_token(user, prepared, _):
    connection, topic = prepared
    connection.ask(bus.TOKEN, struct.pack("<II", topic, 0) + b"listener-%d" % user.uid, bus.TOKEN_MADE)


def prepare_sync(user):
    sleeper, connection = user.connect(), user.connect()
    path = user.daemon.files / f"file-{user.uid}"
    sleeper.open_socket(path)
    topic = connection.open_socket(path, bus.POST)
    connection.ask(bus.FRAME_POST, struct.pack("<I", topic), bus.DONE)
    return connection, topic


def take_sync(_, prepared, __):
    connection, topic = prepared
    connection.send(bus.frame(bus.SYNC, connection.request(), struct.pack("<III", topic, bus.NO_TIMEOUT, 0)))
    connection.send(bus.frame(bus.PING, connection.request()))
    connection.expect(bus.PONG)


# Those of a row do not get into each other's way.
LIMITS = [
    [
        Limit("max-user-connections", 5, take_connection),
        Limit("max-user-topics", 4, take_topic, prepare_topics),
        Limit("max-regions", 3, take_region, prepare_region),
        Limit("max-user-holders", 4, take_holder, prepare_region),
        Limit("max-user-endpoints", 4, take_endpoint, prepare_number),
        Limit("max-user-endpoints", 4, take_waiting_name, prepare_number),
        Limit("max-user-tokens", 2, take_token, prepare_token),
        Limit("max-user-syncs", 2, take_sync, prepare_sync),
    ], [
        Limit("max-user-open", 6, take_opening, prepare_topics),
        Limit("max-user-watches", 3, take_hard_link, prepare_topics),
        Limit("max-user-connects", 3, take_connect, prepare_number),
    ],
]


def fill(user, limit):
    """As many as there may be, and what was refused then."""
    prepared = limit.prepare(user)
    for n in range(limit.most):
        limit.take(user, prepared, n)
    refused(limit.option, limit.most, lambda: limit.take(user, prepared, limit.most))
    return prepared


def test_each_leaves_others_theirs_and_ends():
    for row in LIMITS:
        with shared(*(word for limit in row for word in (f"--{limit.option}", str(limit.most)))) as daemon:
            for n, limit in enumerate(2 * row, 1):  # once somebody has gone there is room again
                with User(daemon, ONE) as one, User(daemon, OTHER) as other:
                    fill(one, limit)
                    fill(other, limit)
                for uid in (ONE, OTHER):
                    told = f"user {uid} has gone; it had reached: "
                    bus.wait_for(lambda: daemon.said().count(told) == n, f"the log says '{told}' {n} times")
                    assert f"{told}{limit.option}" in daemon.said()


def test_bytes():
    page = os.sysconf("SC_PAGE_SIZE")
    with shared("--max-region-bytes", str(64 * page)) as daemon, User(daemon, ONE) as one, User(daemon, OTHER) as other:
        for user in (one, other):
            prepared = prepare_region(user)
            take_region(user, prepared, 0, 40 * page)
            refused("max-region-bytes", 64 * page, lambda: take_region(user, prepared, 1, 40 * page))
            take_region(user, prepared, 2, page)
    with shared("--max-user-topic-bytes", "3M") as daemon, User(daemon, ONE) as one, User(daemon, OTHER) as other:
        for user in (one, other):
            connection = user.connect()
            take_topic(user, connection, 0)
            take_topic(user, connection, 1)
            refused("max-user-topic-bytes", 3 << 20, lambda: take_topic(user, connection, 2))


def test_descriptors():
    """One connection, two for a topic and one while it is opened: the fourth topic is one too many."""
    with shared("--max-user-descriptors", "9") as daemon, User(daemon, ONE) as one, User(daemon, OTHER) as other:
        for user in (one, other):
            connection = user.connect()
            for n in range(3):
                take_topic(user, connection, n)
            refused("max-user-descriptors", 9, lambda: take_topic(user, connection, 3))
            user.connect()


def test_few_descriptors():
    """They are divided, however many topics there might be."""
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))

    with shared(preexec_fn=limit) as daemon, User(daemon, ONE) as one, User(daemon, OTHER) as other:
        daemon.expect_said("raise the limit of open files")
        most = (512 - 128) // 4
        for user in (one, other):
            connection = user.connect()
            n_topics = (most - 2) // 2
            for n in range(n_topics):
                take_topic(user, connection, n)
            refused("max-user-descriptors", most, lambda: take_topic(user, connection, n_topics))


# --- whose it is --------------------------------------------------------------------------------------------------------

def test_a_region_is_its_makers():
    """As long as it lives, though others hold it."""
    with shared("--max-regions", "1") as daemon:
        with User(daemon, OTHER) as other:
            with User(daemon, ONE) as one:
                take_region(one, prepare_region(one), 0)
                connection, topic = prepare_region(other)
                connection.ask(bus.REGION_OPEN, region_frame(topic, 0, 0, b"region-%d-0" % ONE), bus.REGION)
                take_region(other, (connection, topic), 1)
            with User(daemon, ONE) as one:
                prepared = prepare_region(one)
                refused("max-regions", 1, lambda: take_region(one, prepared, 1))
        with User(daemon, ONE) as one:
            prepared = prepare_region(one)
            bus.wait_for(lambda: can(lambda: take_region(one, prepared, 1)), "the other's are gone")


def can(call):
    try:
        call()
        return True
    except bus.Failed as failed:
        assert failed.number == errno.EDQUOT, failed
        return False


# --- what waits --------------------------------------------------------------------------------------------------------

def ping_all(connection, n):
    """Pings that are not looked at; as many as it takes."""
    connection.socket.setblocking(False)
    data = b"".join(bus.frame(bus.PING, 7) for _ in range(n))
    with contextlib.suppress(BlockingIOError):
        connection.socket.send(data)


def fill_queue(daemon, user):
    """Programs that ask and do not listen, until another one is refused."""
    while True:
        try:
            connection = user.connect()
        except bus.Failed as failed:
            return failed
        for _ in range(3):
            ping_all(connection, 1000)
            with contextlib.suppress(OSError):
                select.select([], [connection.socket], [], 0.01)
        assert len(user.connections) < 500, "there is no limit"


def expect_served(daemon, uid):
    with User(daemon, uid) as user:
        connection = user.connect()
        connection.open(daemon.files / "file", bus.POST)
        connection.ping()


def test_what_is_not_taken():
    with shared("--max-user-queue-bytes", "256K") as daemon:
        with User(daemon, ONE) as one:
            failed = fill_queue(daemon, one)
            assert failed.number == errno.EDQUOT and "--max-user-queue-bytes" in failed.text, failed
            expect_served(daemon, OTHER)
            # Who takes what it was sent gets on, and then others of its user do.
            for connection in one.connections[:-1]:
                connection.__exit__()
            last = one.connections[-1]
            last.socket.setblocking(True)
            last.socket.settimeout(bus.LIMIT_S)
            for _ in range(1000):
                last.expect(bus.PONG)
            one.connections = [last]
        expect_served(daemon, ONE)


def test_who_waits_for_room_and_is_killed():
    """Nothing is read from it, but that it has gone is seen."""
    with shared("--max-user-queue-bytes", "256K") as daemon, User(daemon, OTHER) as other:
        connection = other.connect()
        with User(daemon, ONE) as one:
            fill_queue(daemon, one)
            for each in one.connections:
                each.close()
            one.connections = []
        bus.wait_for(lambda: connection.ping()[0] == 1, "they are gone")
        expect_served(daemon, ONE)


def test_halves_of_frames():
    """They are memory, and none of them can get on: who waits with one gives way."""
    half = bus.frame(bus.PUBLISH, 5, bytes(60000))[:-1]
    with shared("--max-user-queue-bytes", "256K") as daemon, User(daemon, OTHER) as other:
        with User(daemon, ONE) as one:
            for _ in range(3):
                one.connect()
            for connection in one.connections:
                connection.socket.setblocking(False)
                at = 0
                for _ in range(20):
                    with contextlib.suppress(BlockingIOError):
                        at += connection.socket.send(half[at:])
                    select.select([], [], [], 0.002)
            other.connect().ping()
            bus.wait_for(lambda: can(lambda: connect(daemon, ONE).close()), "there is room again")


def test_half_a_greeting():
    with shared("--hello-timeout", "300", "--max-user-connections", "4") as daemon, User(daemon, ONE) as one:
        halves = []
        for n in range(4):
            with being(ONE):
                halves.append(bus.Connection(daemon.address, greet=False))
            halves[-1].send(bus.hello()[:n * 5])
        refused("max-user-connections", 4, one.connect)
        for connection in halves:
            connection.expect_error(errno.ETIMEDOUT, 0)
            connection.expect_end()
            connection.close()
        bus.wait_for(lambda: can(one.connect), "there is room again")


def test_more_openings_than_may_be_asked_for():
    """They wait, and all are answered."""
    with shared("--max-user-requests", "2") as daemon, User(daemon, ONE) as one:
        connections = [one.connect() for _ in range(4)]
        for connection in connections:
            for n in range(30):
                connection.send(bus.open_frame(n + 10, daemon.files / f"file{n % 3}"))
        for connection in connections:
            assert sorted(connection.expect(bus.OPENED).request for _ in range(30)) == list(range(10, 40))


# --- the rate ------------------------------------------------------------------------------------------------------------

def test_posts_wait_for_the_rate():
    """None is lost, and nobody else waits."""
    n = 40
    with shared("--max-user-rate", "20", "--max-user-burst", "5") as daemon, User(daemon, ONE) as one, \
            User(daemon, OTHER) as other:
        path = daemon.files / "file"
        path.touch()
        path.chmod(0o666)
        poster, reader = one.connect(), one.connect()
        post = struct.pack("<I", poster.open_socket(path, bus.POST))
        listener = other.connect()
        listener.open_socket(path, bus.SUBSCRIBE)
        poster.send(b"".join(bus.frame(bus.FRAME_POST, 100 + i, post) for i in range(n)))
        for i in range(n):
            poster.expect(bus.DONE, 100 + i)
            if i == n // 2:
                reader.ping()
                listener.send(bus.frame(bus.PING, 9))
        told = 0
        while told < n:
            answer = listener.receive()
            if answer.kind == bus.EVENT_POST:
                told += struct.unpack_from("<Q", answer.body, 12)[0]
        assert told == n
        daemon.expect_said("--max-user-rate")


# --- all together ----------------------------------------------------------------------------------------------------------

ALL = {
    "max-regions": 5, "max-region-bytes": 64 * os.sysconf("SC_PAGE_SIZE"), "max-user-holders": 9, "max-user-endpoints": 6,
    "max-user-connects": 3, "max-user-tokens": 2, "max-user-syncs": 2, "max-user-watches": 20, "max-user-topics": 12,
    "max-user-topic-bytes": 64 << 20, "max-user-open": 40, "max-user-connections": 30, "max-user-queue-bytes": 256 << 10,
}


def exhaust(option, take):
    """How many there were until another was refused."""
    for n in range(1000):
        try:
            take(n)
        except bus.Failed as failed:
            assert failed.number == errno.EDQUOT and f"--{option})" in failed.text, failed
            return n
    raise AssertionError(f"--{option} has not been reached")


def exhaust_all(user):
    """Everything that there is, at once. Who takes what comes first decides how much of each it is."""
    page = os.sysconf("SC_PAGE_SIZE")
    connection, region = prepare_region(user)
    endpoint, waiting, sync, token = prepare_number(user), prepare_number(user), prepare_sync(user), prepare_token(user)
    take_hard_link(user, connection, 0)
    large = dict(ring_slots=65536, max_message=128)  # 8 MiB
    return [
        exhaust("max-region-bytes", lambda n: take_region(user, (connection, region), n, 18 * page)),
        exhaust("max-regions", lambda n: take_region(user, (connection, region), 10 + n, page)),
        exhaust("max-user-holders", lambda n: connection.ask(
            bus.REGION_OPEN, region_frame(region, 0, 0, b"region-%d-0" % user.uid), bus.REGION)),
        exhaust("max-user-tokens", lambda n: take_token(user, token, n)),
        exhaust("max-user-syncs", lambda n: take_sync(user, sync, n)),
        exhaust("max-user-connects", lambda n: take_connect(user, waiting, n)),
        exhaust("max-user-endpoints", lambda n: take_endpoint(user, endpoint, n)),
        exhaust("max-user-topic-bytes", lambda n: connection.open(user.daemon.files / f"large-{user.uid}-{n}", **large)),
        exhaust("max-user-topics", lambda n: take_topic(user, connection, n)),
        exhaust("max-user-watches", lambda n: take_hard_link(user, connection, n)),
        exhaust("max-user-open", lambda n: take_opening(user, connection, n)),
        exhaust("max-user-connections", lambda n: user.connect()),
    ]


def test_all_at_once():
    """Whoever has reached every limit there is leaves others as much as they had without."""
    with shared(*(word for option, most in ALL.items() for word in (f"--{option}", str(most)))) as daemon, \
            daemon.connect() as connection:
        connection.open(daemon.files / "file")  # so that neither of them pays for its watch
        with User(daemon, OTHER) as other:
            alone = exhaust_all(other)
        bus.wait_for(lambda: f"user {OTHER} has gone" in daemon.said(), "the other has gone")
        with User(daemon, ONE) as one, User(daemon, OTHER) as other:
            assert exhaust_all(one) == alone
            for connection in one.connections:
                ping_all(connection, 30000 // len(one.connections))  # and what is sent to it stays there
            bus.wait_for(lambda: daemon.said().count("--max-user-queue-bytes") > 0, "the queue is full as well")
            beside = exhaust_all(other)
            assert beside == alone, f"{beside}, and alone {alone}"


def rage(daemon, uid, seed):
    """Does this and that until it is killed."""
    os.setresuid(uid, uid, uid)
    chance = random.Random(seed)
    path = daemon.files / f"file{chance.randrange(4)}"
    while True:
        connection = bus.Connection(daemon.address)
        topic = connection.open(path, bus.POST)
        by_socket = connection.open_socket(path, bus.POST)
        for _ in range(30):
            name = b"%d" % chance.randrange(3)
            number = connection.request()
            connection.send(chance.choice([
                lambda: bus.open_frame(number, daemon.files / f"other{chance.randrange(9)}", chance.choice((0, bus.SOCKET))),
                lambda: bus.frame(bus.REGION_OPEN, number, region_frame(topic, CREATE, 8192, name)),
                lambda: bus.frame(bus.REGION_OPEN, number, region_frame(topic, 0, 0, name)),
                lambda: bus.frame(bus.LISTEN, number, struct.pack("<II", topic.id, 0) + name),
                lambda: connect_frame(number, topic.id, name),
                lambda: bus.frame(bus.TOKEN, number, struct.pack("<II", topic.id, 0) + name),
                lambda: bus.frame(bus.SYNC, number, struct.pack("<III", by_socket, bus.NO_TIMEOUT, 4)),
                lambda: bus.frame(bus.FRAME_POST, number, struct.pack("<I", by_socket)),
            ])())
        connection.send(bus.frame(bus.PUBLISH, 5, bytes(3000))[:chance.randrange(12, 3000)])
        if chance.randrange(2):
            connection.close()


def test_one_that_cannot_be_known():
    """Who it is could not be found out: it is refused, and nothing stays charged for it."""
    syscall = {"x86_64": 55, "aarch64": 209}.get(os.uname().machine)
    if os.geteuid() != 0 or not syscall:
        raise bus.Skip("needs root, and the number of getsockopt")
    steps = [(0x20, 0, 0, 0), (0x15, 0, 3, syscall), (0x20, 0, 0, 32), (0x15, 0, 1, 59),  # SO_PEERGROUPS
             (0x06, 0, 0, 0x00050000 | errno.ENOMEM), (0x06, 0, 0, 0x7FFF0000)]
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o755)
    daemon = bus.Daemon("--system", "--user", str(SERVICE), folder=folder, address=folder / "run/socket", wait=False,
                        preexec_fn=lambda: bus.filter_calls(steps))
    bus.wait_for(lambda: b"pathbusd: serving" in daemon.log.read_bytes(), "it listens")
    for _ in range(3):
        with bus.Connection(daemon.address, greet=False) as connection:
            connection.expect_error(errno.ENOMEM)
    daemon.stop()
    assert "is charged for" not in daemon.said()


def test_storm():
    """Whatever they had when they were killed: a build for tests ends if anything stays charged to who has gone."""
    chance = random.Random(4)
    with shared("--max-user-topics", "8", "--max-user-endpoints", "4", "--max-user-syncs", "8", "--max-user-queue-bytes",
                "512K", "--max-user-connections", "100", "--max-user-rate", "2000") as daemon:
        for round_ in range(4):
            pids = []
            for n in range(8):
                pid = os.fork()
                if pid == 0:
                    try:
                        rage(daemon, (ONE, OTHER)[n % 2], 100 * round_ + n)
                    finally:
                        os._exit(1)  # refused for good: another connection may not be
                pids.append(pid)
            select.select([], [], [], chance.uniform(0.05, 0.6))
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                os.waitpid(pid, 0)
        with daemon.connect() as connection:
            bus.wait_for(lambda: connection.ping()[:2] == (1, 0), "all are gone")
        with User(daemon, ONE) as one:
            fill(one, Limit("max-user-topics", 8, take_topic, prepare_topics))


bus.main()
