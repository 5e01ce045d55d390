#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Messages: post -m, and what listen shows of them."""

import base64
import json
import os
import re
import signal
import sys

import ctl

EVERY_BYTE = bytes(range(256))
LARGEST = 65536
MESSAGE = re.compile(rb"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z message (\d+) (\S+) pid=(\d+) uid=(\d+)"
                     rb"(?: key=(\"(?:[^\\\"]|\\.)*\"))? (\"(?:[^\\\"]|\\.)*\")\Z")


class Common:
    def take(self, listener):
        """The next event of listen --json."""
        return json.loads(listener.out.line())

    def take_data(self, listener, n):
        events = [self.take(listener) for _ in range(n)]
        self.assertEqual({event["event"] for event in events}, {"message"})
        return [event["data"] for event in events]


class Text(Common):
    def take_line(self, listener):
        line = listener.out.line()
        match = MESSAGE.match(line)
        self.assertTrue(match, line)
        self.assertEqual((match[1], match[2], int(match[4])), (b"1", self.path(), os.getuid()))
        return match

    def test_a_line_per_message(self):
        listener = self.listen("--count", "2", self.path())
        poster = self.background("post", "-m", "hello", "--key", "greeting", self.path())
        match = self.take_line(listener)
        self.assertEqual((int(match[3]), match[5], match[6]), (poster.pid, b'"greeting"', b'"hello"'))
        self.send("without", self.path())
        match = self.take_line(listener)
        self.assertEqual((match[5], match[6]), (None, b'"without"'))
        self.assertEqual(listener.exit(), 0)

    def test_bytes_are_escaped(self):
        listener = self.listen(self.path())
        for data, shown in [(b'a "b" \\c', rb'"a \"b\" \\c"'), (b"\0\n\x1b[31m\xff", rb'"\x00\x0a\x1b[31m\xff"'),
                            (b'"', rb'"\""'), (b"", b'""'), ("n\u00e4me".encode(), '"n\u00e4me"'.encode())]:
            self.send(data, self.path())
            self.assertEqual(self.take_line(listener)[6], shown)
        self.send("x", "--key", 'a" \n', self.path())
        self.assertEqual(self.take_line(listener)[5], rb'"a\" \x0a"')

    def test_json_is_fit_for_a_terminal(self):
        name = self.path("\u009b\x7f\u202e\u00e4\\".encode())
        listener = self.listen("--json", name)
        text = "\\ \" \x1b\x7f\u0080\u009b31m\u009f\u200f\u202e\u2066 \u00a0\u00e4\u20ac\U0001f600"
        self.send(text, "--key", "\x7f\u202e", name)
        line = listener.out.line().decode()
        event = json.loads(line)
        self.assertEqual((event["data"], event["key"], event["file"]), (text, "\x7f\u202e", os.fsdecode(name)))
        self.assertEqual([c for c in line if c < " " or "\x7f" <= c < "\xa0" or c in "\u200f\u202e\u2066"], [])
        self.assertIn("\u00a0\u00e4\u20ac\U0001f600", line)  # people read it, too

    def test_messages_do_not_merge_as_posts_do(self):
        listener = self.listen("--json", self.path())
        listener.stop()
        for text in "abc":
            self.send(text, self.path())
            self.post(self.path())
        listener.send(signal.SIGCONT)
        events = []
        while sum(event["count"] for event in events) < 6:
            events.append(self.take(listener))
        self.assertEqual([e["data"] for e in events if e["event"] == "message"], ["a", "b", "c"])
        self.assertEqual(sum(e["count"] for e in events if e["event"] == "post"), 3)

    def test_several_files(self):
        names = [self.path(name) for name in ["one", "two"]]
        listener = self.listen("--json", *names)
        self.send("x", *names)
        found = {(event["file"], event["data"]) for event in [self.take(listener), self.take(listener)]}
        self.assertEqual(found, {(os.fsdecode(name), "x") for name in names})


