#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pathbusctl doctor: each finding in a situation that is set up for real."""

import json
import os
import signal

import ctl


class Doctor(ctl.Case):
    def doctor(self, *words, status=None, **options):
        """What it prints as JSON; and, as the same findings, for people. Returns the object."""
        result = self.call("doctor", "--json", *words, self.path(), **options)
        self.assertEqual(result.stderr, b"")
        found = json.loads(result.stdout)
        self.assertEqual(found["problems"], sum(finding["problem"] for finding in found["findings"]))
        self.assertEqual(result.returncode, 1 if found["problems"] else 0)
        if status is not None:
            self.assertEqual(result.returncode, status, found["findings"])
        for finding in found["findings"]:
            self.assertEqual(set(finding), {"code", "problem", "what", "remedy"})
            self.assertGreater(len(finding["remedy"]), 10)
            self.assertIn(b".It Sy " + finding["code"].encode(), self.man().replace(b" , ", b"\n.It Sy "))
        return found

    def man(self):
        with open(os.environ["PATHBUS_MAN"], "rb") as file:
            return file.read()

    def codes(self, *words, **options):
        return {finding["code"]: finding["problem"] for finding in self.doctor(*words, **options)["findings"]}

    def text(self, status, *words):
        result = self.call("doctor", *words, self.path())
        self.assertEqual((result.returncode, result.stderr), (status, b""))
        return result.stdout.decode()

    def sidecar(self):
        return os.path.join(self.files, ".data.pathbus")


class Peer(Doctor):
    def test_nothing_is_wrong(self):
        with open(self.path(), "w"):
            pass
        found = self.doctor("--transport", "peer", status=0)
        folder, file = os.stat(self.files), os.stat(self.path())
        topic = found["topic"]
        self.assertEqual((topic["folder_device"], topic["folder_inode"], topic["name"]), (folder.st_dev, folder.st_ino, "data"))
        self.assertEqual((topic["device"], topic["inode"], topic["links"]), (file.st_dev, file.st_ino, 1))
        self.assertEqual((found["transport"]["kind"], found["daemon"]["taken"]), ("peer", False))

    def test_links_are_resolved(self):
        os.mkdir(self.path("real"))
        os.symlink("real/name", self.path())
        topic = self.doctor()["topic"]
        self.assertEqual((topic["name"], topic["folder"], topic["exists"]),
                         ("name", os.path.join(self.files, "real"), False))
        self.assertEqual(topic["folder_inode"], os.stat(self.path("real")).st_ino)

    def test_no_folder(self):
        result = self.call("doctor", self.path("none/x"))
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, rb"(?m)^problem +no-topic: .*\n +remedy: .+\n")

    def test_the_given_address_is_dead(self):
        found = self.doctor(status=1)
        self.assertEqual(found["daemon"]["addresses"], [{"address": self.socket, "source": "$PATHBUS_ADDRESS",
                                                         "result": "absent", "why": "not taken: there is no socket"}])
        self.assertEqual(self.codes(), {"no-daemon-there": True})

    def test_a_stale_sidecar(self):
        listener = self.listen(self.path())
        listener.send(signal.SIGKILL)
        listener.exit()
        self.assertEqual(self.codes("--transport", "peer"), {"stale-sidecar": False})
        self.assertFalse(os.path.exists(self.sidecar()))  # since it was opened


if __name__ == "__main__":
    ctl.main()
