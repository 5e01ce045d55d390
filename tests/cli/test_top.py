#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl top: printed, and on a terminal (tmux) of several sizes."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import unicodedata
import unittest

import ctl

TMUX = shutil.which("tmux")


def width(text):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


class Top(ctl.Case):
    daemon = True
    transport = "bus"

    def poster(self, n=10):
        process = self.start([os.environ["PATHBUS_HELPER"], "poster", self.path(), str(n)])
        self.assertEqual(process.out.line(), b"open")
        return process

    def keep_posting(self, poster, until):
        while not until():
            poster.send(signal.SIGUSR1)
            self.assertEqual(poster.out.line(), b"posted")


class Plain(Top):
    def top(self, *words):
        result = self.expect(0, "top", "--interval", "0.1", *words)
        return result.stdout.decode()

    def rows(self, text):
        """Of each time: lists of words."""
        parts = []
        for part in text.split("\n\n"):
            lines = part.splitlines()
            self.assertRegex(lines[0], r"\Apathbusd \S+ \(user\), process \d+, up \S+: \d+ topics, \d+ clients\Z")
            self.assertRegex(lines[1], r"\A\S+ posts/s, \S+ msgs/s, every 0.1 s, by ")
            self.assertEqual(lines[2].split(), ["POSTS/S", "MSGS/S", "MEMBERS", "LISTEN", "POSTS", "MESSAGES", "AGE", "PATH"])
            parts.append([line.split(None, 7) for line in lines[3:]])
        return parts

    def test_once(self):
        self.listen(self.path())
        for words in [["--once"], ["-n", "1"]]:
            (row,), = self.rows(self.top(*words))
            self.assertEqual([*row[:6], row[7]], ["0", "0", "1", "1", "0", "0", os.fsdecode(self.path())])

    def test_several_times(self):
        self.listen(self.path())
        self.assertEqual(len(self.rows(self.top("-n", "3"))), 3)
        lines = [json.loads(line) for line in self.top("-n", "2", "--json").splitlines()]
        self.assertEqual([[topic["path"] for topic in line["topics"]] for line in lines], 2 * [[os.fsdecode(self.path())]])

    def test_rates(self):
        poster = self.poster()
        self.listen(self.path("quiet"))
        top = self.background("top", "--json", "--once", "--interval", "0.3")
        self.keep_posting(poster, lambda: top.child.poll() is not None)
        found = json.loads(top.out.line())
        busy, quiet = found["topics"]
        self.assertEqual((busy["path"], quiet["path"]), (os.fsdecode(self.path()), os.fsdecode(self.path("quiet"))))
        self.assertGreaterEqual(busy["posts_per_second"] * 60, 10)
        self.assertLessEqual(busy["posts_per_second"] * found["seconds"], busy["posts"] + 1)
        self.assertGreaterEqual(found["seconds"], 0.3)
        self.assertEqual((quiet["posts_per_second"], quiet["posts"], found["cut"]), (0, 0, False))
        self.assertEqual((found["pid"], found["posts_per_second"]), (self.pathbusd.pid, busy["posts_per_second"]))

    def test_sort_and_filter(self):
        for name, n in [("a", 1), ("b", 3), ("c", 2)]:
            for _ in range(n):
                self.listen(self.path(name))

        def names(*words):
            (rows,) = self.rows(self.top("--once", *words))
            return "".join(row[7][-1] for row in rows)
        self.assertEqual(names("--sort", "members"), "bca")
        self.assertEqual(names("--sort", "members", "--reverse"), "acb")
        self.assertEqual(names("--sort", "listen"), "bca")
        self.assertEqual(names("--sort", "path", "--reverse"), "cba")
        self.assertEqual(names("--sort", "age", "--filter", "files/"), "abc")
        self.assertEqual(names("--filter", "files/b"), "b")
        self.assertEqual(names("--filter", self.files + "/[ac]"), "ac")
        self.assertEqual(names("--filter", "/elsewhere/**"), "")
        self.assertIn(", 1 of files/b\n", self.top("--once", "--filter", "files/b"))

    def test_names_are_escaped(self):
        name = b"\x1b[31m \xff"
        self.listen(self.path(name))
        text = self.top("--once")
        self.assertRegex(text, r"\A[ -~\n]+\Z")
        self.assertIn(r"\x1b[31m \xff", text)
        topic, = json.loads(self.top("--once", "--json"))["topics"]
        self.assertEqual(bytes.fromhex(topic["path_bytes_hex"]), self.path(name))

    def test_without_a_daemon(self):
        self.stop_daemon()
        for words in [[], ["--once"], ["--json"]]:
            self.assertIn(b"start", self.expect(69, "top", *words).stderr)

    def test_the_daemon_goes_and_comes(self):
        self.listen(self.path())
        top = self.background("top", "--json", "--interval", "0.1")

        def look():
            found = json.loads(top.out.line())
            self.assertGreater(found["seconds"], 0)  # nothing is told without a look to compare with
            return found["pid"]
        first = look()
        self.stop_daemon()
        self.assertRegex(top.err.line(), rb"\Apathbusctl: ")
        n = self.n_waits(top)
        ctl.wait_until("it has tried again", lambda: self.n_waits(top) > n + 5)
        self.start_daemon()
        pid = ctl.wait_until("it is back", lambda: (pid := look()) != first and pid)
        self.assertEqual(pid, self.pathbusd.pid)
        top.send(signal.SIGTERM)
        self.assertEqual((top.exit(), top.err.all()), (0, []))  # it was told once

    def n_waits(self, process):
        with open(f"/proc/{process.pid}/status") as status:
            return int(dict(line.split(":", 1) for line in status)["voluntary_ctxt_switches"])

    def test_it_goes_for_good(self):
        top = self.background("top", "-n", "1000000", "--interval", "0.1")
        top.out.line()
        self.stop_daemon()
        self.assertEqual(top.exit(), 69)

    def test_nobody_reads_it(self):
        top = self.background("top", "--interval", "0.1")
        top.out.line()
        top.child.stdout.close()
        self.assertEqual((top.exit(), top.err.all()), (0, []))
        top.child.stdout = None

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            self.assertIn(b"output", self.expect(1, "top", "--once", "--interval", "0.1", stdout=full).stderr)

    def test_usage(self):
        for words in [["x"], ["--sort", "x"], ["--interval", "0"], ["--interval", "4000"], ["-n", "0"]]:
            self.expect(2, "top", *words)


