#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The first and the last test of a run: what have the tests left on the machine?

leftovers.py before BUILD LIST: notes what is there already.
leftovers.py after BUILD LIST: names what came since and is still there, and fails: processes whose program
lies in the folder BUILD, temporary folders that the tests wrote into the file LIST, lanes in /dev/shm.
"""

import glob
import json
import os
import sys
import time

GRACE_S = 10  # for what is just about to end


def processes(build):
    """Those whose executable lies in the build folder, as a map from an identity to a description."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            exe = os.readlink(f"/proc/{entry}/exe")
            with open(f"/proc/{entry}/stat", errors="replace") as stat:
                started = stat.read().rpartition(")")[2].split()[19]
            with open(f"/proc/{entry}/cmdline", errors="replace") as cmdline:
                command = cmdline.read().replace("\0", " ").strip()
        except OSError:  # ended, or not ours to look at
            continue
        if exe.startswith(build + os.sep):
            found[f"{entry}@{started}"] = f"process {entry}: {command}"
    return found


def lanes():
    found = {}
    for path in glob.glob("/dev/shm/pathbus-*/*") + glob.glob("/dev/shm/pathbus-*/.*"):
        try:
            found[f"{path}@{os.lstat(path).st_ino}"] = f"lane {path}"
        except OSError:
            continue
    return found


def folders(listing):
    try:
        with open(listing, errors="replace") as lines:
            paths = lines.read().splitlines()
    except FileNotFoundError:
        return {}
    return {path: f"folder {path}: {', '.join(os.listdir(path))}" for path in paths if os.path.isdir(path)}


def main():
    step, build, listing = sys.argv[1:]
    build = os.path.realpath(build)
    memory = listing + ".before"

    if step == "before":
        with open(memory, "w") as out:
            json.dump(list({**processes(build), **lanes()}), out)
        open(listing, "w").close()
        return 0

    with open(memory) as known:
        before = set(json.load(known))
    deadline = time.monotonic() + GRACE_S
    while True:
        found = {**processes(build), **lanes(), **folders(listing)}
        left = [found[key] for key in sorted(found) if key not in before]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    for what in left:
        print(f"left over: {what}")
    return 1 if left else 0


sys.exit(main())
