#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the rights of a file allow, and other users. As root this runs pathbusctl as nobody."""

import os
import pwd
import signal
import subprocess
import unittest

import ctl

ROOT = os.geteuid() == 0


def someone():
    """Options that make a program run as a user who is not root."""
    if not ROOT:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Rights(ctl.Case):
    def setUp(self):
        super().setUp()
        if ROOT:
            os.chmod(self.folder, 0o755)
            os.chown(self.files, someone()["user"], someone()["group"])
        try:
            subprocess.run([ctl.CTL, "version"], stdout=subprocess.DEVNULL, check=True, **someone())
        except (OSError, subprocess.CalledProcessError) as why:
            self.skipTest(f"another user cannot run the program: {why}")

    def make(self, mode):
        with open(self.path(), "w"):
            pass
        if ROOT:
            os.chown(self.path(), someone()["user"], someone()["group"])
        os.chmod(self.path(), mode)

    def rights(self):
        text = self.expect(0, "check", self.path(), **someone()).stdout.decode()
        return text.rpartition("rights")[2].strip()

    def test_all(self):
        self.make(0o600)
        self.assertEqual(self.rights(), "listen and post")

    def test_none(self):
        self.make(0o000)
        for command in ["post", "listen", "check"]:
            error = self.expect(77, command, self.path(), **someone()).stderr
            self.assertIn(b"rights", error)

    def test_read_only(self):
        self.make(0o400)
        self.expect(77, "post", self.path(), **someone())
        self.assertEqual(self.rights(), "listen only")

    def test_regions(self):
        self.make(0o600)
        holder = self.start([ctl.CTL, *ctl.PATIENT, "region", "create", self.path(), "r", "1K"], **someone())
        self.assertRegex(holder.err.line(), rb"\Aholding ")
        os.chmod(self.path(), 0o400)
        for words in [["create", self.path(), "s", "1K"], ["write", self.path(), "r"]]:
            error = self.expect(77, "region", *words, input=b"", **someone()).stderr
            self.assertIn(b"rights", error)
        self.assertEqual(self.expect(0, "region", "read", self.path(), "r", **someone()).stdout, bytes(1024))
        self.assertIn(b" pathbusctl (writes)\n", self.expect(0, "region", "list", self.path(), **someone()).stdout)
        os.chmod(self.path(), 0o000)
        for words in [["region", "read", self.path(), "r"], ["region", "list", self.path()], ["who", self.path()],
                      ["endpoint", "list", self.path()], ["endpoint", "connect", self.path(), "e"]]:
            self.assertIn(b"rights", self.expect(77, *words, input=b"", **someone()).stderr)
        holder.send(signal.SIGTERM)
        self.assertEqual(holder.exit(), 0)

    def test_write_only(self):
        self.make(0o200)
        self.expect(0, "post", self.path(), **someone())
        self.expect(77, "listen", self.path(), **someone())
        self.assertEqual(self.rights(), "post only")

    def test_folder_that_cannot_be_searched(self):
        os.mkdir(self.path("closed"), 0o700)
        os.chmod(self.path("closed"), 0o000)
        self.expect(77, "post", self.path("closed/data"), **someone())

    @unittest.skipUnless(ROOT, "needs two users")
    def test_the_sidecar_of_another_user(self):
        os.chmod(self.files, 0o777)
        self.listen(self.path())
        error = self.expect(77, "post", self.path(), **someone()).stderr
        self.assertIn(b"pathbusd", error)


if __name__ == "__main__":
    ctl.main()
