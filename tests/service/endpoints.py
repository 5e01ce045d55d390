#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Endpoints by their frames: introductions, waiting, tokens, quotas, and clients that do what they should not."""

import contextlib
import errno
import os
import select
import signal
import socket
import struct

import bus

SEQPACKET, TAKE_OVER, READERS, WRITERS = 1, 2, 4, 8
NO_TIMEOUT = 0xFFFFFFFF
MOST_UNTAKEN, MOST_UNTAKEN_OF_ALL, MOST_WAITING, MOST_TOKENS, MOST_ENDPOINTS = 16, 64, 32, 64, 256


def named(kind, request, topic, number, name):
    return bus.frame(kind, request, struct.pack("<II", topic, number) + name)


def send_listen(connection, topic, name=b"service", flags=0):
    connection.send(named(bus.LISTEN, connection.request(), topic, flags, name))
    return connection.last_request


def listen(connection, topic, name=b"service", flags=0):
    request = send_listen(connection, topic, name, flags)
    return struct.unpack("<I", connection.expect(bus.LISTENING, request).body)[0]


def send_connect(connection, topic, name=b"service", timeout=0):
    connection.send(named(bus.CONNECT, connection.request(), topic, timeout, name))
    return connection.last_request


def own_socket(connection, answer):
    """This one belongs to the test."""
    connection.own_fds.remove(answer.fds[0])
    return socket.socket(fileno=answer.fds[0])


def connected(connection, request):
    return own_socket(connection, connection.expect(bus.CONNECTED, request))


def connect(connection, topic, name=b"service", timeout=0):
    return connected(connection, send_connect(connection, topic, name, timeout))


def came(connection, endpoint):
    answer = connection.expect(bus.EVENT_CONNECTION, 0)
    number, pid, uid, gid = struct.unpack("<IIII", answer.body)
    assert number == endpoint and (uid, gid) == (os.geteuid(), os.getegid()), (number, uid, gid)
    return own_socket(connection, answer), pid


def taken(connection, endpoint, n=1):
    connection.send(bus.frame(bus.TAKEN, 0, struct.pack("<II", endpoint, n)))


def expect_joined(one, other):
    one.sendall(b"ab")
    assert other.recv(16) == b"ab"
    other.sendall(b"cd")
    assert one.recv(16) == b"cd"


def is_silent(connection):
    """Nothing has come before an answer to a question that is asked now."""
    connection.ping()
    return True


def token(connection, topic, name=b"service"):
    connection.send(named(bus.TOKEN, connection.request(), topic, 0, name))
    return connection.expect(bus.TOKEN_MADE, connection.last_request).body


def send_redeem(connection, what, timeout=0):
    connection.send(bus.frame(bus.REDEEM, connection.request(), struct.pack("<I", timeout) + what))
    return connection.last_request


def listed(connection, topic):
    found, before = [], 0
    while True:
        connection.send(bus.frame(bus.ENDPOINT_LIST, connection.request(), struct.pack("<IIQ", topic, 0, before)))
        body = connection.expect(bus.ENDPOINTS, connection.last_request).body
        before, n = struct.unpack_from("<QI", body)
        at = 12
        for _ in range(n):
            pid, _, flags, waiting, command, size = struct.unpack_from("<IIII16sI", body, at)
            found.append((body[at + 36:at + 36 + size], pid, flags, waiting, command.rstrip(b"\0")))
            at += 36 + size
        assert at == len(body)
        if before == 0:
            return found


@contextlib.contextmanager
def pair(*arguments):
    """A daemon, and two clients with the same topic: (daemon, client, number, client, number)."""
    with bus.daemon(*arguments) as daemon, daemon.connect() as one, daemon.connect() as other:
        path = daemon.folder / "file"
        yield daemon, one, one.open(path).id, other, other.open_socket(path, bus.POST)


# --- introductions -----------------------------------------------------------------------------------------------------


def test_an_introduction():
    with pair() as (daemon, one, served, other, used):
        for flags, kind in ((0, socket.SOCK_STREAM), (SEQPACKET, socket.SOCK_SEQPACKET)):
            endpoint = listen(one, served, b"service", flags)
            request = send_connect(other, used)
            answer = other.expect(bus.CONNECTED, request)
            assert struct.unpack("<IIII", answer.body) == (os.getpid(), os.geteuid(), os.getegid(), flags)
            mine = own_socket(other, answer)
            theirs, pid = came(one, endpoint)
            assert pid == os.getpid() and mine.type == theirs.type == kind
            expect_joined(mine, theirs)
            # The daemon has neither end any more.
            mine.close()
            assert theirs.recv(1) == b""
            theirs.close()
            one.send(bus.frame(bus.UNLISTEN, 0, struct.pack("<I", endpoint)))
            one.ping()
            request = send_connect(other, used)
            other.expect_error(errno.ECONNREFUSED, request, "nobody listens")


