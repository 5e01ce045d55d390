#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sections [topic "PATTERN"] of the configuration: what a program sees of them in a user's daemon. system_topics.py is about
several users."""

import errno
import os
import pathlib
import shutil
import signal
import struct
import subprocess

import bus
from configured import Config


def expect_wrong(text, line, *words):
    """It does not start: FILE:LINE, and what is wrong."""
    config = Config(text)
    done = subprocess.run([bus.program(), "--address", config.folder / "socket", "--config", config.path],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=bus.LIMIT_S)
    assert done.returncode == 2 and not done.stdout, done
    assert done.stderr.startswith(f"pathbusd: {config.path}:{line}: "), done.stderr
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def expect_refused(connection, path, number, *words, flags=0, **asked):
    try:
        connection.open(path, flags, **asked)
    except bus.Failed as failed:
        assert failed.number == number, failed
        for word in words:
            assert word in failed.text, (word, failed.text)
    else:
        raise AssertionError(f"{path} was opened")


# --- how they are written -------------------------------------------------------------------------------------------


def test_what_is_wrong():
    expect_wrong('[topic]\nring = 8\n', 1, '[topic "PATTERN"]')
    expect_wrong('\n[topic /srv/**]\n', 2, '[topic "PATTERN"]')
    expect_wrong('[topic "srv/**"]\n', 1, "a pattern begins with /")
    expect_wrong('[topic "/proc/self/cwd/**"]\n', 1, "symbolic link")
    expect_wrong('[topic "/' + "x" * 5000 + '"]\n', 1, "longer than a path")
    expect_wrong('[topic "/srv/**"]\ncolour = red\n', 2, "there is no key 'colour'", "topic")
    expect_wrong('[topic "/srv/**"]\noffload-members = 8\n', 2, "there is no key 'offload-members'")
    expect_wrong('[topic "/srv/**"]\nring = many\n', 2, "ring takes", "'many'")
    expect_wrong('[topic "/srv/**"]\nring = 8\n\nring = 8\n', 4, "already")
    expect_wrong('[topic "/srv/**"]\nring =\n  8\n', 2, "ring takes")
    expect_wrong('[topic "/srv/**"]\nring = 8\n  16\n', 3, "one line")
    expect_wrong('[topic "/srv/**"]\npost = 0,\n  no-such-user\n[daemon]\n', 2, "post: there is no user 'no-such-user'")
    expect_wrong('[topic "/srv/**"]\npost = 0\n[lanes]\n[topic "/srv/**"]\npost = 0\npost = 0\n', 6, "post: ", "already")
    expect_wrong('[daemon]\nring = 8\n', 2, "there is no key 'ring'")
    expect_wrong('[lanes]\nkeep-state = yes\n', 2, "there is no key 'keep-state'")
    expect_wrong('[topics "/srv/**"]\n', 1, "there is no section")


def test_long_patterns():
    """As long as a path may be: a line of inih's is not."""
    name = "x" * 200
    config = Config(f'\ufeff[topic "HERE/{name}/[a-z]*"] ; a comment\npost =\n')
    with config.daemon() as daemon, daemon.connect() as connection:
        assert connection.open(config.file(f"{name}/file")).rights == bus.SUBSCRIBE
        assert connection.open(config.file(f"{name}/1")).rights == bus.SUBSCRIBE | bus.POST


# --- who may --------------------------------------------------------------------------------------------------------


