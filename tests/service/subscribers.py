#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Clients without shared memory: events, posts, messages, state and SYNC as frames, by examples/python/pathbus.py."""

import asyncio
import contextlib
import errno
import mmap
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import threading
import time

import bus

sys.dont_write_bytecode = True
sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[2] / "examples/python"))
import pathbus  # noqa: E402

LIMIT = bus.LIMIT_S


def connect(daemon):
    return pathbus.Bus(daemon.address, timeout=LIMIT)


def expect(client, kind, **fields):
    event = client.next(LIMIT)
    assert event is not None, f"no event came, {kind} was expected"
    assert event.kind == kind, f"{event} came, {kind} was expected"
    for name, value in fields.items():
        assert getattr(event, name) == value, f"{name} is not {value}: {event}"
    return event


def expect_nothing(client, marker):
    """Nothing comes before what is posted now."""
    marker.publish(b"marker")
    expect(client, "message", data=b"marker")


def test_posts_merge():
    with bus.daemon() as daemon, connect(daemon) as one, connect(daemon) as other:
        poster, topic = one.open(daemon.folder / "file"), other.open(daemon.folder / "file")
        assert topic.may_post and topic.may_read
        for n in (1, 3, 1000):
            for _ in range(n):
                poster.post()
            count = 0
            while count < n:
                count += expect(other, "post", topic=topic).count
            assert count == n
        assert other.next(0) is None and one.next(0) is None, "own posts are no news"


def test_posts_between_the_lane_and_the_socket():
    """Members with shared memory and those without are on one topic."""
    with bus.daemon() as daemon, daemon.connect() as connection, connect(daemon) as client:
        lane, topic = connection.open(daemon.folder / "file"), client.open(daemon.folder / "file")
        # Once it is armed, so that the bell has to be rung.
        bus.wait_for(lambda: lane.word(bus.WANT) == lane.generation, "it sleeps")
        lane.post()
        expect(client, "post", count=1)
        lane.arm()
        bell = lane.listener()
        before = lane.generation
        topic.post()
        assert bell.poll(LIMIT) and lane.generation == before + bus.ONE_POST
        bell.close()
        assert lane.pid_of_slot(1) == os.getpid()


def test_messages():
    with bus.daemon() as daemon, connect(daemon) as one, connect(daemon) as other:
        writer, topic = one.open(daemon.folder / "file"), other.open(daemon.folder / "file")
        started = time.monotonic_ns()
        writer.publish(b"")
        writer.publish(b"data", key=b"key")
        writer.publish(bytes(range(256)) * 16)
        event = expect(other, "message", topic=topic, data=b"", key=b"", count=1, number=1)
        assert (event.pid, event.uid, event.origin) == (os.getpid(), os.getuid(), writer.origin)
        assert started <= event.time_ns <= time.monotonic_ns()
        expect(other, "message", data=b"data", key=b"key", number=2)
        expect(other, "message", data=bytes(range(256)) * 16)
        for data, key in ((bytes(writer.max_message + 1), b""),):
            try:
                writer.publish(data, key)
                raise AssertionError("a message that is too large was taken")
            except pathbus.Error as error:
                assert error.errno == errno.EMSGSIZE, error
        assert one.next(0) is None
        expect_nothing(other, writer)


def test_order_of_posts_and_messages():
    with bus.daemon() as daemon, connect(daemon) as one, connect(daemon) as other:
        writer, topic = one.open(daemon.folder / "file"), other.open(daemon.folder / "file")
        for _ in range(50):
            topic.post()  # own ones do not stand in the way
            writer.post()
            writer.publish(b"a")
            writer.publish(b"b")
            writer.post()
            writer.post()
            writer.publish(b"c")
            expect(other, "post", count=1)
            expect(other, "message", data=b"a")
            expect(other, "message", data=b"b")
            posts = expect(other, "post").count
            if posts == 1:
                posts += expect(other, "post").count
            assert posts == 2
            expect(other, "message", data=b"c")
        expect_nothing(other, writer)


def test_largest_message():
    with bus.daemon() as daemon, connect(daemon) as one, connect(daemon) as other:
        writer = one.open(daemon.folder / "file", ring_slots=8, max_message=65536)
        topic = other.open(daemon.folder / "file")
        assert writer.max_message == topic.max_message == 65536
        for _ in range(20):
            data, key = os.urandom(65536), os.urandom(255)
            writer.publish(data, key)
            expect(other, "message", data=data, key=key)


def test_echo():
    with bus.daemon() as daemon, connect(daemon) as one:
        topic, silent = one.open(daemon.folder / "file", echo=True), one.open(daemon.folder / "file")
        topic.post()
        topic.publish(b"x")
        events = [one.next(LIMIT) for _ in range(4)]
        for which in (topic, silent):  # which is another handle
            assert [event.kind for event in events if event.topic is which] == ["post", "message"]
        silent.publish(b"y")
        expect(one, "message", topic=topic, data=b"y", origin=silent.origin)
        assert one.next(0) is None


