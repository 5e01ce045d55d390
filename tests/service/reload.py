#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The configuration is read anew while the daemon serves: all of it is in force then, or nothing has changed."""

import errno
import os
import pathlib
import resource
import signal
import struct

import bus
import system
import topics


class Reloading:
    """A daemon whose configuration changes: text in which HERE is its folder."""

    def __init__(self, text, *arguments, kind=bus.Daemon, **keywords):
        self.folder = pathlib.Path(os.path.realpath(bus.new_folder()))
        self.folder.chmod(0o755)
        self.path = self.folder / "pathbusd.conf"
        self.write(text)
        self.daemon = kind("--config", self.path, *arguments, **keywords)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.daemon.stop()

    def write(self, text, mode=0o644):
        """In its place, as careless editors do it."""
        self.path.write_text(text.replace("HERE", os.fspath(self.folder)))
        self.path.chmod(mode)

    def said(self):
        """Without the reason's name behind each line."""
        return [line.partition("reload: ")[2].rpartition(" [")[0] for line in self.daemon.said().split("\n")[:-1]
                if "reload: " in line]

    def reload(self, text=None):
        """What it says of it."""
        if text is not None:
            self.write(text)
        n = len(self.said())
        self.daemon.process.send_signal(signal.SIGHUP)
        return bus.wait_for(lambda: self.said()[n:], "it says what it has read")[0]

    def expect_refused(self, text, *words):
        said = self.reload(text)
        assert said.startswith("refused, all stays as it was: "), said
        for word in words:
            assert word in said, (word, said)

    def file(self, name, mode=0o666):
        path = self.folder / name
        path.touch()
        path.chmod(mode)
        return path


def max_message(connection, path):
    """What a topic may ask for."""
    low, high = 128, 65536
    while low < high:
        size = (low + high + 1) // 2
        try:
            connection.open(path, max_message=size).close()
            low = size
        except bus.Failed as failed:
            assert failed.number == errno.EMSGSIZE, failed
            high = size - 1
    return low


# --- what changes ---------------------------------------------------------------------------------------------------


def test_what_can_change():
    with Reloading("[daemon]\nlog-level = info\n") as world, world.daemon.connect() as connection:
        assert max_message(connection, world.file("before")) == 65536
        said = world.reload("[daemon]\nlog-level = debug\n[lanes]\nmax-message = 1000\n"
                            "[regions]\nmax-regions = 3\n[limits]\nmax-user-connections = 2\n")
        assert said == "changed: log-level, max-message, max-regions, max-user-connections", said
        assert max_message(connection, world.file("after")) == 1000
        with world.daemon.connect():
            try:
                world.daemon.connect()
            except (bus.Failed, AssertionError, OSError):
                pass
            else:
                raise AssertionError("a user has three connections")
        assert "hello-timeout" in world.reload("[daemon]\nhello-timeout = 50\n")
        with world.daemon.connect(greet=False) as silent:
            assert silent.receive().kind == bus.ERROR
            silent.expect_end()
        assert world.reload("[begin]\n[end]\n") == "changed: hello-timeout"
        assert max_message(connection, world.file("again")) == 65536
        assert world.reload() == "nothing has changed"


def test_offloading():
    """Lanes that are there follow, both ways."""
    with Reloading("[lanes]\noffload-members = 8\n") as world, world.daemon.connect() as connection:
        topics = [connection.open(world.file("file"), bus.SUBSCRIBE) for _ in range(4)]
        assert not topics[0].offloaded
        world.reload("[lanes]\noffload-members = 2\n")
        assert topics[0].offloaded
        world.reload("[lanes]\noffload-members = 3\n")
        assert topics[0].offloaded, "until there are clearly fewer than it takes"
        world.reload("[lanes]\noffload-members = 8\n")
        assert not topics[0].offloaded


