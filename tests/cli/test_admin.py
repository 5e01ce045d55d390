#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""topics, clients, stats, config and monitor, against answers of all kinds: what is printed, sorted, escaped and coloured."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import ctl
import fake
from test_control import Fake

COLOUR = re.compile(rb"\x1b\[\d*m")


def topic(number, path, **more):
    return {"id": number, "path": path, "names": 1, "members": 0, "subscribers": 0, "posters": 0, "lanes": 1, "posts": 0,
            "messages": 0, "linked": False, "kept": False, "regions": 0, "endpoints": 0, "opened_ms": 0, **more}


def paged(name, entries, size=2):
    """As the daemon has it: a cursor that means nothing to others."""
    def page(handler):
        cursor = re.search(r"[?&]after=c(\d+)", handler.path)
        at = int(cursor[1]) if cursor else 0
        return {name: entries[at:at + size], "next": f"c{at + size}" if at + size < len(entries) else None}
    return page


def in_terminal(case, *words, env=None, columns=80, send=b""):
    """Runs pathbusctl in a terminal of its own; returns its exit status and what the terminal got."""
    master, slave = pty.openpty()
    try:
        child = subprocess.Popen([ctl.CTL, *ctl.PATIENT, *words], env={**case.env, "TERM": "xterm", **(env or {})}, stdin=slave,
                                 stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        slave = -1
        out, deadline = b"", time.monotonic() + ctl.LIMIT_S
        while time.monotonic() < deadline:
            if not select.select([master], [], [], ctl.LIMIT_S)[0]:
                break
            try:
                more = os.read(master, 65536)
            except OSError:  # the other side has closed
                break
            if not more:
                break
            out += more
        return child.wait(ctl.LIMIT_S), out.replace(b"\r\n", b"\n")
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)


class Topics(Fake):
    def setUp(self):
        super().setUp()
        now = int(time.monotonic() * 1000)
        self.topics = [
            topic(1, "/srv/b", members=3, subscribers=2, posts=7, opened_ms=now - 125000, linked=True, names=2),
            topic(2, "/srv/a", members=12, posts=1234567, messages=5, opened_ms=now - 130000, regions=1, endpoints=2, kept=True),
            topic(4, "/srv/\ufffd\ufffd", path_bytes=b"/srv/\xff\x1b".hex(), members=3, opened_ms=now - 1000),
            topic(9, "/srv/\u4e2d\u6587", members=1, opened_ms=now)]
        self.server = self.serve({"GET /v1/topics": paged("topics", self.topics)})

    def rows(self, *words):
        return [line.split() for line in self.expect(0, "topics", *words).stdout.decode().splitlines()]

    def ids(self, *words):
        return [int(row[0]) for row in self.rows(*words)[1:]]

    def test_table(self):
        rows = self.rows()
        self.assertEqual(rows[0], ["ID", "MEMBERS", "LISTEN", "MAY-POST", "LANES", "POSTS", "MESSAGES", "AGE", "PATH", "NOTES"])
        self.assertEqual(rows[1], ["1", "3", "2", "0", "1", "7", "0", "2m", "/srv/b", "2", "names,", "linked"])
        self.assertEqual(rows[2][:5] + rows[2][7:], ["2", "12", "0", "0", "1", "2m", "/srv/a", "kept,", "1", "region,", "2",
                                                      "endpoints"])
        self.assertEqual(rows[3][8], r"/srv/\xff\x1b")
        self.assertEqual([len(row) for row in rows[3:]], [10, 10])

    def test_columns_by_width(self):
        text = self.expect(0, "topics").stdout.decode()
        lines = text.splitlines()
        notes = lines[0].index("NOTES")
        self.assertEqual(lines[1][notes:], "2 names, linked")
        self.assertEqual(lines[4].index("-"), notes - 2)  # two characters that take two columns each
        ends = {re.match(r"\s*\S+\s+\S+", line).end() for line in lines}
        self.assertEqual(len(ends), 1, "numbers are set to the right")

    def test_sorted(self):
        self.assertEqual(self.ids(), [1, 2, 4, 9])
        for key, order in [("members", [2, 1, 4, 9]), ("posts", [2, 1, 4, 9]), ("age", [2, 1, 4, 9]), ("id", [9, 4, 2, 1]),
                           ("path", [2, 1, 9, 4]), ("listen", [1, 2, 4, 9])]:
            with self.subTest(key=key):
                self.assertEqual(self.ids("--sort", key), order)
                self.assertEqual(self.ids("--sort", key, "--reverse"), order[::-1])
        error = self.expect(2, "topics", "--sort", "notes").stderr
        self.assertIn(b"members, listen", error)

    def test_filter_is_the_daemons(self):
        self.expect(0, "topics", "--filter", "/srv/* &?")
        path = self.server.requests[-1][1]
        self.assertIn("path=/srv/%2A%20%26%3F", path)
        self.assertEqual(len(self.server.requests), 2)
        self.assertIn("limit=500&after=c2", path)

    def test_json(self):
        out = self.expect(0, "topics", "--json").stdout
        self.assertEqual([json.loads(line) for line in out.splitlines()], self.topics)
        self.assertEqual([json.loads(line)["id"] for line in self.expect(0, "topics", "--json", "--sort", "path").stdout.splitlines()],
                         [2, 1, 9, 4])
        self.topics[0]["path"] = "/srv/\u202e\u009b\x7f"
        self.assertIn(rb'"/srv/\u202e\u009b\u007f"', self.expect(0, "topics", "--json").stdout)

    def test_a_cursor_that_stands_still(self):
        self.server.answers["GET /v1/topics"] = {"topics": self.topics, "next": 1}
        self.expect(1, "topics")
        self.assertEqual(len(self.server.requests), 2)

    def test_what_is_missing_or_else(self):
        self.server.answers["GET /v1/topics"] = {"topics": [{}, 1, {"id": "x", "path": 3, "posts": -1, "members": 2.5}]}
        rows = self.rows()
        self.assertEqual(rows[1:], [["-"] * 10, ["-"] * 10, ["-", "2", "-", "-", "-", "0", "-", "-", "-", "-"]])
        self.server.answers["GET /v1/topics"] = {}
        self.assertEqual(len(self.rows()), 1)

    def test_an_error_on_the_second_page(self):
        page = paged("topics", self.topics)
        self.server.answers["GET /v1/topics"] = lambda handler: (500, {}) if "after" in handler.path else page(handler)
        for words in [[], ["--tree"], ["--json"]]:
            self.assertEqual(self.expect(1, "topics", *words).stdout, b"")

    def test_output_that_cannot_be_written(self):
        for words in [["topics"], ["topics", "--json"], ["topics", "--tree"]]:
            with open("/dev/full", "wb") as full:
                self.assertIn(b"output", self.expect(1, *words, stdout=full).stderr)


