#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Regions: what one program does with them neither ends the daemon nor holds it up."""

import errno
import os
import resource
import struct

import bus

CREATE, REPLACE, DOUBLE = 256, 512, 4
REPLACED = 712  # where in the header


class Region:
    def __init__(self, topic, name, flags=0, size=0, replaces=bytes(16)):
        self.topic, self.name = topic, name
        answer = topic.connection.ask(bus.REGION_OPEN, struct.pack("<IIQ", topic.id, flags, size) + replaces + name, bus.REGION)
        _, self.holder, self.flags, self.pages, self.writable, _, self.size, self.page_size = \
            struct.unpack_from("<IIIIIIQQ", answer.body)
        self.id, self.fd = answer.body[40:56], answer.fds[0]

    def close_frame(self):
        return bus.frame(bus.REGION_CLOSE, 0, struct.pack("<III", self.topic.id, self.holder, 0))


def test_larger_than_a_file_may_be():
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 24, 1 << 24))

    with bus.daemon(preexec_fn=limit) as daemon, daemon.connect() as client:
        topic = client.open(daemon.folder / "file", bus.POST)
        try:
            Region(topic, b"large", CREATE, 1 << 25)
            raise AssertionError("it was made")
        except bus.Failed as error:
            assert error.number == errno.EFBIG and "RLIMIT_FSIZE" in error.text, error
        Region(topic, b"small", CREATE, 1 << 20)


def restore_frame(request, topic, region, fd=None, writes=1, flags=None, size=None):
    return bus.frame(bus.REGION_RESTORE, request, struct.pack(
        "<IIIIIIQQ", topic.id, region.flags if flags is None else flags, region.pages, region.fd if fd is None else fd,
        writes, 0, region.size if size is None else size, region.page_size) + region.id + region.name)


def restore(topic, region, **changes):
    """The holder's number."""
    topic.connection.send(restore_frame(topic.connection.request(), topic, region, **changes))
    return struct.unpack("<II", topic.connection.expect(bus.RESTORED, topic.connection.last_request).body)[1]


def test_held_too_often():
    """What a connection holds is memory of the daemon's, and a row to look through."""
    n_allowed, at_once = 4096, 500
    with bus.daemon() as daemon, daemon.connect() as client:
        topic = client.open(daemon.folder / "file", bus.POST)
        region = Region(topic, b"name", CREATE, 4096)
        n = 1
        while n < n_allowed:
            n_now = min(at_once, n_allowed - n)
            client.send(restore_frame(1000, topic, region) * n_now)
            for _ in range(n_now):
                client.expect(bus.RESTORED)
            n += n_now
        client.send(restore_frame(1001, topic, region))
        client.expect_error(errno.EMFILE, 1001)
        try:
            Region(topic, b"name", REPLACE, 4096, region.id)
            raise AssertionError("it was replaced")
        except bus.Failed as error:
            assert error.number == errno.EMFILE, error
        assert struct.unpack("<Q", os.pread(region.fd, 8, REPLACED)) == (0,), "it has not lost its name"
        client.send(region.close_frame())
        restore(topic, region)


def restarted(daemon):
    daemon.kill()
    return bus.daemon(folder=daemon.folder, address=daemon.address)


def expect_not_brought_back(topic, region, **changes):
    try:
        restore(topic, region, **changes)
        raise AssertionError("it was brought back")
    except bus.Failed as error:
        assert error.number == errno.ESTALE, error


def test_brought_back_as_it_was():
    """Others see what the daemon made, whatever the first to come says of it, who may only read."""
    before = bus.Daemon()
    with before.connect() as maker:
        region = Region(maker.open(before.folder / "file", bus.POST), b"name", CREATE, 8192)
        with restarted(before) as daemon, daemon.connect() as client:
            topic = client.open(daemon.folder / "file")
            expect_not_brought_back(topic, region, flags=DOUBLE, size=4096)  # just as large
            expect_not_brought_back(topic, region, size=8191)
            restore(topic, region)
            again = Region(topic, b"name")
            assert (again.size, again.flags, again.id) == (8192, 0, region.id)


def test_why_not_brought_back():
    with bus.daemon() as daemon, daemon.connect() as client:
        topic = client.open(daemon.folder / "file", bus.POST)
        region = Region(topic, b"name", CREATE, 4096)
        client.send(region.close_frame())
        for fd, number, text in ((0, errno.ESTALE, "not this region's"), (1 << 20, errno.ESRCH, "no such descriptor")):
            client.send(restore_frame(50, topic, region, fd=fd))
            client.expect_error(number, 50, text)
        client.send(bus.frame(bus.REGION_LIST, 51, struct.pack("<IIQ", 99, 0, 0)))
        client.expect_error(errno.EBADMSG, 0, "a topic that is not open")


def test_replaced_ones_stay_away():
    before = bus.Daemon()
    with before.connect() as maker:
        topic = maker.open(before.folder / "file", bus.POST)
        old = Region(topic, b"name", CREATE, 4096)
        new = Region(topic, b"name", REPLACE, 4096, old.id)
        with restarted(before) as daemon, daemon.connect() as client:
            topic = client.open(daemon.folder / "file")
            expect_not_brought_back(topic, old)
            restore(topic, new)
            assert Region(topic, b"name").id == new.id


def replaced_before_reserved(client, topic, size):
    """Whether the daemon has answered before all pages were there."""
    region = Region(topic, b"name", CREATE, size)
    pid = os.fork()
    if pid == 0:
        os.posix_fallocate(region.fd, 0, size)
        os._exit(0)
    bus.wait_for(lambda: os.fstat(region.fd).st_blocks > 1000, "some are reserved")
    other = Region(topic, b"name", REPLACE, 4096, region.id)
    n_reserved = 512 * os.fstat(region.fd).st_blocks
    assert os.waitpid(pid, 0)[1] == 0
    assert struct.unpack("<Q", os.pread(region.fd, 8, REPLACED)) == (1,)
    client.send(region.close_frame() + other.close_frame())
    return n_reserved < size


def test_replaced_while_it_is_reserved():
    """Who reserves pages has the file to itself, which is seconds for a large one: the daemon does not wait for that."""
    with bus.daemon() as daemon, daemon.connect() as client:
        topic = client.open(daemon.folder / "file", bus.POST)
        # On a busy machine they may all be there before we look.
        assert any(replaced_before_reserved(client, topic, 1 << 28) for _ in range(20)), "it has waited"


def answered_before_freed(client, bystander, topic, size):
    """Whether the daemon has answered before the pages, which nobody else has any more, were given back."""
    def n_shared():
        with open("/proc/meminfo") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Shmem:"))

    region = Region(topic, b"name", CREATE, size)
    os.posix_fallocate(region.fd, 0, size)
    n_before = n_shared()
    os.close(region.fd)
    client.own_fds.remove(region.fd)
    client.send(region.close_frame())
    client.ping()
    bystander.ping()
    return n_shared() > n_before - size // 2


def test_given_back():
    """The memory of who has gone is the daemon's to free, which it does aside."""
    with bus.daemon() as daemon, daemon.connect() as client, daemon.connect() as bystander:
        topic = client.open(daemon.folder / "file", bus.POST)
        n_tries, n_wanted = 20, 3  # others share memory too, and the machine may be busy
        for _ in range(n_tries):
            n_wanted -= answered_before_freed(client, bystander, topic, 1 << 28)
            if n_wanted == 0:
                return
        raise AssertionError("it has waited")


bus.main()
