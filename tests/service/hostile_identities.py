#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who somebody is, and what a right was given for, do not stay the same: processes that become more than they were when they
connected, files that appear under others' openings, and questions that are never answered."""

import contextlib
import errno
import os
import pathlib
import struct
import subprocess
import time

import bus
import hostile_descriptors
import users
from users import ALICE, BOB, MALLORY, SERVICE, Guest
from hostile_descriptors import in_a_process_of_its_own, mute_mount
from hostile_names import try_to_open
from hostile_servers import Place, squat, squatted


# --- processes that become more than they were ---------------------------------------------------------------------------


def be_set_uid(line, address, hidden):
    """Connects as somebody, and goes on as a program that is root's and goes where that somebody may not."""
    os.setresgid(MALLORY.gid, MALLORY.gid, 0)
    os.setresuid(MALLORY.uid, MALLORY.uid, 0)
    with bus.Connection(address) as connection:
        os.setresuid(-1, 0, -1)
        os.chroot(hidden / "root")
        os.chdir("/")
        os.setresuid(-1, MALLORY.uid, -1)
        answers = [try_to_open(connection, "/file", bus.SUBSCRIBE)[0] is not None]
        os.setresuid(0, 0, 0)
        answers.append(try_to_open(connection, "/file", bus.SUBSCRIBE)[0] is not None)
        line.tell(answers)


def test_a_set_uid_program_after_connecting():
    """What a process may see as another user, whoever connected as the first does not."""
    root = users.Person("root", 0, 0, ())
    with users.system() as (daemon, witness):
        hidden = daemon.own_folder(ALICE, 0o700)
        (hidden / "root").mkdir(0o755)
        (hidden / "root/file").touch(0o644)
        assert not users.may(MALLORY, hidden / "root/file", os.O_RDONLY)
        with Guest(root, be_set_uid, daemon.address, hidden) as mallory:
            assert mallory.hear() == [False, False], "somebody looks where another may go"
        witness.check()


# --- who the daemon is while it starts ---------------------------------------------------------------------------------------


def test_what_lies_in_the_service_users_folder():
    """Root makes nothing its own there, and nothing the service user's, that this user could not have itself."""
    if os.geteuid() != 0:
        raise bus.Skip("needs root: it is root's start that is looked at")
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o755)
    (folder / "run").mkdir()
    (folder / "run").chmod(0o755)
    os.chown(folder / "run", SERVICE.uid, SERVICE.gid)
    secret = folder / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    # As that user may do itself where fs.protected_hardlinks is off.
    os.link(secret, folder / "run/socket.lock")
    daemon = bus.Daemon("--system", "--user", str(SERVICE.uid), folder=folder, address=folder / "run/socket", wait=False)
    assert daemon.wait() != 0
    daemon.expect_said("cannot make the lock file")
    assert (secret.read_text(), secret.stat().st_uid) == ("secret", 0)
    (folder / "run/socket.lock").unlink()
    daemon = bus.Daemon("--system", "--user", str(SERVICE.uid), folder=folder, address=folder / "run/socket")
    for name in ("socket", "socket.lock"):
        status = (folder / "run" / name).stat()
        assert (status.st_uid, status.st_gid) == (SERVICE.uid, SERVICE.gid), name
    daemon.stop()


def test_who_works_for_others_has_no_terminal():
    """What runs as somebody has not the session of whoever started the daemon, nor the terminal of that."""
    def look(line):
        with bus.Connection(daemon.address) as connection:
            connection.open(daemon.folder / "file", bus.SUBSCRIBE)
            line.tell("opened")
            line.expect("end")

    with users.system(witness=False) as (daemon, _), Guest(ALICE, look) as alice:
        alice.expect("opened")
        workers = [pid for pid in users.tree(daemon.pid) if
                   f"\nUid:\t{ALICE.uid}\t" in pathlib.Path(f"/proc/{pid}/status").read_text()]
        assert workers
        for pid in workers:
            assert os.getsid(pid) == os.getpgid(pid) == pid, "it is in the session of the daemon"
        alice.tell("end")


# --- rights that are decided anew ----------------------------------------------------------------------------------------


def serve_slowly(device):
    """Nothing is there, and it takes a while to say so."""
    while True:
        data = os.read(device, 1 << 20)
        _, operation, unique = struct.unpack_from("<IIQ", data)
        if operation == hostile_descriptors.FUSE_INIT:
            answer = struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 12, 10, 65536, 1, 16, 0, 0, *[0] * 7)
            os.write(device, hostile_descriptors.FUSE_OUT.pack(hostile_descriptors.FUSE_OUT.size + len(answer), 0, unique) + answer)
        else:
            time.sleep(0.05)
            with contextlib.suppress(OSError):
                os.write(device, hostile_descriptors.FUSE_OUT.pack(hostile_descriptors.FUSE_OUT.size, -errno.ENOENT, unique))


def hold_up(line, address, target, folder, mute, n):
    """Has a file open that is not there yet, and many more, whose folder becomes one that does not answer."""
    here, link = folder / "here", folder / "link"
    here.mkdir()
    link.symlink_to(here)
    with bus.Connection(address) as connection:
        held = connection.open(target)
        for number in range(n):
            connection.open(link / f"{number}").page.close()
            for fd in connection.own_fds[4:]:
                os.close(fd)
            del connection.own_fds[4:]
        (folder / "new").symlink_to(mute)
        (folder / "new").rename(link)
        for number in range(n):
            (here / f"{number}").touch()
        line.tell(held.rights)
        line.expect("made")
        started = time.monotonic()
        bus.wait_for(lambda: held.half(bus.CLOSED) != 0, "the right is gone")
        line.tell(time.monotonic() - started)
        line.expect("end")


