#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The daemon of all users: what its processes are, and whose eyes a path is seen with."""

import contextlib
import ctypes
import errno
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import traceback

import bus

SERVICE, ALICE, BOB = 64242, 61001, 61002  # numbers do: nobody needs an entry anywhere
SHARED = 62000  # a group
CAP_SETGID, CAP_SETUID, CAP_SYS_PTRACE = 1 << 6, 1 << 7, 1 << 19
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
PR_SET_DUMPABLE = 4


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


class SystemDaemon(bus.Daemon):
    """A pathbusd of all users, at a place that all of them reach."""

    def __init__(self, *arguments, folder=None, user=SERVICE, **keywords):
        if os.getuid() != 0:
            raise bus.Skip("needs root")
        folder = pathlib.Path(folder or bus.new_folder())
        folder.chmod(0o755)
        # A machine that is busy is not a file system that hangs: where that is the matter, the test says when.
        super().__init__("--system", "--user", str(user), "--files-timeout", "20000", *arguments, folder=folder, address=folder / "run/socket", **keywords)

    def files(self):
        child, = [pid for pid in self.children() if b"--files" in bus.command(pid)]
        return child

    def reader(self):
        """What reads the configuration."""
        child, = [pid for pid in self.children() if b"--reader" in bus.command(pid)]
        return child

    def workers(self):
        return [pid for pid in bus.processes() if (bus.parent_and_state(pid) or (0,))[0] == self.files()]

    def workers_of(self, uid):
        """Those that are this user already."""
        found = []
        for pid in self.workers():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if status_of(pid)["Uid"] == [str(uid)] * 4:
                    found.append(pid)
        return found


@contextlib.contextmanager
def system_daemon(*arguments, **keywords):
    daemon = SystemDaemon(*arguments, **keywords)
    processes = [daemon.files(), daemon.reader(), *daemon.workers()]
    yield daemon
    processes += daemon.workers()
    daemon.stop()
    assert os.listdir(daemon.folder / "run") == [], "its files are gone"
    bus.wait_for(lambda: not set(processes) & set(bus.processes()), "its processes are gone")


class Child:
    """A process that runs a function which takes its end of a pipe pair; what it raises fails the test."""

    def __init__(self, function, before=lambda: None):
        self.from_child, to_parent = os.pipe()
        from_parent, self.to_child = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self.from_child)
                os.close(self.to_child)
                bus.running.clear()
                bus.folders.clear()
                before()
                function(lambda: os.read(from_parent, 1) == b"." or os._exit(2), lambda: os.write(to_parent, b"."))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(to_parent)
        os.close(from_parent)

    def wait_for_word(self):
        assert os.read(self.from_child, 1) == b".", "it failed in the child"

    def go_on(self):
        os.write(self.to_child, b".")

    def end(self):
        os.close(self.to_child)
        os.close(self.from_child)
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, f"it failed in the child ({status})"


def become(uid, gid=None, groups=()):
    os.setgroups(list(groups))
    os.setresgid(*3 * [uid if gid is None else gid])
    os.setresuid(*3 * [uid])


def run_as(uid, function, gid=None, groups=(), before=lambda: None):
    def run(_, __):
        function()

    def prepare():
        before()
        become(uid, gid, groups)

    Child(run, prepare).end()


def make(path, owner, mode=0o600, group=None):
    path.touch()
    os.chown(path, owner, owner if group is None else group)
    path.chmod(mode)
    return path


def key_of(connection, path):
    return connection.open(path).page[40:64 + 256]


def expect_failure(connection, path, number, text="", flags=0):
    connection.send(bus.open_frame(connection.request(), path, flags))
    return connection.expect_error(number, connection.last_request, text)


# --- what the processes are ---------------------------------------------------------------------------------------


def expect_process(pid, uid, gid, groups, capabilities=0):
    status = status_of(pid)
    assert status["Uid"] == [str(uid)] * 4 and status["Gid"] == [str(gid)] * 4, status
    assert status["Groups"] == [str(group) for group in groups], status["Groups"]
    assert status["NoNewPrivs"] == ["1"]
    for name in ("CapPrm", "CapEff"):
        assert int(status[name][0], 16) == capabilities, (name, status[name])
    for name in ("CapInh", "CapBnd", "CapAmb"):
        assert int(status[name][0], 16) == 0, (name, status[name])
    # Whoever may not be traced has root's files in /proc.
    assert os.stat(f"/proc/{pid}/environ").st_uid == 0


def test_processes():
    with system_daemon() as daemon:
        expect_process(daemon.pid, SERVICE, SERVICE, [])
        expect_process(daemon.files(), SERVICE, SERVICE, [], CAP_SETUID | CAP_SETGID | CAP_SYS_PTRACE)
        make(daemon.folder / "file", ALICE, 0o644)

        def look():
            with daemon.connect() as connection:
                connection.open(daemon.folder / "file")

        for uid, gid, groups in ((ALICE, ALICE, ()), (ALICE, SHARED, (ALICE, SHARED)), (BOB, BOB, (4, 5, 6)), (0, 0, (7,))):
            run_as(uid, look, gid, groups)
            worker = next(pid for pid in daemon.workers_of(uid) if status_of(pid)["Groups"] == [str(group) for group in groups])
            expect_process(worker, uid, gid, groups)
            links = {int(fd): os.readlink(f"/proc/{worker}/fd/{fd}") for fd in os.listdir(f"/proc/{worker}/fd")}
            assert links.pop(2) in ("/dev/null", os.fspath(daemon.log)), links # a sanitizer's words
            assert links.pop(0) == links.pop(1) == "/dev/null"
            assert links.pop(3)[:7] == links.pop(5)[:7] == "socket:" and "inotify" in links.pop(4) and links.pop(6) == "/"
            assert not links, links


