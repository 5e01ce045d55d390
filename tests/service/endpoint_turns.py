#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Endpoints: whoever waits for one is served once it can be."""

import struct

import bus

N_PER_ENDPOINT, N_ENDPOINTS = 16, 4  # untaken connections that an endpoint, and so many together, may have
TAKE_OVER = 2


def listen(connection, topic, name, flags=0):
    return struct.unpack("<I", connection.ask(bus.LISTEN, struct.pack("<II", topic.id, flags) + name, bus.LISTENING).body)[0]


def connect_frame(request, topic, name, timeout_ms=0):
    return bus.frame(bus.CONNECT, request, struct.pack("<II", topic.id, timeout_ms) + name)


def connect(connection, topic, name):
    connection.send(connect_frame(connection.request(), topic, name))
    connection.expect(bus.CONNECTED, connection.last_request)


def check_room(make_room):
    """A listener has not taken as many connections as it may have, those of an endpoint of another file among them.
    make_room ends that one: who waits for one that has none is served."""
    with bus.daemon() as daemon, daemon.connect() as listener, daemon.connect() as peer, daemon.connect() as other:
        file, second = daemon.folder / "file", daemon.folder / "second"
        topic, peers = listener.open(file, bus.POST), peer.open(file)
        topic_2, peers_2 = listener.open(second, bus.POST), peer.open(second)
        listen(listener, topic_2, b"ends")
        for i in range(1, N_ENDPOINTS):
            listen(listener, topic, b"full %d" % i)
        free = listen(listener, topic, b"free")
        for _ in range(N_PER_ENDPOINT):
            connect(peer, peers_2, b"ends")
            for i in range(1, N_ENDPOINTS):
                connect(peer, peers, b"full %d" % i)
        for _ in range(N_ENDPOINTS * N_PER_ENDPOINT):
            listener.expect(bus.EVENT_CONNECTION)
        with daemon.connect() as waiting:
            waiters = waiting.open(file)
            waiting.send(connect_frame(50, waiters, b"free", bus.NO_TIMEOUT))
            waiting.ping()  # it waits by now
            make_room(listener, topic_2, other, second)
            waiting.expect(bus.CONNECTED, 50)
        last = listener.receive()
        if last.kind == bus.EVENT_UNLISTENED:
            last = listener.receive()
        assert last.kind == bus.EVENT_CONNECTION and struct.unpack_from("<I", last.body)[0] == free


def test_another_takes_over():
    check_room(lambda listener, topic, other, path: listen(other, other.open(path, bus.POST), b"ends", TAKE_OVER))


def test_the_topic_is_closed():
    check_room(lambda listener, topic, other, path: topic.close())


bus.main()
