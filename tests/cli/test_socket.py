#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same over the daemon's socket, without shared memory; and together with others on the bus."""

import json
import os
import pathlib
import signal
import struct
import sys

import ctl
import test_exec
import test_listen
import test_messages
import test_state
import test_wait

sys.dont_write_bytecode = True
sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[2] / "examples/python"))
import pathbus  # noqa: E402


class Mixed(ctl.Case):
    daemon = True

    def test_both_ways_between_bus_and_socket(self):
        self.transport = "socket"
        by_socket = [self.listen("--json", *words, self.path()) for words in [["--socket"], ["--transport", "socket"]]]
        self.transport = "bus"
        by_bus = self.listen("--json", self.path())
        for sender in ["bus", "socket"]:
            poster = self.background("--transport", sender, "post", "-m", "hello", "--key", "k", self.path())
            self.assertEqual(poster.exit(), 0)
            for listener, transport in [(by_socket[0], "socket"), (by_socket[1], "socket"), (by_bus, "bus")]:
                event = json.loads(listener.out.line())
                self.assertEqual([event[name] for name in ["event", "data", "key", "pid", "transport"]],
                                 ["message", "hello", "k", poster.pid, transport])
            self.expect(0, "--transport", sender, "post", self.path())
            for listener in [*by_socket, by_bus]:
                self.assertEqual(json.loads(listener.out.line())["event"], "post")

    def test_waits_for_both(self):
        self.transport = "socket"
        by_socket = self.listen("--socket", self.path())
        self.transport = "bus"
        self.listen(self.path())
        for sender in ["bus", "socket"]:
            words = ["--transport", sender, "post", "--wait", "--timeout"]
            self.assertEqual(self.expect(0, *words, str(ctl.LIMIT_S), self.path()).stdout,
                             b"2 of 2 subscribers have caught up\n")
            by_socket.stop()
            lines = self.expect(3, *words, "0.5", self.path()).stdout.splitlines()
            self.assertEqual(lines[0], b"1 of 2 subscribers have caught up")
            self.assertTrue(lines[1].startswith(b"missing: process %d, " % by_socket.pid), lines)
            by_socket.send(signal.SIGCONT)
            ctl.wait_until("it has caught up", lambda: self.call(*words, "0", self.path()).returncode == 0)

    def test_one_state(self):
        self.transport = "bus"
        self.listen(self.path())
        self.expect(0, "--transport", "socket", "state", "set", self.path(), "7")
        self.assertEqual(self.expect(0, "state", "get", self.path()).stdout, b"7\n")
        self.expect(0, "state", "cas", self.path(), "7", "8")
        self.assertEqual(self.expect(0, "--transport", "socket", "state", "get", self.path()).stdout, b"8\n")
        self.assertIn(b"it is 8, not 7",
                      self.expect(4, "--transport", "socket", "state", "cas", self.path(), "7", "9").stderr)

    def test_it_says_so(self):
        self.assertEqual(self.expect(0, "--transport", "socket", "post", "-v", self.path()).stdout,
                         b"posted on %s (socket)\n" % self.path())
        found = json.loads(self.expect(0, "--transport", "socket", "check", "--json", self.path()).stdout)
        self.assertEqual(found["transport"], "socket")


class Seams(ctl.Case):
    def test_without_a_daemon(self):
        for words in [["post"], ["listen"], ["state", "get"]]:
            self.assertIn(self.socket.encode(), self.expect(69, "--transport", "socket", *words, self.path()).stderr)
        self.expect(69, "listen", "--socket", self.path())

    def test_waits_for_the_daemon(self):
        for number in [signal.SIGTERM, signal.SIGKILL]:
            self.start_daemon()
            self.transport = "socket"
            listener = self.listen("--socket", "--json", self.path())
            self.stop_daemon(number)
            self.start_daemon()
            while (event := json.loads(listener.out.line()))["event"] == "error":
                pass
            self.assertEqual((event["event"], event["transport"]), ("resync", "socket"))
            self.send("again", self.path())
            while (event := json.loads(listener.out.line()))["event"] in ["post", "resync"]:
                pass
            self.assertEqual((event["event"], event["data"]), ("message", "again"))
            self.stop_daemon()

    def test_what_comes_over_two_connections_comes_once(self):
        """A writer publishes again what it does not know to be through; what comes late is told as a RESYNC."""
        self.start_daemon()
        self.transport = "socket"
        listener = self.listen("--socket", "--json", self.path())
        with pathbus.Bus(self.socket, timeout=ctl.LIMIT_S) as bus:
            topic = bus.open(self.path(), subscribe=False, post=True)

            def publish(*numbers):
                for number in numbers:
                    bus._ask(topic, pathbus.PUBLISH, struct.pack("<IQ", 0, number) + b"%d" % number, False,
                             lambda body: None)

            def expect(*expected):
                for text in expected:
                    event = json.loads(listener.out.line())
                    self.assertEqual(event.get("data", event["event"]), text)

            publish(1, 3, 4)
            expect("1", "3", "4")
            for base, told in [(0, ["5", "resync", "6"]), (10, ["14", "15", "resync", "16"])]:
                self.stop_daemon(signal.SIGKILL)
                self.start_daemon()
                while json.loads(listener.out.line())["event"] != "resync":
                    pass
                while bus.next(0.01):  # its own RESYNC
                    pass
                publish(base + 4, base + 5, base + 2, base + 6)
                expect(*told)
        self.stop_daemon()


CASES = [*test_messages.CASES, test_wait.Waiting, test_state.State, test_listen.Lines, test_exec.Exec]
ctl.over(sys.modules[__name__], ["socket"], *CASES)
if __name__ == "__main__":
    ctl.main()
