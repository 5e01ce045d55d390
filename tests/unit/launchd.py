#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What launchd is told, key by key: launchd.py FOLDER BINDIR. launchd itself is not asked here."""

import pathlib
import plistlib
import sys

folder, programs = pathlib.Path(sys.argv[1]), sys.argv[2]


def sound(name, arguments):
    """The keys that both have, which are taken out. The rest."""
    with open(folder / f"{name}.plist", "rb") as file:
        job = plistlib.load(file)
    assert job.pop("Label") == name, "a job's file is named by its label"
    assert job.pop("ProgramArguments") == [f"{programs}/pathbusd", *arguments]
    # Started on demand, and by nothing else; again after a failure only.
    assert job.pop("RunAtLoad") is False and job.pop("KeepAlive") == {"SuccessfulExit": False}
    assert job.pop("ExitTimeOut") == 15 and job.pop("ProcessType") == "Adaptive" and job.pop("Umask") == 0o077
    assert job.pop("SoftResourceLimits")["NumberOfFiles"] >= 65536
    return job


def main():
    job = sound("org.pathbus.pathbusd", ["--system"])
    assert job.pop("HardResourceLimits") == {"NumberOfFiles": 262144}
    common = {"SockFamily": "Unix", "SockType": "stream"}
    assert job.pop("Sockets") == {
        "bus": {**common, "SockPathName": "/var/run/pathbus/socket", "SockPathMode": 0o666},
        "control": {**common, "SockPathName": "/var/run/pathbus/control", "SockPathMode": 0o600},
    }
    assert not job, job
    # The system's place is where programs look for it (common/address.h).
    header = (pathlib.Path(__file__).parents[2] / "common/address.h").read_text()
    assert '#ifdef __APPLE__\n#define ADDRESS_SYSTEM "/var/run/pathbus/socket"' in header

    job = sound("org.pathbus.pathbusd.agent", ["--idle-exit", "600000"])
    assert job.pop("Sockets") == {
        "bus": {"SecureSocketWithKey": "PATHBUS_ADDRESS"},
        "control": {"SecureSocketWithKey": "PATHBUS_CONTROL"},
    }
    assert not job, job


main()
