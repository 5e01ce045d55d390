#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Clients that do what they should not: each is told or closed, with a reason in the log, and disturbs nobody."""

import array
import errno
import os
import socket
import struct
import subprocess

import bus

# What is sent after the greeting, and what the log and the error say then.
MALFORMED = {
    "unknown type": (bus.frame(99, 1), "unknown type"),
    "a type of the daemon's": (bus.frame(bus.WELCOME, 1, bytes(32)), "unknown type"),
    "reserved bits": (bus.frame(bus.PING, 1, reserved=1), "malformed"),
    "smaller than its header": (struct.pack("<IHHI", 11, bus.PING, 0, 1), "malformed"),
    "size 0": (struct.pack("<IHHI", 0, bus.PING, 0, 1), "malformed"),
    "larger than allowed": (struct.pack("<IHHI", bus.MAX_FRAME + 1, bus.OPEN, 0, 1), "size"),
    "huge": (struct.pack("<IHHI", 0xFFFFFFFF, bus.OPEN, 0, 1), "size"),
    "ping with a body": (bus.frame(bus.PING, 1, b"x"), "malformed"),
    "ping without a number": (bus.frame(bus.PING, 0), "malformed"),
    "goodbye with a number": (bus.frame(bus.GOODBYE, 1), "malformed"),
    "goodbye with a body": (bus.frame(bus.GOODBYE, 0, b"x"), "malformed"),
    "open without a path": (bus.open_frame(1, ""), "malformed"),
    "open without flags": (bus.frame(bus.OPEN, 1, b"\0\0"), "malformed"),
    "open with unknown flags": (bus.open_frame(1, "/tmp", 16), "malformed"),
    "open with echo, not for the socket": (bus.open_frame(1, "/tmp", bus.ECHO), "malformed"),
    "open with the last messages, not for the socket": (bus.open_frame(1, "/tmp", last=1), "malformed"),
    "open without a number": (bus.open_frame(0, "/tmp"), "malformed"),
    "relative path": (bus.open_frame(1, "tmp/file"), "malformed"),
    "NUL in the path": (bus.open_frame(1, b"/tmp/\0file"), "malformed"),
    "path too long": (bus.open_frame(1, "/" + "x" * 4095), "malformed"),
    "close of nothing": (bus.frame(bus.CLOSE, 0, struct.pack("<I", 1)), "not open"),
    "close of topic 0": (bus.frame(bus.CLOSE, 0, struct.pack("<I", 0)), "not open"),
    "close of a large number": (bus.frame(bus.CLOSE, 0, struct.pack("<I", 0xFFFFFFFF)), "not open"),
    "close with a number": (bus.frame(bus.CLOSE, 1, struct.pack("<I", 1)), "malformed"),
    "short close": (bus.frame(bus.CLOSE, 0, b"\1"), "malformed"),
    "a second greeting": (bus.hello(2), "greeting"),
}

# What is sent instead of the greeting.
UNGREETED = {
    "ping first": (bus.frame(bus.PING, 1), "greeting"),
    "unknown type first": (bus.frame(99, 1), "greeting"),
    "another protocol": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "size"),
    "wrong magic": (bus.hello(magic=0x12345678), "malformed"),
    "no number": (bus.hello(0), "malformed"),
    "versions the wrong way round": (bus.hello(1, 2, 1), "malformed"),
    "long greeting": (bus.frame(bus.HELLO, 1, bytes(9)), "malformed"),
}


def expect_dropped(daemon, connection, text):
    answer = connection.receive()
    assert answer and answer.kind == bus.ERROR and answer.request == 0
    assert text in answer.body[4:].decode(), f"the client was told: {answer.body[4:].decode()}"
    connection.expect_end()


def check(case, data, text, greet):
    with bus.daemon() as daemon, daemon.connect() as bystander:
        topic = bystander.open(daemon.folder / "file")
        with daemon.connect(greet=greet) as connection:
            connection.send(data)
            expect_dropped(daemon, connection, text)
        daemon.expect_said(text)
        assert bystander.ping()[1] == 1, case
        topic.close()


def test_malformed():
    for case, (data, text) in MALFORMED.items():
        print(f"  {case}", flush=True)
        check(case, data, text, greet=True)


def test_instead_of_a_greeting():
    for case, (data, text) in UNGREETED.items():
        print(f"  {case}", flush=True)
        check(case, data, text, greet=False)


def test_other_versions():
    with bus.daemon() as daemon, daemon.connect(greet=False) as connection:
        connection.send(bus.hello(5, 2, 3))
        answer = connection.expect(bus.ERROR, 0)
        number, text = struct.unpack_from("<I", answer.body)[0], answer.body[4:].decode()
        assert number == errno.EPROTO
        assert "version 1" in text and "2 to 3" in text, text
        connection.expect_end()
        daemon.expect_said("2 to 3")


