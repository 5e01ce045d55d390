#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the daemon counts: GET /v1/stats, and GET /metrics as OpenMetrics has it."""

import os
import re
import struct
import subprocess

import api
import bus
import system

SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,[a-z_]+="[^"]*")*\})? (\S+)')
SUFFIXES = {"counter": ["_total"], "gauge": [""], "info": ["_info"], "histogram": ["_bucket", "_count", "_sum"]}


def check_open_metrics(text):
    """Checks what the specification asks for; the samples as {(name, label's value or None): number}."""
    assert text.endswith("# EOF\n") and text.count("# EOF") == 1, text[-100:]
    families, samples, family, told = {}, {}, None, set()
    for line in text.split("\n")[:-2]:
        assert line and line == line.strip(), repr(line)
        if line.startswith("# "):
            _, what, name, rest = line.split(" ", 3)
            assert what in ("TYPE", "UNIT", "HELP") and rest, line
            if family != name:
                assert name not in families, f"{name} is there twice"
                assert what == "TYPE", "the type comes first"
                families[name], family, told = {}, name, set()
            assert what not in told, line
            told.add(what)
            families[name][what] = rest
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        name, label, value, number = found.groups()
        kind = families[family]["TYPE"]
        assert kind in SUFFIXES, kind
        assert name in [family + suffix for suffix in SUFFIXES[kind]], f"{name} is none of {family}'s"
        assert (name, value) not in samples, line
        samples[name, value] = float(number)
        if kind in ("counter", "histogram", "gauge"):
            assert float(number) >= 0, line
        if label == "le":
            assert name.endswith("_bucket"), line
    for name, said in families.items():
        assert {"TYPE", "HELP"} <= set(said), (name, said)
        if "UNIT" in said:
            assert name.endswith("_" + said["UNIT"]), name
        for suffix in SUFFIXES[said["TYPE"]]:
            assert any(sample == name + suffix for sample, _ in samples), f"{name}{suffix} is missing"
        if said["TYPE"] == "histogram":
            buckets = [(value, n) for (sample, value), n in samples.items() if sample == name + "_bucket"]
            bounds = [float(value) for value, _ in buckets]
            assert bounds == sorted(bounds) and buckets[-1][0] == "+Inf", buckets
            counts = [n for _, n in buckets]
            assert counts == sorted(counts), f"{name} is not cumulative: {counts}"
            assert counts[-1] == samples[name + "_count", None], name
    return samples


def stats_of(daemon):
    with api.Http(api.path_of(daemon)) as http:
        return http.get("/v1/stats")


def metrics_of(daemon):
    with api.Http(api.path_of(daemon)) as http:
        status, headers, text = http.ask("GET", "/metrics")
        assert status == 200
        assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return check_open_metrics(text.decode())


def counts_of(daemon):
    return stats_of(daemon)["counts"]


# --- what is told ---------------------------------------------------------------------------------------------------------


def test_a_daemon_that_has_done_nothing():
    with bus.daemon() as daemon:
        stats = stats_of(daemon)
        assert (stats["pid"], stats["instance"], stats["address"]) == (daemon.pid, "user", str(daemon.address))
        assert stats["log_level"] == "info" and stats["uptime_ms"] < 3600000
        assert stats["totals"] == dict.fromkeys(["clients", "topics", "members", "lanes", "regions", "endpoints", "links"], 0)
        assert all(stats["counts"][name] == 0 for name in ("posts", "messages", "message_bytes", "carried", "gaps", "resyncs"))
        assert stats["counts"]["drops"] == {} and stats["counts"]["limits_hit"] == {}
        assert set(stats["latency"]) == {"opening", "files", "carrying", "ringing"}
        assert stats["latency"]["opening"]["count"] >= 1, "the harness has opened something"
        samples = metrics_of(daemon)
        assert samples["pathbus_topics", None] == 0
        assert samples["pathbus_drops_total", "malformed"] == 0
        assert samples["pathbus_limits_hit_total", "topics"] == 0
        assert samples["pathbus_opening_seconds_count", None] >= 1


