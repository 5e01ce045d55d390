#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Paths that cannot be opened, file systems that do not answer, descriptors that run out."""

import contextlib
import errno
import os
import pathlib
import resource
import shutil
import signal
import struct

import bus

NOBODY = 65534


def expect_failure(connection, path, number, text="", flags=0):
    connection.send(bus.open_frame(connection.request(), path, flags))
    return connection.expect_error(number, connection.last_request, text)


def test_paths_that_lead_nowhere():
    with bus.daemon() as daemon, daemon.connect() as connection:
        folder = daemon.folder
        (folder / "file").touch()
        (folder / "loop").symlink_to("loop")
        (folder / "dangling").symlink_to("missing/file")
        expect_failure(connection, folder / "missing/file", errno.ENOENT, os.fspath(folder / "missing/file"))
        expect_failure(connection, folder / "file/file", errno.ENOTDIR, "no folder")
        expect_failure(connection, f"{folder}/file/", errno.ENOTDIR)
        expect_failure(connection, folder / "loop", errno.ELOOP, "symbolic links")
        expect_failure(connection, folder / ("x" * 256), errno.ENAMETOOLONG, "too long")
        expect_failure(connection, folder / "dangling", errno.ENOENT)
        # A long path is cut, an unprintable one escaped.
        said = expect_failure(connection, folder / ("deep/" * 700), errno.ENOENT)
        assert len(said) <= 255
        expect_failure(connection, os.fsencode(folder / "missing") + b"/\xff\n", errno.ENOENT, "\\xff\\x0a")
        assert connection.ping()[1] == 0


def test_strange_names():
    with bus.daemon() as daemon, daemon.connect() as connection:
        folder = os.fsencode(daemon.folder)
        for name in (b"\xff\xfe", b"\n", b" ", b"x" * 255, b"-", b"...", b"\x7f"):
            path = folder + b"/" + name
            with open(path, "wb"):
                pass
            before = connection.ping()[1]
            topic = connection.open(path)
            assert topic.page[64:64 + len(name)] == name
            bus.wait_for(lambda: connection.ping()[1] == before + 1, "its topic is there, and no other one")


