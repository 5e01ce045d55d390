#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What one client may cost the others: turns, memory, and connections that are not read from for a while."""

import errno
import os
import pathlib
import signal
import struct
import time

import bus

NO_TIMEOUT = 0xFFFFFFFF
CLIENT_TOPICS, CLIENT_SYNCS = 30000, 32


def post(topic, request=0):
    return bus.frame(bus.FRAME_POST, request, struct.pack("<I", topic))


def sync(topic, request, timeout_ms, laggards=0):
    return bus.frame(bus.SYNC, request, struct.pack("<III", topic, timeout_ms, laggards))


def send_until_paused(connection, other):
    """PINGs, until the daemon does not read them, although it has its turns; how many."""
    connection.socket.setblocking(False)
    n, turns = 0, 0
    while turns < 3:
        try:
            connection.socket.send(bus.frame(bus.PING, 1000 + n))
            n, turns = n + 1, 0
        except BlockingIOError:
            other.ping()
            turns += 1
    connection.socket.settimeout(bus.LIMIT_S)
    return n


def voluntary_switches(pid):
    """How often it has gone to sleep."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    raise bus.Skip("the system does not count how often a process sleeps")


def n_reads(pid):
    """How often it has read a file."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("syscr"):
                return int(line.split()[1])
    except OSError:
        pass
    raise bus.Skip("the system does not count a process's reads")


# --- not read from ------------------------------------------------------------------------------------------------------


def test_one_that_dies_while_it_is_not_read_from():
    """Whoever's post it is that finds out: the connection is noticed to have ended."""
    with bus.daemon() as daemon, daemon.connect() as poster:
        topic = poster.open_socket(daemon.folder / "file", bus.POST)
        deaf = daemon.connect()
        deaf.open_socket(daemon.folder / "file")
        send_until_paused(deaf, poster)
        os.kill(daemon.pid, signal.SIGSTOP)
        poster.send(post(topic, 7))
        deaf.close()
        os.kill(daemon.pid, signal.SIGCONT)
        poster.expect(bus.DONE, 7)
        bus.wait_for(lambda: poster.ping()[0] == 1, "it is gone")


def test_one_that_reads_again_while_others_post():
    with bus.daemon() as daemon, daemon.connect() as poster:
        topic = poster.open_socket(daemon.folder / "file", bus.POST)
        for _ in range(10):
            with daemon.connect() as slow:
                slow.open_socket(daemon.folder / "file")
                n_left = send_until_paused(slow, poster)
                poster.send(b"".join(post(topic, request) for request in range(1, 65)))
                while n_left > 0:
                    answer = slow.receive()
                    assert answer is not None and answer.kind in (bus.PONG, bus.EVENT_POST)
                    n_left -= answer.kind == bus.PONG
                for request in range(1, 65):
                    poster.expect(bus.DONE, request)


def test_last_words():
    """Who is dropped is told so, behind the answers that it has not taken yet."""
    n = 100
    pings = b"".join(bus.frame(bus.PING, request) for request in range(10, 10 + n))
    with bus.daemon() as daemon:
        with daemon.connect() as client:
            os.kill(daemon.pid, signal.SIGSTOP)
            client.send(pings + bus.frame(99, 1))
            os.kill(daemon.pid, signal.SIGCONT)
            daemon.expect_said("unknown type")
            for request in range(10, 10 + n):
                client.expect(bus.PONG, request)
            client.expect_error(errno.EBADMSG, 0, "unknown type")
            client.expect_end()
        # One that does not listen is not waited for for ever.
        with daemon.connect() as other, daemon.connect() as client:
            client.send(pings + bus.frame(99, 1))
            bus.wait_for(lambda: other.ping()[0] == 1, "it is gone")


# --- turns --------------------------------------------------------------------------------------------------------------


def open_many(connection, path, n, flags=0):
    """Openings of one file; their numbers."""
    topics = []
    for at in range(0, n, 32):
        some = min(32, n - at)
        connection.send(b"".join(bus.open_frame(10 + at + i, path, bus.SOCKET | flags) for i in range(some)))
        topics += [struct.unpack_from("<I", connection.expect(bus.OPENED).body)[0] for _ in range(some)]
    return topics


def test_many_openings_of_one_connection():
    """Each is told of a post, whoever had its turn meanwhile; and how many there may be."""
    with bus.daemon() as daemon, daemon.connect() as poster, daemon.connect() as client:
        topics = set(open_many(client, daemon.folder / "file", CLIENT_TOPICS))
        assert len(topics) == CLIENT_TOPICS
        client.send(bus.open_frame(5, daemon.folder / "file", bus.SOCKET))
        client.expect_error(errno.EMFILE, 5)
        topic = poster.open_socket(daemon.folder / "file", bus.POST)
        poster.send(post(topic, 7))
        poster.expect(bus.DONE, 7)
        told = {struct.unpack_from("<I", client.expect(bus.EVENT_POST).body)[0] for _ in topics}
        assert told == topics