class Tree(Fake):
    def tree(self, paths, **env):
        self.server = self.serve({"GET /v1/topics": paged("topics", [topic(i, path, members=i) for i, path in enumerate(paths)])})
        self.env.update({"LC_ALL": "C.UTF-8", **env})
        return self.expect(0, "topics", "--tree").stdout.decode()

    def test_folders(self):
        self.assertEqual(self.tree(["/srv/app/x", "/srv/app/b/2", "/srv/app/b-c", "/srv/app/b", "/srv/app/b/1/deep/one", "/tmp/a",
                                    "/etc", "/"]), """\
/  7 members
/etc  6 members
/srv/app
├── b  3 members
│   ├── 1/deep/one  4 members
│   └── 2  1 member
├── b-c  2 members
└── x
/tmp/a  5 members
""")

    def test_plain(self):
        self.assertEqual(self.tree(["/a/x\x1b/1", "/a/x\x1b/2", "/a/y"], LC_ALL="C"), """\
/a
|-- x\\x1b
|   |-- 1
|   `-- 2  1 member
`-- y  2 members
""")

    def test_odd_paths(self):
        for paths in [[""], ["", "/", "//", "a", "a/", "/a//b", "/a/"], ["/x"] * 3, []]:
            with self.subTest(paths=paths):
                text = self.tree(paths)
                self.assertEqual(text.count("member"), max(len(paths) - 1, 0), text)
                self.end(self.server)

    def test_very_deep(self):
        text = self.tree(["/" + "/".join("d" * 1000) + "/x", *["/" + "/".join("d" * n) + f"/{n}" for n in range(1, 400)]])
        self.assertEqual(text.count("member"), 399)

    def test_alone(self):
        for words in [["--json"], ["--sort", "id"], ["--reverse"]]:
            self.expect(2, "topics", "--tree", *words)


