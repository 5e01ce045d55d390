#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A box leaves nothing behind, however its maker ends: box_ends.py."""

import os
import pathlib
import signal
import sys
import tempfile
import time

import box


def left_over():
    """Of any box whose keeper is not there."""
    groups = [path.name for path in box.cgroup_root().glob(f"{box.PREFIX}*")]
    folders = [path.name for path in pathlib.Path(tempfile.gettempdir()).glob(f"{box.PREFIX}*")]
    return [name for name in groups + folders if not os.path.exists(f"/proc/{name[len(box.PREFIX):]}")]


def wait_until_gone(keeper, first):
    """It was its maker's child, or process 1's."""
    end = time.monotonic() + box.LIMIT_S
    while os.path.exists(f"/proc/{first}") or os.path.exists(f"/proc/{keeper}"):
        try:
            os.waitpid(keeper, os.WNOHANG)
        except ChildProcessError:
            pass
        assert time.monotonic() < end, f"process {first} or its keeper {keeper} is still there"
        time.sleep(0.01)
    name = f"{box.PREFIX}{keeper}"
    assert not (box.cgroup_root() / name).exists() and not box.work_folder(keeper).exists(), "its group and its folder are gone"


def in_a_child(then):
    """Makes a box in a process of its own, which does `then` with it, and is killed. The box's keeper and its process 1."""
    reader, writer = os.pipe()
    maker = os.fork()
    if maker == 0:
        inside = box.Box()
        os.write(writer, f"{inside.keeper} {inside.first}".encode())
        then(inside)
        signal.pause()
        os._exit(1)
    os.close(writer)
    numbers = os.read(reader, 100).split()
    os.close(reader)
    assert len(numbers) == 2, "there was a box"
    os.kill(maker, signal.SIGKILL)
    os.waitpid(maker, 0)
    return [int(number) for number in numbers]


def fail(_):
    raise RuntimeError("on purpose")


def main():
    try:
        with box.Box() as inside:
            keeper, first = inside.keeper, inside.first
            assert inside.run("test", "-e", f"/{box.READY}").returncode == 0
            assert pathlib.Path(f"/proc/{first}/comm").read_text() == "systemd\n"
            inside.run("touch", "/box-was-here")
        wait_until_gone(keeper, first)
        assert not os.path.exists("/box-was-here")
    except box.Impossible as why:
        print(f"SKIP: no systemd in a box: {why}")
        return 77
    # Its maker is killed; with processes inside.
    wait_until_gone(*in_a_child(lambda inside: inside.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &")))
    # It never comes up.
    try:
        box.Box(fail)
        raise AssertionError("a box without a root folder")
    except AssertionError as error:
        assert "on purpose" in str(error), error
    # Its keeper is killed, too: then the next box removes what is left.
    with box.Box() as inside:
        keeper, first = inside.keeper, inside.first
        os.kill(keeper, signal.SIGKILL)
    end = time.monotonic() + box.LIMIT_S
    while os.path.exists(f"/proc/{first}"):
        assert time.monotonic() < end, "process 1 has not ended with its keeper"
        time.sleep(0.01)
    with box.Box() as inside:
        assert not (box.cgroup_root() / f"{box.PREFIX}{keeper}").exists()
    assert not left_over(), left_over()
    return 0


sys.exit(main())