def test_own_are_hidden_and_strangers_are_not():
    """Two that post at once: each hears of all that the other does and of nothing else."""
    n = 300
    with bus.daemon() as daemon, connect(daemon) as one, connect(daemon) as other:
        topics = [client.open(daemon.folder / "file", ring_slots=4096) for client in (one, other)]
        for i in range(n):
            topics[i % 2].post()
            topics[i % 3 % 2].publish(b"%d" % i)
        for client, mine in ((one, 0), (other, 1)):
            posts, messages = 0, []
            expected = [b"%d" % i for i in range(n) if i % 3 % 2 != mine]
            while posts < n // 2 or len(messages) < len(expected):
                event = client.next(LIMIT)
                if event.kind == "post":
                    posts += event.count
                else:
                    assert event.kind == "message", event
                    messages.append(event.data)
            assert posts == n // 2 and messages == expected
            assert client.next(0) is None


def test_an_origin_that_somebody_else_bears():
    """Who opens with the origin of another is a stranger to it, and the other way round."""
    with bus.daemon() as daemon, connect(daemon) as one, daemon.connect() as connection:
        topic = one.open(daemon.folder / "file")
        number = connection.open_socket(daemon.folder / "file", origin=topic.origin)
        for i in range(40):
            topic.publish(b"mine %d" % i)
            connection.send(bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", number, 0, 0) + b"not mine %d" % i))
            topic.publish(b"mine as well")
            expect(one, "message", origin=topic.origin, data=b"not mine %d" % i)
        heard = [connection.expect(bus.EVENT_MESSAGE).body[48:] for _ in range(80)]
        assert heard == [data for i in range(40) for data in (b"mine %d" % i, b"mine as well")]
        assert one.next(0) is None


def test_only_to_post():
    with bus.daemon() as daemon, connect(daemon) as one, connect(daemon) as other:
        poster, topic = one.open(daemon.folder / "file", subscribe=False, post=True), other.open(daemon.folder / "file")
        topic.post()
        poster.post()
        expect(other, "post", count=1)
        assert one.next(0) is None
        assert poster.sync(0).subscribers == 1 and topic.sync(0).subscribers == 0


def test_the_last_messages():
    with bus.daemon() as daemon, connect(daemon) as one, connect(daemon) as other:
        writer = one.open(daemon.folder / "file", ring_slots=16)
        for i in range(40):
            writer.publish(b"%d" % i)
        for n, expected in ((0, []), (3, [b"37", b"38", b"39"]), (1000, [b"%d" % i for i in range(24, 40)])):
            topic = other.open(daemon.folder / "file", last=n)
            for data in expected:
                expect(other, "message", topic=topic, data=data)
            assert other.next(0) is None
            topic.close()


def publish_as(topic, number, data=None):
    """With a number of its own, as one does that publishes again, or whose message a link carries."""
    topic.bus._ask(topic, pathbus.PUBLISH, struct.pack("<IQ", 0, number) + (data or b"%d" % number), False,
                   lambda body: None)


def test_once_and_in_order_on_a_linked_lane():
    with bus.daemon() as daemon, daemon.connect() as connection, connect(daemon) as one, connect(daemon) as other:
        writer, topic = one.open(daemon.folder / "file"), other.open(daemon.folder / "file")
        lane = connection.open(daemon.folder / "file")
        for number in (1, 3, 2):  # not linked: there is nobody to carry anything late
            publish_as(writer, number)
            expect(other, "message", number=number)
        struct.pack_into("=I", lane.page, bus.LINKED, 1)
        late = connect(daemon)
        with late:
            late.open(daemon.folder / "file")
            for number in (3, 2, 5):
                publish_as(writer, number)
            for client in (other, late):  # what was told, or seen as told, before it was linked counts
                expect(client, "message", number=5)
            for number in (4, 4, 6, 7, 6, 9, 8, 2000, 8, 2001):
                publish_as(writer, number)
            for client in (other, late):
                for number in (None, 6, 7, 9, None, 2000, None, 2001):
                    if number is None:
                        expect(client, "resync")
                    else:
                        expect(client, "message", number=number)
                assert client.next(0) is None
        publish_as(writer, 2000)  # a late one with nothing behind it
        publish_as(writer, 1999)
        expect(other, "resync")
        topic.post()
        expect(one, "post", count=1)
        expect_nothing(other, writer_of_another(one, daemon))


def writer_of_another(client, daemon):
    return client.open(daemon.folder / "file", subscribe=False, post=True)


def test_many_writers_on_a_linked_lane():
    """More than the daemon keeps an eye on; those who go on publishing are kept in order all the same."""
    with bus.daemon() as daemon, daemon.connect() as connection, connect(daemon) as one, connect(daemon) as other:
        lane = connection.open(daemon.folder / "file", ring_slots=8192)
        struct.pack_into("=I", lane.page, bus.LINKED, 1)
        writer, _ = one.open(daemon.folder / "file"), other.open(daemon.folder / "file")
        for i in range(1, 1500):
            with connect(daemon) as once:
                once.open(daemon.folder / "file", subscribe=False, post=True).publish(b"once")
            expect(other, "message", data=b"once")
            if i % 100 == 0:
                for number in (2 * i, 2 * i, 2 * i - 1):
                    publish_as(writer, number)
                expect(other, "message", number=2 * i)
                expect(other, "resync")


def test_numbers_go_on_after_a_reconnect():
    """Who leaves the counting to the daemon and connects again must not be taken for one who repeats itself."""
    daemon = bus.Daemon()
    with connect(daemon) as client:
        topic = client.open(daemon.folder / "file", echo=True)
        topic.publish(b"x")
        expect(client, "message", origin=topic.origin, number=1)
        last = 1
        for _ in range(2):
            daemon.kill()
            daemon = bus.Daemon(folder=daemon.folder)
            expect(client, "resync")
            for data in (b"y", b"z"):
                topic.publish(data)
                number = expect(client, "message", data=data, origin=topic.origin).number
                assert number > last
                last = number
        client.close()
    daemon.stop()


def publish_many(daemon, name, n, ring_slots):
    """A process that publishes its numbers without waiting for answers; its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with daemon.connect() as connection:
                topic = connection.open_socket(daemon.folder / "file", ring_slots=ring_slots)
                for at in range(0, n, 50):
                    connection.send(b"".join(
                        bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", topic, 1, 0) + name + b"%d" % i)
                        for i in range(at, at + 50)))
                # Answered once all are through.
                connection.send(bus.frame(bus.GET_STATE, 77, struct.pack("<I", topic)))
                while connection.receive().kind != bus.STATE:
                    pass
            status = 0
        finally:
            os._exit(status)
    return pid


def wait_for_child(pid):
    assert os.waitpid(pid, 0)[1] == 0, "a child failed"


def test_several_writers():
    """Each message once, each writer's in its order, and what is missed is counted."""
    n, names = 3000, (b"a", b"b", b"c")
    with bus.daemon() as daemon:
        for ring_slots, may_miss in ((16384, False), (16, True)):
            (daemon.folder / "file").touch()
            with connect(daemon) as reader:
                topic = reader.open(daemon.folder / "file", ring_slots=ring_slots)
                children = [publish_many(daemon, name, n, ring_slots) for name in names]
                last, received, missed = {name: -1 for name in names}, 0, 0
                while received + missed < n * len(names):
                    event = reader.next(LIMIT)
                    assert event.kind in ("message", "gap"), event
                    if event.kind == "gap":
                        missed += event.count
                        continue
                    received += 1
                    assert int(event.data) > last[event.key]
                    assert may_miss or int(event.data) == last[event.key] + 1
                    last[event.key] = int(event.data)
                assert received + missed == n * len(names)
                assert may_miss or missed == 0
                for child in children:
                    wait_for_child(child)
                assert reader.next(0) is None
                topic.close()
                bus.wait_for(lambda: bus_topics(daemon) == 0, "the topic is gone")


def clients(daemon):
    """How many there are, who asks included."""
    with daemon.connect() as connection:
        return connection.ping()[0]


def bus_topics(daemon):
    with daemon.connect() as connection:
        return connection.ping()[1]


def test_state():
    with bus.daemon() as daemon, connect(daemon) as one, connect(daemon) as other:
        first, second = one.open(daemon.folder / "file"), other.open(daemon.folder / "file")
        assert first.get_state() == (0, 0)
        first.set_state(0xFFFFFFFFFFFFFFFF)
        assert second.get_state() == (0xFFFFFFFFFFFFFFFF, 1)
        second.exchange_state(0xFFFFFFFFFFFFFFFF, 5)
        try:
            first.exchange_state(6, 7)
            raise AssertionError("the state was not what was expected")
        except pathbus.Error as error:
            assert error.errno == errno.EAGAIN, error
        assert first.get_state() == (5, 2)
        # It survives who set it, and is no post.
        second.close()
        assert first.get_state() == (5, 2)
        assert one.next(0) is None


def test_exchanges_at_once_lose_nothing():
    n_processes, n = 4, 200

    def count(daemon):
        with connect(daemon) as client:
            topic = client.open(daemon.folder / "file", subscribe=False, post=True)
            for _ in range(n):
                while True:
                    value, _ = topic.get_state()
                    try:
                        topic.exchange_state(value, value + 1)
                        break
                    except pathbus.Error as error:
                        assert error.errno == errno.EAGAIN, error

    with bus.daemon() as daemon, connect(daemon) as client:
        topic = client.open(daemon.folder / "file")
        children = []
        for _ in range(n_processes):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    count(daemon)
                    status = 0
                finally:
                    os._exit(status)
            children.append(pid)
        for child in children:
            wait_for_child(child)
        assert topic.get_state() == (n_processes * n, n_processes * n)


# --- SYNC -------------------------------------------------------------------------------------------------------------


def listener(daemon, take):
    """A process that subscribes and, if it is to `take`, deals with its events; its pid."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            bus.libc.prctl(bus.PR_SET_PDEATHSIG, signal.SIGKILL)
            client = connect(daemon)
            client.open(daemon.folder / "file")
            os.write(told, b"x")
            while not take:
                signal.pause()
            for _ in client:
                pass
        finally:
            os._exit(1)
    os.close(told)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    return pid


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_sync():
    with bus.daemon() as daemon, connect(daemon) as client:
        topic = client.open(daemon.folder / "file")
        synced = topic.sync(LIMIT)
        assert synced and synced.subscribers == 0
        quick = [listener(daemon, True) for _ in range(3)]
        topic.post()
        topic.publish(b"x")
        synced = topic.sync(LIMIT)
        assert (synced.subscribers, synced.caught_up, synced.untracked, synced.laggards) == (3, 3, 0, ())
        # One that does not come back is named.
        lazy = listener(daemon, False)
        assert topic.sync(LIMIT).caught_up == 4, "there was nothing yet that it has to deal with"
        topic.post()
        synced = topic.sync(0.05)
        assert (synced.subscribers, synced.caught_up) == (4, 3) and not synced
        assert [laggard.pid for laggard in synced.laggards] == [lazy]
        assert synced.laggards[0].uid == os.getuid() and synced.laggards[0].command.startswith("python")
        assert topic.sync(0.05, laggards=0).laggards == ()
        # It dies while it is waited for; one that comes meanwhile is not waited for.
        with daemon.connect() as connection, connect(daemon) as later:
            number = connection.open_socket(daemon.folder / "file", bus.POST)
            connection.send(bus.frame(bus.SYNC, 50, struct.pack("<III", number, 0xFFFFFFFF, 9)))
            connection.ping()  # answered after SYNC was taken, and SYNC is not answered yet
            later.open(daemon.folder / "file").post()
            end(lazy)
            answer = connection.expect(bus.SYNCED, 50)
            # Who asks subscribes nothing; the others are three and the first client.
            assert struct.unpack("<IIII", answer.body) == (4, 4, 0, 0), answer.body
        for child in quick:
            end(child)


def test_sync_with_members_that_have_the_lane():
    with bus.daemon() as daemon, daemon.connect() as connection, connect(daemon) as client:
        topic, lane = client.open(daemon.folder / "file"), connection.open(daemon.folder / "file")
        at = bus.SLOTS + lane.slot * bus.SLOT_SIZE
        struct.pack_into("<QQ", lane.page, at + 24, lane.generation, 4711)  # seen, origin
        struct.pack_into("<H", lane.page, at + 58, 1)  # it subscribes
        assert topic.sync(LIMIT).caught_up == 1
        topic.post()
        synced = topic.sync(0.02)
        assert (synced.subscribers, synced.caught_up) == (1, 0)
        assert synced.laggards[0].origin == 4711
        results = []
        thread = threading.Thread(target=lambda: results.append(topic.sync(LIMIT)))
        thread.start()
        struct.pack_into("<Q", lane.page, at + 24, lane.generation)
        thread.join(LIMIT)
        assert results and results[0].caught_up == 1


def test_a_reader_that_never_rests_is_seen_to_move_on():
    with bus.daemon() as daemon, connect(daemon) as one, connect(daemon) as other, connect(daemon) as third:
        writer = one.open(daemon.folder / "file", ring_slots=16384)
        other.open(daemon.folder / "file")
        noise = third.open(daemon.folder / "file", subscribe=False, post=True)
        writer.publish(b"mine")
        results = []
        thread = threading.Thread(target=lambda: results.append(writer.sync(LIMIT)))
        thread.start()
        # There is always one more behind what it takes.
        n = 0
        noise.publish(b"noise")
        while not results and n < 10000:
            noise.publish(b"noise")
            expect(other, "message")
            n += 1
        thread.join(LIMIT)
        assert results and results[0].caught_up == 1
        assert n < 10000


def test_too_many_syncs():
    with bus.daemon() as daemon, daemon.connect() as connection, connect(daemon) as client:
        lazy = client.open(daemon.folder / "file")
        topic = connection.open_socket(daemon.folder / "file")
        connection.send(bus.frame(bus.FRAME_POST, 0, struct.pack("<I", topic)))
        for request in range(100, 133):
            connection.send(bus.frame(bus.SYNC, request, struct.pack("<III", topic, 0xFFFFFFFF, 0)))
        connection.expect_error(errno.EBUSY, 132)
        # Closing the topic ends them.
        connection.send(bus.frame(bus.CLOSE, 0, struct.pack("<I", topic)))
        ended = set()
        while len(ended) < 32:
            answer = connection.receive()
            if answer.kind == bus.ERROR:
                assert struct.unpack_from("<I", answer.body)[0] == errno.ECANCELED
                ended.add(answer.request)
        # And so does the connection's end.
        topic = connection.open_socket(daemon.folder / "file")
        connection.send(bus.frame(bus.FRAME_POST, 0, struct.pack("<I", topic)))
        connection.send(bus.frame(bus.SYNC, 200, struct.pack("<III", topic, 0xFFFFFFFF, 0)))
        lazy.get_state()


# --- slowness -----------------------------------------------------------------------------------------------------------


def test_one_that_does_not_read():
    """It costs bounded memory, holds nobody up, is not disconnected, and is told exactly what it has missed."""
    n = 30000
    with bus.daemon() as daemon, connect(daemon) as quick:
        with daemon.connect() as deaf:
            number = deaf.open_socket(daemon.folder / "file", ring_slots=256)
            topic = quick.open(daemon.folder / "file")
            n_pages = None
            for turn in range(4):
                child = publish_many(daemon, b"%d" % turn, n, 256)
                received = missed = 0
                while received + missed < n:
                    event = quick.next(LIMIT)
                    if event.kind == "gap":
                        missed += event.count
                    else:
                        received += event.kind == "message"
                wait_for_child(child)
                for _ in range(1000):
                    topic.post()
                # What it costs has been reached after the first turn.
                if turn == 0:
                    n_pages = daemon.resident_pages()
            assert n_pages is None or daemon.resident_pages() < n_pages + 200
            posts = received = missed = 0
            while received + missed < 4 * n or posts < 4000:
                answer = deaf.receive()
                assert answer is not None, "it was disconnected"
                assert struct.unpack_from("<I", answer.body)[0] == number
                if answer.kind == bus.EVENT_MESSAGE:
                    received += 1
                elif answer.kind == bus.EVENT_GAP:
                    missed += struct.unpack_from("<Q", answer.body, 12)[0]
                else:
                    assert answer.kind == bus.EVENT_POST
                    posts += struct.unpack_from("<Q", answer.body, 12)[0]
            assert received + missed == 4 * n and posts == 4000
            assert missed > 0


def test_one_that_does_not_read_may_still_post():
    with bus.daemon() as daemon, daemon.connect() as deaf, connect(daemon) as client:
        number = deaf.open_socket(daemon.folder / "file")
        topic = client.open(daemon.folder / "file")
        for _ in range(3000):
            topic.publish(bytes(1000))
        for _ in range(3000):
            deaf.send(bus.frame(bus.FRAME_POST, 0, struct.pack("<I", number)))
        count = 0
        while count < 3000:
            count += expect(client, "post").count


def test_one_with_many_topics():
    """News of many topics at once: all come, whatever room there is."""
    n = 500
    with bus.daemon() as daemon, connect(daemon) as one, connect(daemon) as other:
        writers = [one.open(daemon.folder / f"{i}", subscribe=False, post=True) for i in range(n)]
        topics = {other.open(daemon.folder / f"{i}") for i in range(n)}
        for writer in writers:
            writer.publish(bytes(500))
        for writer in writers:
            writer.post()
        pending = {(topic, kind) for topic in topics for kind in ("post", "message")}
        while pending:
            event = other.next(LIMIT)
            pending.remove((event.topic, event.kind))
        assert other.next(0) is None


def test_offloaded():
    """More subscribers than posters ring for: they are on one bell, the daemon's."""
    with bus.daemon("--offload-members", "2", "--offload-message-members", "1") as daemon:
        with daemon.connect() as connection, daemon.connect() as second:
            lanes = [connection.open(daemon.folder / "file"), second.open(daemon.folder / "file")]
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connect(daemon)) for _ in range(5)]
                topics = [client.open(daemon.folder / "file") for client in clients]
                assert lanes[0].offloaded
                for poster in (lanes[0].post, topics[0].post):
                    bus.wait_for(lambda: lanes[0].word(bus.WANT) == lanes[0].generation, "they sleep")
                    bells = [lane.listener() for lane in lanes]
                    lanes[0].arm()
                    poster()
                    for client in clients[1:]:
                        expect(client, "post", count=1)
                    for bell in bells:
                        assert bell.poll(LIMIT), "a bell was not rung"
                        bell.close()
            bus.wait_for(lambda: lanes[0].pid_of_slot(2) == 0, "they have left")


