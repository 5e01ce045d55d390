# SPDX-License-Identifier: MIT
"""The protocol of docs/protocol.md and a private pathbusd, for the tests of this folder.

A test module defines functions `test_*`, each of which takes no argument, and ends with `bus.main()`. The
daemon is the program $PATHBUSD.
"""

import contextlib
import ctypes
import errno
import inspect
import mmap
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

LIMIT_S = 30  # for one condition; generous, since it is reached only in failure

HELLO, OPEN, CLOSE, PING, GOODBYE, FRAME_POST, PUBLISH, SET_STATE, GET_STATE, SEEN, SYNC = range(1, 12)
REGION_OPEN, REGION_CLOSE, REGION_RESTORE, REGION_LIST = range(12, 16)
LISTEN, UNLISTEN, CONNECT, TOKEN, REDEEM, ENDPOINT_LIST, TAKEN, CANCEL, MEMBER_LIST = range(16, 25)
WELCOME, OPENED, ERROR, PONG, DONE, STATE, SYNCED, EVENT_POST, EVENT_MESSAGE, EVENT_GAP, EVENT_RESYNC = range(64, 75)
REGION, RESTORED, REGIONS = range(75, 78)
LISTENING, CONNECTED, TOKEN_MADE, ENDPOINTS, EVENT_CONNECTION, EVENT_UNLISTENED, MEMBERS = range(78, 85)
NO_TIMEOUT = 0xFFFFFFFF
ONE_DESCRIPTOR = {REGION, CONNECTED, EVENT_CONNECTION}
MAGIC = 0x53554250
VERSION = 1
MAX_FRAME = 66560
SUBSCRIBE, POST, SOCKET, ECHO = 1, 2, 4, 8
NO_SLOT = 0xFFFFFFFF

DEATH_SIZE, PAGE_SIZE = 4096, 16384
GENERATION, WANT, RUNG, RESYNC, CLOSED, OFFLOAD, MESSAGES, LINKED, SLOTS = 512, 520, 528, 536, 544, 548, 552, 576, 1024
SLOT_SIZE, N_SLOTS = 64, 240
ONE_POST = 1 << 20  # what a post adds to the generation
OWNER_DIED = 0x40000000

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """The test cannot run here; the text says why."""


def frame(kind, request, body=b"", reserved=0):
    return struct.pack("<IHHI", 12 + len(body), kind, reserved, request) + body


def hello(request=1, low=VERSION, high=VERSION, magic=MAGIC):
    return frame(HELLO, request, struct.pack("<IHH", magic, low, high))


def open_frame(request, path, flags=0, ring_slots=0, max_message=0, last=0, origin=0):
    return frame(OPEN, request, struct.pack("<IIIIQ", flags, ring_slots, max_message, last, origin) + os.fsencode(path))


class Failed(Exception):
    """The daemon answered with an error."""

    def __init__(self, request, number, text):
        super().__init__(f"{errno.errorcode.get(number, number)}: {text}")
        self.request, self.number, self.text = request, number, text


class Answer:
    def __init__(self, kind, request, body, fds):
        self.kind, self.request, self.body, self.fds = kind, request, body, fds


