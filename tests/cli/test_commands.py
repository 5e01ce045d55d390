#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The command line itself, and the commands that end by themselves: post, check, ping, version."""

import json
import os
import socket
import sys
import time

import ctl

EVERY_COMMAND = ["post", "listen", "state get", "state set", "state cas", "region list", "region create",
                 "region read", "region write", "region dump", "endpoint list", "endpoint connect", "who", "check",
                 "topics", "clients", "stats", "monitor", "kick", "reload", "log-level", "config", "ping", "version"]


class CommandLine(ctl.Case):
    def test_usage_errors(self):
        file = self.path()
        for words in [[], ["bogus"], ["--bogus"], ["-x"], ["post"], ["listen"], ["check"],
                      ["check", file, file], ["ping", "more"], ["version", "more"],
                      ["post", "--bogus", file], ["post", "-x", file], ["post", "--json", file],
                      ["post", "--verbose=yes", file], ["post", file, "--address"],
                      ["--transport", "pigeon", "post", file], ["--timeout-ms", "0", "post", file],
                      ["--timeout-ms", "-1", "post", file], ["--timeout-ms", "1x", "post", file],
                      ["listen", "--count", "0", file], ["listen", "--count", " 1", file],
                      ["listen", "--count", "99999999999999999999", file], ["listen", "--count", "", file],
                      ["listen", "--timeout", "-1", file], ["listen", "--timeout", "nan", file],
                      ["listen", "--timeout", "inf", file], ["listen", "--timeout", "1e3", file],
                      ["listen", "--timeout", ".", file], ["listen", "--timeout", "", file],
                      ["post", "-m"], ["post", "-m", "x"], ["post", "-vm"], ["post", "--message"],
                      ["post", "--key", "k", file], ["post", "-m", "x", "--key", "", file],
                      ["post", "-m", "x", "--key", "k" * 256, file],
                      ["post", "--wait=1", file], ["post", "--timeout", "1", file],
                      ["post", "--wait", "--timeout", "x", file], ["post", "--wait", "--json", "-v", file],
                      ["listen", "--raw", "--json", file], ["listen", "--newline", file], ["listen", "-0", file],
                      ["listen", "--ring", "7", file], ["listen", "--ring", "65537", file],
                      ["listen", "--max-message", "127", file], ["listen", "--max-message", "65537", file],
                      ["listen", "--ring", "16384", "--max-message", "65537", file],
                      ["listen", "--ring", "16385", "--max-message", "65536", file], ["listen", "--last", "-1", file],
                      ["--transport", "peer", "listen", "--socket", file],
                      ["--address", "", "--transport", "bus", "post", file],
                      ["--address", "/" + "x" * 200, "--transport", "bus", "post", file]]:
            with self.subTest(words=words):
                self.assertEqual(self.expect(2, *words).stdout, b"")

    def test_errors_name_what_is_wrong(self):
        self.assertIn(b'"bo\\x1b[gus"', self.expect(2, "bo\x1b[gus").stderr)
        self.assertIn(b"--bogus", self.expect(2, "post", "--bogus=3", self.path()).stderr)
        self.assertIn(b"pathbusctl post --help", self.expect(2, "post").stderr)

    def test_errors_do_not_reach_the_terminal_raw(self):
        for word in ["--\x1b]0;title\x07", "--\u009b31m", "--\u202eback=\x1b", "--a\x7f=b", "-\x1b", "-\u009b"]:
            for words in [[word], ["post", word, self.path()]]:
                with self.subTest(words=words):
                    error = self.expect(2, *words).stderr
                    self.assertRegex(error, rb"\A[ -~\n]+\Z")
        self.assertIn(rb"unknown option --\x1b]0;title\x07" + b"\n", self.expect(2, "--\x1b]0;title\x07=3").stderr)
        self.assertIn("unknown option --n\u00e4me\n".encode(), self.expect(2, "--n\u00e4me").stderr)

    def test_a_daemon_that_allows_only_small_messages(self):
        self.start_daemon("--max-message", "1000")
        error = self.expect(1, "listen", "--max-message", "1001", self.path()).stderr
        self.assertIn(b"cannot listen on " + self.path() + b": the daemon allows no messages as large as that", error)
        self.transport = "bus"
        self.listen("--max-message", "1000", self.path())
        self.expect(0, "post", "-m", "x" * 1000, self.path())
        self.assertIn(b"1000", self.expect(1, "post", "-m", "x" * 1001, self.path()).stderr)

    def test_help(self):
        text = self.expect(0, "--help").stdout.decode()
        self.assertEqual(self.expect(0, "-h").stdout.decode(), text)
        self.assertEqual(self.expect(0, "help").stdout.decode(), text)
        for command in EVERY_COMMAND:
            self.assertIn(f"\n  {command} ", text)
            words = command.split()
            own = self.expect(0, *words, "--help").stdout.decode()
            self.assertIn(f"Usage: pathbusctl {command} ", own)
            self.assertEqual(self.expect(0, "--help", *words).stdout.decode(), own)
            self.assertEqual(self.expect(0, "help", *words).stdout.decode(), own)
            for line in (text + own).splitlines():
                self.assertLessEqual(len(line), 110)

    def test_version(self):
        text = self.expect(0, "version").stdout
        self.assertRegex(text, rb"\Apathbusctl (\d+\.\d+\.\d+) \(libpathbus \1\)\n\Z")
        self.assertEqual(self.expect(0, "--version").stdout, text)
        self.assertEqual(self.expect(0, "post", "--version").stdout, text)

    def test_options_stand_anywhere(self):
        file = self.path()
        for words in [["--transport", "peer", "post", "-v", file], ["--transport=peer", "post", file, "-v"],
                      ["post", "--transport=peer", "--verbose", "--", file],
                      ["post", file, "-v", "--transport", "peer"]]:
            with self.subTest(words=words):
                self.assertEqual(self.expect(0, *words).stdout, b"posted on %s (peer)\n" % file)

    def test_letters_with_values(self):
        listener = self.listen("--raw", "--newline", self.path())
        for words in [["-m", "x"], ["-mx"], ["--message", "x"], ["--message=x"], ["-vm", "x"], ["-vmx"], ["-mx", "-v"]]:
            with self.subTest(words=words):
                out = self.expect(0, "post", *words, self.path()).stdout
                self.assertEqual(out, b"posted on %s (peer)\n" % self.path() if "v" in "".join(words) else b"")
                self.assertEqual(listener.out.line(), b"x")
        for words in [["-m", "--key"], ["-m--key"], ["--message=--key"]]:
            self.expect(0, "post", *words, self.path())
            self.assertEqual(listener.out.line(), b"--key")

    def test_names_with_dashes(self):
        self.assertEqual(self.expect(0, "post", "-v", "--", "--name", cwd=self.files).stdout,
                         b"posted on --name (peer)\n")
        self.assertEqual(self.expect(0, "post", "-v", "-", cwd=self.files).stdout, b"posted on - (peer)\n")

    def test_output_that_cannot_be_written(self):
        for words in [["--help"], ["version"], ["check", self.path()], ["post", "-v", self.path()]]:
            with self.subTest(words=words), open("/dev/full", "wb") as full:
                self.assertIn(b"output", self.expect(1, *words, stdout=full).stderr)

    def test_standard_descriptors_closed(self):
        close = lambda: [os.close(fd) for fd in (0, 1, 2)]
        self.assertEqual(self.call("post", self.path(), preexec_fn=close).returncode, 0)
        self.assertEqual(self.call("check", self.path(), preexec_fn=close).returncode, 1)


