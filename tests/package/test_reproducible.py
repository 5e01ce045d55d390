#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same sources give the same packages: in another folder, at another time, for who has another umask, time zone and language."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import packages


def copy(to):
    """The sources without what was built of them; files that are not committed yet are some, too."""
    try:
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=packages.SOURCES, check=True,
                                capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        shutil.copytree(packages.SOURCES, to, ignore=lambda folder, names: ["build"] if folder == str(packages.SOURCES) else [])
        return
    for name in reversed([name for name in listed if name]):  # and in another order
        source = packages.SOURCES / name
        if source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, to / name)
            (to / name).chmod(0o700 if os.access(source, os.X_OK) and source.stat().st_mode & 0o100 else 0o600)


class Reproducible(unittest.TestCase):
    def test_the_same_hash_twice(self):
        if os.environ.get("PATHBUS_TEST_FULL", "0") in ("", "0"):
            raise unittest.SkipTest("it builds all packages once more: in the long form (scripts/test --full)")
        first = {name: packages.digest(file) for name, file in packages.found().items()}
        self.assertEqual(list(first), packages.NAMES)
        old = os.umask(0o077)
        try:
            with tempfile.TemporaryDirectory(prefix="pathbus-test.") as folder:
                where = pathlib.Path(folder)
                copy(where / "some where/else")
                os.environ.pop("CMAKE_C_COMPILER_LAUNCHER", None)
                packages.build(where / "some where/else", where / "built", "--no-lintian", CCACHE_DISABLE="1",
                               TZ="Asia/Kathmandu", LC_ALL="C.UTF-8", LANG="C.UTF-8", HOME=folder)
                second = {name: packages.digest(file) for name, file in packages.found(where / "built").items()}
        finally:
            os.umask(old)
        self.assertEqual(first, second)


if __name__ == "__main__":
    packages.main()
