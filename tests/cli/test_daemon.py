#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The commands for admins with a daemon: what they show is so, and what they do is done."""

import json
import os
import re
import signal
import unittest

import ctl

ALICE = 4000001  # nobody has this number


class Daemon(ctl.Case):
    transport = "bus"

    def start_daemon(self, *options):
        super().start_daemon("--config", self.config(""), *options)

    def config(self, text):
        path = os.path.join(self.folder, "pathbusd.conf")
        with open(path, "w") as out:
            out.write("# of a test\n" + text)
        return path

    def listed(self, what, *words):
        return [json.loads(line) for line in self.expect(0, what, "--json", *words).stdout.splitlines()]

    def one_line(self, result, *parts):
        text = result.stderr.decode()
        self.assertEqual(text.count("\n"), 1, text)
        for part in parts:
            self.assertIn(part, text)


class Lists(Daemon):
    daemon = True

    def test_topics(self):
        listener = self.listen(self.path("a"), self.path(b"\xff"), self.path("c.db"))
        other = self.listen(self.path("a"))
        for _ in range(3):
            self.post(self.path("a"))
            listener.out.line()
            other.out.line()
        self.send("text", self.path("c.db"))
        topics = {topic["path"]: topic for topic in self.listed("topics")}
        a = topics[os.fsdecode(self.path("a"))]
        self.assertEqual((a["members"], a["subscribers"], a["linked"], a["kept"], a["lanes"]), (2, 2, False, False, 1))
        self.assertGreaterEqual(a["posts"], 3)
        self.assertEqual(topics[os.fsdecode(self.path("c.db"))]["messages"], 1)
        exact = [bytes.fromhex(topic["path_bytes"]) for topic in topics.values() if "path_bytes" in topic]
        self.assertEqual(exact, [self.path(b"\xff")])
        text = self.expect(0, "topics").stdout
        self.assertIn(self.path("\\xff"), text)
        tree = self.expect(0, "topics", "--tree").stdout.decode()
        self.assertRegex(tree, rf"\A{self.files}\n\S+ a  2 members, \d+ posts\n\S+ c\.db  1 member, .+\n\S+ \\xff  1 member\n")
        self.assertEqual([topic["path"] for topic in self.listed("topics", "--filter", f"{self.files}/*.db")],
                         [os.fsdecode(self.path("c.db"))])
        self.assertEqual(len(self.listed("topics", "--filter", f"{self.folder}/**")), 3)
        self.assertEqual(self.listed("topics", "--filter", "/none/**"), [])

    def test_more_than_a_page(self):
        for names in [range(280), range(280, 560)]:
            self.background("listen", "-q", *(self.path(f"{i:04}") for i in names))
        ctl.wait_until("all are open", lambda: len(self.listed("topics")) == 560)
        topics = self.listed("topics", "--sort", "path")
        self.assertEqual([os.path.basename(topic["path"]) for topic in topics], [f"{i:04}" for i in range(560)])

    def test_clients(self):
        listener = self.listen(self.path("a"), self.path("b"))
        client, = self.listed("clients")
        self.assertEqual((client["pid"], client["uid"], client["topics"], client["command"]),
                         (listener.pid, os.geteuid(), 2, os.path.basename(ctl.CTL)))
        self.assertRegex(self.expect(0, "clients").stdout.decode(), rf"\n *{client['id']} +{listener.pid} +\S+ +\d+s +2 ")
        socket_only = self.background("listen", "--socket", self.path("a"))
        ctl.wait_until("both are there", lambda: {client["pid"]: client["socket_only"] for client in self.listed("clients")} ==
                       {listener.pid: False, socket_only.pid: True})

    def test_kick(self):
        listener = self.listen("--json", self.path("a"))
        client, = self.listed("clients")
        out = self.expect(0, "kick", str(listener.pid)).stdout.decode()
        self.assertTrue(out.startswith(f"disconnected client {client['id']}: process {listener.pid}, "), out)
        self.assertEqual(json.loads(listener.out.line())["event"], "resync")  # it has come back
        again = ctl.wait_until("it has come back", lambda: [c for c in self.listed("clients") if c["pid"] == listener.pid])
        self.assertGreater(again[0]["id"], client["id"])
        self.post(self.path("a"))
        while json.loads(listener.out.line())["event"] != "post":
            pass
        self.assertIn(b"no client has", self.expect(66, "kick", "--id", str(client["id"])).stderr)