def test_an_introduction_outlives_the_daemon():
    daemon = bus.Daemon()
    with daemon.connect() as one, daemon.connect() as other:
        path = daemon.folder / "file"
        served, used = one.open(path).id, other.open(path).id
        endpoint = listen(one, served)
        mine = connect(other, used)
        theirs, _ = came(one, endpoint)
        daemon.kill()
        expect_joined(mine, theirs)
        mine.close()
        theirs.close()


def test_an_unlisten_that_is_answered():
    with pair() as (daemon, one, served, other, used):
        for _ in range(100):
            endpoint = listen(one, served)
            one.send(bus.frame(bus.UNLISTEN, one.request(), struct.pack("<I", endpoint)))
            one.expect(bus.DONE, one.last_request)
            endpoint = listen(other, used)
            other.send(bus.frame(bus.UNLISTEN, other.request(), struct.pack("<I", endpoint)))
            other.expect(bus.DONE, other.last_request)
        # Not its any more, or never: answered all the same.
        for number in (1, 12345):
            one.send(bus.frame(bus.UNLISTEN, one.request(), struct.pack("<I", number)))
            one.expect(bus.DONE, one.last_request)


def test_two_on_one_name():
    with pair() as (daemon, one, served, other, used):
        first = listen(one, served)
        for connection, topic in ((one, served), (other, used)):
            connection.expect_error(errno.EADDRINUSE, send_listen(connection, topic), "another program listens")
        second = listen(other, used, flags=TAKE_OVER)
        assert struct.unpack("<II", one.expect(bus.EVENT_UNLISTENED, 0).body) == (first, errno.EADDRINUSE)
        mine = connect(one, served)
        theirs, _ = came(other, second)
        expect_joined(mine, theirs)
        one.send(bus.frame(bus.UNLISTEN, 0, struct.pack("<I", first)))  # too late: it is not its any more
        mine.close(), theirs.close()
        mine = connect(one, served)
        came(other, second)[0].close()
        mine.close()
        # Others of the topic, and the same name elsewhere.
        listen(one, served, b"servicf")
        elsewhere = one.open(daemon.folder / "other").id
        listen(one, elsewhere)
        one.expect_error(errno.ECONNREFUSED, send_connect(one, elsewhere, b"servicf"))


def test_rights():
    """Listening needs the right to post, connecting the same user: what the file allows decides for others only."""
    def check():
        with bus.daemon() as daemon, daemon.connect() as one:
            path = daemon.folder / "file"
            path.touch(0o400)
            topic = one.open(path, bus.SUBSCRIBE).id
            one.expect_error(errno.EACCES, send_listen(one, topic), "do not allow")
            one.expect_error(errno.ECONNREFUSED, send_connect(one, topic))

    if os.getuid() != 0:
        check()
    elif os.stat(bus.program()).st_mode & 0o005 == 0o005:
        bus.as_user(65534, check)  # root has every right


def test_gone_with_its_owner():
    with pair() as (daemon, one, served, other, used):
        for end in ("close", "topic", "goodbye"):
            third = daemon.connect()
            topic = third.open(daemon.folder / "file").id
            listen(third, topic)
            text = token(other, used)
            if end == "close":
                third.close()
            elif end == "topic":
                third.send(bus.frame(bus.CLOSE, 0, struct.pack("<I", topic)))
                third.ping()
            else:
                third.goodbye()
            other.expect_error(errno.ECONNREFUSED, send_connect(other, used))
            other.expect_error(errno.ENOENT, send_redeem(other, text)) if end != "close" else \
                bus.wait_for(lambda: not listed(other, used), "it is gone")
            listen_number = listen(other, used)
            other.send(bus.frame(bus.UNLISTEN, 0, struct.pack("<I", listen_number)))
            third.close()


