#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The configuration file: what is wrong in it is told with file, line and key, and nothing starts."""

import errno
import os
import pathlib
import subprocess

import bus


class File:
    def __init__(self, text=b"", mode=0o600):
        self.folder = pathlib.Path(bus.new_folder())
        self.path = self.folder / "pathbusd.conf"
        self.path.write_bytes(text)
        self.path.chmod(mode)

    def run(self, *arguments):
        """pathbusd to its end: it has not started, so what it says is the whole of it."""
        socket = self.folder / "socket"
        done = subprocess.run([bus.program(), "--address", socket, "--config", self.path, *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=bus.LIMIT_S)
        assert not socket.exists() and not done.stdout
        return done.returncode, done.stderr

    def expect(self, line, *words):
        status, said = self.run()
        assert status == 2, (status, said)
        place = f"pathbusd: {self.path}:{line}: " if line else f"pathbusd: {self.path}: "
        assert said.startswith(place) and said.count("\n") == 1, said
        for word in words:
            assert word in said, (word, said)


def test_values_that_are_wrong():
    for key, section, value, allowed in [
            ("offload-members", "lanes", "0", "a number from 1 to 1000000"),
            ("offload-members", "lanes", "1000001", "a number from 1 to 1000000"),
            ("offload-members", "lanes", "", "a number from 1 to 1000000"),
            ("offload-members", "lanes", "8K", "a number from 1 to 1000000"),
            ("offload-message-members", "lanes", "four", "a number from 1 to 1000000"),
            ("max-message", "lanes", "127", "bytes from 128 to 64K"),
            ("max-message", "lanes", "65K", "bytes from 128 to 64K"),
            ("max-message", "lanes", "4k", "bytes from 128 to 64K"),
            ("max-region-bytes", "regions", "16777216T", "bytes from 0 to 1073741824G"),
            ("max-region-bytes", "regions", "17179869184G", "bytes from 0 to 1073741824G"),
            ("max-regions", "regions", "-1", "a number from 0 to 100000"),
            ("max-regions", "regions", "1 # one", "a number from 0 to 100000"),
            ("hello-timeout", "daemon", "5s", "milliseconds from 1 to 3600000"),
            ("files-timeout", "daemon", "0", "milliseconds from 1 to 3600000"),
            ("log-level", "daemon", "loud", "error, warning, info or debug"),
            ("address", "daemon", "", "a path")]:
        File(f"# a comment\n\n[{section}]\n{key} = {value}\n".encode()).expect(4, key, allowed, f"'{value}'")


def test_what_does_not_exist():
    File(b"[lanes]\n\noffload-member = 3\n").expect(3, "'offload-member'", "[lanes]")
    File(b"[lanes]\nmax-regions = 3\n").expect(2, "max-regions", "[regions]")
    File(b"max-regions = 3\n").expect(1, "max-regions", "[regions]")
    File(b"[lane]\nmax-regions = 3\n").expect(1, "[lane]")
    File(b"[lanes]\n[lane]\n").expect(2, "[lane]")  # though it is empty
    File(b"[lanes]\n[" + b"l" * 100 + b"]\n").expect(2, "section")
    File(b"[lanes]\nevil\x1b]0;\n = 3\n").expect(2)
    File(b"[lanes]\n\xff\x1bevil = 3\n").expect(2, "\\xff\\x1bevil")


def test_lines_that_are_none():
    File(b"[lanes]\noffload-members\n").expect(2, "KEY = VALUE")
    File(b"[lanes\noffload-members = 3\n").expect(1, "[NAME]")
    File(b"[daemon]\n  [lanes]\noffload-members = 3\n").expect(2, "beginning")
    File(b"[lanes]\n" + b"#" * 400 + b"\n").expect(2, "longer than")
    File(b"[lanes]\noffload-members = " + b"0" * 170 + b"1\n" + b"max-message = 1\n").expect(3, "max-message")
    File(b"[lanes]\noffload-members = 3\0 and more\n").expect(0, "zero byte")


def test_twice():
    File(b"[lanes]\nmax-message = 1000\n[regions]\nmax-regions = 1\n[lanes]\nmax-message = 1000\n").expect(
        6, "max-message", "line 2")
    File(b"[lanes]\nmax-message = 1000\n  2000\n").expect(3, "max-message", "one line")


def test_rules_that_are_wrong():
    File(b"[rights]\npost = /srv/** : no-such-user\n").expect(2, "post: there is no user 'no-such-user'")
    File(b"[rights]\npost = /srv/** :\n  0,\n  @no-such-group\n\n[daemon]\n").expect(2, "no group '@no-such-group'")
    File(b"[rights]\nsubscribe = srv : 0\npost = also wrong\n").expect(2, "subscribe: a pattern begins with /")
    File(b"[rights]\npost = /a : 0\nwrite = /srv/** : 0\n").expect(3, "'write'", "[rights]")
    File(b"[daemon]\npost = /srv/** : 0\n").expect(2, "'post'", "[daemon]")
    File(b"[rights]\npost\n").expect(2, "KEY = VALUE")


def test_files_that_are_none():
    there = File()
    there.path.unlink()
    there.expect(0, os.strerror(errno.ENOENT))
    there.path.mkdir()
    there.expect(0, "regular")
    there.path.rmdir()
    os.mkfifo(there.path)  # and is not waited for
    there.expect(0, "regular")
    there.path.unlink()
    with open(there.path, "wb") as file:
        file.truncate((1 << 20) + 1)
    there.expect(0, "1M")
    there.path.write_bytes(b"#\n" * (1 << 19))
    with bus.daemon("--config", there.path):
        pass


def expect_message_limit(daemon, size):
    with daemon.connect() as connection:
        try:
            connection.open(daemon.folder / "file", max_message=size + 1)
            raise AssertionError("it is larger than it may be")
        except bus.Failed as failed:
            assert failed.number == errno.EMSGSIZE, failed
        assert connection.open(daemon.folder / "other", max_message=size).max_message == size


def test_what_is_in_force():
    text = b"\xef\xbb\xbf# with a mark before it\r\n[regions]\r\nmax-regions=5\r\n" \
           b"[lanes]\r\n\tmax-message  =  1K ; not much\r\noffload-members: 2\r\n"
    file = File(text)
    with bus.daemon("--config", file.path) as daemon:
        expect_message_limit(daemon, 1024)
    for arguments in (["--max-message", "2000", "--config", file.path], ["--config", file.path, "--max-message", "2000"]):
        with bus.daemon(*arguments) as daemon:
            expect_message_limit(daemon, 2000)
    # What is wrong in the file is wrong, whatever the command line says.
    File(b"[lanes]\nmax-message = 1\n").run("--max-message", "2000")
    status, said = File(b"").run("--max-message", "1")
    assert status == 2 and "--max-message takes bytes from 128 to 64K" in said


def test_its_address():
    file = File()
    file.path.write_text(f"[daemon]\naddress = {file.folder}/there\n")
    daemon = bus.Daemon("--config", file.path, pass_address=False, address=file.folder / "there")
    daemon.stop()


if __name__ == "__main__":
    bus.main()