def test_sections_of_topics():
    """States are kept, or not any more, as they say now; those of topics that are there too."""
    with Reloading("[begin]\n[end]\n") as world:
        path = world.file("file")
        topics.leave_state(world.daemon, path, 1)
        topics.nobody_is_there(world.daemon)
        assert topics.state_of(world.daemon, path) == (0, 0)
        topics.nobody_is_there(world.daemon)
        with world.daemon.connect() as connection:
            topics.set_state(connection, connection.open(path).id, 7)
            assert world.reload('[topic "HERE/*"]\nkeep-state = yes\n') == "changed: [topic]"
        topics.nobody_is_there(world.daemon)
        assert topics.state_of(world.daemon, path) == (7, 1), "it was there before the section"
        topics.nobody_is_there(world.daemon)
        assert world.reload('[topic "HERE/*"]\nkeep-state = yes\nlog = yes\n') == "changed: [topic]"
        assert topics.state_of(world.daemon, path) == (7, 1)
        topics.nobody_is_there(world.daemon)
        assert world.reload('[topic "HERE/*"]\nlog = yes\n') == "changed: [topic]"
        world.daemon.expect_said("its state is not kept any more")
        assert topics.state_of(world.daemon, path) == (0, 0)


def test_what_needs_a_restart():
    with Reloading("[lanes]\nmax-message = 1000\n") as world, world.daemon.connect() as connection:
        said = world.reload("[daemon]\naddress = /elsewhere\ncontrol = /elsewhere.control\n[lanes]\nmax-message = 2000\n")
        # What the command line says stays, whatever the file says.
        assert said == "changed: max-message; needs a restart: control", said
        assert world.reload() == "nothing has changed; needs a restart: control"
        assert max_message(connection, world.file("file")) == 2000
        assert world.reload("[lanes]\nmax-message = 2000\n") == "nothing has changed"


def test_the_command_line_wins():
    with Reloading("[lanes]\nmax-message = 1000\n", "--max-message", "3000") as world, world.daemon.connect() as connection:
        assert world.reload("[lanes]\nmax-message = 2000\n[regions]\nmax-regions = 1\n") == "changed: max-regions"
        assert max_message(connection, world.file("file")) == 3000


def test_drop_ins():
    with Reloading("[lanes]\nmax-message = 1000\n") as world, world.daemon.connect() as connection:
        folder = pathlib.Path(f"{world.path}.d")
        folder.mkdir(mode=0o755)
        (folder / "a.conf").write_text("[lanes]\nmax-message = 2000\n")
        assert world.reload() == "changed: max-message"
        (folder / "b.conf").write_text("[lanes]\nmax-message = none\n")
        world.expect_refused(None, f"{folder}/b.conf:2: max-message takes", "'none'")
        assert max_message(connection, world.file("file")) == 2000
        (folder / "b.conf").unlink()
        (folder / "a.conf").unlink()
        assert world.reload() == "changed: max-message"


def test_without_a_configuration():
    with bus.daemon() as daemon:
        daemon.process.send_signal(signal.SIGHUP)
        daemon.expect_said("reload: nothing has changed")
        assert not [pid for pid in daemon.children() if b"--reader" in bus.command(pid)]


def test_many_at_once():
    """Whoever changes the file and then asks gets what it wrote."""
    with Reloading("[lanes]\nmax-message = 1000\n") as world, world.daemon.connect() as connection:
        for size in range(1001, 1021):
            world.write(f"[lanes]\nmax-message = {size}\n")
            world.daemon.process.send_signal(signal.SIGHUP)
        bus.wait_for(lambda: world.reload() == "nothing has changed", "all are read")
        assert max_message(connection, world.file("file")) == 1020


# --- rights ---------------------------------------------------------------------------------------------------------


def is_closed(topic):
    return topic.half(bus.CLOSED) == 1


def test_rights_of_those_who_are_there():
    me = os.geteuid()
    with Reloading(f"[rights]\npost = HERE/always : {me + 1}\n") as world, world.daemon.connect() as connection:
        paths = {name: world.file(name) for name in ("always", "some", "secret", "else")}
        topics = {name: connection.open(path) for name, path in paths.items()}
        assert [topics[name].rights for name in paths] == [1, 3, 3, 3]
        bell = topics["some"].listener()
        topics["some"].arm()
        said = world.reload(f"[rights]\npost = HERE/some : {me + 1}\nsubscribe = HERE/secret : @{os.getegid() + 1}\n"
                            f"post = HERE/always : {me + 1}\n")
        assert said == "changed: [rights]", said
        bus.wait_for(lambda: is_closed(topics["some"]) and is_closed(topics["secret"]), "who has lost rights joins anew")
        assert bell.poll(bus.LIMIT_S), "and is woken"
        bell.close()
        assert connection.open(paths["some"]).rights == bus.SUBSCRIBE
        for flags, number in ((0, errno.EACCES), (bus.POST, None)):
            try:
                assert connection.open(paths["secret"], flags).rights == bus.POST and number is None
            except bus.Failed as failed:
                assert failed.number == number and "who may subscribe" in failed.text, failed
        assert not is_closed(topics["always"]) and not is_closed(topics["else"])
        # Who is named again has it again.
        again = connection.open(paths["some"])
        assert world.reload(f"[rights]\npost = HERE/always : {me + 1}\npost = HERE/some : {me + 1}, {me}\n") == "changed: [rights]"
        bus.wait_for(lambda: is_closed(again), "who has gained rights joins anew")
        assert connection.open(paths["some"]).rights == 3
        assert not is_closed(topics["always"]) and not is_closed(topics["else"])


