# SPDX-License-Identifier: MIT
"""What the tests of the packages have in common."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

SOURCES = pathlib.Path(os.environ["PATHBUS_SOURCES"])
FOLDER = pathlib.Path(os.environ["PATHBUS_PACKAGES"])
VERSION = os.environ["PATHBUS_VERSION"]
NAMES = ["libpathbus-dev", "libpathbus0", "pathbus-tools", "pathbusd"]


def build(sources, folder, *options, **environment):
    """scripts/package; returns what it has printed."""
    for command in ("dpkg-deb", "dpkg-shlibdeps", "file"):
        if not shutil.which(command):
            raise unittest.SkipTest(f"Debian packages are built on Debian: there is no {command}")
    result = subprocess.run([sources / "scripts/package", "--build", folder, *options], cwd="/", text=True,
                            capture_output=True, env={**os.environ, **environment})
    if result.returncode != 0:
        raise AssertionError(f"scripts/package: {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def found(folder=FOLDER):
    """{name of a package: its file}"""
    files = {file.name.split("_")[0]: file for file in sorted((folder / "deb").glob("*.deb"))}
    if folder == FOLDER and not files:
        raise unittest.SkipTest("package.packages has built none")
    return files


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main():
    program = unittest.main(module="__main__", exit=False)
    result = program.result
    if result.wasSuccessful() and result.skipped and len(result.skipped) >= result.testsRun:
        print("SKIP:", result.skipped[0][1])
        sys.exit(77)
    sys.exit(0 if result.wasSuccessful() else 1)
