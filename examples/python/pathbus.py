#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pathbus from Python: a notification bus whose topics are file paths. Only the standard library, Python 3.9 and later.

Open the same file, and you are on the same channel. This module talks to pathbusd over its socket (docs/protocol.md);
it needs a running daemon, and reconnects when that is restarted.

    import pathbus

    with pathbus.Bus() as bus:
        topic = bus.open("/data/app.db")
        topic.post()                                  # "something changed": wakes everybody who has it open
        topic.publish(b"hello", key=b"greeting")      # the same with some bytes
        for event in bus:                             # waits; next(timeout) is the same one at a time
            print(event.kind, event.count, event.data)

    async with pathbus.AsyncBus() as bus:             # the same with await and async for
        topic = await bus.open("/data/app.db")

Events. `kind` is one of
    "post"     something changed; `count` posts merged into one event
    "message"  `data`, `key`, and its sender: `pid`, `uid`, `origin`; `time_ns` (time.monotonic_ns() on Linux)
    "gap"      exactly `count` messages were missed
    "resync"   something may have been missed: look again (the daemon was restarted, or a member died)
    "error"    the topic could not be opened again after a restart, and is closed; `error` says why
What a bus itself posts is not told to it, unless the topic was opened with echo=True.

An event counts as dealt with (Topic.sync of others) when the program comes back for the next one.

When the daemon ends, the bus connects again, at growing pauses, opens its topics and tells each RESYNC. A post, a sync
or a look at the state that was under way is repeated. A message, or a change of the state, is not: it may or may not
have got through, and ConnectionResetError says so.

What cannot be sent is refused here: ValueError for what no topic takes (a path with NUL, a state below 0), OSError for
what is too large. A call that has failed changes nothing for later ones.

From a shell: pathbus.py listen FILE [--last N] [--echo], pathbus.py post FILE [TEXT] [--key KEY]
"""

import argparse
import asyncio
import collections
import dataclasses
import errno
import operator
import os
import select
import socket
import struct
import sys
import time
import typing

HELLO, OPEN, CLOSE, PING, GOODBYE, POST, PUBLISH, SET_STATE, GET_STATE, SEEN, SYNC = range(1, 12)
WELCOME, OPENED, ERROR, PONG, DONE, STATE, SYNCED, EVENT_POST, EVENT_MESSAGE, EVENT_GAP, EVENT_RESYNC = range(64, 75)
MAGIC, VERSION = 0x53554250, 1
FLAG_SUBSCRIBE, FLAG_POST, FLAG_SOCKET, FLAG_ECHO = 1, 2, 4, 8
STATE_COMPARES = 1
NO_TIMEOUT = 0xFFFFFFFF
MAX_DATA, MAX_KEY, MAX_PATH, MAX_LAGGARDS = 65536, 255, 4095, 128  # beyond these the daemon ends the connection

FIRST_PAUSE, LAST_PAUSE = 0.02, 5.0  # seconds between attempts to connect
MAX_QUEUED = 16384  # events that a program does not take while it waits for an answer; then they are merged
ASYNC_QUEUED = 1024  # with more nothing is read for a while
SEEN_EVENTS, SEEN_PAUSE = 32, 0.01  # SEEN goes out at the latest after so many events or seconds


class Error(OSError):
    """The daemon's answer to a request was no. `errno` and `strerror` say why."""


class Refused(ConnectionError):
    """The daemon does not want this program as it is, or is not one to be trusted. The next call tries again."""


@dataclasses.dataclass(frozen=True)
class Event:
    kind: str
    topic: "Topic"
    generation: int
    count: int = 0
    data: bytes = b""
    key: bytes = b""
    pid: int = 0
    uid: int = -1
    origin: int = 0
    number: int = 0
    time_ns: int = 0
    error: typing.Optional[OSError] = None


@dataclasses.dataclass(frozen=True)
class Laggard:
    pid: int
    uid: int
    origin: int
    command: str


@dataclasses.dataclass(frozen=True)
class Synced:
    """How far the other subscribers are: see Topic.sync. True if all have caught up."""

    subscribers: int
    caught_up: int
    untracked: int
    laggards: typing.Tuple[Laggard, ...]

    def __bool__(self):
        return self.caught_up == self.subscribers


# --- what both classes share: no input or output in here -------------------------------------------------------------


