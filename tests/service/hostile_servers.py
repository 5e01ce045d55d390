#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Servers that are not the daemon, where programs look for it; and set-uid programs that are told where to look. The
library talks to root's daemon and to its own user's, and to nobody else."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess

import bus
import users
from users import ALICE, BOB, MALLORY, SERVICE, Guest

TRUSTED = "bus=0 auto=bus\n"
REFUSED = f"bus={-errno.EPERM} auto=peer\n"
NOBODY_THERE = f"bus={-errno.ENOTCONN} auto=peer\n"


class Place:
    """Folders that others can reach, with the program, and a file to open."""

    def __init__(self):
        if os.geteuid() != 0:
            raise bus.Skip("needs root: the others are other users")
        self.folder = bus.pathlib.Path(bus.new_folder())
        self.folder.chmod(0o755)
        self.visitor = self.folder / "visitor"
        shutil.copy(os.environ["PATHBUS_VISITOR"], self.visitor)
        self.visitor.chmod(0o755)

    def file_of(self, person):
        folder = self.folder / f"of-{person.name}"
        if not folder.exists():
            folder.mkdir()
            (folder / "file").touch()
            for path in (folder, folder / "file"):
                os.chown(path, person.uid, person.gid)
        return folder / "file"

    def visit(self, person, program=None, file=None, **environment):
        """What the program prints."""
        file = file or self.file_of(person)

        def run():
            done = subprocess.run([program or self.visitor, file], stdin=subprocess.DEVNULL, capture_output=True,
                                  check=False, timeout=bus.LIMIT_S, env={"PATH": "/usr/bin:/bin", **environment})
            return done.stdout.decode() + done.stderr.decode()

        return users.run_as(person, run)


def listen_at(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.fspath(path))
    os.chmod(path, 0o777)
    listener.listen(16)
    return listener


def squat(line, path, talks):
    """Counts who comes; answers as a daemon would, or says nothing."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with listen_at(path) as listener:
        listener.settimeout(0.02)
        line.tell("listening")
        n, said = 0, b""
        held = []
        while not line.is_told():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            n += 1
            held.append(connection)
            connection.settimeout(1)
            with contextlib.suppress(OSError):
                if talks:
                    connection.send(bus.frame(bus.WELCOME, 1, bytes(32)))
                said += connection.recv(4096)
        line.expect("who came?")
        line.tell((n, said))


def squatted(guest):
    guest.tell("who came?")
    answer = guest.hear()
    guest.end()
    return answer


def test_a_squatter_at_an_explicit_address():
    place = Place()
    (place.folder / "open").mkdir()
    (place.folder / "open").chmod(0o777)
    address = place.folder / "open/socket"
    for talks in (False, True):
        with Guest(MALLORY, squat, address, talks) as mallory:
            mallory.expect("listening")
            assert place.visit(ALICE, PATHBUS_ADDRESS=str(address)) == REFUSED
            n, said = squatted(mallory)
            assert n >= 1 and said == b"", "it was found, and told nothing"


def test_the_socket_of_a_dead_daemon_is_taken():
    """In a folder where anybody can: only the service user's own is safe."""
    place = Place()
    daemon = users.System()
    assert place.visit(ALICE, PATHBUS_ADDRESS=str(daemon.address)) == TRUSTED
    daemon.daemon.kill()
    assert not users.run_as(MALLORY, lambda: os.access(daemon.address.parent, os.W_OK)), "nobody else can take it"
    daemon.address.parent.chmod(0o777)
    with Guest(MALLORY, squat, daemon.address, True) as mallory:
        mallory.expect("listening")
        assert place.visit(ALICE, PATHBUS_ADDRESS=str(daemon.address)) == REFUSED
        _, said = squatted(mallory)
        assert said == b""
    # Nor is the service user anybody to trust, once root has not put it there.
    with Guest(SERVICE, squat, daemon.address, True) as service:
        service.expect("listening")
        assert place.visit(ALICE, PATHBUS_ADDRESS=str(daemon.address)) == REFUSED
        _, said = squatted(service)
        assert said == b""


def fill_queue(line, address):
    """As many connections as wait to be accepted."""
    waiting = []
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(os.fspath(address))
        except BlockingIOError:
            break
        waiting.append(connection)
    line.tell(len(waiting))
    line.expect("end")