class Clients(Fake):
    def test_table(self):
        now = int(time.monotonic() * 1000)
        clients = [{"id": 7, "pid": 100, "uid": 0, "command": "a b\x1b", "since_ms": now - 3600000, "topics": 3,
                    "queued_bytes": 2048, "requests": 10, "socket_only": True},
                   {"id": 8, "pid": 99, "uid": 4000001, "command": "", "since_ms": now, "topics": 4, "queued_bytes": 0,
                    "requests": 2, "socket_only": False}]
        self.serve({"GET /v1/clients": paged("clients", clients, 1)})
        rows = [line.split() for line in self.expect(0, "clients").stdout.decode().splitlines()]
        self.assertEqual(rows[0], "ID PID USER AGE TOPICS REQUESTS QUEUED NOTES COMMAND".split())
        self.assertEqual(rows[1][:2] + rows[1][3:], ["7", "100", "1h", "3", "10", "2K", "socket", "only", "a", "b\\x1b"])
        self.assertEqual(rows[2], ["8", "99", "4000001", "0s", "4", "2", "0", "-", "-"])
        for key, first in [("topics", "8"), ("requests", "7"), ("user", "8"), ("pid", "7"), ("age", "7"), ("queued", "7")]:
            self.assertEqual(self.expect(0, "clients", "--sort", key).stdout.split()[9], first.encode(), key)
        self.assertEqual([json.loads(line) for line in self.expect(0, "clients", "--json").stdout.splitlines()], clients)


STATS = {
    "version": "0.1.0", "pid": 12, "instance": "user", "address": "/s\x1b", "uptime_ms": 7500000, "log_level": "info",
    "totals": {"clients": 2, "topics": 10},
    "counts": {"posts": 123456, "bell_writes": 3, "drops": {"bad-frame": 7, "\x1b": 1}, "limits_hit": {}},
    "latency": {"opening": {"count": 4, "sum_ns": 8000, "buckets": [
        {"le_ns": 1000, "count": 1}, {"le_ns": 2000, "count": 1}, {"le_ns": 1000000, "count": 1}, {"le_ns": None, "count": 1}]},
        "none": {"count": 0, "sum_ns": 0, "buckets": []}},
    "users": [{"uid": 4000001, "charges": {"clients": {"has": 2, "most": 100, "refused": 0},
                                           "topics": {"has": 0, "most": 5, "refused": 0}}}],
    "users_next": "u1"}


class Stats(Fake):
    def setUp(self):
        super().setUp()
        more = {**STATS, "users": [{"uid": 4000002, "charges": {"topics": {"has": 0, "most": 5, "refused": 9}}}], "users_next": None}
        self.server = self.serve({"GET /v1/stats": lambda handler: more if "users_after=u1" in handler.path else STATS})

    def test_text(self):
        text = self.expect(0, "stats").stdout.decode()
        for line in [r"process +12", r"address +/s\\x1b", r"up for +2h5m", r"topics +10", r"posts +123456", r"bell writes +3",
                     r"drops: bad-frame +7", r"drops: \\x1b +1", r"opening +4 +2.0 us +< 2.0 us +more +more",
                     r"none +0 +- +- +- +-", r"4000001 +2 +100 +0 +clients", r"4000002 +0 +5 +9 +topics"]:
            self.assertRegex(text, f"(?m)^{line}$")
        self.assertNotIn("limits", text)

    def test_durations(self):
        for ms, text in [(0, "0s"), (59999, "59s"), (60000, "1m"), (3599999, "59m"), (3600000, "1h"), (3660000, "1h1m"),
                         (86399999, "23h59m"), (86400000, "1d"), (90000000, "1d1h"), (10 ** 13, "115740d17h")]:
            self.server.answers["GET /v1/stats"] = {"uptime_ms": ms}
            self.assertRegex(self.expect(0, "stats").stdout.decode(), rf"(?m)^up for +{text}$")

    def test_json(self):
        found = json.loads(self.expect(0, "stats", "--json").stdout)
        self.assertEqual([user["uid"] for user in found["users"]], [4000001, 4000002])
        self.assertEqual(found["counts"], STATS["counts"])

    def test_pages_without_end(self):
        self.server.answers["GET /v1/stats"] = lambda handler: {**STATS, "users": [] if "after" in handler.path else STATS["users"]}
        self.expect(0, "stats")
        self.assertEqual(len(self.server.requests), 2)