def test_who_may():
    """As in [rights], whose rules count too: whatever a section says, nobody gains a right."""
    me = os.geteuid()
    config = Config(f"""
[rights]
post = HERE/both/** : {me}
subscribe = HERE/shut/** :
[topic "HERE/mine/**"]
post = {me + 1},
  {me}
subscribe = {me}
[topic "HERE/theirs/**"]
post = {me + 1}
[topic "HERE/both/**"]
post = {me + 1}
[topic "HERE/shut/**"]
subscribe = {me}
[topic "HERE/twice/**"]
post = {me + 1}
[topic "HERE/twice/**"]
post = {me}
[topic "HERE/nobody/**"]
subscribe =
post =
""")
    with config.daemon() as daemon, daemon.connect() as connection:
        for folder, rights in (("mine", 3), ("theirs", 1), ("both", 1), ("twice", 1), ("else", 3)):
            assert connection.open(config.file(f"{folder}/file")).rights == rights, folder
            assert connection.open(config.folder / folder / "missing").rights == rights, folder
        expect_refused(connection, config.file("theirs/file"), errno.EACCES, "names those who may post", flags=bus.POST)
        expect_refused(connection, config.file("shut/file"), errno.EACCES, "names those who may subscribe")
        for flags in (0, bus.SUBSCRIBE, bus.POST):
            expect_refused(connection, config.file("nobody/file"), errno.EACCES, "names those", flags=flags)
        # Another name of the file outside of the section is another topic.
        os.link(config.file("theirs/file"), config.folder / "free")
        free, theirs = connection.open(config.folder / "free"), connection.open(config.folder / "theirs/file")
        assert (free.rights, theirs.rights) == (3, 1) and free.lane != theirs.lane


def test_sections_give_no_rights():
    """A user whom rights concern, and a section that names that user for everything."""
    nobody = 65534
    config = Config(f'[topic "HERE/**"]\nsubscribe = {nobody}\npost = {nobody}\n')
    config.folder.chmod(0o755)
    if os.geteuid() != 0:
        raise bus.Skip("needs root: the file is another user's")
    secret, readable = config.file("secret", 0o600), config.file("readable", 0o644)
    config.path.chmod(0o644)
    own = pathlib.Path(bus.new_folder())
    os.chown(own, nobody, nobody)
    copy = own / "pathbusd"
    shutil.copy(bus.program(), copy)
    copy.chmod(0o755)

    def inside():
        with bus.daemon("--config", config.path, folder=own, program_of=copy) as daemon, daemon.connect() as connection:
            expect_refused(connection, secret, errno.EACCES, "may not be read")
            expect_refused(connection, secret, errno.EACCES, "may not be written", flags=bus.POST)
            expect_refused(connection, readable, errno.EACCES, "may not be written", flags=bus.POST)
            assert connection.open(readable).rights == bus.SUBSCRIBE

    bus.as_user(nobody, inside)


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_rings():
    config = Config("""
[topic "HERE/large/**"]
ring = 1000
[topic "HERE/large/last-wins/*"]
ring = 2000
[topic "HERE/large/capped/*"]
max-ring = 500
[topic "HERE/small/*"]
max-ring = 64
[topic "HERE/huge/*"]
ring = 65536
""")
    with config.daemon() as daemon, daemon.connect() as connection:
        def ring(name, **asked):
            topic = connection.open(config.file(name), **asked)
            assert os.fstat(topic.page_fd).st_size >= bus.PAGE_SIZE + 128 * topic.ring_slots
            topic.close()
            return topic.ring_slots

        (config.folder / "large").mkdir()
        assert ring("file") == 256, "nothing is said of it"
        assert ring("large/file") == 1024, "rounded up"
        assert ring("large/file", ring_slots=8) == 1024, "a program that asks for fewer has the others to think of"
        assert ring("large/file", ring_slots=3000) == 4096, "more may be asked for"
        assert ring("large/last-wins/file") == 2048
        assert ring("large/capped/file") == 512, "of two sections the least"
        expect_refused(connection, config.file("large/capped/file"), errno.EMSGSIZE, "no rings of more than 500 messages",
                       "max-ring", "[topic]", ring_slots=501)
        assert ring("large/capped/file", ring_slots=500) == 512
        assert ring("small/file") == 64 and ring("small/file", ring_slots=8) == 8
        expect_refused(connection, config.file("small/file"), errno.EMSGSIZE, "64 messages", ring_slots=65)
        # A section asks for more than fits with such messages: the program gets what fits, and is not refused.
        assert ring("huge/file") == 65536 and ring("huge/file", max_message=65536) == 16384
        expect_refused(connection, config.file("huge/file"), errno.EINVAL, "too large", ring_slots=32768, max_message=65536)
        # A topic that is there has the ring that it has; more is refused all the same.
        topic = connection.open(config.file("small/file"), ring_slots=16)
        assert connection.open(config.file("small/file")).lane == topic.lane
        expect_refused(connection, config.file("small/file"), errno.EMSGSIZE, ring_slots=65)


