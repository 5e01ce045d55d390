#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl post --wait: until those who listen have caught up."""

import json
import os
import pwd
import signal
import sys

import ctl

LONG = str(ctl.LIMIT_S)


class Waiting:
    def caught_up(self, n, of, prefix=b""):
        return prefix + b"%d of %d subscribers have caught up" % (n, of)

    def begin(self, *words):
        """A poster that waits: it sleeps when this returns."""
        poster = self.background("post", "-v", "--wait", "--timeout", LONG, *words, self.path())
        self.assertEqual(poster.out.line(), b"posted on %s (%s)" % (self.path(), self.transport.encode()))
        ctl.wait_until("it waits", lambda: self.sleeps(poster))
        return poster

    def sleeps(self, process):
        try:
            with open(f"/proc/{process.pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] in "SZ"
        except OSError:
            return not os.path.isdir("/proc/self")  # then nobody can tell

    def test_all(self):
        listeners = [self.listen(self.path()) for _ in range(3)]
        for words in [[], ["-m", "text"], ["-m", "text", "--key", "k"], ["--state", "7"]]:
            out = self.expect(0, "post", "--wait", "--timeout", LONG, *words, self.path()).stdout
            self.assertEqual(out, self.caught_up(3, 3) + b"\n")
        for listener in listeners:
            self.expect_post(listener, self.path())

    def test_nobody(self):
        self.assertEqual(self.expect(0, "post", "--wait", self.path()).stdout, self.caught_up(0, 0) + b"\n")

    def test_others_that_wait_are_no_subscribers(self):
        listener = self.listen(self.path())
        listener.stop()
        posters = [self.begin() for _ in range(2)]
        listener.send(signal.SIGCONT)
        for poster in posters:
            self.assertEqual((poster.exit(), poster.out.all()), (0, [self.caught_up(1, 1)]))

    def test_who_is_missing(self):
        self.listen(self.path())
        late = self.listen(self.path())
        late.stop()
        result = self.expect(3, "post", "--wait", "--timeout", "0.5", "-m", "x", self.path())
        name = pwd.getpwuid(os.getuid()).pw_name.encode()
        self.assertEqual(result.stdout.splitlines(), [
            self.caught_up(1, 2), b"missing: process %d, user %s, command pathbusctl" % (late.pid, name)])
        self.assertIn(b"within 0.5 s", result.stderr)
        found = json.loads(self.expect(3, "post", "--wait", "--timeout", "0", "--json", self.path()).stdout)
        missing = {entry["pid"]: entry for entry in found.pop("missing")}
        self.assertEqual(missing[late.pid].pop("origin").strip("0123456789abcdef"), "")
        self.assertEqual(missing[late.pid], {"pid": late.pid, "uid": os.getuid(), "user": name.decode(),
                                             "command": "pathbusctl"})
        self.assertEqual(len(missing), 2 - found.pop("caught_up"))  # the other may not have been here yet
        self.assertEqual(found, {"file": os.fsdecode(self.path()), "transport": self.transport, "subscribers": 2,
                                 "untracked": 0})

    def test_json(self):
        self.listen(self.path())
        found = json.loads(self.expect(0, "post", "--wait", "--timeout", LONG, "--json", self.path()).stdout)
        self.assertEqual((found["subscribers"], found["caught_up"], found["missing"]), (1, 1, []))

    def test_the_command_of_exec_belongs_to_it(self):
        os.mkfifo(self.path("gate"))
        listener = self.listen("--exec", f"echo begin; cat {self.files}/gate", self.path())
        poster = self.begin("-m", "x")
        listener.out.line()
        self.assertEqual(listener.out.line(), b"begin")
        self.assertEqual(self.expect(3, "post", "--wait", "--timeout", "0", self.path()).stdout.splitlines()[0],
                         self.caught_up(0, 1))
        self.assertIsNone(poster.child.poll())
        with open(self.path("gate"), "w"):
            pass
        self.assertEqual((poster.exit(), poster.out.all()), (0, [self.caught_up(1, 1)]))
        self.assertEqual(listener.out.line()[-len(self.path()):], self.path())  # the second post
        self.assertEqual(listener.out.line(), b"begin")
        with open(self.path("gate"), "w"):
            pass

    def test_who_dies_leaves_the_count(self):
        self.listen(self.path())
        dying = self.listen(self.path())
        dying.stop()
        poster = self.begin()
        dying.send(signal.SIGKILL)
        self.assertEqual((poster.exit(), poster.out.all()), (0, [self.caught_up(1, 1)]))

    def test_who_comes_later_is_not_waited_for(self):
        first = self.listen(self.path())
        first.stop()
        poster = self.begin()
        self.listen(self.path()).stop()
        first.send(signal.SIGCONT)
        self.assertEqual((poster.exit(), poster.out.all()), (0, [self.caught_up(1, 1)]))

    def test_several_files(self):
        names = [self.path(name) for name in ["one", "two"]]
        self.listen(names[0])
        late = self.listen(*names)
        words = ["post", "--wait", "--timeout"]
        out = self.expect(0, *words, LONG, *names).stdout
        self.assertEqual(out.splitlines(), [self.caught_up(2, 2, names[0] + b": "),
                                            self.caught_up(1, 1, names[1] + b": ")])
        late.stop()
        out = self.expect(3, *words, "0.5", *names).stdout.splitlines()
        self.assertEqual([line for line in out if not line.startswith(b"missing: ")],
                         [self.caught_up(1, 2, names[0] + b": "), self.caught_up(0, 1, names[1] + b": ")])
        out = self.expect(66, *words, "0", self.path("none/x"), names[1], "--json").stdout
        self.assertEqual(json.loads(out)["file"], os.fsdecode(names[1]))  # in one piece

    def test_signal(self):
        listener = self.listen("--json", self.path())
        listener.stop()
        for number in [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]:
            poster = self.begin()
            poster.send(number)
            self.assertEqual(poster.exit(), -number)
            self.assertEqual((poster.out.all(), poster.err.all()), ([], []))
        listener.send(signal.SIGCONT)
        n = 0
        while n < 3:  # and no resync: they have left, and not died
            event = json.loads(listener.out.line())
            self.assertEqual(event["event"], "post")
            n += event["count"]


ctl.over_both(sys.modules[__name__], Waiting)
if __name__ == "__main__":
    ctl.main()