def test_a_worker_cannot_be_traced_by_its_user():
    with system_daemon() as daemon:
        make(daemon.folder / "file", ALICE)

        def attack():
            with daemon.connect() as connection:
                connection.open(daemon.folder / "file")
                worker, = daemon.workers_of(ALICE)
                for victim in (worker, daemon.files(), daemon.pid):
                    assert bus.libc.ptrace(0x4206, victim, None, None) == -1  # PTRACE_SEIZE
                    for name in ("environ", "maps", "mem", "fd/3", "root"):
                        try:
                            os.open(f"/proc/{victim}/{name}", os.O_RDONLY)
                        except OSError as error:
                            assert error.errno in (errno.EACCES, errno.EPERM), error
                        else:
                            raise AssertionError(f"{name} of {victim} is open to its user")
                # Its own worker it may end: the question goes to another.
                os.kill(worker, signal.SIGKILL)
                bus.wait_for(lambda: worker not in bus.processes(), "it is gone")
                connection.open(daemon.folder / "file")
                for victim in (daemon.files(), daemon.pid):
                    try:
                        os.kill(victim, signal.SIGKILL)
                    except PermissionError:
                        continue
                    raise AssertionError(f"{victim} may be ended by another user")

        run_as(ALICE, attack)


def test_started_as_the_service_user():
    """As a service manager does it, with the capabilities as ambient ones."""
    if not shutil.which("setpriv"):
        raise bus.Skip("needs setpriv")
    if os.getuid() != 0:
        raise bus.Skip("needs root")
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o755)
    (folder / "run").mkdir()
    os.chown(folder / "run", SERVICE, SERVICE)
    script = as_service_with_capabilities(folder)
    make(folder / "file", ALICE)
    (folder / "jail").mkdir()
    make(folder / "jail/file", ALICE)
    with system_daemon("--files-timeout", "1000", folder=folder, program_of=script) as daemon:
        status = status_of(daemon.pid)
        assert status["Uid"] == [str(SERVICE)] * 4 and status["Groups"] == [] and int(status["CapPrm"][0], 16) == 0
        status = status_of(daemon.files())
        assert int(status["CapPrm"][0], 16) == CAP_SETUID | CAP_SETGID | CAP_SYS_PTRACE and int(status["CapAmb"][0], 16) == 0

        def look():
            with daemon.connect() as connection:
                connection.open(folder / "file")
                # It can also end a worker of another user's.
                worker, = daemon.workers_of(os.getuid())
                os.kill(worker, signal.SIGSTOP)
                expect_failure(connection, folder / "file", errno.ETIMEDOUT)
                bus.wait_for(lambda: worker not in bus.processes(), "it is replaced")
                connection.open(folder / "file")

        run_as(ALICE, look)
        os.chown(folder / "file", 0, 0)
        run_as(0, look)
        for pid in daemon.workers():
            assert int(status_of(pid)["CapPrm"][0], 16) == 0


def run_to_the_end(*arguments, **keywords):
    done = subprocess.run([bus.program(), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=bus.LIMIT_S, **keywords)
    return done.returncode, done.stderr


def test_what_it_does_not_start_with():
    if os.getuid() != 0:
        raise bus.Skip("needs root")
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o755)
    address = folder / "run/socket"
    status, err = run_to_the_end("--system", "--user", "no-such-user", "--address", address)
    assert status == 1 and "no-such-user" in err and "useradd" in err, err
    for user in ("0", "root"):
        status, err = run_to_the_end("--system", "--user", user, "--address", address)
        assert status == 1 and "root" in err, err
    for user in ("4294967295", "12x", "-1"):
        assert run_to_the_end("--system", "--user", user, "--address", address)[0] == 1
    status, err = run_to_the_end("--user", "1", "--address", address)
    assert status == 2 and "--system" in err, err
    # Neither root nor with what it needs.
    (folder / "run").mkdir()
    for owner, uid in ((ALICE, ALICE), (SERVICE, SERVICE)):
        os.chown(folder / "run", owner, owner)
        status, err = run_to_the_end("--system", "--user", SERVICE, "--address", address,
                                     preexec_fn=lambda uid=uid: become(uid))
        assert status == 1 and (f"{SERVICE}" in err), err
    assert os.listdir(folder / "run") == []