def test_a_queue_that_others_have_filled():
    """Who comes waits in line for the daemon, and does not meet others elsewhere."""
    place = Place()
    with users.system(witness=False) as (daemon, _):
        file = place.file_of(ALICE)

        def visit(line):
            environment = {"PATH": "/usr/bin:/bin", "PATHBUS_ADDRESS": str(daemon.address)}
            with subprocess.Popen([place.visitor, file], stdout=subprocess.PIPE, env=environment) as visitor:
                line.tell(visitor.pid)
                line.tell(visitor.stdout.read().decode())

        if bus.waits_in(daemon.pid) == "0":
            raise bus.Skip("this kernel does not tell what a process waits for")
        os.kill(daemon.pid, signal.SIGSTOP)
        with Guest(MALLORY, fill_queue, daemon.address) as mallory:
            assert mallory.hear() > 0
            with Guest(ALICE, visit) as alice:
                pid = alice.hear()
                bus.wait_for(lambda: alice.is_told() or "unix_wait" in bus.waits_in(pid), "the program waits in line")
                os.kill(daemon.pid, signal.SIGCONT)
                assert alice.hear() == TRUSTED
            mallory.tell("end")


def apart(function):
    """In a process of its own, whose /run and /dev/shm are empty."""
    if os.geteuid() != 0:
        raise bus.Skip("needs root: the others are other users")
    place = Place()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            why = users.try_to_mount_apart()
            if why:
                print(f"  skipped: {why}", flush=True)
                os._exit(77)
            for folder in ("/run", "/dev/shm"):
                users.mount("tmpfs", folder, "tmpfs", 0, "mode=1777" if folder == "/dev/shm" else "mode=755")
            function(place)
            status = 0
        except BaseException:
            bus.traceback.print_exc()
        finally:
            for guest in list(users.guests):
                guest.kill()
            bus.sys.stdout.flush()
            bus.sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) == 77:
        raise bus.Skip("no mount namespace can be made")
    assert status == 0


def squat_in_the_systems_place(place):
    os.mkdir("/run/pathbus")
    # As root has it: nobody else can put anything there.
    assert not users.run_as(MALLORY, lambda: os.access("/run/pathbus", os.W_OK))
    assert place.visit(ALICE) == NOBODY_THERE
    os.chmod("/run/pathbus", 0o777)
    with Guest(MALLORY, squat, "/run/pathbus/socket", True) as mallory:
        mallory.expect("listening")
        assert place.visit(ALICE).endswith(" auto=peer\n")
        _, said = squatted(mallory)
        assert said == b""


def test_a_squatter_in_the_systems_place():
    apart(squat_in_the_systems_place)


def squat_in_the_users_place(place):
    folder = f"/dev/shm/pathbus-{ALICE.uid}"

    def take():
        os.mkdir(folder, 0o777)
        os.chmod(folder, 0o777)

    users.run_as(MALLORY, take)
    with Guest(MALLORY, squat, f"{folder}/socket", True) as mallory:
        mallory.expect("listening")
        assert place.visit(ALICE).endswith(" auto=peer\n"), "the file's folder is hers"
        _, said = squatted(mallory)
        assert said == b""
    assert os.listdir(folder) in ([], ["socket"]), "she has put nothing there"


def test_a_squatter_in_the_users_place():
    apart(squat_in_the_users_place)


# --- set-uid programs ----------------------------------------------------------------------------------------------------


def test_set_uid_programs_take_nothing_from_the_environment():
    place = Place()
    if os.statvfs(place.folder).f_flag & os.ST_NOSUID:
        raise bus.Skip("set-uid programs do not work in this file system")
    program = place.folder / "set-uid"
    shutil.copy(place.visitor, program)
    os.chown(program, BOB.uid, BOB.gid)
    program.chmod(0o4755)
    bobs = place.file_of(BOB)
    (place.folder / "open").mkdir()
    (place.folder / "open").chmod(0o777)
    address = place.folder / "open/socket"
    hostile = {"PATHBUS_ADDRESS": str(address), "PATHBUS_CONTROL": str(address), "TMPDIR": str(place.folder / "open"),
               "XDG_RUNTIME_DIR": str(place.folder / "open"), "HOME": str(place.folder / "open")}
    for person in (BOB, MALLORY):  # Bob's own server would even be trusted
        with Guest(person, squat, address, False) as squatter:
            squatter.expect("listening")
            said = place.visit(MALLORY, program, bobs, **hostile)
            assert said.startswith("bus=") and "auto=" in said, said
            n, _ = squatted(squatter)
            assert n == 0, "it has looked where its environment told it to"
        with Guest(MALLORY, squat, address, False) as squatter:
            squatter.expect("listening")
            assert place.visit(ALICE, **hostile) == REFUSED, "one that is not set-uid does look there"
            n, _ = squatted(squatter)
            assert n > 0
        os.unlink(address)


if __name__ == "__main__":
    bus.main()