def test_offloaded_by_the_first_message():
    with bus.daemon("--offload-members", "8", "--offload-message-members", "2") as daemon, connect(daemon) as client:
        with contextlib.ExitStack() as stack:
            lanes = [stack.enter_context(daemon.connect()).open(daemon.folder / "file") for _ in range(3)]
            topic = client.open(daemon.folder / "file", subscribe=False, post=True)
            assert not lanes[0].offloaded
            topic.publish(b"first")
            bus.wait_for(lambda: lanes[0].offloaded, "posters do not pay for it any more")
            assert lanes[0].half(bus.MESSAGES) == 1


# --- ends ---------------------------------------------------------------------------------------------------------------


def test_a_death_is_a_resync():
    with bus.daemon() as daemon, connect(daemon) as client:
        topic = client.open(daemon.folder / "file")
        for open_it in (lambda connection: connection.open(daemon.folder / "file"),
                        lambda connection: connection.open_socket(daemon.folder / "file")):
            with daemon.connect() as connection:
                open_it(connection)
            bus.wait_for(lambda: clients(daemon) == 2, "it has left")
            assert client.next(0) is None, "a goodbye is no death"
            ready, told = os.pipe()
            pid = os.fork()
            if pid == 0:
                connection = daemon.connect()
                open_it(connection)
                os.write(told, b"x")
                signal.pause()
            assert os.read(ready, 1) == b"x"
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(ready)
            os.close(told)
            expect(client, "resync", topic=topic)
            while client.next(0):
                pass