def test_places_that_are_not_safe():
    if os.getuid() != 0:
        raise bus.Skip("needs root")
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o755)
    run = folder / "run"

    def expect_refused(text):
        status, err = run_to_the_end("--system", "--user", SERVICE, "--address", run / "socket")
        assert status == 1 and text in err and os.fspath(run) in err, err
        assert not run.exists() or os.listdir(run) == []

    run.mkdir()
    expect_refused("is user 0's")
    os.chown(run, ALICE, ALICE)
    expect_refused(f"is user {ALICE}'s")
    os.chown(run, SERVICE, SERVICE)
    for mode in (0o775, 0o757, 0o1777):
        run.chmod(mode)
        expect_refused("may be written")
    run.chmod(0o755)
    for mode, owner in ((0o777, 0), (0o755, ALICE)):
        folder.chmod(mode)
        os.chown(folder, owner, owner)
        expect_refused("is not safe")
    os.chown(folder, 0, 0)
    folder.chmod(0o1777)
    with system_daemon(folder=folder):
        pass


def test_the_files_process_ends():
    """Main cannot have another one: it says so, the death word comes first, and the status is a failure's."""
    daemon = SystemDaemon()
    with daemon.connect() as connection:
        topic = connection.open(daemon.folder / "file")
        workers = daemon.workers()
        os.kill(daemon.files(), signal.SIGKILL)
        assert connection.receive() is None
        assert os.pread(connection.death, 8, 0), "its page is there"
        assert daemon.wait() == 1
        topic.page.close()
    assert "has ended" in daemon.said()
    assert os.listdir(daemon.folder / "run") == []
    bus.wait_for(lambda: not set(workers) & set(bus.processes()), "its workers are gone")


def test_main_is_killed():
    daemon = SystemDaemon()
    with daemon.connect() as connection:
        connection.open(daemon.folder)
    processes = [daemon.files(), *daemon.workers()]
    assert len(processes) == 2
    daemon.kill()
    bus.wait_for(lambda: not set(processes) & set(bus.processes()), "all of it is gone")


def test_a_signal_to_all():
    """As a service manager stops it: main alone decides when the files process ends."""
    daemon = SystemDaemon()
    files = daemon.files()
    os.kill(files, signal.SIGTERM)
    with daemon.connect() as connection:
        connection.open(daemon.folder)
    assert daemon.files() == files
    daemon.stop()


# --- whose eyes -----------------------------------------------------------------------------------------------------


def test_rights():
    with system_daemon() as daemon:
        alices = make(daemon.folder / "alices", ALICE)
        bobs = make(daemon.folder / "bobs", BOB)
        readable = make(daemon.folder / "readable", BOB, 0o644)
        groups = make(daemon.folder / "group's", BOB, 0o640, SHARED)
        closed = daemon.folder / "closed"
        closed.mkdir(mode=0o700)
        os.chown(closed, BOB, BOB)

        def alice():
            with daemon.connect() as connection:
                assert connection.open(alices).rights == bus.SUBSCRIBE | bus.POST
                expect_failure(connection, bobs, errno.EACCES, "may not be read")
                assert connection.open(readable).rights == bus.SUBSCRIBE
                expect_failure(connection, readable, errno.EACCES, "may not be written", bus.POST)
                expect_failure(connection, groups, errno.EACCES)
                expect_failure(connection, closed / "file", errno.EACCES, "searched")

        def alice_of_the_group():
            with daemon.connect() as connection:
                assert connection.open(groups).rights == bus.SUBSCRIBE
                expect_failure(connection, bobs, errno.EACCES)

        def bob():
            with daemon.connect() as connection:
                assert connection.open(bobs).rights == bus.SUBSCRIBE | bus.POST
                connection.open(closed / "file")
                expect_failure(connection, alices, errno.EACCES)

        def root():
            """Counts as its user and groups; its capabilities do not."""
            with daemon.connect() as connection:
                expect_failure(connection, bobs, errno.EACCES)
                assert connection.open(readable).rights == bus.SUBSCRIBE

        run_as(ALICE, alice)
        run_as(ALICE, alice_of_the_group, groups=[SHARED])
        run_as(ALICE, alice_of_the_group, gid=SHARED)
        run_as(BOB, bob)
        run_as(0, root)


def test_whoever_protects_itself():
    """A worker may not look at such a process; one that may finds its root for it."""
    with system_daemon() as daemon:
        make(daemon.folder / "file", ALICE)

        def look(dumpable):
            assert bus.libc.prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0) == 0
            with daemon.connect() as connection:
                for _ in range(3):
                    connection.open(daemon.folder / "file")

        for dumpable in (0, 1):
            run_as(ALICE, lambda dumpable=dumpable: look(dumpable))


def enter(jail):
    os.chroot(jail)
    os.chdir("/")


def test_another_root():
    with system_daemon() as daemon, daemon.connect() as outside:
        jail = daemon.folder / "jail"
        (jail / "data").mkdir(parents=True)
        (jail / "inner/data").mkdir(parents=True)
        (jail / "link").symlink_to("/data/file")
        (jail / "up").symlink_to("../../../../data/file")
        (jail / "out").symlink_to(daemon.folder / "secret")
        for path in ("jail/data/file", "jail/inner/data/file", "secret"):
            make(daemon.folder / path, ALICE, 0o666)
        inner_key = key_of(outside, jail / "inner/data/file")
        key = key_of(outside, jail / "data/file")
        assert key[24:].startswith(b"file\0") and key != inner_key

        def look(connection, dumpable):
            assert bus.libc.prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0) == 0
            for path in ("/data/file", "/link", "/up", "/../../data/file", "/data/../data/../../data/file"):
                assert key_of(connection, path) == key, path
            # What is outside is not there.
            expect_failure(connection, daemon.folder / "secret", errno.ENOENT)
            expect_failure(connection, "/out", errno.ENOENT)

        for dumpable in (0, 1):
            def run(_, __, dumpable=dumpable):
                connection = as_alice(daemon, jail)
                look(connection, dumpable)
                connection.close()

            Child(run).end()

        def twice(_, __):
            """Each opening is seen in the root of that moment: root's, which may change its own at will."""
            connection = daemon.connect()
            assert key_of(connection, jail / "data/file") == key
            enter(jail)
            assert key_of(connection, "/data/file") == key
            enter("/inner")
            assert key_of(connection, "/data/file") == inner_key
            connection.close()

        Child(twice).end()


