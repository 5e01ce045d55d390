#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Listening while the daemon goes and comes."""

import json
import os
import pathlib
import signal
import struct
import sys

import ctl

sys.dont_write_bytecode = True
sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[2] / "examples/python"))
import pathbus  # noqa: E402


class Seams(ctl.Case):
    def take(self, listener):
        """The next event. A change of transport may be told by resyncs and by posts (the link's), and by any
        number of them."""
        event = json.loads(listener.out.line())
        self.assertIn(event["event"], ["post", "resync"])
        return event

    def until_transport(self, listener, transport):
        while self.take(listener)["transport"] != transport:
            pass

    def posts_are_heard(self, listener, transport):
        """More of them than there may be events left over from before."""
        for _ in range(5):
            self.assertEqual(self.expect(0, "post", "-v", self.path()).stdout,
                             b"posted on %s (%s)\n" % (self.path(), transport.encode()))
            while (event := self.take(listener))["event"] != "post":
                pass
            self.assertEqual(event["transport"], transport)

    def there_and_back(self, number):
        self.start_daemon()
        self.transport = "bus"
        listener = self.listen("--json", self.path())
        self.posts_are_heard(listener, "bus")
        self.stop_daemon(number)
        self.until_transport(listener, "peer")
        self.posts_are_heard(listener, "peer")
        self.start_daemon()
        self.until_transport(listener, "bus")
        self.posts_are_heard(listener, "bus")
        listener.send(signal.SIGTERM)
        self.assertEqual(listener.exit(), 0)
        self.assertEqual(listener.err.all(), [])

    def test_daemon_stops(self):
        self.there_and_back(signal.SIGTERM)

    def test_daemon_is_killed(self):
        self.there_and_back(signal.SIGKILL)

    def test_raw_tells_what_may_be_missing(self):
        self.start_daemon()
        self.transport = "bus"
        listener = self.listen("--raw", "--newline", self.path())
        self.send("on the bus", self.path())
        self.assertEqual(listener.out.line(), b"on the bus")
        self.stop_daemon()
        self.assertEqual(listener.err.line(), b"pathbusctl: something may have been missed on " + self.path())
        self.send("peer to peer", self.path())
        self.assertEqual(listener.out.line(), b"peer to peer")

    def messages_after_a_restart(self, publish):
        """None is lost: neither is one of them taken for one from before, by whoever lived through it."""
        n = 100  # more than those that may come in another order
        self.start_daemon()
        self.transport = "bus"
        listener = self.listen("--json", self.path())
        with pathbus.Bus(self.socket, timeout=ctl.LIMIT_S) as client:
            topic = client.open(self.path())
            origin = topic.origin
            for i in range(n):
                publish(client, topic, b"before %d" % i)
            for i in range(n):
                self.assertEqual(json.loads(listener.out.line())["data"], "before %d" % i)
            self.stop_daemon(signal.SIGKILL)
            self.until_transport(listener, "peer")
            self.start_daemon()
            self.until_transport(listener, "bus")
            while client.next(ctl.LIMIT_S).kind != "resync":
                pass
            self.assertEqual(topic.origin, origin)
            for i in range(n):
                publish(client, topic, b"after %d" % i)
            for i in range(n):
                while (event := json.loads(listener.out.line()))["event"] in ("post", "resync"):
                    pass  # of the moves; a message in whose place one came would be missing below
                self.assertEqual((event["event"], event["data"]), ("message", "after %d" % i))

    def test_messages_of_a_client_that_counts(self):
        self.messages_after_a_restart(lambda client, topic, data: topic.publish(data))

    def test_messages_of_a_client_that_leaves_it_to_the_daemon(self):
        def publish(client, topic, data):
            client._ask(topic, pathbus.PUBLISH, struct.pack("<IQ", 0, 0) + data, False, lambda body: None)

        self.messages_after_a_restart(publish)

    def test_bus_only_waits_for_the_daemon(self):
        self.start_daemon()
        self.transport = "bus"
        listener = self.listen("--transport=bus", "--json", self.path())
        self.stop_daemon()
        self.expect(69, "--transport", "bus", "post", self.path())
        self.start_daemon()
        while (event := json.loads(listener.out.line()))["event"] == "error":
            pass
        self.assertEqual((event["event"], event["transport"]), ("resync", "bus"))
        self.posts_are_heard(listener, "bus")


if __name__ == "__main__":
    ctl.main()
