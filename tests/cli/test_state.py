#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl state get, set and cas."""

import json
import os
import signal
import sys

import ctl

MAX = 2**64 - 1


class State:
    def setUp(self):
        super().setUp()
        self.listener = self.listen("--json", self.path())  # keeps it

    def get(self):
        return int(self.expect(0, "state", "get", self.path()).stdout)

    def get_version(self):
        found = json.loads(self.expect(0, "state", "get", "--json", self.path()).stdout)
        self.assertEqual(found.pop("file"), os.fsdecode(self.path()))
        version = found.pop("version")
        self.assertEqual(list(found), ["value"])
        return found["value"], version

    def set(self, value, *options):
        self.assertEqual(self.expect(0, "state", "set", self.path(), str(value), *options).stdout, b"")

    def next_posts(self):
        event = json.loads(self.listener.out.line())
        self.assertEqual(event["event"], "post")
        return event["count"]

    def test_never_set(self):
        self.assertEqual(self.expect(0, "state", "get", self.path()).stdout, b"0\n")
        self.assertEqual(self.get_version(), ("0", 0))

    def test_set(self):
        for text, value in [("7", 7), ("007", 7), ("0x10", 16), ("0XfF", 255), (str(MAX), MAX),
                            ("0xffffffffffffffff", MAX), ("0", 0)]:
            self.set(text)
            self.assertEqual(self.get(), value)
        self.assertEqual(self.get_version(), ("0", 7))
        self.set(MAX)
        self.assertEqual(self.get_version(), (str(MAX), 8))

    def test_posts_only_when_asked_to(self):
        self.set(1)
        self.expect(0, "state", "cas", self.path(), "1", "2")
        self.expect(0, "post", self.path())
        self.assertEqual(self.next_posts(), 1)
        self.set(3, "--post")
        self.assertEqual(self.next_posts(), 1)
        self.expect(0, "state", "cas", "--post", self.path(), "3", "4")
        self.assertEqual(self.next_posts(), 1)
        self.expect(4, "state", "cas", "--post", self.path(), "3", "5")
        self.expect(0, "post", self.path())
        self.assertEqual(self.next_posts(), 1)
        self.assertEqual(self.get(), 4)

    def test_cas(self):
        self.set(7)
        error = self.expect(4, "state", "cas", self.path(), "5", "6").stderr
        self.assertIn(self.path() + b": it is 7, not 5;", error)
        self.assertEqual(self.get(), 7)
        self.expect(0, "state", "cas", self.path(), "7", "0x8")
        self.assertEqual(self.get_version(), ("8", 2))

    def test_no_update_is_lost(self):
        loop = ('for i in 1 2 3 4 5; do until old=$("$0" "$@" state get "$FILE") && '
                '"$0" "$@" state cas "$FILE" "$old" $((old + 1)) 2>/dev/null; do [ $? = 4 ] || exit 1; done; done')
        self.env["FILE"] = os.fsdecode(self.path())
        workers = [self.start(["/bin/sh", "-c", loop, ctl.CTL, *ctl.PATIENT, *self.options]) for _ in range(4)]
        self.assertEqual([worker.exit() for worker in workers], [0] * 4)
        self.assertEqual(self.get(), 20)

    def test_post_sets_it_first(self):
        out = self.path("seen")
        words = " ".join([ctl.CTL, *ctl.PATIENT, *self.options])
        listener = self.listen("--count", "2", "--exec",
                               f'{words} state get "$PATHBUS_FILE" >>{os.fsdecode(out)}', self.path())
        self.expect(0, "post", "--state", "0x2a", "--wait", "--timeout", str(ctl.LIMIT_S), self.path())
        self.expect(0, "post", "--state", "43", "-m", "text", self.path())
        self.assertEqual(listener.exit(), 0)
        with open(out, "rb") as file:
            self.assertEqual(file.read(), b"42\n43\n")

    def test_forgotten_with_the_last(self):
        self.set(7)
        self.listener.send(signal.SIGTERM)
        self.assertEqual(self.listener.exit(), 0)
        self.assertEqual(self.get_version(), ("0", 0))


class Words(ctl.Case):
    def test_usage(self):
        file = self.path()
        for words in [[], ["get"], ["set", file], ["cas", file, "1"], ["get", file, "1"], ["set", file, "1", "2"],
                      ["cas", file, "1", "2", "3"], ["put", file, "1"], ["get", "--post", file],
                      ["set", "--json", file, "1"]]:
            with self.subTest(words=words):
                self.assertEqual(self.expect(2, "state", *words).stdout, b"")
        for value in ["", " 1", "1 ", "+1", "1x", "0x", "0xg", "x1", "1.0", "18446744073709551616",
                      "0x10000000000000000"]:
            with self.subTest(value=value):
                for words in [["set", file, value], ["cas", file, value, "1"], ["cas", file, "1", value]]:
                    error = self.expect(2, "state", *words).stderr
                    self.assertIn(b"18446744073709551615", error)
                self.expect(2, "post", "--state", value, file)
        for words in [["set", file, "-5"], ["cas", file, "1", "-5"], ["cas", "-5", file, "1"]]:
            error = self.expect(2, "state", *words).stderr  # an option, as far as anyone can tell
            self.assertIn(b"unknown option -5; numbers are from 0 to 18446744073709551615, ", error)
        self.assertIn(b"VALUE", self.expect(2, "state", "set", file, "--", "-1").stderr)
        self.assertIn(b"state set needs FILE VALUE; see: pathbusctl state set --help",
                      self.expect(2, "state", "set", file).stderr)

    def test_help(self):
        text = self.expect(0, "state", "--help").stdout.decode()
        for words in [["help", "state"], ["--help", "state"]]:
            self.assertEqual(self.expect(0, *words).stdout.decode(), text)
        self.assertEqual([line.split()[1] for line in text.splitlines() if line.startswith("  state ")],
                         ["get", "set", "cas"])
        self.assertNotIn("\n  post ", text)
        for words in [["state"], ["state", "bogus"]]:
            self.assertIn(b"pathbusctl state --help", self.expect(2, *words).stderr)

    def test_no_folder(self):
        for words in [["get"], ["set", "1"], ["cas", "1", "2"]]:
            self.expect(66, "state", words[0], self.path("none/x"), *words[1:])

    def get(self):
        return int(self.expect(0, "state", "get", self.path()).stdout)

    def test_moves_with_the_daemon(self):
        self.start_daemon()
        self.transport = "bus"
        listener = self.listen("--json", self.path())
        self.expect(0, "state", "set", self.path(), "11")
        value = 11
        for number in [signal.SIGTERM, signal.SIGKILL]:
            for change in [lambda: self.stop_daemon(number), self.start_daemon]:
                change()
                transport = "bus" if self.pathbusd else "peer"
                while json.loads(listener.out.line())["transport"] != transport:
                    pass
                self.assertEqual(self.get(), value)
                value += 1
                self.expect(0, "state", "cas", self.path(), str(value - 1), str(value))


ctl.over_both(sys.modules[__name__], State)
if __name__ == "__main__":
    ctl.main()