def test_a_connection_that_was_lost_keeps_its_slot():
    """Its process may still write where it was; nobody else is to be there."""
    with bus.daemon() as daemon, daemon.connect() as witness:
        topic = witness.open(daemon.folder / "file")
        connection = daemon.connect()
        other = connection.open(daemon.folder / "file")
        assert other.slot == 1
        connection.close()
        assert topic.pid_of_slot(1) == os.getpid(), "it is waited for"
        bus.wait_for(lambda: topic.pid_of_slot(1) == 0, "it has left")
        assert witness.open(daemon.folder / "file").slot == 2
        assert topic.resync == 1


def without_pidfd():
    """As on Linux before 5.3."""
    bus.filter_calls([(0x20, 0, 0, 0), (0x15, 0, 1, 434), (0x06, 0, 0, 0x00050000 | errno.ENOSYS),
                      (0x06, 0, 0, 0x7FFF0000)])


def test_an_end_that_the_kernel_does_not_tell():
    """Then the daemon waits for a while, and looks whether the process is still there."""
    try:
        context = bus.daemon(preexec_fn=without_pidfd)
        daemon = context.__enter__()
    except subprocess.SubprocessError as error:
        raise bus.Skip("needs a system call filter") from error
    with daemon.connect() as witness:
        topic = witness.open(daemon.folder / "file")
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            connection = daemon.connect()
            connection.open(daemon.folder / "file")
            os.write(told, b"x")
            signal.pause()
        assert os.read(ready, 1) == b"x"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(told)
        bus.wait_for(lambda: topic.resync == 1, "the others are told")
        bus.wait_for(lambda: topic.pid_of_slot(1) == 0, "the slot is free")
        assert witness.open(daemon.folder / "file").slot == 1
    context.__exit__(None, None, None)