class Monitor(Daemon):
    daemon = True

    def monitor(self, *words):
        process = self.background("monitor", *words)
        self.assertEqual(process.err.line(), b"monitoring the daemon at " + os.fsencode(self.socket) + b".control")
        return process

    def test_posts_and_who_makes_them(self):
        listener = self.background("listen", "-q", self.path("a"))
        ctl.wait_until("it listens", lambda: self.listed("topics"))
        monitor = self.monitor("--json", "--filter", f"{self.files}/**")
        poster = self.background("post", self.path("a"))
        self.assertEqual(poster.exit(), 0)
        seen = []
        while not seen or seen[-1]["kind"] != "post":
            seen.append(json.loads(monitor.out.line()))
        self.assertIn(("member-joined", poster.pid), [(event["kind"], event.get("pid")) for event in seen])
        self.assertEqual((seen[-1]["pid"], seen[-1]["uid"], os.fsencode(seen[-1]["path"]), seen[-1]["posts"]),
                         (poster.pid, os.geteuid(), self.path("a"), 1))
        self.send("12345", self.path("a"))
        while (event := json.loads(monitor.out.line()))["kind"] != "message":
            pass
        self.assertEqual(event["size"], 5)
        self.assertIsNone(listener.child.poll())

    def test_kinds_and_paths(self):
        monitor = self.monitor("--kind", "post", "--filter", f"{self.files}/*.db", "--count", "2")
        for name in ["a.db", "b", "c.db"]:
            self.background("listen", "-q", self.path(name))
            ctl.wait_until("it listens", lambda: any(topic["path"].endswith("/" + name) for topic in self.listed("topics")))
            self.post(self.path(name))
        self.assertEqual(monitor.exit(), 0)
        self.assertEqual([line.split()[1:3] for line in monitor.out.all()],
                         [[b"post", self.path("a.db")], [b"post", self.path("c.db")]])
        self.one_line(self.expect(2, "monitor", "--kind", "bogus"), "kind")
        self.one_line(self.expect(2, "monitor", "--filter", "relative"), "path")

    def test_the_daemons_end(self):
        monitor = self.monitor("--no-posts")
        self.stop_daemon()
        self.assertEqual(monitor.exit(), 69)
        self.assertIn(b"has ended", monitor.err.all()[-1])

    def test_counts(self):
        self.background("listen", "-q", self.path("a"))
        ctl.wait_until("it listens", lambda: self.listed("topics"))
        stats = json.loads(self.expect(0, "stats", "--json").stdout)
        self.assertEqual((stats["pid"], stats["address"], stats["totals"]["topics"]), (self.pathbusd.pid, self.socket, 1))
        text = self.expect(0, "stats").stdout.decode()
        self.assertRegex(text, rf"(?m)^process +{self.pathbusd.pid}$")
        self.assertRegex(text, r"(?m)^opening +[1-9]\d* +\S+ .s ")
        self.assertRegex(text, r"(?m)^\S+ +1 +\S+ +0  topics$")


class Settings(Daemon):
    def test_config_and_reload(self):
        self.start_daemon("--max-message", "1000")
        keys = {key["key"]: key for key in json.loads(self.expect(0, "config", "--json").stdout)["keys"]}
        self.assertEqual((keys["max-message"]["value"], keys["max-message"]["from"]), ("1000", "command line"))
        path = self.config("[daemon]\nlog-level = debug\n")
        self.assertEqual(self.expect(0, "reload").stdout, b"changed: log-level\n")
        text = self.expect(0, "config", "--changed").stdout.decode()
        self.assertRegex(text, rf"(?m)^daemon +log-level +debug +{path}:3 +reload$")
        self.assertRegex(text, r"(?m)^lanes +max-message +1000 +command line +reload$")
        self.assertNotIn("default", text)
        self.config("[daemon]\nlog-level = debug\nbogus = 1\n")
        self.one_line(self.expect(1, "reload"), f"{path}:4", "bogus")
        self.config("[daemon]\nlog-level = debug\n")
        self.assertEqual(self.expect(0, "reload").stdout, b"nothing has changed\n")

    def test_log_level(self):
        self.start_daemon()
        self.expect(0, "log-level", "debug")
        self.assertEqual(self.expect(0, "log-level").stdout, b"debug\n")
        self.one_line(self.expect(2, "log-level", "loud"), "error, warning, info or debug")

    def test_no_control_socket(self):
        self.start_daemon("--control", "off")
        self.one_line(self.expect(69, "topics"), self.socket + ".control", "a daemon runs", "control = off")

    def test_another_place(self):
        place = os.path.join(self.folder, "elsewhere")
        self.start_daemon("--control", place)
        self.expect(69, "topics")
        self.expect(0, "topics", "--control", place)
        self.env["PATHBUS_CONTROL"] = place
        self.expect(0, "topics")

    @unittest.skipUnless(os.geteuid() == 0, "only root can be two users")
    def test_who_may(self):
        os.chmod(self.folder, 0o755)
        self.start_daemon("--control-group", str(ALICE))
        alone = dict(user=ALICE + 1, group=ALICE + 1, extra_groups=[])
        result = self.call("topics", **alone)
        self.assertEqual(result.returncode, 77, result)
        self.one_line(result, self.socket + ".control", "control-group")
        self.assertEqual(self.call("topics", **(alone | {"extra_groups": [ALICE]})).returncode, 0)
        os.chmod(self.socket + ".control", 0o666)  # the daemon looks for itself
        result = self.call("topics", **alone)
        self.assertEqual(result.returncode, 77, result)
        self.one_line(result, "refuses", f"user {ALICE + 1}")


if __name__ == "__main__":
    ctl.main()