def as_alice(daemon, jail):
    """A connection that is Alice's, of a process whose root is elsewhere: it connects first."""
    os.setgroups([])
    os.setresgid(ALICE, ALICE, ALICE)
    os.setresuid(ALICE, ALICE, 0)
    connection = daemon.connect()
    os.setresuid(0, 0, 0)
    enter(jail)
    os.setresuid(ALICE, ALICE, ALICE)
    return connection


def own_mounts():
    if bus.libc.unshare(CLONE_NEWNS) < 0 or bus.libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) < 0:
        raise OSError(ctypes.get_errno(), "no mount namespace")


def test_another_mount_namespace():
    with system_daemon() as daemon, daemon.connect() as outside:
        there = daemon.folder / "there"
        there.mkdir()
        make(there / "file", ALICE)
        key = key_of(outside, make(daemon.folder / "alices", ALICE, 0o666))

        def prepare():
            own_mounts()
            assert bus.libc.mount(b"tmpfs", os.fsencode(there), b"tmpfs", 0, b"mode=755") == 0
            make(there / "only-here", ALICE)

        def look():
            with daemon.connect() as connection:
                assert key_of(connection, daemon.folder / "alices") == key
                connection.open(there / "only-here", bus.POST)
                st = os.stat(there)
                assert struct.unpack_from("<QQ", key_of(connection, there / "only-here")) == (st.st_dev, st.st_ino)

        run_as(ALICE, look, before=prepare)

        def not_there():
            with daemon.connect() as connection:
                expect_failure(connection, there / "only-here", errno.EACCES, flags=bus.POST)

        run_as(ALICE, not_there)


def test_what_a_process_has():
    """The links of /proc mean whoever looks at them, which is the worker; nothing is made of them."""
    with system_daemon() as daemon:
        make(daemon.folder / "file", ALICE)
        (daemon.folder / "link").symlink_to("/proc/self/cwd/file")

        def look():
            fd = os.open(daemon.folder / "file", os.O_RDONLY)
            folder = os.open(daemon.folder, os.O_RDONLY)
            os.chdir(daemon.folder)
            bus.libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # its own /proc is open to the worker
            with daemon.connect() as connection:
                for path in (f"/proc/self/fd/{fd}", f"/dev/fd/{fd}", f"/proc/self/fd/{folder}/file", "/proc/self/cwd/file",
                             "/proc/self/root/etc/passwd", f"/proc/{os.getpid()}/cwd/file", "/proc/thread-self/cwd/file",
                             "/proc/self/fd/3", "/proc/self/fd/6", "/proc/self/status", "/dev/stdin", daemon.folder / "link"):
                    connection.send(bus.open_frame(connection.request(), path))
                    answer = connection.expect(bus.ERROR, connection.last_request)
                    assert struct.unpack_from("<I", answer.body)[0] in (errno.EXDEV, errno.ELOOP), (path, answer.body)
                connection.open(daemon.folder / "file")

        run_as(ALICE, look)


# --- the process that connected, and no other ---------------------------------------------------------------------


