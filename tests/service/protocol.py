#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The protocol as it should be spoken, and what topics, lanes, slots and bells then look like."""

import errno
import os
import signal
import struct

import bus


def test_greeting():
    with bus.daemon() as daemon, daemon.connect() as connection:
        assert connection.version == 1
        assert connection.max_frame == bus.MAX_FRAME
        assert connection.max_path == 4095
        assert connection.pid == daemon.pid
        n_clients, n_topics, uptime, version = connection.ping()
        assert (n_clients, n_topics) == (1, 0)
        assert uptime > 0 and version
        connection.goodbye()


def test_a_range_of_versions():
    with bus.daemon() as daemon, daemon.connect(greet=False) as connection:
        connection.send(bus.hello(7, 0, 9))
        answer = connection.expect(bus.WELCOME, 7)
        assert struct.unpack_from("<H", answer.body)[0] == 1


def test_byte_by_byte_and_all_at_once():
    with bus.daemon() as daemon, daemon.connect(greet=False) as connection:
        for byte in bus.hello(1) + bus.frame(bus.PING, 2):
            connection.send(bytes([byte]))
        connection.expect(bus.WELCOME, 1)
        connection.expect(bus.PONG, 2)
        connection.send(b"".join(bus.frame(bus.PING, request) for request in range(3, 1000)))
        for request in range(3, 1000):
            connection.expect(bus.PONG, request)


def test_one_lane_for_one_file():
    with bus.daemon() as daemon, daemon.connect() as one, daemon.connect() as other:
        (daemon.folder / "file").touch()
        (daemon.folder / "link").symlink_to("file")
        first = one.open(daemon.folder / "file")
        second = other.open(daemon.folder / "link")
        third = other.open(daemon.folder / "another")
        assert first.lane == second.lane != third.lane
        assert (first.slot, second.slot) == (0, 1)
        assert first.pid_of_slot(0) == first.pid_of_slot(1) == os.getpid()
        assert first.rights == bus.SUBSCRIBE | bus.POST
        assert one.ping()[1] == 2
        second.close()
        bus.wait_for(lambda: first.pid_of_slot(1) == 0, "the slot is free again")
        assert other.open(daemon.folder / "file").slot == 1


def test_a_folder_is_a_topic():
    with bus.daemon() as daemon, daemon.connect() as connection:
        assert connection.open(daemon.folder).lane == connection.open(f"{daemon.folder}/").lane
        assert connection.open("/").lane == connection.open("/").lane


def test_a_replaced_file_keeps_its_topic():
    with bus.daemon() as daemon, daemon.connect() as connection:
        path = daemon.folder / "file"
        before = connection.open(path)
        path.touch()
        assert connection.open(path).lane == before.lane
        (daemon.folder / "new").write_text("new")
        (daemon.folder / "new").rename(path)
        assert connection.open(path).lane == before.lane


def test_hard_links_are_one_topic():
    with bus.daemon() as daemon, daemon.connect() as connection:
        names = [daemon.folder / name for name in ("one", "two", "three")]
        names[0].touch()
        lanes = {connection.open(names[0]).lane}
        for name in names[1:]:
            name.hardlink_to(names[0])
            lanes.add(connection.open(name).lane)
        assert len(lanes) == 1
        assert connection.ping()[1] == 1
        # Also once the first name is gone, through any of the others.
        names[0].unlink()
        names[0].hardlink_to(names[2])
        assert connection.open(names[0]).lane in lanes


def test_a_reused_inode_is_no_hard_link():
    with bus.daemon() as daemon, daemon.connect() as connection:
        (daemon.folder / "old").touch()
        inode = (daemon.folder / "old").stat().st_ino
        old = connection.open(daemon.folder / "old")
        (daemon.folder / "old").unlink()
        for attempt in range(200):
            name = daemon.folder / f"new{attempt}"
            name.touch()
            if name.stat().st_ino == inode:
                break
        else:
            raise bus.Skip("this file system does not reuse inodes at once")
        (daemon.folder / "second").hardlink_to(name)
        assert connection.open(name).lane != old.lane


def test_the_largest_message_that_may_be_asked_for():
    """--max-message caps what an opening asks for; what it leaves to the daemon stays below."""
    def opened(connection, name, **shape):
        topic = connection.open(connection.folder / name, **shape)
        return topic.ring_slots, topic.max_message

    def refused(connection, name, number, text, **shape):
        request = connection.request()
        connection.send(bus.open_frame(request, connection.folder / name, **shape))
        connection.expect_error(number, request, text)

    for limit, default in ((None, 4096), (65536, 4096), (10000, 4096), (1000, 1000), (128, 128)):
        with bus.daemon(*(["--max-message", str(limit)] if limit else [])) as daemon, daemon.connect() as connection:
            connection.folder, most = daemon.folder, limit or 65536
            assert opened(connection, "default") == (256, default)
            assert opened(connection, "most", max_message=most) == (256, most)
            assert opened(connection, "less", max_message=1) == (256, 128)
            if most < 65536:
                # Also of a topic that is there: whether it may be asked for is not a matter of who else came first.
                for name in ("more", "most"):
                    for flags in (0, bus.SOCKET):
                        refused(connection, name, errno.EMSGSIZE, f"more than {most} bytes", max_message=most + 1,
                                flags=flags)
            refused(connection, "more", errno.EINVAL, "too large", max_message=65537)
            refused(connection, "more", errno.EINVAL, "too large", ring_slots=65537)
            assert opened(connection, "default", max_message=most) == (256, default)


