# SPDX-License-Identifier: MIT
"""Other users, for the tests of the daemon of all users: processes that have really become somebody else.

Users are numbers without an entry anywhere. A test takes `system()`, which is the daemon with a folder that all can reach
and a witness: programs of two more users, whose service must be whole whatever the others do.
"""

import collections
import contextlib
import ctypes
import encodings.idna  # noqa: F401 - now, since the others may not be able to read it when a host's name is used
import os
import pathlib
import pickle
import select
import signal
import socket
import struct
import sys
import time
import traceback

import bus

Person = collections.namedtuple("Person", "name uid gid groups")

SERVICE = Person("service", 61200, 61200, ())
SHARED_GROUP = 61300
ALICE = Person("alice", 61201, 61201, (SHARED_GROUP,))
BOB = Person("bob", 61202, 61202, (SHARED_GROUP,))
MALLORY = Person("mallory", 61203, 61203, ())
EVE = Person("eve", 61204, 61204, ())
# The witness's own.
WILMA = Person("wilma", 61205, 61205, ())
WALTER = Person("walter", 61206, 61206, ())

PATIENCE_S = 10  # far more than anybody may be held up by others, and less than waiting for ever
guests = []


# --- processes of other users ----------------------------------------------------------------------------------------


class Line:
    """Python's values from one process to the other."""

    def __init__(self, own):
        self.socket = own
        own.settimeout(bus.LIMIT_S)

    def tell(self, value=None):
        self.socket.send(pickle.dumps(value))

    def hear(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError("the other side has ended")
        return pickle.loads(data)

    def expect(self, value):
        heard = self.hear()
        assert heard == value, f"'{heard}' was said, not '{value}'"

    def is_told(self):
        return bool(select.select([self.socket], [], [], 0)[0])


def become(person):
    os.setgroups(person.groups)
    os.setresgid(person.gid, person.gid, person.gid)
    os.setresuid(person.uid, person.uid, person.uid)
    # Only now: a change of user forgets it, and makes it impossible to look at oneself.
    bus.libc.prctl(bus.PR_SET_PDEATHSIG, signal.SIGKILL)
    bus.libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE


class Guest(Line):
    """A process that is somebody, and runs function(line, ...). It leads a process group of its own."""

    def __init__(self, person, function, *arguments):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.person = person
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                ours.close()
                bus.running.clear()
                bus.folders.clear()
                os.setpgid(0, 0)
                become(person)
                function(Line(theirs), *arguments)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        theirs.close()
        with contextlib.suppress(OSError):
            os.setpgid(self.pid, self.pid)
        guests.append(self)
        super().__init__(ours)

    def signal(self, number):
        os.kill(self.pid, number)

    def end(self):
        """It has ended by itself, in good order."""
        _, status = os.waitpid(self.pid, 0)
        self.forget()
        assert status == 0, f"{self.person.name} failed"

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.forget()

    def forget(self):
        guests.remove(self)
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self in guests:
            if kind:
                self.kill()
            else:
                self.end()


def run_as(person, function, *arguments):
    """What the function returns, called by a process that is somebody."""
    def call(line):
        line.tell(function(*arguments))

    with Guest(person, call) as guest:
        return guest.hear()


def may(person, path, flags):
    """What open(2) says to that user. Not for what an opening would block on or change."""
    def attempt():
        try:
            os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
        except OSError as error:
            return error.errno
        return 0

    return run_as(person, attempt) == 0


# --- the daemon -------------------------------------------------------------------------------------------------------


def tree(pid):
    """The process and all that come from it."""
    parents = {child: bus.parent_and_state(child) for child in bus.processes()}
    found, left = [], [pid]
    while left:
        at = left.pop()
        found.append(at)
        left += [child for child, parent in parents.items() if parent and parent[0] == at]
    return found


class System:
    """The daemon of all users, with folders that they can reach."""

    def __init__(self, *arguments, config=None, **keywords):
        """`config`: a configuration's text, in which HERE stands for the folder of their data."""
        self.folder = pathlib.Path(os.path.realpath(bus.new_folder()))
        self.folder.chmod(0o755)
        for name, mode, person in (("run", 0o755, SERVICE), ("data", 0o755, None), ("public", 0o1777, None)):
            (self.folder / name).mkdir()
            (self.folder / name).chmod(mode)
            if person:
                os.chown(self.folder / name, person.uid, person.gid)
        self.data, self.public = self.folder / "data", self.folder / "public"
        if config is not None:
            path = self.folder / "pathbusd.conf"
            path.write_text(config.replace("HERE", os.fspath(self.data)))
            path.chmod(0o600)
            arguments = ("--config", path, *arguments)
        self.daemon = bus.Daemon("--system", "--user", str(SERVICE.uid), "--helper-idle", "200", *arguments, folder=self.folder,
                                 address=self.folder / "run/socket", **keywords)
        self.address, self.pid = self.daemon.address, self.daemon.pid

    def connect(self, **arguments):
        return bus.Connection(self.address, **arguments)

    def file(self, name, person, mode=0o600, group=None):
        path = self.data / name
        path.touch()
        os.chown(path, person.uid, person.gid if group is None else group)
        path.chmod(mode)
        return path

    def own_folder(self, person, mode=0o755):
        path = self.data / f"of-{person.name}"
        path.mkdir(exist_ok=True)
        os.chown(path, person.uid, person.gid)
        path.chmod(mode)
        return path

    def said(self):
        return self.daemon.said()

    def expect_said(self, text):
        self.daemon.expect_said(text)

    def n_descriptors(self):
        """Of main, without the ones that it has for helpers."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def is_alive(self):
        return self.daemon.process.poll() is None


class Counted:
    """How much the daemon had before, and what it has at most while others do something to it."""

    def __init__(self, system):
        self.system = system
        self.pages = system.daemon.resident_pages()
        self.most = self.before = system.n_descriptors()

    def look(self, more_descriptors):
        now = self.system.n_descriptors()
        assert now <= self.before + more_descriptors, \
            f"the daemon has {now} descriptors, {self.before} before and {more_descriptors} may have come"
        pages = self.system.daemon.resident_pages()
        assert self.pages is None or pages < self.pages + 16384, f"{self.pages} pages of memory have become {pages}"


# --- the witness ------------------------------------------------------------------------------------------------------


def sleep_until(topic, poll, moved):
    """As a member sleeps: armed, and looks again before it does."""
    end = time.monotonic() + PATIENCE_S
    while True:
        if moved():
            return
        topic.arm()
        if moved():
            return
        left = end - time.monotonic()
        assert left > 0, "a post has not come"
        poll.poll(left)


def walter(line, address, posted, shared):
    """Listens with shared memory to one file, and by frames to the other: what a test writes into a page is not atomic, so that
    nobody else, the daemon neither, may be in that lane."""
    with bus.Connection(address) as connection, bus.Connection(address) as frames:
        topic = connection.open(posted, bus.SUBSCRIBE)
        poll = topic.listener()
        number = frames.open_socket(shared, bus.SUBSCRIBE)
        line.tell("ready")
        while True:
            seen = topic.generation
            line.expect("listen")
            line.tell("listening")
            order = line.hear()
            if order == "end":
                return
            value, data = order
            sleep_until(topic, poll, lambda: topic.generation != seen)
            expect_message(frames, number, data)
            bus.wait_for(lambda: state_of(frames, number) == value, "the state has come", PATIENCE_S)
            line.tell(value)


def expect_message(frames, number, data):
    """Posts may have come before it, and merged; nothing else."""
    while True:
        answer = frames.receive()
        assert answer is not None, "the connection ended"
        if answer.kind in (bus.EVENT_POST, bus.EVENT_RESYNC):
            continue
        assert answer.kind == bus.EVENT_MESSAGE, f"a frame of type {answer.kind}"
        message = Message(answer.body)
        assert (message.topic, message.data, message.uid) == (number, data, WILMA.uid), message.__dict__
        return


def state_of(connection, number):
    """Events that come before the answer are passed over."""
    connection.send(bus.frame(bus.GET_STATE, connection.request(), struct.pack("<I", number)))
    while True:
        answer = connection.receive()
        assert answer is not None, "the connection ended"
        if answer.request == connection.last_request:
            assert answer.kind == bus.STATE, f"a frame of type {answer.kind}"
            return struct.unpack_from("<Q", answer.body)[0]


class Message:
    def __init__(self, body):
        (self.topic, self.key_size, self.generation, self.origin, self.number, self.time, self.pid, self.uid) = \
            struct.unpack_from("<IIQQQQII", body)
        self.key, self.data = body[48:48 + self.key_size], body[48 + self.key_size:]


class Witness:
    """Two users who have nothing to do with the others: shared files, posts, messages and state from one to the other,
    and openings. All of it works, and nobody waits."""

    def __init__(self, system):
        self.system = system
        self.posted = system.file("of-the-witness", WILMA, 0o644)
        self.shared = system.file("more-of-the-witness", WILMA, 0o644)
        self.rounds = 0
        self.slowest = 0
        self.wilma = Guest(WILMA, self.be_wilma)
        self.walter = Guest(WALTER, walter, system.address, self.posted, self.shared)
        self.wilma.expect("ready")
        self.walter.expect("ready")

    def be_wilma(self, line):
        with bus.Connection(self.system.address) as connection:
            topic = connection.open(self.posted, bus.POST)
            number = connection.open_socket(self.shared, bus.POST)
            line.tell("ready")
            while (order := line.hear()) != "end":
                round_number, data = order
                topic.post()
                connection.ask(bus.SET_STATE, struct.pack("<IIQQ", number, 0, 0, round_number), bus.DONE)
                connection.ask(bus.PUBLISH, struct.pack("<IIQ", number, 0, 0) + data, bus.DONE)
                with bus.Connection(self.system.address) as another:
                    another.open(self.shared.parent / "another", bus.SUBSCRIBE).close()
                line.tell(connection.ping()[:2])

    def check(self):
        assert self.system.is_alive(), f"the daemon has ended:\n{self.system.said()}"
        self.rounds += 1
        data = b"round %d" % self.rounds
        started = time.monotonic()
        self.walter.tell("listen")
        self.walter.expect("listening")
        for guest in (self.walter, self.wilma):
            guest.tell((self.rounds, data))
        self.wilma.hear()
        self.walter.expect(self.rounds)
        self.slowest = max(self.slowest, time.monotonic() - started)
        assert self.slowest < PATIENCE_S, f"the others were held up for {self.slowest:.1f} s"

    def check_for(self, seconds):
        """Again and again; at least twice."""
        end = time.monotonic() + seconds
        self.check()
        self.check()
        while time.monotonic() < end:
            self.check()

    def end(self):
        self.walter.tell("listen")
        self.walter.expect("listening")
        for guest in (self.walter, self.wilma):
            guest.tell("end")
            guest.end()


@contextlib.contextmanager
def system(*arguments, witness=True, **keywords):
    """(daemon, witness). At the end it must have given back everything, have cried for nothing, and stop cleanly."""
    if os.geteuid() != 0:
        raise bus.Skip("needs root: the others are other users")
    serving = System(*arguments, **keywords)
    try:
        with serving.connect():
            n_before = serving.n_descriptors()
        watching = Witness(serving) if witness else None
        yield serving, watching
        if watching:
            watching.check()
            watching.end()
        with serving.connect() as connection:
            bus.wait_for(lambda: connection.ping()[:2] == (1, 0), "all connections and topics are gone")
            bus.wait_for(lambda: serving.n_descriptors() <= n_before + SPARE_HELPERS,
                         f"there are {n_before} descriptors again")
        assert_log_is_clean(serving)
        serving.daemon.stop()
    finally:
        for guest in list(guests):
            guest.kill()


SPARE_HELPERS = 8  # processes that main keeps a while, or has not had to start before; a socket and a handle of each


def assert_log_is_clean(serving):
    """Every line is the daemon's own, and can be shown on a terminal."""
    for line in serving.daemon.log.read_bytes().split(b"\n"):
        assert not any(byte < 32 or byte == 127 for byte in line), f"the log has a control character: {line}"
        assert not line or line.startswith(b"pathbusd: "), f"a line of the log is somebody else's: {line}"


# --- what several tests do ---------------------------------------------------------------------------------------------


def libc_call(name, *arguments):
    """The result; OSError."""
    result = getattr(bus.libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def unshare(flags):
    libc_call("unshare", flags)


def mount(source, target, kind, flags=0, options=None):
    def encode(value):
        return None if value is None else os.fsencode(value)

    libc_call("mount", encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(options))


def try_to_mount_apart():
    """In a guest: a mount namespace of its own. Skips where that is impossible."""
    try:
        unshare(CLONE_NEWNS)
        mount(None, "/", None, MS_REC | MS_PRIVATE)
    except OSError as error:
        return f"no mount namespace can be made: {error.strerror}"
    return None


def key_of(topic):
    """(device, inode, name) that the lane says it is for."""
    dev, ino, size = struct.unpack_from("<QQI", topic.page, 40)
    return dev, ino, topic.page[64:64 + min(size, 255)]

