#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Paths that lead somewhere else than they seem to, or change while they are looked at; and names that are made to be
printed. Nobody is given a right that open(2) would not give, and the log stays the daemon's."""

import contextlib
import errno
import os
import struct
import subprocess
import time

import bus
import users
from users import ALICE, BOB, MALLORY, Guest

RACE_S = 2
RENAME_EXCHANGE, AT_FDCWD = 2, -100
NASTY = b"\n\x1b[2J\x1b]0;x\x07\rpathbusd: error: forged\x7f\xc2\x9b31m\xe2\x80\xae"


def try_to_open(connection, path, flags=0):
    """The topic, or the errno."""
    connection.send(bus.open_frame(connection.request(), path, flags))
    answer = connection.receive()
    assert answer is not None, "the connection ended"
    if answer.kind == bus.ERROR:
        return None, struct.unpack_from("<I", answer.body)[0], answer.body[4:].decode()
    assert answer.kind == bus.OPENED
    return bus.Topic(connection, answer), 0, ""


def place(path):
    """What the key of a file's topic is: of the file as it is named, which is no link."""
    status = os.stat(os.path.dirname(path))
    return status.st_dev, status.st_ino, os.path.basename(os.fsencode(path))


# --- races between check and use -----------------------------------------------------------------------------------------