def test_groups_of_those_who_are_there():
    """They had connected when nobody asked for groups."""
    if os.getuid() != 0:
        raise bus.Skip("needs root: to have another group")
    with Reloading("[begin]\n[end]\n") as world:
        groups = os.getgroups()
        os.setgroups([4711])
        try:
            with world.daemon.connect() as connection:
                topic, other = connection.open(world.file("file")), connection.open(world.file("other"))
                world.reload("[rights]\npost = HERE/file : @4711\npost = HERE/other : @4712\n")
                bus.wait_for(lambda: is_closed(other), "it is not in that group")
                assert connection.open(world.file("file")).rights == 3 and not is_closed(topic)
        finally:
            os.setgroups(groups)


def test_other_names_that_are_there():
    """The rules tell two names apart that were one topic: neither leads past them, until it ends."""
    with Reloading("[begin]\n[end]\n") as world, world.daemon.connect() as connection, world.daemon.connect() as other:
        inside = world.file("inside")
        os.link(inside, world.folder / "outside")
        mine, theirs = connection.open(inside), other.open(world.folder / "outside")
        assert mine.lane == theirs.lane and mine.rights == 3
        world.reload("[rights]\npost = HERE/inside :\n")
        bus.wait_for(lambda: is_closed(mine), "nobody may post there")
        again = other.open(world.folder / "outside")
        assert again.rights == bus.SUBSCRIBE, "the topic has the other name too"
        for topic in (mine, theirs, again):
            topic.close()
        for of in (connection, other):
            of.ping()
        assert other.open(world.folder / "outside").rights == 3, "it is a topic of its own now"
        assert connection.open(inside).rights == bus.SUBSCRIBE


def test_rules_about_a_name_that_nobody_has_open():
    """The topic has that name all the same, and who comes by it is on the same lane: so others may post there no more."""
    with Reloading("[begin]\n[end]\n") as world, world.daemon.connect() as connection, world.daemon.connect() as other:
        inside = world.file("inside")
        os.link(inside, world.folder / "outside")
        mine, theirs = connection.open(inside), other.open(world.folder / "outside")
        assert mine.lane == theirs.lane and theirs.rights == 3
        mine.close()
        connection.ping()
        world.reload("[rights]\npost = HERE/inside :\n")
        bus.wait_for(lambda: is_closed(theirs), "who came by the other name joins anew, too")
        assert other.open(world.folder / "outside").rights == bus.SUBSCRIBE


def test_a_name_between_that_nobody_has_open():
    """What nobody has open cannot be asked about; a third name is of the same topic all the same."""
    with Reloading("[begin]\n[end]\n") as world, world.daemon.connect() as connection:
        path = world.file("file")
        for name in ("second", "third"):
            os.link(path, world.folder / name)
        first = connection.open(path)
        connection.open(world.folder / "second").close()
        connection.ping()
        assert connection.open(world.folder / "third").lane == first.lane


def test_many_names_that_nobody_has_open():
    """A topic with thousands of names costs no depth: with so small a stack there would be too little for a call for each."""
    n, size = 4000, 256 << 10

    def shrink():
        resource.setrlimit(resource.RLIMIT_STACK, (size, size))

    with Reloading("[begin]\n[end]\n", preexec_fn=shrink) as world, world.daemon.connect() as connection:
        path = world.file("file")
        connection.open_socket(path)
        names = [world.folder / f"name-{i}" for i in range(n)]
        numbers = []
        for name in names:
            os.link(path, name)
        for at in range(0, n, 16):
            for name in names[at:at + 16]:
                connection.send(bus.open_frame(connection.request(), name, bus.SOCKET))
            numbers += [struct.unpack_from("<I", connection.expect(bus.OPENED).body)[0] for _ in names[at:at + 16]]
        for number in numbers:
            connection.send(bus.frame(bus.CLOSE, 0, struct.pack("<I", number)))
        assert connection.ping()[1] == 1, "they are one topic"
        assert world.reload(f"[rights]\npost = HERE/* : {os.geteuid()}\n") == "changed: [rights]"
        assert connection.ping()[1] == 1


