#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who may use the control socket and means harm, and who may not: it is refused, others are served, and the bus goes on.

Bob is in the group that may; Mallory is not, and can connect only because the socket was opened to all for the test. That a process
has become somebody else since it connected does not count: the kernel's word is about who connected.
"""

import contextlib
import json
import os
import random
import resource
import select
import socket
import time

import api
import bus
import users
from hostile_turns import longest_turn
from users import ALICE, BOB, EVE, MALLORY, SHARED_GROUP, Guest, become, run_as

MANY = 10000
MOST_OF_ALL, MOST_OF_USER, MOST_STREAMS_OF_USER = 64, 32, 8
MOST_MS = 60  # main's own time between two answers, with sanitizers


@contextlib.contextmanager
def system(*arguments, **keywords):
    with users.system("--control-group", str(SHARED_GROUP), *arguments, **keywords) as (serving, witness):
        yield serving, witness, api.path_of(serving)


def is_served(path):
    with api.Http(path) as http:
        return http.get("/v1/topics?limit=1") is not None


# --- who may not ------------------------------------------------------------------------------------------------------


def try_all(path, victim):
    found = {}
    with api.Http(path) as http:
        assert http.get("/healthz") == {"status": "ok"}
        for method, target, body in (
                ("GET", "/v1/topics", None), ("GET", "/v1/topics/1", None), ("GET", "/v1/clients", None), ("GET", "/v1/config", None),
                ("GET", "/nowhere", None), ("POST", "/v1/post", '{"path": "/"}'), ("POST", "/v1/reload", None),
                ("POST", "/v1/log-level", '{"level": "debug"}'), ("POST", f"/v1/clients/{victim}/disconnect", None),
                ("POST", "/v1/topics/1/post", "no JSON"), ("DELETE", "/healthz/x", None)):
            found[method, target] = http.error(method, target, body, {"Content-Type": "application/json"})
    return found


def test_who_is_not_in_the_group():
    """Mallory gets to know that the daemon is well, and nothing else; not even what there is."""
    with system() as (serving, witness, path):
        os.chmod(path, 0o666)
        with serving.connect() as connection:
            with api.Http(path) as http:
                victim = http.get("/v1/clients")["clients"][-1]["id"]
            for (method, target), answer in run_as(MALLORY, try_all, path, victim).items():
                assert answer == (403, "forbidden"), (method, target, answer)
            connection.ping()
        assert run_as(BOB, is_served, path)
        witness.check()
        serving.expect_said(f"user {MALLORY.uid}")


def connect_and_become(path, first, then):
    """In a fork, since who became another stays it."""
    with api.Http(path) as http:
        if first:
            os.setgroups(first.groups)
            os.setresgid(first.gid, first.gid, 0)
            os.setresuid(first.uid, first.uid, 0)
        http.connect()
        os.setresuid(0, 0, 0)
        if then:
            become(then)
        return http.ask("GET", "/v1/topics")[0]


ROOT = users.Person("root", 0, 0, ())


def test_it_counts_who_connected():
    """Neither does it help to become somebody who may, as a set-uid program does, nor to take over a connection."""
    with system(witness=False) as (_, _, path):
        os.chmod(path, 0o666)
        assert run_as(ROOT, connect_and_become, path, None, MALLORY) == 200
        assert run_as(ROOT, connect_and_become, path, MALLORY, None) == 403
        assert run_as(ROOT, connect_and_become, path, BOB, MALLORY) == 200
        # One who may passes a connection on: it speaks for who made it. One who may not gains nothing by it.
        mine, theirs = socket.socketpair()
        with Guest(MALLORY, pass_connection, path, theirs) as mallory:
            _, descriptors, _, _ = socket.recv_fds(mine, 1, 1)
            with socket.socket(fileno=descriptors[0]) as connection:
                assert b"403" in ask_raw(connection, b"GET /v1/topics HTTP/1.1\r\n\r\n")
            mallory.tell("end")
        mine.close()
        theirs.close()


def pass_connection(line, path, end):
    with api.raw(path) as connection:
        socket.send_fds(end, [b"x"], [connection.fileno()])
        line.expect("end")


def ask_raw(connection, request):
    connection.settimeout(bus.LIMIT_S)
    connection.sendall(request)
    return connection.recv(65536)


# --- nonsense ---------------------------------------------------------------------------------------------------------


NONSENSE = [
    b"\r\n\r\n", b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET  /  HTTP/1.1\r\n\r\n", b"get / http/1.1\r\n\r\n",
    b"GET http://[::1/ HTTP/1.1\r\n\r\n", b"GET //x/../../etc/passwd HTTP/1.1\r\n\r\n", b"CONNECT host:1 HTTP/1.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n", b"PATCH /v1/topics HTTP/1.1\r\n\r\n", b"GET /v1/topics?%zz=%zz HTTP/1.1\r\n\r\n",
    b"GET /v1/topics?" + b"&" * 4000 + b" HTTP/1.1\r\n\r\n", b"GET /v1/topics?" + b"limit=1&" * 900 + b" HTTP/1.1\r\n\r\n",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10000 + b"\r\n", b"GET / HTTP/1.1\r\n: \r\n\r\n", b"GET / HTTP/1.1\r\n continued\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / HTTP/1.1\nHost: x\n\n",
    b"POST /v1/post HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"POST /v1/post HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/post HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"POST /v1/post HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"POST /v1/post HTTP/1.1\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000,
    b"POST /v1/post HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", b"POST /v1/post HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"POST /v1/post HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n" * 1 + b"f000\r\n" + b"x" * 0xf000 + b"\r\n0\r\n\r\n",
    b"POST /v1/post HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz\r\n",
    b"POST /v1/post HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n",
    b"GET /v1/topics HTTP/1.0\r\n\r\n", b"GET /v1/topics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
]

BODIES = [
    b"", b"{", b"[]", b"null", b'"text"', b"1e999999", b'{"path": null}', b'{"path": 7}', b'{"path": "\\u0000"}', b'{"path": "/\xff"}',
    b'{"path": "/", "path": "/"}', b'{"path": "/"} more', b'{"path": ["/"]}', b'{"Path": "/"}', b"[" * 60000, b'{"a":' * 10000,
    b'{"path": "/' + b"a" * 60000 + b'"}', b'{"path": "\\ud800"}',
]


def heard(path, request, patience=5):
    """What is answered until the end, or until nothing comes any more."""
    found = b""
    with contextlib.suppress(OSError), api.raw(path) as connection:
        connection.settimeout(patience)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65536):
            found += part
    return found


def speak_nonsense(line, path):
    for request in NONSENSE:
        answer = heard(path, request)
        assert answer == b"" or answer.startswith(b"HTTP/1."), (request[:60], answer[:60])
        if answer:
            status = int(answer.split()[1])
            assert status in (100, 200, 400, 403, 404, 405, 411, 413, 415, 417, 501, 503), (request[:60], status)
    for body in BODIES:
        for kind in (b"application/json", b"text/plain", b""):
            header = b"Content-Type: " + kind + b"\r\n" if kind else b""
            request = b"POST /v1/post HTTP/1.1\r\n" + header + b"Content-Length: %d\r\n\r\n" % len(body) + body
            status = int(heard(path, request).split()[1])
            assert status in (400, 413, 415) or (status == 404 and body.startswith(b'{"path": "/a')), (body[:60], kind, status)
    generator = random.Random(7)
    for _ in range(150):
        request = bytearray(generator.choice(NONSENSE[:-1])[:2000])
        for _ in range(generator.randrange(1, 8)):
            request[generator.randrange(len(request))] = generator.randrange(256)
        answer = heard(path, bytes(request))
        assert answer == b"" or answer.startswith(b"HTTP/1."), bytes(request)
    line.tell("done")


def test_nonsense():
    """What is no request, or no body, is refused; after each the daemon is there."""
    with system() as (serving, witness, path):
        counted = users.Counted(serving)
        with Guest(BOB, speak_nonsense, path) as bob:
            while not bob.is_told():
                witness.check()
            bob.expect("done")
        counted.look(MOST_OF_ALL)
        assert is_served(path)


# --- floods -----------------------------------------------------------------------------------------------------------


def connect_many(line, path, n):
    """One after the other, without a word; those that are refused are told why at once."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kept, n_refused, poll = {}, 0, select.poll()
    for _ in range(n):
        connection = api.raw(path)
        kept[connection.fileno()] = connection
        poll.register(connection, select.POLLIN)
        for fd, _ in poll.poll(0):
            n_refused += is_refusal(kept, fd, poll)
    end = time.monotonic() + 5
    while len(kept) > MOST_OF_USER and time.monotonic() < end:
        for fd, _ in poll.poll(100):
            n_refused += is_refusal(kept, fd, poll)
    line.tell((len(kept), n_refused))
    line.expect("end")