def exchange_for_ever(line, pairs):
    line.tell("ready")
    while not line.is_told():
        for one, other in pairs:
            users.libc_call("renameat2", AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    line.expect("end")


def open_for_ever(line, address, paths, seconds):
    """{(key, rights): how often}, and how often it was refused."""
    found, refused = {}, 0
    end = time.monotonic() + seconds
    with bus.Connection(address) as connection:
        while time.monotonic() < end:
            for path in paths:
                topic, number, _ = try_to_open(connection, path)
                if topic is None:
                    assert number in (errno.EACCES, errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EAGAIN,
                                      errno.ETIMEDOUT, errno.ESTALE), number
                    refused += 1
                    continue
                what = (users.key_of(topic), topic.rights)
                found[what] = found.get(what, 0) + 1
                topic.close()
                for fd in connection.own_fds[2:]:
                    os.close(fd)
                del connection.own_fds[2:]
    line.tell((found, refused))


def test_paths_that_change_while_they_are_looked_at():
    """Links, files and folders that take turns with ones of a user who may more: what is granted is what open(2) would grant
    for what was found."""
    with users.system() as (daemon, witness):
        mine = daemon.own_folder(MALLORY)
        secret = daemon.file("secret", ALICE, 0o600)
        readable = daemon.file("readable", ALICE, 0o644)
        closed = daemon.own_folder(ALICE, 0o700)
        (closed / "file").touch(0o666)
        (closed / "file").chmod(0o666)

        def prepare():
            os.chdir(mine)
            os.mkdir("folder")
            for name in ("file", "folder/file"):
                with open(name, "wb"):
                    pass
            for name, target in (("link-to-secret", secret), ("link-to-readable", readable), ("link-to-own", "file"),
                                 ("link-to-closed", closed), ("second-link-to-own", mine / "file")):
                os.symlink(target, name)
            return place(f"{mine}/file"), place(f"{mine}/folder/file")

        own = users.run_as(MALLORY, prepare)
        pairs = [(mine / "link-to-secret", mine / "link-to-own"), (mine / "link-to-readable", mine / "second-link-to-own"),
                 (mine / "folder", mine / "link-to-closed")]
        paths = [mine / "link-to-secret", mine / "link-to-own", mine / "link-to-readable", mine / "second-link-to-own",
                 mine / "folder/file", mine / "link-to-closed/file"]
        with Guest(MALLORY, exchange_for_ever, pairs) as mover, \
                Guest(MALLORY, open_for_ever, daemon.address, paths, RACE_S) as mallory:
            mover.expect("ready")
            while not mallory.is_told():
                witness.check()
            found, refused = mallory.hear()
            mover.tell("end")
        print(f"  {sum(found.values())} granted, {refused} refused", flush=True)
        both = bus.SUBSCRIBE | bus.POST
        allowed = {(place(os.fspath(readable)), bus.SUBSCRIBE)} | {(key, both) for key in own}
        assert set(found) <= allowed, f"granted besides: {set(found) - allowed}"
        assert refused > 0 and {key for key, _ in found} >= {own[0], place(os.fspath(readable))}, "it was a race"


# --- one inode after the other -------------------------------------------------------------------------------------------


def make_linked(folder, name):
    path = folder / name
    with open(path, "xb"):
        pass
    os.link(path, folder / f"{name}-again")
    return path, os.stat(path).st_ino


def remove_linked(path):
    os.unlink(path)
    os.unlink(f"{path}-again")


def hold_and_remove(line, address, folder):
    """A topic of a file with two names, which goes away while the topic stays."""
    with bus.Connection(address) as connection:
        path, ino = make_linked(folder, "file")
        topic = connection.open(path)
        number = connection.open_socket(path)
        remove_linked(path)
        line.tell(ino)
        line.expect("what came?")
        generation = topic.generation
        connection.send(bus.frame(bus.PING, connection.request()))
        told = []
        while (answer := connection.receive()).kind != bus.PONG:
            told.append((answer.kind, answer.body))
        line.tell((told, generation, number))


def take_its_inode(line, address, folder, ino):
    """A new file with two names and, where the file system gives numbers again, that number."""
    attempts, got = [], None
    for number in range(500):
        path, new = make_linked(folder, f"new-{number}")
        if new == ino:
            got = path
            break
        attempts.append(path)
    for path in attempts:
        remove_linked(path)
    if got is None:
        line.tell(None)
        return
    with bus.Connection(address) as connection:
        topic = connection.open(got)
        number = connection.open_socket(got, bus.POST)
        topic.post()
        connection.ask(bus.PUBLISH, struct.pack("<IIQ", number, 0, 0) + b"private", bus.DONE)
        line.tell((users.key_of(topic), place(os.fspath(got))))
        line.expect("end")


def test_an_inode_that_is_used_again():
    """Files are told apart by what is there when they are opened, not by a number that somebody had before."""
    with users.system() as (daemon, witness):
        alices, mallorys = daemon.own_folder(ALICE, 0o700), daemon.own_folder(MALLORY)
        n_same = 0
        for _ in range(5):
            with Guest(MALLORY, hold_and_remove, daemon.address, mallorys) as mallory:
                ino = mallory.hear()
                with Guest(ALICE, take_its_inode, daemon.address, alices, ino) as alice:
                    answer = alice.hear()
                    if answer:
                        n_same += 1
                        key, expected = answer
                        assert key == expected, "it is another file's topic"
                        witness.check()
                    mallory.tell("what came?")
                    told, _, _ = mallory.hear()
                    assert not [body for kind, body in told if kind in (bus.EVENT_POST, bus.EVENT_MESSAGE)], told
                    if answer:
                        alice.tell("end")
            for path in alices.iterdir():
                path.unlink()
        print(f"  {n_same} of 5 times the number was the same", flush=True)


def follow_deleted(line, address, folder):
    """A file that is deleted, and one that another has made in its place, which the first may not read."""
    path = folder / "file"
    with bus.Connection(address) as connection:
        topic, _, _ = try_to_open(connection, path)
        line.tell(topic.rights)
        line.expect("replaced")
        _, number, _ = try_to_open(connection, path)
        line.tell(number)
        line.expect("end")


def test_a_deleted_file():
    with users.system() as (daemon, witness):
        folder = daemon.public
        path = folder / "file"

        def make(mode):
            with open(path, "xb"):
                pass
            os.chmod(path, mode)

        users.run_as(BOB, make, 0o666)
        with Guest(MALLORY, follow_deleted, daemon.address, folder) as mallory:
            assert mallory.hear() == bus.SUBSCRIBE | bus.POST
            users.run_as(BOB, os.unlink, path)
            users.run_as(BOB, make, 0o600)
            mallory.tell("replaced")
            assert mallory.hear() == errno.EACCES, "as open(2) says"
            mallory.tell("end")
        witness.check()


# --- namespaces ----------------------------------------------------------------------------------------------------------


def as_root_of_a_namespace(line, address, paths, folder):
    """Root, in a user namespace of one's own, is no more than the user."""
    uid, gid = os.getuid(), os.getgid()
    try:
        users.unshare(users.CLONE_NEWUSER | users.CLONE_NEWNS)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "wb") as file:
                file.write(text.encode())
    except OSError as error:
        line.tell(f"no user namespace can be made: {error.strerror}")
        return
    assert os.geteuid() == 0
    answers = []
    with bus.Connection(address) as connection:
        for path in paths:
            answers.append(try_to_open(connection, path)[1])
        # What is mounted there: the same file by another path, and another file by the same path.
        (folder / "bound").mkdir()
        users.mount(folder / "shown", folder / "bound", None, users.MS_BIND)
        bound = try_to_open(connection, folder / "bound/file")[0]
        shown = try_to_open(connection, folder / "shown/file")[0]
        same = (users.key_of(bound), bound.rights) == (users.key_of(shown), shown.rights)
        overlaid = None
        with contextlib.suppress(OSError):
            for name in ("upper", "work", "merged"):
                (folder / name).mkdir()
            users.mount("overlay", folder / "merged", "overlay", 0,
                        f"lowerdir={paths[0].parent},upperdir={folder}/upper,workdir={folder}/work,userxattr")
            overlaid = []
            for path in paths:
                topic, number, _ = try_to_open(connection, folder / "merged" / path.name)
                overlaid.append((number, topic.rights if topic else 0, users.key_of(topic)[0] if topic else 0))
        line.tell((answers, same, overlaid))
        line.expect("end")