def clone_with_pid(pid):
    """Forks a child with this process id, which must be free. 0 in the child."""
    numbers = (ctypes.c_int * 1)(pid)
    arguments = struct.pack("<11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(numbers), 1, 0)
    buffer = ctypes.create_string_buffer(arguments)
    result = bus.libc.syscall(435, buffer, len(arguments))
    if result < 0:
        raise bus.Skip(f"no process of a chosen number: {os.strerror(ctypes.get_errno())}")
    return result


def orphan(daemon):
    """A connection of a process that has ended, kept by this one: the process's number, too."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        become(ALICE)
        connection = daemon.connect()
        socket.send_fds(theirs, [b"."], [connection.socket.fileno()])
        os._exit(0)
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(pid, 0)
    connection = bus.Connection.__new__(bus.Connection)
    connection.__dict__.update(socket=socket.socket(fileno=fds[0]), buffer=b"", fds=[], own_fds=[], last_request=100,
                               has_topics=False)
    connection.socket.settimeout(bus.LIMIT_S)
    ours.close()
    theirs.close()
    return connection, pid


def test_a_process_that_has_ended():
    with system_daemon() as daemon:
        make(daemon.folder / "file", ALICE)
        connection, _ = orphan(daemon)
        expect_failure(connection, daemon.folder / "file", errno.ESRCH, "has ended")
        connection.close()


def test_a_number_that_is_used_again():
    """Whoever has the number of a process that connected is not taken for it, in whatever root it lives."""
    with system_daemon() as daemon:
        jail = daemon.folder / "jail"
        jail.mkdir()
        make(jail / "file", ALICE)
        make(daemon.folder / "file", ALICE)
        for root in ("/", jail):
            connection, pid = orphan(daemon)
            other = clone_with_pid(pid)
            if other == 0:
                enter(root)
                become(ALICE)
                bus.libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
                bus.libc.prctl(bus.PR_SET_PDEATHSIG, signal.SIGKILL)
                signal.pause()
                os._exit(0)
            try:
                assert other == pid
                bus.wait_for(lambda: status_of(pid)["Uid"][0] == str(ALICE), "it is Alice's")
                for path in ("/file", daemon.folder / "file", jail / "file"):
                    expect_failure(connection, path, errno.ESRCH, "has ended")
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                connection.close()


class FilesProcess:
    """The files process, with the test in main's place."""

    def __init__(self, listener):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def prepare():
            bus.libc.prctl(bus.PR_SET_PDEATHSIG, signal.SIGKILL)
            for fd, number in ((theirs.fileno(), 20), (listener.fileno(), 21), (20, 3), (21, 4)):
                os.dup2(fd, number, inheritable=True)

        self.process = subprocess.Popen([bus.program(), "--files", str(SERVICE), str(SERVICE)], preexec_fn=prepare,
                                        close_fds=False, stdin=subprocess.DEVNULL)
        theirs.close()
        self.socket.settimeout(bus.LIMIT_S)
        assert self.receive() == (16, 0, 0, 0)
        watch = bus.libc.inotify_init1(0)
        self.send(1, 0, [watch])
        os.close(watch)

    def send(self, kind, number, fds=()):
        socket.send_fds(self.socket, [struct.pack("<IIii", kind, number, 0, 0)], fds)

    def receive(self):
        return struct.unpack("<IIii", self.socket.recv(100))

    def start_worker(self, client):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.send(2, 77, [client, theirs.fileno()])
        theirs.close()
        return ours, self.receive()


def listen(*names):
    if os.getuid() != 0:
        raise bus.Skip("needs root")
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o755)
    listeners = []
    for name in names:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.fspath(folder / name))
        (folder / name).chmod(0o777)
        listener.listen()
        listeners.append(listener)
    return folder, listeners


def connect_as(uid, address, listener, **who):
    """A process of this user that has connected, until it is sent a byte; and what was accepted."""
    def be_client(_, __):
        become(uid, **who)
        client = socket.socket(socket.AF_UNIX)
        client.connect(os.fspath(address))
        client.recv(1)

    child = Child(be_client)
    return child, listener.accept()[0]


def test_a_link_agent():
    """It is its client's in all, knows nothing of the daemon's environment, and outlives the daemon."""
    folder, (listener,) = listen("socket")
    files = FilesProcess(listener)
    child, accepted = connect_as(ALICE, folder / "socket", listener, gid=SHARED, groups=[4, 5])
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    death = os.memfd_create("death")
    files.send(3, 78, [accepted.fileno(), theirs.fileno(), death])
    theirs.close()
    kind, number, pid, error = files.receive()
    assert (kind, number, error) == (17, 78, 0)
    bus.wait_for(lambda: bus.command(pid)[:1] == [b"pathbus-link"], "it is the agent")
    status = status_of(pid)
    assert status["Uid"] == [str(ALICE)] * 4 and status["Gid"] == [str(SHARED)] * 4 and status["Groups"] == ["4", "5"]
    assert all(int(status[name][0], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert status["NoNewPrivs"] == ["1"]
    environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")[:-1]
    assert all(b"SAN_OPTIONS=" in one for one in environment), environment
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(5)]
    assert links[0] == links[1] == "/dev/null" and links[3][:7] == "socket:" and "death" in links[4], links
    accepted.send(b".")
    child.end()
    files.socket.close()
    assert files.process.wait(bus.LIMIT_S) == 0
    control.settimeout(0)
    try:
        assert control.recv(100), "it has ended with the daemon"
    except BlockingIOError:
        pass
    control.close()
    bus.wait_for(lambda: bus.command(pid)[:1] != [b"pathbus-link"], "it ends when nobody needs it")
    os.close(death)


def test_main_is_not_believed():
    """Only a connection that was accepted at the daemon's address makes a worker, and that one's peer."""
    folder, listeners = listen("socket", "other")
    files = FilesProcess(listeners[0])
    refused = (18, 77, 0, -errno.EPERM)
    pair = socket.socketpair()
    assert files.start_worker(pair[0].fileno())[1] == refused, "a pair of our own"
    client = socket.socket(socket.AF_UNIX)
    client.connect(os.fspath(folder / "socket"))
    assert files.start_worker(client.fileno())[1] == refused, "the client's end, whose peer is who listens: root"
    assert files.start_worker(listeners[0].fileno())[1] == refused, "the listener"
    other = socket.socket(socket.AF_UNIX)
    other.connect(os.fspath(folder / "other"))
    elsewhere, _ = listeners[1].accept()
    assert files.start_worker(elsewhere.fileno())[1] == refused, "one of another address"
    with open("/dev/null", "rb") as null:
        assert files.start_worker(null.fileno())[1] == refused, "no socket"

    listeners[0].accept()
    child, accepted = connect_as(ALICE, folder / "socket", listeners[0])
    worker, (kind, number, pid, error) = files.start_worker(accepted.fileno())
    assert (kind, number, error) == (17, 77, 0)
    bus.wait_for(lambda: status_of(pid)["Uid"] == [str(ALICE)] * 4, "it is Alice's")
    files.send(4, 77)
    assert files.receive() == (18, 77, pid, 0)
    accepted.send(b".")
    child.end()
    files.socket.close()
    assert files.process.wait(bus.LIMIT_S) == 0
    worker.close()


# --- file systems that do not answer ------------------------------------------------------------------------------


class MuteFuse:
    """A file system whose server says nothing."""

    def __init__(self, folder):
        folder.mkdir()
        try:
            self.device = os.open("/dev/fuse", os.O_RDWR)
        except OSError as error:
            raise bus.Skip(f"no FUSE: {error}") from error
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if bus.libc.mount(b"mute", os.fsencode(folder), b"fuse", 0, options) < 0:
            raise bus.Skip(f"FUSE cannot be mounted: {os.strerror(ctypes.get_errno())}")
        self.folder = folder

    def read_some(self):
        """Answers the greeting, and takes the next request without an answer: then not even a signal ends the wait."""
        request = os.read(self.device, 1 << 17)
        unique, = struct.unpack_from("<Q", request, 8)
        body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 65536, 0, 16, 12, 4096, 1, 1, 0, 0)[:64].ljust(64, b"\0")
        os.write(self.device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)
        os.read(self.device, 1 << 17)

    def end(self):
        os.close(self.device)


