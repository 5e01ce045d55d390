#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The sandbox of each of the daemon's processes: it is there, is told of, can be turned off, and what it refuses shows."""

import contextlib
import os
import pathlib
import signal

import bus
import system


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def is_held(pid):
    status = status_of(pid)
    return status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"


def need_seccomp():
    if "Seccomp" not in status_of("self"):
        raise bus.Skip("the kernel has no seccomp")


def refuse_seccomp():
    number = {"x86_64": 317, "aarch64": 277}.get(os.uname().machine)
    if number is None:
        raise bus.Skip("the number of seccomp() is not known for this machine")
    allow, refuse = 0x7FFF0000, 0x00050000 | 22  # EINVAL
    return [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, refuse), (0x15, 0, 3, 157 if number == 317 else 167),
            (0x20, 0, 0, 16), (0x15, 0, 1, 22), (0x06, 0, 0, refuse), (0x06, 0, 0, allow)]


def agents(daemon):
    return [pid for pid in daemon.children() if any(b"pathbus-link" in word for word in bus.command(pid))]


def make_sidecar(folder, name):
    """Not a good one; that an agent looks is enough."""
    (folder / f".{name}.pathbus").mkdir(mode=0o700)


def start_an_agent(daemon, connection):
    make_sidecar(daemon.folder, "file")
    connection.open(daemon.folder / "file")
    bus.wait_for(lambda: agents(daemon), "there is an agent")
    return agents(daemon)[0]


@contextlib.contextmanager
def in_any_case(daemon):
    """Not bus.daemon(): an agent that has been started stays, with its descriptors."""
    yield daemon
    daemon.stop()


def test_each_process_is_held():
    need_seccomp()
    with in_any_case(bus.Daemon("--log-level", "debug")) as daemon, daemon.connect() as connection:
        agent = start_an_agent(daemon, connection)
        bus.wait_for(lambda: is_held(daemon.pid), "main is held")
        worker = daemon.settled_workers()[0]
        bus.wait_for(lambda: is_held(worker), "the worker is held")
        # By main's filter from the start, and by its own.
        bus.wait_for(lambda: is_held(agent) and int(status_of(agent).get("Seccomp_filters", 2)) == 2, "the agent is held twice")
        daemon.expect_said("pathbusd: sandbox: seccomp")
        daemon.expect_said(f"files worker (pid {worker}): sandbox: seccomp")


def test_those_that_are_started_later_are_held_twice():
    need_seccomp()
    with bus.daemon() as daemon, daemon.connect() as connection:
        before = daemon.settled_workers()
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        bus.wait_for(lambda: set(daemon.workers()) - set(before), "there is another worker")
        connection.open(daemon.folder / "file")
        other = (set(daemon.settled_workers()) - set(before)).pop()
        bus.wait_for(lambda: is_held(other) and status_of(other).get("Seccomp_filters", "2") == "2", "it is held twice")


def test_it_can_be_turned_off():
    with in_any_case(bus.Daemon("--no-sandbox")) as daemon, daemon.connect() as connection:
        agent = start_an_agent(daemon, connection)
        for pid in [daemon.pid, agent, *daemon.settled_workers()]:
            assert status_of(pid)["Seccomp"] == status_of("self")["Seccomp"], bus.command(pid)
        daemon.expect_said("pathbusd: sandbox: turned off")


def test_a_user_goes_on_without():
    """Where filters cannot be set, as in some containers."""
    need_seccomp()
    steps = refuse_seccomp()
    with bus.daemon(preexec_fn=lambda: bus.filter_calls(steps)) as daemon, daemon.connect() as connection:
        daemon.expect_said("warning: runs without a sandbox (seccomp: ")
        connection.open(daemon.folder / "file")
        daemon.expect_said("a files worker runs without a sandbox")


def test_a_helper_that_it_kills_is_told_of():
    """SIGSYS is what the kernel sends for a call that is not allowed."""
    with bus.daemon() as daemon, daemon.connect() as connection:
        worker = daemon.settled_workers()[0]
        os.kill(worker, signal.SIGSYS)
        daemon.expect_said(f"a files worker (pid {worker}) was killed by its sandbox")
        connection.open(daemon.folder / "file")


# --- the daemon of all users ----------------------------------------------------------------------------------------


def test_all_processes_of_the_daemon_of_all_users_are_held():
    need_seccomp()
    with system.system_daemon("--log-level", "debug") as daemon:
        system.make(daemon.folder / "file", system.ALICE)

        def look():
            with daemon.connect() as connection:
                connection.open(daemon.folder / "file")
                worker, = daemon.workers_of(system.ALICE)
                assert is_held(worker)
                assert status_of(worker).get("Seccomp_filters", "2") == "2", "by the files process's filter and its own"

        bus.wait_for(lambda: is_held(daemon.pid), "main is held")
        assert is_held(daemon.files())
        bus.wait_for(lambda: is_held(daemon.reader()), "what reads the configuration is held")
        system.run_as(system.ALICE, look)
        daemon.expect_said("pathbusd: sandbox: seccomp")
        daemon.expect_said(f"files worker of user {system.ALICE}: sandbox: seccomp")


def test_of_all_users_it_can_be_turned_off():
    with system.system_daemon("--no-sandbox") as daemon:
        with daemon.connect() as connection:
            connection.open(daemon.folder)
        for pid in [daemon.pid, daemon.files(), daemon.reader(), *daemon.workers()]:
            assert status_of(pid)["Seccomp"] == status_of("self")["Seccomp"], bus.command(pid)
        daemon.expect_said("pathbusd: sandbox: turned off")


def test_not_for_all_users_without():
    need_seccomp()
    steps = refuse_seccomp()
    daemon = system.SystemDaemon(wait=False, preexec_fn=lambda: bus.filter_calls(steps))
    assert daemon.wait() == 1
    assert "cannot enter its sandbox (seccomp: " in daemon.said() and "--no-sandbox" in daemon.said(), daemon.said()
    assert os.listdir(daemon.folder / "run") == [], "its files are gone"
    with system.system_daemon("--no-sandbox", preexec_fn=lambda: bus.filter_calls(steps)) as other, other.connect() as connection:
        connection.open(other.folder)


def test_helpers_of_all_users_that_it_kills_are_told_of():
    with system.system_daemon() as daemon:
        with daemon.connect() as connection:
            connection.open(daemon.folder)
            worker, = daemon.workers()
            os.kill(worker, signal.SIGSYS)
            daemon.expect_said(f"a files worker (pid {worker}) was killed by its sandbox")
            connection.open(daemon.folder)
    daemon = system.SystemDaemon()
    files = daemon.files()
    os.kill(files, signal.SIGSYS)
    assert daemon.wait() == 1
    assert f"the files process (pid {files}) was killed by its sandbox" in daemon.said(), daemon.said()


if __name__ == "__main__":
    bus.main()
