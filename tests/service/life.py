#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The daemon's start, its end, and its place: one instance per socket, nothing left behind, the death word."""

import ctypes
import errno
import fcntl
import mmap
import os
import pathlib
import shutil
import signal
import socket
import stat
import struct
import subprocess

import bus


def run(*arguments, program_of=None, **keywords):
    """pathbusd to its end: status, stdout, stderr."""
    done = subprocess.run([program_of or bus.program(), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=bus.LIMIT_S, **keywords)
    return done.returncode, done.stdout, done.stderr


def test_usage():
    status, out, err = run("--help")
    assert status == 0 and "--address" in out and not err
    status, out, err = run("--version")
    assert status == 0 and out.startswith("pathbusd ") and not err
    for wrong in (["--nonsense"], ["file"], ["--offload-members", "0"], ["--offload-members", "x"],
                  ["--offload-members", "-1"], ["--log-level", "loud"], ["--address"], ["--address", ""],
                  ["--files-timeout", "99999999999"], ["--hello-timeout", "1s"], ["--max-message", "127"],
                  ["--max-message", "65537"], ["--max-message", "4k"]):
        status, out, err = run(*wrong)
        assert status == 2 and "pathbusd --help" in err and not out, f"{wrong}: {status} {out} {err}"


def test_clean_stop():
    for number in (signal.SIGTERM, signal.SIGINT):
        daemon = bus.Daemon()
        folder, files_before = daemon.folder, {"socket", "socket.lock", "socket.control", "socket.control.lock", daemon.log.name}
        assert set(os.listdir(folder)) == files_before
        assert stat.S_IMODE(daemon.address.stat().st_mode) == 0o700
        assert pathlib.Path(f"{daemon.address}.lock").read_text() == f"{daemon.pid}\n"
        connection = daemon.connect()
        topic = connection.open(folder / "file")
        workers = daemon.workers()
        assert workers
        daemon.process.send_signal(number)
        assert daemon.wait() == 0, daemon.said()
        assert connection.receive() is None
        assert set(os.listdir(folder)) == {daemon.log.name}
        bus.wait_for(lambda: not any(bus.command(pid) for pid in workers), "the workers have ended")
        topic.page.close()
        connection.close()


def test_stop_at_once():
    """Whenever the signal comes, nothing is left."""
    for _ in range(20):
        daemon = bus.Daemon(wait=False)
        bus.wait_for(lambda: os.path.exists(f"{daemon.address}.lock"), "it has begun to serve")
        daemon.stop()
        assert os.listdir(daemon.folder) == [daemon.log.name]


def test_ignored_signals():
    with bus.daemon() as daemon:
        for number in (signal.SIGHUP, signal.SIGPIPE):
            daemon.process.send_signal(number)
        with daemon.connect() as connection:
            connection.ping()


def test_second_instance():
    with bus.daemon() as daemon, daemon.connect() as connection:
        inode = daemon.address.stat().st_ino
        status, _, err = run("--address", daemon.address)
        assert status == 3
        assert f"pid {daemon.pid}" in err and "already" in err and str(daemon.address) in err, err
        assert daemon.address.stat().st_ino == inode
        connection.ping()


def test_takes_over_from_a_killed_one():
    daemon = bus.Daemon()
    inode = daemon.address.stat().st_ino
    daemon.kill()
    assert daemon.address.exists()
    with bus.daemon(folder=daemon.folder) as successor:
        assert successor.address.stat().st_ino != inode
        assert sorted(path.name for path in daemon.folder.iterdir() if "log" not in path.name) == \
            ["socket", "socket.control", "socket.control.lock", "socket.lock"]


def has_open(pid, name):
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{fd}").endswith(f"/{name}") for fd in os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return False


def test_waits_for_what_a_killed_one_left():
    """It died while it started its agent: that child keeps the lock until it is the other program."""
    folder = pathlib.Path(bus.new_folder())
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid, status in ((gone.pid, 0), (os.getpid(), 3)):
        with open(folder / "socket.lock", "w+", encoding="ascii") as lock:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
            lock.write(f"{pid}\n")
            lock.flush()
            daemon = bus.Daemon(folder=folder, wait=False)
            if status:
                assert daemon.wait() == status, daemon.said()
                continue
            bus.wait_for(lambda: has_open(daemon.pid, "socket.lock"), "it wants the lock")
            assert daemon.process.poll() is None and not daemon.address.exists()
        daemon.wait_until_ready()
        daemon.stop()


def test_many_at_once():
    """Of many that are started at once one serves, whatever was there before."""
    folder = bus.new_folder()
    for _ in range(3):
        daemons = [bus.Daemon(folder=folder, wait=False) for _ in range(8)]
        bus.wait_for(lambda: sum(d.process.poll() is None for d in daemons) == 1, "one is left")
        for daemon in daemons:
            if daemon.process.poll() is None:
                daemon.wait_until_ready()
                daemon.kill()
            else:
                assert daemon.wait() == 3, daemon.said()


def test_something_else_in_the_way():
    for kind in ("file", "folder", "link", "fifo"):
        folder = pathlib.Path(bus.new_folder())
        path = folder / "socket"
        if kind == "file":
            path.write_text("precious")
        elif kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to("precious")
        else:
            os.mkfifo(path)
        before = path.lstat()
        status, _, err = run("--address", path)
        assert status == 1 and "no socket" in err and str(path) in err, err
        assert path.lstat() == before
        assert os.listdir(folder) == ["socket"]


def test_no_place():
    folder = bus.new_folder()
    status, _, err = run("--address", f"{folder}/missing/socket")
    assert status == 1 and "missing/socket" in err, err
    status, _, err = run("--address", f"{folder}/")
    assert status == 1 and "folder" in err, err
    os.mkdir(f"{folder}/socket.lock")
    status, _, err = run("--address", f"{folder}/socket")
    assert status == 1 and "lock" in err, err
    assert os.listdir(folder) == ["socket.lock"]


def test_long_addresses():
    folder = bus.new_folder()
    longest = f"{folder}/".ljust(107, "x")
    with bus.daemon(folder=folder, address=longest) as daemon, daemon.connect() as connection:
        connection.ping()
    status, _, err = run("--address", longest + "x")
    assert status == 1 and "107" in err and "too long" in err, err
    assert not [name for name in os.listdir(folder) if not name.startswith("log")]


def test_relative_address():
    folder = bus.new_folder()
    daemon = bus.Daemon(folder=folder, address="socket", cwd=folder, wait=False)
    daemon.address = pathlib.Path(folder) / "socket"
    daemon.wait_until_ready()
    daemon.stop()
    assert not daemon.address.exists()


def test_a_socket_that_was_replaced_is_left():
    daemon = bus.Daemon()
    daemon.address.unlink()
    other = socket.socket(socket.AF_UNIX)
    other.bind(os.fspath(daemon.address))
    daemon.stop()
    assert daemon.address.exists()
    other.close()


def death_word(fd):
    page = mmap.mmap(fd, bus.DEATH_SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
    magic, word, armed = struct.unpack_from("<QII", page)
    assert magic == 0x3144534542485450
    page.close()
    return word, armed


def test_death_word():
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV):
        daemon = bus.Daemon(env={**os.environ, "ASAN_OPTIONS": "handle_segv=0:handle_abort=0"})
        with daemon.connect() as connection:
            word, armed = death_word(connection.death)
            assert armed == 1 and not word & bus.OWNER_DIED
            os.kill(daemon.pid, number)
            assert connection.receive() is None
            # The word comes before the end of the socket, so no waiting here.
            word, _ = death_word(connection.death)
            assert word & bus.OWNER_DIED, f"signal {number}: {word:#x}"
        daemon.wait()


def test_death_page_is_sealed():
    with bus.daemon() as daemon, daemon.connect() as connection:
        again = os.open(f"/proc/self/fd/{connection.death}", os.O_RDWR)
        for fd in (connection.death, again):
            try:
                mmap.mmap(fd, bus.DEATH_SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
                raise AssertionError("the death page can be mapped writable")
            except PermissionError:
                pass
            # EBADF and EINVAL: the descriptor is read-only in the first place.
            for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0)):
                try:
                    change()
                    raise AssertionError("the death page can be changed")
                except OSError as error:
                    assert error.errno in (errno.EPERM, errno.EBADF, errno.EINVAL), error
        os.close(again)
        lane = connection.open(daemon.folder / "file").page_fd
        try:
            os.ftruncate(lane, 0)
            raise AssertionError("a lane's page can be cut")
        except PermissionError:
            pass