class Files:
    def test_post_says_nothing(self):
        self.post(self.path())

    def test_post_says_how(self):
        out = self.expect(0, "post", "-v", self.path("a b"), self.path(b"\xff\\\n")).stdout
        self.assertEqual(out, b"posted on %s (%s)\nposted on %s\\xff\\\\\\x0a (%s)\n" % (
            self.path("a b"), self.transport.encode(), self.path(""), self.transport.encode()))

    def test_no_folder(self):
        for words in [["post"], ["listen"], ["check"]]:
            result = self.expect(66, *words, self.path("none/data"))
            self.assertIn(b"none/data: no such folder", result.stderr)
        with open(self.path("plain"), "w"):
            pass
        self.assertIn(b"not a folder", self.expect(66, "post", self.path("plain/data")).stderr)
        self.expect(1, "post", "")

    def test_post_on_the_others(self):
        listener = self.listen("--count", "2", self.path("one"), self.path("two"))
        result = self.expect(66, "post", self.path("one"), self.path("none/x"), self.path("two"))
        self.assertEqual(result.stderr.count(b"\n"), 1)
        self.expect_post(listener, self.path("one"))
        self.expect_post(listener, self.path("two"))
        self.assertEqual(listener.exit(), 0)

    def test_check(self):
        text = self.expect(0, "check", self.path()).stdout.decode()
        fields = dict(line.split(maxsplit=1) for line in text.splitlines())
        self.assertEqual(fields["file"], os.fsdecode(self.path()))
        self.assertEqual(fields["transport"], self.transport)
        self.assertEqual(fields["rights"], "listen and post")
        self.assertRegex(fields["since"], r"\A[-0-9]{10}T[:0-9]{8}\.\d{3}Z\Z")
        self.assertTrue(fields["why"])
        if self.daemon:
            self.assertRegex(fields["daemon"], rf"\Aanswers in [.0-9]+ us at {self.socket}\Z")
        else:
            self.assertEqual(fields["daemon"], "does not answer")

    def test_check_json(self):
        found = json.loads(self.expect(0, "check", "--json", self.path(b"n\xc3\xa4me \\\n")).stdout)
        self.assertEqual(found["file"], os.fsdecode(self.path(b"n\xc3\xa4me \\\n")))
        self.assertNotIn("file_bytes_hex", found)
        self.assertEqual(found["transport"], self.transport)
        self.assertEqual((found["may_listen"], found["may_post"]), (True, True))
        self.assertEqual(found["in_runtime_folder"], False)
        self.assertTrue(found["why"])
        self.assertEqual(found["daemon"]["answers"], self.daemon)
        if self.daemon:
            self.assertEqual(found["daemon"]["address"], self.socket)
            self.assertGreater(found["daemon"]["round_trip_ns"], 0)

    def test_check_json_of_bytes(self):
        found = json.loads(self.expect(0, "check", "--json", self.path(b"\xff\\")).stdout)
        self.assertEqual(found["file"], os.fsdecode(self.path("")) + "\\xff\\\\")
        self.assertEqual(bytes.fromhex(found["file_bytes_hex"]), self.path(b"\xff\\"))

    def test_check_never_asks_with_peer(self):
        found = json.loads(self.expect(0, "--transport", "peer", "check", "--json", self.path()).stdout)
        self.assertEqual(found["transport"], "peer")
        self.assertEqual(found["daemon"], {"asked": False, "answers": False})

    def test_folder_and_link_are_files_too(self):
        os.symlink("data", self.path("link"))
        listener = self.listen("--count", "1", self.path())
        self.post(self.path("link"))
        self.expect_post(listener, self.path())
        listener = self.listen("--count", "1", self.path("."))
        self.expect(0, "post", ".", cwd=self.files)
        self.expect_post(listener, self.path("."))