def test_a_path_near_the_limit():
    with bus.daemon() as daemon, daemon.connect() as connection:
        path = os.fspath(daemon.folder)
        at = os.open(path, os.O_RDONLY)
        while len(path) < 4095 - 101:
            os.mkdir("d" * 100, dir_fd=at)
            inner = os.open("d" * 100, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at, path = inner, f"{path}/{'d' * 100}"
        os.close(at)
        path = f"{path}/".ljust(4095, "f")
        assert connection.open(path).lane == connection.open(path).lane


@contextlib.contextmanager
def unprivileged():
    """A folder that nobody's processes may use, with a program that they may run."""
    if os.getuid() != 0:
        raise bus.Skip("needs root")
    folder = pathlib.Path(bus.new_folder())
    program = folder / "pathbusd"
    shutil.copy(bus.program(), program)
    folder.chmod(0o755)
    program.chmod(0o755)
    (folder / "own").mkdir()
    os.chown(folder / "own", NOBODY, NOBODY)
    yield folder, program


def test_rights():
    with unprivileged() as (folder, program):
        def inside():
            own = folder / "own"
            with bus.daemon(folder=own, program_of=program) as daemon, daemon.connect() as connection:
                for mode, read, write in ((0o000, 0, 0), (0o400, 1, 0), (0o200, 0, 1), (0o600, 1, 1)):
                    path = own / f"file-{mode:o}"
                    path.touch()
                    path.chmod(mode)
                    has = read * bus.SUBSCRIBE | write * bus.POST
                    for flags in range(4):
                        wants = flags or bus.SUBSCRIBE
                        if wants & ~has:
                            may_not = "read" if wants & ~has & bus.SUBSCRIBE else "written"
                            expect_failure(connection, path, errno.EACCES, f"may not be {may_not}", flags)
                        else:
                            assert connection.open(path, flags).rights == has
                # Of a missing file its folder decides.
                (own / "read-only").mkdir(mode=0o500)
                assert connection.open(own / "read-only/file").rights == bus.SUBSCRIBE
                expect_failure(connection, own / "read-only/file", errno.EACCES, "folder", bus.POST)
                # A folder that may not be searched.
                (own / "closed").mkdir(mode=0o600)
                expect_failure(connection, own / "closed/file", errno.EACCES, "searched")
                (own / "closed").chmod(0o700)
                (own / "read-only").chmod(0o700)

        bus.as_user(NOBODY, inside)


def test_a_folder_that_may_be_searched_but_not_read():
    """It cannot be watched, and that is said; it is never taken for empty."""
    with unprivileged() as (folder, program):
        (folder / "public").mkdir()
        (folder / "public").chmod(0o711)
        (folder / "public/file").touch()
        (folder / "public/file").chmod(0o666)

        def inside():
            with bus.daemon(folder=folder / "own", program_of=program) as daemon, daemon.connect() as connection:
                # A sidecar may be there at any time, so it is linked each time; this daemon has no agent beside it.
                expect_failure(connection, folder / "public/file", errno.ENOTCONN, "cannot be linked")
                daemon.expect_said("cannot be watched")

        bus.as_user(NOBODY, inside)


def test_a_client_in_another_root():
    if os.getuid() != 0:
        raise bus.Skip("needs root")
    with bus.daemon() as daemon, daemon.connect() as connection:
        jail = daemon.folder / "jail"
        (jail / "data").mkdir(parents=True)
        (jail / "link").symlink_to("/data/file")
        outside = connection.open(jail / "data/file")
        ready_reader, ready = os.pipe()
        done, done_writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os._exit(in_jail(daemon, jail, outside.lane, ready, done))
        try:
            assert os.read(ready_reader, 1) == b"x", "it failed in the jail"
            assert connection.ping()[1] == 1
        finally:
            os.write(done_writer, b"x")
            _, status = os.waitpid(pid, 0)
            for fd in (ready_reader, ready, done, done_writer):
                os.close(fd)
        assert status == 0


def in_jail(daemon, jail, lane, ready, done):
    try:
        inside = daemon.connect()
        os.chroot(jail)
        os.chdir("/")
        for path in ("/data/file", "/link", "/../../data/file"):
            assert inside.open(path).lane == lane, path
        os.write(ready, b"x")
        os.read(done, 1)
        return 0
    except BaseException as error:
        print(error, flush=True)
        os.write(ready, b"-")
        return 1


# --- file systems that do not answer: a worker that is stopped looks the same ---------------------------------


def open_later(connection, path):
    connection.send(bus.open_frame(connection.request(), path))
    return connection.last_request


def test_a_path_that_hangs():
    with bus.daemon() as daemon, daemon.connect() as unlucky, daemon.connect() as other:
        worker, = daemon.settled_workers()
        os.kill(worker, signal.SIGSTOP)
        request = open_later(unlucky, daemon.folder / "slow")
        # Everybody else is served, by another worker.
        lane = other.open(daemon.folder / "file").lane
        unlucky.expect_error(errno.ETIMEDOUT, request, "does not answer")
        daemon.expect_said("does not answer")
        bus.wait_for(lambda: worker not in bus.processes(), "the worker is gone")
        assert unlucky.open(daemon.folder / "file").lane == lane


def test_a_slow_path():
    """One that answers in time is no failure."""
    with bus.daemon("--files-timeout", "600000") as daemon, daemon.connect() as slow, daemon.connect() as other:
        workers = daemon.settled_workers()  # a busy machine may have needed two at the start
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        request = open_later(slow, daemon.folder / "slow")
        other.open(daemon.folder / "file")
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        slow.expect(bus.OPENED, request)
        assert set(workers) <= set(daemon.workers())


def test_one_client_does_not_use_all_workers_up():
    with bus.daemon("--files-timeout", "600000") as daemon, daemon.connect() as greedy, daemon.connect() as other:
        stopped = []
        for number in range(2):
            free = [pid for pid in daemon.settled_workers() if pid not in stopped]
            for pid in free:
                os.kill(pid, signal.SIGSTOP)
            stopped += free
            open_later(greedy, daemon.folder / f"slow{number}")
            # One that was stopped before it had said that it is ready is replaced, as well it may be.
            bus.wait_for(lambda: set(daemon.workers()) - set(stopped), "another worker is started")
        for number in range(20):
            open_later(greedy, daemon.folder / f"more{number}")
        other.open(daemon.folder / "file")
        for pid in set(stopped) & set(daemon.workers()):
            os.kill(pid, signal.SIGCONT)
        for _ in range(22):
            greedy.expect(bus.OPENED)


def can_open(connection, path):
    try:
        connection.open(path).close()
    except bus.Failed as failure:
        assert "ETIMEDOUT" in str(failure), failure
        return False
    return True


def test_all_workers_hang():
    with bus.daemon("--files-timeout", "100") as daemon:
        connections = [daemon.connect() for _ in range(4)]
        stopped = set()
        for connection in connections:
            bus.wait_for(lambda: set(daemon.workers()) - stopped, "there is another worker")
            for pid in set(daemon.settled_workers()) - stopped:
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
            open_later(connection, daemon.folder / "slow")
        for connection in connections:
            connection.expect_error(errno.ETIMEDOUT)
        # Until new workers are ready nobody is free, and the daemon says so.
        bus.wait_for(lambda: can_open(connections[0], daemon.folder / "file"), "there are workers again")
        for connection in connections:
            connection.open(daemon.folder / "file")
            connection.close()
        bus.wait_for(lambda: not stopped & set(bus.processes()), "they are gone")


def test_a_worker_that_dies():
    """The question is put to another one; if that dies too, it fails."""
    with bus.daemon("--files-timeout", "600000") as daemon, daemon.connect() as connection:
        for n_deaths in (1, 2):
            request, killed = None, set()
            for _ in range(n_deaths):
                worker, = bus.wait_for(lambda: set(daemon.workers()) - killed, "there is another worker")
                os.kill(worker, signal.SIGSTOP)
                killed.add(worker)
                request = request or open_later(connection, daemon.folder / "file")
                os.kill(worker, signal.SIGKILL)
                bus.wait_for(lambda: worker not in daemon.workers(), "it is gone")
            answer = connection.receive()
            assert answer.request == request
            # The second worker may have died before it was asked.
            assert answer.kind == bus.OPENED or n_deaths == 2 and answer.kind == bus.ERROR
        connection.open(daemon.folder / "file").close()


def test_a_client_that_goes_while_its_path_hangs():
    with bus.daemon("--files-timeout", "100") as daemon, daemon.connect() as other:
        for _ in range(3):
            connection = daemon.connect()
            for pid in daemon.settled_workers():
                os.kill(pid, signal.SIGSTOP)
            open_later(connection, daemon.folder / "slow")
            connection.close()
            bus.wait_for(lambda: other.ping()[0] == 1, "its connection is gone")
            other.open(daemon.folder / "file").close()


# --- descriptors ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def few_descriptors(daemon, more):
    """As if the table were full but for some."""
    used = max(int(fd) for fd in os.listdir(f"/proc/{daemon.pid}/fd")) + 1
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + more, before[1]))
    yield
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)


