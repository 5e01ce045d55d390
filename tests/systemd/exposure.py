#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the system's unit leaves open is little, and each thing is given a reason there: exposure.py UNIT. Starts nothing."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

MOST = 15  # tenths


def words_for(name):
    """What a comment of the unit has to name, of what systemd-analyze names so."""
    option, _, value = name.partition("=~")
    return [value.replace("CAP_SET(UID|GID|PCAP)", "CAP_SETUID")] if value else [option.split("/")[0]]


def main():
    unit = pathlib.Path(sys.argv[1])
    if not shutil.which("systemd-analyze"):
        print("SKIP: there is no systemd-analyze")
        return 77
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager"]
    done = subprocess.run([*command, f"--threshold={MOST}", unit], capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        print("SKIP: this systemd-analyze looks at no files (before version 250)")
        return 77
    print(done.stdout[-200:], done.stderr)
    assert done.returncode == 0, "the exposure is above the threshold"
    done = subprocess.run([*command, "--json=short", unit], capture_output=True, text=True, check=True)
    left = [entry["name"] for entry in json.loads(done.stdout) if entry.get("exposure")]
    assert len(left) > 3, left
    reasons = re.sub(r"\n# *", " ", unit.read_text().partition("and why it is so:")[2])
    unsaid = [name for name in left if not all(word in reasons for word in words_for(name))]
    assert not unsaid, f"the unit does not say why: {unsaid}"
    said = re.findall(r"\b(?:CAP_[A-Z_]+|[A-Z][A-Za-z]+=)", reasons)
    needless = [word for word in said if not any(word.rstrip("=") in name or "CAP_SET" in word for name in left)
                and word not in ("ProtectClock=",)]
    assert not needless, f"the unit gives reasons for what is not left open: {needless}"
    return 0


sys.exit(main())