def addresses(address=None):
    """Where the daemon may be, in order."""
    if address:
        return [os.fspath(address)]
    if os.environ.get("PATHBUS_ADDRESS") and os.getuid() == os.geteuid():
        return [os.environ["PATHBUS_ADDRESS"]]
    uid = os.geteuid()
    login = f"/run/user/{uid}"
    try:
        own = f"{login}/pathbus/socket" if os.stat(login).st_uid == uid else None
    except OSError:
        own = None
    return ["/run/pathbus/socket", own or f"/dev/shm/pathbus-{uid}/socket"]


def check_peer(connection):
    """Only root's and one's own daemon are trusted."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid = struct.unpack("3i", credentials)[1]
    if uid not in (0, os.geteuid()):
        raise Refused(errno.EPERM, f"the daemon is user {uid}'s")


def frame(kind, request, body=b""):
    return struct.pack("<IHHI", 12 + len(body), kind, 0, request) + body


def error_of(body):
    return Error(struct.unpack_from("<I", body)[0], body[4:].decode(errors="replace"))


def end_of(body):
    """Why the daemon has ended the connection. What it is short of now it may have later: as if it had restarted."""
    error = error_of(body)
    passes = error.errno in (errno.EUSERS, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT)
    return (ConnectionResetError if passes else Refused)(*error.args)


def is_absent(error):
    return isinstance(error, (FileNotFoundError, ConnectionRefusedError))


def more_telling(earlier, error):
    return error if not earlier or (is_absent(earlier) and not is_absent(error)) else earlier


def may_connect_later(error):
    """Somebody is there, but has no room for us at the moment."""
    return isinstance(error, (ConnectionResetError, BrokenPipeError, BlockingIOError))


def unsigned(value, bits, what):
    if not 0 <= operator.index(value) < 1 << bits:
        raise ValueError(f"{what} is a number of {bits} bits, not {value}")
    return value


def as_bytes(value, size, what):
    value = memoryview(value).tobytes()
    if len(value) > size:
        raise OSError(errno.EMSGSIZE, f"{what} of more than {size} bytes")
    return value


def absolute(path):
    """The kernel's way: what is before a `..` may be a link."""
    path = os.fsdecode(path)
    if not path or "\0" in path:
        raise ValueError("a path is not empty, and has no NUL")
    path = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    if len(os.fsencode(path)) > MAX_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    return path


def parse_synced(body):
    subscribers, caught_up, untracked, n = struct.unpack_from("<4I", body)
    laggards = []
    for at in range(n):
        pid, uid, origin, command = struct.unpack_from("<IIQ16s", body, 16 + 32 * at)
        laggards.append(Laggard(pid, uid, origin, command.split(b"\0")[0].decode(errors="replace")))
    return Synced(subscribers, caught_up, untracked, tuple(laggards))