def test_the_root_of_a_user_namespace():
    with users.system() as (daemon, witness):
        paths = [daemon.file("secret", ALICE, 0o600), daemon.file("roots", BOB._replace(uid=0, gid=0), 0o600)]
        folder = daemon.own_folder(MALLORY)

        def prepare():
            os.mkdir(folder / "shown")
            with open(folder / "shown/file", "wb"):
                pass

        users.run_as(MALLORY, prepare)
        with Guest(MALLORY, as_root_of_a_namespace, daemon.address, paths, folder) as mallory:
            answer = mallory.hear()
            if isinstance(answer, str):
                raise bus.Skip(answer)
            answers, same, overlaid = answer
            assert answers == [errno.EACCES] * 2, answers
            assert same, "a bind mount is the same topic, with the same rights"
            device = os.stat(paths[0]).st_dev
            if overlaid is None:
                print("  an overlay cannot be mounted there", flush=True)
            for number, rights, dev in overlaid or ():
                assert number == errno.EACCES or (rights and dev != device), overlaid
            mallory.tell("end")
        witness.check()


def test_a_root_folder_of_its_own():
    """Links lead nowhere else than in the client's own root."""
    with users.system() as (daemon, witness):
        jail = daemon.own_folder(MALLORY)
        outside = daemon.file("outside", ALICE, 0o644)

        def jailed(line):
            with bus.Connection(daemon.address) as connection:
                for name, target in (("link", outside), ("up", "../../../../../../../../" + os.fspath(outside)[1:])):
                    os.symlink(target, jail / name)
                with open(jail / "file", "wb"):
                    pass
                users.unshare(users.CLONE_NEWUSER)
                os.chroot(jail)
                os.chdir("/")
                answers = []
                for path in ("/file", "/link", "/up", "/../../file", "/proc/self/root/file"):
                    topic, number, _ = try_to_open(connection, path)
                    answers.append(users.key_of(topic)[2] if topic else number)
                line.tell(answers)
                line.expect("end")

        with Guest(MALLORY, jailed) as mallory:
            answers = mallory.hear()
            assert answers[0] == answers[3] == b"file", answers
            assert set(answers[1:3] + answers[4:]) <= {errno.ENOENT, errno.EACCES}, answers
            mallory.tell("end")
        witness.check()


# --- paths under /proc ---------------------------------------------------------------------------------------------------


def own_answer(path, flags):
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
        return True
    except OSError:
        return False


def try_magic(line, address, others, own):
    """[(path, what was granted)] where that is more than this process itself may."""
    file = os.open(own, os.O_RDWR)
    granted = []
    paths = [f"/proc/{pid}/{what}" for pid in ("self", "thread-self", *others)
             for what in ("root/etc/passwd", "cwd/file", "exe", "maps", "mem", "environ", "ns/user", "task", *(
                 f"fd/{fd}" for fd in range(24)))]
    paths += [f"/dev/fd/{fd}" for fd in range(8)] + ["/dev/stdin", "/dev/stderr"]
    with bus.Connection(address) as connection:
        for path in paths:
            topic, number, text = try_to_open(connection, path)
            if topic is None:
                assert number != errno.EIO, (path, text)
                continue
            # Whatever it is taken for: only what this process may do with it. A lane's key says which one it is.
            may_read, may_write = own_answer(path, os.O_RDONLY), own_answer(path, os.O_WRONLY)
            key = users.key_of(topic)
            if topic.rights & bus.SUBSCRIBE and not may_read or topic.rights & bus.POST and not may_write:
                granted.append((path, key, topic.rights, may_read, may_write))
            topic.close()
    os.close(file)
    line.tell(granted)


