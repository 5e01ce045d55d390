#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl who: everybody who has to do with a file."""

import json
import os
import signal
import sys

import ctl


class Who:
    def helper(self, role, name, ready, *words):
        process = self.start([os.environ["PATHBUS_HELPER"], role, self.path(), name, *words])
        self.assertEqual(process.out.line(), ready)
        return process

    def who(self):
        found = json.loads(self.expect(0, "who", "--json", self.path()).stdout)
        self.assertEqual(set(found), {"file", "transport", "members", "regions", "locks", "endpoints"})
        self.assertEqual((found["file"], found["transport"]), (os.fsdecode(self.path()), self.transport))
        return found

    def rows(self):
        """Of the table, without its head: lists of words."""
        lines = self.expect(0, "who", self.path()).stdout.decode().splitlines()
        self.assertRegex(lines[0], r"\AWHAT +NAME +PROCESS +USER +COMMAND +DETAILS\Z")
        return [line.split(None, 5) for line in lines[1:]]

    def test_nobody(self):
        out = self.expect(0, "who", self.path()).stdout
        self.assertEqual(out, b"nobody has " + self.path() + b" open\n")
        found = self.who()
        self.assertEqual([found[part] for part in ["members", "regions", "locks", "endpoints"]], [[], [], [], []])

    def test_members(self):
        listener = self.listen("--json", self.path())
        other = self.listen(self.path())
        self.post(self.path())
        members = {who["pid"]: who for who in self.who()["members"]}
        self.assertEqual(set(members), {listener.pid, other.pid})  # not the one that asks
        for who in members.values():
            self.assertEqual((who["uid"], who["command"]), (os.geteuid(), "pathbusctl"))
            self.assertEqual((who["subscribes"], who["posts"], who["link"]), (True, 0, False))
            self.assertRegex(who["origin"], r"\A[0-9a-f]{16}\Z")
        rows = self.rows()
        self.assertEqual({(row[0], row[1], int(row[2]), row[4], row[5]) for row in rows},
                         {("member", "-", pid, "pathbusctl", "subscribes, 0 posts") for pid in members})

    def test_everything(self):
        holder = self.background("region", "create", "-q", self.path(), "frames", "64K", "--double")
        ctl.wait_until("it is there", lambda: self.who()["regions"])
        reader = self.helper("holder", "frames", b"open")
        locker = self.helper("locker", "exclusive", b"held")
        waiter = self.helper("waiter", "exclusive", b"waiting")
        sharers = [self.helper("locker", "shared", b"held", "shared") for _ in range(2)]
        listener = self.helper("echo", "talk", b"listening")
        ctl.wait_until("it waits", lambda: sum(lock["n_waiters"] for lock in self.who()["locks"]) == 1)
        found = self.who()
        self.assertEqual({who["pid"] for who in found["members"]},
                         {process.pid for process in [holder, reader, locker, waiter, listener, *sharers]})
        self.assertEqual({who["pid"]: who["writes"] for who in found["regions"][0]["holders"]},
                         {holder.pid: True, reader.pid: False})
        locks = {lock["name"]: lock for lock in found["locks"]}
        self.assertEqual({name: (lock["state"], lock["n_holders"], lock["n_waiters"], lock["abandoned"])
                          for name, lock in locks.items()},
                         {"exclusive": ("held", 1, 1, False), "shared": ("shared", 2, 0, False)})
        self.assertEqual([[who["pid"] for who in locks["exclusive"][part]] for part in ["holders", "waiters"]],
                         [[locker.pid], [waiter.pid]])
        self.assertEqual({(who["pid"], who["shared"]) for who in locks["shared"]["holders"]},
                         {(sharer.pid, True) for sharer in sharers})
        self.assertEqual([(e["name"], e["pid"], e["type"]) for e in found["endpoints"]], [("talk", listener.pid, "stream")])

        rows = {(row[0], row[1], int(row[2])): row[5] for row in self.rows()}
        self.assertEqual(len(rows), 7 + 2 + 4 + 1)
        self.assertEqual(rows["region", "frames", holder.pid], "writes, 64K, version 0, double")
        self.assertEqual(rows["region", "frames", reader.pid], "reads, 64K, version 0, double")
        self.assertRegex(rows["lock", "exclusive", locker.pid], r"\Aholds it, exclusive since 20\d\d-\S+Z\Z")
        self.assertRegex(rows["lock", "exclusive", waiter.pid], r"\Awaits for it, exclusive since ")
        self.assertRegex(rows["lock", "shared", sharers[0].pid], r"\Aholds it, shared since ")
        self.assertEqual(rows["endpoint", "talk", listener.pid], "listens, streams, for this user")
        locker.send(signal.SIGUSR1)  # releases it
        self.assertEqual(waiter.out.line(), b"held")

    def test_an_abandoned_lock(self):
        locker = self.helper("locker", "l", b"held")
        locker.send(signal.SIGKILL)
        self.assertEqual(locker.exit(), -signal.SIGKILL)
        lock, = self.who()["locks"]
        self.assertEqual((lock["name"], lock["state"], lock["abandoned"], lock["holders"]), ("l", "free", True, []))
        self.assertIn(["lock", "l", "-", "-", "-", "abandoned"], self.rows())
        self.call("lock", "run", "--consistent", self.path(), "l", "--", "true")  # so that its file can go
        self.assertEqual(self.who()["locks"], [])

    def test_names_are_escaped(self):
        self.helper("away", b"\x1b[31m \xff", b"listening")
        text = self.expect(0, "who", self.path()).stdout
        self.assertRegex(text, rb"\A[ -~\n]+\Z")
        self.assertIn(rb"\x1b[31m \xff", text)
        self.assertEqual(self.who()["endpoints"][0]["name_bytes_hex"], b"\x1b[31m \xff".hex())

    def test_a_link(self):
        if not self.daemon:
            self.skipTest("only with a daemon")
        one = self.listen("--json", self.path())
        other = self.start([ctl.CTL, *ctl.PATIENT, "listen", "--transport", "peer", self.path()])
        self.assertIn(b"(peer)", other.err.line())
        members = ctl.wait_until("they are linked", lambda: len(found := self.who()["members"]) == 2 and found)
        self.assertEqual({who["link"]: who["pid"] == one.pid for who in members}, {False: True, True: False})
        self.assertIn(["link", "pathbus-link"], [[row[0], row[4]] for row in self.rows()])

    def test_who_is_behind(self):
        listener, other = self.listen(self.path()), self.listen(self.path())
        listener.stop()
        for _ in range(3):
            self.post(self.path())
            self.expect_post(other, self.path())
        self.send("x", self.path())
        other.out.line()

        def caught_up():
            members = {who["pid"]: (who["behind_posts"], who["behind_messages"]) for who in self.who()["members"]}
            self.assertEqual(members[listener.pid], (3, 1))
            return members[other.pid] == (0, 0)
        ctl.wait_until("the other sleeps", caught_up)
        rows = {int(row[2]): row[5] for row in self.rows()}
        self.assertEqual(rows, {listener.pid: "subscribes, 0 posts, 3 posts behind, 1 message behind",
                                other.pid: "subscribes, 0 posts"})
        self.assertEqual({who.get("transport") for who in self.who()["members"]}, {"memory" if self.daemon else None})
        listener.send(signal.SIGCONT)

    def test_posts_a_second(self):
        listener = self.listen(self.path())
        poster = self.helper("poster", "10", b"open")
        who = self.background("who", "--json", "--interval", "0.2", self.path())
        while who.child.poll() is None:
            poster.send(signal.SIGUSR1)
            self.assertEqual(poster.out.line(), b"posted")
        self.assertEqual(who.exit(), 0)
        members = {at["pid"]: at for at in json.loads(who.out.line())["members"]}
        self.assertEqual(set(members), {listener.pid, poster.pid})
        rate = members[poster.pid]["posts_per_second"]
        self.assertGreaterEqual(rate * 60, 10)  # it did post, and the looks were not a minute apart
        self.assertLessEqual(rate * 0.2, members[poster.pid]["posts"])
        self.assertEqual(members[listener.pid]["posts_per_second"], 0)
        self.assertNotIn("behind_posts", members[poster.pid])  # who does not subscribe never is
        rows = self.expect(0, "who", "--interval", "0.01", self.path()).stdout
        self.assertRegex(rows, rb"does not subscribe, \d+ posts, 0.0 posts/s\n")

    def test_a_signal_ends_the_interval(self):
        self.listen(self.path())
        who = self.background("who", "--interval", "1000", self.path())
        ctl.wait_until("it is a member", lambda: len(self.who()["members"]) == 2)
        ctl.wait_until("it catches the signal", lambda: self.catches(who.pid, signal.SIGTERM))
        who.send(signal.SIGTERM)
        self.assertEqual((who.exit(), who.out.all()), (-signal.SIGTERM, []))

    def catches(self, pid, number):
        with open(f"/proc/{pid}/status") as status:
            return int(dict(line.split(":", 1) for line in status)["SigCgt"], 16) >> number - 1 & 1

    def test_a_member_over_its_socket(self):
        if not self.daemon:
            self.skipTest("only with a daemon")
        self.options = ["--transport", "socket"]
        self.transport = "socket"
        listener = self.listen(self.path("with * and [x]"))
        self.options, self.transport = [], "bus"
        member, = json.loads(self.expect(0, "who", "--json", self.path("with * and [x]")).stdout)["members"]
        self.assertEqual((member["pid"], member["transport"]), (listener.pid, "socket"))
        self.assertIn(b", over its socket\n", self.expect(0, "who", self.path("with * and [x]")).stdout)

    def test_without_the_control_socket(self):
        """What the library knows is told all the same."""
        self.listen(self.path())
        self.env["PATHBUS_CONTROL"] = self.path("none")
        member, = self.who()["members"]
        self.assertEqual((member.get("transport"), member["behind_posts"]), (None, 0))

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            self.assertIn(b"output", self.expect(1, "who", self.path(), stdout=full).stderr)


class Words(ctl.Case):
    def test_usage(self):
        for words in [[], [self.path(), self.path()], ["--bogus", self.path()],
                      ["--interval", "0", self.path()], ["--interval", "x", self.path()]]:
            self.expect(2, "who", *words)
        self.expect(66, "who", self.path("none/x"))

    def test_socket(self):
        self.start_daemon()
        self.assertIn(b"shared memory", self.expect(1, "--transport", "socket", "who", self.path()).stderr)


ctl.over_both(sys.modules[__name__], Who)
if __name__ == "__main__":
    ctl.main()