def is_refusal(kept, fd, poll):
    text = kept[fd].recv(65536)
    assert b" 503 " in text and b"too-many-connections" in text, text
    poll.unregister(fd)
    kept.pop(fd).close()
    return True


def test_ten_thousand_connections():
    with system() as (serving, witness, path):
        counted = users.Counted(serving)
        with Guest(BOB, connect_many, path, MANY) as bob:
            while not bob.is_told():
                witness.check()
                counted.look(MOST_OF_ALL + 32)
            n_kept, n_refused = bob.hear()
            print(f"  {n_kept} were taken, {n_refused} refused", flush=True)
            assert n_kept + n_refused == MANY and n_kept <= MOST_OF_USER, (n_kept, n_refused)
            # Who has none yet is served, and root anyway.
            assert run_as(ALICE, is_served, path)
            assert is_served(path)
            bob.tell("end")
        serving.expect_said("too many control connections")


def fill_up(line, path, n):
    connections = [api.raw(path) for _ in range(n)]
    line.tell("full")
    line.expect("end")
    for connection in connections:
        connection.close()


def test_root_gets_in_when_others_have_all():
    with system(witness=False) as (_, _, path), Guest(BOB, fill_up, path, MOST_OF_USER) as bob, \
            Guest(ALICE, fill_up, path, MOST_OF_USER) as alice:
        for guest in (bob, alice):
            guest.expect("full")
        eve = EVE._replace(groups=(SHARED_GROUP,))
        bus.wait_for(lambda: b" 503 " in run_as(eve, heard, path, b"GET /healthz HTTP/1.1\r\n\r\n"), "all is taken")
        assert is_served(path)
        for guest in (bob, alice):
            guest.tell("end")


