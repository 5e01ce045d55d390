# SPDX-License-Identifier: MIT
"""What the tests of pathbusctl have in common: a folder, a daemon, and processes that are heard line by line.

A case's folder is removed at its end, and what pathbus left in it makes the case fail. Conditions are waited
for, within LIMIT_S, which is reached only in failure.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LIMIT_S = 30
CTL = os.environ["PATHBUSCTL"]
DAEMON = os.environ["PATHBUSD"]

# A machine that is busy must not make the daemon count as absent.
PATIENT = ["--timeout-ms", str(LIMIT_S * 1000)]
POST_LINE = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z post (\d+) "


def wait_until(what, condition):
    deadline = time.monotonic() + LIMIT_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"this did not happen within {LIMIT_S} s: {what}")
        time.sleep(0.01)


class Stream:
    """The reading end of a pipe, by lines and with a limit."""

    def __init__(self, file):
        self.file = file
        self.rest = b""

    def line(self):
        """The next line without its newline; None at the end of the stream."""
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.file], [], [], LIMIT_S)
            if not ready:
                raise AssertionError(f"no line within {LIMIT_S} s, only {self.rest!r}")
            more = os.read(self.file.fileno(), 65536)
            if not more:
                if self.rest:
                    raise AssertionError(f"the stream ends within a line: {self.rest!r}")
                return None
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def all(self):
        lines = []
        while (line := self.line()) is not None:
            lines.append(line)
        return lines


class Process:
    """A program with its output and its errors as streams."""

    def __init__(self, argv, env, **options):
        options.setdefault("stdout", subprocess.PIPE)
        self.child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                      bufsize=0, **options)
        self.out = Stream(self.child.stdout) if self.child.stdout else None
        self.err = Stream(self.child.stderr)
        self.pid = self.child.pid
        self.stopped = False

    def send(self, number):
        self.stopped = number == signal.SIGSTOP
        self.child.send_signal(number)

    def stop(self):
        """Stands still when this returns."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def close(self):
        """Ends it if it still runs; in good order, so that it leaves nothing."""
        if self.child.poll() is None:
            if self.stopped:  # not otherwise: it would disturb the leak checker, which stops what it looks at
                self.send(signal.SIGCONT)
            self.child.terminate()
            try:
                self.child.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        for file in [self.child.stdout, self.child.stderr]:
            if file:
                file.close()

    def exit(self):
        return self.child.wait(LIMIT_S)


class Case(unittest.TestCase):
    daemon = False  # whether a case begins with one
    transport = "peer"
    options = []  # of each call of pathbusctl

    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="pathbus-cli."))
        self.note_folder()
        self.addCleanup(self.remove_folder)
        self.files = os.path.join(self.folder, "files")
        os.mkdir(self.files)
        self.socket = os.path.join(self.folder, "socket")
        others = {name: value for name, value in os.environ.items() if name not in ("PATHBUS_CONTROL", "NO_COLOR")}
        self.env = {**others, "PATHBUS_ADDRESS": self.socket}
        self.processes = []
        self.pathbusd = None
        self.addCleanup(self.end_processes)
        if self.daemon:
            self.start_daemon()

    def note_folder(self):
        listing = os.environ.get("PATHBUS_TEST_FOLDERS")  # for the test that looks for leftovers
        if listing:
            with open(listing, "a") as out:
                out.write(self.folder + "\n")

    def remove_folder(self):
        hidden = [name for name in os.listdir(self.files) if name.startswith(".")]
        shutil.rmtree(self.folder)
        self.assertEqual(hidden, [], "left behind beside the files")

    def end_processes(self):
        for process in self.processes:
            process.close()
        if self.pathbusd:
            self.stop_daemon()

    def path(self, name="data"):
        return os.path.join(os.fsencode(self.files), os.fsencode(name))

    def start(self, argv, **options):
        process = Process(argv, self.env, **options)
        self.processes.append(process)
        return process

    def start_daemon(self, *options):
        self.pathbusd = subprocess.Popen([DAEMON, "--address", self.socket, *options], env=self.env,
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
        wait_until("the daemon answers", lambda: self.call("ping").returncode == 0)

    def stop_daemon(self, number=signal.SIGTERM):
        daemon, self.pathbusd = self.pathbusd, None
        daemon.send_signal(number)
        self.assertEqual(daemon.wait(LIMIT_S), 0 if number == signal.SIGTERM else -number)

    def call(self, *arguments, **options):
        """Runs pathbusctl to its end."""
        options.setdefault("stdout", subprocess.PIPE)
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([CTL, *PATIENT, *self.options, *arguments], env=self.env,
                              stderr=subprocess.PIPE, timeout=LIMIT_S, **options)

    def expect(self, status, *arguments, **options):
        """The same, with this exit status. What fails says so on stderr, in one line or with a hint."""
        result = self.call(*arguments, **options)
        self.assertEqual(result.returncode, status, result)
        if status == 0:
            self.assertEqual(result.stderr, b"")
        else:
            self.assertRegex(result.stderr, rb"\Apathbusctl: .+\n")
        return result

    def post(self, *files):
        self.assertEqual(self.expect(0, "post", *files).stdout, b"")

    def send(self, text, *arguments):
        """Posts a message of text, or of bytes that no argument can have."""
        if isinstance(text, bytes):
            self.expect(0, "post", "-m", "-", *arguments, input=text)
        else:
            self.expect(0, "post", "-m", text, *arguments)

    def background(self, *arguments):
        return self.start([CTL, *PATIENT, *self.options, *arguments])

    def listen(self, *arguments, **options):
        """Starts to listen; the files come last. Returns when it is ready."""
        process = self.start([CTL, *PATIENT, *self.options, "listen", *arguments], **options)
        files = [a for a in arguments if os.fsencode(a).startswith(os.fsencode(self.files))]
        for _ in files:
            self.assertRegex(process.err.line() or b"(ended)",
                             rb"\Alistening on .+ \(%s\)\Z" % self.transport.encode())
        return process

    def expect_post(self, process, file, count=1):
        """The next line is a post on this file; `file` as it is printed."""
        line = process.out.line()
        self.assertRegex(line or b"(ended)", rb"\A" + POST_LINE)
        _, _, n, name = line.split(b" ", 3)
        self.assertEqual((name, int(n)), (file, count))


def over(module, transports, *cases):
    """Makes one of each case for each of the transports."""
    for case in cases:
        for transport in transports:
            name = f"{case.__name__}_{transport}"
            setattr(module, name, type(name, (case, Case), {
                "daemon": transport != "peer", "transport": transport, "__module__": module.__name__,
                "options": ["--transport", "socket"] if transport == "socket" else []}))


def over_both(module, *cases):
    """Over the bus, and peer to peer."""
    over(module, ["bus", "peer"], *cases)


def main():
    program = unittest.main(module="__main__", exit=False)
    result = program.result
    if result.wasSuccessful() and len(result.skipped) == result.testsRun > 0:
        print("SKIP:", result.skipped[0][1])
        sys.exit(77)
    sys.exit(0 if result.wasSuccessful() else 1)