def test_silence():
    with bus.daemon("--hello-timeout", "50") as daemon:
        with daemon.connect(greet=False) as silent, daemon.connect(greet=False) as halting:
            halting.send(bus.hello()[:7])
            for connection in (silent, halting):
                connection.expect_error(errno.ETIMEDOUT, 0, "no greeting")
                connection.expect_end()
        daemon.expect_said("no greeting in time")


def test_a_greeted_client_may_be_silent():
    with bus.daemon("--hello-timeout", "50") as daemon, daemon.connect() as quiet, \
            daemon.connect(greet=False) as silent:
        silent.expect_error(errno.ETIMEDOUT, 0)
        assert quiet.ping()[0] == 1


def send_descriptor(connection, data):
    """False: the kernel refuses it on the daemon's behalf."""
    with open("/dev/null", encoding="ascii") as null:
        try:
            connection.socket.sendmsg(
                [data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()]))])
        except PermissionError:
            return False
    return True


def test_descriptors():
    for greet in (True, False):
        with bus.daemon() as daemon, daemon.connect(greet=greet) as connection:
            if send_descriptor(connection, bus.frame(bus.PING, 2) if greet else bus.hello()):
                expect_dropped(daemon, connection, "sent descriptors")
                daemon.expect_said("sent descriptors")
            elif not greet:
                connection.greet()
            else:
                assert connection.ping()[0] == 1


def without_passrights():
    """As on a kernel that does not know SO_PASSRIGHTS: a filter answers in its place."""
    machine = os.uname().machine
    if machine not in ("x86_64", "aarch64"):
        raise OSError("no number of setsockopt for this machine")
    setsockopt = 54 if machine == "x86_64" else 208
    bus.filter_calls([
        (0x20, 0, 0, 0),            # the call's number
        (0x15, 0, 3, setsockopt),
        (0x20, 0, 0, 16 + 2 * 8),   # its third argument
        (0x15, 0, 1, 83),           # SO_PASSRIGHTS
        (0x06, 0, 0, 0x00050000 | errno.ENOPROTOOPT),
        (0x06, 0, 0, 0x7FFF0000),   # allowed
    ])


def test_descriptors_on_older_kernels():
    try:
        daemon_context = bus.daemon(preexec_fn=without_passrights)
        daemon = daemon_context.__enter__()
    except subprocess.SubprocessError as error:
        raise bus.Skip("needs a system call filter") from error
    for greet in (True, False):
        with daemon.connect(greet=greet) as connection:
            assert send_descriptor(connection, bus.frame(bus.PING, 2) if greet else bus.hello())
            expect_dropped(daemon, connection, "sent descriptors")
    daemon.expect_said("sent descriptors")
    daemon_context.__exit__(None, None, None)


def test_one_that_does_not_read():
    with bus.daemon() as daemon, daemon.connect() as other:
        with daemon.connect() as deaf:
            deaf.socket.setblocking(False)
            pings, n_sent = b"".join(bus.frame(bus.PING, request) for request in range(2, 1002)), 0
            try:
                for _ in range(1000):
                    n_sent += deaf.socket.send(pings)
            except BlockingIOError:
                pass
            else:
                raise AssertionError("the daemon reads from a client that does not take its answers")
            assert other.ping()[0] == 2
            n_pages = daemon.resident_pages()
            # Once it reads, everything is answered.
            deaf.socket.settimeout(bus.LIMIT_S)
            for _ in range(n_sent // 12):
                deaf.expect(bus.PONG)
            assert n_pages is None or daemon.resident_pages() < n_pages + 1000


def test_one_that_does_not_take_its_topics():
    with bus.daemon() as daemon, daemon.connect() as other:
        with daemon.connect() as deaf:
            deaf.socket.setblocking(False)
            request = 2
            try:
                while request < 100000:
                    deaf.socket.send(bus.open_frame(request, daemon.folder / f"{request:08}"))
                    request += 1
            except BlockingIOError:
                pass
            assert request < 100000, "the daemon opens topics for a client that does not take them"
            assert other.open(daemon.folder / "file").slot == 0
        bus.wait_for(lambda: other.ping()[1] == 1, "its topics are gone")


def test_a_client_that_dies_while_it_opens():
    with bus.daemon() as daemon, daemon.connect() as other:
        for n in (1, 2, 40):
            connection = daemon.connect()
            connection.send(b"".join(bus.open_frame(i + 2, daemon.folder / f"file{i}") for i in range(n)))
            connection.close()
        bus.wait_for(lambda: other.ping()[:2] == (1, 0), "nothing of it is left")


def test_other_users():
    if os.getuid() != 0:
        raise bus.Skip("needs root")
    with bus.daemon() as daemon:
        os.chmod(daemon.folder, 0o755)
        os.chmod(daemon.address, 0o777)

        def foreign():
            with daemon.connect(greet=False) as connection:
                connection.expect_error(errno.EPERM, 0, "serves user 0 only")
                connection.expect_end()

        bus.as_user(65534, foreign)
        daemon.expect_said("not user 65534")


if __name__ == "__main__":
    bus.main()