def listen_to_all(line, path, n):
    """Streams of events, each of which has begun; and then another one."""
    streams = [api.raw(path) for _ in range(n)]
    for stream in streams:
        stream.send(b"GET /v1/events HTTP/1.1\r\n\r\n")
        assert b" 200 " in stream.recv(4096)
    line.tell(heard(path, b"GET /v1/events HTTP/1.1\r\n\r\n"))
    line.expect("end")
    for stream in streams:
        stream.close()


def test_nobody_listens_for_all():
    """Of the streams of events one user has half at most."""
    with system(witness=False) as (_, _, path), Guest(BOB, listen_to_all, path, MOST_STREAMS_OF_USER) as bob:
        refused = bob.hear()
        assert b" 503 " in refused and b"too-many-streams" in refused and str(BOB.uid).encode() in refused, refused
        with api.raw(path) as stream:
            stream.send(b"GET /v1/events HTTP/1.1\r\n\r\n")
            assert b" 200 " in stream.recv(4096)
        bob.tell("end")


# --- slow ones --------------------------------------------------------------------------------------------------------


def be_slow(line, path, n):
    """Asks for much, again and again, and reads nothing; sends halves of requests, a byte now and then."""
    deaf = [api.raw(path) for _ in range(n)]
    halves = [api.raw(path) for _ in range(n)]
    for connection in deaf:
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(1000):
                connection.send(b"GET /v1/topics?limit=1000 HTTP/1.1\r\n\r\n" * 100)
    text = b"GET /v1/topics HTTP/1.1\r\nX: "
    for at in range(len(text)):
        for connection in halves:
            connection.send(text[at:at + 1])
    line.tell("slow")
    while not line.is_told():
        for connection in halves:
            with contextlib.suppress(OSError):
                connection.send(b"x")
        time.sleep(0.01)
    line.expect("end")
    for connection in deaf + halves:
        connection.close()


def open_many(line, address, folder, n):
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(bus.Connection(address))
        for number in range(n):
            connection.open_socket(folder / f"a-file-with-a-rather-long-name-{number:060}")
        line.tell("open")
        line.expect("end")


