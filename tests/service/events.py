#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GET /v1/events: what happens, as it happens, to those who watch, of the kinds and files that they ask for."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import time

import api
import bus
import system


class Stream:
    """Events that are asked for by this query."""

    def __init__(self, daemon, query=""):
        self.http = api.Http(api.path_of(daemon))
        self.http.request("GET", f"/v1/events{query}")
        self.answer = self.http.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.headers["Content-Type"] == "application/jsonl"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()

    def next(self):
        line = self.answer.readline()
        assert line.endswith(b"\n"), f"the stream ends: {line}"
        event = json.loads(line)
        assert event["time_ns"] > 0 and event["time"].endswith("Z") and event["kind"], event
        return event

    def expect(self, kind, **values):
        """The next one; other kinds are a failure."""
        event = self.next()
        assert event["kind"] == kind, f"{event}, not {kind}"
        assert {key: event.get(key) for key in values} == values, f"{event}, not {values}"
        return event

    def until(self, kind):
        """All up to the first of this kind, that one last."""
        events = [self.next()]
        while events[-1]["kind"] != kind:
            events.append(self.next())
        return events


def socket_client(daemon, path):
    """(connection, topic's number)"""
    connection = daemon.connect()
    return connection, connection.open_socket(path)


def post(client):
    client[0].ask(bus.FRAME_POST, struct.pack("<I", client[1]), bus.DONE)


