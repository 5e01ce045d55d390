#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The packages under a real systemd: what their scripts do when they come, are upgraded under a program that listens, and go."""

import re
import shutil
import subprocess
import sys
import time
import unittest

import packages

sys.path.insert(0, str(packages.SOURCES / "tests/systemd"))
import box  # noqa: E402

SOCKETS = ("pathbusd.socket", "pathbusd-control.socket")
LIMIT_S = 60


class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        files = packages.found()
        for name in ("pathbusd", "pathbus-tools", "libpathbus0"):
            needs = subprocess.run(["dpkg-deb", "-f", files[name], "Depends"], check=True, capture_output=True, text=True).stdout
            for need in re.findall(r"(?:^|, )([a-z0-9.+-]+)", needs):
                if need not in files and subprocess.run(["dpkg", "-s", need], capture_output=True).returncode != 0:
                    raise unittest.SkipTest(f"{name} needs {need}, which this machine has not")

        def prepare(root):
            (root / "packages").mkdir()
            for name in ("pathbusd", "pathbus-tools", "libpathbus0"):
                shutil.copy(files[name], root / "packages")
            # What was installed here from source would be found first.
            for unit in root.glob("usr/local/lib/systemd/*/pathbusd*"):
                unit.unlink()
            # Containers have this, so that packages start nothing.
            (root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)

        try:
            cls.box = box.Box(prepare)
        except box.Impossible as why:
            raise unittest.SkipTest(str(why)) from why
        cls.addClassCleanup(cls.box.close)

    def run_in_it(self, *command, check=True):
        done = self.box.run(*command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S)
        if check and done.returncode != 0:
            self.fail(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}{self.run_in_it('journalctl', '--no-pager', '-n', '40')}")
        return done.stdout

    def install(self):
        return self.run_in_it("sh", "-c", "DEBIAN_FRONTEND=noninteractive dpkg --install /packages/*.deb")

    def states(self, *units):
        return self.run_in_it("systemctl", "is-active", *units, check=False).split()

    def main_pid(self):
        return int(self.run_in_it("systemctl", "show", "--property=MainPID", "--value", "pathbusd.service"))

    def wait_for(self, what, condition):
        end = time.monotonic() + LIMIT_S
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.02)

    def test_they_come_are_upgraded_and_go(self):
        self.install()
        self.assertEqual(self.states(*SOCKETS, "pathbusd.service"), ["active", "active", "inactive"])

        # The first who connects starts it.
        self.assertIn("/run/pathbus/socket", self.run_in_it("pathbusctl", "--timeout-ms", "20000", "ping"))
        first = self.main_pid()
        self.assertGreater(first, 0)
        self.run_in_it("touch", "/srv/file")
        listener = subprocess.Popen(
            ["nsenter", "-a", "-t", str(self.box.first), "pathbusctl", "listen", "--raw", "--newline", "--count", "2", "/srv/file"],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.addCleanup(listener.wait)
        self.addCleanup(listener.kill)
        self.wait_for("nobody listens", lambda: "pathbusctl" in self.run_in_it("pathbusctl", "who", "/srv/file"))
        self.run_in_it("pathbusctl", "post", "-m", "before", "/srv/file")
        self.assertEqual(listener.stdout.readline(), "before\n")

        # Another daemon, the same sockets, and the same program listens.
        self.install()
        self.assertEqual(self.states(*SOCKETS, "pathbusd.service"), ["active", "active", "active"])
        self.assertNotIn(self.main_pid(), (0, first))
        self.wait_for("it does not listen any more", lambda: "pathbusctl" in self.run_in_it("pathbusctl", "who", "/srv/file"))
        self.run_in_it("pathbusctl", "post", "-m", "after", "/srv/file")
        self.assertEqual(listener.communicate(timeout=LIMIT_S)[0], "after\n")
        self.assertEqual(listener.returncode, 0)

        self.run_in_it("dpkg", "--remove", "pathbusd")
        self.assertEqual(self.states(*SOCKETS, "pathbusd.service"), ["inactive"] * 3)
        self.run_in_it("dpkg", "--purge", "pathbusd")
        self.assertFalse(self.run_in_it("sh", "-c", "ls -d /etc/pathbus /etc/systemd/system/*/pathbusd* /run/pathbus/socket",
                                        check=False))


if __name__ == "__main__":
    packages.main()