def in_own_mounts(function):
    """Runs it in a child whose mounts go with it."""
    if os.getuid() != 0:
        raise bus.Skip("needs root")
    skipped, told = os.pipe()

    def run(_, __):
        try:
            function()
        except bus.Skip as why:
            os.write(told, str(why).encode())
        finally:
            bus.clean_up()

    Child(run, own_mounts).end()
    os.close(told)
    why = os.read(skipped, 1000)
    os.close(skipped)
    if why:
        raise bus.Skip(why.decode())


def open_later(connection, path):
    connection.send(bus.open_frame(connection.request(), path))
    return connection.last_request


def test_a_mute_file_system():
    in_own_mounts(mute_file_system)


def mute_file_system():
    with system_daemon("--files-timeout", "600000") as daemon:
        fuse = MuteFuse(daemon.folder / "mute")
        make(daemon.folder / "file", ALICE, 0o666)

        def hang(_, say):
            """All that she may have under way, and more."""
            connections = [daemon.connect() for _ in range(6)]
            for connection in connections:
                for number in range(20):
                    open_later(connection, fuse.folder / f"file{number}")
            say()
            signal.pause()

        def look():
            with daemon.connect() as connection:
                for _ in range(20):
                    connection.open(daemon.folder / "file").close()

        alice = Child(hang, lambda: become(ALICE))
        alice.wait_for_word()
        # All that is left to her hangs; others do not notice.
        bus.wait_for(lambda: len(daemon.workers_of(ALICE)) == 4, "she has her workers")
        run_as(BOB, look)
        assert len(daemon.workers_of(ALICE)) == 4
        os.kill(alice.pid, signal.SIGKILL)
        try:
            alice.end()
        except AssertionError:
            pass
        run_as(BOB, look)
    # The daemon has ended all of them, another user's too.
    fuse.end()


def test_a_hanging_worker_is_replaced():
    in_own_mounts(hanging_worker)


def hanging_worker():
    with system_daemon("--files-timeout", "200") as daemon:
        fuse = MuteFuse(daemon.folder / "mute")
        make(daemon.folder / "file", ALICE, 0o666)

        def look():
            with daemon.connect() as connection:
                connection.open(daemon.folder / "file").close()
                worker, = daemon.workers_of(ALICE)
                expect_failure(connection, fuse.folder / "file", errno.ETIMEDOUT, "does not answer")
                bus.wait_for(lambda: worker not in bus.processes(), "it is gone")
                connection.open(daemon.folder / "file").close()

        run_as(ALICE, look)
        daemon.expect_said("is replaced")
    fuse.end()


def test_a_worker_that_cannot_be_ended():
    in_own_mounts(worker_that_cannot_be_ended)


def worker_that_cannot_be_ended():
    daemon = SystemDaemon("--files-timeout", "100")
    fuse = MuteFuse(daemon.folder / "mute")
    make(daemon.folder / "file", ALICE, 0o666)

    def look():
        with daemon.connect() as connection:
            request = open_later(connection, fuse.folder / "file")
            connection.expect_error(errno.ETIMEDOUT, request)
            stuck, = [pid for pid in daemon.workers_of(ALICE) if bus.parent_and_state(pid)[1] == "D"]
            connection.open(daemon.folder / "file").close()
            # As many as she may have of that kind: then her openings fail, and say so.
            for _ in range(7):
                expect_failure(connection, fuse.folder / "file", errno.ETIMEDOUT)
            expect_failure(connection, daemon.folder / "file", errno.ETIMEDOUT)
            assert stuck in daemon.workers_of(ALICE)

    def other():
        with daemon.connect() as connection:
            connection.open(daemon.folder / "file").close()

    reader = os.fork()
    if reader == 0:
        fuse.read_some()
        while True:
            os.read(fuse.device, 1 << 17)
    try:
        run_as(ALICE, look)
        run_as(BOB, other)
        fuse.end()
        os.kill(reader, signal.SIGKILL)
        os.waitpid(reader, 0)
        # Its server is gone, so they die.
        bus.wait_for(lambda: all(bus.parent_and_state(pid)[1] != "D" for pid in daemon.workers_of(ALICE)), "none is stuck")
        run_as(ALICE, other)
    finally:
        daemon.stop()


