#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The daemon under a service manager, as systemd speaks to it; the test is the manager."""

import os
import pathlib
import select
import signal
import socket
import stat
import struct
import subprocess
import time

import bus
from life import OwnPlace, ORDINARY

FIRST = 3


def listen(path, kind=socket.SOCK_STREAM):
    """A listening socket, which the service manager keeps."""
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(os.fspath(path))
    if kind == socket.SOCK_STREAM:
        listener.listen(64)
    return listener


def launcher(folder, n, names=None, pid="$$"):
    """A program that is pathbusd with these variables: the process id is known to it alone."""
    path = pathlib.Path(folder) / f"launch-{os.urandom(4).hex()}"
    naming = f"LISTEN_FDNAMES={names} " if names is not None else ""
    path.write_text(f'#!/bin/sh\n{naming}LISTEN_PID={pid} LISTEN_FDS={n} exec "{bus.program()}" "$@"\n')
    path.chmod(0o755)
    return path


def hand_over(listeners, before=lambda: None):
    """For a preexec_fn."""
    def prepare():
        before()
        high = [os.dup2(one.fileno(), 200 + number, inheritable=False) for number, one in enumerate(listeners)]
        for number, fd in enumerate(high):
            os.dup2(fd, FIRST + number, inheritable=True)

    return prepare


def activated(listeners, names=None, folder=None, wait=True, arguments=(), address=None, n=None, pid="$$", **keywords):
    folder = pathlib.Path(folder or bus.new_folder())
    address = address or listeners[0].getsockname()
    # Root's would be the daemon of all users without one.
    return bus.Daemon("--address", address, *arguments, folder=folder, pass_address=False, wait=wait, close_fds=False,
                      address=address, program_of=launcher(folder, len(listeners) if n is None else n, names, pid), preexec_fn=hand_over(listeners), **keywords)


def run(listeners, *arguments, **keywords):
    daemon = activated(listeners, arguments=arguments, wait=False, **keywords)
    return daemon.wait(), daemon.said()


def test_serves_what_it_was_given():
    """The file is the service manager's: it stays, and who connects while nobody serves is served by the next one."""
    folder = pathlib.Path(bus.new_folder())
    with listen(folder / "socket") as listener:
        inode = (folder / "socket").stat().st_ino
        for names in (None, "bus", "pathbusd.socket"):
            waiting = bus.Connection(folder / "socket", greet=False)
            daemon = activated([listener], names, folder=folder, wait=False)
            waiting.greet()
            waiting.open(folder / "file").close()
            assert (folder / "socket.lock").read_text() == f"{daemon.pid}\n"
            assert f"serving {folder}/socket" in daemon.said()
            waiting.goodbye()
            waiting.close()
            daemon.stop()
            assert (folder / "socket").stat().st_ino == inode and not (folder / "socket.lock").exists()


def test_names():
    """Two sockets are told apart by their names, in any order; what has no use is closed."""
    for names in ("bus:control", "control:bus", "control:bus:other", "bus:bus:control"):
        folder = pathlib.Path(bus.new_folder())
        listeners = [listen(folder / f"{number}-{name}") for number, name in enumerate(names.split(":"))]
        daemon = activated(listeners, names, folder=folder, address=folder / f"{names.split(':').index('bus')}-bus")
        useless = [number for number, name in enumerate(names.split(":")) if name == "other" or number == 1 and names[:7] == "bus:bus"]
        assert daemon.said().count(": closed") == len(useless), daemon.said()
        inodes = {f"socket:[{os.fstat(listeners[number].fileno()).st_ino}]" for number in useless}
        has = {os.readlink(f"/proc/{daemon.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{daemon.pid}/fd")}
        assert not inodes & has, "what is of no use is closed"
        daemon.stop()
        for listener in listeners:
            listener.close()