def publish(client, data):
    client[0].send(bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", client[1], 0, 0) + data))
    client[0].ping()


# --- what is told -----------------------------------------------------------------------------------------------------


def test_connections_and_topics():
    with bus.daemon() as daemon, Stream(daemon) as stream:
        me = {"pid": os.getpid(), "uid": os.geteuid()}
        with open("/proc/self/comm", encoding="utf-8") as file:
            me["command"] = file.read().rstrip("\n")
        connection = daemon.connect()
        client = stream.expect("client-connected", **me)["client"]
        path = f"{daemon.folder}/file"
        topic = connection.open(path)
        number = stream.expect("topic-opened", path=path)["topic"]
        stream.expect("member-joined", topic=number, path=path, transport="memory", **me)
        other = connection.open_socket(path)
        stream.expect("member-joined", topic=number, transport="socket")
        connection.send(bus.frame(bus.CLOSE, 0, struct.pack("<I", other)))
        stream.expect("member-left", topic=number, transport="socket", **me)
        topic.close()
        stream.expect("member-left", topic=number)
        stream.expect("topic-closed", topic=number, path=path)
        connection.goodbye()
        connection.close()
        stream.expect("client-gone", client=client, **me)
        # Numbers are not used again.
        with daemon.connect() as connection:
            assert stream.expect("client-connected")["client"] > client
            connection.open(path)
            assert stream.expect("topic-opened")["topic"] > number


def test_kinds_and_paths():
    with bus.daemon() as daemon, Stream(daemon, "?kind=topic-opened,topic-closed") as by_kind, \
            Stream(daemon, f"?path={daemon.folder}/a*/**") as by_path:
        for name in ("a1", "b", "a2"):
            (daemon.folder / name).mkdir()
        with daemon.connect() as connection:
            for name in ("a1/x", "b/x", "a2/y"):
                connection.open(daemon.folder / name)
        for name in ("a1/x", "b/x", "a2/y"):
            by_kind.expect("topic-opened", path=f"{daemon.folder}/{name}")
        for name in ("a1/x", "a2/y"):
            by_path.expect("topic-opened", path=f"{daemon.folder}/{name}")
            by_path.expect("member-joined", path=f"{daemon.folder}/{name}")
        assert {by_kind.expect("topic-closed")["path"] for _ in range(3)} == \
            {f"{daemon.folder}/{name}" for name in ("a1/x", "b/x", "a2/y")}
        with api.Http(api.path_of(daemon)) as http:
            for query in ("kind=", "kind=x", "kind=post,", "path=x", "posts=2", "posts=x", "other=1", f"path=/{'x/' * 40}"):
                assert http.error("GET", f"/v1/events?{query}") == (400, "bad-query"), query


def test_other_kinds():
    with bus.daemon("--max-user-topics", "1") as daemon, daemon.connect() as connection, \
            Stream(daemon, "?kind=limit,log,reload,resync,region,endpoint") as stream:
        path = f"{daemon.folder}/file"
        topic = connection.open(path, bus.SUBSCRIBE | bus.POST)
        connection.send(bus.open_frame(connection.request(), f"{daemon.folder}/other"))
        connection.expect_error(122, connection.last_request)
        events = [stream.next(), stream.next()]
        assert {event["kind"] for event in events} == {"limit", "log"}, events
        assert {event["reason"] for event in events} == {"limit-topics"}, events
        assert all("--max-user-topics" in event["text"] for event in events)
        os.kill(daemon.pid, signal.SIGHUP)
        events = stream.until("reload")
        assert events[-1]["what"] == "done", events
        listen(connection, topic)
        stream.expect("endpoint", name="a\n\ufffd", what="listening", path=path, pid=os.getpid())
        connection.send(bus.frame(bus.GOODBYE, 0))
        stream.expect("endpoint", name="a\n\ufffd", what="gone", path=path)
        dies = daemon.connect()
        dies.open(path, bus.SUBSCRIBE | bus.POST)
        lives = daemon.connect()
        lives.open(path)
        die(daemon, path)
        event = stream.until("resync")[-1]
        assert (event["path"], event["died"]) == (path, True) and event["pid"] != os.getpid(), event
        for one in (dies, lives):
            one.goodbye()
            one.close()


def listen(connection, topic):
    name = b"a\n\xff"
    connection.ask(bus.LISTEN, struct.pack("<II", topic.id, 0) + name, bus.LISTENING)


def die(daemon, path):
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            connection = daemon.connect()
            connection.open(path, bus.SUBSCRIBE | bus.POST)
        os._exit(0)
    os.waitpid(pid, 0)


# --- posts --------------------------------------------------------------------------------------------------------------


def test_posts():
    """Main listens where somebody watches, and nowhere else: who posts is not rung for."""
    with bus.daemon() as daemon:
        one, other = socket_client(daemon, f"{daemon.folder}/file"), socket_client(daemon, f"{daemon.folder}/other")
        plain = daemon.connect()
        topic = plain.open(f"{daemon.folder}/plain", bus.POST)
        for _ in range(3):
            topic.post()
        assert topic.word(bus.WANT) < topic.word(bus.RUNG), "nobody has armed"
        with Stream(daemon, f"?posts=1&kind=reload&path={daemon.folder}/[fp]*") as stream:
            bus.wait_for(lambda: topic.word(bus.WANT) >= topic.word(bus.RUNG), "it is listened to")
            post(one)
            stream.expect("post", path=f"{daemon.folder}/file", posts=1, pid=os.getpid(), uid=os.geteuid())
            post(other)
            publish(one, b"12345")
            stream.expect("message", path=f"{daemon.folder}/file", size=5, pid=os.getpid())
            # Of shared memory, in which a member counts for itself (this one does not): nobody says who it was.
            topic.post()
            event = stream.expect("post", path=f"{daemon.folder}/plain", posts=1)
            assert "pid" not in event and event["uid"] == os.geteuid()
            # What comes at once is one event, or a few: none is lost.
            for _ in range(500):
                post(one)
            n = n_events = 0
            while n < 500:
                n += stream.expect("post")["posts"]
                n_events += 1
            assert n == 500 and n_events < 250, (n, n_events)
            # A topic that comes later, and one that goes at once.
            late = socket_client(daemon, f"{daemon.folder}/f2")
            for _ in range(5):  # all but the first in the pause after that
                post(late)
            late[0].goodbye()
            late[0].close()
            n = 0
            while n < 5:
                n += stream.expect("post", path=f"{daemon.folder}/f2", pid=os.getpid())["posts"]
            assert n == 5, n
        bus.wait_for(lambda: is_left_alone(topic), "nobody listens any more")
        for connection in (one[0], other[0], plain):
            connection.goodbye()
            connection.close()


def is_left_alone(topic):
    """Nobody arms the lane again for what is posted, however long that is waited for."""
    topic.post()
    time.sleep(0.1)  # several of the pauses after which main would look again
    return topic.word(bus.WANT) < topic.word(bus.RUNG)


def test_posts_of_the_library():
    """Who it was, by the members' own counts."""
    with bus.daemon() as daemon, Stream(daemon, "?kind=post,message,member-joined") as stream:
        path = f"{daemon.folder}/file"
        command = [os.environ["PATHBUSCTL"], "--address", str(daemon.address)]
        with socket_client(daemon, path)[0]:
            stream.expect("member-joined")
            for arguments, kind, value in ([], "post", ("posts", 1)), (["-m", "hello"], "message", ("size", 5)):
                posting = subprocess.Popen([*command, "post", *arguments, path])
                assert posting.wait(bus.LIMIT_S) == 0
                stream.expect("member-joined", pid=posting.pid, command="pathbusctl")
                event = stream.expect(kind, pid=posting.pid, path=path)
                assert event[value[0]] == value[1], event


def test_posts_between_users():
    """They are told once, of whom they are."""
    with system.system_daemon() as daemon, Stream(daemon, "?kind=post,message") as stream:
        file = system.make(daemon.folder / "file", system.ALICE, 0o666)

        def listens(wait, tell):
            with daemon.connect() as connection:
                connection.open_socket(file)
                tell()
                missing = {bus.EVENT_POST, bus.EVENT_MESSAGE}
                while missing:
                    missing.discard(connection.receive().kind)
                tell()
                wait()

        def posts():
            client = socket_client(daemon, file)
            post(client)
            publish(client, b"123")
            post(client)
            client[0].goodbye()

        listening = system.Child(listens, before=lambda: system.become(system.BOB))
        listening.wait_for_word()
        system.run_as(system.ALICE, posts)
        listening.wait_for_word()
        seen = {"post": 0, "message": 0}
        while seen != {"post": 2, "message": 1}:
            event = stream.next()
            assert event["uid"] == system.ALICE and event["path"] == str(file), event
            seen[event["kind"]] += event.get("posts", 1)
            assert seen["post"] <= 2 and seen["message"] <= 1, seen
        listening.go_on()
        listening.end()
        # Nothing else was told meanwhile, of the lanes that it was carried to.
        last = socket_client(daemon, daemon.folder / "last")
        post(last)
        stream.expect("post", path=str(daemon.folder / "last"), posts=1)
        last[0].goodbye()
        last[0].close()


def test_messages_that_are_too_fast():
    """Told, or told as missed: exactly."""
    with bus.daemon() as daemon, Stream(daemon, "?kind=message") as stream:
        connection = daemon.connect()
        client = (connection, connection.open_socket(f"{daemon.folder}/file", ring_slots=8))
        for _ in range(2000):
            connection.send(bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", client[1], 0, 0) + b"x"))
        connection.ping()
        seen = missed = 0
        while seen + missed < 2000:
            event = stream.next()
            seen += event["kind"] == "message"
            missed += event.get("missed", 0)
        assert seen + missed == 2000 and missed > 0, (seen, missed)
        connection.goodbye()
        connection.close()


def test_many_topics():
    """More than are looked at in a row when somebody begins to watch."""
    with bus.daemon() as daemon, daemon.connect() as connection:
        topics = [connection.open(f"{daemon.folder}/{n}", bus.POST) for n in range(200)]
        with Stream(daemon, "?kind=post") as stream:
            for topic in topics:
                bus.wait_for(lambda topic=topic: topic.word(bus.WANT) >= topic.word(bus.RUNG), "it is listened to")
                topic.post()
            assert len({stream.expect("post", posts=1)["topic"] for _ in topics}) == 200


if __name__ == "__main__":
    bus.main()
