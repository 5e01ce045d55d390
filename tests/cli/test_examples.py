#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The examples do what they say, since people copy them."""

import os
import re
import signal
import subprocess
import sys

import ctl


class Examples:
    def example(self, name, *arguments):
        return self.start([os.path.join(os.environ["PATHBUS_EXAMPLES"], name), *arguments])

    def end(self, process):
        """These do not mind signals, so they die; the next that comes cleans up after them."""
        process.send(signal.SIGTERM)
        self.assertEqual(process.exit(), -signal.SIGTERM)
        self.post(self.path())

    def test_listen_and_post(self):
        listener = self.example("listen", self.path())
        # Its first line is held back by stdio until an event comes.
        said = lambda: bool(ctl.select.select([listener.out.file], [], [], 0)[0])
        ctl.wait_until("it hears a post", lambda: self.post(self.path()) or said())
        self.assertRegex(listener.out.line(), rb"\Alistening")
        self.assertEqual(listener.out.line(), b"changed")
        poster = self.example("post", self.path())
        self.assertEqual((poster.exit(), poster.out.all(), poster.err.all()), (0, [], []))
        self.assertEqual(listener.out.line(), b"changed")
        self.end(listener)

    def test_wait(self):
        waiter = self.example("wait", self.path())
        self.assertEqual(waiter.out.line(), b"0 bytes")
        with open(self.path(), "w") as file:
            file.write("12345")
        self.post(self.path())
        self.assertEqual(waiter.out.line(), b"5 bytes")
        self.end(waiter)

    def test_errors(self):
        for name in ["listen", "post", "wait", "chat", "frames-viewer"]:
            for words in [[], [self.path("none/x")]]:
                process = self.example(name, *words)
                self.assertEqual(process.exit(), 1)
                self.assertRegex(process.err.line(), rb"\A%s FILE( \[FRAMES\])?: " % name.split("-")[-1].encode())
        self.assertEqual(self.example("frames-server", self.path("none/x")).exit(), 1)
        for words in [[], ["-n", "0", self.path()], ["-d", "200e6", self.path()], ["-x", self.path()]]:
            self.assertEqual(self.example("frames-server", *words).exit(), 2)


    def test_frames(self):
        server = self.example("frames-server", "-n", "3", "-s", "100000", "-d", "20000", "-r", "200", self.path())
        self.assertRegex(server.out.line(), rb"\A3 regions of 0\.1 MB, two frames each, 200 times a second")
        viewers = [self.example("frames-viewer", self.path(), "300") for _ in range(2)]
        for viewer in viewers:
            self.assertEqual(viewer.out.line(), b"viewing 3 regions")
            said = viewer.out.all()
            self.assertRegex(said[0], rb"from drawn to woken: p50 \d+ us, p99 \d+ us\Z")
            match = re.fullmatch(rb"in all (\d+) frames, 0 torn, \d+ read again, \d+ missed", said[-1])
            self.assertTrue(match, said[-1])
            self.assertGreaterEqual(int(match[1]), 300)
            self.assertEqual(viewer.exit(), 0)
        self.assertRegex(server.out.line(), rb" frames/s in each of 3 regions, \d+ MB/s drawn, \d+ skipped\Z")
        server.send(signal.SIGTERM)
        self.assertEqual(server.exit(), 0)

    def test_frames_as_fast_as_it_goes(self):
        """Viewers and server get in each other's way all the time, and still no frame is torn."""
        server = self.example("frames-server", "-n", "1", "-s", "1e6", "-d", "1e6", "-r", "1e6", self.path())
        viewers = [self.example("frames-viewer", self.path(), "500") for _ in range(2)]
        for viewer in viewers:
            self.assertRegex(viewer.out.all()[-1], rb"\Ain all \d+ frames, 0 torn, ")
            self.assertEqual(viewer.exit(), 0)
        server.send(signal.SIGTERM)
        self.assertEqual(server.exit(), 0)

    def test_frames_viewer_first_and_server_again(self):
        viewer = self.example("frames-viewer", self.path())
        small = ["-n", "2", "-s", "4096", "-d", "4096", "-r", "100", self.path()]
        server = self.example("frames-server", *small)
        self.assertEqual(viewer.out.line(), b"viewing 2 regions")
        said = viewer.out.line()  # it has seen some
        for number in [signal.SIGKILL, signal.SIGTERM]:
            server.send(number)
            server.exit()
            other = self.example("frames-server", "-n", "2", "-s", "5000", "-d", "5000", self.path())
            self.assertEqual(other.exit(), 1)  # the viewer still has those of another size
            server = self.example("frames-server", *small)
            self.assertRegex(server.out.line(), rb"\A2 regions")
            self.assertIn(b" 0 torn", viewer.out.line())
        for process in [server, viewer]:
            process.send(signal.SIGTERM)
            self.assertEqual(process.exit(), 0)
        self.assertRegex(viewer.out.all()[-1], rb"\Ain all [1-9]\d* frames, 0 torn")

    def start_chat(self):
        person = subprocess.Popen([os.path.join(os.environ["PATHBUS_EXAMPLES"], "chat"), self.path()], env=self.env,
                                  bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end_chat, person)
        return person

    def end_chat(self, person):
        person.kill()
        person.wait()
        for file in [person.stdin, person.stdout, person.stderr]:
            file.close()

    def expect_line(self, file, line):
        self.assertTrue(ctl.select.select([file], [], [], ctl.LIMIT_S)[0], f"nothing, not {line}")
        self.assertEqual(file.readline(), line)

    def test_chat(self):
        # One after the other, then both at once: who listens is whoever is faster.
        for waits in [True, False]:
            one = self.start_chat()
            if waits:
                self.expect_line(one.stderr, b"waiting for somebody to talk to\n")
            other = self.start_chat()
            for person, partner in [(one, other), (other, one)]:
                said = person.stderr.readline()
                if said.startswith(b"waiting"):
                    said = person.stderr.readline()
                self.assertEqual(said, b"talking to process %d of user %d\n" % (partner.pid, os.geteuid()))
            for person, partner in [(one, other), (other, one)]:
                person.stdin.write(b"hello\n")
                self.expect_line(partner.stdout, b"hello\n")
            one.stdin.close()  # has said all; the other has not
            other.stdin.write(b"bye\n")
            self.expect_line(one.stdout, b"bye\n")
            other.stdin.close()
            for person in [one, other]:
                self.assertEqual(person.wait(ctl.LIMIT_S), 0)

    def test_chat_when_the_other_dies(self):
        one, other = self.start_chat(), self.start_chat()
        one.stdin.write(b"hello\n")
        self.expect_line(other.stdout, b"hello\n")
        other.kill()
        self.assertEqual(one.wait(ctl.LIMIT_S), 0)


class Run(ctl.Case):
    def test_frames_run(self):
        script = os.path.join(os.path.dirname(os.environ["PATHBUS_MAN"]), "..", "examples", "frames", "run")
        env = {**self.env, "BIN": os.path.dirname(os.environ["PATHBUS_EXAMPLES"]), "N_SECONDS": "1", "TMPDIR": self.folder}
        for words in [[], ["--peer"]]:
            result = subprocess.run([script, *words, "-n", "2", "-s", "1e6", "-d", "1e5"], env=env, capture_output=True,
                                    timeout=ctl.LIMIT_S)
            self.assertEqual((result.returncode, result.stderr), (0, b""))
            self.assertEqual(len(re.findall(rb"(?m)^frame-[01] .* frames-server \(writes\)", result.stdout)), 2)
            self.assertEqual(len(re.findall(rb"(?m)^viewer [AB]: in all \d+ frames, 0 torn, ", result.stdout)), 2)
            self.assertEqual(sorted(os.listdir(self.folder)), ["files"])


ctl.over_both(sys.modules[__name__], Examples)
if __name__ == "__main__":
    ctl.main()