def test_paths_under_proc():
    """`/proc/self` is the client's own, or refused; another's is another's."""
    with users.system() as (daemon, witness):
        own = daemon.file("own", MALLORY, 0o600)
        secret = daemon.file("secret", ALICE, 0o600)

        def hold_open(line):
            fd = os.open(secret, os.O_RDWR)
            os.chdir(os.path.dirname(secret))
            line.tell(fd)
            line.expect("end")

        with Guest(ALICE, hold_open) as alice:
            alice.hear()
            with Guest(MALLORY, try_magic, daemon.address, [alice.pid, 1, *users.tree(daemon.pid)[:4]], own) as mallory:
                granted = mallory.hear()
                assert not granted, f"more than open(2) grants: {granted}"
            alice.tell("end")
        witness.check()


# --- what is printed -----------------------------------------------------------------------------------------------------


def say_nasty_things(line, address, folder):
    bus.libc.prctl(15, NASTY[:15], 0, 0, 0)  # PR_SET_NAME
    texts = []
    at = os.fsencode(folder)
    with bus.Connection(address) as connection:
        for path in (at + b"/missing" + NASTY + b"/file", at + b"/" + NASTY * 5 + b"/file", at + b"/closed/" + NASTY,
                     at + b"/file/" + NASTY):
            topic, number, text = try_to_open(connection, path)
            assert topic is None and number, path
            texts.append(text)
        # A name that exists; in a folder that cannot be watched; of a program that is looked at.
        with open(at + b"/" + NASTY, "wb"):
            pass
        topic = connection.open(at + b"/" + NASTY)
        number = connection.open_socket(at + b"/" + NASTY)
        connection.ask(bus.PUBLISH, struct.pack("<IIQ", number, len(NASTY), 0) + NASTY + NASTY, bus.DONE)
        assert topic
        line.tell(texts)
        line.expect("end")
        connection.send(bus.frame(99, 1) + NASTY)
        connection.receive()


def run_ctl(address, *words):
    return subprocess.run([os.environ["PATHBUSCTL"], *words], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          env={"PATHBUS_ADDRESS": os.fspath(address), "PATH": "/usr/bin:/bin"}, timeout=bus.LIMIT_S)


def is_harmless(data):
    """Lines of text: no character that a terminal obeys, and none that turns the direction."""
    text = data.decode()
    return not any(ord(c) < 32 and c != "\n" or 0x7f <= ord(c) < 0xa0 or c in "\u202e\u202d\u2066\u2067" for c in text)


def test_names_that_are_printed():
    with users.system() as (daemon, witness):
        folder = daemon.own_folder(MALLORY)
        (folder / "closed").mkdir(mode=0o700)
        (folder / "file").touch()
        with Guest(MALLORY, say_nasty_things, daemon.address, folder) as mallory:
            for text in mallory.hear():
                assert is_harmless(text.encode()) and "\n" not in text, repr(text)
            for words in (("who", os.fsencode(folder) + b"/" + NASTY), ("who", "--json", os.fsencode(folder) + b"/" + NASTY),
                          ("post", os.fsencode(folder) + b"/missing" + NASTY + b"/x"),
                          ("state", "get", os.fsencode(folder) + b"/" + NASTY)):
                done = run_ctl(daemon.address, *words)
                shown = done.stdout + done.stderr
                assert shown and is_harmless(shown), shown
                assert not [line for line in shown.splitlines() if line.startswith(b"pathbusd:")], shown
            mallory.tell("end")
        witness.check()
        assert b"forged" not in b"\n".join(line.strip() for line in daemon.daemon.log.read_bytes().split(b"\n")
                                           if line.startswith(b"pathbusd: error"))


if __name__ == "__main__":
    bus.main()
