#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Regions by the protocol: what is given to whom, limits per user, and what is brought back after a restart."""

import errno
import fcntl
import mmap
import os
import resource
import signal
import struct

import bus
from bus import frame, wait_for

REGION_OPEN, REGION_CLOSE, REGION_RESTORE, REGION_LIST = range(12, 16)
REGION, RESTORED, REGIONS = range(75, 78)
RESERVE, HUGE, DOUBLE, READ_ONLY, CREATE, REPLACE = 1, 2, 4, 8, 256, 512
F_ADD_SEALS, F_GET_SEALS, SEALS = 1033, 1034, 1 | 2 | 4
PAGE = 4096
SEQUENCE, REPLACED = 640, 712
NO_ID = bytes(16)


class Region:
    def __init__(self, topic, answer):
        self.topic = topic
        (number, self.holder, self.flags, self.pages, self.writable, zero, self.data_size, self.page_size) = \
            struct.unpack_from("<IIIIIIQQ", answer.body)
        assert number == topic.id and zero == 0 and len(answer.body) == 56
        self.id = answer.body[40:]
        self.fd, = answer.fds
        self.name = os.readlink(f"/proc/self/fd/{self.fd}")

    def close(self):
        self.topic.connection.send(frame(REGION_CLOSE, 0, struct.pack("<III", self.topic.id, self.holder, 0)))


def ask(topic, name, flags=0, size=0, replaces=NO_ID):
    """Sends REGION_OPEN; the request's number."""
    connection = topic.connection
    request = connection.request()
    connection.send(frame(REGION_OPEN, request, struct.pack("<IIQ", topic.id, flags, size) + replaces + name))
    return request


def take(topic, request):
    return Region(topic, topic.connection.expect(REGION, request))


def make(topic, name, size=10000, flags=0, replaces=NO_ID):
    return take(topic, ask(topic, name, flags | (CREATE if replaces == NO_ID else REPLACE), size, replaces))


def open_region(topic, name, flags=0):
    return take(topic, ask(topic, name, flags))


def refused(topic, name, number, text="", **what):
    topic.connection.expect_error(number, ask(topic, name, **what), text)


def listed(topic, are_named=True):
    """(name, number of holders, version) of each."""
    found, after, connection = [], 0, topic.connection
    while True:
        request = connection.request()
        connection.send(frame(REGION_LIST, request, struct.pack("<IIQ", topic.id, 0, after)))
        answer = connection.receive()
        assert answer.request == request
        if answer.kind == bus.DONE:
            return found
        assert answer.kind == REGIONS
        number, size, version, flags, pages, n_holders, n_listed, name_size, zero = \
            struct.unpack_from("<QQQIIIIII", answer.body)
        assert number > after and zero == 0 and n_listed == min(n_holders, 16)
        after = number
        for i in range(n_listed):
            pid, uid, writes, zero, command = struct.unpack_from("<IIII16s", answer.body, 48 + 32 * i)
            assert pid == os.getpid() and uid == os.getuid() and writes in (0, 1)
            assert command.rstrip(b"\0") or not are_named
        assert len(answer.body) == 48 + 32 * n_listed + name_size
        found.append((answer.body[48 + 32 * n_listed:], n_holders, version))


def restore(topic, name, fd, region=None, size=None, label_id=None, pages=0, page_size=PAGE, flags=None):
    """Sends REGION_RESTORE; the request's number."""
    connection = topic.connection
    request = connection.request()
    connection.send(frame(REGION_RESTORE, request, struct.pack(
        "<IIIIIIQQ", topic.id, region.flags if flags is None else flags, pages, fd, 1, 0,
        region.data_size if size is None else size, page_size) + (label_id or region.id) + name))
    return request


# --- what is given ----------------------------------------------------------------------------------------------------