def test_no_descriptor_for_a_connection():
    with bus.daemon() as daemon, daemon.connect() as connection:
        topic = connection.open(daemon.folder / "file")
        with few_descriptors(daemon, 0):
            for _ in range(20):
                with daemon.connect(greet=False) as refused:
                    refused.expect_error(errno.EMFILE, 0, "no descriptors")
                    refused.expect_end()
            assert connection.ping()[:2] == (1, 1)
            topic.close()
        daemon.expect_said("no descriptors")


def test_no_descriptor_for_a_lane():
    with bus.daemon() as daemon, daemon.connect() as connection:
        n_opened = 0
        with few_descriptors(daemon, 7):
            for number in range(10):
                connection.send(bus.open_frame(connection.request(), daemon.folder / str(number)))
                answer = connection.receive()
                if answer.kind == bus.OPENED:
                    n_opened += 1
                    continue
                assert struct.unpack_from("<I", answer.body)[0] in (errno.EMFILE, errno.ENFILE)
                assert b"no descriptors" in answer.body[4:]
            assert 0 < n_opened < 10
            # An existing lane needs none.
            connection.open(daemon.folder / "0")
        connection.open(daemon.folder / "9")


def test_does_not_spin_when_it_cannot_accept():
    """Without even the descriptor in reserve the listener rests."""
    with bus.daemon() as daemon:
        with few_descriptors(daemon, -8):
            # The reserve is given up for the first, and its number is above the limit.
            waiting = [daemon.connect(greet=False) for _ in range(3)]
            before = cpu_ticks(daemon.pid)
            daemon.expect_said("cannot be accepted")
            for _ in range(3):
                os.sched_yield()
            assert cpu_ticks(daemon.pid) - before < 50
        for connection in waiting:
            answer = None
            connection.send(bus.hello())
            answer = connection.receive()
            assert answer and answer.kind in (bus.WELCOME, bus.ERROR)
            connection.close()


def cpu_ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


if __name__ == "__main__":
    bus.main()