def test_a_rule_comes_while_a_path_is_looked_at():
    """Between the worker's answer and the member there is no moment in which the old rules hold."""
    with Reloading("[begin]\n[end]\n") as world:
        path = world.file("file")
        for n in range(20):
            world.write("[rights]\npost = HERE/file :\n" if n % 2 == 0 else "[begin]\n[end]\n")
            with world.daemon.connect() as connection:
                said = len(world.said())
                world.daemon.process.send_signal(signal.SIGHUP)
                topics = []
                while len(world.said()) == said:
                    topics.append(connection.open(path))
                rights = 1 if n % 2 == 0 else 3
                bus.wait_for(lambda: all(topic.rights == rights or is_closed(topic) for topic in topics), "all have the new ones")
                assert connection.open(path).rights == rights
                for topic in topics:
                    topic.page.close()


# --- what is wrong --------------------------------------------------------------------------------------------------


def test_what_is_wrong_changes_nothing():
    me = os.geteuid()
    good = f"[lanes]\nmax-message = 1000\n[rights]\npost = HERE/file : {me + 1}\n"
    with Reloading(good) as world, world.daemon.connect() as connection:
        for text, *words in (("[lanes]\nmax-message = 2000\n[rights]\npost = HERE/file : no-such-user\n", ":4: ", "no-such-user"),
                             ("[rights]\n[lanes]\nmax-message = 64T\n", ":3: max-message takes bytes from 128 to 64K"),
                             ("[lanes]\nmax-message = 2000\n[daemon]\nlog-level = loud\n", ":4: ", "debug"),
                             ("[lanes]\nmax-message = 2000\nmin-message = 1\n", ":3: ", "'min-message'"),
                             ("[lanes]\nmax-message = 2000", "cut off"), ("", "empty"), ("[begin]\n[lanes]\n", "[end]")):
            world.expect_refused(text, *words)
        if me == 0:
            world.write("[lanes]\nmax-message = 2000\n", mode=0o666)
            world.expect_refused(None, "chmod go-w")
        world.path.unlink()
        world.expect_refused(None, os.strerror(errno.ENOENT))
        world.path.mkdir()
        world.expect_refused(None, "regular file")
        world.path.rmdir()
        assert max_message(connection, world.folder / "other") == 1000
        assert connection.open(world.file("file")).rights == bus.SUBSCRIBE
        assert world.reload(good) == "nothing has changed"


def test_every_prefix():
    """However much of it had been written when it was read."""
    whole = "[begin]\n[lanes]\nmax-message = 3000\n[rights]\npost = HERE/file : 0,\n  @0\n[topic \"/x\"]\nring = 64\n[end]\n"
    with Reloading("[lanes]\nmax-message = 1000\n") as world, world.daemon.connect() as connection:
        topic = connection.open(world.file("file"))
        n_refused = len(world.said())
        text = whole.replace("HERE", os.fspath(world.folder))
        for size in range(len(text)):
            world.path.write_text(text[:size])
            n_refused += 1
            world.daemon.process.send_signal(signal.SIGHUP)
            bus.wait_for(lambda: len(world.said()) == n_refused, f"the first {size} bytes are refused")
        taken = [said for said in world.said() if not said.startswith("refused")]
        assert not taken, taken
        assert max_message(connection, world.folder / "other") == 1000 and not is_closed(topic)
        assert world.reload(text) == "changed: max-message, [rights], [topic]"
        assert max_message(connection, world.folder / "more") == 3000


# --- the daemon of all users, which opens no files itself -----------------------------------------------------------


