#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The configuration's files: what is wrong in them is told with file, line and key, and nothing starts."""

import errno
import json
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

    def drop_in(self, name, text, mode=0o600):
        path = pathlib.Path(f"{self.path}.d") / name
        path.parent.mkdir(exist_ok=True, mode=0o755)
        path.write_bytes(text)
        path.chmod(mode)
        return path

    def show(self, *arguments, status=0):
        """What pathbusd prints of it, without serving."""
        done = subprocess.run([bus.program(), "--address", "/nowhere", "--config", self.path, *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=bus.LIMIT_S)
        assert done.returncode == status and bool(done.stderr) == (status != 0), done
        return done.stdout or done.stderr

    def keys(self, *arguments):
        return {key["key"]: key for key in json.loads(self.show("--print-config", "--json", *arguments))["keys"]}

    def expect(self, line, *words, path=None):
        status, said = self.run()
        assert status == 2, (status, said)
        path = path or self.path
        place = f"pathbusd: {path}:{line}: " if line else f"pathbusd: {path}: "
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
    File(b"[lanes] offload-members = 3\n").expect(1, "[NAME]")
    File(b"[lanes] # and a comment\n[ regions ]\noffload-members = 3\n").expect(3, "belongs in the section [lanes]")
    File(b"[lanes \"/srv/**\"]\n").expect(1, "[NAME]")
    File(b"[lanes \"/srv/**]\n").expect(1, "[NAME")
    File(b"[daemon]\n  [lanes]\noffload-members = 3\n").expect(2, "beginning")
    File(b"[lanes]\n" + b"#" * 400 + b"\n").expect(2, "longer than")
    File(b"[lanes]\noffload-members = " + b"0" * 170 + b"1\n" + b"max-message = 1\n").expect(3, "max-message")
    File(b"[lanes]\noffload-members = 3\0 and more\n").expect(0, "zero byte")


def test_twice():
    File(b"[lanes]\nmax-message = 1000\n[regions]\nmax-regions = 1\n[lanes]\nmax-message = 1000\n").expect(
        6, "max-message", "line 2")
    File(b"[lanes]\nmax-message = 1000\n  2000\n").expect(3, "max-message", "one line")


def test_files_that_are_not_whole():
    File(b"").expect(0, "empty")
    File(b"[regions]\nmax-regions = 10").expect(2, "no end", "cut off")
    File(b"[begin]\n[regions]\nmax-regions = 10\n").expect(3, "[begin]", "[end]", "cut off")
    File(b"[begin]\n[regions]\nmax-regions = 10\n[end]\n[lanes]\n").expect(5, "behind [end]")
    File(b"[regions]\nmax-regions = 10\n[end]\nmax-regions = 11\n").expect(4, "behind [end]")
    File(b"[regions]\n[begin]\n[end]\n").expect(2, "before everything")
    File(b"[begin]\nmax-regions = 11\n[end]\n").expect(2, "max-regions", "[regions]")
    File(b"[rights]\npost = /srv : 0,\n").expect(2, "last comma")
    assert "good" in File(b"[begin]\n[regions]\n[end]\n# and nothing else\n\n").show("--check-config")


def test_drop_ins():
    file = File(b"[regions]\nmax-regions = 1\n[daemon]\nhello-timeout = 1000\n[lanes]\nmax-message = 1K\n")
    last = file.drop_in("90-last.conf", b"[regions]\nmax-regions = 3\n")
    first = file.drop_in("10-first.conf", b"[daemon]\nhello-timeout = 2000\n[regions]\nmax-regions = 2\n")
    for name in (".hidden.conf", "99-other", "99.conf~", ".conf"):
        file.drop_in(name, b"nonsense")
    assert json.loads(file.show("--print-config", "--json"))["files"] == [f"{file.path}", f"{first}", f"{last}"]
    keys = file.keys("--max-message", "2K")
    for name, value, where in (("max-regions", "3", f"{last}:2"), ("hello-timeout", "2000", f"{first}:2"),
                               ("max-message", "2K", "command line"), ("files-timeout", "200", "default")):
        assert (keys[name]["value"], keys[name]["from"]) == (value, where), keys[name]
    # Rules are added up: one that is read later takes more, and gives nothing back.
    file.drop_in("10-first.conf", b"[rights]\npost = /a : 1\n")
    file.drop_in("90-last.conf", b"[rights]\npost = /a : 2\n")
    rights = json.loads(file.show("--print-config", "--json"))["rights"]
    assert [(rule["value"], rule["from"]) for rule in rights] == [("/a : 1", f"{first}:2"), ("/a : 2", f"{last}:2")]
    # What is wrong in one of them is wrong.
    file.drop_in("50.conf", b"\n[regions]\nmax-regions = none\n")
    file.expect(3, "max-regions takes", path=f"{file.path}.d/50.conf")
    file.drop_in("50.conf", b"[regions]\nmax-regions = 5\n", mode=0o620)
    if os.getuid() == 0:
        file.expect(0, "chmod go-w", path=f"{file.path}.d/50.conf")
        file.drop_in("50.conf", b"[regions]\nmax-regions = 5\n")
        first.parent.chmod(0o777)
        file.expect(0, "chmod go-w", path=f"{file.path}.d")
        first.parent.chmod(0o755)
    (first.parent / "60.conf").mkdir()
    file.expect(0, "regular file", path=f"{file.path}.d/60.conf")
    (first.parent / "60.conf").rmdir()
    file.drop_in("60.conf", b"")
    file.expect(0, "empty", path=f"{file.path}.d/60.conf")
    for path in first.parent.iterdir():
        path.unlink()
    first.parent.rmdir()
    first.parent.write_bytes(b"")
    file.expect(0, os.strerror(errno.ENOTDIR), path=f"{file.path}.d")
    # Without the file itself, if that was named, they are not enough.
    file.path.unlink()
    file.expect(0, os.strerror(errno.ENOENT))


def test_what_is_shown():
    text = b"[begin]\n[rights]\npost = /srv/x/** : root,\n  " + b",\n  ".join(b"@%d" % n for n in range(60)) + \
           b"\nsubscribe = /srv/** :\n[daemon]\nlog-level = debug\n[lanes]\nmax-message = 1024\n[end]\n"
    file = File(text)
    shown = file.show("--print-config")
    for line in (f"# read: {file.path}", "log-level = debug", "max-message = 1K", "subscribe = /srv/** :", "address = /nowhere",
                 "#user = pathbus", "post = /srv/x/** :"):
        assert line in (got.partition(" ;")[0].rstrip() for got in shown.split("\n")), (line, shown)
    # It is a configuration again, the same one.
    again = File(shown.encode())
    other = again.show("--print-config")
    assert [line.partition(" ;")[0] for line in other.split("\n") if line[:1] != "#"] == \
           [line.partition(" ;")[0] for line in shown.split("\n") if line[:1] != "#"], other
    rights = [[rule["value"].replace(", ", ",") for rule in json.loads(of.show("--print-config", "--json"))["rights"]]
              for of in (file, again)]
    assert rights[0] == rights[1] and "@59" in rights[0][0], rights
    # All that is said of a key.
    assert file.keys()["log-level"] == {"section": "daemon", "key": "log-level", "value": "debug", "default": "info",
                                        "from": f"{file.path}:66", "restart": False}
    assert file.keys()["address"] == {"section": "daemon", "key": "address", "value": "/nowhere", "default": "",
                                      "from": "command line", "restart": True}
    assert file.show("--check-config") == f"{file.path}: good\n"
    wrong = File(b"[lanes]\nmax-message = 1\n")
    for option in ("--check-config", "--print-config"):
        assert f"{wrong.path}:2: max-message takes" in wrong.show(option, status=2)
    assert "--print-config" in file.show("--json", status=2)
    # Paths that belong to nobody's terminal.
    folder = pathlib.Path(bus.new_folder()) / "evil\x1b\n\u202e"
    folder.mkdir()
    odd = File()
    odd.path = folder / "\udcff.conf"
    odd.path.write_bytes(b"[regions]\nmax-regions = 7\n")
    odd.path.chmod(0o600)
    for option in (["--check-config"], ["--print-config"], ["--print-config", "--json"]):
        said = odd.show(*option)
        assert "\x1b" not in said and "\u202e" not in said, said
    assert odd.keys()["max-regions"]["value"] == "7"


def test_sections_of_topics_are_shown():
    text = b'[topic "/srv/[ab]*"]\npost = root,\n  @0\nring = 64\n[topic "/srv/\\"x"]\n[topic "/srv/[ab]*"]\nring = 32\n' \
           b'[rights]\npost = /srv/** : root\n'
    file = File(text)
    sections = json.loads(file.show("--print-config", "--json"))["topic_sections"]
    expected = [("/srv/[ab]*", "post", "root, @0", 2), ("/srv/[ab]*", "ring", "64", 4), ("/srv/[ab]*", "ring", "32", 7)]
    assert sections == [{"pattern": pattern, "key": key, "value": value, "from": f"{file.path}:{line}"}
                        for pattern, key, value, line in expected], sections
    shown = file.show("--print-config")
    assert '[topic "/srv/\\"x"]' in shown, shown
    again = json.loads(File(shown.encode()).show("--print-config", "--json"))["topic_sections"]
    assert [(key["pattern"], key["key"], key["value"]) for key in again] == [row[:3] for row in expected], again


def test_relative_paths():
    file = File(b"[regions]\nmax-regions = 7\n")
    done = subprocess.run([bus.program(), "--config", file.path.name, "--address", "x", "--print-config"], cwd=file.folder,
                          capture_output=True, text=True, timeout=bus.LIMIT_S)
    assert f"; {file.path}:2" in done.stdout, done


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