def listener(daemon):
    """The process id of a child that listens."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        third = daemon.connect()
        listen(third, third.open(daemon.folder / "file").id)
        os.write(writer, b"x")
        signal.pause()
    assert os.read(reader, 1) == b"x"
    os.close(reader), os.close(writer)
    return pid


def test_killed_at_once_it_is_gone():
    with pair() as (daemon, one, served, other, used):
        for _ in range(10):
            pid = listener(daemon)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            endpoint = listen(other, used)
            other.send(bus.frame(bus.UNLISTEN, 0, struct.pack("<I", endpoint)))


def test_its_end_may_not_have_had_its_turn():
    """What is asked first is answered first, but not with a listener that has died by then."""
    def while_it_stands_still(daemon, ask):
        pid = listener(daemon)
        daemon.process.send_signal(signal.SIGSTOP)
        bus.wait_for(lambda: bus.parent_and_state(daemon.pid)[1] == "T", "it stands still")
        answer = ask()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        daemon.process.send_signal(signal.SIGCONT)
        return answer

    with pair() as (daemon, one, served, other, used):
        for _ in range(5):
            other.expect_error(errno.ECONNREFUSED, while_it_stands_still(daemon, lambda: send_connect(other, used)))
            request = while_it_stands_still(daemon, lambda: send_listen(other, used))
            endpoint = struct.unpack("<I", other.expect(bus.LISTENING, request).body)[0]
            other.send(bus.frame(bus.UNLISTEN, 0, struct.pack("<I", endpoint)))


# --- waiting ------------------------------------------------------------------------------------------------------------


def test_waiting():
    with pair() as (daemon, one, served, other, used):
        requests = [send_connect(other, used, timeout=NO_TIMEOUT if i % 2 else 60000) for i in range(5)]
        late = send_connect(other, used, timeout=20)
        other.expect_error(errno.ETIMEDOUT, late)
        endpoint = listen(one, served)
        for request in requests:  # in turn
            mine = connected(other, request)
            theirs, _ = came(one, endpoint)
            expect_joined(mine, theirs)
            mine.close(), theirs.close()


def test_waiting_is_given_up():
    with pair() as (daemon, one, served, other, used):
        cancelled = send_connect(other, used, timeout=NO_TIMEOUT)
        closed = other.open_socket(daemon.folder / "file")
        waits = send_connect(other, closed, timeout=NO_TIMEOUT)
        other.send(bus.frame(bus.CANCEL, 0, struct.pack("<I", cancelled)))
        other.send(bus.frame(bus.CANCEL, 0, struct.pack("<I", 4711)))
        other.send(bus.frame(bus.CLOSE, 0, struct.pack("<I", closed)))
        other.expect_error(errno.ECANCELED, waits)
        with daemon.connect() as third:
            send_connect(third, third.open(daemon.folder / "file").id, timeout=NO_TIMEOUT)
            third.ping()
        bus.wait_for(lambda: other.ping()[0] == 2, "it is gone")
        endpoint = listen(one, served)
        assert is_silent(one)
        mine = connect(other, used)
        came(one, endpoint)[0].close()
        mine.close()


def test_one_that_does_not_take_what_it_is_given():
    with pair() as (daemon, one, served, other, used):
        endpoint = listen(one, served)
        sockets = [connect(other, used) for _ in range(MOST_UNTAKEN)]
        other.expect_error(errno.EAGAIN, send_connect(other, used), "has not taken")
        waits = [send_connect(other, used, timeout=60000) for _ in range(3)]
        other.expect_error(errno.ETIMEDOUT, send_connect(other, used, timeout=20))
        assert listed(other, used)[0][3] == MOST_UNTAKEN + 3
        for _ in range(MOST_UNTAKEN):
            came(one, endpoint)[0].close()
        assert is_silent(one) and is_silent(other)
        taken(one, endpoint, 2)
        for request in waits[:2]:
            connected(other, request).close()
        taken(one, endpoint)
        connected(other, waits[2]).close()
        for _ in range(3):
            came(one, endpoint)[0].close()
        for each in sockets:
            each.close()


def test_one_that_does_not_take_anything_of_many():
    """All of a connection's endpoints together hold no more than a share."""
    with pair() as (daemon, one, served, other, used):
        endpoints = [listen(one, served, b"%d" % i) for i in range(8)]
        n = 0
        for i in range(8):
            for _ in range(MOST_UNTAKEN):
                request = send_connect(other, used, b"%d" % i)
                answer = other.receive()
                if answer.kind == bus.ERROR:
                    assert answer.request == request
                    assert struct.unpack_from("<I", answer.body)[0] == errno.EAGAIN
                    break
                own_socket(other, answer).close()
                n += 1
        assert n == MOST_UNTAKEN_OF_ALL
        waits = send_connect(other, used, b"7", timeout=60000)
        for _ in range(n):
            answer = one.expect(bus.EVENT_CONNECTION, 0)
            own_socket(one, answer).close()
        # Room at one of them is room for all; and an end of one makes room too.
        one.send(bus.frame(bus.UNLISTEN, 0, struct.pack("<I", endpoints[0])))
        connected(other, waits).close()
        came(one, endpoints[7])[0].close()