class Connection:
    """One client. Keeps the descriptors that it was given until it is closed."""

    def __init__(self, address, greet=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.buffer = b""
        self.fds = []
        self.own_fds = []
        self.last_request = 0
        self.has_topics = False
        try:
            # Where many wait to be accepted already this waits in line, which it would not with a time-out of Python's.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", LIMIT_S, 0))
            self.socket.connect(os.fspath(address))
            self.socket.settimeout(LIMIT_S)
            if greet:
                self.greet()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """In good order: after a mere close the daemon waits for the end of this process."""
        if self.has_topics:
            try:
                self.socket.setblocking(False)
                self.socket.send(frame(GOODBYE, 0))
            except OSError:
                pass
        self.close()

    def close(self):
        """As if the process had died."""
        self.socket.close()
        for fd in self.fds + self.own_fds:
            os.close(fd)
        self.fds, self.own_fds = [], []

    def send(self, data):
        self.socket.sendall(data)

    def fill(self):
        """Reads some more. Returns False at the end of the stream."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, 65536, 64)
        except ConnectionResetError:
            return False
        self.fds += fds
        self.buffer += data
        return bool(data)

    def receive(self):
        """The next frame, or None at the end of the stream."""
        while len(self.buffer) < 12 or len(self.buffer) < struct.unpack_from("<I", self.buffer)[0]:
            if not self.fill():
                return None
        size, kind, reserved, request = struct.unpack_from("<IHHI", self.buffer)
        assert 12 <= size <= MAX_FRAME and reserved == 0
        body, self.buffer = self.buffer[12:size], self.buffer[size:]
        n_fds = 2 if kind == WELCOME or (kind == OPENED and struct.unpack_from("<Q", body, 24)[0] == 0) else 0
        n_fds = 1 if kind in ONE_DESCRIPTOR else n_fds
        self.has_topics |= kind == OPENED
        fds, self.fds = self.fds[:n_fds], self.fds[n_fds:]
        self.own_fds += fds
        assert len(fds) == n_fds, "a frame came without its descriptors"
        return Answer(kind, request, body, fds)

    def expect(self, kind, request=None):
        answer = self.receive()
        assert answer is not None, "the connection ended"
        if answer.kind == ERROR and kind != ERROR:
            raise Failed(answer.request, struct.unpack_from("<I", answer.body)[0], answer.body[4:].decode())
        assert answer.kind == kind, f"a frame of type {answer.kind}, not {kind}"
        assert request is None or answer.request == request
        return answer

    def expect_error(self, number, request=None, text=""):
        answer = self.expect(ERROR, request)
        got, said = struct.unpack_from("<I", answer.body)[0], answer.body[4:].decode()
        assert got == number, f"{errno.errorcode.get(got, got)} ({said}), not {errno.errorcode[number]}"
        assert text in said, f"'{said}' does not say '{text}'"
        return said

    def expect_end(self):
        answer = self.receive()
        assert answer is None, f"a frame of type {answer.kind}, not the end"

    def request(self):
        self.last_request += 1
        return self.last_request

    def greet(self):
        self.send(hello(self.request()))
        answer = self.expect(WELCOME, self.last_request)
        self.version, zero, self.max_frame, self.max_path, self.pid = struct.unpack_from("<HHIII", answer.body)
        self.id = answer.body[16:32]
        assert zero == 0 and len(answer.body) == 32
        self.death, self.carrier = answer.fds

    def open(self, path, flags=0, **shape):
        self.send(open_frame(self.request(), path, flags, **shape))
        return Topic(self, self.expect(OPENED, self.last_request))

    def open_socket(self, path, flags=0, **shape):
        """The topic's number."""
        self.send(open_frame(self.request(), path, flags | SOCKET, **shape))
        return struct.unpack_from("<I", self.expect(OPENED, self.last_request).body)[0]

    def ask(self, kind, body, answer):
        self.send(frame(kind, self.request(), body))
        return self.expect(answer, self.last_request)

    def ping(self):
        self.send(frame(PING, self.request()))
        answer = self.expect(PONG, self.last_request)
        n_clients, n_topics, uptime = struct.unpack_from("<IIQ", answer.body)
        return n_clients, n_topics, uptime, answer.body[16:].decode()

    def goodbye(self):
        self.send(frame(GOODBYE, 0))
        self.expect_end()


class Topic:
    """One open topic, with its lane mapped."""

    def __init__(self, connection, answer):
        self.connection = connection
        self.id, self.rights, self.slot, zero, self.ring_slots, self.max_message, origin = \
            struct.unpack("<IIIIIIQ", answer.body)
        assert zero == 0 and origin == 0
        self.page_fd, self.bell = answer.fds
        self.page = mmap.mmap(self.page_fd, PAGE_SIZE)

    def word(self, offset):
        return struct.unpack_from("<Q", self.page, offset)[0]

    def half(self, offset):
        return struct.unpack_from("<I", self.page, offset)[0]

    @property
    def lane(self):
        return self.page[16:32]

    @property
    def generation(self):
        return self.word(GENERATION)

    @property
    def resync(self):
        return self.word(RESYNC)

    @property
    def offloaded(self):
        return self.half(OFFLOAD) == 1

    def pid_of_slot(self, slot):
        return self.half(SLOTS + slot * SLOT_SIZE)

    def arm(self):
        struct.pack_into("<Q", self.page, WANT, self.generation)

    def post(self):
        """As far as a test needs it: not atomic, so one process at a time."""
        struct.pack_into("<Q", self.page, GENERATION, (self.generation + ONE_POST) % (1 << 64))
        if self.word(WANT) >= self.word(RUNG):
            os.write(self.connection.carrier if self.offloaded else self.bell, struct.pack("<Q", 1))
            struct.pack_into("<Q", self.page, RUNG, self.generation)

    def listener(self):
        poll = select.epoll()
        poll.register(self.bell, select.EPOLLIN | select.EPOLLET)
        poll.poll(0)
        return poll

    def close(self):
        self.page.close()
        self.connection.send(frame(CLOSE, 0, struct.pack("<I", self.id)))


def filter_calls(steps):
    """For a preexec_fn: a filter of system calls, as a program of (code, if so, if not, value)."""
    filtering = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    header = struct.pack("@HP", len(steps), ctypes.addressof(filtering))
    if libc.prctl(38, 1, 0, 0, 0) < 0 or libc.prctl(22, 2, header, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "no filter")


def waits_in(pid):
    """The kernel's function that a process sleeps in; "0" where that is not told."""
    try:
        return pathlib.Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return "0"


def wait_for(condition, what, limit_s=LIMIT_S):
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.005)


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def parent_and_state(pid):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), fields[0].decode()