def test_messages():
    config = Config("""
[lanes]
max-message = 1000
[topic "HERE/**"]
log = no
[topic "HERE/small/*"]
max-message = 200
[topic "HERE/large/*"]
max-message = 16K
""")
    with config.daemon() as daemon, daemon.connect() as connection:
        for name, most, text in (("file", 1000, "--max-message"), ("small/file", 200, "max-message in a [topic] section"),
                                 ("large/file", 16384, "max-message in a [topic] section")):
            path = config.file(name)
            expect_refused(connection, path, errno.EMSGSIZE, f"more than {most} bytes", text, os.fspath(path), max_message=most + 1)
            for asked in (0, 128, most):
                topic = connection.open(path, max_message=asked)
                assert topic.max_message == (asked or min(most, 4096)), (name, asked, topic.max_message)
                topic.close()
            number = connection.open_socket(path)

            for size in (min(most, 4096), min(most, 4096) + 1):
                connection.send(bus.frame(bus.PUBLISH, connection.request(), struct.pack("<IIQ", number, 0, 0) + bytes(size)))
                if size <= min(most, 4096):
                    connection.expect(bus.DONE, connection.last_request)
                else:
                    connection.expect_error(errno.EMSGSIZE, connection.last_request)


def test_another_name_for_which_other_things_hold():
    """It is another topic, or who may write a file could choose what holds by giving it a name."""
    config = Config("""
[topic "HERE/small/*"]
max-message = 200
[topic "HERE/large/*"]
max-message = 16K
""")
    with config.daemon() as daemon, daemon.connect() as connection:
        path = config.file("small/file")
        (config.folder / "large").mkdir()
        lanes = {}
        for name in ("small/file", "small/other", "large/file", "large/other"):
            if name != "small/file":
                os.link(path, config.folder / name)
            lanes[name] = connection.open(config.folder / name).lane
        assert lanes["small/file"] == lanes["small/other"] != lanes["large/file"] == lanes["large/other"]


# --- states ---------------------------------------------------------------------------------------------------------


def get_state(connection, number):
    """(value, version)"""
    return struct.unpack("<QQ", connection.ask(bus.GET_STATE, struct.pack("<I", number), bus.STATE).body)


def set_state(connection, number, value):
    connection.ask(bus.SET_STATE, struct.pack("<IIQQ", number, 0, 0, value), bus.DONE)


def state_of(daemon, path, **asked):
    """As somebody sees it who comes and goes."""
    with daemon.connect() as connection:
        topic = connection.open(path, **asked)
        state = get_state(connection, topic.id)
        # What the page says, too.
        word = topic.word(STATE)
        slot = bus.SLOTS + (word & 0xFFFF) // 2 * bus.SLOT_SIZE
        assert (topic.word(slot + STATE_CELLS + 8 * (word & 1)) if word >> 16 else 0, word >> 16) == state
        topic.close()
        return state


def leave_state(daemon, path, value):
    with daemon.connect() as connection:
        topic = connection.open(path)
        set_state(connection, topic.id, value)


def nobody_is_there(daemon):
    with daemon.connect() as connection:
        bus.wait_for(lambda: connection.ping()[1] == 0, "all have gone")


STATE, STATE_CELLS = 560, 40  # where the page has its word, and a slot its cells
KEPT = 'keep-state = yes\nlog = yes\n'


def test_a_state_is_kept():
    config = Config(f'[topic "HERE/kept/**"]\n{KEPT}[topic "HERE/kept/not/*"]\nkeep-state = no\n')
    with config.daemon() as daemon:
        (config.folder / "kept").mkdir()
        for name, state in (("kept/file", (7, 1)), ("kept/not/file", (0, 0)), ("file", (0, 0))):
            path = config.file(name)
            leave_state(daemon, path, 7)
            assert state_of(daemon, path) == state, name
            assert state_of(daemon, path) == state, "and again"
        path = config.folder / "kept/file"
        # Whatever becomes of the file: its name is the topic's.
        path.unlink()
        assert state_of(daemon, path) == (7, 1)
        config.file("kept/new").rename(path)
        assert state_of(daemon, path) == (7, 1)
        leave_state(daemon, path, 9)
        assert state_of(daemon, path) == (9, 2)
        # Whose program dies has set it all the same. (Without sockets, one without shared memory.)
        connection = daemon.connect()
        set_state(connection, connection.open(path).id, 10)
        connection.close()
        assert state_of(daemon, path) == (10, 3)
        with daemon.connect() as connection:
            number = connection.open_socket(path)
            assert get_state(connection, number) == (10, 3)
            set_state(connection, number, 11)
        assert state_of(daemon, path) == (11, 4)
        # A topic that was never given one has none to keep.
        assert state_of(daemon, config.folder / "kept/other") == (0, 0)