def test_no_helper_holds_what_it_should_not():
    with bus.daemon() as daemon, daemon.connect() as connection:
        connection.open(daemon.folder / "file")
        listening = os.readlink(f"/proc/{daemon.pid}/fd/{listener_of(daemon)}")
        for pid in daemon.workers():
            fds = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            extra = {fd: name for fd, name in fds.items() if fd > 4}
            assert not extra, f"a worker has {extra}"
            assert fds[3].startswith("socket:") and fds[3] != listening
            assert fds[4] == "anon_inode:inotify"
            assert "pathbus-death" not in pathlib.Path(f"/proc/{pid}/maps").read_text()


def listener_of(daemon):
    inode = next(line.split()[6] for line in open("/proc/net/unix")
                 if line.split()[-1].startswith(os.fspath(daemon.folder)) and line.split()[3] == "00010000")
    for fd in os.listdir(f"/proc/{daemon.pid}/fd"):
        if os.readlink(f"/proc/{daemon.pid}/fd/{fd}") == f"socket:[{inode}]":
            return fd
    raise AssertionError("no listening socket found")


def test_process_settings():
    with bus.daemon() as daemon:
        limits = pathlib.Path(f"/proc/{daemon.pid}/limits").read_text().splitlines()
        files = next(line for line in limits if line.startswith("Max open files")).split()
        assert files[3] == files[4], "the descriptor limit was not raised"
        core = next(line for line in limits if line.startswith("Max core file")).split()
        assert core[4] == core[5] == "1"  # 0 would let dumps to a pipe through
        status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
        assert "Umask:\t0077" in status
        assert os.readlink(f"/proc/{daemon.pid}/cwd") == "/"


