#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl endpoint list and connect."""

import json
import os
import select
import signal
import subprocess
import sys

import ctl


class Endpoints:
    def helper(self, role, name="e"):
        process = self.start([os.environ["PATHBUS_HELPER"], role, self.path(), name])
        self.assertEqual(process.out.line(), b"listening")
        return process

    def connect(self, *words, **options):
        """Starts it; its input and output are pipes."""
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **options}
        child = subprocess.Popen([ctl.CTL, *ctl.PATIENT, *self.options, "endpoint", "connect", *words, self.path(), "e"],
                                 env=self.env, stderr=subprocess.PIPE, bufsize=0, **options)
        self.addCleanup(self.end, child)
        return child

    def end(self, child):
        if child.poll() is None:
            child.kill()
        child.wait()
        for file in [child.stdin, child.stdout, child.stderr]:
            if file:
                file.close()

    def expect_end(self, child, status, error=b""):
        self.assertEqual(child.wait(ctl.LIMIT_S), status)
        self.assertRegex(child.stderr.read(), rb"\A%s\Z" % error)

    def expect_guest(self, listener, pid):
        self.assertEqual(listener.out.line(), b"guest %d %d" % (pid, os.geteuid()))

    def read_some(self, child, size):
        """So much of its output; less if it ends."""
        out = b""
        while len(out) < size and select.select([child.stdout], [], [], ctl.LIMIT_S)[0]:
            more = os.read(child.stdout.fileno(), min(65536, size - len(out)))
            if not more:
                return out
            out += more
        self.assertEqual(len(out), size, "it neither goes on nor ends")
        return out

    def read_all(self, child):
        return self.read_some(child, 1 << 62) if select.select([child.stdout], [], [], ctl.LIMIT_S)[0] else None

    def list(self):
        found = json.loads(self.expect(0, "endpoint", "list", "--json", self.path()).stdout)
        self.assertEqual(set(found), {"file", "transport", "endpoints"})
        return {endpoint["name"]: endpoint for endpoint in found["endpoints"]}

    def members(self):
        """The processes that have the topic open; over the socket they cannot be seen."""
        found = json.loads(self.expect(0, "who", "--json", "--transport", "auto", self.path()).stdout)
        return [who["pid"] for who in found["members"]]

    def test_there_and_back(self):
        listener = self.helper("echo")
        child = self.connect("-v")
        self.expect_guest(listener, child.pid)
        self.assertRegex(child.stderr.readline(), rb"\Aconnected to \"e\" of .+: process %d, user \S+\n\Z" % listener.pid)
        for text in [b"one", b"two\n", bytes(range(256))]:
            os.write(child.stdin.fileno(), text)
            self.assertEqual(self.read_some(child, len(text)), text)
        child.stdin.close()
        self.assertEqual(self.read_all(child), b"")
        self.expect_end(child, 0)
        self.assertEqual(listener.out.line(), b"over")

    def test_a_lot(self):
        self.helper("echo")
        data = os.urandom(1 << 20) * 3
        out = self.call("endpoint", "connect", self.path(), "e", input=data)
        self.assertEqual((out.returncode, out.stderr), (0, b""))
        self.assertEqual(out.stdout, data)

    def test_answer_after_the_end_of_the_input(self):
        self.helper("after")
        data = os.urandom(1 << 20)
        self.assertEqual(self.expect(0, "endpoint", "connect", self.path(), "e", input=data).stdout, data)
        self.assertEqual(self.expect(0, "endpoint", "connect", self.path(), "e", input=b"").stdout, b"")

    def test_input_after_the_end_of_the_answer(self):
        listener = self.helper("before")
        child = self.connect()
        self.expect_guest(listener, child.pid)
        self.assertEqual(self.read_all(child), b"hello\n")  # its end is passed on, though we may go on
        self.assertIsNone(child.poll())
        for text in [b"still ", b"there\n"]:
            os.write(child.stdin.fileno(), text)
        child.stdin.close()
        self.expect_end(child, 0)
        self.assertEqual(listener.out.line(), b"still there")

    def test_the_other_side_goes(self):
        listener = self.helper("echo")
        child = self.connect()
        self.expect_guest(listener, child.pid)
        os.write(child.stdin.fileno(), b"x")
        self.assertEqual(self.read_some(child, 1), b"x")
        listener.send(signal.SIGKILL)
        self.expect_end(child, 0)  # though the input has not ended
        self.assertEqual(self.read_all(child), b"")
        self.assertEqual(listener.exit(), -signal.SIGKILL)
        self.assertEqual(self.list(), {})  # and who comes next cleans up after it

    def test_the_other_side_takes_nothing(self):
        self.helper("slam")
        child = self.connect()
        with open("/dev/zero", "rb") as zero:
            data = zero.read(1 << 22)
        try:
            child.stdin.write(data)
        except BrokenPipeError:
            pass
        self.assertIn(child.wait(ctl.LIMIT_S), [0, 1])  # 0: it had sent nothing yet
        self.assertNotIn(b"\n", child.stderr.read().strip())

    def test_nobody_reads_the_output(self):
        listener = self.helper("echo")
        child = self.connect()
        self.expect_guest(listener, child.pid)
        child.stdout.close()
        self.expect_end(child, 0)

    def test_signal(self):
        listener = self.helper("echo")
        child = self.connect()
        self.expect_guest(listener, child.pid)
        child.send_signal(signal.SIGTERM)
        self.expect_end(child, -signal.SIGTERM)
        self.assertEqual(listener.out.line(), b"over")

    def test_messages(self):
        listener = self.helper("messages")
        child = self.connect("-v")
        self.expect_guest(listener, child.pid)
        self.assertIn(b", messages\n", child.stderr.readline())
        # The empty message that it begins with is no end.
        for text in [b"one", b"t" * 60000]:
            os.write(child.stdin.fileno(), text)
            self.assertEqual(self.read_some(child, len(text)), text)
        child.stdin.close()
        self.expect_end(child, 0)

    def test_nobody_listens(self):
        error = self.expect(69, "endpoint", "connect", self.path(), "e", input=b"").stderr
        self.assertIn(b"cannot connect to endpoint \"e\" of " + self.path() + b": nobody listens there; see where somebody "
                      b"does: pathbusctl endpoint list " + self.path() + b", or wait for one: --timeout", error)
        error = self.expect(124, "endpoint", "connect", "--timeout", "0.1", self.path(), "e", input=b"").stderr
        self.assertIn(b"nobody has listened there in time", error)

    def test_waits_for_a_listener(self):
        child = self.connect("--timeout", str(ctl.LIMIT_S))
        listener = self.helper("echo")
        self.expect_guest(listener, child.pid)
        os.write(child.stdin.fileno(), b"x")
        self.assertEqual(self.read_some(child, 1), b"x")
        child.stdin.close()
        self.expect_end(child, 0)

    def test_a_signal_while_it_waits(self):
        listener = self.listen("--json", self.path())
        child = self.connect("--timeout", str(ctl.LIMIT_S))
        ctl.wait_until("it waits", lambda: child.pid in self.members())
        child.send_signal(signal.SIGINT)
        self.expect_end(child, -signal.SIGINT)
        listener.close()

    def test_list(self):
        self.assertEqual(self.expect(0, "endpoint", "list", self.path()).stdout, b"")
        one, two = self.helper("echo", "one"), self.helper("messages", b"\xff two")
        found = self.list()
        self.assertEqual(set(found), {"one", "\\xff two"})
        self.assertEqual((found["one"]["pid"], found["one"]["uid"]), (one.pid, os.geteuid()))
        where = "peer" if self.transport == "peer" else "bus"
        self.assertEqual((found["one"]["type"], found["one"]["for"], found["one"]["where"]), ("stream", "user", where))
        self.assertEqual((found["\\xff two"]["type"], found["\\xff two"]["for"]), ("seqpacket", "readers"))
        self.assertEqual(found["\\xff two"]["name_bytes_hex"], b"\xff two".hex())
        text = self.expect(0, "endpoint", "list", self.path()).stdout.decode()
        self.assertRegex(text, rf"\ANAME +PROCESS +USER +COMMAND +WHERE +DETAILS\n")
        self.assertRegex(text, rf"(?m)^one +{one.pid} +\S+ +\S+ +{where} +streams, for this user$")
        self.assertRegex(text, rf"(?m)^\\xff two +{two.pid} .* messages, for readers$")
        one.send(signal.SIGKILL)
        self.assertEqual(one.exit(), -signal.SIGKILL)
        ctl.wait_until("the dead do not listen", lambda: set(self.list()) == {"\\xff two"})

    def test_leaves_nothing_when_killed(self):
        """Once connected it has closed the topic."""
        listener = self.helper("echo")
        child = self.connect()
        self.expect_guest(listener, child.pid)
        os.write(child.stdin.fileno(), b"x")
        self.assertEqual(self.read_some(child, 1), b"x")
        self.assertEqual(self.members(), [listener.pid])
        child.kill()
        self.expect_end(child, -signal.SIGKILL)


class Words(ctl.Case):
    def test_usage(self):
        file = self.path()
        for words in [[], ["list"], ["list", file, "e"], ["connect", file], ["connect", file, "e", "f"], ["listen", file],
                      ["connect", "--timeout", "x", file, "e"], ["connect", "--json", file, "e"]]:
            with self.subTest(words=words):
                self.assertEqual(self.expect(2, "endpoint", *words).stdout, b"")
        self.expect(2, "endpoint", "connect", file, "")
        self.expect(2, "endpoint", "connect", file, "n" * 256)

    def test_no_folder(self):
        self.expect(66, "endpoint", "list", self.path("none/x"))
        self.expect(66, "endpoint", "connect", self.path("none/x"), "e")


ctl.over(sys.modules[__name__], ["bus", "peer", "socket"], Endpoints)
if __name__ == "__main__":
    ctl.main()