def test_a_lane_of_the_largest_size():
    with bus.daemon() as daemon, daemon.connect() as connection:
        topic = connection.open(daemon.folder / "file", ring_slots=16384, max_message=65536)
        assert (topic.ring_slots, topic.max_message) == (16384, 65536)
        assert os.fstat(topic.page_fd).st_size >= 1 << 30
        number = connection.open_socket(daemon.folder / "file")
        request = connection.request()
        connection.send(bus.frame(bus.PUBLISH, request, struct.pack("<IIQ", number, 0, 0) + bytes(65536)))
        connection.expect(bus.DONE, request)
        request = connection.request()
        connection.send(bus.open_frame(request, daemon.folder / "more", ring_slots=16385, max_message=65536))
        connection.expect_error(errno.EINVAL, request, "too large")


def test_rights_asked_and_answered():
    with bus.daemon() as daemon, daemon.connect() as connection:
        path = daemon.folder / "file"
        path.touch()
        for flags in range(4):
            assert connection.open(path, flags).rights == bus.SUBSCRIBE | bus.POST


def test_more_members_than_slots_and_bells():
    with bus.daemon("--offload-members", "8") as daemon:
        path = daemon.folder / "file"
        connections = [daemon.connect() for _ in range(250)]
        topics = [connection.open(path) for connection in connections]
        assert [topic.slot for topic in topics] == [*range(bus.N_SLOTS), *[bus.NO_SLOT] * (250 - bus.N_SLOTS)]
        first, last = topics[0], topics[-1]
        assert first.offloaded
        # Several bells: the carrier rings them all, whoever posts.
        bells = [first.listener(), last.listener()]
        for poster in (first, last):
            first.arm()
            poster.post()
            for bell in bells:
                assert bell.poll(bus.LIMIT_S), "a bell was not rung"
        for bell in bells:
            bell.close()
        for connection in connections:
            connection.goodbye()
            connection.close()


def test_offloading_has_a_threshold_each_way():
    with bus.daemon("--offload-members", "4") as daemon:
        path = daemon.folder / "file"
        connections = [daemon.connect() for _ in range(5)]
        topics = [connection.open(path) for connection in connections[:4]]
        watcher = topics[0]
        assert not watcher.offloaded
        topics.append(connections[4].open(path))
        assert watcher.offloaded, "the flag is set before the answer"
        for topic in topics[4:2:-1]:
            topic.close()
        connections[3].ping(), connections[4].ping()
        assert watcher.offloaded
        topics[2].close()
        connections[2].ping()
        bus.wait_for(lambda: not watcher.offloaded, "posters ring themselves again")
        for connection in connections:
            connection.close()


def test_the_end_of_a_connection_is_a_resync_for_others():
    with bus.daemon() as daemon, daemon.connect() as witness:
        path = daemon.folder / "file"
        topic = witness.open(path)
        for end in ("close", "goodbye", "nothing"):
            connection = daemon.connect()
            other = connection.open(path)
            before = topic.resync, topic.generation
            topic.arm()
            bell = topic.listener()
            assert topic.pid_of_slot(other.slot) != 0
            if end == "close":
                other.close()
                connection.ping()
                connection.goodbye()
            elif end == "goodbye":
                connection.goodbye()
            connection.close()
            bus.wait_for(lambda: topic.pid_of_slot(other.slot) == 0, "the slot is free")
            if end == "nothing":
                assert (topic.resync, topic.generation) == (before[0] + 1, before[1] + bus.ONE_POST)
                assert bell.poll(bus.LIMIT_S), "the bell was not rung"
            else:
                assert (topic.resync, topic.generation) == before
            bell.close()


def test_a_killed_process_is_a_resync_for_others():
    with bus.daemon() as daemon, daemon.connect() as witness:
        path = daemon.folder / "file"
        topic = witness.open(path)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            connection = daemon.connect()
            connection.open(path)
            os.write(writer, b"x")
            signal.pause()
        assert os.read(reader, 1) == b"x"
        assert topic.pid_of_slot(1) == pid
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        bus.wait_for(lambda: topic.resync == 1, "the others are told")
        bus.wait_for(lambda: topic.pid_of_slot(1) == 0, "the slot is free")
        os.close(reader)
        os.close(writer)


def test_many_topics_in_one_connection():
    with bus.daemon() as daemon, daemon.connect() as connection:
        n = 300
        for request in range(2, n + 2):
            connection.send(bus.open_frame(request, daemon.folder / str(request)))
        numbers = set()
        for _ in range(n):
            answer = connection.expect(bus.OPENED)
            numbers.add(struct.unpack_from("<I", answer.body)[0])
        assert len(numbers) == n
        connection.last_request = n + 2
        assert connection.ping()[1] == n
        for number in numbers:
            connection.send(bus.frame(bus.CLOSE, 0, struct.pack("<I", number)))
        assert connection.ping()[1] == 0


if __name__ == "__main__":
    bus.main()