# --- floods ---------------------------------------------------------------------------------------------------------------


def test_one_that_does_not_read_its_connections():
    """It is not read from, and its descriptors do not pile up; others are served meanwhile."""
    with pair() as (daemon, one, served, other, used):
        endpoint = listen(one, served)
        n_before = daemon.n_descriptors()
        with daemon.connect() as deaf, daemon.connect() as witness:
            topic = deaf.open(daemon.folder / "file").id
            ours = witness.open(daemon.folder / "file").id
            for _ in range(20):
                deaf.send(b"".join(named(bus.CONNECT, i + 100, topic, 0, b"service") for i in range(50)))
                while select.select([one.socket], [], [], 0)[0]:
                    came(one, endpoint)[0].close()
                    taken(one, endpoint)
                witness.ping()
            bus.wait_for(lambda: daemon.n_descriptors() < n_before + 80, "there is a bound")
            while select.select([one.socket], [], [], 0)[0] or one.buffer:
                came(one, endpoint)[0].close()
                taken(one, endpoint)
                one.ping()
            request = send_connect(witness, ours, timeout=60000)
            while True:
                theirs, _ = came(one, endpoint)
                theirs.close()
                taken(one, endpoint)
                if select.select([witness.socket], [], [], 0.01)[0]:
                    connected(witness, request).close()
                    break


def test_a_listener_that_does_not_read():
    with pair() as (daemon, one, served, other, used):
        listen(one, served)
        n_before = daemon.n_descriptors()
        sockets = [connect(other, used) for _ in range(MOST_UNTAKEN)]
        assert daemon.n_descriptors() <= n_before + MOST_UNTAKEN
        # What is not read is nobody else's business.
        with daemon.connect() as third:
            topic = third.open(daemon.folder / "file").id
            endpoint = listen(third, topic, b"another")
            mine = connect(other, used, b"another")
            theirs, _ = came(third, endpoint)
            expect_joined(mine, theirs)
            mine.close(), theirs.close()
        one.close()
        for each in sockets:
            assert each.recv(1) == b"", "nobody has it"
            each.close()
        bus.wait_for(lambda: daemon.n_descriptors() <= n_before, "all are closed")


def test_listening_and_leaving_without_reading():
    """A client that connects to itself, over and over."""
    with pair() as (daemon, one, served, other, used):
        n_before = daemon.n_descriptors()
        one.socket.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            for i in range(100000):
                at = 2 * i + 100
                one.send(named(bus.LISTEN, at, served, TAKE_OVER, b"service") + named(bus.CONNECT, at + 1, served, 0, b"service"))
                sent += 1
        assert sent < 100000, "the daemon reads from a client that does not take what it is given"
        other.ping()
        assert daemon.n_descriptors() < n_before + 100


def test_quotas():
    with pair() as (daemon, one, served, other, used):
        waits = [send_connect(other, used, b"%d" % i, NO_TIMEOUT) for i in range(MOST_WAITING)]
        other.expect_error(errno.EBUSY, send_connect(other, used, timeout=NO_TIMEOUT))
        other.expect_error(errno.ECONNREFUSED, send_connect(other, used))
        other.send(bus.frame(bus.CANCEL, 0, struct.pack("<I", waits[0])))
        waits[0] = send_connect(other, used, timeout=NO_TIMEOUT)
        for i in range(MOST_ENDPOINTS):
            listen(one, served, b"e%d" % i)
        one.expect_error(errno.EMFILE, send_listen(one, served))
        assert sorted(entry[0] for entry in listed(other, used)) == sorted(b"e%d" % i for i in range(MOST_ENDPOINTS))
        tokens = {token(other, used, b"e0") for _ in range(MOST_TOKENS)}
        assert len(tokens) == MOST_TOKENS
        other.send(named(bus.TOKEN, other.request(), used, 0, b"e0"))
        other.expect_error(errno.ENOBUFS, other.last_request)
        # Of one that has ended they stay, and are nobody's.
        with daemon.connect() as third:
            text = token(third, third.open(daemon.folder / "file").id, b"e1")
            third.goodbye()
        request = send_redeem(other, text)
        connected(other, request).close()
        own_socket(one, one.expect(bus.EVENT_CONNECTION, 0)).close()


# --- tokens ---------------------------------------------------------------------------------------------------------------