def test_a_writer_that_died_holds_nobody_up():
    """A slot of the ring that a dead member claimed is given back, and counts as missed."""
    with bus.daemon() as daemon, connect(daemon) as client:
        topic = client.open(daemon.folder / "file", ring_slots=8)
        with connect(daemon) as other:
            other.open(daemon.folder / "file").publish(b"first")
            expect(client, "message", data=b"first")
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            connection = daemon.connect()
            lane = connection.open(daemon.folder / "file")
            ring = mmap.mmap(lane.page_fd, bus.PAGE_SIZE + 8 * 128)
            head = lane.word(640)
            slot = head >> 12 & 7
            # Claimed, and the head moved on: now it is killed.
            struct.pack_into("<Q", ring, bus.PAGE_SIZE + slot * 128, head | lane.slot << 4 | 1)
            struct.pack_into("<Q", ring, 640, head + 4096)
            os.write(told, b"x")
            signal.pause()
        assert os.read(ready, 1) == b"x"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(told)
        kinds = {}
        while "gap" not in kinds or "resync" not in kinds:
            event = client.next(LIMIT)
            kinds[event.kind] = event.count
        assert kinds["gap"] == 1, kinds
        assert topic.sync(0)


def test_a_writer_that_stands_still():
    """Readers wait for it no longer than its lease."""
    with bus.daemon() as daemon, daemon.connect() as connection, connect(daemon) as client, connect(daemon) as other:
        lane = connection.open(daemon.folder / "file", ring_slots=8)
        client.open(daemon.folder / "file")
        writer = other.open(daemon.folder / "file", subscribe=False, post=True)
        writer.publish(b"first")
        expect(client, "message", data=b"first")
        ring = mmap.mmap(lane.page_fd, bus.PAGE_SIZE + 8 * 128)
        head = lane.word(640)
        struct.pack_into("<Q", ring, bus.PAGE_SIZE + (head >> 12 & 7) * 128, head | lane.slot << 4 | 1)
        struct.pack_into("<Q", ring, 640, head + 4096)
        writer.publish(b"second")
        expect(client, "gap", count=1)
        expect(client, "message", data=b"second")
        ring.close()


