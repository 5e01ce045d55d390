#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Debian packages are built, lintian has nothing against them, and each has what it should."""

import re
import shutil
import subprocess
import tempfile
import unittest

import packages

# What must be where; all else is looked at by what it is.
FILES = {
    "libpathbus-dev": [r"usr/include/pathbus\.h", r"usr/lib/[^/]+/libpathbus\.so", r"usr/lib/[^/]+/pkgconfig/pathbus\.pc",
                       r"usr/lib/[^/]+/cmake/pathbus/pathbus-config\.cmake", r"usr/share/man/man3/pathbus_open\.3\.gz",
                       r"usr/share/man/man3/pathbus_lock_try\.3\.gz"],
    "libpathbus0": [r"usr/lib/[^/]+/libpathbus\.so\.0", r"usr/lib/[^/]+/libpathbus\.so\.[0-9.]+"],
    "pathbus-tools": [r"usr/bin/pathbusctl", r"usr/share/man/man1/pathbusctl\.1\.gz", r"usr/share/man/man7/pathbus\.7\.gz"],
    "pathbusd": [r"usr/bin/pathbusd", r"usr/libexec/pathbus/pathbus-link", r"etc/pathbus/pathbusd\.conf",
                 r"usr/share/man/man8/pathbusd\.8\.gz", r"usr/share/man/man5/pathbusd\.conf\.5\.gz"],
}


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(packages.FOLDER / "deb", ignore_errors=True)
        cls.output = packages.build(packages.SOURCES, packages.FOLDER)
        cls.files = packages.found()

    def field(self, name, field):
        return subprocess.run(["dpkg-deb", "-f", self.files[name], field], check=True, capture_output=True,
                              text=True).stdout.strip()

    def test_all_are_there(self):
        self.assertEqual(list(self.files), packages.NAMES)
        for name, file in self.files.items():
            self.assertIn(f"{packages.digest(file)}  {file.name}", self.output)
            # The changelog has the version of these sources.
            self.assertEqual(self.field(name, "Version"), packages.VERSION + "-1")

    def test_changelog_is_of_this_version(self):
        first = (packages.SOURCES / "packaging/debian/changelog").read_text().split("\n")[0]
        self.assertTrue(first.startswith(f"pathbus ({packages.VERSION}-1) "), first)

    def test_lintian(self):
        if not shutil.which("lintian"):
            self.skipTest("lintian is not there")
        self.assertEqual([line for line in self.output.splitlines() if re.match(r"[EW]: ", line)], [])
        self.assertNotIn("it has looked at nothing", self.output)

    def test_what_is_in_them(self):
        everything = []
        for name, file in self.files.items():
            listing = subprocess.run(["dpkg-deb", "-c", file], check=True, capture_output=True, text=True).stdout
            paths = []
            for line in listing.splitlines():
                mode, owner, _, _, _, path = line.split(None, 5)
                path = path.split(" -> ")[0].removeprefix("./")
                self.assertEqual(owner, "root/root", line)
                self.assertIn(mode, ["drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"], line)
                self.assertEqual(mode == "-rwxr-xr-x", path.startswith(("usr/bin/", "usr/libexec/")) and mode[0] == "-", line)
                if mode[0] != "d":
                    paths.append(path)
            for expected in FILES[name] + [f"usr/share/doc/{name}/{re.escape(paper)}" for paper in ("copyright",
                                                                                                    "changelog.Debian.gz")]:
                self.assertTrue([path for path in paths if re.fullmatch(expected, path)], f"{name} has no {expected}")
            everything += paths
        self.assertEqual(len(everything), len(set(everything)), "a file is in two packages")

    def test_nothing_of_the_machine_is_in_them(self):
        """Neither where it was built, nor where the sources were."""
        for name, file in self.files.items():
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run(["dpkg-deb", "-R", file, folder], check=True)
                for where in (packages.SOURCES, packages.FOLDER):
                    hits = subprocess.run(["grep", "-rlF", str(where), folder], capture_output=True, text=True).stdout
                    self.assertEqual(hits, "", name)

    def test_the_configuration_is_the_admins(self):
        files = subprocess.run(["dpkg-deb", "-I", self.files["pathbusd"], "conffiles"], check=True, capture_output=True,
                               text=True).stdout
        self.assertEqual(files, "/etc/pathbus/pathbusd.conf\n")


if __name__ == "__main__":
    packages.main()
