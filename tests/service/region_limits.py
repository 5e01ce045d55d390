#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Regions: what one program does with them neither ends the daemon nor holds it up."""

import errno
import resource
import struct

import bus

CREATE, REPLACE, DOUBLE = 256, 512, 4


class Region:
    def __init__(self, topic, name, flags=0, size=0, replaces=bytes(16)):
        self.topic, self.name = topic, name
        answer = topic.connection.ask(bus.REGION_OPEN, struct.pack("<IIQ", topic.id, flags, size) + replaces + name, bus.REGION)
        _, self.holder, self.flags, self.pages, self.writable, _, self.size, self.page_size = \
            struct.unpack_from("<IIIIIIQQ", answer.body)
        self.id, self.fd = answer.body[40:56], answer.fds[0]

    def close_frame(self):
        return bus.frame(bus.REGION_CLOSE, 0, struct.pack("<II", self.topic.id, self.holder))


def test_larger_than_a_file_may_be():
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 24, 1 << 24))

    with bus.daemon(preexec_fn=limit) as daemon, daemon.connect() as client:
        topic = client.open(daemon.folder / "file", bus.POST)
        try:
            Region(topic, b"large", CREATE, 1 << 25)
            raise AssertionError("it was made")
        except bus.Failed as error:
            assert error.number == errno.EFBIG and "RLIMIT_FSIZE" in error.text, error
        Region(topic, b"small", CREATE, 1 << 20)


bus.main()