class Config(Fake):
    def test_table(self):
        config = {"files": ["/etc/pathbusd.conf", "/etc/\x1b"], "restart_needed": ["address"], "keys": [
            {"section": "daemon", "key": "address", "value": "/s", "default": None, "from": "command line", "restart": True},
            {"section": "daemon", "key": "log-level", "value": "info", "default": "info", "from": "default", "restart": False},
            {"section": "limits", "key": "clients", "value": 5, "default": 9, "from": "/etc/pathbusd.conf:3", "restart": False}],
            "rights": [{"key": "post", "value": "/srv/**", "from": "/etc/pathbusd.conf:7"}],
            "topic_sections": [{"pattern": "/srv/**", "key": "ring", "value": "256", "from": "/etc/pathbusd.conf:9"}], "cut": False}
        self.serve({"GET /v1/config": config})
        rows = [re.split("  +", line) for line in self.expect(0, "config").stdout.decode().splitlines()]
        self.assertEqual(rows, [
            ["files read", "/etc/pathbusd.conf"], ["", r"/etc/\x1b"], ["needs a restart", "address"], [""],
            ["SECTION", "KEY", "VALUE", "FROM", "CHANGED BY"],
            ["daemon", "address", "/s", "command line", "restart"],
            ["daemon", "log-level", "info", "default", "reload"],
            ["limits", "clients", "5", "/etc/pathbusd.conf:3", "reload"],
            ["rights", "post", "/srv/**", "/etc/pathbusd.conf:7", "reload"],
            ['topic "/srv/**"', "ring", "256", "/etc/pathbusd.conf:9", "reload"]])
        config["cut"] = True
        self.assertIn(b"more than the daemon tells", self.expect(0, "config").stdout)
        changed = self.expect(0, "config", "--changed").stdout
        self.assertNotIn(b"log-level", changed)
        self.assertIn(b"clients", changed)
        self.assertEqual(json.loads(self.expect(0, "config", "--json").stdout), config)
        self.expect(2, "config", "more")


EVENTS = [{"time_ns": 1, "time": "2026-11-21T12:34:56.789Z", "kind": "post", "topic": 3, "path": "/srv/a", "pid": 4711, "uid": 4000001,
           "command": "a \"b\\\x1b", "posts": 3},
          {"time_ns": 2, "time": "2026-11-21T12:34:56.790Z", "kind": "log", "level": "info", "text": ""},
          {"time_ns": 3, "time": "2026-11-21T12:34:56.791Z", "kind": "dropped", "n": 12},
          {"time_ns": 4, "time": "2026-11-21T12:34:56.792Z", "kind": "region", "path": "\ufffd", "path_bytes": "2fff", "name": "r\n"}]
LINES = [rb'2026-11-21T12:34:56.789Z post /srv/a pid=4711 user=4000001 command="a \"b\\\x1b" posts=3',
         b'2026-11-21T12:34:56.790Z log level=info text=""',
         b"2026-11-21T12:34:56.791Z dropped n=12",
         rb"2026-11-21T12:34:56.792Z region /\xff name=r\x0a"]


