#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The rules of the house: who may include whom, and how long a file may get.

house.py SOURCE-FOLDER
"""

import os
import re
import sys

# A part is a folder, without those of its folders (or files) that are parts themselves.
PARTS = [
    "common",
    "libclient",
    "libclient/include",
    "daemon",
    "daemon/link",
    "daemon/link/protocol.h",
    "daemon/sandbox.h",
    "cli",
]

# Which parts a part may include, besides itself.
MAY_INCLUDE = {
    "common": [],
    "libclient": ["common", "libclient/include"],
    "libclient/include": [],
    "daemon": ["common", "daemon/link/protocol.h", "daemon/sandbox.h"],
    "daemon/link": ["common", "daemon/link/protocol.h", "daemon/sandbox.h", "libclient", "libclient/include"],
    "daemon/link/protocol.h": ["common"],
    "daemon/sandbox.h": [],
    "cli": ["common", "libclient/include"],
}

# The files that know libevent: six at most.
LOOP_FILES = [
    "daemon/control/door.c",
    "daemon/control/http.c",
    "daemon/control/stream.c",
    "daemon/loop.c",
]
assert len(LOOP_FILES) <= 6

# Foreign headers: who may include them, and how many files may.
FOREIGN = [
    (r"event2/|event\.h|evutil\.h|evhttp\.h", LOOP_FILES, len(LOOP_FILES)),
    (r"seccomp\.h", ["daemon"], 1),
    (r"jansson\.h", ["cli", "daemon/control/body.c"], 3),
    (r"ini\.h", ["daemon"], 1),
    (r"curl/", ["cli"], 1),
    (r"(ncursesw?/)?(n?curses|term|panel|menu|form)\.h", ["cli/screen.c"], 1),
    (r"systemd/", ["daemon"], 1),
    (r"sqlite3\.h", [], 0),
]

MAX_LINES = 600
LINE_FOLDERS = ["common", "libclient", "daemon", "cli", "bench", "examples"]

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def sources(root, folder, suffixes):
    for where, _, names in os.walk(os.path.join(root, folder)):
        for name in sorted(names):
            if name.endswith(suffixes):
                yield os.path.relpath(os.path.join(where, name), root)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def part_of(path):
    """The longest part that contains the path, or None."""
    return max((part for part in PARTS if (path + "/").startswith(part + "/")), key=len, default=None)


def resolve(root, path, name):
    """The file of the project that an include names, or None: a foreign one."""
    for folder in [os.path.dirname(path), "common", "libclient/include", ""]:
        candidate = os.path.normpath(os.path.join(folder, name))
        if os.path.isfile(os.path.join(root, candidate)):
            return candidate
    return None


def check_include(root, path, name, quoted, foreign_users):
    target = resolve(root, path, name)
    if target is None:
        for number, (pattern, where, _) in enumerate(FOREIGN):
            if re.match(pattern, name):
                foreign_users[number].add(path)
                if not any((path + "/").startswith(w + "/") for w in where):
                    yield f"{path}: may not include <{name}>"
                return
        if quoted:
            yield f"{path}: no such file: \"{name}\""
        return
    mine, theirs = part_of(path), part_of(target)
    if theirs != mine and theirs not in MAY_INCLUDE[mine]:
        yield f"{path}: {mine} may not include {target}"


def check_includes(root):
    foreign_users = [set() for _ in FOREIGN]
    for folder in ["common", "libclient", "daemon", "cli"]:
        for path in sources(root, folder, (".c", ".h")):
            for quote, name in INCLUDE.findall(read(root, path)):
                yield from check_include(root, path, name, quote == '"', foreign_users)
    for (pattern, _, limit), users in zip(FOREIGN, foreign_users):
        if len(users) > limit:
            yield f"more than {limit} files include {pattern}: {', '.join(sorted(users))}"


def check_sizes(root):
    for folder in LINE_FOLDERS:
        for path in sources(root, folder, (".c",)):
            n_lines = read(root, path).count("\n")
            if n_lines > MAX_LINES:
                yield f"{path}: {n_lines} lines, more than {MAX_LINES}"


def main():
    root = sys.argv[1]
    violations = [*check_includes(root), *check_sizes(root)]
    for violation in violations:
        print(violation)
    return 1 if violations else 0


sys.exit(main())
