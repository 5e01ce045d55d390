#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What pathbusd tells its link agent, and what it makes of the answers; fake_link.py stands in for the agent."""

import contextlib
import os
import pathlib
import shutil
import signal

import bus


class Agents:
    """A folder with pathbusd and the stand-in beside each other, and the stand-in's log."""

    def __init__(self):
        self.folder = pathlib.Path(bus.new_folder())
        self.program = self.folder / "pathbusd"
        shutil.copy(bus.program(), self.program)
        shutil.copy(pathlib.Path(__file__).with_name("fake_link.py"), self.folder / "pathbus-link")
        os.mkfifo(self.folder / "order")
        self.answer("linked")

    def answer(self, *words):
        new = self.folder / "answer.new"
        new.write_text(" ".join(map(str, words)))
        new.rename(self.folder / "answer")

    def order(self, *words):
        with open(self.folder / "order", "w", encoding="utf-8") as order:
            print(*words, file=order)

    def log(self):
        """(what, link, place, name, folder, number of descriptors) of each message; starts are left out."""
        try:
            lines = (self.folder / "log").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [tuple(line.split()) for line in lines if not line.startswith("start")]

    def starts(self):
        try:
            lines = (self.folder / "log").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line.split(maxsplit=2) for line in lines if line.startswith("start")]

    def pid(self):
        return int(self.starts()[-1][1])

    def n(self, what):
        return sum(entry[0] == what for entry in self.log())

    def wait(self, what, n):
        bus.wait_for(lambda: self.n(what) >= n, f"the agent was told '{what}' {n} times; it was told {self.log()}")
        return [entry for entry in self.log() if entry[0] == what][n - 1]


def sidecar(folder, name):
    path = pathlib.Path(folder) / f".{name}.pathbus"
    path.mkdir()
    return path


@contextlib.contextmanager
def linking():
    """A daemon that starts the stand-in; the agent is another process and may outlive it."""
    agents = Agents()
    # The link agent adds a descriptor while it lives.
    daemon = bus.Daemon(program_of=agents.program, env={**os.environ, "FAKE_LINK": os.fspath(agents.folder)})
    yield agents, daemon
    with daemon.connect() as connection:
        bus.wait_for(lambda: connection.ping()[:2] == (1, 0), "all connections and topics are gone")
    pids = [int(words[1]) for words in agents.starts()]
    daemon.stop()
    bus.wait_for(lambda: not any(b"pathbus-link" in b" ".join(bus.command(pid)) for pid in pids), "the agent has ended")


def test_no_sidecar_no_agent():
    with linking() as (agents, daemon), daemon.connect() as connection:
        connection.open(daemon.folder / "file")
        (daemon.folder / ".other.pathbus").mkdir()
        (daemon.folder / "other").touch()
        connection.ping()
        assert not agents.starts()


def test_an_existing_sidecar_is_linked_before_the_answer():
    with linking() as (agents, daemon), daemon.connect() as connection:
        sidecar(daemon.folder, "file")
        topic = connection.open(daemon.folder / "file")
        what, link, place, name, folder, n_fds = agents.wait("join", 1)
        assert (place, name, folder, n_fds) == ("0", "file", os.fspath(daemon.folder), "4")
        assert "[0, 1, 2, 3, 4]" in agents.starts()[0][2], "the agent has other descriptors"
        # The second opening has nothing to wait for, and the last one's end is told.
        second = connection.open(daemon.folder / "file")
        assert agents.n("join") == 1
        topic.close()
        connection.ping()
        assert agents.n("leave") == 0
        second.close()
        assert agents.wait("leave", 1)[1] == link
        connection.open(daemon.folder / "file")
        assert agents.wait("join", 2)[1] != link, "a number was used again at once"


def test_a_sidecar_that_appears():
    with linking() as (agents, daemon), daemon.connect() as connection:
        topic = connection.open(daemon.folder / "file")
        other = connection.open(daemon.folder / "other")
        path = sidecar(daemon.folder, "file")
        assert agents.wait("join", 1)[3] == "file"
        # Again, while it is linked.
        path.rmdir()
        sidecar(daemon.folder, "file")
        agents.wait("again", 1)
        # As sidecars are made: under another name, then moved into place.
        (daemon.folder / "temporary").mkdir()
        (daemon.folder / "temporary").rename(daemon.folder / ".other.pathbus")
        assert agents.wait("join", 2)[3] == "other"
        topic.close()
        other.close()
        agents.wait("leave", 2)


