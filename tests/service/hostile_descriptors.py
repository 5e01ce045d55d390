#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Descriptors from other users: stuffed into the daemon, or such that whoever closes or opens them hangs. The daemon takes
none, and others are served all the while."""

import array
import contextlib
import errno
import fcntl
import os
import signal
import socket
import struct

import bus
import hostile
import users
from users import BOB, MALLORY, Guest

SIZES = (1, 2, 3, 4, 8, 16, 64, 252, 253)
PASSRIGHTS = 83


def rights(fds):
    return (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))


def stuff(connection, data, control):
    """Returns 0, or the errno by which the kernel refused it on the daemon's behalf, or because the daemon has closed."""
    try:
        connection.socket.sendmsg([data], control)
    except OSError as error:
        return error.errno
    return 0


def variants(null):
    """All that fits into one message: each number of descriptors in one part; in two parts; with credentials around."""
    own = (socket.SOL_SOCKET, 2, struct.pack("iii", os.getpid(), os.getuid(), os.getgid()))  # SCM_CREDENTIALS
    for size in SIZES:
        yield [rights([null] * size)]
    yield [rights([null] * 100), rights([null] * 100)]
    yield [own, rights([null])]
    yield [rights([null] * 7), own]


def stuff_all(line, address, rounds):
    """Tells how many got as far as the daemon."""
    null = os.open("/dev/null", os.O_RDONLY)
    n_sent = 0
    for _ in range(rounds):
        for control in variants(null):
            for greet in (True, False):
                with contextlib.closing(bus.Connection(address, greet=greet)) as connection:
                    data = bus.frame(bus.PING, 2) if greet else bus.hello()
                    # A header in halves, and the descriptors with each; until the end is noticed.
                    numbers = [stuff(connection, part, control) for part in (data[:5], data[5:])]
                    assert set(numbers) <= {0, errno.EPERM, errno.EPIPE, errno.ECONNRESET}, numbers
                    if numbers[0] == errno.EPERM:
                        connection.send(data)
                        connection.expect(bus.PONG if greet else bus.WELCOME)
                    else:
                        n_sent += 1
                        hostile_end(connection)
    line.tell(n_sent)
    line.expect("end")


def hostile_end(connection):
    with contextlib.suppress(ConnectionError):
        while (answer := connection.receive()) is not None:
            assert answer.kind == bus.ERROR, answer.kind
            assert b"sent descriptors" in answer.body, answer.body


def stuffing(daemon, witness, rounds):
    counted = users.Counted(daemon)
    with Guest(MALLORY, stuff_all, daemon.address, rounds) as mallory:
        while not mallory.is_told():
            counted.look(64)
            witness.check()
        n_sent = mallory.hear()
        mallory.tell("end")
    return n_sent


def has_passrights():
    one, other = socket.socketpair()
    with one, other:
        try:
            one.setsockopt(socket.SOL_SOCKET, PASSRIGHTS, 0)
        except OSError:
            return False
    return True


def test_stuffing():
    with users.system() as (daemon, witness):
        n_sent = stuffing(daemon, witness, 3)
        assert (n_sent == 0) == has_passrights(), "the kernel refuses them, or the daemon ends the connection"


def test_stuffing_on_older_kernels():
    with contextlib.ExitStack() as stack:
        try:
            daemon, witness = stack.enter_context(users.system(preexec_fn=hostile.without_passrights))
        except hostile.subprocess.SubprocessError as error:
            raise bus.Skip("needs a system call filter") from error
        assert stuffing(daemon, witness, 3) > 0
        daemon.expect_said("sent descriptors")


def lingering():
    """A TCP connection with unsent data, which takes a second to close."""
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        one = socket.create_connection(listener.getsockname())
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
        other, _ = listener.accept()
    one.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            one.send(bytes(65536))
    return one, other