class Json(Common):
    def test_members(self):
        listener = self.listen("--json", self.path())
        poster = self.background("post", "-m", "n\u00e4me", "--key", "k", self.path())
        event = self.take(listener)
        expected = {"file": os.fsdecode(self.path()), "event": "message", "count": 1, "transport": self.transport,
                    "pid": poster.pid, "uid": os.getuid(), "key": "k", "data": "n\u00e4me"}
        self.assertEqual({key: event[key] for key in expected}, expected)
        self.assertRegex(event["origin"], r"\A[0-9a-f]{16}\Z")
        self.assertRegex(event["time"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")

    def test_bytes(self):
        listener = self.listen("--json", self.path())
        for n in [0, 1, 2, 3, 255, 256]:
            data = EVERY_BYTE[::-1][:n]
            self.send(data, self.path())
            event = self.take(listener)
            if n == 0:
                self.assertEqual(event["data"], "")
                continue
            self.assertNotIn("data", event)
            self.assertEqual(base64.b64decode(event["data_base64"], validate=True), data)
        self.send(b"a\0b", self.path())  # zero is a character
        self.assertEqual(self.take(listener)["data"], "a\0b")
        self.send("x", "--key", b"\xff", self.path())
        event = self.take(listener)
        self.assertEqual((base64.b64decode(event["key_base64"]), "key" in event), (b"\xff", False))


class Raw(Common):
    def test_the_bytes_and_nothing_else(self):
        for options, end in [([], b""), (["--newline"], b"\n"), (["--null"], b"\0"), (["-0"], b"\0")]:
            with self.subTest(options=options):
                listener = self.listen("--raw", *options, "--count", "4", self.path())
                self.post(self.path())  # has no bytes, and does not count
                for data in [EVERY_BYTE, b"", b"text", b"\n"]:
                    self.send(data, self.path())
                self.assertEqual(listener.exit(), 0)
                self.assertEqual(listener.child.stdout.read(),
                                 EVERY_BYTE + end + end + b"text" + end + b"\n" + end)
                self.assertEqual(listener.err.all(), [])

    def test_what_is_missing_is_told(self):
        listener = self.listen("--raw", "--newline", "--ring", "8", self.path())
        listener.stop()
        for i in range(20):
            self.send(str(i), self.path())
        listener.send(signal.SIGCONT)
        line = listener.err.line()
        match = re.match(rb"\Apathbusctl: missed (\d+) messages on (.+); ", line)
        self.assertTrue(match, line)
        self.assertEqual(match[2], self.path())
        for i in range(int(match[1]), 20):
            self.assertEqual(int(listener.out.line()), i)


class Sizes(Common):
    def test_the_largest(self):
        listener = self.listen("--raw", "--max-message", str(LARGEST), "--count", "2", self.path())
        data = EVERY_BYTE * (LARGEST // 256)
        self.send(data, self.path())
        ctl.wait_until("there is output", lambda: ctl.select.select([listener.out.file], [], [], 0)[0])
        self.send(data[:-1], self.path())
        rest = b""
        while more := os.read(listener.child.stdout.fileno(), LARGEST):
            rest += more
        self.assertEqual(rest, data + data[:-1])

    def test_larger_than_any_topic_takes(self):
        for words, options in [(["-m", "-"], {"input": bytes(LARGEST + 1)}), (["-m", "x" * (LARGEST + 1)], {})]:
            error = self.expect(1, "post", *words, self.path(), **options).stderr
            self.assertIn(b"65536", error)

    def test_larger_than_the_topic_takes(self):
        listener = self.listen("--json", "--max-message", "1000", self.path())
        error = self.expect(1, "post", "-m", "x" * 1001, self.path()).stderr
        self.assertIn(b"1001 bytes", error)
        self.assertIn(b"takes 1000", error)
        self.assertIn(b"--max-message 1001", error)
        self.send("x" * 1000, self.path())
        self.assertEqual(self.take_data(listener, 1), ["x" * 1000])

    def test_who_comes_later_finds_it_as_it_is(self):
        self.listen("--ring", "8", "--max-message", "200", self.path())
        listener = self.listen("--ring", "16", self.path())
        self.assertIn(b"keeps 8 messages of up to 200 bytes", listener.err.line())
        self.listen("--ring", "8", self.path())
        listener.send(signal.SIGTERM)
        self.assertEqual(listener.exit(), 0)
        self.assertEqual(listener.err.all(), [])


class Behind(Common):
    def test_gap(self):
        listener = self.listen("--json", "--ring", "8", self.path())
        plain = self.listen(self.path())
        for process in [listener, plain]:
            process.stop()
        for i in range(20):
            self.send(str(i), self.path())
        for process in [listener, plain]:
            process.send(signal.SIGCONT)
        gap = self.take(listener)
        self.assertEqual(gap["event"], "gap")
        self.assertGreaterEqual(gap["count"], 12)
        self.assertEqual(self.take_data(listener, 20 - gap["count"]), [str(i) for i in range(gap["count"], 20)])
        self.assertRegex(plain.out.line(), rb" gap (\d+) %s missed \1 messages\Z" % re.escape(self.path()))

    def test_last(self):
        self.listen(self.path())  # keeps the topic
        for text in "abcde":
            self.send(text, self.path())
        for n, texts in [("2", "de"), ("4", "cdef"), ("100", "abcdefg")]:
            listener = self.listen("--json", "--last", n, self.path())
            self.assertEqual(self.take_data(listener, len(texts)), list(texts))
            more = chr(ord(texts[-1]) + 1)
            self.send(more, self.path())
            self.assertEqual(self.take_data(listener, 1), [more])
            listener.send(signal.SIGTERM)
            self.assertEqual((listener.exit(), listener.out.all()), (0, []))

    def test_newest(self):
        for last in ["keyed", "not keyed"]:
            with self.subTest(last=last):
                self.newest([] if last == "keyed" else ["last"])

    def newest(self, not_keyed):
        listeners = [self.listen("--json", *options, self.path()) for options in [["--newest"], []]]
        for listener in listeners:
            listener.stop()
        for i in range(9):
            self.send(str(i), "--key", "abc"[i % 3], self.path())
        for text in not_keyed:
            self.send(text, self.path())
        for listener in listeners:
            listener.send(signal.SIGCONT)
        events = [self.take(listeners[0]) for _ in range(3 + len(not_keyed))]
        self.assertEqual([(e.get("key"), e["data"], e["count"]) for e in events],
                         [("a", "6", 3), ("b", "7", 3), ("c", "8", 3), *[(None, text, 1) for text in not_keyed]])
        self.assertEqual(self.take_data(listeners[1], 9 + len(not_keyed)), [*map(str, range(9)), *not_keyed])


class StandardInput(ctl.Case):
    def test_that_cannot_be_read(self):
        closed = self.call("post", "-m", "-", self.path(), preexec_fn=lambda: os.close(0))
        folder = os.open(self.folder, os.O_RDONLY)
        wrong = self.call("post", "-m", "-", self.path(), stdin=folder)
        os.close(folder)
        for result in [closed, wrong]:
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, rb"\Apathbusctl: cannot read the message from the standard input: .+\n\Z")

    def test_is_read_before_anything_is_posted(self):
        read, write = os.pipe()
        listener = self.listen("--json", self.path())
        poster = ctl.subprocess.Popen([ctl.CTL, "post", "-m", "-", self.path()], stdin=read, env=self.env)
        os.close(read)
        os.write(write, b"a")
        self.post(self.path())
        self.assertEqual(json.loads(listener.out.line())["event"], "post")
        os.write(write, b"b")
        os.close(write)
        self.assertEqual(poster.wait(ctl.LIMIT_S), 0)
        self.assertEqual(json.loads(listener.out.line())["data"], "ab")


CASES = [Text, Json, Raw, Sizes, Behind]
ctl.over_both(sys.modules[__name__], *CASES)
if __name__ == "__main__":
    ctl.main()