def test_closed_standard_descriptors():
    def close_all():
        for fd in (0, 1, 2):
            os.close(fd)

    folder = bus.new_folder()
    pid = os.fork()
    if pid == 0:
        close_all()
        os.execv(bus.program(), [bus.program(), "--address", f"{folder}/socket"])
    try:
        bus.wait_for(lambda: os.path.exists(f"{folder}/socket"), "it serves")
        with bus.Connection(f"{folder}/socket") as connection:
            connection.open(f"{folder}/file")
    finally:
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
    assert status == 0


def test_a_log_that_nobody_reads():
    """A full pipe at stderr holds nothing up."""
    reader, writer = os.pipe()
    folder = bus.new_folder()
    process = subprocess.Popen([bus.program(), "--address", f"{folder}/socket", "--log-level", "debug"],
                               stdin=subprocess.DEVNULL, stderr=writer)
    try:
        os.set_blocking(writer, False)
        bus.wait_for(lambda: os.path.exists(f"{folder}/socket"), "it serves")
        try:
            while True:
                os.write(writer, bytes(4096))
        except BlockingIOError:
            pass
        os.set_blocking(writer, True)
        for _ in range(20):
            with bus.Connection(f"{folder}/socket") as connection:
                connection.send(bus.frame(99, 1))
                connection.expect_error(errno.EBADMSG, 0)
    finally:
        process.terminate()
        assert process.wait(bus.LIMIT_S) == 0
        os.close(reader)
        os.close(writer)


# --- the user's own place and the system's daemon, in a mount namespace with a /run of its own ----------------

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000


def private_run():
    bus.libc.prctl(bus.PR_SET_PDEATHSIG, signal.SIGKILL)
    for call in (lambda: bus.libc.unshare(CLONE_NEWNS),
                 lambda: bus.libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
                 lambda: bus.libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, b"mode=1777"),
                 lambda: bus.libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"mode=1777")):
        if call() < 0:
            raise OSError(ctypes.get_errno(), "no mount namespace")
    become_ordinary()


ORDINARY = 65534  # root's daemon serves all users, elsewhere (system.py)


def become_ordinary():
    os.setgroups([])
    os.setresgid(ORDINARY, ORDINARY, ORDINARY)
    os.setresuid(ORDINARY, ORDINARY, ORDINARY)