def command(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


class Daemon:
    """A private pathbusd in a folder of its own."""

    def __init__(self, *arguments, folder=None, address=None, wait=True, pass_address=True, program_of=None,
                 preexec_fn=lambda: None, **popen):
        self.folder = pathlib.Path(folder or new_folder())
        self.address = pathlib.Path(address or self.folder / "socket")
        self.log = self.folder / f"log-{time.monotonic_ns()}"
        command_line = [program_of or program(), *arguments]
        if pass_address:
            command_line[1:1] = ["--address", self.address]

        def prepare():
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            preexec_fn()

        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command_line, stdin=subprocess.DEVNULL, stderr=log, preexec_fn=prepare, **popen)
        self.pid = self.process.pid
        running.append(self)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self):
        wait_for(self.is_ready, "the daemon answers")
        self.wait_until_settled()

    def is_ready(self):
        assert self.process.poll() is None, f"the daemon has ended:\n{self.said()}"
        try:
            with Connection(self.address) as connection:
                return connection.pid == self.pid
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def wait_until_settled(self):
        """The connections of before are gone, and the first worker is there."""
        with Connection(self.address) as connection:
            wait_for(lambda: connection.ping()[:2] == (1, 0), "nobody else is connected")
        # One that has answered: it has been exec'd.
        with Connection(self.address) as connection:
            connection.open(self.folder)

    def connect(self, **arguments):
        return Connection(self.address, **arguments)

    def said(self):
        return self.log.read_text(errors="replace")

    def expect_said(self, text):
        wait_for(lambda: text in self.said(), f"the log says '{text}'; it says:\n{self.said()}")

    def children(self):
        return [pid for pid in processes() if (parent_and_state(pid) or (0,))[0] == self.pid]

    def workers(self):
        return [pid for pid in self.children() if b"--worker" in command(pid)]

    def settled_workers(self):
        """All workers, once each of them waits for a question (or was stopped): one that is stopped before it has
        said that it is ready is replaced."""
        def settled():
            states = [waits_in(pid) for pid in self.workers()]
            return states and all(state == "0" or "skb" in state or "stop" in state for state in states)

        wait_for(settled, "the workers wait for questions")
        return self.workers()

    def n_descriptors(self):
        """Without the one per worker: their number depends on how fast they answer."""
        return len(os.listdir(f"/proc/{self.pid}/fd")) - len(self.workers())

    def resident_pages(self):
        """None where a sanitizer keeps freed memory."""
        if "asan" in pathlib.Path(f"/proc/{self.pid}/maps").read_text():
            return None
        return int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(LIMIT_S)
        running.remove(self)
        assert status == 0, f"exit status {status}:\n{self.said()}"

    def kill(self):
        self.process.kill()
        self.process.wait(LIMIT_S)
        running.remove(self)

    def wait(self):
        """Ends by itself: its exit status."""
        status = self.process.wait(LIMIT_S)
        running.remove(self)
        return status


running, folders = [], []


def program():
    return os.environ["PATHBUSD"]


def new_folder():
    folder = tempfile.mkdtemp(prefix="pathbus-service-")
    folders.append(folder)
    return folder


@contextlib.contextmanager
def daemon(*arguments, **keywords):
    """A daemon that must be sound at the end: it answers, has given back all descriptors, and stops cleanly."""
    serving = Daemon(*arguments, **keywords)
    with serving.connect():
        n_before = serving.n_descriptors()
    yield serving
    with serving.connect() as connection:
        wait_for(lambda: connection.ping()[:2] == (1, 0), "all connections and topics are gone")
        wait_for(lambda: serving.n_descriptors() <= n_before, f"there are {n_before} descriptors again")
    serving.stop()


def as_user(uid, function):
    """Runs the function in a child that is this user; fails if it raises."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            running.clear()
            folders.clear()
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            clean_up()
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, "it failed in the child"


def clean_up():
    for serving in running:
        print(f"--- the log of {serving.address}:\n{serving.said()}", file=sys.stderr)
        serving.process.kill()
        serving.process.wait()
    running.clear()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    folders.clear()


def main():
    module = inspect.getmodule(inspect.stack()[1].frame)
    wanted = sys.argv[1:]
    n_run, n_skipped, failed = 0, 0, []
    for name, function in list(vars(module).items()):
        if not name.startswith("test_") or (wanted and name not in wanted):
            continue
        try:
            n_run += 1
            function()
            print(f"passed: {name}", flush=True)
        except Skip as why:
            n_skipped += 1
            print(f"SKIP: {name}: {why}", flush=True)
        except BaseException:
            traceback.print_exc()
            print(f"FAILED: {name}", flush=True)
            failed.append(name)
        finally:
            clean_up()
    if failed:
        sys.exit(1)
    sys.exit(77 if n_skipped == n_run else 0)