def test_a_state_that_was_set_in_memory():
    """By the library, which does not ask the daemon."""
    ctl = os.environ.get("PATHBUSCTL")
    if not ctl:
        raise bus.Skip("needs pathbusctl")
    config = Config(f'[topic "HERE/**"]\n{KEPT}')
    with config.daemon() as daemon:
        def state(*arguments):
            done = subprocess.run([ctl, "--address", daemon.address, "state", *arguments], capture_output=True, text=True,
                                  timeout=bus.LIMIT_S, check=True)
            return done.stdout.split()

        path = config.file("file")
        state("set", path, "123")
        assert state("get", path)[0] == "123" and state_of(daemon, path) == (123, 1)
        state("cas", path, "123", "124")
        assert state_of(daemon, path) == (124, 2)


def test_a_state_is_kept_for_a_time():
    config = Config('[topic "HERE/**"]\nkeep-state = 1s\nlog = yes\n')
    with config.daemon() as daemon:
        path = config.file("file")
        leave_state(daemon, path, 7)
        assert state_of(daemon, path) == (7, 1)
        # It begins anew with each end, and not while somebody is there.
        with daemon.connect() as connection:
            topic = connection.open(path)
            daemon.expect_said("its state is kept")
            assert get_state(connection, topic.id) == (7, 1)
        daemon.expect_said("its state is not kept any more")
        assert state_of(daemon, path) == (0, 0)


def test_a_folder_that_is_another():
    """Numbers of folders are used again: whoever makes one does not find what was kept of one of before."""
    config = Config(f'[topic "HERE/**"]\n{KEPT}')
    with config.daemon() as daemon:
        folder = config.folder / "folder"
        seen, again = set(), 0
        for n in range(1, 6):
            folder.mkdir()
            number = folder.stat().st_ino
            again += number in seen
            seen.add(number)
            assert state_of(daemon, folder / "file") == (0, 0)
            leave_state(daemon, folder / "file", n)
            assert state_of(daemon, folder / "file") == (n, 1)
            nobody_is_there(daemon)
            folder.rmdir()
        daemon.expect_said("its state is not kept any more")
        if not again:
            raise bus.Skip("no number of a folder is used again here")
        # Nobody has to come for it.
        (config.folder / "gone").mkdir()
        leave_state(daemon, config.folder / "gone/for-good", 5)
        daemon.expect_said("gone/for-good': nobody has it open")
        (config.folder / "gone").rmdir()
        daemon.expect_said("gone/for-good': its state is not kept any more")
        # A folder that is moved is still the same.
        folder.mkdir()
        leave_state(daemon, folder / "file", 5)
        folder.rename(config.folder / "moved")
        assert state_of(daemon, config.folder / "moved/file") == (5, 1)


def test_how_many_states_are_kept():
    config = Config(f'[limits]\nmax-user-kept = 2\n[topic "HERE/**"]\n{KEPT}')
    with config.daemon() as daemon:
        for name in ("a", "b", "c"):
            leave_state(daemon, config.file(name), 1)
        assert [state_of(daemon, config.folder / name)[0] for name in ("a", "b", "c")] == [1, 1, 0]
        daemon.expect_said("(--max-user-kept)")
        # One that is open does not count.
        with daemon.connect() as connection:
            connection.open(config.folder / "a")
            leave_state(daemon, config.folder / "c", 1)
            assert state_of(daemon, config.folder / "c") == (1, 1)
        assert [state_of(daemon, config.folder / name)[0] for name in ("b", "c")] == [1, 1]