def test_a_restart():
    daemon = bus.Daemon()
    with connect(daemon) as client:
        topics = [client.open(daemon.folder / name) for name in ("one", "two")]
        origin = topics[0].origin
        daemon.kill()
        assert client.next(0.05) is None
        with bus.daemon(folder=daemon.folder) as successor:
            assert {expect(client, "resync").topic for _ in topics} == set(topics)
            assert topics[0].origin == origin  # so that what is published again is known
            with connect(successor) as other:
                other.open(daemon.folder / "one").publish(b"again")
                expect(client, "message", topic=topics[0], data=b"again")
            topics[1].post()
            topics[1].publish(b"x")
            assert topics[1].sync(LIMIT)
            client.close()


def test_what_was_under_way_in_a_restart():
    """A post is repeated; of a message it is said that it may be lost."""
    daemon = bus.Daemon()
    with connect(daemon) as client:
        topic = client.open(daemon.folder / "file")
        daemon.kill()
        with bus.daemon(folder=daemon.folder):
            topic.post()
            expect(client, "resync", topic=topic)
            client.close()
    daemon = bus.Daemon()
    with connect(daemon) as client:
        topic = client.open(daemon.folder / "file")
        daemon.kill()
        with bus.daemon(folder=daemon.folder):
            try:
                topic.publish(b"x")
                raise AssertionError("it cannot know that")
            except ConnectionResetError:
                pass
            topic.publish(b"y")
            client.close()


def test_a_topic_that_cannot_be_opened_again():
    daemon = bus.Daemon()
    (daemon.folder / "folder").mkdir()
    with connect(daemon) as client:
        gone, stays = client.open(daemon.folder / "folder/file"), client.open(daemon.folder / "file")
        daemon.kill()
        (daemon.folder / "folder").rmdir()
        with bus.daemon(folder=daemon.folder):
            events = {event.topic: event for event in (client.next(LIMIT), client.next(LIMIT))}
            assert events[stays].kind == "resync"
            assert events[gone].kind == "error" and events[gone].error.errno == errno.ENOENT
            assert gone.closed
            client.close()


def test_without_a_daemon():
    try:
        pathbus.Bus(pathlib.Path(bus.new_folder()) / "socket", timeout=1)
        raise AssertionError("there is nobody")
    except FileNotFoundError:
        pass


# --- asyncio --------------------------------------------------------------------------------------------------------------


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 2 * LIMIT))