def test_variables_of_another_process():
    """They are for the process that they name: another has its own place, and these descriptors are not its."""
    folder = pathlib.Path(bus.new_folder())
    with listen(folder / "theirs") as listener:
        daemon = activated([listener], pid="1", folder=folder, address=folder / "socket",
                           n=1)
        daemon.stop()
        assert not (folder / "socket").exists() and (folder / "theirs").exists()


def test_helpers_get_none_of_it():
    folder = pathlib.Path(bus.new_folder())
    with listen(folder / "socket") as listener:
        daemon = activated([listener], "bus", folder=folder)
        own = f"socket:[{os.fstat(listener.fileno()).st_ino}]"
        assert daemon.workers()
        for pid in daemon.workers():
            assert own not in [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            assert b"LISTEN_" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        daemon.stop()


def test_what_is_no_listening_socket():
    folder = pathlib.Path(bus.new_folder())
    pair = socket.socketpair()
    internet = socket.socket(socket.AF_INET)
    internet.listen()
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{folder}")
    abstract.listen()
    with open("/dev/null", "rb") as file:
        for one in (pair[0], internet, abstract, listen(folder / "datagrams", socket.SOCK_DGRAM), file):
            status, said = run([one], names="bus", address=folder / "none")
            assert status == 1 and "'bus'" in said, said
    for one in (*pair, internet, abstract):
        one.close()


def test_another_address():
    folder = pathlib.Path(bus.new_folder())
    with listen(folder / "socket") as listener:
        status, said = run([listener], address=folder / "other")
        assert status == 2 and "socket" in said and "other" in said and "unit" in said, said
        assert not (folder / "other").exists()
        activated([listener], folder=folder).stop()


def test_one_that_serves_already():
    """It has replaced the service manager's socket: who still waits there is sent away, or would have us started for ever."""
    folder = pathlib.Path(bus.new_folder())
    with listen(folder / "socket") as listener, bus.Connection(folder / "socket", greet=False) as waiting:
        inode = (folder / "socket").stat().st_ino
        other = bus.Daemon(folder=folder, wait=False)
        bus.wait_for(lambda: (folder / "socket").stat().st_ino != inode, "it has replaced the socket")
        other.wait_until_ready()
        status, said = run([listener], folder=folder)
        assert status == 3 and "already" in said, said
        assert waiting.receive() is None
        assert not select.select([listener], [], [], 0)[0], "nobody waits"
        other.stop()


def test_own_place():
    """At its user's own place it gives way to the system's, as one that was started by hand."""
    with OwnPlace() as place:
        folder = place.root / f"run/user/{ORDINARY}/pathbus"
        folder.mkdir(parents=True, mode=0o700)
        os.seteuid(0)
        script = launcher(place.program.parent, 1, "bus")
        script.write_text(script.read_text().replace(bus.program(), os.fspath(place.program)))
        os.seteuid(ORDINARY)
        # Bound inside, where its path is what it is there.
        listener = socket.socket(socket.AF_UNIX)
        pid = os.fork()
        if pid == 0:
            place.enter()
            listener.bind(f"/run/user/{ORDINARY}/pathbus/socket")
            listener.listen()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        inside = hand_over([listener], place.enter)
        daemon = bus.Daemon(address=folder / "socket", pass_address=False, preexec_fn=inside, program_of=script, close_fds=False)
        with daemon.connect() as connection:
            (place.root / "run/pathbus").mkdir()
            with place.system_socket():
                assert connection.receive() is None
                assert daemon.wait() == 0 and "system-wide" in daemon.said()
                assert stat.S_ISSOCK((folder / "socket").stat().st_mode)
                with bus.Connection(folder / "socket", greet=False) as waiting:
                    done = subprocess.run([script], preexec_fn=inside, close_fds=False, capture_output=True, text=True, check=False,
                                          timeout=bus.LIMIT_S)
                    assert done.returncode == 3 and "system-wide" in done.stderr, done
                    assert waiting.receive() is None
        listener.close()


# --- what the service manager is told -------------------------------------------------------------------------------


class Manager:
    """The socket that a service manager is told things at."""

    def __init__(self, folder, name="notify"):
        self.address = f"{folder}/{name}" if name else f"@{folder}/abstract"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(bus.LIMIT_S)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(self.address.replace("@", "\0"))

    def environment(self, **more):
        return {**os.environ, "NOTIFY_SOCKET": self.address, **more}

    def receive(self):
        data, ancillary, _, _ = self.socket.recvmsg(4096, 1000)
        self.pid = next(struct.unpack("3i", data)[0] for _, kind, data in ancillary if kind == socket.SCM_CREDENTIALS)
        return dict(line.split("=", 1) for line in data.decode().splitlines())

    def wait_for(self, name):
        while True:
            said = self.receive()
            if name in said:
                return said

    def close(self):
        self.socket.close()


def test_what_the_manager_is_told():
    folder = pathlib.Path(bus.new_folder())
    for name in ("notify", None):
        manager = Manager(folder, name)
        daemon = bus.Daemon(folder=folder, env=manager.environment(), wait=False)
        said = manager.receive()
        assert said == {"READY": "1", "STATUS": f"Serving {daemon.address}: 0 clients, 0 topics"}, said
        assert manager.pid == daemon.pid
        # It is ready when it says so.
        with daemon.connect() as connection:
            connection.open(folder / "file")
            for pid in daemon.workers():
                assert b"NOTIFY_SOCKET" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        daemon.stop()
        assert manager.receive()["STOPPING"] == "1"
        manager.close()


def test_reload_is_told():
    """As Type=notify-reload wants it: when it begins, by a clock that tells it from one before, and when it is over."""
    folder = pathlib.Path(bus.new_folder())
    manager = Manager(folder)
    daemon = bus.Daemon(folder=folder, env=manager.environment(), wait=False)
    assert "READY" in manager.receive()
    for _ in range(2):
        before = time.monotonic_ns() // 1000
        daemon.process.send_signal(signal.SIGHUP)
        said = manager.receive()
        assert said.pop("RELOADING") == "1" and list(said) == ["MONOTONIC_USEC"], said
        assert before <= int(said["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert manager.receive() == {"READY": "1"}
    daemon.stop()
    manager.close()


def test_watchdog():
    """A sign of life each half of the time, with what there is to say; none from a daemon that stands still."""
    folder = pathlib.Path(bus.new_folder())
    manager = Manager(folder)
    daemon = bus.Daemon(folder=folder, env=manager.environment(WATCHDOG_USEC="100000"), wait=False)
    manager.wait_for("READY")
    with daemon.connect() as connection:
        connection.open(folder / "file")
        while "1 client, 1 topic" not in manager.wait_for("WATCHDOG").get("STATUS", ""):
            pass
        before = time.monotonic()
        for _ in range(4):
            assert manager.receive() == {"WATCHDOG": "1"}, "nothing is said twice"
        assert time.monotonic() - before > 0.1, "not all the time"
        os.kill(daemon.pid, signal.SIGSTOP)
        bus.wait_for(lambda: (bus.parent_and_state(daemon.pid) or "")[1] == "T", "it stands still")
        manager.socket.setblocking(False)
        try:
            while True:
                manager.receive()
        except BlockingIOError:
            pass
        manager.socket.settimeout(0.3)
        try:
            raise AssertionError(manager.receive())
        except TimeoutError:
            pass
        manager.socket.settimeout(bus.LIMIT_S)
        os.kill(daemon.pid, signal.SIGCONT)
        manager.wait_for("WATCHDOG")
    daemon.stop()
    manager.close()


def test_watchdog_of_another_process():
    folder = pathlib.Path(bus.new_folder())
    manager = Manager(folder)
    daemon = bus.Daemon(folder=folder, env=manager.environment(WATCHDOG_USEC="10000", WATCHDOG_PID="1"))
    daemon.stop()
    assert "READY" in manager.receive() and "STOPPING" in manager.receive()
    manager.close()


def test_a_manager_that_does_not_read():
    """Its queue is full, as others may fill it: nobody waits for it, and it is told when it reads again."""
    folder = pathlib.Path(bus.new_folder())
    manager = Manager(folder)
    stuffer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stuffer.connect(manager.address)
    stuffer.setblocking(False)
    try:
        while True:
            stuffer.send(b"STUFF=1")
    except BlockingIOError:
        pass
    daemon = bus.Daemon(folder=folder, env=manager.environment(WATCHDOG_USEC="20000"))
    with daemon.connect() as connection:
        topic = connection.open(folder / "file")
        for _ in range(100):
            connection.ping()
        manager.wait_for("READY")
        manager.wait_for("WATCHDOG")
        topic.close()
    daemon.stop()
    manager.wait_for("STOPPING")
    manager.close()


def test_a_manager_that_was_replaced():
    """It listens at another socket of the same name: that one is told."""
    folder = pathlib.Path(bus.new_folder())
    manager = Manager(folder)
    daemon = bus.Daemon(folder=folder, env=manager.environment(WATCHDOG_USEC="20000"), wait=False)
    manager.wait_for("READY")
    manager.close()
    os.unlink(manager.address)
    manager = Manager(folder)
    manager.wait_for("WATCHDOG")
    daemon.stop()
    manager.wait_for("STOPPING")
    manager.close()


def test_no_manager():
    folder = pathlib.Path(bus.new_folder())
    for address in (f"{folder}/nobody", "", "relative", "@", "/" * 200):
        daemon = bus.Daemon(folder=folder, env={**os.environ, "NOTIFY_SOCKET": address})
        assert "cannot be told" in daemon.said()
        daemon.stop()


# --- on demand --------------------------------------------------------------------------------------------------------


def test_idle_exit():
    """It ends when nobody needs it, not before, and is started again by who comes."""
    folder = pathlib.Path(bus.new_folder())
    with listen(folder / "socket") as listener:
        daemon = activated([listener], folder=folder, arguments=("--idle-exit", "300"), wait=False)
        with daemon.connect() as connection:
            connection.goodbye()  # a rest begins, which the next one ends
        with daemon.connect() as connection:
            topic = connection.open(folder / "file")
            topic.close()
            began = time.monotonic()
            while time.monotonic() - began < 0.6:
                connection.ping()
        assert daemon.wait() == 0 and "nobody has needed it" in daemon.said()
        assert (folder / "socket").exists() and not (folder / "socket.lock").exists()
        with bus.Connection(folder / "socket", greet=False) as waiting:
            bus.wait_for(lambda: select.select([listener], [], [], 0)[0], "the service manager hears of it")
            daemon = activated([listener], folder=folder, arguments=("--idle-exit", "300"), wait=False)
            waiting.greet()
        assert daemon.wait() == 0


def test_idle_exit_waits_for_processes():
    """A connection that has ended without a goodbye is no process that has ended: it may still use its lane."""
    folder = pathlib.Path(bus.new_folder())
    with listen(folder / "socket") as listener:
        daemon = activated([listener], folder=folder, arguments=("--idle-exit", "50"), wait=False)
        child = os.fork()
        if child == 0:
            connection = bus.Connection(folder / "socket")
            connection.open(folder / "file")
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        with daemon.connect() as connection:
            assert connection.ping()[:2] == (2, 1)
        assert daemon.process.poll() is None
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert daemon.wait() == 0


def test_idle_exit_at_the_start():
    """Started by hand, and nobody comes; or without a service manager, and it stays."""
    folder = pathlib.Path(bus.new_folder())
    with listen(folder / "socket") as listener:
        assert activated([listener], folder=folder, arguments=("--idle-exit", "1"), wait=False).wait() == 0
    with bus.daemon("--idle-exit", "1") as daemon:
        assert "no effect" in daemon.said()


if __name__ == "__main__":
    bus.main()
