#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Other users who have the daemon watch ever new folders. The kernel gives its user so many watches and no more, so what nobody
needs is given back, whatever else goes on."""

import collections
import contextlib
import errno
import os
import pathlib
import struct

import bus
import hostile_descriptors
import users
from hostile_descriptors import FUSE_INIT, FUSE_OUT, in_a_process_of_its_own, mute_mount
from hostile_identities import serve_slowly
from users import BOB, MALLORY, Guest

N_FOLDERS = 600  # more than may rest


def n_watches(pid, device=None):
    """All, or those on one file system."""
    what = "inotify wd:" if device is None else f" sdev:{device:x} "
    n = 0
    for info in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            n += info.read_text().count(what)
    return n


# --- while somebody always asks ---------------------------------------------------------------------------------------------


def keep_asking(line, address, path):
    """Some question is open at any time: each takes a while, and others wait behind it."""
    with bus.Connection(address) as connection:
        for _ in range(16):
            connection.send(bus.open_frame(connection.request(), path, bus.SUBSCRIBE))
        line.tell("asking")
        while not line.is_told():
            assert connection.receive().kind == bus.ERROR
            connection.send(bus.open_frame(connection.request(), path, bus.SUBSCRIBE))
        line.expect("end")


def walk(line, address, folder):
    with bus.Connection(address) as connection:
        for number in range(N_FOLDERS):
            here = folder / f"{number}"
            here.mkdir()
            connection.open(here / "file").close()
            for fd in connection.own_fds[2:]:
                os.close(fd)
            del connection.own_fds[2:]
        line.tell("walked")


def test_folders_that_nobody_needs_any_more():
    def run():
        hostile_descriptors.serve_mute = serve_slowly
        with users.system() as (daemon, witness):
            mute = daemon.data / "mute"
            mute.mkdir()
            with mute_mount(mute), Guest(BOB, keep_asking, daemon.address, mute / "folder/file") as bob:
                bob.expect("asking")
                before = n_watches(daemon.pid)
                with Guest(MALLORY, walk, daemon.address, daemon.own_folder(MALLORY)) as mallory:
                    mallory.expect("walked")
                bus.wait_for(lambda: n_watches(daemon.pid) <= before, "their watches are gone")
                bob.tell("end")
            witness.check()

    in_a_process_of_its_own(run)


# --- whose worker ends in between ---------------------------------------------------------------------------------------------


def serve_until_the_second_look(device, hang=lambda: None):
    """Any folder is there, and no file in it (as a link, and then as a file). Whoever looks once more for `file` is not answered, and
    for `slow` when `hang` returns."""
    ids, n_looks = {}, collections.Counter()

    def attributes(node):
        return struct.pack("<QQQQQQIIIIIIIIII", node, 0, 0, 0, 0, 0, 0, 0, 0, 0o40777, 2, 0, 0, 0, 4096, 0)

    while True:
        data = os.read(device, 1 << 20)
        _, operation, unique, node = struct.unpack_from("<IIQQ", data)
        name = data[40:].rstrip(b"\0")
        error, answer = -errno.ENOSYS, b""
        if operation == FUSE_INIT:
            error, answer = 0, struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 12, 10, 65536, 1, 16, 0, 0, *[0] * 7)
        elif operation == 3:  # GETATTR
            error, answer = 0, struct.pack("<QII", 0, 0, 0) + attributes(node)
        elif operation == 1 and node == 1:  # LOOKUP
            found = ids.setdefault(name, 100 + len(ids))
            error, answer = 0, struct.pack("<QQQQII", found, 0, 0, 0, 0, 0) + attributes(found)
        elif operation == 1:
            error = -errno.ENOENT
            n_looks[node, name] += name in (b"file", b"slow")
            if n_looks[node, name] == 3 and name == b"slow":
                hang()
            elif n_looks[node, name] > 2 and name == b"file":
                continue
        with contextlib.suppress(OSError):
            os.write(device, FUSE_OUT.pack(FUSE_OUT.size + len(answer), error, unique) + answer)


def ask_where_it_hangs(line, address, folder, n):
    with bus.Connection(address) as connection:
        for number in range(n):
            connection.send(bus.open_frame(connection.request(), folder / f"{number}/file", bus.SUBSCRIBE))
            connection.expect_error(errno.ETIMEDOUT)
        line.tell("asked")
        line.expect("end")


def test_a_watch_that_no_answer_names():
    """The worker has added it, and is ended before it can tell."""
    def run():
        hostile_descriptors.serve_mute = serve_until_the_second_look
        with users.system("--files-timeout", "50") as (daemon, witness):
            folder = daemon.data / "mute"
            folder.mkdir()
            before = n_watches(daemon.pid)
            seen = []
            with mute_mount(folder), Guest(MALLORY, ask_where_it_hangs, daemon.address, folder, 4) as mallory:
                while not mallory.is_told():
                    seen.append(n_watches(daemon.pid))
                mallory.expect("asked")
                assert max(seen) > before, "none was added: the test shows nothing"
                bus.wait_for(lambda: n_watches(daemon.pid) <= before, "they are gone")
                mallory.tell("end")
            witness.check()

    in_a_process_of_its_own(run)


# --- that ends before the answer comes ------------------------------------------------------------------------------------------


def ask_slowly(line, address, folder):
    with bus.Connection(address) as one, bus.Connection(address) as other:
        topic = one.open(folder / "other")
        line.tell("opened")
        line.expect("ask")
        request = other.request()
        other.send(bus.open_frame(request, folder / "slow", bus.SUBSCRIBE))
        line.expect("close")
        topic.close()
        other.expect(bus.OPENED, request)
        line.tell("opened")
        line.expect("end")


def test_a_watch_that_ends_before_the_answer():
    """Nobody else needs it any more, so it is ended while the worker that has found it is still looking: it asks once more."""
    def run():
        with users.system("--files-timeout", "30000") as (daemon, witness):
            folder, hangs, goes = daemon.data / "slow", daemon.data / "hangs", daemon.data / "goes"
            folder.mkdir()

            def hang():
                hangs.touch()
                bus.wait_for(goes.exists, "the look goes on")

            hostile_descriptors.serve_mute = lambda device: serve_until_the_second_look(device, hang)
            with mute_mount(folder), Guest(MALLORY, ask_slowly, daemon.address, folder / "1") as mallory:
                mallory.expect("opened")
                device = folder.stat().st_dev
                assert n_watches(daemon.pid, device) == 1
                mallory.tell("ask")
                bus.wait_for(hangs.exists, "the worker looks")
                mallory.tell("close")
                bus.wait_for(lambda: n_watches(daemon.pid, device) == 0, "the watch has ended")
                goes.touch()
                mallory.expect("opened")
                device = folder.stat().st_dev
                assert n_watches(daemon.pid, device) == 1, "the folder is not watched"
                mallory.tell("end")
            witness.check()

    in_a_process_of_its_own(run)


if __name__ == "__main__":
    bus.main()
