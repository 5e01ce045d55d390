#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl listen --exec: what the command is told, and how the two end."""

import os
import signal
import sys

import ctl


class Exec:
    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def fifo(self, name):
        os.mkfifo(self.path(name))
        return os.fsdecode(self.path(name))

    def test_environment(self):
        name = self.path(b"\xff 'quoted' \n")
        listener = self.listen("--count", "1", "--exec",
                               'printf "%s|" "$PATHBUS_FILE" "$PATHBUS_EVENT" "$PATHBUS_COUNT" '
                               f'"$PATHBUS_GENERATION" >{self.files}/out', name)
        self.post(name)
        self.assertEqual(listener.exit(), 0)
        file, event, count, generation, _ = self.read("out").split(b"|")
        self.assertEqual((file, event, count), (name, b"post", b"1"))
        self.assertGreater(int(generation), 0)

    def variables(self, shown):
        """What `env` has printed, as a dictionary without PATHBUS_ in front; lines before it are not its."""
        return dict(line[len(b"PATHBUS_"):].split(b"=", 1) for line in shown if line.startswith(b"PATHBUS_"))

    def take_run(self, listener):
        """The variables of one run of `env; echo end`."""
        lines = []
        while (line := listener.out.line()) != b"end":
            lines.append(line)
        return self.variables(lines)

    def test_environment_of_a_message(self):
        of_all = {b"ADDRESS", b"FILE", b"EVENT", b"COUNT", b"GENERATION", b"TIME"}
        of_message = of_all | {b"PID", b"UID", b"ORIGIN"}
        listener = self.listen("--max-message", "65536", "--exec", "env | grep ^PATHBUS_; echo end", self.path())
        ours = {name[len("PATHBUS_"):].encode() for name in os.environ if name.startswith("PATHBUS_")} - {b"ADDRESS"}
        variables = lambda: {name: value for name, value in self.take_run(listener).items() if name not in ours}
        poster = self.background("post", "-m", "it's a \xe4 $PATH", "--key", "k y", self.path())
        found = variables()
        self.assertEqual(set(found), of_message | {b"MESSAGE", b"KEY"})
        self.assertEqual((found[b"EVENT"], found[b"COUNT"]), (b"message", b"1"))
        self.assertEqual((found[b"MESSAGE"], found[b"KEY"]), ("it's a \xe4 $PATH".encode(), b"k y"))
        self.assertEqual((int(found[b"PID"]), int(found[b"UID"])), (poster.pid, os.getuid()))
        self.assertRegex(found[b"ORIGIN"], rb"\A[0-9a-f]{16}\Z")
        self.assertRegex(found[b"TIME"], rb"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
        self.post(self.path())  # and nothing is left from before
        self.assertEqual(set(variables()), of_all)
        for data, has_variable in [(b"a\0b", False), (b"", True), (b"x" * 65535, True), (b"x" * 65536, False)]:
            self.send(data, self.path())
            found = variables()
            self.assertEqual(set(found), of_message | ({b"MESSAGE"} if has_variable else set()))
            self.assertEqual(found.get(b"MESSAGE", data), data)

    def test_message_on_standard_input(self):
        listener = self.listen("--raw", "--max-message", "65536", "--count", "3", "--exec",
                               f"cat >>{self.files}/out", self.path(), stdout=ctl.subprocess.DEVNULL)
        sent = [bytes(range(256)) * 256, b"", b"a\nb"]
        for data in sent:
            self.send(data, self.path())
        self.assertEqual(listener.exit(), 0)
        self.assertEqual(self.read("out"), b"".join(sent))

    def test_each_message_has_its_own_run(self):
        gate = self.fifo("gate")
        listener = self.listen("--raw", "--newline", "--count", "3", "--exec",
                               f'cat {gate}; echo "run of $PATHBUS_MESSAGE"', self.path())
        for text in "abc":
            self.send(text, self.path())
        for text in [b"a", b"b", b"c"]:
            self.assertEqual(listener.out.line(), text)
            with open(gate, "w"):
                pass
            self.assertEqual(listener.out.line(), b"run of " + text)
        self.assertEqual(listener.exit(), 0)

    def test_who_does_not_read_its_input_holds_nobody_up(self):
        gate = self.fifo("gate")
        listener = self.listen("--json", "--max-message", "65536", "--exec", f"echo begin; cat {gate}", self.path())
        self.send(b"x" * 65536, self.path())
        listener.out.line()
        self.assertEqual(listener.out.line(), b"begin")
        listener.send(signal.SIGTERM)
        self.assertEqual(listener.exit(), 0)

    def test_surroundings(self):
        """No input of a post; signals as usual; no descriptor of the listener's; the listener's output."""
        listener = self.listen("--count", "1", "--exec",
                               'read -r x; echo "read $?"; grep SigIgn /proc/self/status; '
                               'ls /proc/self/fd | tr "\\n" " "; echo', self.path())
        self.post(self.path())
        self.expect_post(listener, self.path())
        self.assertEqual(listener.out.line(), b"read 1")
        ignored = int(listener.out.line().split()[1], 16)
        self.assertFalse(ignored & 1 << (signal.SIGPIPE - 1))
        self.assertEqual(listener.out.line().split(), [b"0", b"1", b"2", b"3"])  # 3 is ls's own
        self.assertEqual(listener.exit(), 0)

    def test_once_per_event_and_merged_while_it_runs(self):
        gate = self.fifo("gate")
        listener = self.listen("--count", "2", "--exec", f"echo begin; cat {gate}; echo end", self.path())
        self.post(self.path())
        self.expect_post(listener, self.path())
        self.assertEqual(listener.out.line(), b"begin")
        for _ in range(3):
            self.post(self.path())
        for count in [3, None]:
            with open(gate, "w"):
                pass
            self.assertEqual(listener.out.line(), b"end")
            if count:
                self.expect_post(listener, self.path(), count=count)
                self.assertEqual(listener.out.line(), b"begin")
        self.assertEqual(listener.exit(), 0)

    def test_failure_does_not_stop_it(self):
        listener = self.listen("--count", "2", "--exec", f"test -e {self.files}/ok || exit 3", self.path())
        self.post(self.path())
        self.assertEqual(listener.err.line(), b"pathbusctl: the command of --exec failed with exit status 3")
        with open(self.path("ok"), "w"):
            pass
        self.post(self.path())
        self.assertEqual(listener.exit(), 1)
        self.assertEqual(listener.err.all(), [])

    def test_death_by_signal(self):
        listener = self.listen("--count", "1", "--exec", "kill -9 $$", self.path())
        self.post(self.path())
        self.assertEqual(listener.err.line(), b"pathbusctl: the command of --exec was ended by signal 9")
        self.assertEqual(listener.exit(), 1)

    def test_signal_is_passed_on(self):
        """To all that the command has started; and its death by it is no failure."""
        gate = self.fifo("gate")
        for number in [signal.SIGTERM, signal.SIGINT]:
            listener = self.listen("--exec", f"echo begin; cat {gate}; echo never", self.path())
            self.post(self.path())
            self.expect_post(listener, self.path())
            self.assertEqual(listener.out.line(), b"begin")
            listener.send(number)
            self.assertEqual(listener.exit(), 0)
            # The end of the stream comes when the last process that could write has ended.
            self.assertEqual(listener.out.all() + listener.err.all(), [])

    def test_second_signal_kills(self):
        command = "trap 'echo held' TERM; echo begin; while :; do sleep 0.05; done"
        listener = self.listen("--exec", command, self.path())
        self.post(self.path())
        self.expect_post(listener, self.path())
        self.assertEqual(listener.out.line(), b"begin")
        listener.send(signal.SIGTERM)
        self.assertEqual(listener.out.line(), b"held")
        listener.send(signal.SIGTERM)
        self.assertEqual(listener.exit(), 0)
        self.assertEqual(listener.out.all(), [])  # on stderr the shell may speak of its child

    def test_the_end_waits_for_it(self):
        gate = self.fifo("gate")
        ends = {"count": ["--count", "1"], "timeout": ["--timeout", "3"], "closed": []}
        for name, options in ends.items():
            with self.subTest(end=name):
                done = self.path("done-" + name)
                listener = self.listen(*options, "--exec", f"cat {gate}; : >{os.fsdecode(done)}", self.path())
                self.post(self.path())
                self.expect_post(listener, self.path())
                with open(gate, "w"):  # its cat is there now
                    if name == "closed":
                        listener.child.stdout.close()
                    elif name == "timeout":
                        with self.assertRaises(ctl.subprocess.TimeoutExpired):
                            listener.child.wait(3.5)
                    self.assertIsNone(listener.child.poll())
                self.assertEqual(listener.exit(), 0)
                self.assertTrue(os.path.exists(done))

    def test_timeout_counts_before_failures(self):
        listener = self.listen("--timeout", "3", "--count", "2", "--exec", "exit 1", self.path())
        self.post(self.path())
        self.assertEqual(listener.exit(), 124)


ctl.over_both(sys.modules[__name__], Exec)
if __name__ == "__main__":
    ctl.main()