def leased(path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    return fd


def send_awkward(line, address, folder):
    """What hangs, or has hung, who closes it."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    refused = []
    one, other = lingering()
    inside, outside = socket.socketpair()
    inside.sendmsg([b"x"], [rights([outside.fileno()])])  # a socket that contains itself
    pseudo, terminal = os.openpty()
    for fd in (one.fileno(), leased(folder / "leased-and-sent"), inside.fileno(), terminal, os.eventfd(0)):
        with contextlib.closing(bus.Connection(address)) as connection:
            refused.append(stuff(connection, bus.frame(bus.PING, 2), [rights([fd])]) == errno.EPERM)
    for end in (one, other, inside, outside):
        end.close()
    os.close(pseudo)
    line.tell(refused)


def test_descriptors_that_hang_who_closes_them():
    """On older kernels they do: that is why this one refuses them (the daemon would be held up for as long)."""
    if not has_passrights():
        raise bus.Skip("this kernel passes descriptors (SO_PASSRIGHTS is from Linux 6.16)")
    with users.system() as (daemon, witness):
        with Guest(MALLORY, send_awkward, daemon.address, daemon.own_folder(MALLORY)) as mallory:
            assert all(mallory.hear())
        witness.check()


def hold_lease(line, path):
    broken = []
    signal.signal(signal.SIGIO, lambda *_: broken.append("broken"))
    fd = leased(path)
    os.fchmod(fd, 0o666)
    line.tell("leased")
    line.expect("end")
    assert not broken, "somebody has opened the file"


def test_a_leased_file_is_not_opened():
    with users.system() as (daemon, witness):
        path = daemon.own_folder(MALLORY) / "leased"
        with Guest(MALLORY, hold_lease, path) as mallory:
            mallory.expect("leased")

            def open_it():
                with daemon.connect() as connection:
                    return connection.open(path).rights

            assert users.run_as(BOB, open_it) == bus.SUBSCRIBE | bus.POST
            mallory.tell("end")
        witness.check()


# --- a file system that does not answer ---------------------------------------------------------------------------


FUSE_INIT, FUSE_OUT = 26, struct.Struct("<IiQ")


def serve_mute(device):
    """Answers the greeting of the kernel, and from then on nothing; what is asked is read, so that it waits."""
    while True:
        data = os.read(device, 1 << 20)
        _, operation, unique = struct.unpack_from("<IIQ", data)
        if operation == FUSE_INIT:
            answer = struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 12, 10, 65536, 1, 16, 0, 0, *[0] * 7)
            os.write(device, FUSE_OUT.pack(FUSE_OUT.size + len(answer), 0, unique) + answer)


def mute_guest(line, address, folder, frozen):
    """In a mount namespace with such a file system: asks for paths there."""
    line.tell("ready")
    connections = [bus.Connection(address) for _ in range(4)]
    while line.hear() != "end":
        for connection in connections:
            for number in range(3):
                connection.send(bus.open_frame(connection.request(), folder / f"{frozen}{number}/file"))
        line.tell("asked")
        for connection in connections:
            for number in range(3):
                connection.expect_error(errno.ETIMEDOUT)
        line.tell("answered")


@contextlib.contextmanager
def mute_mount(folder):
    """Mounted for who is forked meanwhile. This process goes on in a mount namespace of its own, as it has to."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        raise bus.Skip(f"needs /dev/fuse: {error.strerror}") from error
    why = users.try_to_mount_apart()
    if why:
        os.close(device)
        raise bus.Skip(why)
    try:
        users.mount("mute", folder, "fuse", 0, f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other")
    except OSError as error:
        os.close(device)
        raise bus.Skip(f"needs FUSE: {error}") from error
    server = os.fork()
    if server == 0:
        bus.libc.prctl(bus.PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            serve_mute(device)
        finally:
            os._exit(0)
    os.close(device)
    try:
        yield
    finally:
        os.kill(server, signal.SIGKILL)  # which ends the waiting of all that is stuck in it
        os.waitpid(server, 0)
        bus.libc.umount2(os.fsencode(folder), 2)


def in_a_process_of_its_own(function):
    """What changes the process for good."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except bus.Skip as why:
            print(f"  skipped: {why}", flush=True)
            status = 77
        except BaseException:
            bus.traceback.print_exc()
        finally:
            bus.clean_up()
            bus.sys.stdout.flush()
            bus.sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) == 77:
        raise bus.Skip("see above")
    assert status == 0


def test_a_file_system_that_does_not_answer():
    """Each request costs a time-out and a worker; others are served by others."""
    def inside():
        with users.system() as (daemon, witness):
            folder = daemon.data / "mute"
            folder.mkdir()
            counted = users.Counted(daemon)
            with mute_mount(folder), Guest(MALLORY, mute_guest, daemon.address, folder, "frozen") as mallory:
                mallory.expect("ready")
                for _ in range(2):
                    mallory.tell("go")
                    mallory.expect("asked")
                    while not mallory.is_told():
                        witness.check()
                        counted.look(64)
                    mallory.expect("answered")
                mallory.tell("end")
            witness.check()
            daemon.expect_said("does not answer")

    if os.geteuid() != 0:
        raise bus.Skip("needs root: the others are other users")
    in_a_process_of_its_own(inside)


# --- a client that is stopped while it is owed descriptors -----------------------------------------------------------


def open_and_stop(line, address, folder, n):
    """Asks for many topics, and takes none."""
    connections = [bus.Connection(address) for _ in range(n)]
    for number, connection in enumerate(connections):
        connection.send(b"".join(bus.open_frame(connection.request(), folder / f"{number}-{i}") for i in range(64)))
    line.tell("asked")
    line.expect("end")
    for connection in connections:
        connection.close()


def test_a_client_that_is_stopped_while_it_is_owed_descriptors():
    with users.system() as (daemon, witness):
        folder = daemon.own_folder(MALLORY)
        counted = users.Counted(daemon)
        with Guest(MALLORY, open_and_stop, daemon.address, folder, 40) as mallory:
            mallory.expect("asked")
            mallory.signal(signal.SIGSTOP)
            for _ in range(10):
                witness.check()
                counted.look(40 * 200)
            mallory.signal(signal.SIGCONT)
            mallory.tell("end")
        witness.check()


def is_of(daemon, pid):
    """Whether one of its parents is the daemon: others of this user belong to somebody else's tests."""
    while pid > 1 and pid != daemon:
        pid = (bus.parent_and_state(pid) or (0,))[0]
    return pid == daemon


def kill_workers(line, address, daemon, path, how):
    """Signals to all processes of the daemon's, of which this user may signal those that look at paths for it."""
    with bus.Connection(address) as connection:
        for _ in range(20):
            connection.send(bus.open_frame(connection.request(), path))
            for pid in bus.processes():
                if is_of(daemon, pid):
                    with contextlib.suppress(OSError):
                        os.kill(pid, how)
            answer = connection.receive()
            assert answer.kind in (bus.OPENED, bus.ERROR)
        line.tell("done")


def test_a_user_signals_what_works_for_it():
    for how in (signal.SIGKILL, signal.SIGSTOP):
        with users.system() as (daemon, witness):
            path = daemon.own_folder(MALLORY) / "file"
            with Guest(MALLORY, kill_workers, daemon.address, daemon.pid, path, how) as mallory:
                while not mallory.is_told():
                    witness.check()
                mallory.expect("done")


if __name__ == "__main__":
    bus.main()