def test_tokens():
    with pair() as (daemon, one, served, other, used), daemon.connect() as stranger:
        endpoint = listen(one, served)
        text = token(other, used)
        own, last = token(one, served), token(one, served)  # who listens may as well
        assert len(text) == 16 and text != own
        mine = connected(stranger, send_redeem(stranger, text))  # without a topic
        theirs, _ = came(one, endpoint)
        taken(one, endpoint)
        expect_joined(mine, theirs)
        mine.close(), theirs.close()
        for what in (text, bytes(16), os.urandom(16)):
            stranger.expect_error(errno.ENOENT, send_redeem(stranger, what), "valid")
            stranger.expect_error(errno.ENOENT, send_redeem(stranger, what, NO_TIMEOUT))
        other.send(named(bus.TOKEN, other.request(), used, 0, b"nobody"))
        other.expect_error(errno.ECONNREFUSED, other.last_request)
        # Where there is no room it stays valid, and is used once there is.
        full = [connect(other, used) for _ in range(MOST_UNTAKEN)]
        stranger.expect_error(errno.EAGAIN, send_redeem(stranger, own))
        request = send_redeem(stranger, own, 60000)
        assert is_silent(stranger)
        taken(one, endpoint)
        mine = connected(stranger, request)
        stranger.expect_error(errno.ENOENT, send_redeem(stranger, own))
        mine.close()
        # Who waits with one fails with the listener.
        request = send_redeem(stranger, last, NO_TIMEOUT)
        assert is_silent(stranger)
        one.send(bus.frame(bus.UNLISTEN, 0, struct.pack("<I", endpoint)))
        stranger.expect_error(errno.ECONNREFUSED, request)
        for each in full:
            each.close()


# --- malformed ------------------------------------------------------------------------------------------------------------


def test_malformed():
    cases = {
        "listen without a name": (bus.LISTEN, 5, struct.pack("<II", 1, 0), "malformed"),
        "listen with a name that is too long": (bus.LISTEN, 5, struct.pack("<II", 1, 0) + b"x" * 256, "malformed"),
        "listen with NUL": (bus.LISTEN, 5, struct.pack("<II", 1, 0) + b"a\0", "malformed"),
        "listen with unknown flags": (bus.LISTEN, 5, struct.pack("<II", 1, 16) + b"a", "malformed"),
        "listen without a number": (bus.LISTEN, 0, struct.pack("<II", 1, 0) + b"a", "malformed"),
        "listen on no topic": (bus.LISTEN, 5, struct.pack("<II", 9, 0) + b"a", "not open"),
        "connect on no topic": (bus.CONNECT, 5, struct.pack("<II", 0, 0) + b"a", "not open"),
        "connect without a number": (bus.CONNECT, 0, struct.pack("<II", 1, 0) + b"a", "malformed"),
        "token on no topic": (bus.TOKEN, 5, struct.pack("<II", 9, 0) + b"a", "not open"),
        "token with a timeout": (bus.TOKEN, 5, struct.pack("<II", 1, 1) + b"a", "malformed"),
        "short redeem": (bus.REDEEM, 5, bytes(19), "malformed"),
        "taken of nothing": (bus.TAKEN, 0, struct.pack("<II", 1, 1), "malformed"),
        "none taken": (bus.TAKEN, 0, struct.pack("<II", 1, 0), "malformed"),
        "taken with a number": (bus.TAKEN, 5, struct.pack("<II", 1, 1), "malformed"),
        "cancel of 0": (bus.CANCEL, 0, struct.pack("<I", 0), "malformed"),
        "cancel with a number": (bus.CANCEL, 5, struct.pack("<I", 1), "malformed"),
        "list of no topic": (bus.ENDPOINT_LIST, 5, struct.pack("<IIQ", 9, 0, 0), "not open"),
        "list with reserved bits": (bus.ENDPOINT_LIST, 5, struct.pack("<IIQ", 1, 1, 0), "malformed"),
        "a daemon's frame": (bus.EVENT_CONNECTION, 0, bytes(16), "unknown type"),
    }
    with bus.daemon() as daemon:
        for case, (kind, request, body, text) in cases.items():
            print(f"  {case}", flush=True)
            with daemon.connect() as connection:
                connection.open_socket(daemon.folder / "file")
                connection.send(bus.frame(kind, request, body))
                answer = connection.expect(bus.ERROR, 0)
                assert text in answer.body[4:].decode(), answer.body[4:]
                connection.expect_end()


def test_taken_more_than_given():
    with pair() as (daemon, one, served, other, used):
        endpoint = listen(one, served)
        connect(other, used).close()
        came(one, endpoint)[0].close()
        taken(one, endpoint)
        taken(one, endpoint)
        one.expect_error(errno.EBADMSG, 0)
        one.expect_end()


if __name__ == "__main__":
    bus.main()