def test_a_connection_ends_while_its_path_hangs():
    """The worker has the connection too; the client sees its end all the same."""
    with system_daemon("--files-timeout", "600000") as daemon:
        make(daemon.folder / "file", ALICE)

        def look():
            with daemon.connect() as connection:
                connection.open(daemon.folder / "file")
                worker, = daemon.workers_of(ALICE)
                os.kill(worker, signal.SIGSTOP)
                open_later(connection, daemon.folder / "file")
                connection.send(bus.frame(99, 1))
                connection.expect_error(errno.EBADMSG, 0)
                connection.expect_end()
                os.kill(worker, signal.SIGCONT)

        run_as(ALICE, look)


# --- how many -------------------------------------------------------------------------------------------------------


def test_many_users():
    """More than there are places: whoever has nothing to do makes room."""
    with system_daemon() as daemon:
        make(daemon.folder / "file", ALICE, 0o666)

        def look():
            with daemon.connect() as connection:
                connection.open(daemon.folder / "file").close()

        for uid in range(63000, 63070):
            run_as(uid, look)
        assert len(daemon.workers()) <= 64 + 8


def test_idle_workers_end():
    with system_daemon("--helper-idle", "300") as daemon:
        bus.wait_for(lambda: not daemon.workers(), "there is none left")
        with daemon.connect() as connection:
            connection.open(daemon.folder)  # by another one


def test_too_many_questions():
    with system_daemon("--files-timeout", "600000") as daemon:
        make(daemon.folder / "file", ALICE, 0o666)

        def flood(_, say):
            with daemon.connect() as connection:
                connection.open(daemon.folder / "file").close()
            stopped = set()
            connections = [daemon.connect() for _ in range(20)]
            for worker in daemon.workers_of(ALICE):
                os.kill(worker, signal.SIGSTOP)
                stopped.add(worker)
            for connection in connections:
                for number in range(32):
                    open_later(connection, daemon.folder / "file")
            readable, _, _ = select.select([connection.socket for connection in connections], [], [])
            failed = [connection for connection in connections if connection.socket in readable]
            assert failed
            say()
            for worker in stopped:
                os.kill(worker, signal.SIGCONT)
            numbers = set()
            for connection in connections:
                for _ in range(32):
                    answer = connection.receive()
                    if answer.kind == bus.ERROR:
                        numbers.add(struct.unpack_from("<I", answer.body)[0])
            assert numbers <= {errno.EDQUOT, errno.ETIMEDOUT}, numbers

        def look():
            with daemon.connect() as connection:
                connection.open(daemon.folder / "file").close()

        alice = Child(flood, lambda: become(ALICE))
        alice.wait_for_word()
        run_as(BOB, look)
        alice.end()


# --- who is served by whom ----------------------------------------------------------------------------------------


def pathbusctl_program():
    return os.environ.get("PATHBUSCTL") or pathlib.Path(bus.program()).parent / "pathbusctl"


def pathbusctl(*arguments, address=None, uid=BOB):
    """As another user: exit status and what it says."""
    environment = {name: value for name, value in os.environ.items() if name != "PATHBUS_ADDRESS"}
    if address:
        environment["PATHBUS_ADDRESS"] = os.fspath(address)
    done = subprocess.run([pathbusctl_program(), *map(str, arguments)], env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=bus.LIMIT_S,
                          preexec_fn=lambda: become(uid))
    return done.returncode, done.stdout + done.stderr


def as_service_with_capabilities(folder):
    """A program that starts the daemon as a service manager would."""
    script = folder / "start"
    capabilities = "+setuid,+setgid,+sys_ptrace"
    script.write_text(f"#!/bin/sh\nexec setpriv --reuid {SERVICE} --regid {SERVICE} --groups {SHARED} "
                      f"--inh-caps {capabilities} --ambient-caps {capabilities} {bus.program()} \"$@\"\n")
    script.chmod(0o755)
    return script


def test_from_user_to_user():
    """By the library: it takes a daemon that was started as root for the system's, whoever that is now."""
    with system_daemon() as daemon:
        make(daemon.folder / "file", ALICE, 0o644)
        ready, told = os.pipe()

        def listen(_, __):
            become(BOB)
            environment = dict(os.environ, PATHBUS_ADDRESS=os.fspath(daemon.address))
            program = pathbusctl_program()
            os.dup2(told, 1)
            os.execve(program, [program, "--transport", "bus", "--timeout-ms", "30000", "listen", "--count", "1", daemon.folder / "file"], environment)

        child = Child(listen)
        os.close(told)
        with daemon.connect() as connection:
            bus.wait_for(lambda: connection.ping()[1] == 1, "he has it open")
        status, said = pathbusctl("--transport", "bus", "--timeout-ms", "30000", "post", daemon.folder / "file",
                                  address=daemon.address, uid=ALICE)
        assert status == 0, said
        heard = os.read(ready, 1000)
        assert b" post 1 " in heard, heard
        os.close(ready)
        child.end()
        status, said = pathbusctl("post", daemon.folder / "file", address=daemon.address, uid=BOB)
        assert status == 77, said


