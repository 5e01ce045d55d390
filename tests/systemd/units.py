#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pathbus under a real systemd, installed as cmake installs it: units.py [CASE...]. The cases are in cases.py.

From its environment: BUILD, the folder to install from; PATHBUSD and PATHBUS_LINK, which programs to take (a service is not run
with sanitizers: they need more than it may do); GUEST, the program of guest.c.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import box

HERE = pathlib.Path(__file__).resolve().parent


def stage(folder):
    """Installs below `folder`."""
    subprocess.run([os.environ.get("CMAKE", "cmake"), "--install", os.environ["BUILD"]], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "DESTDIR": str(folder)})
    for name, program in (("pathbusd", "PATHBUSD"), ("pathbus-link", "PATHBUS_LINK")):
        installed, = [path for path in folder.rglob(name) if path.is_file() and os.access(path, os.X_OK)]
        shutil.copy(os.environ[program], installed)
    tests = folder / "pathbus-tests"
    tests.mkdir()
    for path in (HERE / "cases.py", HERE.parent / "service/bus.py", pathlib.Path(os.environ["GUEST"])):
        shutil.copy(path, tests)
    for path in folder.rglob("*"):  # whatever the umask is here
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def main():
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pathbus-stage-") as folder:
        try:
            stage(pathlib.Path(folder))

            def prepare(root):
                os.umask(0o022)
                for path in sorted(pathlib.Path(folder).rglob("*")):
                    to = root / path.relative_to(folder)
                    if path.is_dir() and not path.is_symlink():
                        to.mkdir(exist_ok=True)
                    else:
                        shutil.copy2(path, to, follow_symlinks=False)

            with box.Box(prepare, ("dbus.socket", "systemd-logind.service", "systemd-user-sessions.service")) as inside:
                print(f"systemd is up ({time.monotonic() - began:.1f} s)", flush=True)
                status = inside.run(sys.executable, "-B", "/pathbus-tests/cases.py", *sys.argv[1:]).returncode
        except box.Impossible as why:
            print(f"SKIP: no systemd in a box: {why}")
            return 77
    return status


sys.exit(main())