def test_other_sections_after_a_reload():
    config = Config(f'[topic "HERE/**"]\n{KEPT}ring = 512\nmax-message = 1K\n')
    with config.daemon() as daemon, daemon.connect() as connection:
        before, kept = connection.open(config.file("before")), config.file("kept")
        assert before.ring_slots == 512 and before.rights == 3
        leave_state(daemon, kept, 7)
        daemon.expect_said("kept': nobody has it open")

        def reload(text, word):
            n = daemon.said().count("reload: ")
            config.write(text)
            daemon.process.send_signal(signal.SIGHUP)
            bus.wait_for(lambda: daemon.said().count("reload: ") > n, "it says what it has read")
            assert word in daemon.said().rpartition("reload: ")[2], daemon.said()

        # What is wrong changes nothing.
        reload('[topic "HERE/**"]\nring = 1024\nmax-ring = few\n', f"{config.path}:3: max-ring takes")
        assert connection.open(config.file("other")).ring_slots == 512 and state_of(daemon, kept) == (7, 1)
        reload(f'[topic "HERE/**"]\nring = 1024\nmax-message = 200\npost =\nsubscribe = {os.geteuid()}\n', "changed: ")
        after = connection.open(config.file("after"))
        assert (after.ring_slots, after.max_message, after.rights) == (1024, 200, bus.SUBSCRIBE)
        assert before.ring_slots == 512
        # What was kept is not kept any more.
        assert state_of(daemon, kept) == (0, 0)
        reload("# nothing\n", "changed: ")
        assert connection.open(config.file("last")).ring_slots == 256


# --- the log --------------------------------------------------------------------------------------------------------


def test_what_is_logged():
    ctl = os.environ.get("PATHBUSCTL")
    if not ctl:
        raise bus.Skip("needs pathbusctl")
    config = Config('[topic "HERE/told/**"]\nlog = yes\n[topic "HERE/told/not/**"]\nlog = no\n')
    with config.daemon() as daemon:
        me = os.geteuid()

        def run(*arguments):
            subprocess.run([ctl, "--address", daemon.address, *arguments], stdout=subprocess.DEVNULL, timeout=bus.LIMIT_S, check=True)

        (config.folder / "told").mkdir()
        for name in ("told/not/file", "file"):
            run("post", "--state", "5", config.file(name))
        file = config.file("told/file\x1b[1m\nfake")
        told = f"topic '{config.folder}/told/file\\x1b[1m\\x0afake': "
        run("post", file)
        daemon.expect_said("nobody has it open")
        lines = [line.partition("pathbusd: ")[2] for line in daemon.said().splitlines() if "topic '" in line]
        assert all(line.startswith(told) for line in lines), lines
        assert len(lines) == 3 and f"opened by process" in lines[0] and f"of user {me} to subscribe and post" in lines[0], lines
        assert all(line.endswith(" [topic]") for line in lines), lines
        lines = [line.removesuffix(" [topic]") for line in lines]
        assert lines[1].endswith(f"of user {me} (posts: 1, messages: 0)") and "closed by process" in lines[1], lines
        assert lines[2].endswith("nobody has it open (posts: 1, messages: 0)"), lines
        # A state that is set in memory is told when somebody goes, one that the daemon sets at once, and each once.
        run("state", "set", file, "77")
        daemon.expect_said(told + "its state is 77, version 1")
        with daemon.connect() as connection:
            number = connection.open_socket(file)
            daemon.expect_said("without shared memory")
            set_state(connection, number, 78)
            daemon.expect_said(told + "its state is 78, version 1")
            other = daemon.connect()
            other.open(file)
            daemon.expect_said("joined by process")
            other.close()
            daemon.expect_said("lost, as the connection ended, by process")
        assert daemon.said().count("its state is 78") == 1


def test_who_fills_the_log():
    config = Config('[topic "HERE/**"]\nlog = yes\n')
    with config.daemon() as daemon, daemon.connect() as connection:
        file = config.file("file")
        for _ in range(200):
            connection.open(file).close()
        lines = [line for line in daemon.said().splitlines() if "file': " in line]
        assert 100 <= len(lines) < 500, len(lines)

        def is_told():
            connection.open(file).close()
            return "lines were left out" in daemon.said()

        bus.wait_for(is_told, "it is told how many were left out")


if __name__ == "__main__":
    bus.main()
