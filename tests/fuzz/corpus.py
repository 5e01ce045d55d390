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
def open_body(path, flags=3, last=0, origin=0):
    return struct.pack("<IIIIQ", flags, 0, 0, last, origin) + path


OPEN = frame(2, open_body(b"/data/app.db"), 2)
OPEN_SOCKET = frame(2, open_body(b"/data/app.db", 13, 5), 2)
CLOSE = frame(3, struct.pack("<I", 7), 0)
PING = frame(4, b"", 3)
GOODBYE = frame(5, b"", 0)
POST = frame(6, struct.pack("<I", 7), 4)
PUBLISH = frame(7, struct.pack("<IIQ", 7, 3, 1) + b"key" + b"data", 5)
SET_STATE = frame(8, struct.pack("<IIQQ", 7, 1, 2, 3), 6)
GET_STATE = frame(9, struct.pack("<I", 7), 7)
SEEN = frame(10, struct.pack("<IQ", 7, 8), 0)
SYNC = frame(11, struct.pack("<III", 7, 1000, 16), 8)
WELCOME = frame(64, struct.pack("<HHIII", 1, 0, 66560, 4095, 1234) + bytes(range(16)))
OPENED = frame(65, struct.pack("<IIIIIIQ", 7, 3, 0, 0, 256, 4096, 99), 2)
ERROR = frame(66, struct.pack("<I", 13) + b"you may not read this file", 2)
PONG = frame(67, struct.pack("<IIQ", 3, 4, 1 << 40) + b"0.1.0", 3)
DONE = frame(68, b"", 4)
STATE = frame(69, struct.pack("<QQ", 3, 4), 7)
LAGGARD = struct.pack("<IIQ16s", 1234, 1000, 99, b"python3")
SYNCED = frame(70, struct.pack("<IIII", 3, 1, 0, 2) + 2 * LAGGARD, 8)
EVENT_POST = frame(71, struct.pack("<IQQ", 7, 8, 2), 0)
EVENT_MESSAGE = frame(72, struct.pack("<IIQQQQII", 7, 3, 9, 99, 1, 1 << 50, 1234, 1000) + b"key" + b"data", 0)
EVENT_GAP = frame(73, struct.pack("<IQQ", 7, 20, 11), 0)
EVENT_RESYNC = frame(74, struct.pack("<IQ", 7, 21), 0)

ID = bytes(range(16))
REGION_OPEN = frame(12, struct.pack("<IIQ", 7, 0, 0) + bytes(16) + b"frame", 9)
REGION_CREATE = frame(12, struct.pack("<IIQ", 7, 256 | 7, 100 << 20) + bytes(16) + b"frame", 9)
REGION_REPLACE = frame(12, struct.pack("<IIQ", 7, 512, 4096) + ID + b"frame", 9)
REGION_CLOSE = frame(13, struct.pack("<III", 7, 1, 0), 0)
REGION_RESTORE = frame(14, struct.pack("<IIIIIIQQ", 7, 4, 0, 12, 1, 0, 5000, 4096) + ID + b"frame", 10)
REGION_LIST = frame(15, struct.pack("<IIQ", 7, 0, 1), 11)
REGION = frame(75, struct.pack("<IIIIIIQQ", 7, 1, 4, 0, 1, 0, 5000, 4096) + ID, 9)
RESTORED = frame(76, struct.pack("<II", 7, 1), 10)
HOLDER = struct.pack("<IIII16s", 1234, 1000, 1, 0, b"python3")
REGIONS = frame(77, struct.pack("<QQQIIIIII", 1, 5000, 3, 4, 0, 2, 2, 5, 0) + 2 * HOLDER + b"frame", 11)
def endpoint(pid, name, flags=0):
    return struct.pack("<IIII16sI", pid, 1000, flags, 2, b"server", len(name)) + name


