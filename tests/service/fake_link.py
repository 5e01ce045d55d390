#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Stands in for pathbus-link: writes down what it is told and answers as the test wants.

$FAKE_LINK is a folder: `answer` says how JOIN is answered (linked, gone, error NUMBER, silent, die), what comes
is appended to `log`, and lines written to the FIFO `order` (gone ID ERROR, die) are obeyed.
"""

import os
import select
import signal
import socket
import struct

JOIN, LEAVE, AGAIN, LINKED, GONE, LEFT = 1, 2, 3, 16, 17, 18
NAMES = {JOIN: "join", LEAVE: "leave", AGAIN: "again"}
MESSAGE = struct.Struct("=IIIIi4x280s")

folder = os.environ["FAKE_LINK"]
control = socket.socket(fileno=3)


def answer(kind, link, error=0):
    try:
        control.send(MESSAGE.pack(kind, link, 0, 0, error, bytes(280)))
    except BrokenPipeError:
        pass


def say(*words):
    with open(f"{folder}/log", "a", encoding="utf-8") as log:
        print(*words, file=log, flush=True)


def wanted():
    try:
        with open(f"{folder}/answer", encoding="utf-8") as file:
            return file.read().split()
    except FileNotFoundError:
        return ["linked"]


def on_message(data, fds):
    kind, link, place, _, _, key = MESSAGE.unpack(data)
    size = struct.unpack_from("=I", key, 16)[0]
    name = key[24:24 + size].decode(errors="surrogateescape")
    where = os.readlink(f"/proc/self/fd/{fds[3]}") if kind == JOIN else "-"
    say(NAMES[kind], link, place, name, where, len(fds))
    if kind == LEAVE:
        answer(LEFT, link)
    if kind == JOIN:
        word, *number = wanted()
        if word == "linked":
            answer(LINKED, link)
        elif word == "gone":
            answer(GONE, link)
        elif word == "error":
            answer(GONE, link, -int(number[0]))
        elif word == "die":
            os._exit(1)
    for fd in fds:
        os.close(fd)


def on_order(line):
    word, *numbers = line.split()
    if word == "die":
        os._exit(1)
    answer(GONE, int(numbers[0]), int(numbers[1]))


def main():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    orders = os.open(f"{folder}/order", os.O_RDWR | os.O_NONBLOCK)
    say("start", os.getpid(), sorted(int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) <= orders - 1))
    while True:
        ready, _, _ = select.select([control, orders], [], [])
        if orders in ready:
            for line in os.read(orders, 4096).decode().splitlines():
                on_order(line)
        if control in ready:
            data, fds, _, _ = socket.recv_fds(control, 4096, 8)
            if not data:
                say("end")
                return
            on_message(data, fds)


main()