class Topic:
    """One open file; made by Bus.open or AsyncBus.open. On an AsyncBus the methods are to be awaited."""

    def __init__(self, bus, path, flags, last, ring_slots, max_message):
        self.bus, self.path = bus, absolute(path)
        self._flags, self._last = flags, unsigned(last, 32, "last")
        self._shape = unsigned(ring_slots, 32, "ring_slots"), unsigned(max_message, 32, "max_message")
        self._number = 0  # of what was published last: counted on over a reconnect, as the origin is kept
        self._id = None  # the daemon's number for it; None: not open now
        self._generation = 0  # of the last event that the program was given
        self.closed = False
        self.may_read = self.may_post = False
        self.origin = 0  # of what is published here
        self.max_message = 0

    def __repr__(self):
        return f"<Topic {self.path}>"

    def _open_body(self):
        return struct.pack("<4IQ", self._flags, *self._shape, self._last, self.origin) + os.fsencode(self.path)

    def _opened(self, body):
        self._id, rights, _, _, _, self.max_message, self.origin = struct.unpack("<6IQ", body)
        self.may_read, self.may_post = bool(rights & 1), bool(rights & 2)
        self._generation = 0
        self._last = 0  # what was there before the first opening is not asked for again

    def post(self):
        """Something changed. When it returns, every live subscriber will hear of it."""
        return self.bus._ask(self, POST, b"", True, lambda body: None)

    def publish(self, data, key=b""):
        """A post with some bytes. OSError EMSGSIZE: more than `max_message`, or a key of more than 255 bytes."""
        key, data = as_bytes(key, MAX_KEY, "a key"), as_bytes(data, MAX_DATA, "a message")

        def body():  # made when it goes out, so that numbers come in their order
            self._number += 1
            return struct.pack("<IQ", len(key), self._number) + key + data

        return self.bus._ask(self, PUBLISH, body, False, lambda body: None)

    def get_state(self):
        """(value, version): 64 bits that are kept with the topic. Version 0: nobody has set it yet."""
        return self.bus._ask(self, GET_STATE, b"", True, lambda body: struct.unpack("<QQ", body))

    def set_state(self, value):
        """ValueError: it is none of 64 bits."""
        return self._change_state(0, 0, value)

    def exchange_state(self, expected, value):
        """Sets it only if it is `expected`. OSError EAGAIN: it is another."""
        return self._change_state(STATE_COMPARES, expected, value)

    def _change_state(self, flags, expected, value):
        body = struct.pack("<IQQ", flags, unsigned(expected, 64, "a state"), unsigned(value, 64, "a state"))
        return self.bus._ask(self, SET_STATE, body, False, lambda body: None)

    def sync(self, timeout=None, laggards=16):
        """Have the others dealt with everything up to now? Waits for those that subscribe now, for `timeout` seconds."""
        if timeout is not None:
            timeout = max(timeout, 0) if timeout * 1000 < NO_TIMEOUT else None
        body = struct.pack("<II", NO_TIMEOUT if timeout is None else int(timeout * 1000),
                           min(unsigned(laggards, 32, "laggards"), MAX_LAGGARDS))
        return self.bus._ask(self, SYNC, body, True, parse_synced, timeout)

    def close(self):
        return self.bus._close_topic(self)


class Core:
    """Frames in, events and answers out; and what is owed to the daemon for them."""

    def __init__(self):
        self.topics = []
        self.events = collections.deque()
        self.last_request = 0
        self.opening = {}  # topics whose OPEN is not answered, by the request's number
        self._told = {}  # topics whose last event the daemon has not been told about
        self._n_told, self._told_at = 0, 0.0
        self.forget()

    def forget(self):
        """The connection is gone."""
        self._buffer = bytearray()
        self._owed = b""
        self.opening.clear()
        self._by_id = {}
        self._told.clear()
        for topic in self.topics:
            topic._id = None

    def request(self):
        self.last_request = self.last_request % 0xFFFFFFFF + 1
        return self.last_request

    def closed(self, topic):
        """Returns the frame that says so, if there is anybody to be told."""
        topic.closed = True
        if topic in self.topics:
            self.topics.remove(topic)
        self._told.pop(topic, None)
        self.events = collections.deque(event for event in self.events if event.topic is not topic)
        if topic._id is None:
            return b""
        number, topic._id = topic._id, None
        self._by_id.pop(number, None)
        return frame(CLOSE, 0, struct.pack("<I", number))

    def feed(self, data):
        """Takes bytes from the daemon; returns the answers among them: (kind, request, body). One to request 0 is the
        daemon's last word."""
        answers, at = [], 0
        self._buffer += data
        while len(self._buffer) - at >= 12:
            size, kind, _, request = struct.unpack_from("<IHHI", self._buffer, at)
            if size < 12:
                answers.append((ERROR, 0, struct.pack("<I", errno.EPROTO) + b"this is no pathbusd"))
                break
            if len(self._buffer) - at < size:
                break
            body = bytes(self._buffer[at + 12:at + size])
            at += size
            if EVENT_POST <= kind <= EVENT_RESYNC:
                self._event(kind, body)
            else:
                if kind == OPENED:
                    self._opened(request, body)  # its events may follow in the same bytes
                answers.append((kind, request, body))
        del self._buffer[:at]
        return answers

    def _opened(self, request, body):
        topic = self.opening.pop(request, None)
        if topic is None or topic.closed:
            self._owed += frame(CLOSE, 0, body[:4])  # nobody waits for it any more
            return
        topic._opened(body)
        self._by_id[topic._id] = topic
        if topic not in self.topics:
            self.topics.append(topic)

    def _event(self, kind, body):
        topic = self._by_id.get(struct.unpack_from("<I", body)[0])
        if topic is None:
            return  # closed meanwhile
        generation = struct.unpack_from("<Q", body, 8 if kind == EVENT_MESSAGE else 4)[0]
        if kind == EVENT_MESSAGE:
            _, key_size, _, origin, number, time_ns, pid, uid = struct.unpack_from("<IIQQQQII", body)
            event = Event("message", topic, generation, 1, body[48 + key_size:], body[48:48 + key_size], pid, uid,
                          origin, number, time_ns)
        elif kind == EVENT_RESYNC:
            event = Event("resync", topic, generation)
        else:
            event = Event("post" if kind == EVENT_POST else "gap", topic, generation,
                          struct.unpack_from("<Q", body, 12)[0])
        self.events.append(event)
        if len(self.events) > MAX_QUEUED:
            self._merge()

    def _merge(self):
        """The program does not take its events: it costs no more memory, and is told what it has missed."""
        merged = {}
        for event in self.events:
            kind = "gap" if event.kind == "message" else event.kind
            earlier = merged.pop((event.topic, kind), None)
            count = event.count + (earlier.count if earlier else 0)
            merged[(event.topic, kind)] = Event(kind, event.topic, event.generation, count, error=event.error)
        # In the order of their generations, so that none is taken for dealt with before an earlier one.
        self.events = collections.deque(sorted(merged.values(), key=lambda event: event.generation))

    def take(self):
        """The next event for the program, or None."""
        if not self.events:
            return None
        event = self.events.popleft()
        if event.topic._id is not None:
            event.topic._generation = event.generation
            if not self._told:
                self._told_at = time.monotonic()
            self._told[event.topic] = event.generation
            self._n_told += 1
        return event

    def seen(self):
        """The program has come back: what the daemon is to be told, or nothing yet."""
        owed, self._owed = self._owed, b""
        if not self._told or (self.events and self._n_told < SEEN_EVENTS and
                              time.monotonic() < self._told_at + SEEN_PAUSE):
            return owed
        frames = [frame(SEEN, 0, struct.pack("<IQ", topic._id, generation))
                  for topic, generation in self._told.items() if topic._id is not None]
        self._told.clear()
        self._n_told = 0
        return owed + b"".join(frames)

    def resync(self, topic):
        self.events.append(Event("resync", topic, 0))

    def lose(self, topic, error):
        """It cannot be opened again."""
        self.closed(topic)
        self.events.append(Event("error", topic, 0, error=error))

    @staticmethod
    def result(answer):
        kind, request, body = answer
        if kind == ERROR:
            raise error_of(body) if request else end_of(body)
        return body