def test_posts_and_messages():
    """Of shared memory: who posts does not tell the daemon, which looks when it is asked."""
    with bus.daemon() as daemon, daemon.connect() as connection:
        topic = connection.open(f"{daemon.folder}/file", flags=bus.POST)
        before = counts_of(daemon)
        for _ in range(7):
            topic.post()
        after = counts_of(daemon)
        assert after["posts"] - before["posts"] == 7, (before, after)
        totals = stats_of(daemon)["totals"]
        assert (totals["clients"], totals["topics"], totals["members"], totals["lanes"]) == (1, 1, 1, 1), totals
        # It is counted once, however often one asks, and whatever becomes of the lane.
        topic.post()
        topic.close()
        connection.close()
        bus.wait_for(lambda: stats_of(daemon)["totals"]["topics"] == 0, "the topic is gone")
        assert counts_of(daemon)["posts"] - before["posts"] == 8
        assert metrics_of(daemon)["pathbus_posts_total", None] == counts_of(daemon)["posts"]


def test_what_a_socket_client_does():
    with bus.daemon() as daemon, daemon.connect() as one, daemon.connect() as other:
        one.open_socket(f"{daemon.folder}/file")
        posting = other.open_socket(f"{daemon.folder}/file")
        before = counts_of(daemon)
        for _ in range(3):
            other.ask(bus.FRAME_POST, struct.pack("<I", posting), bus.DONE)
        for n in range(5):
            other.send(bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", posting, 0, 0) + bytes(10 + n)))
        n_messages = 0
        while n_messages < 5:
            n_messages += one.receive().kind == bus.EVENT_MESSAGE
        after = counts_of(daemon)
        assert {name: after[name] - before[name] for name in ("posts", "messages", "message_bytes", "gaps")} == \
            {"posts": 3, "messages": 5, "message_bytes": 60, "gaps": 0}, (before, after)
        assert after["bell_writes"] > before["bell_writes"] and after["wakeups"] > before["wakeups"]
        assert after["requests"] - before["requests"] >= 8


def test_what_is_missed():
    """A ring is overrun behind somebody who does not read."""
    with bus.daemon() as daemon, daemon.connect() as one, daemon.connect() as other:
        one.open_socket(f"{daemon.folder}/file", ring_slots=8)
        posting = other.open_socket(f"{daemon.folder}/file")
        missed = seen = 0
        for _ in range(3000):
            other.send(bus.frame(bus.PUBLISH, 0, struct.pack("<IIQ", posting, 0, 0) + bytes(64)))
        other.ping()
        while missed + seen < 3000:
            answer = one.receive()
            seen += answer.kind == bus.EVENT_MESSAGE
            if answer.kind == bus.EVENT_GAP:
                missed += struct.unpack_from("<Q", answer.body, 12)[0]
        counts = counts_of(daemon)
        assert (counts["messages"], counts["gaps"]) == (3000, missed), (counts, missed)
        assert missed > 0


def test_the_library():
    """Its members count what they do in shared memory: wake-ups, bells, messages."""
    with bus.daemon() as daemon:
        file = f"{daemon.folder}/file"
        command = [os.environ["PATHBUSCTL"], "--address", str(daemon.address)]
        listening = subprocess.Popen([*command, "listen", file], stdout=subprocess.PIPE)
        try:
            bus.wait_for(lambda: stats_of(daemon)["totals"]["members"] == 1, "it listens")
            before = counts_of(daemon)
            for n in range(3):
                subprocess.run([*command, "post", "-m", "x" * 50, file], check=True, timeout=bus.LIMIT_S)
                assert listening.stdout.readline(), "it was heard"
            after = bus.wait_for(lambda: wakes_since(daemon, before, 3), "it is counted that it was woken")
            assert (after["messages"] - before["messages"], after["message_bytes"] - before["message_bytes"]) == (3, 150), after
            assert after["bell_writes"] - before["bell_writes"] >= 3, after
            assert after["posts"] == before["posts"], (before, after)
        finally:
            listening.terminate()
            listening.wait(bus.LIMIT_S)
            listening.stdout.close()


def wakes_since(daemon, before, n):
    after = counts_of(daemon)
    return after if after["wakeups"] - before["wakeups"] >= n else None


def test_drops_and_limits():
    with bus.daemon("--max-user-topics", "2") as daemon:
        with daemon.connect() as connection:
            connection.send(bus.frame(99, 1))
            connection.expect_error(74, 0)
        with daemon.connect() as connection:
            for n in range(4):
                connection.send(bus.open_frame(connection.request(), f"{daemon.folder}/{n}", 0))
                answer = connection.receive()
                assert (answer.kind == bus.ERROR) == (n >= 2), answer
            stats = stats_of(daemon)
            assert stats["counts"]["drops"] == {"type": 1}, stats["counts"]
            assert stats["counts"]["limits_hit"] == {"topics": 2}, stats["counts"]
            user, = stats["users"]
            assert user["uid"] == os.geteuid()
            assert user["charges"]["topics"] == {"has": 2, "most": 2, "refused": 2}, user
            samples = metrics_of(daemon)
            assert samples["pathbus_drops_total", "type"] == 1
            assert samples["pathbus_limits_hit_total", "topics"] == 2
            assert samples["pathbus_topics", None] == 2


def test_many_lanes():
    """More than are looked at in one turn."""
    with bus.daemon() as daemon, daemon.connect() as connection:
        topics = [connection.open(f"{daemon.folder}/{n}", flags=bus.POST) for n in range(600)]
        before = counts_of(daemon)["posts"]
        for topic in topics:
            topic.post()
        assert counts_of(daemon)["posts"] - before == 600
        assert stats_of(daemon)["totals"]["lanes"] == 600


def test_numbers_that_cannot_be():
    """Who may write a lane's memory can write anything there: it is believed as far as it is possible."""
    with bus.daemon() as daemon, daemon.connect() as connection:
        topic = connection.open(f"{daemon.folder}/file", flags=bus.POST)
        before = counts_of(daemon)
        for offset in (512, 640, 648, 704, 712, 720, 728, 768):
            topic.page[offset:offset + 8] = struct.pack("<Q", 0x7fffffffffffffff)
        after = counts_of(daemon)
        assert all(after[name] - before[name] < 1 << 40 for name in ("posts", "messages", "message_bytes", "gaps", "wakeups")), after
        topic.post()
        assert counts_of(daemon)["posts"] - after["posts"] == 1, "what comes then counts"


# --- several users --------------------------------------------------------------------------------------------------------


def test_what_is_carried():
    """It is counted where it was posted, and as carried: not once more where it came to."""
    with system.system_daemon() as daemon:
        file = system.make(daemon.folder / "file", system.ALICE, 0o666)

        def listens(wait, tell):
            with daemon.connect() as connection:
                listener = connection.open(file).listener()
                tell()
                assert listener.poll(bus.LIMIT_S), "it is woken"
                tell()
                wait()

        def posts():
            with daemon.connect() as connection:
                topic = connection.open(file, flags=bus.POST)
                for _ in range(5):
                    topic.post()
                bus.wait_for(lambda: topic.word(bus.WANT) == topic.generation, "main has seen it")

        listening = system.Child(listens, before=lambda: system.become(system.BOB))
        listening.wait_for_word()
        before = stats_of(daemon)["counts"]
        system.run_as(system.ALICE, posts)
        listening.wait_for_word()
        stats = stats_of(daemon)
        after = stats["counts"]
        assert {name: after[name] - before[name] for name in ("posts", "carried")} == {"posts": 5, "carried": 5}, (before, after)
        assert stats["instance"] == "system" and stats["latency"]["carrying"]["count"] >= 1, stats["latency"]
        assert {user["uid"] for user in stats["users"]} >= {system.BOB}, stats["users"]
        metrics_of(daemon)
        listening.go_on()
        listening.end()


if __name__ == "__main__":
    bus.main()