def test_of_all_users():
    """In its sandbox, as the service user; who is named is looked up by somebody else."""
    with Reloading("[lanes]\nmax-message = 1000\n", kind=system.SystemDaemon) as world:
        reader = world.daemon.reader()
        status = system.status_of(reader)
        assert status["Uid"] == [str(system.SERVICE)] * 4 and status["Groups"] == [] and status["NoNewPrivs"] == ["1"]
        for caps in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"):
            assert int(status[caps][0], 16) == 0, caps
        bus.wait_for(lambda: system.status_of(reader)["Seccomp"] == ["2"], "it is in a sandbox")
        file = world.file("file")
        name = "nobody"

        def as_alice():
            with world.daemon.connect() as connection:
                topic = connection.open(file)
                assert topic.rights == 3 and max_message(connection, world.folder / "x") == 1000
                ready.write(b"1")
                ready.flush()
                bus.wait_for(lambda: is_closed(topic), "others are named now")
                assert connection.open(file).rights == bus.SUBSCRIBE and max_message(connection, world.folder / "x") == 2000

        out, into = os.pipe()
        ready = os.fdopen(into, "wb")
        child = os.fork()
        if child == 0:
            try:
                system.become(system.ALICE)
                as_alice()
                os._exit(0)
            except BaseException as error:
                print(error, flush=True)
            finally:
                os._exit(1)
        assert os.read(out, 1) == b"1"
        said = world.reload(f"[rights]\npost = HERE/file : {name}, @root\n[lanes]\nmax-message = 2000\n[limits]\nmax-user-topics = 7\n")
        assert said == "changed: max-message, max-user-topics, [rights]", said
        assert os.waitpid(child, 0)[1] == 0
        os.close(out)
        ready.close()
        world.expect_refused("[rights]\npost = HERE/file : no-such-user\n", "no-such-user")
        # It could be read by root, who has started it.
        world.write("[lanes]\nmax-message = 3000\n", mode=0o600)
        world.expect_refused(None, f"by user {system.SERVICE}", "chmod a+r")
        assert "changed: max-message" in world.reload("[lanes]\nmax-message = 3000\n")


def test_that_it_cannot_be_read_is_told_at_once():
    folder = pathlib.Path(bus.new_folder())
    folder.chmod(0o755)
    path = folder / "pathbusd.conf"
    path.write_text("[lanes]\nmax-message = 1000\n")
    path.chmod(0o600)
    with system.system_daemon("--config", path) as daemon:
        daemon.expect_said(f"could not be read anew: {path}: cannot be read by user {system.SERVICE}")


def test_what_reads_it_has_ended():
    for stop in (signal.SIGKILL, signal.SIGSEGV):
        with Reloading("[lanes]\nmax-message = 1000\n") as world:
            reader, = [pid for pid in world.daemon.children() if b"--reader" in bus.command(pid)]
            os.kill(reader, stop)
            bus.wait_for(lambda: "cannot be read anew until" in world.daemon.said(), "it is noticed")
            world.expect_refused("[lanes]\nmax-message = 2000\n", "start pathbusd again")
            with world.daemon.connect() as connection:
                assert max_message(connection, world.file("file")) == 1000


def test_who_reads_it_ends_in_the_middle():
    """Nothing comes of half an answer; and the next one comes."""
    with Reloading("[lanes]\nmax-message = 1000\n") as world, world.daemon.connect() as connection:
        reader, = [pid for pid in world.daemon.children() if b"--reader" in bus.command(pid)]
        fifo = pathlib.Path(f"{world.path}.d")
        fifo.mkdir(mode=0o755)
        # Many rules take a while, so that it is there when it is looked for.
        world.write("[rights]\n" + "".join(f"post = /a/{'x' * 100}{n} : root, @root\n" for n in range(6000)))
        hit = 0
        for _ in range(50):
            n = len(world.said())
            world.daemon.process.send_signal(signal.SIGHUP)

            def child():
                found = [pid for pid in bus.processes() if (bus.parent_and_state(pid) or (0,))[0] == reader]
                return found or len(world.said()) > n

            found = bus.wait_for(child, "somebody reads it")
            if found is not True:
                for pid in found:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
            said = bus.wait_for(lambda: world.said()[n:], "it says what came of it")[0]
            if "has ended before it was through" in said:
                hit += 1
                break
            world.reload("[lanes]\nmax-message = 1000\n")
            world.write("[rights]\n" + "".join(f"post = /a/{'x' * 100}{n} : root, @root\n" for n in range(6000)))
        assert hit, world.said()
        assert world.reload("[lanes]\nmax-message = 2000\n").startswith("changed: max-message")
        assert max_message(connection, world.file("file")) == 2000


if __name__ == "__main__":
    bus.main()