def test_the_memory():
    with bus.daemon() as daemon, daemon.connect() as one, daemon.connect() as other:
        topic, same = one.open(daemon.folder / "file"), other.open(daemon.folder / "file")
        mine = make(topic, b"r", 10000, DOUBLE)
        assert (mine.flags, mine.pages, mine.writable) == (DOUBLE, 0, 1)
        assert (mine.data_size, mine.page_size) == (10000, PAGE)
        status = os.fstat(mine.fd)
        assert status.st_size == PAGE + 2 * 3 * PAGE
        assert status.st_mode & 0o7777 == 0o600 and status.st_nlink == 0 and status.st_uid == os.getuid()
        assert fcntl.fcntl(mine.fd, F_GET_SEALS) & SEALS == SEALS
        assert mine.name.startswith("/memfd:pathbus-region:") and mine.name.endswith(f":{mine.id.hex()}:2710:4 (deleted)")
        memory = mmap.mmap(mine.fd, PAGE)
        yours = open_region(same, b"r", READ_ONLY)
        assert yours.id == mine.id and not yours.writable and yours.holder != mine.holder
        assert fcntl.fcntl(yours.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        # Descriptions of their own: an offset, and so a lock, of one is not the other's.
        os.lseek(mine.fd, 77, os.SEEK_SET)
        assert os.lseek(yours.fd, 0, os.SEEK_CUR) == 0
        struct.pack_into("<Q", memory, SEQUENCE, 2 * 5)
        assert listed(topic) == [(b"r", 2, 5)]
        yours.close()
        assert listed(same) == [(b"r", 1, 5)]
        memory.close()


def test_names_and_ends():
    with bus.daemon() as daemon, daemon.connect() as one, daemon.connect() as other:
        topic, same = one.open(daemon.folder / "file"), other.open(daemon.folder / "file")
        refused(topic, b"r", errno.ENOENT, "no region")
        mine = make(topic, b"r")
        refused(same, b"r", errno.EEXIST, "there is a region", flags=CREATE, size=1)
        refused(other.open(daemon.folder / "another"), b"r", errno.ENOENT)
        longest = make(topic, b"\xff" * 255)
        assert [name for name, _, _ in listed(same)] == [b"r", b"\xff" * 255]
        longest.close()
        open_region(same, b"r")
        mine.close()
        assert one.ping()  # it has been read: nothing else orders it before what the other connection asks
        assert listed(same) == [(b"r", 1, 0)]
        one.send(frame(REGION_CLOSE, 0, struct.pack("<III", topic.id, mine.holder, 0)))  # again: nothing
        one.send(frame(REGION_CLOSE, 0, struct.pack("<III", 99, 1, 0)))
        assert one.ping()
        same.close()  # the topic, with its holder
        wait_for(lambda: listed(topic) == [], "it has gone with its last holder")
        make(topic, b"r")


def test_a_replaced_one():
    with bus.daemon() as daemon, daemon.connect() as one, daemon.connect() as other:
        topic, same = one.open(daemon.folder / "file"), other.open(daemon.folder / "file")
        old = make(topic, b"r", 5000)
        kept = open_region(same, b"r")
        memory = mmap.mmap(kept.fd, PAGE)
        before = topic.generation
        new = make(same, b"r", 100000, replaces=old.id)
        assert struct.unpack_from("<Q", memory, REPLACED)[0] != 0
        assert topic.generation == before + bus.ONE_POST, "its holders are woken"
        assert open_region(topic, b"r").id == new.id != old.id
        refused(same, b"r", errno.ESTALE, flags=REPLACE, size=1, replaces=old.id)
        refused(same, b"none", errno.ESTALE, flags=REPLACE, size=1, replaces=old.id)
        assert listed(topic) == [(b"r", 2, 0)]
        assert os.fstat(kept.fd).st_size == 3 * PAGE
        memory.close()


def test_wrong_frames():
    good = struct.pack("<IIQ", 1, CREATE, 1) + NO_ID
    frames = [
        (REGION_OPEN, good, True), (REGION_OPEN, good + b"a\0b", True), (REGION_OPEN, good + b"n" * 256, True),
        (REGION_OPEN, good + b"n", False), (REGION_CLOSE, struct.pack("<III", 1, 1, 0), True),
        (REGION_CLOSE, struct.pack("<III", 1, 0, 0), False), (REGION_LIST, struct.pack("<IIQ", 1, 1, 0), True),
        (REGION_LIST, struct.pack("<IIQ", 5, 0, 0), True), (REGION_OPEN, struct.pack("<IIQ", 5, 0, 0) + NO_ID + b"n", True),
        (REGION_RESTORE, struct.pack("<IIIIIIQQ", 1, 0, 0, 1 << 31, 1, 0, 1, PAGE) + b"i" * 16 + b"n", True),
        (REGION_RESTORE, struct.pack("<IIIIIIQQ", 1, 0, 0, 1, 1, 0, 1, PAGE) + NO_ID + b"n", True),
    ]
    with bus.daemon() as daemon:
        for kind, body, asks in frames:
            with daemon.connect() as connection:
                assert connection.open(daemon.folder / "file").id == 1
                connection.send(frame(kind, 9 if asks else 0, body))
                connection.expect(bus.ERROR, 0)
                connection.expect_end()


def test_rights():
    def as_reader():
        with daemon.connect() as connection:
            topic = connection.open(path)
            assert topic.rights == bus.SUBSCRIBE
            refused(topic, b"s", errno.EACCES, flags=CREATE, size=1)
            yours = open_region(topic, b"r")
            assert not yours.writable
            assert fcntl.fcntl(yours.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
            refused(topic, b"r", errno.EACCES, flags=REPLACE, size=1, replaces=yours.id)
            request = restore(topic, b"r", yours.fd, yours)
            connection.expect(RESTORED, request)

    if os.getuid() != 0:
        raise bus.Skip("becoming another user takes root")
    folder = bus.new_folder()
    os.chmod(folder, 0o777)

    def run():
        nonlocal daemon, path
        with bus.daemon(folder=folder) as daemon, daemon.connect() as owner:
            path = daemon.folder / "data"
            path.touch()
            make(owner.open(path), b"r")
            path.chmod(0o400)
            as_reader()

    daemon = path = None
    if not os.access(bus.program(), os.X_OK) or os.stat(bus.program()).st_mode & 0o001 == 0:
        raise bus.Skip("another user cannot run the daemon")
    try:
        bus.as_user(65534, run)
    except AssertionError as error:
        if "failed in the child" in str(error) and not reachable_by_all(bus.program()):
            raise bus.Skip("another user cannot reach the daemon") from error
        raise


def reachable_by_all(path):
    while path != "/":
        path = os.path.dirname(path)
        if os.stat(path).st_mode & 0o001 == 0:
            return False
    return True


def test_not_for_the_socket():
    with bus.daemon() as daemon, daemon.connect() as connection:
        number = connection.open_socket(daemon.folder / "file")
        connection.send(frame(REGION_OPEN, 50, struct.pack("<IIQ", number, CREATE, 1) + NO_ID + b"r"))
        connection.expect_error(errno.EOPNOTSUPP, 50)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_so_many():
    with bus.daemon("--max-regions", "3") as daemon, daemon.connect() as one, daemon.connect() as other:
        topic, another = one.open(daemon.folder / "file"), other.open(daemon.folder / "another")
        regions = [make(topic, b"a"), make(topic, b"b"), make(another, b"c")]
        for where in (topic, another):
            refused(where, b"d", errno.EDQUOT, "--max-regions", flags=CREATE, size=1)
        refused(topic, b"a", errno.EDQUOT, "--max-regions", flags=REPLACE, size=1, replaces=regions[0].id)
        open_region(topic, b"a")  # takes no more
        assert listed(topic) == [(b"a", 2, 0), (b"b", 1, 0)]
        regions[1].close()
        make(topic, b"d").close()
        regions[2].close()
        other.ping()
        kept = make(topic, b"e")
        # One that was replaced counts for as long as it is held.
        make(topic, b"e", replaces=kept.id)
        refused(topic, b"f", errno.EDQUOT, "--max-regions", flags=CREATE, size=1)
        kept.close()
        make(topic, b"f")


def test_so_much():
    with bus.daemon("--max-region-bytes", str(10 * PAGE)) as daemon, daemon.connect() as connection:
        topic = connection.open(daemon.folder / "file")
        first = make(topic, b"a", 3 * PAGE)  # and its header
        make(topic, b"b", 2 * PAGE, DOUBLE).close()
        refused(topic, b"b", errno.EDQUOT, "--max-region-bytes", flags=CREATE | DOUBLE, size=3 * PAGE)
        make(topic, b"c", 5 * PAGE)
        refused(topic, b"d", errno.EDQUOT, "--max-region-bytes", flags=CREATE, size=1)
        refused(topic, b"d", errno.EDQUOT, "--max-region-bytes", flags=CREATE, size=1 << 42)
        refused(topic, b"d", errno.EINVAL, flags=CREATE, size=(1 << 42) + 1)
        refused(topic, b"d", errno.EINVAL, flags=CREATE, size=(1 << 64) - 1)
        first.close()
        make(topic, b"d", 3 * PAGE)


def test_none_at_all():
    with bus.daemon("--max-regions", "0") as daemon, daemon.connect() as connection:
        refused(connection.open(daemon.folder / "file"), b"d", errno.EDQUOT, flags=CREATE, size=1)


def test_without_descriptors():
    """It says so, and goes on."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with bus.daemon(preexec_fn=few) as daemon:
        n_before = daemon.n_descriptors()
        with daemon.connect() as connection:
            topic = connection.open(daemon.folder / "file")
            made = 0
            while True:
                request = ask(topic, b"n%d" % made, CREATE, 1)
                answer = connection.receive()
                assert answer.request == request
                if answer.kind == bus.ERROR:
                    assert struct.unpack_from("<I", answer.body)[0] == errno.EMFILE
                    break
                made += 1
            assert 10 < made < 64
            # With no descriptor at all the daemon cannot look how a process is called.
            assert len(listed(topic, are_named=False)) == made, "what could not be given is not there"
        # Until it has seen the end it has none for another connection either.
        wait_for(lambda: daemon.n_descriptors() <= n_before, "the descriptors are back")


def test_a_killed_holder():
    with bus.daemon() as daemon, daemon.connect() as witness:
        topic = witness.open(daemon.folder / "file")
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            make(daemon.connect().open(daemon.folder / "file"), b"r")
            os.write(writer, b"x")
            signal.pause()
        assert os.read(reader, 1) == b"x"
        assert [name for name, _, _ in listed_of_others(topic)] == [b"r"]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        wait_for(lambda: listed_of_others(topic) == [], "it has gone with its holder")
        os.close(reader)
        os.close(writer)


def listed_of_others(topic):
    connection, found, after = topic.connection, [], 0
    while True:
        request = connection.request()
        connection.send(frame(REGION_LIST, request, struct.pack("<IIQ", topic.id, 0, after)))
        answer = connection.receive()
        if answer.kind == bus.DONE:
            return found
        after, n_listed = struct.unpack_from("<Q", answer.body)[0], struct.unpack_from("<I", answer.body, 36)[0]
        found.append((answer.body[48 + 32 * n_listed:], 0, 0))


# --- brought back -----------------------------------------------------------------------------------------------------


def test_brought_back():
    with bus.daemon() as daemon:
        before = daemon.connect()
        region = make(before.open(daemon.folder / "file"), b"r", 10000, DOUBLE)
        daemon.kill()
        with bus.daemon(folder=daemon.folder) as second, second.connect() as connection, second.connect() as other:
            topic, same = connection.open(second.folder / "file"), other.open(second.folder / "file")
            assert listed(topic) == []
            request = restore(topic, b"r", region.fd, region)
            number, holder = struct.unpack("<II", connection.expect(RESTORED, request).body)
            assert number == topic.id and holder
            assert listed(same) == [(b"r", 1, 0)]
            found = open_region(same, b"r")
            assert (found.id, found.flags, found.data_size) == (region.id, DOUBLE, 10000)
            assert os.fstat(found.fd).st_ino == os.fstat(region.fd).st_ino, "the very same memory"
            # By another holder: known by now.
            connection.expect(RESTORED, restore(topic, b"r", region.fd, region))
            assert listed(same) == [(b"r", 3, 0)]
            # Given back by the request that brought it.
            connection.send(frame(REGION_CLOSE, 0, struct.pack("<III", topic.id, 0, request)))
            assert listed(topic) == [(b"r", 2, 0)]
            # Another of the same name came too late.
            request = restore(topic, b"r", region.fd, region, label_id=b"another id, you.")
            connection.expect_error(errno.EEXIST, request)
        before.close()
        daemon.__init__(folder=daemon.folder)


def test_closed_before_it_was_brought_back():
    """Its answer may come or not; nothing is held."""
    with bus.daemon() as daemon:
        before = daemon.connect()
        region = make(before.open(daemon.folder / "file"), b"r")
        daemon.kill()
        with bus.daemon(folder=daemon.folder) as second, second.connect() as connection:
            topic = connection.open(second.folder / "file")
            workers = second.settled_workers()
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
            request = restore(topic, b"r", region.fd, region)
            connection.send(frame(REGION_CLOSE, 0, struct.pack("<III", topic.id, 0, request)))
            assert connection.ping()
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
            refused(topic, b"r", errno.ENOENT)
            # And the topic's end.
            restore(topic, b"r", region.fd, region)
            topic.close()
            # Asked for no more, so it may stay without an answer.
            connection.send(frame(bus.PING, connection.request()))
            while connection.receive().kind != bus.PONG:
                pass
        before.close()
        daemon.__init__(folder=daemon.folder)


def test_what_is_no_region():
    """Anything that a process can have at a number: an error, nothing opened, nobody hangs."""
    with bus.daemon() as daemon, daemon.connect() as connection:
        topic = connection.open(daemon.folder / "file")
        region = make(topic, b"r", 5000)
        label = region.name[len("/memfd:"):-len(" (deleted)")]
        region.close()
        refused(topic, b"r", errno.ENOENT)
        numbers = {}

        def memory(name, size=3 * PAGE, mode=0o600, seals=SEALS | 1):
            fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.fchmod(fd, mode)
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, F_ADD_SEALS, seals)
            return fd

        os.mkfifo(daemon.folder / "fifo")
        (daemon.folder / f"memfd:{label} (deleted)").write_bytes(bytes(3 * PAGE))
        (daemon.folder / "regular").write_bytes(bytes(3 * PAGE))
        numbers["a pipe"], end = os.pipe()
        numbers["a FIFO"] = os.open(daemon.folder / "fifo", os.O_RDWR)
        numbers["a device"] = os.open("/dev/null", os.O_RDWR)
        numbers["the socket"] = connection.socket.fileno()
        numbers["a folder"] = os.open(daemon.folder, os.O_RDONLY)
        numbers["a file"] = os.open(daemon.folder / "regular", os.O_RDWR)
        numbers["a file of such a name"] = os.open(daemon.folder / f"memfd:{label} (deleted)", os.O_RDWR)
        numbers["the lane"] = topic.page_fd
        numbers["another label"] = memory(label[:-1] + "x")
        numbers["no seals"] = memory(label, seals=0)
        numbers["some seals"] = memory(label, seals=2 | 4)
        numbers["a mode for all"] = memory(label, mode=0o666)
        numbers["too small"] = memory(label, size=2 * PAGE)
        numbers["too large"] = memory(label, size=4 * PAGE)
        numbers["nothing"] = 999
        for what, fd in numbers.items():
            request = restore(topic, b"r", fd, region, flags=0)
            answer = connection.receive()
            assert answer.kind == bus.ERROR and answer.request == request, f"{what} was taken"
            number = struct.unpack_from("<I", answer.body)[0]
            assert number in (errno.ESTALE, errno.ESRCH, errno.ENXIO), f"{what}: {errno.errorcode[number]}"
        refused(topic, b"r", errno.ENOENT)
        # One that cannot be told from the daemon's own: of this user, who could have kept the daemon's.
        fd = memory(label)
        connection.expect(RESTORED, restore(topic, b"r", fd, region))
        for fd in [*numbers.values(), fd, end]:
            if fd not in (connection.socket.fileno(), topic.page_fd, 999):
                os.close(fd)


def test_limits_hold_for_what_is_brought_back():
    with bus.daemon() as daemon:
        before = daemon.connect()
        topic = before.open(daemon.folder / "file")
        regions = [make(topic, b"%d" % n) for n in range(4)]
        daemon.kill()
        with bus.daemon("--max-regions", "2", folder=daemon.folder) as second, second.connect() as connection:
            topic = connection.open(second.folder / "file")
            for n in range(2):
                connection.expect(RESTORED, restore(topic, b"%d" % n, regions[n].fd, regions[n]))
            connection.expect_error(errno.EDQUOT, restore(topic, b"2", regions[2].fd, regions[2]), "--max-regions")
        before.close()
        daemon.__init__(folder=daemon.folder)


def test_many_at_once():
    """More than a connection may have under way."""
    n = 200
    with bus.daemon() as daemon:
        before = daemon.connect()
        topic = before.open(daemon.folder / "file")
        regions = [make(topic, b"%d" % i, 1) for i in range(n)]
        daemon.kill()
        with bus.daemon(folder=daemon.folder) as second, second.connect() as connection:
            topic = connection.open(second.folder / "file")
            requests = {restore(topic, b"%d" % i, regions[i].fd, regions[i]) for i in range(n)}
            for _ in range(n):
                requests.remove(connection.expect(RESTORED).request)
            assert len(listed(topic)) == n
        before.close()
        daemon.__init__(folder=daemon.folder)


if __name__ == "__main__":
    bus.main()
