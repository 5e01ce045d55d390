#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the corpus of fuzz_decode.c: an example of each frame, and what has a chance of being taken wrongly.

corpus.py FOLDER     writes the files (the ones in the tree were made so)
corpus.py --check FOLDER     fails if the folder lacks one of them, or has one with other contents
"""

import os
import struct
import sys

STREAM, BODIES, PAGE, ESCAPE = (bytes([n]) for n in range(4))


def frame(kind, body=b"", request=1, reserved=0, size=None):
    return struct.pack("<IHHI", 12 + len(body) if size is None else size, kind, reserved, request) + body


def lay(offset, data):
    """Bytes laid over a good page."""
    return b"".join(struct.pack("<HB", offset + i, byte) for i, byte in enumerate(data))


HELLO = frame(1, b"PBUS" + struct.pack("<HH", 1, 1))
OPEN = frame(2, struct.pack("<I", 3) + b"/data/app.db", 2)
CLOSE = frame(3, struct.pack("<I", 7), 0)
PING = frame(4, b"", 3)
GOODBYE = frame(5, b"", 0)
WELCOME = frame(64, struct.pack("<HHIII", 1, 0, 8192, 4095, 1234) + bytes(range(16)))
OPENED = frame(65, struct.pack("<IIII", 7, 3, 0, 0), 2)
ERROR = frame(66, struct.pack("<I", 13) + b"you may not read this file", 2)
PONG = frame(67, struct.pack("<IIQ", 3, 4, 1 << 40) + b"0.1.0", 3)

FILES = {
    "hello": STREAM + HELLO,
    "hello-no-magic": STREAM + frame(1, b"XBUS" + struct.pack("<HH", 1, 1)),
    "hello-versions-crossed": STREAM + frame(1, b"PBUS" + struct.pack("<HH", 2, 1)),
    "welcome": STREAM + WELCOME,
    "welcome-version-0": STREAM + frame(64, struct.pack("<HHIII", 0, 0, 8192, 4095, 1) + bytes(16)),
    "open": STREAM + OPEN,
    "open-relative": STREAM + frame(2, struct.pack("<I", 1) + b"data"),
    "open-nul": STREAM + frame(2, struct.pack("<I", 1) + b"/a\0b"),
    "open-empty": STREAM + frame(2, struct.pack("<I", 1)),
    "open-flags": STREAM + frame(2, struct.pack("<I", 0x80000000) + b"/a"),
    "open-longest": STREAM + frame(2, struct.pack("<I", 2) + b"/" * 4095),
    "open-too-long": STREAM + frame(2, struct.pack("<I", 2) + b"/" * 4096),
    "opened": STREAM + OPENED,
    "opened-rights": STREAM + frame(65, struct.pack("<IIII", 7, 4, 0, 0)),
    "close": STREAM + CLOSE,
    "ping": STREAM + PING,
    "ping-with-body": STREAM + frame(4, b"x"),
    "goodbye": STREAM + GOODBYE,
    "error": STREAM + ERROR,
    "error-no-text": STREAM + frame(66, struct.pack("<I", 1)),
    "error-0": STREAM + frame(66, struct.pack("<I", 0) + b"none"),
    "error-longest": STREAM + frame(66, struct.pack("<I", 4095) + b"e" * 255),
    "error-too-long": STREAM + frame(66, struct.pack("<I", 4095) + b"e" * 256),
    "pong": STREAM + PONG,
    "pong-no-version": STREAM + frame(67, struct.pack("<IIQ", 3, 4, 5)),
    "session-client": STREAM + HELLO + OPEN + PING + CLOSE + GOODBYE,
    "session-daemon": STREAM + WELCOME + OPENED + PONG + ERROR,
    "header-part": STREAM + HELLO[:7],
    "header-size-0": STREAM + frame(4, size=0),
    "header-size-11": STREAM + frame(4, size=11),
    "header-size-most": STREAM + frame(2, b"\1\0\0\0/" + b"a" * 8175, size=8192),
    "header-size-too-much": STREAM + frame(4, size=8193),
    "header-size-huge": STREAM + frame(4, size=0xFFFFFFFF),
    "header-reserved": STREAM + frame(4, reserved=1),
    "header-unknown-type": STREAM + frame(999, b"what is this") + PING,
    "body-hello": BODIES + HELLO,
    "body-welcome": BODIES + WELCOME,
    "body-open": BODIES + OPEN,
    "body-error": BODIES + ERROR,
    "body-pong": BODIES + PONG,
    "body-none": BODIES,
    "page": PAGE,
    "page-magic": PAGE + lay(0, b"PTHBUSL2"),
    "page-abi": PAGE + lay(8, b"\2"),
    "page-size": PAGE + lay(12, b"\0\0\1\0"),
    "page-inode": PAGE + lay(32, b"\xff"),
    "page-key": PAGE + lay(40, b"\1\1"),
    "page-key-name": PAGE + lay(40 + 24, b"elif"),
    "page-numbers": PAGE + lay(512, b"\xff" * 40),
    "escape-plain": ESCAPE + b"plain name.db",
    "escape-utf8": ESCAPE + "gr\u00fc\u00df \u20ac \U0001f514".encode(),
    "escape-controls": ESCAPE + bytes(range(32)) + b"\x7f\\",
    "escape-not-utf8": ESCAPE + b"\x80\xbf\xc0\xaf\xe0\x80\xaf\xed\xa0\x80\xf4\x90\x80\x80\xf5\xff",
    "escape-cut-off": ESCAPE + b"a\xf0\x9f\x94",
    "escape-direction": ESCAPE + "a\u202eb\u2066c\u200f\u061c\u2028".encode(),
    "empty": b"",
}


def main():
    check = sys.argv[1:2] == ["--check"]
    if len(sys.argv) != 2 + check:
        sys.exit(__doc__)
    folder = sys.argv[-1]
    os.makedirs(folder, exist_ok=True)
    for name, data in FILES.items():
        path = os.path.join(folder, name)
        if check:
            with open(path, "rb") as file:
                assert file.read() == data, f"{path} is not what this script makes"
        else:
            with open(path, "wb") as file:
                file.write(data)


main()