class Monitor(Fake):
    def monitor(self, events, *words, then="wait", **options):
        """A server that tells these events; then it ends in good order, breaks, or waits until the client has gone."""
        self.gone = []

        def serve(handler):
            write = handler.stream()
            for event in events:
                write(event)
            if then == "end":
                handler.end_stream()
            elif then == "wait":
                handler.rfile.read(1)
                self.gone.append(True)
            handler.close_connection = True
        self.server = self.serve({"GET /v1/events": serve})
        process = self.start([ctl.CTL, *ctl.PATIENT, "monitor", *words], **options)
        if "-q" not in words:
            self.assertEqual(process.err.line(), b"monitoring the daemon at " + os.fsencode(self.socket) + b".control")
        return process

    def test_lines(self):
        process = self.monitor(EVENTS)
        self.assertEqual([process.out.line() for _ in EVENTS], LINES)
        process.send(signal.SIGINT)
        self.assertEqual(process.exit(), 0)
        ctl.wait_until("it has gone", lambda: self.gone)
        self.assertEqual(process.err.all(), [])

    def test_json(self):
        process = self.monitor(EVENTS, "--json")
        lines = [process.out.line() for _ in EVENTS]
        self.assertEqual([json.loads(line) for line in lines], EVENTS)
        self.assertNotIn(b"\x1b", b"".join(lines))
        process.send(signal.SIGTERM)
        self.assertEqual(process.exit(), 0)

    def test_what_is_asked_for(self):
        for words, query in [([], "?posts=1"), (["--no-posts"], ""), (["--kind", "post,log"], "?kind=post%2Clog"),
                             (["--filter", "/srv/**"], "?path=/srv/%2A%2A&posts=1")]:
            self.monitor(EVENTS[:1], *words, "--count", "1").exit()
            self.assertEqual(self.server.requests[0][1], "/v1/events" + query)
            self.end(self.server)
        self.expect(2, "monitor", "--kind", "post", "--no-posts")

    def test_the_daemons_end(self):
        for then in ["end", "break"]:
            process = self.monitor(EVENTS[:1], "-q", then=then)
            self.assertEqual(process.exit(), 69, then)
            self.assertEqual(process.out.all(), LINES[:1])
            self.assertRegex(process.err.all()[0], rb"has ended")
            self.end(self.server)

    def test_nobody_reads_any_more(self):
        for events in [[], EVENTS]:  # while nothing happens, too
            read, write = os.pipe()
            process = self.monitor(events, stdout=write)
            os.close(write)
            os.close(read)
            self.assertEqual(process.exit(), 0)
            self.assertEqual(process.err.all(), [])
            self.end(self.server)

    def test_an_output_that_nobody_empties(self):
        process = self.monitor([EVENTS[0]] * 2000)
        ctl.wait_until("the pipe is full", lambda: not select.select([], [process.child.stdout], [], 0)[1] and
                       len(select.select([process.child.stdout], [], [], 0)[0]) == 1)
        process.send(signal.SIGINT)
        self.assertEqual(process.exit(), 0)

    def test_count_and_timeout(self):
        process = self.monitor(EVENTS, "--count", "3")
        self.assertEqual(process.exit(), 0)
        self.assertEqual(process.out.all(), LINES)  # that something was dropped is no event
        self.end(self.server)
        process = self.monitor(EVENTS, "--count", "9", "--timeout", "0.05")
        self.assertEqual(process.exit(), 124)

    def test_a_stream_that_makes_no_sense(self):
        for event in [b"x\n", b"[]\n", b"{" * 3000000]:
            process = self.monitor([event], "-q")
            self.assertEqual(process.exit(), 1)
            self.assertEqual(len(process.err.all()), 1)
            self.end(self.server)

    def test_a_refusal(self):
        self.serve({"GET /v1/events": (400, {"error": {"code": "bad", "message": "no such kind"}})})
        self.one_line(self.expect(2, "monitor", "--kind", "x"), "no such kind")


class Terminal(Fake):
    def setUp(self):
        super().setUp()
        self.serve({"GET /v1/topics": {"topics": [topic(1, "/srv/\x1b[2J\u009b\u202e", members=2)], "next": None},
                    "GET /v1/stats": STATS | {"users_next": None}})

    def test_colour_on_a_terminal(self):
        for words in [["topics"], ["topics", "--tree"], ["stats"]]:
            plain = self.expect(0, *words).stdout
            status, out = in_terminal(self, *words)
            self.assertEqual(status, 0)
            self.assertRegex(out, COLOUR)
            self.assertEqual(COLOUR.sub(b"", out), plain)
            self.assertNotIn(b"\x1b", plain)
            for env in [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}]:
                self.assertEqual(in_terminal(self, *words, env=env), (0, plain), env)
            self.assertRegex(in_terminal(self, *words, env={"NO_COLOR": ""})[1], COLOUR)

    def test_errors_have_none(self):
        status, out = in_terminal(self, "topics", "--control", self.socket + ".none")
        self.assertEqual(status, 69)
        self.assertNotIn(b"\x1b", out)

    def test_control_c(self):
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        self.serve({"GET /v1/events": lambda handler: (handler.stream()(EVENTS[0]), handler.rfile.read(1), None)[2]},
                   self.socket + ".other")
        child = subprocess.Popen([ctl.CTL, "--control", self.socket + ".other", "monitor"], env={**self.env, "TERM": "xterm"},
                                 stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                 preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        out = b""
        while b"posts=3" not in out:
            self.assertTrue(select.select([master], [], [], ctl.LIMIT_S)[0], out)
            out += os.read(master, 4096)
        self.assertIn(b"\x1b[32mpost\x1b[0m", out)
        os.write(master, b"\x03")
        self.assertEqual(child.wait(ctl.LIMIT_S), 0)


if __name__ == "__main__":
    ctl.main()
