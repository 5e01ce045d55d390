#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the configuration leaves of the rights that files give."""

import errno
import os
import pathlib
import shutil

import bus
from configured import Config


def rules_of(*lines):
    return Config("[rights]\n" + "".join(line + "\n" for line in lines))


def expect_refused(connection, path, flags, text):
    try:
        connection.open(path, flags)
    except bus.Failed as failed:
        assert failed.number == errno.EACCES and text in failed.text, failed
    else:
        raise AssertionError(f"{path} was opened")


def test_who_is_named():
    me, mine = os.geteuid(), os.getegid()
    rules = rules_of(f"post = HERE/user/** : {me + 1}, {me}", f"post = HERE/group/** : @{mine}",
                  f"post = HERE/other/** : {me + 1},", f"  @{mine + 1}", "post = HERE/nobody/** :",
                  f"subscribe = HERE/secret/* : {me + 1}")
    with rules.daemon() as daemon, daemon.connect() as connection:
        for folder, rights in (("user", 3), ("group", 3), ("other", 1), ("nobody", 1), ("else", 3)):
            assert connection.open(rules.file(f"{folder}/file")).rights == rights, folder
            assert connection.open(rules.folder / folder / "missing").rights == rights, folder
        expect_refused(connection, rules.folder / "nobody/file", bus.POST, "names those who may post")
        expect_refused(connection, rules.file("secret/file"), 0, "names those who may subscribe")
        assert connection.open(rules.folder / "secret/file", bus.POST).rights == bus.POST
        assert connection.open(rules.folder / "secret/../else/file").rights == 3


def test_links_lead_to_where_the_rule_is():
    rules = rules_of("post = HERE/shared/** :")
    with rules.daemon() as daemon, daemon.connect() as connection:
        there = rules.file("shared/file")
        (rules.folder / "to-file").symlink_to(there)
        (rules.folder / "to-folder").symlink_to("shared")
        (rules.folder / "shared/out").symlink_to("../free")
        rules.file("free")
        for path, rights in (("shared/file", 1), ("to-file", 1), ("to-folder/file", 1), ("to-folder/missing", 1),
                             ("shared/../shared/file", 1), ("shared/out", 3)):
            assert connection.open(rules.folder / path).rights == rights, path


def test_another_name_of_a_file():
    """Whoever may write a file may give it a name outside the rule, and gains nothing by that."""
    rules = rules_of("post = HERE/shared/** :")
    for first, second in (("shared/file", "free"), ("free", "shared/file")):
        with rules.daemon() as daemon, daemon.connect() as connection:
            there = rules.file("shared/file")
            for other in ("free", "shared/more"):
                (rules.folder / other).unlink(missing_ok=True)
                os.link(there, rules.folder / other)
            opened = {path: connection.open(rules.folder / path) for path in (first, second, "shared/more")}
            assert {path: topic.rights for path, topic in opened.items()} == {"shared/file": 1, "free": 3, "shared/more": 1}
            assert opened["free"].lane != opened["shared/file"].lane == opened["shared/more"].lane


# --- the file becomes another ---------------------------------------------------------------------------------------


NOBODY = 65534


def as_somebody(function):
    """With a daemon of a user whom rights concern, in a folder of that user's: the mode's bits for the owner decide."""
    folder = pathlib.Path(os.path.realpath(bus.new_folder()))
    program = folder / "pathbusd"
    shutil.copy(bus.program(), program)

    def inside():
        with bus.daemon(folder=folder / "own", program_of=program) as daemon:
            function(daemon)

    (folder / "own").mkdir()
    if os.geteuid() != 0:
        inside()
        return
    for path in (folder, program):
        path.chmod(0o755)
    os.chown(folder / "own", NOBODY, NOBODY)
    bus.as_user(NOBODY, inside)


def make(path, mode, by_rename=True):
    """Another file: by rename, as programs do that want others to see whole ones only; or where the old one was."""
    made = path.with_name("new") if by_rename else path
    if not by_rename:
        path.unlink(missing_ok=True)
    os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    if by_rename:
        made.rename(path)


def is_closed(topic):
    return topic.half(bus.CLOSED) == 1