def test_one_that_is_gone_is_looked_for_again():
    with linking() as (agents, daemon), daemon.connect() as connection:
        path = sidecar(daemon.folder, "file")
        connection.open(daemon.folder / "file")
        link = agents.wait("join", 1)[1]
        # The agent says it ended; it is still there, so it is joined again.
        agents.order("gone", link, 0)
        link = agents.wait("join", 2)[1]
        # Now it is not there: nothing is joined until it comes.
        path.rmdir()
        agents.order("gone", link, 0)
        connection.ping()
        sidecar(daemon.folder, "file")
        agents.wait("join", 3)
        assert agents.n("join") == 3


def test_one_that_vanished_holds_nothing_up():
    with linking() as (agents, daemon), daemon.connect() as connection:
        agents.answer("gone")
        path = sidecar(daemon.folder, "file")
        # Each opening asks anew, once the answer to the one before has come.
        bus.wait_for(lambda: connection.open(daemon.folder / "file") and agents.n("join") > 1, "it is asked again")
        path.rmdir()
        bus.wait_for(lambda: gone_is_known(agents, connection, daemon), "all that was asked is answered")
        n_joins = agents.n("join")
        agents.answer("linked")
        sidecar(daemon.folder, "file")
        agents.wait("join", n_joins + 1)


def gone_is_known(agents, connection, daemon):
    """No opening waits for a link any more, as far as can be told from outside."""
    n_joins = agents.n("join")
    connection.open(daemon.folder / "file")
    return agents.n("join") == n_joins


def test_one_that_cannot_be_linked():
    with linking() as (agents, daemon), daemon.connect() as connection:
        agents.answer("error", 1)
        sidecar(daemon.folder, "file")
        connection.open(daemon.folder / "file")
        daemon.expect_said("Operation not permitted")


def test_a_passing_failure_is_tried_again():
    with linking() as (agents, daemon), daemon.connect() as connection:
        agents.answer("error", 24)
        connection.open(daemon.folder / "file")
        sidecar(daemon.folder, "file")
        agents.wait("join", 1)
        agents.answer("linked")
        agents.wait("join", 2)


def refused(connection, path):
    """An opening that would not be linked is not answered with a lane: its client meets the others in the sidecar."""
    try:
        connection.open(path)
    except bus.Failed as failure:
        assert "ENOTCONN" in str(failure), failure
    else:
        raise AssertionError("opened without its link")


def test_an_agent_that_does_not_answer():
    with linking() as (agents, daemon), daemon.connect() as connection, daemon.connect() as other:
        agents.answer("silent")
        sidecar(daemon.folder, "file")
        connection.send(bus.open_frame(5, daemon.folder / "file"))
        agents.wait("join", 1)
        # Others are served meanwhile.
        other.open(daemon.folder / "other")
        # Never answered without the link; the agent is replaced, and the next one links.
        daemon.expect_said("not linked")
        agents.answer("linked")
        connection.expect(bus.OPENED, 5)
        assert len(agents.starts()) >= 2


def test_a_client_that_goes_while_its_link_is_made():
    with linking() as (agents, daemon), daemon.connect() as other:
        agents.answer("silent")
        sidecar(daemon.folder, "file")
        for _ in range(3):
            with daemon.connect() as connection:
                connection.send(bus.open_frame(5, daemon.folder / "file"))
                agents.wait("join", 1)
        # The last of them took its topic along; the daemon goes on.
        other.open(daemon.folder / "other")


def test_an_agent_that_dies_is_replaced():
    with linking() as (agents, daemon), daemon.connect() as connection:
        for name in ("one", "two"):
            sidecar(daemon.folder, name)
            connection.open(daemon.folder / name)
        topic = connection.open(daemon.folder / "unlinked")
        agents.wait("join", 2)
        os.kill(agents.pid(), signal.SIGKILL)
        agents.wait("join", 4)
        assert len(agents.starts()) == 2
        names = sorted(entry[3] for entry in agents.log() if entry[0] == "join")
        assert names == ["one", "one", "two", "two"]
        assert topic.resync == 0


def test_an_agent_that_keeps_dying_is_given_up():
    with linking() as (agents, daemon), daemon.connect() as connection:
        agents.answer("die")
        sidecar(daemon.folder, "file")
        refused(connection, daemon.folder / "file")
        daemon.expect_said("given up")
        assert len(agents.starts()) == 5
        # Everything else goes on, and nothing waits.
        refused(connection, daemon.folder / "file")
        connection.open(daemon.folder / "other")
        assert len(agents.starts()) == 5


def test_no_agent_at_all():
    with linking() as (agents, daemon), daemon.connect() as connection:
        (agents.folder / "pathbus-link").unlink()
        sidecar(daemon.folder, "file")
        refused(connection, daemon.folder / "file")
        daemon.expect_said("cannot be started")
        refused(connection, daemon.folder / "file")
        connection.open(daemon.folder / "other")