def test_names_are_found_out_once_for_each_process():
    with bus.daemon() as daemon, daemon.connect() as poster, daemon.connect() as client:
        open_many(client, daemon.folder / "file", 100)
        topic = poster.open_socket(daemon.folder / "file", bus.POST)
        poster.send(post(topic))
        before = n_reads(daemon.pid)
        poster.send(sync(topic, 7, 0, 128))
        body = poster.expect(bus.SYNCED, 7).body
        assert struct.unpack_from("<IIII", body) == (100, 0, 0, 100)
        assert len(set(body[at + 4:at + 8] + body[at + 16:at + 32] for at in range(16, len(body), 32))) == 1
        assert struct.unpack_from("<I", body, 16 + 4)[0] == os.getuid() and body[32:48].startswith(b"python")
        assert n_reads(daemon.pid) - before < 50
        poster.send(bus.frame(bus.GOODBYE, 0))


def test_syncs_that_name_wait_for_their_turn():
    """They count as unanswered, although their time is over at once."""
    with bus.daemon() as daemon, daemon.connect() as poster, daemon.connect() as client:
        client.open_socket(daemon.folder / "file")
        topic = poster.open_socket(daemon.folder / "file", bus.POST)
        poster.send(post(topic))
        for _ in range(100):
            poster.send(b"".join(sync(topic, request, 0, 1) for request in range(100, 164)))
            answers = [poster.receive() for _ in range(64)]
            assert {answer.request for answer in answers} == set(range(100, 164))
            refused = [answer for answer in answers if answer.kind == bus.ERROR]
            assert all(struct.unpack_from("<I", answer.body)[0] == errno.EBUSY for answer in refused)
            assert len(refused) <= 64 - CLIENT_SYNCS
            if len(refused) == 64 - CLIENT_SYNCS:
                break  # else they did not come at once, and some were answered in between
        else:
            raise AssertionError("they are never counted")


def is_quiet(daemon):
    """Under load a worker more may have been started, and may still have to say that it is ready. Watches that nobody needs any more
    end after a second."""
    before = voluntary_switches(daemon.pid)
    time.sleep(1.2)
    return voluntary_switches(daemon.pid) == before


def count_sleeps(daemon, clock, topic):
    """How often the daemon goes to sleep while one SYNC waits for a second."""
    before = voluntary_switches(daemon.pid)
    clock.send(sync(topic, 7, 1000))
    clock.expect(bus.SYNCED, 7)
    return voluntary_switches(daemon.pid) - before


def test_syncs_without_an_end_cost_nothing():
    with bus.daemon() as daemon, daemon.connect() as poster, daemon.connect() as lazy, daemon.connect() as other, \
            daemon.connect() as client:
        lazy.open_socket(daemon.folder / "file")
        topic = poster.open_socket(daemon.folder / "file", bus.POST)
        clock = other.open_socket(daemon.folder / "file", bus.POST)
        poster.send(post(topic))
        poster.send(b"".join(sync(topic, request, NO_TIMEOUT) for request in range(100, 100 + CLIENT_SYNCS)))
        poster.ping()
        bus.wait_for(lambda: is_quiet(daemon), "the daemon is at rest")
        # Socket-only members tell when they move on.
        n = count_sleeps(daemon, other, clock)
        assert n < 8, n
        # Those with shared memory do not: they are looked at, less and less often.
        lane = client.open(daemon.folder / "file")
        struct.pack_into("<H", lane.page, bus.SLOTS + lane.slot * bus.SLOT_SIZE + 58, 1)  # it subscribes
        lane.post()
        assert count_sleeps(daemon, other, clock) < 25


# --- memory -------------------------------------------------------------------------------------------------------------


def test_events_between_answers():
    """What is not taken is counted by the memory it needs: little of it is kept, and the rest merged."""
    n = 250
    with bus.daemon() as daemon, daemon.connect() as poster, daemon.connect() as client:
        seen = client.open_socket(daemon.folder / "file")
        topic = poster.open_socket(daemon.folder / "file", bus.POST)
        for request in range(10, 10 + n):
            client.send(bus.frame(bus.GET_STATE, request, struct.pack("<I", seen)))
            poster.ping()
            poster.send(post(topic, request))
            poster.expect(bus.DONE, request)
        n_frames, n_posts, n_answers = 0, 0, 0
        while n_posts < n or n_answers < n:
            answer = client.receive()
            assert answer is not None and answer.kind in (bus.EVENT_POST, bus.STATE)
            n_answers += answer.kind == bus.STATE
            if answer.kind == bus.EVENT_POST:
                n_frames += 1
                n_posts += struct.unpack_from("<Q", answer.body, 12)[0]
        assert n_posts == n
        assert n_frames < 180, f"{n_frames} frames of events were kept"


if __name__ == "__main__":
    bus.main()
