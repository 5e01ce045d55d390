#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a user can do to the memory that it was given, and ask for, so that main is busy with it for long at once: others have
their turn in between. What counts is main's own time between two answers, so that a busy machine makes no difference."""

import mmap
import os
import struct
import time

import bus
import users
from users import ALICE, MALLORY, Guest

MOST_MS = 60  # with sanitizers; each of these took several times that at once
MANY_SLOTS = 65536
HEAD = 640


def time_of(pid):
    """That it had of processors, in milliseconds."""
    return time.clock_gettime((~pid << 3) | 2) * 1000


def longest_turn(line, address, pid):
    """Of what another can see: main's time between two answers."""
    with bus.Connection(address) as connection:
        longest, before = 0, time_of(pid)
        line.tell("looking")
        while not line.is_told():
            connection.ping()
            now = time_of(pid)
            longest, before = max(longest, now - before), now
        line.expect("end")
        line.tell(longest)


def measure(daemon, mallory, attack):
    with Guest(ALICE, longest_turn, daemon.address, daemon.pid) as looking:
        looking.expect("looking")
        attack(mallory)
        looking.tell("end")
        longest = looking.hear()
    assert longest < MOST_MS, f"main was busy for {longest:.1f} ms at once"


def hold_all(line, address, path):
    """All slots of a large ring have writers that stand still; and publishes there by frames."""
    with bus.Connection(address) as connection, bus.Connection(address) as frames:
        topic = connection.open(path, ring_slots=MANY_SLOTS, max_message=128)
        number = frames.open_socket(path)
        lane = mmap.mmap(topic.page_fd, os.fstat(topic.page_fd).st_size)
        head = struct.unpack_from("<Q", lane, HEAD)[0]
        struct.pack_into("<I", lane, bus.MESSAGES, 1)
        for ticket in range(head - MANY_SLOTS * 4096, head, 4096):
            struct.pack_into("<Q", lane, bus.PAGE_SIZE + ticket // 4096 % MANY_SLOTS * 128, ticket | topic.slot << 4 | 3)
        line.tell("held")
        line.expect("go")
        publish = struct.pack("<IIQ", number, 0, 0) + b"data"
        frames.send(b"".join(bus.frame(bus.PUBLISH, 1 + i, publish) for i in range(60)))
        for _ in range(60):
            frames.expect_error(105)  # ENOBUFS
        line.tell("done")
        line.expect("end")


def test_a_ring_whose_writers_stand_still():
    with users.system() as (daemon, _):
        path = daemon.file("file", MALLORY, 0o600)
        with Guest(MALLORY, hold_all, daemon.address, path) as mallory:
            mallory.expect("held")

            def publish(guest):
                guest.tell("go")
                guest.expect("done")

            measure(daemon, mallory, publish)
            mallory.tell("end")


def die_with_many(line, address, path):
    connection = bus.Connection(address)
    topics = [connection.open(path, ring_slots=MANY_SLOTS, max_message=128) for _ in range(200)]
    struct.pack_into("<I", topics[0].page, bus.MESSAGES, 1)
    line.tell("open")
    line.expect("die")
    os._exit(0)


def test_what_the_dead_held_is_looked_for():
    with users.system() as (daemon, _):
        path = daemon.file("file", MALLORY, 0o600)
        with Guest(MALLORY, die_with_many, daemon.address, path) as mallory:
            mallory.expect("open")

            def die(guest):
                guest.tell("die")
                with daemon.connect() as connection:
                    bus.wait_for(lambda: connection.ping()[1] == n_topics, "the topic has gone")

            with daemon.connect() as connection:
                n_topics = connection.ping()[1] - 1
            measure(daemon, mallory, die)
            mallory.kill()


def take_nothing(line, address, path, n):
    """Connections that do not take the descriptors that they are sent."""
    connections = [bus.Connection(address) for _ in range(n)]
    for connection in connections:
        connection.send(b"".join(bus.open_frame(2 + i, path) for i in range(4)))
    line.tell("stopped")
    line.expect("end")
    os._exit(0)


def test_who_takes_no_descriptors_costs_no_time():
    """With as many under way as its user may have, each connection looks again now and then, and not at all others."""
    with users.system("--max-user-descriptors", "1400") as (daemon, _):
        path = daemon.file("file", MALLORY, 0o600)
        with Guest(MALLORY, take_nothing, daemon.address, path, 600) as mallory:
            mallory.expect("stopped")
            with daemon.connect() as connection:
                bus.wait_for(lambda: b"max-user-descriptors" in daemon.daemon.log.read_bytes(), "the limit is reached")
                connection.ping()
                before, begin = time_of(daemon.pid), time.monotonic()
                time.sleep(1)  # what it does meanwhile is measured, not waited for
                spent, lasted = time_of(daemon.pid) - before, (time.monotonic() - begin) * 1000
            mallory.kill()
        assert spent < lasted / 3, f"main was busy for {spent:.0f} of {lasted:.0f} ms"


if __name__ == "__main__":
    bus.main()