def test_questions_that_are_not_answered():
    """Who keeps the daemon waiting for answers about its own files keeps no right to another's by that."""
    def run():
        hostile_descriptors.serve_mute = serve_slowly
        with users.system() as (daemon, witness):
            target, mute = daemon.public / "target", daemon.data / "mute"
            mute.mkdir()
            with mute_mount(mute), Guest(MALLORY, hold_up, daemon.address, target, daemon.own_folder(MALLORY), mute, 600) as mallory:
                assert mallory.hear() == 3
                users.run_as(ALICE, lambda: os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600)))
                assert not users.may(MALLORY, target, os.O_RDONLY)
                mallory.tell("made")
                took = mallory.hear()
                print(f"  after {took:.1f} s", flush=True)
                assert took < 10, "the right was kept for long"
                mallory.tell("end")
            witness.check()

    in_a_process_of_its_own(run)


# --- groups ----------------------------------------------------------------------------------------------------------------


def test_many_groups():
    """What is kept of who somebody is, is charged, too. Who has subordinate groups may have as many as the kernel takes."""
    person = MALLORY._replace(groups=(MALLORY.gid,) * 65536)

    def connect(line):
        with contextlib.ExitStack() as stack, contextlib.suppress(bus.Failed, AssertionError):
            for number in range(40):
                connection = stack.enter_context(bus.Connection(daemon.address, greet=False))
                connection.send(bus.hello())
                answer = connection.receive()
                if answer.kind == bus.ERROR:
                    line.tell((number, struct.unpack_from("<I", answer.body)[0], answer.body[4:].decode()))
                    line.expect("end")
                    return
            line.tell((40, 0, ""))

    with users.system("--max-user-queue-bytes", str((4 << 20) + (200 << 10))) as (daemon, witness):
        with Guest(person, connect) as mallory:
            n, number, text = mallory.hear()
            assert (n, number) == (16, errno.EDQUOT) and "max-user-queue-bytes" in text, (n, number, text)
            witness.check()
            mallory.tell("end")


# --- names -------------------------------------------------------------------------------------------------------------------


def test_a_name_that_means_something_in_another_root():
    """Who is in a root folder of its own says nothing about where others find a file."""
    with users.system() as (daemon, witness):
        jail = daemon.own_folder(MALLORY)
        jail.chmod(0o777)
        first, second = jail / "first", daemon.data / "second"
        first.touch()
        os.chown(first, ALICE.uid, ALICE.gid)
        first.chmod(0o666)
        os.link(first, second)

        def leave(connection, number):
            """In good order: who just goes is told as RESYNC, which may stand for posts of that time as well."""
            connection.send(bus.frame(bus.CLOSE, 0, struct.pack("<I", number)))
            connection.send(bus.frame(bus.PING, connection.request()))
            while connection.receive().kind != bus.PONG:
                pass

        def hold(line):
            with bus.Connection(daemon.address) as connection:
                number = connection.open_socket(first, bus.SUBSCRIBE)
                line.tell("ready")
                while line.hear() != "end":
                    answer = connection.receive()
                    line.tell((answer.kind, struct.unpack_from("<I", answer.body)[0] == number))

        def jailed(line):
            with bus.Connection(daemon.address) as connection:
                users.unshare(users.CLONE_NEWUSER)
                os.chroot(jail)
                os.chdir("/")
                number = connection.open_socket("/first", bus.SUBSCRIBE)
                line.tell("ready")
                line.expect("end")
                leave(connection, number)

        def post():
            with bus.Connection(daemon.address) as connection:
                number = connection.open_socket(second, bus.POST)
                connection.ask(bus.FRAME_POST, struct.pack("<I", number), bus.DONE)
                leave(connection, number)

        with Guest(ALICE, hold) as alice:
            alice.expect("ready")
            users.run_as(BOB, post)
            alice.tell("what came?")
            alice.expect((bus.EVENT_POST, True))
            with Guest(MALLORY, jailed) as mallory:
                mallory.expect("ready")
                mallory.tell("end")
            users.run_as(BOB, post)
            alice.tell("what came?")
            alice.expect((bus.EVENT_POST, True))
            alice.tell("end")


# --- who has no number here ------------------------------------------------------------------------------------------------


def test_a_server_that_looks_like_oneself():
    """In a user namespace without one's own number everybody has the same one, and is nobody's server for that."""
    place = Place()
    (place.folder / "open").mkdir()
    (place.folder / "open").chmod(0o777)
    address = place.folder / "open/socket"

    def visit(line):
        users.unshare(users.CLONE_NEWUSER)
        done = subprocess.run([place.visitor, file], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=bus.LIMIT_S, env={"PATHBUS_ADDRESS": str(address)})
        line.tell((os.geteuid(), done.stdout.decode() + done.stderr.decode()))

    file = place.file_of(ALICE)
    with Guest(MALLORY, squat, address, True) as mallory:
        mallory.expect("listening")
        with Guest(ALICE, visit) as alice:
            uid, answer = alice.hear()
            assert uid == int(pathlib.Path("/proc/sys/kernel/overflowuid").read_text())
        _, said = squatted(mallory)
        assert answer.startswith(f"bus={-errno.EPERM} ") and said == b"", (answer, said)


if __name__ == "__main__":
    bus.main()