LISTEN = frame(16, struct.pack("<II", 7, 15) + b"service", 9)
UNLISTEN = frame(17, struct.pack("<I", 1), 0)
CONNECT = frame(18, struct.pack("<II", 7, 0xFFFFFFFF) + b"service", 10)
TOKEN = frame(19, struct.pack("<II", 7, 0) + b"service", 11)
REDEEM = frame(20, struct.pack("<I", 0) + bytes(range(16)), 12)
ENDPOINT_LIST = frame(21, struct.pack("<IIQ", 7, 0, 5), 13)
TAKEN = frame(22, struct.pack("<II", 1, 1), 0)
CANCEL = frame(23, struct.pack("<I", 10), 0)
MEMBER_LIST = frame(24, struct.pack("<IIQ", 7, 0, 257), 14)
MEMBER = struct.pack("<IIIIQQ", 1234, 1000, 1, 0, 77, 5) + b"program".ljust(16, b"\0")
MEMBERS = frame(84, struct.pack("<QII", 258, 2, 0) + 2 * MEMBER, 14)
LISTENING = frame(78, struct.pack("<I", 1), 9)
CONNECTED = frame(79, struct.pack("<IIII", 1234, 1000, 1000, 1), 10)
TOKEN_MADE = frame(80, bytes(range(16)), 11)
ENDPOINTS = frame(81, struct.pack("<QI", 4, 2) + endpoint(1234, b"service", 13) + endpoint(1, b"x" * 255), 13)
EVENT_CONNECTION = frame(82, struct.pack("<IIII", 1, 1234, 1000, 1000), 0)
EVENT_UNLISTENED = frame(83, struct.pack("<II", 1, 98), 0)

