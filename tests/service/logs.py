#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Where the log goes, from a daemon that has given up root too; and that it is opened anew."""

import os
import pathlib
import re
import signal
import socket
import subprocess

import bus
import system

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z pathbusd\[(\d+)\]: (.*) \[([a-z-]+)\]")


def lines_of(path):
    """Of a log's file: who wrote it, text, reason."""
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found), path.read_text()
    return [(int(line[1]), line[2], line[3]) for line in found]


def reasons_of(path):
    return [reason for _, _, reason in lines_of(path)] if path.exists() else []


def provoke(daemon):
    """A line that a client causes."""
    with daemon.connect() as connection:
        connection.send(bus.frame(99, 1))
        connection.expect_error(74, 0)


def rotates(daemon, log, may_make):
    bus.wait_for(lambda: "serving" in reasons_of(log), "it is said that it serves")
    provoke(daemon)
    bus.wait_for(lambda: "drop-type" in reasons_of(log), "what a client did is in the log")
    pids = {pid for pid, _, _ in lines_of(log)}
    assert pids == {daemon.pid}, pids
    old = log.with_name("old")
    log.rename(old)
    if not may_make:  # logrotate does
        log.touch()
        os.chown(log, system.SERVICE, system.SERVICE)
    os.kill(daemon.pid, signal.SIGHUP)
    bus.wait_for(lambda: reasons_of(log) == ["reloaded"], "the new file is written")
    n = len(lines_of(old))
    provoke(daemon)
    bus.wait_for(lambda: "drop-type" in reasons_of(log), "what comes after that is in the new file")
    assert len(lines_of(old)) == n, "nothing is added to the old file"


def test_a_file():
    folder = pathlib.Path(bus.new_folder())
    log = folder / "log"
    with bus.daemon("--log-target", f"file:{log}") as daemon:
        rotates(daemon, log, True)
        assert daemon.said() == "", "nothing is written to stderr"
    assert reasons_of(log)[-1] == "stopping", "the last line is written before the end"


def test_a_file_of_the_daemon_of_all_users():
    """It makes the file as root, and gives it away; in its sandbox it may make that one anew, where the folder is its user's."""
    folder = pathlib.Path(bus.new_folder())
    if os.getuid() == 0:
        os.chown(folder, system.SERVICE, system.SERVICE)
    log = folder / "log"
    with system.system_daemon("--log-target", f"file:{log}") as daemon:
        status = log.stat()
        assert (status.st_uid, status.st_mode & 0o7777) == (system.SERVICE, 0o600)
        rotates(daemon, log, True)
        assert log.stat().st_uid == system.SERVICE


def test_a_file_in_a_folder_that_is_roots():
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o755)
    log = folder / "log"
    with system.system_daemon("--log-target", f"file:{log}") as daemon:
        rotates(daemon, log, False)
        # Without that it cannot make one: it says so, and writes on.
        old = folder / "older"
        log.rename(old)
        os.kill(daemon.pid, signal.SIGHUP)
        bus.wait_for(lambda: reasons_of(old).count("reloaded") == 2, "it writes on in the old file")
        provoke(daemon)
        bus.wait_for(lambda: "log-target" in reasons_of(old), "it says that there is no new one")
        assert not log.exists()


def test_a_start_that_fails():
    """Somebody is told, wherever the log goes."""
    folder = pathlib.Path(bus.new_folder())
    for target, text in [(f"file:{folder}", "Is a directory"), (f"file:{folder}/none/log", "No such file"),
                         ("file:/dev/null", "no regular file"), (f"file:{folder}/log", "names a folder")]:
        done = subprocess.run([bus.program(), "--address", f"{folder}/", "--log-target", target], capture_output=True, text=True,
                              check=False, timeout=bus.LIMIT_S)
        assert done.returncode == 1, done
        assert text in done.stderr, done.stderr
        assert re.search(r"\[[a-z-]+\]\n\Z", done.stderr), done.stderr
    assert reasons_of(folder / "log") == ["address"]
    for target in ["file:log", "printer", ""]:
        done = subprocess.run([bus.program(), "--log-target", target], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "file:PATH" in done.stderr, done


def with_its_own(path, before):
    """In a mount namespace with something else at `path`, for the daemon alone."""
    def prepare():
        assert bus.libc.unshare(system.CLONE_NEWNS) == 0
        assert bus.libc.mount(None, b"/", None, system.MS_REC | system.MS_PRIVATE, None) == 0
        assert bus.libc.mount(os.fsencode(before), os.fsencode(path), None, 0x1000, None) == 0  # MS_BIND

    return prepare


def receiver(path):
    receiving = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiving.bind(os.fspath(path))
    os.chmod(path, 0o666)
    receiving.settimeout(bus.LIMIT_S)
    return receiving


def test_the_journal():
    """From the daemon of all users in its sandbox, also after the journal's own restart."""
    place = pathlib.Path(bus.new_folder())
    place.chmod(0o755)
    (place / "systemd/journal").mkdir(parents=True)
    path = place / "systemd/journal/socket"
    journal = receiver(path)

    def fields():
        return dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines())

    with system.system_daemon("--log-target", "journal", preexec_fn=with_its_own("/run", place)) as daemon:
        seen = {}
        while "sandbox" not in seen:
            line = fields()
            seen[line["PATHBUS_REASON"]] = line
        assert seen["serving"]["PRIORITY"] == "6" and seen["serving"]["SYSLOG_IDENTIFIER"] == "pathbusd"
        assert seen["serving"]["MESSAGE"].startswith(f"serving {daemon.address}")
        journal.close()
        path.unlink()
        journal = receiver(path)
        provoke(daemon)
        line = fields()
        assert (line["PATHBUS_REASON"], line["PRIORITY"]) == ("drop-type", "4"), line
        journal.close()
        assert daemon.said() == ""


if __name__ == "__main__":
    bus.main()