def test_asyncio():
    async def talk(daemon):
        async with pathbus.AsyncBus(daemon.address) as one, pathbus.AsyncBus(daemon.address) as other:
            writer, topic = await one.open(daemon.folder / "file"), await other.open(daemon.folder / "file")
            await writer.post()
            event = await other.next()
            assert event.kind == "post" and event.topic is topic
            await asyncio.gather(*(writer.publish(b"%d" % i, b"key") for i in range(100)))
            i = 0
            async for event in other:
                assert event.kind == "message" and event.data == b"%d" % i and event.key == b"key", event
                i += 1
                if i == 100:
                    break
            taking = asyncio.ensure_future(other.next())
            synced = await writer.sync(LIMIT)
            assert synced and synced.subscribers == 1
            await writer.set_state(3)
            await topic.exchange_state(3, 4)
            assert await writer.get_state() == (4, 2)
            try:
                await writer.exchange_state(3, 5)
                raise AssertionError("it is 4")
            except pathbus.Error as error:
                assert error.errno == errno.EAGAIN
            await writer.post()
            assert (await taking).kind == "post"
            await topic.close()
            assert (await writer.sync(LIMIT)).subscribers == 0

    with bus.daemon() as daemon:
        run(talk(daemon))


def test_asyncio_slow():
    async def talk(daemon):
        async with pathbus.AsyncBus(daemon.address) as one, pathbus.AsyncBus(daemon.address) as other:
            writer = await one.open(daemon.folder / "file", subscribe=False, post=True)
            await other.open(daemon.folder / "file")
            n = 5000
            for at in range(0, n, 100):
                await asyncio.gather(*(writer.publish(bytes(100)) for _ in range(100)))
            told = 0
            while told < n:
                told += (await other.next()).count
            assert told == n

    with bus.daemon() as daemon:
        run(talk(daemon))


def test_asyncio_restart():
    daemon = bus.Daemon()

    async def talk():
        async with pathbus.AsyncBus(daemon.address) as client:
            topics = [await client.open(daemon.folder / name) for name in ("one", "two")]
            daemon.kill()
            successor = bus.Daemon(folder=daemon.folder, wait=False)
            events = [await client.next(), await client.next()]
            assert {event.topic for event in events} == set(topics)
            assert all(event.kind == "resync" for event in events)
            await topics[0].post()
            await topics[0].publish(b"x")
            assert await topics[0].sync(LIMIT)
        successor.wait_until_settled()
        successor.stop()

    run(talk())


# --- what should not be sent ------------------------------------------------------------------------------------------------


def test_malformed():
    number = struct.pack("<I", 1)
    cases = {
        "post without a topic": (bus.frame(bus.FRAME_POST, 1), "malformed"),
        "post with more": (bus.frame(bus.FRAME_POST, 1, number + b"x"), "malformed"),
        "publish without a number": (bus.frame(bus.PUBLISH, 1, number + bytes(4)), "malformed"),
        "publish with a key that is not there": (bus.frame(bus.PUBLISH, 1, struct.pack("<IIQ", 1, 3, 1) + b"ab"),
                                                 "malformed"),
        "publish with a long key": (bus.frame(bus.PUBLISH, 1, struct.pack("<IIQ", 1, 256, 1) + bytes(300)),
                                    "malformed"),
        "publish with too much": (bus.frame(bus.PUBLISH, 1, struct.pack("<IIQ", 1, 0, 1) + bytes(65537)),
                                  "malformed"),
        "state with unknown flags": (bus.frame(bus.SET_STATE, 1, struct.pack("<IIQQ", 1, 2, 0, 0)), "malformed"),
        "state that expects without comparing": (bus.frame(bus.SET_STATE, 1, struct.pack("<IIQQ", 1, 0, 1, 0)),
                                                 "malformed"),
        "short state": (bus.frame(bus.SET_STATE, 1, bytes(23)), "malformed"),
        "get without a request": (bus.frame(bus.GET_STATE, 0, number), "malformed"),
        "long get": (bus.frame(bus.GET_STATE, 1, number + b"x"), "malformed"),
        "seen with a request": (bus.frame(bus.SEEN, 1, struct.pack("<IQ", 1, 1)), "malformed"),
        "short seen": (bus.frame(bus.SEEN, 0, number), "malformed"),
        "sync without a request": (bus.frame(bus.SYNC, 0, struct.pack("<III", 1, 0, 0)), "malformed"),
        "short sync": (bus.frame(bus.SYNC, 1, struct.pack("<II", 1, 0)), "malformed"),
        "an answer": (bus.frame(bus.DONE, 1), "unknown type"),
        "an event": (bus.frame(bus.EVENT_POST, 0, struct.pack("<IQQ", 1, 1, 1)), "unknown type"),
    }
    for topic in (0, 2, 3, 0xFFFFFFFF):  # 2 is not open; 3 was not opened for the socket
        for kind, body in ((bus.FRAME_POST, b""), (bus.PUBLISH, struct.pack("<IQ", 0, 1)),
                           (bus.SET_STATE, struct.pack("<IQQ", 0, 0, 1)), (bus.GET_STATE, b""),
                           (bus.SEEN, bytes(8)), (bus.SYNC, bytes(8))):
            cases[f"type {kind} of topic {topic}"] = (
                bus.frame(kind, 0 if kind == bus.SEEN else 1, struct.pack("<I", topic) + body), "not open")
    with bus.daemon() as daemon, connect(daemon) as bystander:
        topic = bystander.open(daemon.folder / "file")
        for case, (data, text) in cases.items():
            print(f"  {case}", flush=True)
            with daemon.connect() as connection:
                assert connection.open_socket(daemon.folder / "file") == 1
                assert connection.open_socket(daemon.folder / "other") == 2
                connection.send(bus.frame(bus.CLOSE, 0, struct.pack("<I", 2)))
                connection.send(data)
                while True:
                    answer = connection.receive()
                    assert answer is not None, "it was not told why"
                    if answer.kind == bus.ERROR:
                        break
                assert answer.request == 0 and text in answer.body[4:].decode(), answer.body
                connection.expect_end()
            topic.post()
            expect(bystander, "resync")
            while bystander.next(0):
                pass
        # Only one that has the lane is no topic of the socket's.
        with daemon.connect() as connection:
            lane = connection.open(daemon.folder / "file")
            connection.send(bus.frame(bus.FRAME_POST, 1, struct.pack("<I", lane.id)))
            connection.expect_error(errno.EBADMSG, 0, "not open for the socket")


