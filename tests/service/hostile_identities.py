#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who somebody is, and what a right was given for, do not stay the same: processes that become more than they were when they
connected, files that appear under others' openings, and questions that are never answered."""

import os
import pathlib

import bus
import users
from users import ALICE, MALLORY, SERVICE, Guest
from hostile_names import try_to_open


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


if __name__ == "__main__":
    bus.main()