def connected_as(daemon, uid):
    """The kernel remembers who has connected."""
    os.seteuid(uid)
    try:
        return bus.Connection(daemon.address)
    finally:
        os.seteuid(0)


def test_who_leaves_in_good_order_is_no_news():
    """Others hear its posts, as many as there were, and nothing else."""
    alice, bob = 61911, 61912  # of this test alone, with runtime folders of their own

    with system_daemon() as daemon:
        path = daemon.folder / "file"
        make(path, alice, 0o666)
        with connected_as(daemon, alice) as listening:
            number = listening.open_socket(path, bus.SUBSCRIBE)
            for _ in range(10):
                with connected_as(daemon, bob) as posting:
                    topic = struct.pack("<I", posting.open_socket(path, bus.POST))
                    posting.ask(bus.FRAME_POST, topic, bus.DONE)
                    posting.send(bus.frame(bus.CLOSE, 0, topic))
                    posting.goodbye()
                told = listening.expect(bus.EVENT_POST)
                assert struct.unpack_from("<I", told.body)[0] == number and struct.unpack_from("<Q", told.body, 12)[0] == 1


def came_and_went(alice, bob, leaves_first):
    with system_daemon() as daemon:
        path = make(daemon.folder / "file", alice, 0o666)
        sidecar = daemon.folder / ".file.pathbus"
        with connected_as(daemon, alice) as listening, connected_as(daemon, bob) as posting:
            listening.open_socket(path, bus.SUBSCRIBE)
            topic = struct.pack("<I", posting.open_socket(path, bus.POST))
            posting.ask(bus.FRAME_POST, topic, bus.DONE)
            listening.expect(bus.EVENT_POST)
            steps = [lambda: posting.send(bus.frame(bus.CLOSE, 0, topic)), lambda: (sidecar.mkdir(), sidecar.rmdir())]
            os.kill(daemon.pid, signal.SIGSTOP)
            try:
                bus.wait_for(lambda: bus.parent_and_state(daemon.pid)[1] == "T", "it stands still")
                for step in steps if leaves_first else reversed(steps):
                    step()
            finally:
                os.kill(daemon.pid, signal.SIGCONT)
            listening.expect(bus.EVENT_RESYNC)


def test_a_sidecar_that_came_and_went_as_its_user_left():
    """All at once, for the daemon: whoever was in it may have posted."""
    for leaves_first in (True, False):
        came_and_went(61913, 61914, leaves_first)


def test_squatters():
    """Whoever serves at a place that anybody could have made is not the system's daemon."""
    if os.getuid() != 0:
        raise bus.Skip("needs root")
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o1777)

    def squat(wait, say):
        (folder / "run").mkdir()
        (folder / "run").chmod(0o755)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.fspath(folder / "run/socket"))
        (folder / "run/socket").chmod(0o777)
        listener.listen()
        say()
        wait()
        listener.settimeout(0)
        try:
            accepted, _ = listener.accept()
            assert accepted.recv(100) == b"", "it has been greeted"
        except BlockingIOError:
            pass

    child = Child(squat, lambda: become(ALICE))
    child.wait_for_word()
    status, said = pathbusctl("--transport", "bus", "ping", address=folder / "run/socket")
    assert status != 0 and "another user" in said, said
    child.go_on()
    child.end()


def test_the_service_users_own_socket():
    """One that has not listened as root is believed at the system's place, where only root can have let it."""
    in_own_mounts(service_users_own_socket)


def service_users_own_socket():
    if not shutil.which("setpriv"):
        raise bus.Skip("needs setpriv")
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o755)
    start = as_service_with_capabilities(folder)
    place = pathlib.Path("/run/pathbus")
    assert bus.libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, b"mode=755") == 0
    for owned in (place, folder / "run"):
        owned.mkdir()
        os.chown(owned, SERVICE, SERVICE)
    elsewhere = SystemDaemon(folder=folder, program_of=start)
    status, said = pathbusctl("ping", address=elsewhere.address)
    assert status != 0 and "another user" in said, said
    elsewhere.stop()
    daemon = bus.Daemon("--system", "--user", str(SERVICE), address=place / "socket", pass_address=False, program_of=start)
    status, said = pathbusctl("ping")
    assert status == 0 and os.fspath(place) in said, said
    place.chmod(0o777)
    status, said = pathbusctl("--transport", "bus", "ping")
    assert status != 0 and "another user" in said, said
    place.chmod(0o755)
    daemon.stop()
    # Started as root it makes the place itself, without an option.
    place.rmdir()
    daemon = bus.Daemon("--user", str(SERVICE), address=place / "socket", pass_address=False)
    assert (place.stat().st_uid, place.stat().st_mode & 0o777) == (SERVICE, 0o755)
    assert status_of(daemon.pid)["Uid"] == [str(SERVICE)] * 4
    status, said = pathbusctl("ping")
    assert status == 0 and os.fspath(place) in said, said
    daemon.stop()
    assert os.listdir(place) == []


if __name__ == "__main__":
    bus.main()