@unittest.skipUnless(TMUX, "tmux is not there")
class Screen(Top):
    def setUp(self):
        super().setUp()
        self.n_terminals = 0
        self.config = os.path.join(self.folder, "tmux.conf")
        with open(self.config, "w") as config:
            config.write("set -g status off\nset -sg escape-time 0\nset -g default-terminal screen\n")

    def tmux(self, *words):
        command = [TMUX, "-u", "-S", os.path.join(self.folder, f"tmux{self.n_terminals}"), "-f", self.config, *words]
        return subprocess.run(command, env=self.terminal_env, check=True, capture_output=True, text=True).stdout

    def start_top(self, *words, columns=80, rows=24, **env):
        """In a shell that tells how it ended, and what the terminal is like before and after."""
        self.terminal_env = {**self.env, "LC_ALL": "C.UTF-8"}
        self.terminal_env.pop("TMUX", None)
        self.note = os.path.join(self.folder, "note")
        self.n_terminals += 1
        top = shlex.join([ctl.CTL, *ctl.PATIENT, "top", "--interval", "0.1", *words])
        settings = "".join(f"{name}={value} " for name, value in env.items())
        script = f"trap : INT; stty -a > {self.note}.before; {settings}{top}; echo status $?; stty -a > {self.note}.after; touch {self.note}.end; " \
                 "while :; do sleep 1000; done"
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "sh", "-c", script)
        self.addCleanup(self.end_terminal)

    def screen(self, *words):
        return self.tmux("capture-pane", "-p", *words).rstrip("\n").split("\n")

    def await_screen(self, what, condition):
        lines = []

        def look():
            lines[:] = self.screen()
            return condition(lines)
        try:
            ctl.wait_until(what, look)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is:\n" + "\n".join(lines)) from None
        return lines

    def await_rows(self, names):
        """These names in this order."""
        def look(lines):
            rows = [line.split() for line in lines[3:-1] if line.strip()]
            return [row[-1].rsplit("/", 1)[-1] for row in rows] == list(names)
        return self.await_screen(f"the rows are {names}", look)

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def pid(self):
        shell = int(self.tmux("display", "-p", "#{pane_pid}"))
        with open(f"/proc/{shell}/task/{shell}/children") as children:
            return int(children.read().split()[0])

    def expect_end(self, status=0):
        """The terminal is as it was."""
        ctl.wait_until("it has ended", lambda: os.path.exists(self.note + ".end"))
        with open(self.note + ".before") as before, open(self.note + ".after") as after:
            self.assertEqual(before.read(), after.read())
        self.assertEqual(self.tmux("display", "-p", "#{alternate_on} #{cursor_flag} #{keypad_flag}"), "0 1 0\n")
        self.assertEqual(self.screen()[0], f"status {status}")

    def three(self):
        for name, n in [("a", 1), ("b", 3), ("c", 2)]:
            for _ in range(n):
                self.listen(self.path(name))

    def test_80_by_24(self):
        self.three()
        self.start_top()
        lines = self.await_rows("abc")
        self.assertRegex(lines[0], r"\Apathbusd \S+ \(user\), process \d+, up \S+: 3 topics, 6 clients\Z")
        self.assertEqual(lines[2].split(), ["POSTS/S", "MSGS/S", "MEMBERS", "LISTEN", "POSTS", "AGE", "PATH"])
        self.assertRegex(lines[23], r"\Aq quit ")
        self.assertEqual(len(lines), 24)
        self.assertLessEqual(max(map(width, lines)), 80)
        self.assertIn("\x1b[7m", self.screen("-e")[2])
        self.keys("q")
        self.expect_end()

    def test_keys(self):
        self.three()
        self.start_top("--sort", "path")
        self.await_rows("abc")
        for key, names, by in [("u", "bca", "members"), ("r", "acb", "members reversed"), ("n", "cba", "path reversed"),
                               ("r", "abc", "path"), ("l", "bca", "listen"), ("a", "abc", "age"), ("t", "abc", "posts"),
                               ("x", "abc", "messages"), ("m", "abc", "msgs/s"), ("p", "abc", "posts/s")]:
            self.keys(key)
            self.await_screen(f"by {by}", lambda lines: lines[1].endswith(f"by {by}"))
            self.await_rows(names)
        self.keys("?")
        self.await_screen("the help", lambda lines: lines[0] == "Keys" and "q  quit" in "".join(lines))
        self.keys("u")  # any key goes back, and does nothing else
        self.await_screen("the list", lambda lines: lines[1].endswith("by posts/s"))
        self.keys("-")
        self.await_screen("slower", lambda lines: "every 0.2 s" in lines[1])
        self.keys("+")
        self.await_screen("faster", lambda lines: "every 0.1 s" in lines[1])

    def test_filter(self):
        self.three()
        self.listen(self.path("日本"))
        self.start_top("--sort", "path")
        self.await_rows(["a", "b", "c", "日本"])
        self.keys("/")
        self.type("files/bx")
        self.keys("BSpace", "Enter")
        lines = self.await_rows("b")
        self.assertTrue(lines[1].endswith(", 1 of files/b"))
        self.keys("/")
        self.await_screen("what there was", lambda lines: lines[23].endswith(": files/b"))
        self.type("nothing")
        self.keys("Escape")  # as before
        self.await_screen("no question", lambda lines: lines[23].startswith("q quit"))
        self.await_rows("b")
        self.keys("/", *7 * ["BSpace"])
        self.type("日")
        self.keys("Enter")
        self.await_rows(["日本"])
        self.keys("/", "BSpace")
        self.type(self.files + "/[ab]")
        self.keys("Enter")
        self.await_rows("ab")
        self.keys("/", *100 * ["BSpace"], "Enter")
        self.await_rows(["a", "b", "c", "日本"])

    def test_posts(self):
        self.listen(self.path("quiet"))
        poster = self.poster()
        self.start_top()
        self.await_rows(["data", "quiet"])
        self.keep_posting(poster, lambda: self.screen()[3].split()[0] not in ("0", "-"))

    def test_sizes(self):
        self.three()
        self.start_top()
        self.await_rows("abc")
        for columns, rows in [(120, 40), (60, 10), (20, 6), (80, 24)]:
            self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

            def fits(lines):
                titles = "POSTS/S MSGS/S MEMBERS LISTEN POSTS" + " MESSAGES" * (columns >= 100) + " AGE PATH"
                return len(lines) == rows and max(map(width, lines)) <= columns and lines[rows - 1].startswith("q quit") and \
                    titles.startswith(" ".join(lines[2].split())) and (columns < 60 or lines[2].endswith("PATH"))
            self.await_screen(f"{columns} by {rows}", fits)
        self.await_rows("abc")
        for columns, rows in [(3, 2), (1, 1)]:
            self.tmux("resize-window", "-x", str(columns), "-y", str(rows))
        self.tmux("resize-window", "-x", "80", "-y", "24")
        self.await_rows("abc")

    def test_wide_and_long_names(self):
        os.mkdir(self.path("日" * 40))
        self.listen(self.path("日" * 40 + "/" + "é本" * 5 + "-end"))
        self.listen(self.path(b"\x1b[2J\xff"))
        self.start_top("--sort", "path", LC_ALL="C")  # whatever that says: it is UTF-8
        lines = self.await_screen("the row", lambda lines: any(line.endswith("本-end") for line in lines))
        row = next(line for line in lines if line.endswith("本-end"))
        self.assertIn("…", row)
        self.assertIn(width(row), (79, 80))  # a wide character may not fit
        self.assertTrue(any(line.endswith(r"/\x1b[2J\xff") for line in lines))

    def test_more_than_fit(self):
        names = [f"f{i:02}" for i in range(30)]
        self.listen(*map(self.path, names))
        self.start_top("--sort", "path")
        self.await_rows(names[:20])
        for key, first in [("Down", 1), ("Up", 0), ("NPage", 10), ("PPage", 0), ("End", 10), ("Home", 0)]:
            self.keys(key)
            self.await_rows(names[first:first + 20])

    def test_signals(self):
        for number in [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]:
            with self.subTest(number=number):
                self.start_top()
                self.await_screen("it runs", lambda lines: lines[-1].startswith("q quit"))
                if number == signal.SIGINT:
                    self.keys("C-c")
                else:
                    os.kill(self.pid(), number)
                self.expect_end()
                self.end_terminal()

    def end_terminal(self):
        with contextlib.suppress(subprocess.CalledProcessError):  # it has ended
            self.tmux("kill-server")
        for name in ["before", "after", "end"]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.note}.{name}")

    def test_the_daemon_goes_and_comes(self):
        self.three()
        for colours, env in [(True, {}), (False, {"NO_COLOR": "1"})]:
            self.start_top("--sort", "path", **env)
            self.await_rows("abc")
            self.stop_daemon()
            self.await_screen("it is told", lambda lines: "start" in lines[1] or "daemon" in lines[1])
            self.assertEqual("\x1b[31m" in self.screen("-e")[1].replace("[1m\x1b[", "[").replace("1;31", "31"), colours)
            self.start_daemon()
            self.await_rows("abc")
            self.await_screen("it is well", lambda lines: "posts/s" in lines[1])
            self.keys("q")
            self.expect_end()
            self.end_terminal()

    def test_a_daemon_that_stands_still(self):
        self.start_top("--timeout-ms", "3600000")
        self.await_screen("it runs", lambda lines: lines[-1].startswith("q quit"))
        self.pathbusd.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        while time.monotonic() < started + 0.5:  # five intervals: it does look meanwhile, and waits
            self.keys("?")
            self.await_screen("the help", lambda lines: lines[0] == "Keys")
            self.keys("x")
            self.await_screen("the list", lambda lines: lines[0] != "Keys")
        self.keys("q")
        self.expect_end()
        self.pathbusd.send_signal(signal.SIGCONT)

    def test_a_terminal_of_no_known_kind(self):
        self.three()
        self.start_top(TERM="nonsense", rows=60)
        self.await_screen("it prints", lambda lines: sum(line.startswith("pathbusd ") for line in lines) > 1)
        os.kill(self.pid(), signal.SIGTERM)
        ctl.wait_until("it has ended", lambda: os.path.exists(self.note + ".end"))


if __name__ == "__main__":
    ctl.main()
