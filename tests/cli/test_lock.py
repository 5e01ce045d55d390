#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl lock run, lock show: who runs, who waits, who is told what."""

import json
import os
import pwd
import signal
import sys

import ctl

ABANDONED = b"pathbusctl: the lock was abandoned: "


class Locks:
    def run_lock(self, status, *words, **options):
        """Runs a shell line under the lock."""
        return self.expect(status, "lock", "run", *words, **options)

    def hold(self, *options, name="n"):
        """Holds the lock until open_gate; its command is a shell."""
        gate = os.fsdecode(self.path(f"gate{len(self.processes)}"))
        os.mkfifo(gate)
        holder = self.background("lock", "run", *options, self.path(), name, "--", "sh", "-c",
                                 f"echo $$; read -r line <{gate}; exit 5")
        holder.command = int(holder.out.line())
        holder.gate = gate
        return holder

    def open_gate(self, holder):
        with open(holder.gate, "w"):
            pass

    def show(self, *words):
        out = self.expect(0, "lock", "show", "--json", self.path(), *words).stdout
        return [json.loads(line) for line in out.splitlines()]

    def await_lock(self, n_holders, n_waiters, name="n"):
        def is_so():
            found = self.show(name)[0]
            return (found["n_holders"], found["n_waiters"]) == (n_holders, n_waiters)
        ctl.wait_until(f"{n_holders} hold it and {n_waiters} wait", is_so)

    def children(self, pid):
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]

    def test_status_and_surroundings(self):
        out = self.run_lock(0, self.path(), "n", "--", "echo", "--shared", "a  b").stdout
        self.assertEqual(out, b"--shared a  b\n")
        for status in [1, 3, 75, 124, 255]:
            result = self.call("lock", "run", self.path(), "n", "--", "sh", "-c", f"exit {status}")
            self.assertEqual((result.returncode, result.stderr), (status, b""))
        result = self.call("lock", "run", self.path(), "n", "--", "sh", "-c", "kill -TERM $$")
        self.assertEqual(result.returncode, 128 + signal.SIGTERM)
        self.run_lock(127, self.path(), "n", "--", self.path("none"))
        with open(self.path("no program"), "w"):
            pass
        self.run_lock(126, self.path(), "n", "--", self.path("no program"))
        out = self.run_lock(0, self.path(), "a lock", "--", "sh", "-c",
                            'printf "%s|" "$PATHBUS_FILE" "$PATHBUS_LOCK" "${PATHBUS_LOCK_ABANDONED-none}"; '
                            'ls /proc/self/fd | tr "\\n" " "; grep SigIgn /proc/self/status').stdout
        file, lock, abandoned, rest = out.split(b"|")
        self.assertEqual((file, lock, abandoned), (self.path(), b"a lock", b"none"))
        words = rest.split()
        self.assertEqual(words[:4], [b"0", b"1", b"2", b"3"])  # 3 is ls's own
        self.assertFalse(int(words[-1], 16) & 1 << (signal.SIGPIPE - 1))
        self.assertEqual(self.call("lock", "run", self.path(), "n", "--", "cat", input=b"in").stdout, b"in")

    def test_usage(self):
        for words in [["lock"], ["lock", "run", self.path(), "n"], ["lock", "run", self.path(), "", "--", "true"],
                      ["lock", "run", self.path(), "x" * 256, "--", "true"], ["lock", "show"],
                      ["lock", "run", "--timeout", "x", self.path(), "n", "--", "true"],
                      ["lock", "run", "--no-wait", "--timeout", "1", self.path(), "n", "--", "true"]]:
            self.expect(2, *words)
        self.expect(66, "lock", "run", self.path("none/data"), "n", "--", "true")

    def test_others_wait(self):
        holder = self.hold()
        self.run_lock(75, "--no-wait", self.path(), "n", "--", "true")
        self.run_lock(75, "--no-wait", "--shared", self.path(), "n", "--", "true")
        self.run_lock(124, "--timeout", "0.1", self.path(), "n", "--", "true")
        self.run_lock(124, "--timeout", "0", self.path(), "n", "--", "true")
        self.run_lock(0, "--no-wait", self.path(), "another", "--", "true")
        waiters = [self.background("lock", "run", *options, self.path(), "n", "--", "echo", "in")
                   for options in [[], ["--timeout", str(ctl.LIMIT_S)], ["--shared"]]]
        self.await_lock(1, 3)
        self.open_gate(holder)
        self.assertEqual(holder.exit(), 5)
        for waiter in waiters:
            self.assertEqual((waiter.exit(), waiter.out.all(), waiter.err.all()), (0, [b"in"], []))

    def test_shared(self):
        holders = [self.hold("--shared") for _ in range(2)]
        self.await_lock(2, 0)
        self.run_lock(75, "--no-wait", self.path(), "n", "--", "true")
        self.assertEqual(self.show("n")[0]["state"], "shared")
        for holder in holders:
            self.open_gate(holder)
            self.assertEqual(holder.exit(), 5)

    def test_show(self):
        self.assertEqual(self.show(), [])
        self.assertEqual(self.expect(0, "lock", "show", self.path(), "n").stdout, b"n: free\n")
        name = "l\n\"\u00e4"
        holder = self.hold(name=name)
        waiter = self.background("lock", "run", self.path(), name, "--", "true")
        self.await_lock(1, 1, name)
        user = pwd.getpwuid(os.getuid()).pw_name
        found = self.show()
        self.assertEqual(len(found), 1)
        for key, process in [("holders", holder), ("waiters", waiter)]:
            party = found[0].pop(key)
            self.assertEqual(len(party), 1)
            self.assertRegex(party[0].pop("since"), r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
            self.assertEqual(party[0], {"pid": process.pid, "uid": os.getuid(), "user": user,
                                        "command": "pathbusctl", "shared": False})
        self.assertEqual(found[0], {"file": os.fsdecode(self.path()), "lock": name, "state": "held",
                                    "abandoned": False, "n_holders": 1, "n_waiters": 1})
        lines = self.expect(0, "lock", "show", self.path()).stdout.splitlines()
        self.assertEqual(lines[0], "l\\x0a\"\u00e4: held".encode())
        for line, what, process in [(lines[1], "held", holder), (lines[2], "waited for", waiter)]:
            self.assertRegex(line.decode(), rf"\A  {what} by process {process.pid}, user {user}, "
                                            r"command pathbusctl, since \d{4}-\d\d-\d\dT[\d:.]+Z\Z")
        self.assertEqual(len(lines), 3)
        self.open_gate(holder)
        self.assertEqual((holder.exit(), waiter.exit()), (5, 0))

    def abandon(self):
        """Kills one that holds it. Its command runs on, and the lock is held meanwhile."""
        holder = self.hold()
        holder.send(signal.SIGKILL)
        self.assertEqual(holder.exit(), -signal.SIGKILL)
        self.run_lock(75, "--no-wait", self.path(), "n", "--", "true")
        self.assertEqual(self.show("n")[0]["n_holders"], 1)
        self.open_gate(holder)
        ctl.wait_until("it is let go", lambda: self.show("n")[0]["n_holders"] == 0)

    def run_abandoned(self, *options, line="echo ${PATHBUS_LOCK_ABANDONED-none}"):
        result = self.call("lock", "run", *options, self.path(), "n", "--", "sh", "-c", line)
        return result.returncode, result.stdout, result.stderr.startswith(ABANDONED)

    def test_abandoned(self):
        self.abandon()
        found = self.show()
        self.assertEqual([(lock["state"], lock["abandoned"]) for lock in found], [("free", True)])
        self.assertEqual(self.expect(0, "lock", "show", self.path()).stdout, b"n: free, abandoned\n")
        self.assertEqual(self.run_abandoned(), (0, b"1\n", True))
        self.assertEqual(self.run_abandoned("--shared"), (0, b"1\n", True))
        self.assertEqual(self.run_abandoned("--consistent", line="exit 4"), (4, b"", True))
        self.assertEqual(self.run_abandoned("--consistent"), (0, b"1\n", True))
        self.assertEqual(self.run_abandoned(), (0, b"none\n", False))

    def test_who_waits_is_told(self):
        holder = self.hold()
        waiter = self.background("lock", "run", "--consistent", self.path(), "n", "--", "true")
        self.await_lock(1, 1)
        holder.send(signal.SIGKILL)
        self.assertEqual(holder.exit(), -signal.SIGKILL)
        self.await_lock(1, 1)
        self.open_gate(holder)
        self.assertEqual(waiter.exit(), 0)
        self.assertTrue(waiter.err.line().startswith(ABANDONED))
        self.assertEqual(self.run_abandoned(), (0, b"none\n", False))

    def test_the_keeper_is_killed(self):
        holder = self.hold()
        keeper = self.children(holder.pid)
        self.assertEqual(len(keeper), 1)
        self.assertEqual(self.children(keeper[0]), [holder.command])
        os.kill(keeper[0], signal.SIGKILL)
        self.run_lock(75, "--no-wait", self.path(), "n", "--", "true")
        self.open_gate(holder)
        self.assertEqual(holder.exit(), 5)
        self.assertEqual(self.run_abandoned(), (0, b"none\n", False))

    def test_signals(self):
        for number in [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]:
            holder = self.hold()
            waiter = self.background("lock", "run", self.path(), "n", "--", "true")
            self.await_lock(1, 1)
            waiter.send(number)
            self.assertEqual((waiter.exit(), waiter.err.all()), (-number, []))
            self.await_lock(1, 0)
            holder.send(number)  # the shell ends, and with it the lock, in good order
            self.assertEqual(holder.exit(), 128 + number)
            self.assertEqual(self.run_abandoned(), (0, b"none\n", False))


ctl.over_both(sys.modules[__name__], Locks)
if __name__ == "__main__":
    ctl.main()
