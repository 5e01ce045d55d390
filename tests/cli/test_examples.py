#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The examples do what they say, since people copy them."""

import os
import signal
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
        for name in ["listen", "post", "wait"]:
            for words in [[], [self.path("none/x")]]:
                process = self.example(name, *words)
                self.assertEqual(process.exit(), 1)
                self.assertRegex(process.err.line(), rb"\A%s FILE: " % name.encode())


ctl.over_both(sys.modules[__name__], Examples)
if __name__ == "__main__":
    ctl.main()