FILES = {
    "hello": STREAM + HELLO,
    "hello-no-magic": STREAM + frame(1, b"XBUS" + struct.pack("<HH", 1, 1)),
    "hello-versions-crossed": STREAM + frame(1, b"PBUS" + struct.pack("<HH", 2, 1)),
    "welcome": STREAM + WELCOME,
    "welcome-version-0": STREAM + frame(64, struct.pack("<HHIII", 0, 0, 66560, 4095, 1) + bytes(16)),
    "open": STREAM + OPEN,
    "open-relative": STREAM + frame(2, open_body(b"data")),
    "open-nul": STREAM + frame(2, open_body(b"/a\0b")),
    "open-empty": STREAM + frame(2, open_body(b"")),
    "open-flags": STREAM + frame(2, open_body(b"/a", 0x80000000)),
    "open-longest": STREAM + frame(2, open_body(b"/" * 4095)),
    "open-too-long": STREAM + frame(2, open_body(b"/" * 4096)),
    "opened": STREAM + OPENED,
    "opened-rights": STREAM + frame(65, struct.pack("<IIIIIIQ", 7, 4, 0, 0, 256, 4096, 0)),
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
    "open-socket": STREAM + OPEN_SOCKET,
    "open-echo-without-socket": STREAM + frame(2, open_body(b"/a", 9)),
    "open-last-without-socket": STREAM + frame(2, open_body(b"/a", 1, 1)),
    "post": STREAM + POST,
    "publish": STREAM + PUBLISH,
    "publish-nothing": STREAM + frame(7, struct.pack("<IIQ", 7, 0, 0)),
    "publish-key-too-long": STREAM + frame(7, struct.pack("<IIQ", 7, 5, 1) + b"data"),
    "publish-longest": STREAM + frame(7, struct.pack("<IIQ", 7, 255, 1) + b"a" * (255 + 65536)),
    "publish-too-long": STREAM + frame(7, struct.pack("<IIQ", 7, 254, 1) + b"a" * (255 + 65536)),
    "set-state": STREAM + SET_STATE,
    "set-state-flags": STREAM + frame(8, struct.pack("<IIQQ", 7, 2, 2, 3)),
    "set-state-expects": STREAM + frame(8, struct.pack("<IIQQ", 7, 0, 2, 3)),
    "get-state": STREAM + GET_STATE,
    "seen": STREAM + SEEN,
    "sync": STREAM + SYNC,
    "done": STREAM + DONE,
    "state": STREAM + STATE,
    "synced": STREAM + SYNCED,
    "synced-fewer": STREAM + frame(70, struct.pack("<IIII", 3, 1, 0, 2) + LAGGARD),
    "synced-huge": STREAM + frame(70, struct.pack("<IIII", 3, 1, 0, 0x08000002) + 2 * LAGGARD),
    "synced-more-than-all": STREAM + frame(70, struct.pack("<IIII", 3, 4, 0, 0)),
    "synced-command": STREAM + frame(70, struct.pack("<IIII", 3, 1, 0, 1) + LAGGARD[:-16] + b"x" * 16),
    "event-post": STREAM + EVENT_POST,
    "event-post-none": STREAM + frame(71, struct.pack("<IQQ", 7, 8, 0), 0),
    "event-message": STREAM + EVENT_MESSAGE,
    "event-message-key": STREAM + frame(72, struct.pack("<IIQQQQII", 7, 8, 9, 99, 1, 1, 1, 1) + b"keydata", 0),
    "event-gap": STREAM + EVENT_GAP,
    "event-resync": STREAM + EVENT_RESYNC,
    "session-socket": STREAM + OPENED + EVENT_POST + EVENT_MESSAGE + DONE + EVENT_GAP + STATE + EVENT_RESYNC + SYNCED,
    "body-publish": BODIES + PUBLISH,
    "body-message": BODIES + EVENT_MESSAGE,
    "body-synced": BODIES + SYNCED,
    "body-event": BODIES + EVENT_POST,
    "body-state": BODIES + SET_STATE,
    "session-client": STREAM + HELLO + OPEN + OPEN_SOCKET + PING + POST + PUBLISH + SET_STATE + GET_STATE +
                      SEEN + SYNC + CLOSE + GOODBYE,
    "session-daemon": STREAM + WELCOME + OPENED + PONG + ERROR,
    "header-part": STREAM + HELLO[:7],
    "header-size-0": STREAM + frame(4, size=0),
    "header-size-11": STREAM + frame(4, size=11),
    "header-size-most": STREAM + frame(7, struct.pack("<IIQ", 7, 255, 1) + b"a" * 66532, size=66560),
    "header-size-too-much": STREAM + frame(4, size=66561),
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
    "page-abi": PAGE + lay(8, b"\1"),
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
    "listen": STREAM + LISTEN,
    "listen-flags": STREAM + frame(16, struct.pack("<II", 7, 16) + b"service"),
    "listen-no-name": STREAM + frame(16, struct.pack("<II", 7, 0)),
    "listen-nul": STREAM + frame(16, struct.pack("<II", 7, 0) + b"a\0b"),
    "listen-longest": STREAM + frame(16, struct.pack("<II", 7, 0) + b"x" * 255),
    "listen-too-long": STREAM + frame(16, struct.pack("<II", 7, 0) + b"x" * 256),
    "unlisten": STREAM + UNLISTEN,
    "connect": STREAM + CONNECT,
    "connect-no-name": STREAM + frame(18, struct.pack("<II", 7, 0)),
    "token": STREAM + TOKEN,
    "token-timeout": STREAM + frame(19, struct.pack("<II", 7, 1) + b"service"),
    "redeem": STREAM + REDEEM,
    "endpoint-list": STREAM + ENDPOINT_LIST,
    "taken": STREAM + TAKEN,
    "taken-none": STREAM + frame(22, struct.pack("<II", 1, 0), 0),
    "cancel": STREAM + CANCEL,
    "cancel-none": STREAM + frame(23, struct.pack("<I", 0), 0),
    "listening": STREAM + LISTENING,
    "connected": STREAM + CONNECTED,
    "connected-flags": STREAM + frame(79, struct.pack("<IIII", 1, 2, 3, 4)),
    "token-made": STREAM + TOKEN_MADE,
    "endpoints": STREAM + ENDPOINTS,
    "endpoints-none": STREAM + frame(81, struct.pack("<QI", 0, 0)),
    "endpoints-most": STREAM + frame(81, struct.pack("<QI", 1, 8) + 8 * endpoint(1, b"y" * 255)),
    "endpoints-too-many": STREAM + frame(81, struct.pack("<QI", 1, 9) + 9 * endpoint(1, b"y")),
    "endpoints-name-too-long": STREAM + frame(81, struct.pack("<QI", 1, 1) + endpoint(1, b"y" * 256)),
    "endpoints-name-outside": STREAM + frame(81, struct.pack("<QI", 1, 1) + endpoint(1, b"yy")[:-1]),
    "event-connection": STREAM + EVENT_CONNECTION,
    "event-unlistened": STREAM + EVENT_UNLISTENED,
    "event-unlistened-0": STREAM + frame(83, struct.pack("<II", 1, 0), 0),
    "session-endpoints": STREAM + LISTEN + CONNECT + TAKEN + CANCEL + TOKEN + REDEEM + ENDPOINT_LIST + UNLISTEN,
    "session-endpoints-daemon": STREAM + LISTENING + CONNECTED + EVENT_CONNECTION + TOKEN_MADE + ENDPOINTS + EVENT_UNLISTENED,
    "member-list": STREAM + MEMBER_LIST,
    "member-list-reserved": STREAM + frame(24, struct.pack("<IIQ", 7, 1, 0)),
    "members": STREAM + MEMBERS,
    "members-none": STREAM + frame(84, struct.pack("<QII", 0, 0, 0)),
    "members-most": STREAM + frame(84, struct.pack("<QII", 1, 16, 0) + 16 * MEMBER),
    "members-too-many": STREAM + frame(84, struct.pack("<QII", 1, 17, 0) + 17 * MEMBER),
    "members-cut": STREAM + frame(84, struct.pack("<QII", 1, 1, 0) + MEMBER[:-1]),
    "members-flags": STREAM + frame(84, struct.pack("<QII", 1, 1, 0) + struct.pack("<IIIIQQ", 1, 2, 2, 0, 3, 4) + bytes(16)),
    "body-members": BODIES + MEMBERS,
    "body-listen": BODIES + LISTEN,
    "body-endpoints": BODIES + ENDPOINTS,
    "empty": b"",
    "region-session": STREAM + REGION_CREATE + REGION_OPEN + REGION_REPLACE + REGION_LIST + REGION_RESTORE + REGION_CLOSE +
                      REGION + RESTORED + REGIONS,
    "region-open": BODIES + REGION_OPEN,
    "region-open-longest": STREAM + frame(12, struct.pack("<IIQ", 7, 0, 0) + bytes(16) + b"n" * 255),
    "region-open-too-long": STREAM + frame(12, struct.pack("<IIQ", 7, 0, 0) + bytes(16) + b"n" * 256),
    "region-open-nul": STREAM + frame(12, struct.pack("<IIQ", 7, 0, 0) + bytes(16) + b"a\0b"),
    "region-create-huge": STREAM + frame(12, struct.pack("<IIQ", 7, 256, (1 << 64) - 1) + bytes(16) + b"n"),
    "region-close-restore": STREAM + frame(13, struct.pack("<III", 7, 0, 9), 0),
    "region-restore": BODIES + REGION_RESTORE,
    "region-restore-pages": STREAM + frame(14, struct.pack("<IIIIIIQQ", 7, 4, 0, 12, 1, 0, 5000, 4097) + ID + b"n"),
    "region": BODIES + REGION,
    "regions": BODIES + REGIONS,
    "regions-fewer": STREAM + frame(77, struct.pack("<QQQIIIIII", 1, 5000, 3, 4, 0, 2, 2, 5, 0) + HOLDER + b"frame"),
    "regions-more": STREAM + frame(77, struct.pack("<QQQIIIIII", 1, 5, 3, 4, 0, 99, 17, 5, 0) + 17 * HOLDER + b"frame"),
    "regions-name-size": STREAM + frame(77, struct.pack("<QQQIIIIII", 1, 5, 3, 4, 0, 1, 1, 1 << 31, 0) + HOLDER + b"frame"),
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
