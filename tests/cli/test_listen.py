#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl listen: its lines, its ends."""

import fcntl
import json
import os
import signal
import struct
import sys
import termios
import time

import ctl


class Lines:
    def test_a_line_per_post_at_once(self):
        listener = self.listen(self.path())
        for _ in range(3):
            self.post(self.path())
            self.expect_post(listener, self.path())
        self.assertIsNone(listener.child.poll())

    def test_posts_merge(self):
        listener = self.listen(self.path())
        listener.stop()
        for _ in range(3):
            self.post(self.path())
        listener.send(signal.SIGCONT)
        self.expect_post(listener, self.path(), count=3)

    def test_several_files(self):
        names = [self.path(name) for name in ["one", "two", "three"]]
        listener = self.listen("--count", "3", *names)
        for name in reversed(names):
            self.post(name)
            self.expect_post(listener, name)
        self.assertEqual(listener.exit(), 0)

    def test_names_are_escaped(self):
        name = self.path(b"\xff \\ \x1b \n \xc3\xa4")
        listener = self.listen("--count", "1", name)
        self.post(name)
        self.expect_post(listener, self.path(b"\\xff \\\\ \\x1b \\x0a \xc3\xa4"))

    def test_long_paths(self):
        # Longer than what a pipe takes as a whole, once it is escaped.
        folder, name = self.path(), b"\x01" * 250
        os.mkdir(folder)
        path = os.path.join(folder, b"./" * 1500 + name)
        listener = self.listen("--count", "1", path)
        self.post(os.path.join(folder, name))
        self.expect_post(listener, path.replace(b"\x01", b"\\x01"))

    def test_json(self):
        name = self.path(b"n\xc3\xa4me")
        listener = self.listen("--json", "--count", "2", name)
        events = []
        for _ in range(2):
            self.post(name)
            events.append(json.loads(listener.out.line()))
        for event in events:
            self.assertEqual(event["file"], os.fsdecode(name))
            self.assertEqual((event["event"], event["count"]), ("post", 1))
            self.assertEqual(event["transport"], self.transport)
            self.assertRegex(event["time"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
            self.assertNotIn("file_bytes_hex", event)
        self.assertGreater(events[1]["generation"], events[0]["generation"])
        self.assertEqual(listener.exit(), 0)

    def test_json_of_bytes(self):
        name = self.path(b"\xfe\xff")
        listener = self.listen("--json", "--count", "1", name)
        self.post(name)
        event = json.loads(listener.out.line())
        self.assertEqual(bytes.fromhex(event["file_bytes_hex"]), name)
        self.assertEqual(event["file"], os.fsdecode(self.path("")) + "\\xfe\\xff")

    def test_quiet(self):
        listener = self.start([ctl.CTL, *ctl.PATIENT, "listen", "-q", "--count", "1", self.path()])
        # Nothing says when it is ready, so posts go on until it is.
        ctl.wait_until("it hears a post", lambda: self.post(self.path()) or listener.child.poll() is not None)
        self.assertEqual(listener.exit(), 0)
        self.assertEqual(listener.err.all(), [])
        self.assertEqual(len(listener.out.all()), 1)

    def test_a_file_that_comes_and_is_replaced(self):
        listener = self.listen(self.path())
        for _ in range(2):
            with open(self.path("new"), "w"):
                pass
            os.rename(self.path("new"), self.path())
            self.post(self.path())
            self.expect_post(listener, self.path())


class Ends:
    def test_count(self):
        listener = self.listen("--count", "2", self.path())
        for _ in range(2):
            self.post(self.path())
            self.expect_post(listener, self.path())
        self.assertEqual(listener.exit(), 0)
        self.assertEqual(listener.err.all(), [])

    def test_timeout(self):
        for option in ["--timeout", "--timeout="]:
            began = time.monotonic()
            words = [option + "0.3"] if option.endswith("=") else [option, "0.3"]
            self.assertEqual(self.listen(*words, self.path()).exit(), 0)
            self.assertGreaterEqual(time.monotonic() - began, 0.3)

    def test_timeout_before_count(self):
        listener = self.listen("--timeout", "3", "--count", "2", self.path())
        self.post(self.path())
        self.assertEqual(listener.exit(), 124)
        self.expect_post(listener, self.path())

    def test_timeout_zero_only_looks(self):
        self.assertEqual(self.listen("--timeout", "0", self.path()).exit(), 0)
        self.assertEqual(self.listen("--timeout", "0", "--count", "1", self.path()).exit(), 124)

    def test_signals(self):
        for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]:
            with self.subTest(signal=number):
                listener = self.listen(self.path())
                listener.send(number)
                self.assertEqual(listener.exit(), 0)
                self.assertEqual(listener.out.all() + listener.err.all(), [])

    def test_signals_that_were_ignored_or_blocked(self):
        # A shell that starts something in the background ignores SIGINT for it; nohup ignores SIGHUP.
        def prepare():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
        listener = self.listen(self.path(), preexec_fn=prepare)
        listener.send(signal.SIGHUP)
        self.post(self.path())
        self.expect_post(listener, self.path())
        listener.send(signal.SIGINT)
        self.assertEqual(listener.exit(), 0)

    def test_closed_pipe_while_idle(self):
        listener = self.listen(self.path())
        listener.child.stdout.close()
        self.assertEqual(listener.exit(), 0)
        self.assertEqual(listener.err.all(), [])

    def test_pipe_closed_from_the_start(self):
        read, write = os.pipe()
        os.close(read)
        listener = self.listen(self.path(), stdout=write)
        os.close(write)
        self.assertEqual(listener.exit(), 0)

    def fill_pipe(self, *options):
        """A listener that has a line to print and no room for it. Returns it and the pipe's reading end."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)  # one page: one write fills it
        listener = self.listen(*options, self.path(), stdout=write)
        os.close(write)
        waiting = lambda: struct.unpack("i", fcntl.ioctl(read, termios.FIONREAD, b"\0" * 4))[0]
        self.post(self.path())
        ctl.wait_until("the first line is in the pipe", lambda: waiting() > 0)
        self.post(self.path())
        return listener, read

    def test_signal_while_the_output_is_full(self):
        listener, _ = self.fill_pipe()
        listener.send(signal.SIGTERM)
        self.assertEqual(listener.exit(), 0)

    def test_timeout_while_the_output_is_full(self):
        listener, _ = self.fill_pipe("--timeout", "3", "--count", "2")
        self.assertEqual(listener.exit(), 124)

    def test_a_slow_reader_gets_everything(self):
        listener, read = self.fill_pipe("--count", "3")
        out = ctl.Stream(os.fdopen(os.dup(read), "rb", buffering=0))
        n = 0
        while n < 2:
            n += int(out.line().split()[2])
        self.assertEqual(n, 2)
        listener.send(signal.SIGTERM)
        self.assertEqual(listener.exit(), 0)
        out.file.close()

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            listener = self.listen(self.path(), stdout=full)
        self.post(self.path())
        self.assertEqual(listener.exit(), 1)
        self.assertRegex(listener.err.line(), rb"\Apathbusctl: cannot write to the output: ")

    def test_one_of_the_files_cannot_be_opened(self):
        error = self.expect(66, "listen", self.path(), self.path("none/x")).stderr
        self.assertEqual(error.count(b"\n"), 1)

    def test_nothing_leaks(self):
        listener = self.listen("--exec", "true", self.path())
        sizes = set()
        for _ in range(10):
            self.post(self.path())
            self.expect_post(listener, self.path())
            folder = f"/proc/{listener.pid}/fd"
            if os.path.isdir(folder):
                sizes.add(len(os.listdir(folder)))
        self.assertLessEqual(len(sizes), 1)
        listener.send(signal.SIGTERM)
        self.assertEqual(listener.exit(), 0)


ctl.over_both(sys.modules[__name__], Lines, Ends)
if __name__ == "__main__":
    ctl.main()