def test_generations_that_were_never_told():
    with bus.daemon() as daemon, daemon.connect() as connection, connect(daemon) as client:
        number = connection.open_socket(daemon.folder / "file")
        topic = client.open(daemon.folder / "file")
        for generation in (0, 1, 0xFFFFFFFFFFFFFFFF):
            connection.send(bus.frame(bus.SEEN, 0, struct.pack("<IQ", number, generation)))
        connection.ping()
        topic.post()
        assert topic.sync(0.02).caught_up == 0, "what has not been told cannot have been dealt with"


def test_failures_that_nobody_asked_for():
    with bus.daemon() as daemon, daemon.connect() as connection:
        number = connection.open_socket(daemon.folder / "file")
        connection.send(bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", number, 0, 1) + bytes(60000)))
        connection.send(bus.frame(bus.SET_STATE, 0, struct.pack("<IIQQ", number, 1, 5, 6)))
        connection.ping()
        daemon.expect_said("larger than this topic takes")


def test_a_lane_that_is_scribbled_over():
    """Whatever somebody who has the lane writes into it: the daemon goes on, and others have their turn."""
    numbers = random.Random(3)
    with bus.daemon() as daemon, daemon.connect() as connection, connect(daemon) as bystander:
        elsewhere = bystander.open(daemon.folder / "elsewhere", echo=True)
        for turn in range(8):
            with daemon.connect() as client:
                lane = connection.open(daemon.folder / f"file{turn}", ring_slots=8)
                area = mmap.mmap(lane.page_fd, bus.PAGE_SIZE + 8 * (128 + 4352))
                number = client.open_socket(daemon.folder / f"file{turn}")
                for request in range(1000, 1100):
                    for _ in range(20):
                        # Not what the bell's wake-up needs, most of the time: then nothing would be looked at.
                        at = numbers.choice([*range(512, 576, 8), 640, 648, *range(1024, 1280, 8)] +
                                            [*range(bus.PAGE_SIZE, bus.PAGE_SIZE + 1024, 8)] * 4)
                        word = struct.unpack_from("<Q", area, at)[0]
                        word = numbers.choice((0, numbers.getrandbits(64), word ^ 1 << numbers.randrange(64),
                                               word + 4096, word - 4096)) % (1 << 64)
                        struct.pack_into("<Q", area, at, word)
                    frames = [bus.frame(bus.FRAME_POST, 0, struct.pack("<I", number)),
                              bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", number, 1, 0) + bytes(500)),
                              bus.frame(bus.SET_STATE, 0, struct.pack("<IIQQ", number, 0, 0, 1)),
                              bus.frame(bus.SYNC, request, struct.pack("<III", number, 1, 9)),
                              bus.frame(bus.GET_STATE, request + 1000, struct.pack("<I", number))]
                    os.write(lane.bell, struct.pack("<Q", 1))
                    client.send(b"".join(frames))
                    n_answers = 0
                    while n_answers < 2:
                        answer = client.receive()
                        assert answer is not None and answer.kind != bus.ERROR, answer and answer.body
                        n_answers += answer.kind in (bus.SYNCED, bus.STATE)
                elsewhere.post()
                expect(bystander, "post", topic=elsewhere)
                area.close()
                lane.close()


def test_rights():
    if os.getuid() != 0:
        raise bus.Skip("needs root")
    folder = bus.new_folder()
    path = pathlib.Path(folder) / "file"
    path.write_text("")
    path.chmod(0o444)
    pathlib.Path(folder).chmod(0o755)

    def check():
        daemon = bus.Daemon()
        with connect(daemon) as client:
            topic = client.open(path)
            assert topic.may_read and not topic.may_post
            for what in (topic.post, lambda: topic.publish(b"x"), lambda: topic.set_state(1),
                         lambda: topic.exchange_state(0, 1)):
                try:
                    what()
                    raise AssertionError("it may not post")
                except pathbus.Error as error:
                    assert error.errno == errno.EACCES, error
            assert topic.get_state() == (0, 0)
            assert client.next(0) is None
            try:
                client.open(path, post=True)
                raise AssertionError("it may not post")
            except pathbus.Error as error:
                assert error.errno == errno.EACCES, error
        daemon.stop()

    program = pathlib.Path(bus.program())
    if not os.access(program, os.X_OK) or program.stat().st_mode & 0o005 != 0o005:
        raise bus.Skip("other users may not run this pathbusd")
    bus.as_user(65534, check)


if __name__ == "__main__":
    bus.main()