class Ping(ctl.Case):
    def test_answer(self):
        self.start_daemon()
        out = self.expect(0, "ping").stdout.decode()
        self.assertRegex(out, rf"\Athe daemon at {self.socket} answered in [0-9.]+ us\n\Z")
        del self.env["PATHBUS_ADDRESS"]
        self.assertEqual(self.expect(0, "--address", self.socket, "ping").stdout.count(b"\n"), 1)

    def test_nobody(self):
        for _ in ["no such socket", "a stale socket"]:
            error = self.expect(69, "ping").stderr
            self.assertIn(self.socket.encode() + b" ($PATHBUS_ADDRESS)", error)
            self.assertIn(b"start one with: pathbusd", error)
            if not os.path.exists(self.socket):
                with socket.socket(socket.AF_UNIX) as stale:
                    stale.bind(self.socket)
        other = os.path.join(self.folder, "other")
        self.assertIn(other.encode() + b";", self.expect(69, "--address", other, "ping").stderr)

    def test_a_server_that_says_nothing(self):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self.socket)
            server.listen()
            began = time.monotonic()
            self.expect(69, "--timeout-ms", "50", "ping")
            self.assertGreater(time.monotonic() - began, 0.05)
            self.assertEqual(self.expect(0, "--timeout-ms", "50", "post", "-v", self.path()).stdout,
                             b"posted on %s (peer)\n" % self.path())

    def test_peer_is_a_contradiction(self):
        self.expect(2, "--transport", "peer", "ping")

    def test_bus_only(self):
        for command in ["post", "listen", "check"]:
            error = self.expect(69, "--transport", "bus", command, self.path()).stderr
            self.assertIn(self.socket.encode(), error)


ctl.over_both(sys.modules[__name__], Files)
if __name__ == "__main__":
    ctl.main()