class OwnPlace:
    """A folder tree with a /run and a /dev/shm of its own, kept by a process that sleeps in it, and seen by an ordinary
    user, which the test is too meanwhile."""

    def __enter__(self):
        if os.getuid() != 0:
            raise bus.Skip("needs root")
        try:
            self.holder = subprocess.Popen(["sleep", "1000"], preexec_fn=private_run)
        except subprocess.SubprocessError as error:
            raise bus.Skip("needs the right to make a mount namespace") from error
        self.root = pathlib.Path(f"/proc/{self.holder.pid}/root")
        programs = pathlib.Path(bus.new_folder())
        programs.chmod(0o755)
        self.program = pathlib.Path(shutil.copy(bus.program(), programs))
        bus.wait_for(lambda: b"sleep" in bus.command(self.holder.pid), "it sleeps")
        os.setegid(ORDINARY)
        os.seteuid(ORDINARY)
        return self

    def __exit__(self, *_):
        os.seteuid(0)
        os.setegid(0)
        self.holder.kill()
        self.holder.wait()

    def enter(self):
        os.seteuid(0)
        namespace = os.open(f"/proc/{self.holder.pid}/ns/mnt", os.O_RDONLY)
        if bus.libc.setns(namespace, CLONE_NEWNS) < 0:
            raise OSError("no way in")
        os.close(namespace)
        become_ordinary()

    def daemon(self, address, **keywords):
        return bus.Daemon(address=f"{self.root}{address}", pass_address=False, preexec_fn=self.enter,
                          program_of=self.program, **keywords)

    def run(self, *arguments):
        return run(*arguments, preexec_fn=self.enter, program_of=self.program)

    def system_socket(self):
        folder = self.root / "run/pathbus"
        folder.mkdir(exist_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.fspath(folder / "socket"))
        listener.listen()
        return listener


def test_own_place():
    with OwnPlace() as place:
        (place.root / "run/user/65534").mkdir(parents=True)
        daemon = place.daemon("/run/user/65534/pathbus/socket")
        folder = place.root / "run/user/65534/pathbus"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        runtime = place.root / "dev/shm/pathbus-65534"
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
        daemon.stop()
        assert os.listdir(folder) == []
        assert os.listdir(runtime) == [], "the runtime folder stays for others, and is empty"


def test_own_place_without_a_login():
    with OwnPlace() as place:
        daemon = place.daemon("/dev/shm/pathbus-65534/socket")
        daemon.stop()
        assert os.listdir(place.root / "dev/shm/pathbus-65534") == []


def test_own_place_that_is_not_safe():
    with OwnPlace() as place:
        runtime = place.root / "dev/shm/pathbus-65534"
        runtime.mkdir()
        runtime.chmod(0o755)
        status, _, err = place.run()
        assert status == 1 and "0700" in err, err
        runtime.rmdir()
        runtime.symlink_to("/tmp")
        status, _, err = place.run()
        assert status == 1 and "pathbus-65534" in err, err
        runtime.unlink()
        runtime.mkdir(0o700)
        os.seteuid(0)
        os.chown(runtime, 1, 1)
        os.seteuid(ORDINARY)
        status, _, err = place.run()
        assert status == 1 and "0700" in err, err


def test_does_not_start_beside_the_systems():
    with OwnPlace() as place, place.system_socket():
        status, _, err = place.run()
        assert status == 3 and "system-wide" in err and "--address" in err, err
        with_address = bus.Daemon(preexec_fn=place.enter, program_of=place.program)
        with_address.stop()


def test_starts_beside_a_dead_one_of_the_systems():
    with OwnPlace() as place:
        place.system_socket().close()
        place.daemon("/dev/shm/pathbus-65534/socket").stop()


def test_steps_down():
    for prepare in (lambda place: None, lambda place: (place.root / "run/pathbus").mkdir(),
                    lambda place: place.system_socket().close()):
        with OwnPlace() as place:
            prepare(place)
            daemon = place.daemon("/dev/shm/pathbus-65534/socket")
            with daemon.connect() as connection:
                (place.root / "run/pathbus/socket").unlink(missing_ok=True)
                with place.system_socket():
                    assert connection.receive() is None
                    assert death_word(connection.death)[0] & bus.OWNER_DIED
                    assert daemon.wait() == 0
                    assert "system-wide" in daemon.said()


def test_with_an_address_it_does_not_step_down():
    with OwnPlace() as place:
        daemon = bus.Daemon(preexec_fn=place.enter, program_of=place.program)
        with daemon.connect() as connection, place.system_socket():
            for _ in range(50):
                connection.ping()
        daemon.stop()


if __name__ == "__main__":
    bus.main()