def test_slow_readers_and_half_requests():
    with system() as (serving, witness, path):
        folder = serving.own_folder(ALICE)
        with Guest(ALICE, open_many, serving.address, folder, 1000) as alice:
            alice.expect("open")
            counted = users.Counted(serving)
            with Guest(BOB, be_slow, path, MOST_OF_USER // 2) as bob:
                bob.expect("slow")
                for _ in range(10):
                    witness.check()
                    assert is_served(path)
                    counted.look(MOST_OF_ALL)
                bob.tell("end")
            alice.tell("end")


def ask_for_much(line, path, n, targets):
    """Without a pause, on many connections at once."""
    connections = [api.raw(path) for _ in range(n)]
    for connection in connections:
        connection.setblocking(False)
    line.tell("asking")
    n_bytes = 0
    while n_bytes < 4 << 20:
        for connection in connections:
            with contextlib.suppress(BlockingIOError):
                connection.send(b"".join(b"GET " + target + b" HTTP/1.1\r\n\r\n" for target in targets))
            with contextlib.suppress(BlockingIOError):
                n_bytes += len(connection.recv(1 << 20))
    line.tell("asked")


def test_long_answers_keep_nobody_waiting():
    """Pages of a thousand topics, and a topic of thousands of members, for many who ask without a pause; what others wait for
    main meanwhile is counted in its own time."""
    with system() as (serving, witness, path):
        folder = serving.own_folder(ALICE)
        shared = serving.file("shared", ALICE, 0o644)
        with Guest(ALICE, open_many, serving.address, folder, 2000) as alice, \
                Guest(EVE, open_the_same, serving.address, shared, 3000) as eve:
            alice.expect("open")
            eve.expect("open")
            with api.Http(path) as http:
                number = http.get(f"/v1/topics?path={shared}")["topics"][0]["id"]
            targets = [b"/v1/topics?limit=1000", b"/v1/topics?path=/**/*a*a*a*a*a*a*a*a*a*a*a*a*a*b", b"/v1/clients?limit=1000",
                       b"/v1/topics/%d?limit=1000&members_after=500" % number]
            with Guest(BOB, ask_for_much, path, 16, targets) as bob, \
                    Guest(MALLORY, longest_turn, serving.address, serving.pid) as looking:
                looking.expect("looking")
                bob.expect("asking")
                while not bob.is_told():
                    witness.check()
                    assert is_served(path)
                looking.tell("end")
                longest = looking.hear()
                bob.expect("asked")
            print(f"  main was busy for {longest:.1f} ms at once", flush=True)
            assert longest < MOST_MS, f"main was busy for {longest:.1f} ms at once"
            for guest in (alice, eve):
                guest.tell("end")


def open_the_same(line, address, path, n):
    with bus.Connection(address) as connection:
        for _ in range(n):
            connection.open_socket(path, bus.SUBSCRIBE)
        line.tell("open")
        line.expect("end")


# --- others' text -----------------------------------------------------------------------------------------------------


def open_names(line, address, names):
    with bus.Connection(address) as connection:
        for name in names:
            connection.open_socket(name)
        line.tell("open")
        line.expect("end")


def test_names_that_others_chose():
    """Whatever a file is called, the answer is JSON, and tells it exactly."""
    with system(witness=False) as (serving, _, path):
        folder = os.fsencode(serving.own_folder(MALLORY))
        names = [folder + b"/" + name for name in (
            b'"}],"next":null}', b"\\", b"\x1b[2J", b"a\nb\r\nHTTP 200 OK", b"\xff\xfe\x80", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\x7f",
            b"%s%n", b"a" * 255)]
        with Guest(MALLORY, open_names, serving.address, names) as mallory:
            mallory.expect("open")
            with api.Http(path) as http:
                status, _, text = http.ask("GET", "/v1/topics")
            assert status == 200 and not any(byte < 32 or byte == 127 for byte in text), text
            topics = json.loads(text)["topics"]
            found = [bytes.fromhex(topic["path_bytes"]) if "path_bytes" in topic else topic["path"].encode() for topic in topics]
            assert found == names, found
            mallory.tell("end")


if __name__ == "__main__":
    bus.main()