def test_the_agent_outlives_the_daemon():
    agents = Agents()
    for end in ("stop", "kill"):
        daemon = bus.Daemon(program_of=agents.program, env={**os.environ, "FAKE_LINK": os.fspath(agents.folder)})
        with daemon.connect() as connection:
            sidecar(daemon.folder, "file")
            connection.open(daemon.folder / "file")
            getattr(daemon, end)()
            assert connection.receive() is None
        # It has seen the end of its socket, and has not been killed.
        agents.wait("end", 1 if end == "stop" else 2)


def test_a_replaced_symbolic_link_does_not_mislead():
    """The folder that was opened is looked at, wherever the path leads by now."""
    with linking() as (agents, daemon), daemon.connect() as connection:
        for name in ("one", "two"):
            (daemon.folder / name).mkdir()
        (daemon.folder / "current").symlink_to("one")
        connection.open(daemon.folder / "current/file")
        (daemon.folder / "current").unlink()
        (daemon.folder / "current").symlink_to("two")
        sidecar(daemon.folder / "two", "file")
        sidecar(daemon.folder / "one", "file")
        assert agents.wait("join", 1)[4] == os.fspath(daemon.folder / "one")
        assert agents.n("join") == 1


def test_a_folder_that_was_moved():
    """It cannot be found again by its path: members are told, and nothing breaks."""
    with linking() as (agents, daemon), daemon.connect() as connection:
        (daemon.folder / "one").mkdir()
        topic = connection.open(daemon.folder / "one/file")
        (daemon.folder / "one").rename(daemon.folder / "two")
        sidecar(daemon.folder / "two", "file")
        bus.wait_for(lambda: topic.resync > 0, "the member is told")
        # The next opening finds it.
        connection.open(daemon.folder / "two/file")
        agents.wait("join", 1)


def test_a_folder_that_is_removed():
    with linking() as (agents, daemon), daemon.connect() as connection:
        folder = daemon.folder / "folder"
        for _ in range(3):
            folder.mkdir()
            connection.open(folder / "file").close()
            connection.open(folder / "file")
            folder.rmdir()
            connection.ping()
        assert not agents.starts()


def test_watches_are_given_back():
    with linking() as (agents, daemon), daemon.connect() as connection:
        inodes = set()

        def n_watches():
            """Of our own folders: the runtime folder, which is watched too, comes and goes with other daemons."""
            for fd in os.listdir(f"/proc/{daemon.pid}/fd"):
                if os.readlink(f"/proc/{daemon.pid}/fd/{fd}") == "anon_inode:inotify":
                    lines = pathlib.Path(f"/proc/{daemon.pid}/fdinfo/{fd}").read_text().splitlines()
                    return sum(line.split("ino:")[1].split()[0] in inodes for line in lines if "inotify wd" in line)
            raise AssertionError("no inotify descriptor")

        before = n_watches()
        topics = []
        for number in range(20):
            folder = daemon.folder / str(number)
            folder.mkdir()
            inodes.add(f"{folder.stat().st_ino:x}")
            topics += [connection.open(folder / name) for name in ("one", "two")]
        assert n_watches() == before + 20
        for topic in topics:
            topic.close()
        connection.ping()
        bus.wait_for(lambda: n_watches() <= before, "the watches are gone")
        # Those of openings that failed as well.
        connection.send(bus.open_frame(connection.request(), daemon.folder / "19" / ("x" * 256)))
        connection.expect(bus.ERROR)
        bus.wait_for(lambda: n_watches() <= before, "the watches are gone")


def test_the_runtime_folder():
    with linking() as (agents, daemon), daemon.connect() as connection:
        runtime = pathlib.Path(f"/dev/shm/pathbus-{os.getuid()}")
        sidecar(daemon.folder, "file")
        topic = connection.open(daemon.folder / "file")
        key = topic.page[40:40 + 280]
        name = runtime / f"{fnv128(key):032x}.pathbus"
        topic.close()
        agents.wait("leave", 1)
        try:
            # It exists before the opening.
            name.mkdir()
            topic = connection.open(daemon.folder / "file")
            agents.wait("join", 3)
            places = sorted(entry[2] for entry in agents.log() if entry[0] == "join")
            assert places == ["0", "0", "1"]
            topic.close()
            agents.wait("leave", 3)
            # It comes later.
            name.rmdir()
            topic = connection.open(daemon.folder / "file")
            agents.wait("join", 4)
            name.mkdir()
            assert agents.wait("join", 5)[2] == "1"
            name.rmdir()
            name.mkdir()
            agents.wait("again", 1)
        finally:
            name.rmdir()


def fnv128(data):
    value = 0x6C62272E07BB014262B821756295C58D
    for byte in data:
        value = (value ^ byte) * 0x0000000001000000000000000000013B % (1 << 128)
    return value


if __name__ == "__main__":
    bus.main()