def has_looked(daemon, connection):
    """What has happened in the folder before is dealt with: the answer to a later opening comes behind it."""
    connection.open(daemon.folder / "else").close()


def test_another_file():
    def inside(daemon):
        path = daemon.folder / "file"
        for before, after, left in ((0o600, 0o400, bus.SUBSCRIBE), (0o600, 0o200, bus.POST), (0o400, 0o600, 3),
                                    (0o200, 0o600, 3), (0o600, 0o000, 0)):
            for by_rename in (True, False):
                with daemon.connect() as connection:
                    make(path, before)
                    want = bus.POST if before == 0o200 else 0
                    topic = connection.open(path, want)
                    bell = topic.listener()
                    topic.arm()
                    make(path, after, by_rename)
                    bus.wait_for(lambda: is_closed(topic), f"{before:o} has become {after:o}")
                    assert bell.poll(bus.LIMIT_S), "everybody is woken"
                    bell.close()
                    if left == 0:
                        expect_refused(connection, path, 0, "may not be read")
                        continue
                    again = connection.open(path, bus.POST if left == bus.POST else 0)
                    assert again.rights == left and again.lane != topic.lane and not is_closed(again)
                    topic.close()
                    assert connection.open(path, bus.POST if left == bus.POST else 0).lane == again.lane

    as_somebody(inside)


def test_another_file_of_equal_rights():
    """Nothing is noticed of it, however often it happens."""
    def inside(daemon):
        path = daemon.folder / "file"
        with daemon.connect() as connection, daemon.connect() as other:
            make(path, 0o600)
            topics = [connection.open(path), connection.open(path, bus.POST), other.open(path)]
            before = topics[0].generation
            for n in range(50):
                make(path, 0o600 + n % 8, n % 2 == 0)
            has_looked(daemon, connection)
            assert topics[0].generation == before and not is_closed(topics[0])
            assert connection.open(path).lane == topics[0].lane
            # And then it matters.
            make(path, 0o400)
            bus.wait_for(lambda: is_closed(topics[0]), "the rights have changed")

    as_somebody(inside)


def test_a_file_appears():
    """Its folder has decided, now the file does."""
    def inside(daemon):
        path = daemon.folder / "file"
        with daemon.connect() as connection:
            topic = connection.open(path)
            assert topic.rights == 3
            make(path, 0o400, by_rename=False)
            bus.wait_for(lambda: is_closed(topic), "it may not be written")
            assert connection.open(path).rights == bus.SUBSCRIBE

    as_somebody(inside)


def test_changed_while_it_was_opened():
    """Between the worker's look and the member there is no moment in which the file may be exchanged unseen."""
    def inside(daemon):
        path = daemon.folder / "file"
        with daemon.connect() as connection:
            for n in range(200):
                make(path, 0o600)
                connection.send(bus.open_frame(connection.request(), path))
                if n % 2:
                    os.sched_yield()
                make(path, 0o400)
                topic = bus.Topic(connection, connection.expect(bus.OPENED, connection.last_request))
                if topic.rights != bus.SUBSCRIBE:
                    bus.wait_for(lambda: is_closed(topic), "its right to post is taken")
                topic.close()

    as_somebody(inside)


def test_who_leaves_while_rights_are_decided():
    def inside(daemon):
        path = daemon.folder / "file"
        for _ in range(30):
            make(path, 0o600)
            with daemon.connect() as stays:
                topic = stays.open(path)
                leaving = [daemon.connect() for _ in range(5)]
                for connection in leaving:
                    connection.open(path)
                make(path, 0o400)
                for connection in leaving:
                    connection.close()
                bus.wait_for(lambda: is_closed(topic), "those who stay are dealt with")

    as_somebody(inside)


def test_over_the_socket():
    """Whoever has no shared memory has the connection closed, and comes back."""
    def inside(daemon):
        path = daemon.folder / "file"
        make(path, 0o600)
        connection = daemon.connect()
        connection.open_socket(path)
        make(path, 0o400)
        bus.wait_for(lambda: connection.receive() is None, "the connection ends")
        connection.close()
        with daemon.connect() as again:
            expect_refused(again, path, bus.SOCKET | bus.POST, "may not be written")

    as_somebody(inside)


if __name__ == "__main__":
    bus.main()