def open_flags(subscribe, post, echo):
    if not subscribe and not post:
        raise ValueError("neither to listen nor to post")
    return FLAG_SOCKET | (FLAG_ECHO if echo else 0) | (FLAG_POST if post else 0) | (
        FLAG_SUBSCRIBE if subscribe else 0)


def may_pass(error):
    """Is it worth to open the topic once more later?"""
    return error.errno in (errno.ETIMEDOUT, errno.ENOTCONN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


# --- for ordinary programs ------------------------------------------------------------------------------------------------


class Bus:
    """A connection to pathbusd, for one thread at a time. `timeout`: seconds to wait for answers, and for a daemon that
    is being restarted."""

    def __init__(self, address=None, timeout=5.0):
        self._address, self._timeout = address, timeout
        self._core = Core()
        self._answers = {}
        self._socket = None
        self._pause = FIRST_PAUSE
        self._closed = False
        deadline = time.monotonic() + timeout
        while not self._socket:
            try:
                self._connect(time.monotonic() + timeout)
            except OSError as error:
                if not may_connect_later(error) or time.monotonic() + self._pause >= deadline:
                    raise
                self._rest(deadline)
        self._pause = FIRST_PAUSE

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._closed = True
        if self._socket:
            try:
                self._socket.sendall(frame(GOODBYE, 0))
            except OSError:
                pass
            self._socket.close()
        self._socket = None

    def fileno(self):
        """To be polled for reading; then call next(0) until it returns None. Another one after a reconnect."""
        return self._socket.fileno() if self._socket else -1

    # What the program asks for.

    def open(self, path, subscribe=True, post=None, echo=False, last=0, ring_slots=0, max_message=0):
        """Opens a file's topic. `post`: True: fail without the right to; None: have it if the file allows it. `last`: so
        many of the messages that are there already. `ring_slots`, `max_message`: for a topic that is not there yet."""
        topic = Topic(self, path, open_flags(subscribe, post, echo), last, ring_slots, max_message)
        deadline = time.monotonic() + self._timeout
        while topic._id is None:
            self._up(deadline)
            try:
                self._open(topic, deadline)
            except ConnectionResetError:
                self._lost()
        return topic

    def next(self, timeout=None):
        """The next event; None after `timeout` seconds (0: only looks; None: waits for ever)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._closed:
            self._send_quietly(self._core.seen())
            event = self._core.take()
            if event:
                return event
            if not self._socket:
                if not self._try_to_connect(deadline):
                    return None
            elif not self._receive_quietly(deadline):
                return None
        return None

    def __iter__(self):
        while True:
            event = self.next()
            if event is None:
                return
            yield event

    # The connection.

    def _connect(self, deadline):
        failure = None
        for address in addresses(self._address):
            self._core.forget()
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                connection.connect(address)
                check_peer(connection)
                connection.settimeout(self._timeout)
                self._socket = connection
                self._call(HELLO, struct.pack("<IHH", MAGIC, VERSION, VERSION), deadline)
                return
            except OSError as error:
                self._socket = None
                connection.close()
                failure = more_telling(failure, error)
        raise failure

    def _reopen(self, deadline):
        """After a reconnect: all topics, each of which may have missed something."""
        for topic in list(self._core.topics):
            try:
                self._open(topic, deadline)
                self._core.resync(topic)
            except Error as error:
                if may_pass(error):
                    raise
                self._core.lose(topic, error)

    def _try_to_connect(self, deadline):
        """One attempt, and a pause if it was in vain. False: the time is over."""
        try:
            limit = time.monotonic() + self._timeout
            self._connect(limit)
            self._reopen(limit)
            self._pause = FIRST_PAUSE
            return True
        except Refused:
            self._lost()
            raise
        except OSError:
            self._lost()
        return self._rest(deadline)

    def _rest(self, deadline):
        pause = self._pause if deadline is None else min(self._pause, deadline - time.monotonic())
        self._pause = min(2 * self._pause, LAST_PAUSE)
        if pause <= 0:
            return False
        time.sleep(pause)
        return True

    def _up(self, deadline):
        while not self._socket:
            if self._closed:
                raise ValueError("the bus is closed")
            if not self._try_to_connect(deadline):
                raise ConnectionError(errno.ENOTCONN, "no pathbusd")

    def _lost(self):
        if self._socket:
            self._socket.close()
        self._socket = None
        self._answers.clear()
        self._core.forget()

    def _receive(self, deadline):
        """Takes what comes. False: nothing before the deadline. ConnectionResetError: the connection has ended."""
        wait = None if deadline is None else max(deadline - time.monotonic(), 0)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(None if wait is None else min(wait * 1000, 0x7FFFFFFF)):
            return False
        data = self._socket.recv(262144)  # descriptors that come with WELCOME are dropped by the kernel
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "pathbusd has ended")
        for answer in self._core.feed(data):
            if answer[0] == ERROR and not answer[1]:
                self._lost()
                raise end_of(answer[2])
            self._answers[answer[1]] = answer
        return True

    def _receive_quietly(self, deadline):
        try:
            return self._receive(deadline)
        except (ConnectionResetError, BrokenPipeError):
            self._lost()
            return True

    def _send_quietly(self, data):
        if data and self._socket:
            try:
                self._socket.sendall(data)
            except OSError:
                self._lost()

    def _call(self, kind, body, deadline, request=None):
        request = request or self._core.request()
        try:
            self._socket.sendall(frame(kind, request, body))
        except (BrokenPipeError, socket.timeout) as error:
            raise ConnectionResetError(errno.ECONNRESET, "pathbusd has ended") from error
        while request not in self._answers:
            if not self._receive(deadline):
                raise TimeoutError(errno.ETIMEDOUT, "pathbusd does not answer")
        return Core.result(self._answers.pop(request))

    def _open(self, topic, deadline):
        request = self._core.request()
        self._core.opening[request] = topic
        try:
            self._call(OPEN, topic._open_body(), deadline, request)
        finally:
            self._core.opening.pop(request, None)

    def _ask(self, topic, kind, body, may_repeat, parse, longer=0):
        deadline = time.monotonic() + self._timeout
        while True:
            self._up(deadline)
            if topic.closed:
                raise ValueError("the topic is closed")
            try:
                return parse(self._call(kind, struct.pack("<I", topic._id) + (body() if callable(body) else body),
                                        None if longer is None else deadline + longer))
            except ConnectionResetError:
                self._lost()
                if not may_repeat:
                    raise

    def _close_topic(self, topic):
        self._send_quietly(self._core.closed(topic))


# --- for asyncio -------------------------------------------------------------------------------------------------------------


class AsyncBus:
    """The same for asyncio. Use it as `async with AsyncBus() as bus`, or call start() and close()."""

    def __init__(self, address=None, timeout=5.0):
        self._address, self._timeout = address, timeout
        self._core = Core()
        self._waiting = {}  # request: future
        self._writer = None
        self._task = None
        self._pause = FIRST_PAUSE
        self._refused, self._refusal_told = None, False  # by the last daemon that there was, if there is none
        self._closed = False

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def start(self):
        self._news, self._room, self._ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        deadline = time.monotonic() + self._timeout
        reader = None
        while not reader:
            try:
                reader = await asyncio.wait_for(self._connect(), self._timeout)
            except OSError as error:
                if not may_connect_later(error) or time.monotonic() + self._pause >= deadline:
                    raise
                await self._rest()
        self._ready.set()
        self._task = asyncio.ensure_future(self._run(reader))

    async def close(self):
        self._closed = True
        if self._writer:
            self._writer.write(frame(GOODBYE, 0))
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._lost()

    # What the program asks for.

    async def open(self, path, subscribe=True, post=None, echo=False, last=0, ring_slots=0, max_message=0):
        """As Bus.open."""
        topic = Topic(self, path, open_flags(subscribe, post, echo), last, ring_slots, max_message)
        while True:
            await self._up()
            try:
                await self._open(topic)
                return topic  # if the connection has ended meanwhile, it is opened with the others
            except ConnectionResetError:
                pass

    async def next(self):
        """The next event; None once the bus is closed."""
        while not self._closed:
            owed = self._core.seen()
            if owed and self._writer:
                self._writer.write(owed)
            event = self._core.take()
            if len(self._core.events) < ASYNC_QUEUED:
                self._room.set()
            if event:
                return event
            if self._refused and not self._refusal_told:
                self._refusal_told = True
                raise Refused(*self._refused.args)
            if self._task.done():
                self._task.result()  # raises what has ended it
                return None
            self._news.clear()
            await self._news.wait()
        return None

    def __aiter__(self):
        return self

    async def __anext__(self):
        event = await self.next()
        if event is None:
            raise StopAsyncIteration
        return event

    # The connection, kept by a task.

    async def _run(self, reader):
        try:
            while True:
                try:
                    reader = reader or await asyncio.wait_for(self._connect(), self._timeout)
                    await self._serve(reader)
                except Refused as error:
                    self._refused, self._refusal_told = error, False
                    self._news.set()
                except (OSError, asyncio.TimeoutError):
                    pass
                reader = None
                await self._rest()
        finally:
            self._lost()
            self._news.set()
            self._ready.set()

    async def _rest(self):
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, LAST_PAUSE)

    async def _serve(self, reader):
        """Until the connection ends."""
        reading = asyncio.ensure_future(self._read(reader))
        try:
            if not self._ready.is_set():
                await asyncio.wait_for(self._reopen(), self._timeout)
                self._ready.set()
                self._news.set()
            self._refused, self._pause = None, FIRST_PAUSE
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            self._lost()

    async def _read(self, reader):
        try:
            while True:
                data = await reader.read(262144)
                if not data:
                    break
                self._take(data)
                # A slow program's events stay with the daemon, unless an answer is awaited behind them.
                while len(self._core.events) >= ASYNC_QUEUED and not self._waiting:
                    self._room.clear()
                    await self._room.wait()
        except Refused as error:
            if not self._lost(error):
                raise  # nobody has been told
        finally:
            self._lost()

    def _take(self, data):
        end = None
        for answer in self._core.feed(data):
            future = self._waiting.pop(answer[1], None)
            if future and not future.done():
                future.set_result(answer)
            if answer[0] == ERROR and not answer[1]:
                end = end_of(answer[2])
        if self._core.events:
            self._news.set()
        if end:
            raise end

    async def _connect(self):
        failure = None
        for address in addresses(self._address):
            writer = None
            try:
                reader, writer = await asyncio.open_unix_connection(address)
                check_peer(writer.get_extra_info("socket"))
                writer.write(frame(HELLO, self._core.request(), struct.pack("<IHH", MAGIC, VERSION, VERSION)))
                answers = []
                while not answers:
                    data = await reader.read(262144)
                    if not data:
                        raise ConnectionResetError(errno.ECONNRESET, "pathbusd has ended")
                    answers = self._core.feed(data)
                Core.result(answers[0])
                self._writer = writer
                return reader
            except BaseException as error:
                self._core.forget()
                if writer:
                    writer.close()
                if not isinstance(error, OSError):
                    raise
                failure = more_telling(failure, error)
        raise failure

    async def _reopen(self):
        for topic in list(self._core.topics):
            try:
                await self._open(topic)
                self._core.resync(topic)
            except Error as error:
                if may_pass(error):
                    raise
                self._core.lose(topic, error)

    def _lost(self, error=None):
        """True: somebody was waiting, and has been told."""
        error = error or ConnectionResetError(errno.ECONNRESET, "pathbusd has ended")
        self._ready.clear()
        if self._writer:
            self._writer.close()
        self._writer = None
        waiting = [future for future in self._waiting.values() if not future.done()]
        for future in waiting:
            future.set_exception(type(error)(*error.args))
        self._waiting.clear()
        self._core.forget()
        return bool(waiting)

    async def _up(self):
        try:
            await asyncio.wait_for(self._ready.wait(), self._timeout)
        except asyncio.TimeoutError:
            if self._refused:
                raise Refused(*self._refused.args) from None
            raise ConnectionError(errno.ENOTCONN, "no pathbusd") from None
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        if self._closed:
            raise ValueError("the bus is closed")

    async def _call(self, kind, body, timeout, request=None):
        request = request or self._core.request()
        if not self._writer:
            raise ConnectionResetError(errno.ECONNRESET, "pathbusd has ended")
        future = asyncio.get_running_loop().create_future()
        self._waiting[request] = future
        self._writer.write(frame(kind, request, body))
        self._room.set()  # reading goes on
        try:
            return Core.result(await asyncio.wait_for(future, timeout))
        except asyncio.TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, "pathbusd does not answer") from None
        finally:
            self._waiting.pop(request, None)

    async def _open(self, topic):
        request = self._core.request()
        self._core.opening[request] = topic
        try:
            await self._call(OPEN, topic._open_body(), self._timeout, request)
        finally:
            self._core.opening.pop(request, None)

    async def _ask(self, topic, kind, body, may_repeat, parse, longer=0):
        while True:
            await self._up()
            if topic.closed:
                raise ValueError("the topic is closed")
            try:
                return parse(await self._call(kind, struct.pack("<I", topic._id) + (body() if callable(body) else body),
                                              None if longer is None else self._timeout + longer))
            except ConnectionResetError:
                if not may_repeat:
                    raise

    async def _close_topic(self, topic):
        owed = self._core.closed(topic)
        if owed and self._writer:
            self._writer.write(owed)


# --- from a shell --------------------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description="Listens to a file's topic, or posts there.")
    commands = parser.add_subparsers(dest="command", required=True)
    listen = commands.add_parser("listen", help="print what comes")
    listen.add_argument("file")
    listen.add_argument("--last", type=int, default=0, metavar="N", help="begin with the last N messages")
    listen.add_argument("--echo", action="store_true")
    post = commands.add_parser("post", help="say that it has changed, or something else")
    post.add_argument("file")
    post.add_argument("text", nargs="?")
    post.add_argument("--key", default="")
    arguments = parser.parse_args()
    try:
        with Bus() as bus:
            if arguments.command == "post":
                topic = bus.open(arguments.file, subscribe=False, post=True)
                if arguments.text is None:
                    topic.post()
                else:
                    topic.publish(os.fsencode(arguments.text), os.fsencode(arguments.key))
                return 0
            bus.open(arguments.file, last=arguments.last, echo=arguments.echo)
            for event in bus:
                if event.kind == "message":
                    key = f" {event.key!r}" if event.key else ""
                    print(f"message from {event.pid}{key}: {event.data!r}", flush=True)
                elif event.kind == "resync":
                    print("resync: look again", flush=True)
                else:
                    print(event.kind, event.error or event.count, flush=True)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        print(f"{sys.argv[0]}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
