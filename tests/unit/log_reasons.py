#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every reason that a line of the log may name is in docs/logs.md, as the code has it, and the other way round; and each is used.

log_reasons.py SOURCE-FOLDER
"""

import os
import re
import sys

ENTRY = re.compile(r'X\((\w+), (\w+), (\w+), "([^"]+)", "([^"]+)"\)')
ROW = re.compile(r"\| `([a-z-]+)` \| (\w+) \| (.*?) \|$", re.MULTILINE)
GENERAL = {"ERROR", "WARNING", "INFO", "DEBUG"}  # need not be used


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def main():
    root = sys.argv[1]
    entries = ENTRY.findall(read(root, "daemon", "log_reasons.h"))
    told = {(name, level, meaning) for name, level, meaning in ROW.findall(read(root, "docs", "logs.md"))}
    known = {(name, level.lower(), meaning) for _, level, _, name, meaning in entries}
    wrong = [f"not in docs/logs.md: {entry}" for entry in sorted(known - told)]
    wrong += [f"only in docs/logs.md: {entry}" for entry in sorted(told - known)]
    if len(entries) < 50:
        wrong.append(f"only {len(entries)} reasons were found")
    code = ""
    for folder, _, names in os.walk(os.path.join(root, "daemon")):
        code += "".join(read(folder, name) for name in names if name.endswith(".c"))
    wrong += [f"never used: {reason}" for reason, *_ in entries
              if reason not in GENERAL and not re.search(rf"\bREASON_{reason}\b", code)]
    print("\n".join(wrong))
    return 1 if wrong else 0


sys.exit(main())
